// etcdctl, as it comes with etcd, cannot tell coterie from etcd: the same commands in the same order print the same and
// exit the same, after masking addresses, lease ids, sizes and times.

import test, { type ExecutionContext } from 'ava';
import { etcdctl, masked, startPair, type Pair, type Side } from './pair.js';
import { isInstalled } from './real-etcd.js';

interface Step {
  readonly args: readonly string[];
  readonly input?: string;
  /** The command goes on for ever: it is ended when it has been quiet this long. */
  readonly quietMs?: number;
  /** The lease this command makes is called so from here on, as `$name` in arguments. */
  readonly lease?: string;
}

/** A command line as one would type it; quotes keep spaces together. */
function step(line: string, more: Omit<Step, 'args'> = {}): Step {
  const args = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
  return { args, ...more };
}

let pair: Pair | null = null;

test.before('etcd and coterie start', async (t) => {
  const here = isInstalled('etcd', (line) => t.log(line)) && isInstalled('etcdctl', (line) => t.log(line));
  if (here) pair = await startPair();
});
test.after.always('both end', async () => pair?.close());

/** Commands build on what was stored before them, so scenarios run one after another. */
function scenario(title: string, steps: readonly Step[]): void {
  test.serial(title, async (t) => {
    if (pair === null) {
      t.pass();
      return;
    }
    const [etcd, coterie] = pair.sides;
    const leases = { etcd: new Map<string, string>(), coterie: new Map<string, string>() };
    for (const one of steps) {
      const [expected, actual] = await Promise.all([run(t, etcd, one, leases.etcd), run(t, coterie, one, leases.coterie)]);
      t.deepEqual(actual, expected, `etcdctl ${one.args.join(' ')}`);
    }
  });
}

async function run(t: ExecutionContext, side: Side, one: Step, leases: Map<string, string>): Promise<unknown> {
  const args = one.args.map((arg) => arg.replace(/\$(\w+)/, (_all, name: string) => leases.get(name) ?? `no-lease-${name}`));
  const { code, stdout, stderr } = await etcdctl(side.url, args, one);
  if (one.lease !== undefined) {
    const id = /lease ([0-9a-f]{16})/.exec(stdout)?.[1];
    if (id === undefined) t.fail(`${side.name}: no lease in ${JSON.stringify(stdout)} ${stderr}`);
    else leases.set(one.lease, id);
  }
  return { code, stdout: masked(stdout, side, leases), stderr: masked(stderr, side, leases) };
}

const QUIET_MS = 700;

scenario('put', [
  step('put a 1'),
  step('put a 2 --prev-kv'),
  step('put a --ignore-value --prev-kv'),
  step('put a 3 --ignore-lease'),
  step('put none --ignore-value'),
  step('put none x --ignore-lease'),
  step('put a 4 --lease=4d2'),
  step('put b', { input: 'from stdin' }),
  step('put "" x'),
  step('put a 5 -w json'),
  step('put a 6 -w fields --prev-kv'),
  step('put a 7 -w table'),
]);

scenario('get', [
  ...['k1', 'k2', 'k3', 'k4', 'other'].map((key, i) => step(`put ${key} v${9 - i}`)),
  step('put k2 changed'),
  step('get k1'),
  step('get none'),
  step('get k --prefix'),
  step('get k1 k3'),
  step('get k2 --from-key'),
  step('get "" --prefix --keys-only'),
  step('get "" --from-key --limit=2'),
  step('get k --prefix --limit=2'),
  step('get k --prefix --order=DESCEND'),
  step('get k --prefix --sort-by=VALUE'),
  step('get k --prefix --sort-by=MODIFY --order=DESCEND --limit=1'),
  step('get k --prefix --sort-by=VERSION --order=DESCEND'),
  step('get k --prefix --sort-by=CREATE --order=ASCEND'),
  step('get k --prefix --keys-only'),
  step('get k --prefix --print-value-only'),
  step('get k2 --rev=12'),
  step('get k2 --rev=1000'),
  step('get k --prefix --consistency=s'),
  step('get k2 -w json'),
  step('get k --prefix --limit=2 -w json'),
  step('get k2 -w fields'),
  step('get k --prefix --limit=1 -w fields'),
  step('get k2 --hex'),
  step('get k3 k1'),
  step('get'),
]);

scenario('del', [
  ...['d1', 'd2', 'd3'].map((key) => step(`put ${key} x`)),
  step('del d1'),
  step('del d1'),
  step('del d --prefix --prev-kv'),
  step('put d1 y'),
  step('del d1 --prev-kv -w json'),
  step('put d1 y'),
  step('del d1 -w fields --prev-kv'),
  step('put z1 y'),
  step('del z --from-key'),
  step('del "" x'),
]);

scenario('txn', [
  step('put t 1'),
  step('txn', { input: 'value("t") = "1"\n\nput t 2\nget t\n\nput t 9\n\n' }),
  step('txn', { input: 'value("t") = "1"\n\nput t 2\n\nget t\n\n' }),
  step('txn', { input: 'version("t") > "1"\ncreate("none") = "0"\nmod("t") != "0"\n\ndel t --prev-kv\nget t\n\n\n' }),
  step('txn -w json', { input: 'version("t") > "0"\n\nput t 6 --prev-kv\nget t\ndel u\n\n\n' }),
  step('txn -w fields', { input: 'version("t") > "0"\n\nput t 7 --prev-kv\nget t\ndel u\n\n\n' }),
  step('txn', { input: '\nput t 1\nput t 2\n\n\n' }),
  step('txn', { input: 'nonsense\n\n\n\n' }),
]);

scenario('watch', [
  step('put w/a 1'),
  step('put w/b 2'),
  step('del w/a'),
  step('put w/a 3'),
  step('put wz 3'),
  step('watch w/ --prefix --rev=1', { quietMs: QUIET_MS }),
  step('watch w/a --rev=1 --prev-kv', { quietMs: QUIET_MS }),
  step('watch w/a w/c --rev=1', { quietMs: QUIET_MS }),
  step('watch w/ --prefix --rev=1 -w json', { quietMs: QUIET_MS }),
  step('watch w/a --rev=1 -w fields --prev-kv', { quietMs: QUIET_MS }),
  // No `progress` beside history: etcd 3.4.23 tells of progress before it has sent the events it covers, coterie after.
  step('watch -i', { input: 'watch w/a --rev=1\n', quietMs: QUIET_MS }),
  step('watch w/b w/a'),
]);

scenario('lease', [
  step('lease grant 1000', { lease: 'l' }),
  step('put leased 1 --lease=$l'),
  step('get leased -w json'),
  step('get leased -w fields'),
  step('lease timetolive $l'),
  step('lease timetolive $l --keys'),
  step('lease timetolive $l -w json'),
  step('lease timetolive $l --keys -w fields'),
  step('put leased2 1 --lease=$l'),
  step('lease timetolive $l --keys'),
  step('lease keep-alive --once $l'),
  step('lease keep-alive --once $l -w json'),
  step('lease list'),
  step('lease list -w json'),
  step('lease list -w fields'),
  step('lease revoke $l'),
  step('lease revoke $l'),
  step('get leased --prefix'),
  step('lease timetolive $l'),
  step('lease keep-alive --once $l'),
  step('lease grant 9000000001'),
  step('lease grant 0', { lease: 'm' }),
  step('lease revoke $m'),
  step('lease list'),
  step('lease revoke zz'),
]);

scenario('endpoint and member', [
  step('endpoint health'),
  step('endpoint health -w json'),
  step('endpoint health -w fields'),
  step('member list'),
  step('member list -w table'),
  step('member list -w json'),
  step('member list -w fields'),
  step('endpoint status -w json'),
  step('endpoint status -w fields'),
]);

scenario('compaction', [
  step('put c 1'),
  step('put c 2'),
  step('compaction 5'),
  step('compaction 5'),
  step('compaction 10 --physical'),
  step('compaction 100000'),
  step('get c --rev=3'),
  step('watch c --rev=2'),
]);

test.serial('endpoint status, whose sizes and indexes differ, has the same columns', async (t) => {
  if (pair === null) {
    t.pass();
    return;
  }
  const shape = async (side: Side, format: string): Promise<string[][]> => {
    const { stdout } = await etcdctl(side.url, ['endpoint', 'status', '-w', format]);
    // 3: size, 7 and 8: positions in the log, which differ; the endpoint is where it was asked.
    const rows = stdout.split('\n').map((line) => line.split(format === 'table' ? '|' : ',').map((cell) => cell.trim()));
    const words = rows.map((row) => row.filter((cell) => !/^(\d+|[\d.]+ [kM]?B|http:.*|\+[-+]+)$/.test(cell)));
    return words;
  };
  const [etcd, coterie] = pair.sides;
  for (const format of ['simple', 'table']) t.deepEqual(await shape(coterie, format), await shape(etcd, format));
});
