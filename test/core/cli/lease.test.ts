// Leases, users, alarms, members and copies from the command line against coterie in this process: forms of our own, and what
// etcdctl's table does not reach.

import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { verdictOf } from '../../../core/cli/check.js';
import { connect, startNode } from '../../../core/index.js';
import { play, type Printed, type Stage } from './in-process.js';
import { startStores, type Store } from './running.js';
import { TcpRelay } from '../wire/tcp-relay.js';
import { serve } from '../../serving.js';

let stores: readonly [Store, ...Store[]];

test.before('stores start', async (t) => {
  stores = await startStores((line) => t.log(line));
});
test.after.always('all end', () => Promise.all(stores.map((store) => store.close())));

function at(store: Pick<Store, 'url'>, line: string, stage: Stage = {}): Promise<Printed> {
  return play(`${line} --endpoints ${store.url}`, stage);
}

/** For what would be in the way of other tests. */
async function ownStore(t: ExecutionContext): Promise<Pick<Store, 'url' | 'client'>> {
  const node = await startNode({ name: 'alone', dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const url = server.urls[0] ?? '';
  const client = connect(url);
  t.teardown(async () => {
    await client.close();
    await server.close();
    await node.close();
  });
  return { url, client };
}

async function json(store: Pick<Store, 'url'>, line: string): Promise<Record<string, unknown>> {
  const { stdout, stderr, code } = await at(store, `${line} --json`);
  if (code !== 0) throw new Error(`${line}: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

test('a lease in JSON: hex ids, keys as text, and whether it exists', async (t) => {
  for (const store of stores) {
    const { lease } = await json(store, 'lease grant 100');
    t.regex(String(lease), /^[0-9a-f]{16}$/);
    await at(store, `put leased x --lease ${String(lease)}`);
    t.like(await json(store, `lease timetolive ${String(lease)} --keys`), { lease, exists: true, keys: ['leased'] });
    t.like(await json(store, `lease keep-alive --once ${String(lease)}`), { lease, ttlSeconds: 100 });
    t.true((await json(store, 'lease list'))['leases'] instanceof Array);
    await at(store, `lease revoke ${String(lease)}`);
    t.deepEqual(await json(store, `lease timetolive ${String(lease)}`), { lease, exists: false });
    t.is((await at(store, 'lease grant 100 --id 4d2')).stdout, 'lease 00000000000004d2 granted with TTL(100s)\n');
    const gone = await at(store, `lease keep-alive --once ${String(lease)}`);
    t.is(gone.code, 1);
    t.regex(gone.stderr, /requested lease not found\n {2}coterie lease list/);
  }
});

test('keeping alive goes on until asked to end', async (t) => {
  const [store] = stores;
  // Long enough that a machine which does other things for a second or two has not lost it.
  const { lease } = await json(store, 'lease grant 6');
  const until = (text: string): boolean => text.split('\n').length > 2;
  const kept = await at(store, `lease keep-alive ${String(lease)}`, { until, limitMs: 60_000 });
  t.regex(kept.stdout, /^(?:lease [0-9a-f]{16} keepalived with TTL\(6\)\n){2,}$/);
});

test('keeping alive what is gone says so in the form that was asked for, and nobody to ask is said at once', async (t) => {
  const [store] = stores;
  t.deepEqual(await json(store, 'lease keep-alive 77'), { lease: '0000000000000077', exists: false });
  const nobody = await play('lease keep-alive 77 --endpoints 127.0.0.1:1 --dial-timeout 200ms');
  t.is(nobody.code, 1);
  t.regex(nobody.stderr, /no endpoint could be reached: 127\.0\.0\.1:1/);
});

test('members, endpoints, health and hashes in JSON of our own', async (t) => {
  for (const store of stores) {
    const members = await json(store, 'member list');
    t.regex(String((members['members'] as { id: string }[])[0]?.id), /^[0-9a-f]+$/);
    for (const [line, has] of [['status', 'raftIndex'], ['health', 'tookMs'], ['hashkv', 'hash']] as const) {
      const [first] = JSON.parse((await at(store, `endpoint ${line} --json`)).stdout) as Record<string, unknown>[];
      t.is(typeof first?.[has], 'number', line);
      t.is(first?.['endpoint'], store.url);
    }
    t.deepEqual(await json(store, 'alarm list'), { alarms: [] });
    const self = String((members['members'] as { id: string }[])[0]?.id);
    t.deepEqual(await json(store, `move-leader ${self}`), { from: self, to: self });
    t.regex((await at(store, 'defrag')).stdout, /^Finished defragmenting etcd member\[/);
  }
});

test('status says that all is well, to people and to programs', async (t) => {
  const [store] = stores;
  const { code, stdout } = await at(store, 'status');
  t.is(code, 0);
  t.regex(stdout, /^cluster [0-9a-f]+: all is well; \S+ leads, revision \d+, no alarms\n\nMEMBER +ID +ROLE/);
  t.like(await json(store, 'status'), { healthy: true, alarms: [], findings: [] });
  const none = await play('status --endpoints 127.0.0.1:1 --dial-timeout 100ms');
  t.is(none.code, 1);
  t.regex(none.stderr, /^coterie status: unavailable/);
});

test('an alarm is a reason for status to fail, until it is disarmed', async (t) => {
  const store = await ownStore(t);
  const { header } = await store.client.status();
  await store.client.alarm({ action: 'raise', memberId: header.memberId, kind: 'no_space' });
  const told = await at(store, 'status');
  t.is(told.code, 1);
  t.regex(told.stdout, /: 1 thing is wrong; alone leads, .*, 1 alarm\n/);
  t.regex(told.stdout, /\nbroken: alarm of alone: NOSPACE, nothing can be put\n {2}coterie compaction REVISION/);
  const alarms = [{ member: header.memberId.toString(16), alarm: 'NOSPACE' }];
  t.deepEqual(await json(store, 'alarm list'), { alarms });
  t.deepEqual(await json(store, 'alarm disarm'), { alarms });
  t.deepEqual(await json(store, 'alarm list'), { alarms: [] });
  t.is((await at(store, 'status')).code, 0);
});

test('a copy that goes on behind what was compacted says that it cannot', async (t) => {
  const [target] = stores;
  const source = await ownStore(t);
  for (const value of ['1', '2', '3']) await put(source.client, utf8('gone/a'), utf8(value));
  await at(source, 'compaction 4');
  const { code, stderr } = await at(source, `make-mirror ${target.url} --prefix gone/ --rev 1`);
  t.is(code, 1);
  t.regex(stderr, /: the copy stands at revision 1: .*compacted.*\n {2}that history is gone: start it anew without --rev/);
});

test('a copy has what is there, follows what changes, and can be gone on with', async (t) => {
  const [source] = stores;
  const target = stores.at(-1) ?? source;
  for (const [key, value] of [['mirror/a', '1'], ['mirror/b', '2']] as const) await put(source.client, utf8(key), utf8(value));
  const line = `make-mirror ${target.url} --prefix mirror/ --dest-prefix copy/`;
  const once = await at(source, `${line.replace('make-mirror ', 'make-mirror http://127.0.0.1:1,')} --once --json`);
  const { written, revision } = JSON.parse(once.stdout) as { written: number; revision: number };
  t.is(written, 2);
  t.is((await at(target, 'get copy/ --prefix')).stdout, 'copy/a\n1\ncopy/b\n2\n');
  await at(source, 'txn', { input: '\nput mirror/c 3\ndel mirror/a\n\n\n' });
  const asked = new AbortController();
  const following = at(source, `${line} --rev ${revision}`, { signal: asked.signal, limitMs: 60_000 });
  await eventually(() => at(target, 'get copy/ --prefix'), 'copy/b\n2\ncopy/c\n3\n');
  await put(source.client, utf8('mirror/d'), utf8('4'));
  await eventually(() => at(target, 'get copy/ --prefix'), 'copy/b\n2\ncopy/c\n3\ncopy/d\n4\n');
  asked.abort();
  // The last is there before its answer is, by which it is counted.
  t.regex((await following).stdout, /^[23]\n$/);
  const nobody = await at(source, 'make-mirror http://127.0.0.1:1 --prefix mirror/ --dial-timeout 100ms');
  t.regex(nobody.stderr, /^coterie make-mirror: the first copy is not whole: unavailable.*\n {2}mend that, and start it anew/);
});

test('a check of speed takes as long as told, and leaves nothing behind', async (t) => {
  const [store] = stores;
  const said = JSON.parse((await at(store, 'check perf --duration 300ms --json')).stdout) as Record<string, unknown>;
  t.deepEqual(Object.keys(said), ['pass', 'writesPerSecond', 'slowestMs', 'stddevMs']);
  t.is(await store.countOf('/etcdctl-check-perf/'), 0);
  // Nobody takes one write in a nanosecond.
  const slow = await at(store, 'check perf --load xl --duration 1ns');
  t.is(slow.code, 1);
  t.regex(slow.stdout, /^FAIL: Throughput too low: 0 writes\/s\n[^]*\nFAIL\n$/);
  await put(store.client, utf8('mine/1'), utf8('x'));
  const refused = await at(store, 'check perf --prefix mine/');
  t.regex(refused.stderr, /prefix "mine\/" has keys\n {2}coterie del --prefix mine\//);
});

test('a check of speed wants nine tenths of the rate, nothing above half a second, and little spread', (t) => {
  const even = Array.from({ length: 90 }, () => 10);
  const all = { isFast: true, isEven: true, isSteady: true };
  t.deepEqual(verdictOf(even, 100, 1_000), { rate: 90, slowestMs: 10, stddevMs: 0, ...all });
  t.like(verdictOf(even.slice(1), 100, 1_000), { ...all, isFast: false });
  t.like(verdictOf([...even, 500], 100, 1_000), all);
  t.like(verdictOf([...even, 501], 100, 1_000), { ...all, isEven: false });
  t.like(verdictOf([1, 202], 1, 1_000), { ...all, stddevMs: 100.5, isSteady: false });
});

test('a copy waits for a destination that is away for a while, and misses nothing', async (t) => {
  const [source] = stores;
  const target = stores.at(-1) ?? source;
  const port = Number(new URL(target.url).port);
  const relay = await TcpRelay.start(port);
  t.teardown(() => relay.close());
  await put(source.client, utf8('away/a'), utf8('1'));
  const words = `make-mirror ${relay.url} --prefix away/ --dest-prefix back/`;
  const enough = new AbortController();
  // Back as soon as its absence was noticed.
  const complained = (stderr: string): void => {
    if (stderr.includes('is waited for')) relay.aim(port);
  };
  const copying = at(source, words, { signal: enough.signal, complained, limitMs: 60_000 });
  await eventually(() => at(target, 'get back/a --print-value-only'), '1\n');
  relay.aim(1);
  relay.cut();
  await put(source.client, utf8('away/a'), utf8('2'));
  await put(source.client, utf8('away/b'), utf8('3'));
  await eventually(() => at(target, 'get back/ --prefix'), 'back/a\n2\nback/b\n3\n');
  enough.abort();
  const { code, stderr } = await copying;
  t.is(code, 0);
  t.regex(stderr, /^make-mirror: the destination is away, and is waited for: .*\nmake-mirror: the destination is back/);
});

test('a copy waits also when the destination goes away under the very first write', async (t) => {
  const [source] = stores;
  const node = await startNode({ name: 'leaving', dataDir: null });
  let writes = 0;
  const backend = new Proxy(node.client, {
    get: (target, name): unknown => {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      if (name !== 'txn') return member.bind(target) as unknown;
      return async (...args: unknown[]): Promise<unknown> => {
        const answer: unknown = await Reflect.apply(member, target, args);
        // What the first one wrote is there, and nobody hears of it.
        if ((writes += 1) === 1) relay.cut();
        return answer;
      };
    },
  });
  const server = await serve(backend, { urls: ['http://127.0.0.1:0'] });
  const relay = await TcpRelay.start(Number(new URL(server.urls[0] ?? '').port));
  t.teardown(async () => {
    await relay.close();
    await server.close();
    await node.close();
  });
  await put(source.client, utf8('first/a'), utf8('1'));
  const { code, stdout, stderr } = await at(source, `make-mirror ${relay.url} --prefix first/ --once`, { limitMs: 60_000 });
  t.regex(stderr, /^make-mirror: the destination is away, and is waited for: .*\nmake-mirror: the destination is back/);
  t.is(code, 0);
  t.deepEqual([stdout, writes], ['1\n', 2]);
});

async function eventually(look: () => Promise<Printed>, wanted: string): Promise<void> {
  for (const end = performance.now() + 60_000; ;) {
    const { stdout } = await look();
    if (stdout === wanted) return;
    if (performance.now() > end) throw new Error(`never was ${wanted} but ${stdout}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
