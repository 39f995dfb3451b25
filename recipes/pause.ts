// Waiting and not hurrying: a pause on a Clock, a bounded wait for somebody else's promise, a jittered back-off and a
// token bucket. Everything here takes its time from the Clock it is given, so a simulated clock decides when it ends.

import { onceAborted } from '../core/base/abort.js';
import type { Clock } from '../core/base/clock.js';
import { Prng } from '../core/base/prng.js';
import { ApiError } from '../core/errors.js';

/** Resolves after `delayMs`, or as soon as `signal` aborts; never rejects. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const end = (): void => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.schedule(delayMs, end);
    onceAborted(signal, end);
  });
}

/**
 * Observers are for logs: one that throws must not keep a session from being lost, a view from following or an instance
 * from being registered. It is still the caller's error, so it is thrown again, in a turn of its own.
 */
export function observing<E>(clock: Clock, observe: ((event: E) => void) | undefined): (event: E) => void {
  if (observe === undefined) return () => undefined;
  return (event) => {
    try {
      observe(event);
    } catch (error) {
      clock.schedule(0, () => {
        throw error;
      });
    }
  };
}

/** Throws `invalid_request`, naming the option and its value, unless it is a number from `min` to `max`. */
export function checkNumber(name: string, value: number | undefined, min: number, max = Infinity): void {
  if (value === undefined || (value >= min && value <= max)) return;
  const limit = max === Infinity ? '' : ` and at most ${max}`;
  throw new ApiError('invalid_request', { detail: `${name} is ${value}; give a number, at least ${min}${limit}` });
}

export interface WaitOptions {
  /** Aborting rejects the wait with `canceled`; its reason becomes the error's cause. */
  readonly signal?: AbortSignal;
  /** Rejects the wait with `deadline_exceeded`. Absent or Infinity: no limit beyond the signal's. */
  readonly timeoutMs?: number;
}

/**
 * What `work` settles with, unless the wait ends first. `work` itself goes on and its late outcome is nobody's business
 * any more, except `onLate`'s, which is handed a value that came after the wait had ended.
 */
export function within<T>(
  work: Promise<T>,
  clock: Clock,
  options: WaitOptions & { what: string; onLate?: (value: T) => void },
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let over = false;
    const { signal, timeoutMs, what } = options;
    const end = (settle: () => void): void => {
      if (over) return;
      over = true;
      cancel?.();
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    const onAbort = (): void =>
      end(() => reject(new ApiError('canceled', { detail: what, cause: signal?.reason })));
    const cancel =
      timeoutMs === undefined || timeoutMs === Infinity
        ? undefined
        : clock.schedule(timeoutMs, () =>
            end(() => reject(new ApiError('deadline_exceeded', { detail: `${what} took more than ${timeoutMs} ms` }))),
          );
    work.then(
      (value) => {
        if (over) options.onLate?.(value);
        else end(() => resolve(value));
      },
      (error: unknown) => end(() => reject(error instanceof Error ? error : new Error(String(error)))),
    );
    onceAborted(signal, onAbort);
    if (signal?.aborted === true) onAbort();
  });
}

/**
 * A generator seeded by `marks` (lease ids are random, instance names differ) and by the fraction of the clock, which
 * differs between machines: enough to keep a thousand clients from coming back in one instant. Not for secrets.
 */
export function chance(clock: Clock, ...marks: readonly (bigint | string)[]): Prng {
  let seed = Math.floor((clock.now() * 1_000_003) % 0x1_0000_0000);
  for (const mark of marks) {
    const digits = typeof mark === 'string' ? mark : mark.toString(16);
    for (let i = 0; i < digits.length; i += 1) seed = (Math.imul(seed, 31) + digits.charCodeAt(i)) >>> 0;
  }
  return new Prng(seed);
}

/** Delays that double from `baseMs` up to `maxMs`, each spread evenly over its upper half. */
export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #prng: Prng;
  #failures = 0;

  constructor(options: { baseMs: number; maxMs: number; prng: Prng }) {
    this.#baseMs = options.baseMs;
    this.#maxMs = options.maxMs;
    this.#prng = options.prng;
  }

  /** The delay before the next attempt. */
  next(): number {
    const ceiling = Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return ceiling / 2 + (ceiling / 2) * (this.#prng.below(1000) / 1000);
  }

  /** After a success: the next delay is the shortest again. */
  reset(): void {
    this.#failures = 0;
  }
}

/** At most `capacity` at once and one more every `refillMs`: a bound that holds even when every attempt succeeds. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #capacity: number;
  readonly #refillMs: number;
  /** Invariant: tokens available at time t = min(capacity, (t - emptyAt) / refillMs). */
  #emptyAt: number;

  constructor(clock: Clock, options: { capacity: number; refillMs: number }) {
    this.#clock = clock;
    this.#capacity = options.capacity;
    this.#refillMs = options.refillMs;
    this.#emptyAt = clock.now() - options.capacity * options.refillMs;
  }

  /** Takes one token and says how long to wait before using it; 0 when one was there. */
  take(): number {
    const now = this.#clock.now();
    this.#emptyAt = Math.max(this.#emptyAt, now - this.#capacity * this.#refillMs) + this.#refillMs;
    return Math.max(0, this.#emptyAt - now);
  }
}

/** Calls with a signal that aborts after `timeoutMs` on this clock, or with `outer`; a time-out is `deadline_exceeded`. */
export async function bounded<T>(
  clock: Clock,
  options: { timeoutMs: number; outer?: AbortSignal; what: string },
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const control = new AbortController();
  const giveUp = (): void => control.abort(options.outer?.reason);
  let late = false;
  const cancel = clock.schedule(options.timeoutMs, () => {
    late = true;
    control.abort();
  });
  onceAborted(options.outer, giveUp);
  if (options.outer?.aborted === true) giveUp();
  try {
    return await call(control.signal);
  } catch (error) {
    if (!late) throw error;
    throw new ApiError('deadline_exceeded', { detail: `${options.what} took more than ${options.timeoutMs} ms`, cause: error });
  } finally {
    cancel();
    options.outer?.removeEventListener('abort', giveUp);
  }
}
