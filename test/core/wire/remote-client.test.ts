// The remote client when the network and the server misbehave: what it says about writes is true, what it watches is
// whole, and it leaves nothing behind. What it does when all is well is its contract (test/contract).

import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { text, utf8 } from '../../../core/base/bytes.js';
import { get, put, type Backend, type WatchBatch } from '../../../core/client.js';
import { ApiError, isApiError } from '../../../core/errors.js';
import { startNode, type RunningNode } from '../../../core/start-node.js';
import { serve, type WireServer } from '../../serving.js';
import { connect, type RemoteClient, type RemoteOptions } from '../../../core/wire/remote-client.js';
import { answersProgressTruthfully } from '../../../core/wire/remote-watch.js';
import { StreamRelay } from './stream-relay.js';
import { TcpRelay } from './tcp-relay.js';

interface Setup {
  readonly node: RunningNode;
  readonly server: WireServer;
  readonly relay: TcpRelay;
  readonly client: RemoteClient;
}

function portOf(server: WireServer): number {
  return Number(new URL(server.urls[0] ?? '').port);
}

async function setUp(t: ExecutionContext, options: RemoteOptions = {}): Promise<Setup> {
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const relay = await TcpRelay.start(portOf(server));
  const client = connect(relay.url, options);
  t.teardown(async () => {
    await client.close();
    await relay.close();
    await server.close();
    await node.close();
  });
  return { node, server, relay, client };
}

/** HTTP/2's words for why a stream ends: no error, protocol, internal, closed, refused, cancel, calm, security. */
const RESETS = [0, 1, 2, 5, 7, 8, 11, 12];

async function errorOf(promise: Promise<unknown>): Promise<ApiError | null> {
  const reason: unknown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  return isApiError(reason) ? reason : null;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test('renewals move to another endpoint when the one in use falls silent, long before its connection is given up', async (t) => {
  const { relay, server, node } = await setUp(t);
  const client = connect([relay.url, server.urls[0] ?? '']);
  t.teardown(() => client.close());
  const { id } = await client.grant(60);
  t.is((await client.keepAlive(id)).ttlSeconds, 60);
  relay.freeze(true);
  const from = performance.now();
  t.is((await errorOf(client.keepAlive(id, { timeoutMs: 300 })))?.code, 'deadline_exceeded');
  t.is((await client.keepAlive(id, { timeoutMs: 9_000 })).ttlSeconds, 60);
  t.true(performance.now() - from < 9_500, 'the pings would have noticed after 10 s');
  relay.freeze(false);
  t.is((await client.keepAlive(id)).ttlSeconds, 60);
  await node.client.revoke(id);
  t.is((await client.keepAlive(id)).ttlSeconds, 0, 'answers still find their questions');
});

test('a write that found no server never happened, and the error names the address', async (t) => {
  const client = connect('http://127.0.0.1:1', { connectTimeoutMs: 200 });
  const error = await errorOf(put(client, utf8('a'), utf8('1')));
  t.is(error?.code, 'unavailable');
  t.is(error?.outcome, 'never');
  t.regex(error?.message ?? '', /127\.0\.0\.1:1/);
  await client.close();
});

test('a write whose answer was lost is unknown, and is sent once', async (t) => {
  const { node, relay, client } = await setUp(t);
  await put(client, utf8('warm'), utf8('1'));
  relay.freeze(true);
  const error = errorOf(put(client, utf8('a'), utf8('1')));
  await sleep(50);
  relay.cut();
  relay.freeze(false);
  const reason = await error;
  t.is(reason?.code, 'connection_lost');
  t.is(reason?.outcome, 'unknown');
  await sleep(300);
  t.is(await get(node.client, utf8('a')), null);
});

test('a write that is not answered in time is unknown', async (t) => {
  const { relay, client } = await setUp(t);
  await put(client, utf8('warm'), utf8('1'));
  relay.freeze(true);
  const error = await errorOf(put(client, utf8('a'), utf8('1'), { timeoutMs: 100 }));
  t.is(error?.code, 'deadline_exceeded');
  t.is(error?.outcome, 'unknown');
});

test('a write under way when the client is closed is not denied', async (t) => {
  const { relay, client } = await setUp(t);
  await put(client, utf8('warm'), utf8('1'));
  relay.freeze(true);
  const error = errorOf(put(client, utf8('a'), utf8('1')));
  await client.close();
  t.is((await error)?.outcome, 'unknown');
});

test('a read whose connection broke is asked again', async (t) => {
  const { relay, client } = await setUp(t);
  await put(client, utf8('a'), utf8('1'));
  relay.freeze(true);
  const reading = get(client, utf8('a'));
  await sleep(50);
  relay.freeze(false);
  relay.cut();
  t.is(text((await reading)?.value ?? utf8('')), '1');
});

test('a dead endpoint costs nothing but a moment, and a broken one is left for the next', async (t) => {
  const { server, relay } = await setUp(t);
  const client = connect(['http://127.0.0.1:1', relay.url, ...server.urls]);
  t.teardown(() => client.close());
  await put(client, utf8('a'), utf8('1'));
  await relay.close();
  t.is(text((await get(client, utf8('a')))?.value ?? utf8('')), '1');
  await put(client, utf8('a'), utf8('2'));
});

test('no endpoint is left out of a search during which the current one fails somebody', async (t) => {
  const { node, server } = await setUp(t);
  const fails: ((error: ApiError) => void)[] = [];
  const held = Object.create(node.client, {
    rangeAs: { value: () => new Promise((_resolve, reject) => void fails.push(reject)) },
    identify: { value: () => null },
  }) as Backend;
  const leaving = await serve(held, { urls: ['http://127.0.0.1:0'] });
  const relay = await TcpRelay.start(portOf(leaving));
  const silent = createServer((socket) => void socket.on('error', () => undefined));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const client = connect([relay.url, ...server.urls]);
  t.teardown(async () => {
    await client.close();
    await relay.close();
    await leaving.close();
    silent.close();
  });
  const reading = get(client, utf8('a'));
  while (fails.length === 0) await sleep(5);
  const address = silent.address();
  relay.aim(address !== null && typeof address === 'object' ? address.port : 0);
  const drained = leaving.drain(60_000);
  await sleep(300);
  // The first endpoint takes no more calls, and a new connection to it is not answered.
  const batches = client.watch({ key: utf8('a') }, { timeoutMs: 60_000 })[Symbol.asyncIterator]();
  await sleep(50);
  for (const fail of fails) fail(new ApiError('stopped'));
  const first = await batches.next();
  t.is(first.done === true ? '' : first.value.kind, 'created');
  t.is(await reading, null);
  await drained;
});

test('a watch survives cut connections and a restarted server without a gap or a repeat', async (t) => {
  const { node, server, relay, client } = await setUp(t);
  const seen: string[] = [];
  const batches = client.watch({ key: utf8('n') })[Symbol.asyncIterator]();
  await batches.next();
  const reading = (async () => {
    for (;;) {
      const batch = await batches.next();
      if (batch.done === true) return;
      const { events } = batch.value;
      for (const { kv } of events) seen.push(text(kv.value));
      if (seen.length >= 200) return;
    }
  })();
  const restarted: WireServer[] = [];
  for (let i = 0; i < 200; i++) {
    await put(node.client, utf8('n'), utf8(String(i)));
    if (i % 40 === 20) relay.cut();
    if (i === 100) {
      await server.close();
      restarted.push(await serve(node.client, { urls: ['http://127.0.0.1:0'] }));
      relay.aim(portOf(restarted[0] ?? server));
    }
    if (i % 10 === 0) await sleep(5);
  }
  await reading;
  t.deepEqual(seen, Array.from({ length: 200 }, (_, i) => String(i)));
  await Promise.all(restarted.map((one) => one.close()));
});

test('streams that something in between resets, with whatever code, are opened again', async (t) => {
  const { node, server } = await setUp(t);
  const relay = await StreamRelay.start(server.urls[0] ?? '');
  const client = connect(relay.url);
  t.teardown(async () => {
    await client.close();
    await relay.close();
  });
  const lease = await client.grant(60);
  const batches = client.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  await batches.next();
  await client.keepAlive(lease.id);
  for (const code of RESETS) {
    relay.hold(true);
    const renewing = client.keepAlive(lease.id);
    await relay.holds();
    relay.reset(code);
    relay.hold(false);
    t.is((await renewing).ttlSeconds, 60, `keep-alive, code ${code}`);
    await put(node.client, utf8('a'), utf8(String(code)));
    const next = await batches.next();
    t.is(next.done === true ? '' : text(next.value.events[0]?.kv.value ?? utf8('')), String(code));
  }
});

test('a call that something in between resets is asked again when it reads, and not denied when it writes', async (t) => {
  const { server } = await setUp(t);
  const relay = await StreamRelay.start(server.urls[0] ?? '');
  const client = connect(relay.url);
  t.teardown(async () => {
    await client.close();
    await relay.close();
  });
  await put(client, utf8('a'), utf8('1'));
  for (const code of RESETS) {
    relay.hold(true);
    const reading = get(client, utf8('a'));
    const writing = errorOf(put(client, utf8('b'), utf8('1')));
    await relay.holds(2);
    relay.reset(code);
    relay.hold(false);
    t.is(text((await reading)?.value ?? utf8('')), '1', `read, code ${code}`);
    const error = await writing;
    t.is(error?.code, 'connection_lost', `write, code ${code}`);
    t.is(error?.outcome, 'unknown');
  }
});

test('a watch whose next revision was compacted while it was away says so', async (t) => {
  const { node, relay, client } = await setUp(t);
  const watch = client.watch({ key: utf8('a') });
  const iterator = watch[Symbol.asyncIterator]();
  await iterator.next();
  relay.freeze(true);
  await put(node.client, utf8('a'), utf8('1'));
  const { header } = await put(node.client, utf8('a'), utf8('2'));
  await node.client.compact(header.revision);
  relay.freeze(false);
  relay.cut();
  const error = await errorOf(iterator.next());
  t.is(error?.code, 'compacted');
  t.is(error?.compactRevision, header.revision);
});

test('a connection that died without a word is noticed', async (t) => {
  const { node, relay, client } = await setUp(t, { pingMs: 200, pingTimeoutMs: 200 });
  const watch = client.watch({ key: utf8('a') });
  const iterator = watch[Symbol.asyncIterator]();
  await iterator.next();
  relay.freeze(true);
  await put(node.client, utf8('a'), utf8('1'));
  // What is frozen stays so; only new connections work.
  relay.freeze(false);
  const result = await iterator.next();
  t.is(result.done === true ? '' : result.value.kind, 'events');
});

test('keep-alives that lost their stream are asked again on the next', async (t) => {
  const { relay, client } = await setUp(t);
  const lease = await client.grant(60);
  t.is((await client.keepAlive(lease.id)).ttlSeconds, 60);
  relay.freeze(true);
  const renewing = Promise.all([client.keepAlive(lease.id), client.keepAlive(5n), client.keepAlive(lease.id)]);
  await sleep(50);
  relay.freeze(false);
  relay.cut();
  t.deepEqual((await renewing).map(({ ttlSeconds }) => ttlSeconds), [60, 0, 60]);
});

test('an answer that comes after its caller gave up is not taken for another’s', async (t) => {
  const { client } = await setUp(t);
  const lease = await client.grant(60);
  const abort = new AbortController();
  const first = errorOf(client.keepAlive(lease.id, { signal: abort.signal }));
  abort.abort();
  const second = client.keepAlive(lease.id);
  t.is((await first)?.code, 'canceled');
  t.is((await second).ttlSeconds, 60);
});

test('a watch that is too large is refused by itself and takes no other with it', async (t) => {
  const { client } = await setUp(t);
  const good = client.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  await good.next();
  const large = client.watch({ key: new Uint8Array(3_000_000) })[Symbol.asyncIterator]();
  t.is((await errorOf(large.next()))?.code, 'request_too_large');
  await put(client, utf8('a'), utf8('1'));
  const next = await good.next();
  t.is(next.done === true ? '' : next.value.kind, 'events');
});

test('a watch from a revision that is no number starts now', async (t) => {
  const { client } = await setUp(t);
  const batches = client.watch({ key: utf8('a'), startRevision: Number.NaN })[Symbol.asyncIterator]();
  await batches.next();
  await put(client, utf8('a'), utf8('1'));
  const next = await batches.next();
  t.is(next.done !== true ? next.value.events.length : 0, 1);
});

test('a slow reader is stopped at the server and goes on where it was, and holds up nobody', async (t) => {
  const { node, client } = await setUp(t);
  const slow = client.watch({ key: utf8('big') })[Symbol.asyncIterator]();
  const quick = client.watch({ key: utf8('small') })[Symbol.asyncIterator]();
  await slow.next();
  await quick.next();
  const value = new Uint8Array(500_000);
  for (let i = 0; i < 30; i++) {
    value[0] = i;
    await put(node.client, utf8('big'), value);
  }
  await put(node.client, utf8('small'), utf8('1'));
  const next = await quick.next();
  t.is(next.done === true ? 0 : next.value.events.length, 1);
  const seen: (number | undefined)[] = [];
  while (seen.length < 30) {
    const result: IteratorResult<WatchBatch> = await slow.next();
    if (result.done === true) break;
    for (const { kv } of result.value.events) seen.push(kv.value[0]);
  }
  t.deepEqual(seen, Array.from({ length: 30 }, (_, i) => i));
});

test('a server that answers nonsense is an error, not a crash', async (t) => {
  const sockets = new Set<Socket>();
  const nonsense = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((resolve) => nonsense.listen(0, '127.0.0.1', resolve));
  const address = nonsense.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const client = connect(`127.0.0.1:${port}`, { connectTimeoutMs: 500, timeoutMs: 1_500 });
  const error = await errorOf(put(client, utf8('a'), utf8('1')));
  t.truthy(error);
  await client.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => nonsense.close(resolve));
});

test('bad endpoints are refused by name', (t) => {
  const error = t.throws(() => connect(['127.0.0.1:2379', 'ftp://x']));
  t.regex(error.message, /"ftp:\/\/x" is not an endpoint/);
  t.throws(() => connect([]));
});

test('a program that closes its client ends by itself', async (t) => {
  const { server } = await setUp(t);
  const here = new URL('../../../', import.meta.url).href;
  const program = `
    const { connect } = await import('${here}core/wire/remote-client.js');
    const client = connect('${server.urls[0] ?? ''}');
    const key = new TextEncoder().encode('a');
    const watch = client.watch({ key });
    for await (const batch of watch) if (batch.kind === 'created') break;
    const lease = await client.grant(60);
    await client.keepAlive(lease.id);
    const { keepAliver } = await import('${here}core/wire/keep-aliver.js');
    const order = { lease: lease.id, ttlMs: 1500, stallBudgetMs: 10_000, tell: () => undefined };
    const keeping = keepAliver('${server.urls[0] ?? ''}').keep(order);
    while (keeping.ageMs() === Infinity) await new Promise((resolve) => setTimeout(resolve, 20));
    keeping.stop();
    await client.range({ key });
    await client.close();
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const code = await new Promise((resolve) => child.once('exit', resolve));
  clearTimeout(timer);
  t.is(code, 0);
});

test('only releases of etcd that answer truthfully about progress are believed', (t) => {
  const believed = ['3.4.31', '3.4.40', '3.5.13', '3.6.0', '4.0.0'];
  const doubted = ['3.4.23', '3.4.30', '3.5.0', '3.5.12', '3.3.9', 'nonsense'];
  t.deepEqual([...believed, ...doubted].filter(answersProgressTruthfully), believed);
});
