// Door 1: time. Monotonic milliseconds with an arbitrary origin; the calendar is only for what bears dates: certificates and
// signed tokens. Everything that waits, waits here, so a simulated clock can drift, jump, freeze and choose the order of equal
// deadlines.

export interface Clock {
  /** Milliseconds since an arbitrary origin. Never decreases, never NaN; fractions are allowed. */
  now(): number;
  /**
   * Runs `run` once, from a later turn, no earlier than `delayMs` from now; 0 means the next turn, after pending
   * input. Returns a function that cancels it; cancelling twice, or after it ran, does nothing.
   */
  schedule(delayMs: number, run: () => void): () => void;
}

/** The machine's own monotonic clock. Timers keep the process alive only while something is scheduled. */
export const systemClock: Clock = {
  now: () => performance.now(),
  schedule(delayMs, run) {
    if (delayMs <= 0) {
      const immediate = setImmediate(run);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(run, Math.min(delayMs, MAX_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/** Monotonic nanoseconds that all threads of this process agree on: the origin of `performance.now()` is each thread's own. */
export function processNs(): bigint {
  return process.hrtime.bigint();
}

/** Milliseconds since 1970 as this machine believes: for the dates in certificates and signed tokens, and nothing else. */
export function calendarMs(): number {
  return Date.now();
}

/** A time of the calendar as HTTP writes it. */
export function httpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

// Node turns a longer timer into 1 ms. Callers that wait longer than 24 days re-arm when woken early.
const MAX_TIMER_MS = 2 ** 31 - 1;
