// Calls with a deadline (`grpc-timeout`). Nearly all of them end long before it, so a deadline is no timer: calls are kept by
// the step of time they end in, and one timer looks at the next step there is.

import type { Clock } from '../../base/clock.js';

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

export class Deadlines {
  readonly #clock: Clock;
  readonly #steps = new Map<number, Set<Timed>>();
  #cancel: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns the step, to be given to `delete`. Never early, and late by a step at most. */
  add(call: Timed, inMs: number): number {
    const step = Math.ceil((this.#clock.now() + inMs) / STEP_MS) + 1;
    const calls = this.#steps.get(step);
    if (calls === undefined) this.#steps.set(step, new Set([call]));
    else calls.add(call);
    this.#cancel ??= this.#clock.schedule(STEP_MS, this.#onStep);
    return step;
  }

  delete(call: Timed, step: number): void {
    const calls = this.#steps.get(step);
    if (calls?.delete(call) === true && calls.size === 0) this.#steps.delete(step);
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#steps.clear();
  }

  readonly #onStep = (): void => {
    this.#cancel = null;
    const now = this.#clock.now() / STEP_MS;
    for (const [step, calls] of this.#steps) {
      if (step > now) continue;
      this.#steps.delete(step);
      for (const call of calls) call.onDeadline();
    }
    if (this.#steps.size > 0) this.#cancel ??= this.#clock.schedule(STEP_MS, this.#onStep);
  };
}
