// Callers who mean harm, or whose bytes have gone wrong, at the port for clients. The titles begin with the rows of the list of
// attacks that test/README.md accounts for.

import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { startNode, type RunningNode } from '../../../core/start-node.js';
import { methods } from '../../../core/wire/methods.js';
import { onBoth } from '../../on-both.js';
import { serve, type ServeOptions } from '../../serving.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';
import { fuzz, h2Frame, hpack, PREFACE, settings } from '../../fuzz/wire.js';

interface Setup {
  readonly node: RunningNode;
  readonly url: string;
  readonly events: WireEvent[];
}

async function setUp(t: ExecutionContext, options: ServeOptions = {}): Promise<Setup> {
  const events: WireEvent[] = [];
  const node = await startNode({ dataDir: null });
  const observe = (event: WireEvent): void => void events.push(event);
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], observe, ...options });
  t.teardown(async () => {
    await server.close();
    await node.close();
  });
  return { node, url: server.urls[0] ?? '', events };
}

/** What comes back until call 1 or the connection has an end. */
async function answersTo(url: string, bytes: Buffer, waitMs = 10_000): Promise<Frame[]> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let received = Buffer.alloc(0);
  socket.on('error', () => undefined).on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (framesIn(received).some(isLast)) socket.destroy();
  });
  socket.write(bytes);
  const timer = setTimeout(() => socket.destroy(), waitMs);
  await new Promise<void>((resolve) => socket.on('close', () => resolve()));
  clearTimeout(timer);
  return framesIn(received);
}

const GOAWAY = 7;
const RESET = 3;

function isLast({ type, flags, stream }: Frame): boolean {
  return type === GOAWAY || (stream === 1 && (type === RESET || (type <= 1 && (flags & 1) === 1)));
}

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

function framesIn(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    if (payload.length < length) break;
    frames.push({ type: bytes[at + 3] ?? 0, flags: bytes[at + 4] ?? 0, stream: bytes.readUInt32BE(at + 5), payload });
    at += 9 + length;
  }
  return frames;
}

type Headers = readonly (readonly [string, Buffer | string])[];

function headersFor(path: Buffer | string, more: Headers = [], contentType = 'application/grpc'): Headers {
  return [
    [':method', 'POST'], [':path', path], [':scheme', 'http'], [':authority', 'localhost'],
    ['content-type', contentType], ['te', 'trailers'], ...more,
  ];
}

const EMPTY_MESSAGE = Buffer.alloc(5);

function call(stream: number, headers: Headers): Buffer {
  return Buffer.concat([h2Frame(1, 4, stream, hpack(headers)), h2Frame(0, 1, stream, EMPTY_MESSAGE)]);
}

function post(
  url: string, path: string, body: string, headers: Readonly<Record<string, string>> = {},
): Promise<[status: number, text: string]> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(new URL(path, url), { method: 'POST', headers, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () => resolve([response.statusCode ?? 0, text]));
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function isWell(t: ExecutionContext, url: string): Promise<void> {
  t.deepEqual((await post(url, '/v3/kv/range', '{"key":"aG9uZXN0"}'))[0], 200);
}

test('SD13: garbage at every layer neither ends the server nor keeps it from an honest caller', async (t) => {
  const { node, url, events } = await setUp(t);
  const until = performance.now() + 1500;
  const paths = [...methods(node.client).keys()];
  const report = await fuzz({ url, seed: 1, paths, goOn: () => performance.now() < until });
  t.is(Object.keys(report.cases).length, 8);
  t.true(Object.values(report.cases).every((count) => count >= 8));
  t.deepEqual(events.flatMap((event) => (event.kind === 'failed' ? [event.error.message] : [])), []);
});

onBoth('SD13: a request and its reset in one packet leave the server standing', async (t, grpcServer) => {
  const { url } = await setUp(t, { grpcServer });
  const reset = h2Frame(3, 0, 1, Buffer.from([0, 0, 0, 8]));
  for (const contentType of ['text/plain', 'application/grpc']) {
    for (const path of ['/etcdserverpb.KV/Range', '/no.Such/Method']) {
      const headers = h2Frame(1, 4, 1, hpack(headersFor(path, [], contentType)));
      await answersTo(url, Buffer.concat([PREFACE, settings(), headers, reset]), 50);
    }
  }
  await isWell(t, url);
});

onBoth('SD3: headers larger than a connection is told are refused, and what unpacks without end too', async (t, grpcServer) => {
  const { url } = await setUp(t, { grpcServer });
  const path = '/etcdserverpb.Maintenance/Status';
  const fine = await answersTo(url, Buffer.concat([PREFACE, settings(), call(1, headersFor(path, [['x', 'y'.repeat(4000)]]))]));
  t.true(fine.some(({ type, stream }) => type === 0 && stream === 1), 'a message is answered');
  const refused = (frames: readonly Frame[]): boolean =>
    frames.some(({ type }) => type === RESET || type === GOAWAY) && !frames.some(({ type }) => type === 0);
  const many = Array.from({ length: 400 }, (_, i) => [`x${i}`, ''] as const);
  t.true(refused(await answersTo(url, Buffer.concat([PREFACE, settings(), call(1, headersFor(path, many))]))));
  // A name of 4,000 bytes put into the table of HPACK once, and then named by one byte, ten thousand times.
  const entry = Buffer.concat([Buffer.from([0x40, 1, 0x78, 127, ...[0xa1, 0x1e]]), Buffer.alloc(4000, 0x79)]);
  const bomb = Buffer.concat([hpack(headersFor(path)), entry, Buffer.alloc(10_000, 0x80 | 62)]);
  t.true(refused(await answersTo(url, Buffer.concat([PREFACE, settings(), h2Frame(1, 4, 1, bomb)]))));
  await isWell(t, url);
});

test('SD5: a watch whose reader takes nothing holds up neither the store nor other readers', async (t) => {
  const { node, url } = await setUp(t);
  // A window of nothing: no answer can be sent, ever. A create request for the key "a", range end "b".
  const nothing = Buffer.from('000006040000000000000400000000', 'hex');
  const create = Buffer.from('00000000080a060a0161120162', 'hex');
  const watches = Array.from({ length: 50 }, (_, i) => Buffer.concat([
    h2Frame(1, 4, 2 * i + 1, hpack(headersFor('/etcdserverpb.Watch/Watch'))), h2Frame(0, 0, 2 * i + 1, create),
  ]));
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined).write(Buffer.concat([PREFACE, nothing, ...watches]));
  while (node.facts().watchers < 50) await new Promise((resolve) => setTimeout(resolve, 5));
  const before = process.memoryUsage();
  // 40 MB of events, which 50 unread copies would make two thousand.
  for (let i = 0; i < 400; i++) await put(node.client, utf8('a'), Buffer.alloc(100_000, i));
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  t.true(grown < 700 * 2 ** 20, `${(grown / 2 ** 20).toFixed(0)} MiB more`);
  await isWell(t, url);
});

test.serial('SD10: what callers send is not written anywhere, whatever it is', async (t) => {
  const { url, events } = await setUp(t);
  const written: string[] = [];
  const [error, output] = [process.stderr.write, process.stdout.write];
  const keep = (chunk: string | Uint8Array): boolean => {
    written.push(Buffer.from(chunk).toString('latin1'));
    return true;
  };
  process.stderr.write = keep;
  process.stdout.write = keep;
  try {
    const hostile = Buffer.from('MARK\u001b[31m\u00a3', 'latin1');
    const headers = headersFor('/etcdserverpb.KV/MARK', [['token', hostile], ['x-bin', '!MARK'], ['authorization', hostile]]);
    await answersTo(url, Buffer.concat([PREFACE, settings(), call(1, headers)]));
    // Printed where Node takes it and the gRPC library does not.
    const odd = headersFor('/etcdserverpb.KV/Range', [['token', Buffer.from('MARK\u00a3', 'latin1')]]);
    await answersTo(url, Buffer.concat([PREFACE, settings(), call(1, odd)]));
    await post(url, '/v3/MARK%0a%1b', 'MARK\n', { Authorization: 'MARK' });
    await answersTo(url, Buffer.from('MARK\r\n\r\n'), 50);
  } finally {
    process.stderr.write = error;
    process.stdout.write = output;
  }
  t.false(written.join('').includes('MARK'), written.join(''));
  t.false(JSON.stringify(events, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)).includes('MARK'));
});

test('SD11: names that mean something to JavaScript are names like others', async (t) => {
  const { node, url } = await setUp(t);
  const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '(a+)+$'];
  for (const name of names) {
    const key = Buffer.from(name).toString('base64');
    t.is((await post(url, '/v3/kv/put', JSON.stringify({ key, value: key })))[0], 200);
    t.true((await post(url, '/v3/kv/range', JSON.stringify({ key })))[1].includes(key), name);
    t.is((await post(url, '/v3/auth/role/add', JSON.stringify({ name })))[0], 200, name);
    t.is((await post(url, '/v3/auth/user/add', JSON.stringify({ name, password: 'x' })))[0], 200, name);
    t.is((await post(url, '/v3/auth/user/grant', JSON.stringify({ user: name, role: name })))[0], 200, name);
    t.is((await post(url, '/v3/auth/user/get', JSON.stringify({ name })))[1].includes(JSON.stringify([name])), true, name);
    t.is((await post(url, `/v3/${encodeURIComponent(name)}`, '{}'))[0], 404, name);
    t.is((await post(url, `/v3/kv/range?${encodeURIComponent(name)}[x]=1`, '{"key":"YQ=="}'))[0], 200, name);
    const headers = headersFor(`/${name}/${name}`, [[name.toLowerCase().replace(/[^a-z_]/g, 'x'), 'x']]);
    await answersTo(url, Buffer.concat([PREFACE, settings(), call(1, headers)]), 50);
  }
  const polluting = '{"__proto__":{"key":"YQ==","polluted":1},"constructor":{"prototype":{"polluted":1}},"key":"Yg=="}';
  t.is((await post(url, '/v3/kv/range', polluting))[0], 200);
  t.is(Reflect.get({}, 'polluted'), undefined);
  t.deepEqual((await node.client.users()).names, names.toSorted());
});

test('SC13: a path is served as it is written or not at all', async (t) => {
  const { url } = await setUp(t);
  const path = '/etcdserverpb.Maintenance/Status';
  const other = [
    path.slice(1), `/${path}`, path.toLowerCase(), path.toUpperCase(), `${path}/`, `${path}?x=1`, `${path}#x`, `${path} `,
    path.replace('/Status', '//Status'), path.replace('/Status', '/./Status'), path.replace('S', '%53'), `${path}\u0000`,
    '', '/', '*', `/x/..${path}`, `${path};a=b`,
  ];
  const statusOf = async (asked: string): Promise<string> => {
    const frames = await answersTo(url, Buffer.concat([PREFACE, settings(), call(1, headersFor(asked))]));
    if (frames.some(({ type, stream }) => type === 0 && stream === 1)) return 'served';
    return frames.some(({ type, stream }) => stream === 1 && (type === 1 || type === RESET)) ? 'refused' : 'dropped';
  };
  t.is(await statusOf(path), 'served');
  for (const asked of other) t.not(await statusOf(asked), 'served', JSON.stringify(asked));
  await isWell(t, url);
});

test('SC14, SE1: no header, query or content type makes a call of the gateway another one, or another caller\'s', async (t) => {
  const { node, url } = await setUp(t, { crossSite: { origins: ['http://good.example'], hosts: null } });
  const { client } = node;
  for (const name of ['root']) {
    await client.changeAuth({ kind: 'user_add', name, password: { plain: 'secret' } });
    await client.changeAuth({ kind: 'role_add', name });
    await client.changeAuth({ kind: 'user_grant', name, role: name });
  }
  await client.changeAuth({ kind: 'enable' });
  const { token } = await client.authenticate('root', 'secret');
  const body = '{"key":"YQ==","value":"YQ=="}';
  const refused = async (path: string, headers: Readonly<Record<string, string>> = {}): Promise<void> => {
    const [status, text] = await post(url, path, body, headers);
    t.deepEqual([status, (JSON.parse(text) as { code: number }).code], [400, 3], `${path} ${JSON.stringify(headers)}`);
  };
  await refused('/v3/kv/put');
  await refused('/v3/kv/%70ut');
  await refused(`/v3/kv/put?token=${token}&Authorization=${token}`);
  await refused('/v3/kv/put', { Cookie: `token=${token}` });
  for (const name of ['X-HTTP-Method-Override', 'X-Method-Override', 'X-HTTP-Method']) {
    await refused('/v3/kv/put', { [name]: 'GET' });
  }
  for (const name of ['X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-User', 'X-Remote-User']) {
    await refused('/v3/kv/put', { [name]: '/health' });
  }
  // A page that may not be asked from writes nothing, even in a request a browser sends without asking first.
  const foreign = { Origin: 'http://evil.example', 'Content-Type': 'text/plain', Authorization: token };
  t.is((await post(url, '/v3/kv/put', body, foreign))[0], 403);
  const own = { Origin: 'http://good.example', Authorization: token };
  t.is((await post(url, '/v3/kv/put?key=Yg==', body, own))[0], 200);
  const { count } = await client.range({ key: utf8('b') });
  t.is(count, 0, 'the query is no part of the request');
});

/** Written at once; true when the connection is cut off within a few seconds. */
async function isCutOff(url: string, bytes: Buffer): Promise<boolean> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined).on('data', () => undefined);
  socket.write(bytes);
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(false);
    }, 10_000);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

onBoth('floods of HTTP/2 end the connection they come by, and nothing else', async (t, grpcServer) => {
  const { url, events } = await setUp(t, { grpcServer });
  const headers = hpack(headersFor('/etcdserverpb.Maintenance/Status'));
  const resets = Array.from({ length: 5000 }, (_, i) => Buffer.concat([
    h2Frame(1, 4, 2 * i + 1, headers), h2Frame(3, 0, 2 * i + 1, Buffer.from([0, 0, 0, 8])),
  ]));
  t.true(await isCutOff(url, Buffer.concat([PREFACE, settings(), ...resets])), 'streams opened and reset');
  t.true(await isCutOff(url, Buffer.concat([PREFACE, ...Array.from({ length: 1000 }, settings)])), 'SETTINGS');
  const pieces = Array.from({ length: 3000 }, () => h2Frame(9, 0, 1, Buffer.from([0])));
  t.true(await isCutOff(url, Buffer.concat([PREFACE, settings(), h2Frame(1, 0, 1, headers), ...pieces])), 'CONTINUATION');
  t.true(events.some((event) => event.kind === 'connection_flooded' && event.what === 'settings'));
  await isWell(t, url);
});
