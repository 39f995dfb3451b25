// A view's claims over real sockets, against coterie and against etcd.

import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { latin1, text, utf8 } from '../../core/base/bytes.js';
import type { KeyValue } from '../../core/client.js';
import { del, put } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { Prng } from '../../core/base/prng.js';
import { View } from '../../recipes/view.js';
import { clients, homes } from './homes.js';
import { keysUnder } from './world.js';

function plain(kvs: Iterable<KeyValue>): string[] {
  return [...kvs].map((kv) => `${text(kv.key)}=${text(kv.value)}@${kv.modRevision}`).sort();
}

// Releases of etcd before 3.4.31 answer progress requests before the events they speak of, so such answers are dropped;
// whoever follows a quiet prefix of a busy store then hears nothing at all.
test.serial('R14 over sockets: a quiet prefix in a busy store stays current, and is current again after a cut', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    await put(near, utf8('quiet/a'), utf8('1'));
    const stale: string[] = [];
    const view = await View.follow(far, { prefix: 'quiet/' }, {
      livenessMs: 5_000,
      observe: (event) => stale.push(event.kind),
    }).ready();
    let busy = true;
    t.teardown(() => {
      busy = false;
    });
    const traffic = (async () => {
      for (let i = 0; busy; i += 1) {
        await put(near, utf8('busy/a'), utf8(String(i)));
        await sleep(5);
      }
    })();
    await sleep(7_000);
    t.is(view.staleSince, null, home.name);
    t.deepEqual(stale, ['listed'], `${home.name}: it never was in doubt`);
    proxy.cut();
    await sleep(3_000);
    await until(() => view.staleSince === null, 30_000);
    t.is(view.staleSince, null, `${home.name}: current again after a cut`);
    await put(near, utf8('quiet/b'), utf8('2'));
    await until(() => view.size === 2, 30_000);
    t.is(view.size, 2, `${home.name}: and the watch is alive`);
    busy = false;
    await traffic;
    await view.close();
  }));
});

test('R15 over sockets: 10,000 random changes under cuts and freezes, the cache and its readers equal the store', async (t) => {
  await Promise.all((await homes(t)).map(async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const prng = new Prng(15);
    const view = await View.follow(far, { prefix: 'r15/' }, { livenessMs: 1_500 }).ready();
    const rebuilt = new Map<string, KeyValue>();
    const reader = (async () => {
      for await (const change of view.changes) {
        for (const kv of change.deletes) rebuilt.delete(latin1(kv.key));
        for (const kv of change.puts) rebuilt.set(latin1(kv.key), kv);
      }
    })();
    for (let writes = 0; writes < 10_000; writes += 200) {
      await Promise.all(Array.from({ length: 200 }, () => {
        const key = utf8(`r15/${prng.below(150)}`);
        return prng.below(4) === 0 ? del(near, key) : put(near, key, utf8(String(prng.u32())));
      }));
      const dice = prng.below(10);
      if (dice === 0) proxy.cut();
      else if (dice === 1) proxy.freeze();
      else if (dice <= 4) proxy.thaw();
      if (prng.below(25) === 0) await compactNow(near);
    }
    proxy.thaw();
    const expected = plain(await keysUnder(near, 'r15/'));
    const same = (): boolean => view.staleSince === null && JSON.stringify(plain(view.entries())) === JSON.stringify(expected);
    await until(same, 10_000);
    t.deepEqual(plain(view.entries()), expected, home.name);
    t.is(view.staleSince, null, home.name);
    await sleep(50);
    t.deepEqual(plain(rebuilt.values()), expected, `${home.name}: every last value was delivered`);
    await view.close();
    await reader;
  }));
});

async function compactNow(store: Awaited<ReturnType<typeof clients>>['near']): Promise<void> {
  const { revision } = (await store.range({ key: utf8('r15/') })).header;
  try {
    await store.compact(revision);
  } catch (error) {
    if (!isApiError(error, 'compacted')) throw error;
  }
}

async function until(holds: () => boolean, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs;
  while (!holds() && performance.now() < end) await sleep(10);
}
