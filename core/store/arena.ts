// Bytes of keys and values, one after the other in a few large chunks: memory the garbage collector need not look at.
// Append only. A byte once written is never overwritten, so what `read` hands out stays true for as long as somebody holds
// it, even when the arena has let go of the chunk. Whoever holds it must not write to it, and keeps its chunk in memory.
//
// Space is not reused byte by byte. A chunk is dropped when nothing in it is in use any more; one that is mostly garbage
// is `isSparse`, and whoever walks over its users (sweep.ts) copies them to the end and so empties it.
//
// Invariant: for each chunk, `live` = bytes appended minus bytes released; a chunk with live = 0 that is not the last is
// gone.

import { assert } from '../base/assert.js';
import { EMPTY } from '../base/bytes.js';
import { ARENA_CHUNK_MAX_BYTES, ARENA_CHUNK_MIN_BYTES } from './limits.js';

/** Anything longer than this share of the largest chunk gets a chunk of its own size. */
const OWN_CHUNK_BYTES = ARENA_CHUNK_MAX_BYTES / 4;

/** Up to this length a loop is quicker than a call. */
const SHORT_BYTES = 40;

/** Up to this length the engine keeps an array's bytes inside the object. */
const COPIED_BYTES = 64;

/** Pieces of this length may be chunks of their own: few enough of them that the collector may look at each. */
const KEPT_BYTES_MIN = 32 * 1024;

/** What is read ahead of a piece, and how far apart: the rest comes by itself once it is copied. */
const NEAR_BYTES = 512;
const LINE_BYTES = 64;

const GONE: Uint8Array = new Uint8Array(0);

export class Arena {
  /** Where the last `append` put its bytes. */
  chunk = 0;
  offset = 0;
  /** What `bringNear` read; it means nothing, but what nobody keeps need not be read. */
  seen = 0;

  readonly #chunks: Uint8Array[] = [];
  readonly #live: number[] = [];
  readonly #free: number[] = [];
  /** To be emptied by whoever walks over its users (defragment.ts). */
  readonly #condemned = new Set<number>();
  #tail = -1;
  #tailUsed = 0;
  #sizeBytes = 0;
  #liveBytes = 0;

  /** Memory held. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes in use. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Copies `bytes`, or the first `length` of them, in; `chunk` and `offset` then say where they are. No bytes, no place. */
  append(bytes: Uint8Array, length = bytes.length): void {
    if (length === 0) {
      this.chunk = 0;
      this.offset = 0;
      return;
    }
    this.#reserve(length);
    const target = this.#chunks[this.chunk] as Uint8Array;
    if (length > SHORT_BYTES) {
      target.set(length === bytes.length ? bytes : bytes.subarray(0, length), this.offset);
      return;
    }
    const offset = this.offset;
    for (let i = 0; i < length; i++) target[offset + i] = bytes[i] as number;
  }

  /**
   * As `append`, for bytes that nobody may write to from now on: a large piece that is nearly all of its memory stays where it
   * is. That saves its second copy for as long as the log has the first, and half of what the collector hears of.
   */
  keep(bytes: Uint8Array): void {
    if (bytes.length < KEPT_BYTES_MIN || bytes.length * 8 < bytes.buffer.byteLength * 7) return this.append(bytes);
    this.chunk = this.adopt(bytes);
    this.offset = 0;
  }

  /** Makes `bytes`, which nobody may write to from now on, a chunk that is all in use. What it is a part of stays in memory. */
  adopt(bytes: Uint8Array): number {
    // All chunks are of one class: that of the disk's has a `slice` of its own, which copies nothing.
    const chunk = this.#place(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
    this.#live[chunk] = bytes.length;
    this.#liveBytes += bytes.length;
    return chunk;
  }

  #reserve(length: number): void {
    this.#liveBytes += length;
    if (length > OWN_CHUNK_BYTES) {
      this.chunk = this.#open(length);
      this.offset = 0;
      this.#live[this.chunk] = length;
      return;
    }
    const tail = this.#chunks[this.#tail];
    if (tail === undefined || this.#tailUsed + length > tail.length) this.#nextTail(length);
    this.chunk = this.#tail;
    this.offset = this.#tailUsed;
    this.#tailUsed += length;
    this.#live[this.#tail] = (this.#live[this.#tail] as number) + length;
  }

  /** The whole chunk, to read single bytes from. */
  bytesOf(chunk: number): Uint8Array {
    return this.#chunks[chunk] as Uint8Array;
  }

  /** Short pieces are copies, which cost no more and keep nothing in memory; long ones are views. */
  read(chunk: number, offset: number, length: number): Uint8Array {
    if (length === 0) return EMPTY;
    const bytes = this.#chunks[chunk] as Uint8Array;
    if (length <= COPIED_BYTES) return bytes.slice(offset, offset + length);
    return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, length);
  }

  /** A view, whatever the length. */
  view(chunk: number, offset: number, length: number): Uint8Array {
    return (this.#chunks[chunk] as Uint8Array).subarray(offset, offset + length);
  }

  /** Reads of a piece what is far away, so that it is near when it is needed (foresight.ts). */
  bringNear(chunk: number, offset: number, length: number): void {
    if (length === 0) return;
    const bytes = this.#chunks[chunk] as Uint8Array;
    const end = offset + (length < NEAR_BYTES ? length : NEAR_BYTES);
    let seen = bytes[end - 1] as number;
    for (let at = offset; at < end; at += LINE_BYTES) seen ^= bytes[at] as number;
    this.seen ^= seen;
  }

  /** These bytes are not needed any more. */
  release(chunk: number, length: number): void {
    if (length === 0) return;
    const live = (this.#live[chunk] as number) - length;
    assert(live >= 0, 'more bytes released than appended');
    this.#live[chunk] = live;
    this.#liveBytes -= length;
    if (live === 0 && chunk !== this.#tail) this.#drop(chunk);
  }

  /** Less than half of the chunk is in use, and nothing is appended to it any more. */
  isSparse(chunk: number): boolean {
    return chunk !== this.#tail && (this.#live[chunk] as number) * 2 < (this.#chunks[chunk] as Uint8Array).length;
  }

  /** From now on bytes are appended elsewhere, and chunks with an eighth or more to win are to be emptied. */
  condemn(): void {
    const tail = this.#tail;
    this.#tail = -1;
    this.#tailUsed = 0;
    if (tail >= 0 && this.#live[tail] === 0) this.#drop(tail);
    this.#condemned.clear();
    this.#chunks.forEach((bytes, chunk) => {
      if ((this.#live[chunk] as number) * 8 < bytes.length * 7) this.#condemned.add(chunk);
    });
  }

  isCondemned(chunk: number): boolean {
    return this.#condemned.has(chunk);
  }

  #nextTail(length: number): void {
    const last = this.#tail;
    // As much again as is in use: few chunks when there is much, little waste when there is little.
    const bytes = Math.min(Math.max(this.#liveBytes, ARENA_CHUNK_MIN_BYTES), ARENA_CHUNK_MAX_BYTES);
    this.#tail = this.#open(Math.max(bytes, length));
    this.#tailUsed = 0;
    if (last >= 0 && this.#live[last] === 0) this.#drop(last);
  }

  #open(bytes: number): number {
    return this.#place(new Uint8Array(bytes));
  }

  #place(bytes: Uint8Array): number {
    const chunk = this.#free.pop() ?? this.#chunks.length;
    this.#chunks[chunk] = bytes;
    this.#live[chunk] = 0;
    this.#sizeBytes += bytes.length;
    return chunk;
  }

  #drop(chunk: number): void {
    this.#sizeBytes -= (this.#chunks[chunk] as Uint8Array).length;
    this.#chunks[chunk] = GONE;
    this.#condemned.delete(chunk);
    this.#free.push(chunk);
  }
}
