// Counting exactly once and never giving an id twice, on a simulated clock and in bad weather.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { del, get, put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { IdBlock } from '../../recipes/counter.js';
import { counter, ids } from '../../recipes/counter.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { creates, haunted } from './ghosts.js';
import type { Fate } from './ghosts.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, leaseIds, world } from './world.js';

function open(w: World, client: Client, ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(client, { ttlSeconds, clock: w.clock }));
}

async function stored(w: World, name: string): Promise<string | null> {
  const kv = await w.clock.until(get(w.store, utf8(`coterie/counters/${name}`)));
  return kv === null ? null : text(kv.value);
}

async function traces(w: World): Promise<readonly string[]> {
  return (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
}

test('it counts up and down from 0, in one round trip when nobody else counts', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await open(w, link);
  const it = counter(session, 'hits');
  t.is(await w.clock.until(it.value()), 0);
  t.is(await w.clock.until(it.add(5)), 5);
  const before = link.sent.txn;
  t.is(await w.clock.until(it.add(-7)), -2);
  t.is(await w.clock.until(it.add(0)), -2);
  t.is(link.sent.txn - before, 2);
  t.is(await stored(w, 'hits'), '-2');
  await w.clock.until(session.close());
  t.deepEqual(await traces(w), ['coterie/counters/hits']);
  await w.end();
});

test('many count at once, and nothing is lost', async (t) => {
  const w = await world(2);
  const sessions = [];
  for (let i = 0; i < 8; i += 1) {
    const link = w.link();
    link.requestMs = () => 1 + w.prng.below(5);
    sessions.push(await open(w, link));
  }
  const results = await w.clock.until(Promise.all(sessions.flatMap((session) => {
    const it = counter(session, 'hits');
    return Array.from({ length: 10 }, () => it.add(1));
  })));
  const expected = Array.from({ length: 80 }, (_, i) => i + 1);
  t.deepEqual(results.toSorted((a, b) => a - b), expected, 'everybody was given another number');
  await w.end();
});

test('a lost answer is settled before it is tried again: never counted twice', async (t) => {
  const w = await world(3);
  for (const fate of ['unanswered', 'unsent', 'late'] as const) {
    let spared = 0;
    const client = haunted(w.link(), w.clock, ({ success = [] }) => {
      const counts = success.some(({ kind, request }) => kind === 'put' && text(request.key).includes('/counters/'));
      if (!counts || (spared += 1) > 2) return { kind: 'normal' };
      return fate === 'late' ? { kind: 'late', delayMs: 2_000 } : { kind: fate };
    });
    const session = await open(w, client);
    t.is(await w.clock.until(counter(session, fate).add(1)), 1);
    await w.clock.advance(5_000);
    t.is(await stored(w, fate), '1');
    await w.clock.until(session.close());
  }
  await w.end();
});

test('what is repeated under its id counts once, by another session too and after the first is gone', async (t) => {
  const w = await world(4);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  t.is(await w.clock.until(counter(a, 'orders').add(3, { id: 'order/17', keepSeconds: 60 })), 3);
  t.is(await w.clock.until(counter(a, 'orders').add(1)), 4);
  await w.clock.until(a.close());
  t.is(await w.clock.until(counter(b, 'orders').add(3, { id: 'order/17', keepSeconds: 60 })), 3, 'what it was then');
  t.is(await w.clock.until(counter(b, 'orders').add(3, { id: 'order/18', keepSeconds: 60 })), 7);
  await w.clock.advance(130_000);
  const marks = (await traces(w)).filter((key) => key.startsWith('coterie/counted/'));
  t.deepEqual(marks, [], 'ids are forgotten when their time is over');
  await w.clock.until(b.close());
  await w.end();
});

test('what is repeated under its id through the same handle counts once, and each id for as long as was asked', async (t) => {
  const w = await world(4);
  const session = await open(w, w.link(), 60);
  const it = counter(session, 'orders');
  t.is(await w.clock.until(it.add(3, { id: 'a', keepSeconds: 10 })), 3);
  t.is(await w.clock.until(it.add(3, { id: 'a', keepSeconds: 10 })), 3, 'though nobody else has counted since');
  await w.clock.advance(9_500);
  t.is(await w.clock.until(it.add(1, { id: 'b', keepSeconds: 10 })), 4);
  await w.clock.advance(9_500);
  t.is(await w.clock.until(counter(session, 'orders').add(1, { id: 'b', keepSeconds: 10 })), 4, 'it is not 10 s old');
  t.is(await w.clock.until(it.value()), 4);
  await w.end();
});

test('a lease for ids that somebody revoked is replaced', async (t) => {
  const w = await world(4);
  const session = await open(w, w.link());
  const it = counter(session, 'orders');
  await w.clock.until(it.add(1, { id: 'a' }));
  for (const id of await leaseIds(w.store)) if (id !== session.lease) await w.clock.until(w.store.revoke(id));
  t.is(await w.clock.until(it.add(1, { id: 'b' })), 2);
  t.true(session.live);
  await w.end();
});

test('an addition given up says that the outcome is unknown, and repeating it with its id settles it', async (t) => {
  const w = await world(5);
  const link = w.link();
  const session = await open(w, link);
  link.answerMs = (method) => (method === 'txn' ? 700 : 0);
  const it = counter(session, 'orders');
  for (const timeoutMs of [100, 500, 650]) {
    const given = it.add(1, { id: 'x', timeoutMs });
    const error = await t.throwsAsync(w.clock.until(given), { instanceOf: ApiError });
    t.is(error.outcome, 'unknown');
  }
  link.answerMs = () => 0;
  t.is(await w.clock.until(it.add(1, { id: 'x' })), 1);
  t.is(await stored(w, 'orders'), '1');
  await w.end();
});

test('an addition given up that lands long after is not taken for the next one of its session', async (t) => {
  const w = await world(5);
  const fates: Fate[] = [{ kind: 'late', delayMs: 1_000 }, { kind: 'unsent' }];
  const client = haunted(w.link(), w.clock, ({ success = [] }) => {
    const adds = success.length === 2 && creates({ success }, 'coterie/receipts/');
    return (adds ? fates.shift() : undefined) ?? { kind: 'normal' };
  });
  const session = await open(w, client, 60);
  const late = t.throwsAsync(counter(session, 'orders').add(100, { timeoutMs: 20 }), { instanceOf: ApiError });
  await w.clock.advance(990);
  t.is((await late).outcome, 'unknown');
  // It lands while the next one is in doubt.
  const next = await w.clock.until(counter(session, 'orders').add(1));
  t.deepEqual(fates, []);
  await w.clock.advance(5_000);
  t.is(await stored(w, 'orders'), String(next));
  t.is(next % 100, 1, 'it was counted, whatever became of the other');
  await w.end();
});

test('what is not a number, would not be exact, or may not be a name is refused with what is wrong', async (t) => {
  const w = await world(6);
  const session = await open(w, w.link());
  await w.clock.until(put(w.store, utf8('coterie/counters/foreign'), utf8('many')));
  await t.throwsAsync(w.clock.until(counter(session, 'foreign').add(1)), { message: /"many"/ });
  await w.clock.until(counter(session, 'big').add(Number.MAX_SAFE_INTEGER));
  await t.throwsAsync(w.clock.until(counter(session, 'big').add(1)), { message: /not be exact/ });
  await t.throwsAsync(counter(session, 'x').add(0.5), { message: /0\.5/ });
  t.throws(() => counter(session, ''), { message: /name is ""/ });
  t.throws(() => ids(w.store, 'a\nb'), { message: /a\\nb/ });
  await t.throwsAsync(ids(w.store, 'x').reserve(0), { message: /is 0/ });
  await w.end();
});

test('ids come in blocks, each in one round trip, and go on after a restart', async (t) => {
  const w = await world(7);
  const link = w.link();
  const first = ids(link, 'orders', { clock: w.clock });
  t.deepEqual(await w.clock.until(first.reserve(100)), { from: 1, to: 100 });
  t.deepEqual(await w.clock.until(first.reserve(1)), { from: 101, to: 101 });
  t.is(link.sent.txn, 2);
  t.deepEqual(await w.clock.until(ids(link, 'orders', { clock: w.clock }).reserve(9)), { from: 102, to: 110 });
  t.is(link.sent.txn, 4);
  await w.clock.until(del(w.store, utf8('coterie/ids/orders')));
  t.deepEqual(await w.clock.until(first.reserve(1)), { from: 1, to: 1 }, 'deleted by hand, it starts over');
  await w.end();
});

function overlaps(blocks: readonly IdBlock[]): number {
  const sorted = blocks.toSorted((a, b) => a.from - b.from);
  return sorted.filter(({ from }, i) => i > 0 && from <= (sorted[i - 1]?.to ?? 0)).length;
}

async function storm(t: ExecutionContext, seed: number): Promise<void> {
  const w = await world(seed);
  const weather = new Weather(w);
  const blocks: IdBlock[] = [];
  const [sure, all] = [new Set<string>(), new Set<string>()];
  let over = false;
  const worker = async (client: Client, number: number): Promise<void> => {
    const own = ids(client, 'x', { clock: w.clock });
    for (let serial = 0; !over; ) {
      try {
        await using session = await Session.open(client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
        const it = counter(session, 'c');
        while (!over && session.live) {
          serial += 1;
          const id = `${number}-${serial}`;
          all.add(id);
          // As long as it is not known, it is repeated: that is what the id is for.
          for (let tries = 0; tries < 20 && !sure.has(id) && session.live; tries += 1) {
            const bounds = w.prng.below(3) === 0 ? { timeoutMs: w.prng.below(300) } : { timeoutMs: 8_000 };
            await it.add(1, { id, ...bounds }).then(() => sure.add(id), quiet);
          }
          await own.reserve(1 + w.prng.below(50), { timeoutMs: 2_000 }).then((block) => blocks.push(block), quiet);
          await weather.sleep(w.prng.below(40));
        }
      } catch (error) {
        quiet(error);
        await weather.sleep(50);
      }
    }
  };
  const work = Array.from({ length: 4 }, (_, number) => worker(weather.client(), number));
  await weather.blow(12_000);
  over = true;
  await w.clock.until(Promise.all(work), 120_000);
  await w.clock.advance(10_000);
  const value = Number(await stored(w, 'c'));
  t.true(value >= sure.size && value <= all.size, `${sure.size} <= ${value} <= ${all.size}`);
  const marks = (await traces(w)).filter((key) => key.startsWith('coterie/counted/'));
  t.is(marks.length, value, 'as many were counted as left their marks: none twice');
  t.is(overlaps(blocks), 0);
  t.deepEqual((await traces(w)).filter((key) => key.startsWith('coterie/receipts/')), []);
  t.log({ counted: value, sure: sure.size, tried: all.size, blocks: blocks.length });
  t.true(sure.size > 30 && blocks.length > 30);
  await w.end();
}

function quiet(error: unknown): void {
  if (!(error instanceof ApiError || error instanceof SessionLost)) throw error;
}

for (const seed of [1, 2]) {
  test(`in bad weather unknown outcomes never count twice and no id is given twice, seed ${seed}`, (t) => storm(t, seed));
}
