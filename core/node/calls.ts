// What members ask the leader in the call lane, and its answers, as bytes. Both ends may be of different lives but not of
// different clusters: peers.ts has checked that. Bytes that do not decode are an error, thrown as an assertion.

import { assert, unreachable } from '../base/assert.js';
import { text, utf8 } from '../base/bytes.js';
import type { LeaseId, Revision } from '../client.js';
import { ERRORS, type ErrorCode } from '../errors.js';
import type { Index, NodeId, RefusedReason, Term } from '../raft/types.js';
import type { Asker } from '../store/access.js';
import { ByteReader, ByteWriter, varintBytes, writeVarint } from '../store/binary.js';
import { callItemsMax, leasesPerCallMax, peerUrlsMax } from './limits.js';
import { TAG_BYTES, writeTag } from './tag.js';

/** A wish to change who is a member. */
export type ChangeRequest = {
  readonly kind: 'add';
  readonly id: NodeId;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
} | {
  readonly kind: 'remove';
  readonly id: NodeId;
} | {
  readonly kind: 'promote';
  readonly id: NodeId;
};

export type Request =
  /** For the hash of the asked member's own data at a revision; every member answers. */
  | { readonly kind: 'hash'; readonly revision: Revision }
  /**
   * Entries to append, each with the sender's tag: in this term or not at all. No sequence below `oldest` will be asked for
   * again. An entry that was asked for before is answered as it was then.
   */
  | {
      readonly kind: 'propose';
      readonly term: Term;
      readonly session: number;
      readonly oldest: number;
      readonly items: readonly Uint8Array[];
    }
  /** For an index: a store that has applied it holds all that was acknowledged before the call (thesis 6.4). */
  | { readonly kind: 'read' }
  | { readonly kind: 'keep_alive'; readonly leases: readonly LeaseId[] }
  | { readonly kind: 'remaining'; readonly lease: LeaseId }
  /** `asker` null: the member that asks, itself. */
  | { readonly kind: 'change'; readonly change: ChangeRequest; readonly asker: Asker | null };

/** What became of one entry; 'appended' is said of an entry that has a slot, which is not yet committed. */
export type ItemOutcome = 'appended' | RefusedReason;

export type Answer =
  | { readonly kind: 'hash'; readonly hash: number; readonly revision: Revision; readonly compactRevision: Revision }
  /** Not the leader, or not now: nothing happened; ask whoever leads. */
  | { readonly kind: 'again' }
  | { readonly kind: 'error'; readonly code: ErrorCode }
  | { readonly kind: 'proposed'; readonly outcomes: readonly ItemOutcome[] }
  | { readonly kind: 'index'; readonly index: Index }
  /** Seconds for each lease asked for; 0: it is gone. */
  | { readonly kind: 'kept'; readonly ttlSeconds: readonly number[] }
  /** Null: unknown. Negative: overdue. */
  | { readonly kind: 'left'; readonly remainingMs: number | null };

const REQUESTS: readonly Request['kind'][] = ['propose', 'read', 'keep_alive', 'remaining', 'change', 'hash'];
const CHANGES: readonly ChangeRequest['kind'][] = ['add', 'remove', 'promote'];
const ANSWERS: readonly Answer['kind'][] = ['again', 'error', 'proposed', 'index', 'kept', 'left', 'hash'];
const OUTCOMES: readonly ItemOutcome[] = [
  'appended', 'no_leader', 'not_leader', 'leader_changed', 'too_many', 'transferring', 'change_pending', 'change_invalid',
];

export function encodeRequest(request: Request): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(REQUESTS.indexOf(request.kind));
  switch (request.kind) {
    case 'propose':
      writer.varint(request.term);
      writer.u32(request.session);
      writer.varint(request.oldest);
      writeList(writer, request.items, (item) => writer.bytes(item));
      break;
    case 'read':
      break;
    case 'hash':
      writer.varint(request.revision);
      break;
    case 'keep_alive':
      writeList(writer, request.leases, (id) => writer.i64(id));
      break;
    case 'remaining':
      writer.i64(request.lease);
      break;
    case 'change':
      writeChange(writer, request.change);
      writeAsker(writer, request.asker);
      break;
    default:
      return unreachable(request);
  }
  return writer.take();
}

/** Proposals as they wait, before they have their tags. */
export interface Untagged {
  readonly term: Term;
  readonly session: number;
  readonly oldest: number;
  /** What the tags begin with (tag.ts). */
  readonly mark: Uint8Array;
  readonly items: readonly { readonly sequence: number; readonly data: Uint8Array }[];
}

/** The bytes of a 'propose' with these commands under their tags, each copied once. */
export function encodePropose({ term, session, oldest, mark, items }: Untagged): Uint8Array {
  const head = new ByteWriter();
  head.byte(REQUESTS.indexOf('propose'));
  head.varint(term);
  head.u32(session);
  head.varint(oldest);
  head.varint(items.length);
  let sizeBytes = head.length;
  for (const { data } of items) sizeBytes += varintBytes(TAG_BYTES + data.length) + TAG_BYTES + data.length;
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(head.peek());
  let at = head.length;
  for (const { sequence, data } of items) {
    at = writeVarint(bytes, at, TAG_BYTES + data.length);
    writeTag(bytes, at, mark, sequence);
    bytes.set(data, at + TAG_BYTES);
    at += TAG_BYTES + data.length;
  }
  return bytes;
}

export function decodeRequest(bytes: Uint8Array): Request {
  const reader = new ByteReader(bytes);
  const request = readRequest(reader);
  assert(reader.rest === 0, `a ${request.kind} call has ${reader.rest} bytes too many`);
  return request;
}

function readRequest(reader: ByteReader): Request {
  const kind = nameAt(REQUESTS, reader.byte());
  switch (kind) {
    case 'propose': {
      const [term, session, oldest] = [reader.varint(), reader.u32(), reader.varint()];
      return { kind, term, session, oldest, items: readList(reader, callItemsMax, () => reader.bytes()) };
    }
    case 'read':
      return { kind };
    case 'hash':
      return { kind, revision: reader.varint() };
    case 'keep_alive':
      return { kind, leases: readList(reader, leasesPerCallMax, () => reader.i64()) };
    case 'remaining':
      return { kind, lease: reader.i64() };
    case 'change':
      return { kind, change: readChange(reader), asker: readAsker(reader) };
    default:
      return unreachable(kind);
  }
}

function writeChange(writer: ByteWriter, change: ChangeRequest): void {
  writer.byte(CHANGES.indexOf(change.kind));
  writer.i64(change.id);
  if (change.kind !== 'add') return;
  writer.byte(change.isLearner ? 1 : 0);
  writeList(writer, change.peerUrls, (url) => writer.bytes(utf8(url)));
}

function readChange(reader: ByteReader): ChangeRequest {
  const kind = nameAt(CHANGES, reader.byte());
  const id = BigInt.asUintN(64, reader.i64());
  if (kind !== 'add') return { kind, id };
  const isLearner = reader.byte() === 1;
  return { kind, id, peerUrls: readList(reader, peerUrlsMax, () => text(reader.bytes())), isLearner };
}

/** 0: the member itself; 1: nobody; 2: a user, who follows. */
function writeAsker(writer: ByteWriter, asker: Asker | null): void {
  const user = asker?.user ?? null;
  writer.byte(user !== null ? 2 : Number(asker !== null));
  if (user !== null) writer.bytes(utf8(user));
  if (asker !== null) writer.varint(asker.authRevision);
}

function readAsker(reader: ByteReader): Asker | null {
  const form = reader.byte();
  assert(form <= 2, `${form} is no form of a caller`);
  if (form === 0) return null;
  return { user: form === 2 ? text(reader.bytes()) : null, authRevision: reader.varint() };
}

export function encodeAnswer(answer: Answer): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(ANSWERS.indexOf(answer.kind));
  switch (answer.kind) {
    case 'again':
      break;
    case 'hash':
      writer.u32(answer.hash);
      writer.varint(answer.revision);
      writer.integer(answer.compactRevision);
      break;
    case 'error':
      writer.bytes(utf8(answer.code));
      break;
    case 'proposed':
      writeList(writer, answer.outcomes, (outcome) => writer.byte(OUTCOMES.indexOf(outcome)));
      break;
    case 'index':
      writer.varint(answer.index);
      break;
    case 'kept':
      writeList(writer, answer.ttlSeconds, (seconds) => writer.varint(seconds));
      break;
    case 'left':
      writer.byte(answer.remainingMs === null ? 0 : 1);
      if (answer.remainingMs !== null) writer.integer(Math.floor(answer.remainingMs));
      break;
    default:
      return unreachable(answer);
  }
  return writer.take();
}

export function decodeAnswer(bytes: Uint8Array): Answer {
  const reader = new ByteReader(bytes);
  const kind = nameAt(ANSWERS, reader.byte());
  switch (kind) {
    case 'again':
      return { kind };
    case 'hash':
      return { kind, hash: reader.u32(), revision: reader.varint(), compactRevision: reader.integer() };
    case 'error':
      return { kind, code: codeNamed(text(reader.bytes())) };
    case 'proposed':
      return { kind, outcomes: readList(reader, callItemsMax, () => nameAt(OUTCOMES, reader.byte())) };
    case 'index':
      return { kind, index: reader.varint() };
    case 'kept':
      return { kind, ttlSeconds: readList(reader, leasesPerCallMax, () => reader.varint()) };
    case 'left':
      return { kind, remainingMs: reader.byte() === 0 ? null : reader.integer() };
    default:
      return unreachable(kind);
  }
}

function writeList<T>(writer: ByteWriter, items: readonly T[], write: (item: T) => void): void {
  writer.varint(items.length);
  for (const item of items) write(item);
}

/** Each item has at least one byte, so that no length is believed beyond what is there. */
function readList<T>(reader: ByteReader, max: number, read: () => T): readonly T[] {
  const count = reader.varint();
  assert(count <= max && count <= reader.rest, `${count} items are announced, of at most ${Math.min(max, reader.rest)}`);
  return Array.from({ length: count }, read);
}

function nameAt<T extends string>(names: readonly T[], at: number): T {
  const name = names[at];
  assert(name !== undefined, `${at} names none of ${names.join()}`);
  return name;
}

/** A newer release may know more codes. */
function codeNamed(name: string): ErrorCode {
  return Object.hasOwn(ERRORS, name) ? (name as ErrorCode) : 'internal';
}
