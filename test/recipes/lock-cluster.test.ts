// Locks over three real members whose leader is killed while locks are held, waited for and handed over. The tests share the
// members and run side by side.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { lock, withLock } from '../../recipes/lock.js';
import { entries, insist, opened, until } from './claims.js';
import { boundedWaits, constantHandOvers, everyKind } from './held-claims.js';
import { urlsOf } from './homes.js';
import {
  cutAcquisitions, cutReleases, errorsSurface, givenUpWaits, lateGrant, lostHolders, lostPermits, lostWaiters,
  noResurrection, previousSession, stoppedProcess,
} from './lock-claims.js';
import { membersOfFile } from './three-members.js';

const members = membersOfFile(test);

test('L2 L4 L6 over three members: the leader is killed: one holder at a time, fences grow, nothing is left', async (t) => {
  const urls = urlsOf(members());
  const clients: Client[] = [];
  let running = 0;
  let most = 0;
  const fences: number[] = [];
  let over = false;
  const workers = Array.from({ length: 4 }, async () => {
    const client = connect(urls);
    clients.push(client);
    const session = await opened(client, 30);
    while (!over) {
      await withLock(session, 'x', async (held) => {
        running += 1;
        most = Math.max(most, running);
        fences.push(held.fence);
        await held.txn().put('effect', String(held.fence)).commit().catch(() => null);
        running -= 1;
      });
      await sleep(5);
    }
    return session;
  });
  const holder = connect(urls);
  clients.push(holder);
  const long = await opened(holder, 30);
  const held = await lock(long, 'y');
  await sleep(1_500);
  const before = fences.length;
  await members().trouble();
  await until(() => fences.length > before + 10);
  await sleep(2_000);
  t.true(held.isHeld, 'what was held before is held after the change of leaders');
  await insist(() => held.txn().put('effect-y', String(held.fence)).commit());
  over = true;
  const sessions = await Promise.all(workers);
  t.is(most, 1);
  t.deepEqual(fences, fences.toSorted((a, b) => a - b));
  t.is(new Set(fences).size, fences.length);
  t.true(sessions.every(({ live }) => live));
  t.is(await entries(holder, 'coterie/locks/x/'), 0);
  t.is(text((await insist(() => get(holder, utf8('effect-y'))))?.value ?? utf8('')), String(held.fence));
  t.log(`${before} hand-overs before, ${fences.length - before} after`);
  await held.release();
  await Promise.all([long, ...sessions].map((session) => session.close()));
  await Promise.all(clients.map((client) => client.close()));
});

test('L1 over three members: the leader is killed: a lost waiter rejects while the holder holds', async (t) => {
  await lostWaiters(t, members());
});

test('L2 over three members: the leader is killed while a grant is held back past the TTL: it is not believed', async (t) => {
  await lateGrant(t, members());
});

test('L3 over three members: the leader is killed: a lost holder\'s signal aborts with a typed reason', async (t) => {
  await lostHolders(t, members());
});

test('L4 over three members: the leader is killed, connections are cut during releases: the next acquire succeeds', async (t) => {
  await cutReleases(t, members());
});

test('L5 over three members: the leader is killed while waits are given up: no entry of ours is left', async (t) => {
  await givenUpWaits(t, members());
});

test('L6 over three members: the leader is killed during acquisitions: exactly one entry, the one that holds', async (t) => {
  await cutAcquisitions(t, members());
});

test('L7 over three members: the leader is killed: the new session waits for our previous one to die', async (t) => {
  await previousSession(t, members());
});

test('L8 over three members: the leader is killed: permits of a lost holder are free again after its TTL', async (t) => {
  await lostPermits(t, members());
});

test('L9 over three members: the leader is killed: nothing makes a lost lock held again', async (t) => {
  await noResurrection(t, members());
});

test('L10 over three members: the leader is killed: the work\'s error surfaces whatever the release does', async (t) => {
  await errorsSurface(t, members());
});

test('L11 over three members: the leader is killed under 100 waiters: a hand-over costs no more than before', async (t) => {
  await constantHandOvers(t, members(), [10, 100]);
});

test('L12 over three members: the leader is killed: every kind of lock ends with its session and says so', async (t) => {
  await everyKind(t, members());
});

test('L13 over three members: the leader is killed: every wait takes a signal and a time-out, and leaves the line', async (t) => {
  await boundedWaits(t, members());
});

test('L14 over three members: the leader is killed: a stopped process is lost by its TTL alone, and fenced out', async (t) => {
  await stoppedProcess(t, members());
});
