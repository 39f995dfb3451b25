// The session's claims over real sockets, against coterie and against etcd, each in a process of its own.

import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { get, put } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { startNode } from '../../core/index.js';
import type { SessionEvent, SessionLost } from '../../recipes/session.js';
import { Session } from '../../recipes/session.js';
import { clients, homes } from './homes.js';

test('S1 over sockets: a frozen link, lost fires before the key disappears, in 10 of 10 runs', async (t) => {
  const notice: number[] = [];
  const runs = (await homes(t)).flatMap((home) => Array.from({ length: 10 }, async (_, run) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 3 });
    const key = utf8(`s1/${run}`);
    await put(near, key, utf8('held'), { lease: session.lease });
    const watch = near.watch({ key });
    const gone = (async () => {
      for await (const batch of watch) {
        if (batch.events.some((event) => event.kind === 'delete')) break;
      }
      return performance.now();
    })();
    await sleep(100 + 210 * run);
    t.true(session.live);
    proxy.freeze();
    const lostAt = await new Promise<number>((resolve) => {
      session.signal.addEventListener('abort', () => resolve(performance.now()));
    });
    t.not(await get(near, key), null, `${home.name}: the key is still there when lost is raised`);
    const goneAt = await gone;
    t.true(lostAt < goneAt);
    notice.push(goneAt - lostAt);
    proxy.thaw();
    await session.close();
  }));
  await Promise.all(runs);
  t.log(`told ${Math.round(Math.min(...notice))} to ${Math.round(Math.max(...notice))} ms before the key disappeared`);
});

test('S2 over sockets: answers delayed by 0.8 TTL, never live while the key is gone; by 0.3 TTL, no loss', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 3 });
    const key = utf8('s2');
    await put(near, key, utf8('held'), { lease: session.lease });
    proxy.answerMs = 0.3 * session.ttlMs;
    for (const until = performance.now() + 2 * session.ttlMs; performance.now() < until; await sleep(50)) {
      t.true(session.live, `${home.name}: answers after 0.3 TTL`);
    }
    proxy.answerMs = 0.8 * session.ttlMs;
    let lost = false;
    for (const until = performance.now() + 4 * session.ttlMs; performance.now() < until; await sleep(25)) {
      const there = (await get(near, key)) !== null;
      if (session.live) t.true(there, `${home.name}: it claims to live without its key`);
      else lost = true;
    }
    t.true(lost, 'a delay this long cannot be survived');
    proxy.answerMs = 0;
    await session.close();
  }));
});

// Serial: this process has one wall clock.
test.serial('S4 over sockets: wall time steps by an hour on both sides, no loss and no extension', async (t) => {
  const { now } = Date;
  t.teardown(() => (Date.now = now));
  for (const home of await homes(t)) {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 2 });
    const key = utf8('s4');
    await put(near, key, utf8('held'), { lease: session.lease });
    const created = (await get(near, key))?.createRevision;
    for (const shiftMs of [3_600_000, -3_600_000]) {
      Date.now = () => now() + shiftMs;
      // etcd's own clock belongs to the machine and is left alone.
      if (home.name === 'coterie') home.child.kill('SIGUSR2');
      await sleep(1.2 * session.ttlMs);
      t.true(session.live, home.name);
      t.is((await get(near, key))?.createRevision, created, `${home.name}: the key was there all the time`);
    }
    proxy.freeze();
    await sleep(session.ttlMs);
    t.false(session.live, `${home.name}: a wall clock set back does not extend the session`);
    await sleep(1_500);
    t.is(await get(near, key), null, `${home.name}: nor the lease`);
    proxy.thaw();
    await session.close();
    Date.now = now;
  }
});

test('S5 over sockets: connections fail at random, or are refused for a while; the lease is renewed all the same', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 3 });
    await put(near, utf8('s5'), utf8('held'), { lease: session.lease });
    const created = (await get(near, utf8('s5')))?.createRevision;
    const prng = new Prng(5);
    let faults = 0;
    for (const until = performance.now() + 12_000; performance.now() < until; faults += 1) {
      const [cut, refuse] = [() => proxy.cut(), () => proxy.refuse()];
      [cut, refuse][prng.below(2)]?.();
      await sleep(prng.below(session.ttlMs / 6));
      proxy.accept();
      await sleep(100 + prng.below(session.ttlMs / 3));
      t.true(session.live, `${home.name}: after fault ${faults}`);
    }
    t.true(faults > 10);
    t.is((await get(near, utf8('s5')))?.createRevision, created, home.name);
    await session.close();
  }));
});

test('S9 over sockets: opening and closing raced against aborts and cuts, no lease of ours within a TTL', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const prng = new Prng(9);
    const ends = Array.from({ length: 80 }, async (_, i) => {
      await sleep(10 * i);
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), prng.below(40));
      try {
        const session = await Session.open(far, { ttlSeconds: 2, signal: abort.signal, timeoutMs: 3_000 });
        await sleep(prng.below(1_500));
        const closing = session.close({ timeoutMs: 1_000 });
        if (prng.below(2) === 0) await session.close();
        await closing;
      } catch (error) {
        if (!isApiError(error)) throw error;
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
      }
    })();
    await Promise.all([...ends, cuts]);
    // A TTL, and what the store needs to notice.
    await sleep(2_000 + 2_000);
    t.deepEqual((await near.leases()).ids, [], home.name);
  }));
});

// Serial: the blocked loop is that of every test in this file.
test.serial('S3 in process: the store stands still with the loop, and the first statement sees the loss', async (t) => {
  const node = await startNode({ name: 't', dataDir: null });
  const session = await Session.open(node.client, { ttlSeconds: 1 });
  await sleep(100);
  const until = performance.now() + 1.5 * session.ttlMs;
  while (performance.now() < until);
  t.false(session.live);
  t.is((session.signal.reason as SessionLost).reason, 'stalled');
  await session.close();
  t.deepEqual((await node.client.leases()).ids, []);
  await node.close();
});

// Serial: the blocked loop is that of every test in this file.
test.serial('S3 over sockets: after the loop was blocked for 1.5 TTL the first statement sees the loss', async (t) => {
  for (const home of await homes(t)) {
    const { far, near } = await clients(t, home);
    const events: SessionEvent[] = [];
    const session = await Session.open(far, { ttlSeconds: 2, observe: (event) => events.push(event) });
    const key = utf8('s3');
    await put(near, key, utf8('held'), { lease: session.lease });
    await sleep(300);
    t.true(session.live);
    const until = performance.now() + 1.5 * session.ttlMs;
    while (performance.now() < until);
    const { live } = session;
    t.false(live);
    t.is((session.signal.reason as SessionLost).reason, 'stalled');
    t.true(events.some((event) => event.kind === 'stalled' && event.gapMs > session.ttlMs / 2));
    t.is(await get(near, key), null, `${home.name}: the store had given it up meanwhile`);
    await session.close();
  }
});

test('S6 over sockets: a link broken for less than the TTL leaves the same session live', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const kinds: string[] = [];
    const session = await Session.open(far, { ttlSeconds: 6, observe: (event) => kinds.push(event.kind) });
    await put(near, utf8('s6'), utf8('held'), { lease: session.lease });
    proxy.refuse();
    await sleep(3_400);
    t.is(session.state, 'suspended', home.name);
    proxy.accept();
    await sleep(1_900);
    t.is(session.state, 'live', home.name);
    t.deepEqual(kinds.filter((kind) => kind !== 'renewed'), ['suspended', 'resumed']);
    await session.close();
    t.is(await get(near, utf8('s6')), null, 'closing revokes');
  }));
});

test('S10 over sockets: connections cut again and again, renewals go on', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 3 });
    await put(near, utf8('s10'), utf8('held'), { lease: session.lease });
    const created = (await get(near, utf8('s10')))?.createRevision;
    for (let flap = 0; flap < 50; flap += 1) {
      proxy.cut();
      await sleep(20 + 29 * (flap % 7));
      t.true(session.live, `${home.name}: after flap ${flap}`);
    }
    t.is((await get(near, utf8('s10')))?.createRevision, created);
    await session.close();
  }));
});
