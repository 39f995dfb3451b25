// Verdicts: from the figures of rounds to ratios, goals reached and missed, and rows in which etcd is better.

import test from 'ava';
import { measuredOf, SAMPLE } from './report-samples.js';
import { judge, summarize, timesBetter, type Row } from './report.js';
import { atLeast, atMost, cost, rate } from './theme.js';

const puts = rate({ id: 'puts', name: 'puts', unit: 'puts/s' }, atLeast(2));
const waits = cost({ id: 'waits', name: 'waits', unit: 'ms' }, atMost(1));

test('a ratio is of the figures of one round, and the median is of the ratios', (t) => {
  const outcome = judge(measuredOf(puts, { coterie: [100, 900, 600], etcd: [100, 300, 100] }));
  t.deepEqual(outcome.ratio, { median: 3, min: 1, max: 6 });
  t.is(outcome.verdict, 'met');
});

test('a round of which one side is missing has no ratio', (t) => {
  const outcome = judge(measuredOf(puts, { coterie: [100, null, 600], etcd: [100, 300, null] }));
  t.deepEqual(outcome.ratio, { median: 1, min: 1, max: 1 });
  t.is(judge(measuredOf(puts, { coterie: [null], etcd: [1] })).verdict, 'not measured');
  t.is(judge(measuredOf(puts, { coterie: [1], etcd: [] })).verdict, 'not measured');
});

test('a goal that is just reached is reached, above and below', (t) => {
  t.is(judge(measuredOf(puts, { coterie: [200], etcd: [100] })).verdict, 'met');
  t.is(judge(measuredOf(puts, { coterie: [199], etcd: [100] })).verdict, 'missed');
  t.is(judge(measuredOf(waits, { coterie: [100], etcd: [100] })).verdict, 'met');
  t.is(judge(measuredOf(waits, { coterie: [101], etcd: [100] })).verdict, 'missed');
});

test('worse than etcd is said whichever way the unit runs, with a goal or without', (t) => {
  t.true(judge(measuredOf(puts, { coterie: [99], etcd: [100] })).isBehind);
  t.true(judge(measuredOf(waits, { coterie: [101], etcd: [100] })).isBehind);
  t.true(judge(measuredOf({ ...waits, goal: null }, { coterie: [101], etcd: [100] })).isBehind);
  t.false(judge(measuredOf(waits, { coterie: [100], etcd: [100] })).isBehind);
  t.is(timesBetter(waits, 0.5), 2);
  t.is(timesBetter(puts, 0.5), 0.5);
});

test('a row against itself is judged by its own figure, and by the worst round if it says so', (t) => {
  const own: Row = { ...puts, against: 'itself', goal: atLeast(0.8) };
  t.is(judge(measuredOf(own, { coterie: [0.7, 0.9, 0.9], etcd: [5, 5, 5] })).verdict, 'met');
  t.is(judge(measuredOf({ ...own, judged: 'worst' }, { coterie: [0.7, 0.9, 0.9], etcd: [] })).verdict, 'missed');
  t.is(judge(measuredOf(own, { coterie: [0.7], etcd: [5] })).ratio, null);
});

test('a summary names what is behind, what missed its goal and what is not known, and counts the goals', (t) => {
  const { behind, missed, unmeasured, met, goals } = summarize(SAMPLE.measured.map(judge));
  const ids = (outcomes: typeof behind): string[] => outcomes.map(({ row }) => row.id);
  t.deepEqual([ids(behind), ids(missed), ids(unmeasured), ids(met)], [['slow'], ['slow', 'own'], ['lost'], ['fast', 'small']]);
  t.is(goals, 5);
});
