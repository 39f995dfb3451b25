// Locks over a cluster of three real members whose leader is killed while locks are held, waited for and handed over.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, prefixRange } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { lock, withLock } from '../../recipes/lock.js';
import { Session } from '../../recipes/session.js';
import { ProcessCluster } from '../interop/cluster-processes.js';

async function leaderOf(cluster: ProcessCluster): Promise<string> {
  for (;;) {
    for (const member of cluster.members.filter(({ isRunning }) => isRunning)) {
      const client = connect(member.url);
      try {
        const { leader, header } = await client.status({ timeoutMs: 2_000 });
        if (leader !== 0n && leader === header.memberId) return member.name;
      } finally {
        await client.close();
      }
    }
    await sleep(100);
  }
}

test('L2 L4 L6 the leader is killed in the middle: one holder at a time, fences grow, nothing is left', async (t) => {
  t.timeout(120_000);
  const cluster = new ProcessCluster('coterie', `lock-${process.pid}`);
  t.teardown(() => cluster.close());
  await cluster.start(['a', 'b', 'c']);
  const urls = cluster.members.map(({ url }) => url);
  const clients: Client[] = [];
  let running = 0;
  let most = 0;
  const fences: number[] = [];
  let over = false;
  const workers = Array.from({ length: 4 }, async () => {
    const client = connect(urls);
    clients.push(client);
    const session = await Session.open(client, { ttlSeconds: 20 });
    while (!over) {
      await withLock(session, 'x', async (held) => {
        running += 1;
        most = Math.max(most, running);
        fences.push(held.fence);
        await held.txn().put('effect', String(held.fence)).commit().catch(() => null);
        running -= 1;
      });
      await sleep(5);
    }
    return session;
  });
  const holder = connect(urls);
  clients.push(holder);
  const long = await Session.open(holder, { ttlSeconds: 20 });
  const held = await lock(long, 'y');
  await sleep(1_500);
  const before = fences.length;
  const leader = await leaderOf(cluster);
  await cluster.member(leader).end('SIGKILL');
  await sleep(6_000);
  t.true(held.isHeld, 'what was held before is held after the change of leaders');
  await held.txn().put('effect-y', String(held.fence)).commit();
  t.true(fences.length > before + 10, `${fences.length - before} hand-overs after the leader was killed`);
  over = true;
  const sessions = await Promise.all(workers);
  t.is(most, 1);
  t.deepEqual(fences, fences.toSorted((a, b) => a - b));
  t.is(new Set(fences).size, fences.length);
  t.true(sessions.every(({ live }) => live));
  t.deepEqual((await holder.range(prefixRange(utf8('coterie/locks/x/')))).kvs, []);
  t.is(text((await get(holder, utf8('effect-y')))?.value ?? utf8('')), String(held.fence));
  t.log(`${before} hand-overs before, ${fences.length - before} after`);
  await held.release();
  await Promise.all([long, ...sessions].map((session) => session.close()));
  await Promise.all(clients.map((client) => client.close()));
});
