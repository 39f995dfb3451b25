// One snapshot of the store: a header that names its place in the log, chunks as the store made them, an end that counts
// them. It comes to be under a temporary name in the same directory, is synced, and then takes its own name: a file with
// that name is whole. It is written piece by piece, each from a later turn, so the log goes on beside it.
//
//   header   'coterieS' · format u32 · header bytes u32 · cluster u64 · term u64 · index u64 · counts of voters, outgoing,
//            learners u32 · their ids u64 … · checksum u32
//   chunk    length u32 · chain u32 · data            the chain is the checksum of all data so far
//   end      ffffffff · chunks u64 · bytes u64 · chain u32 · checksum u32

import { assert, present } from '../base/assert.js';
import { view } from '../base/bytes.js';
import { checksum } from '../base/crc.js';
import type { Done } from '../base/done.js';
import type { Files } from '../base/files.js';
import type { NodeId, SnapshotMeta } from '../raft/types.js';
import {
  CHUNK_BYTES_MAX, SNAPSHOT_OWN_BYTES, SNAPSHOT_PIECE_BYTES, SNAPSHOT_READ_BYTES, SNAPSHOT_UNSYNCED_BYTES,
} from './limits.js';
import { LogError, REMEDY } from './log-storage.js';
import { readId, readU64, writeId, writeU64 } from './record.js';
import { FORMAT } from './segment.js';

const MAGIC = Buffer.from('coterieS', 'latin1');
const FIXED_BYTES = 52;
const HEADER_BYTES_MAX = 1 << 16;
const FRAME_BYTES = 8;
const END_BYTES = 28;
const END = 0xffffffff;
export const TEMPORARY = '.tmp';
const STAGED = 'staged-';

export function snapshotName(meta: SnapshotMeta): string {
  return `snapshot-${String(meta.index).padStart(16, '0')}-${meta.term}.snap`;
}

export function isSnapshotName(name: string): boolean {
  return /^snapshot-\d{16}-\d+\.snap$/.test(name);
}

export interface SnapshotPlace {
  readonly files: Files;
  readonly directory: string;
  readonly clusterId: NodeId;
}

/** A snapshot to be written: of what, and whether anybody still wants it. */
export interface SnapshotTask {
  readonly meta: SnapshotMeta;
  readonly chunks: Iterable<Uint8Array>;
  readonly isWanted: () => boolean;
}

/** Durable under its own name when done, with its size; null: it was not wanted any more, and nothing is left of it. */
export function writeSnapshot(place: SnapshotPlace, task: SnapshotTask, done: Done<number | null>): void {
  new SnapshotWriter(place, task, done).start();
}

class SnapshotWriter {
  readonly #files: Files;
  readonly #path: string;
  readonly #temporary: string;
  readonly #chunks: Iterator<Uint8Array>;
  readonly #isWanted: () => boolean;
  readonly #done: Done<number | null>;
  readonly #piece = Buffer.allocUnsafe(SNAPSHOT_PIECE_BYTES);
  readonly #header: Buffer;
  #count = 0;
  #dataBytes = 0;
  #chain = 0;
  #sizeBytes = 0;
  #unsyncedBytes = 0;

  constructor(place: SnapshotPlace, { meta, chunks, isWanted }: SnapshotTask, done: Done<number | null>) {
    this.#files = place.files;
    this.#path = `${place.directory}/${snapshotName(meta)}`;
    this.#temporary = this.#path + TEMPORARY;
    this.#chunks = chunks[Symbol.iterator]();
    this.#isWanted = isWanted;
    this.#done = done;
    this.#header = encodeHeader(place.clusterId, meta);
  }

  start(): void {
    this.#write([this.#header], () => this.#next());
  }

  /** Fills a piece with chunks, or until a pause; one that is long or does not fit goes out as it is, behind those before. */
  #next(): void {
    if (!this.#isWanted()) return this.#files.remove(this.#temporary, () => this.#done(null, null));
    let length = 0;
    while (length + FRAME_BYTES <= this.#piece.length) {
      const next = this.#chunks.next();
      if (next.done === true) return this.#write([this.#piece.subarray(0, length), this.#end()], () => this.#publish());
      const chunk = next.value;
      if (chunk.length === 0) return this.#write([this.#piece.subarray(0, length)], () => this.#next());
      const frame = this.#frame(chunk);
      if (chunk.length >= SNAPSHOT_OWN_BYTES || length + FRAME_BYTES + chunk.length > this.#piece.length) {
        return this.#write([this.#piece.subarray(0, length), frame, chunk], () => this.#next());
      }
      frame.copy(this.#piece, length);
      this.#piece.set(chunk, length + FRAME_BYTES);
      length += FRAME_BYTES + chunk.length;
    }
    this.#write([this.#piece.subarray(0, length)], () => this.#next());
  }

  #frame(chunk: Uint8Array): Buffer {
    assert(chunk.length <= CHUNK_BYTES_MAX, `a chunk of ${chunk.length} bytes; at most ${CHUNK_BYTES_MAX}`);
    this.#chain = checksum(chunk, this.#chain);
    this.#count++;
    this.#dataBytes += chunk.length;
    const frame = Buffer.allocUnsafe(FRAME_BYTES);
    frame.writeUInt32LE(chunk.length, 0);
    frame.writeUInt32LE(this.#chain, 4);
    return frame;
  }

  #end(): Buffer {
    const end = Buffer.alloc(END_BYTES);
    end.writeUInt32LE(END, 0);
    writeU64(end, 4, this.#count);
    writeU64(end, 12, this.#dataBytes);
    end.writeUInt32LE(this.#chain, 20);
    end.writeUInt32LE(checksum(end.subarray(0, 24)), 24);
    return end;
  }

  #write(pieces: readonly Uint8Array[], next: () => void): void {
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#sizeBytes += bytes;
    this.#unsyncedBytes += bytes;
    this.#files.append(this.#temporary, pieces, (error) => {
      if (error !== null) return this.#done(error);
      if (this.#unsyncedBytes < SNAPSHOT_UNSYNCED_BYTES) return next();
      this.#unsyncedBytes = 0;
      this.#files.sync(this.#temporary, (failure) => (failure === null ? next() : this.#done(failure)));
    });
  }

  #publish(): void {
    this.#files.sync(this.#temporary, (error) => {
      if (error !== null) return this.#done(error);
      this.#files.rename(this.#temporary, this.#path, (failure) => {
        if (failure === null) this.#done(null, this.#sizeBytes);
        else this.#done(failure);
      });
    });
  }
}

/** Reads header and end: whether the file is whole, of this cluster, and what it covers. The chunks are checked when read. */
export function readSnapshotMeta(place: SnapshotPlace, name: string, done: Done<SnapshotMeta>): void {
  const { files } = place;
  const path = `${place.directory}/${name}`;
  files.stat(path, (error, stat) => {
    if (error !== null) return done(error);
    const sizeBytes = stat?.sizeBytes ?? 0;
    files.read(path, 0, HEADER_BYTES_MAX, (failure, bytes) => {
      if (failure !== null || bytes === undefined) return done(failure);
      const header = decodeHeader(view(bytes), place.clusterId, name);
      if (header === null) return done(damaged(path, 0, 'its header is not valid'));
      if (sizeBytes < header.bytes + END_BYTES) return done(damaged(path, sizeBytes, 'it is cut off'));
      files.read(path, sizeBytes - END_BYTES, END_BYTES, (trouble, tail) => {
        if (trouble !== null || tail === undefined) return done(trouble);
        if (decodeEnd(view(tail), 0) === null) return done(damaged(path, sizeBytes - END_BYTES, 'its end is not valid'));
        done(null, header.meta);
      });
    });
  });
}

export function readSnapshotChunks(
  place: SnapshotPlace, meta: SnapshotMeta, each: (chunk: Uint8Array) => void, done: Done,
): void {
  new SnapshotReader(place, { meta, path: `${place.directory}/${snapshotName(meta)}` }, each, done).start();
}

/** Where a snapshot is gathered that another member sends. */
export function stagedPath(place: SnapshotPlace, meta: SnapshotMeta): string {
  return `${place.directory}/${STAGED}${snapshotName(meta)}${TEMPORARY}`;
}

/** Reads what was gathered front to back; an error unless it is a whole snapshot of this very meta. */
export function readStagedChunks(
  place: SnapshotPlace, meta: SnapshotMeta, each: (chunk: Uint8Array) => void, done: Done,
): void {
  new SnapshotReader(place, { meta, path: stagedPath(place, meta) }, each, done).start();
}

class SnapshotReader {
  readonly #files: Files;
  readonly #clusterId: NodeId;
  readonly #meta: SnapshotMeta;
  readonly #path: string;
  readonly #each: (chunk: Uint8Array) => void;
  readonly #done: Done;
  /** Of the frame that is taken in next, and of what is read next. */
  #offset = 0;
  #readTo = 0;
  #isAtEnd = false;
  #isOver = false;
  #count = 0;
  #dataBytes = 0;
  #chain = 0;

  constructor(
    place: SnapshotPlace, source: { meta: SnapshotMeta; path: string }, each: (chunk: Uint8Array) => void, done: Done,
  ) {
    this.#files = place.files;
    this.#clusterId = place.clusterId;
    this.#meta = source.meta;
    this.#path = source.path;
    this.#each = each;
    this.#done = done;
  }

  start(): void {
    this.#files.read(this.#path, 0, HEADER_BYTES_MAX, (error, bytes) => {
      if (error !== null || bytes === undefined) return this.#done(error);
      const header = decodeHeader(view(bytes), this.#clusterId, snapshotName(this.#meta));
      if (header === null) return this.#done(damaged(this.#path, 0, 'its header is not valid'));
      if (!isSameConfiguration(header.meta, this.#meta)) {
        return this.#done(damaged(this.#path, 0, 'its header names other members'));
      }
      this.#offset = header.bytes;
      this.#readTo = header.bytes;
      this.#readFrames(SNAPSHOT_READ_BYTES);
    });
  }

  /** What follows is read while what was read is taken in: the disk and this thread need not wait for each other. */
  #readFrames(sizeBytes: number): void {
    const from = this.#readTo;
    this.#files.read(this.#path, from, sizeBytes, (error, bytes) => {
      if (this.#isOver) return;
      if (error !== null || bytes === undefined) return this.#end(error);
      const buffer = view(bytes);
      const { end, needed } = wholeFrames(buffer);
      this.#readTo = from + end;
      const isCut = buffer.length < sizeBytes && buffer.length - end < needed;
      const isTooLong = needed > FRAME_BYTES + CHUNK_BYTES_MAX;
      if (needed > 0 && !isTooLong && !isCut) this.#readFrames(Math.max(SNAPSHOT_READ_BYTES, needed));
      if (!this.#take(buffer.subarray(0, end))) return;
      if (needed === 0) return this.#finish(buffer.subarray(end));
      if (isTooLong) return this.#end(damaged(this.#path, this.#offset, 'a chunk is too long'));
      if (isCut) this.#end(damaged(this.#path, this.#offset, 'it is cut off'));
    });
  }

  /** False: something is wrong, and was told. */
  #take(frames: Buffer): boolean {
    for (let at = 0; at < frames.length; ) {
      const size = FRAME_BYTES + frames.readUInt32LE(at);
      const chunk = frames.subarray(at + FRAME_BYTES, at + size);
      this.#chain = checksum(chunk, this.#chain);
      if (this.#chain !== frames.readUInt32LE(at + 4)) {
        this.#end(damaged(this.#path, this.#offset, 'the checksum of a chunk is wrong'));
        return false;
      }
      this.#count++;
      this.#dataBytes += chunk.length;
      this.#each(chunk);
      at += size;
      this.#offset += size;
    }
    return true;
  }

  /** `rest`: from the mark of the end on, as far as it was read. */
  #finish(rest: Buffer): void {
    if (rest.length < END_BYTES && !this.#isAtEnd) {
      // Once more, from the mark on: what is missing then is not there.
      this.#isAtEnd = true;
      return this.#readFrames(SNAPSHOT_READ_BYTES);
    }
    const end = decodeEnd(rest, 0);
    const right = end !== null && end.chain === this.#chain && end.chunks === this.#count && end.bytes === this.#dataBytes;
    if (right && rest.length === END_BYTES) this.#end(null);
    else this.#end(damaged(this.#path, this.#offset, 'its end does not agree with what comes before'));
  }

  #end(error: Error | null): void {
    this.#isOver = true;
    this.#done(error);
  }
}

/** Up to where whole frames reach, and how many bytes the one behind them has at least; 0: it is the end. */
function wholeFrames(buffer: Buffer): { end: number; needed: number } {
  for (let at = 0; ; ) {
    if (at + 4 > buffer.length) return { end: at, needed: FRAME_BYTES };
    const length = buffer.readUInt32LE(at);
    if (length === END) return { end: at, needed: 0 };
    const size = FRAME_BYTES + length;
    if (length > CHUNK_BYTES_MAX || at + size > buffer.length) return { end: at, needed: size };
    at += size;
  }
}

function isSameConfiguration(a: SnapshotMeta, b: SnapshotMeta): boolean {
  return (['voters', 'outgoing', 'learners'] as const).every(
    (list) => a.configuration[list].join() === b.configuration[list].join(),
  );
}

function encodeHeader(clusterId: NodeId, meta: SnapshotMeta): Buffer {
  const { voters, outgoing, learners } = meta.configuration;
  const ids = [...voters, ...outgoing, ...learners];
  const bytes = Buffer.alloc(FIXED_BYTES + 8 * ids.length + 4);
  assert(bytes.length <= HEADER_BYTES_MAX, `a configuration of ${ids.length} members`);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(FORMAT, 8);
  bytes.writeUInt32LE(bytes.length, 12);
  writeId(bytes, 16, clusterId);
  writeU64(bytes, 24, meta.term);
  writeU64(bytes, 32, meta.index);
  [voters, outgoing, learners].forEach((members, i) => bytes.writeUInt32LE(members.length, 40 + 4 * i));
  ids.forEach((id, i) => writeId(bytes, FIXED_BYTES + 8 * i, id));
  bytes.writeUInt32LE(checksum(bytes.subarray(0, bytes.length - 4)), bytes.length - 4);
  return bytes;
}

/** null: not a valid header of a snapshot of this cluster under this name. */
function decodeHeader(buffer: Buffer, clusterId: NodeId, name: string): { meta: SnapshotMeta; bytes: number } | null {
  if (buffer.length < FIXED_BYTES + 4) return null;
  const bytes = buffer.readUInt32LE(12);
  if (bytes < FIXED_BYTES + 4 || bytes > buffer.length) return null;
  if (checksum(buffer.subarray(0, bytes - 4)) !== buffer.readUInt32LE(bytes - 4)) return null;
  if (!buffer.subarray(0, 8).equals(MAGIC) || buffer.readUInt32LE(8) !== FORMAT || readId(buffer, 16) !== clusterId) return null;
  const counts = [40, 44, 48].map((at) => buffer.readUInt32LE(at));
  const ids: NodeId[] = [];
  for (let at = FIXED_BYTES; at < bytes - 4; at += 8) ids.push(readId(buffer, at));
  const learnersFrom = present(counts[0], 'voters') + present(counts[1], 'outgoing');
  const configuration = {
    voters: ids.slice(0, counts[0]),
    outgoing: ids.slice(counts[0], learnersFrom),
    learners: ids.slice(learnersFrom),
  };
  const meta = { term: readU64(buffer, 24), index: readU64(buffer, 32), configuration };
  return snapshotName(meta) === name ? { meta, bytes } : null;
}

function decodeEnd(buffer: Buffer, at: number): { chunks: number; bytes: number; chain: number } | null {
  if (at + END_BYTES > buffer.length || buffer.readUInt32LE(at) !== END) return null;
  if (checksum(buffer.subarray(at, at + 24)) !== buffer.readUInt32LE(at + 24)) return null;
  return { chunks: readU64(buffer, at + 4), bytes: readU64(buffer, at + 12), chain: buffer.readUInt32LE(at + 20) };
}

function damaged(path: string, offset: number, what: string): LogError {
  const remedy = path.endsWith(TEMPORARY) ? 'It counts for nothing and is sent again' : REMEDY;
  return new LogError(`snapshot ${path} is damaged at byte ${offset}: ${what}. ${remedy}`);
}
