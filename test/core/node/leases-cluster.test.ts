// Leases in a cluster: kept by whoever leads, asked for anywhere, never ended early.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { opPut, put } from '../../../core/client.js';
import { Cluster, ELECTION_MS } from './cluster.js';

/** How late a lease may end: one tick to notice, an extension for each change of leader, and the entry's way. */
const LATE_MS = 600;

async function ids(cluster: Cluster, id: bigint): Promise<readonly bigint[]> {
  return (await cluster.until(cluster.client(id).leases())).ids;
}

test('a lease is kept alive through any member, and ends everywhere when nobody does', async (t) => {
  const cluster = await Cluster.running();
  const [first = 0n, second = 0n, third = 0n] = cluster.ids;
  const lease = await cluster.until(cluster.client(first).grant(5));
  await cluster.until(put(cluster.client(second), utf8('a'), utf8('1'), { lease: lease.id }));
  for (let i = 0; i < 5; i++) {
    await cluster.clock.advance(4000);
    const member = cluster.ids[i % 3] ?? first;
    t.is((await cluster.until(cluster.client(member).keepAlive(lease.id))).ttlSeconds, 5);
  }
  const { ttlSeconds, grantedTtlSeconds } = await cluster.until(cluster.client(third).leaseInfo(lease.id));
  t.deepEqual([ttlSeconds >= 4, grantedTtlSeconds], [true, 5]);
  await cluster.clock.advance(4500);
  await cluster.level();
  t.deepEqual(await ids(cluster, second), [lease.id]);
  await cluster.clock.advance(500 + LATE_MS);
  for (const id of cluster.ids) t.deepEqual(await ids(cluster, id), []);
  t.is((await cluster.until(cluster.client(second).range({ key: utf8('a') }))).kvs.length, 0);
  t.is((await cluster.until(cluster.client(second).keepAlive(lease.id))).ttlSeconds, 0);
  t.is((await cluster.until(cluster.client(second).leaseInfo(lease.id))).ttlSeconds, -1);
  await cluster.stopAll();
});

test('a new leader gives every lease its whole time again, and a transfer costs none of it', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const lease = await cluster.until(cluster.client(leader).grant(10));
  await cluster.clock.advance(9000);
  const heir = cluster.ids.find((id) => id !== leader) ?? 0n;
  await cluster.until(cluster.client(leader).moveLeader(heir));
  await cluster.clock.advance(9500);
  t.deepEqual(await ids(cluster, leader), [lease.id]);
  await cluster.clock.advance(500 + ELECTION_MS + LATE_MS);
  t.deepEqual(await ids(cluster, leader), []);
  await cluster.stopAll();
});

test('a deposed leader neither renews nor ends a lease', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const lease = await cluster.until(cluster.client(leader).grant(5));
  await cluster.until(cluster.client(leader).keepAlive(lease.id));
  cluster.board.isolate(leader);
  const renewal = cluster.client(leader).keepAlive(lease.id).then((kept) => kept.ttlSeconds, () => 'failed');
  const next = await cluster.leader(leader);
  t.is((await cluster.until(cluster.client(next).keepAlive(lease.id))).ttlSeconds, 5);
  for (let i = 0; i < 4; i++) {
    await cluster.clock.advance(3000);
    t.is((await cluster.until(cluster.client(next).keepAlive(lease.id))).ttlSeconds, 5);
  }
  t.is(await cluster.until(renewal), 'failed');
  cluster.board.heal();
  await cluster.clock.advance(3000);
  t.deepEqual(await ids(cluster, leader), [lease.id]);
  await cluster.stopAll();
});

test('what is left of a long lease outlives the leader, and a renewal after that counts in full', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const lease = await cluster.until(cluster.client(leader).grant(1000));
  await cluster.clock.advance(400_000);
  const stored = cluster.member(leader).node.store.lease(lease.id)?.remainingSeconds ?? 0;
  t.true(stored >= 600 && stored <= 700, `${stored} s are written down`);
  const heir = cluster.ids.find((id) => id !== leader) ?? 0n;
  await cluster.until(cluster.client(leader).moveLeader(heir));
  await cluster.clock.advance(1000);
  const { ttlSeconds } = await cluster.until(cluster.client(leader).leaseInfo(lease.id));
  t.true(ttlSeconds >= 590 && ttlSeconds <= 702, `${ttlSeconds} s are left`);
  t.is((await cluster.until(cluster.client(leader).keepAlive(lease.id))).ttlSeconds, 1000);
  await cluster.until(cluster.client(heir).moveLeader(leader));
  await cluster.clock.advance(990_000);
  await cluster.level();
  t.deepEqual(await ids(cluster, heir), [lease.id]);
  await cluster.stopAll();
});

test('after a stall of the leader nothing ends before the others have confirmed that it leads', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const lease = await cluster.until(cluster.client(leader).grant(3));
  await cluster.clock.advance(2000);
  cluster.clock.jump(20_000);
  await cluster.clock.advance(500);
  await cluster.level();
  const now = await cluster.leader();
  t.deepEqual(await ids(cluster, now), [lease.id]);
  await cluster.clock.advance(3000 + 2 * ELECTION_MS + LATE_MS);
  t.deepEqual(await ids(cluster, now), []);
  await cluster.stopAll();
});

test('a hundred thousand leases that end at once are gone within five seconds, while others write', async (t) => {
  const cluster = await Cluster.running({ limits: { proposalsMax: 200_000 } });
  const leader = await cluster.leader();
  const client = cluster.client(leader);
  for (let i = 0; i < 100; i++) {
    await cluster.until(Promise.all(Array.from({ length: 1000 }, () => client.grant(60))));
  }
  t.is(cluster.member(leader).node.store.leaseCount, 100_000);
  await cluster.clock.advance(58_000);
  const startedMs = cluster.clock.now();
  let slowestMs = 0;
  while (cluster.member(leader).node.store.leaseCount > 0 && cluster.clock.now() - startedMs < 20_000) {
    const writtenMs = cluster.clock.now();
    await cluster.until(client.txn({ success: [opPut(utf8('k'), utf8('v'))] }));
    slowestMs = Math.max(slowestMs, cluster.clock.now() - writtenMs);
    await cluster.clock.advance(100);
  }
  const tookMs = cluster.clock.now() - startedMs;
  t.true(tookMs <= 2000 + 5000, `${tookMs} ms`);
  t.true(slowestMs <= 100, `a write took ${slowestMs} ms meanwhile`);
  t.is(await cluster.leader(), leader);
  await cluster.stopAll();
});
