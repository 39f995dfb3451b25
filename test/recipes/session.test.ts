// A session under a simulated clock: what is true at which instant. The same claims against real servers and real
// sockets are in session-homes.test.ts. Each test's id is the one its requirement has in the design.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { ApiError, isApiError } from '../../core/errors.js';
import type { Client } from '../../core/client.js';
import type { SimClock } from '../sim/clock.js';
import type { Link } from './link.js';
import type { SessionEvent } from '../../recipes/session.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { exists, guarded, leaseIds, switching, world } from './world.js';

function kinds(events: readonly SessionEvent[]): string[] {
  return events.map((event) => event.kind).filter((kind) => kind !== 'renewed');
}

function reasonOf(session: Session): string {
  const reason: unknown = session.signal.reason;
  return reason instanceof SessionLost ? reason.reason : String(reason);
}

test('S1 a frozen link: lost fires before the key disappears, in 100 of 100 runs', async (t) => {
  const w = await world(1);
  const notice: number[] = [];
  const runs = Array.from({ length: 100 }, async (_, run) => {
    const link = w.link();
    const ttlSeconds = 2 + w.prng.below(9);
    link.requestMs = () => w.prng.below(20);
    link.answerMs = () => w.prng.below(ttlSeconds * 250);
    const session = await Session.open(link, { ttlSeconds, clock: w.clock });
    const key = utf8(`s1/${run}`);
    await put(w.store, key, utf8('held'), { lease: session.lease });
    let goneAt = Infinity;
    const watch = w.store.watch({ key });
    const gone = (async () => {
      for await (const batch of watch) {
        if (batch.events.some((event) => event.kind === 'delete')) break;
      }
      goneAt = w.clock.now();
    })();
    w.clock.schedule(w.prng.below(3 * ttlSeconds * 1000), () => link.freeze());
    const lost = new Promise<number>((resolve) => {
      session.signal.addEventListener('abort', () => resolve(w.clock.now()));
    });
    const lostAt = await lost;
    t.is(goneAt, Infinity, `run ${run}: the key is still there when lost is raised`);
    t.is(reasonOf(session), 'unreachable');
    await gone;
    notice.push(goneAt - lostAt);
    t.true(goneAt - lostAt >= ttlSeconds * 100, `run ${run}: ${goneAt - lostAt} ms of notice at a TTL of ${ttlSeconds} s`);
    link.thaw();
    await session.close();
  });
  await w.clock.until(Promise.all(runs));
  t.is(notice.length, 100);
  t.log(`notice before the key disappears: ${Math.min(...notice)} to ${Math.max(...notice)} ms`);
  await w.end();
});

test('S2 answers delayed by 0.8 TTL: never live while the key is gone', async (t) => {
  const w = await world(2);
  const link = w.link();
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 5, clock: w.clock }));
  await w.clock.until(put(w.store, utf8('s2'), utf8('held'), { lease: session.lease }));
  link.answerMs = (method) => (method === 'keepAlive' ? 4000 : 0);
  link.refuse = (method) => method === 'revoke';
  let sawLost = false;
  for (let i = 0; i < 400; i += 1) {
    await w.clock.advance(50);
    const there = await w.clock.until(exists(w.store, 's2'));
    t.false(session.live && !there, `at step ${i} the session claims to live without its key`);
    sawLost ||= !session.live;
  }
  t.true(sawLost, 'a delay this long cannot be survived');
  await w.clock.until(session.close());
  await w.end();
});

test('S2 a deadline is counted from the sending: an answer that arrives late extends nothing', async (t) => {
  const w = await world(2);
  const link = w.link();
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 10, marginMs: 1000, clock: w.clock }));
  const openedAt = w.clock.now();
  link.answerMs = (method) => (method === 'keepAlive' ? 2000 : 0);
  await w.clock.advance(10_000 / 3 + 2_100);
  link.freeze();
  t.true(Math.abs(session.remaining - (openedAt + 10_000 / 3 + 9_000 - w.clock.now())) < 50, `${session.remaining} ms remain`);
  link.thaw();
  await w.clock.until(session.close());
  await w.end();
});

test('S2 no false loss when answers are fast, nor when they take 0.4 TTL', async (t) => {
  const w = await world(2);
  for (const delayMs of [5, 2000]) {
    const link = w.link();
    const events: SessionEvent[] = [];
    const session = await w.clock.until(
      Session.open(link, { ttlSeconds: 5, clock: w.clock, observe: (event) => events.push(event) }),
    );
    link.answerMs = (method) => (method === 'keepAlive' ? delayMs : 0);
    await w.clock.advance(100_000);
    t.true(session.live, `with answers after ${delayMs} ms`);
    t.false(kinds(events).includes('lost'));
    link.answerMs = () => 0;
    await w.clock.until(session.close());
  }
  await w.end();
});

test('S3 a stalled event loop: the first statement after it sees that the session is not live', async (t) => {
  const w = await world(3);
  const events: SessionEvent[] = [];
  const session = await w.clock.until(
    Session.open(w.link(), { ttlSeconds: 4, clock: w.clock, observe: (event) => events.push(event) }),
  );
  const { signal } = session;
  await w.clock.advance(500);
  t.true(session.live);
  w.clock.jump(6_000);
  t.false(session.live);
  t.is(session.remaining, 0);
  t.is(session.state, 'lost');
  t.throws(() => session.assertLive(), { instanceOf: SessionLost });
  t.true(signal.aborted, 'having looked, the signal knows too');
  t.is(reasonOf(session), 'stalled');
  const stall = events.find((event) => event.kind === 'stalled');
  t.true(stall?.kind === 'stalled' && stall.gapMs > 4_000 && stall.gapMs < 6_000);
  await w.clock.advance(10_000);
  t.deepEqual(kinds(events), ['stalled', 'lost']);
  await w.clock.until(session.close());
  await w.end();
});

test('S3 a stall shorter than the TTL is reported with its gap and survived', async (t) => {
  const w = await world(3);
  const events: SessionEvent[] = [];
  const session = await w.clock.until(
    Session.open(w.link(), { ttlSeconds: 6, clock: w.clock, observe: (event) => events.push(event) }),
  );
  await w.clock.advance(1_900);
  w.clock.jump(1_500);
  t.true(session.live);
  await w.clock.advance(30_000);
  t.true(session.live);
  const stall = events.find((event) => event.kind === 'stalled');
  t.true(stall?.kind === 'stalled' && Math.round(stall.gapMs / 100) === 14);
  await w.clock.until(session.close());
  await w.end();
});

test.serial('S4 wall time steps by an hour, both ways: no loss and no extension, on client and server', async (t) => {
  const w = await world(4);
  const RealDate = globalThis.Date;
  let shiftMs = 0;
  let reads = 0;
  class ShiftedDate extends RealDate {
    constructor(...args: [] | [number | string]) {
      if (args.length === 0) super(ShiftedDate.now());
      else super(args[0]);
    }

    static override now(): number {
      if (/\/(?:core|recipes)\//.test((new Error().stack ?? '').replaceAll('/test/', '/'))) {
        if (!(new Error().stack ?? '').includes('/node_modules/')) reads += 1;
      }
      return RealDate.now() + shiftMs;
    }
  }
  const link = w.link();
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 5, clock: w.clock }));
  await w.clock.until(put(w.store, utf8('s4'), utf8('held'), { lease: session.lease }));
  globalThis.Date = ShiftedDate as DateConstructor;
  try {
    for (const hours of [1, -1, 24 * 365 * 10, -24 * 365 * 10, 0]) {
      shiftMs = hours * 3_600_000;
      await w.clock.advance(12_000);
      t.true(session.live, `with the wall clock off by ${hours} h`);
      t.true(await w.clock.until(exists(w.store, 's4')));
    }
    link.freeze();
    shiftMs = -3_600_000;
    await w.clock.advance(4_600);
    t.false(session.live, 'a wall clock set back does not extend the session');
    await w.clock.advance(4_000);
    t.false(await w.clock.until(exists(w.store, 's4')), 'nor the lease');
    t.is(reads, 0, 'neither core nor recipes read the wall clock');
  } finally {
    globalThis.Date = RealDate;
  }
  link.thaw();
  await w.clock.until(session.close());
  await w.end();
});

test('S3 an opening that takes long is no stall of this process', async (t) => {
  const w = await world(1);
  const link = w.link();
  const events: SessionEvent[] = [];
  const observe = (event: SessionEvent): void => void events.push(event);
  link.answerMs = (method) => (method === 'grant' ? 4_000 : 0);
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 6, clock: w.clock, observe }));
  await w.clock.advance(1_000);
  t.deepEqual(events.map(({ kind }) => kind), ['suspended', 'renewed', 'resumed'], 'it is late, and renewed at once');
  t.is(session.state, 'live');
  link.answerMs = (method) => (method === 'grant' ? 7_000 : 0);
  const opening = w.clock.until(Session.open(link, { ttlSeconds: 6, clock: w.clock, observe }));
  const { reason } = await t.throwsAsync(opening, { instanceOf: SessionLost });
  t.is(reason, 'unreachable', 'the grant was older than its lease when it came');
  t.false(events.some(({ kind }) => kind === 'stalled'));
  await w.clock.until(session.close());
  await w.end();
});

test('S5 random failures of single sends: renewed as long as one attempt per TTL/3 succeeds', async (t) => {
  const w = await world(5);
  const link = w.link();
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 6, clock: w.clock }));
  await w.clock.until(put(w.store, utf8('s5'), utf8('held'), { lease: session.lease }));
  let lastGood = w.clock.now();
  let failed = 0;
  link.refuse = (method) => {
    if (method !== 'keepAlive') return false;
    const fail = w.clock.now() - lastGood < 2_000 + 1_999 && w.prng.below(10) < 7;
    if (fail) failed += 1;
    else lastGood = w.clock.now();
    return fail;
  };
  const createdAt = await w.clock.until(keyRevision(w.store));
  await w.clock.advance(600_000);
  t.true(session.live);
  t.is(await w.clock.until(keyRevision(w.store)), createdAt, 'the key was there all the time');
  t.true(failed > 100, `${failed} attempts failed`);
  link.refuse = () => false;
  await w.clock.until(session.close());
  await w.end();
});

test('S5 an attempt that hangs for ever does not keep others from being made', async (t) => {
  const w = await world(5);
  const link = w.link();
  let calls = 0;
  link.answerMs = (method) => {
    if (method !== 'keepAlive') return 0;
    calls += 1;
    return calls % 2 === 1 ? 1_000_000 : 5;
  };
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 6, clock: w.clock }));
  await w.clock.advance(120_000);
  t.true(session.live);
  link.answerMs = () => 0;
  await w.clock.until(session.close());
  await w.end();
});

test('S6 an attempt that fails after a newer one was confirmed says nothing: the session stays live', async (t) => {
  const w = await world(5);
  const link = w.link();
  const events: SessionEvent[] = [];
  let calls = 0;
  link.answerMs = (method) => {
    if (method !== 'keepAlive') return 0;
    calls += 1;
    return calls === 1 ? 3_600 : 0;
  };
  const session = await w.clock.until(
    Session.open(link, { ttlSeconds: 9, clock: w.clock, observe: (event) => events.push(event) }),
  );
  await w.clock.advance(6_500);
  t.is(link.renewals.length, 2);
  t.is(calls, 2);
  const told = ['suspended', 'resumed'];
  t.deepEqual(kinds(events), told, 'by the first one\'s silence, and by the second one\'s answer');
  // The connection that the first one was sent on.
  link.down();
  link.up();
  await w.clock.advance(200);
  t.is(session.state, 'live');
  t.is(calls, 2, 'nor is there a reason to hurry');
  t.deepEqual(kinds(events), told);
  await w.clock.until(session.close());
  await w.end();
});

test('S6 a link away for less than the TTL: suspended, then live with the same lease', async (t) => {
  const w = await world(6);
  for (const fault of ['down', 'freeze'] as const) {
    const link = w.link();
    const events: SessionEvent[] = [];
    const session = await w.clock.until(
      Session.open(link, { ttlSeconds: 6, clock: w.clock, observe: (event) => events.push(event) }),
    );
    const { lease } = session;
    t.is(session.state, 'live');
    link[fault]();
    await w.clock.advance(3_500);
    t.is(session.state, 'suspended', fault);
    t.true(session.live, 'the lease is still ours while suspended');
    if (fault === 'down') link.up();
    else link.thaw();
    await w.clock.advance(1_500);
    t.is(session.state, 'live', fault);
    t.is(session.lease, lease);
    t.deepEqual(kinds(events), ['suspended', 'resumed']);
    await w.clock.until(session.close());
  }
  await w.end();
});

test('S6 a link away for more than the TTL: lost, exactly once, and for good', async (t) => {
  const w = await world(6);
  const link = w.link();
  const events: SessionEvent[] = [];
  const session = await w.clock.until(
    Session.open(link, { ttlSeconds: 6, clock: w.clock, observe: (event) => events.push(event) }),
  );
  let aborts = 0;
  session.signal.addEventListener('abort', () => (aborts += 1));
  link.down();
  await w.clock.advance(7_000);
  t.is(session.state, 'lost');
  t.is(reasonOf(session), 'unreachable');
  link.up();
  await w.clock.advance(60_000);
  t.is(session.state, 'lost');
  t.is(aborts, 1);
  t.deepEqual(kinds(events), ['suspended', 'lost']);
  const sent = link.sent.keepAlive;
  await w.clock.advance(60_000);
  t.is(link.sent.keepAlive, sent, 'a lost session renews nothing');
  await w.end();
});

test('a lease revoked by somebody else is lost as revoked at the next renewal', async (t) => {
  const w = await world(6);
  const link = w.link();
  const events: SessionEvent[] = [];
  const session = await w.clock.until(
    Session.open(link, { ttlSeconds: 6, clock: w.clock, observe: (event) => events.push(event) }),
  );
  await w.clock.until(w.store.revoke(session.lease));
  await w.clock.advance(2_100);
  t.is(session.state, 'lost');
  t.is(reasonOf(session), 'revoked');
  link.freeze();
  const from = w.clock.now();
  await w.clock.until(session.close());
  t.is(w.clock.now(), from, 'there is nothing to revoke any more, so nothing to wait for');
  t.is(link.sent.revoke, 0);
  t.deepEqual(kinds(events), ['lost']);
  await w.end();
});

test('a suspicion makes the session ask at once, and whoever listens is told of the loss once', async (t) => {
  const w = await world(6);
  const link = w.link();
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 60, clock: w.clock }));
  const told: string[] = [];
  session.onLost(({ reason }) => told.push(reason));
  const forget = session.onLost(() => told.push('forgotten'));
  forget();
  session.suspect();
  session.suspect();
  await w.clock.advance(10);
  t.is(link.sent.keepAlive, 1);
  t.true(session.live, 'nothing was wrong');
  await w.clock.until(w.store.revoke(session.lease));
  session.suspect();
  await w.clock.advance(10);
  t.is(session.state, 'lost');
  session.onLost(({ reason }) => told.push(`${reason}, told late`));
  t.deepEqual(told, ['revoked', 'revoked, told late']);
  await w.end();
});

test('S9 close raced against grant, renew and abort at every point: no lease of ours within a TTL', async (t) => {
  const w = await world(9);
  const links = [];
  const ends: Promise<unknown>[] = [];
  // Requests and answers take 10 ms each, renewals start after 667 ms: each step meets the session at another point.
  for (let at = 0; at <= 60; at += 1) {
    for (const way of ['abort the opening', 'close', 'close twice', 'close behind a frozen link', 'close during a renewal']) {
      const link = w.link();
      link.requestMs = () => 10;
      link.answerMs = () => 10;
      links.push(link);
      ends.push(race(w.clock, link, way, at));
    }
  }
  const outcomes = await w.clock.until(Promise.allSettled(ends));
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') t.true(isApiError(outcome.reason, 'canceled'), String(outcome.reason));
  }
  const sent = links.map((link) => link.sent.keepAlive);
  await w.clock.advance(2_000 + 1_500);
  t.deepEqual(await w.clock.until(leaseIds(w.store)), []);
  t.deepEqual(links.map((link) => link.sent.keepAlive), sent, 'nothing renews after close');
  await w.end();
});

async function race(clock: SimClock, link: Link, way: string, at: number) {
  const abort = new AbortController();
  if (way === 'abort the opening') {
    clock.schedule(at, () => abort.abort());
    const session = await Session.open(link, { ttlSeconds: 2, clock, signal: abort.signal });
    await session.close();
    return;
  }
  const session = await Session.open(link, { ttlSeconds: 2, clock });
  await new Promise<void>((resolve) => {
    clock.schedule(way === 'close during a renewal' ? 640 + at : at, resolve);
  });
  if (way === 'close behind a frozen link') {
    link.freeze();
    clock.schedule(1_000, () => link.thaw());
  }
  const closing = session.close({ timeoutMs: 500 });
  if (way === 'close twice') await session.close();
  await closing;
}

test('an opening waits out an election in the store, within its time-out, and says at once that nobody is there', async (t) => {
  const w = await world(1);
  for (const code of ['connection_lost', 'no_leader', 'leader_changed'] as const) {
    let failures = 3;
    const client = switching({ now: w.store });
    const electing = { ...client, grant: (ttl: number) => {
      failures -= 1;
      return failures < 0 ? client.grant(ttl) : Promise.reject(new ApiError(code));
    } };
    const before = w.clock.now();
    const session = await w.clock.until(Session.open(electing, { ttlSeconds: 6, clock: w.clock }));
    t.true(w.clock.now() > before && session.live);
    // Counted from the last attempt, the one that was answered.
    t.true(session.remaining > 5_390, `${session.remaining} ms`);
    await w.clock.until(session.close());
    failures = Infinity;
    const late = w.clock.until(Session.open(electing, { ttlSeconds: 6, clock: w.clock, timeoutMs: 3_000 }));
    await t.throwsAsync(late, { instanceOf: ApiError, message: new ApiError(code).message });
  }
  const link = w.link();
  link.down();
  const asked = w.clock.now();
  await t.throwsAsync(w.clock.until(Session.open(link, { ttlSeconds: 6, clock: w.clock })), { message: /no endpoint/ });
  t.is(w.clock.now(), asked);
  await w.end();
});

test('S9 an opening given up after the grant was sent: its late lease is revoked, not left to expire', async (t) => {
  const w = await world(9);
  const link = w.link();
  link.answerMs = () => 200;
  const abort = new AbortController();
  const opening = Session.open(link, { ttlSeconds: 60, clock: w.clock, signal: abort.signal });
  await w.clock.advance(100);
  abort.abort();
  await t.throwsAsync(opening, { instanceOf: ApiError, message: /canceled/ });
  t.is((await w.clock.until(leaseIds(w.store))).length, 1);
  await w.clock.advance(1_000);
  t.deepEqual(await w.clock.until(leaseIds(w.store)), []);
  const late = Session.open(link, { ttlSeconds: 60, clock: w.clock, timeoutMs: 100 });
  t.is((await t.throwsAsync(w.clock.until(late), { instanceOf: ApiError })).code, 'deadline_exceeded');
  await w.clock.advance(1_000);
  t.deepEqual(await w.clock.until(leaseIds(w.store)), []);
  await w.end();
});

test('S9 close while the store is away: bounded, reported as orphaned, and the lease expires', async (t) => {
  const w = await world(9);
  const link = w.link();
  const events: SessionEvent[] = [];
  const session = await w.clock.until(
    Session.open(link, { ttlSeconds: 5, clock: w.clock, observe: (event) => events.push(event) }),
  );
  link.freeze();
  const from = w.clock.now();
  await w.clock.until(session.close());
  t.true(w.clock.now() - from <= 5_001);
  t.deepEqual(kinds(events), ['lost', 'orphaned']);
  t.is(reasonOf(session), 'closed');
  await w.clock.advance(3_000);
  t.deepEqual(await w.clock.until(leaseIds(w.store)), []);
  link.thaw();
  await w.end();
});

test('S10 50 link flaps: renewals go on, and while connected no gap exceeds half the TTL', async (t) => {
  const w = await world(10);
  const ttlMs = 6_000;
  const link = w.link();
  link.requestMs = () => w.prng.below(10);
  const session = await w.clock.until(Session.open(link, { ttlSeconds: ttlMs / 1000, clock: w.clock }));
  const away: { from: number; to: number }[] = [];
  for (let flap = 0; flap < 50; flap += 1) {
    await w.clock.advance(w.prng.below(ttlMs / 2));
    const from = w.clock.now();
    if (w.prng.below(2) === 0) {
      link.down();
      await w.clock.advance(50 + w.prng.below(ttlMs / 4));
      link.up();
    } else {
      link.freeze();
      await w.clock.advance(50 + w.prng.below(ttlMs / 4));
      link.thaw();
    }
    away.push({ from, to: w.clock.now() });
    t.true(session.live, `after flap ${flap}`);
  }
  await w.clock.advance(2 * ttlMs);
  const disconnected = (from: number, to: number): number =>
    away.reduce((sum, flap) => sum + Math.max(0, Math.min(to, flap.to) - Math.max(from, flap.from)), 0);
  let widest = 0;
  link.renewals.slice(1).forEach((at, index) => {
    const before = link.renewals[index] ?? at;
    widest = Math.max(widest, at - before - disconnected(before, at));
  });
  t.true(link.renewals.length > 20, `${link.renewals.length} renewals`);
  t.true(widest <= ttlMs / 2, `the widest gap while connected is ${widest} ms`);
  await w.clock.until(session.close());
  await w.end();
});

test('an observer that throws neither ends the renewals nor hides the loss, and close still resolves', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const { clock: watched, thrown } = guarded(clock);
  const link = w.link();
  const observe = (event: SessionEvent): never => {
    throw new Error(event.kind);
  };
  const session = await clock.until(Session.open(link, { ttlSeconds: 6, clock: watched, observe }));
  const told: string[] = [];
  session.onLost(() => {
    throw new Error('a listener');
  });
  session.onLost(({ reason }) => told.push(reason));
  await clock.advance(20_000);
  t.true(session.live);
  link.freeze();
  await clock.advance(4_000);
  t.is(session.state, 'suspended');
  clock.jump(10_000);
  t.false(session.live, 'the getter does not throw');
  t.true(session.signal.aborted);
  t.is(reasonOf(session), 'stalled');
  t.deepEqual(told, ['stalled'], 'nor does a listener that throws keep the next one from being told');
  link.thaw();
  await clock.until(session.close());
  t.true(thrown.length > 5);
  await w.end();
});

test('an unusable TTL or margin is refused with its value', async (t) => {
  const w = await world(0);
  for (const ttlSeconds of [0, -1, Number.NaN, Infinity]) {
    const error = await t.throwsAsync(Session.open(w.link(), { ttlSeconds, clock: w.clock }), { instanceOf: ApiError });
    t.true(error.message.includes(`ttlSeconds is ${ttlSeconds}`));
  }
  await t.throwsAsync(Session.open(w.link(), { ttlSeconds: 10, marginMs: 6_000, clock: w.clock }), { instanceOf: ApiError });
  await w.end();
});

async function keyRevision(store: Client): Promise<number> {
  return (await store.range({ key: utf8('s5') })).kvs[0]?.createRevision ?? 0;
}
