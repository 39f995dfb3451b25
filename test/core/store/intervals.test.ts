// Which intervals contain a key, compared with looking at all of them.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { Intervals } from '../../../core/store/intervals.js';
import { takesLess } from '../../takes-less.js';

interface Range {
  readonly start: string;
  readonly end: string | null;
}

function named({ start, end }: Range): string {
  return `${start}..${end ?? '∞'}`;
}

function drawn(dice: Prng): Range {
  const word = (): string => Array.from({ length: dice.below(3) }, () => 'abcd'.charAt(dice.below(4))).join('');
  return { start: word(), end: dice.below(5) === 0 ? null : word() };
}

test('the intervals around a key are found as by looking at all of them', (t) => {
  const dice = new Prng(11);
  const intervals = new Intervals<string>();
  const all = new Map<string, Range>();
  for (let i = 0; i < 4000; i++) {
    const range = drawn(dice);
    const name = named(range);
    t.is(intervals.get(range.start, range.end), all.has(name) ? name : null);
    if (all.has(name)) {
      intervals.remove(range.start, range.end);
      all.delete(name);
    } else {
      intervals.add(range.start, range.end, name);
      all.set(name, range);
    }
    const key = drawn(dice).start;
    const found: string[] = [];
    intervals.containing(key, (each) => found.push(each));
    const expected = [...all.values()].filter(({ start, end }) => start <= key && (end === null || key < end)).map(named);
    t.deepEqual(found.sort(), expected.sort());
  }
});

test('ten thousand intervals elsewhere are not looked at', (t) => {
  const intervals = new Intervals<{ readonly n: number }>();
  let [touched, asked] = [0, 0];
  for (let n = 0; n < 10_000; n++) {
    const start = String(n).padStart(5, '0');
    intervals.add(`${start}/`, `${start}0`, { n });
  }
  // By looking at all it would take a hundred million comparisons.
  t.true(takesLess(2000, () => {
    for (let i = 0; i < 10_000; i++, asked++) intervals.containing(`${String(i).padStart(5, '0')}/x`, () => (touched += 1));
  }));
  t.is(touched, asked);
});

test('intervals added in order do not make a list of the tree', (t) => {
  const intervals = new Intervals<number>();
  t.notThrows(() => {
    for (let n = 0; n < 100_000; n++) intervals.add(String(n).padStart(6, '0'), null, n);
  });
  let count = 0;
  intervals.containing('000009', () => (count += 1));
  t.is(count, 10);
});
