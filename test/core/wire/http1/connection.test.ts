// A connection of the short way by itself: real sockets, but a clock that stands still, a method that answers what and when a
// test wants, and nobody behind it: what is handed over is only noted. What it answers on the wire is short-way.test.ts.

import { once } from 'node:events';
import { connect as dial, createServer, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { present } from '../../../../core/base/assert.js';
import type { CallContext, UnaryMethod } from '../../../../core/wire/call.js';
import { ANY_SITE, type CrossSiteRules } from '../../../../core/wire/cross-site.js';
import { HttpDoor } from '../../../../core/wire/http1/door.js';
import { AHEAD_BYTES_MAX, BODY_BYTES_MAX, HEAD_BYTES_MAX, REST_MS } from '../../../../core/wire/http1/limits.js';
import { UnsentAnswers } from '../../../../core/wire/unsent.js';
import type { WireEvent } from '../../../../core/wire/wire-events.js';
import { StillClock } from '../http2/kit.js';

interface Call {
  readonly call: CallContext;
  readonly answer: (text: string) => void;
  readonly fail: (error: Error) => void;
}

class Bench {
  readonly clock = new StillClock();
  readonly events: WireEvent[] = [];
  readonly calls: Call[] = [];
  /** What was there to be read of those handed over. */
  readonly handedOver: string[] = [];
  readonly cut: string[] = [];
  readonly unsent = new UnsentAnswers(1_000_000, (address) => void this.cut.push(address));
  readonly door: HttpDoor;
  readonly #t: ExecutionContext;

  constructor(t: ExecutionContext, crossSite: CrossSiteRules = ANY_SITE) {
    this.#t = t;
    const plain: UnaryMethod = {
      kind: 'unary', service: 's', name: 'n',
      handle: (_bytes, call) => new Promise((resolve, reject) => {
        this.calls.push({ call, answer: (text) => resolve(Buffer.from(text)), fail: reject });
      }),
    };
    const mapping = {
      takesMany: false,
      toBytes: (text: string) => Buffer.from(text),
      toText: (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8'),
    };
    this.door = new HttpDoor({
      clock: this.clock, observe: (event) => void this.events.push(event), unsent: this.unsent, crossSite,
      routeAt: () => ({ method: plain, plain, mapping }),
      handOver: (socket) => void socket.on('data', (chunk: Buffer) => void this.handedOver.push(chunk.toString('latin1'))),
    });
  }

  /** A caller and the other end of his connection, which the door has. */
  async connect(encrypted = false): Promise<{ caller: Caller; socket: Socket }> {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const accepted = once(server, 'connection');
    const caller = new Caller(dial({ port, host: '127.0.0.1', allowHalfOpen: true }));
    const [socket] = (await accepted) as [Socket];
    server.close();
    socket.on('error', () => socket.destroy());
    if (encrypted) Object.assign(socket, { encrypted });
    this.door.accept(socket, Buffer.from('POST /v3'));
    this.#t.teardown(() => {
      socket.destroy();
      caller.socket.destroy();
    });
    return { caller, socket };
  }

  async call(number: number): Promise<Call> {
    await until(() => this.calls.length > number);
    return present(this.calls[number], 'a call');
  }
}

class Caller {
  readonly socket: Socket;
  heard = '';
  hasEnded = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined).on('data', (chunk: Buffer) => {
      this.heard += chunk.toString('latin1');
    });
    socket.on('end', () => {
      this.hasEnded = true;
    }).on('close', () => {
      this.hasEnded = true;
    });
  }
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 2));
}

function post(body: string, ...fields: string[]): string {
  return ['POST /v3/x HTTP/1.1', 'Host: x', ...fields, `Content-Length: ${body.length}`, '', body].join('\r\n');
}

test('SD6: what is sent ahead is read up to a bound, by bytes and by pieces, and the rest in its turn', async (t) => {
  const bench = new Bench(t);
  for (const size of [50_000, 1]) {
    const from = bench.calls.length;
    const { caller, socket } = await bench.connect();
    caller.socket.setNoDelay(true);
    let count = 0;
    for (; !socket.isPaused(); count++) {
      caller.socket.write(post('x'.repeat(size)));
      // Each is a piece of its own.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    t.true(socket.bytesRead < (size === 1 ? AHEAD_BYTES_MAX / 2 : AHEAD_BYTES_MAX + 4 * 65_536), `${socket.bytesRead} bytes`);
    t.is(bench.calls.length, from + 1);
    for (let i = from; i < from + count; i++) (await bench.call(i)).answer(`{"${i}"}`);
    await until(() => caller.heard.endsWith(`{"${from + count - 1}"}`));
    t.is(caller.heard.split('HTTP/1.1 200 OK').length - 1, count);
  }
});

test('SD6: who sends on and on is read no faster than he is answered', async (t) => {
  const bench = new Bench(t);
  const { caller, socket } = await bench.connect();
  const request = post('x'.repeat(1000));
  caller.socket.write(request.repeat(10_000));
  for (let i = 0; i < 400; i++) {
    (await bench.call(i)).answer('{}');
    const ahead = socket.bytesRead - i * request.length;
    if (ahead > AHEAD_BYTES_MAX + 4 * 65_536) return t.fail(`${ahead} bytes ahead of answer ${i}`);
  }
  // More than is read ahead: he was listened to again.
  t.true(socket.bytesRead > 400 * request.length);
});

test('SD2: what does not come whole within its time, in few pieces and with a head that ends is handed over', async (t) => {
  const bench = new Bench(t);
  const request = post('whole');
  const { caller } = await bench.connect();
  caller.socket.write(request.slice(0, -2));
  await until(() => bench.clock.scheduled === 1);
  caller.socket.write(request.slice(-2));
  (await bench.call(0)).answer('{}');
  await until(() => caller.heard.endsWith('{}'));
  // It came in time, so that is not looked at any more.
  bench.clock.pass(2 * REST_MS);
  caller.socket.write(request.slice(0, -1));
  await until(() => bench.clock.scheduled === 1);
  t.deepEqual(bench.handedOver, []);
  bench.clock.pass(REST_MS);
  await until(() => bench.handedOver.length > 0);
  t.deepEqual(bench.handedOver.splice(0), [request.slice(0, -1)]);

  const pieces = await bench.connect();
  pieces.caller.socket.setNoDelay(true).write(post('x'.repeat(BODY_BYTES_MAX)).slice(0, -BODY_BYTES_MAX));
  while (bench.handedOver.length === 0) {
    pieces.caller.socket.write('x');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  t.true(bench.handedOver.splice(0).join('').startsWith('POST /v3/x HTTP/1.1'));

  const endless = await bench.connect();
  endless.caller.socket.write(post('').slice(0, -4) + `\r\nX: ${'y'.repeat(HEAD_BYTES_MAX)}`);
  await until(() => bench.handedOver.length > 0);
  t.true(bench.handedOver.join('').length > HEAD_BYTES_MAX);
  t.is(bench.calls.length, 1);
});

test('SD2: a connection that is silent for long ends, but not while its answer is made', async (t) => {
  const bench = new Bench(t);
  const { caller, socket } = await bench.connect();
  t.is(socket.timeout, 60_000);
  caller.socket.write(post('x'));
  const { answer } = await bench.call(0);
  socket.emit('timeout');
  answer('{}');
  await until(() => caller.heard.endsWith('{}'));
  socket.emit('timeout');
  await until(() => caller.hasEnded);
  t.true(socket.destroyed);
});

test('who has ended his side and is to be handed over is let go after what was answered', async (t) => {
  const bench = new Bench(t);
  const { caller, socket } = await bench.connect();
  caller.socket.end(`${post('x')}GET /version HTTP/1.1\r\nHost: x\r\n\r\n`);
  const { answer } = await bench.call(0);
  await until(() => socket.readableEnded);
  answer('{"last":true}');
  await until(() => caller.hasEnded);
  t.regex(caller.heard, /^HTTP\/1\.1 200 OK\r\n[^]*\{"last":true\}$/);
  t.deepEqual(bench.handedOver, []);
});

test('SD5: a large answer is counted until it is taken, and who takes none is cut off for those who do', async (t) => {
  const bench = new Bench(t);
  const large = 'x'.repeat(12_000_000);
  const slow = await bench.connect();
  slow.caller.socket.pause().write(post('x'));
  (await bench.call(0)).answer(large);
  await until(() => bench.unsent.bytes === large.length);
  const { caller } = await bench.connect();
  caller.socket.write(post('x'));
  (await bench.call(1)).answer(large);
  await until(() => caller.heard.length > large.length && bench.unsent.bytes === 0);
  t.is(bench.cut.length, 1);
  t.true(slow.socket.destroyed);
  t.false(caller.hasEnded);
});

test('an answer in any script is as long as its head says', async (t) => {
  const bench = new Bench(t);
  const { caller } = await bench.connect();
  caller.socket.write(post('x'));
  (await bench.call(0)).answer('{"é":"語😀"}');
  const bytes = Buffer.from('{"é":"語😀"}').toString('latin1');
  await until(() => caller.heard.endsWith(bytes));
  t.true(caller.heard.includes(`Content-Length: ${bytes.length}\r\n`));
});

test('what breaks in a handler is told, and what a caller asked of the call is known to it', async (t) => {
  const bench = new Bench(t);
  const { caller } = await bench.connect();
  caller.socket.write(post('x', 'Grpc-Metadata-Hasleader: true', 'Grpc-Metadata-Token: secret'));
  const { call, fail } = await bench.call(0);
  t.deepEqual([call.hasLeader, call.token, call.certificateName], [true, 'secret', null]);
  fail(new TypeError('broken'));
  await until(() => caller.heard.includes('\r\n\r\n'));
  t.regex(caller.heard, /^HTTP\/1\.1 500 /);
  t.deepEqual(bench.events.map(({ kind }) => kind), ['call_started', 'failed', 'call_handled']);
});

test('SE1: the name by which a caller comes is looked at without TLS alone', async (t) => {
  const bench = new Bench(t, { origins: null, hosts: ['good.example'] });
  const secure = await bench.connect(true);
  secure.caller.socket.write(post('x'));
  (await bench.call(0)).answer('{}');
  await until(() => secure.caller.heard.endsWith('{}'));
  const plain = await bench.connect();
  plain.caller.socket.write(post('x'));
  await until(() => bench.handedOver.length === 1);
  t.is(bench.calls.length, 1);
});
