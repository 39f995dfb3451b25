// Gives back the memory that removed data leaves behind, a slice at a time: values and keys move out of chunks that have
// holes, and the numbers of keys that are gone are taken by those with the highest, so that pages at the end fall free. What
// is there does not change, nor does any answer. Rows need no such care: their sweep (sweep.ts) leaves no holes.

import type { Table } from './table.js';

export class Defragmentation {
  readonly #table: Table;
  #phase: 'values' | 'keys' | 'slots' = 'values';
  #at = 0;

  constructor(table: Table) {
    this.#table = table;
    table.values.condemn();
    table.keys.condemn();
  }

  /** Looks at up to `stepsMax` more rows, or keys. True when there are none left. */
  step(stepsMax: number): boolean {
    switch (this.#phase) {
      case 'values':
        if (this.#moveValues(stepsMax)) this.#next('keys');
        return false;
      case 'keys':
        if (this.#moveKeys(stepsMax)) this.#next('slots');
        return false;
      case 'slots':
        return this.#table.packSlots(stepsMax);
    }
  }

  #next(phase: 'keys' | 'slots'): void {
    this.#phase = phase;
    this.#at = 0;
  }

  /** A sweep in between may slide rows past this one unseen: they stay where they are until the next time. */
  #moveValues(rowsMax: number): boolean {
    const { rows, values } = this.#table;
    if (this.#at === 0) this.#at = rows.first(0);
    for (let left = rowsMax; this.#at < rows.length; left--) {
      if (left <= 0) return false;
      const row = this.#at;
      this.#at = rows.after(row);
      const chunk = rows.chunk(row);
      const length = rows.valueLength(row);
      if (length === 0 || !values.isCondemned(chunk)) continue;
      values.append(this.#table.value(row));
      rows.setValue(row, values.chunk, values.offset, length);
      values.release(chunk, length);
      // Long values take longer.
      left -= length >>> 12;
    }
    return true;
  }

  #moveKeys(slotsMax: number): boolean {
    const { keys } = this.#table;
    const end = Math.min(keys.slotsEnd, this.#at + slotsMax);
    while (this.#at < end) keys.rescue(this.#at++);
    return this.#at >= keys.slotsEnd;
  }
}
