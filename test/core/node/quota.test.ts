// The quota: who is refused, when the alarm is raised, and what it takes to go on.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import type { Done } from '../../../core/base/done.js';
import { get, opDelete, opPut, opTxn, put, type Backend } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { Quota } from '../../../core/node/quota.js';
import { Store, type Reply } from '../../../core/store/store.js';
import { Cluster } from './cluster.js';

const QUOTA = 1024 * 1024;

/** The code of the error a call ends with; null: none. */
async function codeOf(cluster: Cluster, call: Promise<unknown>): Promise<string | null> {
  return cluster.until(call.then(() => null, (error: unknown) => (error instanceof ApiError ? error.code : String(error))));
}

/** Puts until the first refusal; how many puts it took. */
async function fill(cluster: Cluster, client: Backend): Promise<number> {
  for (let i = 0; i < 1000; i++) {
    const code = await codeOf(cluster, put(client, utf8(`k${i % 10}`), new Uint8Array(16 * 1024)));
    if (code !== null) {
      if (code !== 'no_space') throw new Error(code);
      return i;
    }
  }
  throw new Error('it never ends');
}

test('a put that does not fit raises the alarm for its member, and then every member refuses what takes space', async (t) => {
  const cluster = await Cluster.running({ limits: { quotaBytes: QUOTA } });
  const [a = 0n, b = 0n] = cluster.ids;
  t.true(await fill(cluster, cluster.client(a)) > 10);
  await cluster.level();
  const everyone = { action: 'list', memberId: 0n, kind: null } as const;
  for (const id of cluster.ids) {
    const { alarms } = await cluster.until(cluster.client(id).alarm(everyone));
    t.deepEqual(alarms, [{ memberId: a, kind: 'no_space' }]);
    const { errors } = await cluster.until(cluster.client(id).status());
    t.deepEqual(errors, [`memberID:${a} alarm:NOSPACE `]);
  }
  const other = cluster.client(b);
  t.is(await codeOf(cluster, put(other, utf8('x'), utf8('1'))), 'no_space');
  t.is(await codeOf(cluster, other.grant(60)), 'no_space');
  t.is(await codeOf(cluster, other.txn({ failure: [opTxn({ success: [opPut(utf8('x'), utf8('1'))] })] })), 'no_space');
  t.is(await codeOf(cluster, other.txn({ success: [opDelete(utf8('k1'))] })), null);
  t.is(await cluster.until(get(other, utf8('k1'))), null);
  const { revision } = await cluster.until(other.status().then(({ header }) => header));
  t.is(await codeOf(cluster, other.compact(revision)), null);
  await cluster.stopAll();
});

test('a lease that does not fit is refused like a put, and many refused together raise the alarm once', async (t) => {
  for (const wish of ['grant', 'put'] as const) {
    const cluster = await Cluster.running({ size: 1, limits: { quotaBytes: 1 } });
    const { store, desk } = cluster.member(1n).node;
    const { index } = store.applied;
    const ask = (client: Backend): Promise<unknown> => (wish === 'grant' ? client.grant(60) : put(client, utf8('a'), utf8('1')));
    const codes = await Promise.all(Array.from({ length: 20 }, () => codeOf(cluster, ask(cluster.client(1n)))));
    t.deepEqual(new Set(codes), new Set(['no_space']));
    t.deepEqual(store.alarms(), [{ memberId: 1n, kind: 'no_space' }]);
    t.deepEqual([store.applied.index - index, desk.proposalsPending], [1, 0]);
    await cluster.stopAll();
  }
});

test('no more wait for the alarm than may wait for anything', (t) => {
  const raised: Done<Reply>[] = [];
  const store = new Store();
  const quota = new Quota(1n, { quotaBytes: 1, requestBytesMax: 10, proposalsMax: 3 }, {
    store: () => store,
    submit: (_command, done) => void raised.push(done),
  });
  const codes: string[] = [];
  for (let i = 0; i < 5; i++) quota.refuse(({ code }) => void codes.push(code));
  t.deepEqual([raised.length, codes], [1, ['too_many_requests', 'too_many_requests']]);
  raised[0]?.(new ApiError('timeout'));
  t.deepEqual(codes.slice(2), ['no_space', 'no_space', 'no_space']);
});

test('however many ask for a defragmentation together, one is made, and all are told', async (t) => {
  const cluster = await Cluster.running({ size: 1 });
  const client = cluster.client(1n);
  for (let i = 0; i < 40; i++) await cluster.until(put(client, utf8('a'), new Uint8Array(1000)));
  await cluster.until(client.compact(cluster.member(1n).node.store.revision));
  const { store } = cluster.member(1n).node;
  let steps = 0;
  const tidy = store.tidy.bind(store);
  store.tidy = (rows) => {
    steps += 1;
    return tidy(rows);
  };
  await cluster.until(client.defragment());
  const alone = steps;
  steps = 0;
  const headers = await cluster.until(Promise.all(Array.from({ length: 100 }, () => client.defragment())));
  t.is(headers.length, 100);
  t.true(alone > 0 && steps < 10 * alone, `${steps} steps, and ${alone} for one`);
  await cluster.stopAll();
});

test('memory that is given back does not end the alarm, clearing it does', async (t) => {
  const cluster = await Cluster.running({ limits: { quotaBytes: QUOTA } });
  const [a = 0n] = cluster.ids;
  const client = cluster.client(a);
  await fill(cluster, client);
  const full = (await cluster.until(client.status())).dbSizeBytes;
  await cluster.until(client.txn({ success: [opDelete(utf8('k'), { rangeEnd: utf8('l') })] }));
  await cluster.until(client.compact(cluster.member(a).node.store.revision));
  for (const id of cluster.ids) await cluster.until(cluster.client(id).defragment());
  t.true((await cluster.until(client.status())).dbSizeBytes < full / 2);
  t.is(await codeOf(cluster, put(client, utf8('x'), utf8('1'))), 'no_space');
  const { alarms } = await cluster.until(client.alarm({ action: 'clear', memberId: a, kind: 'no_space' }));
  t.deepEqual(alarms, [{ memberId: a, kind: 'no_space' }]);
  t.is(await codeOf(cluster, put(client, utf8('x'), utf8('1'))), null);
  t.deepEqual((await cluster.until(client.status())).errors, []);
  await cluster.stopAll();
});

test('while members are known to differ, leases do not end, and end once the alarm is cleared', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const client = cluster.client(leader);
  const { id } = await cluster.until(client.grant(2));
  await cluster.until(put(client, utf8('a'), utf8('1'), { lease: id }));
  await cluster.until(client.alarm({ action: 'raise', memberId: leader, kind: 'corrupt' }));
  const { applied } = cluster.member(leader).node.store;
  await cluster.clock.advance(20_000);
  t.true(cluster.member(leader).node.store.applied.index - applied.index < 5, 'the log grows');
  t.not(await cluster.until(get(client, utf8('a'))), null);
  t.is(await codeOf(cluster, put(client, utf8('a'), utf8('2'))), 'corrupt');
  await cluster.until(client.alarm({ action: 'clear', memberId: leader, kind: 'corrupt' }));
  await cluster.clock.advance(2000);
  t.is(await cluster.until(get(client, utf8('a'))), null);
  await cluster.stopAll();
});

test('raising or clearing no kind of alarm changes nothing', async (t) => {
  const cluster = await Cluster.running({ size: 1 });
  const client = cluster.client(1n);
  for (const action of ['raise', 'clear'] as const) {
    t.deepEqual((await cluster.until(client.alarm({ action, memberId: 1n, kind: null }))).alarms, []);
  }
  t.deepEqual(cluster.member(1n).node.store.alarms(), []);
  await cluster.stopAll();
});
