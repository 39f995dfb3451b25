// The bytes of the log. What is synced together is one group: a header, the batches' records, a trailer. All numbers are
// little-endian; `salt` is a checksum over cluster, member and segment number, so that a group found elsewhere is not valid.
//
//   header    magic u32 · body bytes u32 · group u64 · its offset in the file u64 · synced u64 · checksum u32 (salted)
//   body      run: 1 · term u64 · first index u64 · count u32, then for each entry: kind u8 · length u32 · data
//             cut: 2 · index u64                                entries after it are void
//             filler: 3 · length u32 · zeros
//             restart: 4 · index u64 · term u64        every entry before it is void: a snapshot of that place was installed
//   trailer   magic u32 · flags u32 · group u64 · offset u64 · last index u64 · term u64 · vote u64 · commit u64 ·
//             synced u64 · chain u32 · checksum u32 (salted)
//
// The chain is the checksum of header and body continued from the group before, so no group can be lost or exchanged.
// Flags: 1 sealed, nothing follows in this segment; 2 its sync is waited for.
// `synced` is the newest group known to be durable when this one was written: what it names must be readable for ever.

import { assert, present } from '../base/assert.js';
import { checksum } from '../base/crc.js';
import type { Entry, EntryId, HardState, Index, NodeId, Persist, Term } from '../raft/types.js';
import { BUFFER_KEPT_BYTES, BUFFER_PATIENCE, BUFFER_SHARE, SECTOR_BYTES } from './limits.js';

export const HEADER_BYTES = 36;
export const TRAILER_BYTES = 72;
export const HEADER_MAGIC = 0x70726743;
export const TRAILER_MAGIC = 0x656e6f44;

const RUN = 1;
const CUT = 2;
const FILLER = 3;
const RESTART = 4;
const RUN_BYTES = 21;
const CUT_BYTES = 9;
const FILLER_BYTES = 5;
const RESTART_BYTES = 17;
const ENTRY_BYTES = 5;
const SEALED = 1;
const AWAITED = 2;
const FIRST_BUFFER_BYTES = 64 << 10;
const KINDS: readonly Entry['kind'][] = ['empty', 'command', 'members'];

export interface GroupHeader {
  readonly bodyBytes: number;
  readonly group: number;
  readonly offset: number;
  readonly synced: number;
}

export interface GroupTrailer {
  readonly group: number;
  readonly offset: number;
  readonly synced: number;
  readonly lastIndex: Index;
  readonly hard: HardState;
  readonly chain: number;
  /** Nothing follows in this segment; the next one exists. */
  readonly sealed: boolean;
  /** Its sync is waited for, so a failure of that matters even where the group says nothing new. */
  readonly awaited: boolean;
}

/** Where a group comes to lie. */
export interface Place {
  readonly group: number;
  readonly offset: number;
  readonly synced: number;
  readonly salt: number;
  /** The chain up to the group before. */
  readonly chain: number;
}

/** 'idle': a proof whose sync nobody waits for. */
export type GroupKind = 'synced' | 'sealed' | 'idle';

const FLAGS: Readonly<Record<GroupKind, number>> = { synced: AWAITED, sealed: SEALED | AWAITED, idle: 0 };

/** Gathers batches into the bytes of one group. Each value is copied once, into a buffer that is used again and again. */
export class GroupBuilder {
  #buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  #length = HEADER_BYTES;
  /** Groups in a row that took little of the buffer. */
  #idle = 0;
  #hard: HardState | null = null;
  #lastIndex: Index | null = null;
  #highestIndex: Index = 0;

  get sizeBytes(): number {
    return this.#length + TRAILER_BYTES;
  }

  /** The newest hard state and end of the log among the batches; null: unchanged by them. */
  get hard(): HardState | null {
    return this.#hard;
  }

  get lastIndex(): Index | null {
    return this.#lastIndex;
  }

  /** The largest index among the entries, void ones included; 0: none. */
  get highestIndex(): Index {
    return this.#highestIndex;
  }

  add(batch: Persist): void {
    if (batch.hard !== null) this.#hard = batch.hard;
    if (batch.truncateAfter !== null) this.#addCut(batch.truncateAfter);
    if (batch.snapshot !== null) this.addRestart(batch.snapshot);
    const { entries } = batch;
    for (let start = 0; start < entries.length;) start = this.#addRun(entries, start);
  }

  /** The log goes on after `id`, whatever it held before. */
  addRestart(id: EntryId): void {
    this.#reserve(RESTART_BYTES);
    this.#buffer[this.#length] = RESTART;
    writeU64(this.#buffer, this.#length + 1, id.index);
    writeU64(this.#buffer, this.#length + 9, id.term);
    this.#length += RESTART_BYTES;
    this.#lastIndex = id.index;
  }

  /** Filler up to the next sector, for a group at `offset`: its trailer must not share a sector with the group before. */
  addFiller(offset: number): void {
    const length = -(offset + this.#length + FILLER_BYTES) & (SECTOR_BYTES - 1);
    this.#reserve(FILLER_BYTES + length);
    this.#buffer[this.#length] = FILLER;
    this.#buffer.writeUInt32LE(length, this.#length + 1);
    this.#length += FILLER_BYTES;
    this.#buffer.fill(0, this.#length, this.#length + length);
    this.#length += length;
  }

  /** The finished group, valid until `clear`; and the chain through it. */
  finish(place: Place, hard: HardState, lastIndex: Index, kind: GroupKind): { bytes: Uint8Array; chain: number } {
    this.#reserve(TRAILER_BYTES);
    const buffer = this.#buffer;
    const end = this.#length;
    buffer.writeUInt32LE(HEADER_MAGIC, 0);
    buffer.writeUInt32LE(end - HEADER_BYTES, 4);
    writeU64(buffer, 8, place.group);
    writeU64(buffer, 16, place.offset);
    writeU64(buffer, 24, place.synced);
    buffer.writeUInt32LE(checksum(buffer.subarray(0, 32), place.salt), 32);
    const chain = checksum(buffer.subarray(0, end), place.chain);
    buffer.writeUInt32LE(TRAILER_MAGIC, end);
    buffer.writeUInt32LE(FLAGS[kind], end + 4);
    writeU64(buffer, end + 8, place.group);
    writeU64(buffer, end + 16, place.offset);
    writeU64(buffer, end + 24, lastIndex);
    writeHard(buffer, end + 32, hard);
    writeU64(buffer, end + 56, place.synced);
    buffer.writeUInt32LE(chain, end + 64);
    buffer.writeUInt32LE(checksum(buffer.subarray(end, end + 68), place.salt), end + 68);
    return { bytes: buffer.subarray(0, end + TRAILER_BYTES), chain };
  }

  clear(): void {
    // Memory made anew for each of many large groups is what the collector hears of most; kept for ever, it would be wasted.
    this.#idle = this.#length > this.#buffer.length * BUFFER_SHARE ? 0 : this.#idle + 1;
    const isWasteful = this.#idle >= BUFFER_PATIENCE && this.#buffer.length > FIRST_BUFFER_BYTES;
    if (isWasteful || this.#buffer.length > BUFFER_KEPT_BYTES) this.#buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
    this.#length = HEADER_BYTES;
    this.#hard = null;
    this.#lastIndex = null;
    this.#highestIndex = 0;
  }

  #addCut(index: Index): void {
    this.#reserve(CUT_BYTES);
    this.#buffer[this.#length] = CUT;
    writeU64(this.#buffer, this.#length + 1, index);
    this.#length += CUT_BYTES;
    this.#lastIndex = index;
  }

  /** Entries of one term from `start` on; returns where the next run begins. */
  #addRun(entries: readonly Entry[], start: number): number {
    const first = present(entries[start], 'first entry of a run');
    let end = start;
    let bytes = RUN_BYTES;
    for (; end < entries.length; end++) {
      const entry = present(entries[end], 'entry');
      if (entry.term !== first.term) break;
      bytes += ENTRY_BYTES + entry.data.length;
    }
    this.#reserve(bytes);
    const buffer = this.#buffer;
    let at = this.#length;
    buffer[at] = RUN;
    writeU64(buffer, at + 1, first.term);
    writeU64(buffer, at + 9, first.index);
    buffer.writeUInt32LE(end - start, at + 17);
    at += RUN_BYTES;
    for (let i = start; i < end; i++) {
      const { kind, data } = present(entries[i], 'entry');
      buffer[at] = KINDS.indexOf(kind);
      buffer.writeUInt32LE(data.length, at + 1);
      buffer.set(data, at + ENTRY_BYTES);
      at += ENTRY_BYTES + data.length;
    }
    this.#length = at;
    this.#lastIndex = first.index + end - start - 1;
    this.#highestIndex = Math.max(this.#highestIndex, this.#lastIndex);
    return end;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes + TRAILER_BYTES;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** null: not a header that belongs to this segment. */
export function readHeader(buffer: Buffer, at: number, salt: number): GroupHeader | null {
  if (at + HEADER_BYTES > buffer.length || buffer.readUInt32LE(at) !== HEADER_MAGIC) return null;
  if (checksum(buffer.subarray(at, at + 32), salt) !== buffer.readUInt32LE(at + 32)) return null;
  return {
    bodyBytes: buffer.readUInt32LE(at + 4),
    group: readU64(buffer, at + 8),
    offset: readU64(buffer, at + 16),
    synced: readU64(buffer, at + 24),
  };
}

/** null: not a trailer that belongs to this segment. */
export function readTrailer(buffer: Buffer, at: number, salt: number): GroupTrailer | null {
  if (at + TRAILER_BYTES > buffer.length || buffer.readUInt32LE(at) !== TRAILER_MAGIC) return null;
  if (checksum(buffer.subarray(at, at + 68), salt) !== buffer.readUInt32LE(at + 68)) return null;
  return {
    sealed: (buffer.readUInt32LE(at + 4) & SEALED) !== 0,
    awaited: (buffer.readUInt32LE(at + 4) & AWAITED) !== 0,
    group: readU64(buffer, at + 8),
    offset: readU64(buffer, at + 16),
    lastIndex: readU64(buffer, at + 24),
    hard: readHard(buffer, at + 32),
    synced: readU64(buffer, at + 56),
    chain: buffer.readUInt32LE(at + 64),
  };
}

export interface RecordReader {
  onCut(index: Index): void;
  onRestart(id: EntryId): void;
  /** `data` starts at `from` in the buffer and ends before `to`. */
  onEntry(kind: Entry['kind'], term: Term, index: Index, from: number, to: number): void;
}

/** Walks the records of a body whose checksum was right, so anything odd is a format this program does not know. */
export function readBody(buffer: Buffer, from: number, to: number, reader: RecordReader): void {
  let at = from;
  while (at < to) {
    const kind = buffer[at];
    if (kind === RUN) {
      at = readRun(buffer, at, reader);
    } else if (kind === CUT) {
      reader.onCut(readU64(buffer, at + 1));
      at += CUT_BYTES;
    } else if (kind === RESTART) {
      reader.onRestart({ index: readU64(buffer, at + 1), term: readU64(buffer, at + 9) });
      at += RESTART_BYTES;
    } else {
      assert(kind === FILLER, `record kind ${kind} is unknown`);
      at += FILLER_BYTES + buffer.readUInt32LE(at + 1);
    }
  }
  assert(at === to, 'the last record of a group ends beyond the group');
}

function readRun(buffer: Buffer, start: number, reader: RecordReader): number {
  const term = readU64(buffer, start + 1);
  const first = readU64(buffer, start + 9);
  const count = buffer.readUInt32LE(start + 17);
  let at = start + RUN_BYTES;
  for (let i = 0; i < count; i++) {
    const kind = present(KINDS[buffer[at] ?? KINDS.length], 'kind of an entry');
    const end = at + ENTRY_BYTES + buffer.readUInt32LE(at + 1);
    reader.onEntry(kind, term, first + i, at + ENTRY_BYTES, end);
    at = end;
  }
  return at;
}

/** Counters are safe integers, so the upper half holds 21 bits. */
export function writeU64(buffer: Buffer, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, `${value} is not a counter`);
  buffer.writeUInt32LE(value >>> 0, at);
  buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

export function readU64(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at + 4) * 2 ** 32 + buffer.readUInt32LE(at);
}

export function writeHard(buffer: Buffer, at: number, hard: HardState): void {
  writeU64(buffer, at, hard.term);
  writeId(buffer, at + 8, hard.vote);
  writeU64(buffer, at + 16, hard.commit);
}

export function readHard(buffer: Buffer, at: number): HardState {
  return { term: readU64(buffer, at), vote: readId(buffer, at + 8), commit: readU64(buffer, at + 16) };
}

export function writeId(buffer: Buffer, at: number, id: NodeId): void {
  buffer.writeBigUInt64LE(id, at);
}

export function readId(buffer: Buffer, at: number): NodeId {
  return buffer.readBigUInt64LE(at);
}
