// The store as bytes, for one reader in process. The store is frozen while it is read; applies go on. How many bytes there
// will be must be known first, so they are made twice: once to count them, once to hand them out. That costs time and no
// memory, and neither pass holds up a turn for longer than one piece takes.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { SnapshotStream } from '../client.js';
import { ApiError } from '../errors.js';
import type { FrozenStore } from '../store/store.js';
import { snapshotPieceBytes } from './limits.js';

interface Piece {
  readonly bytes: Uint8Array;
  readonly remainingBytes: number;
}

interface LocalSnapshotOptions {
  readonly clock: Clock;
  readonly onEnd: () => void;
  readonly signal?: AbortSignal;
}

interface Reader {
  resolve(result: IteratorResult<Piece>): void;
  reject(error: Error): void;
}

export class LocalSnapshot implements SnapshotStream {
  readonly #options: LocalSnapshotOptions;
  #frozen: FrozenStore | null = null;
  #chunks: Iterator<Uint8Array> | null = null;
  #remainingBytes = 0;
  #isCounted = false;
  #isIterated = false;
  #reader: Reader | null = null;
  #end: 'open' | 'closed' | ApiError = 'open';
  #cancelStep: () => void = () => undefined;
  readonly #onAbort: () => void;

  /** An error instead of a store: reading throws it. */
  constructor(source: FrozenStore | ApiError, options: LocalSnapshotOptions) {
    this.#options = options;
    this.#onAbort = () => this.fail(new ApiError('canceled', { cause: options.signal?.reason }));
    if (source instanceof ApiError) {
      this.#end = source;
      return;
    }
    this.#frozen = source;
    this.#chunks = source.chunks()[Symbol.iterator]();
    if (options.signal?.aborted === true) this.#onAbort();
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  [Symbol.asyncIterator](): AsyncIterator<Piece> {
    assert(!this.#isIterated, 'a snapshot is read once');
    this.#isIterated = true;
    return {
      next: () => this.#next(),
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  close(): void {
    this.#finish('closed');
  }

  /** Ends it from the other side. */
  fail(error: ApiError): void {
    this.#finish(error);
  }

  #next(): Promise<IteratorResult<Piece>> {
    assert(this.#reader === null, 'a snapshot has one reader, which waits for one piece at a time');
    if (this.#end === 'closed') return Promise.resolve({ done: true, value: undefined });
    if (this.#end !== 'open') {
      const error = this.#end;
      this.#end = 'closed';
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#schedule();
    });
  }

  #schedule(): void {
    this.#cancelStep = this.#options.clock.schedule(0, () => this.#step());
  }

  /** One turn: about one piece is counted, or handed out. */
  #step(): void {
    const reader = this.#reader;
    if (reader === null || this.#chunks === null || this.#frozen === null) return;
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    while (sizeBytes < snapshotPieceBytes) {
      const next = this.#chunks.next();
      if (next.done === true) {
        if (this.#isCounted) break;
        this.#remainingBytes += sizeBytes;
        this.#isCounted = true;
        this.#chunks = this.#frozen.chunks()[Symbol.iterator]();
        return this.#schedule();
      }
      // An empty chunk asks for a pause.
      if (next.value.length === 0) break;
      sizeBytes += next.value.length;
      // The second pass must not have its bytes overwritten by what comes next.
      if (this.#isCounted) parts.push(next.value.slice());
    }
    if (!this.#isCounted) {
      this.#remainingBytes += sizeBytes;
      return this.#schedule();
    }
    if (parts.length === 0 && this.#remainingBytes > 0) return this.#schedule();
    this.#reader = null;
    if (parts.length === 0) {
      this.#finish('closed');
      return reader.resolve({ done: true, value: undefined });
    }
    this.#remainingBytes -= sizeBytes;
    reader.resolve({ done: false, value: { bytes: Buffer.concat(parts), remainingBytes: this.#remainingBytes } });
  }

  #finish(end: 'closed' | ApiError): void {
    if (this.#end !== 'open') return;
    this.#end = end;
    this.#cancelStep();
    this.#chunks = null;
    this.#frozen?.release();
    this.#frozen = null;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#options.onEnd();
    const reader = this.#reader;
    this.#reader = null;
    if (reader === null) return;
    if (end === 'closed') return reader.resolve({ done: true, value: undefined });
    this.#end = 'closed';
    reader.reject(end);
  }
}
