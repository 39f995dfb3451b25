// The buckets, compared with the sorted values themselves.

import fc from 'fast-check';
import test from 'ava';
import { Histogram } from './histogram.js';

test('a quantile is never below the value of that rank, and less than 0.8 % above it', (t) => {
  const micros = fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  const several = fc.array(micros, { minLength: 1, maxLength: 300 });
  fc.assert(fc.property(several, fc.double({ min: 0, max: 1, noNaN: true }), (values, at) => {
    const histogram = new Histogram();
    for (const value of values) histogram.record(value);
    const exact = values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(at * values.length)) - 1] ?? NaN;
    const told = histogram.quantile(at);
    t.true(told >= exact && told <= exact * 1.008, `${told} for ${exact}`);
  }), { numRuns: 300 });
});

test('the greatest value is told exactly, nothing recorded is not a number, and no time is below zero', (t) => {
  const histogram = new Histogram();
  t.is(histogram.quantile(0.5), NaN);
  histogram.record(-3);
  t.is(histogram.quantile(1), 0);
  histogram.record(1_234_567);
  t.is(histogram.quantiles().max, 1_234_567);
  t.is(histogram.quantiles().p50, 0);
  histogram.record(1e12);
  t.is(histogram.quantile(1), 2 ** 32 - 1);
  t.is(histogram.count, 3);
});
