// The simulated clock: time passes only when a test says so. Due timers run in order of their deadline, equal deadlines
// in order of scheduling, and between any two of them everything that can run without time (promises, zero-delay turns)
// has run. A `delayMs` of 0 means the next turn of the real event loop and needs nobody to advance anything.
//
// A jump models a stalled event loop: time has passed, and nothing has run yet.

import type { Clock } from '../../core/base/clock.js';
import { Heap } from '../../core/base/heap.js';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  canceled: boolean;
}

/** Turns of the real event loop given to promise chains after the last zero-delay turn has run. */
const SETTLING_TURNS = 6;
/** More turns than this without time passing means that something never comes to rest. */
const TURNS_MAX = 100_000;

export class SimClock implements Clock {
  #now: number;
  #order = 0;
  #turnsPending = 0;
  /** Thousands of clients have thousands of timers. */
  readonly #timers = new Heap<Timer>(isDueBefore);
  #pending = 0;

  constructor(startMs = 1_000_000) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  schedule(delayMs: number, run: () => void): () => void {
    if (delayMs <= 0) return this.#nextTurn(run);
    const timer: Timer = { at: this.#now + delayMs, order: (this.#order += 1), run, canceled: false };
    this.#timers.push(timer);
    this.#pending += 1;
    return () => {
      if (!timer.canceled) this.#pending -= 1;
      timer.canceled = true;
    };
  }

  /** Timers waiting for time to pass. */
  get pending(): number {
    return this.#pending;
  }

  /** Lets `ms` pass, running what falls due in between. */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms;
    for (;;) {
      await this.settle();
      const next = this.#earliest();
      if (next === undefined || next.at > target) break;
      this.#runNext(next);
    }
    this.#now = Math.max(this.#now, target);
    await this.settle();
  }

  /** Advances in the background until `work` settles, at most `limitMs`; rejects with `work`, or when it takes longer. */
  async until<T>(work: Promise<T>, limitMs = 600_000): Promise<T> {
    let over = false;
    const outcome = work.finally(() => {
      over = true;
    });
    // Looked at below; a rejection in between must not count as unhandled.
    outcome.catch(() => undefined);
    const target = this.#now + limitMs;
    for (;;) {
      await this.settle();
      if (over) return outcome;
      const next = this.#earliest();
      if (next === undefined || next.at > target) throw new Error(`nothing settled it within ${limitMs} simulated ms`);
      this.#runNext(next);
    }
  }

  /** Time passes and nothing runs: the event loop stood still. What is overdue runs at the next `advance` or `settle`. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Runs everything that needs no time to pass. */
  async settle(): Promise<void> {
    let quiet = 0;
    for (let turn = 0; quiet < SETTLING_TURNS; turn += 1) {
      if (turn > TURNS_MAX) throw new Error('the simulated world never comes to rest');
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      quiet = this.#turnsPending === 0 ? quiet + 1 : 0;
    }
  }

  #nextTurn(run: () => void): () => void {
    this.#turnsPending += 1;
    let waiting = true;
    const done = (): boolean => {
      if (!waiting) return false;
      waiting = false;
      this.#turnsPending -= 1;
      return true;
    };
    const immediate = setImmediate(() => {
      if (done()) run();
    });
    return () => {
      if (done()) clearImmediate(immediate);
    };
  }

  #runNext(timer: Timer): void {
    this.#timers.pop();
    // Canceling it from now on does nothing.
    timer.canceled = true;
    this.#pending -= 1;
    this.#now = Math.max(this.#now, timer.at);
    timer.run();
  }

  #earliest(): Timer | undefined {
    while (this.#timers.peek()?.canceled === true) this.#timers.pop();
    return this.#timers.peek();
  }
}

function isDueBefore(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
