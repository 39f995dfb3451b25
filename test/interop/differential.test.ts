// Random operations put to a real etcd and to coterie side by side, every field and every error compared. A thousand here;
// `npm run differential` puts a million, and test/interop/DIFFERENCES.md says what may differ and why.

import { randomInt } from 'node:crypto';
import test from 'ava';
import { runCampaign } from './differential/campaign.js';
import { isInstalled } from './real-etcd.js';

const OPERATIONS = 1300;

test('what is answered, refused and told to watchers equals that of a real etcd', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) {
    t.pass();
    return;
  }
  t.timeout(110_000);
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}, ${OPERATIONS} operations`);
  const report = await runCampaign({
    seed,
    operations: OPERATIONS,
    worldOperations: OPERATIONS,
    taste: { hasExpiry: false, hasCorners: true },
    shrinks: false,
    goesOn: false,
    signal: new AbortController().signal,
    onDifference: () => undefined,
    onWorld: () => undefined,
  });
  t.is(report.failure, null);
  t.true(report.operations >= OPERATIONS);
  // Had nearly everything been refused, little would have been compared.
  const sum = (of: 'answers' | 'errors'): number => [...report.counts.values()].reduce((total, row) => total + row[of], 0);
  t.true(sum('answers') > sum('errors'), `${sum('answers')} answered, ${sum('errors')} refused`);
});
