// One call of a recipe: what ends it (its signal, its time-out, the loss of its session), and how often it asks a store
// that does not answer. What recipes send again is harmless when it is done twice; that is each sender's business.

import { onceAborted } from '../core/base/abort.js';
import type { Clock } from '../core/base/clock.js';
import type { Client } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { isWorthRepeating, orStopped } from './entry.js';
import type { WaitOptions } from './pause.js';
import { Backoff, chance, checkNumber, observing, pause } from './pause.js';
import type { Session } from './session.js';

const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;

/** For logs and tests. */
export type TaskEvent =
  /** It is tried again. */
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  /** What was to be removed could not be, in time; it goes with the session's lease at the latest. */
  | { readonly kind: 'removal_unconfirmed'; readonly error: Error };

export interface TaskOptions extends WaitOptions {
  readonly observe?: (event: TaskEvent) => void;
}

/** Where a task works: on a session, whose loss ends it, or on a client alone. */
export interface Bench {
  readonly client: Client;
  readonly clock: Clock;
  readonly session: Session | null;
}

export class Task {
  readonly bench: Bench;
  /** For messages: 'counting with counter orders'. */
  readonly what: string;
  readonly observe: (event: TaskEvent) => void;
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  readonly #unbind: () => void;
  #lastError: Error | null = null;

  /** Whoever makes one calls `end`. */
  constructor(bench: Bench, what: string, options: TaskOptions = {}) {
    checkNumber('timeoutMs', options.timeoutMs, 0);
    this.bench = bench;
    this.what = what;
    this.observe = observing(bench.clock, options.observe);
    const prng = chance(bench.clock, bench.session?.lease ?? 0n, what);
    this.#backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng });
    this.#unbind = this.#bind(options);
  }

  /** Aborts with what the call rejects with: `canceled`, `deadline_exceeded` or `SessionLost`. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** No answer is believed that comes after the end, even if no timer has run since. */
  assertWanted(): void {
    this.bench.session?.assertLive();
    this.#stop.signal.throwIfAborted();
  }

  /** Sends until it is answered, the task is stopped, or an error says that trying again is of no use. */
  async persist<T>(send: () => Promise<T>): Promise<T> {
    for (;;) {
      this.assertWanted();
      try {
        const answer = await orStopped(send(), this.stop);
        this.#backoff.reset();
        return answer;
      } catch (error) {
        await this.failed(error);
      }
    }
  }

  /** Resolves when it may be tried again; rejects when that is not wanted, or of no use. */
  async failed(error: unknown): Promise<void> {
    this.assertWanted();
    if (!isWorthRepeating(error)) throw error;
    // The session will learn it with its next renewal and end all this; let that be soon.
    if (error.code === 'lease_not_found') this.bench.session?.suspect();
    await this.hindered(error);
  }

  /** Something went wrong that will be tried again, whatever it was: tells it, and waits a little. */
  async hindered(error: Error): Promise<void> {
    this.#lastError = error;
    this.observe({ kind: 'attempt_failed', error });
    await pause(this.bench.clock, this.#backoff.next(), this.stop);
  }

  /** It works again: the next delay is the shortest. */
  recovered(): void {
    this.#backoff.reset();
  }

  end(): void {
    this.#unbind();
  }

  #bind(options: TaskOptions): () => void {
    const { clock, session } = this.bench;
    const { signal, timeoutMs } = options;
    const onAbort = (): void => this.#stop.abort(new ApiError('canceled', { detail: this.what, cause: signal?.reason }));
    const onTimeout = (): void => {
      const cause = this.#lastError;
      const detail = `${this.what} took more than ${timeoutMs} ms${cause === null ? '' : `; the store: ${cause.message}`}`;
      this.#stop.abort(new ApiError('deadline_exceeded', cause === null ? { detail } : { detail, cause }));
    };
    const cancel = timeoutMs === undefined || timeoutMs === Infinity ? null : clock.schedule(timeoutMs, onTimeout);
    const forget = session?.onLost((reason) => this.#stop.abort(reason));
    onceAborted(signal, onAbort);
    if (signal?.aborted === true) onAbort();
    return () => {
      cancel?.();
      forget?.();
      signal?.removeEventListener('abort', onAbort);
    };
  }
}

/** Does `work` as one task. */
export async function asTask<T>(
  bench: Bench,
  what: string,
  options: TaskOptions,
  work: (task: Task) => Promise<T>,
): Promise<T> {
  const task = new Task(bench, what, options);
  try {
    task.assertWanted();
    return await work(task);
  } finally {
    task.end();
  }
}
