// Double barriers on a simulated clock and in bad weather: nobody begins before everybody has come, nobody goes before
// everybody is done, and when somebody is lost in between, everybody is told, and told the same.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text } from '../../core/base/bytes.js';
import { del } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError, isApiError } from '../../core/errors.js';
import { BarrierBroken, BarrierRefused } from '../../recipes/barrier-names.js';
import type { Inside } from '../../recipes/double-barrier.js';
import { doubleBarrierState, enterBarrier, resetDoubleBarrier, withBarrier } from '../../recipes/double-barrier.js';
import { Released } from '../../recipes/held.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { haunted } from './ghosts.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const ROOT = 'coterie/double-barriers/';

async function several(w: World, count: number, ttlSeconds = 10): Promise<[Session, Session, Session, ...Session[]]> {
  const sessions = [];
  for (let i = 0; i < count; i += 1) {
    sessions.push(await w.clock.until(Session.open(w.link(), { ttlSeconds, clock: w.clock })));
  }
  const [a, b, c, ...rest] = sessions;
  if (a === undefined || b === undefined || c === undefined) throw new Error('at least three');
  return [a, b, c, ...rest];
}

async function entries(w: World): Promise<number> {
  return (await w.clock.until(keysUnder(w.store, ROOT))).filter(({ key }) => text(key).includes('/in/')).length;
}

function word(error: unknown): string {
  if (error instanceof BarrierBroken) return `broken ${error.generation} ${error.reason}`;
  if (error instanceof BarrierRefused) return `refused ${error.why}`;
  if (error instanceof SessionLost) return 'lost';
  if (isApiError(error)) return error.code;
  throw error;
}

function told(leaving: Promise<void>): Promise<string> {
  return leaving.then(() => 'left', word);
}

function enterAll(w: World, sessions: readonly Session[], name = 'x'): Promise<Inside[]> {
  return w.clock.until(Promise.all(sessions.map((session) => enterBarrier(session, name, { parties: sessions.length }))));
}

test('nobody is inside before all have come, nobody has left before all want to, again and again', async (t) => {
  const w = await world(1);
  const sessions = await several(w, 3);
  for (let round = 0; round < 3; round += 1) {
    const first = sessions.slice(0, 2).map((session) => enterBarrier(session, 'x', { parties: 3 }));
    let count = 0;
    for (const each of first) void each.then(() => (count += 1));
    await w.clock.advance(1_000);
    t.is(count, 0);
    const inside = await w.clock.until(Promise.all([...first, enterBarrier(sessions[2], 'x', { parties: 3 })]));
    t.deepEqual(inside.map(({ index }) => index), [0, 1, 2]);
    t.like(await w.clock.until(doubleBarrierState(w.store, 'x')), { state: 'entered', present: 3, parties: 3 });
    t.true(inside.every(({ signal }) => !signal.aborted));
    const leaving = inside.slice(0, 2).map((each) => told(each.leave()));
    for (const each of leaving) void each.then(() => (count += 1));
    await w.clock.advance(1_000);
    t.is(count, 2, 'two of three wait to leave');
    const last = inside.slice(2).map((each) => told(each.leave()));
    t.deepEqual(await w.clock.until(Promise.all([...leaving, ...last])), ['left', 'left', 'left']);
    t.true(inside.every(({ signal }) => signal.reason instanceof Released));
    t.is(await w.clock.until(told(inside[0]?.leave() ?? Promise.resolve())), 'left', 'leaving again is harmless');
    await w.clock.advance(100);
    t.is(await entries(w), 0);
  }
  const left = (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key).replace(/\d{16}/, 'G'));
  t.deepEqual(left, ['left', 'outcome', 'tally'].map((kind) => `${ROOT}x/${kind}/G`));
  await w.end();
});

test('a request to leave whose answer is lost counts once: nobody leaves before the other one wants to', async (t) => {
  const w = await world(1);
  let isLost = false;
  const client = haunted(w.link(), w.clock, ({ success = [] }) => {
    if (!isLost || success.length === 0) return { kind: 'normal' };
    isLost = false;
    return { kind: 'unanswered' };
  });
  const session = await w.clock.until(Session.open(client, { ttlSeconds: 60, clock: w.clock }));
  const [other] = await several(w, 3, 60);
  const [one, two] = await enterAll(w, [session, other]);
  if (one === undefined || two === undefined) return t.fail();
  isLost = true;
  let hasLeft = false;
  const leaving = told(one.leave()).then((word) => {
    hasLeft = true;
    return word;
  });
  await w.clock.advance(5_000);
  t.false(isLost);
  t.false(hasLeft);
  t.false(two.signal.aborted);
  t.is(await w.clock.until(told(two.leave())), 'left');
  t.is(await w.clock.until(leaving), 'left');
  await w.end();
});

test('B3 more members than configured are refused at the door, and those inside are not disturbed', async (t) => {
  const w = await world(3);
  const [a, b, c] = await several(w, 3);
  const inside = await enterAll(w, [a, b]);
  const error = await t.throwsAsync(w.clock.until(enterBarrier(c, 'x', { parties: 2 })), { instanceOf: BarrierRefused });
  t.deepEqual([error.why, error.parties], ['full', 2]);
  const early = inside[0]?.leave() ?? Promise.resolve();
  await w.clock.advance(100);
  await t.throwsAsync(w.clock.until(enterBarrier(c, 'x', { parties: 2 })), { instanceOf: BarrierRefused });
  await w.clock.until(Promise.all([early, inside[1]?.leave()]));
  const next = told(enterBarrier(c, 'x', { parties: 2, timeoutMs: 1_000 }).then(() => undefined));
  t.regex(await w.clock.until(next), /^broken \d+ timed_out$/, 'when they have left it is in the next generation');
  await w.end();
});

test('B5 early ones enter the next generation while late ones have not yet noticed that they may leave', async (t) => {
  const w = await world(5);
  const [a, b, c] = await several(w, 3, 30);
  const slow = w.link();
  const late = await w.clock.until(Session.open(slow, { ttlSeconds: 30, clock: w.clock }));
  const inside = await enterAll(w, [a, b, late]);
  const leaving = inside.map((each) => told(each.leave()));
  await w.clock.advance(1);
  slow.answerMs = () => 3_000;
  slow.freeze();
  t.deepEqual(await w.clock.until(Promise.all(leaving.slice(0, 2))), ['left', 'left']);
  // The next generation is entered, left, and entered again by others, with the late one's entry of the first still there.
  for (let round = 0; round < 2; round += 1) {
    const next = await enterAll(w, [a, b, c]);
    t.true((next[0]?.generation ?? 0) > (inside[0]?.generation ?? 0));
    await w.clock.until(Promise.all(next.map((each) => each.leave())));
  }
  const waiting = [a, b].map((session) => enterBarrier(session, 'x', { parties: 3 }));
  await w.clock.advance(500);
  slow.thaw();
  t.is(await w.clock.until(leaving[2] ?? Promise.resolve('')), 'left', 'the late one is told what the others were told');
  slow.answerMs = () => 0;
  const again = await w.clock.until(Promise.all([...waiting, enterBarrier(late, 'x', { parties: 3 })]));
  t.is(new Set(again.map(({ generation }) => generation)).size, 1);
  await w.clock.until(Promise.all(again.map((each) => each.leave())));
  await w.clock.advance(10_000);
  t.is(await entries(w), 0);
  const left = await w.clock.until(keysUnder(w.store, ROOT));
  t.true(left.length <= 3, left.map(({ key }) => text(key)).join());
  await w.end();
});

test('who is lost inside breaks it for those who work and for those who wait to leave, for one reason', async (t) => {
  const w = await world(6);
  for (const way of ['revoke', 'freeze', 'delete', 'abort', 'time-out', 'throw'] as const) {
    const [a, b] = await several(w, 3);
    const link = w.link();
    const victim = await w.clock.until(Session.open(link, { ttlSeconds: 4, clock: w.clock }));
    const parties = 3;
    const thrown = new Error('work failed');
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<void>((_, reject) => {
      fail = reject;
    });
    const working = withBarrier(victim, way, () => work, { parties });
    const ended = t.throwsAsync(working);
    const [works, waits] = await w.clock.until(Promise.all([a, b].map((session) => enterBarrier(session, way, { parties }))));
    if (works === undefined || waits === undefined) throw new Error('both are inside');
    const control = new AbortController();
    const leaving = told(waits.leave({ signal: control.signal, ...(way === 'time-out' ? { timeoutMs: 500 } : {}) }));
    await w.clock.advance(100);
    t.false(works.signal.aborted);
    if (way === 'revoke') await w.clock.until(w.store.revoke(victim.lease));
    if (way === 'freeze') link.freeze();
    if (way === 'abort') control.abort();
    if (way === 'throw') fail(thrown);
    if (way === 'delete') {
      const all = await w.clock.until(keysUnder(w.store, `${ROOT}${way}/in/`));
      for (const { key, lease } of all) if (lease === victim.lease) await w.clock.until(del(w.store, key));
    }
    const reason = { abort: 'canceled', 'time-out': 'timed_out', throw: 'canceled' }[way as string] ?? 'lost';
    const expected = `broken ${works.generation} ${reason}`;
    t.is(await w.clock.until(leaving), expected, way);
    await w.clock.advance(1_000);
    t.is(word(works.signal.reason), expected, way);
    t.is(await w.clock.until(told(works.leave())), expected);
    fail(thrown);
    t.is(await w.clock.until(ended), thrown, 'what the work throws is what it ends with');
    const next = await w.clock.until(told(enterBarrier(a, way, { parties }).then(() => undefined)));
    t.is(next, expected, 'it stays broken until it is reset');
    await w.clock.until(resetDoubleBarrier(w.store, way, { generation: works.generation }));
    const again = await enterAll(w, await several(w, 3), way);
    await w.clock.until(Promise.all(again.map((each) => each.leave())));
    link.thaw();
    await w.clock.until(victim.close());
  }
  await w.clock.advance(5_000);
  t.is(await entries(w), 0);
  await w.end();
});

test('a reset from outside ends a generation that is inside; the session\'s loss ends it for its own', async (t) => {
  const w = await world(7);
  const sessions = await several(w, 3);
  const inside = await enterAll(w, sessions);
  const waiting = told(inside[0]?.leave() ?? Promise.resolve());
  await w.clock.advance(100);
  await w.clock.until(resetDoubleBarrier(w.store, 'x'));
  t.regex(await w.clock.until(waiting), /^broken \d+ reset$/);
  t.regex(await w.clock.until(told(inside[1]?.leave() ?? Promise.resolve())), /^broken \d+ reset$/);
  const again = await enterAll(w, sessions);
  await w.clock.until(sessions[0].close());
  t.true(again[0]?.signal.reason instanceof SessionLost);
  t.is(await w.clock.until(told(again[0]?.leave() ?? Promise.resolve())), 'lost');
  await w.clock.advance(500);
  t.regex(word(again[1]?.signal.reason), /^broken \d+ lost$/);
  await w.end();
});

/** Everybody works inside, again and again; a book in this process knows who is where. */
async function storm(t: ExecutionContext, seed: number, parties: number): Promise<void> {
  t.timeout(300_000);
  const w = await world(seed);
  const weather = new Weather(w);
  const ends = new Map<string, string>();
  const counts: Record<string, number> = {};
  const note = (generation: number, phase: string, how: string): void => {
    const key = `${generation} ${phase}`;
    t.is(ends.get(key) ?? how, how, `${key}: everybody is told the same`);
    if (!ends.has(key)) counts[`${phase} ${how}`] = (counts[`${phase} ${how}`] ?? 0) + 1;
    ends.set(key, how);
  };
  let over = false;
  const round = async (session: Session, client: Client): Promise<void> => {
    const bounds = w.prng.below(10) === 0 ? { timeoutMs: w.prng.below(1_500) } : { timeoutMs: 8_000 };
    let phase = 'enter';
    try {
      const inside = await enterBarrier(session, 'x', { parties, ...bounds });
      note(inside.generation, phase, 'entered');
      phase = 'leave';
      await weather.sleep(w.prng.below(60));
      if (w.prng.below(40) === 0) await session.close();
      await inside.leave(bounds);
      note(inside.generation, phase, 'left');
    } catch (error) {
      if (error instanceof BarrierBroken) {
        // By the time we came it may have been broken while others were leaving.
        if (phase === 'leave' || !ends.has(`${error.generation} enter`)) note(error.generation, phase, error.reason);
        await resetDoubleBarrier(client, 'x', { generation: error.generation, timeoutMs: 1_000 });
      } else if (!(error instanceof BarrierRefused)) throw error;
    }
  };
  const worker = async (client: Client): Promise<void> => {
    while (!over) {
      try {
        await using session = await Session.open(client, { ttlSeconds: 3, clock: w.clock, timeoutMs: 3_000 });
        while (!over && session.live) {
          await round(session, client);
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
  const before = counts['leave left'] ?? 0;
  await w.clock.advance(8_000);
  t.true((counts['leave left'] ?? 0) > before + 10, 'in calm weather it works again');
  over = true;
  await w.clock.until(work, 60_000);
  await w.clock.advance(10_000);
  t.is(await entries(w), 0);
  t.log(counts);
  await w.end();
}

for (const [seed, parties] of [[1, 3], [2, 4]] as const) {
  test(`in bad weather everybody inside is told the same, and nobody is stuck, seed ${seed}`, (t) => storm(t, seed, parties));
}
