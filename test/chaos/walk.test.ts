// The short form of `npm run chaos -- --walk`.

import test from 'ava';
import { splitterFor } from './frames.js';
import { LEADER_LEAVES, Walk } from './walk.js';

test('real members join as learners, hand over leadership, crash and leave, and nothing is lost', async (t) => {
  const report = await Walk.run({
    target: 'coterie', members: 1, seed: 3, hasDisks: false, newSplitter: splitterFor('coterie'),
    sizes: [1, 3, 1], transferSeconds: 4, say: (line) => t.log(line),
  });
  t.deepEqual(report.violations, []);
  t.is(report.verdict?.lost, 0);
  t.true((report.verdict?.acknowledgedWrites ?? 0) > 40, 'a walk that wrote next to nothing shows nothing');
  t.true(report.transfers > report.transfersRefused);
  t.is(report.steps.filter(({ name }) => name.startsWith('promote ')).length, 2);
  t.true(report.steps.some(({ name }) => name === LEADER_LEAVES));
  t.true(report.crashes >= 1);
});
