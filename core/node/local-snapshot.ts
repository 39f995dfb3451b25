// The store as etcd's database file, for one reader in process. The store is frozen while it is read; applies go on. How
// many bytes there will be must be known first, so they are made twice: once to count them, once to hand them out. That
// costs time and no memory, and neither pass holds up a turn for longer than one piece takes.

import type { Clock } from '../base/clock.js';
import { Pipe } from '../base/pipe.js';
import type { SnapshotStream } from '../client.js';
import { ApiError, canceled } from '../errors.js';
import type { FrozenStore } from '../store/store.js';
import { snapshotPieceBytes } from './limits.js';

interface Piece {
  readonly bytes: Uint8Array;
  readonly remainingBytes: number;
}

interface LocalSnapshotOptions {
  readonly clock: Clock;
  readonly onEnd: (stream: LocalSnapshot) => void;
  readonly signal?: AbortSignal;
}

export class LocalSnapshot implements SnapshotStream {
  readonly #options: LocalSnapshotOptions;
  readonly #pipe = new Pipe<Piece>({ sizeMax: 1, onWanted: () => this.#schedule(), onEnd: () => this.#release() });
  #frozen: FrozenStore | null = null;
  #chunks: Iterator<Uint8Array> | null = null;
  #remainingBytes = 0;
  #isCounted = false;
  #cancelStep: () => void = () => undefined;

  /** An error instead of a store: reading throws it. */
  constructor(source: FrozenStore | ApiError, options: LocalSnapshotOptions) {
    this.#options = options;
    if (source instanceof ApiError) {
      this.#pipe.end(source);
      return;
    }
    this.#frozen = source;
    this.#chunks = source.etcdFile()[Symbol.iterator]();
    this.#pipe.follow(options.signal, canceled);
  }

  get isOpen(): boolean {
    return this.#pipe.isOpen;
  }

  [Symbol.asyncIterator](): AsyncIterator<Piece, undefined> {
    return this.#pipe[Symbol.asyncIterator]();
  }

  close(): void {
    this.#pipe.cut(null);
  }

  /** Ends it from the other side. */
  fail(error: ApiError): void {
    this.#pipe.end(error);
  }

  #schedule(): void {
    this.#cancelStep = this.#options.clock.schedule(0, () => this.#step());
  }

  /** One turn: about one piece is counted, or handed out. */
  #step(): void {
    if (this.#chunks === null || this.#frozen === null) return;
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    while (sizeBytes < snapshotPieceBytes) {
      const next = this.#chunks.next();
      if (next.done === true) {
        if (this.#isCounted) break;
        this.#remainingBytes += sizeBytes;
        this.#isCounted = true;
        this.#chunks = this.#frozen.etcdFile()[Symbol.iterator]();
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
    if (parts.length === 0) return this.#pipe.end(null);
    this.#remainingBytes -= sizeBytes;
    this.#pipe.push({ bytes: Buffer.concat(parts), remainingBytes: this.#remainingBytes });
  }

  #release(): void {
    this.#cancelStep();
    this.#chunks = null;
    this.#frozen?.release();
    this.#frozen = null;
    this.#options.onEnd(this);
  }
}
