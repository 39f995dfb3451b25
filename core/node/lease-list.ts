// All leases, by what is left of them. There may be a million: they are looked at in slices, between which the member goes on,
// and sorted by the digits of the numbers, a digit in a turn, which costs no call and no object for any of them.
//
// Listed are those that were there when the list was begun, but for those that ended before it came to them.

import type { LeaseId } from '../client.js';
import type { Steps } from '../store/steps.js';
import type { Store } from '../store/store.js';

/** Milliseconds beyond this are not told apart; etcd's longest TTL is shorter. */
const LEFT_MAX = 2 ** 48 - 1;
const DIGIT = 2 ** 16;
/** So many are sorted by a digit in the time in which one lease is looked at. */
const PLACES_A_STEP = 16;

export class LeaseList {
  readonly #leases: Iterator<{ readonly id: LeaseId; readonly remainingSeconds: number; readonly granted: number }>;
  readonly #begunAt: number;
  readonly #leftHere: (id: LeaseId) => number | null;
  readonly #ids: LeaseId[] = [];
  readonly #left: number[] = [];
  #order: Order | null = null;

  /** `leftHere`: milliseconds, where this member knows it. */
  constructor(store: Store, leftHere: (id: LeaseId) => number | null) {
    this.#leases = store.leases()[Symbol.iterator]();
    this.#begunAt = store.applied.index;
    this.#leftHere = leftHere;
  }

  /** Looks at as many as there are steps; the list, once it is whole. */
  step(steps: Steps): readonly LeaseId[] | null {
    while (this.#order === null) {
      if (steps.left <= 0) return null;
      steps.left -= 1;
      const next = this.#leases.next();
      if (next.done === true) {
        this.#order = new Order(this.#left);
        break;
      }
      const { id, remainingSeconds, granted } = next.value;
      if (granted > this.#begunAt) continue;
      this.#ids.push(id);
      this.#left.push(this.#leftHere(id) ?? remainingSeconds * 1000);
    }
    const places = this.#order.step(steps);
    if (places === null) return null;
    const ids: LeaseId[] = [];
    for (let i = 0; i < places.length; i++) ids.push(this.#ids[places[i] as number] as LeaseId);
    return ids;
  }
}

/** The places of numbers from the least to the greatest; those that are alike stay in their order. */
class Order {
  readonly #whole: Float64Array;
  #places: Uint32Array;
  #spare: Uint32Array;
  #unit = 1;

  constructor(numbers: readonly number[]) {
    this.#whole = new Float64Array(numbers.length);
    this.#places = new Uint32Array(numbers.length);
    this.#spare = new Uint32Array(numbers.length);
    // In a loop: `from` with a function for each takes ten times as long.
    for (let i = 0; i < numbers.length; i++) {
      this.#whole[i] = Math.min(LEFT_MAX, Math.max(0, Math.floor(numbers[i] as number)));
      this.#places[i] = i;
    }
  }

  /** Sorts by as many digits more as there are steps for; null: that was not by all. */
  step(steps: Steps): Uint32Array | null {
    for (; this.#unit <= LEFT_MAX; this.#unit *= DIGIT) {
      if (steps.left <= 0) return null;
      steps.left -= this.#whole.length / PLACES_A_STEP;
      this.#sort(this.#unit);
    }
    return this.#places;
  }

  #sort(unit: number): void {
    const whole = this.#whole;
    const starts = startsOf(whole, unit);
    if (starts === null) return;
    const spare = this.#spare;
    for (const place of this.#places) {
      const digit = Math.floor((whole[place] as number) / unit) % DIGIT;
      const at = starts[digit] as number;
      starts[digit] = at + 1;
      spare[at] = place;
    }
    [this.#places, this.#spare] = [spare, this.#places];
  }
}

/** Where the numbers of each digit begin; null: all have the same. */
function startsOf(whole: Float64Array, unit: number): Uint32Array | null {
  const starts = new Uint32Array(DIGIT);
  for (const ms of whole) {
    const digit = Math.floor(ms / unit) % DIGIT;
    starts[digit] = (starts[digit] as number) + 1;
  }
  let before = 0;
  for (let digit = 0; digit < DIGIT; digit++) {
    const count = starts[digit] as number;
    if (count === whole.length) return null;
    starts[digit] = before;
    before += count;
  }
  return starts;
}
