// The store as etcd's database file, for one reader in process. The store is frozen while it is read; applies go on, as no
// turn is held up for longer than one piece takes. How many bytes there will be, the file's first page says.

import type { Clock } from '../base/clock.js';
import { Pipe } from '../base/pipe.js';
import type { SnapshotStream } from '../client.js';
import { ApiError, canceled } from '../errors.js';
import { fileBytesOf } from '../store/bolt-pages.js';
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
  /** Null before the first piece. */
  #remainingBytes: number | null = null;
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

  /** One turn: about one piece, or a part of the way to the first one. */
  #step(): void {
    if (this.#chunks === null) return;
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    let isDone = false;
    while (sizeBytes < snapshotPieceBytes) {
      const next = this.#chunks.next();
      isDone = next.done === true;
      // An empty piece asks for a pause.
      if (next.done === true || next.value.length === 0) break;
      this.#remainingBytes ??= fileBytesOf(next.value);
      sizeBytes += next.value.length;
      parts.push(next.value);
    }
    if (this.#remainingBytes === null || parts.length === 0) return isDone ? this.#pipe.end(null) : this.#schedule();
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
