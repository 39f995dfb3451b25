// The election's claims over real sockets, against coterie and against etcd, each in a process of its own; and together with
// `etcdctl elect`. Three members are in election-cluster.test.ts.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { candidates, leader } from '../../recipes/election-state.js';
import { campaign } from '../../recipes/election.js';
import { Session } from '../../recipes/session.js';
import { entries, isPending, until } from './claims.js';
import {
  coldStart, deletedPrefix, frozenLeader, noPhantoms, reconnectStorms, storeAway, survivingObserver,
} from './election-claims.js';
import type { Home } from './homes.js';
import { clients, homesOfFile } from './homes.js';

const everyHome = homesOfFile(test);

test('E1 E2 over sockets: who aborted, or whose lease is revoked, is not elected when the leader leaves', async (t) => {
  await everyHome(t, (home) => noPhantoms(t, home));
});

test('E3 over sockets: the link of five candidates is away for 0.5 and 2 x TTL; leaderships do not overlap', async (t) => {
  t.timeout(120_000);
  await everyHome(t, (home) => storeAway(t, home));
});

test('E4 over sockets: storms of reconnections, each candidate\'s at its own time: terms in order, no overlap', async (t) => {
  await everyHome(t, (home) => reconnectStorms(t, home));
});

test('E5 over sockets: the whole prefix is deleted under live candidates; somebody leads again at once', async (t) => {
  await everyHome(t, (home) => deletedPrefix(t, home));
});

test('E6 E7 over sockets: a frozen leader of a short session is followed by its own TTL; its signal comes first', async (t) => {
  await everyHome(t, (home) => frozenLeader(t, home));
});

test('E8 over sockets: an observer sees leaders in order through cuts and compaction, and ends by its signal only', async (t) => {
  await everyHome(t, (home) => survivingObserver(t, home));
});

test('E9 over sockets: all candidates are killed with the office in their hands: a new one leads within the TTL', async (t) => {
  await everyHome(t, (home) => coldStart(t, home));
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
      await until(async () => await entries(near, 'coterie/elections/h/') === all.length + 1);
    }
    await office.resign({ handTo: ({ value }) => value === 'c' });
    await Promise.all(all);
    t.deepEqual(order.slice(0, 2), ['c', 'high'], home.name);
    t.is(await entries(near, 'coterie/elections/h/'), 0, home.name);
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
    await until(async () => await entries(near, 'boss/') === 2);
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
