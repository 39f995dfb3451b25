// Latches on a simulated clock and in bad weather.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { latch, LatchMismatch, LatchOpen, LatchRemoved, removeLatch } from '../../recipes/latch.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

function open(w: World, client: Client, ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(client, { ttlSeconds, clock: w.clock }));
}

async function traces(w: World): Promise<readonly string[]> {
  return (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
}

test('it opens for everybody when it has been counted down, and stays open for who comes later', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const first = await w.clock.until(latch(a, 'ready', { count: 3 }));
  const second = await w.clock.until(latch(b, 'ready', { count: 3 }));
  t.is(first.remaining, 3);
  const waiting = Promise.all([first.wait(), second.wait({ timeoutMs: 10_000 })]);
  t.is(await w.clock.until(first.countDown()), 2);
  t.is(await w.clock.until(second.countDown()), 1);
  t.false(second.isOpen);
  t.false(first.signal.aborted);
  await t.throwsAsync(w.clock.until(second.wait({ timeoutMs: 100 })), { instanceOf: ApiError });
  t.is(await w.clock.until(second.countDown({ by: 5 })), 0);
  await w.clock.until(waiting);
  t.true(first.signal.reason instanceof LatchOpen);
  t.is(await w.clock.until(first.countDown()), 0, 'an open latch stays open');
  const late = await w.clock.until(latch(b, 'ready'));
  t.true(late.isOpen);
  await w.clock.until(late.wait());
  await w.clock.until(Promise.all([first.close(), second.close(), late.close(), a.close(), b.close()]));
  t.deepEqual(await traces(w), ['coterie/latches/ready']);
  await w.end();
});

test('who gives no count waits for the latch to be created', async (t) => {
  const w = await world(1);
  const session = await open(w, w.link());
  const waiting = await w.clock.until(latch(session, 'later'));
  t.is(waiting.remaining, null);
  await t.throwsAsync(w.clock.until(waiting.countDown()), { instanceOf: LatchRemoved });
  const opened = waiting.wait();
  await w.clock.advance(1_000);
  const creator = await w.clock.until(latch(session, 'later', { count: 1 }));
  await w.clock.until(creator.countDown());
  await w.clock.until(opened);
  t.true(waiting.isOpen);
  await w.end();
});

test('callers that disagree about the count are refused, and so are counts that are none', async (t) => {
  const w = await world(1);
  const session = await open(w, w.link());
  await w.clock.until(latch(session, 'x', { count: 3 }));
  const error = await t.throwsAsync(w.clock.until(latch(session, 'x', { count: 4 })), { instanceOf: LatchMismatch });
  t.deepEqual([error.code, error.count, error.present], ['latch_mismatch', 4, 3]);
  await t.throwsAsync(latch(session, 'y', { count: 1.5 }), { message: /1\.5/ });
  await w.clock.until(put(w.store, utf8('coterie/latches/z'), utf8('open sesame')));
  await t.throwsAsync(w.clock.until(latch(session, 'z', { count: 1 })), { message: /something else/ });
  await w.end();
});

test('who counts under an id counts once, also as another session after its crash', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const first = await w.clock.until(latch(a, 'jobs', { count: 3 }));
  t.is(await w.clock.until(first.countDown({ id: 'worker-1' })), 2);
  await w.clock.until(first.close());
  await w.clock.until(a.close());
  const second = await w.clock.until(latch(b, 'jobs', { count: 3 }));
  t.is(await w.clock.until(second.countDown({ id: 'worker-1' })), 2);
  t.is(await w.clock.until(second.countDown({ id: 'worker-2' })), 1);
  t.is((await traces(w)).filter((key) => key.startsWith('coterie/latched/')).length, 2);
  t.is(await w.clock.until(second.countDown({ id: 'worker-3' })), 0);
  t.deepEqual(await traces(w), ['coterie/latches/jobs', `coterie/receipts/${b.lease.toString(16)}`], 'open, it needs no ids');
  await w.end();
});

test('a latch that is removed, or removed and created anew, tells who waits; closing it ends the waits', async (t) => {
  const w = await world(1);
  const link = w.link();
  const [a, b] = [await open(w, w.link()), await open(w, link)];
  for (const [again, isCut] of [[false, false], [true, false], [true, true]]) {
    await w.clock.until(latch(a, 'x', { count: 2 }));
    const it = await w.clock.until(latch(b, 'x'));
    const waiting = t.throwsAsync(it.wait(), { instanceOf: LatchRemoved });
    if (isCut === true) link.down();
    else link.freeze();
    t.true(await w.clock.until(removeLatch(w.store, 'x')));
    if (again === true) await w.clock.until(latch(a, 'x', { count: 2 }));
    link.up();
    link.thaw();
    await w.clock.until(waiting);
    t.false(it.isOpen);
    await w.clock.until(removeLatch(w.store, 'x'));
  }
  t.false(await w.clock.until(removeLatch(w.store, 'x')));
  const it = await w.clock.until(latch(a, 'y', { count: 2 }));
  const waiting = t.throwsAsync(it.wait(), { message: /closed/ });
  await w.clock.until(it.close());
  await waiting;
  await w.end();
});

test('a latch that opened and was removed before its waiter could look has opened for it', async (t) => {
  for (const how of ['slow', 'cut off', 'too late'] as const) {
    const w = await world(1);
    const link = w.link();
    const [a, b] = [await open(w, w.link()), await open(w, link)];
    const first = await w.clock.until(latch(a, 'x', { count: 1 }));
    const second = await w.clock.until(latch(b, 'x'));
    const waiting = second.wait().then(() => 'open', (error: unknown) => (error instanceof LatchRemoved ? 'removed' : 'failed'));
    if (how !== 'slow') link.down();
    t.is(await w.clock.until(first.countDown()), 0);
    t.true(await w.clock.until(removeLatch(w.store, 'x')));
    const { header } = await w.clock.until(put(w.store, utf8('y'), utf8('')));
    if (how === 'too late') await w.clock.until(w.store.compact(header.revision));
    link.up();
    // What the store has forgotten nobody can tell.
    const expected = how === 'too late' ? 'removed' : 'open';
    t.is(await w.clock.until(waiting), expected, how);
    t.is(second.isOpen, expected === 'open');
    await w.end();
  }
});

for (const seed of [1, 2]) {
  test(`in bad weather everybody counts once, and it opens exactly when all have, seed ${seed}`, async (t) => {
    const w = await world(seed);
    const weather = new Weather(w);
    const [workers, rounds] = [4, 25];
    const counted = Array.from({ length: rounds }, () => 0);
    let early = 0;
    const worker = async (client: Client, number: number): Promise<void> => {
      for (let round = 0; round < rounds; ) {
        try {
          await using session = await Session.open(client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
          for (; round < rounds && session.live; round += 1) {
            await using it = await latch(session, `round-${round}`, { count: workers, timeoutMs: 5_000 });
            // Before the call: it may be done without our knowing.
            counted[round] = (counted[round] ?? 0) | (1 << number);
            await it.countDown({ id: `${number}`, timeoutMs: 5_000 });
            await it.wait({ timeoutMs: 20_000 });
            if (counted[round] !== (1 << workers) - 1) early += 1;
          }
        } catch (error) {
          if (!(error instanceof ApiError || error instanceof SessionLost)) throw error;
          await weather.sleep(50);
        }
      }
    };
    const work = Promise.all(Array.from({ length: workers }, (_, number) => worker(weather.client(), number)));
    await weather.blow(12_000);
    await w.clock.until(work, 120_000);
    t.is(early, 0);
    await w.clock.advance(10_000);
    t.deepEqual((await traces(w)).filter((key) => !key.startsWith('coterie/latches/')), []);
    await w.end();
  });
}
