// The barriers' claims over real sockets, against coterie and against etcd, each in a process of its own.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { prefixRange } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import type { Passage } from '../../recipes/barrier.js';
import { arriveAt, barrierState, resetBarrier } from '../../recipes/barrier.js';
import { BarrierBroken, BarrierRefused } from '../../recipes/barrier-names.js';
import { enterBarrier } from '../../recipes/double-barrier.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Home } from './homes.js';
import { clients, homes } from './homes.js';

async function everyHome(t: ExecutionContext, claim: (home: Home) => Promise<void>): Promise<void> {
  for (const home of await homes(t)) await claim(home);
}

function told(arriving: Promise<Pick<Passage, 'generation'>>): Promise<string> {
  return arriving.then(({ generation }) => `passed ${generation}`, (error: unknown) => {
    if (error instanceof BarrierBroken) return `broken ${error.generation} ${error.reason}`;
    if (error instanceof BarrierRefused) return `refused ${error.why}`;
    if (error instanceof SessionLost) return 'lost';
    if (isApiError(error)) return error.code;
    throw error;
  });
}

async function until(claim: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !(await claim());) {
    if (performance.now() > end) throw new Error('it did not come true within 20 s');
    await sleep(20);
  }
}

function present(client: Client, name: string, count: number): Promise<void> {
  return until(async () => (await barrierState(client, name))?.present === count);
}

test('B1 over sockets: one of three whose connection is cut and frozen does not pass, and passes with the others', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const [session, other] = [await Session.open(far, { ttlSeconds: 30 }), await Session.open(near, { ttlSeconds: 30 })];
    const first = told(arriveAt(session, 'b1', { parties: 3 }));
    let result: string | null = null;
    void first.then((it) => (result = it));
    await present(near, 'b1', 1);
    for (let flap = 0; flap < 5; flap += 1) {
      proxy.cut();
      await sleep(100);
      proxy.freeze();
      await sleep(200);
      proxy.thaw();
    }
    t.is(result, null, home.name);
    const all = await Promise.all([first, ...[1, 2].map(() => told(arriveAt(other, 'b1', { parties: 3 })))]);
    t.regex(all[0] ?? '', /^passed/);
    t.is(new Set(all).size, 1, all.join());
    await Promise.all([session.close(), other.close()]);
  });
});

test('B2 over sockets: two run out of time, one is lost, a third comes: all are told the same', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(near, { ttlSeconds: 30 });
    const early = [1, 2].map(() => told(arriveAt(session, 'b2', { parties: 3, timeoutMs: 1_500 })));
    const [first, second] = await Promise.all(early);
    t.regex(first ?? '', /^broken \d+ timed_out$/, home.name);
    t.is(second, first);
    t.is(await told(arriveAt(session, 'b2', { parties: 3 })), first ?? '');
    await resetBarrier(near, 'b2', { generation: Number(first?.split(' ')[1]) });
    const frozen = await Session.open(far, { ttlSeconds: 2 });
    const victim = told(arriveAt(frozen, 'b2', { parties: 3 }));
    const waiting = told(arriveAt(session, 'b2', { parties: 3 }));
    await present(near, 'b2', 2);
    proxy.freeze();
    const from = performance.now();
    t.regex(await waiting, /^broken \d+ lost$/);
    t.log(`${home.name}: told ${Math.round(performance.now() - from)} ms after the link froze, at a TTL of ${frozen.ttlMs} ms`);
    t.is(await victim, 'lost');
    proxy.thaw();
    await session.close();
  });
});

test('B3 over sockets: who says another number, and who comes while it is full, is refused', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const session = await Session.open(near, { ttlSeconds: 30 });
    const waiting = arriveAt(session, 'b3', { parties: 2 });
    await present(near, 'b3', 1);
    t.is(await told(arriveAt(session, 'b3', { parties: 3 })), 'refused parties', home.name);
    await Promise.all([waiting, arriveAt(session, 'b3', { parties: 2 })]);
    const inside = await Promise.all([1, 2].map(() => enterBarrier(session, 'b3', { parties: 2 })));
    t.is(await told(enterBarrier(session, 'b3', { parties: 2 })), 'refused full');
    await Promise.all(inside.map((each) => each.leave()));
    await session.close();
  });
});

test('B4 over sockets: runs of n with random delays pass together, each with numbers of its own', async (t) => {
  t.timeout(120_000);
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const sessions = await Promise.all([1, 2, 3].map(() => Session.open(near, { ttlSeconds: 60 })));
    const from = performance.now();
    const runs = 100;
    for (let run = 0; run < runs; run += 1) {
      const all = await Promise.all(sessions.map(async (session, i) => {
        if ((run + i) % 3 === 0) await sleep((run * 7) % 5);
        return arriveAt(session, 'b4', { parties: 3 });
      }));
      t.is(new Set(all.map(({ generation }) => generation)).size, 1);
      t.deepEqual(all.map(({ index }) => index).toSorted((a, b) => a - b), [0, 1, 2]);
    }
    t.log(`${home.name}: ${((performance.now() - from) / runs).toFixed(1)} ms for each run of three`);
    await Promise.all(sessions.map((session) => session.close()));
    const { kvs } = await near.range(prefixRange(utf8('coterie/barriers/b4/')));
    t.true(kvs.length <= 4, `${kvs.length} keys are left of ${runs} generations`);
  });
});

test('B5 over sockets: early ones leave and enter again while a late one has not noticed', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const [session, slow] = [await Session.open(near, { ttlSeconds: 60 }), await Session.open(far, { ttlSeconds: 60 })];
    const inside = await Promise.all([slow, session, session].map((each) => enterBarrier(each, 'b5', { parties: 3 })));
    const leaving = inside.map((each) => each.leave());
    await sleep(20);
    proxy.freeze();
    const early = await Promise.race([Promise.all(leaving.slice(1)), sleep(2_000).then(() => null)]);
    // The late one may have been too late to say that it wants to leave; then nobody has left yet.
    if (early !== null) {
      const next = await Promise.all([1, 2, 3].map(() => enterBarrier(session, 'b5', { parties: 3 })));
      await Promise.all(next.map((each) => each.leave()));
    }
    proxy.thaw();
    await Promise.all(leaving);
    t.log(`${home.name}: the early ones ${early === null ? 'had to wait for the late one' : 'had left already'}`);
    const again = await Promise.all([slow, session, session].map((each) => enterBarrier(each, 'b5', { parties: 3 })));
    t.is(new Set(again.map(({ generation }) => generation)).size, 1);
    await Promise.all(again.map((each) => each.leave()));
    await Promise.all([session.close(), slow.close()]);
  });
});
