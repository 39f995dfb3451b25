// What queues offer beyond the claims of queue.test.ts: ids, groups, delays, pauses, leases of their own, effects.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, get, opPut, put, valueIs } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { ItemTooLarge } from '../../recipes/queue-put.js';
import { QueueKeys, writeItem } from '../../recipes/queue-keys.js';
import { Queue } from '../../recipes/queue.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Fate } from './ghosts.js';
import { haunted } from './ghosts.js';
import type { World } from './world.js';
import { keysUnder, leaseIds, world } from './world.js';

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

test('an id is put once: while the item is there, and for the window afterwards', async (t) => {
  const w = await world(12);
  const queue = jobs(w, w.link(), { windowMs: 10_000 });
  const other = jobs(w, w.link(), { windowMs: 10_000 });
  const session = await open(w, w.link(), 60);
  t.false((await w.clock.until(queue.put('a', { id: 'x/y' }))).duplicate);
  t.true((await w.clock.until(other.put('b', { id: 'x/y' }))).duplicate);
  await w.clock.advance(60_000);
  t.true((await w.clock.until(other.put('b', { id: 'x/y' }))).duplicate, 'it is still there');
  const item = await w.clock.until(queue.take(session));
  t.deepEqual([item.id, item.body], ['x/y', 'a']);
  await w.clock.until(item.ack());
  t.false((await w.clock.until(other.put('c', { id: 'x/y' }))).duplicate);
  const again = await w.clock.until(queue.take(session));
  await w.clock.until(again.ack());
  await w.clock.advance(9_900);
  t.true((await w.clock.until(other.put('d', { id: 'x/y' }))).duplicate, 'it was put less than the window ago');
  t.true((await w.clock.until(queue.put('d', { id: 'x/y' }))).duplicate, 'whoever has put it');
  await w.clock.advance(40_000);
  t.false((await w.clock.until(queue.put('d', { id: 'x/y' }))).duplicate);
  await w.end();
});

test('items of a group are never out at the same time, whatever happens to them, and keep the order of their puts', async (t) => {
  const w = await world(17);
  const queue = jobs<number>(w, w.link(), { maxAttempts: 3, backoffMs: (n: number) => (n === 1 ? 0 : 1_000) });
  const out = new Map<string, number>();
  const done = new Map<string, number[]>();
  const over = new AbortController();
  let most = 0;
  const consumers = Array.from({ length: 5 }, () => jobs<number>(w, w.link(), { maxAttempts: 3, backoffMs: () => 1_000 })
    .consume(async ({ group, body, attempt }) => {
      const name = group ?? '';
      out.set(name, (out.get(name) ?? 0) + 1);
      most = Math.max(most, out.get(name) ?? 0);
      await sleep(w, 1 + w.prng.below(30));
      out.set(name, (out.get(name) ?? 0) - 1);
      if (attempt < 3 && w.prng.below(4) === 0) throw new Error('again');
      done.set(name, [...(done.get(name) ?? []), body]);
    }, { concurrency: 3, signal: over.signal }));
  for (let i = 0; i < 90; i += 1) await w.clock.until(queue.put(i, { group: `g${i % 3}`, priority: w.prng.below(3) }));
  await w.clock.advance(120_000);
  t.is(most, 1);
  for (const bodies of done.values()) t.deepEqual(bodies, bodies.toSorted((a, b) => a - b));
  t.is([...done.values()].flat().length, 90);
  over.abort();
  await w.clock.until(Promise.all(consumers));
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a delay hangs on a lease of the store: it goes on without anybody, and ends for a group in its order', async (t) => {
  const w = await world(18);
  const queue = jobs(w);
  await w.clock.until(queue.put('later', { delayMs: 5_000 }));
  await w.clock.until(queue.put('g later', { delayMs: 5_000, group: 'g' }));
  await w.clock.until(queue.put('g now', { group: 'g' }));
  await w.clock.until(queue.put('g next', { group: 'g' }));
  const session = await open(w);
  const first = await w.clock.until(queue.take(session));
  t.is(first.body, 'g now');
  t.is(await w.clock.until(queue.tryTake(session)), null);
  t.deepEqual(((s) => [s.held, s.delayed, s.inLine, s.size])(await w.clock.until(queue.stats())), [1, 2, 1, 4]);
  await w.clock.advance(7_000);
  const second = await w.clock.until(queue.take(session));
  t.is(second.body, 'later');
  t.is(await w.clock.until(queue.tryTake(session)), null, 'the group has one out');
  await w.clock.until(first.ack());
  const bodies: string[] = [];
  for (let i = 0; i < 2; i += 1) {
    const item = await w.clock.until(queue.take(session));
    bodies.push(item.body);
    await w.clock.until(item.ack());
  }
  t.deepEqual(bodies, ['g later', 'g next'], 'where it was put, among those that can be seen');
  await w.clock.until(second.ack());
  await w.clock.until(queue.put('alone', { delayMs: 3_000 }));
  await w.clock.until(session.close());
  await w.clock.advance(20_000);
  const late = await open(w);
  const item = await w.clock.until(queue.take(late), 2_000);
  t.is(item.body, 'alone', 'its delay was over before anybody looked after the queue');
  await w.clock.until(item.ack());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a paused queue gives nothing, takes puts, and goes on where it was', async (t) => {
  const w = await world(19);
  const [queue, session] = [jobs(w), await open(w)];
  await w.clock.until(queue.put('a'));
  const item = await w.clock.until(queue.take(session));
  let isTaken = false;
  const waiting = queue.take(session).then((taken) => {
    isTaken = true;
    return taken;
  });
  await w.clock.advance(100);
  await w.clock.until(queue.pause());
  await w.clock.until(queue.put('b'));
  await w.clock.advance(10_000);
  t.is(await w.clock.until(queue.tryTake(session)), null);
  t.false(isTaken, 'nor does who waited before');
  t.true((await w.clock.until(queue.stats())).paused);
  await w.clock.until(item.ack());
  await w.clock.until(queue.resume());
  t.is((await w.clock.until(waiting, 1_000)).body, 'b');
  await w.end();
});

test('an item on a lease of its own outlives its consumer\'s session for that long, and no renewal brings it back', async (t) => {
  const w = await world(20);
  const link = w.link();
  const queue = jobs(w);
  const [a, b] = [await open(w, link, 5), await open(w)];
  await w.clock.until(queue.put('x'));
  const item = await w.clock.until(queue.take(a, { leaseMs: 60_000 }));
  const hold = await w.clock.until(get(w.store, item.key));
  t.not(hold?.lease, a.lease);
  t.is(hold?.createRevision, item.fence);
  link.freeze();
  await w.clock.advance(20_000);
  t.false(a.live);
  t.true(item.isHeld);
  const waiting = queue.take(b);
  await w.clock.advance(60_000);
  t.false(item.isHeld);
  t.is((await w.clock.until(waiting)).attempt, 2);
  link.thaw();
  await w.clock.advance(10_000);
  t.false(item.isHeld);
  await t.throwsAsync(w.clock.until(item.ack()), { instanceOf: FencedOut });
  // Who closes the session gives back what is on leases of its own too.
  await w.clock.until(queue.put('y'));
  const c = await open(w);
  const other = await w.clock.until(queue.take(c, { leaseMs: 600_000 }));
  await w.clock.until(other.extend(900_000));
  t.true(other.isHeld);
  await w.clock.until(c.close());
  t.is((await w.clock.until(queue.take(b), 5_000)).body, 'y');
  const { ids } = await w.clock.until(w.store.leases());
  t.true(ids.length <= 3, 'those of b and of what is remembered of ids');
  await w.end();
});

test('extensions that overlap come one after the other: the last one counts, and no lease is left behind', async (t) => {
  const w = await world(28);
  const link = w.link();
  const queue = jobs(w, link);
  const session = await open(w, link);
  await w.clock.until(queue.put('x'));
  const item = await w.clock.until(queue.take(session));
  const before = await w.clock.until(leaseIds(w.store));
  let calls = 0;
  link.answerMs = (method) => (method === 'txn' && (calls += 1) === 1 ? 500 : 1);
  await w.clock.until(Promise.all([item.extend(5_000), item.extend(20_000)]));
  await w.clock.advance(40_000);
  t.true(item.isHeld && item.remaining > 10_000, `${item.remaining}`);
  await w.clock.until(item.ack());
  await w.clock.advance(1_000);
  t.deepEqual(await w.clock.until(leaseIds(w.store)), before);
  await w.end();
});

test('what is acknowledged with effects is done with them or not at all', async (t) => {
  const w = await world(21);
  const [queue, session] = [jobs(w), await open(w)];
  for (const group of [{}, { group: 'g' }]) {
    await w.clock.until(queue.put('x', group));
    await w.clock.until(queue.put('y', group));
    const item = await w.clock.until(queue.take(session));
    const also = [opPut(utf8('balance'), utf8('1'))];
    const refused = await w.clock.until(item.ack({ compare: [valueIs(utf8('balance'), '=', utf8('0'))], also }));
    t.false(refused.succeeded);
    t.true(item.isHeld);
    t.is(await w.clock.until(get(w.store, utf8('balance'))), null);
    const done = await w.clock.until(item.ack({ also: [...also, { kind: 'range', request: { key: utf8('balance') } }] }));
    t.true(done.succeeded);
    t.deepEqual(done.responses.map(({ kind }) => kind), ['put', 'range']);
    await w.clock.until(w.store.txn({ success: [{ kind: 'delete', request: { key: utf8('balance') } }] }));
    const next = await w.clock.until(queue.take(session));
    t.is(next.body, 'y');
    await w.clock.until(next.ack());
  }
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('what is too large, misnamed or not a number is refused, and what cannot be read is dead', async (t) => {
  const w = await world(22);
  const queue = jobs(w, w.link(), { bodyBytesMax: 10 });
  const large = await t.throwsAsync(w.clock.until(queue.put('x'.repeat(20))), { instanceOf: ItemTooLarge });
  t.is(large.code, 'item_too_large');
  const wrong = [{ id: '' }, { group: 'a\n' }, { priority: 256 }, { priority: 0.5 }, { delayMs: -1 }, { maxAttempts: 0 }];
  for (const options of wrong) {
    const error = await t.throwsAsync(w.clock.until(queue.put('x', options)), undefined, JSON.stringify(options));
    t.true(isApiError(error, 'invalid_request'), String(error));
  }
  t.throws(() => new Queue(w.store, ''), { message: /the queue's name is ""/ });
  const bytes = new Queue<Uint8Array>(w.link(), 'jobs', { clock: w.clock, codec: { encode: (b) => b, decode: (b) => b } });
  await w.clock.until(bytes.put(utf8('{not json')));
  await w.clock.until(queue.put('good'));
  const session = await open(w);
  const item = await w.clock.until(queue.take(session));
  t.is(item.body, 'good');
  t.is((await w.clock.until(queue.stats())).dead, 1);
  await w.end();
});

test('a wait that is given up takes nothing: it is rejected at once, and what comes too late goes back', async (t) => {
  const w = await world(23);
  const link = w.link();
  const [queue, session] = [jobs(w), await open(w, link)];
  const late = await t.throwsAsync(w.clock.until(queue.take(session, { timeoutMs: 1_000 })));
  t.true(isApiError(late, 'deadline_exceeded'));
  const abort = new AbortController();
  const waiting = t.throwsAsync(queue.take(session, { signal: abort.signal }));
  await w.clock.advance(1_000);
  link.answerMs = () => 300;
  await w.clock.until(queue.put('x'));
  await w.clock.advance(150);
  abort.abort();
  t.true(isApiError(await w.clock.until(waiting), 'canceled'));
  await w.clock.advance(5_000);
  link.answerMs = () => 0;
  const item = await w.clock.until(queue.take(session));
  t.deepEqual([item.body, item.attempt], ['x', 1], 'what was given back unseen does not count');
  await w.end();
});

test('Q12 a hundred thousand items of one group delay one of another by one turn', async (t) => {
  const w = await world(24);
  const [queue, session] = [jobs(w, w.link(), { itemsMax: 200_000 }), await open(w, w.link(), 3_600)];
  const keys = new QueueKeys('jobs');
  await w.clock.until(queue.put('a first', { group: 'a' }));
  // As their puts would leave them, fifty in one transaction.
  const [all, each] = [100_000, 50];
  for (let from = 0; from < all; from += each) {
    const success = Array.from({ length: each }, (_, i) => from + i).flatMap((i) => {
      const place = (0x1000_0000_0000 + i).toString(16).padStart(19, '0');
      const head = { place, priority: 0, maxAttempts: 5, group: 'a' };
      return [opPut(keys.item(`a${i}`), writeItem(head, utf8(`"a${i}"`))), opPut(keys.lineKey('a', place, `a${i}`), utf8('0'))];
    });
    await w.clock.until(w.store.txn({ success }));
  }
  t.is((await w.clock.until(queue.stats())).inLine, all);
  const order: string[] = [];
  const one = async (): Promise<void> => {
    const item = await w.clock.until(queue.take(session));
    order.push(item.body);
    await w.clock.until(item.ack());
  };
  await one();
  await one();
  await w.clock.until(queue.put('b', { group: 'b' }));
  for (let i = 0; i < 4; i += 1) await one();
  t.deepEqual(order.slice(0, 2), ['a first', 'a0']);
  t.true(order.indexOf('b') <= 3, order.join());
  t.deepEqual(order.filter((body) => body !== 'b').slice(1), ['a0', 'a1', 'a2', 'a3']);
  await w.end();
});

test('Q12 items without a group take turns with those of a group, however many of either wait', async (t) => {
  const w = await world(24);
  const [queue, session] = [jobs(w), await open(w)];
  for (let i = 0; i < 4; i += 1) await w.clock.until(queue.put(`alone ${i}`));
  for (let i = 0; i < 4; i += 1) await w.clock.until(queue.put(`group ${i}`, { group: 'g' }));
  const order: string[] = [];
  for (let i = 0; i < 8; i += 1) {
    const item = await w.clock.until(queue.take(session));
    order.push(item.body);
    await w.clock.until(item.ack());
  }
  t.deepEqual(order, [0, 1, 2, 3].flatMap((i) => [`alone ${i}`, `group ${i}`]));
  await w.end();
});

test('a consumer tells once that its session is lost, however many items it was working on', async (t) => {
  const w = await world(29);
  const link = w.link();
  const losses: unknown[] = [];
  const queue = jobs<number>(w, link, {
    observe: (event) => {
      if (event.kind === 'session_lost' && event.error instanceof SessionLost) losses.push(event.error);
    },
  });
  const over = new AbortController();
  const consuming = queue.consume(() => undefined, { concurrency: 10, leaseMs: 3_000, signal: over.signal });
  await w.clock.advance(100);
  link.down();
  await w.clock.advance(10_000);
  link.up();
  await w.clock.advance(10_000);
  over.abort();
  await w.clock.until(consuming);
  t.is(losses.length, 1);
  await w.end();
});

test('a take that lands long after it was given up takes nothing', async (t) => {
  const w = await world(26);
  let next: Fate = { kind: 'normal' };
  const client = haunted(w.link(), w.clock, (request) => {
    const takes = request.success?.some(({ kind }) => kind === 'txn') === true;
    return takes ? next : { kind: 'normal' };
  });
  const [queue, plain] = [jobs(w, client), jobs(w)];
  const [ghostly, session] = [await open(w, client, 600), await open(w, w.link(), 600)];
  await w.clock.until(plain.put('x'));
  next = { kind: 'late', delayMs: 3_000 };
  await t.throwsAsync(w.clock.until(queue.take(ghostly, { timeoutMs: 20 })), { message: /deadline exceeded/ });
  await w.clock.advance(10_000);
  const item = await w.clock.until(plain.take(session), 1_000);
  t.deepEqual([item.body, item.attempt], ['x', 1]);
  await w.end();
});

test('what was taken is not handed out when the session has ended meanwhile', async (t) => {
  const w = await world(26);
  const link = w.link();
  const [queue, plain] = [jobs(w, link), jobs(w)];
  const session = await open(w, link, 3);
  await w.clock.until(plain.put('x'));
  // The answer is the first thing that runs after the stall, before any timer of the session.
  link.answerMs = (method) => (method === 'txn' ? 600 : 0);
  const taking = t.throwsAsync(queue.take(session), { instanceOf: SessionLost });
  await w.clock.advance(1_100);
  w.clock.jump(6_000);
  t.is((await w.clock.until(taking))?.reason, 'stalled');
  const other = await open(w);
  const item = await w.clock.until(plain.take(other), 10_000);
  t.deepEqual([item.body, item.attempt], ['x', 2]);
  link.answerMs = () => 0;
  const next = await open(w, link, 3);
  link.answerMs = (method) => (method === 'txn' ? 600 : 0);
  const trying = t.throwsAsync(queue.tryTake(next), { instanceOf: SessionLost }, 'nor is it said that there is nothing');
  await w.clock.advance(500);
  w.clock.jump(6_000);
  t.is((await w.clock.until(trying))?.reason, 'stalled');
  await w.end();
});

test('an acknowledgement on its way when the hold is deleted ends nothing: the item is handed out again', async (t) => {
  const w = await world(26);
  const link = w.link();
  const [queue, plain] = [jobs(w, link), jobs(w)];
  const session = await open(w, link);
  await w.clock.until(plain.put('x'));
  const item = await w.clock.until(queue.take(session));
  link.requestMs = (method) => (method === 'txn' ? 50 : 0);
  const acking = t.throwsAsync(item.ack({ also: [opPut(utf8('effect'), utf8('1'))] }), { instanceOf: FencedOut });
  await w.clock.advance(10);
  await w.clock.until(del(w.store, item.key));
  await w.clock.until(acking);
  t.is(await w.clock.until(get(w.store, utf8('effect'))), null);
  link.requestMs = () => 0;
  const again = await w.clock.until(queue.take(session), 10_000);
  t.deepEqual([again.body, again.attempt], ['x', 2]);
  t.true((await w.clock.until(again.ack())).succeeded);
  await w.end();
});

test('an acknowledgement that lands long after it was confirmed ends no later item of the same id', async (t) => {
  const w = await world(26);
  let next: Fate = { kind: 'normal' };
  const client = haunted(w.link(), w.clock, () => {
    const now = next;
    next = { kind: 'normal' };
    return now;
  });
  const [queue, plain] = [jobs(w, client), jobs(w, w.link(), { windowMs: 1_000 })];
  const session = await open(w, client, 600);
  await w.clock.until(plain.put('first', { id: 'x' }));
  const first = await w.clock.until(queue.take(session));
  next = { kind: 'late', delayMs: 60_000 };
  t.true((await w.clock.until(first.ack())).succeeded);
  await w.clock.advance(30_000);
  t.false((await w.clock.until(plain.put('second', { id: 'x' }))).duplicate);
  const second = await w.clock.until(queue.take(session));
  t.deepEqual(second.key, first.key);
  await w.clock.advance(60_000);
  t.true(second.isHeld);
  t.is((await w.clock.until(queue.stats())).held, 1);
  t.true((await w.clock.until(second.ack())).succeeded);
  await w.end();
});

test('an end whose answer was lost is known to be ours, and one by somebody else is not', async (t) => {
  const w = await world(27);
  let next: Fate = { kind: 'normal' };
  const once = (): Fate => {
    const now = next;
    next = { kind: 'normal' };
    return now;
  };
  const link = w.link();
  const client = haunted(link, w.clock, once);
  const [queue, plain] = [jobs(w, client), jobs(w)];
  const session = await open(w, client, 600);
  for (let i = 0; i < 6; i += 1) await w.clock.until(plain.put('x', { id: `i${i}`, ...(i % 2 === 0 ? { group: 'g' } : {}) }));
  for (const end of ['ack', 'ack', 'dead', 'back'] as const) {
    const item = await w.clock.until(queue.take(session));
    next = { kind: 'unanswered' };
    if (end === 'ack') {
      // What is known to be done is not put in doubt by a call that fails afterwards.
      link.refuse = (method) => method === 'range';
      t.true((await w.clock.until(item.ack({ also: [opPut(utf8(`e/${item.id}`), utf8(''))] }))).succeeded);
      link.refuse = () => false;
    }
    if (end === 'dead') await w.clock.until(item.nack({ dead: true }));
    if (end === 'back') await w.clock.until(item.release());
    t.false(item.isHeld);
  }
  const stats = await w.clock.until(queue.stats());
  t.deepEqual([stats.ended, stats.dead, stats.held], [3, 1, 0]);
  const item = await w.clock.until(queue.take(session));
  next = { kind: 'unsent' };
  const acking = t.throwsAsync(item.ack(), { message: /nothing was written/ });
  // In doubt, and before it is tried again somebody else ends the item.
  await w.clock.advance(1);
  t.is(await w.clock.until(plain.remove(item.id, { held: true })), 'removed');
  await w.clock.until(acking);
  await w.end();
});

test('who looks after the queue takes nothing out of the hands of whoever holds it by now', async (t) => {
  const w = await world(28);
  const link = w.link();
  const [slow, session] = [await open(w, link, 600), await open(w, w.link(), 600)];
  const [caring, queue] = [jobs(w, link), jobs(w)];
  t.is(await w.clock.until(caring.tryTake(slow)), null);
  await w.clock.advance(1_000);
  await w.clock.until(queue.put('x'));
  const item = await w.clock.until(queue.take(session));
  link.requestMs = () => 500;
  const hold = await w.clock.until(get(w.store, item.key));
  await w.clock.until(del(w.store, item.key));
  await w.clock.until(put(w.store, item.key, utf8(''), { lease: hold?.lease ?? 0n }));
  await w.clock.advance(5_000);
  t.is(await w.clock.until(queue.tryTake(session)), null);
  t.is((await w.clock.until(queue.stats())).held, 1);
  await w.end();
});

test('who looks after the queue and brings an item back late takes it out of nobody\'s hands', async (t) => {
  const w = await world(28);
  let isLate = true;
  const client = haunted(w.link(), w.clock, ({ success = [] }) => {
    const [first] = success;
    const bringsBack = first?.kind === 'delete' && text(first.request.key).includes('/out/item/');
    if (!bringsBack || !isLate) return { kind: 'normal' };
    isLate = false;
    return { kind: 'late', delayMs: 5_000 };
  });
  const [caring, queue] = [jobs(w, client), jobs(w)];
  const [carer, first, second] = [await open(w, client, 600), await open(w), await open(w, w.link(), 600)];
  t.is(await w.clock.until(caring.tryTake(carer)), null);
  await w.clock.advance(1_000);
  await w.clock.until(queue.put('x'));
  await w.clock.until(queue.take(first));
  await w.clock.until(first.close());
  const item = await w.clock.until(queue.take(second), 2_000);
  t.false(isLate);
  await w.clock.advance(10_000);
  t.is((await w.clock.until(queue.stats())).held, 1);
  t.true(item.isHeld);
  t.true((await w.clock.until(item.ack())).succeeded);
  await w.end();
});

test('the next of a group is removed while the first is being acknowledged: the one after it is next', async (t) => {
  const w = await world(29);
  const link = w.link();
  const [queue, plain] = [jobs(w, link), jobs(w)];
  const session = await open(w, link);
  for (const id of ['a', 'b', 'c']) await w.clock.until(plain.put(id, { id, group: 'g' }));
  const first = await w.clock.until(queue.take(session));
  t.is(first.id, 'a');
  link.requestMs = (method) => (method === 'txn' ? 20 : 0);
  const { txn } = link.sent;
  const acking = first.ack();
  // The first request has told who is next, and the second one, which lets it be the first, is on its way.
  while (link.sent.txn < txn + 2) await w.clock.advance(1);
  t.is(await w.clock.until(plain.remove('b')), 'removed');
  t.true((await w.clock.until(acking)).succeeded);
  link.requestMs = () => 0;
  const second = await w.clock.until(queue.take(session), 1_000);
  t.is(second.id, 'c');
  await w.clock.until(second.ack());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a dead item that is put back while the dead are trimmed is kept', async (t) => {
  const w = await world(30);
  const link = w.link();
  const [queue, plain] = [jobs(w, link, { deadMax: 1 }), jobs(w)];
  const session = await open(w, link);
  for (const id of ['a', 'b']) await w.clock.until(plain.put(id, { id, maxAttempts: 1 }));
  const [a, b] = [await w.clock.until(queue.take(session)), await w.clock.until(queue.take(session))];
  await w.clock.until(a.nack({ dead: true }));
  await w.clock.advance(100);
  link.requestMs = (method) => (method === 'txn' ? 20 : 0);
  await w.clock.until(b.nack({ dead: true }));
  const { txn } = link.sent;
  // It has been read that `a` is one too many, and the request that deletes it is on its way.
  while (link.sent.txn < txn + 1) await w.clock.advance(1);
  t.true(await w.clock.until(plain.putBack('a')));
  await w.clock.advance(1_000);
  link.requestMs = () => 0;
  t.is((await w.clock.until(queue.take(session), 1_000)).body, 'a');
  await w.end();
});

test('a consumer is back at once after each loss of its session, however many there were', async (t) => {
  const w = await world(31);
  const queue = jobs<number>(w);
  const over = new AbortController();
  let done = 0;
  const consuming = queue.consume(() => {
    done += 1;
  }, { leaseMs: 5_000, signal: over.signal });
  for (let round = 1; round <= 12; round += 1) {
    await w.clock.until(queue.put(round));
    const from = w.clock.now();
    while (done < round) await w.clock.advance(10);
    t.true(w.clock.now() - from < 900, `${w.clock.now() - from} ms in round ${round}`);
    await w.clock.advance(100);
    for (const { lease } of await w.clock.until(keysUnder(w.store, 'coterie/queues/jobs/care/'))) {
      await w.clock.until(w.store.revoke(lease));
    }
  }
  over.abort();
  await w.clock.until(consuming);
  await w.end();
});
