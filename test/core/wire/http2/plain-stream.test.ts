// HTTP over HTTP/2 at the port that serves gRPC: the same answers as over HTTP/1, within the same bounds, on the same connection
// as calls of gRPC. On real sockets.

import { request as http1Request } from 'node:http';
import {
  connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders, type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import test, { type ExecutionContext } from 'ava';
import { CODE } from '../../../../core/wire/http2/protocol.js';
import { PLAIN_STREAMS_MAX } from '../../../../core/wire/http2/limits.js';
import { NOBODY } from '../../../../core/client.js';
import { startNode, type WireServer } from '../../../../core/index.js';
import type { MetricsText } from '../../../../core/wire/health-routes.js';
import type { ServeOptions } from '../../../../core/wire/port.js';
import { TestAuthority } from '../../../certificates.js';
import { serve } from '../../../serving.js';

const authority = await TestAuthority.make();
const own = await authority.issue('server');
const node = await startNode({ dataDir: null });
test.after.always(() => node.close());

const metrics = (): Promise<MetricsText> => Promise.resolve({ body: 'a 1\n', contentType: 'text/plain' });
const KEY = Buffer.from('key').toString('base64');

async function open(t: ExecutionContext, options: Partial<ServeOptions> = {}): Promise<WireServer> {
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], grpcServer: 'own', ...options });
  t.teardown(() => server.close());
  return server;
}

function dial(t: ExecutionContext, server: WireServer, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const session = connect(server.urls[0] ?? '', { ca: authority.cert, ...options });
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  return session;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

/** Fields that differ by the way of asking. */
const OF_THE_WAY: ReadonlySet<string> = new Set(['connection', 'date', 'keep-alive', 'transfer-encoding']);

function told(headers: IncomingHttpHeaders): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(':') && !OF_THE_WAY.has(name)));
}

function begin(session: ClientHttp2Session, path: string, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const stream = session.request({ ':path': path, ...headers }, { endStream: headers[':method'] !== 'POST' });
  stream.on('error', () => undefined);
  return stream;
}

function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let headers: IncomingHttpHeaders = {};
    const parts: Buffer[] = [];
    stream.on('response', (said) => (headers = said));
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('close', () => {
      if (headers[':status'] === undefined) return reject(new Error(`ended with ${stream.rstCode}`));
      resolve({ status: Number(headers[':status']), headers: told(headers), body: Buffer.concat(parts) });
    });
  });
}

async function ask(
  session: ClientHttp2Session, path: string, headers: OutgoingHttpHeaders = {}, body: string | Buffer | null = null,
): Promise<Answer> {
  const stream = begin(session, path, body === null ? headers : { ':method': 'POST', ...headers });
  if (body !== null) stream.end(body);
  return await answerOf(stream);
}

function ask1(
  server: WireServer, path: string, method: string, headers: Record<string, string>, body: string | null,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http1Request(`${server.urls[0]}${path}`, { method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: told(response.headers), body: Buffer.concat(parts) });
      });
    });
    request.on('error', reject);
    request.end(body ?? undefined);
  });
}

async function rejects(t: ExecutionContext, answer: Promise<Answer>, code: number): Promise<void> {
  await t.throwsAsync(answer, { message: `ended with ${code}` });
}

/** A put of the key with an empty value: the 5 bytes before a message of gRPC, and the message. */
const PUT = Buffer.from([0, 0, 0, 0, 5, 0x0a, 3, ...Buffer.from('key')]);
const PUT_PATH = '/etcdserverpb.KV/Put';

test('who offers both over TLS gets HTTP/2, and in one connection gRPC, the gateway, health, version and metrics', async (t) => {
  const server = await open(t, { urls: ['https://127.0.0.1:0'], tls: { cert: own.cert, key: own.key }, metrics });
  const session = dial(t, server, { ALPNProtocols: ['http/1.1', 'h2'] });
  const call = begin(session, PUT_PATH, { ':method': 'POST', 'content-type': 'application/grpc', 'te': 'trailers' });
  let status: unknown = null;
  call.on('trailers', (trailers: IncomingHttpHeaders) => (status = trailers['grpc-status']));
  call.end(PUT);
  t.is((await answerOf(call)).headers['content-type'], 'application/grpc');
  t.is(status, '0');
  t.is(session.alpnProtocol, 'h2');
  const range = await ask(session, '/v3/kv/range', {}, JSON.stringify({ key: KEY }));
  t.is(range.status, 200);
  t.regex(range.body.toString(), /"count":"1"/);
  t.is((await ask(session, '/health')).body.toString().includes('"health":"true"'), true);
  t.regex((await ask(session, '/version')).body.toString(), /etcdserver/);
  t.is((await ask(session, '/metrics')).body.toString(), 'a 1\n');
});

// Alone with the store: a put between the two ways of asking would make their answers differ.
test.serial('an answer over HTTP/2 is the one over HTTP/1, but for what belongs to a connection', async (t) => {
  const server = await open(t, { metrics });
  const session = dial(t, server);
  t.is((await ask(session, '/v3/kv/put', {}, JSON.stringify({ key: KEY, value: KEY }))).status, 200);
  const rows: readonly (readonly [string, string, Record<string, string>, string | null])[] = [
    ['GET', '/version', {}, null],
    ['HEAD', '/version', {}, null],
    ['GET', '/health', {}, null],
    ['GET', '/metrics', {}, null],
    ['GET', '/nothing', {}, null],
    ['OPTIONS', '/v3/kv/range', { 'origin': 'http://a', 'access-control-request-method': 'POST' }, null],
    ['GET', '/v3/kv/range', {}, null],
    ['DELETE', '/health', {}, null],
    ['POST', '/v3/kv/range', {}, JSON.stringify({ key: KEY })],
    ['POST', '/v3/kv/range', { 'content-type': 'application/json' }, 'no json'],
    ['POST', '/v3/kv/range', {}, ''],
    ['POST', '/v3/nothing', {}, '{}'],
    ['POST', '/v3/kv/put', {}, JSON.stringify({ key: KEY, lease: '77' })],
    ['PUT', '/config/local/log', {}, '{}'],
  ];
  for (const [method, path, headers, body] of rows) {
    const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: body === null });
    if (body !== null) stream.end(body);
    t.deepEqual(await answerOf(stream), await ask1(server, path, method, headers, body), `${method} ${path} ${body}`);
  }
});

test('what is large goes both ways, as fast as it is taken, and others are served meanwhile', async (t) => {
  const server = await open(t);
  const session = dial(t, server);
  const value = 'v'.repeat(1_000_000);
  const large = { key: Buffer.from('large').toString('base64'), value: Buffer.from(value).toString('base64') };
  t.is((await ask(session, '/v3/kv/put', {}, JSON.stringify(large))).status, 200);
  const slow = begin(session, '/v3/kv/range', { ':method': 'POST' });
  slow.end(JSON.stringify({ key: large.key }));
  const taken = answerOf(slow);
  slow.pause();
  await new Promise((resolve) => slow.once('response', resolve));
  t.is((await ask(session, '/version')).status, 200);
  slow.resume();
  const { body } = await taken;
  t.true(body.toString().includes(large.value));
  const tooLarge = await ask(session, '/v3/kv/put', {}, Buffer.alloc(8_000_000, 0x20));
  t.is(tooLarge.status, (await ask1(server, '/v3/kv/put', 'POST', {}, ' '.repeat(8_000_000))).status);
  t.is((await ask(session, '/version')).status, 200);
});

test('a watch of the gateway is a stream in both directions, and ends with its caller', async (t) => {
  const server = await open(t);
  const session = dial(t, server);
  const watch = begin(session, '/v3/watch', { ':method': 'POST' });
  watch.write(JSON.stringify({ create_request: { key: KEY } }));
  const seen: string[] = [];
  const has = (text: string): Promise<void> => new Promise((resolve) => {
    watch.on('data', (part: Buffer) => {
      seen.push(part.toString());
      if (seen.join('').includes(text)) resolve();
    });
  });
  await has('"created":true');
  await ask(session, '/v3/kv/put', {}, JSON.stringify({ key: KEY, value: Buffer.from('seen').toString('base64') }));
  await has(Buffer.from('seen').toString('base64'));
  watch.close(constants.NGHTTP2_CANCEL);
  t.is((await ask(session, '/version')).status, 200);
});

test('a body is never a second request, whatever its method and length say', async (t) => {
  const server = await open(t);
  const session = dial(t, server);
  const hidden = 'GET /version HTTP/1.1\r\nHost: a\r\n\r\n';
  for (const method of ['GET', 'DELETE', 'HEAD', 'OPTIONS']) {
    const stream = session.request({ ':method': method, ':path': '/nothing' }, { endStream: false });
    stream.end(hidden);
    t.false((await answerOf(stream)).body.toString().includes('etcdserver'), method);
  }
  const short = begin(session, '/v3/kv/range', { ':method': 'POST', 'content-length': '2' });
  short.end(`{}${hidden}`);
  await rejects(t, answerOf(short), CODE.protocol);
  t.is((await ask(session, '/version')).status, 200);
});

test('what HTTP/1 cannot say is refused, and the connection goes on', async (t) => {
  const server = await open(t);
  const session = dial(t, server);
  const refused: readonly (readonly [string, OutgoingHttpHeaders])[] = [
    ['no/slash', {}], ['*', {}], ['/a b', {}], ['/version', { ':method': 'version' }],
  ];
  for (const [path, headers] of refused) {
    const { status } = await ask(session, path, headers);
    t.true(status === 400 || status === 405, `${path} ${status}`);
  }
  const tunnel = session.request({ ':method': 'GET', ':path': '/version', 'te': 'trailers', 'cookie': ['a=1', 'b=2'] });
  t.is((await answerOf(tunnel)).status, 200);
});

test('many at once are refused beyond a bound, and served again when those have left', async (t) => {
  const server = await open(t);
  const session = dial(t, server);
  await ask(session, '/version');
  const open1: ClientHttp2Stream[] = [];
  for (let i = 0; i < PLAIN_STREAMS_MAX; i++) open1.push(begin(session, '/v3/kv/range', { ':method': 'POST' }));
  await rejects(t, ask(session, '/version'), CODE.refusedStream);
  const left = answerOf(open1[0] ?? begin(session, '/'));
  open1[0]?.end(JSON.stringify({ key: KEY }));
  t.is((await left).status, 200);
  t.is((await ask(session, '/version')).status, 200);
});

test('drain lets an answer end and begins no other; where HTTP has its own port, none is served beside gRPC', async (t) => {
  const server = await open(t);
  const session = dial(t, server);
  await ask(session, '/version');
  const late = begin(session, '/v3/kv/range', { ':method': 'POST' });
  late.write('{"key":');
  await new Promise((resolve) => session.ping(() => resolve(null)));
  const drained = server.drain(5000);
  late.end(`"${KEY}"}`);
  t.is((await answerOf(late)).status, 200);
  await drained;
  const apart = await open(t, { httpUrls: ['http://127.0.0.1:0'] });
  t.is((await ask(dial(t, apart), '/version')).status, 405);
  t.is((await ask(dial(t, apart), '/v3/kv/range', {}, '{}')).status, 415);
});

/** A store that has users. */
function guarded(): typeof node.client {
  return new Proxy(node.client, {
    get: (target, property) => {
      if (property === 'identify') return () => NOBODY;
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

test('a certificate that names a user is told that the gateway does not heed it, over HTTP/2 too', async (t) => {
  const alice = await authority.issue('alice');
  const tls = { cert: own.cert, key: own.key, ca: authority.cert, requireClientCert: true } as const;
  const server = await serve(guarded(), { urls: ['https://127.0.0.1:0'], tls, grpcServer: 'own' });
  t.teardown(() => server.close());
  const session = dial(t, server, { cert: alice.cert, key: alice.key });
  const { status, body } = await ask(session, '/v3/kv/range', {}, JSON.stringify({ key: KEY }));
  t.is(status, 400);
  t.regex(body.toString(), /^CommonName of client sending a request against gateway will be ignored/);
  t.is((await ask(session, '/version')).status, 200);
});
