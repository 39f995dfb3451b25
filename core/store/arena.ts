// Bytes of keys and values, one after the other in a few large chunks: memory the garbage collector need not look at.
// Append only. A byte once written is never overwritten, so a view handed out stays true for as long as somebody holds it,
// even when the arena has let go of the chunk. Whoever holds a view must not write to it.
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

const GONE: Uint8Array = new Uint8Array(0);

export class Arena {
  /** Where the last `append` put its bytes. */
  chunk = 0;
  offset = 0;

  readonly #chunks: Uint8Array[] = [];
  readonly #live: number[] = [];
  readonly #free: number[] = [];
  #tail = -1;
  #tailUsed = 0;
  #nextBytes = ARENA_CHUNK_MIN_BYTES;
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

  /** Copies `bytes` in; `chunk` and `offset` then say where they are. Nothing is stored for no bytes. */
  append(bytes: Uint8Array): void {
    const length = bytes.length;
    if (length === 0) {
      this.chunk = 0;
      this.offset = 0;
      return;
    }
    this.reserve(length);
    const target = this.#chunks[this.chunk] as Uint8Array;
    if (length > 32) {
      target.set(bytes, this.offset);
      return;
    }
    const offset = this.offset;
    for (let i = 0; i < length; i++) target[offset + i] = bytes[i] as number;
  }

  /** Makes room for `length` bytes, to be filled in by the caller through `bytesOf`. */
  reserve(length: number): void {
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

  view(chunk: number, offset: number, length: number): Uint8Array {
    if (length === 0) return EMPTY;
    const bytes = this.#chunks[chunk] as Uint8Array;
    return new Uint8Array(bytes.buffer, offset, length);
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

  #nextTail(length: number): void {
    const last = this.#tail;
    const bytes = Math.max(this.#nextBytes, length);
    this.#nextBytes = Math.min(2 * this.#nextBytes, ARENA_CHUNK_MAX_BYTES);
    this.#tail = this.#open(bytes);
    this.#tailUsed = 0;
    if (last >= 0 && this.#live[last] === 0) this.#drop(last);
  }

  #open(bytes: number): number {
    const chunk = this.#free.pop() ?? this.#chunks.length;
    this.#chunks[chunk] = new Uint8Array(bytes);
    this.#live[chunk] = 0;
    this.#sizeBytes += bytes;
    return chunk;
  }

  #drop(chunk: number): void {
    this.#sizeBytes -= (this.#chunks[chunk] as Uint8Array).length;
    this.#chunks[chunk] = GONE;
    this.#free.push(chunk);
  }
}
