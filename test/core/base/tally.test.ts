// Counting what happens too often to be told: the first at once, the others together, and no flood silences what is new.

import test from 'ava';
import { Tally } from '../../../core/base/tally.js';
import { SimClock } from '../../sim/clock.js';

test('the first of a kind is told at once, the others together, later', async (t) => {
  const clock = new SimClock();
  const tally = new Tally(clock, { intervalMs: 100, kindsMax: 4 });
  t.deepEqual([tally.add('a'), tally.add('a'), tally.add('a'), tally.add('b')], [1, 0, 0, 1]);
  await clock.advance(100);
  t.is(tally.add('a'), 3);
});

test('kinds beyond the bound count together, and a flood that is over leaves room', async (t) => {
  const clock = new SimClock();
  const tally = new Tally(clock, { intervalMs: 100, kindsMax: 4 });
  for (let i = 0; i < 4; i++) t.is(tally.add(`flood ${i}`), 1);
  t.deepEqual([tally.add('five'), tally.add('six')], [1, 0]);
  await clock.advance(100);
  t.deepEqual([tally.add('new one'), tally.add('new one'), tally.add('new two')], [1, 0, 1]);
});
