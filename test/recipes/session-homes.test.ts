// The session's claims over real sockets, against coterie and against etcd, each in a process of its own.

import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
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
