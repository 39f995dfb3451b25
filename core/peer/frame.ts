// One frame between two members: an envelope, which says who speaks to whom in which cluster, and a body. The same over
// simulated and real networks, checksum included, so that damage anywhere between two members is noticed here.
//
//   0  version u8 · kind u8 · 0 u16      4  checksum u32 over the frame without these four bytes
//   8  cluster u64    16  from u64    24  to u64    32  incarnation of the sender u64    40  session of the sender u64
//  48  body, by kind (counters and metas as in codec.ts):
//      messages   codec.ts
//      request    call u64 · payload                 reply      session u64 and call u64 of the request · payload
//      notice     reason u8 · the incarnation it is about u64
//      offer      transfer u64 · term u64 · size u64 · sent u64 · meta
//      accept     transfer u64 · stage u64 · offset u64 · taken u64 · asked u64 · state u8
//      piece      stage u64 · offset u64 · bytes     abort      transfer u64

import { assert } from '../base/assert.js';
import { checksum } from '../base/crc.js';
import { view } from '../base/bytes.js';
import type { NodeId, SnapshotMeta, Term } from '../raft/types.js';
import {
  appendStartBytes, DecodeError, messageBytes, MESSAGES_HEAD_BYTES, metaBytes, readMessages, readMeta, Reader, writeAppendStart,
  writeCounter, writeMessages, writeMeta, type Append, type EntryPieces, type PlainMessage,
} from './codec.js';
import { PIECE_BYTES_MAX, SNAPSHOT_BYTES_MAX } from './limits.js';
import type { Lane } from './transport.js';

export interface Envelope {
  readonly clusterId: bigint;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly incarnation: bigint;
  /** Random for each start of the process; below 2^48. */
  readonly session: number;
}

export type Refusal = 'removed' | 'other_incarnation';

/** How far the receiver of a snapshot is. 'damaged': all bytes arrived, and they are not the snapshot they claim to be. */
export type StageState = 'receiving' | 'whole' | 'done' | 'unwanted' | 'busy' | 'failed' | 'damaged';

export type Body =
  | { readonly kind: 'messages'; readonly messages: readonly PlainMessage[] }
  | { readonly kind: 'request'; readonly call: number; readonly payload: Uint8Array }
  | { readonly kind: 'reply'; readonly session: number; readonly call: number; readonly payload: Uint8Array }
  | { readonly kind: 'notice'; readonly reason: Refusal; readonly incarnation: bigint }
  | SnapshotBody;

export type SnapshotBody =
  | {
      readonly kind: 'offer';
      readonly transfer: number;
      readonly term: Term;
      readonly sizeBytes: number;
      /** So many bytes were sent before this question. */
      readonly sent: number;
      readonly meta: SnapshotMeta;
    }
  | {
      readonly kind: 'accept';
      readonly transfer: number;
      /** The receiver's name for what it gathers; pieces carry it. */
      readonly stage: number;
      /** So many bytes are written, without a gap. */
      readonly offset: number;
      /** So many have arrived. */
      readonly taken: number;
      /** `sent` of the offer that this answers; 0: it answers none. */
      readonly asked: number;
      readonly state: StageState;
    }
  | { readonly kind: 'piece'; readonly stage: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'abort'; readonly transfer: number };

export interface Frame extends Envelope {
  readonly body: Body;
}

export const ENVELOPE_BYTES = 48;
const VERSION = 1;
const CHECKSUM_AT = 4;
const KINDS: readonly Body['kind'][] = ['messages', 'request', 'reply', 'notice', 'offer', 'accept', 'piece', 'abort'];
const REASONS: readonly Refusal[] = ['removed', 'other_incarnation'];
const STATES: readonly StageState[] = ['receiving', 'whole', 'done', 'unwanted', 'busy', 'failed', 'damaged'];
const LANES: Readonly<Record<Body['kind'], Lane>> = {
  messages: 'raft', notice: 'raft', request: 'call', reply: 'call', offer: 'snapshot', accept: 'snapshot', piece: 'snapshot',
  abort: 'snapshot',
};

export function laneOf(kind: Body['kind']): Lane {
  return LANES[kind];
}

/** One buffer, every value copied into it once. */
export function encodeFrame(envelope: Envelope, body: Body): Buffer {
  const buffer = Buffer.allocUnsafe(ENVELOPE_BYTES + bodyBytes(body));
  writeEnvelope(buffer, envelope, body.kind);
  const end = writeBody(buffer, ENVELOPE_BYTES, body);
  assert(end === buffer.length, `a ${body.kind} frame of ${buffer.length} bytes ends at ${end}`);
  buffer.writeUInt32LE(sumOf(buffer), CHECKSUM_AT);
  return buffer;
}

/**
 * The same frame for one append alone, without the end of it: `pieces.rest` follows, which is the same for everybody who gets
 * these entries and is copied for nobody.
 */
export function encodeAppendStart(envelope: Envelope, message: Append, pieces: EntryPieces): Buffer {
  const buffer = Buffer.allocUnsafe(ENVELOPE_BYTES + appendStartBytes(pieces.head));
  writeEnvelope(buffer, envelope, 'messages');
  const end = writeAppendStart(buffer, ENVELOPE_BYTES, message, pieces.head);
  assert(end === buffer.length, `the start of a frame of ${buffer.length} bytes ends at ${end}`);
  buffer.writeUInt32LE(checksum(pieces.rest, sumOf(buffer)), CHECKSUM_AT);
  return buffer;
}

function writeEnvelope(buffer: Buffer, envelope: Envelope, kind: Body['kind']): void {
  buffer.writeUInt32LE(0, 0);
  buffer[0] = VERSION;
  buffer[1] = KINDS.indexOf(kind);
  buffer.writeBigUInt64LE(envelope.clusterId, 8);
  buffer.writeBigUInt64LE(envelope.from, 16);
  buffer.writeBigUInt64LE(envelope.to, 24);
  buffer.writeBigUInt64LE(envelope.incarnation, 32);
  writeCounter(buffer, 40, envelope.session);
}

/** Throws `DecodeError`, and nothing else, for whatever bytes. Payloads and entries are views into the frame. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const buffer = view(bytes);
  const envelope = readEnvelope(buffer);
  const kind = KINDS[buffer.readUInt8(1)];
  if (kind === undefined || buffer.readUInt16LE(2) !== 0) throw new DecodeError(`a frame of kind ${buffer.readUInt16LE(1)}`);
  const reader = new Reader(bytes, ENVELOPE_BYTES);
  const body = readBody(kind, reader, envelope);
  reader.end();
  return { ...envelope, body };
}

/** Checked for damage, and who speaks to whom; the body is not looked at. */
export function readEnvelope(bytes: Uint8Array): Envelope {
  const buffer = view(bytes);
  const { length } = buffer;
  if (length < ENVELOPE_BYTES) throw new DecodeError(`a frame of ${length} bytes; its envelope alone has ${ENVELOPE_BYTES}`);
  if (buffer.readUInt32LE(CHECKSUM_AT) !== sumOf(buffer)) throw new DecodeError('the checksum of a frame is wrong');
  const version = buffer.readUInt8(0);
  if (version !== VERSION) throw new DecodeError(`a frame of version ${version}; this release speaks version ${VERSION}`);
  const reader = new Reader(buffer, 8);
  const clusterId = reader.id('a cluster');
  const from = reader.id('the sender');
  const to = reader.id('the receiver');
  const incarnation = reader.id('an incarnation');
  const session = reader.counter('a session');
  if (from === 0n || to === 0n) throw new DecodeError('a frame from or to member 0');
  return { clusterId, from, to, incarnation, session };
}

function sumOf(buffer: Buffer): number {
  return checksum(buffer.subarray(CHECKSUM_AT + 4), checksum(buffer.subarray(0, CHECKSUM_AT)));
}

function bodyBytes(body: Body): number {
  switch (body.kind) {
    case 'messages': return body.messages.reduce((sum, message) => sum + messageBytes(message), MESSAGES_HEAD_BYTES);
    case 'request': return 8 + body.payload.length;
    case 'reply': return 16 + body.payload.length;
    case 'notice': return 9;
    case 'offer': return 32 + metaBytes(body.meta);
    case 'accept': return 41;
    case 'piece': return 16 + body.bytes.length;
    case 'abort': return 8;
  }
}

function writeBody(buffer: Buffer, at: number, body: Body): number {
  switch (body.kind) {
    case 'messages':
      return writeMessages(buffer, at, body.messages);
    case 'request':
      return writeRaw(buffer, writeCounter(buffer, at, body.call), body.payload);
    case 'reply':
      return writeRaw(buffer, writeCounter(buffer, writeCounter(buffer, at, body.session), body.call), body.payload);
    case 'notice':
      buffer[at] = REASONS.indexOf(body.reason);
      return buffer.writeBigUInt64LE(body.incarnation, at + 1);
    case 'offer':
      return writeMeta(buffer, writeCounters(buffer, at, [body.transfer, body.term, body.sizeBytes, body.sent]), body.meta);
    case 'accept':
      buffer[at + 40] = STATES.indexOf(body.state);
      return writeCounters(buffer, at, [body.transfer, body.stage, body.offset, body.taken, body.asked]) + 1;
    case 'piece':
      return writeRaw(buffer, writeCounters(buffer, at, [body.stage, body.offset]), body.bytes);
    case 'abort':
      return writeCounter(buffer, at, body.transfer);
  }
}

function writeCounters(buffer: Buffer, start: number, values: readonly number[]): number {
  let at = start;
  for (const value of values) at = writeCounter(buffer, at, value);
  return at;
}

function writeRaw(buffer: Buffer, at: number, bytes: Uint8Array): number {
  buffer.set(bytes, at);
  return at + bytes.length;
}

function readBody(kind: Body['kind'], reader: Reader, { from, to }: Envelope): Body {
  switch (kind) {
    case 'messages':
      return { kind, messages: readMessages(reader.remaining(), from, to) };
    case 'request':
      return { kind, call: reader.counter('a call'), payload: reader.remaining() };
    case 'reply':
      return { kind, session: reader.counter('a session'), call: reader.counter('a call'), payload: reader.remaining() };
    case 'notice': {
      const reason = REASONS[reader.u8('a reason')];
      if (reason === undefined) throw new DecodeError('a notice for a reason that this version does not know');
      return { kind, reason, incarnation: reader.id('an incarnation') };
    }
    default:
      return readSnapshotBody(kind, reader);
  }
}

function readSnapshotBody(kind: SnapshotBody['kind'], reader: Reader): SnapshotBody {
  switch (kind) {
    case 'offer': {
      const transfer = reader.counter('a transfer');
      const term = reader.counter('a term');
      const sizeBytes = reader.counter('a size');
      if (sizeBytes === 0 || sizeBytes > SNAPSHOT_BYTES_MAX) throw new DecodeError(`a snapshot of ${sizeBytes} bytes`);
      const sent = reader.counter('an offset');
      return { kind, transfer, term, sizeBytes, sent, meta: readMeta(reader, term) };
    }
    case 'accept': {
      const transfer = reader.counter('a transfer');
      const stage = reader.counter('a stage');
      const offset = reader.counter('an offset');
      const taken = reader.counter('an offset');
      const asked = reader.counter('an offset');
      const state = STATES[reader.u8('a state')];
      if (state === undefined) throw new DecodeError('the receiver of a snapshot is in a state that this version does not know');
      return { kind, transfer, stage, offset, taken, asked, state };
    }
    case 'piece': {
      const stage = reader.counter('a stage');
      const offset = reader.counter('an offset');
      if (reader.rest === 0 || reader.rest > PIECE_BYTES_MAX) throw new DecodeError(`a piece of ${reader.rest} bytes`);
      return { kind, stage, offset, bytes: reader.remaining() };
    }
    case 'abort':
      return { kind, transfer: reader.counter('a transfer') };
  }
}
