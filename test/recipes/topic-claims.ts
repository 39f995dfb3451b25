// What topics promise, as claims that are made of every place over real sockets: one member of coterie, one of etcd, and three
// whose leader is killed in the middle. Where a function's comment begins with a name, it is the claim of that name.

import { setTimeout as sleep } from 'node:timers/promises';
import { text, utf8 } from '../../core/base/bytes.js';
import { opPut } from '../../core/client.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { Gap } from '../../recipes/topic-names.js';
import type { Message } from '../../recipes/topic-names.js';
import type { Subscription } from '../../recipes/topic-read.js';
import { LiveTopic, Topic } from '../../recipes/topic.js';
import { type Claim, insist, opened, readAll, until } from './claims.js';
import { clients } from './homes.js';

export async function take(subscription: Subscription, count: number): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of subscription) if (messages.push(message) === count) break;
  return messages;
}

export function bodies(messages: readonly Message[]): string[] {
  return messages.map(({ body }) => text(body));
}

export function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
}

/** C7. */
export const beforeDuringAfter: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const topic = new Topic(near, 'news', { retain: { count: 20 } });
  const before = topic.subscribe();
  await before.ready();
  const trouble = place.trouble();
  const publishing = topic.publish('1');
  const during = topic.subscribe({ from: 'oldest' });
  const { position } = await publishing;
  await trouble;
  const after = topic.subscribe();
  await after.ready();
  await Promise.all(numbers(2, 15).map((body) => topic.publish(body, { id: `id ${body}` })));
  t.true((await topic.publish('again', { id: 'id 7' })).duplicate, place.name);
  t.deepEqual(bodies(await take(before, 15)), numbers(1, 15));
  t.deepEqual(bodies(await take(during, 15)), numbers(1, 15));
  const seen = await take(after, 14);
  t.deepEqual(bodies(seen), numbers(2, 15));
  t.deepEqual(seen.map((message) => message.position), numbers(1, 14).map((n) => position + Number(n)));
  const second = place.trouble();
  await Promise.all(numbers(16, 40).map((body) => topic.publish(body)));
  const gap = await t.throwsAsync(take(topic.subscribe({ from: { after: position } }), 1), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to], [position + 1, position + 19]);
  t.deepEqual(bodies(await take(topic.subscribe({ from: { after: gap.to } }), 20)), numbers(21, 40));
  await second;
  const live = new LiveTopic(near, 'ticks');
  const ticks = live.subscribe();
  await ticks.ready();
  // What may have been published is not repeated by the recipe; here it may be.
  for (const body of numbers(1, 5)) await insist(() => live.publish(body));
  const heard: Message[] = [];
  for await (const message of ticks) {
    heard.push(message);
    if (text(message.body) === '5') break;
  }
  t.deepEqual([...new Set(bodies(heard))], numbers(1, 5), place.name);
  t.deepEqual(heard.map((message) => message.position), heard.map((_, i) => i + 1));
};

/** Connections are cut and frozen under publishers and readers. */
export const exactlyOnce: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const topics = [new Topic(far, 'cut'), new Topic(far, 'cut'), new Topic(near, 'cut')];
  const readers = [far, near].map((client) => new Topic(client, 'cut').subscribe({ from: 'oldest', livenessMs: 2_000 }));
  const reading = readers.map((reader) => take(reader, 120));
  let [published, isOver] = [0, false];
  const trouble = place.trouble();
  const weather = (async () => {
    for (let gust = 0; !isOver; gust += 1) {
      // However slow this machine is, something gets through between two cuts.
      const before = published;
      for (const until = performance.now() + 2_000; published === before && !isOver && performance.now() < until;) await sleep(5);
      await sleep(40);
      if (gust % 5 === 4) {
        proxy.freeze();
        await sleep(100);
        proxy.thaw();
      } else {
        proxy.cut();
      }
    }
  })();
  try {
    await Promise.all(topics.map(async (topic, i) => {
      for (let n = 0; n < 40; n += 1) {
        await topic.publish(`${i}:${n}`, { timeoutMs: 120_000 });
        if (i < 2) published += 1;
        await sleep(5);
      }
    }));
  } finally {
    isOver = true;
  }
  await Promise.all([weather, trouble]);
  const [a = [], b = []] = await Promise.all(reading);
  t.deepEqual(a, b, place.name);
  t.is(new Set(bodies(a)).size, 120);
  t.is((await readAll(near, 'coterie/topics/cut/log/')).length, 120);
  for (const [i] of topics.entries()) {
    t.deepEqual(bodies(a).filter((body) => body.startsWith(`${i}:`)), Array.from({ length: 40 }, (_, n) => `${i}:${n}`));
  }
};

/** Retention by age. */
export const aged: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const topic = new Topic(near, 'aged', { retain: { ageSeconds: 5 } });
  const { position } = await topic.publish('short');
  await sleep(1_500);
  t.deepEqual(bodies(await take(topic.subscribe({ from: 'oldest' }), 1)), ['short'], place.name);
  await until(async () => (await readAll(near, 'coterie/topics/aged/log/')).length === 0, 100);
  const gap = await t.throwsAsync(take(topic.subscribe({ from: { after: position - 1 } }), 1), { instanceOf: Gap });
  t.deepEqual([gap.from, gap.to], [position, position], place.name);
};

/** A consumer whose link freezes loses its message to another. */
export const lateAck: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const [lost, other] = [await opened(far, place.ttlSeconds), await opened(near)];
  const topic = new Topic(near, 'jobs');
  const [a, b] = [await new Topic(far, 'jobs').group(lost, 'g'), await topic.group(other, 'g')];
  await Promise.all(numbers(1, 10).map((body) => topic.publish(body)));
  const first = await a.take();
  t.is(text(first.body), '1');
  proxy.freeze();
  const trouble = place.trouble();
  const done: string[] = [];
  const stop = new AbortController();
  await b.consume(async (delivery) => {
    await delivery.ack({ also: [opPut(utf8(`late-ack/${delivery.position}`), delivery.body)] });
    if (done.push(text(delivery.body)) === 10) stop.abort();
  }, { signal: stop.signal });
  t.deepEqual(done.toSorted((x, y) => Number(x) - Number(y)), numbers(1, 10), place.name);
  await trouble;
  proxy.thaw();
  await t.throwsAsync(first.ack(), { instanceOf: FencedOut });
  t.is((await readAll(near, 'late-ack/')).length, 10);
  await Promise.all([a.close(), b.close()]);
  await Promise.all([lost.close(), other.close()]);
};
