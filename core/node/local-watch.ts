// One watch in process: pulls from the hub's watcher as fast as its one reader iterates, or asks. Nothing is buffered here; a
// slow reader makes the hub's watcher fall behind, which then reads history.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { Pipe } from '../base/pipe.js';
import type { Header, Watch, WatchBatch, WatchEnd, WatchRequest, WatchTap } from '../client.js';
import { ApiError, canceled, type ErrorCode } from '../errors.js';
import type { Watcher } from '../store/hub.js';
import type { Node } from './node.js';

interface LocalWatchOptions {
  readonly clock: Clock;
  readonly header: (revision: number) => Header;
  readonly progressMs: number;
  /** So many events were taken from the hub. */
  readonly delivered: (events: number) => void;
  /** Why it may not go on, by the permissions as they are now; absent: it is this process's own. */
  readonly judge?: () => ErrorCode | null;
  readonly signal?: AbortSignal;
  /** Calls `tell` of it from a later turn. */
  readonly wake: (watch: LocalWatch) => void;
  readonly onEnd: (watch: LocalWatch) => void;
}

export class LocalWatch implements Watch {
  readonly #options: LocalWatchOptions;
  readonly #pipe = new Pipe<WatchBatch>({ sizeMax: 1, onWanted: () => this.#pull(), onEnd: () => this.#release() });
  #watcher: Watcher | null = null;
  #node: Node | null = null;
  /** Of users and roles, when it was last judged; -1: never, or while auth was off. */
  #judgedAt = -1;
  #quiet = true;
  /** Who is told that there may be something, where nobody iterates; null: that is awaited from the pipe. */
  #onTap: (() => void) | null = null;
  /** It will be. */
  #isWoken = false;
  #isEndTold = false;
  #cancelProgress: () => void = () => undefined;

  /** `node` null: the client was closed, so the iterator ends at once. */
  constructor(node: Node | null, request: WatchRequest, options: LocalWatchOptions) {
    this.#options = options;
    if (node === null) this.#pipe.end(null);
    else if (!node.running) this.#pipe.end(new ApiError('stopped'));
    else if (node.isLearner) this.#pipe.end(new ApiError('learner_unsupported'));
    this.#pipe.follow(options.signal, canceled);
    if (node === null || !this.#pipe.isOpen) return;
    this.#node = node;
    this.review();
    if (!this.#pipe.isOpen) return;
    this.#watcher = node.hub.open(request);
    this.#watcher.onReady = () => {
      if (this.#onTap !== null) this.#wake();
      else if (this.#pipe.isAwaited) this.#pull();
    };
    if (request.progressNotify === true) this.#scheduleProgress();
  }

  get isOpen(): boolean {
    return this.#pipe.isOpen;
  }

  requestProgress(): void {
    this.#watcher?.requestProgress();
  }

  close(): void {
    this.#isEndTold = true;
    this.#pipe.cut(null);
  }

  /** Ends the watch from the other side. */
  fail(error: ApiError): void {
    this.#pipe.end(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch, undefined> {
    return this.#pipe[Symbol.asyncIterator]();
  }

  tap(onReady: () => void): WatchTap {
    assert(this.#onTap === null, 'a watch has one reader');
    this.#onTap = onReady;
    return () => this.#take();
  }

  /** For whoever was asked to wake it. True: this took some milliseconds. */
  tell(): boolean {
    this.#isWoken = false;
    if (this.#onTap !== null) this.#onTap();
    else if (this.#pipe.isAwaited) this.#pull();
    return this.#watcher?.isSearching === true;
  }

  /** Ends it when permissions have changed and it may not go on; otherwise costs next to nothing. */
  review(): void {
    const auth = this.#node?.store.auth;
    if (auth === undefined || this.#options.judge === undefined) return;
    const now = auth.isEnabled ? auth.revision : -1;
    if (now === this.#judgedAt) return;
    this.#judgedAt = now;
    const code = this.#options.judge();
    if (code !== null) this.fail(new ApiError(code));
  }

  #wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    this.#options.wake(this);
  }

  #pull(): void {
    const batch = this.#next();
    if (batch !== null) this.#pipe.push(batch);
  }

  #take(): WatchBatch | WatchEnd | null {
    const batch = this.#next();
    if (batch !== null || this.#pipe.isOpen || this.#isEndTold) return batch;
    this.#isEndTold = true;
    return { kind: 'ended', error: this.#pipe.takeError() };
  }

  /** Null: there is nothing, or it has ended. */
  #next(): WatchBatch | null {
    // Before anything more is delivered, so that what is written after a permission went is never seen.
    this.review();
    if (!this.#pipe.isOpen) return null;
    const watcher = this.#watcher;
    const result = watcher?.next() ?? null;
    if (result === null) {
      if (watcher?.isSearching === true) this.#wake();
      return null;
    }
    if (result.kind === 'ended') {
      this.#pipe.end(new ApiError(result.code, { compactRevision: result.compactRevision }));
      return null;
    }
    const { kind, revision, events } = result.batch;
    if (kind === 'events') this.#quiet = false;
    this.#options.delivered(events.length);
    return { kind, header: this.#options.header(revision), events };
  }

  #scheduleProgress(): void {
    this.#cancelProgress = this.#options.clock.schedule(this.#options.progressMs, () => {
      if (this.#quiet) this.requestProgress();
      this.#quiet = true;
      this.#scheduleProgress();
    });
  }

  #release(): void {
    this.#watcher?.close();
    this.#watcher = null;
    this.#cancelProgress();
    this.#options.onEnd(this);
    if (this.#onTap !== null && !this.#isEndTold) this.#wake();
  }
}
