// Transactions, counters, ids, latches and groups over real sockets, against coterie and against etcd, with connections cut
// in the middle of everything.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, prefixRange, put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { counter, ids } from '../../recipes/counter.js';
import { join, members } from '../../recipes/group.js';
import { latch } from '../../recipes/latch.js';
import { Session } from '../../recipes/session.js';
import { stm } from '../../recipes/stm.js';
import type { Home } from './homes.js';
import { clients, homes } from './homes.js';

async function everyHome(t: ExecutionContext, claim: (home: Home) => Promise<void>): Promise<void> {
  for (const home of await homes(t)) await claim(home);
}

function number(value: Uint8Array | null | undefined): number {
  return value === null || value === undefined ? 0 : Number(text(value));
}

async function sum(client: Client, prefix: string): Promise<number> {
  const { kvs } = await client.range(prefixRange(utf8(prefix)));
  return kvs.reduce((all, { value }) => all + number(value), 0);
}

test('random transfers over connections that are cut conserve the sum, and each is done once', async (t) => {
  t.timeout(120_000);
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    for (let i = 0; i < 4; i += 1) await put(near, utf8(`accounts/${i}`), utf8('100'));
    const sessions = await Promise.all([far, far, near].map((client) => Session.open(client, { ttlSeconds: 60 })));
    let done = 0;
    const tellers = sessions.map(async (session, teller) => {
      for (let i = 0; i < 20; i += 1) {
        await stm(session, async (tx) => {
          const [from, to] = [`accounts/${(teller + i) % 4}`, `accounts/${(teller + 3 * i + 1) % 4}`];
          if (from === to) return;
          const [a, b] = [number(await tx.get(from)), number(await tx.get(to))];
          tx.put(from, String(a - 1));
          tx.put(to, String(b + 1));
          tx.put(`book/${teller}/${i}`, '1');
        });
        done += 1;
      }
    });
    const cutting = (async () => {
      while (done < 60) {
        await sleep(60);
        proxy.cut();
      }
    })();
    await Promise.all([...tellers, cutting]);
    t.is(await sum(near, 'accounts/'), 400, home.name);
    const { kvs } = await near.range(prefixRange(utf8('book/')));
    t.true(kvs.every(({ version }) => version === 1), 'none was done twice');
    await Promise.all(sessions.map((session) => session.close()));
    t.is((await near.range({ ...prefixRange(utf8('coterie/receipts/')), countOnly: true })).count, 0);
  });
});

test('counting over connections that are cut counts each once, and no id is given twice', async (t) => {
  t.timeout(120_000);
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 60 });
    const [hits, orders] = [counter(session, 'hits'), ids(far, 'orders')];
    let over = false;
    const cutting = (async () => {
      while (!over) {
        await sleep(60);
        proxy.cut();
      }
    })();
    const given = new Set<number>();
    let reserved = 0;
    for (let i = 0; i < 30; i += 1) {
      t.is(await hits.add(1, i % 2 === 0 ? { id: `op-${i}` } : {}), i + 1, home.name);
      const { from, to } = await orders.reserve(3);
      for (let id = from; id <= to; id += 1) given.add(id);
      reserved += 3;
    }
    over = true;
    await cutting;
    t.is(given.size, reserved);
    t.is(number((await get(near, utf8('coterie/counters/hits')))?.value), 30);
    await session.close();
  });
});

test('a latch opens and a group is seen, by others, over real sockets', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const [a, b] = [await Session.open(near, { ttlSeconds: 30 }), await Session.open(far, { ttlSeconds: 30 })];
    const [first, second] = [await latch(a, 'ready', { count: 2 }), await latch(b, 'ready', { count: 2 })];
    const opened = Promise.all([first.wait({ timeoutMs: 30_000 }), second.wait({ timeoutMs: 30_000 })]);
    await first.countDown({ id: 'a' });
    proxy.cut();
    await second.countDown({ id: 'b' });
    await opened;
    t.true(first.isOpen && second.isOpen, home.name);
    await using view = await members(near, 'g').ready();
    const joined = [await join(b, 'g', { data: 'one' }), await join(a, 'g', { data: 'two' })];
    for await (const change of view.changes) {
      if (change.members.length === 2) break;
    }
    t.deepEqual(view.members.map(({ id, data }) => [id, text(data)]), [[joined[0]?.id, 'one'], [joined[1]?.id, 'two']]);
    await joined[0]?.update('uno');
    await joined[1]?.release();
    for await (const change of view.changes) {
      if (change.members.length === 1 && text(change.members[0]?.data ?? utf8('')) === 'uno') break;
    }
    t.is(view.members[0]?.since, joined[0]?.fence);
    await Promise.all([first.close(), second.close()]);
    await Promise.all([a.close(), b.close()]);
  });
});
