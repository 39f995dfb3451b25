// What a lock offers beyond being held: several as one, looking at it, asking for it, the delay after a loss, the plain key
// of clients that know no line, and entries that somebody moves. On a simulated clock.

import { readFileSync } from 'node:fs';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, get, put } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, Released } from '../../recipes/held.js';
import { ReleaseWanted } from '../../recipes/holding.js';
import { move } from '../../recipes/line.js';
import { lockState, requestRelease } from '../../recipes/lock-state.js';
import { lock, lockAll, tryLock } from '../../recipes/lock.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { World } from './world.js';
import { exists, keysUnder, world } from './world.js';

function open(w: World, client: Client, ttlSeconds = 10, name = 'n'): Promise<Session> {
  return w.clock.until(Session.open(client, { ttlSeconds, clock: w.clock, name }));
}

async function traces(w: World): Promise<readonly string[]> {
  return (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
}

test('several locks are all or none, and opposite orders cannot wait for each other', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  let together = 0;
  const both = async (session: Session, names: readonly string[]): Promise<void> => {
    for (let i = 0; i < 10; i += 1) {
      await using all = await lockAll(session, names);
      t.deepEqual(all.held.map(({ name }) => name), names);
      t.true(all.isHeld);
      together += 1;
      t.is(together, 1);
      await new Promise<void>((resolve) => {
        w.clock.schedule(10, resolve);
      });
      await all.txn().put('effect', 'x').commit();
      together -= 1;
    }
  };
  await w.clock.until(Promise.all([both(a, ['x', 'y', 'z']), both(b, ['z', 'x', 'y'])]));
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('several locks: a wait that nothing bounds is told of once', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const held = await w.clock.until(lock(a, 'y'));
  const kinds: string[] = [];
  const waiting = lockAll(b, ['x', 'y'], { tellAfterMs: 1_000, observe: ({ kind }) => kinds.push(kind) });
  await w.clock.advance(10_000);
  t.deepEqual(kinds, ['entered', 'entered', 'still_waiting']);
  await w.clock.until(held.release());
  await w.clock.until((await w.clock.until(waiting)).release());
  await w.end();
});

test('several locks: a wait given up gives back what was held already, and one lost lock ends the whole', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const y = await w.clock.until(lock(a, 'y'));
  await t.throwsAsync(w.clock.until(lockAll(b, ['x', 'y', 'z'], { timeoutMs: 500 })), { code: 'deadline_exceeded' });
  t.deepEqual(await traces(w), [text(y.key)]);
  const waiting = lockAll(b, ['x', 'y']);
  const lost = t.throwsAsync(waiting, { instanceOf: EntryLost });
  await w.clock.advance(100);
  const [x] = await w.clock.until(keysUnder(w.store, 'coterie/locks/x/'));
  await w.clock.until(del(w.store, x?.key ?? utf8('?')));
  await w.clock.until(lost);
  t.deepEqual(await traces(w), [text(y.key)], 'lost while it waited for the next: given back');
  await w.clock.until(y.release());
  const all = await w.clock.until(lockAll(b, ['x', 'y']));
  await w.clock.advance(100);
  await w.clock.until(del(w.store, all.held[1]?.key ?? utf8('?')));
  await w.clock.advance(100);
  t.true(all.signal.reason instanceof EntryLost);
  t.false(all.isHeld);
  t.is(all.remaining, 0);
  t.throws(() => all.assertHeld(), { instanceOf: EntryLost });
  await t.throwsAsync(w.clock.until(all.txn().put('effect', '1').commit()), { instanceOf: FencedOut });
  await w.clock.until(all.release());
  t.deepEqual(await traces(w), []);
  const twice = await t.throwsAsync(lockAll(b, ['x', 'x']), { instanceOf: ApiError });
  t.is(twice.code, 'invalid_request');
  await w.end();
});

test('a lock shows its holder and who waits, in order and at one revision', async (t) => {
  const w = await world(2);
  const sessions = [await open(w, w.link(), 10, 'one'), await open(w, w.link(), 10, 'two'), await open(w, w.link(), 10, 'three')];
  const [one, two, three] = sessions;
  if (one === undefined || two === undefined || three === undefined) throw new Error('no session');
  t.deepEqual((await w.clock.until(lockState(w.store, 'x'))).holder, null);
  const held = await w.clock.until(lock(one, 'x', { info: { host: 'h1', pid: 7, info: 'backup' }, lossDelayMs: 1_000 }));
  const waits = [lock(two, 'x'), lock(three, 'x')];
  await w.clock.advance(100);
  const state = await w.clock.until(lockState(w.store, 'x'));
  t.deepEqual(state.holder?.info, { name: 'one', host: 'h1', pid: 7, info: 'backup' });
  t.is(state.holder?.since, held.fence);
  t.is(state.holder?.lease, one.lease);
  t.deepEqual(state.waiters.map(({ info }) => info.name), ['two', 'three']);
  t.is(state.waiting, 2);
  t.deepEqual(state.delay, { fence: held.fence, delayMs: 1_000 });
  await w.clock.until(held.release());
  for (const wait of waits) await w.clock.until((await w.clock.until(wait)).release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a holder is asked to release: its wanted signal aborts with the reason, and only for the one who was asked', async (t) => {
  const w = await world(3);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  t.is(await w.clock.until(requestRelease(w.store, 'x', 'nobody there')), null);
  const held = await w.clock.until(lock(a, 'x'));
  const next = lock(b, 'x');
  await w.clock.advance(100);
  const wanted = held.wanted;
  await w.clock.advance(100);
  t.false(wanted.aborted);
  const asked = await w.clock.until(requestRelease(w.store, 'x', 'an upgrade'));
  t.is(asked?.since, held.fence);
  await w.clock.advance(100);
  t.true(wanted.aborted);
  t.true(wanted.reason instanceof ReleaseWanted && wanted.reason.why === 'an upgrade');
  t.true(held.isHeld, 'nothing is taken away');
  await w.clock.until(held.release());
  const second = await w.clock.until(next);
  await w.clock.until(requestRelease(w.store, 'x', 'asked before it looked'));
  const late = second.wanted;
  await w.clock.advance(100);
  t.true(late.reason instanceof ReleaseWanted);
  await w.clock.until(second.release());
  const third = await w.clock.until(lock(b, 'x'));
  const fresh = third.wanted;
  await w.clock.advance(1_000);
  t.false(fresh.aborted, 'what the holder before was asked is gone');
  await w.clock.until(third.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('what an earlier holder was asked is not heard by the next, though it holds under the same key', async (t) => {
  const w = await world(3);
  const session = await open(w, w.link());
  const first = await w.clock.until(lock(session, 'x'));
  await w.clock.until(requestRelease(w.store, 'x', 'an upgrade'));
  await w.clock.until(del(w.store, first.key));
  await w.clock.advance(1_000);
  t.true(first.signal.aborted);
  const second = await w.clock.until(lock(session, 'x'));
  t.deepEqual(second.key, first.key);
  const { wanted } = second;
  await w.clock.advance(1_000);
  t.false(wanted.aborted);
  await w.clock.until(requestRelease(w.store, 'x', 'another one'));
  await w.clock.advance(1_000);
  t.true(wanted.reason instanceof ReleaseWanted && wanted.reason.why === 'another one');
  await w.clock.until(second.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a request for a release is heard through a broken link', async (t) => {
  const w = await world(3);
  const link = w.link();
  const session = await open(w, link);
  const held = await w.clock.until(lock(session, 'x'));
  const wanted = held.wanted;
  await w.clock.advance(500);
  link.down();
  await w.clock.until(requestRelease(w.store, 'x', 'soon'));
  await w.clock.advance(1_000);
  link.up();
  await w.clock.advance(3_000);
  t.true(wanted.reason instanceof ReleaseWanted);
  await w.clock.until(held.release());
  await w.end();
});

test('after a loss the lock stays closed for the delay, after a release it does not', async (t) => {
  const w = await world(4);
  const link = w.link();
  const [a, b, c] = [await open(w, link, 5), await open(w, w.link()), await open(w, w.link())];
  const quick = await w.clock.until(lock(a, 'x', { lossDelayMs: 20_000 }));
  t.true(await w.clock.until(exists(w.store, 'coterie/delayed/coterie/locks/x/')));
  await w.clock.until(quick.release());
  t.deepEqual(await traces(w), []);
  const held = await w.clock.until(lock(a, 'x', { lossDelayMs: 20_000 }));
  const waiting = lock(b, 'x');
  await w.clock.advance(100);
  link.freeze();
  await new Promise<void>((resolve) => {
    held.signal.addEventListener('abort', () => resolve(), { once: true });
    void w.clock.advance(6_000);
  });
  t.true(held.signal.reason instanceof SessionLost);
  await w.clock.advance(6_000);
  const from = w.clock.now();
  t.is(await w.clock.until(tryLock(c, 'x')), null);
  const next = await w.clock.until(waiting);
  t.true(w.clock.now() - from > 12_000, `${w.clock.now() - from} ms more`);
  t.true(w.clock.now() - from < 22_000);
  await w.clock.until(next.release());
  t.deepEqual(await traces(w), []);
  link.thaw();
  await w.clock.advance(5_000);
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('the delay is counted once by the store: those who only try get in, too, and give-ups do not start it anew', async (t) => {
  const w = await world(5);
  const [a, b] = [await open(w, w.link(), 5), await open(w, w.link(), 60)];
  await w.clock.until(lock(a, 'x', { lossDelayMs: 10_000 }));
  await w.clock.until(a.close());
  const from = w.clock.now();
  let held = null;
  for (let i = 0; i < 100 && held === null; i += 1) {
    held = await w.clock.until(tryLock(b, 'x'));
    if (held === null) held = await w.clock.until(lock(b, 'x', { timeoutMs: 500 }).catch(() => null));
  }
  t.true(held?.isHeld);
  t.true(w.clock.now() - from >= 10_000 && w.clock.now() - from < 13_000, `${w.clock.now() - from} ms`);
  await w.clock.until(held?.release() ?? Promise.resolve());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('the lease of a delay ends before it could be used: the lock is had all the same', async (t) => {
  const w = await world(5);
  const link = w.link();
  const [a, b] = [await open(w, w.link(), 5), await open(w, link, 60)];
  await w.clock.until(lock(a, 'x', { lossDelayMs: 1_000 }));
  const waiting = lock(b, 'x', { timeoutMs: 60_000 });
  await w.clock.advance(100);
  link.answerMs = (method) => (method === 'grant' ? 5_000 : 0);
  await w.clock.until(a.close());
  await w.clock.advance(4_000);
  link.answerMs = () => 0;
  const from = w.clock.now();
  const held = await w.clock.until(waiting);
  t.true(w.clock.now() - from < 10_000, `${w.clock.now() - from} ms`);
  t.true(b.live);
  await w.clock.until(held.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a plain key excludes those who lock only it, both ways, and goes with the release', async (t) => {
  const w = await world(6);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const options = { root: '/locks/', plainKey: true };
  const plain = utf8('/locks/job');
  await w.clock.until(put(w.store, plain, utf8('theirs')));
  t.is(await w.clock.until(tryLock(a, 'job', options)), null);
  const waiting = lock(a, 'job', options);
  await w.clock.advance(1_000);
  await w.clock.until(del(w.store, plain));
  const held = await w.clock.until(waiting);
  t.is((await w.clock.until(get(w.store, plain)))?.lease, a.lease);
  const second = lock(b, 'job', options);
  await w.clock.advance(100);
  await w.clock.until(held.txn().put('effect', '1').commit());
  await w.clock.until(held.release());
  const next = await w.clock.until(second);
  t.is((await w.clock.until(get(w.store, plain)))?.lease, b.lease);
  await w.clock.advance(100);
  await w.clock.until(put(w.store, plain, utf8('theirs')));
  await w.clock.until(next.txn().put('effect', '2').commit());
  await w.clock.until(del(w.store, plain));
  await w.clock.advance(100);
  t.true(next.signal.reason instanceof EntryLost);
  await t.throwsAsync(w.clock.until(next.txn().put('effect', '3').commit()), { instanceOf: FencedOut });
  await w.clock.advance(1_000);
  t.deepEqual((await w.clock.until(keysUnder(w.store, '/locks/'))).length, 0, 'what was left of it is gone too');
  await w.end();
});

test('a plain key that somebody has taken from its holder is not given back by it', async (t) => {
  const w = await world(6);
  const session = await open(w, w.link());
  const plain = utf8('/locks/job');
  const held = await w.clock.until(lock(session, 'job', { root: '/locks/', plainKey: true }));
  await w.clock.until(put(w.store, plain, utf8('theirs')));
  await w.clock.until(held.release());
  t.is(text((await w.clock.until(get(w.store, plain)))?.value ?? utf8('')), 'theirs');
  t.is((await w.clock.until(keysUnder(w.store, '/locks/'))).length, 1);
  await w.end();
});

test('the line is deleted under a holder of the plain key: it is given back, and can be had again', async (t) => {
  const w = await world(6);
  const session = await open(w, w.link());
  const options = { root: '/locks/', plainKey: true };
  const held = await w.clock.until(lock(session, 'job', options));
  await w.clock.advance(100);
  await w.clock.until(del(w.store, held.key));
  const again = await w.clock.until(lock(session, 'job', options));
  t.true(held.signal.reason instanceof EntryLost);
  t.true(again.fence > held.fence);
  await w.clock.until(again.release());
  t.deepEqual(await w.clock.until(keysUnder(w.store, '/locks/')), []);
  await w.end();
});

test('a waiting entry that is moved to the end is followed by its owner', async (t) => {
  const w = await world(7);
  const sessions = [await open(w, w.link()), await open(w, w.link()), await open(w, w.link())];
  const order: number[] = [];
  const [first, ...rest] = sessions;
  if (first === undefined) throw new Error('no session');
  const held = await w.clock.until(lock(first, 'x'));
  const waits = [];
  for (const [i, session] of rest.entries()) {
    waits.push(lock(session, 'x').then(async (next) => {
      order.push(i);
      t.is(next.isHeld, true);
      if (i === 0) t.regex(text(next.key), /\.2$/);
      await next.release();
    }));
    await w.clock.advance(10);
  }
  for (let n = 0; n < 2; n += 1) {
    const entries = await w.clock.until(keysUnder(w.store, 'coterie/locks/x/'));
    const mine = entries.find(({ lease }) => lease === rest[0]?.lease);
    if (mine === undefined) throw new Error('no entry');
    t.true((await w.clock.until(w.store.txn(move(mine)))).succeeded);
    t.false((await w.clock.until(w.store.txn(move(mine)))).succeeded, 'moved once only');
    if (n === 0) await w.clock.advance(100);
  }
  await w.clock.until(held.release());
  await w.clock.until(Promise.all(waits));
  t.deepEqual(order, [1, 0]);
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a holder whose entry is moved has lost it, and nothing of it stands in the way of the next', async (t) => {
  const w = await world(7);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const held = await w.clock.until(lock(a, 'x'));
  const next = lock(b, 'x');
  await w.clock.advance(100);
  const entry = await w.clock.until(get(w.store, held.key));
  if (entry === null) throw new Error('no entry');
  await w.clock.until(w.store.txn(move(entry)));
  const second = await w.clock.until(next);
  await w.clock.advance(100);
  t.true(held.signal.reason instanceof EntryLost);
  await w.clock.until(second.release());
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('a moved entry is removed when its wait is given up', async (t) => {
  const w = await world(7);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const held = await w.clock.until(lock(a, 'x'));
  const abort = new AbortController();
  const waiting = t.throwsAsync(lock(b, 'x', { signal: abort.signal }), { code: 'canceled' });
  await w.clock.advance(100);
  const mine = (await w.clock.until(keysUnder(w.store, 'coterie/locks/x/'))).find(({ lease }) => lease === b.lease);
  if (mine === undefined) throw new Error('no entry');
  const moving = w.store.txn(move(mine));
  abort.abort();
  await w.clock.until(Promise.all([moving, waiting]));
  t.deepEqual(await traces(w), [text(held.key)]);
  await w.clock.until(held.release());
  await w.end();
});

test('names: a slash is written so that no lock is part of another, and what cannot be a name is refused', async (t) => {
  const w = await world(8);
  const session = await open(w, w.link());
  const [outer, inner] = [await w.clock.until(lock(session, 'a')), await w.clock.until(lock(session, 'a/b%'))];
  t.regex(text(inner.key), /^coterie\/locks\/a%2Fb%25\//);
  const verbatim = await w.clock.until(lock(session, 'a/b', { root: '' }));
  t.regex(text(verbatim.key), /^a\/b\//);
  for (const each of [outer, inner, verbatim]) await w.clock.until(each.release());
  for (const name of ['', 'x\n', '\ud800', 'x'.repeat(600)]) {
    const error = await t.throwsAsync(w.clock.until(lock(session, name)), { instanceOf: ApiError });
    t.is(error.code, 'invalid_request');
  }
  const wordy = lock(session, 'x', { info: { info: 'x'.repeat(5_000) } });
  const long = await t.throwsAsync(w.clock.until(wordy), { instanceOf: ApiError });
  t.is(long.code, 'invalid_request');
  t.deepEqual(await traces(w), []);
  t.true(outer.signal.reason instanceof Released);
  await w.end();
});

test('hundreds of locks on one session end with it, and Node sees no leak', async (t) => {
  const w = await world(9);
  const session = await open(w, w.link());
  const held = await w.clock.until(Promise.all(Array.from({ length: 200 }, (_, i) => lock(session, `x${i}`))));
  await w.clock.advance(1_000);
  t.true(held.every(({ isHeld }) => isHeld));
  await w.clock.until(session.close());
  t.true(held.every(({ isHeld, signal }) => !isHeld && signal.reason instanceof SessionLost));
  t.deepEqual(await traces(w), []);
  await w.end();
});

test('L14 the session\'s TTL is all that decides: a connection that breaks ends no lock sooner', async (t) => {
  const w = await world(14);
  const link = w.link();
  const [a, b] = [await open(w, link, 6), await open(w, w.link(), 60)];
  const held = await w.clock.until(lock(a, 'x'));
  const waiting = lock(b, 'x');
  // Broken for half a TTL, and again, and again: the store takes no notice of connections.
  for (let i = 0; i < 5; i += 1) {
    link.down();
    await w.clock.advance(3_000);
    link.up();
    await w.clock.advance(3_000);
    t.true(held.isHeld);
  }
  link.freeze();
  const from = w.clock.now();
  const next = await w.clock.until(waiting);
  const ms = w.clock.now() - from;
  t.true(ms > 6_000 / 2 && ms <= 6_000 + 1_000, `${ms} ms after the holder fell silent`);
  t.false(held.isHeld);
  t.true(next.fence > held.fence);
  t.regex(readFileSync('recipes/README.md', 'utf8'), /liveness of a holder is its session's TTL and nothing else/);
  await w.clock.until(next.release());
  await w.end();
});
