// What a queue costs: transactions for each item, with few and with many items in it, for one consumer and for a hundred;
// and what it leaves at a session or a signal.
// The network takes some milliseconds, different each time, so that consumers do get into each other's way.

import test from 'ava';
import { Queue } from '../../recipes/queue.js';
import { Session } from '../../recipes/session.js';
import type { Link } from './link.js';
import type { World } from './world.js';
import { world } from './world.js';

function slow(w: World): Link {
  const link = w.link();
  link.requestMs = () => 0.5 + w.prng.below(300) / 100;
  link.answerMs = () => 0.5 + w.prng.below(300) / 100;
  return link;
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(ms, resolve);
  });
}

async function fill(w: World, items: number, producers: number): Promise<number> {
  const links = Array.from({ length: producers }, () => slow(w));
  let left = items;
  await w.clock.until(Promise.all(links.map(async (link) => {
    const queue = new Queue<number>(link, 'load', { clock: w.clock, itemsMax: 100_000 });
    for (; left > 0; await queue.put(left)) left -= 1;
  })));
  return links.reduce((sum, { sent }) => sum + sent.txn, 0) / items;
}

interface Cost {
  readonly perItem: number;
  readonly watches: number;
  readonly spread: number;
}

/** `count` items are taken and acknowledged by so many consumers, each with a session of its own. */
async function drain(w: World, count: number, consumers: number, workMs: number): Promise<Cost> {
  const links = Array.from({ length: consumers }, () => slow(w));
  const sessions = await w.clock.until(Promise.all(links.map((link) => {
    return Session.open(link, { ttlSeconds: 600, clock: w.clock });
  })));
  let left = count;
  const places: number[] = [];
  const before = links.map(({ sent }) => sent.txn + sent.range);
  await w.clock.until(Promise.all(sessions.map(async (session) => {
    const queue = new Queue<number>(session.client, 'load', { clock: w.clock });
    while (left > 0) {
      left -= 1;
      const item = await queue.take(session);
      places.push(item.body);
      await sleep(w, w.prng.below(2 * workMs + 1));
      await item.ack();
    }
  })));
  const calls = links.reduce((sum, { sent }, i) => sum + sent.txn + sent.range - (before[i] ?? 0), 0);
  const watches = links.reduce((sum, { sent }) => sum + sent.watch, 0);
  // How far an item was taken from its turn.
  const spread = Math.max(...places.map((body, i) => Math.abs((places.length - i) - (body - Math.min(...places) + 1))));
  await w.clock.until(Promise.all(sessions.map((session) => session.close())));
  return { perItem: calls / count, watches: watches / count, spread };
}

/** What an item costs that comes alone while so many wait, in calls, watches included. */
async function costAmongIdle(consumers: number): Promise<number> {
  const w = await world(99);
  const links = Array.from({ length: consumers }, () => slow(w));
  const sessions = await w.clock.until(Promise.all(links.map((link) => Session.open(link, { ttlSeconds: 600, clock: w.clock }))));
  let done = 0;
  const takers = sessions.map(async (session) => {
    const queue = new Queue<number>(session.client, 'load', { clock: w.clock });
    for (;;) {
      const item = await queue.take(session);
      await item.ack();
      done += 1;
    }
  });
  for (const taker of takers) taker.catch(() => undefined);
  await w.clock.advance(3_000);
  const calls = (): number => links.reduce((sum, { sent }) => sum + sent.txn + sent.range + sent.watch, 0);
  const before = calls();
  const queue = new Queue<number>(w.link(), 'load', { clock: w.clock });
  for (let i = 0; i < 40; i += 1) {
    await w.clock.until(queue.put(i));
    await w.clock.advance(200);
  }
  if (done !== 40) throw new Error(`${done} of 40 items ended`);
  const cost = (calls() - before) / 40;
  await w.clock.until(Promise.all(sessions.map((session) => session.close())));
  await w.end();
  return cost;
}

test.serial('Q7 of many idle consumers an item wakes few, of 200 as few as of 10', async (t) => {
  const [ten, many] = [await costAmongIdle(10), await costAmongIdle(200)];
  t.log(`calls for each item: ${ten.toFixed(2)} with 10 idle consumers, ${many.toFixed(2)} with 200`);
  t.true(ten <= 18);
  t.true(many <= ten + 2);
});

for (const consumers of [1, 10, 100]) {
  test.serial(`Q7 transactions for each item do not depend on how many there are: ${consumers} consumers`, async (t) => {
    t.timeout(120_000);
    const costs: number[] = [];
    // Four hundred times as many: what looks at each item, or keeps a line of them in one key, is past the bounds by far.
    for (const items of [10, consumers === 1 ? 1_000 : 4_000]) {
      const w = await world(100 + consumers);
      const put = await fill(w, items, 20);
      const taken = Math.min(items, 10 * Math.max(consumers, 30));
      const { perItem, watches, spread } = await drain(w, taken, consumers, 5);
      t.log(`${items} items: ${put.toFixed(2)} to put; ${perItem.toFixed(2)} to take and end, ${watches.toFixed(2)} watches, `
        + `at most ${spread} from its turn`);
      t.true(put <= 2.1, 'two to put, when others put too');
      if (items >= 10 * consumers) costs.push(perItem);
      await w.end();
    }
    for (const cost of costs) t.true(cost < 4, `${cost}`);
  });
}

test.serial('queues that come and go on one session leave nothing at it', async (t) => {
  const w = await world(41);
  const session = await w.clock.until(Session.open(w.link(), { ttlSeconds: 600, clock: w.clock }));
  const onLost = session.onLost.bind(session);
  let listeners = 0;
  session.onLost = (tell) => {
    listeners += 1;
    const forget = onLost(tell);
    return () => {
      listeners -= 1;
      forget();
    };
  };
  for (let i = 0; i < 20; i += 1) {
    const queue = new Queue<number>(w.link(), 'load', { clock: w.clock });
    await w.clock.until(queue.put(i));
    const item = await w.clock.until(queue.take(session));
    await w.clock.until(item.ack());
    queue.close();
    await w.clock.advance(1_000);
  }
  t.is(listeners, 0);
  await w.end();
});

test.serial('a hundred consumers on one session, and hundreds of puts at once, make Node warn of nothing', async (t) => {
  const w = await world(25);
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warn);
  const queue = new Queue<number>(w.store, 'load', { clock: w.clock });
  const over = new AbortController();
  let done = 0;
  const consuming = queue.consume(async () => {
    await sleep(w, 50);
    done += 1;
  }, { concurrency: 100, signal: over.signal });
  await w.clock.until(Promise.all(Array.from({ length: 300 }, (_, i) => queue.put(i, { signal: over.signal }))));
  await w.clock.advance(5_000);
  over.abort();
  await w.clock.until(consuming);
  process.off('warning', warn);
  t.is(done, 300);
  t.deepEqual(warnings, []);
  await w.end();
});
