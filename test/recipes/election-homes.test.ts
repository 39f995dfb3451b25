// The election's claims over real sockets, against coterie and against etcd, each in a process of its own; together with
// `etcdctl elect`; and over three real members whose leader is killed.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { opDelete, prefixRange } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { connect } from '../../core/index.js';
import type { Leader } from '../../recipes/election-state.js';
import { candidates, leader, observe } from '../../recipes/election-state.js';
import type { Leadership } from '../../recipes/election.js';
import { campaign } from '../../recipes/election.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import { lead } from '../../recipes/lead.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { ProcessCluster } from '../interop/cluster-processes.js';
import type { Home } from './homes.js';
import { clients, homes, Proxy, start } from './homes.js';
import { leaderOf } from './leader-of.js';

async function everyHome(t: ExecutionContext, claim: (home: Home) => Promise<void>): Promise<void> {
  for (const home of await homes(t)) await claim(home);
}

async function standing(client: Client, line: string): Promise<number> {
  return (await client.range({ ...prefixRange(utf8(line)), countOnly: true })).count;
}

async function stands(client: Client, name: string, count: number): Promise<void> {
  while (await standing(client, `coterie/elections/${name}/`) !== count) await sleep(20);
}

async function isPending(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return await Promise.race([promise.then(() => false, () => false), sleep(ms).then(() => true)]);
}

function aborted(signal: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(performance.now());
    signal.addEventListener('abort', () => resolve(performance.now()), { once: true });
  });
}

test('E1 E2 over sockets: who aborted, or whose lease is revoked, is not elected when the leader leaves', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const open = (): Promise<Session> => Session.open(near, { ttlSeconds: 30 });
    const [a, b, c, d] = await Promise.all([open(), open(), open(), open()]);
    const office = await campaign(a, 'e1', 'a');
    const abort = new AbortController();
    const aborting = t.throwsAsync(campaign(b, 'e1', 'b', { signal: abort.signal }));
    await stands(near, 'e1', 2);
    const revoked = t.throwsAsync(campaign(c, 'e1', 'c'), { instanceOf: SessionLost });
    await stands(near, 'e1', 3);
    const next = campaign(d, 'e1', 'd');
    await stands(near, 'e1', 4);
    abort.abort();
    t.true(isApiError(await aborting, 'canceled'));
    await near.revoke(c.lease);
    t.is((await revoked)?.reason, 'revoked', home.name);
    await office.resign();
    const second = await next;
    t.true(second.term > office.term);
    t.is(await standing(near, 'coterie/elections/e1/'), 1, home.name);
    await second.resign();
    await Promise.all([a, b, d].map((session) => session.close()));
  });
});

test('E3 over sockets: the link of five candidates is away for 0.5 and 2 x TTL; leaderships do not overlap', async (t) => {
  t.timeout(120_000);
  await everyHome(t, async (home) => {
    const proxies = await Promise.all(Array.from({ length: 5 }, () => Proxy.start(t, home.port)));
    const near = connect(`http://127.0.0.1:${home.port}`);
    const intervals: { term: number; from: number; to: number }[] = [];
    const over = new AbortController();
    const far = proxies.map(({ port }) => connect(`http://127.0.0.1:${port}`));
    const work = far.map((client, i) => lead(
      () => Session.open(client, { ttlSeconds: 2, timeoutMs: 1_000 }), 'e3', `c${i}`,
      async ({ term, signal }) => {
        const interval = { term, from: performance.now(), to: Infinity };
        intervals.push(interval);
        interval.to = await aborted(signal);
      },
      { again: true, signal: over.signal },
    ));
    while (intervals.length === 0) await sleep(20);
    for (const awayMs of [1_000, 4_000]) {
      const before = intervals.length;
      for (const proxy of proxies) proxy[awayMs > 2_000 ? 'refuse' : 'freeze']();
      await sleep(awayMs);
      for (const proxy of proxies) {
        proxy.accept();
        proxy.thaw();
      }
      if (awayMs > 2_000) while (intervals.length === before) await sleep(20);
      await sleep(500);
    }
    t.is((await leader(near, 'e3'))?.term, intervals.at(-1)?.term, home.name);
    over.abort();
    await Promise.allSettled(work);
    for (const [i, { term, from }] of intervals.entries()) {
      const before = intervals[i - 1];
      t.true(before === undefined || (term > before.term && before.to <= from), `${home.name}: ${JSON.stringify(intervals)}`);
    }
    t.true(intervals.length > 1);
    await Promise.all([near, ...far].map((client) => client.close()));
  });
});

test('E5 over sockets: the whole prefix is deleted under live candidates; somebody leads within 2 s', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const sessions = await Promise.all([1, 2, 3].map(() => Session.open(near, { ttlSeconds: 30 })));
    const [a, b, c] = sessions;
    if (a === undefined || b === undefined || c === undefined) throw new Error('three sessions');
    const office = await campaign(a, 'e5', 'a');
    const waiting = [campaign(b, 'e5', 'b'), campaign(c, 'e5', 'c')];
    await stands(near, 'e5', 3);
    await sleep(100);
    const { key, rangeEnd } = prefixRange(utf8('coterie/elections/e5/'));
    const from = performance.now();
    await near.txn({ success: [opDelete(key, { rangeEnd })] });
    const next = await Promise.race(waiting);
    t.true(performance.now() - from < 2_000, `${home.name}: ${performance.now() - from} ms`);
    await aborted(office.signal);
    t.true(office.signal.reason instanceof EntryLost, home.name);
    await stands(near, 'e5', 2);
    await next.resign();
    const offices: Leadership[] = await Promise.all(waiting);
    t.is(offices.filter(({ isLeader }) => isLeader).length, 1);
    await Promise.all(sessions.map((session) => session.close()));
  });
});

test('E6 E7 over sockets: a frozen leader of a short session is followed by its own TTL; its signal comes first', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const [short, long] = [await Session.open(far, { ttlSeconds: 2 }), await Session.open(near, { ttlSeconds: 60 })];
    const office = await campaign(short, 'e6', 'short');
    const waiting = campaign(long, 'e6', 'long');
    await stands(near, 'e6', 2);
    const hooks: string[] = [];
    office.onEnd((reason) => {
      hooks.push(reason.name);
    });
    const lost = aborted(office.signal);
    const from = performance.now();
    proxy.freeze();
    const next = await waiting;
    const elected = performance.now();
    t.true(await lost <= elected, `${home.name}: told ${await lost - from} ms after, followed ${elected - from} ms after`);
    t.true(elected - from < short.ttlMs + 4_000, `${home.name}: ${elected - from} ms`);
    t.deepEqual(hooks, ['SessionLost']);
    await t.throwsAsync(office.txn().put('effect', '1').commit(), { instanceOf: FencedOut });
    proxy.thaw();
    await next.resign();
    await long.close();
  });
});

test('E8 over sockets: an observer sees leaders in order through cut connections, and ends by its signal only', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const stop = new AbortController();
    const told: (Leader | null)[] = [];
    const observing = (async () => {
      for await (const now of observe(far, 'e8', { signal: stop.signal, livenessMs: 2_000 })) told.push(now);
    })();
    const session = await Session.open(near, { ttlSeconds: 30 });
    for (let i = 0; i < 6; i += 1) {
      const office = await campaign(session, 'e8', `a${i}`);
      if (i % 2 === 1) proxy.cut();
      if (i === 4) proxy.freeze();
      await office.proclaim(`b${i}`);
      await sleep(i === 4 ? 3_000 : 100);
      if (i === 4) proxy.thaw();
      const end = performance.now() + 10_000;
      const isTold = (): boolean => told.at(-1)?.value === `b${i}` && told.at(-1)?.staleSince === null;
      while (!isTold() && performance.now() < end) await sleep(20);
      t.like(told.at(-1), { value: `b${i}`, term: office.term, staleSince: null }, home.name);
      await office.resign();
    }
    while (told.at(-1) !== null) await sleep(20);
    const terms = told.flatMap((now) => (now === null ? [] : [now.term]));
    t.deepEqual(terms, terms.toSorted((a, b) => a - b));
    t.true(await isPending(observing, 200));
    stop.abort();
    await observing;
    await session.close();
  });
});

test('a hand-over and priorities over sockets: the chosen one is elected, then the highest', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const session = await Session.open(near, { ttlSeconds: 30 });
    const office = await campaign(session, 'h', 'first');
    const order: string[] = [];
    const all = [];
    for (const [value, priority] of [['a', 0], ['b', 0], ['c', 0], ['high', 5]] as const) {
      all.push(campaign(session, 'h', value, { priority }).then(async (next) => {
        order.push(value);
        await next.resign();
      }));
      await stands(near, 'h', all.length + 1);
    }
    await office.resign({ handTo: ({ value }) => value === 'c' });
    await Promise.all(all);
    t.deepEqual(order.slice(0, 2), ['c', 'high'], home.name);
    t.is(await standing(near, 'coterie/'), 0, home.name);
    await session.close();
  });
});

test('E9 all candidates are killed with the office in their hands: a new one leads within the TTL and a bit', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const endpoint = `http://127.0.0.1:${home.port}`;
    const dead = await Promise.all([1, 2].map((i) => start(t, 'election-main.js', [endpoint, 'e9', `dead${i}`, '2'])));
    await stands(near, 'e9', 2);
    for (const { child } of dead) child.kill('SIGKILL');
    const from = performance.now();
    const session = await Session.open(near, { ttlSeconds: 2 });
    const office = await campaign(session, 'e9', 'restarted');
    const ms = performance.now() - from;
    t.log(`${home.name}: ${Math.round(ms)} ms after the crash, at a TTL of ${session.ttlMs} ms`);
    t.true(ms < session.ttlMs + 4_000, home.name);
    await office.resign();
    await session.close();
  });
});

/** `etcdctl elect`: resolves with the lines it prints, as it prints them. */
function elect(t: ExecutionContext, home: Home, args: readonly string[]): { child: ChildProcess; lines: string[] } {
  const env = { ...process.env, ETCDCTL_API: '3' };
  const all = [`--endpoints=http://127.0.0.1:${home.port}`, 'elect', ...args];
  const child = spawn('etcdctl', all, { stdio: ['ignore', 'pipe', 'inherit'], env });
  t.teardown(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return { child, lines };
}

async function printed(of: { lines: readonly string[] }, word: string): Promise<boolean> {
  for (const end = performance.now() + 10_000; performance.now() < end;) {
    if (of.lines.includes(word)) return true;
    await sleep(20);
  }
  return false;
}

test('etcdctl elect and ours stand in one line, and see each other\'s leaders', async (t) => {
  if (spawnSync('etcdctl', ['version']).status !== 0) {
    if (process.env['CI'] === 'true') t.fail('etcdctl is not installed');
    t.log('etcdctl is not installed: not shown');
    t.pass();
    return;
  }
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const session = await Session.open(near, { ttlSeconds: 10 });
    const root = { root: '' };
    const office = await campaign(session, 'boss', 'ours', root);
    const listener = elect(t, home, ['-l', 'boss']);
    t.true(await printed(listener, 'ours'), `${home.name}: etcdctl sees ours`);
    await office.proclaim('ours, proclaimed');
    t.true(await printed(listener, 'ours, proclaimed'), home.name);
    const theirs = elect(t, home, ['boss', 'theirs']);
    while (await standing(near, 'boss/') < 2) await sleep(20);
    await sleep(300);
    t.deepEqual(theirs.lines, [], `${home.name}: etcdctl waits`);
    await office.resign();
    t.true(await printed(theirs, 'theirs'), `${home.name}: etcdctl is elected`);
    t.is((await leader(near, 'boss', root))?.value, 'theirs');
    const waiting = campaign(session, 'boss', 'ours again', root);
    t.true(await isPending(waiting, 500), `${home.name}: ours waits`);
    t.deepEqual((await candidates(near, 'boss', root)).map(({ value }) => value), ['theirs', 'ours again']);
    theirs.child.kill('SIGINT');
    const again = await waiting;
    t.true(again.term > office.term);
    t.true(await printed(listener, 'ours again'), home.name);
    await again.resign();
    listener.child.kill('SIGINT');
    await session.close();
  });
});

test('E3 E4 the leader of three members is killed, twice, while elections go on: one leader at a time', async (t) => {
  t.timeout(120_000);
  const cluster = new ProcessCluster('coterie', `election-${process.pid}`);
  t.teardown(() => cluster.close());
  await cluster.start(['a', 'b', 'c']);
  const urls = cluster.members.map(({ url }) => url);
  const over = new AbortController();
  const terms: number[] = [];
  let leading = 0;
  let most = 0;
  const all = Array.from({ length: 4 }, () => connect(urls));
  const told: (Leader | null)[] = [];
  const observing = (async () => {
    for await (const now of observe(connect(urls), 'x', { signal: over.signal })) told.push(now);
  })();
  const work = all.map((client, i) => lead(
    () => Session.open(client, { ttlSeconds: 20 }), 'x', `c${i}`,
    async (office) => {
      leading += 1;
      most = Math.max(most, leading);
      terms.push(office.term);
      await sleep(20);
      await office.txn().put('effect', String(office.term)).commit().catch(() => null);
      leading -= 1;
    },
    { again: true, signal: over.signal },
  ));
  await sleep(1_500);
  for (const _ of [1, 2]) {
    const before = terms.length;
    const name = await leaderOf(cluster);
    await cluster.member(name).end('SIGKILL');
    await sleep(5_000);
    t.true(terms.length > before + 3, `${terms.length - before} leaderships after the kill`);
    cluster.member(name).launch([]);
    await sleep(3_000);
  }
  over.abort();
  await Promise.allSettled(work);
  await observing;
  t.is(most, 1);
  t.deepEqual(terms, terms.toSorted((a, b) => a - b));
  t.is(new Set(terms).size, terms.length);
  const seen = told.flatMap((now) => (now === null ? [] : [now.term]));
  t.deepEqual(seen, seen.toSorted((a, b) => a - b), 'the observer saw them in order');
  t.true(seen.every((term) => terms.includes(term)));
  t.log(`${terms.length} leaderships, ${new Set(seen).size} of them seen by the observer`);
  await Promise.all(all.map((client) => client.close()));
});
