// The lock's claims over real sockets, against coterie and against etcd, each in a process of its own; and together with
// others who lock the same: etcdctl and python3-etcd3.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { get, prefixRange, put } from '../../core/client.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import type { HeldLock } from '../../recipes/lock.js';
import { lock, tryLock } from '../../recipes/lock.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Home } from './homes.js';
import { clients, homes, start } from './homes.js';

const PYTHON = '/usr/bin/python3';

async function everyHome(t: ExecutionContext, claim: (home: Home) => Promise<void>): Promise<void> {
  for (const home of await homes(t)) await claim(home);
}

async function entries(client: Client, prefix: string): Promise<number> {
  return (await client.range({ ...prefixRange(utf8(prefix)), countOnly: true })).count;
}

function aborted(signal: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(performance.now());
    signal.addEventListener('abort', () => resolve(performance.now()), { once: true });
  });
}

test('L1 over sockets: a waiter whose lease is revoked, or whose link freezes, rejects while the holder holds', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const holder = await Session.open(near, { ttlSeconds: 30 });
    const held = await lock(holder, 'l1');
    const revoked = await Session.open(near, { ttlSeconds: 60 });
    const first = t.throwsAsync(lock(revoked, 'l1'), { instanceOf: SessionLost });
    await sleep(200);
    const from = performance.now();
    await near.revoke(revoked.lease);
    t.is((await first)?.reason, 'revoked', home.name);
    t.true(performance.now() - from < 1_000, `${home.name}: ${performance.now() - from} ms`);
    const frozen = await Session.open(far, { ttlSeconds: 2 });
    const second = t.throwsAsync(lock(frozen, 'l1'), { instanceOf: SessionLost });
    await sleep(200);
    proxy.freeze();
    const since = performance.now();
    await second;
    t.true(performance.now() - since < frozen.ttlMs + 1_000, `${home.name}: ${performance.now() - since} ms`);
    t.true(held.isHeld);
    await held.release();
    proxy.thaw();
    await holder.close();
  });
});

test('L2 over sockets: a grant held back on the wire past the TTL is not believed', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const [holder, session] = [await Session.open(near, { ttlSeconds: 30 }), await Session.open(far, { ttlSeconds: 2 })];
    const held = await lock(holder, 'l2');
    const waiting = t.throwsAsync(lock(session, 'l2'), { instanceOf: SessionLost });
    await sleep(300);
    proxy.freeze();
    await held.release();
    t.is(await entries(near, 'coterie/locks/l2/'), 1, 'the store has it first in line');
    await sleep(session.ttlMs + 500);
    proxy.thaw();
    const lost = await waiting;
    // Which of them, depends on how busy this machine is.
    t.true(['unreachable', 'stalled'].includes(lost?.reason ?? ''), `${home.name}: ${lost?.reason}`);
    const next = await lock(holder, 'l2', { timeoutMs: 10_000 });
    await next.release();
    await holder.close();
  });
});

test('L3 over sockets: a revoked lease and a deleted entry abort the holder\'s signal with a typed reason', async (t) => {
  const noticed: number[] = [];
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const [a, b] = [await Session.open(near, { ttlSeconds: 30 }), await Session.open(near, { ttlSeconds: 30 })];
    const [first, second] = [await lock(a, 'l3'), await lock(b, 'l3-b')];
    await sleep(200);
    const from = performance.now();
    await near.revoke(a.lease);
    noticed.push(await aborted(first.signal) - from);
    t.true(first.signal.reason instanceof EntryLost, home.name);
    await near.txn({ success: [{ kind: 'delete', request: { key: second.key } }] });
    await aborted(second.signal);
    t.true(second.signal.reason instanceof EntryLost);
    t.true(b.live);
    await t.throwsAsync(second.txn().put('effect', '1').commit(), { instanceOf: FencedOut });
    t.is(await get(near, utf8('effect')), null);
    await aborted(a.signal);
    await b.close();
  });
  t.log(`told ${noticed.map((ms) => Math.round(ms)).join(' and ')} ms after the revocation was asked for`);
});

test('L4 over sockets: connections cut during releases, and the next acquire succeeds every time', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 30 });
    let fence = 0;
    for (let run = 0; run < 12; run += 1) {
      const held = await lock(session, 'l4', { timeoutMs: 10_000 });
      t.true(held.fence > fence);
      fence = held.fence;
      const releasing = held.release();
      if (run > 0) await sleep(run / 4);
      proxy.cut();
      await releasing;
      t.is(await entries(near, 'coterie/locks/l4/'), 0, `${home.name}, run ${run}`);
    }
    await session.close();
  });
});

test('L6 over sockets: connections cut during acquisitions leave exactly one entry, the one that holds', async (t) => {
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const session = await Session.open(far, { ttlSeconds: 30 });
    for (let run = 0; run < 12; run += 1) {
      const acquiring = lock(session, 'l6', { timeoutMs: 10_000 });
      if (run > 0) await sleep(run / 4);
      proxy.cut();
      const held = await acquiring;
      const { kvs } = await near.range(prefixRange(utf8('coterie/locks/l6/')));
      t.deepEqual(kvs.map(({ key, createRevision }) => [text(key), createRevision]), [[text(held.key), held.fence]]);
      await held.release();
    }
    t.is(await entries(near, 'coterie/locks/l6/'), 0, home.name);
    await session.close();
  });
});

// Serial: a thousand waiters in this process slow down what others measure.
test.serial('L11 over sockets: operations per hand-over with 10, 100 and 1,000 waiters', async (t) => {
  t.timeout(120_000);
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const perHandOver: number[] = [];
    const times: number[] = [];
    for (const waiters of [10, 100, 1_000]) {
      const counted = { txn: 0, range: 0, watch: 0 };
      const session = await Session.open(counting(near, counted), { ttlSeconds: 60 });
      let held: HeldLock = await lock(session, 'l11');
      const order: HeldLock[] = [];
      const waits = Array.from({ length: waiters }, () => lock(session, 'l11').then((one) => order.push(one)));
      for (const wait of waits) wait.catch(() => undefined);
      // The holder watches its entry, each waiter its own and the one before.
      while (counted.watch < 2 * waiters + 1) await sleep(50);
      await sleep(200);
      const before = { ...counted };
      const from = performance.now();
      const hands = 10;
      for (let i = 0; i < hands; i += 1) {
        await held.release();
        // In the store's order, which is not that of the calls.
        for (const end = performance.now() + 10_000; order.length <= i && performance.now() < end;) await sleep(1);
        const next = order[i];
        if (next === undefined) throw new Error(`nobody holds after hand-over ${i}`);
        held = next;
      }
      times.push((performance.now() - from) / hands);
      const sum = counted.txn + counted.range + counted.watch - before.txn - before.range - before.watch;
      perHandOver.push(sum / hands);
      await session.close();
    }
    t.log(`${home.name}: ${perHandOver.join(', ')} operations; ${times.map((ms) => ms.toFixed(1)).join(', ')} ms`);
    for (const operations of perHandOver) t.true(operations <= 4, `${home.name}: ${operations} operations per hand-over`);
  });
});

function counting(client: Client, counted: { txn: number; range: number; watch: number }): Client {
  return {
    range: (request, options) => ((counted.range += 1), client.range(request, options)),
    txn: (request, options) => ((counted.txn += 1), client.txn(request, options)),
    watch: (request, options) => ((counted.watch += 1), client.watch(request, options)),
    grant: (ttl, options) => client.grant(ttl, options),
    keepAlive: (lease, options) => client.keepAlive(lease, options),
    revoke: (lease, options) => client.revoke(lease, options),
    close: () => client.close(),
  };
}

test('L14 a stopped process is lost by its TTL alone: another holds, and when it goes on it is fenced out', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const { child, line } = await start(t, 'lock-main.js', [`http://127.0.0.1:${home.port}`, 'l14', '2']);
    t.regex(line, /^held \d+$/);
    const session = await Session.open(near, { ttlSeconds: 10 });
    const waiting = lock(session, 'l14');
    await sleep(300);
    child.kill('SIGSTOP');
    const from = performance.now();
    const held = await waiting;
    t.true(performance.now() - from < 8_000, `${home.name}: after ${Math.round(performance.now() - from)} ms`);
    t.true(held.fence > Number(line.split(' ')[1]));
    await held.txn().put('effect', String(held.fence)).commit();
    const said = linesOf(child);
    child.kill('SIGCONT');
    // The second where a write was on its way when it was stopped, and reached the store only now.
    t.regex(await said, /^lost (?:session_lost|fenced_out)$/, home.name);
    t.is(text((await get(near, utf8('effect')))?.value ?? utf8('')), String(held.fence));
    await session.close();
  });
});

async function linesOf(child: ChildProcess): Promise<string> {
  const all: string[] = [];
  if (child.stdout === null) return '';
  for await (const line of createInterface({ input: child.stdout })) all.push(line);
  return all.join('\n');
}

/** A foreign locker: resolves with its first line, which it prints when it holds. */
function foreign(t: ExecutionContext, program: string, args: readonly string[]): { child: ChildProcess; first: Promise<string> } {
  const env = { ...process.env, ETCDCTL_API: '3' };
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
  t.teardown(() => child.kill('SIGKILL'));
  const first = new Promise<string>((resolve) => {
    createInterface({ input: child.stdout }).once('line', resolve);
  });
  return { child, first };
}

async function isPending(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return await Promise.race([promise.then(() => false), sleep(ms).then(() => true)]);
}

function missing(t: ExecutionContext, program: string, args: readonly string[], what: string): boolean {
  if (spawnSync(program, args).status === 0) return false;
  if (process.env['CI'] === 'true') t.fail(`${what} is not installed`);
  t.log(`${what} is not installed: not shown`);
  t.pass();
  return true;
}

test('etcdctl lock and ours stand in one line: it waits for ours, ours waits for it', async (t) => {
  if (missing(t, 'etcdctl', ['version'], 'etcdctl')) return;
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const endpoint = `--endpoints=http://127.0.0.1:${home.port}`;
    const session = await Session.open(near, { ttlSeconds: 10 });
    const held = await lock(session, 'nightly', { root: '' });
    const theirs = foreign(t, 'etcdctl', [endpoint, 'lock', 'nightly']);
    t.true(await isPending(theirs.first, 700), `${home.name}: etcdctl waits`);
    await held.release();
    t.regex(await theirs.first, /^nightly\/[0-9a-f]+$/);
    t.is(await tryLock(session, 'nightly', { root: '' }), null);
    const waiting = lock(session, 'nightly', { root: '' });
    t.true(await isPending(waiting, 500), `${home.name}: ours waits`);
    theirs.child.kill('SIGINT');
    const again = await waiting;
    t.true(again.fence > held.fence);
    await again.release();
    t.is(await entries(near, 'nightly/'), 0);
    await session.close();
  });
});

const PYTHON_LOCK = `
import etcd3, sys, time
lock = etcd3.client(host='127.0.0.1', port=int(sys.argv[1])).lock('job', ttl=30)
# Its own waiting between two attempts does not get on with every release of tenacity; one attempt does.
def attempt():
    try:
        return lock.acquire(timeout=0)
    except TypeError:
        return False
while not attempt():
    time.sleep(0.05)
print('got', flush=True)
sys.stdin.read()
lock.release()
`;

test('python3-etcd3 and ours exclude each other by the plain key', async (t) => {
  if (missing(t, PYTHON, ['-c', 'import etcd3'], 'python3-etcd3')) return;
  const options = { root: '/locks/', plainKey: true };
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const session = await Session.open(near, { ttlSeconds: 10 });
    const held = await lock(session, 'job', options);
    const theirs = foreign(t, PYTHON, ['-c', PYTHON_LOCK, String(home.port)]);
    t.true(await isPending(theirs.first, 1_500), `${home.name}: python waits`);
    await held.release();
    t.is(await theirs.first, 'got');
    t.is(await tryLock(session, 'job', options), null);
    const waiting = lock(session, 'job', options);
    t.true(await isPending(waiting, 500), `${home.name}: ours waits`);
    theirs.child.stdin?.end();
    const again = await waiting;
    await once(theirs.child, 'exit');
    await put(near, utf8('unrelated'), utf8('1'));
    t.true(again.isHeld);
    await again.release();
    t.is(await entries(near, '/locks/job'), 0);
    await session.close();
  });
});
