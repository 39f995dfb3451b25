// A slice of the matrix of rights; the whole is npm run auth-matrix. Locks and elections are in lock-service.test.ts.

import test from 'ava';
import { startNode } from '../../core/start-node.js';
import { methods } from '../../core/wire/methods.js';
import { cases } from './auth-matrix.js';
import { runMatrix } from './auth-matrix-run.js';

test('SC1 to SC9 a slice of the matrix of rights is what the contract says, for every method', async (t) => {
  const slice = cases(53);
  t.true(slice.length > 700, String(slice.length));
  const report = await runMatrix(slice);
  t.deepEqual(report.mismatches, []);
  t.true(report.permitted > 100 && report.permitted < report.cases - 100, String(report.permitted));
  t.log(`${report.cases} cases, ${report.permitted} permitted, ${Math.round(report.tookMs)} ms`);
});

test('the whole matrix has every method of etcd\'s own services', async (t) => {
  const node = await startNode({ dataDir: null, listenPeerUrls: [] });
  t.teardown(() => node.close());
  const served = [...methods(node.client).keys()].filter((path) => path.startsWith('/etcdserverpb.'));
  const asked = new Set(cases(1).map(({ method }) => `/etcdserverpb.${method}`));
  t.true(served.length > 40, String(served.length));
  t.deepEqual(served.filter((path) => !asked.has(path)), []);
});

test('the whole matrix is large enough to mean something', (t) => {
  t.true(cases(1).length >= 20_000, String(cases(1).length));
});
