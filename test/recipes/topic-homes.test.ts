// Topics and groups over real sockets, against coterie and against etcd, each in a process of its own.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { opPut, prefixRange } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { Session } from '../../recipes/session.js';
import { Gap } from '../../recipes/topic-names.js';
import type { Message } from '../../recipes/topic-names.js';
import type { Subscription } from '../../recipes/topic-read.js';
import { LiveTopic, Topic } from '../../recipes/topic.js';
import type { Home } from './homes.js';
import { clients, homes } from './homes.js';

async function everyHome(t: ExecutionContext, claim: (home: Home) => Promise<void>): Promise<void> {
  for (const home of await homes(t)) await claim(home);
}

async function take(subscription: Subscription, count: number): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of subscription) if (messages.push(message) === count) break;
  return messages;
}

function bodies(messages: readonly Message[]): string[] {
  return messages.map(({ body }) => text(body));
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
}

test('C7 over sockets: before, during and after the first publish; ids once; a token too old; live by numbers', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const topic = new Topic(near, 'news', { retain: { count: 20 } });
    const before = topic.subscribe();
    await before.ready();
    const publishing = topic.publish('1');
    const during = topic.subscribe({ from: 'oldest' });
    const { position } = await publishing;
    const after = topic.subscribe();
    await after.ready();
    await Promise.all(numbers(2, 15).map((body) => topic.publish(body, { id: `id ${body}` })));
    t.true((await topic.publish('again', { id: 'id 7' })).duplicate, home.name);
    t.deepEqual(bodies(await take(before, 15)), numbers(1, 15));
    t.deepEqual(bodies(await take(during, 15)), numbers(1, 15));
    const seen = await take(after, 14);
    t.deepEqual(bodies(seen), numbers(2, 15));
    t.deepEqual(seen.map((message) => message.position), numbers(1, 14).map((n) => position + Number(n)));
    await Promise.all(numbers(16, 40).map((body) => topic.publish(body)));
    const gap = await t.throwsAsync(take(topic.subscribe({ from: { after: position } }), 1), { instanceOf: Gap });
    t.deepEqual([gap.from, gap.to], [position + 1, position + 19]);
    t.deepEqual(bodies(await take(topic.subscribe({ from: { after: gap.to } }), 20)), numbers(21, 40));
    const live = new LiveTopic(near, 'ticks');
    const ticks = live.subscribe();
    await ticks.ready();
    for (const body of numbers(1, 5)) await live.publish(body);
    t.deepEqual((await take(ticks, 5)).map((message) => message.position), [1, 2, 3, 4, 5]);
  });
});

test('over sockets: connections cut and frozen under publishers and readers; everything once, in one order', async (t) => {
  t.timeout(60_000);
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const topics = [new Topic(far, 'cut'), new Topic(far, 'cut'), new Topic(near, 'cut')];
    const readers = [far, near].map((client) => new Topic(client, 'cut').subscribe({ from: 'oldest', livenessMs: 2_000 }));
    const reading = readers.map((reader) => take(reader, 120));
    let over = false;
    const weather = (async () => {
      for (let gust = 0; !over; gust += 1) {
        await sleep(60);
        if (gust % 5 === 4) {
          proxy.freeze();
          await sleep(100);
          proxy.thaw();
        } else {
          proxy.cut();
        }
      }
    })();
    await Promise.all(topics.map(async (topic, i) => {
      for (let n = 0; n < 40; n += 1) {
        await topic.publish(`${i}:${n}`);
        await sleep(5);
      }
    }));
    over = true;
    await weather;
    const [a = [], b = []] = await Promise.all(reading);
    t.deepEqual(a, b, home.name);
    t.is(new Set(bodies(a)).size, 120);
    t.is((await near.range({ ...prefixRange(utf8('coterie/topics/cut/log/')), countOnly: true })).count, 120);
    for (const [i] of topics.entries()) {
      t.deepEqual(bodies(a).filter((body) => body.startsWith(`${i}:`)), Array.from({ length: 40 }, (_, n) => `${i}:${n}`));
    }
  });
});

test('over sockets: retention by age hangs on leases, and the gap is told', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const topic = new Topic(near, 'aged', { retain: { ageSeconds: 2 } });
    const { position } = await topic.publish('short');
    await sleep(1_500);
    t.deepEqual(bodies(await take(topic.subscribe({ from: 'oldest' }), 1)), ['short'], home.name);
    await sleep(5_000);
    const gap = await t.throwsAsync(take(topic.subscribe({ from: { after: position - 1 } }), 1), { instanceOf: Gap });
    t.deepEqual([gap.from, gap.to], [position, position], home.name);
  });
});

test('over sockets: a consumer whose link freezes loses its message to another, and its late ack is refused', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const [lost, other] = [await Session.open(far, { ttlSeconds: 2 }), await Session.open(near, { ttlSeconds: 30 })];
    const topic = new Topic(near, 'jobs');
    const [a, b] = [await new Topic(far, 'jobs').group(lost, 'g'), await topic.group(other, 'g')];
    await Promise.all(numbers(1, 10).map((body) => topic.publish(body)));
    const first = await a.take();
    t.is(text(first.body), '1');
    proxy.freeze();
    const done: string[] = [];
    const stop = new AbortController();
    await b.consume(async (delivery) => {
      await delivery.ack([opPut(utf8(`effect/${delivery.position}`), delivery.body)]);
      if (done.push(text(delivery.body)) === 10) stop.abort();
    }, { signal: stop.signal });
    t.deepEqual(done.toSorted((x, y) => Number(x) - Number(y)), numbers(1, 10), home.name);
    proxy.thaw();
    await t.throwsAsync(first.ack(), { instanceOf: FencedOut });
    t.is((await near.range({ ...prefixRange(utf8('effect/')), countOnly: true })).count, 10);
    await Promise.all([a.close(), b.close()]);
    await Promise.all([lost.close(), other.close()]);
  });
});

// Serial: a thousand readers in this process slow down what others measure.
test.serial('over sockets: 1,000 subscribers, and a message still costs its publisher one transaction', async (t) => {
  t.timeout(60_000);
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const reading = connect(`http://127.0.0.1:${home.port}`);
    t.teardown(() => reading.close());
    const readers = Array.from({ length: 1_000 }, () => new Topic(reading, 'wide').subscribe());
    await Promise.all(readers.map((reader) => reader.ready()));
    const all = Promise.all(readers.map((reader) => take(reader, 20)));
    const topic = new Topic(near, 'wide');
    const times: number[] = [];
    for (const body of numbers(1, 20)) {
      const from = performance.now();
      await topic.publish(body);
      times.push(performance.now() - from);
    }
    const from = performance.now();
    for (const messages of await all) t.deepEqual(bodies(messages), numbers(1, 20));
    const median = times.toSorted((x, y) => x - y)[10] ?? 0;
    const lag = Math.round(performance.now() - from);
    t.log(`${home.name}: publish p50 ${median.toFixed(1)} ms; all 1,000 had all ${lag} ms later`);
  });
});
