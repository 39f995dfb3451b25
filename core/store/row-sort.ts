// Sorts rows by a fact of theirs, a slice at a time: short runs first, then pairs of runs into longer ones. Stable either way
// round: rows that are equal stay as they stood.

import { compareBytes } from '../base/bytes.js';
import type { SortTarget } from '../client.js';
import type { Steps } from './steps.js';
import type { Table } from './table.js';

const RUN_ROWS = 1024;

/** Above 0: row `a` comes behind row `b`; 0: they stay as they stand. */
export type IsAfter = (a: number, b: number) => number;

export class RowSort {
  readonly #rows: number[];
  readonly #isAfter: IsAfter;
  /** Rows up to here lie in sorted runs. */
  #runsEnd = 0;
  /** Length of the runs that are being merged; of those below `#at` two are one already. */
  #width = RUN_ROWS;
  #at = 0;
  /** The merge under way: the runs' first rows not taken, and what was taken. */
  #left = 0;
  #right = 0;
  #merged: number[] = [];

  /** Sorts `rows` where they stand. They must not move until it is done. */
  constructor(rows: number[], isAfter: IsAfter) {
    this.#rows = rows;
    this.#isAfter = isAfter;
  }

  /** True when they are sorted. */
  step(steps: Steps): boolean {
    while (this.#runsEnd < this.#rows.length) {
      if (steps.left <= 0) return false;
      steps.left -= Math.min(RUN_ROWS, this.#rows.length - this.#runsEnd);
      this.#sortRun();
    }
    while (this.#width < this.#rows.length) {
      if (steps.left <= 0) return false;
      steps.left -= this.#merge(steps.left);
    }
    return true;
  }

  #sortRun(): void {
    const rows = this.#rows;
    const from = this.#runsEnd;
    this.#runsEnd = Math.min(rows.length, from + RUN_ROWS);
    if (from === 0 && this.#runsEnd === rows.length) {
      rows.sort(this.#isAfter);
      return;
    }
    const run = rows.slice(from, this.#runsEnd).sort(this.#isAfter);
    for (let i = 0; i < run.length; i++) rows[from + i] = run[i] as number;
  }

  /** Takes up to about `stepsMax` rows of the two runs at `#at`; returns how many. */
  #merge(stepsMax: number): number {
    const rows = this.#rows;
    const middle = Math.min(rows.length, this.#at + this.#width);
    const end = Math.min(rows.length, middle + this.#width);
    const merged = this.#merged;
    if (merged.length === 0) [this.#left, this.#right] = [this.#at, middle];
    const before = merged.length;
    while (this.#left < middle && this.#right < end && merged.length - before < stepsMax) {
      const [left, right] = [rows[this.#left] as number, rows[this.#right] as number];
      if (this.#isAfter(left, right) <= 0) {
        merged.push(left);
        this.#left += 1;
      } else {
        merged.push(right);
        this.#right += 1;
      }
    }
    const taken = merged.length - before;
    if (this.#left < middle && this.#right < end) return taken;
    // What is left of the first run goes to the end; what is left of the second stands there already.
    const by = this.#at + merged.length - this.#left;
    for (let i = middle - 1; i >= this.#left; i--) rows[i + by] = rows[i] as number;
    for (let i = 0; i < merged.length; i++) rows[this.#at + i] = merged[i] as number;
    this.#merged = [];
    this.#at = end;
    if (end === rows.length) {
      this.#at = 0;
      this.#width *= 2;
    }
    return taken + 1;
  }
}

export function orderBy(table: Table, target: Exclude<SortTarget, 'key'>, isDescending: boolean): IsAfter {
  const ascending = comparison(table, target);
  return isDescending ? (a, b) => ascending(b, a) : ascending;
}

function comparison(table: Table, target: Exclude<SortTarget, 'key'>): IsAfter {
  const { rows } = table;
  switch (target) {
    case 'version':
      return (a, b) => rows.version(a) - rows.version(b);
    case 'create':
      return (a, b) => rows.create(a) - rows.create(b);
    case 'mod':
      return (a, b) => rows.main(a) - rows.main(b);
    case 'value':
      return (a, b) => compareBytes(table.value(a), table.value(b));
  }
}
