// Queues on a simulated clock and a bad network. The same claims against real servers are in queue-homes.test.ts. Each
// test's id is the one its requirement has in the design.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, get, opPut, prefixRange, valueIs } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import type { QueueEvent } from '../../recipes/queue-call.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import { ItemTooLarge, QueueFull } from '../../recipes/queue-put.js';
import type { End } from '../../recipes/queue-keys.js';
import { Queue } from '../../recipes/queue.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { haunted } from './ghosts.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const ROOT = 'coterie/queues/jobs/';

function open(w: World, link: Client = w.link(), ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds, clock: w.clock }));
}

function jobs<T = string>(w: World, link: Client = w.link(), options: ConstructorParameters<typeof Queue<T>>[2] = {}): Queue<T> {
  return new Queue<T>(link, 'jobs', { clock: w.clock, ...options });
}

/** All that is left but what is remembered of ids. */
async function traces(w: World): Promise<readonly string[]> {
  const kvs = await w.clock.until(keysUnder(w.store, 'coterie/'));
  return kvs.map(({ key }) => text(key)).filter((key) => !/\/(ids|in|done|care|turn)\b/.test(key));
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(ms, resolve);
  });
}

/** Everything that ends from now on, once for each time. */
function endsOf(queue: Queue<string>): { readonly seen: End[]; readonly stop: () => void } {
  const seen: End[] = [];
  const over = new AbortController();
  const read = async (): Promise<void> => {
    for await (const end of queue.ends({ from: 1, signal: over.signal })) seen.push(end);
  };
  read().catch(() => undefined);
  return { seen, stop: () => over.abort() };
}

test('an item is put, taken and acknowledged, each in one transaction, and leaves nothing', async (t) => {
  const w = await world(1);
  const link = w.link();
  const queue = jobs(w, link);
  const session = await open(w, link);
  await w.clock.until(queue.put('warm'));
  const first = await w.clock.until(queue.take(session));
  await w.clock.until(first.ack());
  await w.clock.advance(100);
  let before = { ...link.sent };
  const { id, duplicate } = await w.clock.until(queue.put('hello'));
  t.false(duplicate);
  t.is(link.sent.txn - before.txn, 1, 'one to put');
  await w.clock.until(queue.put('again'));
  await w.clock.advance(1_000);
  before = { ...link.sent };
  const a = await w.clock.until(queue.take(session));
  t.is(link.sent.txn - before.txn, 2, 'a look and a take, after a while of nothing');
  t.deepEqual([a.id, a.body, a.attempt, a.group], [id, 'hello', 1, null]);
  t.true(a.isHeld);
  const hold = await w.clock.until(get(w.store, a.key));
  t.is(hold?.createRevision, a.fence);
  t.is(hold?.lease, session.lease);
  before = { ...link.sent };
  t.true((await w.clock.until(a.ack())).succeeded);
  t.is(link.sent.txn - before.txn, 1, 'one to acknowledge');
  const b = await w.clock.until(queue.take(session));
  t.is(link.sent.txn - before.txn, 2, 'one to take, since the acknowledgement told what is ready');
  t.false(a.isHeld);
  t.true(b.fence > a.fence);
  await w.clock.until(b.ack());
  t.deepEqual(await traces(w), []);
  await w.clock.until(session.close());
  await w.end();
});

test('one consumer gets what one producer put in the order of the puts, and higher priorities first', async (t) => {
  const w = await world(2);
  const [queue, session] = [jobs<number>(w), await open(w)];
  for (let i = 0; i < 30; i += 1) await w.clock.until(queue.put(i, { priority: i % 3 === 0 ? 7 : 0 }));
  const got: number[] = [];
  for (let i = 0; i < 30; i += 1) {
    const item = await w.clock.until(queue.take(session));
    got.push(item.body);
    await w.clock.until(item.ack());
  }
  const all = Array.from({ length: 30 }, (_, i) => i);
  t.deepEqual(got, [...all.filter((i) => i % 3 === 0), ...all.filter((i) => i % 3 !== 0)]);
  await w.end();
});

test('what waits for an item is woken by a put, without asking meanwhile', async (t) => {
  const w = await world(3);
  const link = w.link();
  const [queue, session] = [jobs(w), await open(w, link)];
  const waiting = queue.take(session);
  await w.clock.advance(5_000);
  const before = { ...link.sent };
  await w.clock.advance(60_000);
  t.deepEqual({ ...link.sent, keepAlive: 0 }, { ...before, keepAlive: 0 }, 'nothing but renewals');
  await w.clock.until(queue.put('x'));
  const item = await w.clock.until(waiting, 100);
  t.is(item.body, 'x');
  await w.end();
});
