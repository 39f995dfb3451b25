// The union of ranges against brute force over an alphabet of three letters.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { Prng } from '../../../core/base/prng.js';
import { intervalOf, KeySet, type KeyInterval } from '../../../core/store/key-set.js';
import { takesLess } from '../../takes-less.js';

/** All strings over these letters up to this length. */
function words(letters: string, length: number): readonly string[] {
  if (length === 0) return [''];
  return ['', ...letters.split('').flatMap((first) => words(letters, length - 1).map((rest) => first + rest))];
}

/** Whatever begins or ends in these tests has at most two letters: between two of these nothing can change. */
const PLACES = [...new Set(words('\0abc', 3))].sort();
const BOUNDS = words('abc', 2);

function has({ start, end }: KeyInterval, key: string): boolean {
  return key >= start && (end === null || key < end);
}

test('SC5 a range is covered exactly when every key in it is, whatever the grants look like', (t) => {
  const dice = new Prng(5);
  const pick = (): KeyInterval => {
    const start = BOUNDS[dice.below(BOUNDS.length)] ?? '';
    const form = dice.below(8);
    if (form === 0) return { start, end: null };
    return { start, end: form < 3 ? `${start}\0` : (BOUNDS[dice.below(BOUNDS.length)] ?? '') };
  };
  let covered = 0;
  for (let round = 0; round < 4000; round++) {
    const grants = Array.from({ length: dice.below(5) }, pick);
    const asked = pick();
    if (asked.end !== null && asked.end <= asked.start) continue;
    const within = PLACES.filter((key) => has(asked, key));
    const isHeld = within.every((key) => grants.some((grant) => has(grant, key)));
    const wanted = isHeld && (asked.end !== null || grants.some(({ end }) => end === null));
    const got = new KeySet(grants).covers(asked);
    if (got !== wanted) t.fail(JSON.stringify({ grants, asked, got, wanted }));
    if (got) covered += 1;
  }
  t.true(covered > 300, String(covered));
});

test('SC5 neighbours are one, a gap of one key is a gap, and an empty range needs both its ends', (t) => {
  const set = new KeySet([
    { start: 'b', end: 'c' }, { start: 'a', end: 'b' }, { start: 'x', end: 'x\0' }, { start: 'x\0\0', end: 'y' },
  ]);
  t.true(set.covers({ start: 'a', end: 'c' }));
  t.true(set.covers(intervalOf(utf8('x'))));
  t.false(set.covers({ start: 'x', end: 'y' }));
  t.false(set.covers({ start: 'a', end: null }));
  t.false(set.covers(intervalOf(utf8('a'), new Uint8Array([0]))));
  // As etcd 3.4 answers: selects nothing, and is held where all between its ends is.
  t.true(set.covers({ start: 'bb', end: 'a' }));
  t.false(set.covers({ start: 'x', end: 'a' }));
  t.false(new KeySet([]).covers({ start: 'a', end: 'a' }));
  t.true(new KeySet([{ start: '\0', end: null }]).covers({ start: 'a', end: null }));
});

test('SC12 ten thousand ranges, overlapping, empty and open, are gathered and searched in no time', (t) => {
  const many = Array.from({ length: 10_000 }, (_, i) => {
    const start = `k${String(i).padStart(6, '0')}`;
    return { start, end: i % 3 === 0 ? start : `${start}~` };
  });
  const set = new KeySet(many);
  t.true(takesLess(3000, () => {
    for (let i = 0; i < 100_000; i++) set.covers({ start: 'k005000', end: 'k005000\0' });
  }));
  t.false(set.covers({ start: 'k000000', end: 'k000000\0' }));
  t.true(set.covers({ start: 'k000001', end: 'k000001\0' }));
});
