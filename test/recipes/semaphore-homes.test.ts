// Read/write locks and semaphores over real sockets: against coterie and etcd, each in a process of its own, with links
// that are cut; and over three real members whose leader is killed.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { isApiError } from '../../core/errors.js';
import { connect } from '../../core/index.js';
import { EntryLost } from '../../recipes/held.js';
import type { Held } from '../../recipes/held.js';
import { readLock, tryReadLock, tryWriteLock, writeLock } from '../../recipes/rw-lock.js';
import { acquirePermits } from '../../recipes/semaphore.js';
import { Session } from '../../recipes/session.js';
import { ProcessCluster } from '../interop/cluster-processes.js';
import { entries, isPending, opened, until } from './claims.js';
import { clients, homesOfFile } from './homes.js';
import { leaderOf } from './leader-of.js';
import { lostPermits } from './lock-claims.js';

const everyHome = homesOfFile(test);

test('over sockets: readers share, a writer is alone, and a reader does not pass a writer that waits', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const [a, b] = [await Session.open(near, { ttlSeconds: 30 }), await Session.open(near, { ttlSeconds: 30 })];
    const [one, two] = await Promise.all([readLock(a, 'x'), readLock(b, 'x')]);
    t.is(await tryWriteLock(b, 'x'), null);
    const writing = writeLock(b, 'x');
    while (await entries(near, 'coterie/rwlocks/x/') < 3) await sleep(10);
    t.is(await tryReadLock(a, 'x'), null, home.name);
    const reading = readLock(a, 'x');
    t.true(await isPending(Promise.race([writing, reading]), 300), home.name);
    await Promise.all([one.release(), two.release()]);
    const writer = await writing;
    t.true(writer.fence > Math.max(one.fence, two.fence));
    t.true(await isPending(reading, 200));
    await near.revoke(b.lease);
    const last = await reading;
    t.true(last.fence > writer.fence);
    while (!writer.signal.aborted) await sleep(10);
    t.true(writer.signal.reason instanceof EntryLost, home.name);
    await last.release();
    t.is(await entries(near, 'coterie/rwlocks/x/'), 0);
    await a.close();
  });
});

test('L8 over sockets: holders cut off for good cost their permits for no longer than the TTL', async (t) => {
  await everyHome(t, (home) => lostPermits(t, home));
});

test('L8 over sockets: connections cut in the middle of everything leave nothing behind', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 30 });
    let over = false;
    let used = 0;
    let most = 0;
    let taken = 0;
    const work = Array.from({ length: 4 }, async (_, i) => {
      while (!over) {
        const permits = 1 + (i % 2);
        try {
          const held = await acquirePermits(session, 'y', { limit: 3, permits, timeoutMs: 5_000 });
          used += permits;
          taken += 1;
          most = Math.max(most, used);
          await sleep(2);
          used -= permits;
          await held.release();
        } catch (error) {
          if (!isApiError(error)) throw error;
        }
      }
    });
    for (let cut = 0; cut < 20; cut += 1) {
      await sleep(20 + cut * 2);
      proxy.cut();
    }
    while (taken <= 20) await sleep(20);
    over = true;
    await Promise.all(work);
    t.true(most <= 3 && most >= 2, `${home.name}: at most ${most}`);
    await session.close();
    t.is(await entries(near, 'coterie/semaphores/y/'), 1, 'the limit alone');
  });
});

test('L8 over three members: the leader is killed: the limit is kept, a writer is alone, nothing is left', async (t) => {
  t.timeout(120_000);
  const cluster = new ProcessCluster('coterie', `permits-${process.pid}`);
  t.teardown(() => cluster.close());
  await cluster.start(['a', 'b', 'c']);
  const urls = cluster.members.map(({ url }) => url);
  const all = Array.from({ length: 4 }, () => connect(urls));
  let over = false;
  const now = { readers: 0, writers: 0, permits: 0 };
  let rounds = 0;
  const during = async (held: Held, kind: keyof typeof now): Promise<void> => {
    now[kind] += 1;
    t.true(now.writers <= 1 && (now.writers === 0 || now.readers === 0) && now.permits <= 2, JSON.stringify(now));
    await sleep(5);
    now[kind] -= 1;
    await held.release();
    rounds += 1;
  };
  const work = all.map(async (client, i) => {
    const session = await opened(client, 30);
    while (!over) {
      await during(await acquirePermits(session, 'x', { limit: 2 }), 'permits');
      if (i === 0) await during(await writeLock(session, 'x'), 'writers');
      else await during(await readLock(session, 'x'), 'readers');
    }
    return session;
  });
  await sleep(1_500);
  const before = rounds;
  await cluster.member(await leaderOf(cluster)).end('SIGKILL');
  await until(() => rounds > before + 10);
  await sleep(2_000);
  over = true;
  const sessions = await Promise.all(work);
  t.true(sessions.every(({ live }) => live));
  const [client] = all;
  if (client === undefined) throw new Error('a client');
  t.is(await entries(client, 'coterie/rwlocks/'), 0);
  t.is(await entries(client, 'coterie/semaphores/'), 1);
  t.log(`${before} rounds before, ${rounds - before} after`);
  await Promise.all(sessions.map((session) => session.close()));
  await Promise.all(all.map((each) => each.close()));
});
