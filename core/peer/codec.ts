// Messages of the machine and their bytes: the body of a frame in the raft lane. All numbers are little-endian; counters
// take eight bytes and stay below COUNTER_MAX; ids eight bytes. Who sends to whom stands once, in the frame's envelope.
//
//   body      count u16, then so many messages; each: kind u8 · term u64 · ...
//   vote          1 · last term u64, index u64 · flags u8 (1 pre, 2 transfer)
//   vote_reply    2 · flags u8 (1 pre, 2 granted)
//   append        3 · previous term u64, index u64 · commit u64 · round u64 · match u64 · entries u32, then runs of one
//                     term: term u64 · count u32, then for each entry: kind u8 · length u32 · data
//   append_reply  4 · index u64 · before u64 · round u64 · flags u8 (1 ok)
//   timeout_now   5
//
// Decoding trusts nobody: every length is compared with what is there before anything is made of it, and what no member in
// its right mind says is a `DecodeError`. Entries carry no indexes, so they have no gaps; decoded, they are views of the frame.

import { assert, present, unreachable } from '../base/assert.js';
import { EMPTY, view } from '../base/bytes.js';
import type { Configuration, Entry, EntryId, Message, NodeId, SnapshotMeta } from '../raft/types.js';
import { CONFIGURATION_MAX, COUNTER_MAX, ENTRIES_MAX, MESSAGES_MAX } from './limits.js';

/** What the machine says in the raft lane. Snapshots are shipped in a lane of their own. */
export type PlainMessage = Exclude<Message, { readonly kind: 'snapshot' }>;

export type Append = Extract<Message, { readonly kind: 'append' }>;

/** Bytes that are not what they claim to be. Never a reason to stop: they are dropped and counted. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}

const VOTE = 1;
const VOTE_REPLY = 2;
const APPEND = 3;
const APPEND_REPLY = 4;
const TIMEOUT_NOW = 5;
const HEAD_BYTES = 9;
const APPEND_BYTES = HEAD_BYTES + 44;
const RUN_BYTES = 12;
const ENTRY_BYTES = 5;
const KINDS: readonly Entry['kind'][] = ['empty', 'command', 'members'];
const TWO_TO_32 = 2 ** 32;

/** Bytes that the count of messages takes before them. */
export const MESSAGES_HEAD_BYTES = 2;

export function messageBytes(message: PlainMessage): number {
  switch (message.kind) {
    case 'vote': return HEAD_BYTES + 17;
    case 'vote_reply': return HEAD_BYTES + 1;
    case 'append': return APPEND_BYTES + entriesBytes(message.entries);
    case 'append_reply': return HEAD_BYTES + 25;
    case 'timeout_now': return HEAD_BYTES;
    default: return unreachable(message);
  }
}

function entriesBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  let term = -1;
  for (const entry of entries) {
    if (entry.term !== term) bytes += RUN_BYTES;
    term = entry.term;
    bytes += ENTRY_BYTES + entry.data.length;
  }
  return bytes;
}

/** Writes the messages at `at`; returns the offset behind them. There must be room for `messageBytes` of each. */
export function writeMessages(buffer: Buffer, at: number, messages: readonly PlainMessage[]): number {
  assert(messages.length > 0 && messages.length <= MESSAGES_MAX, `${messages.length} messages in one frame`);
  buffer.writeUInt16LE(messages.length, at);
  let end = at + MESSAGES_HEAD_BYTES;
  for (const message of messages) end = writeMessage(buffer, end, message);
  return end;
}

function writeMessage(buffer: Buffer, start: number, message: PlainMessage): number {
  const at = writeCounter(buffer, start + 1, message.term);
  switch (message.kind) {
    case 'vote':
      buffer[start] = VOTE;
      writeEntryId(buffer, at, message.last);
      buffer[at + 16] = (message.pre ? 1 : 0) | (message.transfer ? 2 : 0);
      return at + 17;
    case 'vote_reply':
      buffer[start] = VOTE_REPLY;
      buffer[at] = (message.pre ? 1 : 0) | (message.granted ? 2 : 0);
      return at + 1;
    case 'append':
      return writeEntries(buffer, writeAppendHead(buffer, start, message), message.previous.index, message.entries);
    case 'append_reply':
      buffer[start] = APPEND_REPLY;
      writeCounter(buffer, at, message.index);
      writeCounter(buffer, at + 8, message.before);
      writeCounter(buffer, at + 16, message.round);
      buffer[at + 24] = message.ok ? 1 : 0;
      return at + 25;
    case 'timeout_now':
      buffer[start] = TIMEOUT_NOW;
      return at;
    default:
      return unreachable(message);
  }
}

function writeAppendHead(buffer: Buffer, start: number, message: Append): number {
  buffer[start] = APPEND;
  const at = writeCounter(buffer, start + 1, message.term);
  writeEntryId(buffer, at, message.previous);
  writeCounter(buffer, at + 16, message.commit);
  writeCounter(buffer, at + 24, message.round);
  writeCounter(buffer, at + 32, message.match);
  buffer.writeUInt32LE(message.entries.length, at + 40);
  return at + 44;
}

/** The bytes of entries in two pieces, whoever they go to. */
export interface EntryPieces {
  readonly head: Uint8Array;
  /** Of one entry alone its data, which is not copied. */
  readonly rest: Uint8Array;
}

export function entryPieces(entries: readonly Entry[]): EntryPieces {
  const first = present(entries[0], 'the first entry');
  if (entries.length > 1) {
    const rest = Buffer.allocUnsafe(entriesBytes(entries));
    writeEntries(rest, 0, first.index - 1, entries);
    return { head: EMPTY, rest };
  }
  const head = Buffer.allocUnsafe(RUN_BYTES + ENTRY_BYTES);
  head.writeUInt32LE(1, writeCounter(head, 0, first.term));
  head[RUN_BYTES] = KINDS.indexOf(first.kind);
  head.writeUInt32LE(first.data.length, RUN_BYTES + 1);
  return { head, rest: first.data };
}

/** Bytes of a body with `message` alone, up to the `rest` of its entries. */
export function appendStartBytes(head: Uint8Array): number {
  return MESSAGES_HEAD_BYTES + APPEND_BYTES + head.length;
}

/** Writes that part of the body. */
export function writeAppendStart(buffer: Buffer, at: number, message: Append, head: Uint8Array): number {
  buffer.writeUInt16LE(1, at);
  const end = writeAppendHead(buffer, at + MESSAGES_HEAD_BYTES, message);
  buffer.set(head, end);
  return end + head.length;
}

function writeEntries(buffer: Buffer, start: number, previous: number, entries: readonly Entry[]): number {
  let at = start;
  let term = -1;
  let countAt = 0;
  let count = 0;
  for (let i = 0; i < entries.length; i++) {
    const entry = present(entries[i], 'entry');
    // The words are made only when they are needed: this runs for every entry.
    if (entry.index !== previous + 1 + i) assert(false, `entry ${entry.index} stands where ${previous + 1 + i} belongs`);
    if (entry.term !== term) {
      term = entry.term;
      countAt = writeCounter(buffer, at, term);
      at = countAt + 4;
      count = 0;
    }
    buffer.writeUInt32LE(++count, countAt);
    buffer[at] = KINDS.indexOf(entry.kind);
    buffer.writeUInt32LE(entry.data.length, at + 1);
    buffer.set(entry.data, at + ENTRY_BYTES);
    at += ENTRY_BYTES + entry.data.length;
  }
  return at;
}

/** The messages of a body; throws `DecodeError`, and nothing else, for whatever bytes. */
export function readMessages(body: Uint8Array, from: NodeId, to: NodeId): readonly PlainMessage[] {
  const reader = new Reader(body);
  const count = reader.u16('the count of messages');
  if (count === 0 || count > MESSAGES_MAX) throw new DecodeError(`${count} messages in a frame; it has 1 to ${MESSAGES_MAX}`);
  const messages: PlainMessage[] = [];
  for (let i = 0; i < count; i++) messages.push(readMessage(reader, from, to));
  reader.end();
  return messages;
}

function readMessage(reader: Reader, from: NodeId, to: NodeId): PlainMessage {
  const kind = reader.u8('the kind of a message');
  const term = reader.counter('a term');
  switch (kind) {
    case VOTE: {
      const last = readEntryId(reader, term);
      const flags = reader.flags(3);
      return { kind: 'vote', from, to, term, last, pre: (flags & 1) !== 0, transfer: (flags & 2) !== 0 };
    }
    case VOTE_REPLY: {
      const flags = reader.flags(3);
      return { kind: 'vote_reply', from, to, term, pre: (flags & 1) !== 0, granted: (flags & 2) !== 0 };
    }
    case APPEND: {
      const previous = readEntryId(reader, term);
      const commit = reader.counter('a commit index');
      const round = reader.counter('a read round');
      const match = reader.counter('an index');
      return { kind: 'append', from, to, term, previous, entries: readEntries(reader, previous, term), commit, round, match };
    }
    case APPEND_REPLY: {
      const index = reader.counter('an index');
      const before = reader.counter('a term');
      const round = reader.counter('a read round');
      if (before > term) throw new DecodeError(`an entry of term ${before} in a message of term ${term}`);
      return { kind: 'append_reply', from, to, term, ok: reader.flags(1) === 1, index, before, round };
    }
    case TIMEOUT_NOW:
      return { kind: 'timeout_now', from, to, term };
    default:
      throw new DecodeError(`a message of kind ${kind}; this version knows 1 to ${TIMEOUT_NOW}`);
  }
}

function readEntries(reader: Reader, previous: EntryId, messageTerm: number): readonly Entry[] {
  const count = reader.u32('the count of entries');
  if (count > ENTRIES_MAX || count * ENTRY_BYTES > reader.rest) throw new DecodeError(`${count} entries in ${reader.rest} bytes`);
  const entries: Entry[] = [];
  let newest = previous.term;
  while (entries.length < count) {
    const term = reader.counter('the term of entries');
    if (term < newest || term === 0 || term > messageTerm) {
      throw new DecodeError(`entries of term ${term} after term ${newest} in a message of term ${messageTerm}`);
    }
    newest = term;
    const left = count - entries.length;
    const run = reader.u32('the length of a run');
    if (run === 0 || run > left) throw new DecodeError(`a run of ${run} entries where ${left} are left`);
    for (let i = 0; i < run; i++) {
      const kind = KINDS[reader.u8('the kind of an entry')];
      if (kind === undefined) throw new DecodeError('an entry of unknown kind');
      const data = reader.bytes(reader.u32('the length of an entry'), 'the data of an entry');
      entries.push({ term, index: previous.index + 1 + entries.length, kind, data });
    }
  }
  return entries;
}

/** A slot in a log whose owner has entered `messageTerm`: nobody holds entries of a later one. */
function readEntryId(reader: Reader, messageTerm: number): EntryId {
  const term = reader.counter('the term of an entry');
  const index = reader.counter('the index of an entry');
  if (term > messageTerm) throw new DecodeError(`an entry of term ${term} in a message of term ${messageTerm}`);
  if ((index === 0) !== (term === 0)) throw new DecodeError(`an entry at index ${index} of term ${term}`);
  return { term, index };
}

export function metaBytes({ configuration: { voters, outgoing, learners } }: SnapshotMeta): number {
  return 16 + 6 + 8 * (voters.length + outgoing.length + learners.length);
}

export function writeMeta(buffer: Buffer, start: number, meta: SnapshotMeta): number {
  writeEntryId(buffer, start, meta);
  const { voters, outgoing, learners } = meta.configuration;
  const lists = [voters, outgoing, learners];
  lists.forEach((list, i) => void buffer.writeUInt16LE(list.length, start + 16 + 2 * i));
  let at = start + 22;
  for (const id of lists.flat()) at = buffer.writeBigUInt64LE(id, at);
  return at;
}

/** The meta of a snapshot, sent by a leader of `messageTerm`. */
export function readMeta(reader: Reader, messageTerm: number): SnapshotMeta {
  const id = readEntryId(reader, messageTerm);
  if (id.index === 0) throw new DecodeError('a snapshot at index 0');
  const counts = [0, 1, 2].map(() => reader.u16('the count of members'));
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total > CONFIGURATION_MAX) throw new DecodeError(`a configuration of ${total} members; at most ${CONFIGURATION_MAX}`);
  const [voters, outgoing, learners] = counts.map((count) => readIds(reader, count));
  const configuration: Configuration = {
    voters: present(voters, 'voters'), outgoing: present(outgoing, 'outgoing'), learners: present(learners, 'learners'),
  };
  if (configuration.voters.length === 0) throw new DecodeError('a configuration in which nobody votes');
  if (configuration.learners.some((learner) => configuration.voters.includes(learner))) {
    throw new DecodeError('a configuration in which a learner votes');
  }
  return { ...id, configuration };
}

function readIds(reader: Reader, count: number): readonly NodeId[] {
  const ids: NodeId[] = [];
  let previous = 0n;
  for (let i = 0; i < count; i++) {
    const id = reader.id('a member');
    if (id <= previous) throw new DecodeError(`member ${id} after ${previous}: they must ascend`);
    ids.push(id);
    previous = id;
  }
  return ids;
}

/** Eight bytes; returns the offset behind them. */
export function writeCounter(buffer: Buffer, at: number, value: number): number {
  if (!(value >= 0 && value <= COUNTER_MAX && Number.isInteger(value))) assert(false, `${value} is no counter`);
  const high = Math.floor(value / TWO_TO_32);
  buffer.writeUInt32LE(value - high * TWO_TO_32, at);
  return buffer.writeUInt32LE(high, at + 4);
}

function writeEntryId(buffer: Buffer, at: number, { term, index }: EntryId): void {
  writeCounter(buffer, writeCounter(buffer, at, term), index);
}

/** Reads forward and never past the end; what is missing or out of bounds is a `DecodeError` that names it. */
export class Reader {
  readonly #buffer: Buffer;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#buffer = view(bytes);
    this.#at = at;
  }

  get rest(): number {
    return this.#buffer.length - this.#at;
  }

  u8(what: string): number {
    return this.#buffer.readUInt8(this.#take(1, what));
  }

  u16(what: string): number {
    return this.#buffer.readUInt16LE(this.#take(2, what));
  }

  u32(what: string): number {
    return this.#buffer.readUInt32LE(this.#take(4, what));
  }

  counter(what: string): number {
    const at = this.#take(8, what);
    const value = this.#buffer.readUInt32LE(at) + this.#buffer.readUInt32LE(at + 4) * TWO_TO_32;
    if (value > COUNTER_MAX) throw new DecodeError(`${what} of ${value}: larger than any real one (${COUNTER_MAX})`);
    return value;
  }

  id(what: string): NodeId {
    return this.#buffer.readBigUInt64LE(this.#take(8, what));
  }

  /** One byte of which only the bits in `known` may be set. */
  flags(known: number): number {
    const flags = this.u8('flags');
    if ((flags & ~known) !== 0) throw new DecodeError(`flags ${flags}; this version knows ${known}`);
    return flags;
  }

  /** A view, not a copy. A plain array: `slice` of a Buffer would be a view where its readers expect a copy. */
  bytes(length: number, what: string): Uint8Array {
    const at = this.#take(length, what);
    return new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset + at, length);
  }

  /** What is left, a view. */
  remaining(): Uint8Array {
    return this.bytes(this.rest, 'the rest');
  }

  end(): void {
    if (this.rest > 0) throw new DecodeError(`${this.rest} bytes too many`);
  }

  #take(count: number, what: string): number {
    const at = this.#at;
    if (count > this.#buffer.length - at) throw new DecodeError(`${what} ends after ${this.rest} of ${count} bytes`);
    this.#at = at + count;
    return at;
  }
}
