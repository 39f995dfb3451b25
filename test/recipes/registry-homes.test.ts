// Registration and discovery over real sockets and with real processes, against coterie and against etcd.

import test from 'ava';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { discover, readServices, register } from '../../recipes/registry.js';
import { View } from '../../recipes/view.js';
import { clients, homes, start } from './homes.js';

const spec = { service: 'api', id: 'a1', address: '127.0.0.1', port: 9 };

test('R6 kill -9: gone within the TTL plus the stated bound, never added again, and the reason is readable', async (t) => {
  // A machine that has other things to do for a second or two must not cost a registration.
  const ttlSeconds = 4;
  await Promise.all((await homes(t)).map(async (home) => {
    const { near } = await clients(t, home);
    const view = await discover(near, 'api').ready();
    const runs = await Promise.all([1, 2, 3].map((run) =>
      start(t, 'instance-main.js', [`http://127.0.0.1:${home.port}`, 'api', `i${run}`, String(ttlSeconds)])));
    await until(() => view.instances.length === 3, 30_000);
    t.is(view.instances.length, 3);
    // Long enough that only renewals can have kept them.
    await sleep(ttlSeconds * 1_000 + 500);
    t.is(view.instances.length, 3, home.name);
    const killedAt = performance.now();
    for (const { child } of runs) child.kill('SIGKILL');
    await Promise.all(runs.map(({ child }) => once(child, 'exit')));
    await until(() => view.instances.length === 0, 30_000);
    const tookMs = performance.now() - killedAt;
    t.true(tookMs <= ttlSeconds * 1_000 + 8_000, `${home.name}: gone after ${Math.round(tookMs)} ms`);
    t.log(`${home.name}: gone ${Math.round(tookMs)} ms after kill -9 at a TTL of ${ttlSeconds} s`);
    await sleep(3_000);
    t.deepEqual(view.instances, []);
    t.deepEqual(view.departures.map(({ id, reason }) => `${id} ${reason}`), ['i1 expired', 'i2 expired', 'i3 expired']);
    await view.close();
  }));
});

test('R3 over sockets: an outage of 3 TTL, registered again soon after its end with the latest data', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const api = await register(far, spec, { ttlSeconds: 2 });
    proxy.refuse();
    await sleep(3_000);
    const update = api.update({ weight: 7 });
    await sleep(3_000);
    t.deepEqual((await readServices(near, ['api'])).services.get('api'), []);
    proxy.accept();
    const backAt = performance.now();
    await update;
    const tookMs = performance.now() - backAt;
    t.true(tookMs <= 15_000, `${home.name}: back after ${Math.round(tookMs)} ms`);
    t.is((await readServices(near, ['api'])).services.get('api')?.[0]?.weight, 7);
    await api.close();
    const after = await readServices(near, ['api']);
    t.deepEqual(after.services.get('api'), []);
    t.is(after.departed.get('api')?.[0]?.reason, 'closed');
  }));
});

test('R14 over sockets: a half-open connection makes the view stale in time, and it recovers with the difference', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const view = await View.follow(far, { prefix: 'r14/' }, { livenessMs: 4_000 }).ready();
    await sleep(6_000);
    t.is(view.staleSince, null, `${home.name}: an idle view stays current`);
    proxy.freeze();
    await put(near, utf8('r14/a'), utf8('1'));
    await until(() => view.staleSince !== null, 30_000);
    t.not(view.staleSince, null, home.name);
    t.is(view.size, 0);
    proxy.thaw();
    proxy.cut();
    await until(() => view.staleSince === null, 30_000);
    t.is(view.staleSince, null, home.name);
    t.is(view.size, 1);
    await view.close();
  }));
});

async function until(holds: () => boolean, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs;
  while (!holds() && performance.now() < end) await sleep(10);
}
