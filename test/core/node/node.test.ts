// The driver with the real machine and store, on a log in memory or on a simulated disk.

import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../../core/base/clock.js';
import { text, utf8 } from '../../../core/base/bytes.js';
import { created, get, opPut, opRange, put } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import type { NodeEvent } from '../../../core/node/events.js';
import type { Files } from '../../../core/base/files.js';
import { collect } from '../../collect.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';
import { startNode, type NodeOptions, type RunningNode } from '../../../core/start-node.js';

async function running(t: ExecutionContext, options: Partial<NodeOptions> = {}): Promise<RunningNode> {
  const node = await startNode({ dataDir: null, heartbeatMs: 20, electionMs: 100, ...options });
  t.teardown(() => node.close());
  return node;
}

test('a fresh node is at revision 1 in term 1 or later, and its first write makes 2', async (t) => {
  const { client } = await running(t);
  t.is((await client.range({ key: utf8('a') })).header.revision, 1);
  const { header } = await put(client, utf8('a'), utf8('1'));
  t.is(header.revision, 2);
  t.true(header.raftTerm >= 1);
});

test('writes issued together each get a revision of their own, in order', async (t) => {
  const { client } = await running(t);
  const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => put(client, utf8(`k${i}`), utf8('v'))));
  t.deepEqual(answers.map((answer) => answer.header.revision), Array.from({ length: 500 }, (_, i) => i + 2));
});

test('a read sees every write acknowledged before it', async (t) => {
  const { client } = await running(t);
  for (let i = 0; i < 50; i++) {
    await put(client, utf8('counter'), utf8(`${i}`));
    const kv = await get(client, utf8('counter'));
    t.is(kv && text(kv.value), `${i}`);
  }
});

test('a transaction takes one branch, and its compares see the state before it', async (t) => {
  const { client } = await running(t);
  const lock = { compare: [created(utf8('l'), '=', 0)], success: [opPut(utf8('l'), utf8('me'))], failure: [opRange(utf8('l'))] };
  t.true((await client.txn(lock)).succeeded);
  const second = await client.txn(lock);
  t.false(second.succeeded);
  t.is(second.responses[0]?.kind, 'range');
});

test('a lease that nobody renews ends with its keys, no earlier than its TTL', async (t) => {
  const { client } = await running(t);
  const startedAt = systemClock.now();
  const lease = await client.grant(1);
  await put(client, utf8('a'), utf8('1'), { lease: lease.id });
  const watch = client.watch({ key: utf8('a') });
  for await (const batch of watch) {
    if (batch.events.some((event) => event.kind === 'delete')) break;
  }
  t.true(systemClock.now() - startedAt >= 1000);
  t.is((await client.keepAlive(lease.id)).ttlSeconds, 0);
});

test('callers that keep the node at its bound cannot keep a lease alive', async (t) => {
  const { client } = await running(t, { limits: { proposalsMax: 1 } });
  const lease = await client.grant(1);
  let over = false;
  const busy = (async () => {
    while (!over) await put(client, utf8('busy'), utf8('v')).catch(() => undefined);
  })();
  await new Promise((resolve) => systemClock.schedule(1600, () => resolve(null)));
  t.deepEqual((await client.leases()).ids.filter((id) => id === lease.id), []);
  over = true;
  await busy;
});

test('renewals that waited out a stall of the event loop count, though the deadline passed in it', async (t) => {
  const clock = new SimClock();
  const events: NodeEvent[] = [];
  const starting = startNode({ dataDir: null, clock, observe: (event) => events.push(event) });
  for (let i = 0; i < 3; i++) await clock.settle();
  const node = await starting;
  const { id } = await node.client.grant(3);
  for (let round = 0; round < 5; round++) {
    await clock.advance(1000);
    clock.jump(60_000);
    // Timers run before sockets are read: the overdue tick first, then the renewal that had been waiting.
    await clock.advance(0);
    t.is((await node.client.keepAlive(id)).ttlSeconds, 3);
  }
  t.is(events.filter((event) => event.kind === 'stalled').length, 5);
  await clock.advance(2900);
  t.deepEqual((await node.client.leases()).ids, [id]);
  await clock.advance(400);
  t.deepEqual((await node.client.leases()).ids, []);
  await node.close();
});

test('memory of compacted history comes back while nobody writes', async (t) => {
  const { client } = await running(t);
  let revision = 0;
  for (let i = 0; i < 600; i++) revision = (await put(client, utf8('k'), Buffer.alloc(10_000))).header.revision;
  await client.compact(revision);
  let held = Infinity;
  for (let i = 0; i < 100 && held > 1_000_000; i++) {
    await new Promise((resolve) => systemClock.schedule(20, () => resolve(null)));
    held = (await client.status()).dbSizeInUseBytes;
  }
  t.true(held <= 1_000_000, `${held} bytes are still in use`);
});

test('while the disk stands still no more than the bound is held in memory, however many callers give up', async (t) => {
  const disk = new SimDisk();
  const clock = new SimClock();
  const still: (() => void)[] = [];
  let stands = false;
  const files = new Proxy<Files>(disk, {
    get(target, name: keyof Files) {
      const method = target[name].bind(target);
      if (name !== 'writeSynced' || !stands) return method;
      return (...call: Parameters<Files['write']>) => still.push(() => target.writeSynced(...call));
    },
  });
  const starting = startNode({ dataDir: '/d', files, clock, limits: { proposalBytesMax: 10_000 } });
  for (let i = 0; i < 20; i++) await clock.settle();
  const node = await starting;
  stands = true;
  const codes: string[] = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 6; i++) {
      const note = (error: unknown): unknown => codes.push(isApiError(error) ? error.code : 'other');
      put(node.client, utf8('k'), Buffer.alloc(3000)).catch(note);
    }
    await clock.advance(20_000);
  }
  t.is(codes.filter((code) => code === 'timeout').length, 3);
  t.is(codes.filter((code) => code === 'too_many_requests').length, 15);
  stands = false;
  for (const write of still.splice(0)) write();
  await clock.settle();
  t.is(node.facts().revision, 4);
  await put(node.client, utf8('k'), Buffer.alloc(3000));
  await node.close();
});

test('renewals keep a lease alive past its TTL', async (t) => {
  const { client } = await running(t);
  const lease = await client.grant(1);
  for (let i = 0; i < 8; i++) {
    await new Promise((resolve) => systemClock.schedule(250, () => resolve(null)));
    t.is((await client.keepAlive(lease.id)).ttlSeconds, 1);
  }
});

test('a request too large, and one with too many operations, are refused before the log', async (t) => {
  const { client } = await running(t, { limits: { requestBytesMax: 1000, txnOpsMax: 3 } });
  const big = await t.throwsAsync(put(client, utf8('a'), Buffer.alloc(2000)));
  t.true(isApiError(big, 'request_too_large'));
  const ops = Array.from({ length: 4 }, (_, i) => opPut(utf8(`k${i}`), utf8('v')));
  t.true(isApiError(await t.throwsAsync(client.txn({ success: ops })), 'too_many_ops'));
  t.is((await client.range({ key: utf8('a') })).header.revision, 1);
});

test('more proposals than the bound are refused, and the others go on', async (t) => {
  const { client } = await running(t, { limits: { proposalsMax: 10 } });
  const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => put(client, utf8(`k${i}`), utf8('v'))));
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
  t.true(refused.length >= 40);
  t.true(refused.every((outcome) => isApiError(outcome.reason, 'too_many_requests')));
  await put(client, utf8('after'), utf8('v'));
});

test('an aborted call rejects at once, and a timed-out one by its time', async (t) => {
  const { client } = await running(t);
  const abort = new AbortController();
  const waiting = put(client, utf8('a'), utf8('1'), { signal: abort.signal });
  abort.abort();
  const error = await t.throwsAsync(waiting);
  t.true(isApiError(error, 'canceled'));
  t.is(isApiError(error) ? error.outcome : '', 'unknown');
});

test('a closed node rejects calls and ends watches', async (t) => {
  const node = await startNode({ dataDir: null });
  const watch = node.client.watch({ key: utf8('a') });
  const iterator = watch[Symbol.asyncIterator]();
  const first = await iterator.next();
  t.is(first.done === true ? 'done' : first.value.kind, 'created');
  const next = iterator.next();
  await node.close();
  t.true((await next).done);
  t.true(isApiError(await t.throwsAsync(put(node.client, utf8('a'), utf8('1'))), 'closed'));
  t.is(await node.ended, null);
});

test('a call that was answered leaves nothing behind', async (t) => {
  const { client } = await running(t);
  for (const options of [{}, { timeoutMs: 60_000 }]) {
    const answers: WeakRef<object>[] = [];
    for (let i = 0; i < 50; i++) answers.push(new WeakRef(await client.range({ key: utf8('a'), serializable: true }, options)));
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    const kept = answers.filter((answer) => answer.deref() !== undefined).length;
    t.true(kept <= 5, `${kept} of ${answers.length} are kept`);
  }
});

test('closing a client leaves the outcome of writes under way unknown', async (t) => {
  const { client } = await running(t);
  const write = put(client, utf8('a'), utf8('1'));
  await client.close();
  const error = await t.throwsAsync(write);
  t.is(isApiError(error) ? error.outcome : '', 'unknown');
});

test('a disk that fails a sync stops the node before anything is acknowledged', async (t) => {
  const disk = new SimDisk();
  const events: NodeEvent[] = [];
  const node = await running(t, { dataDir: '/d', files: disk, observe: (event) => events.push(event) });
  await put(node.client, utf8('a'), utf8('1'));
  disk.setFault((effect) => (effect.call === 'sync' ? Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }) : null));
  const error = await t.throwsAsync(put(node.client, utf8('b'), utf8('2')));
  t.true(isApiError(error, 'stopped'));
  t.is(isApiError(error) ? error.outcome : '', 'unknown');
  const cause = await node.ended;
  t.regex(cause?.message ?? '', /EIO/);
  t.true(events.some((event) => event.kind === 'stopped' && event.error !== null));
});

test('a disk that fails while nobody waits for it stops the node as well', async (t) => {
  const disk = new SimDisk();
  const node = await running(t, { dataDir: '/d', files: disk });
  disk.setFault((effect) => (effect.call === 'write' ? Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }) : null));
  // The log says by itself, once it rests, that its last group was synced.
  t.regex((await node.ended)?.message ?? '', /EIO/);
});

test('a restart on the same files keeps everything, through snapshots and the log', async (t) => {
  const disk = new SimDisk();
  const options = { dataDir: '/d', files: disk, snapshotCount: 40, heartbeatMs: 20, electionMs: 100 };
  let revision = 1;
  for (let round = 0; round < 4; round++) {
    const node = await startNode(options);
    t.is((await node.client.range({ key: utf8('a') })).header.revision, revision);
    const lease = await node.client.grant(1000 + round);
    for (let i = 0; i < 60; i++) {
      revision = (await put(node.client, utf8(`k${i % 7}`), utf8(`${round}.${i}`), { lease: lease.id })).header.revision;
    }
    await node.close();
  }
  const node = await running(t, options);
  const all = await node.client.range({ key: utf8('k'), rangeEnd: utf8('l') });
  t.is(all.count, 7);
  t.is(all.header.revision, revision);
  const old = await node.client.range({ key: utf8('k0'), revision: 2 });
  t.is(old.kvs[0] && text(old.kvs[0].value), '0.0');
  t.is((await node.client.leases()).ids.length, 4);
});

