// Counts what happens too often to be told each time: the first of a kind is told at once, those that follow together, at
// most once in an interval. Kinds beyond a bound are one kind.

import type { Clock } from './clock.js';

interface Counted {
  toldAt: number;
  untold: number;
}

const OTHERS = 'others';

export class Tally {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #kindsMax: number;
  readonly #kinds = new Map<string, Counted>();

  constructor(clock: Clock, options: { readonly intervalMs: number; readonly kindsMax: number }) {
    this.#clock = clock;
    this.#intervalMs = options.intervalMs;
    this.#kindsMax = options.kindsMax;
  }

  /** How many to tell of now, this one included; 0: not yet. */
  add(kind: string): number {
    const now = this.#clock.now();
    if (this.#kinds.size >= this.#kindsMax && !this.#kinds.has(kind)) this.#forgetOld(now);
    const isKnown = this.#kinds.has(kind) || this.#kinds.size < this.#kindsMax;
    const key = isKnown ? kind : OTHERS;
    const counted = this.#kinds.get(key) ?? { toldAt: -Infinity, untold: 0 };
    this.#kinds.set(key, counted);
    counted.untold++;
    if (now - counted.toldAt < this.#intervalMs) return 0;
    const count = counted.untold;
    counted.toldAt = now;
    counted.untold = 0;
    return count;
  }

  /** Kinds that nobody would have to wait for again. */
  #forgetOld(now: number): void {
    for (const [kind, { toldAt, untold }] of this.#kinds) {
      if (untold === 0 && now - toldAt >= this.#intervalMs) this.#kinds.delete(kind);
    }
  }
}
