// What barriers promise, as claims that are made of every place over real sockets: one member of coterie, one of etcd, and
// three whose leader is killed in the middle. Each function is the claim of the name that its comment begins with.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import type { Passage } from '../../recipes/barrier.js';
import { arriveAt, barrierState, resetBarrier } from '../../recipes/barrier.js';
import { BarrierBroken, BarrierRefused } from '../../recipes/barrier-names.js';
import { enterBarrier } from '../../recipes/double-barrier.js';
import { SessionLost } from '../../recipes/session.js';
import { type Claim, insist, opened, readAll, until } from './claims.js';
import { clients } from './homes.js';

function told(arriving: Promise<Pick<Passage, 'generation'>>): Promise<string> {
  return arriving.then(({ generation }) => `passed ${generation}`, (error: unknown) => {
    if (error instanceof BarrierBroken) return `broken ${error.generation} ${error.reason}`;
    if (error instanceof BarrierRefused) return `refused ${error.why}`;
    if (error instanceof SessionLost) return 'lost';
    if (isApiError(error)) return error.code;
    throw error;
  });
}

function present(client: Client, name: string, count: number): Promise<void> {
  return until(async () => (await insist(() => barrierState(client, name)))?.present === count);
}

/** B1. */
export const reconnecting: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const [session, other] = [await opened(far), await opened(near)];
  const first = told(arriveAt(session, 'b1', { parties: 3 }));
  let result: string | null = null;
  void first.then((it) => (result = it));
  await present(near, 'b1', 1);
  const trouble = place.trouble();
  for (let flap = 0; flap < 5; flap += 1) {
    proxy.cut();
    await sleep(100);
    proxy.freeze();
    await sleep(200);
    proxy.thaw();
  }
  await trouble;
  t.is(result, null, place.name);
  const second = told(arriveAt(other, 'b1', { parties: 3 }));
  await present(near, 'b1', 2);
  proxy.cut();
  await sleep(300);
  t.is(result, null, place.name);
  const all = await Promise.all([first, second, told(arriveAt(other, 'b1', { parties: 3 }))]);
  t.regex(all[0] ?? '', /^passed/, place.name);
  t.is(new Set(all).size, 1, all.join());
  await Promise.all([session.close(), other.close()]);
};

/** B2. */
export const timedOut: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const session = await opened(near);
  const early = [1, 2].map(() => told(arriveAt(session, 'b2', { parties: 3, timeoutMs: 6_000 })));
  await present(near, 'b2', 2);
  await place.trouble();
  const [first = '', second] = await Promise.all(early);
  t.regex(first, /^broken \d+ timed_out$/, place.name);
  t.is(second, first);
  t.is(await told(arriveAt(session, 'b2', { parties: 3 })), first, `${place.name}: the third`);
  await insist(() => resetBarrier(near, 'b2', { generation: Number(first.split(' ')[1]) }));
  const again = await Promise.all([1, 2, 3].map(() => told(arriveAt(session, 'b2', { parties: 3 }))));
  t.true(again.every((it) => it.startsWith('passed')), `${place.name}: ${again.join()}`);
  await session.close();
};

/** B2, where one is lost with its session. */
export const lostWaiting: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const [session, frozen] = [await opened(near), await opened(far, place.ttlSeconds)];
  const victim = told(arriveAt(frozen, 'b2-lost', { parties: 3 }));
  const waiting = told(arriveAt(session, 'b2-lost', { parties: 3 }));
  await present(near, 'b2-lost', 2);
  proxy.freeze();
  await place.trouble();
  const outcome = await waiting;
  t.regex(outcome, /^broken \d+ lost$/, place.name);
  t.is(await victim, 'lost', `${place.name}: it knew before`);
  t.is(await told(arriveAt(session, 'b2-lost', { parties: 3 })), outcome, `${place.name}: the third`);
  proxy.thaw();
  await session.close();
};

/** B3. */
export const tooMany: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const [session, other] = [await opened(near), await opened(far)];
  const waiting = told(arriveAt(session, 'b3', { parties: 2 }));
  await present(near, 'b3', 1);
  const trouble = place.trouble();
  t.is(await told(arriveAt(other, 'b3', { parties: 3 })), 'refused parties', place.name);
  await trouble;
  const both = await Promise.all([waiting, told(arriveAt(other, 'b3', { parties: 2 }))]);
  t.true(both.every((it) => it === both[0] && it.startsWith('passed')), `${place.name}: ${both.join()}`);
  const inside = await Promise.all([session, other].map((each) => enterBarrier(each, 'b3', { parties: 2 })));
  const again = place.trouble();
  for (let i = 0; i < 3; i += 1) t.is(await told(enterBarrier(other, 'b3', { parties: 2 })), 'refused full', place.name);
  await again;
  t.is(await told(enterBarrier(other, 'b3', { parties: 2 })), 'refused full', place.name);
  t.true(inside.every(({ signal }) => !signal.aborted), 'those inside are not disturbed');
  await Promise.all(inside.map((each) => each.leave()));
  await Promise.all([session.close(), other.close()]);
};

/** B4. A thousand runs: on the simulated clock. */
export const manyRuns: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const sessions = await Promise.all([far, near, near].map((client) => opened(client)));
  const runs = 60;
  let trouble = Promise.resolve();
  for (let run = 0; run < runs; run += 1) {
    if (run === runs / 2) trouble = place.trouble();
    let arrived = 0;
    const all = await Promise.all(sessions.map(async (session, i) => {
      if ((run + i) % 3 === 0) await sleep((run * 7) % 5);
      arrived += 1;
      const passage = await arriveAt(session, 'b4', { parties: 3 });
      t.is(arrived, 3, `${place.name}: nobody passes before the last has come`);
      return passage;
    }));
    t.is(new Set(all.map(({ generation }) => generation)).size, 1, place.name);
    t.deepEqual(all.map(({ index }) => index).toSorted((a, b) => a - b), [0, 1, 2]);
  }
  await trouble;
  await Promise.all(sessions.map((session) => session.close()));
  const left = await readAll(near, 'coterie/barriers/b4/');
  t.true(left.length <= 4, `${place.name}: ${left.length} keys are left of ${runs} generations`);
};

/** B5. The late one hears everything a while later, so it has not noticed yet that it may leave. */
export const earlyAndLate: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const [session, slow] = [await opened(near), await opened(far)];
  const trouble = place.trouble();
  for (let round = 0; round < 3; round += 1) {
    const inside = await Promise.all([slow, session, session].map((each) => enterBarrier(each, 'b5', { parties: 3 })));
    t.is(new Set(inside.map(({ generation }) => generation)).size, 1, place.name);
    proxy.answerMs = 1_500;
    let isLateOut = false;
    const [late, ...early] = inside.map((each) => each.leave());
    const leaving = late?.then(() => (isLateOut = true));
    await Promise.all(early);
    const next = await Promise.all([1, 2, 3].map(() => enterBarrier(session, 'b5', { parties: 3 })));
    if (place.ports.length === 1) t.false(isLateOut, `${place.name}: it has not noticed`);
    t.true((next[0]?.generation ?? 0) > (inside[0]?.generation ?? 0), place.name);
    await Promise.all(next.map((each) => each.leave()));
    await leaving;
    proxy.answerMs = 0;
  }
  await trouble;
  await Promise.all([session.close(), slow.close()]);
};
