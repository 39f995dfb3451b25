// Barriers, counters, transactions, latches and groups over a cluster of three real members whose leader is killed while
// all of them are at work.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { prefixRange, put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { arriveAt } from '../../recipes/barrier.js';
import { counter, ids } from '../../recipes/counter.js';
import { enterBarrier } from '../../recipes/double-barrier.js';
import { join, members } from '../../recipes/group.js';
import { latch } from '../../recipes/latch.js';
import { Session } from '../../recipes/session.js';
import { stm } from '../../recipes/stm.js';
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

const number = (value: Uint8Array | null): number => (value === null ? 0 : Number(text(value)));

test('B1 B4 B5 the leader is killed in the middle: all pass together, count once and conserve sums', async (t) => {
  t.timeout(180_000);
  const cluster = new ProcessCluster('coterie', `barrier-${process.pid}`);
  t.teardown(() => cluster.close());
  await cluster.start(['a', 'b', 'c']);
  const urls = cluster.members.map(({ url }) => url);
  const near: Client[] = [1, 2, 3].map(() => connect(urls));
  const [first = connect(urls)] = near;
  await put(first, utf8('accounts/0'), utf8('100'));
  await put(first, utf8('accounts/1'), utf8('100'));
  const passages: number[][] = [];
  const blocks: number[] = [];
  let over = -1;
  let stopping = false;
  let added = 0;
  const workers = near.map(async (client, me) => {
    const session = await Session.open(client, { ttlSeconds: 30 });
    const member = await join(session, 'workers', { data: String(me) });
    const ready = await latch(session, 'ready', { count: 3 });
    await ready.countDown({ id: String(me) });
    await ready.wait();
    const [hits, orders] = [counter(session, 'hits'), ids(client, 'orders')];
    for (let round = 0; over < 0 || round < over; round += 1) {
      const passage = await arriveAt(session, 'round', { parties: 3 });
      (passages[round] ??= []).push(passage.generation, passage.index);
      await hits.add(1, round % 2 === 0 ? { id: `${me}-${round}` } : {});
      added += 1;
      blocks.push((await orders.reserve(10)).from);
      await stm(session, async (tx) => {
        const [from, to] = [`accounts/${round % 2}`, `accounts/${(round + 1) % 2}`];
        const [a, b] = [number(await tx.get(from)), number(await tx.get(to))];
        tx.put(from, String(a - 1));
        tx.put(to, String(b + 1));
      });
      const inside = await enterBarrier(session, 'round', { parties: 3 });
      // Decided by one of them, between two barriers, so that all stop after the same round.
      if (me === 0 && stopping && over < 0) over = round + 1;
      await inside.leave();
    }
    t.true(member.isHeld);
    return session;
  });
  const all = Promise.all(workers);
  await using view = await members(first, 'workers').ready();
  await sleep(2_000);
  const before = passages.length;
  await cluster.member(await leaderOf(cluster)).end('SIGKILL');
  await sleep(8_000);
  stopping = true;
  const sessions = await all;
  t.true(passages.length > before + 5, `${passages.length - before} rounds after the leader was killed`);
  for (const [round, [g1, i1, g2, i2, g3, i3]] of passages.entries()) {
    t.true(g1 === g2 && g2 === g3, `round ${round}`);
    t.deepEqual([i1, i2, i3].toSorted((a, b) => Number(a) - Number(b)), [0, 1, 2]);
  }
  t.is(await counter(sessions[0] ?? (await Session.open(first, { ttlSeconds: 5 })), 'hits').value(), added);
  t.is(new Set(blocks).size, blocks.length);
  const { kvs } = await first.range(prefixRange(utf8('accounts/')));
  t.is(kvs.reduce((sum, { value }) => sum + number(value), 0), 200);
  t.is(view.members.length, 3);
  t.log(`${before} rounds before, ${passages.length - before} after; ${added} counted`);
  await Promise.all(sessions.map((session) => session.close()));
  await Promise.all(near.map((client) => client.close()));
});
