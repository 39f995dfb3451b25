// Sessions with a stall budget over real sockets and a real thread, against coterie and against etcd, each in a process of
// its own. Serial: the blocked loop is that of every test in this file.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
import { lock } from '../../recipes/lock.js';
import type { SessionEvent, SessionLost } from '../../recipes/session.js';
import { Session } from '../../recipes/session.js';
import { besideOf } from './beside.js';
import type { Home } from './homes.js';
import { clients, homes, Proxy, start } from './homes.js';

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

function urlOf({ port }: { port: number }): string {
  return `http://127.0.0.1:${port}`;
}

/** The way of the renewals beside the main loop: a proxy lives on the main loop and stands still with it. */
type Way = 'straight' | 'proxy';

async function open(t: ExecutionContext, home: Home, way: Way, options: { ttlSeconds: number; stallBudgetMs: number }) {
  const { far, near, proxy } = await clients(t, home);
  const second = await Proxy.start(t, home.port);
  const events: SessionEvent[] = [];
  const beside = besideOf(urlOf(way === 'straight' ? home : second));
  const session = await Session.open(far, { ...options, keepAliver: beside, observe: (event) => events.push(event) });
  const key = utf8(`stall/${session.lease}`);
  await put(near, key, utf8('held'), { lease: session.lease });
  await beside.renewed();
  return { session, near, proxy, second, events, key };
}

test.serial('S3 blocked for less than the budget, but twice the TTL: the first statement afterwards sees live', async (t) => {
  const all = await Promise.all((await homes(t)).map(async (home) => {
    const opened = await open(t, home, 'straight', { ttlSeconds: 5, stallBudgetMs: 30_000 });
    const held = await lock(opened.session, `stall-${home.name}`);
    return { ...opened, home, held, created: (await get(opened.near, opened.key))?.createRevision };
  }));
  block(10_000);
  const first = all.map(({ session, held }) => ({ live: session.live, isHeld: held.isHeld, remaining: session.remaining }));
  for (const { live, isHeld, remaining } of first) t.true(live && isHeld && remaining > 0 && remaining < 5_000);
  for (const { home, session, near, key, events, held, created } of all) {
    t.is((await get(near, key))?.createRevision, created, `${home.name}: the store kept it all the time`);
    t.true(events.some((event) => event.kind === 'stalled' && event.gapMs > session.ttlMs));
    await sleep(session.ttlMs);
    t.true(session.live);
    await held.release();
    await session.close();
    t.is(await get(near, key), null);
  }
});

test.serial('S3 blocked for longer than the budget: the first statement afterwards sees the loss', async (t) => {
  const all = await Promise.all((await homes(t)).map(async (home) => {
    return { ...(await open(t, home, 'straight', { ttlSeconds: 5, stallBudgetMs: 1_000 })), home };
  }));
  block(1_000 + 5_000 + 600);
  const first = all.map(({ session }) => session.live);
  t.false(first.includes(true));
  for (const { home, session, near, key, events } of all) {
    t.is((session.signal.reason as SessionLost).reason, 'stalled');
    t.true(events.some((event) => event.kind === 'stalled'));
    await sleep(1_500);
    t.is(await get(near, key), null, `${home.name}: the store has given it up`);
    await session.close();
  }
});

test.serial('a hung process does not stay owner: budget, TTL and the store\'s detection later it is gone', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { near } = await clients(t, home);
    const [ttlMs, budgetMs] = [3_000, 6_000];
    const { child } = await start(t, 'stall-main.js', [urlOf(home), 'hung', `${ttlMs / 1000}`, `${budgetMs}`]);
    const from = performance.now();
    await sleep(ttlMs + 1_500);
    t.not(await get(near, utf8('hung')), null, `${home.name}: within the budget it is kept`);
    while ((await get(near, utf8('hung'))) !== null) await sleep(50);
    const goneMs = performance.now() - from;
    t.true(goneMs > budgetMs - ttlMs && goneMs < budgetMs + ttlMs + 3_500, `${home.name}: ${Math.round(goneMs)} ms`);
    t.is(child.exitCode, null, 'it hangs still');
    t.log(`${home.name}: gone ${Math.round(goneMs)} ms after it hung; budget ${budgetMs} ms and TTL ${ttlMs} ms`);
  }));
});

test.serial('S1 both links frozen: lost fires before the key disappears, stall budget or not', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { session, near, proxy, second, key } = await open(t, home, 'proxy', { ttlSeconds: 2, stallBudgetMs: 60_000 });
    proxy.freeze();
    await sleep(2 * session.ttlMs);
    t.true(session.live, `${home.name}: the link beside is enough`);
    second.freeze();
    await new Promise((resolve) => session.signal.addEventListener('abort', resolve));
    t.not(await get(near, key), null, `${home.name}: the key is still there when lost is raised`);
    while ((await get(near, key)) !== null) await sleep(50);
    proxy.thaw();
    second.thaw();
    await session.close();
  }));
});

test.serial('a lease revoked by somebody is told from beside; one thread keeps many sessions', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { near } = await clients(t, home);
    const beside = besideOf(urlOf(home));
    const sessions = await Promise.all(Array.from({ length: 20 }, () => {
      return Session.open(near, { ttlSeconds: 5, stallBudgetMs: 30_000, keepAliver: beside });
    }));
    await beside.renewed();
    const [first] = sessions;
    if (first === undefined) return;
    await near.revoke(first.lease);
    await new Promise((resolve) => first.signal.addEventListener('abort', resolve));
    t.is((first.signal.reason as SessionLost).reason, 'revoked');
    await Promise.all(sessions.map((session) => session.close()));
    const again = await Session.open(near, { ttlSeconds: 3, stallBudgetMs: 30_000, keepAliver: beside });
    await beside.renewed();
    t.true(again.live);
    await again.close();
    // Other tests of this server hold nothing by now that this one has opened.
    const { ids } = await near.leases();
    t.false([again, ...sessions].some(({ lease }) => ids.includes(lease)), home.name);
  }));
});
