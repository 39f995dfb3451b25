// etcdctl, as it comes with etcd, cannot tell coterie from etcd: the same commands in the same order print the same and
// exit the same, after masking addresses, lease ids, sizes and times. The commands are in etcdctl-table.ts.

import test from 'ava';
import { rowsOf } from './etcdctl-rows.js';
import { Runner } from './etcdctl-run.js';
import { TABLES } from './etcdctl-table.js';
import { startPair, type Pair } from './pair.js';
import { isInstalled } from './real-etcd.js';

let pair: Pair | null = null;

test.before('etcd and coterie start', async (t) => {
  const here = isInstalled('etcd', (line) => t.log(line)) && isInstalled('etcdctl', (line) => t.log(line));
  if (here) pair = await startPair();
});
test.after.always('both end', async () => pair?.close());

for (const { title, rows } of TABLES.flatMap(({ groups }) => groups)) {
  test.serial(`etcdctl, ${title}`, async (t) => {
    if (pair === null) {
      t.pass();
      return;
    }
    const asked = rows.flatMap(rowsOf);
    const runners = pair.sides.map((side) => new Runner(side));
    try {
      const [etcd = [], coterie = []] = await Promise.all(runners.map((runner) => runner.run(asked)));
      t.deepEqual(
        etcd.filter(({ code }, i) => code !== (asked[i]?.code ?? code)),
        [],
        'the table knows how a command ends',
      );
      const differs = (i: number): boolean => JSON.stringify(etcd[i]) !== JSON.stringify(coterie[i]);
      t.deepEqual(coterie.filter((_told, i) => differs(i)), etcd.filter((_told, i) => differs(i)));
      t.log(`${asked.length} cases`);
    } finally {
      for (const runner of runners) runner.close();
    }
  });
}
