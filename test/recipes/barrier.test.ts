// Barriers on a simulated clock and a bad network: nobody passes early, nobody is told anything else than the others, and
// nobody is left waiting. The same claims against real servers are in barrier-homes.test.ts.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { del, prefixRange } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError, isApiError } from '../../core/errors.js';
import type { Passage } from '../../recipes/barrier.js';
import { arriveAt, barrierState, resetBarrier } from '../../recipes/barrier.js';
import { BarrierBroken, BarrierRefused } from '../../recipes/barrier-names.js';
import { EntryMayRemain } from '../../recipes/held.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { haunted } from './ghosts.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const ROOT = 'coterie/barriers/';

function open(w: World, client: Client, ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(client, { ttlSeconds, clock: w.clock }));
}

async function several(w: World, count: number, ttlSeconds = 10): Promise<Session[]> {
  const sessions = [];
  for (let i = 0; i < count; i += 1) sessions.push(await open(w, w.link(), ttlSeconds));
  return sessions;
}

/** Entries of barrier x, in any generation. */
async function entries(w: World, name = 'x'): Promise<number> {
  return (await w.clock.until(keysUnder(w.store, `${ROOT}${name}/in/`))).length;
}

async function keys(w: World): Promise<readonly string[]> {
  return (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key).replace(/\d{16}/, 'G'));
}

/** What became of it, in a word. */
function told(arriving: Promise<Passage>): Promise<string> {
  return arriving.then(
    ({ generation }) => `passed ${generation}`,
    (error: unknown) => {
      if (error instanceof BarrierBroken) return `broken ${error.generation} ${error.reason}`;
      if (error instanceof BarrierRefused) return `refused ${error.why}`;
      if (error instanceof SessionLost) return 'lost';
      if (isApiError(error)) return error.code;
      throw error;
    },
  );
}

test('everybody passes when the last one has arrived, each with a number of its own, again and again', async (t) => {
  const w = await world(1);
  const sessions = await several(w, 3);
  let before = 0;
  for (let round = 0; round < 5; round += 1) {
    const early = sessions.slice(0, 2).map((session) => arriveAt(session, 'x', { parties: 3 }));
    let through = 0;
    for (const each of early) void each.then(() => (through += 1));
    await w.clock.advance(2_000);
    t.is(through, 0, 'two of three do not pass');
    t.is(await entries(w), 2);
    const [last] = sessions.slice(2).map((session) => arriveAt(session, 'x', { parties: 3 }));
    const all = await w.clock.until(Promise.all([...early, ...(last === undefined ? [] : [last])]));
    t.deepEqual(all.map(({ index }) => index).toSorted((a, b) => a - b), [0, 1, 2]);
    t.is(new Set(all.map(({ generation }) => generation)).size, 1);
    t.true((all[0]?.generation ?? 0) > before, 'generations grow');
    before = all[0]?.generation ?? 0;
    await w.clock.advance(100);
    t.is(await entries(w), 0, 'who has passed leaves nothing behind');
  }
  t.deepEqual(await keys(w), [`${ROOT}x/outcome/G`, `${ROOT}x/tally/G`], 'only the newest generation stays');
  await w.end();
});

test('an arrival takes a constant number of operations, however many come', async (t) => {
  const w = await world(1);
  const perArrival: number[] = [];
  for (const parties of [5, 50]) {
    const link = w.link();
    const session = await open(w, link, 60);
    const count = (): number => link.sent.txn + link.sent.range + link.sent.watch;
    for (let round = 0; round < 2; round += 1) {
      const before = count();
      const all = Array.from({ length: parties }, () => arriveAt(session, `of-${parties}`, { parties }));
      await w.clock.until(Promise.all(all));
      await w.clock.advance(1_000);
      if (round === 1) perArrival.push((count() - before) / parties);
    }
  }
  t.log(perArrival);
  t.true(perArrival.every((operations) => operations <= 8), perArrival.join(', '));
  await w.end();
});

test('B1 one of three reconnects while it waits, in every way there is: nobody passes', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await open(w, link, 20);
  const arriving = told(arriveAt(session, 'x', { parties: 3 }));
  let result: string | null = null;
  void arriving.then((it) => (result = it));
  for (let flap = 0; flap < 10; flap += 1) {
    await w.clock.advance(1_000);
    if (flap % 2 === 0) link.down();
    else link.freeze();
    const { header } = await w.clock.until(w.store.range({ key: utf8('x') }));
    if (flap === 5) await w.clock.until(w.store.compact(header.revision));
    await w.clock.advance(2_000);
    link.up();
    link.thaw();
    t.is(result, null, `flap ${flap}`);
  }
  t.is(await entries(w), 1);
  const others = await several(w, 2);
  const rest = others.map((other) => told(arriveAt(other, 'x', { parties: 3 })));
  const all = await w.clock.until(Promise.all([arriving, ...rest]));
  t.is(new Set(all).size, 1, all.join());
  t.regex(all[0] ?? '', /^passed/);
  await w.end();
});

test('B1 who stood still while the last one came does not pass on a session that is over', async (t) => {
  const w = await world(1);
  const [short, link] = [await open(w, w.link(), 3), w.link()];
  const long = await open(w, link, 60);
  const first = told(arriveAt(short, 'x', { parties: 2 }));
  await w.clock.advance(100);
  // The decision is the first thing that is heard after the stall, before any timer of the session has run.
  link.requestMs = (method) => (method === 'txn' ? 50 : 0);
  const { txn } = link.sent;
  const second = told(arriveAt(long, 'x', { parties: 2 }));
  // It has looked and joined, and the decision is on its way.
  while (link.sent.txn < txn + 3) await w.clock.advance(1);
  w.clock.jump(2_700);
  t.is(await w.clock.until(first), 'lost');
  t.regex(await w.clock.until(second), /passed|broken/);
  await w.end();
});

test('B2 two run out of time, the third arrives: all three see it broken, for one reason, until it is reset', async (t) => {
  const w = await world(2);
  const [a, b, c] = await several(w, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error('three were opened');
  const first = arriveAt(a, 'x', { parties: 3, timeoutMs: 1_000 });
  const second = arriveAt(b, 'x', { parties: 3, timeoutMs: 1_000 });
  const cause = await t.throwsAsync(w.clock.until(first), { instanceOf: BarrierBroken });
  t.true(isApiError(cause.cause, 'deadline_exceeded'));
  const others = [await w.clock.until(told(second)), await w.clock.until(told(arriveAt(c, 'x', { parties: 3 })))];
  const broken = `broken ${cause.generation} timed_out`;
  t.deepEqual(others, [broken, broken]);
  t.is(await w.clock.until(told(arriveAt(a, 'x', { parties: 3 }))), broken, 'it stays broken');
  await w.clock.advance(1_000);
  t.is(await entries(w), 0, 'who ran out of time does not count any more');
  t.like(await w.clock.until(barrierState(w.store, 'x')), { state: 'broken', reason: 'timed_out', present: 0 });
  // Everybody resets what they saw break, at different times; once is what it comes to.
  await w.clock.until(resetBarrier(a.client, 'x', { generation: cause.generation }));
  const again = [a, b].map((session) => told(arriveAt(session, 'x', { parties: 3 })));
  await w.clock.advance(500);
  await w.clock.until(resetBarrier(c.client, 'x', { generation: cause.generation }));
  const all = await w.clock.until(Promise.all([...again, told(arriveAt(c, 'x', { parties: 3 }))]));
  const passed = `passed ${cause.generation + 1}`;
  t.deepEqual(all, [passed, passed, passed]);
  await w.end();
});

test('B2 who is aborted, lost or revoked breaks it for all, for one reason', async (t) => {
  const w = await world(2);
  for (const way of ['abort', 'freeze', 'revoke', 'close', 'delete'] as const) {
    const reason = way === 'abort' ? 'canceled' : 'lost';
    for (const place of [0, 1, 2]) {
      const name = `${way}-${place}`;
      const link = w.link();
      const victim = await open(w, link, 5);
      const others = await several(w, 2);
      const control = new AbortController();
      const all = [...others.slice(0, place), victim, ...others.slice(place)].map(async (session, i) => {
        await new Promise<void>((resolve) => {
          w.clock.schedule(1 + i * 100, resolve);
        });
        return told(arriveAt(session, name, { parties: 4, ...(session === victim ? { signal: control.signal } : {}) }));
      });
      await w.clock.advance(1_000);
      t.is(await entries(w, name), 3, name);
      const from = w.clock.now();
      if (way === 'abort') control.abort();
      if (way === 'freeze') link.freeze();
      if (way === 'revoke') await w.clock.until(w.store.revoke(victim.lease));
      if (way === 'close') await w.clock.until(victim.close());
      if (way === 'delete') {
        const there = await w.clock.until(keysUnder(w.store, `${ROOT}${name}/in/`));
        for (const { key, lease } of there) if (lease === victim.lease) await w.clock.until(del(w.store, key));
      }
      const results = await w.clock.until(Promise.all(all));
      const [own] = results.splice(place, 1);
      t.true(w.clock.now() - from <= 6_000, `${name}: told after ${w.clock.now() - from} ms`);
      t.is(new Set(results).size, 1, `${name}: ${results.join()}`);
      t.regex(results[0] ?? '', new RegExp(`^broken \\d+ ${reason}$`), name);
      t.true(own === results[0] || own === 'lost', `${name}: ${own}`);
      link.thaw();
      await w.clock.until(victim.close());
      await w.clock.advance(1_000);
      t.is(await entries(w, name), 0, name);
    }
  }
  await w.end();
});

test('B2 who is lost while nobody looks is noticed by who comes next, also when nobody else was there', async (t) => {
  const w = await world(2);
  const [a, b, c] = await several(w, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error('three were opened');
  const lost = told(arriveAt(a, 'x', { parties: 2 }));
  await w.clock.advance(100);
  await w.clock.until(a.close());
  t.is(await w.clock.until(lost), 'lost');
  const next = await w.clock.until(told(arriveAt(b, 'x', { parties: 2 })));
  t.regex(next, /^broken \d+ lost$/);
  t.is(await w.clock.until(told(arriveAt(c, 'x', { parties: 2 }))), next);
  await w.clock.until(resetBarrier(w.store, 'x'));
  const all = await w.clock.until(Promise.all([b, c].map((session) => told(arriveAt(session, 'x', { parties: 2 })))));
  t.regex(all[0] ?? '', /^passed/);
  await w.end();
});

test('B3 more than configured are refused while it is full, and so is who says another number', async (t) => {
  const w = await world(3);
  const [a, b, c] = await several(w, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error('three were opened');
  const waiting = told(arriveAt(a, 'x', { parties: 2 }));
  await w.clock.advance(100);
  const error = await t.throwsAsync(w.clock.until(arriveAt(b, 'x', { parties: 3 })), { instanceOf: BarrierRefused });
  t.deepEqual([error.code, error.why, error.parties, error.present], ['barrier_refused', 'parties', 3, 2]);
  t.is(await entries(w), 1, 'a refusal leaves nothing and harms nobody');
  // The last one to arrive decides; held up on its way to that, it leaves the generation full and undecided.
  const slow = w.link();
  const last = await open(w, slow);
  slow.refuse = (method) => method === 'txn' && slow.sent.txn >= 2;
  const decider = told(arriveAt(last, 'x', { parties: 2 }));
  await w.clock.advance(50);
  t.is(await entries(w), 2);
  t.is(await w.clock.until(told(arriveAt(c, 'x', { parties: 2 }))), 'refused full');
  slow.refuse = () => false;
  const all = await w.clock.until(Promise.all([waiting, decider]));
  t.is(new Set(all).size, 1);
  t.regex(all[0] ?? '', /^passed/);
  for (const parties of [0, 1.5, 2_000]) {
    await t.throwsAsync(arriveAt(a, 'x', { parties }), { message: new RegExp(`parties is ${parties}`) });
  }
  await w.end();
});

test('B3 tasks of one session are parties of their own', async (t) => {
  const w = await world(3);
  const session = await open(w, w.link());
  const all = await w.clock.until(Promise.all([1, 2, 3].map(() => told(arriveAt(session, 'x', { parties: 3 })))));
  t.is(new Set(all).size, 1);
  t.regex(all[0] ?? '', /^passed/);
  await w.end();
});

test('a reset tells who waits, and a deletion of all its keys does too; generations still grow', async (t) => {
  const w = await world(4);
  const [a, b] = await several(w, 2);
  if (a === undefined || b === undefined) throw new Error('two were opened');
  const first = told(arriveAt(a, 'x', { parties: 2 }));
  await w.clock.advance(100);
  await w.clock.until(resetBarrier(w.store, 'x'));
  t.regex(await w.clock.until(first), /^broken \d+ reset$/);
  const second = arriveAt(a, 'x', { parties: 2 });
  const failed = told(second);
  await w.clock.advance(100);
  const { key, rangeEnd } = prefixRange(utf8(ROOT));
  await w.clock.until(del(w.store, key, { rangeEnd }));
  const gone = await w.clock.until(failed);
  t.regex(gone, /^broken \d+ deleted$/);
  const all = await w.clock.until(Promise.all([a, b].map((session) => arriveAt(session, 'x', { parties: 2 }))));
  t.true((all[0]?.generation ?? 0) > Number(gone.split(' ')[1]));
  t.is(await w.clock.until(barrierState(w.store, 'never')), null);
  await w.end();
});

test('a wait that ends while the store cannot be reached says so, and tells the others as soon as it can', async (t) => {
  const w = await world(5);
  const link = w.link();
  const [a, b] = [await open(w, link, 60), await open(w, w.link())];
  const first = arriveAt(a, 'x', { parties: 3, timeoutMs: 2_000 });
  const second = told(arriveAt(b, 'x', { parties: 3 }));
  await w.clock.advance(100);
  link.freeze();
  const error = await t.throwsAsync(w.clock.until(first), { instanceOf: EntryMayRemain });
  t.is(error.code, 'deadline_exceeded');
  link.thaw();
  t.regex(await w.clock.until(second), /^broken \d+ timed_out$/);
  await w.clock.advance(2_000);
  t.is(await entries(w), 0);
  await w.end();
});

test('a wait that ends before anything was sent, or was ever received, breaks nothing', async (t) => {
  const w = await world(6);
  const link = w.link();
  const session = await open(w, link, 60);
  t.is(await w.clock.until(told(arriveAt(session, 'x', { parties: 2, signal: AbortSignal.abort() }))), 'canceled');
  link.refuse = (method) => method === 'txn';
  t.is(await w.clock.until(told(arriveAt(session, 'x', { parties: 2, timeoutMs: 500 }))), 'deadline_exceeded');
  t.is(await w.clock.until(barrierState(w.store, 'x')), null);
  // The opening of a generation is under way when it is given up, and lands late, or is lost.
  const others = await several(w, 2);
  await w.clock.until(Promise.all(others.map((other) => arriveAt(other, 'x', { parties: 2 }))));
  link.refuse = () => false;
  for (const fate of ['late', 'unsent'] as const) {
    const ghost = haunted(link, w.clock, ({ success = [] }) => {
      const opens = success.some(({ kind, request }) => kind === 'put' && 'lease' in request && request.lease !== 0n);
      if (!opens) return { kind: 'normal' };
      return fate === 'late' ? { kind: 'late', delayMs: 5_000 } : { kind: 'unsent' };
    });
    const own = await open(w, ghost, 60);
    const given = await w.clock.until(told(arriveAt(own, 'x', { parties: 2, timeoutMs: 500 })));
    t.is(given, 'deadline_exceeded', fate);
    await w.clock.advance(10_000);
    t.is(await entries(w), 0, `${fate}: the door is closed`);
    const all = await w.clock.until(Promise.all(others.map((other) => told(arriveAt(other, 'x', { parties: 2 })))));
    t.regex(all.join(), /^passed (\d+),passed \1$/, fate);
  }
  await w.end();
});

test('an arrival whose answer is lost, or that lands late, is one arrival', async (t) => {
  const w = await world(7);
  for (const kind of ['unanswered', 'late'] as const) {
    for (const place of [0, 1, 2]) {
      let spared = 0;
      const ghost = haunted(w.link(), w.clock, ({ success = [] }) => {
        const arrives = success.some(({ kind: op, request }) => op === 'put' && text(request.key).includes('/in/'));
        if (!arrives || (spared += 1) > 2) return { kind: 'normal' };
        return kind === 'late' ? { kind, delayMs: 300 } : { kind };
      });
      const own = await open(w, ghost);
      const others = await several(w, 2);
      const all = [...others.slice(0, place), own, ...others.slice(place)].map(async (session, i) => {
        await new Promise<void>((resolve) => {
          w.clock.schedule(1 + i * 50, resolve);
        });
        return arriveAt(session, 'x', { parties: 3 });
      });
      const passages = await w.clock.until(Promise.all(all));
      t.is(new Set(passages.map(({ generation }) => generation)).size, 1);
      t.deepEqual(passages.map(({ index }) => index).toSorted((a, b) => a - b), [0, 1, 2], `${kind} ${place}`);
      await w.clock.advance(5_000);
      t.is(await entries(w), 0);
    }
  }
  await w.end();
});

interface Told {
  readonly generation: number;
  readonly how: string;
}

/** Everybody comes again and again; who sees it broken resets it. */
async function storm(t: ExecutionContext, seed: number, parties: number): Promise<void> {
  t.timeout(300_000);
  const w = await world(seed);
  const weather = new Weather(w);
  const all: Told[] = [];
  const inside = new Map<number, number>();
  let over = false;
  const worker = async (client: Client): Promise<void> => {
    while (!over) {
      try {
        await using session = await Session.open(client, { ttlSeconds: 3, clock: w.clock, timeoutMs: 3_000 });
        while (!over && session.live) {
          const bounds = w.prng.below(8) === 0 ? { timeoutMs: w.prng.below(1_500) } : { timeoutMs: 8_000 };
          const fate = w.prng.below(25);
          if (!over && fate === 0) w.clock.schedule(1 + w.prng.below(30), () => void session.close({ timeoutMs: 500 }));
          try {
            const { generation } = await arriveAt(session, 'x', { parties, ...bounds });
            all.push({ generation, how: 'passed' });
            inside.set(generation, (inside.get(generation) ?? 0) + 1);
          } catch (error) {
            if (error instanceof BarrierRefused) t.is(error.why, 'full');
            else if (!(error instanceof BarrierBroken)) throw error;
            if (error instanceof BarrierBroken) {
              all.push({ generation: error.generation, how: error.reason });
              await resetBarrier(client, 'x', { generation: error.generation, timeoutMs: 1_000 });
            }
          }
          await weather.sleep(w.prng.below(30));
        }
      } catch (error) {
        if (!(error instanceof ApiError || error instanceof SessionLost)) throw error;
        await weather.sleep(20);
      }
    }
  };
  const work = Promise.all(Array.from({ length: parties }, () => worker(weather.client())));
  await weather.blow(10_000);
  const before = all.filter(({ how }) => how === 'passed').length;
  await w.clock.advance(6_000);
  const after = all.filter(({ how }) => how === 'passed').length - before;
  t.true(after > 10 * parties, `in calm weather ${after} passages in 6 s`);
  over = true;
  await w.clock.until(work, 60_000);
  await w.clock.advance(10_000);
  const outcomes = new Map<number, string>();
  for (const { generation, how } of all) {
    t.is(outcomes.get(generation) ?? how, how, `generation ${generation}: everybody is told the same`);
    outcomes.set(generation, how);
  }
  t.true([...inside.values()].every((count) => count <= parties), 'nobody passes twice in one generation');
  t.is(await entries(w), 0);
  t.deepEqual((await keys(w)).filter((key) => !/\/(tally|outcome)\/G$/.test(key)), []);
  t.true((await keys(w)).length <= 2, (await keys(w)).join());
  const count = (how: string): number => [...outcomes.values()].filter((each) => each === how).length;
  t.log(Object.fromEntries(['passed', 'lost', 'timed_out', 'canceled', 'reset'].map((how) => [how, count(how)])));
  await w.end();
}

for (const [seed, parties] of [[1, 3], [2, 4], [3, 2]] as const) {
  test(`in bad weather everybody is told the same of each generation, nobody is stuck, seed ${seed}`, (t) => {
    return storm(t, seed, parties);
  });
}

test('B4 a thousand runs of n with random delays: all pass, together, and never before the last has come', async (t) => {
  t.timeout(300_000);
  const w = await world(8);
  const sessions = await several(w, 6, 600);
  for (const session of sessions) {
    const link = session.client;
    if ('requestMs' in link) Object.assign(link, { requestMs: () => w.prng.below(4), answerMs: () => w.prng.below(4) });
  }
  let runs = 0;
  const lanes = Array.from({ length: 10 }, async (_, lane) => {
    for (let run = 0; run < 100; run += 1) {
      const parties = 2 + w.prng.below(5);
      let arrived = 0;
      const all = await Promise.all(sessions.slice(0, parties).map(async (session) => {
        await new Promise<void>((resolve) => {
          w.clock.schedule(1 + w.prng.below(40), resolve);
        });
        arrived += 1;
        const passage = await arriveAt(session, `lane-${lane}-${parties}`, { parties });
        return { ...passage, arrived };
      }));
      runs += 1;
      const together = all.every((each) => each.arrived === parties && each.generation === all[0]?.generation);
      if (!together) t.fail(`lane ${lane}, run ${run}`);
    }
  });
  await w.clock.until(Promise.all(lanes), 10_000_000);
  t.is(runs, 1_000);
  await w.end();
});
