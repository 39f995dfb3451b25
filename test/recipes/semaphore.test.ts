// Semaphores on a simulated clock and a bad network. What they have in common with everything held is in held.test.ts.

import test from 'ava';
import { text } from '../../core/base/bytes.js';
import { ApiError, isApiError } from '../../core/errors.js';
import type { HeldPermits } from '../../recipes/semaphore.js';
import { acquirePermits, resizeSemaphore, SemaphoreLimitDiffers, semaphoreState, tryPermits } from '../../recipes/semaphore.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { LineEvent } from '../../recipes/line.js';
import type { Link } from './link.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

function open(w: World, link = w.link(), ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds, clock: w.clock, name: 's' }));
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(Math.max(1, ms), resolve);
  });
}

test('as many hold as fit, the next waits, and gets what is given back', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const all = await w.clock.until(Promise.all([1, 2, 3].map(() => acquirePermits(session, 'x', { limit: 3 }))));
  t.deepEqual(all.map(({ isHeld, permits }) => [isHeld, permits]), [[true, 1], [true, 1], [true, 1]]);
  t.is(await w.clock.until(tryPermits(session, 'x', { limit: 3 })), null);
  const waiting = acquirePermits(await open(w), 'x', { limit: 3 });
  await w.clock.advance(1_000);
  const state = await w.clock.until(semaphoreState(w.store, 'x'));
  t.like(state, { limit: 3, available: 0, waiting: 1 });
  t.deepEqual(state.holders.map(({ permits, info }) => [permits, info]), all.map(() => [1, { name: 's' }]));
  await w.clock.until(all[1]?.release() ?? Promise.resolve());
  const next = await w.clock.until(waiting);
  t.true(next.fence > (all[2]?.fence ?? 0));
  await w.clock.until(Promise.all([...all, next].map((each) => each.release())));
  t.like(await w.clock.until(semaphoreState(w.store, 'x')), { limit: 3, available: 3, waiting: 0, holders: [] });
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key)), [
    'coterie/semaphores/x/limit/3',
  ]);
  await w.end();
});

test('who has its permits and is about to leave the gate does not count as waiting', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await open(w, link);
  link.requestMs = () => 50;
  // The first caller of all goes through the gate: nobody has said how many there are.
  const held = await w.clock.until(acquirePermits(session, 'x', { limit: 2 }));
  t.is((await keysUnder(w.store, 'coterie/semaphores/x/gate/')).length, 1, 'still there, or this shows nothing');
  t.like(await semaphoreState(w.store, 'x'), { available: 1, waiting: 0 });
  await w.clock.until(held.release());
  await w.clock.until(session.close());
  await w.end();
});

test('L13 a wait that nothing bounds is told of once, though it is one at the gate and one behind it', async (t) => {
  const w = await world(13);
  const session = await open(w);
  const all = await w.clock.until(Promise.all([1, 2].map(() => acquirePermits(session, 'x', { limit: 2 }))));
  const first = acquirePermits(await open(w), 'x', { limit: 2, permits: 2 });
  await w.clock.advance(1_000);
  const events: LineEvent[] = [];
  const observe = (event: LineEvent): unknown => event.kind === 'still_waiting' && events.push(event);
  const waiting = acquirePermits(await open(w), 'x', { limit: 2, tellAfterMs: 1_000, observe });
  const bounded = t.throwsAsync(acquirePermits(session, 'x', { limit: 2, tellAfterMs: 1_000, timeoutMs: 3_000, observe }));
  await w.clock.advance(4_000);
  t.deepEqual(events, [{ kind: 'still_waiting', waitedMs: 1_000 }], 'at the gate');
  await bounded;
  for (const held of all) await w.clock.until(held.release());
  const both = await w.clock.until(first);
  await w.clock.advance(4_000);
  t.is(events.length, 1, 'behind it');
  await w.clock.until(both.release());
  await w.clock.until((await w.clock.until(waiting)).release());
  await w.end();
});

test('who gives up leaves the gate to the next, first in it or behind', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const held = await w.clock.until(acquirePermits(session, 'x', { limit: 1 }));
  for (const timeoutMs of [1_000, 500]) {
    const late = t.throwsAsync(acquirePermits(session, 'x', { limit: 1, timeoutMs }), { instanceOf: ApiError });
    const later = t.throwsAsync(acquirePermits(session, 'x', { limit: 1, timeoutMs: 700 }), { instanceOf: ApiError });
    await w.clock.until(Promise.all([late, later]));
    t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/semaphores/x/gate/'))).length, 0);
    t.is((await w.clock.until(semaphoreState(w.store, 'x'))).holders.length, 1);
  }
  const next = acquirePermits(session, 'x', { limit: 1 });
  await w.clock.advance(100);
  await w.clock.until(held.release());
  await w.clock.until((await w.clock.until(next)).release());
  await w.end();
});

test('weights: a large demand is not passed by small ones that come later', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const first = await w.clock.until(acquirePermits(session, 'x', { limit: 10, permits: 6 }));
  const order: string[] = [];
  const large = acquirePermits(session, 'x', { limit: 10, permits: 8 }).then((held) => (order.push('large'), held));
  await w.clock.advance(10);
  const small = acquirePermits(session, 'x', { limit: 10, permits: 2 }).then((held) => (order.push('small'), held));
  await w.clock.advance(1_000);
  t.is(await w.clock.until(tryPermits(session, 'x', { limit: 10 })), null);
  t.deepEqual(order, []);
  await w.clock.until(first.release());
  await w.clock.until(Promise.all([large, small]));
  t.deepEqual(order, ['large', 'small']);
  t.is((await w.clock.until(semaphoreState(w.store, 'x'))).available, 0);
  await w.end();
});

test('callers who disagree on the limit are refused, as is what can never be', async (t) => {
  const w = await world(2);
  const session = await open(w);
  const held = await w.clock.until(acquirePermits(session, 'x', { limit: 3 }));
  for (const call of [acquirePermits, tryPermits]) {
    const error = await t.throwsAsync(w.clock.until(call(session, 'x', { limit: 4 })), { instanceOf: SemaphoreLimitDiffers });
    t.is(error.code, 'semaphore_limit_differs');
    t.deepEqual([error.expected, error.stored], [4, 3]);
  }
  await w.clock.until(held.release());
  await t.throwsAsync(w.clock.until(acquirePermits(session, 'x', { limit: 4 })), { instanceOf: SemaphoreLimitDiffers });
  for (const [options, says] of [
    [{ limit: 0 }, /limit is 0/], [{ limit: 2.5 }, /limit is 2.5/], [{ limit: 10_001 }, /limit is 10001/],
    [{ limit: 3, permits: 4 }, /permits is 4/], [{ limit: 3, permits: 0 }, /permits is 0/],
  ] as const) {
    const error = await t.throwsAsync(w.clock.until(acquirePermits(session, 'x', options)), { instanceOf: ApiError });
    t.true(isApiError(error, 'invalid_request'));
    t.regex(error.message, says);
  }
  const [one, two] = await w.clock.until(Promise.allSettled([5, 6].map((limit) => acquirePermits(session, 'y', { limit }))));
  t.is([one, two].filter((each) => each?.status === 'fulfilled').length, 1, 'who came first is right');
  await w.end();
});

test('the limit can be changed: more wakes who waits, less takes nothing away, and the old number is refused', async (t) => {
  const w = await world(3);
  const session = await open(w);
  const held: HeldPermits[] = [];
  for (let i = 0; i < 2; i += 1) held.push(await w.clock.until(acquirePermits(session, 'x', { limit: 2 })));
  const waiting = acquirePermits(session, 'x', { limit: 2 });
  await w.clock.advance(100);
  await t.throwsAsync(w.clock.until(resizeSemaphore(w.store, 'x', { from: 5, to: 6 })), { instanceOf: SemaphoreLimitDiffers });
  await w.clock.until(resizeSemaphore(w.store, 'x', { from: 2, to: 3 }));
  held.push(await w.clock.until(waiting));
  await w.clock.until(resizeSemaphore(w.store, 'x', { from: 2, to: 3 }));
  await t.throwsAsync(w.clock.until(acquirePermits(session, 'x', { limit: 2 })), { instanceOf: SemaphoreLimitDiffers });
  await w.clock.until(resizeSemaphore(w.store, 'x', { from: 3, to: 1 }));
  t.true(held.every(({ isHeld }) => isHeld));
  const late = acquirePermits(session, 'x', { limit: 1 });
  for (const [i, each] of held.entries()) {
    await w.clock.advance(100);
    const { waiting: waits, holders, available, limit } = await w.clock.until(semaphoreState(w.store, 'x'));
    t.deepEqual([waits, limit, available], [1, 1, 0]);
    const fences = held.slice(i).map(({ fence }) => fence);
    t.deepEqual(holders.map(({ since }) => since), fences, 'who holds is told, beyond the limit too');
    await w.clock.until(each.release());
  }
  const last = await w.clock.until(late);
  const wide = t.throwsAsync(acquirePermits(session, 'y', { limit: 5, permits: 1 }).then(async (one) => {
    const two = acquirePermits(session, 'y', { limit: 5, permits: 5 });
    await sleep(w, 100);
    await resizeSemaphore(w.store, 'y', { from: 5, to: 4 });
    await one.release();
    return two;
  }), { instanceOf: SemaphoreLimitDiffers });
  await w.clock.until(wide);
  await w.clock.until(last.release());
  await w.end();
});

/** All transactions but the first take so much longer to get to the store: what the first has seen is old by then. */
async function slowToAct(w: World, ms: number): Promise<{ readonly link: Link; readonly session: Session }> {
  const link = w.link();
  const session = await open(w, link, 60);
  let calls = 0;
  link.requestMs = (method) => {
    if (method === 'txn') calls += 1;
    return method === 'txn' && calls > 1 ? ms : 0;
  };
  return { link, session };
}

test('a free permit is a look and a write, and one that is not there is a look', async (t) => {
  const w = await world(4);
  const link = w.link();
  const session = await open(w, link);
  await w.clock.until(acquirePermits(session, 'x', { limit: 3 }));
  await w.clock.advance(100);
  for (const take of [acquirePermits, tryPermits]) {
    const before = link.sent.txn;
    const held = await w.clock.until(take(session, 'x', { limit: 3, permits: 2 }));
    t.is(link.sent.txn - before, 2);
    t.is(await w.clock.until(tryPermits(session, 'x', { limit: 3 })), null);
    t.is(link.sent.txn - before, 3);
    await w.clock.until(held?.release() ?? Promise.reject(new Error('not held')));
    t.is(link.sent.txn - before, 4);
  }
  await w.end();
});

test('permits that somebody takes after they were seen free are waited for, or missed, and nothing flickers', async (t) => {
  const w = await world(5);
  const near = await open(w, w.link(), 60);
  await w.clock.until(acquirePermits(near, 'x', { limit: 1 }).then((held) => held.release()));
  const [waits, tries] = [await slowToAct(w, 50), await slowToAct(w, 100)];
  const waiting = acquirePermits(waits.session, 'x', { limit: 1 });
  const trying = tryPermits(tries.session, 'x', { limit: 1 });
  await w.clock.advance(10);
  const held = await w.clock.until(acquirePermits(near, 'x', { limit: 1 }));
  t.is(await w.clock.until(trying), null);
  t.like(await w.clock.until(semaphoreState(w.store, 'x')), { available: 0, waiting: 1 });
  // The look, the creation that is refused, the gate, the permits.
  t.is(waits.link.sent.txn, 4);
  await w.clock.until(held.release());
  t.true((await w.clock.until(waiting)).isHeld);
  await w.clock.advance(1_000);
  t.like(await w.clock.until(semaphoreState(w.store, 'x')), { available: 0, waiting: 0 });
  await w.end();
});

test('a try that saw permits and misses them behind the gate leaves nothing in it', async (t) => {
  const w = await world(6);
  const near = await open(w, w.link(), 60);
  await w.clock.until(acquirePermits(near, 'x', { limit: 1 }).then((held) => held.release()));
  const { session } = await slowToAct(w, 50);
  const trying = tryPermits(session, 'x', { limit: 1 });
  await w.clock.advance(10);
  await w.clock.until(acquirePermits(near, 'x', { limit: 1 }));
  t.is(await w.clock.until(trying), null);
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/semaphores/x/gate/')), []);
  await w.end();
});

test('permits that were seen free are not taken from somebody who has come to wait since', async (t) => {
  const w = await world(7);
  const near = await open(w, w.link(), 60);
  const first = await w.clock.until(acquirePermits(near, 'x', { limit: 3, permits: 2 }));
  await w.clock.advance(100);
  const order: string[] = [];
  const [small, large] = [await slowToAct(w, 100), await slowToAct(w, 80)];
  const smaller = acquirePermits(small.session, 'x', { limit: 3 }).then((held) => (order.push('small'), held));
  const larger = acquirePermits(large.session, 'x', { limit: 3, permits: 2 }).then((held) => (order.push('large'), held));
  // It stands at the gate, and has not asked for its permits yet.
  await w.clock.advance(300);
  t.deepEqual(order, []);
  await w.clock.until(first.release());
  await w.clock.until(Promise.all([smaller, larger]));
  t.deepEqual(order, ['large', 'small']);
  await w.end();
});

test('permits that were seen free are not taken under another limit', async (t) => {
  const w = await world(8);
  const near = await open(w, w.link(), 60);
  await w.clock.until(acquirePermits(near, 'x', { limit: 3 }).then((held) => held.release()));
  const { session } = await slowToAct(w, 50);
  const late = t.throwsAsync(acquirePermits(session, 'x', { limit: 3 }), { instanceOf: SemaphoreLimitDiffers });
  await w.clock.advance(10);
  await w.clock.until(resizeSemaphore(w.store, 'x', { from: 3, to: 2 }));
  t.is((await w.clock.until(late))?.stored, 2);
  await w.end();
});

test('L11 a permit given back costs the same with 10 waiters and with 300', async (t) => {
  const costs: number[] = [];
  for (const waiters of [10, 300]) {
    const w = await world(11);
    const link = w.link();
    const session = await open(w, link, 600);
    const held = await w.clock.until(Promise.all([1, 2, 3].map(() => acquirePermits(session, 'x', { limit: 3 }))));
    const order: HeldPermits[] = [...held];
    for (let i = 0; i < waiters; i += 1) {
      acquirePermits(session, 'x', { limit: 3 }).then((one) => order.push(one)).catch(() => undefined);
    }
    await w.clock.advance(1_000);
    t.is(order.length, 3);
    const before = { ...link.sent };
    for (let i = 0; i < 10; i += 1) {
      await w.clock.until(order[i]?.release() ?? Promise.reject(new Error('nobody')));
      await w.clock.advance(10);
      t.is(order.length, 4 + i);
    }
    costs.push((link.sent.txn + link.sent.range + link.sent.watch - before.txn - before.range - before.watch) / 10);
    await w.clock.until(session.close());
    await w.end();
  }
  t.log(costs);
  // Whether a look at the gate takes long enough to be watched for, is chance.
  for (const cost of costs) t.true(cost <= 8, `${cost} operations`);
});

/** One client's churn: takes permits, keeps them a while, is cut off, comes back. */
async function churn(w: World, link: Link, storm: { over: boolean; held: Set<HeldPermits>; taken: number }): Promise<void> {
  while (!storm.over) {
    try {
      await using session = await Session.open(link, { ttlSeconds: 3, clock: w.clock, timeoutMs: 2_000 });
      const task = async (): Promise<void> => {
        while (!storm.over && session.live) {
          const permits = 1 + w.prng.below(3);
          const options = { limit: 5, permits, timeoutMs: 4_000 };
          const take = w.prng.below(4) === 0 ? tryPermits : acquirePermits;
          const held = await take(session, 'x', options);
          if (held !== null) {
            storm.held.add(held);
            storm.taken += 1;
            await sleep(w, w.prng.below(200));
            await held.release().finally(() => storm.held.delete(held));
          }
          await sleep(w, w.prng.below(30));
        }
      };
      await Promise.all([task(), task()]);
    } catch (error) {
      if (!isApiError(error) && !(error instanceof SessionLost)) throw error;
      await sleep(w, 20);
    }
  }
}

for (const seed of [1, 2, 3]) {
  test(`L8 churn with partitions, seed ${seed}: never more than the limit, all free again within the TTL`, async (t) => {
    const w = await world(seed);
    const storm = { over: false, held: new Set<HeldPermits>(), taken: 0 };
    const links = Array.from({ length: 5 }, () => w.link());
    for (const link of links) {
      link.requestMs = () => w.prng.below(10);
      link.answerMs = () => w.prng.below(10);
    }
    const work = links.map((link) => churn(w, link, storm));
    const check = (): void => {
      let used = 0;
      for (const one of storm.held) {
        if (one.isHeld) used += one.permits;
      }
      t.true(used <= 5, `${used} of 5 permits are held`);
    };
    for (let i = 0; i < 250; i += 1) {
      const link = links[w.prng.below(5)];
      const dice = w.prng.below(6);
      if (dice === 0) link?.down();
      if (dice === 1) link?.freeze();
      if (dice > 2) link?.up();
      if (dice > 2) link?.thaw();
      if (w.prng.below(60) === 0) w.clock.jump(w.prng.below(4_000));
      check();
      await w.clock.advance(1 + w.prng.below(200));
      check();
    }
    // All are cut off with whatever they hold, and nobody comes back.
    storm.over = true;
    for (const link of links) link.freeze();
    await w.clock.advance(3_000 + 500);
    t.like(await w.clock.until(semaphoreState(w.store, 'x')), { limit: 5, available: 5, holders: [], waiting: 0 });
    t.true(storm.taken > 10, `${storm.taken} times permits were held`);
    for (const link of links) {
      link.up();
      link.thaw();
    }
    await w.clock.until(Promise.all(work), 60_000);
    await w.clock.advance(10_000);
    t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key)), [
      'coterie/semaphores/x/limit/5',
    ]);
    await w.end();
  });
}
