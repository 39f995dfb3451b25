// Topics on a simulated clock and a bad network. The same claims against real servers are in topic-homes.test.ts.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, prefixRange, put } from '../../core/client.js';
import { ApiError, isApiError } from '../../core/errors.js';
import { LiveTopic, Topic } from '../../recipes/topic.js';
import { Gap } from '../../recipes/topic-names.js';
import type { Message } from '../../recipes/topic-names.js';
import type { Subscription } from '../../recipes/topic-read.js';
import { creates, haunted } from './ghosts.js';
import { keysUnder, switching, world } from './world.js';
import type { World } from './world.js';

const ROOT = 'coterie/topics/';

/** The next `count` bodies. */
async function take(subscription: Subscription, count: number): Promise<string[]> {
  return (await takeMessages(subscription, count)).map(({ body }) => text(body));
}

const iterators = new WeakMap<Subscription, AsyncIterator<Message, undefined>>();

async function takeMessages(subscription: Subscription, count: number): Promise<Message[]> {
  const iterator = iterators.get(subscription) ?? subscription[Symbol.asyncIterator]();
  iterators.set(subscription, iterator);
  const messages: Message[] = [];
  while (messages.length < count) {
    const next = await iterator.next();
    if (next.done === true) break;
    messages.push(next.value);
  }
  return messages;
}

function newTopic(w: World, client: Client, options: ConstructorParameters<typeof Topic>[2] = {}): Topic {
  return new Topic(client, 'news', { clock: w.clock, ...options });
}

async function publishAll(w: World, topic: Topic, bodies: readonly string[]): Promise<number[]> {
  const positions: number[] = [];
  for (const body of bodies) positions.push((await w.clock.until(topic.publish(body))).position);
  return positions;
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
}

test('C7 who subscribes before, during and after the first publish sees all that comes after the subscription', async (t) => {
  const w = await world(1);
  const link = w.link();
  const topic = newTopic(w, link);
  const before = topic.subscribe();
  await w.clock.until(before.ready());
  link.requestMs = () => 20;
  const publishing = topic.publish('1');
  const during = topic.subscribe({ from: 'oldest' });
  const { position } = await w.clock.until(publishing);
  const after = topic.subscribe();
  const replay = topic.subscribe({ from: 'oldest' });
  await w.clock.until(after.ready());
  await publishAll(w, topic, ['2', '3']);
  t.deepEqual(await w.clock.until(take(before, 3)), ['1', '2', '3']);
  t.deepEqual(await w.clock.until(take(during, 3)), ['1', '2', '3']);
  t.deepEqual(await w.clock.until(take(replay, 3)), ['1', '2', '3']);
  const [second, third] = await w.clock.until(takeMessages(after, 2));
  t.deepEqual([second?.position, third?.position], [position + 1, position + 2]);
  t.is(second?.missed, null);
  await w.end();
});

test('all readers see all messages of all publishers in one order, and each publisher\'s in its own', async (t) => {
  const w = await world(2);
  const links = Array.from({ length: 5 }, () => w.link());
  for (const link of links) link.requestMs = () => w.prng.below(20);
  const topics = links.map((link) => newTopic(w, link));
  const readers = topics.map((topic) => topic.subscribe({ from: 'oldest' }));
  const publishing = topics.map(async (topic, i) => {
    for (let n = 0; n < 20; n += 1) await topic.publish(`${i}:${n}`);
  });
  await w.clock.until(Promise.all(publishing));
  const seen = await w.clock.until(Promise.all(readers.map((reader) => takeMessages(reader, 100))));
  const [first = []] = seen;
  for (const messages of seen) t.deepEqual(messages, first);
  t.deepEqual(first.map(({ position }) => position), first.map((_, i) => (first[0]?.position ?? 0) + i));
  for (let i = 0; i < 5; i += 1) {
    const own = first.map(({ body }) => text(body)).filter((body) => body.startsWith(`${i}:`));
    t.deepEqual(own, Array.from({ length: 20 }, (_, n) => `${i}:${n}`));
  }
  const sent = links.reduce((sum, link) => sum + link.sent.txn, 0);
  t.log(`${sent} transactions for 100 messages of 5 publishers that contend all the time`);
  await w.end();
});

test('what is published at the same time travels in one transaction', async (t) => {
  const w = await world(3);
  const link = w.link();
  const topic = newTopic(w, link);
  await w.clock.until(topic.publish('0'));
  const before = link.sent.txn;
  const published = await w.clock.until(Promise.all(numbers(1, 64).map((body) => topic.publish(body))));
  t.is(link.sent.txn - before, 2, '32 messages each');
  t.deepEqual(published.map(({ position }) => position), published.map((_, i) => (published[0]?.position ?? 0) + i));
  const reader = topic.subscribe({ from: 'oldest' });
  t.deepEqual(await w.clock.until(take(reader, 65)), numbers(0, 64));
  await w.end();
});

test('a message costs one transaction, with 1,000 subscribers as with one, and reading it none', async (t) => {
  const w = await world(4);
  const cost: number[][] = [];
  for (const count of [1, 1_000]) {
    const [publishing, reading] = [w.link(), w.link()];
    const topic = new Topic(publishing, `t${count}`, { clock: w.clock });
    await w.clock.until(topic.publish('first'));
    const readers = Array.from({ length: count }, () => new Topic(reading, `t${count}`, { clock: w.clock }).subscribe());
    const all = Promise.all(readers.map((reader) => take(reader, 20)));
    await w.clock.until(Promise.all(readers.map((reader) => reader.ready())));
    const before = [publishing.sent.txn, reading.sent.txn + reading.sent.range];
    await publishAll(w, topic, numbers(1, 20));
    for (const bodies of await w.clock.until(all)) t.deepEqual(bodies, numbers(1, 20));
    cost.push([publishing.sent.txn - (before[0] ?? 0), reading.sent.txn + reading.sent.range - (before[1] ?? 0)]);
  }
  t.deepEqual(cost, [[20, 0], [20, 0]]);
  await w.end();
});

test('retention by count keeps the newest, and a token too old gets a Gap that says what is missing', async (t) => {
  const w = await world(5);
  const topic = newTopic(w, w.link(), { retain: { count: 10 } });
  const [first = 0] = await publishAll(w, topic, numbers(1, 25));
  t.is((await w.clock.until(keysUnder(w.store, `${ROOT}news/log/`))).length, 10);
  const strict = topic.subscribe({ from: { after: first + 4 } });
  const gap = await t.throwsAsync(w.clock.until(take(strict, 1)), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to, gap.reason, gap.code], [first + 5, first + 14, 'trimmed', 'gap']);
  const resumed = topic.subscribe({ from: { after: gap.to } });
  t.deepEqual(await w.clock.until(take(resumed, 10)), numbers(16, 25));
  const lenient = topic.subscribe({ from: { after: first + 4 }, onGap: 'skip' });
  const messages = await w.clock.until(takeMessages(lenient, 10));
  t.deepEqual(messages.map(({ body }) => text(body)), numbers(16, 25));
  t.deepEqual([messages[0]?.missed?.from, messages[0]?.missed?.to, messages[1]?.missed], [gap.from, gap.to, null]);
  const oldest = topic.subscribe({ from: 'oldest' });
  t.deepEqual(await w.clock.until(take(oldest, 10)), numbers(16, 25), 'the oldest there is: nothing is missing');
  await w.end();
});

test('a reader too slow for retention and compaction gets a Gap, never silence', async (t) => {
  const w = await world(6);
  const link = w.link();
  const topic = newTopic(w, link, { retain: { count: 5 } });
  const [first = 0] = await publishAll(w, topic, ['0']);
  const slow = topic.subscribe({ from: 'oldest' });
  t.deepEqual(await w.clock.until(take(slow, 1)), ['0']);
  link.down();
  link.up();
  await publishAll(w, newTopic(w, w.link(), { retain: { count: 5 } }), numbers(1, 50));
  const { revision } = (await w.store.range({ key: utf8('x') })).header;
  await w.clock.until(w.store.compact(revision));
  const gap = await t.throwsAsync(w.clock.until(take(slow, 1)), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to], [first + 1, first + 45]);
  await w.end();
});

test('retention by age: a message lives as long as promised, at most an eighth longer, and its absence is told', async (t) => {
  const w = await world(7);
  const topic = newTopic(w, w.link(), { retain: { ageSeconds: 80 } });
  const [first = 0] = await publishAll(w, topic, ['a']);
  await w.clock.advance(9_000);
  await publishAll(w, topic, ['b']);
  await w.clock.advance(70_900);
  t.is((await keysUnder(w.store, `${ROOT}news/log/`)).length, 2);
  await w.clock.advance(12_000);
  t.is((await keysUnder(w.store, `${ROOT}news/log/`)).length, 0);
  const reader = topic.subscribe({ from: { after: first } });
  const gap = await t.throwsAsync(w.clock.until(take(reader, 1)), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to], [first + 1, first + 1]);
  const oldest = topic.subscribe({ from: 'oldest' });
  await w.clock.until(oldest.ready());
  const [next] = await publishAll(w, topic, ['c']);
  t.is(next, first + 2, 'positions go on where they were');
  t.deepEqual(await w.clock.until(take(oldest, 1)), ['c']);
  await w.end();
});

test('retention by age: whenever a message is published, it lives for the whole of its time', async (t) => {
  const w = await world(7);
  const topic = newTopic(w, w.link(), { retain: { ageSeconds: 80 } });
  const count = async (): Promise<number> => (await w.clock.until(keysUnder(w.store, `${ROOT}news/log/`))).length;
  for (let i = 0; i < 8; i += 1) {
    await publishAll(w, topic, [String(i)]);
    await w.clock.advance(9_990);
  }
  for (let left = 8; left > 0; left -= 1) {
    t.true(await count() >= left, `${left} are younger than 80 s`);
    await w.clock.advance(9_990);
  }
  await w.clock.advance(20_000);
  t.is(await count(), 0);
  await w.end();
});

test('a message given up while others are on their way is not sent any more', async (t) => {
  const w = await world(7);
  const link = w.link();
  const topic = newTopic(w, link);
  await publishAll(w, topic, ['1']);
  link.requestMs = () => 100;
  const second = topic.publish('2');
  await w.clock.advance(10);
  const abort = new AbortController();
  const third = t.throwsAsync(topic.publish('3', { signal: abort.signal }), { instanceOf: ApiError });
  const fourth = topic.publish('4');
  await w.clock.advance(10);
  abort.abort();
  t.true((await third).message.startsWith('canceled'));
  await w.clock.until(Promise.all([second, fourth]));
  const log = await w.clock.until(keysUnder(w.store, `${ROOT}news/log/`));
  t.deepEqual(log.map(({ value }) => text(value)), ['1', '2', '4']);
  await w.end();
});

test('one message missing in the middle is told', async (t) => {
  const w = await world(7);
  const topic = newTopic(w, w.link());
  const positions = await publishAll(w, topic, ['1', '2', '3']);
  const gone = (await w.clock.until(keysUnder(w.store, `${ROOT}news/log/`)))[1];
  await w.clock.until(del(w.store, gone?.key ?? utf8('')));
  const reading = topic.subscribe({ from: 'oldest', onGap: 'skip' });
  const [first, third] = await w.clock.until(takeMessages(reading, 2));
  t.deepEqual([first?.missed, third?.missed?.from, third?.missed?.to], [null, positions[1], positions[1]]);
  const strict = topic.subscribe({ from: 'oldest' });
  await w.clock.until(take(strict, 1));
  const gap = await t.throwsAsync(w.clock.until(take(strict, 1)), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to], [positions[1], positions[1]]);
  await w.end();
});

test('an id published again, by anybody, answers with the first one\'s position until the window is over', async (t) => {
  const w = await world(8);
  const [a, b] = [newTopic(w, w.link(), { windowSeconds: 60 }), newTopic(w, w.link(), { windowSeconds: 60 })];
  const first = await w.clock.until(a.publish('1', { id: 'x/1' }));
  t.deepEqual(await w.clock.until(b.publish('1 again', { id: 'x/1' })), { position: first.position, duplicate: true });
  const twice = await w.clock.until(Promise.all([a.publish('2', { id: 'y' }), a.publish('2', { id: 'y' }), a.publish('3')]));
  t.deepEqual(twice.map(({ duplicate }) => duplicate), [false, true, false]);
  const reader = a.subscribe({ from: 'oldest' });
  t.deepEqual(await w.clock.until(take(reader, 3)), ['1', '2', '3']);
  await w.clock.advance(70_000);
  const late = await w.clock.until(b.publish('1', { id: 'x/1' }));
  t.deepEqual(late, { position: first.position + 3, duplicate: false });
  await w.end();
});

test('transactions lost, answered by nobody or done long after: each message is published exactly once, in order', async (t) => {
  const w = await world(9);
  let wild = true;
  const topics = Array.from({ length: 3 }, () => newTopic(w, haunted(w.link(), w.clock, (request) => {
    const dice = wild && creates(request, ROOT) ? w.prng.below(100) : 100;
    if (dice < 15) return { kind: 'late', delayMs: w.prng.below(3_000) };
    if (dice < 30) return { kind: 'unanswered' };
    return { kind: dice < 45 ? 'unsent' : 'normal' };
  })));
  const reader = topics[0]?.subscribe({ from: 'oldest' });
  const positions = await w.clock.until(Promise.all(topics.map(async (topic, i) => {
    const own: number[] = [];
    for (let n = 0; n < 60; n += 1) {
      // Some together, some alone.
      const both = await Promise.all([topic.publish(`${i}:${n}:a`), ...(n % 3 === 0 ? [topic.publish(`${i}:${n}:b`)] : [])]);
      own.push(...both.map(({ position }) => position));
    }
    return own;
  })));
  wild = false;
  await w.clock.advance(5_000);
  if (reader === undefined) throw new Error('there is a reader');
  const messages = await w.clock.until(takeMessages(reader, 240));
  t.is((await keysUnder(w.store, `${ROOT}news/log/`)).length, 240, 'nothing twice');
  t.is(new Set(messages.map(({ body }) => text(body))).size, 240);
  positions.forEach((own, i) => {
    t.deepEqual(own, own.toSorted((a, b) => a - b));
    t.deepEqual(messages.filter(({ body }) => text(body).startsWith(`${i}:`)).map(({ position }) => position), own);
  });
  await w.end();
});

test('publishing goes on over an outage, and gives up with an unknown outcome when its time is over', async (t) => {
  const w = await world(10);
  const link = w.link();
  const topic = newTopic(w, link);
  await publishAll(w, topic, ['1']);
  link.freeze();
  const patient = topic.publish('2', { id: '2' });
  await w.clock.advance(20_000);
  link.thaw();
  t.false((await w.clock.until(patient)).duplicate);
  link.down();
  const error = await t.throwsAsync(w.clock.until(topic.publish('3', { timeoutMs: 2_000 })), { instanceOf: ApiError });
  t.is(error.code, 'deadline_exceeded');
  const abort = new AbortController();
  const aborted = t.throwsAsync(topic.publish('4', { signal: abort.signal }), { instanceOf: ApiError });
  await w.clock.advance(10);
  abort.abort();
  t.is((await aborted).code, 'canceled');
  link.up();
  await publishAll(w, topic, ['5']);
  const reader = topic.subscribe({ from: 'oldest' });
  t.deepEqual(await w.clock.until(take(reader, 3)), ['1', '2', '5']);
  await w.end();
});

test('a publisher faster than the store is refused, not buffered without end; too large a message is refused', async (t) => {
  const w = await world(11);
  const link = w.link();
  const topic = newTopic(w, link);
  link.freeze();
  const waiting = Array.from({ length: 10_000 }, () => topic.publish('x', { timeoutMs: 1_000 }));
  const all = Promise.allSettled(waiting);
  const error = await t.throwsAsync(topic.publish('x'), { instanceOf: ApiError });
  t.is(error.code, 'too_many_requests');
  t.true(error.retryable);
  await w.clock.until(all);
  link.thaw();
  const large = await t.throwsAsync(topic.publish('x'.repeat(600_000)), { instanceOf: ApiError });
  t.regex(large.message, /600000 bytes; give at most 524288/);
  t.true((await w.clock.until(topic.publish('fine'))).position > 0);
  for (const name of ['', 'a\nb', 'x'.repeat(201)]) t.throws(() => new Topic(link, name), { instanceOf: ApiError });
  await w.end();
});

test('a subscription survives cuts, freezes and refusals without a loss, and a silent watch is found out', async (t) => {
  const w = await world(12);
  const link = w.link();
  const [writer, topic] = [newTopic(w, w.link()), newTopic(w, link)];
  const reader = topic.subscribe({ from: 'oldest' });
  const reading = take(reader, 300);
  for (let n = 0; n < 300; n += 1) {
    await w.clock.until(writer.publish(String(n)));
    const dice = w.prng.below(20);
    if (dice === 0) link.freeze();
    if (dice === 1) link.down();
    if (dice === 2) link.refuse = () => w.prng.below(2) === 0;
    if (dice > 12) {
      link.thaw();
      link.up();
      link.refuse = () => false;
    }
    await w.clock.advance(w.prng.below(400));
  }
  link.thaw();
  link.up();
  link.refuse = () => false;
  t.deepEqual(await w.clock.until(reading), numbers(0, 299));
  // A watch that says nothing more, ever: what it should have brought is read within the liveness time.
  const deaf = newTopic(w, deafWatches(w.link())).subscribe({ livenessMs: 3_000 });
  await w.clock.until(deaf.ready());
  const [position = 0] = await publishAll(w, writer, ['heard']);
  const from = w.clock.now();
  const [message] = await w.clock.until(takeMessages(deaf, 1));
  t.is(message?.position, position);
  t.true(w.clock.now() - from <= 3_100, `${w.clock.now() - from} ms`);
  await w.end();
});

function deafWatches(client: Client): Client {
  const never = new Promise<never>(() => undefined);
  return {
    range: (request, options) => client.range(request, options),
    txn: (request, options) => client.txn(request, options),
    grant: (ttl, options) => client.grant(ttl, options),
    keepAlive: (lease, options) => client.keepAlive(lease, options),
    revoke: (lease, options) => client.revoke(lease, options),
    close: () => client.close(),
    watch: () => ({
      requestProgress: () => undefined,
      close: () => undefined,
      [Symbol.asyncIterator]: () => ({ next: () => never, return: async () => ({ done: true, value: undefined }) }),
    }),
  };
}

test('a deleted topic starts above all it ever had; a store that went back is told as a reset', async (t) => {
  const w = await world(13);
  const topic = newTopic(w, w.link());
  const [first = 0, second = 0] = await publishAll(w, topic, ['1', '2']);
  const reader = topic.subscribe({ from: { after: first }, onGap: 'skip' });
  t.deepEqual(await w.clock.until(take(reader, 1)), ['2']);
  await w.clock.until(del(w.store, utf8(`${ROOT}news/`), { rangeEnd: prefixRange(utf8(`${ROOT}news/`)).rangeEnd }));
  const [again = 0] = await publishAll(w, newTopic(w, w.link()), ['3']);
  t.true(again > second);
  const [message] = await w.clock.until(takeMessages(reader, 1));
  t.deepEqual([message?.position, message?.missed?.from, message?.missed?.to], [again, second + 1, again - 1]);
  const other = await world(14);
  const stores = { now: w.store as Client };
  const lost = newTopic(w, deafWatches(switching(stores))).subscribe({ from: { after: again }, livenessMs: 1_000 });
  await w.clock.until(lost.ready());
  const gap = t.throwsAsync(take(lost, 1), { instanceOf: Gap });
  await w.clock.advance(100);
  stores.now = other.store;
  await put(other.store, utf8(`${ROOT}news/head`), utf8('{"last":40,"base":38}'));
  const told = await w.clock.until(gap);
  t.is(told?.reason, 'reset');
  t.deepEqual([told?.from, told?.to], [again + 1, 40]);
  await other.end();
  await w.end();
});

test('a store that went back is told as a reset also where its positions are higher', async (t) => {
  const [w, other] = [await world(13), await world(14)];
  const [last = 0] = await publishAll(w, newTopic(w, w.link()), ['1']);
  for (let i = 0; i < 20; i += 1) await w.clock.until(put(w.store, utf8('x'), utf8(String(i))));
  const stores = { now: w.store as Client };
  const reader = newTopic(w, deafWatches(switching(stores))).subscribe({ from: { after: last }, livenessMs: 1_000 });
  await w.clock.until(reader.ready());
  const gap = t.throwsAsync(take(reader, 1), { instanceOf: Gap });
  await w.clock.advance(100);
  stores.now = other.store;
  await put(other.store, utf8(`${ROOT}news/head`), utf8(`{"last":${last + 7},"base":${last + 5}}`));
  const told = await w.clock.until(gap);
  t.deepEqual([told?.reason, told?.from, told?.to], ['reset', last + 1, last + 7]);
  await other.end();
  await w.end();
});

test('live: reading anew hands out nothing twice, and a topic begun anew is told whatever its numbers are', async (t) => {
  const w = await world(15);
  const link = w.link();
  const here = new LiveTopic(w.store, 'ticks', { clock: w.clock });
  const reader = new LiveTopic(link, 'ticks', { clock: w.clock }).subscribe({ onGap: 'skip' });
  await w.clock.until(reader.ready());
  for (const body of ['1', '2']) await w.clock.until(here.publish(body));
  t.deepEqual(await w.clock.until(take(reader, 2)), ['1', '2']);
  const next = takeMessages(reader, 1);
  for (let i = 0; i < 3; i += 1) {
    link.down();
    await w.clock.advance(500);
    link.up();
    await w.clock.advance(5_000);
  }
  await w.clock.until(here.publish('3'));
  t.deepEqual((await w.clock.until(next)).map(({ position, body }) => [position, text(body)]), [[3, '3']]);
  link.down();
  await w.clock.until(del(w.store, utf8(`${ROOT}ticks/live`)));
  for (const body of ['a', 'b', 'c', 'd', 'e']) await w.clock.until(here.publish(body));
  link.up();
  const [message] = await w.clock.until(takeMessages(reader, 1));
  t.deepEqual([message?.position, message?.missed?.reason], [5, 'reset']);
  await w.end();
});

test('live: nothing is kept but the newest, all readers see the same numbers, and what is missed is told', async (t) => {
  const w = await world(15);
  const link = w.link();
  const live = new LiveTopic(link, 'ticks', { clock: w.clock });
  const [strict, lenient] = [live.subscribe(), live.subscribe({ onGap: 'skip' })];
  await w.clock.until(Promise.all([strict.ready(), lenient.ready()]));
  const before = { ...link.sent };
  for (const body of numbers(1, 10)) await w.clock.until(live.publish(body));
  t.is(link.sent.txn - before.txn, 10, 'one request for each, and readers ask nothing');
  t.deepEqual((await w.clock.until(takeMessages(strict, 10))).map(({ position }) => position), numbers(1, 10).map(Number));
  t.deepEqual(await w.clock.until(take(lenient, 10)), numbers(1, 10));
  t.deepEqual(await w.clock.until(take(live.subscribe({ from: 'last' }), 1)), ['10']);
  link.down();
  const away = new LiveTopic(w.link(), 'ticks', { clock: w.clock });
  for (const body of numbers(11, 20)) await w.clock.until(away.publish(body));
  await w.clock.until(w.store.compact((await w.store.range({ key: utf8('x') })).header.revision));
  link.up();
  const gap = await t.throwsAsync(w.clock.until(take(strict, 1)), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to, gap.reason], [11, 19, 'compacted']);
  const [message] = await w.clock.until(takeMessages(lenient, 1));
  t.deepEqual([message?.position, message?.missed?.to], [20, 19]);
  await w.clock.until(del(w.store, utf8(`${ROOT}ticks/live`)));
  await w.clock.until(away.publish('anew'));
  const [first] = await w.clock.until(takeMessages(lenient, 1));
  t.deepEqual([first?.position, first?.missed?.reason], [1, 'reset']);
  await w.end();
});

test('a subscription ends by its signal, by close and with its client, also while it waits', async (t) => {
  const w = await world(16);
  const link = w.link();
  const topic = newTopic(w, link);
  const abort = new AbortController();
  const [byAbort, byClose] = [topic.subscribe({ signal: abort.signal }), topic.subscribe()];
  const waiting = [take(byAbort, 1), take(byClose, 1)];
  await w.clock.advance(100);
  abort.abort();
  await w.clock.until(byClose.close());
  t.deepEqual(await w.clock.until(Promise.all(waiting)), [[], []]);
  link.down();
  const early = topic.subscribe();
  const error = await t.throwsAsync(w.clock.until(early.ready({ timeoutMs: 500 })), { instanceOf: ApiError });
  t.is(error.code, 'deadline_exceeded');
  await w.clock.until(early.close());
  await t.throwsAsync(w.clock.until(early.ready()), { instanceOf: ApiError });
  t.throws(() => {
    const twice = topic.subscribe();
    twice[Symbol.asyncIterator]();
    twice[Symbol.asyncIterator]();
  }, { instanceOf: ApiError });
  link.up();
  const client = w.link();
  const ended = new Topic(client, 'x', { clock: w.clock }).subscribe();
  const last = take(ended, 1);
  await w.clock.advance(10);
  await w.end();
  // The node is gone: whatever it says, the iteration does not hang once it is closed.
  await w.clock.until(ended.close());
  t.deepEqual(await w.clock.until(last), []);
  t.true(isApiError(error));
});
