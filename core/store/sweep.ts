// Takes rows out that compaction made superfluous, a slice at a time, so that no single apply pays for a million of them.
// Answers never depend on how far this has come (reliability R-12): whatever it removes, nobody could see since the
// compaction was applied. Rows that stay slide down over those that go; values and keys in chunks that are mostly
// garbage are copied to the end of their arena.

import { assert } from '../base/assert.js';
import { NONE } from './rows.js';
import type { Table } from './table.js';

export class Sweep {
  readonly #table: Table;
  readonly #compacted: number;
  #phase: 'rows' | 'keys' = 'rows';
  #slot = 0;

  constructor(table: Table, compacted: number) {
    assert(table.rows.gapEnd === 0, 'one sweep begins before another has ended');
    this.#table = table;
    this.#compacted = compacted;
  }

  /** Looks at up to `rowsMax` more rows (or keys). True when there are none left. */
  step(rowsMax: number): boolean {
    return this.#phase === 'rows' ? this.#stepRows(rowsMax) : this.#stepKeys(rowsMax);
  }

  #stepRows(rowsMax: number): boolean {
    const { rows } = this.#table;
    for (let left = rowsMax; rows.gapEnd < rows.length; left--) {
      // Above the compacted revision everything stays: without a gap there is nothing to slide over either.
      if (rows.gapStart === rows.gapEnd && rows.main(rows.gapEnd) > this.#compacted) break;
      if (left <= 0) return false;
      this.#row(rows.gapEnd);
    }
    rows.closeGap();
    this.#phase = 'keys';
    return false;
  }

  #row(row: number): void {
    const { rows, values } = this.#table;
    rows.gapEnd = row + 1;
    if (this.#table.isSuperseded(row, this.#compacted)) return this.#drop(row);
    const to = rows.gapStart;
    rows.gapStart = to + 1;
    if (to !== row) {
      rows.move(row, to);
      if (rows.next(to) === NONE) this.#table.keys.setNewest(rows.slot(to), to);
    }
    const chunk = rows.chunk(to);
    const length = rows.valueLength(to);
    if (length === 0 || !values.isSparse(chunk)) return;
    values.append(this.#table.value(to));
    rows.setValue(to, values.chunk, values.offset, length);
    values.release(chunk, length);
  }

  /** The row is the oldest of its key: what is superseded by it went before it. */
  #drop(row: number): void {
    const { rows, keys, values } = this.#table;
    values.release(rows.chunk(row), rows.valueLength(row));
    const next = rows.next(row);
    if (next === NONE) keys.remove(rows.slot(row));
    else rows.setPrev(next, NONE);
  }

  #stepKeys(slotsMax: number): boolean {
    const { keys } = this.#table;
    const end = keys.isWasteful ? Math.min(keys.slotsEnd, this.#slot + slotsMax) : keys.slotsEnd;
    if (keys.isWasteful) while (this.#slot < end) keys.relocate(this.#slot++);
    return end === keys.slotsEnd;
  }
}
