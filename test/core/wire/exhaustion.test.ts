// Attempts to exhaust a server (reliability 5-D, whose rows the titles name): each meets a bound, and whoever behaves is served
// meanwhile.

import { connect as dial, type Socket } from 'node:net';
import { connect as dialHttp2, type Settings } from 'node:http2';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { get, opPut, opTxn, put, type Op } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { startNode, type NodeOptions } from '../../../core/start-node.js';
import { collect } from '../../collect.js';
import { serve, type ServeOptions, type WireServer } from '../../serving.js';
import { connect, type RemoteClient } from '../../../core/wire/remote-client.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';

interface World {
  readonly server: WireServer;
  readonly client: RemoteClient;
}

async function start(t: ExecutionContext, options: { node?: Partial<NodeOptions>; serve?: ServeOptions } = {}): Promise<World> {
  const node = await startNode({ dataDir: null, ...options.node });
  t.teardown(() => node.close());
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], ...options.serve });
  t.teardown(() => server.close());
  const client = connect(server.urls);
  t.teardown(() => client.close());
  return { server, client };
}

function open({ server }: World): Socket {
  const socket = dial(Number(new URL(server.urls[0] ?? '').port), '127.0.0.1');
  socket.on('error', () => undefined);
  return socket;
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.on('close', () => resolve());
    socket.resume();
  });
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(() => 'done', (error: unknown) => (error instanceof ApiError ? error.code : String(error)));
}

/** One gRPC call by hand: status and text of the answer. */
async function rawCall(
  { server }: World, path: string, frame: Buffer, headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  const session = dialHttp2(server.urls[0] ?? '');
  session.on('error', () => undefined);
  try {
    return await new Promise<string>((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers,
      });
      const tell = (told: Record<string, unknown>): void => {
        const { 'grpc-status': status, 'grpc-message': text = '' } = told;
        if (typeof status === 'string' && typeof text === 'string') resolve(`${status} ${decodeURIComponent(text)}`.trim());
      };
      stream.on('response', tell).on('trailers', tell).on('error', reject).on('close', () => reject(new Error('no status')));
      stream.resume();
      stream.end(frame);
    });
  } finally {
    session.destroy();
  }
}

/** A message as gRPC frames it. */
function framed(bytes: Uint8Array, isCompressed: boolean): Buffer {
  const head = Buffer.alloc(5);
  head[0] = isCompressed ? 1 : 0;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function putBytes(valueBytes: number): Uint8Array {
  const flags = { lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
  const request = { key: utf8('zip'), value: new Uint8Array(valueBytes), ...flags };
  return rpc.PutRequest.encode(request).finish();
}

/** Until it is asked: by how much the bytes in buffers of this process have risen above what they had fallen to. */
function watchBuffers(): () => number {
  // What was packed here is garbage now; if it were collected later, it would hide a rise.
  collect();
  let [least, most, isOver] = [Infinity, 0, false];
  const look = (): void => {
    const { arrayBuffers } = process.memoryUsage();
    least = Math.min(least, arrayBuffers);
    most = Math.max(most, arrayBuffers - least);
    // In every turn: what is unpacked in one may be collected in the next.
    if (!isOver) setImmediate(look);
  };
  look();
  return () => {
    isOver = true;
    return most;
  };
}

test('SD1: a connection is told how many streams it may have', async (t) => {
  const connection = { streamsMax: 100, pingEveryMs: 7_200_000, pingTimeoutMs: 20_000 };
  const world = await start(t, { serve: { connection } });
  const session = dialHttp2(world.server.urls[0] ?? '');
  const most = await new Promise<number | undefined>((resolve) => {
    session.once('remoteSettings', (settings: Settings) => resolve(settings.maxConcurrentStreams));
  });
  session.destroy();
  t.is(most, 100);
});

test('SD2: one address has so many connections and no more, and may come again when one has closed', async (t) => {
  const refused: number[] = [];
  const observe = (event: WireEvent): void => void (event.kind === 'connection_refused' && refused.push(event.connections));
  const world = await start(t, { serve: { connectionsPerAddressMax: 4, observe } });
  await put(world.client, utf8('a'), utf8('1'));
  const sockets = [open(world), open(world), open(world)];
  for (const socket of sockets) await new Promise((resolve) => socket.once('connect', resolve));
  await closed(open(world));
  t.deepEqual(refused, [4]);
  t.truthy(await get(world.client, utf8('a')));
  sockets[0]?.destroy();
  for (let i = 0; ; i++) {
    const next = open(world);
    next.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
    const told = await new Promise<string>((resolve) => {
      next.once('data', (chunk: Buffer) => resolve(chunk.toString()));
      next.once('close', () => resolve(''));
    });
    next.destroy();
    if (told.includes('200 OK')) break;
    if (i > 50) return t.fail('no connection is let in again');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (const socket of sockets) socket.destroy();
  t.pass();
});

test('SD2: a body that trickles in is cut off, and a stream\'s may take its time', async (t) => {
  const world = await start(t, { serve: { bodyMs: 300 } });
  const slow = open(world);
  slow.write('POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n');
  const trickle = setInterval(() => slow.write(' '), 50);
  const startedAt = performance.now();
  await closed(slow);
  clearInterval(trickle);
  t.true(performance.now() - startedAt >= 250);
  const stream = open(world);
  stream.write('POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 700));
  t.false(stream.closed);
  stream.destroy();
});

test('SD4: a message is as large as it says, and one that says too much is refused before it is read', async (t) => {
  const world = await start(t);
  const head = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3]);
  const said = await rawCall(world, '/etcdserverpb.KV/Put', head);
  t.regex(said, /^8 grpc: received message larger than max \(2147483647 vs\. 2097152\)$/);
  t.is(await codeOf(put(world.client, utf8('a'), utf8('1'))), 'done');
});

test('SD4: compressed messages are taken, and one that unpacks to a hundred times its size is refused unread', async (t) => {
  const world = await start(t);
  const gzip = { 'grpc-encoding': 'gzip' };
  t.regex(await rawCall(world, '/etcdserverpb.KV/Put', framed(gzipSync(putBytes(100_000)), true), gzip), /^0\b/);
  t.is((await get(world.client, utf8('zip')))?.value.length, 100_000);
  const bomb = gzipSync(putBytes(200 * 1024 * 1024));
  t.true(bomb.length < 1024 * 1024);
  const growth = watchBuffers();
  const said = await Promise.all(Array.from({ length: 5 }, () => {
    return rawCall(world, '/etcdserverpb.KV/Put', framed(bomb, true), gzip);
  }));
  const grown = growth();
  for (const each of said) t.regex(each, /^8 /);
  // Of the whole process, in which other tests run as well; unpacked, one of these five is two hundred megabytes.
  t.true(grown < 100 * 1024 * 1024, `${grown} bytes more`);
  t.regex(await rawCall(world, '/etcdserverpb.KV/Put', framed(putBytes(5), true), { 'grpc-encoding': 'br' }), /^12 /);
  t.is(await codeOf(put(world.client, utf8('a'), utf8('1'))), 'done');
});

test('SD7: operations count with those nested inside them', async (t) => {
  const { client } = await start(t);
  const nested = (depth: number): Op => {
    let op = opPut(utf8(`${depth}`), utf8(''));
    for (let i = 1; i < depth; i++) op = opTxn({ success: [op] });
    return op;
  };
  t.is(await codeOf(client.txn({ success: [nested(127)] })), 'done');
  t.is(await codeOf(client.txn({ success: [nested(140)] })), 'too_many_ops');
  const wide = Array.from({ length: 129 }, (_, i) => opPut(utf8(`${i}`), utf8('')));
  t.is(await codeOf(client.txn({ success: wide })), 'too_many_ops');
});

test('SD8: leases, watches, users and roles have their bounds, and what is ended makes room', async (t) => {
  const limits = { leasesMax: 2, watchersMax: 3, usersMax: 2, rolesMax: 1 };
  const { client } = await start(t, { node: { limits } });
  const { id } = await client.grant(60);
  await client.grant(60);
  const refused = await t.throwsAsync(client.grant(60), { instanceOf: ApiError });
  t.like(refused, { code: 'limit_reached', status: 8, outcome: 'never' });
  await client.revoke(id);
  t.is(await codeOf(client.grant(60)), 'done');
  const watches = [1, 2, 3].map(() => client.watch({ key: utf8('a') }));
  for (const watch of watches) t.is((await watch[Symbol.asyncIterator]().next()).done, false);
  const fourth = client.watch({ key: utf8('a') });
  await t.throwsAsync(fourth[Symbol.asyncIterator]().next());
  for (const watch of watches) watch.close();
  await client.changeAuth({ kind: 'role_add', name: 'r' });
  t.is(await codeOf(client.changeAuth({ kind: 'role_add', name: 's' })), 'limit_reached');
  for (const name of ['a', 'b']) await client.changeAuth({ kind: 'user_add', name, password: null });
  t.is(await codeOf(client.changeAuth({ kind: 'user_add', name: 'c', password: null })), 'limit_reached');
});
