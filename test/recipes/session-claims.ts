// What sessions promise, as claims that are made of every place over real sockets: one member of coterie, one of etcd, and
// three whose leader is killed in the middle. Each function is the claim of the name that its comment begins with.

import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { put } from '../../core/client.js';
import type { Admin, Client } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import type { SessionEvent } from '../../recipes/session.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Claim } from './claims.js';
import { insist, opened, patient, revisionOf, until } from './claims.js';
import { clients } from './homes.js';

async function hold(client: Client, session: Session, name: string): Promise<{ key: Uint8Array; created: number }> {
  const key = utf8(name);
  await insist(() => put(client, key, utf8('held'), { lease: session.lease }));
  return { key, created: await revisionOf(client, key) };
}

/** S1. Whoever sees that the key is gone sees that the session is not live, whatever has run by then and what not. */
export const lostBeforeGone: Claim = async (t, place) => {
  const notice: number[] = [];
  const runs = Array.from({ length: place.ports.length > 1 ? 4 : 10 }, async (_, run) => {
    const { proxy, far, near } = await clients(t, place);
    const session = await opened(far, patient(place));
    let lostAt = Infinity;
    session.signal.addEventListener('abort', () => (lostAt = performance.now()));
    const { key } = await hold(near, session, `s1/${run}`);
    await sleep(100 + 210 * run);
    if (run % 2 === 0) await place.trouble();
    t.true(session.live);
    proxy.freeze();
    if (run % 2 === 1) await place.trouble();
    await until(async () => await revisionOf(near, key) === 0);
    const goneAt = performance.now();
    t.false(session.live, `${place.name}: its key is gone`);
    t.true(session.signal.aborted);
    notice.push(goneAt - Math.min(goneAt, lostAt));
    proxy.thaw();
    await session.close();
  });
  await Promise.all(runs);
  t.log(`${place.name}: told ${Math.round(Math.min(...notice))} to ${Math.round(Math.max(...notice))} ms before it was seen`);
};

/** S2. */
export const slowAnswers: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const session = await opened(far, patient(place, 9));
  const { key } = await hold(near, session, 's2');
  // A change of leader takes its part of the TTL as well.
  const share = place.ports.length > 1 ? 0.1 : 0.3;
  proxy.answerMs = share * session.ttlMs;
  const trouble = place.trouble();
  for (const end = performance.now() + 1.2 * session.ttlMs; performance.now() < end; await sleep(50)) {
    t.true(session.live, `${place.name}: answers after ${share} TTL`);
  }
  await trouble;
  t.true(session.live);
  proxy.answerMs = 0.8 * session.ttlMs;
  for (let there = true; there;) {
    there = (await revisionOf(near, key)) !== 0;
    if (session.live) t.true(there, `${place.name}: it claims to live without its key`);
    await sleep(25);
  }
  t.false(session.live, 'a delay this long cannot be survived');
  proxy.answerMs = 0;
  await session.close();
};

/** S5. */
export const failingConnections: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const session = await opened(far, patient(place, 12));
  const { key, created } = await hold(near, session, 's5');
  const prng = new Prng(5);
  let isOver = false;
  const trouble = (async () => {
    await sleep(session.ttlMs / 3);
    await place.trouble();
    isOver = true;
  })();
  for (let faults = 0; faults < 12 || !isOver; faults += 1) {
    if (prng.below(2) === 0) proxy.cut();
    else proxy.refuse();
    await sleep(prng.below(700));
    proxy.accept();
    await sleep(100 + prng.below(1_400));
    t.true(session.live, `${place.name}: after fault ${faults}`);
  }
  await trouble;
  t.is(await revisionOf(near, key), created, place.name);
  await session.close();
};

/** S6. */
export const brokenLink: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const kinds: string[] = [];
  const observe = (event: SessionEvent): void => {
    if (event.kind !== 'renewed' && event.kind !== 'stalled') kinds.push(event.kind);
  };
  const session = await insist(() => Session.open(far, { ttlSeconds: patient(place, 12), observe }));
  const { lease } = session;
  const { key, created } = await hold(near, session, 's6');
  let aborts = 0;
  session.signal.addEventListener('abort', () => (aborts += 1));
  proxy.refuse();
  const trouble = place.trouble();
  await until(() => session.state !== 'live');
  t.is(session.state, 'suspended', place.name);
  t.true(session.live, 'the lease is still ours');
  proxy.accept();
  await until(() => session.state !== 'suspended');
  t.is(session.state, 'live', place.name);
  t.is(session.lease, lease);
  t.is(await revisionOf(near, key), created);
  await trouble;
  await until(() => session.state !== 'suspended');
  t.deepEqual([kinds[0], kinds.at(-1), kinds.includes('lost')], ['suspended', 'resumed', false], kinds.join(' '));
  proxy.refuse();
  await until(() => session.state === 'lost');
  proxy.accept();
  await until(async () => await revisionOf(near, key) === 0);
  await sleep(1_000);
  t.is(session.state, 'lost', 'for good');
  t.is(aborts, 1);
  t.is(kinds.filter((kind) => kind === 'lost').length, 1);
  t.is(kinds.at(-1), 'lost');
  await session.close();
};

/** Of `ids`, those which were granted with this TTL: others on the same members have other ones. */
async function leasesOf(client: Admin, ttlSeconds: number): Promise<number> {
  const { ids } = await client.leases();
  const infos = await Promise.all(ids.map((id) => client.leaseInfo(id)));
  return infos.filter((info) => info.grantedTtlSeconds === ttlSeconds).length;
}

/** S9. */
export const racedCloses: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const prng = new Prng(9);
  const ttlSeconds = 3;
  let opened = 0;
  const ends = Array.from({ length: 80 }, async (_, i) => {
    await sleep(35 * i);
    const abort = new AbortController();
    // Most of them are given up under way; how many, depends on how busy this machine is. Some are waited for, however long.
    const patienceMs = i % 4 === 0 ? 60_000 : prng.below(60);
    const timer = setTimeout(() => abort.abort(), patienceMs);
    try {
      const session = await Session.open(far, { ttlSeconds, signal: abort.signal, timeoutMs: Math.max(3_000, patienceMs) });
      opened += 1;
      await sleep(prng.below(1_500));
      const closing = session.close({ timeoutMs: 1_000 });
      if (prng.below(2) === 0) await session.close();
      await closing;
    } catch (error) {
      if (!isApiError(error) && !(error instanceof SessionLost)) throw error;
    } finally {
      clearTimeout(timer);
    }
  });
  const cuts = (async () => {
    for (let cut = 0; cut < 15; cut += 1) {
      await sleep(20 + prng.below(80));
      if (prng.below(3) > 0) proxy.cut();
      else proxy.refuse();
      await sleep(prng.below(100));
      proxy.accept();
      if (cut === 7) await place.trouble();
    }
  })();
  await Promise.all([...ends, cuts]);
  t.true(opened > 0 && opened < 80, `${place.name}: ${opened} were opened`);
  const from = performance.now();
  // A TTL, which begins anew with a leader, and what the store needs to notice.
  while (await leasesOf(near, ttlSeconds) > 0 && performance.now() - from < 4 * ttlSeconds * 1_000 + 10_000) await sleep(100);
  t.is(await leasesOf(near, ttlSeconds), 0, place.name);
  t.log(`${place.name}: ${opened} of 80 were opened; the last lease was gone after ${Math.round(performance.now() - from)} ms`);
};

/** S10. */
export const flappingLink: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  let renewals = 0;
  const observe = ({ kind }: SessionEvent): unknown => kind === 'renewed' && (renewals += 1);
  const session = await insist(() => Session.open(far, { ttlSeconds: patient(place, 12), observe }));
  const { key, created } = await hold(near, session, 's10');
  const trouble = place.trouble();
  for (let flap = 0; flap < 50; flap += 1) {
    proxy.cut();
    // Mostly too short for anything, and now and then long enough to connect on a busy machine.
    await sleep(flap % 7 === 6 ? 800 : 20 + 29 * (flap % 7));
    t.true(session.live, `${place.name}: after flap ${flap}`);
  }
  await trouble;
  const before = renewals;
  await until(() => renewals > before || !session.live);
  t.true(session.live, `${place.name}: renewals go on`);
  t.is(await revisionOf(near, key), created);
  await session.close();
};
