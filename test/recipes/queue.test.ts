// Queues on a simulated clock and a bad network. The same claims against real servers are in queue-homes.test.ts. Each
// test's id is the one its requirement has in the design.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, get, opPut, prefixRange } from '../../core/client.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import type { QueueEvent } from '../../recipes/queue-call.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import { QueueFull } from '../../recipes/queue-put.js';
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

test('what several producers put one after the other is taken in that order', async (t) => {
  const w = await world(2);
  const [consuming, session] = [jobs<number>(w), await open(w)];
  const producers = [jobs<number>(w), jobs<number>(w), jobs<number>(w)];
  for (let i = 0; i < 30; i += 1) {
    const producer = producers[w.prng.below(3)];
    if (producer !== undefined) await w.clock.until(producer.put(i));
  }
  const got: number[] = [];
  for (let i = 0; i < 30; i += 1) {
    const item = await w.clock.until(consuming.take(session));
    got.push(item.body);
    await w.clock.until(item.ack());
  }
  t.deepEqual(got, Array.from({ length: 30 }, (_, i) => i));
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

test('Q1 a worker stands still past its lease: another takes and ends the item, and the effects are there once', async (t) => {
  const w = await world(4);
  const queue = jobs(w);
  const [a, b] = [await open(w, w.link(), 5), await open(w, w.link(), 60)];
  await w.clock.until(queue.put('x'));
  const first = await w.clock.until(queue.take(a));
  const waiting = queue.take(b);
  await w.clock.advance(1_000);
  const effect = (by: string) => ({ also: [opPut(utf8('effects'), utf8(by))] });
  // The store sees nothing of a's process, and a's process sees no time pass until it goes on.
  await w.clock.until(w.store.revoke(a.lease));
  const second = await w.clock.until(waiting);
  t.deepEqual([second.id, second.attempt], [first.id, 2]);
  t.true(second.fence > first.fence);
  await t.throwsAsync(w.clock.until(first.ack(effect('a'))), { instanceOf: FencedOut });
  t.true((await w.clock.until(second.ack(effect('b')))).succeeded);
  await t.throwsAsync(w.clock.until(first.ack(effect('a'))), { instanceOf: FencedOut });
  const stored = await w.clock.until(get(w.store, utf8('effects')));
  t.deepEqual([text(stored?.value ?? utf8('')), stored?.version], ['b', 1]);
  await w.end();
});

test('Q1 after a stall the first statement sees that the item is not ours, and nothing can be ended', async (t) => {
  const w = await world(5);
  const events: QueueEvent[] = [];
  const queue = jobs(w, w.link(), { observe: (event: QueueEvent) => void events.push(event) });
  const a = await open(w, w.link(), 5);
  await w.clock.until(queue.put('x'));
  const item = await w.clock.until(queue.take(a));
  w.clock.jump(8_000);
  t.false(item.isHeld);
  t.true(item.signal.aborted);
  t.is(item.remaining, 0);
  t.throws(() => item.assertHeld(), { instanceOf: SessionLost });
  const refused = await t.throwsAsync(w.clock.until(item.ack()), { instanceOf: FencedOut });
  t.true(refused.cause instanceof SessionLost);
  await t.throwsAsync(w.clock.until(item.nack()), { instanceOf: FencedOut });
  await t.throwsAsync(w.clock.until(item.extend(5_000)), { instanceOf: SessionLost });
  t.true(events.some(({ kind }) => kind === 'lost'));
  const b = await open(w);
  t.is((await w.clock.until(queue.take(b))).attempt, 2);
  await w.end();
});

test('Q2 the session is killed: the token of the first delivery commits nothing, that of the second does', async (t) => {
  const w = await world(6);
  const queue = jobs(w);
  const link = w.link();
  const [a, b] = [await open(w, link, 5), await open(w)];
  await w.clock.until(queue.put('x'));
  const first = await w.clock.until(queue.take(a));
  await w.clock.until(first.txn().put('effects', 'a').commit());
  link.freeze();
  const second = await w.clock.until(queue.take(b));
  t.is(second.attempt, 2);
  t.false(first.isHeld, 'known here before the store gave it to another');
  link.thaw();
  await t.throwsAsync(w.clock.until(first.txn().put('effects', 'late').commit()), { instanceOf: FencedOut });
  await w.clock.until(second.txn().put('effects', 'b').commit());
  t.is(text((await w.clock.until(get(w.store, utf8('effects'))))?.value ?? utf8('')), 'b');
  // Past the local check the store's word counts.
  const ghost = second.txn();
  await w.clock.until(second.ack());
  await t.throwsAsync(w.clock.until(ghost.put('effects', 'ghost').commit()), { instanceOf: FencedOut });
  await w.end();
});

test('Q3 one knob: the lease is renewed at a third of it, and a stall of the loop is told with its length', async (t) => {
  const w = await world(7);
  const link = w.link();
  const events: QueueEvent[] = [];
  const queue = jobs(w, link, { observe: (event: QueueEvent) => void events.push(event) });
  const over = new AbortController();
  let delivered = 0;
  const consuming = queue.consume(async ({ signal }) => {
    delivered += 1;
    await sleep(w, signal.aborted ? 1 : 40_000);
  }, { leaseMs: 9_000, signal: over.signal });
  await w.clock.until(queue.put('long'));
  await w.clock.advance(5_000);
  const before = link.renewals.length;
  await w.clock.advance(30_000);
  t.true(Math.abs(link.renewals.length - before - 10) <= 1, `${link.renewals.length - before} renewals in 30 s`);
  w.clock.jump(2_500);
  await w.clock.advance(10);
  const gaps = events.flatMap((event) => event.kind === 'stalled' ? [event.gapMs] : []);
  t.true(gaps.some((gap) => gap > 500 && gap <= 2_500), String(gaps));
  await w.clock.advance(10_000);
  t.is(delivered, 1, 'a stall shorter than the lease takes nothing away');
  over.abort();
  await w.clock.until(consuming);
  t.is((await w.clock.until(queue.stats())).ended, 1);
  await w.end();
});

test('Q4 a hundred requeues: the keys stay as long as they were, the id stays, attempts are counted', async (t) => {
  const w = await world(8);
  const [queue, session] = [jobs(w), await open(w, w.link(), 3_600)];
  for (const group of [undefined, 'g']) {
    const id = `id-${group ?? 'none'}`;
    await w.clock.until(queue.put('x', { id, maxAttempts: 200, ...(group === undefined ? {} : { group }) }));
    const lengths = new Set<number>();
    for (let i = 1; i <= 100; i += 1) {
      const item = await w.clock.until(queue.take(session));
      t.deepEqual([item.id, item.attempt], [id, i]);
      await w.clock.until(i % 10 === 0 ? item.nack({ delayMs: 1_000 }) : item.nack({ delayMs: 0 }));
      const ready = await w.clock.until(keysUnder(w.store, `${ROOT}ready/`));
      for (const { key } of ready) lengths.add(key.length);
    }
    t.is(lengths.size, 1);
    const last = await w.clock.until(queue.take(session));
    t.is(last.attempt, 101);
    await w.clock.until(last.ack());
  }
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('Q5 the whole queue is deleted while consumers wait: what is put afterwards is taken', async (t) => {
  const w = await world(9);
  const queue = jobs(w);
  const sessions = [await open(w), await open(w), await open(w)];
  for (let i = 0; i < 10; i += 1) await w.clock.until(queue.put(`before ${i}`));
  const held = await w.clock.until(queue.take(sessions[0] ?? await open(w)));
  for (let i = 0; i < 9; i += 1) {
    const item = await w.clock.until(queue.take(sessions[1] ?? await open(w)));
    await w.clock.until(item.ack());
  }
  const waiting = sessions.map((session) => queue.take(session));
  await w.clock.advance(2_000);
  const range = prefixRange(utf8(ROOT));
  await w.clock.until(del(w.store, range.key, range));
  await w.clock.advance(2_000);
  t.true(held.signal.reason instanceof EntryLost);
  await t.throwsAsync(w.clock.until(held.ack()), { instanceOf: FencedOut });
  for (let i = 0; i < 3; i += 1) await w.clock.until(queue.put(`after ${i}`));
  const items = await w.clock.until(Promise.all(waiting), 10_000);
  t.deepEqual(items.map(({ body }) => body).sort(), ['after 0', 'after 1', 'after 2']);
  for (const item of items) await w.clock.until(item.ack());
  const stats = await w.clock.until(queue.stats());
  t.deepEqual([stats.size, stats.put, stats.ended], [0, 3, 3]);
  await w.end();
});

test('Q6 ten minutes without a connection: the consumer goes on by itself and drains the queue', async (t) => {
  const w = await world(10);
  const link = w.link();
  const [queue, far] = [jobs(w), jobs(w, link)];
  const over = new AbortController();
  const got: string[] = [];
  const consuming = far.consume(async ({ body }) => {
    await sleep(w, 100);
    got.push(body);
  }, { concurrency: 3, signal: over.signal });
  for (let i = 0; i < 10; i += 1) await w.clock.until(queue.put(String(i)));
  await w.clock.advance(150);
  link.freeze();
  await w.clock.advance(300_000);
  link.down();
  await w.clock.advance(300_000);
  for (let i = 10; i < 30; i += 1) await w.clock.until(queue.put(String(i)));
  link.thaw();
  link.up();
  await w.clock.advance(60_000);
  t.is(new Set(got).size, 30);
  t.is((await w.clock.until(queue.stats())).size, 0);
  over.abort();
  await w.clock.until(consuming);
  await w.end();
});

test('Q8 a put resolves only when the item is there, whatever happens to the answers, and puts it once', async (t) => {
  const w = await world(11);
  const fates = ['unanswered', 'unsent', 'normal', 'late'] as const;
  const ghostly = haunted(w.link(), w.clock, () => {
    const kind = fates[w.prng.below(fates.length)] ?? 'normal';
    return kind === 'late' ? { kind, delayMs: w.prng.below(3_000) } : { kind };
  });
  const queue = jobs(w, ghostly);
  const plain = jobs(w);
  for (let i = 0; i < 200; i += 1) {
    const own = i % 2 === 0 ? {} : { id: `mine-${i}` };
    const { id, duplicate } = await w.clock.until(queue.put(String(i), own));
    t.false(duplicate);
    t.not(await w.clock.until(get(w.store, utf8(`${ROOT}items/${id}`))), null, `put ${i}`);
  }
  await w.clock.advance(10_000);
  t.is((await w.clock.until(plain.stats())).size, 200);
  const session = await open(w);
  const seen: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    const item = await w.clock.until(plain.take(session));
    seen.push(Number(item.body));
    await w.clock.until(item.ack());
  }
  t.deepEqual(seen, Array.from({ length: 200 }, (_, i) => i), 'once each, in the order of the puts');
  t.is(await w.clock.until(plain.tryTake(session)), null);
  await w.end();
});

test('Q9 the bound holds under twenty producers, and who cannot wait is told that it is full', async (t) => {
  const w = await world(13);
  const [limit, each] = [25, 20];
  const session = await open(w, w.link(), 600);
  const plain = jobs(w);
  let most = 0;
  let calls = 0;
  const check = async (): Promise<void> => {
    const items = await keysUnder(w.store, `${ROOT}items/`);
    most = Math.max(most, items.length);
  };
  const links = Array.from({ length: 20 }, () => w.link());
  const producers = links.map(async (link, p) => {
    link.requestMs = () => w.prng.below(5);
    const queue = jobs(w, link, { itemsMax: limit });
    for (let i = 0; i < each; i += 1) await queue.put(`${p} ${i}`);
  });
  const putting = Promise.all(producers);
  await w.clock.advance(2_000);
  await w.clock.until(check());
  t.is(most, limit, 'full, and no more');
  const late = jobs(w, w.link(), { itemsMax: limit });
  const full = await t.throwsAsync(w.clock.until(late.put('late', { timeoutMs: 500 })), { instanceOf: QueueFull });
  t.is(full.code, 'queue_full');
  t.is((await w.clock.until(plain.stats())).size, limit);
  for (let i = 0; i < 20 * each; i += 1) {
    const item = await w.clock.until(plain.take(session));
    await w.clock.until(item.ack());
    await w.clock.until(check());
  }
  await w.clock.until(putting);
  calls = links.reduce((sum, link) => sum + link.sent.txn, 0);
  t.is(most, limit);
  t.is((await w.clock.until(plain.stats())).put, 20 * each);
  t.log(`${(calls / (20 * each)).toFixed(2)} transactions for each put`);
  t.true(calls / (20 * each) < 8);
  await w.end();
});

test('Q10 what is kept is bounded, and no item with a live lease is ever deleted by that', async (t) => {
  const w = await world(14);
  const queue = jobs(w, w.link(), { deadMax: 3, windowMs: 1_000 });
  const session = await open(w, w.link(), 3_600);
  for (let i = 0; i < 8; i += 1) await w.clock.until(queue.put('x', { id: `i${i}` }));
  const held: Delivery<string>[] = [];
  for (let i = 0; i < 8; i += 1) held.push(await w.clock.until(queue.take(session)));
  await w.clock.until(held[0]?.nack({ dead: true, error: new Error('first') }) ?? Promise.resolve());
  // Alive again, and in somebody's hands, when the dead before and after it are dropped.
  t.true(await w.clock.until(queue.putBack('i0')));
  const back = await w.clock.until(queue.take(session));
  t.deepEqual([back.id, back.attempt], ['i0', 1]);
  for (const item of held.slice(1, 7)) {
    await w.clock.until(item.nack({ dead: true }));
    await w.clock.advance(50);
  }
  const dead: string[] = [];
  await w.clock.until((async () => {
    for await (const { id } of queue.dead()) dead.push(id);
  })());
  t.deepEqual(dead, ['i4', 'i5', 'i6'], 'the newest three');
  await w.clock.advance(120_000);
  t.true(back.isHeld);
  t.is(await w.clock.until(queue.remove('i0')), 'held');
  t.is(await w.clock.until(queue.remove('i7')), 'held');
  const items = (await w.clock.until(keysUnder(w.store, `${ROOT}items/`))).map(({ key }) => text(key).slice(ROOT.length));
  t.deepEqual(items, ['items/i0', 'items/i4', 'items/i5', 'items/i6', 'items/i7']);
  t.true((await w.clock.until(back.ack())).succeeded);
  t.true((await w.clock.until(held[7]?.ack() ?? Promise.reject(new Error('none')))).succeeded);
  await w.end();
});

test('Q11 each item has one end that is told: done, dead or removed', async (t) => {
  const w = await world(15);
  const queue = jobs(w, w.link(), { maxAttempts: 2, backoffMs: () => 0 });
  const { seen, stop } = endsOf(queue);
  const session = await open(w, w.link(), 3_600);
  const crash = await open(w, w.link(), 5);
  await w.clock.until(queue.put('x', { id: 'crashed', maxAttempts: 1 }));
  const lost = await w.clock.until(queue.take(crash));
  t.is(lost.id, 'crashed');
  await w.clock.until(w.store.revoke(crash.lease));
  for (const id of ['done', 'fails', 'gone', 'taken away', 'waits']) await w.clock.until(queue.put('x', { id, group: id }));
  t.is(await w.clock.until(queue.remove('gone')), 'removed');
  t.is(await w.clock.until(queue.remove('gone')), 'not_found');
  for (let i = 0; i < 4; i += 1) {
    const item = await w.clock.until(queue.take(session));
    if (item.id === 'done' || item.id === 'waits') await w.clock.until(item.ack());
    if (item.id === 'fails') await w.clock.until(item.nack({ error: new Error(`attempt ${item.attempt}`) }));
    if (item.id !== 'taken away') continue;
    t.is(await w.clock.until(queue.remove(item.id, { held: true })), 'removed');
    await w.clock.advance(100);
    t.true(item.signal.reason instanceof EntryLost);
  }
  const again = await w.clock.until(queue.take(session));
  await w.clock.until(again.nack({ error: new Error('attempt 2') }));
  await w.clock.advance(1_000);
  const ends = seen.map(({ id, outcome }) => `${id}: ${outcome}`).sort();
  t.deepEqual(ends, ['crashed: dead', 'done: done', 'fails: dead', 'gone: removed', 'taken away: removed', 'waits: done']);
  const dead: string[] = [];
  await w.clock.until((async () => {
    for await (const { id, reason, attempts } of queue.dead()) dead.push(`${id} ${attempts} ${reason}`);
  })());
  t.is(dead[1], 'fails 2 attempt 2');
  t.regex(dead[0] ?? '', /^crashed 1 its consumer was lost/);
  t.true(await w.clock.until(queue.putBack('fails')));
  const back = await w.clock.until(queue.take(session));
  t.deepEqual([back.id, back.attempt], ['fails', 1]);
  await w.clock.until(back.ack());
  t.is(await w.clock.until(queue.remove('crashed')), 'removed');
  stop();
  const stats = await w.clock.until(queue.stats());
  t.deepEqual([stats.size, stats.dead], [0, 0]);
  t.is(stats.ended, 7, 'six, and the one that was put back once more');
  t.deepEqual(await traces(w), []);
  await w.end();
});

for (const weights of [{}, { a: 3 }]) {
  test(`Q12 a group with many items delays another by its turn only; weights ${JSON.stringify(weights)}`, async (t) => {
    const w = await world(16);
    const queue = jobs(w, w.link(), { weights, itemsMax: 200_000 });
    const session = await open(w, w.link(), 3_600);
    for (let i = 0; i < 60; i += 1) await w.clock.until(queue.put(`a${i}`, { group: 'a' }));
    for (let i = 0; i < 60; i += 1) await w.clock.until(queue.put(`-${i}`));
    const order: string[] = [];
    const one = async (): Promise<void> => {
      const item = await w.clock.until(queue.take(session));
      order.push(item.body);
      await w.clock.until(item.ack());
    };
    for (let i = 0; i < 10; i += 1) await one();
    order.length = 0;
    for (let i = 0; i < 5; i += 1) await w.clock.until(queue.put(`b${i}`, { group: 'b' }));
    for (let i = 0; i < 24; i += 1) await one();
    t.log(order.join(' '));
    const places = order.flatMap((body, i) => body.startsWith('b') ? [i] : []);
    // One turn of each other: of `a`, and of those without a group, which count as one.
    const round = 1 + ('a' in weights ? 3 : 1) + 1;
    t.true((places[0] ?? Infinity) < round, `the first of b came at ${places[0]}`);
    for (let i = 1; i < 5; i += 1) t.true((places[i] ?? Infinity) - (places[i - 1] ?? 0) <= round, `${places.join(' ')}`);
    const ofA = order.filter((body) => body.startsWith('a')).map((body) => Number(body.slice(1)));
    t.deepEqual(ofA, ofA.toSorted((x, y) => x - y));
    t.true(ofA.length >= ('a' in weights ? 10 : 6));
    await w.end();
  });
}
