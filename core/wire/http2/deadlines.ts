// Calls with a deadline (`grpc-timeout`). Nearly all of them end long before it, so a deadline is no timer: calls are kept by
// the step of time they end in, and one timer looks at the next step there is.

import type { Clock } from '../../base/clock.js';
import { Crowd, type InCrowd } from '../../base/crowd.js';

const STEP_MS = 20;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds, of at most eight digits and a unit; null: it is not a time-out as gRPC writes it. */
export function timeoutMs(text: string): number | null {
  const unit = UNIT_MS[text.at(-1) ?? ''];
  return unit === undefined || !/^\d{1,8}.$/.test(text) ? null : Number(text.slice(0, -1)) * unit;
}

export interface Timed {
  onDeadline(): void;
}

/** One deadline of one call, until it has passed or does not matter any more. */
export interface Deadline extends InCrowd {
  readonly step: number;
  readonly call: Timed;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #steps = new Map<number, Crowd<Deadline>>();
  #cancel: (() => void) | null = null;
  /** The last step that was looked at. */
  #looked: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#looked = Math.floor(clock.now() / STEP_MS);
  }

  /** Never early, and late by two steps at most. What is returned is to be given to `delete`. */
  add(call: Timed, inMs: number): Deadline {
    const step = Math.floor((this.#clock.now() + inMs) / STEP_MS) + 1;
    const deadline: Deadline = { place: -1, step, call };
    let deadlines = this.#steps.get(step);
    if (deadlines === undefined) {
      deadlines = new Crowd<Deadline>();
      this.#steps.set(step, deadlines);
    }
    deadlines.add(deadline);
    this.#cancel ??= this.#clock.schedule(STEP_MS, this.#onStep);
    return deadline;
  }

  delete(deadline: Deadline): void {
    const deadlines = this.#steps.get(deadline.step);
    if (deadlines?.delete(deadline) === true && deadlines.size === 0) this.#steps.delete(deadline.step);
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#steps.clear();
  }

  readonly #onStep = (): void => {
    this.#cancel = null;
    const before = this.#looked;
    const now = Math.floor(this.#clock.now() / STEP_MS);
    this.#looked = now;
    // Whichever are fewer: the steps that passed, or those that calls end in.
    if (now - before > this.#steps.size) {
      for (const step of this.#steps.keys()) if (step <= now) this.#end(step);
    } else {
      for (let step = before + 1; step <= now; step++) this.#end(step);
    }
    if (this.#steps.size > 0) this.#cancel ??= this.#clock.schedule(STEP_MS, this.#onStep);
  };

  #end(step: number): void {
    const deadlines = this.#steps.get(step);
    if (deadlines === undefined) return;
    this.#steps.delete(step);
    for (const { call } of deadlines.list()) call.onDeadline();
  }
}
