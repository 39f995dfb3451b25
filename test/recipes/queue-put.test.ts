// What putting does when very much is put at once. Its claims (Q8, Q9) are in queue.test.ts.

import test from 'ava';
import { Queue } from '../../recipes/queue.js';
import { Session } from '../../recipes/session.js';
import type { World } from './world.js';
import { world } from './world.js';

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(Math.max(1, ms), resolve);
  });
}

test('puts of one producer that overlap cost one call each while nobody else puts', async (t) => {
  const w = await world(32);
  const link = w.link();
  link.requestMs = (method) => (method === 'txn' ? 5 : 0);
  const queue = new Queue<number>(link, 'jobs', { clock: w.clock });
  for (let i = 0; i < 100; i += 1) {
    const [before, width] = [link.sent.txn, 1 + (i % 8)];
    await w.clock.until(Promise.all(Array.from({ length: width }, () => queue.put(i))));
    t.is(link.sent.txn - before, width);
  }
  // After somebody else has put, those that are under way are refused once.
  await w.clock.until(new Queue<number>(w.store, 'jobs', { clock: w.clock }).put(-1));
  const before = link.sent.txn;
  await w.clock.until(Promise.all(Array.from({ length: 8 }, () => queue.put(0))));
  t.is(link.sent.txn - before, 16);
  queue.close();
  await w.end();
});

for (const seed of [1, 2, 3]) {
  test(`what was put before another was begun is taken before it, though puts overlap, seed ${seed}`, async (t) => {
    const w = await world(seed);
    const puts: { begun: number; ended: number }[] = [];
    let now = 0;
    const producer = async (): Promise<void> => {
      const link = w.link();
      link.requestMs = () => w.prng.below(30);
      link.answerMs = () => w.prng.below(30);
      const queue = new Queue<number>(link, 'jobs', { clock: w.clock });
      const hand = async (): Promise<void> => {
        for (let i = 0; i < 25; i += 1) {
          const number = puts.push({ begun: (now += 1), ended: Infinity }) - 1;
          await queue.put(number);
          const put = puts[number];
          if (put !== undefined) put.ended = now += 1;
          if (w.prng.below(4) === 0) await sleep(w, w.prng.below(200));
          if (w.prng.below(20) === 0) {
            link.down();
            link.up();
          }
        }
      };
      await Promise.all([hand(), hand(), hand(), hand()]);
      queue.close();
    };
    await w.clock.until(Promise.all([producer(), producer(), producer()]));
    const session = await w.clock.until(Session.open(w.store, { ttlSeconds: 60, clock: w.clock }));
    const queue = new Queue<number>(w.store, 'jobs', { clock: w.clock });
    let lastBegun = 0;
    for (let i = 0; i < puts.length; i += 1) {
      const item = await w.clock.until(queue.take(session));
      const { begun, ended } = puts[item.body] ?? { begun: 0, ended: 0 };
      t.true(ended > lastBegun, `item ${item.body} was put before another was begun that came out before it`);
      lastBegun = Math.max(lastBegun, begun);
      await w.clock.until(item.ack());
    }
    t.is((await w.clock.until(queue.stats())).size, 0);
    queue.close();
    await w.clock.until(session.close());
    await w.end();
  });
}

test('of many puts at once few are under way, and none runs out of time; who gives up lets the next go', async (t) => {
  const w = await world(31);
  const link = w.link();
  let [under, most] = [0, 0];
  // One after the other, as if each took the store 25 ms.
  let freeAt = 0;
  link.requestMs = (method) => {
    if (method !== 'txn') return 0;
    under += 1;
    most = Math.max(most, under);
    freeAt = Math.max(freeAt, w.clock.now()) + 25;
    return freeAt - w.clock.now();
  };
  link.answerMs = (method) => {
    if (method === 'txn') under -= 1;
    return 0;
  };
  const failed: string[] = [];
  const queue = new Queue<number>(link, 'jobs', { clock: w.clock, observe: (event) => void failed.push(event.kind) });
  const over = new AbortController();
  const puts = Array.from({ length: 300 }, (_, i) => queue.put(i, i % 3 === 0 ? { signal: over.signal } : {}));
  const outcomes = Promise.allSettled(puts);
  await w.clock.advance(5_000);
  t.is(most, 64);
  over.abort();
  const settled = await w.clock.until(outcomes);
  t.deepEqual(failed, [], 'nothing had to be tried again');
  t.true(settled.every(({ status }, i) => status === 'fulfilled' || i % 3 === 0));
  const { size } = await w.clock.until(queue.stats());
  t.true(size >= 200 && size < 300, `${size}`);
  await w.end();
});
