// A session with a stall budget, under a simulated clock: what it believes of the renewals made beside it. What renews is
// played here, so that every age can be chosen; the real thread and real servers are in session-stall-homes.test.ts.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { KeepAliver, KeepOrder } from '../../core/client.js';
import { put } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { SessionEvent, SessionLost } from '../../recipes/session.js';
import { Session } from '../../recipes/session.js';
import type { SimClock } from '../sim/clock.js';
import { exists, leaseIds, world } from './world.js';

/** Its renewals are whatever a test says. */
class PlayedKeepAliver implements KeepAliver {
  readonly #clock: SimClock;
  order: KeepOrder | null = null;
  beats = 0;
  beatAt = -Infinity;
  renewedAt = -Infinity;
  gone = false;
  stopped = false;

  constructor(clock: SimClock) {
    this.#clock = clock;
  }

  keep(order: KeepOrder): ReturnType<KeepAliver['keep']> {
    this.order = order;
    const isGone = (): boolean => this.gone;
    return {
      beat: () => {
        this.beats += 1;
        this.beatAt = this.#clock.now();
      },
      ageMs: () => this.#clock.now() - this.renewedAt,
      get isGone() {
        return isGone();
      },
      stop: () => (this.stopped = true),
    };
  }
}

function kinds(events: readonly SessionEvent[]): string[] {
  return events.map((event) => event.kind).filter((kind) => kind !== 'renewed');
}

async function stage(seed: number) {
  const w = await world(seed);
  const link = w.link();
  const beside = new PlayedKeepAliver(w.clock);
  const events: SessionEvent[] = [];
  const session = await w.clock.until(Session.open(link, {
    ttlSeconds: 6, marginMs: 500, clock: w.clock, stallBudgetMs: 30_000, keepAliver: beside,
    observe: (event) => events.push(event),
  }));
  return { w, link, beside, events, session };
}

test('S3 a stall within the budget: the first statement after it sees live, and the stall is told of with its gap', async (t) => {
  const { w, beside, events, session } = await stage(1);
  await w.clock.advance(1_000);
  w.clock.jump(20_000);
  beside.renewedAt = w.clock.now() - 1_200;
  t.true(session.live);
  t.true(Math.abs(session.remaining - (5_500 - 1_200)) < 1);
  t.is(session.state, 'live');
  t.false(session.signal.aborted);
  const stall = events.find((event) => event.kind === 'stalled');
  t.true(stall?.kind === 'stalled' && stall.gapMs > 18_000 && stall.gapMs < 20_000);
  await w.clock.until(session.close());
  await w.end();
});

test('S3 a stall in which nothing was renewed lately: the first statement after it sees the loss', async (t) => {
  const { w, beside, events, session } = await stage(2);
  const startedAt = w.clock.now();
  w.clock.jump(40_000);
  beside.renewedAt = startedAt + 30_000;
  t.false(session.live);
  t.is((session.signal.reason as SessionLost).reason, 'stalled');
  t.true(beside.stopped, 'nothing is renewed for a lost session');
  beside.renewedAt = w.clock.now();
  t.false(session.live, 'a renewal that is confirmed after the loss brings nothing back');
  await w.clock.advance(60_000);
  t.deepEqual(kinds(events), ['stalled', 'lost']);
  await w.clock.until(session.close());
  await w.end();
});

test('S2 a renewal made beside counts from when it was sent, to the millisecond', async (t) => {
  const { w, link, beside, session } = await stage(3);
  link.freeze();
  beside.renewedAt = w.clock.now() + 1_000;
  await w.clock.advance(5_000);
  t.is(Math.round(session.remaining), 1_500);
  await w.clock.advance(1_499);
  t.true(session.live);
  await w.clock.advance(2);
  t.false(session.live);
  link.thaw();
  await w.clock.until(session.close());
  await w.end();
});

test('the main loop beats several times within budget and TTL, and no more once the session is over', async (t) => {
  const { w, beside, session } = await stage(4);
  for (let step = 0; step < 100; step += 1) {
    await w.clock.advance(100);
    t.true(w.clock.now() - beside.beatAt <= 1_000);
  }
  t.true(beside.beats <= 12);
  await w.clock.until(session.close());
  t.true(beside.stopped);
  const { beats } = beside;
  await w.clock.advance(10_000);
  t.is(beside.beats, beats);
  t.deepEqual(await w.clock.until(leaseIds(w.store)), []);
  await w.end();
});

test('while the other one renews the main loop sends nothing; when it does not, the main loop renews in time', async (t) => {
  const { w, link, beside, events, session } = await stage(5);
  await w.clock.until(put(w.store, utf8('s'), utf8('held'), { lease: session.lease }));
  for (let step = 0; step < 60; step += 1) {
    beside.renewedAt = w.clock.now();
    await w.clock.until(w.store.keepAlive(session.lease));
    await w.clock.advance(2_000);
  }
  t.is(link.sent.keepAlive, 0);
  beside.order?.tell({ kind: 'failed', cause: new Error('the thread died') });
  await w.clock.advance(120_000);
  t.true(session.live);
  t.true(await w.clock.until(exists(w.store, 's')));
  t.true(link.sent.keepAlive >= 40);
  t.deepEqual(kinds(events), ['unbudgeted'], 'it was never suspended');
  await w.clock.until(session.close());
  await w.end();
});

test('a lease that is gone, said beside, is lost as revoked at once', async (t) => {
  const { w, beside, session } = await stage(6);
  const told: string[] = [];
  session.onLost(({ reason }) => told.push(reason));
  beside.gone = true;
  beside.order?.tell({ kind: 'gone' });
  t.deepEqual(told, ['revoked']);
  await w.clock.until(session.close());
  await w.end();
});

test('S6 after silence on both sides the session is suspended, and live again by what is renewed beside', async (t) => {
  const { w, link, beside, events, session } = await stage(7);
  link.freeze();
  await w.clock.advance(3_500);
  t.is(session.state, 'suspended');
  beside.renewedAt = w.clock.now() - 100;
  t.is(session.state, 'live');
  t.deepEqual(kinds(events), ['suspended', 'resumed']);
  link.thaw();
  await w.clock.until(session.close());
  await w.end();
});

test('a budget without one who renews, or the other way round, is refused; one that cannot start leaves no lease', async (t) => {
  const w = await world(8);
  const open = (options: object) => w.clock.until(Session.open(w.link(), { ttlSeconds: 5, clock: w.clock, ...options }));
  const beside = new PlayedKeepAliver(w.clock);
  for (const options of [{ stallBudgetMs: 1_000 }, { keepAliver: beside }, { stallBudgetMs: Number.NaN, keepAliver: beside }]) {
    const error = await t.throwsAsync(open(options), { instanceOf: ApiError });
    t.is(error.code, 'invalid_request');
    t.regex(error.message, /stallBudgetMs/);
  }
  const broken: KeepAliver = {
    keep: () => {
      throw new Error('no more threads');
    },
  };
  await t.throwsAsync(open({ stallBudgetMs: 1_000, keepAliver: broken }), { message: 'no more threads' });
  t.deepEqual(await w.clock.until(leaseIds(w.store)), []);
  await w.end();
});
