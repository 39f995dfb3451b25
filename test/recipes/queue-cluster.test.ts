// Queues over three real members whose leader is killed while items are put, taken, failed and ended. The tests share the
// members and run side by side.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { opPut } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { Queue } from '../../recipes/queue.js';
import { insist, readAll, until } from './claims.js';
import { urlsOf } from './homes.js';
import {
  bounded, committed, constantCost, deleted, disconnected, fairTurns, oneEnd, oneKnob, requeues, retention, sessionKilled,
  stalled,
} from './queue-claims.js';
import { membersOfFile } from './three-members.js';

const members = membersOfFile(test);

test('Q1 over three members: a worker is stopped and the leader killed: another ends its item, and it cannot', async (t) => {
  t.timeout(180_000);
  await stalled(t, members());
});

test('Q2 over three members: session and leader are killed: the first delivery\'s token commits nothing', async (t) => {
  t.timeout(180_000);
  await sessionKilled(t, members());
});

test('Q3 over three members: one knob: neither a stall nor a killed leader takes an item away', async (t) => {
  t.timeout(180_000);
  await oneKnob(t, members());
});

test('Q4 over three members: a hundred requeues, the leader killed after fifty: keys, id, attempts', async (t) => {
  t.timeout(180_000);
  await requeues(t, members());
});

test('Q5 over three members: deleted under waiting consumers, and the leader killed: what is put then is taken', async (t) => {
  t.timeout(180_000);
  await deleted(t, members());
});

test('Q6 over three members: a consumer is cut off while the leader is killed: it goes on by itself', async (t) => {
  t.timeout(180_000);
  await disconnected(t, members());
});

test('Q7 over three members: an item costs the same among ten and among a thousand, the leader killed between', async (t) => {
  t.timeout(180_000);
  await constantCost(t, members());
});

test('Q8 over three members: cut and the leader killed: an item is there when put resolves, and ends once', async (t) => {
  t.timeout(180_000);
  await committed(t, members());
});

test('Q9 over three members: the bound holds under twenty producers while the leader is killed', async (t) => {
  t.timeout(180_000);
  await bounded(t, members());
});

test('Q10 over three members: what is kept is bounded, held items stay, also when the leader is killed', async (t) => {
  t.timeout(180_000);
  await retention(t, members());
});

test('Q11 over three members: failures, a crash, removal and a killed leader: each item has one end that is told', async (t) => {
  t.timeout(180_000);
  await oneEnd(t, members());
});

test('Q12 over three members: a group delays another by its turn only, also when the leader is killed', async (t) => {
  t.timeout(180_000);
  await fairTurns(t, members());
});

test('Q8 Q11 over three members: at work while the leader is killed: each item ends once, in order', async (t) => {
  t.timeout(180_000);
  const urls = urlsOf(members());
  const clients: Client[] = [];
  const client = (): Client => {
    const one = connect(urls);
    clients.push(one);
    return one;
  };
  const over = new AbortController();
  const order = new Map<string, number[]>();
  const consumers = Array.from({ length: 3 }, () => {
    const queue = new Queue<number>(client(), 'work', { backoffMs: () => 0 });
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
    const queue = new Queue<number>(client(), 'work', { itemsMax: 50 });
    for (let i = 0; !stopped; i += 1) {
      await queue.put(i, i % 2 === 0 ? { group: `g${p}` } : {});
      put += 1;
      await sleep(5);
    }
  });
  await sleep(1_500);
  const before = put;
  await members().trouble();
  const after = put;
  await until(() => put > after + 10);
  stopped = true;
  await Promise.all(producers);
  const queue = new Queue<number>(client(), 'work');
  await until(async () => (await insist(() => queue.stats())).size === 0, 100);
  over.abort();
  await Promise.all(consumers);
  const stats = await insist(() => queue.stats());
  t.deepEqual([stats.size, stats.put, stats.ended, stats.dead], [0, put, put, 0]);
  const kvs = await readAll(queue.client, 'effects/');
  t.is(kvs.length, put);
  t.deepEqual(kvs.filter(({ version }) => version !== 1).map(({ key }) => text(key)), []);
  for (const group of ['g0', 'g1']) {
    const bodies = order.get(group) ?? [];
    t.deepEqual(bodies, bodies.toSorted((a, b) => a - b), group);
  }
  t.log(`${before} put before, ${put - before} after`);
  await Promise.all(clients.map((one) => one.close()));
});
