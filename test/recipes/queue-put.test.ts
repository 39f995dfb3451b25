// What putting does when very much is put at once. Its claims (Q8, Q9) are in queue.test.ts.

import test from 'ava';
import { Queue } from '../../recipes/queue.js';
import { world } from './world.js';

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
