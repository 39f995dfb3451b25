// The last blocks of header fields of one connection and what they said: a caller says the same few again and again, and a block
// means the same as long as HPACK's table is the same (`HeaderDecoder.version`).

import type { RequestHead } from './request-head.js';

interface Known {
  readonly block: Buffer;
  readonly version: number;
  /** Null: it was not a request's. */
  readonly head: RequestHead | null;
}

/** Callers that use more methods than this in turn are read anew. */
const KNOWN_MAX = 4;
/** A block longer than this is not remembered. */
const BLOCK_BYTES_MAX = 256;
/** Who says something new each time, such as the time that is left, is not remembered but for a try now and then. */
const MISSES_MAX = 8;
const TRY_EVERY = 32;

export class KnownHeads {
  readonly #known: Known[] = [];
  #oldest = 0;
  /** In a row. */
  #misses = 0;

  /** Undefined: it is not known. */
  find(bytes: Buffer, from: number, to: number, version: number): RequestHead | null | undefined {
    for (const known of this.#known) {
      if (known.version !== version || !isSame(known.block, bytes, from, to)) continue;
      this.#misses = 0;
      return known.head;
    }
    return undefined;
  }

  /** `version`: both before and after it was read. */
  keep(bytes: Buffer, from: number, to: number, version: number, head: RequestHead | null): void {
    this.#misses += 1;
    if (this.#misses > MISSES_MAX) {
      this.#known.length = 0;
      this.#oldest = 0;
      if (this.#misses % TRY_EVERY !== 0) return;
    }
    if (to - from > BLOCK_BYTES_MAX) return;
    // Others than those of the table as it is now are of no use any more.
    const stale = this.#known.findIndex((known) => known.version !== version);
    const place = stale === -1 ? this.#oldest : stale;
    if (place === this.#oldest) this.#oldest = (this.#oldest + 1) % KNOWN_MAX;
    this.#known[place] = { block: Buffer.from(bytes.subarray(from, to)), version, head };
  }
}

function isSame(known: Buffer, bytes: Buffer, from: number, to: number): boolean {
  if (known.length !== to - from) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[from + i]) return false;
  return true;
}
