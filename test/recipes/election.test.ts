// Elections on a simulated clock and a bad network: what holds at which instant. The same claims against real servers are
// in election-homes.test.ts. Each test's id is the one its requirement has in the design.
//
// Long because the claims are many and each is its own story.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, get, opDelete, opPut, prefixRange } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { candidates, leader, requestResign } from '../../recipes/election-state.js';
import type { CampaignOptions, Leadership } from '../../recipes/election.js';
import { campaign, HandOverFailed } from '../../recipes/election.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, Released } from '../../recipes/held.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { creates, haunted } from './ghosts.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const ROOT = 'coterie/elections/';

function open(w: World, link: Client = w.link(), ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds, clock: w.clock }));
}

async function traces(w: World): Promise<readonly string[]> {
  return (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
}

/** A candidacy whose outcome is looked at later. */
function candidacy(session: Session, value: string, options: CampaignOptions = {}): {
  readonly elected: Promise<Leadership>;
  now(): Leadership | null;
} {
  let led: Leadership | null = null;
  const elected = campaign(session, 'x', value, options).then((leadership) => (led = leadership));
  elected.catch(() => undefined);
  return { elected, now: () => led };
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(Math.max(1, ms), resolve);
  });
}

test('a candidate alone is elected in one round trip, seen by its value, and resigning leaves nothing', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await open(w, link);
  const before = { ...link.sent };
  const office = await w.clock.until(campaign(session, 'x', 'a'));
  t.is(link.sent.txn - before.txn, 1);
  t.true(office.isLeader && office.isHeld);
  t.is(office.term, office.fence);
  const seen = await w.clock.until(leader(w.store, 'x'));
  t.like(seen, { value: 'a', term: office.term, lease: session.lease, priority: 0, staleSince: null });
  await w.clock.until(office.txn().put('effect', '1').commit());
  await w.clock.until(office.resign());
  t.false(office.isLeader);
  t.true(office.signal.reason instanceof Released);
  t.is(await w.clock.until(leader(w.store, 'x')), null);
  await t.throwsAsync(w.clock.until(office.txn().put('effect', '2').commit()), { instanceOf: FencedOut });
  await w.clock.until(office.resign());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('candidates are elected in the order they came, each with a higher term', async (t) => {
  const w = await world(1);
  const order: string[] = [];
  const terms: number[] = [];
  const tasks = [];
  for (const value of ['a', 'b', 'c', 'd', 'e']) {
    const session = await open(w);
    tasks.push(campaign(session, 'x', value).then(async (office) => {
      order.push(value);
      terms.push(office.term);
      await sleep(w, 100);
      t.true(office.isLeader);
      await office.resign();
    }));
    await w.clock.advance(1);
  }
  await w.clock.until(Promise.all(tasks));
  t.deepEqual(order, ['a', 'b', 'c', 'd', 'e']);
  t.deepEqual(terms, terms.toSorted((a, b) => a - b));
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('names, priorities and values out of bounds are refused by name, and a slash makes no second election', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const refused = async (work: Promise<unknown>, says: RegExp): Promise<void> => {
    const error = await t.throwsAsync(w.clock.until(work));
    t.true(isApiError(error, 'invalid_request'));
    t.regex(error?.message ?? '', says);
  };
  await refused(campaign(session, '', 'a'), /name is ""/);
  await refused(campaign(session, 'a\n', 'a'), /control characters/);
  await refused(campaign(session, 'x', 'a', { priority: -1 }), /priority is -1/);
  await refused(campaign(session, 'x', 'a', { priority: 1.5 }), /priority is 1\.5/);
  await refused(campaign(session, 'x', 'a'.repeat(20_000)), /20000 bytes/);
  const [one, two] = await w.clock.until(Promise.all([campaign(session, 'a', '1'), campaign(session, 'a/b', '2')]));
  t.true(one.isLeader && two.isLeader);
  await w.end();
});

test('E1 a waiting candidate resigns by aborting, then the leader leaves: it is never elected', async (t) => {
  const w = await world(2);
  const [a, b, c] = [await open(w), await open(w), await open(w)];
  const office = await w.clock.until(campaign(a, 'x', 'a'));
  const abort = new AbortController();
  const second = candidacy(b, 'b', { signal: abort.signal });
  await w.clock.advance(100);
  const third = candidacy(c, 'c');
  await w.clock.advance(100);
  abort.abort();
  const error = await t.throwsAsync(w.clock.until(second.elected));
  t.true(isApiError(error, 'canceled'));
  t.is((await w.clock.until(candidates(w.store, 'x'))).length, 2, 'its candidacy is gone when the promise rejects');
  await w.clock.until(office.resign());
  t.is((await w.clock.until(third.elected)).value, 'c');
  await w.clock.advance(30_000);
  t.is(second.now(), null);
  await w.end();
});

test('E2 the waiting candidate\'s lease is revoked, then the leader leaves: it is never elected, and told so', async (t) => {
  const w = await world(2);
  for (const together of [false, true]) {
    const [a, b] = [await open(w), await open(w)];
    const office = await w.clock.until(campaign(a, 'x', 'a'));
    const second = candidacy(b, 'b');
    await w.clock.advance(1_000);
    const revoking = w.store.revoke(b.lease);
    if (!together) await w.clock.until(revoking);
    await w.clock.until(Promise.all([revoking, office.resign()]));
    const error = await t.throwsAsync(w.clock.until(second.elected), { instanceOf: SessionLost });
    t.is(error.reason, 'revoked');
    await w.clock.advance(30_000);
    t.is(second.now(), null);
    t.is(await w.clock.until(leader(w.store, 'x')), null);
  }
  await w.end();
});

test('E2 a leader\'s answer that comes after its session\'s end elects nobody', async (t) => {
  const w = await world(2);
  const slow = w.link();
  const session = await open(w, slow, 3);
  slow.answerMs = (method) => (method === 'txn' ? 8_000 : 0);
  slow.refuse = (method) => method === 'keepAlive';
  const first = candidacy(session, 'a');
  await t.throwsAsync(w.clock.until(first.elected), { instanceOf: SessionLost });
  await w.clock.advance(20_000);
  t.is(first.now(), null);
  await w.end();
});

interface Interval {
  readonly term: number;
  readonly from: number;
  to: number;
}

/** A candidate for as long as the world turns; what it sees of its own leaderships, on the one clock there is. */
async function perpetual(w: World, client: Client, value: string, all: Interval[], options: {
  readonly ttlSeconds: number;
  readonly over: () => boolean;
  readonly keep: () => number;
}): Promise<void> {
  while (!options.over()) {
    try {
      await using session = await Session.open(client, { ttlSeconds: options.ttlSeconds, clock: w.clock, timeoutMs: 2_000 });
      while (!options.over() && session.live) {
        await using office = await campaign(session, 'x', value, { timeoutMs: 20_000 });
        const interval = { term: office.term, from: w.clock.now(), to: Infinity };
        all.push(interval);
        office.signal.addEventListener('abort', () => (interval.to = w.clock.now()), { once: true });
        if (office.signal.aborted) interval.to = w.clock.now();
        await Promise.race([sleep(w, options.keep()), new Promise((resolve) => {
          office.signal.addEventListener('abort', resolve, { once: true });
        })]);
      }
    } catch (error) {
      if (!(error instanceof SessionLost) && !isApiError(error)) throw error;
      await sleep(w, 20);
    }
  }
}

function checkIntervals(t: ExecutionContext, all: readonly Interval[], what: string): void {
  for (const [i, one] of all.entries()) {
    const before = all[i - 1];
    if (before === undefined) continue;
    t.true(one.term > before.term, `${what}: term ${one.term} after ${before.term}`);
    t.true(before.to <= one.from, `${what}: term ${before.term} until ${before.to}, ${one.term} from ${one.from}`);
  }
}

for (const [share, way] of [[0.5, 'freeze'], [2, 'freeze'], [10, 'freeze'], [0.5, 'down'], [2, 'down'], [10, 'down']] as const) {
  test(`E3 five candidates, the store away for ${share} x TTL (${way}): leaderships do not overlap`, async (t) => {
    const w = await world(3);
    const all: Interval[] = [];
    let over = false;
    const links = Array.from({ length: 5 }, () => w.link());
    const work = links.map((link, i) => perpetual(w, link, `c${i}`, all, {
      ttlSeconds: 4, over: () => over, keep: () => 30_000,
    }));
    await w.clock.advance(3_000);
    t.is(all.length, 1);
    for (const link of links) link[way]();
    await w.clock.advance(share * 4_000);
    for (const link of links) link[way === 'freeze' ? 'thaw' : 'up']();
    await w.clock.advance(10_000);
    checkIntervals(t, all, way);
    t.is(all.length > 1, share > 1, 'less than the TTL costs nobody the office');
    t.is(all.filter(({ to }) => to === Infinity).length, 1, 'somebody leads again');
    t.is((await w.clock.until(leader(w.store, 'x')))?.term, all.at(-1)?.term);
    over = true;
    await w.clock.until(Promise.all(work), 120_000);
    await w.end();
  });
}

test('E4 storms of reconnections, each candidate\'s at its own time: terms in order, no overlap, no phantom', async (t) => {
  for (const seed of [1, 2, 3]) {
    const w = await world(seed);
    const all: Interval[] = [];
    let over = false;
    const links = Array.from({ length: 5 }, () => w.link());
    for (const link of links) {
      link.requestMs = () => w.prng.below(15);
      link.answerMs = () => w.prng.below(15);
    }
    const work = links.map((link, i) => perpetual(w, link, `c${i}`, all, {
      ttlSeconds: 2, over: () => over, keep: () => 1 + w.prng.below(400),
    }));
    for (let i = 0; i < 300; i += 1) {
      const link = links[w.prng.below(5)];
      const dice = w.prng.below(6);
      if (dice === 0) link?.down();
      if (dice === 1) link?.freeze();
      if (dice > 2) link?.up();
      if (dice > 2) link?.thaw();
      if (w.prng.below(50) === 0) w.clock.jump(w.prng.below(3_000));
      await w.clock.advance(1 + w.prng.below(150));
    }
    for (const link of links) {
      link.up();
      link.thaw();
    }
    await w.clock.advance(5_000);
    checkIntervals(t, all, `seed ${seed}`);
    t.true(all.length > 20, `${all.length} leaderships`);
    over = true;
    await w.clock.until(Promise.all(work), 120_000);
    await w.clock.advance(10_000);
    t.deepEqual(await traces(w), [], `seed ${seed}`);
    await w.end();
  }
});

test('E5 the whole prefix is deleted under live candidates: the leader is told, and there is one again at once', async (t) => {
  const w = await world(5);
  const sessions = [await open(w), await open(w), await open(w)] as const;
  const office = await w.clock.until(campaign(sessions[0], 'x', 'a'));
  const waiting = [candidacy(sessions[1], 'b'), candidacy(sessions[2], 'c')] as const;
  await w.clock.advance(1_000);
  const { key, rangeEnd } = prefixRange(utf8(`${ROOT}x/`));
  const from = w.clock.now();
  await w.clock.until(w.store.txn({ success: [opDelete(key, { rangeEnd })] }));
  const next = await w.clock.until(Promise.race(waiting.map(({ elected }) => elected)));
  t.true(w.clock.now() - from < 2_000, `${w.clock.now() - from} ms`);
  t.true(office.signal.reason instanceof EntryLost);
  await w.clock.advance(100);
  t.is(waiting.filter((one) => one.now() !== null).length, 1);
  t.is((await w.clock.until(candidates(w.store, 'x'))).length, 2, 'the other one is a candidate again');
  await w.clock.until(next.resign());
  await w.clock.until(Promise.all(waiting.map(({ elected }) => elected)));
  await w.end();
});

test('E5 waiting on somebody who vanishes, or on a prefix that keeps vanishing, leaves nobody stuck', async (t) => {
  const w = await world(5);
  const all: Interval[] = [];
  let over = false;
  const work = Array.from({ length: 5 }, (_, i) => perpetual(w, w.link(), `c${i}`, all, {
    ttlSeconds: 10, over: () => over, keep: () => 1_000_000,
  }));
  await w.clock.advance(100);
  for (let round = 0; round < 30; round += 1) {
    const { key, rangeEnd } = prefixRange(utf8(`${ROOT}x/`));
    const entries = await w.clock.until(keysUnder(w.store, `${ROOT}x/`));
    const one = entries[w.prng.below(entries.length)];
    const everything = w.prng.below(3) === 0 || one === undefined;
    await w.clock.until(w.store.txn({ success: [everything ? opDelete(key, { rangeEnd }) : opDelete(one.key)] }));
    await w.clock.advance(w.prng.below(300));
  }
  await w.clock.advance(2_000);
  const now = all.filter(({ to }) => to === Infinity);
  t.is(now.length, 1);
  t.is((await w.clock.until(candidates(w.store, 'x'))).length, 5, 'all of them are candidates still');
  t.is((await w.clock.until(leader(w.store, 'x')))?.term, now[0]?.term);
  t.true(all.length > 5, `${all.length} leaderships`);
  over = true;
  await w.clock.until(w.store.txn({ success: [opDelete(utf8(ROOT), { rangeEnd: prefixRange(utf8(ROOT)).rangeEnd })] }));
  await w.clock.until(Promise.all(work.map((each) => Promise.race([each, sleep(w, 30_000)]))));
  await w.end();
});

test('E6 sessions of different length in one election: the successor waits for the leader\'s, not for its own', async (t) => {
  const w = await world(6);
  for (const [leads, waits] of [[30, 2], [2, 30]] as const) {
    const frozen = w.link();
    const [a, b] = [await open(w, frozen, leads), await open(w, w.link(), waits)];
    const office = await w.clock.until(campaign(a, 'x', 'a'));
    let lostAt = Infinity;
    office.signal.addEventListener('abort', () => (lostAt = w.clock.now()));
    const second = candidacy(b, 'b');
    await w.clock.advance(500);
    const from = w.clock.now();
    frozen.freeze();
    const next = await w.clock.until(second.elected);
    const ms = w.clock.now() - from;
    t.true(lostAt <= w.clock.now(), `${leads} s: lost before the next one was elected`);
    t.true(ms > leads * 1_000 * 0.6 && ms <= leads * 1_000 + 500, `${leads} s: ${ms} ms`);
    t.true(b.live);
    await w.clock.until(next.resign());
    frozen.thaw();
    await w.clock.advance(1_000);
    await w.clock.until(Promise.all([a.close(), b.close()]));
  }
  await w.end();
});

test('E7 an end has one order: the signal aborts, its hooks run, then the entry is removed', async (t) => {
  const w = await world(7);
  const [a, b] = [await open(w), await open(w)];
  const office = await w.clock.until(campaign(a, 'x', 'a'));
  const second = candidacy(b, 'b');
  const log: string[] = [];
  office.signal.addEventListener('abort', () => log.push(`signal, leads: ${office.isLeader}`));
  office.onEnd(async () => {
    await sleep(w, 1_000);
    await office.txn().put('position', '42').commit();
    log.push(`last words written, another one leads: ${second.now() !== null}`);
  });
  office.onEnd((reason) => {
    log.push(`status dropped: ${reason.name}`);
  });
  const forget = office.onEnd(() => {
    log.push('forgotten');
  });
  forget();
  await w.clock.advance(100);
  const resigning = office.resign().then(() => log.push('resigned'));
  t.false(office.isLeader, 'at once');
  await w.clock.advance(900);
  t.is(second.now(), null);
  await w.clock.until(resigning);
  await w.clock.until(second.elected);
  t.deepEqual(log, [
    'signal, leads: false', 'status dropped: Released', 'last words written, another one leads: false', 'resigned',
  ]);
  await w.end();
});

test('E7 a hook that hangs or throws holds the office for a bounded time, and is told of', async (t) => {
  const w = await world(7);
  const [a, b] = [await open(w), await open(w)];
  const failures: string[] = [];
  const office = await w.clock.until(campaign(a, 'x', 'a', {
    hooksMs: 3_000,
    observe: (event) => {
      if (event.kind === 'hook_failed') failures.push(event.error.message);
    },
  }));
  const second = candidacy(b, 'b');
  office.onEnd(() => new Promise<void>(() => undefined));
  office.onEnd(() => {
    throw new Error('boom');
  });
  await w.clock.advance(100);
  const from = w.clock.now();
  await w.clock.until(office.resign());
  t.is(w.clock.now() - from, 3_000);
  await w.clock.until(second.elected);
  t.is(failures.length, 2);
  t.is(failures[0], 'boom');
  await w.end();
});

test('E7 a lost leadership calls its hooks as well, once, and a hook that comes too late is called at once', async (t) => {
  const w = await world(7);
  const session = await open(w);
  const office = await w.clock.until(campaign(session, 'x', 'a'));
  const log: string[] = [];
  office.onEnd((reason) => {
    log.push(reason.name);
  });
  await w.clock.advance(100);
  await w.clock.until(del(w.store, office.key));
  await w.clock.advance(100);
  t.deepEqual(log, ['EntryLost']);
  office.onEnd(() => {
    log.push('late');
  });
  await w.clock.until(office.resign());
  t.deepEqual(log, ['EntryLost', 'late']);
  t.throws(() => office.assertHeld(), { instanceOf: EntryLost });
  await w.end();
});

test('E7 a resignation while the hooks of a loss still run waits for them, and calls none twice', async (t) => {
  const w = await world(7);
  const office = await w.clock.until(campaign(await open(w), 'x', 'a'));
  const log: string[] = [];
  office.onEnd(async () => {
    log.push('begins');
    await sleep(w, 1_000);
    log.push('ends');
  });
  await w.clock.advance(100);
  await w.clock.until(del(w.store, office.key));
  await w.clock.advance(100);
  t.deepEqual(log, ['begins']);
  await w.clock.until(office.resign());
  t.deepEqual(log, ['begins', 'ends']);
  await w.end();
});

test('E7 a leader that stood still sees in its first statement that it leads no more', async (t) => {
  const w = await world(7);
  const session = await open(w, w.link(), 3);
  const office = await w.clock.until(campaign(session, 'x', 'a'));
  w.clock.jump(5_000);
  t.true(office.signal.aborted);
  t.false(office.isLeader);
  t.is(office.remaining, 0);
  t.true(office.signal.reason instanceof SessionLost);
  await w.end();
});

test('proclaiming changes what others see, the last one wins, and the term stays', async (t) => {
  const w = await world(8);
  const link = w.link();
  link.requestMs = () => w.prng.below(30);
  const session = await open(w, link);
  const office = await w.clock.until(campaign(session, 'x', 'a'));
  await w.clock.until(Promise.all(['b', 'c', 'd'].map((value) => office.proclaim(value))));
  t.like(await w.clock.until(leader(w.store, 'x')), { value: 'd', term: office.term, lease: session.lease });
  // Somebody wrote over it; ours is put back over that.
  await w.clock.until(w.store.txn({ success: [opPut(office.key, utf8('by hand'), { lease: session.lease })] }));
  await w.clock.until(office.proclaim('e'));
  t.is((await w.clock.until(leader(w.store, 'x')))?.value, 'e');
  t.true(office.isLeader);
  await w.clock.until(office.resign());
  await t.throwsAsync(w.clock.until(office.proclaim('f')), { instanceOf: Released });
  t.is(await w.clock.until(leader(w.store, 'x')), null);
  await w.end();
});

test('a proclamation whose answer is lost happens once, and never over a later one', async (t) => {
  const w = await world(8);
  const link = w.link();
  const session = await open(w, link);
  const office = await w.clock.until(campaign(session, 'x', 'a'));
  link.answerMs = (method) => (method === 'txn' ? 200 : 0);
  const first = office.proclaim('b');
  await w.clock.advance(100);
  link.down();
  await w.clock.advance(10);
  link.up();
  const impatient = office.proclaim('c', { timeoutMs: 150 });
  await w.clock.until(first);
  const gaveUp = await t.throwsAsync(w.clock.until(impatient));
  t.true(isApiError(gaveUp, 'deadline_exceeded'));
  await w.clock.until(office.proclaim('d'));
  await w.clock.advance(5_000);
  const entry = await w.clock.until(get(w.store, office.key));
  t.is(text(entry?.value ?? utf8('')), 'd');
  t.true((entry?.version ?? 0) <= 4);
  await w.end();
});

test('a proclamation that lands long after it was repeated does not overwrite a later one', async (t) => {
  const w = await world(8);
  let late = 0;
  const session = await open(w, haunted(w.link(), w.clock, ({ success: [first] = [] }) => {
    const isProclamation = first?.kind === 'txn' && first.request.success?.[0]?.kind === 'put';
    late += isProclamation ? 1 : 0;
    return isProclamation && late === 1 ? { kind: 'late', delayMs: 5_000 } : { kind: 'normal' };
  }), 60);
  const office = await w.clock.until(campaign(session, 'x', 'a'));
  await w.clock.until(office.proclaim('b'));
  await w.clock.until(office.proclaim('c'));
  t.is(late, 3);
  await w.clock.advance(10_000);
  t.is((await w.clock.until(leader(w.store, 'x')))?.value, 'c');
  await w.end();
});

test('with priorities the highest that waits is elected next', async (t) => {
  const w = await world(9);
  const order: string[] = [];
  const tasks: Promise<unknown>[] = [];
  const first = await w.clock.until(campaign(await open(w), 'x', 'first'));
  for (const [value, priority] of [['a0', 0], ['b5', 5], ['c0', 0], ['d9', 9], ['e5', 5], ['f0', 0]] as const) {
    const session = await open(w);
    tasks.push(campaign(session, 'x', value, { priority }).then(async (office) => {
      order.push(value);
      await sleep(w, 50);
      await office.resign();
    }));
    await w.clock.advance(1);
  }
  await w.clock.advance(100);
  t.true(first.isLeader, 'who leads is left alone');
  await w.clock.until(first.resign());
  await w.clock.until(Promise.all(tasks));
  t.deepEqual(order.map((value) => value.slice(1)), ['9', '5', '5', '0', '0', '0']);
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a leader that dies is followed by the highest priority too', async (t) => {
  const w = await world(9);
  const dying = await open(w);
  await w.clock.until(campaign(dying, 'x', 'first'));
  const low = candidacy(await open(w), 'low');
  await w.clock.advance(10);
  const high = candidacy(await open(w), 'high', { priority: 3 });
  await w.clock.advance(100);
  await w.clock.until(w.store.revoke(dying.lease));
  const office = await w.clock.until(high.elected);
  t.is(low.now(), null);
  await w.clock.until(office.resign());
  t.is((await w.clock.until(low.elected)).value, 'low');
  await w.end();
});

test('a hand-over elects the chosen one, whoever stands before it and whatever their priority', async (t) => {
  const w = await world(10);
  const office = await w.clock.until(campaign(await open(w), 'x', 'first'));
  const all = new Map<string, ReturnType<typeof candidacy>>();
  for (const value of ['a', 'b', 'c', 'd']) {
    all.set(value, candidacy(await open(w), value, { priority: value === 'b' ? 7 : 0 }));
    await w.clock.advance(1);
  }
  await w.clock.advance(50);
  await w.clock.until(office.resign({ handTo: ({ value }) => value === 'c' }));
  const next = await w.clock.until(all.get('c')?.elected ?? Promise.reject(new Error('c')));
  t.true(next.term > office.term);
  t.deepEqual((await w.clock.until(candidates(w.store, 'x'))).map(({ value }) => value).toSorted(), ['a', 'b', 'c', 'd']);
  t.is(['a', 'b', 'd'].filter((value) => all.get(value)?.now() !== null).length, 0);
  const [, second] = await w.clock.until(candidates(w.store, 'x'));
  await w.clock.until(next.resign({ handTo: second?.id ?? '' }));
  t.is((await w.clock.until(leader(w.store, 'x')))?.id, second?.id);
  await w.clock.advance(100);
  const [last] = [...all.values()].flatMap(({ now }) => (now()?.isLeader === true ? [now()] : []));
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/chosen/'))).length, 1, 'the mark of the heir alone');
  await w.clock.until(last?.resign() ?? Promise.reject(new Error('nobody leads')));
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/chosen/'))).length, 0);
  await w.end();
});

test('a hand-over while candidates leave: nobody is put back in line, and an heir that left ends nothing', async (t) => {
  const w = await world(10);
  const link = w.link();
  const office = await w.clock.until(campaign(await open(w, link), 'x', 'first'));
  const [before, heir] = [new AbortController(), new AbortController()];
  const stays = candidacy(await open(w), 'before', { signal: before.signal });
  await w.clock.advance(10);
  const goes = candidacy(await open(w), 'heir', { signal: heir.signal });
  await w.clock.advance(50);
  link.requestMs = (method) => (method === 'txn' ? 20 : 0);
  const { txn } = link.sent;
  const failed = t.throwsAsync(office.resign({ handTo: ({ value }) => value === 'heir' }), { instanceOf: HandOverFailed });
  // It has been read that both are there, and a request is on its way to move the one that stands before.
  while (link.sent.txn < txn + 2) await w.clock.advance(1);
  before.abort();
  await t.throwsAsync(w.clock.until(stays.elected));
  // Read again, the heir stands alone, and a request is on its way that chooses it.
  while (link.sent.txn < txn + 4) await w.clock.advance(1);
  t.deepEqual((await w.clock.until(candidates(w.store, 'x'))).map(({ value }) => value), ['first', 'heir']);
  heir.abort();
  await t.throwsAsync(w.clock.until(goes.elected));
  await w.clock.until(failed);
  t.true(office.isLeader);
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/chosen/')), []);
  t.deepEqual((await w.clock.until(candidates(w.store, 'x'))).map(({ value }) => value), ['first']);
  await w.end();
});

test('a hand-over to nobody, or past somebody who would not follow, ends nothing', async (t) => {
  const w = await world(10);
  const session = await open(w);
  const office = await w.clock.until(campaign(session, 'x', 'first'));
  await t.throwsAsync(w.clock.until(office.resign({ handTo: 'nobody' })), { instanceOf: HandOverFailed });
  t.true(office.isLeader);
  const foreign = await w.clock.until(w.store.grant(60));
  const theirs = utf8(`${ROOT}x/${foreign.id.toString(16)}`);
  await w.clock.until(w.store.txn({ success: [opPut(theirs, utf8('go'), { lease: foreign.id })] }));
  const ours = candidacy(await open(w), 'b', { priority: 3 });
  await w.clock.advance(50);
  const error = await t.throwsAsync(w.clock.until(office.resign({ handTo: ({ value }) => value === 'b' })));
  t.true(error instanceof HandOverFailed && error.code === 'hand_over_failed');
  await t.throwsAsync(w.clock.until(office.resign({ handTo: ({ value }) => value === 'go' })), { instanceOf: HandOverFailed });
  t.true(office.isLeader && !office.signal.aborted);
  await w.clock.until(office.resign());
  await w.clock.advance(100);
  t.is((await w.clock.until(leader(w.store, 'x')))?.value, 'go');
  await w.clock.until(w.store.revoke(foreign.id));
  t.is((await w.clock.until(ours.elected)).value, 'b');
  await w.end();
});

test('a hand-over while the store is away times out, ends nothing, and can be tried again', async (t) => {
  const w = await world(10);
  const link = w.link();
  const office = await w.clock.until(campaign(await open(w, link, 60), 'x', 'first'));
  for (const value of ['a', 'b']) {
    candidacy(await open(w, w.link(), 60), value);
    await w.clock.advance(1);
  }
  link.freeze();
  const error = await t.throwsAsync(w.clock.until(office.resign({ handTo: ({ value }) => value === 'b', timeoutMs: 2_000 })));
  t.true(isApiError(error, 'deadline_exceeded'));
  t.true(office.isLeader);
  link.thaw();
  await w.clock.until(office.resign({ handTo: ({ value }) => value === 'b' }));
  await w.clock.advance(10);
  t.is((await w.clock.until(leader(w.store, 'x')))?.value, 'b');
  await w.end();
});

test('a candidacy that was created twice, moved and given up leaves nothing when the first creation lands at last', async (t) => {
  const w = await world(11);
  let first = true;
  const session = await open(w, haunted(w.link(), w.clock, (request) => {
    if (!first || !creates(request, ROOT)) return { kind: 'normal' };
    first = false;
    return { kind: 'late', delayMs: 20_000 };
  }), 60);
  const office = await w.clock.until(campaign(await open(w), 'x', 'first'));
  const abort = new AbortController();
  const low = candidacy(session, 'low', { signal: abort.signal });
  await w.clock.advance(1_000);
  const high = candidacy(await open(w), 'high', { priority: 1 });
  await w.clock.advance(100);
  await w.clock.until(office.resign());
  await w.clock.until(high.elected);
  await w.clock.advance(100);
  t.regex((await w.clock.until(keysUnder(w.store, `${ROOT}x/`))).map(({ key }) => text(key)).join(' '), /~0\.1/);
  abort.abort();
  await t.throwsAsync(w.clock.until(low.elected));
  await w.clock.advance(30_000);
  t.deepEqual((await w.clock.until(candidates(w.store, 'x'))).map(({ value }) => value), ['high']);
  await w.end();
});

test('a leader that is asked to resign hears it', async (t) => {
  const w = await world(10);
  const office = await w.clock.until(campaign(await open(w), 'x/y', 'a'));
  const { wanted } = office;
  await w.clock.advance(10);
  t.true(await w.clock.until(requestResign(w.store, 'x/y', 'a release is due')));
  await w.clock.advance(10);
  t.true(wanted.aborted);
  t.true(office.isLeader);
  await w.clock.until(office.resign());
  t.false(await w.clock.until(requestResign(w.store, 'x/y', 'again')));
  await w.end();
});

test('E9 after everything has crashed somebody leads within the dead leader\'s TTL and a moment', async (t) => {
  const w = await world(9);
  const links = [w.link(), w.link(), w.link()];
  for (const [i, link] of links.entries()) {
    candidacy(await open(w, link, 5), `dead ${i}`);
    await w.clock.advance(1);
  }
  await w.clock.advance(4_000);
  for (const link of links) link.freeze();
  const from = w.clock.now();
  const office = await w.clock.until(campaign(await open(w, w.link(), 5), 'x', 'restarted'));
  const ms = w.clock.now() - from;
  t.log(`${ms} ms after the crash, at a TTL of 5 s`);
  t.true(ms <= 5_000 + 200);
  t.true(office.isLeader);
  await w.end();
});
