// A stream of values from an owner, who pushes them, to one reader, who iterates. With `whenDone` (done.ts) the bridge from
// below the client interface to promises: that one for a single outcome, this one for many values. It holds nobody back: an
// owner with more than the pipe may hold looks at `size`, or pushes only what is wanted.
//
// Invariants: size <= sizeMax; while the reader waits nothing is queued; the end is told once, to the owner and to the reader.

import { onceAborted } from './abort.js';
import { assert } from './assert.js';

export interface PipeOwner {
  /** Values that may be queued at once. To push one more is the owner's mistake, and asserted. */
  readonly sizeMax: number;
  /** The reader asks for a value. The owner pushes it now or later, or leaves the reader what is queued. Not after the end. */
  onWanted?(): void;
  /** It has ended, from whichever side. Called once, from within the call that ends it, before the reader hears of it. */
  onEnd(): void;
}

interface Reader<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: Error): void;
}

export class Pipe<T> implements AsyncIterable<T, undefined> {
  readonly #owner: PipeOwner;
  readonly #queue: IteratorYieldResult<T>[] = [];
  #reader: Reader<T> | null = null;
  #isIterated = false;
  #isOpen = true;
  /** What the reader is yet to be told, once it has had everything queued. */
  #error: Error | null = null;
  #unfollow: () => void = () => undefined;

  constructor(owner: PipeOwner) {
    this.#owner = owner;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The reader waits: what is pushed now goes straight to it. */
  get isAwaited(): boolean {
    return this.#reader !== null;
  }

  /** Values queued. */
  get size(): number {
    return this.#queue.length;
  }

  /** After the end the value is dropped: nobody wants it. */
  push(value: T): void {
    if (!this.#isOpen) return;
    const reader = this.#reader;
    if (reader !== null) {
      this.#reader = null;
      return reader.resolve({ done: false, value });
    }
    assert(this.#queue.length < this.#owner.sizeMax, `a stream may hold ${this.#owner.sizeMax} values, and one more was pushed`);
    this.#queue.push({ done: false, value });
  }

  /** Nothing more comes. The reader still gets what is queued; then `error` is thrown once, or with null it is just over. */
  end(error: Error | null): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#unfollow();
    this.#owner.onEnd();
    const reader = this.#reader;
    this.#reader = null;
    if (reader === null) this.#error = error;
    else if (error === null) reader.resolve({ done: true, value: undefined });
    else reader.reject(error);
  }

  /** For an owner whose reader does not iterate: the error it ended with, which nobody else is told of then. */
  takeError(): Error | null {
    const error = this.#error;
    this.#error = null;
    return error;
  }

  /** Like `end`, at once: what is queued, and an error that is still to be thrown, the reader wants no more. */
  cut(error: Error | null): void {
    this.#queue.length = 0;
    this.#error = null;
    this.end(error);
  }

  /** Cuts it when `signal` is aborted, with the error made of the reason; at once where that has happened already. */
  follow(signal: AbortSignal | null | undefined, errorOf: (reason: unknown) => Error): void {
    if (signal === null || signal === undefined || !this.#isOpen) return;
    const onAbort = (): void => this.cut(errorOf(signal.reason));
    if (signal.aborted) return onAbort();
    onceAborted(signal, onAbort);
    this.#unfollow = () => signal.removeEventListener('abort', onAbort);
  }

  /** For the one reader, once. Leaving the loop cuts the pipe. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    assert(!this.#isIterated, 'a stream is iterated once');
    this.#isIterated = true;
    return {
      next: () => this.#next(),
      return: () => {
        this.cut(null);
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<T, undefined>> {
    assert(this.#reader === null, 'a stream has one reader, which waits for one value at a time');
    if (this.#isOpen) this.#owner.onWanted?.();
    const queued = this.#queue.shift();
    if (queued !== undefined) return Promise.resolve(queued);
    if (this.#isOpen) {
      return new Promise((resolve, reject) => {
        this.#reader = { resolve, reject };
      });
    }
    const error = this.takeError();
    return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }
}
