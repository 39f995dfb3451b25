// Medians and spreads of rounds.

import test from 'ava';
import { median, spreadOf } from './statistics.js';

test('the median is the middle one, or the mean of the two in the middle, in whatever order rounds came', (t) => {
  t.is(median([5, 1, 3]), 3);
  t.is(median([4, 1, 2, 100]), 3);
  t.is(median([7]), 7);
  t.is(median([]), NaN);
});

test('a spread tells the least and the most of the rounds, and nothing of none', (t) => {
  t.deepEqual(spreadOf([2, 9, 4]), { median: 4, min: 2, max: 9 });
  t.is(spreadOf([]), null);
});
