// Locks on a simulated clock and a bad network: what holds at which instant. The same claims against real servers are in
// lock-homes.test.ts. Each test's id is the one its requirement has in the design.
//
// Long because the claims are many and each is its own story.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { del, get, prefixRange, put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError, isApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, EntryMayRemain, Released } from '../../recipes/held.js';
import type { LineEvent } from '../../recipes/line.js';
import type { HeldLock } from '../../recipes/lock.js';
import { lock, tryLock, withLock } from '../../recipes/lock.js';
import type { LossReason } from '../../recipes/session.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { creates, haunted } from './ghosts.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const ROOT = 'coterie/locks/';

function open(w: World, link: Client, ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds, clock: w.clock }));
}

async function entries(w: World, name: string): Promise<number> {
  return (await w.clock.until(keysUnder(w.store, `${ROOT}${name}/`))).length;
}

/** Everything recipes have written, wherever. */
async function traces(w: World): Promise<readonly string[]> {
  return (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
}

test('a free lock takes one round trip, its entry is etcd\'s, and release removes it', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await open(w, link);
  const before = { ...link.sent };
  const held = await w.clock.until(lock(session, 'nightly'));
  t.is(link.sent.txn - before.txn, 1);
  t.is(text(held.key), `${ROOT}nightly/${session.lease.toString(16)}`);
  t.true(held.isHeld);
  const entry = await w.clock.until(get(w.store, held.key));
  t.is(entry?.createRevision, held.fence);
  t.is(entry?.lease, session.lease);
  const releasing = held.release();
  t.false(held.isHeld, 'it ends here before the store can give it to anybody else');
  t.true(held.signal.aborted);
  await w.clock.until(releasing);
  t.is(link.sent.txn - before.txn, 2);
  t.false(held.isHeld);
  t.true(held.signal.reason instanceof Released);
  t.throws(() => held.assertHeld(), { instanceOf: Released });
  t.deepEqual(await traces(w), []);
  t.is(link.sent.watch, before.watch, 'held so shortly that nothing needed to be watched');
  await w.clock.until(session.close());
  await w.end();
});

test('waiters get it in the order they came, each with a higher fence', async (t) => {
  const w = await world(1);
  const order: number[] = [];
  const fences: number[] = [];
  const tasks = [];
  for (let i = 0; i < 20; i += 1) {
    const session = await open(w, w.link());
    tasks.push(withLock(session, 'a', async (held) => {
      order.push(i);
      fences.push(held.fence);
      await new Promise<void>((resolve) => {
        w.clock.schedule(100, resolve);
      });
      t.true(held.isHeld);
    }));
    await w.clock.advance(1);
  }
  await w.clock.until(Promise.all(tasks));
  t.deepEqual(order, Array.from({ length: 20 }, (_, i) => i));
  t.deepEqual(fences, fences.toSorted((a, b) => a - b));
  t.is(await entries(w, 'a'), 0);
  await w.end();
});

test('a waiter in the middle goes, in every way there is: who stood behind it waits for the one before it', async (t) => {
  const w = await world(1);
  for (const way of ['gives up', 'is revoked', 'is deleted'] as const) {
    const [first, middle, last] = [await open(w, w.link(), 60), await open(w, w.link()), await open(w, w.link(), 60)];
    const held = await w.clock.until(lock(first, 'x'));
    const control = new AbortController();
    const gone = t.throwsAsync(lock(middle, 'x', { signal: control.signal }), undefined, way);
    await w.clock.advance(10);
    let isHeld = false;
    const waiting = lock(last, 'x').then((it) => {
      isHeld = true;
      return it;
    });
    await w.clock.advance(10);
    const [, second] = (await w.clock.until(keysUnder(w.store, ROOT))).toSorted((a, b) => a.createRevision - b.createRevision);
    t.is(second?.lease, middle.lease);
    if (way === 'gives up') control.abort();
    if (way === 'is revoked') await w.clock.until(w.store.revoke(middle.lease));
    if (way === 'is deleted' && second !== undefined) await w.clock.until(del(w.store, second.key));
    await w.clock.advance(5_000);
    t.false(isHeld, way);
    t.true(held.isHeld, way);
    await w.clock.until(held.release());
    const next = await w.clock.until(waiting);
    t.true(next.fence > held.fence, way);
    // Whose entry was deleted stands at the end again.
    control.abort();
    await w.clock.until(gone);
    await w.clock.until(next.release());
    for (const session of [first, middle, last]) await w.clock.until(session.close());
  }
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('two tasks of one session exclude each other', async (t) => {
  const w = await world(1);
  const session = await open(w, w.link());
  const first = await w.clock.until(lock(session, 'a'));
  t.is(await w.clock.until(tryLock(session, 'a')), null);
  const second = lock(session, 'a');
  await w.clock.advance(1_000);
  t.is(await entries(w, 'a'), 2);
  await w.clock.until(first.release());
  const held = await w.clock.until(second);
  t.regex(text(held.key), /-1$/);
  t.true(held.fence > first.fence);
  await w.clock.until(held.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('L1 the waiter\'s lease is revoked: its wait rejects at once, while the holder still holds', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w, w.link()), await open(w, w.link(), 30)];
  const held = await w.clock.until(lock(a, 'x'));
  const waiting = lock(b, 'x');
  await w.clock.advance(1_000);
  const from = w.clock.now();
  await w.clock.until(w.store.revoke(b.lease));
  const error = await t.throwsAsync(w.clock.until(waiting), { instanceOf: SessionLost });
  t.is(error.reason, 'revoked');
  t.true(w.clock.now() - from < 1_000, `${w.clock.now() - from} ms`);
  t.true(held.isHeld);
  await w.clock.until(held.release());
  t.is(await entries(w, 'x'), 0);
  await w.end();
});

test('L1 the waiter\'s link freezes: its wait rejects within the TTL, and nobody waits for it longer than that', async (t) => {
  const w = await world(1);
  const frozen = w.link();
  const [a, b, c] = [await open(w, w.link()), await open(w, frozen, 5), await open(w, w.link())];
  const held = await w.clock.until(lock(a, 'x'));
  const waiting = lock(b, 'x');
  const rejected = t.throwsAsync(waiting, { instanceOf: SessionLost });
  await w.clock.advance(100);
  const behind = lock(c, 'x');
  await w.clock.advance(100);
  frozen.freeze();
  const from = w.clock.now();
  await w.clock.until(rejected);
  t.true(w.clock.now() - from <= 5_000);
  t.true(held.isHeld);
  await w.clock.until(held.release());
  const next = await w.clock.until(behind);
  t.true(w.clock.now() - from <= 5_000 + 1_000, `the one behind got it after ${w.clock.now() - from} ms`);
  await w.clock.until(next.release());
  frozen.thaw();
  await w.clock.advance(10_000);
  t.deepEqual(await traces(w), [], 'what came late through the link left nothing');
  await w.end();
});

test('L2 a grant answered after the lease has expired is not believed: acquire rejects', async (t) => {
  const w = await world(2);
  for (const contended of [false, true]) {
    const slow = w.link();
    const [a, b] = [await open(w, w.link()), await open(w, slow, 3)];
    const held = contended ? await w.clock.until(lock(a, 'x')) : null;
    if (!contended) slow.answerMs = (method) => (method === 'txn' ? 8_000 : 0);
    const waiting = t.throwsAsync(lock(b, 'x'), { instanceOf: SessionLost });
    await w.clock.advance(500);
    slow.answerMs = (method) => (method === 'txn' ? 8_000 : 0);
    slow.refuse = (method) => method === 'keepAlive';
    await w.clock.until(held?.release() ?? Promise.resolve());
    const error = await w.clock.until(waiting);
    t.is(error?.reason, 'unreachable');
    await w.clock.advance(10_000);
    t.is(await entries(w, 'x'), 0);
    await w.clock.until(a.close());
  }
  await w.end();
});

test('L2 this process stood still while the grant was on its way: acquire rejects', async (t) => {
  const w = await world(2);
  const link = w.link();
  const session = await open(w, link, 3);
  // The answer is the first thing that runs after the stall, before any timer of the session.
  link.answerMs = (method) => (method === 'txn' ? 600 : 0);
  const waiting = t.throwsAsync(lock(session, 'x'), { instanceOf: SessionLost });
  await w.clock.advance(500);
  w.clock.jump(6_000);
  t.is((await w.clock.until(waiting))?.reason, 'stalled');
  await w.end();
});

test('L3 the holder\'s lease is revoked: its signal aborts at once with a typed reason', async (t) => {
  const w = await world(3);
  const session = await open(w, w.link());
  const held = await w.clock.until(lock(session, 'x'));
  const other = await open(w, w.link());
  const next = lock(other, 'x');
  await w.clock.advance(1_000);
  await w.clock.until(w.store.revoke(session.lease));
  await w.clock.advance(50);
  t.true(held.signal.aborted);
  t.true(held.signal.reason instanceof EntryLost);
  t.false(held.isHeld);
  t.is(held.remaining, 0);
  t.is(session.state, 'lost', 'the loss of a key makes the session ask at once');
  const refused = await t.throwsAsync(w.clock.until(held.txn().put('effect', '1').commit()), { instanceOf: FencedOut });
  t.is(refused.cause, held.signal.reason);
  await w.clock.until(held.release());
  await w.clock.until((await w.clock.until(next)).release());
  await w.end();
});

test('L3 the entry is deleted by hand: the holder is told, the session lives, and the next one gets it', async (t) => {
  const w = await world(3);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const events: LineEvent[] = [];
  const held = await w.clock.until(lock(a, 'x', { observe: (event) => events.push(event) }));
  const next = lock(b, 'x');
  await w.clock.advance(100);
  await w.clock.until(del(w.store, held.key));
  const second = await w.clock.until(next);
  await w.clock.advance(10);
  t.true(held.signal.reason instanceof EntryLost);
  t.true(a.live);
  t.deepEqual(events.map(({ kind }) => kind), ['entered', 'lost']);
  // What the store says is said to a holder who does not know yet.
  await w.clock.until(del(w.store, second.key));
  const refused = await t.throwsAsync(w.clock.until(second.txn().put('effect', '1').commit()), { instanceOf: FencedOut });
  t.is(refused.token, second.fence);
  t.is(await w.clock.until(get(w.store, utf8('effect'))), null);
  const again = await w.clock.until(lock(a, 'x'));
  t.true(again.fence > second.fence);
  await w.clock.until(again.release());
  await w.end();
});

test('L3 a holder whose watch is cut looks again, and learns of what it has missed', async (t) => {
  const w = await world(3);
  const link = w.link();
  const session = await open(w, link);
  const held = await w.clock.until(lock(session, 'x'));
  await w.clock.advance(1_000);
  link.down();
  await w.clock.advance(500);
  link.up();
  await w.clock.advance(3_000);
  t.true(held.isHeld);
  link.down();
  await w.clock.until(del(w.store, held.key));
  await w.clock.advance(500);
  link.up();
  await w.clock.advance(3_000);
  t.true(held.signal.reason instanceof EntryLost);
  t.true(session.live);
  await w.end();
});

test('L3 while the holder\'s watch is cut its key is deleted and comes back as somebody else\'s: it is told', async (t) => {
  const w = await world(3);
  const link = w.link();
  const session = await open(w, link);
  const held = await w.clock.until(lock(session, 'x'));
  await w.clock.advance(1_000);
  link.down();
  await w.clock.until(del(w.store, held.key));
  await w.clock.until(put(w.store, held.key, utf8('theirs')));
  await w.clock.advance(500);
  link.up();
  await w.clock.advance(3_000);
  t.true(held.signal.reason instanceof EntryLost);
  t.is(await entries(w, 'x'), 1, 'theirs is left alone');
  await w.end();
});

test('L4 the answer to the release is lost: it is confirmed all the same, and the next acquire succeeds', async (t) => {
  const w = await world(4);
  const link = w.link();
  const session = await open(w, link);
  const held = await w.clock.until(lock(session, 'x'));
  link.answerMs = () => 100;
  const releasing = held.release();
  await w.clock.advance(50);
  link.down();
  await w.clock.advance(10);
  link.up();
  link.answerMs = () => 0;
  await w.clock.until(releasing);
  const again = await w.clock.until(lock(session, 'x'));
  t.is(text(again.key), text(held.key));
  t.true(again.fence > held.fence);
  await w.clock.advance(2_000);
  t.true(again.isHeld, 'the first release, sent again, does not hit the entry that came after it');
  await w.clock.until(again.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('L4 a release that lands long after it was confirmed does not hit the entry that came after it', async (t) => {
  const w = await world(4);
  let late = true;
  const session = await open(w, haunted(w.link(), w.clock, (request) => {
    if (!late || request.success?.[0]?.kind !== 'delete') return { kind: 'normal' };
    late = false;
    return { kind: 'late', delayMs: 3_000 };
  }));
  await w.clock.until((await w.clock.until(lock(session, 'x'))).release());
  const held = await w.clock.until(lock(session, 'x'));
  await w.clock.advance(5_000);
  t.false(late);
  t.true(held.isHeld);
  await w.clock.until(held.txn().put('effect', '1').commit());
  await w.clock.until(held.release());
  t.is(await entries(w, 'x'), 0);
  await w.end();
});

test('L4 a release that cannot be confirmed says so, goes on, and never calls the lock free meanwhile', async (t) => {
  const w = await world(4);
  const link = w.link();
  const session = await open(w, link, 60);
  const held = await w.clock.until(lock(session, 'x'));
  link.down();
  const from = w.clock.now();
  const error = await t.throwsAsync(w.clock.until(held.release()), { instanceOf: EntryMayRemain });
  t.true(error.entryMayRemain && isApiError(error, 'deadline_exceeded'));
  t.is(w.clock.now() - from, 5_000);
  const again = lock(session, 'x');
  link.up();
  await w.clock.until(held.release());
  const second = await w.clock.until(again);
  t.is(await entries(w, 'x'), 1);
  await w.clock.until(second.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('L5 abort at every await point of acquire, 1,000 random points: no entry of ours is left', async (t) => {
  const w = await world(5);
  const sessions: Session[] = [];
  for (let i = 0; i < 25; i += 1) {
    const link = w.link();
    link.requestMs = () => w.prng.below(20);
    link.answerMs = () => w.prng.below(20);
    sessions.push(await open(w, link, 30));
  }
  const outcomes = { held: 0, canceled: 0, deadline_exceeded: 0 };
  const attempt = async (session: Session, name: string): Promise<void> => {
    const abort = new AbortController();
    const at = w.prng.below(400);
    const byTime = w.prng.below(2) === 0;
    w.clock.schedule(at, () => abort.abort());
    try {
      const held = await lock(session, name, byTime ? { timeoutMs: at } : { signal: abort.signal });
      outcomes.held += 1;
      await new Promise<void>((resolve) => {
        w.clock.schedule(w.prng.below(30), resolve);
      });
      await held.release();
    } catch (error) {
      const code = isApiError(error) ? error.code : 'internal';
      if (code !== 'canceled' && code !== 'deadline_exceeded') throw error;
      t.false(error instanceof EntryMayRemain, 'the store can be reached');
      outcomes[code] += 1;
      const mine = `${ROOT}${name}/${session.lease.toString(16)}`;
      t.deepEqual((await keysUnder(w.store, mine)).map(({ key }) => text(key)), [], 'gone before the promise rejects');
    }
  };
  const walks = sessions.map(async (session, i) => {
    for (let round = 0; round < 40; round += 1) await attempt(session, `x${i % 4}`);
  });
  await w.clock.until(Promise.all(walks));
  t.log(outcomes);
  t.true(outcomes.held > 100 && outcomes.canceled > 100 && outcomes.deadline_exceeded > 100);
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('L6 the answer to the creation is lost: the acquisition succeeds with exactly one entry', async (t) => {
  const w = await world(6);
  let drop = true;
  const session = await open(w, haunted(w.link(), w.clock, (request) => {
    if (!drop || !creates(request, ROOT)) return { kind: 'normal' };
    drop = false;
    return { kind: 'unanswered' };
  }));
  const held = await w.clock.until(lock(session, 'x'));
  t.is(await entries(w, 'x'), 1);
  t.is((await w.clock.until(get(w.store, held.key)))?.createRevision, held.fence);
  await w.clock.until(held.release());
  t.deepEqual(await traces(w), []);
  drop = true;
  t.not(await w.clock.until(tryLock(session, 'x')), null, 'also for a try');
  await w.end();
});

test('L6 a creation that lands after everything else was over leaves no entry', async (t) => {
  const w = await world(6);
  for (const way of ['released', 'aborted', 'deleted by hand']) {
    let first = true;
    const session = await open(w, haunted(w.link(), w.clock, (request) => {
      if (!first || !creates(request, ROOT)) return { kind: 'normal' };
      first = false;
      return { kind: 'late', delayMs: 20_000 };
    }), 60);
    const abort = new AbortController();
    if (way === 'aborted') {
      w.clock.schedule(10, () => abort.abort());
      await t.throwsAsync(w.clock.until(lock(session, 'x', { signal: abort.signal })), { code: 'canceled' });
    } else {
      const held = await w.clock.until(lock(session, 'x'));
      await w.clock.advance(100);
      if (way === 'released') await w.clock.until(held.release());
      else await w.clock.until(del(w.store, held.key));
    }
    await w.clock.advance(1_000);
    const second = await w.clock.until(lock(session, 'x'));
    await w.clock.until(second.release());
    await w.clock.advance(30_000);
    t.is(await entries(w, 'x'), 0, way);
    t.true(session.live);
    await w.clock.until(session.close());
    t.deepEqual(await traces(w), [], 'the guard goes with the session');
  }
  await w.end();
});

test('L7 the entry of our previous session is somebody else\'s: the new session waits for it to die', async (t) => {
  const w = await world(7);
  const link = w.link();
  const old = await open(w, link, 6);
  const first = await w.clock.until(lock(old, 'x'));
  link.freeze();
  const session = await open(w, w.link());
  const waiting = lock(session, 'x');
  await w.clock.advance(3_000);
  t.is(await entries(w, 'x'), 2);
  t.true(first.isHeld);
  const held = await w.clock.until(waiting);
  t.false(first.isHeld);
  t.true(first.signal.reason instanceof SessionLost);
  t.true(held.fence > first.fence);
  await w.clock.until(held.release());
  await w.end();
});

test('L9 nothing that arrives late makes a lost lock held again, and nobody is left with an unhandled rejection', async (t) => {
  const w = await world(9);
  const link = w.link();
  const session = await open(w, link, 4);
  const held = await w.clock.until(lock(session, 'x'));
  await w.clock.advance(1_000);
  link.freeze();
  await w.clock.advance(3_500);
  t.false(held.isHeld);
  const reason: unknown = held.signal.reason;
  t.true(reason instanceof SessionLost);
  const late = t.throwsAsync(held.txn().put('effect', '1').commit(), { instanceOf: FencedOut });
  link.thaw();
  await w.clock.until(late);
  await w.clock.advance(20_000);
  t.false(held.isHeld);
  t.is(held.signal.reason, reason);
  t.throws(() => held.assertHeld(), { is: reason as Error });
  t.is(await entries(w, 'x'), 0);
  await w.clock.until(held.release());
  await t.throwsAsync(w.clock.until(lock(session, 'x')), { instanceOf: SessionLost });
  await w.end();
});

test('L9 the first statement after a stall sees that the lock is lost', async (t) => {
  const w = await world(9);
  const session = await open(w, w.link(), 4);
  const held = await w.clock.until(lock(session, 'x'));
  const { signal } = held;
  w.clock.jump(6_000);
  t.false(held.isHeld);
  t.true(signal.aborted);
  t.throws(() => held.assertHeld(), { instanceOf: SessionLost });
  await w.end();
});

test('L10 the work\'s error surfaces whatever the release does, and has the release\'s error attached', async (t) => {
  const w = await world(10);
  const link = w.link();
  const session = await open(w, link, 60);
  const mine = new Error('the work failed');
  const seen: LineEvent[] = [];
  const failing = withLock(session, 'x', () => {
    link.down();
    throw mine;
  }, { observe: (event) => seen.push(event) });
  t.is(await t.throwsAsync(w.clock.until(failing)), mine);
  t.true((mine as { releaseError?: unknown }).releaseError instanceof EntryMayRemain);
  t.true(seen.some(({ kind }) => kind === 'release_unconfirmed'));
  link.up();
  await w.clock.advance(10_000);
  t.is(await entries(w, 'x'), 0, 'the release has gone on in the background');
  const value = await w.clock.until(withLock(session, 'x', () => {
    link.down();
    return 7;
  }));
  t.is(value, 7, 'what the work has done is not undone by a release that takes longer');
  link.up();
  await w.end();
});

test('L10 a lost handle is disposed of at once, and the loss is told where the work did not fail', async (t) => {
  const w = await world(10);
  const link = w.link();
  const session = await open(w, link, 4);
  let disposedIn = -1;
  const running = withLock(session, 'x', async (held) => {
    link.freeze();
    await new Promise<void>((resolve) => {
      held.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const from = w.clock.now();
    await held.release();
    disposedIn = w.clock.now() - from;
    return 7;
  });
  const error = await t.throwsAsync(w.clock.until(running), { instanceOf: SessionLost });
  t.is(error.reason, 'unreachable');
  t.is(disposedIn, 0);
  link.thaw();
  await w.end();
});

test('L10 leaving a scope never hides what it ended with', async (t) => {
  const w = await world(10);
  const link = w.link();
  const session = await open(w, link, 60);
  const mine = new Error('the scope failed');
  const scope = async (): Promise<void> => {
    await using held = await lock(session, 'x');
    t.true(held.isHeld);
    link.down();
    throw mine;
  };
  t.is(await t.throwsAsync(w.clock.until(scope())), mine);
  link.up();
  await w.end();
});

test('L11 1,000 waiters: a hand-over takes as many operations as with 10', async (t) => {
  const perHandOver: Record<number, number> = {};
  for (const waiters of [10, 100, 1_000]) {
    const w = await world(11);
    const link = w.link();
    const session = await open(w, link, 600);
    const first = await w.clock.until(lock(session, 'x'));
    const rest = Array.from({ length: waiters }, () => lock(session, 'x'));
    await w.clock.advance(1_000);
    const before = { ...link.sent };
    let held: HeldLock = first;
    const hands = 10;
    for (let i = 0; i < hands; i += 1) {
      await w.clock.until(held.release());
      held = await w.clock.until(rest[i] ?? Promise.reject(new Error('nobody')));
      t.is(await entries(w, 'x'), waiters - i);
    }
    const sum = link.sent.txn + link.sent.range + link.sent.watch - before.txn - before.range - before.watch;
    perHandOver[waiters] = sum / hands;
    t.is((link.sent.txn - before.txn) / hands, 2, 'one to release, one to look');
    for (const one of rest) one.catch(() => undefined);
    await w.clock.until(session.close());
    await w.end();
  }
  t.log(perHandOver);
  t.is(perHandOver[1_000], perHandOver[10]);
});

test('L12 whatever way the session ends, the lock ends with it and says so', async (t) => {
  const w = await world(12);
  const ways: Record<LossReason, (session: Session, link: ReturnType<World['link']>) => Promise<void> | void> = {
    unreachable: (_, link) => link.freeze(),
    expired: (_, link) => {
      link.answerMs = (method) => (method === 'keepAlive' ? 3_000 : 0);
    },
    stalled: () => w.clock.jump(6_000),
    revoked: (session) => w.store.revoke(session.lease).then(() => undefined),
    closed: (session) => session.close(),
  };
  for (const reason of Object.keys(ways) as LossReason[]) {
    const link = w.link();
    const session = await open(w, link, 4);
    const held = await w.clock.until(lock(session, 'x'));
    // Before the watch starts, so that the session is what tells.
    await w.clock.until(Promise.resolve(ways[reason](session, link)));
    await w.clock.advance(4_000);
    t.false(held.isHeld, reason);
    const ended: unknown = held.signal.reason;
    if (reason === 'revoked') t.true(ended instanceof EntryLost);
    else if (reason === 'expired') t.true(ended instanceof SessionLost);
    else t.is(ended instanceof SessionLost ? ended.reason : '', reason);
    link.thaw();
    await w.clock.advance(8_000);
    t.is(await entries(w, 'x'), 0, reason);
  }
  await w.end();
});

test('L13 every wait takes a signal and a time-out, and has left the line when it rejects', async (t) => {
  const w = await world(13);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const held = await w.clock.until(lock(a, 'x'));
  const early = new AbortController();
  early.abort(new Error('not wanted'));
  const none = await t.throwsAsync(w.clock.until(lock(b, 'x', { signal: early.signal })), { instanceOf: ApiError });
  t.is(none.code, 'canceled');
  t.is((none.cause as Error).message, 'not wanted');
  const from = w.clock.now();
  const late = await t.throwsAsync(w.clock.until(lock(b, 'x', { timeoutMs: 700 })), { instanceOf: ApiError });
  t.is(late.code, 'deadline_exceeded');
  t.regex(late.message, /waiting for lock x took more than 700 ms/);
  t.is(w.clock.now() - from, 700);
  t.is(await entries(w, 'x'), 1);
  const abort = new AbortController();
  w.clock.schedule(300, () => abort.abort());
  await t.throwsAsync(w.clock.until(lock(b, 'x', { signal: abort.signal })), { code: 'canceled' });
  t.is(await entries(w, 'x'), 1);
  await w.clock.until(held.release());
  await w.end();
});

test('L13 a wait that nothing bounds is told of, once, after a configurable age', async (t) => {
  const w = await world(13);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const held = await w.clock.until(lock(a, 'x'));
  const events: LineEvent[] = [];
  const observe = (event: LineEvent): unknown => event.kind === 'still_waiting' && events.push(event);
  const waiting = lock(b, 'x', { tellAfterMs: 5_000, observe });
  const bounded = t.throwsAsync(lock(b, 'x', { tellAfterMs: 5_000, timeoutMs: 15_000, observe }));
  await w.clock.advance(60_000);
  t.deepEqual(events, [{ kind: 'still_waiting', waitedMs: 5_000 }]);
  await bounded;
  await w.clock.until(held.release());
  await w.clock.until((await w.clock.until(waiting)).release());
  await w.end();
});

test('the store is away when a wait is given up: the error says that the entry may remain, for a while', async (t) => {
  const w = await world(13);
  const link = w.link();
  const [a, b] = [await open(w, w.link()), await open(w, link, 60)];
  const held = await w.clock.until(lock(a, 'x'));
  const waiting = t.throwsAsync(lock(b, 'x', { timeoutMs: 1_000 }), { instanceOf: EntryMayRemain });
  await w.clock.advance(500);
  link.down();
  const error = await w.clock.until(waiting);
  t.is(error?.code, 'deadline_exceeded');
  link.up();
  await w.clock.advance(5_000);
  t.is(await entries(w, 'x'), 1);
  await w.clock.until(held.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('the whole line is deleted under holder and waiters: they stand again, and one of them holds within 2 s', async (t) => {
  const w = await world(14);
  const sessions = [];
  for (let i = 0; i < 5; i += 1) sessions.push(await open(w, w.link()));
  const [first, ...others] = sessions;
  if (first === undefined) throw new Error('no session');
  const held = await w.clock.until(lock(first, 'x'));
  const order: number[] = [];
  const waits = others.map((session, i) => withLock(session, 'x', (next) => {
    order.push(next.fence);
    t.is(i >= 0, true);
  }));
  await w.clock.advance(500);
  const from = w.clock.now();
  const { key, rangeEnd } = prefixRange(utf8(`${ROOT}x/`));
  await w.clock.until(del(w.store, key, { rangeEnd }));
  await w.clock.until(Promise.all(waits));
  t.true(w.clock.now() - from < 2_000);
  t.true(held.signal.reason instanceof EntryLost);
  t.deepEqual(order, order.toSorted((a, b) => a - b));
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a try that misses writes nothing, and one that hits holds', async (t) => {
  const w = await world(15);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const held = await w.clock.until(tryLock(a, 'x'));
  t.true(held?.isHeld);
  const revision = (await w.clock.until(w.store.range({ key: utf8('a') }))).header.revision;
  for (let i = 0; i < 20; i += 1) t.is(await w.clock.until(tryLock(b, 'x')), null);
  t.is((await w.clock.until(w.store.range({ key: utf8('a') }))).header.revision, revision);
  await w.clock.until(held?.release() ?? Promise.resolve());
  t.not(await w.clock.until(tryLock(b, 'x')), null);
  await w.end();
});

test('an entry under our key that is not ours is left alone', async (t) => {
  const w = await world(15);
  const session = await open(w, w.link());
  const squatted = utf8(`${ROOT}x/${session.lease.toString(16)}`);
  await w.clock.until(put(w.store, squatted, utf8('not ours')));
  const waiting = lock(session, 'x');
  await w.clock.advance(1_000);
  t.is(await entries(w, 'x'), 2, 'we stand behind it');
  await w.clock.until(del(w.store, squatted));
  const held = await w.clock.until(waiting);
  t.regex(text(held.key), /-1$/);
  await w.clock.until(held.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});
