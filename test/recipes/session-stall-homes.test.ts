// What stands still. S3 over real sockets, with and without a stall budget and a real thread: against coterie, against etcd,
// and over three members whose leader is killed while the loop of this process stands still, once for all of them and before
// the tests, since it is the loop of them all. S7: a leader that stands still itself.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import type { Client, LeaseId } from '../../core/client.js';
import { connect, startNode } from '../../core/index.js';
import type { HeldLock } from '../../recipes/lock.js';
import { lock } from '../../recipes/lock.js';
import type { SessionEvent, SessionLost } from '../../recipes/session.js';
import { Session } from '../../recipes/session.js';
import { besideOf } from './beside.js';
import { insist, opened, revisionOf, until } from './claims.js';
import type { Home, Place } from './homes.js';
import { clients, homes, homesOfFile, Proxies, Proxy, start, urlsOf } from './homes.js';
import { membersOfFile } from './three-members.js';

const everyHome = homesOfFile(test);
const members = membersOfFile(test);

/** How long the loop stands still, and the TTLs and budgets that this is too much for, or not. */
const STALL_MS = 13_000;
const SHORT_SECONDS = 5;
const LONG_SECONDS = 8;
const BUDGET_MS = 60_000;

/** Without burning the processor, which members and threads need meanwhile. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

interface Sleeper {
  readonly session: Session;
  readonly key: Uint8Array;
  readonly events: readonly SessionEvent[];
}

interface Case {
  readonly place: Place;
  readonly near: Awaited<ReturnType<typeof clients>>['near'];
  /** No budget; a longer one than the stall; a shorter one. */
  readonly plain: Sleeper;
  readonly within: Sleeper;
  readonly beyond: Sleeper;
  readonly held: HeldLock;
  readonly created: number;
  /** Seen by the first statements after the stall. */
  first: { plain: boolean; within: boolean; beyond: boolean; isHeld: boolean; remaining: number };
}

const ends: (() => unknown)[] = [];
const cases: Case[] = [];

test.before(async (t) => {
  t.timeout(120_000);
  const stage = { log: t.log.bind(t), fail: t.fail.bind(t), teardown: (end: () => unknown) => void ends.push(end) };
  const places: readonly Place[] = [...await homes(stage), members()];
  cases.push(...await Promise.all(places.map((place) => prepare(stage, place))));
  const leader = await members().leader();
  standStill(STALL_MS / 4);
  members().killNow(leader);
  standStill(STALL_MS * 3 / 4);
  for (const one of cases) {
    const { plain, within, beyond, held } = one;
    one.first = {
      plain: plain.session.live, within: within.session.live, beyond: beyond.session.live,
      isHeld: held.isHeld, remaining: within.session.remaining,
    };
  }
  await members().revive(leader);
});

test.after.always(async () => {
  await Promise.all(ends.map((end) => end()));
});

async function prepare(stage: Pick<ExecutionContext, 'teardown'>, place: Place): Promise<Case> {
  const { near } = await clients(stage, place);
  const sleeper = async (ttlSeconds: number, stallBudgetMs?: number): Promise<Sleeper> => {
    const { far } = await clients(stage, place);
    const events: SessionEvent[] = [];
    const beside = stallBudgetMs === undefined ? null : besideOf(urlsOf(place));
    const session = await Session.open(far, {
      ttlSeconds, observe: (event) => events.push(event),
      ...(beside === null || stallBudgetMs === undefined ? {} : { stallBudgetMs, keepAliver: beside }),
    });
    const key = utf8(`stall/${session.lease}`);
    await put(near, key, utf8('held'), { lease: session.lease });
    await beside?.renewed();
    return { session, key, events };
  };
  const [plain, within, beyond] = await Promise.all([
    sleeper(SHORT_SECONDS), sleeper(LONG_SECONDS, BUDGET_MS), sleeper(SHORT_SECONDS, 1_000),
  ]);
  const held = await lock(within.session, 'stall');
  const created = await revisionOf(near, within.key);
  const first = { plain: true, within: false, beyond: true, isHeld: false, remaining: 0 };
  return { place, near, plain, within, beyond, held, created, first };
}

async function judge(t: ExecutionContext, isMeant: (place: Place) => boolean): Promise<void> {
  const meant = cases.filter(({ place }) => isMeant(place));
  t.true(meant.length > 0);
  await Promise.all(meant.map(async ({ place, near, plain, within, beyond, held, created, first }) => {
    t.like(first, { plain: false, within: true, beyond: false, isHeld: true }, place.name);
    t.true(first.remaining > 0 && first.remaining < within.session.ttlMs);
    for (const { session, events, key } of [plain, beyond]) {
      t.is((session.signal.reason as SessionLost).reason, 'stalled', place.name);
      t.true(events.some((event) => event.kind === 'stalled' && event.gapMs > session.ttlMs / 2));
      // What was renewed last may have reached the store late.
      await until(async () => await revisionOf(near, key) === 0);
      t.false(session.live);
      await session.close();
    }
    t.true(within.events.some((event) => event.kind === 'stalled' && event.gapMs > within.session.ttlMs));
    t.true(within.session.live && held.isHeld, `${place.name}: it goes on`);
    t.is(await revisionOf(near, within.key), created, `${place.name}: the store kept it all the time`);
    await held.release();
    await within.session.close();
    t.is(await revisionOf(near, within.key), 0);
  }));
}

test('S3 over sockets: after a stall the first statement sees the loss, or with a budget for it, that it lives', async (t) => {
  await judge(t, ({ name }) => name !== 'three members');
});

// Serial: before its members stand still themselves.
test.serial('S3 over three members: a stall in which the leader is killed: the first statement sees what is true', async (t) => {
  await judge(t, ({ name }) => name === 'three members');
});

test('S7 over three members: the leader is paused past an election and goes on: it revokes no lease that lives', async (t) => {
  await members().calm(async () => {
    const cluster = members();
    const old = await cluster.leader();
    const others = urlsOf(cluster).filter((url) => url !== old.url);
    // One that talks to the paused member first, one that never meets it, and a lease that is renewed as often as can be.
    const [first, second] = [connect([old.url, ...others]), connect(others)];
    const sessions = [await opened(first, 8), await opened(second, 8)];
    const kept = await keep(second, 8);
    const alive = [...sessions.map(({ lease }, i) => ({ lease, lives: () => sessions[i]?.live === true })), kept];
    const keys = alive.map((_, i) => utf8(`pause/${i}`));
    for (const [i, { lease }] of alive.entries()) await insist(() => put(second, keys[i] ?? utf8(''), utf8('held'), { lease }));
    const created = await Promise.all(keys.map((key) => revisionOf(second, key)));
    process.kill(old.pid, 'SIGSTOP');
    // For longer than their TTL: when it goes on, all of them are over by its own reckoning.
    await sleep(9_500);
    process.kill(old.pid, 'SIGCONT');
    for (const end = performance.now() + 2_500; performance.now() < end; await sleep(100)) {
      for (const [i, { lives }] of alive.entries()) {
        const isThere = await revisionOf(second, keys[i] ?? utf8('')) === created[i];
        // Asked afterwards: who could not find another member in time is over, and may lose its key.
        t.true(isThere || !lives(), 'what lives has its key');
      }
    }
    t.not((await cluster.leader()).name, old.name, 'another one was elected meanwhile');
    t.true(kept.lives());
    if (!sessions.every(({ live }) => live)) t.log('on this machine not every session lived through it');
    await kept.end();
    await Promise.all(sessions.map((session) => session.close()));
    await Promise.all([first.close(), second.close()]);
  });
});

/** Renewed as often as answers come; lives for a TTL from when the last renewal that was confirmed was sent. */
async function keep(client: Client, ttlSeconds: number): Promise<{ lease: LeaseId; lives(): boolean; end(): Promise<void> }> {
  const { id } = await insist(() => client.grant(ttlSeconds));
  let isOver = false;
  let until = 0;
  const keeping = (async () => {
    for (; !isOver; await sleep(200)) {
      await insist(async () => {
        if (isOver) return;
        const sentAt = performance.now();
        if ((await client.keepAlive(id, { timeoutMs: 1_000 })).ttlSeconds > 0) until = sentAt + ttlSeconds * 1_000;
      });
    }
  })();
  // Looked at in the end; when the test has failed before, nobody does.
  keeping.catch(() => undefined);
  return {
    lease: id,
    lives: () => performance.now() < until,
    end: async () => {
      isOver = true;
      await keeping;
    },
  };
}

// Serial: it is the loop of the others, too.
test.serial('S3 in process: the store stands still with the loop, and the first statement sees the loss', async (t) => {
  const node = await startNode({ name: 't', dataDir: null });
  const session = await Session.open(node.client, { ttlSeconds: 1 });
  standStill(1.5 * session.ttlMs);
  t.false(session.live);
  t.is((session.signal.reason as SessionLost).reason, 'stalled');
  await session.close();
  t.deepEqual((await node.client.leases()).ids, []);
  await node.close();
});

test('a hung process does not stay owner: budget, TTL and the store\'s detection later it is gone', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const [ttlMs, budgetMs] = [4_000, 8_000];
    const key = utf8('hung');
    const { child } = await start(t, 'stall-main.js', [urlsOf(home)[0] ?? '', 'hung', `${ttlMs / 1000}`, `${budgetMs}`]);
    const from = performance.now();
    await sleep(ttlMs + 1_500);
    t.not(await revisionOf(near, key), 0, `${home.name}: within the budget it is kept`);
    await until(async () => await revisionOf(near, key) === 0, 50);
    const goneMs = performance.now() - from;
    t.true(goneMs > budgetMs - ttlMs && goneMs < budgetMs + ttlMs + 8_000, `${home.name}: ${Math.round(goneMs)} ms`);
    t.is(child.exitCode, null, 'it hangs still');
    t.log(`${home.name}: gone ${Math.round(goneMs)} ms after it hung; budget ${budgetMs} ms and TTL ${ttlMs} ms`);
  });
});

test('S1 over sockets: both links frozen: lost fires before the key disappears, stall budget or not', async (t) => {
  await everyHome(t, async (home) => {
    const { near, far, proxy } = await clients(t, home);
    const second = new Proxies([await Proxy.start(t, home.port)]);
    const beside = besideOf(second.urls);
    const session = await Session.open(far, { ttlSeconds: home.ttlSeconds, stallBudgetMs: BUDGET_MS, keepAliver: beside });
    const key = utf8('both');
    await put(near, key, utf8('held'), { lease: session.lease });
    await beside.renewed();
    proxy.freeze();
    await sleep(1.5 * session.ttlMs);
    t.true(session.live, `${home.name}: the link beside is enough`);
    second.freeze();
    await until(async () => await revisionOf(near, key) === 0);
    t.false(session.live, `${home.name}: its key is gone`);
    proxy.thaw();
    second.thaw();
    await session.close();
  });
});

test('a lease revoked by somebody is told from beside; one thread keeps many sessions', async (t) => {
  await everyHome(t, async (home: Home) => {
    const { near } = await clients(t, home);
    const beside = besideOf(urlsOf(home));
    const sessions = await Promise.all(Array.from({ length: 20 }, () => {
      return Session.open(near, { ttlSeconds: 5, stallBudgetMs: BUDGET_MS, keepAliver: beside });
    }));
    await beside.renewed();
    const [first] = sessions;
    if (first === undefined) return;
    await near.revoke(first.lease);
    await until(() => first.signal.aborted);
    t.is((first.signal.reason as SessionLost).reason, 'revoked');
    await Promise.all(sessions.map((session) => session.close()));
    const again = await Session.open(near, { ttlSeconds: 5, stallBudgetMs: BUDGET_MS, keepAliver: beside });
    await beside.renewed();
    t.true(again.live);
    await again.close();
    const { ids } = await near.leases();
    t.false([again, ...sessions].some(({ lease }) => ids.includes(lease)), home.name);
  });
});
