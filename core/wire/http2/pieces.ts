// Bytes of one stream that wait to be sent, as they were given: in pieces, none of which is copied to wait. What has been sent
// is let go of at once; its places are given back now and then, not each time.

import type { Output } from './output.js';

const GONE_MAX = 256;

export class Pieces {
  readonly #pieces: Uint8Array[] = [];
  /** The first piece of which something is left, and what of it has been sent. */
  #first = 0;
  #sent = 0;

  /** Those of which something is left. */
  get count(): number {
    return this.#pieces.length - this.#first;
  }

  /** Nobody may write to `piece` from here on. */
  push(piece: Uint8Array): void {
    if (piece.length > 0) this.#pieces.push(piece);
  }

  /** So many bytes, as long as there are. */
  moveTo(output: Output, length: number): void {
    let left = length;
    while (left > 0) {
      const piece = this.#pieces[this.#first];
      if (piece === undefined) return;
      const from = this.#sent;
      const to = Math.min(piece.length, from + left);
      output.bytes(piece, from, to);
      left -= to - from;
      this.#sent = to;
      if (to === piece.length) this.#drop();
    }
  }

  #drop(): void {
    this.#sent = 0;
    this.#pieces[this.#first] = NOTHING;
    this.#first += 1;
    if (this.#first < GONE_MAX && this.#first < this.#pieces.length) return;
    this.#pieces.splice(0, this.#first);
    this.#first = 0;
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);
