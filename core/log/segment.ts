// One file of the log: a header, then groups (record.ts). A segment's header is durable before its first group is written,
// and a full segment ends with a sealed group, written when the next segment exists. So the last segment is the one
// without a seal, a missing one is noticed, and its header tells where the chain and the hard state stood.
//
// Reading stops at the first group that is not valid. Whether that is an unfinished write or damage is decided by what
// follows: a later group may say that this one had been synced (reliability 2.4, rule 1). Zeros to the end are neither: they
// wait for groups to come.

import { checksum } from '../base/crc.js';
import { view } from '../base/bytes.js';
import type { Done } from '../base/done.js';
import type { Files } from '../base/files.js';
import type { HardState, NodeId } from '../raft/types.js';
import { GROUP_BYTES_MAX, READ_BYTES } from './limits.js';
import { LogError } from './log-storage.js';
import {
  HEADER_BYTES, HEADER_MAGIC, TRAILER_BYTES, TRAILER_MAGIC, readBody, readHard, readHeader, readId, readTrailer, readU64,
  writeHard, writeId, writeU64, type GroupTrailer, type RecordReader,
} from './record.js';

export const FORMAT = 2;
export const SEGMENT_HEADER_BYTES = 84;
const MAGIC = Buffer.from('coterieL', 'latin1');

export interface Identity {
  readonly clusterId: NodeId;
  readonly memberId: NodeId;
  /** This life of the member's data directory: drawn when the directory is made. One that lost its disk has another. */
  readonly incarnation: bigint;
}

export interface SegmentHeader {
  readonly number: number;
  readonly identity: Identity;
  readonly firstGroup: number;
  /** The chain through the segment before. */
  readonly chain: number;
  readonly hard: HardState;
}

export function segmentName(number: number): string {
  return `log-${String(number).padStart(10, '0')}.wal`;
}

/** null: not the name of a segment. */
export function segmentNumber(name: string): number | null {
  const match = /^log-(\d{10})\.wal$/.exec(name);
  return match === null ? null : Number(match[1]);
}

export function saltOf(identity: Identity, number: number): number {
  const bytes = Buffer.alloc(32);
  writeId(bytes, 0, identity.clusterId);
  writeId(bytes, 8, identity.memberId);
  writeId(bytes, 16, identity.incarnation);
  writeU64(bytes, 24, number);
  return checksum(bytes);
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(FORMAT, 8);
  bytes.writeUInt32LE(header.chain, 12);
  writeU64(bytes, 16, header.number);
  writeId(bytes, 24, header.identity.clusterId);
  writeId(bytes, 32, header.identity.memberId);
  writeU64(bytes, 40, header.firstGroup);
  writeHard(bytes, 48, header.hard);
  writeId(bytes, 72, header.identity.incarnation);
  bytes.writeUInt32LE(checksum(bytes.subarray(0, 80)), 80);
  return bytes;
}

/** null: damaged or not finished. */
function decodeSegmentHeader(bytes: Buffer): SegmentHeader | null {
  if (bytes.length < SEGMENT_HEADER_BYTES || checksum(bytes.subarray(0, 80)) !== bytes.readUInt32LE(80)) return null;
  if (!bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt32LE(8) !== FORMAT) return null;
  return {
    chain: bytes.readUInt32LE(12),
    number: readU64(bytes, 16),
    identity: { clusterId: readId(bytes, 24), memberId: readId(bytes, 32), incarnation: readId(bytes, 72) },
    firstGroup: readU64(bytes, 40),
    hard: readHard(bytes, 48),
  };
}

/** What one segment holds, read front to back. */
export interface SegmentEnd {
  /** null: the header is damaged or was never finished. */
  readonly header: SegmentHeader | null;
  /** Where the valid groups end. */
  readonly offset: number;
  readonly sizeBytes: number;
  /** Nothing but zeros follows; at least `offset`. */
  readonly usedBytes: number;
  readonly chain: number;
  readonly nextGroup: number;
  readonly last: GroupTrailer | null;
  /** A group that was relied on was not known to be durable when the last one was written. */
  readonly isDoubtful: boolean;
  /** There are bytes after `offset`, and something among them proves that what they lost had been synced. */
  readonly proven: boolean;
}

export interface SegmentSource {
  readonly files: Files;
  readonly path: string;
  readonly number: number;
  readonly identity: Identity;
}

/** For each valid group, in order: its records are read from `buffer`, which the reader may keep. */
export type GroupVisitor = (buffer: Buffer) => RecordReader;

/** Reads a segment in pieces of bounded size. Errors are the disk's; damage is told in the answer. */
export function readSegment(source: SegmentSource, visit: GroupVisitor, done: Done<SegmentEnd>): void {
  const { files, path } = source;
  files.stat(path, (error, stat) => {
    if (error !== null) return done(error);
    if (stat?.kind !== 'file') return done(new LogError(`${path} is not a file; put the missing segment back`));
    files.read(path, 0, SEGMENT_HEADER_BYTES, (failure, bytes) => {
      if (failure !== null || bytes === undefined) return done(failure);
      const header = decodeSegmentHeader(view(bytes));
      new SegmentScan(source, stat.sizeBytes, visit, header, done).start();
    });
  });
}

class SegmentScan {
  readonly #source: SegmentSource;
  readonly #sizeBytes: number;
  readonly #visit: GroupVisitor;
  readonly #header: SegmentHeader | null;
  readonly #done: Done<SegmentEnd>;
  readonly #salt: number;
  #offset: number;
  /** Behind the last byte seen that is not zero. */
  #usedBytes = 0;
  #chain: number;
  #group: number;
  #last: GroupTrailer | null = null;
  /** The newest group whose sync was waited for. */
  #telling = 0;

  constructor(
    source: SegmentSource, sizeBytes: number, visit: GroupVisitor, header: SegmentHeader | null, done: Done<SegmentEnd>,
  ) {
    this.#source = source;
    this.#sizeBytes = sizeBytes;
    this.#visit = visit;
    this.#header = header;
    this.#done = done;
    this.#salt = saltOf(source.identity, source.number);
    this.#offset = header === null ? 0 : SEGMENT_HEADER_BYTES;
    this.#chain = header?.chain ?? 0;
    this.#group = header?.firstGroup ?? 0;
  }

  start(): void {
    if (this.#header === null) this.#searchProof(0);
    else this.#readGroups(READ_BYTES);
  }

  #readGroups(sizeBytes: number): void {
    if (this.#offset >= this.#sizeBytes) return this.#finish(false);
    const from = this.#offset;
    this.#source.files.read(this.#source.path, from, sizeBytes, (error, bytes) => {
      if (error !== null || bytes === undefined) return this.#done(error);
      const buffer = view(bytes);
      let at = 0;
      for (;;) {
        const size = this.#takeGroup(buffer, at);
        if (size === null) return this.#searchProof(this.#offset);
        if (size > buffer.length - at) return this.#readGroups(Math.max(READ_BYTES, size));
        at += size;
        if (this.#offset >= this.#sizeBytes) return this.#finish(false);
      }
    });
  }

  /** The size of the group at `at`; null when it is not valid. A group that ends beyond the buffer is not taken. */
  #takeGroup(buffer: Buffer, at: number): number | null {
    if (at + HEADER_BYTES > buffer.length) return this.#sizeBytes - this.#offset >= HEADER_BYTES ? HEADER_BYTES : null;
    const header = readHeader(buffer, at, this.#salt);
    if (header === null || header.group !== this.#group || header.offset !== this.#offset) return null;
    const size = HEADER_BYTES + header.bodyBytes + TRAILER_BYTES;
    if (size > GROUP_BYTES_MAX || this.#offset + size > this.#sizeBytes) return null;
    if (at + size > buffer.length) return size;
    const end = at + size - TRAILER_BYTES;
    const trailer = readTrailer(buffer, end, this.#salt);
    if (trailer === null || trailer.group !== this.#group || trailer.offset !== this.#offset) return null;
    if (checksum(buffer.subarray(at, end), this.#chain) !== trailer.chain) return null;
    readBody(buffer, at + HEADER_BYTES, end, this.#visit(buffer));
    if (trailer.awaited) this.#telling = this.#group;
    this.#chain = trailer.chain;
    this.#last = trailer;
    this.#group++;
    this.#offset += size;
    return size;
  }

  /** Looks behind the first invalid byte for a header or trailer that says this group was durable. */
  #searchProof(from: number): void {
    if (from >= this.#sizeBytes) return this.#finish(false);
    this.#source.files.read(this.#source.path, from, READ_BYTES, (error, bytes) => {
      if (error !== null || bytes === undefined) return this.#done(error);
      const buffer = view(bytes);
      this.#usedBytes = Math.max(this.#usedBytes, from + usedOf(buffer));
      if (this.#holdsProof(buffer, from)) return this.#finish(true);
      // The next piece overlaps, so that nothing is missed at the seam.
      if (from + buffer.length >= this.#sizeBytes || buffer.length <= TRAILER_BYTES) return this.#finish(false);
      this.#searchProof(from + buffer.length - TRAILER_BYTES);
    });
  }

  #holdsProof(buffer: Buffer, from: number): boolean {
    // The group that is not valid here was durable when this one was written. Without a valid segment header any group
    // proves that there had been one.
    const least = this.#header === null ? 0 : this.#group;
    for (const at of positions(buffer, HEADER_MAGIC)) {
      const header = readHeader(buffer, at, this.#salt);
      if (header !== null && header.synced >= least && header.offset === from + at) return true;
    }
    for (const at of positions(buffer, TRAILER_MAGIC)) {
      const trailer = readTrailer(buffer, at, this.#salt);
      if (trailer !== null && trailer.synced >= least && trailer.offset < from + at) return true;
    }
    return false;
  }

  #finish(proven: boolean): void {
    this.#done(null, {
      header: this.#header,
      offset: this.#offset,
      sizeBytes: this.#sizeBytes,
      usedBytes: Math.max(this.#offset, this.#usedBytes),
      chain: this.#chain,
      nextGroup: this.#group,
      last: this.#last,
      isDoubtful: this.#telling > (this.#last?.synced ?? 0),
      proven,
    });
  }
}

/** The bytes up to the last one that is not zero. */
function usedOf(buffer: Buffer): number {
  let end = buffer.length;
  while (end > 0 && buffer[end - 1] === 0) end--;
  return end;
}

function* positions(buffer: Buffer, magic: number): Iterable<number> {
  const pattern = Buffer.alloc(4);
  pattern.writeUInt32LE(magic);
  for (let at = buffer.indexOf(pattern); at >= 0; at = buffer.indexOf(pattern, at + 1)) yield at;
}
