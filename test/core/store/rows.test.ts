// Columns, chains and the gap.

import test from 'ava';
import { NONE, Rows } from '../../../core/store/rows.js';

/** Rows with revisions 10, 20, 30 …, one key each. */
function filled(count: number): Rows {
  const rows = new Rows();
  for (let i = 0; i < count; i++) rows.append(i, NONE, 10 * (i + 1));
  return rows;
}

/** Removes every row for which `goes` says so, as a sweep does; stops before `end`. */
function slide(rows: Rows, end: number, goes: (row: number) => boolean): void {
  while (rows.gapEnd < end) {
    const row = rows.gapEnd++;
    if (goes(row)) continue;
    if (row !== rows.gapStart) rows.move(row, rows.gapStart);
    rows.gapStart += 1;
  }
}

function walked(rows: Rows, from: number): number[] {
  const found: number[] = [];
  for (let row = rows.first(from); row < rows.length; row = rows.after(row)) found.push(rows.main(row));
  return found;
}

test('a row keeps all of its columns, across pages', (t) => {
  const rows = new Rows();
  for (let i = 0; i < 10_000; i++) {
    const row = rows.append(i, NONE, i);
    rows.fill(row, i + 1, i + 2, BigInt(i) - 5000n);
    rows.setValue(row, i + 3, i + 4, i + 5);
  }
  for (const i of [0, 4095, 4096, 5000, 9999]) {
    t.deepEqual([rows.main(i), rows.create(i), rows.version(i), rows.lease(i)], [i, i + 1, i + 2, BigInt(i) - 5000n]);
    t.deepEqual([rows.chunk(i), rows.offset(i), rows.valueLength(i), rows.slot(i)], [i + 3, i + 4, i + 5, i]);
  }
  t.is(rows.lease(5000), 0n);
  t.false(rows.hasLease(5000));
});

test('leases keep all 64 bits when a row moves', (t) => {
  for (const lease of [1n, -1n, 2n ** 32n, -(2n ** 63n), 2n ** 63n - 1n]) {
    const rows = filled(2);
    rows.fill(1, 2 ** 53 - 1, 2 ** 52, lease);
    rows.move(1, 0);
    t.deepEqual([rows.lease(0), rows.hasLease(0), rows.create(0), rows.version(0)], [lease, true, 2 ** 53 - 1, 2 ** 52]);
  }
});

test('a chain stays whole when its rows move', (t) => {
  const rows = new Rows();
  const first = rows.append(0, NONE, 1);
  rows.append(1, NONE, 2);
  const second = rows.append(0, first, 3);
  const third = rows.append(0, second, 4);
  t.deepEqual([rows.next(first), rows.next(second), rows.next(third)], [second, third, NONE]);
  rows.move(second, 1);
  t.deepEqual([rows.next(first), rows.prev(third), rows.prev(1), rows.next(1)], [1, 1, first, third]);
});

test('rows are found by revision, with a gap anywhere', (t) => {
  for (const end of [0, 1, 50, 99, 100]) {
    for (const goes of [(row: number) => row % 3 !== 0, (row: number) => row < 40, () => true, () => false]) {
      const rows = filled(100);
      slide(rows, end, goes);
      const kept = Array.from({ length: 100 }, (_, row) => row).filter((row) => row >= end || !goes(row));
      const expected = kept.map((row) => 10 * (row + 1));
      for (const from of [0, 5, 10, 11, 400, 410, 505, 990, 1000, 1001]) {
        t.deepEqual(walked(rows, from), expected.filter((main) => main >= from), `${end} ${from}`);
      }
    }
  }
});

test('closing the gap gives pages back and leaves the rest', (t) => {
  const rows = filled(20_000);
  const full = rows.sizeBytes;
  slide(rows, 20_000, (row) => row % 2 === 0);
  rows.closeGap();
  t.is(rows.length, 10_000);
  t.is(rows.sizeBytes, (full / 5) * 3);
  t.deepEqual(walked(rows, 199_990), [200_000]);
  rows.append(1, NONE, 300_000);
  t.deepEqual(walked(rows, 200_000), [200_000, 300_000]);
});

test('a gap that is none closes without a trace', (t) => {
  const rows = filled(100);
  slide(rows, 100, () => false);
  rows.closeGap();
  t.deepEqual([rows.gapStart, rows.gapEnd, rows.length], [0, 0, 100]);
});
