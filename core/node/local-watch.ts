// One watch in process: pulls from the hub's watcher as fast as its one reader iterates. Nothing is buffered here; a slow
// reader makes the hub's watcher fall behind, which then reads history.

import type { Clock } from '../base/clock.js';
import { Pipe } from '../base/pipe.js';
import type { Header, Watch, WatchBatch, WatchRequest } from '../client.js';
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
      if (this.#pipe.isAwaited) this.#pull();
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
    this.#pipe.cut(null);
  }

  /** Ends the watch from the other side. */
  fail(error: ApiError): void {
    this.#pipe.end(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch, undefined> {
    return this.#pipe[Symbol.asyncIterator]();
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

  #pull(): void {
    // Before anything more is delivered, so that what is written after a permission went is never seen.
    this.review();
    if (!this.#pipe.isOpen) return;
    const result = this.#watcher?.next() ?? null;
    if (result === null) return;
    if (result.kind === 'ended') {
      return this.#pipe.end(new ApiError(result.code, { compactRevision: result.compactRevision }));
    }
    const { kind, revision, events } = result.batch;
    if (kind === 'events') this.#quiet = false;
    this.#options.delivered(events.length);
    this.#pipe.push({ kind, header: this.#options.header(revision), events });
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
  }
}
