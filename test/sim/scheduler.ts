// Everything that will happen, in one heap ordered by (time, tie, order). The tie of equal times is drawn from the seed, so
// that their order is permuted from seed to seed and the same in each replay. Time is simulated milliseconds.
//
// Every event that happens goes into a rolling hash: two runs of a seed are the same run exactly when their hashes are.

import { Heap } from '../../core/base/heap.js';
import { Dice, scramble } from './random.js';

export interface Happening {
  readonly at: number;
  readonly tie: number;
  readonly order: number;
  /** What kind of event, for the hash and the counts. */
  readonly kind: number;
  /** Whose event it is, for the hash. */
  readonly who: number;
  readonly run: () => void;
  canceled: boolean;
}

export const Kind = Object.freeze({ world: 1, client: 2, turn: 3, disk: 4, frame: 5, fault: 6 });

export class Scheduler {
  now = 0;
  /** Events that have happened. */
  count = 0;
  readonly #dice: Dice;
  readonly #heap = new Heap<Happening>(isBefore);
  #order = 0;
  #hashA = 0x811c9dc5;
  #hashB = 0x01000193;
  readonly #double = new Float64Array(1);
  readonly #words = new Uint32Array(this.#double.buffer);

  constructor(seed: number) {
    this.#dice = new Dice(seed, 'ties');
  }

  get pending(): number {
    return this.#heap.size;
  }

  /** Sixteen hexadecimal digits. */
  get hash(): string {
    return this.#hashA.toString(16).padStart(8, '0') + this.#hashB.toString(16).padStart(8, '0');
  }

  at(time: number, kind: number, who: number, run: () => void): Happening {
    if (!(time >= this.now)) throw new Error(`an event at ${time} lies before ${this.now}`);
    const happening: Happening = { at: time, tie: this.#dice.u32(), order: (this.#order += 1), kind, who, run, canceled: false };
    this.#heap.push(happening);
    return happening;
  }

  after(delayMs: number, kind: number, who: number, run: () => void): Happening {
    return this.at(this.now + delayMs, kind, who, run);
  }

  /** Runs the next event; false when there is none, or none until `limit`. */
  step(limit: number): boolean {
    for (;;) {
      const next = this.#heap.peek();
      if (next === undefined || next.at > limit) return false;
      this.#heap.pop();
      if (next.canceled) continue;
      this.now = next.at;
      this.count++;
      this.#double[0] = next.at;
      this.note((this.#words[0] ?? 0) ^ (this.#words[1] ?? 0), next.kind * 256 + next.who);
      next.run();
      return true;
    }
  }

  /** Takes two words of what happened into the hash. */
  note(a: number, b: number): void {
    this.#hashA = scramble(this.#hashA, a);
    this.#hashB = scramble(this.#hashB ^ this.#hashA, b);
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  if (a.at !== b.at) return a.at < b.at;
  return a.tie !== b.tie ? a.tie < b.tie : a.order < b.order;
}
