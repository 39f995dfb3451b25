// Chance for the generators, all of it from one seed.

import { Prng } from '../../../core/base/prng.js';

export class Dice {
  readonly #prng: Prng;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  /** In [0, bound). */
  below(bound: number): number {
    return this.#prng.below(bound);
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.#prng.below(times) === 0;
  }

  one<T>(list: readonly T[]): T {
    const drawn = list[this.#prng.below(list.length)];
    if (drawn === undefined) throw new Error('nothing to draw from');
    return drawn;
  }

  /** One of the rows, each as likely as its weight says. */
  weighted<T>(rows: readonly (readonly [weight: number, T])[]): T {
    let at = this.below(rows.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, row] of rows) {
      if (at < weight) return row;
      at -= weight;
    }
    throw new Error('weights add up');
  }

  times<T>(count: number, draw: () => T): T[] {
    return Array.from({ length: count }, draw);
  }
}
