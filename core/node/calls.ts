// What members ask the leader in the call lane, and its answers, as bytes. Both ends may be of different lives but not of
// different clusters: peers.ts has checked that. Bytes that do not decode are an error, thrown as an assertion.

import { assert, unreachable } from '../base/assert.js';
import { text, utf8 } from '../base/bytes.js';
import type { LeaseId } from '../client.js';
import { ERRORS, type ErrorCode } from '../errors.js';
import type { Index, NodeId, RefusedReason, Term } from '../raft/types.js';
import { ByteReader, ByteWriter } from '../store/binary.js';
import { callItemsMax, leasesPerCallMax, peerUrlsMax } from './limits.js';

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
  | { readonly kind: 'change'; readonly change: ChangeRequest };

/** What became of one entry; 'appended' is said of an entry that has a slot, which is not yet committed. */
export type ItemOutcome = 'appended' | RefusedReason;

export type Answer =
  /** Not the leader, or not now: nothing happened; ask whoever leads. */
  | { readonly kind: 'again' }
  | { readonly kind: 'error'; readonly code: ErrorCode }
  | { readonly kind: 'proposed'; readonly outcomes: readonly ItemOutcome[] }
  | { readonly kind: 'index'; readonly index: Index }
  /** Seconds for each lease asked for; 0: it is gone. */
  | { readonly kind: 'kept'; readonly ttlSeconds: readonly number[] }
  /** Null: unknown. Negative: overdue. */
  | { readonly kind: 'left'; readonly remainingMs: number | null };

const PROPOSE = 1;
const READ = 2;
const KEEP_ALIVE = 3;
const REMAINING = 4;
const CHANGE = 5;
const CHANGES: readonly ChangeRequest['kind'][] = ['add', 'remove', 'promote'];
const ANSWERS: readonly Answer['kind'][] = ['again', 'error', 'proposed', 'index', 'kept', 'left'];
const OUTCOMES: readonly ItemOutcome[] = [
  'appended', 'no_leader', 'not_leader', 'leader_changed', 'too_many', 'transferring', 'change_pending', 'change_invalid',
];

export function encodeRequest(request: Request): Uint8Array {
  const writer = new ByteWriter();
  switch (request.kind) {
    case 'propose':
      writer.byte(PROPOSE);
      writer.varint(request.term);
      writer.u32(request.session);
      writer.varint(request.oldest);
      writer.varint(request.items.length);
      for (const item of request.items) writer.bytes(item);
      break;
    case 'read':
      writer.byte(READ);
      break;
    case 'keep_alive':
      writer.byte(KEEP_ALIVE);
      writer.varint(request.leases.length);
      for (const id of request.leases) writer.i64(id);
      break;
    case 'remaining':
      writer.byte(REMAINING);
      writer.i64(request.lease);
      break;
    case 'change':
      writer.byte(CHANGE);
      writeChange(writer, request.change);
      break;
    default:
      return unreachable(request);
  }
  return writer.take();
}

export function decodeRequest(bytes: Uint8Array): Request {
  const reader = new ByteReader(bytes);
  const request = readRequest(reader, reader.byte());
  assert(reader.rest === 0, `a ${request.kind} call has ${reader.rest} bytes too many`);
  return request;
}

function readRequest(reader: ByteReader, kind: number): Request {
  switch (kind) {
    case PROPOSE: {
      const [term, session, oldest] = [reader.varint(), reader.u32(), reader.varint()];
      const items = Array.from({ length: counted(reader, callItemsMax) }, () => reader.bytes());
      return { kind: 'propose', term, session, oldest, items };
    }
    case READ:
      return { kind: 'read' };
    case KEEP_ALIVE:
      return { kind: 'keep_alive', leases: Array.from({ length: counted(reader, leasesPerCallMax) }, () => reader.i64()) };
    case REMAINING:
      return { kind: 'remaining', lease: reader.i64() };
    case CHANGE:
      return { kind: 'change', change: readChange(reader) };
    default:
      assert(false, `a call of kind ${kind} is not known to this release`);
  }
}

function writeChange(writer: ByteWriter, change: ChangeRequest): void {
  writer.byte(CHANGES.indexOf(change.kind));
  writer.i64(change.id);
  if (change.kind !== 'add') return;
  writer.byte(change.isLearner ? 1 : 0);
  writer.varint(change.peerUrls.length);
  for (const url of change.peerUrls) writer.bytes(utf8(url));
}

function readChange(reader: ByteReader): ChangeRequest {
  const kind = CHANGES[reader.byte()];
  assert(kind !== undefined, 'a change of members is of an unknown kind');
  const id = BigInt.asUintN(64, reader.i64());
  if (kind !== 'add') return { kind, id };
  const isLearner = reader.byte() === 1;
  const peerUrls = Array.from({ length: counted(reader, peerUrlsMax) }, () => text(reader.bytes()));
  return { kind, id, peerUrls, isLearner };
}

export function encodeAnswer(answer: Answer): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(ANSWERS.indexOf(answer.kind));
  switch (answer.kind) {
    case 'again':
      break;
    case 'error':
      writer.bytes(utf8(answer.code));
      break;
    case 'proposed':
      writer.varint(answer.outcomes.length);
      for (const outcome of answer.outcomes) writer.byte(OUTCOMES.indexOf(outcome));
      break;
    case 'index':
      writer.varint(answer.index);
      break;
    case 'kept':
      writer.varint(answer.ttlSeconds.length);
      for (const seconds of answer.ttlSeconds) writer.varint(seconds);
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
  const kind = ANSWERS[reader.byte()];
  switch (kind) {
    case 'again':
      return { kind };
    case 'error':
      return { kind, code: codeNamed(text(reader.bytes())) };
    case 'proposed':
      return { kind, outcomes: Array.from({ length: counted(reader, callItemsMax) }, () => outcomeAt(reader.byte())) };
    case 'index':
      return { kind, index: reader.varint() };
    case 'kept':
      return { kind, ttlSeconds: Array.from({ length: counted(reader, leasesPerCallMax) }, () => reader.varint()) };
    case 'left':
      return { kind, remainingMs: reader.byte() === 0 ? null : reader.integer() };
    case undefined:
      return assert(false, 'an answer is of an unknown kind') as never;
    default:
      return unreachable(kind);
  }
}

/** How many follow, each of at least one byte, so that no length is believed beyond what is there. */
function counted(reader: ByteReader, max: number): number {
  const count = reader.varint();
  assert(count <= max && count <= reader.rest, `${count} items are announced, of at most ${Math.min(max, reader.rest)}`);
  return count;
}

function outcomeAt(at: number): ItemOutcome {
  const outcome = OUTCOMES[at];
  assert(outcome !== undefined, `${at} names no outcome`);
  return outcome;
}

/** A newer release may know more codes. */
function codeNamed(name: string): ErrorCode {
  return Object.hasOwn(ERRORS, name) ? (name as ErrorCode) : 'internal';
}
