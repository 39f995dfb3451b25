// A queue over a cluster of three real members whose leader is killed while items are put, taken, failed and ended.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { opPut, prefixRange } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { Queue } from '../../recipes/queue.js';
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

test('Q1 Q8 Q11 the leader is killed in the middle: each item ends once, and groups keep their order', async (t) => {
  t.timeout(120_000);
  const cluster = new ProcessCluster('coterie', `queue-${process.pid}`);
  t.teardown(() => cluster.close());
  await cluster.start(['a', 'b', 'c']);
  const urls = cluster.members.map(({ url }) => url);
  const clients: Client[] = [];
  const client = (): Client => {
    const one = connect(urls);
    clients.push(one);
    return one;
  };
  const over = new AbortController();
  const order = new Map<string, number[]>();
  const consumers = Array.from({ length: 3 }, () => {
    const queue = new Queue<number>(client(), 'jobs', { backoffMs: () => 0 });
    return queue.consume(async (item) => {
      await sleep(2);
      if (item.attempt === 1 && item.body % 7 === 0) throw new Error('again');
      await item.ack({ also: [opPut(utf8(`effects/${item.id}`), utf8(String(item.fence)))] });
      const group = item.group ?? '';
      order.set(group, [...(order.get(group) ?? []), item.body]);
    }, { concurrency: 4, leaseMs: 20_000, signal: over.signal });
  });
  let stopped = false;
  let put = 0;
  const producers = Array.from({ length: 2 }, async (_, p) => {
    const queue = new Queue<number>(client(), 'jobs', { itemsMax: 50 });
    for (let i = 0; !stopped; i += 1) {
      await queue.put(i, i % 2 === 0 ? { group: `g${p}` } : {});
      put += 1;
      await sleep(5);
    }
  });
  await sleep(1_500);
  const before = put;
  await cluster.member(await leaderOf(cluster)).end('SIGKILL');
  await sleep(6_000);
  t.true(put > before + 10, `${put - before} puts after the leader was killed`);
  stopped = true;
  await Promise.all(producers);
  const queue = new Queue<number>(client(), 'jobs');
  for (const until = performance.now() + 30_000; performance.now() < until && (await queue.stats()).size > 0;) await sleep(100);
  over.abort();
  await Promise.all(consumers);
  const stats = await queue.stats();
  t.deepEqual([stats.size, stats.put, stats.ended, stats.dead], [0, put, put, 0]);
  const { kvs } = await queue.client.range(prefixRange(utf8('effects/')));
  t.is(kvs.length, put);
  t.deepEqual(kvs.filter(({ version }) => version !== 1).map(({ key }) => text(key)), []);
  for (const group of ['g0', 'g1']) {
    const bodies = order.get(group) ?? [];
    t.deepEqual(bodies, bodies.toSorted((a, b) => a - b), group);
  }
  t.log(`${before} put before, ${put - before} after`);
  await Promise.all(clients.map((one) => one.close()));
});
