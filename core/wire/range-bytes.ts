// A range answer as bytes, written from where its pairs lie: what the generated code makes of the same answer, byte for byte.
// Its size is known before the first pair is written, so that it is one piece of memory that nobody copies again.

import { assert } from '../base/assert.js';
import { EMPTY } from '../base/bytes.js';
import type { PairPlace, RangeForm, RangeResponse } from '../client.js';
import type { HotWriter } from './hot-codec.js';
import { fieldBytes, number, pairBytes, varintBytes, writePair } from './pair-bytes.js';

type Facts = Pick<RangeResponse, 'header' | 'more' | 'count'>;

const MORE = 3 * 8;
const COUNT = 4 * 8;

export class RangeBytes implements RangeForm<Uint8Array> {
  readonly #writer: HotWriter;
  #pairsBytes = 0;
  #tail: readonly number[] = [];
  #into: Uint8Array = EMPTY;
  #at = 0;

  constructor(writer: HotWriter) {
    this.#writer = writer;
  }

  measure(pair: PairPlace): void {
    this.#pairsBytes += fieldBytes(pairBytes(pair));
  }

  begin({ header, more, count }: Facts): void {
    const head = this.#writer.put(header, null);
    const tail = more ? [MORE, 1] : [];
    if (count > 0) pushNumber(tail, COUNT, count);
    this.#tail = tail;
    this.#into = Buffer.allocUnsafe(head.length + this.#pairsBytes + tail.length);
    this.#into.set(head);
    this.#at = head.length;
  }

  write(pair: PairPlace): void {
    this.#at = writePair(this.#into, this.#at, pair, pairBytes(pair));
  }

  only({ header, count }: Facts, pair: PairPlace | null): Uint8Array {
    return this.#writer.point(header, pair, count);
  }

  end(): Uint8Array {
    assert(this.#at + this.#tail.length === this.#into.length, 'a range answer is as long as it was measured');
    this.#into.set(this.#tail, this.#at);
    return this.#into;
  }
}

function pushNumber(target: number[], tag: number, value: number): void {
  const into = new Uint8Array(1 + varintBytes(value));
  number(into, 0, tag, value);
  target.push(...into);
}
