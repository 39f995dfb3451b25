// The store as bytes. A sequence of frames: length and checksum (each four bytes, little endian), then the payload, whose
// first byte names its section. The checksum is chained from frame to frame, so a frame that is damaged, missing, doubled
// or out of place is noticed before it is read; an end frame says that nothing is missing behind it.
//
//   HEAD    magic, form, term and index applied, revision, compacted, number of keys and rows
//   MEMBERS configuration, ids of those removed, records
//   LEASES  id, ttl, granted at, remaining   in the order they were granted
//   KEYS    shared, rest          in byte order, each told by how much it shares with the one before
//   ROWS    key number, revision, …, length of the value    in the order of revisions; then the values of the frame
//   ALARMS, AUTH    only where there are any, so that releases that know neither read a store without; AUTH in pieces
//   END
//
// Only what can be seen is written (not what compaction superseded, though it may still lie in memory), in an order that
// follows from the log: so equal entries give equal bytes on every replica, whatever its past. Keys lie in order and rows
// refer to them by number, so loading neither sorts nor searches.

import { assert } from '../base/assert.js';
import { EMPTY } from '../base/bytes.js';
import { checksum } from '../base/crc.js';
import type { Revision } from '../client.js';
import { Alarms } from './alarms.js';
import type { Arena } from './arena.js';
import { AuthTable } from './auth.js';
import { ByteReader, ByteWriter, VARINT_BYTES_MAX, writeVarint } from './binary.js';
import type { LeaseRecord } from './leases.js';
import { SNAPSHOT_CHUNK_BYTES, SNAPSHOT_STEPS } from './limits.js';
import { MemberTable } from './members.js';
import { NONE } from './rows.js';
import { Table } from './table.js';

/** What `freeze` keeps hold of. Rows below `rowsEnd` do not move while it does. */
export interface Frozen {
  readonly table: Table;
  readonly applied: { readonly term: number; readonly index: number };
  readonly revision: Revision;
  readonly compacted: Revision;
  readonly rowsEnd: number;
  /** All slots in byte order of their keys. */
  readonly slots: Uint32Array;
  /** None of them is of a key that is gone. */
  readonly isAllLive: boolean;
  readonly leases: readonly Lease[];
  /** Written when the store was frozen. */
  readonly members: Uint8Array;
  /** The same. */
  readonly alarms: Uint8Array;
  /** The same. */
  readonly auth: Uint8Array;
}

type Lease = Pick<LeaseRecord, 'id' | 'ttlSeconds' | 'granted' | 'remainingSeconds'>;

export interface Loaded {
  readonly table: Table;
  readonly members: MemberTable;
  readonly alarms: Alarms;
  readonly auth: AuthTable;
  readonly applied: { readonly term: number; readonly index: number };
  readonly revision: Revision;
  readonly compacted: Revision;
}

const MAGIC = 0x43544553;
const FORM = 1;
const HEAD = 1;
const MEMBERS = 2;
const LEASES = 3;
const KEYS = 4;
const ROWS = 5;
const END = 6;
const ALARMS = 7;
const AUTH = 8;

/** Sections stand in this order, whatever their numbers are. */
const SECTIONS: readonly number[] = [0, HEAD, MEMBERS, LEASES, KEYS, ROWS, ALARMS, AUTH, END];

const FRAME_HEADER_BYTES = 8;
/** A length above this is damage: no key or value comes near it. */
const FRAME_BYTES_MAX = 2 ** 30;

/** Of what is kept with them, values that stay where they were read are at least so many times the rest. */
const VALUES_SHARE_MIN = 7;

/** A flag, a key's number, four more numbers, a lease. */
const ROW_BYTES_MAX = 1 + 5 * VARINT_BYTES_MAX + 8;

/** Frames are lent in so much memory: one that has more, because its last value is large, has memory of its own. */
const LENT_BYTES_MAX = SNAPSHOT_CHUNK_BYTES + 128 * 1024;

const ROW_TOMBSTONE = 1;
const ROW_LEASE = 2;
const ROW_CREATED = 4;

/**
 * An empty piece carries nothing: it gives the driver's other work a turn. With `isLent` all pieces are written to the same
 * memory, which saves the system the making of as much as the store has.
 */
export function* chunksOf(frozen: Frozen, isLent: boolean): Iterable<Uint8Array> {
  const frames = new FrameWriter(isLent);
  const { writer } = frames;
  const counted = yield* numberKeys(frozen);
  writer.byte(HEAD);
  writer.u32(MAGIC);
  writer.byte(FORM);
  writer.varint(frozen.applied.term);
  writer.varint(frozen.applied.index);
  writer.varint(frozen.revision);
  writer.integer(frozen.compacted);
  writer.varint(counted.keys);
  yield frames.close();
  writer.byte(MEMBERS);
  writer.raw(frozen.members);
  yield frames.close();
  yield* leaseFrames(frozen, frames);
  yield* keyFrames(frozen, frames, counted.numbers);
  yield* rowFrames(frozen, frames, counted.numbers);
  if (frozen.alarms.length > 0) {
    writer.byte(ALARMS);
    writer.raw(frozen.alarms);
    yield frames.close();
  }
  for (let at = 0; at < frozen.auth.length; at += SNAPSHOT_CHUNK_BYTES) {
    writer.byte(AUTH);
    writer.raw(frozen.auth.subarray(at, at + SNAPSHOT_CHUNK_BYTES));
    yield frames.close();
  }
  writer.byte(END);
  yield frames.close();
}

/** The number of each key by slot, from 0 in byte order; NONE for keys nothing can be seen of any more. */
function* numberKeys(frozen: Frozen): Generator<Uint8Array, { numbers: Uint32Array; keys: number }> {
  const { table, slots, compacted } = frozen;
  const numbers = new Uint32Array(table.keys.slotsEnd).fill(NONE);
  // A key that is not gone can be seen: there is no need to look at what is far away in memory.
  const isAllSeen = frozen.isAllLive || compacted <= 0;
  let count = 0;
  for (let i = 0; i < slots.length; i++) {
    if ((i + 1) % SNAPSHOT_STEPS === 0) yield EMPTY;
    const slot = slots[i] as number;
    if (isAllSeen || isSeen(frozen, slot)) numbers[slot] = count++;
  }
  return { numbers, keys: count };
}

/** Of the rows of a key the newest goes last: if it cannot be seen, none can. */
function isSeen({ table, rowsEnd, compacted }: Frozen, slot: number): boolean {
  const { keys, rows } = table;
  let row = keys.newest(slot);
  while (row !== NONE && row >= rowsEnd) row = rows.prev(row);
  assert(row !== NONE, 'a key had no row when the store was frozen');
  return !table.isSuperseded(row, compacted);
}

function* leaseFrames(frozen: Frozen, frames: FrameWriter): Iterable<Uint8Array> {
  const { writer } = frames;
  for (const { id, ttlSeconds, granted, remainingSeconds } of frozen.leases) {
    if (writer.length === 0) writer.byte(LEASES);
    writer.i64(id);
    writer.integer(ttlSeconds);
    writer.varint(granted);
    writer.integer(remainingSeconds);
    if (writer.length >= SNAPSHOT_CHUNK_BYTES) yield frames.close();
  }
  if (writer.length > 0) yield frames.close();
}

function* keyFrames(frozen: Frozen, frames: FrameWriter, numbers: Uint32Array): Iterable<Uint8Array> {
  const { writer } = frames;
  const { keys } = frozen.table;
  const { slots } = frozen;
  let last = NONE;
  for (let i = 0; i < slots.length; i++) {
    if ((i + 1) % SNAPSHOT_STEPS === 0) yield EMPTY;
    const slot = slots[i] as number;
    if (numbers[slot] === NONE) continue;
    if (writer.length === 0) {
      writer.byte(KEYS);
      last = NONE;
    }
    const shared = last === NONE ? 0 : keys.sharedBytes(last, slot);
    writer.varint(shared);
    writer.varint(keys.length(slot) - shared);
    writer.copy(keys.chunkBytes(slot), keys.offset(slot) + shared, keys.length(slot) - shared);
    last = slot;
    if (writer.length >= SNAPSHOT_CHUNK_BYTES) yield frames.close();
  }
  if (writer.length > 0) yield frames.close();
}

function* rowFrames(frozen: Frozen, frames: FrameWriter, numbers: Uint32Array): Iterable<Uint8Array> {
  const { table, rowsEnd } = frozen;
  const { rows } = table;
  const writer = new RowWriter(frozen, numbers);
  const close = (): Uint8Array => {
    frames.writer.byte(ROWS);
    frames.writer.bytes(writer.facts.subarray(0, writer.length));
    writer.length = 0;
    return frames.close(writer.values);
  };
  let steps = 0;
  for (let row = rows.first(0); row < rowsEnd; row = rows.after(row)) {
    if (++steps % SNAPSHOT_STEPS === 0) yield EMPTY;
    writer.write(row);
    if (writer.length + writer.values.length >= SNAPSHOT_CHUNK_BYTES) yield close();
  }
  if (writer.length > 0) yield close();
}

/** Rows as they stand in a frame, and where their values are. */
class RowWriter {
  /** Begins with those of the rows since `length` was 0 last. A frame is closed before there is no room for another. */
  readonly facts = new Uint8Array(SNAPSHOT_CHUNK_BYTES + ROW_BYTES_MAX);
  length = 0;
  readonly values: ValueRuns;
  readonly #table: Table;
  readonly #compacted: Revision;
  readonly #numbers: Uint32Array;
  #main = 0;

  constructor({ table, compacted }: Frozen, numbers: Uint32Array) {
    this.values = new ValueRuns(table.values);
    this.#table = table;
    this.#compacted = compacted;
    this.#numbers = numbers;
  }

  /** Nothing, if it cannot be seen. */
  write(row: number): void {
    const { rows } = this.#table;
    const main = rows.main(row);
    if (main <= this.#compacted && this.#table.isSuperseded(row, this.#compacted)) return;
    const number = this.#numbers[rows.slot(row)] as number;
    assert(number !== NONE, 'a row that can be seen has a key that can not');
    const delta = main - this.#main;
    assert(delta >= 0, 'rows are not in the order of revisions');
    this.#main = main;
    const { facts } = this;
    const version = rows.version(row);
    const hasLease = rows.hasLease(row);
    const isCreated = version === 1;
    facts[this.length] = (version === 0 ? ROW_TOMBSTONE : 0) | (hasLease ? ROW_LEASE : 0) | (isCreated ? ROW_CREATED : 0);
    let at = writeVarint(facts, writeVarint(facts, this.length + 1, number), delta);
    if (version !== 0) {
      const age = main - rows.create(row);
      assert(age >= 0, 'a row is older than its key');
      if (!isCreated) at = writeVarint(facts, writeVarint(facts, at, age), version);
      if (hasLease) at = writeI64(facts, at, rows.lease(row));
      const length = rows.valueLength(row);
      at = writeVarint(facts, at, length);
      if (length > 0) this.values.add(rows.chunk(row), rows.offset(row), length);
    }
    this.length = at;
  }
}

function writeI64(target: Uint8Array, at: number, n: bigint): number {
  new DataView(target.buffer, target.byteOffset).setBigInt64(at, n, true);
  return at + 8;
}

/** Gathers where values are. Those that lie side by side, as those of successive rows mostly do, are copied together. */
class ValueRuns {
  length = 0;
  readonly #arena: Arena;
  /** Chunk, start and end of each but the last. */
  readonly #runs: number[] = [];
  #chunk = NONE;
  #start = 0;
  #end = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  add(chunk: number, offset: number, length: number): void {
    this.length += length;
    if (chunk !== this.#chunk || offset !== this.#end) {
      this.#endRun();
      this.#chunk = chunk;
      this.#start = offset;
    }
    this.#end = offset + length;
  }

  /** Copies what was gathered since the last time to `at`. */
  moveTo(target: Uint8Array, at: number): void {
    this.#endRun();
    const runs = this.#runs;
    let to = at;
    for (let i = 0; i < runs.length; i += 3) {
      const [chunk, start, end] = [runs[i] as number, runs[i + 1] as number, runs[i + 2] as number];
      target.set(this.#arena.view(chunk, start, end - start), to);
      to += end - start;
    }
    runs.length = 0;
    this.#chunk = NONE;
    this.length = 0;
  }

  #endRun(): void {
    if (this.#chunk !== NONE) this.#runs.push(this.#chunk, this.#start, this.#end);
  }
}

class FrameWriter {
  readonly writer = new ByteWriter();
  readonly #isLent: boolean;
  #memory = Buffer.alloc(0);
  #checksum = 0;

  constructor(isLent: boolean) {
    this.#isLent = isLent;
  }

  /** What was written since the last, and the values behind it, as a frame: values are copied but once. */
  close(values: ValueRuns | null = null): Uint8Array {
    const written = this.writer.peek();
    const length = written.length + (values?.length ?? 0);
    const frame = this.#frame(FRAME_HEADER_BYTES + length);
    frame.set(written, FRAME_HEADER_BYTES);
    values?.moveTo(frame, FRAME_HEADER_BYTES + written.length);
    this.#checksum = checksum(frame.subarray(FRAME_HEADER_BYTES), this.#checksum);
    frame.writeUInt32LE(length, 0);
    frame.writeUInt32LE(this.#checksum, 4);
    this.writer.clear();
    return new Uint8Array(frame.buffer, frame.byteOffset, frame.length);
  }

  #frame(bytes: number): Buffer {
    if (!this.#isLent || bytes > LENT_BYTES_MAX) return Buffer.allocUnsafeSlow(bytes);
    if (this.#memory.length === 0) this.#memory = Buffer.allocUnsafeSlow(LENT_BYTES_MAX);
    return this.#memory.subarray(0, bytes);
  }
}

/** Reads the frames, cut up in whatever way they arrive. Nothing it allocates is sized by a byte that was not checked. */
export class SnapshotReader {
  readonly #table = new Table();
  #members = new MemberTable();
  #alarms = new Alarms();
  #auth: Uint8Array[] = [];
  #checksum = 0;
  #read = 0;
  /** The bytes of a frame that has not all arrived. */
  #partial: Uint8Array[] = [];
  #partialBytes = 0;
  #section = 0;
  #head: { term: number; index: number; revision: number; compacted: number; keys: number } | null = null;
  #main = 0;
  /** The key read last, at the front. */
  #key: Uint8Array = new Uint8Array(256);

  push(chunk: Uint8Array): void {
    this.#partial.push(chunk);
    this.#partialBytes += chunk.length;
    if (this.#partialBytes < this.#needed()) return;
    let bytes: Uint8Array = this.#partial.length === 1 ? chunk : Buffer.concat(this.#partial);
    for (;;) {
      this.#partial = [bytes];
      this.#partialBytes = bytes.length;
      const needed = this.#needed();
      if (bytes.length < needed) break;
      this.#frame(bytes.subarray(0, needed));
      bytes = bytes.subarray(needed);
    }
    if (bytes.length === 0) this.#partial = [];
  }

  finish(): Loaded {
    const head = this.#head;
    if (this.#section !== END || this.#partialBytes > 0 || head === null) {
      throw new Error(`the snapshot ends too early: ${this.#partialBytes} bytes after byte ${this.#read} are no whole frame`);
    }
    const { term, index, revision, compacted } = head;
    const [table, members, alarms] = [this.#table, this.#members, this.#alarms];
    const auth = this.#auth.length === 0 ? new AuthTable() : AuthTable.read(new ByteReader(Buffer.concat(this.#auth)));
    return { table, members, alarms, auth, applied: { term, index }, revision, compacted };
  }

  /** Bytes of the next frame, as far as known. */
  #needed(): number {
    if (this.#partialBytes < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
    const first = this.#partial[0];
    const header = first !== undefined && first.length >= 4 ? first : Buffer.concat(this.#partial);
    const length = new DataView(header.buffer, header.byteOffset).getUint32(0, true);
    if (length > FRAME_BYTES_MAX) throw new Error(`the snapshot is damaged at byte ${this.#read}: a frame of ${length} bytes`);
    return FRAME_HEADER_BYTES + length;
  }

  #frame(frame: Uint8Array): void {
    const payload = frame.subarray(FRAME_HEADER_BYTES);
    const expected = new DataView(frame.buffer, frame.byteOffset).getUint32(4, true);
    this.#checksum = checksum(payload, this.#checksum);
    if (this.#checksum !== expected) throw new Error(`the snapshot is damaged at byte ${this.#read}: wrong checksum`);
    try {
      this.#payload(new ByteReader(payload));
    } catch (cause) {
      throw new Error(`the snapshot cannot be read at byte ${this.#read}`, { cause });
    }
    this.#read += frame.length;
  }

  #payload(reader: ByteReader): void {
    const section = reader.byte();
    assert(this.#section !== END, 'something follows the end');
    const isFirst = this.#section === 0;
    const isInPlace = SECTIONS.indexOf(section) >= SECTIONS.indexOf(this.#section) && (section === HEAD) === isFirst;
    assert(isInPlace, `section ${section} is out of place`);
    this.#section = section;
    switch (section) {
      case HEAD:
        return this.#readHead(reader);
      case LEASES:
        while (reader.rest > 0) {
          this.#table.leases.grant(reader.i64(), reader.integer(), reader.varint(), reader.integer());
        }
        return;
      case MEMBERS:
        this.#members = MemberTable.read(reader);
        return;
      case KEYS:
        return this.#readKeys(reader);
      case ROWS:
        return this.#readRows(reader);
      case ALARMS:
        this.#alarms = Alarms.read(reader);
        return;
      case AUTH:
        this.#auth.push(reader.raw(reader.rest));
        return;
      case END:
        return this.#end();
      default:
        assert(false, `${section} is no section`);
    }
  }

  #readHead(reader: ByteReader): void {
    assert(reader.u32() === MAGIC, 'this is no snapshot of a store');
    const form = reader.byte();
    assert(form === FORM, `a snapshot in form ${form}: this release reads form ${FORM} only, so a newer one wrote it`);
    this.#head = {
      term: reader.varint(),
      index: reader.varint(),
      revision: reader.varint(),
      compacted: reader.integer(),
      keys: reader.varint(),
    };
  }

  #readKeys(reader: ByteReader): void {
    let length = 0;
    for (let isFirst = true; reader.rest > 0; isFirst = false) {
      const shared = reader.varint();
      const rest = reader.varint();
      assert(shared <= length, 'a key shares more than there is');
      if (this.#key.length < shared + rest) this.#key = grown(this.#key, shared + rest);
      const above = shared === length || reader.peek() > (this.#key[shared] as number);
      assert(isFirst || (rest > 0 && above), 'keys are not in order');
      reader.copy(this.#key, shared, rest);
      length = shared + rest;
      this.#table.keys.load(this.#key, length, isFirst);
    }
  }

  #readRows(reader: ByteReader): void {
    const end = reader.varint() + reader.at;
    const { values } = this.#table;
    const blob = reader.from(end);
    // Values stay where they were read, unless too much else would stay in memory with them.
    const isMost = blob.length >= end * VALUES_SHARE_MIN;
    const chunk = blob.length === 0 ? 0 : values.adopt(isMost ? blob : new Uint8Array(blob));
    let offset = 0;
    while (reader.at < end) offset += this.#readRow(reader, chunk, offset);
    assert(reader.at === end && offset === blob.length, 'rows and their values do not fit');
  }

  /** Returns the length of the row's value. */
  #readRow(reader: ByteReader, chunk: number, offset: number): number {
    const { rows, keys } = this.#table;
    const flags = reader.byte();
    const slot = reader.varint();
    assert(slot < keys.slotsEnd, `a row of key ${slot}, which was not told`);
    const main = this.#main + reader.varint();
    this.#main = main;
    const old = keys.newest(slot);
    const row = rows.append(slot, old, main);
    keys.setNewest(slot, row);
    if ((flags & ROW_TOMBSTONE) !== 0) {
      rows.setValue(row, 0, 0, 0);
      rows.fill(row, 0, 0, 0n);
      return 0;
    }
    const isCreated = (flags & ROW_CREATED) !== 0;
    const create = isCreated ? main : main - reader.varint();
    const version = isCreated ? 1 : reader.varint();
    rows.fill(row, create, version, (flags & ROW_LEASE) === 0 ? 0n : reader.i64());
    const length = reader.varint();
    rows.setValue(row, length === 0 ? 0 : chunk, length === 0 ? 0 : offset, length);
    return length;
  }

  #end(): void {
    const { rows, keys, leases } = this.#table;
    assert(this.#head?.keys === keys.slotsEnd, `${keys.slotsEnd} keys were read, ${this.#head?.keys} announced`);
    assert(this.#main <= this.#head.revision, `a row at revision ${this.#main}, above the last, ${this.#head.revision}`);
    for (let slot = 0; slot < keys.slotsEnd; slot++) {
      const row = keys.newest(slot);
      assert(row !== NONE, 'a key has no row');
      if (rows.hasLease(row)) leases.attach(rows.lease(row), slot);
    }
    keys.loaded();
  }
}

function grown(bytes: Uint8Array, needed: number): Uint8Array {
  const larger = new Uint8Array(Math.max(needed, 2 * bytes.length));
  larger.set(bytes);
  return larger;
}
