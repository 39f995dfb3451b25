// The server as real clients meet it: Node's own HTTP/2 client, which is strict about what it is sent, and grpc-js, which is what
// many services use. The methods are echoes, so that nothing but the transport is tried.

import { Client, credentials, Metadata, status, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { deflateSync, gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../../../core/base/clock.js';
import type { CallContext, Method, Methods } from '../../../../core/wire/call.js';
import type { ConnectionLimits } from '../../../../core/wire/grpc-server.js';
import { CODE, FLAG, FRAME } from '../../../../core/wire/http2/protocol.js';
import { Http2Server } from '../../../../core/wire/http2/server.js';
import { WireError } from '../../../../core/wire/status.js';
import { UnsentAnswers } from '../../../../core/wire/unsent.js';
import type { WireEvent } from '../../../../core/wire/wire-events.js';
import { data, framesIn, framesSoFar, HELLO, message, opened, ping, type Frame } from './kit.js';

interface Setup {
  readonly server: Http2Server;
  readonly address: string;
  readonly events: WireEvent[];
  readonly sockets: Set<Socket>;
  readonly seen: CallContext[];
  /** Whoever comes from now on is served by another one. */
  readonly replace: () => void;
}

const ODD_TEXT = 'caf\u00e9 100% \u20ac\n"quoted" \u{1f600}';

function methods(seen: CallContext[]): Methods {
  const table: Method[] = [
    {
      kind: 'unary', service: 'a.A', name: 'Echo',
      handle: (request, call) => {
        seen.push(call);
        return Promise.resolve(request);
      },
    },
    {
      kind: 'unary', service: 'a.A', name: 'Fail',
      handle: (request) => Promise.reject(new WireError(9, ODD_TEXT.repeat(1 + (request[0] ?? 0)))),
    },
    {
      kind: 'unary', service: 'a.A', name: 'Wait', waits: true,
      handle: async (request, call) => {
        seen.push(call);
        await new Promise((resolve) => call.signal.addEventListener('abort', resolve));
        return request;
      },
    },
    {
      kind: 'unary', service: 'a.A', name: 'Throw',
      handle: () => {
        throw new TypeError('thrown');
      },
    },
    {
      kind: 'stream', service: 'a.A', name: 'ThrowAll',
      handle: () => {
        throw new TypeError('thrown');
      },
    },
    {
      kind: 'stream', service: 'a.A', name: 'Chat',
      handle: async (requests, call, send) => {
        seen.push(call);
        for await (const request of requests) await send(request);
      },
    },
    {
      kind: 'stream', service: 'a.A', name: 'Many',
      handle: async (requests, _call, send) => {
        for await (const request of requests) for (let i = 0; i < (request[0] ?? 0); i++) await send(Buffer.alloc(10_000, i));
      },
    },
  ];
  return new Map(table.map((method) => [`/${method.service}/${method.name}`, method]));
}

async function setUp(t: ExecutionContext, connection?: ConnectionLimits): Promise<Setup> {
  const events: WireEvent[] = [];
  const seen: CallContext[] = [];
  const make = (): Http2Server => new Http2Server(methods(seen), {
    requestBytesMax: 1_000_000, observe: (event) => void events.push(event), clock: systemClock, version: '1.2.3', nameOf: null,
    unsent: new UnsentAnswers(2 ** 29, () => undefined), ...(connection === undefined ? {} : { connection }),
  });
  const server = make();
  let accepting = server;
  const sockets = new Set<Socket>();
  const listener = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket)).once('end', () => socket.end());
    accepting.accept(socket);
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    accepting.close();
    listener.close();
  });
  const replace = (): void => {
    accepting = make();
  };
  return { server, address: `127.0.0.1:${(listener.address() as AddressInfo).port}`, events, sockets, seen, replace };
}

function grpcClient(t: ExecutionContext, address: string, options = {}): Client {
  const client = new Client(address, credentials.createInsecure(), options);
  t.teardown(() => client.close());
  return client;
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function call(client: Client, name: string, bytes: Uint8Array, options = {}, metadata = new Metadata()): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(`/a.A/${name}`, same, same, Buffer.from(bytes), metadata, options, (error, answer) => {
      if (error === null) resolve(answer ?? Buffer.alloc(0));
      else reject(error);
    });
  });
}

async function failureOf(t: ExecutionContext, answer: Promise<unknown>): Promise<ServiceError> {
  const error = await t.throwsAsync(answer);
  return error as ServiceError;
}

async function until(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setTimeout(resolve, 5));
}

function chat(client: Client, name = 'Chat', options = {}): ClientDuplexStream<Buffer, Buffer> {
  return client.makeBidiStreamRequest(`/a.A/${name}`, same, same, new Metadata(), options);
}

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly code: number;
}

function session(t: ExecutionContext, address: string, settings = {}): ClientHttp2Session {
  const opened = connectHttp2(`http://${address}`, { settings });
  opened.on('error', () => undefined);
  t.teardown(() => opened.destroy());
  return opened;
}

/** In raw HTTP/2, with a whole body. */
function ask(
  on: ClientHttp2Session, path: string, body: Uint8Array, more: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = on.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...more });
    let [headers, trailers]: [IncomingHttpHeaders, IncomingHttpHeaders] = [{}, {}];
    const parts: Buffer[] = [];
    stream.on('response', (got) => {
      headers = got;
    }).on('trailers', (got: IncomingHttpHeaders) => {
      trailers = got;
    }).on('data', (bytes: Buffer) => parts.push(bytes)).on('error', reject);
    stream.on('close', () => resolve({ headers, trailers, body: Buffer.concat(parts), code: stream.rstCode }));
    stream.end(body);
  });
}

test('calls of grpc-js are answered, small, large, empty, and many at once', async (t) => {
  const { address, events } = await setUp(t);
  const client = grpcClient(t, address);
  for (const size of [0, 1, 100, 16_379, 16_380, 70_000, 1_000_000]) {
    t.is(Buffer.compare(await call(client, 'Echo', Buffer.alloc(size, size)), Buffer.alloc(size, size)), 0);
  }
  const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => call(client, 'Echo', Buffer.from(`number ${i}`))));
  t.deepEqual(answers.map(String), answers.map((_, i) => `number ${i}`));
  t.is(events.filter(({ kind }) => kind === 'call_handled').length, 307);
});

test('errors come as trailers, with odd characters and all', async (t) => {
  const { address } = await setUp(t);
  const client = grpcClient(t, address);
  const failed = await failureOf(t, call(client, 'Fail', Buffer.alloc(0)));
  t.deepEqual([failed.code, failed.details], [9, ODD_TEXT]);
  // What would not fit a frame is cut.
  const long = await failureOf(t, call(client, 'Fail', Buffer.from([255])));
  t.true(long.details.startsWith(ODD_TEXT.repeat(50)) && long.details.endsWith('...'));
  t.is((await failureOf(t, call(client, 'Nope', Buffer.alloc(0)))).code, status.UNIMPLEMENTED);
  const large = await failureOf(t, call(client, 'Echo', Buffer.alloc(2_000_000)));
  t.deepEqual([large.code, large.details], [8, 'grpc: received message larger than max (2000000 vs. 1524288)']);
});

test('a stream goes both ways at once, ends when the caller has said all, and names the version', async (t) => {
  const { address } = await setUp(t);
  const stream = chat(grpcClient(t, address));
  const heard: string[] = [];
  let version: unknown = null;
  stream.on('data', (bytes: Buffer) => heard.push(bytes.toString())).on('metadata', (got: Metadata) => {
    version = got.get('coterie-version')[0];
  });
  for (let i = 0; i < 200; i++) stream.write(Buffer.from(`${i}`));
  await until(() => heard.length === 200);
  stream.write(Buffer.from('last'));
  stream.end();
  const end = await new Promise<{ code: number }>((resolve) => stream.on('status', resolve));
  t.is(end.code, 0);
  t.deepEqual(heard, [...Array.from({ length: 200 }, (_, i) => `${i}`), 'last']);
  t.is(version, '1.2.3');
});

test('a stream of megabytes arrives whole, as fast as it is read', async (t) => {
  const { address } = await setUp(t);
  const stream = chat(grpcClient(t, address), 'Many');
  let [count, bytes] = [0, 0];
  stream.on('data', (got: Buffer) => {
    bytes += got.length;
    if (got.every((byte) => byte === count % 250)) count += 1;
    if (count % 100 === 0) {
      stream.pause();
      setTimeout(() => stream.resume(), 5);
    }
  });
  stream.write(Buffer.from([250]));
  stream.write(Buffer.from([250]));
  stream.end();
  await new Promise((resolve) => stream.on('status', resolve));
  t.deepEqual([count, bytes], [500, 5_000_000]);
});

test('a deadline ends a call on both sides, and one that is long enough does not', async (t) => {
  const { address, seen } = await setUp(t);
  const client = grpcClient(t, address);
  t.is((await failureOf(t, call(client, 'Wait', Buffer.alloc(0), { deadline: Date.now() + 50 }))).code, status.DEADLINE_EXCEEDED);
  t.is(String(await call(client, 'Echo', Buffer.from('x'), { deadline: Date.now() + 60_000 })), 'x');
  // Said by the server where the caller does not keep time himself.
  const late = await ask(session(t, address), '/a.A/Wait', message(), { 'grpc-timeout': '30m' });
  t.is(late.headers['grpc-status'] ?? late.trailers['grpc-status'], String(status.DEADLINE_EXCEEDED));
  await until(() => seen.every(({ signal }) => signal.aborted));
  t.true(seen.length >= 2);
  const odd = await ask(session(t, address), '/a.A/Echo', message(), { 'grpc-timeout': '5x' });
  t.is(odd.headers['grpc-status'], String(status.INTERNAL));
});

test('a caller who gives up is heard by the handler, of a plain call and of a stream', async (t) => {
  const { address, seen } = await setUp(t);
  const client = grpcClient(t, address);
  const stream = chat(client);
  stream.on('error', () => undefined);
  stream.write(Buffer.from('a'));
  await until(() => seen.length === 1);
  stream.cancel();
  const plain = client.makeUnaryRequest('/a.A/Wait', same, same, Buffer.alloc(0), () => undefined);
  await until(() => seen.length === 2);
  plain.cancel();
  await until(() => seen.every(({ signal }) => signal.aborted));
  t.is(String(await call(client, 'Echo', Buffer.from('on'))), 'on');
});

test('a line that breaks is heard by every handler on it', async (t) => {
  const { address, seen, sockets } = await setUp(t);
  const on = session(t, address);
  for (let i = 0; i < 5; i++) void ask(on, '/a.A/Wait', message()).catch(() => undefined);
  await until(() => seen.length === 5);
  on.destroy();
  await until(() => seen.every(({ signal }) => signal.aborted) && sockets.size === 0);
  t.is(sockets.size, 0);
});

test('compressed messages are read, and what cannot be is refused in the words of gRPC', async (t) => {
  const { address } = await setUp(t);
  const on = session(t, address);
  const text = Buffer.from('again and '.repeat(100));
  for (const [encoding, pack] of [['gzip', gzipSync], ['deflate', deflateSync]] as const) {
    const { body } = await ask(on, '/a.A/Echo', message(pack(text), 1), { 'grpc-encoding': encoding });
    t.deepEqual(body, message(text));
  }
  const plain = await ask(on, '/a.A/Echo', message(text), { 'grpc-encoding': 'gzip' });
  t.deepEqual(plain.body, message(text));
  const refused: readonly (readonly [Buffer, string, number])[] = [
    [message(text, 1), 'gzip', status.INTERNAL], [message(text, 1), 'snappy', status.UNIMPLEMENTED],
    [message(text, 1), 'identity', status.INTERNAL], [message(text, 2), 'identity', status.INTERNAL],
    [message(gzipSync(Buffer.alloc(3_000_000)), 1), 'gzip', status.RESOURCE_EXHAUSTED],
  ];
  for (const [body, encoding, code] of refused) {
    t.is((await ask(on, '/a.A/Echo', body, { 'grpc-encoding': encoding })).headers['grpc-status'], String(code), encoding);
  }
  t.deepEqual((await ask(on, '/a.A/Echo', message(text))).body, message(text));
});

test('a request without its message, with two, or with part of one is refused', async (t) => {
  const { address } = await setUp(t);
  const on = session(t, address);
  for (const body of [Buffer.alloc(0), Buffer.concat([message(), message()]), Buffer.from([0, 0, 0, 0, 9, 1])]) {
    t.is((await ask(on, '/a.A/Echo', body)).headers['grpc-status'], String(status.INTERNAL));
  }
});

test('what is no gRPC is answered in the words of HTTP, also to a caller who keeps no table of fields', async (t) => {
  const { address } = await setUp(t);
  for (const settings of [{}, { headerTableSize: 0 }]) {
    const on = session(t, address, settings);
    await new Promise((resolve) => on.once('localSettings', resolve));
    const refused = await ask(on, '/a.A/Echo', Buffer.alloc(0), { 'content-type': 'text/plain' });
    t.is(Number(refused.headers[':status']), 415);
    t.is(Number((await ask(on, '/a.A/Echo', Buffer.alloc(0), { ':method': 'PUT' })).headers[':status']), 405);
    for (let i = 0; i < 3; i++) {
      const answer = await ask(on, '/a.A/Echo', message(Buffer.from('x')));
      t.is(answer.headers['content-type'], 'application/grpc');
      t.deepEqual([answer.trailers['grpc-status'], answer.body.length], ['0', 6]);
    }
    t.is((await ask(on, '/a.A/Fail', message())).headers['grpc-status'], '9');
  }
});

test('a drain lets open calls end, begins no more, and then closes the line', async (t) => {
  const { address, server, seen, sockets } = await setUp(t);
  const on = session(t, address);
  const open = on.request({ ':method': 'POST', ':path': '/a.A/Echo', 'content-type': 'application/grpc', te: 'trailers' });
  open.write(message(Buffer.from('slow')).subarray(0, 7));
  const waiting = ask(on, '/a.A/Wait', message());
  await until(() => seen.length === 1);
  const told = new Promise((resolve) => on.once('goaway', resolve));
  const drained = server.drain(10_000);
  t.is(await told, 0);
  await waiting;
  const answer = new Promise<Buffer>((resolve) => {
    const parts: Buffer[] = [];
    open.on('data', (bytes: Buffer) => parts.push(bytes)).on('close', () => resolve(Buffer.concat(parts)));
  });
  open.end(message(Buffer.from('slow')).subarray(7));
  t.deepEqual(await answer, message(Buffer.from('slow')));
  await drained;
  await until(() => sockets.size === 0);
  t.is(sockets.size, 0);
});

test('a caller of grpc-js goes over to another line when his is drained, and loses no call', async (t) => {
  const { address, server, replace } = await setUp(t);
  const client = grpcClient(t, address);
  t.is(String(await call(client, 'Echo', Buffer.from('a'))), 'a');
  replace();
  await server.drain(5000);
  t.is(String(await call(client, 'Echo', Buffer.from('b'))), 'b');
});

test('pings of a caller are answered', async (t) => {
  const { address } = await setUp(t);
  const on = session(t, address);
  await new Promise((resolve) => on.once('connect', resolve));
  const payload = Buffer.from('12345678');
  const echoed = await new Promise<Buffer>((resolve, reject) => {
    on.ping(payload, (error, _ms, got) => {
      if (error === null) resolve(got);
      else reject(error);
    });
  });
  t.deepEqual(echoed, payload);
});

test('a caller who says nothing is asked whether he is there, and cut off if he is not', async (t) => {
  const { address, sockets } = await setUp(t, { streamsMax: 100, pingEveryMs: 60, pingTimeoutMs: 1500 });
  const there = session(t, address);
  await new Promise((resolve) => there.once('connect', resolve));
  // Node answers pings by itself; a bare socket does not.
  const silent = connect(Number(address.split(':')[1]), '127.0.0.1');
  silent.on('error', () => undefined).write(HELLO);
  silent.resume();
  await new Promise((resolve) => silent.once('close', resolve));
  await until(() => sockets.size === 1);
  t.deepEqual((await ask(there, '/a.A/Echo', message())).body, message());
});

test('a connection without calls is ended when it has been idle for long, and one with a call is not', async (t) => {
  const { address, sockets } = await setUp(t, { streamsMax: 100, pingEveryMs: 60_000, pingTimeoutMs: 60_000, idleMs: 1000 });
  const busy = session(t, address);
  const idle = session(t, address);
  const stream = busy.request({ ':method': 'POST', ':path': '/a.A/Chat', 'content-type': 'application/grpc', te: 'trailers' });
  const told = new Promise((resolve) => idle.once('goaway', resolve));
  t.deepEqual((await ask(idle, '/a.A/Echo', message())).body, message());
  t.is(await told, 0);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await until(() => sockets.size === 1);
  stream.write(message(Buffer.from('still here')));
  t.is((await new Promise<Buffer>((resolve) => stream.once('data', resolve))).toString('latin1', 5), 'still here');
  stream.end();
  t.is(await new Promise((resolve) => busy.once('goaway', resolve)), 0);
});

test('an old connection begins no more calls, and those that are open are cut off when their grace is over', async (t) => {
  const [ageMs, ageGraceMs] = [500, 1500];
  const { address, sockets, seen } = await setUp(t, {
    streamsMax: 100, pingEveryMs: 60_000, pingTimeoutMs: 60_000, ageMs, ageGraceMs,
  });
  const from = performance.now();
  // Node's client would begin no call itself when it has been told.
  const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
  t.teardown(() => socket.destroy());
  let bytes = Buffer.alloc(0);
  let isClosed = false;
  socket.on('error', () => undefined).on('close', () => (isClosed = true)).on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
  });
  const heard = (type: number): Frame | undefined => framesSoFar(bytes).find((frame) => frame.type === type);
  socket.write(Buffer.concat([HELLO, opened(1, '/a.A/Chat')]));
  await until(() => isClosed || heard(FRAME.goaway) !== undefined);
  t.is(heard(FRAME.goaway)?.payload.readUInt32BE(4), CODE.noError);
  const echo = Buffer.concat([opened(3, '/a.A/Echo'), data(3, FLAG.endStream)]);
  socket.write(Buffer.concat([echo, data(1, 0, message(Buffer.from('still here')))]));
  await until(() => isClosed || heard(FRAME.data) !== undefined);
  t.is(heard(FRAME.data)?.payload.toString('latin1', 5), 'still here');
  t.is(seen.length, 1);
  await until(() => isClosed && sockets.size === 0);
  // An age is a tenth less or more, and a timer may be a little early.
  t.true(performance.now() - from >= 0.9 * ageMs + ageGraceMs - 50);
});

test('a handler that throws where it should reject fails its own call, and no other', async (t) => {
  const { address, events } = await setUp(t);
  const client = grpcClient(t, address);
  const failed = await failureOf(t, call(client, 'Throw', Buffer.alloc(0)));
  t.is(failed.code, status.UNKNOWN);
  t.deepEqual(events.filter(({ kind }) => kind === 'failed').map((event) => 'where' in event && event.where), ['a.A/Throw']);
  const stream = chat(client, 'ThrowAll');
  stream.on('error', () => undefined).resume();
  t.is((await new Promise<{ code: number }>((resolve) => stream.on('status', resolve))).code, status.UNKNOWN);
  t.is(String(await call(client, 'Echo', Buffer.from('on the same connection'))), 'on the same connection');
});

test('a connection that comes while the server goes is told so at once, and its calls do not begin', async (t) => {
  const { address, server, seen } = await setUp(t);
  await server.drain(1000);
  const on = session(t, address);
  t.is(await new Promise((resolve) => on.once('goaway', resolve)), 0);
  t.deepEqual(seen, []);
});

test('who breaks the rules hears why, also when he goes on talking', async (t) => {
  const { address, sockets } = await setUp(t);
  const rude = connect(Number(address.split(':')[1]), '127.0.0.1');
  const heard: Buffer[] = [];
  rude.on('error', () => undefined).on('data', (bytes: Buffer) => heard.push(bytes));
  rude.write(Buffer.concat([HELLO, ping(), ping(), ping(), ping(), ...Array.from({ length: 5000 }, () => ping())]));
  await new Promise((resolve) => rude.once('close', resolve));
  const last = framesIn(Buffer.concat(heard)).at(-1);
  t.is(last?.payload.toString('latin1', 8), 'too_many_pings');
  await until(() => sockets.size === 0);
});
