// Sessions over three members in one process, on a simulated clock and network: what a change of leader does to leases, to the
// millisecond. The same claims of real processes are in session-cluster.test.ts and session-homes.test.ts.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
import { Session } from '../../recipes/session.js';
import { Cluster, ELECTION_MS } from '../core/node/cluster.js';

/** What the README promises on top of TTL and election time-out: one tick to notice, and the entry's way. */
const DETECTION_MS = 600;

async function createdAt(cluster: Cluster, id: bigint, key: string): Promise<number> {
  return (await cluster.until(get(cluster.client(id), utf8(key))))?.createRevision ?? 0;
}

test('S7 the leader is cut off past an election and comes back: it revokes no lease that lives', async (t) => {
  const cluster = await Cluster.healthy();
  const old = await cluster.leader();
  const [other = 0n] = cluster.ids.filter((id) => id !== old);
  const { clock } = cluster;
  const session = await cluster.until(Session.open(cluster.client(other), { ttlSeconds: 5, clock }));
  const dead = await cluster.until(cluster.client(other).grant(5));
  await cluster.until(put(cluster.client(other), utf8('living'), utf8('held'), { lease: session.lease }));
  await cluster.until(put(cluster.client(other), utf8('dead'), utf8('held'), { lease: dead.id }));
  const created = await createdAt(cluster, other, 'living');
  cluster.board.isolate(old);
  t.not(await cluster.leader(old), old);
  // Several TTLs: by its own reckoning every lease is over.
  await clock.advance(20_000);
  cluster.board.heal();
  await clock.advance(10_000);
  await cluster.level();
  for (const id of cluster.ids) {
    t.deepEqual((await cluster.until(cluster.client(id).leases())).ids, [session.lease]);
    t.is(await createdAt(cluster, id, 'living'), created);
    t.is(await createdAt(cluster, id, 'dead'), 0);
  }
  t.true(session.live);
  await cluster.until(session.close());
  await cluster.stopAll();
});

test('S8 five changes of leader in a row: a dead owner is gone one TTL and the stated bound after the last one', async (t) => {
  for (const way of ['hand over', 'crash'] as const) {
    const cluster = await Cluster.healthy();
    const { clock } = cluster;
    const first = await cluster.leader();
    const dead = await cluster.until(cluster.client(first).grant(4));
    await cluster.until(put(cluster.client(first), utf8('dead'), utf8('held'), { lease: dead.id }));
    for (let change = 0; change < 5; change += 1) {
      const leader = await cluster.leader();
      await clock.advance(3_000);
      if (way === 'crash') {
        cluster.kill(leader);
        await cluster.leader();
        await cluster.start(leader);
      } else {
        const heir = cluster.ids.find((id) => id !== leader) ?? 0n;
        await cluster.until(cluster.client(leader).moveLeader(heir));
      }
    }
    const leader = await cluster.leader();
    const from = clock.now();
    t.not(await createdAt(cluster, leader, 'dead'), 0, `${way}: each leader gives it its whole time again`);
    while (await createdAt(cluster, leader, 'dead') !== 0) await clock.advance(20);
    const goneMs = clock.now() - from;
    t.true(goneMs <= 4_000 + ELECTION_MS + DETECTION_MS, `${way}: ${goneMs} ms`);
    t.log(`${way}: gone ${Math.round(goneMs)} ms after the last of five changes, at a TTL of 4 s`);
    await cluster.stopAll();
  }
});
