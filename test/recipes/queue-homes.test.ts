// The queue's claims over real sockets, against coterie and against etcd, each in a process of its own; and in this
// process, without a network in between.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { get, opPut, prefixRange } from '../../core/client.js';
import { connect, startNode } from '../../core/index.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import { ItemTooLarge, QueueFull } from '../../recipes/queue-put.js';
import { Queue } from '../../recipes/queue.js';
import { Session } from '../../recipes/session.js';
import { clients, homes, start } from './homes.js';

interface Place {
  readonly name: string;
  readonly near: Client;
  /** Another client of the same store. */
  readonly other: Client;
}

/** In this process, coterie remote, etcd. */
async function everyPlace(t: ExecutionContext, claim: (place: Place) => Promise<void>): Promise<void> {
  const node = await startNode({ dataDir: null });
  try {
    await claim({ name: 'in process', near: node.client, other: node.client });
  } finally {
    await node.close();
  }
  for (const home of await homes(t)) {
    const url = `http://127.0.0.1:${home.port}`;
    const [near, other] = [connect(url), connect(url)];
    try {
      await claim({ name: home.name, near, other });
    } finally {
      await Promise.all([near.close(), other.close()]);
    }
  }
}

async function left(client: Client): Promise<readonly string[]> {
  const { kvs } = await client.range({ ...prefixRange(utf8('coterie/queues/')), keysOnly: true });
  return kvs.map(({ key }) => text(key)).filter((key) => !/\/(ids|in|done|care|turn|guard)\b/.test(key));
}

async function collected(queue: Queue<string>, until: number, stop: AbortSignal): Promise<string[]> {
  const seen: string[] = [];
  try {
    for await (const { id, outcome } of queue.ends({ from: 1, signal: stop })) {
      seen.push(`${id}: ${outcome}`);
      if (seen.length === until) break;
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  return seen.sort();
}

test('Q1 Q2 over sockets: the lease is revoked, another takes it, and the late one ends and writes nothing', async (t) => {
  await everyPlace(t, async ({ name, near, other }) => {
    const queue = new Queue<string>(near, 'q1');
    const [a, b] = [await Session.open(near, { ttlSeconds: 30 }), await Session.open(other, { ttlSeconds: 30 })];
    await queue.put('x');
    const first = await queue.take(a);
    const waiting = queue.take(b);
    await sleep(200);
    await near.revoke(a.lease);
    const second = await waiting;
    t.deepEqual([second.id, second.attempt], [first.id, 2], name);
    t.true(second.fence > first.fence);
    await t.throwsAsync(first.txn().put('effects', 'a').commit(), { instanceOf: FencedOut });
    await t.throwsAsync(first.ack({ also: [opPut(utf8('effects'), utf8('a'))] }), { instanceOf: FencedOut });
    await second.ack({ also: [opPut(utf8('effects'), utf8('b'))] });
    const stored = await get(near, utf8('effects'));
    t.deepEqual([text(stored?.value ?? utf8('')), stored?.version], ['b', 1]);
    t.deepEqual(await left(near), [], name);
    await b.close();
  });
});

test('Q1 over sockets: a process that is stopped loses its item by its lease alone', async (t) => {
  for (const home of await homes(t)) {
    const near = connect(`http://127.0.0.1:${home.port}`);
    const queue = new Queue<string>(near, 'q1');
    await queue.put('x');
    const { child, line } = await start(t, 'queue-main.js', [`http://127.0.0.1:${home.port}`, 'q1', '2']);
    t.regex(line, /^took \d+$/);
    const session = await Session.open(near, { ttlSeconds: 10 });
    const waiting = queue.take(session);
    await sleep(300);
    child.kill('SIGSTOP');
    const from = performance.now();
    const item = await waiting;
    t.true(performance.now() - from < 10_000, `${home.name}: after ${Math.round(performance.now() - from)} ms`);
    t.is(item.attempt, 2);
    t.true(item.fence > Number(line.split(' ')[1]));
    const said = new Promise<string>((resolve) => {
      child.stdout?.once('data', (bytes: Buffer) => resolve(bytes.toString()));
    });
    child.kill('SIGCONT');
    t.regex(await said, /^ack fenced_out/, home.name);
    await item.ack();
    await session.close();
    await near.close();
  }
});

test('Q4 Q11 over sockets: failures, dead letters, removal and requeues, each item with one end', async (t) => {
  await everyPlace(t, async ({ name, near, other }) => {
    const queue = new Queue<string>(near, 'q11', { maxAttempts: 2, backoffMs: () => 0 });
    const stop = new AbortController();
    const ends = collected(queue, 5, stop.signal);
    const session = await Session.open(other, { ttlSeconds: 30 });
    for (const id of ['done', 'fails', 'gone', 'back']) await queue.put('x', { id, group: id });
    t.is(await queue.remove('gone'), 'removed');
    for (let i = 0; i < 5; i += 1) {
      const item = await queue.take(session);
      if (item.id === 'done') await item.ack();
      else if (item.id === 'back') await (item.attempt === 1 ? item.nack() : item.ack());
      else await item.nack({ error: new Error('no') });
    }
    const dead: string[] = [];
    for await (const item of queue.dead()) dead.push(`${item.id} ${item.attempts} ${item.reason}`);
    t.deepEqual(dead, ['fails 2 no'], name);
    t.true(await queue.putBack('fails'));
    const item = await queue.take(session);
    t.is(item.attempt, 1);
    await item.ack();
    t.deepEqual(await ends, ['back: done', 'done: done', 'fails: dead', 'fails: done', 'gone: removed']);
    t.deepEqual(await left(near), [], name);
    await session.close();
  });
});

test('Q5 over sockets: the queue is deleted under waiting consumers', async (t) => {
  await everyPlace(t, async ({ name, near, other }) => {
    const queue = new Queue<string>(near, 'q5');
    const [a, b] = [await Session.open(near, { ttlSeconds: 30 }), await Session.open(other, { ttlSeconds: 30 })];
    await queue.put('first');
    const held = await queue.take(a);
    const waiting = [queue.take(a), queue.take(b)];
    await sleep(400);
    await near.txn({ success: [{ kind: 'delete', request: prefixRange(utf8('coterie/queues/q5/')) }] });
    await sleep(400);
    t.true(held.signal.reason instanceof EntryLost, name);
    await queue.put('x');
    await queue.put('y');
    const items = await Promise.all(waiting);
    t.deepEqual(items.map(({ body }) => body).sort(), ['x', 'y']);
    for (const item of items) await item.ack();
    t.is((await queue.stats()).size, 0);
    await Promise.all([a.close(), b.close()]);
  });
});

test('Q6 over sockets: connections frozen past the lease and then cut: the consumer goes on by itself', async (t) => {
  for (const home of await homes(t)) {
    const { proxy, far, near } = await clients(t, home);
    const queue = new Queue<number>(near, 'q6');
    const done: number[] = [];
    const over = new AbortController();
    const consuming = new Queue<number>(far, 'q6').consume(async ({ body }) => {
      await sleep(5);
      done.push(body);
    }, { concurrency: 4, leaseMs: 2_000, signal: over.signal });
    for (let i = 0; i < 20; i += 1) await queue.put(i);
    await sleep(60);
    proxy.freeze();
    await sleep(5_000);
    proxy.cut();
    proxy.thaw();
    for (let i = 20; i < 40; i += 1) await queue.put(i);
    for (const until = performance.now() + 30_000; performance.now() < until && (await queue.stats()).size > 0;) await sleep(100);
    t.is((await queue.stats()).size, 0, home.name);
    t.is(new Set(done).size, 40);
    over.abort();
    await consuming;
  }
});

test('Q8 over sockets: connections cut during puts, takes and ends: every item is there once, and ends once', async (t) => {
  for (const home of await homes(t)) {
    const { proxy, far, near } = await clients(t, home);
    const [queue, plain] = [new Queue<number>(far, 'q8'), new Queue<number>(near, 'q8')];
    const session = await Session.open(far, { ttlSeconds: 60 });
    for (let run = 0; run < 15; run += 1) {
      const putting = queue.put(run, run % 2 === 0 ? {} : { group: 'g' });
      if (run > 0) await sleep(run / 4);
      proxy.cut();
      await putting;
    }
    t.is((await plain.stats()).size, 15, home.name);
    const seen: number[] = [];
    for (let run = 0; run < 15; run += 1) {
      const taking = queue.take(session);
      if (run > 0) await sleep(run / 4);
      if (run % 2 === 0) proxy.cut();
      const item = await taking;
      seen.push(item.body);
      const ending = item.ack({ also: [opPut(utf8(`done/${item.body}`), utf8(''))] });
      if (run % 2 === 1) proxy.cut();
      await ending;
    }
    t.deepEqual(seen.toSorted((a, b) => a - b), Array.from({ length: 15 }, (_, i) => i), home.name);
    t.is((await plain.stats()).size, 0);
    const { kvs } = await near.range(prefixRange(utf8('done/')));
    t.true(kvs.length === 15 && kvs.every(({ version }) => version === 1));
    await session.close();
  }
});

test('Q9 over sockets: the bound holds under twenty producers', async (t) => {
  await everyPlace(t, async ({ name, near, other }) => {
    const options = { itemsMax: 10, bodyBytesMax: 1_000 };
    const queue = new Queue<string>(near, 'q9', options);
    const putting = Promise.all(Array.from({ length: 20 }, async (_, p) => {
      const mine = new Queue<string>(p % 2 === 0 ? near : other, 'q9', options);
      for (let i = 0; i < 5; i += 1) await mine.put(`${p} ${i}`);
    }));
    while ((await queue.stats()).size < 10) await sleep(10);
    await t.throwsAsync(queue.put('late', { timeoutMs: 2_000 }), { instanceOf: QueueFull });
    await t.throwsAsync(queue.put('x'.repeat(2_000)), { instanceOf: ItemTooLarge });
    const session = await Session.open(other, { ttlSeconds: 30 });
    let most = 0;
    for (let i = 0; i < 100; i += 1) {
      most = Math.max(most, (await queue.stats()).size);
      const item = await queue.take(session);
      await item.ack();
    }
    await putting;
    t.is(most, 10, name);
    t.is((await queue.stats()).put, 100);
    await session.close();
  });
});

test('Q10 Q12 over sockets: delays and back-off by the store, fair turns, order in a group, what is held is kept', async (t) => {
  await everyPlace(t, async ({ name, near, other }) => {
    const queue = new Queue<string>(near, 'q12', { deadMax: 1 });
    const session = await Session.open(other, { ttlSeconds: 30 });
    await queue.put('delayed', { delayMs: 1_000 });
    for (let i = 0; i < 20; i += 1) await queue.put(`a${i}`, { group: 'a' });
    const first = await queue.take(session);
    await queue.put('b0', { group: 'b' });
    await first.ack();
    const order: string[] = [first.body];
    const take = async (): Promise<Delivery<string>> => {
      const item = await queue.take(session);
      order.push(item.body);
      return item;
    };
    await (await take()).ack();
    await (await take()).ack();
    t.true(order.slice(1).includes('b0'), `${name}: ${order.join()}`);
    const failing = await take();
    await failing.nack({ delayMs: 1_000 });
    t.is(await queue.tryTake(session), null, 'the first of a backs off, and with it its group');
    const [one, two] = [await take(), await take()];
    t.deepEqual([one.body, two.body].sort(), [failing.body, 'delayed'].sort(), name);
    for (const item of [one, two]) await item.ack();
    const kept = await take();
    t.is(await queue.remove(kept.id), 'held');
    await kept.ack();
    for (let i = 0; i < 20 && (await queue.stats()).size > 0; i += 1) await (await take()).nack({ dead: true });
    await sleep(200);
    t.is((await queue.stats()).dead, 1, name);
    const ofA = order.filter((body) => body.startsWith('a')).map((body) => Number(body.slice(1)));
    t.deepEqual(ofA, ofA.toSorted((x, y) => x - y));
    await session.close();
  });
});
