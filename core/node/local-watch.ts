// One watch in process: pulls from the hub's watcher as fast as its one reader iterates. Nothing is buffered here; a slow
// reader makes the hub's watcher fall behind, which then reads history. Like local-client.ts a bridge to promises.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Header, Watch, WatchBatch, WatchRequest } from '../client.js';
import { ApiError } from '../errors.js';
import type { Watcher, WatchResult } from '../store/hub.js';
import type { Node } from './node.js';

interface LocalWatchOptions {
  readonly clock: Clock;
  readonly header: (revision: number) => Header;
  readonly progressMs: number;
  readonly signal?: AbortSignal;
  readonly onEnd: () => void;
}

interface Reader {
  resolve(result: IteratorResult<WatchBatch>): void;
  reject(error: ApiError): void;
}

export class LocalWatch implements Watch {
  readonly #options: LocalWatchOptions;
  #watcher: Watcher | null = null;
  #reader: Reader | null = null;
  #iterated = false;
  /** How the iterator ends: by returning (closed) or by throwing. */
  #end: 'open' | 'closed' | ApiError = 'open';
  #quiet = true;
  #cancelProgress: () => void = () => undefined;
  readonly #onAbort: () => void;

  /** `node` null: the client was closed, so the iterator ends at once. */
  constructor(node: Node | null, request: WatchRequest, options: LocalWatchOptions) {
    this.#options = options;
    this.#onAbort = () => this.#finish(new ApiError('canceled', { cause: options.signal?.reason }));
    if (node === null) this.#end = 'closed';
    else if (!node.running) this.#end = new ApiError('stopped');
    else if (node.isLearner) this.#end = new ApiError('learner_unsupported');
    else if (options.signal?.aborted === true) this.#end = new ApiError('canceled', { cause: options.signal.reason });
    if (node === null || this.#end !== 'open') return;
    this.#watcher = node.hub.open(request);
    this.#watcher.onReady = () => this.#onReady();
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (request.progressNotify === true) this.#scheduleProgress();
  }

  /** False: it has ended, and `onEnd` has been called or never will be. */
  get isOpen(): boolean {
    return this.#end === 'open';
  }

  requestProgress(): void {
    this.#watcher?.requestProgress();
  }

  close(): void {
    this.#finish('closed');
  }

  /** Ends the watch from the other side. */
  fail(error: ApiError): void {
    this.#finish(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch> {
    assert(!this.#iterated, 'a watch is iterated once');
    this.#iterated = true;
    return {
      next: () => this.#next(),
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<WatchBatch>> {
    assert(this.#reader === null, 'a watch has one reader, which waits for one batch at a time');
    const result = this.#watcher?.next() ?? null;
    if (result !== null) {
      return new Promise((resolve, reject) => this.#deliver(result, { resolve, reject }));
    }
    if (this.#end === 'closed') return Promise.resolve({ done: true, value: undefined });
    if (this.#end !== 'open') {
      const error = this.#end;
      this.#end = 'closed';
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  #onReady(): void {
    const reader = this.#reader;
    if (reader === null) return;
    const result = this.#watcher?.next() ?? null;
    if (result === null) return;
    this.#reader = null;
    this.#deliver(result, reader);
  }

  #deliver(result: WatchResult, reader: Reader): void {
    if (result.kind === 'ended') {
      this.#finish('closed');
      reader.reject(new ApiError(result.code, { compactRevision: result.compactRevision }));
      return;
    }
    const { kind, revision, events } = result.batch;
    if (kind === 'events') this.#quiet = false;
    reader.resolve({ done: false, value: { kind, header: this.#options.header(revision), events } });
  }

  #scheduleProgress(): void {
    this.#cancelProgress = this.#options.clock.schedule(this.#options.progressMs, () => {
      if (this.#quiet) this.requestProgress();
      this.#quiet = true;
      this.#scheduleProgress();
    });
  }

  #finish(end: 'closed' | ApiError): void {
    if (this.#end !== 'open') return;
    this.#end = end;
    this.#watcher?.close();
    this.#watcher = null;
    this.#cancelProgress();
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
