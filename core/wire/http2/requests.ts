// The messages of one caller on their way to a handler that takes them one by one. Bounded by whoever fills it: see `isFull`.

import type { RequestStream } from '../call.js';
import { STREAM_REQUESTS_MAX } from '../limits.js';

export class Requests implements RequestStream, AsyncIterator<Uint8Array> {
  readonly #waiting: Uint8Array[] = [];
  /** What is before has been taken. */
  #first = 0;
  readonly #onTaken: (bytes: number) => void;
  #wake: ((result: IteratorResult<Uint8Array>) => void) | null = null;
  #isEnded = false;

  /** `onTaken`: the handler took a message of so many bytes, or will take no more of what waits. */
  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken;
  }

  get isFull(): boolean {
    return this.#waiting.length - this.#first >= STREAM_REQUESTS_MAX;
  }

  push(message: Uint8Array): void {
    if (this.#isEnded) return this.#onTaken(message.length);
    const wake = this.#wake;
    // Also one that is taken at once: what a watch is asked for stays as long as the watch.
    const kept = detached(message);
    if (wake === null) {
      this.#waiting.push(kept);
      return;
    }
    this.#wake = null;
    this.#onTaken(message.length);
    wake({ done: false, value: kept });
  }

  /** No more come; what waits is still taken. */
  end(): void {
    this.#isEnded = true;
    this.#wake?.(END);
    this.#wake = null;
  }

  /** Nothing more is taken. */
  abort(): void {
    for (const message of this.#waiting.splice(0).slice(this.#first)) this.#onTaken(message.length);
    this.#first = 0;
    this.end();
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const message = this.#waiting[this.#first];
    if (message !== undefined) {
      this.#drop();
      this.#onTaken(message.length);
      return Promise.resolve({ done: false, value: message });
    }
    if (this.#isEnded) return Promise.resolve(END);
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  takeWaiting(max: number): readonly Uint8Array[] {
    const taken = this.#waiting.slice(this.#first, this.#first + max);
    this.#waiting.fill(NOTHING, this.#first, this.#first + taken.length);
    this.#onDropped(taken.length);
    for (const message of taken) this.#onTaken(message.length);
    return taken;
  }

  #drop(): void {
    this.#waiting[this.#first] = NOTHING;
    this.#onDropped(1);
  }

  #onDropped(count: number): void {
    this.#first += count;
    if (this.#first < GONE_MAX && this.#first < this.#waiting.length) return;
    this.#waiting.splice(0, this.#first);
    this.#first = 0;
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.abort();
    return Promise.resolve(END);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** A message to be kept: a small one must not keep all the bytes that it came with. */
export function detached(message: Uint8Array): Uint8Array {
  return message.length * 2 < message.buffer.byteLength ? new Uint8Array(message) : message;
}

/** Places of taken messages are given back now and then, not each time. */
const GONE_MAX = 256;
const NOTHING: Uint8Array = new Uint8Array(0);
const END: IteratorReturnResult<undefined> = { done: true, value: undefined };
