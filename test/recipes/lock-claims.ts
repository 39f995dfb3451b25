// What locks promise, as claims that are made of every place over real sockets: one member of coterie, one of etcd, and three
// whose leader is killed in the middle. Each function is the claim of the name that its comment begins with.

import { createInterface } from 'node:readline';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { text, utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { get, prefixRange } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, EntryMayRemain } from '../../recipes/held.js';
import { lock, withLock } from '../../recipes/lock.js';
import { acquirePermits, semaphoreState, tryPermits } from '../../recipes/semaphore.js';
import type { Session } from '../../recipes/session.js';
import { SessionLost } from '../../recipes/session.js';
import type { Claim } from './claims.js';
import { aborted, entries, insist, isPending, opened, patient, revoke, until, withinMs } from './claims.js';
import { clients, start, urlsOf } from './homes.js';

const ROOT = 'coterie/locks/';

/** L1. Within the TTL and a second; a busy machine is given two more. */
export const lostWaiters: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const holder = await opened(near);
  const held = await lock(holder, 'l1');
  const revoked = await opened(near, 20);
  const first = t.throwsAsync(lock(revoked, 'l1'), { instanceOf: SessionLost });
  const frozen = await opened(far, patient(place));
  const second = t.throwsAsync(lock(frozen, 'l1'), { instanceOf: SessionLost });
  await until(async () => await entries(near, `${ROOT}l1/`) === 3);
  const trouble = place.trouble();
  const from = performance.now();
  await revoke(near, revoked.lease);
  t.is((await first)?.reason, 'revoked', place.name);
  t.true(performance.now() - from < revoked.ttlMs + 10_000, `${place.name}: ${performance.now() - from} ms`);
  proxy.freeze();
  const since = performance.now();
  await second;
  t.true(performance.now() - since < frozen.ttlMs + 10_000, `${place.name}: ${performance.now() - since} ms`);
  await trouble;
  t.true(held.isHeld);
  await held.release();
  proxy.thaw();
  await holder.close();
};

/** L2. */
export const lateGrant: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const holder = await opened(near);
  const session = await opened(far, patient(place));
  const held = await lock(holder, 'l2');
  const waiting = t.throwsAsync(lock(session, 'l2'), { instanceOf: SessionLost });
  await until(async () => await entries(near, `${ROOT}l2/`) === 2);
  await sleep(300);
  proxy.freeze();
  await held.release();
  t.is(await entries(near, `${ROOT}l2/`), 1, 'the store has it first in line');
  await Promise.all([sleep(session.ttlMs + 500), place.trouble()]);
  proxy.thaw();
  const lost = await waiting;
  // Which of them, depends on how busy this machine is.
  t.true(['unreachable', 'stalled'].includes(lost?.reason ?? ''), `${place.name}: ${lost?.reason}`);
  const next = await lock(holder, 'l2', { timeoutMs: withinMs(place, session.ttlMs) });
  await next.release();
  await holder.close();
};

/** L3. */
export const lostHolders: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const [a, b] = [await opened(near, 30), await opened(near)];
  const [first, second] = [await lock(a, 'l3'), await lock(b, 'l3-b')];
  await sleep(200);
  const trouble = place.trouble();
  const from = performance.now();
  await revoke(near, a.lease);
  await aborted(first.signal);
  t.log(`${place.name}: told ${Math.round(performance.now() - from)} ms after the revocation was asked for`);
  // The session asks whenever it is time to: it may be the first to know.
  const reason: unknown = first.signal.reason;
  t.true(reason instanceof EntryLost || (reason instanceof SessionLost && reason.reason === 'revoked'), place.name);
  await insist(() => near.txn({ success: [{ kind: 'delete', request: { key: second.key } }] }));
  await aborted(second.signal);
  t.true(second.signal.reason instanceof EntryLost);
  t.true(b.live);
  await t.throwsAsync(second.txn().put('l3-effect', '1').commit(), { instanceOf: FencedOut });
  t.is(await insist(() => get(near, utf8('l3-effect'))), null);
  await aborted(a.signal);
  await trouble;
  await b.close();
};

/** L4. */
export const cutReleases: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const session = await opened(far);
  const trouble = place.trouble();
  let fence = 0;
  let isTroubled = true;
  void trouble.finally(() => (isTroubled = false));
  for (let run = 0; run < 12 || isTroubled; run += 1) {
    const held = await lock(session, 'l4', { timeoutMs: 60_000 });
    t.true(held.fence > fence);
    fence = held.fence;
    const releasing = held.release();
    if (run > 0) await sleep(Math.min(run, 40) / 4);
    proxy.cut();
    try {
      await releasing;
      t.is(await entries(near, `${ROOT}l4/`), 0, `${place.name}, run ${run}`);
    } catch (error) {
      // Where nobody leads for so long, it says so and goes on; the next acquisition waits for it.
      if (!(error instanceof EntryMayRemain) || place.ports.length === 1) throw error;
    }
  }
  await trouble;
  await until(async () => await entries(near, `${ROOT}l4/`) === 0);
  await session.close();
};

/** L5. */
export const givenUpWaits: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const prng = new Prng(5);
  const outcomes = { held: 0, canceled: 0, deadline_exceeded: 0, remaining: 0 };
  const sessions = await Promise.all(Array.from({ length: 6 }, () => opened(far)));
  const trouble = place.trouble();
  let isTroubled = true;
  void trouble.finally(() => (isTroubled = false));
  const attempt = async (session: Session, name: string): Promise<void> => {
    const abort = new AbortController();
    const at = prng.below([5, 40, 1_000][prng.below(3)] ?? 40);
    const byTime = prng.below(2) === 0;
    const timer = setTimeout(() => abort.abort(), at);
    try {
      const held = await lock(session, name, byTime ? { timeoutMs: at } : { signal: abort.signal });
      outcomes.held += 1;
      await sleep(prng.below(10));
      await held.release();
    } catch (error) {
      const code = isApiError(error) ? error.code : 'internal';
      if (code !== 'canceled' && code !== 'deadline_exceeded') throw error;
      if (error instanceof EntryMayRemain) {
        outcomes.remaining += 1;
        return;
      }
      outcomes[code] += 1;
      const mine = prefixRange(utf8(`${ROOT}${name}/${session.lease.toString(16)}`));
      t.deepEqual((await insist(() => near.range(mine))).kvs, [], `${place.name}: gone before the promise rejects`);
    } finally {
      clearTimeout(timer);
    }
  };
  await Promise.all(sessions.map(async (session, i) => {
    for (let round = 0; round < 40 || isTroubled; round += 1) await attempt(session, `l5-${i % 2}`);
  }));
  await trouble;
  t.log(place.name, outcomes);
  t.true(outcomes.held > 0 && outcomes.canceled > 0 && outcomes.deadline_exceeded > 0);
  if (place.ports.length === 1) t.is(outcomes.remaining, 0, 'the store can be reached');
  await until(async () => await entries(near, `${ROOT}l5-`) === 0);
  t.true(sessions.every(({ live }) => live), 'they are gone by themselves, not with their sessions');
  await Promise.all(sessions.map((session) => session.close()));
};

/** L6. */
export const cutAcquisitions: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const session = await opened(far);
  const trouble = place.trouble();
  let isTroubled = true;
  void trouble.finally(() => (isTroubled = false));
  for (let run = 0; run < 12 || isTroubled; run += 1) {
    const acquiring = lock(session, 'l6', { timeoutMs: 60_000 });
    if (run > 0) await sleep(Math.min(run, 40) / 4);
    proxy.cut();
    const held = await acquiring;
    const { kvs } = await insist(() => near.range(prefixRange(utf8(`${ROOT}l6/`))));
    t.deepEqual(kvs.map(({ key, createRevision }) => [text(key), createRevision]), [[text(held.key), held.fence]]);
    await held.release();
  }
  await trouble;
  t.is(await entries(near, `${ROOT}l6/`), 0, place.name);
  await session.close();
};

/** L7. */
export const previousSession: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const old = await opened(far, patient(place));
  const first = await lock(old, 'l7');
  const session = await opened(near);
  proxy.freeze();
  const waiting = lock(session, 'l7');
  await until(async () => await entries(near, `${ROOT}l7/`) === 2 || !first.isHeld);
  if (first.isHeld) t.true(await isPending(waiting, 300) || !first.isHeld, `${place.name}: what is held is not given away`);
  await place.trouble();
  const held = await waiting;
  t.false(first.isHeld, `${place.name}: seen before anything else has run`);
  t.true(first.signal.reason instanceof SessionLost);
  t.true(held.fence > first.fence);
  await held.release();
  proxy.thaw();
  await session.close();
};

/** L8. */
export const lostPermits: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const gone = await opened(far, patient(place));
  const here = await opened(near);
  const lost = await Promise.all([1, 2, 3].map(() => acquirePermits(gone, 'l8', { limit: 3 })));
  t.is(await tryPermits(here, 'l8', { limit: 3 }), null);
  const waiting = acquirePermits(here, 'l8', { limit: 3, permits: 3 });
  const stuck = t.throwsAsync(acquirePermits(gone, 'l8', { limit: 3 }), { instanceOf: SessionLost });
  await until(async () => await entries(near, 'coterie/semaphores/l8/gate/') === 2);
  const from = performance.now();
  proxy.freeze();
  const trouble = place.trouble();
  const held = await waiting;
  const ms = performance.now() - from;
  t.true(lost.every(({ isHeld }) => !isHeld), 'all of them were told before');
  t.true(ms < withinMs(place, gone.ttlMs), `${place.name}: ${ms} ms`);
  await stuck;
  await trouble;
  t.like(await insist(() => semaphoreState(near, 'l8')), { limit: 3, available: 0 });
  await held.release();
  t.like(await insist(() => semaphoreState(near, 'l8')), { limit: 3, available: 3, holders: [] });
  proxy.thaw();
  await here.close();
};

/** L9. */
export const noResurrection: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const session = await opened(far, patient(place));
  const held = await lock(session, 'l9');
  proxy.freeze();
  await until(() => !held.isHeld);
  const reason: unknown = held.signal.reason;
  t.true(reason instanceof SessionLost);
  const late = t.throwsAsync(held.txn().put('l9-effect', '1').commit(), { instanceOf: FencedOut });
  const trouble = place.trouble();
  proxy.thaw();
  await late;
  await until(async () => await entries(near, `${ROOT}l9/`) === 0);
  await trouble;
  t.false(held.isHeld, place.name);
  t.is(held.signal.reason, reason);
  t.is(held.remaining, 0);
  t.throws(() => held.assertHeld(), { is: reason as Error });
  t.is(await insist(() => get(near, utf8('l9-effect'))), null);
  await held.release();
  await t.throwsAsync(lock(session, 'l9'), { instanceOf: SessionLost });
  await session.close();
};

/** L10. */
export const errorsSurface: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const session = await opened(far);
  const mine = new Error('the work failed');
  const failing = withLock(session, 'l10', () => {
    proxy.refuse();
    throw mine;
  });
  t.is(await t.throwsAsync(failing), mine, place.name);
  t.true((mine as { releaseError?: unknown }).releaseError instanceof EntryMayRemain);
  const trouble = place.trouble();
  proxy.accept();
  await until(async () => await entries(near, `${ROOT}l10/`) === 0);
  t.true(session.live, 'the release has gone on in the background');
  const value = await withLock(session, 'l10', () => {
    proxy.refuse();
    setTimeout(() => proxy.accept(), 1_000);
    return 7;
  });
  t.is(value, 7);
  await trouble;
  await session.close();
  const other = await clients(t, place);
  const short = await opened(other.far, patient(place));
  let isDisposed = false;
  const lost = await t.throwsAsync(withLock(short, 'l10', async (held) => {
    other.proxy.freeze();
    await aborted(held.signal);
    // The link is frozen still: this asks nobody.
    await held.release();
    isDisposed = true;
  }), { instanceOf: SessionLost });
  t.true(isDisposed);
  t.true(['unreachable', 'stalled'].includes(lost?.reason ?? ''), `${place.name}: ${lost?.reason}`);
  other.proxy.thaw();
};

/** L14. */
export const stoppedProcess: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const ttlSeconds = patient(place);
  const { child, line } = await start(t, 'lock-main.js', [urlsOf(place).join(','), 'l14', String(ttlSeconds)]);
  t.regex(line, /^held \d+$/);
  const session = await opened(near);
  const waiting = lock(session, 'l14');
  await until(async () => await entries(near, `${ROOT}l14/`) === 2);
  child.kill('SIGSTOP');
  const from = performance.now();
  await place.trouble();
  const held = await waiting;
  const ms = performance.now() - from;
  t.true(ms < withinMs(place, ttlSeconds * 1_000), `${place.name}: after ${Math.round(ms)} ms`);
  t.true(held.fence > Number(line.split(' ')[1]));
  await insist(() => held.txn().put('effect', String(held.fence)).commit());
  const said = linesOf(child);
  child.kill('SIGCONT');
  // The second where a write was on its way when it was stopped, and reached the store only now.
  t.regex(await said, /^lost (?:session_lost|fenced_out)$/, place.name);
  t.is(text((await insist(() => get(near, utf8('effect'))))?.value ?? utf8('')), String(held.fence));
  await session.close();
};

async function linesOf(child: ChildProcess): Promise<string> {
  const all: string[] = [];
  if (child.stdout === null) return '';
  for await (const line of createInterface({ input: child.stdout })) all.push(line);
  return all.join('\n');
}
