// Read/write locks on a simulated clock: who shares, who waits for whom, and what it costs. What they have in common with
// everything held is in held.test.ts.

import test from 'ava';
import { text } from '../../core/base/bytes.js';
import { isApiError } from '../../core/errors.js';
import type { HeldLock } from '../../recipes/lock.js';
import { readLock, rwLockState, tryReadLock, tryWriteLock, writeLock } from '../../recipes/rw-lock.js';
import { Session } from '../../recipes/session.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

function open(w: World, link = w.link(), name = 'someone'): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds: 10, clock: w.clock, name }));
}

function watched(promise: Promise<HeldLock>): { readonly promise: Promise<HeldLock>; now(): HeldLock | null } {
  let held: HeldLock | null = null;
  return { promise: promise.then((one) => (held = one)), now: () => held };
}

test('readers share, a writer is alone, and each is first come first served', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const readers = await w.clock.until(Promise.all([session, session, await open(w)].map((each) => readLock(each, 'x'))));
  t.true(readers.every(({ isHeld }) => isHeld));
  const writer = watched(writeLock(await open(w), 'x'));
  await w.clock.advance(10);
  const late = [watched(readLock(await open(w), 'x')), watched(readLock(await open(w), 'x'))];
  await w.clock.advance(10);
  const second = watched(writeLock(session, 'x'));
  await w.clock.advance(1_000);
  t.is(writer.now(), null);
  t.true(late.every((one) => one.now() === null), 'a reader does not pass a writer that waits');
  for (const [i, each] of readers.entries()) {
    t.is(writer.now(), null, `${i} of 3 readers are gone`);
    await w.clock.until(each.release());
    await w.clock.advance(10);
  }
  const alone = await w.clock.until(writer.promise);
  t.true(late.every((one) => one.now() === null));
  await w.clock.until(alone.release());
  const both = await w.clock.until(Promise.all(late.map(({ promise }) => promise)));
  t.is(second.now(), null);
  await w.clock.until(Promise.all(both.map((each) => each.release())));
  const last = await w.clock.until(second.promise);
  const fences = [...readers.map(({ fence }) => fence), alone.fence, ...both.map(({ fence }) => fence), last.fence];
  t.deepEqual(fences, fences.toSorted((a, b) => a - b));
  await w.clock.until(last.release());
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/')), []);
  await w.end();
});

test('a free one takes one round trip, in etcd\'s layout; a try that misses writes nothing', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await open(w, link);
  const before = link.sent.txn;
  const held = await w.clock.until(readLock(session, 'a/b'));
  t.is(link.sent.txn - before, 1);
  t.is(text(held.key), `coterie/rwlocks/a%2Fb/read/${session.lease.toString(16)}`);
  const revision = held.fence;
  t.is(await w.clock.until(tryWriteLock(session, 'a/b')), null);
  const shared = await w.clock.until(tryReadLock(session, 'a/b'));
  t.is(shared?.fence, revision + 1, 'nothing was written by the try before');
  await w.clock.until(Promise.all([held.release(), shared?.release()]));
  const writer = await w.clock.until(tryWriteLock(session, 'a/b'));
  t.is(text(writer?.key ?? new Uint8Array()), `coterie/rwlocks/a%2Fb/write/${session.lease.toString(16)}`);
  t.is(await w.clock.until(tryReadLock(session, 'a/b')), null);
  await t.throwsAsync(w.clock.until(readLock(session, '')), { message: /the lock's name is ""/ });
  const interop = await w.clock.until(readLock(session, 'pfx', { root: '' }));
  t.is(text(interop.key), `pfx/read/${session.lease.toString(16)}`);
  await w.end();
});

test('a writer that gives up lets the readers behind it share with those before it', async (t) => {
  const w = await world(2);
  const session = await open(w);
  const first = await w.clock.until(readLock(session, 'x'));
  const abort = new AbortController();
  const writer = t.throwsAsync(writeLock(await open(w), 'x', { signal: abort.signal }));
  await w.clock.advance(10);
  const behind = watched(readLock(await open(w), 'x'));
  await w.clock.advance(1_000);
  t.is(behind.now(), null);
  abort.abort();
  t.true(isApiError(await w.clock.until(writer), 'canceled'));
  await w.clock.until(behind.promise);
  t.true(first.isHeld);
  await w.end();
});

test('who holds it and who waits can be seen, and a holder can be asked to give it back', async (t) => {
  const w = await world(3);
  const [a, b] = [await open(w, w.link(), 'a'), await open(w, w.link(), 'b')];
  t.deepEqual((await w.clock.until(rwLockState(w.store, 'x'))).holders, []);
  const held = await w.clock.until(Promise.all([readLock(a, 'x', { info: { pid: 7 } }), readLock(b, 'x')]));
  const writer = watched(writeLock(b, 'x'));
  await w.clock.advance(10);
  const reader = watched(readLock(a, 'x'));
  await w.clock.advance(10);
  const state = await w.clock.until(rwLockState(w.store, 'x'));
  t.deepEqual(state.holders.map(({ kind, info }) => [kind, info]), [['read', { name: 'a', pid: 7 }], ['read', { name: 'b' }]]);
  t.deepEqual(state.waiters.map(({ kind, info }) => [kind, info.name]), [['write', 'b'], ['read', 'a']]);
  await w.clock.until(Promise.all(held.map((each) => each.release())));
  const alone = await w.clock.until(writer.promise);
  const now = await w.clock.until(rwLockState(w.store, 'x'));
  t.deepEqual([now.holders.map(({ kind }) => kind), now.waiters.map(({ kind }) => kind)], [['write'], ['read']]);
  await w.clock.until(alone.release());
  await w.clock.until(reader.promise);
  await w.end();
});

test('L11 a release wakes nobody but those whose turn it is, with 10 waiters and with 300', async (t) => {
  const costs: number[] = [];
  for (const waiters of [10, 300]) {
    const w = await world(11);
    const link = w.link();
    const session = await w.clock.until(Session.open(link, { ttlSeconds: 600, clock: w.clock }));
    let held: HeldLock = await w.clock.until(writeLock(session, 'x'));
    const rest = [];
    for (let i = 0; i < waiters; i += 1) rest.push(i % 2 === 0 ? readLock(session, 'x') : writeLock(session, 'x'));
    for (const one of rest) one.catch(() => undefined);
    await w.clock.advance(1_000);
    const before = { ...link.sent };
    for (let i = 0; i < 10; i += 1) {
      await w.clock.until(held.release());
      held = await w.clock.until(rest[i] ?? Promise.reject(new Error('nobody')));
    }
    costs.push((link.sent.txn + link.sent.range + link.sent.watch - before.txn - before.range - before.watch) / 10);
    await w.clock.until(session.close());
    await w.end();
  }
  t.log(costs);
  t.is(costs[0], costs[1]);
});
