// etcdctl, as it comes with etcd, cannot tell coterie from etcd: the same commands in the same order print the same and
// exit the same, after masking addresses, lease ids, sizes and times. The commands are in etcdctl-tables.ts.

import test from 'ava';
import { rowsOf } from './etcdctl-rows.js';
import { Runner } from './etcdctl-run.js';
import { TABLES } from './etcdctl-tables.js';
import { startPair, type Pair } from './pair.js';
import { isInstalled } from './real-etcd.js';

for (const table of TABLES) {
  let pair: Pair | null = null;
  let other: Pair | null = null;

  test.serial.before(`etcd and coterie start, for ${table.title}`, async (t) => {
    const isHere = isInstalled('etcd', (line) => t.log(line)) && isInstalled('etcdctl', (line) => t.log(line));
    if (isHere) pair = await startPair(table.pair);
    if (isHere && table.hasOther === true) other = await startPair();
  });
  test.after.always(`both end, of ${table.title}`, async () => {
    await pair?.close();
    await other?.close();
  });

  for (const { title, rows } of table.groups) {
    test.serial(`etcdctl, ${title}`, async (t) => {
      if (pair === null) {
        t.pass();
        return;
      }
      const asked = rows.flatMap(rowsOf);
      const runners = pair.sides.map((side, i) => new Runner(side, { other: other?.sides[i]?.url ?? '' }));
      try {
        const [etcd = [], coterie = []] = await Promise.all(runners.map((runner) => runner.run(asked)));
        t.deepEqual(
          etcd.filter(({ code }, i) => code !== (asked[i]?.code ?? code)),
          [],
          'the table knows how a command ends',
        );
        const differs = (i: number): boolean => JSON.stringify(etcd[i]) !== JSON.stringify(coterie[i]);
        const isWrong = (_told: unknown, i: number): boolean => differs(i) && asked[i]?.differs === false;
        t.deepEqual(coterie.filter(isWrong), etcd.filter(isWrong));
        t.deepEqual(asked.filter((row, i) => row.differs && !differs(i)), [], 'a difference that is gone is taken out');
        t.log(`${asked.length} cases`);
      } finally {
        for (const runner of runners) runner.close();
      }
    });
  }
}
