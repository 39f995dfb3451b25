// What keeps a lease beside the main loop, under a simulated clock: when it renews, and when it does not.

import test from 'ava';
import type { KeepAlive } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { KeepCell } from '../../../core/wire/keep-cell.js';
import { Keeper } from '../../../core/wire/keeper.js';
import { SimClock } from '../../sim/clock.js';

const HEADER = { clusterId: 1n, memberId: 1n, revision: 1, raftTerm: 1 };
const ORDER = { lease: 7n, ttlMs: 6_000, stallBudgetMs: 10_000 };

function stage() {
  const clock = new SimClock();
  const nowNs = (): bigint => BigInt(Math.round(clock.now() * 1e6));
  const cell = new KeepCell();
  cell.beatNs = nowNs();
  const sent: number[] = [];
  const s = {
    clock, cell, sent, gone: 0,
    answer: (): Promise<number> => Promise.resolve(6),
    beat: () => (cell.beatNs = nowNs()),
    renewedMs: () => Number(cell.renewedNs) / 1e6,
  };
  const keepAlive = async (): Promise<KeepAlive> => {
    sent.push(clock.now());
    return { header: HEADER, ttlSeconds: await s.answer() };
  };
  const keeper = new Keeper(ORDER, cell, { client: { keepAlive }, clock, nowNs, onGone: () => (s.gone += 1) });
  return Object.assign(s, { keeper });
}

function later(clock: SimClock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.schedule(ms, resolve);
  });
}

test('it renews three times in each TTL while the main loop beats', async (t) => {
  const { clock, sent, beat, renewedMs } = stage();
  for (let step = 0; step < 60; step += 1) {
    await clock.advance(1_000);
    beat();
    t.true(clock.now() - renewedMs() <= 2_001);
  }
  t.true(sent.length >= 30 && sent.length <= 32, `${sent.length}`);
});

test('a hung process does not stay owner: once the budget is used up nothing is sent, and with a beat it goes on', async (t) => {
  const { clock, sent, beat } = stage();
  const from = clock.now();
  await clock.advance(120_000);
  t.true((sent.at(-1) ?? 0) - from < ORDER.stallBudgetMs);
  t.true((sent.at(-1) ?? 0) - from > ORDER.stallBudgetMs - ORDER.ttlMs / 3 - 1);
  const { length } = sent;
  beat();
  await clock.advance(ORDER.ttlMs / 30 + 1);
  t.is(sent.length, length + 1);
});

test('a renewal counts from when it was sent, and an older one that is answered later takes nothing back', async (t) => {
  const s = stage();
  await s.clock.settle();
  const delays = [2_500, 100];
  s.answer = async () => {
    await later(s.clock, delays.shift() ?? 0);
    return 6;
  };
  await s.clock.advance(2_000 + 2_000 + 150);
  t.is(Math.round(s.renewedMs()), Math.round(s.sent[2] ?? 0));
  await s.clock.advance(500);
  t.is(Math.round(s.renewedMs()), Math.round(s.sent[2] ?? 0));
});

test('a store that gives less than it granted is believed', async (t) => {
  const s = stage();
  s.answer = () => Promise.resolve(4);
  await s.clock.advance(2_100);
  t.is(Math.round(s.renewedMs()), Math.round((s.sent.at(-1) ?? 0) - 2_000));
});

test('S5 failures are tried again soon, not in a flood', async (t) => {
  const s = stage();
  s.answer = () => Promise.reject(new ApiError('unavailable'));
  await s.clock.advance(6_000);
  t.true(s.sent.length >= 8 && s.sent.length <= 17, `${s.sent.length}`);
  s.answer = () => Promise.resolve(6);
  await s.clock.advance(401);
  t.true(s.clock.now() - s.renewedMs() <= 401);
});

test('a lease that is gone is told once, by 0 seconds and by lease_not_found, and never asked for again', async (t) => {
  for (const answer of [() => Promise.resolve(0), () => Promise.reject(new ApiError('lease_not_found'))]) {
    const s = stage();
    s.answer = answer;
    await s.clock.advance(10_000);
    t.is(s.gone, 1);
    t.true(s.cell.isGone);
    t.true(s.sent.length <= 2);
  }
});

test('S9 nothing is sent after stop, by either side, and the signal of what is under way aborts', async (t) => {
  for (const stop of ['cell', 'keeper'] as const) {
    const s = stage();
    await s.clock.advance(5_000);
    s[stop].stop();
    const { length } = s.sent;
    await s.clock.advance(60_000);
    t.is(s.sent.length, length);
  }
});
