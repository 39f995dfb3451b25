// The short way through HTTP/1 against the long one: the same requests, by one connection that takes it and by one that was
// handed over to Node's server at its first request, and what is answered compared byte for byte; and connections that change
// from one to the other, or end, at every moment they may.

import { connect as dial, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../../core/base/bytes.js';
import { Prng } from '../../../../core/base/prng.js';
import { put } from '../../../../core/client.js';
import { startNode, type RunningNode } from '../../../../core/start-node.js';
import { serve, type ServeOptions, type WireServer } from '../../../../core/wire/port.js';
import type { WireEvent } from '../../../../core/wire/wire-events.js';

interface World {
  readonly node: RunningNode;
  readonly server: WireServer;
  readonly events: WireEvent[];
}

async function start(t: ExecutionContext, options: ServeOptions = {}): Promise<World> {
  const events: WireEvent[] = [];
  const node = await startNode({ dataDir: null });
  const observe = (event: WireEvent): void => void events.push(event);
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], observe, ...options });
  t.teardown(async () => {
    await server.close();
    await node.close();
  });
  return { node, server, events };
}

/** One connection, read to the end of each answer. */
class Caller {
  readonly socket: Socket;
  #text = '';
  #isClosed = false;
  #look: () => void = () => undefined;

  constructor({ server }: World) {
    this.socket = dial({ port: Number(new URL(server.urls[0] ?? '').port), host: '127.0.0.1', allowHalfOpen: true });
    this.socket.on('error', () => undefined).on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1');
      this.#look();
    });
    const closed = (): void => {
      this.#isClosed = true;
      this.#look();
    };
    this.socket.on('end', closed).on('close', closed);
  }

  send(text: string): void {
    this.socket.write(text, 'latin1');
  }

  async ask(text: string): Promise<string> {
    this.send(text);
    return this.answer();
  }

  /** The next answer; what there is when the connection ends. */
  async answer(): Promise<string> {
    for (;;) {
      const length = lengthOf(this.#text);
      if (length <= this.#text.length || this.#isClosed) {
        const answer = this.#text.slice(0, length);
        this.#text = this.#text.slice(length);
        return answer;
      }
      await new Promise<void>((resolve) => {
        this.#look = resolve;
      });
    }
  }
}

function lengthOf(text: string): number {
  const head = text.indexOf('\r\n\r\n') + 4;
  if (head < 4) return Infinity;
  const fields = text.slice(0, head);
  if (fields.includes('Transfer-Encoding')) return text.indexOf('0\r\n\r\n', head) + 5 || Infinity;
  return head + Number(/Content-Length: (\d+)/.exec(fields)?.[1] ?? 0);
}

function post(path: string, body: string, ...fields: string[]): string {
  const head = [`POST ${path} HTTP/1.1`, 'Host: x', ...fields, `Content-Length: ${Buffer.byteLength(body)}`, '', ''].join('\r\n');
  return head + Buffer.from(body).toString('latin1');
}

/** No request that has it takes the short way, and it means nothing. */
const LONG = 'Keep-Alive: 1';

function masked(answer: string): string {
  return answer
    .replace(/Date: [^\r]*/, 'Date: now')
    .replaceAll(/_?revision":"\d+"/g, 'revision":"1"')
    .replaceAll(/"version":"\d+"/g, '"version":"1"')
    .replace(/Content-Length: \d+/, 'Length');
}

function told(events: WireEvent[]): unknown[] {
  return events.splice(0).map((event) => {
    if (event.kind === 'call_handled') return { ...event, tookMs: 0, bytesSent: 0, method: event.method.name };
    return event.kind === 'call_started' ? { ...event, method: event.method.name } : event.kind;
  });
}

type Asked = readonly [path: string, body: string, ...fields: string[]];

async function same(t: ExecutionContext, world: World, requests: readonly Asked[]): Promise<void> {
  const [short, long] = [new Caller(world), new Caller(world)];
  world.events.splice(0);
  for (const [path, body, ...fields] of requests) {
    await put(world.node.client, utf8('key'), utf8('value'));
    const got = await short.ask(post(path, body, ...fields));
    const gotTold = told(world.events);
    await put(world.node.client, utf8('key'), utf8('value'));
    const wanted = await long.ask(post(path, body, ...fields, LONG));
    t.is(masked(got), masked(wanted), `${path} ${fields.join(' ')} ${body}`);
    t.deepEqual(gotTold, told(world.events), `${path} ${body}`);
    t.regex(got, /^HTTP\/1\.1 \d/);
  }
  short.socket.destroy();
  long.socket.destroy();
}

const KEY = 'a2V5';
const BODIES: readonly (readonly [path: string, body: string])[] = [
  ['/v3/kv/put', `{"key":"${KEY}","value":"dmFsdWU="}`],
  ['/v3beta/kv/put', `{"key":"${KEY}","prev_kv":true}`],
  ['/v3alpha/kv/put', `{"key":"${KEY}","prev_kv":true}`],
  ['/v3/kv/put', `{"key":"${KEY}","lease":"7587862094650823681"}`],
  ['/v3/kv/put', `{"key":"${KEY}","value":"not base64"}`],
  ['/v3/kv/put', `{"key":"${KEY}","value":"${'QUJD'.repeat(10_000)}"}`],
  ['/v3/kv/put', '{"value":"dmFsdWU="}'],
  ['/v3/kv/range', `{"key":"${KEY}"}`],
  ['/v3/kv/range', '{ "key" : "AA==", "range_end" : "AA==", "keysOnly" : true, "sort_order": "DESCEND" } trailing'],
  ['/v3/kv/range', '{"key":"YWJzZW50"}'],
  ['/v3/kv/range', `{"key":"${KEY}","revision":"99999"}`],
  ['/v3/kv/range', ''],
  ['/v3/kv/range', '{"key":'],
  ['/v3/kv/range', '[1]'],
  ['/v3/kv/range', 'é\u0000{"'],
  ['/v3/kv/txn', '{}'],
  [
    '/v3/kv/txn',
    `{"compare":[{"result":"GREATER","target":"VERSION","key":"${KEY}","version":"0"}],` +
      `"success":[{"request_put":{"key":"${KEY}","value":"MQ=="}},{"requestRange":{"key":"${KEY}"}}],` +
      '"failure":[{"request_delete_range":{"key":"AA=="}}]}',
  ],
  ['/v3/kv/txn', '{"success":[{}]}'],
  ['/v3/kv/deleterange', `{"key":"${KEY}","prev_kv":true}`],
  ['/v3/kv/compaction', '{"revision":"99999"}'],
  ['/v3/lease/timetolive', '{"ID":"7587862094650823681","keys":true}'],
  ['/v3/cluster/member/list', '{}'],
  ['/v3/auth/user/get', '{"name":"n\\u00e9mo"}'],
  ['/v3/auth/role/delete', '{"name":"r\u00f4le"}'],
  ['/v3/auth/role/list', '{}'],
];

test('an answer by the short way is that by the long one, and so is what is told of the call', async (t) => {
  const world = await start(t);
  await same(t, world, BODIES);
});

test('a caller is who he says he is by either way, however he says it', async (t) => {
  const world = await start(t);
  const { client } = world.node;
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'secret' } });
  await client.changeAuth({ kind: 'role_add', name: 'root' });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'enable' });
  const { token } = await client.authenticate('root', 'secret');
  const said = [
    [], [`Authorization: ${token}`], [`authorization:\t Bearer ${token} `], [`Grpc-Metadata-Token: ${token}`],
    ['Authorization: nonsense'], [`Grpc-Metadata-Authorization: ${token}`, 'Authorization: nonsense'], ['Authorization:'],
    ['Grpc-Metadata-Hasleader: true'], [`Cookie: token=${token}`],
    // From here on the long way.
    [`Authorization: ${token}`, 'Authorization: nonsense'], ['Authorization: nonsense', `Authorization: ${token}`],
  ];
  await same(t, world, said.flatMap((fields) => BODIES.slice(0, 2).map(([path, body]) => [path, body, ...fields] as const)));
});

test('SE1: names and origins are judged by the short way as by the long one', async (t) => {
  const world = await start(t, { crossSite: { origins: ['http://good.example'], hosts: ['x'] } });
  const range = ['/v3/kv/range', '{"key":"YQ=="}'] as const;
  const origins = ['http://evil.example', 'http://good.example', 'http://x', 'null', ''];
  // Each on connections of its own: the first that is not for the short way ends it.
  for (const origin of origins) await same(t, world, [range, [...range, `Origin: ${origin}`]]);
  const hosts = await start(t, { crossSite: { origins: null, hosts: ['good.example'] } });
  await same(t, hosts, [range]);
});

const RANGE = post('/v3/kv/range', '{"key":"YQ=="}');

function ranged(...fields: string[]): string {
  return post('/v3/kv/range', '{"key":"YQ=="}', ...fields);
}

/** None of these is for the short way. */
const ODD: readonly string[] = [
  'GET /version HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /v3/kv/put HTTP/1.1\r\nHost: x\r\n\r\n',
  'OPTIONS /v3/kv/put HTTP/1.1\r\nHost: x\r\n\r\n',
  post('/v3/kv/nothing', '{}'),
  post('/v3/kv/%72ange', '{"key":"YQ=="}'),
  post('/v3/kv/range?key=YQ==', '{"key":"YQ=="}'),
  post('/v3/kv/range', 'x'.repeat(3_000_000)),
  ranged(`X: ${'y'.repeat(10_000)}`),
  ranged('Expect: 100-continue'),
  ranged('Upgrade: h2c'),
  ranged('Content-Length: 14'),
  ranged('Content-Length: 3'),
  ranged('Transfer-Encoding: chunked'),
  ranged('Transfer-Encoding : chunked'),
  'POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{"key":"YQ=="}\r\n0\r\n\r\n',
  ranged('X: a', ' folded'),
  ranged('X\u0000: a'),
  ranged('X: a\rY: b'),
  ranged('X: a\nContent-Length: 3'),
  ranged('no field'),
  ranged(': no name'),
  ranged('Host: y'),
  RANGE.replace('Host: x\r\n', ''),
  RANGE.replace('HTTP/1.1', 'HTTP/2.0'),
  RANGE.replace('POST ', 'POST  '),
  RANGE.replaceAll('\r\n', '\n'),
  ...['+14', '0x0e', '14, 14', '00014', '-14', '1e1', '', '99999999999999999999'].map((length) => {
    return RANGE.replace('Content-Length: 14', `Content-Length: ${length}`);
  }),
  'POST /v3/kv/range HTTP/1.1\r\nHost: x\r\n\r\n',
  '\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n',
  '\u0016\u0003\u0001',
  'nonsense\r\n\r\n',
];

test('what is not for the short way is Node\'s to judge, from its first byte on', async (t) => {
  const world = await start(t);
  const end = 'GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  for (const odd of ODD) {
    const [long, short] = [new Caller(world), new Caller(world)];
    await long.ask('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
    long.send(odd + end);
    t.regex(await short.ask(RANGE + odd + end), /^HTTP\/1\.1 200 OK/);
    const [wanted, got]: [string[], string[]] = [[], []];
    for (let i = 0; i < 3; i++) {
      wanted.push(masked(await long.answer()));
      got.push(masked(await short.answer()));
    }
    t.deepEqual(got, wanted, odd.slice(0, 300));
    long.socket.destroy();
    short.socket.destroy();
  }
});

test('SE1: a request with two names is refused, whichever of them is ours', async (t) => {
  const world = await start(t, { crossSite: { origins: null, hosts: ['x'] } });
  for (const other of ['x', 'evil']) {
    for (const request of [ranged(`Host: ${other}`), `GET /version HTTP/1.1\r\nHost: ${other}\r\nHost: x\r\n\r\n`]) {
      const caller = new Caller(world);
      t.regex(await caller.ask(request), /^HTTP\/1\.1 400 /);
      caller.socket.destroy();
    }
  }
});

test('a request with more behind it that says it is the last is the last', async (t) => {
  const world = await start(t);
  const caller = new Caller(world);
  world.events.splice(0);
  t.regex(await caller.ask(ranged('Connection: close') + RANGE), /^HTTP\/1\.1 200 OK\r\n[^]*\r\nConnection: close\r\n/);
  t.is(await caller.answer(), '');
  t.is(world.events.length, 2);
  caller.socket.destroy();
});

test('a last request is answered and ends its connection', async (t) => {
  const world = await start(t);
  for (const last of [ranged('Connection: close'), RANGE.replace('HTTP/1.1', 'HTTP/1.0')]) {
    const caller = new Caller(world);
    await caller.ask(RANGE);
    t.regex(await caller.ask(last), /^HTTP\/1\.1 200 OK\r\n[^]*\r\nConnection: close\r\n/);
    t.notRegex(await caller.answer(), /^HTTP/);
    caller.socket.destroy();
  }
});

test('requests sent ahead are answered in their turn, wherever their pieces end and whoever answers them', async (t) => {
  const world = await start(t);
  const random = new Prng(5);
  for (let round = 0; round < 8; round++) {
    const caller = new Caller(world);
    const from = random.below(60);
    const requests = Array.from({ length: 60 }, (_, i) => {
      if (i === from) return 'GET /version HTTP/1.1\r\nHost: x\r\n\r\n';
      const key = Buffer.from(`${round}/${i}`).toString('base64');
      return post('/v3/kv/txn', `{"success":[{"request_put":{"key":"${key}"}},{"request_range":{"key":"${key}"}}]}`);
    });
    let text = requests.join('');
    while (text.length > 0) {
      const size = 1 + random.below(random.below(3) === 0 ? 20 : 4000);
      caller.send(text.slice(0, size));
      text = text.slice(size);
      if (random.below(2) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (let i = 0; i < 60; i++) {
      const key = Buffer.from(`${round}/${i}`).toString('base64');
      const wanted = i === from ? '"etcdserver"' : `"kvs":[{"key":"${key}"`;
      t.true((await caller.answer()).includes(wanted), `round ${round}, request ${i}`);
    }
    caller.socket.destroy();
  }
});

test('who ends his side is answered what he asked, and told when it was not whole', async (t) => {
  const world = await start(t);
  const patient = new Caller(world);
  patient.socket.end(RANGE + RANGE);
  t.regex(await patient.answer(), /^HTTP\/1\.1 200 /);
  t.regex(await patient.answer(), /^HTTP\/1\.1 200 /);
  t.is(await patient.answer(), '');
  const hasty = new Caller(world);
  hasty.socket.end(RANGE + RANGE.slice(0, 20));
  t.regex(await hasty.answer(), /^HTTP\/1\.1 200 /);
  t.regex(await hasty.answer(), /^HTTP\/1\.1 400 Bad Request\r\nConnection: close\r\n\r\n$/);
});

test('SD2: a request that trickles in after others is cut off as the first would be', async (t) => {
  const world = await start(t, { bodyMs: 300 });
  const caller = new Caller(world);
  await caller.ask(RANGE);
  caller.send(RANGE.slice(0, -1));
  t.is(await caller.answer(), '');
});

test('SD5, SD6: who takes no answers is not read any more, and goes on where he stopped', async (t) => {
  const world = await start(t);
  await put(world.node.client, utf8('a'), new Uint8Array(30_000));
  const caller = new Caller(world);
  caller.socket.pause();
  const count = 600;
  for (let i = 0; i < count; i++) caller.send(ranged(`X: ${'y'.repeat(1000)}`));
  let calls = -1;
  while (calls !== world.events.length || calls === 0) {
    calls = world.events.length;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  t.true(calls > 0 && calls < 2 * count, `${calls} events of ${2 * count}`);
  caller.socket.resume();
  for (let i = 0; i < count; i++) t.true((await caller.answer()).length > 40_000);
  caller.socket.destroy();
});

test('a server that goes ends what is idle, and says with an answer under way that it is the last', async (t) => {
  const world = await start(t);
  const [idle, begun] = [new Caller(world), new Caller(world)];
  for (const caller of [idle, begun]) {
    t.regex(await caller.ask(RANGE), /\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n/);
  }
  begun.send(RANGE.slice(0, 30));
  // Turns as well as time: on a busy machine the time is over before anything was read.
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  const drained = world.server.drain(20_000);
  t.is(await idle.answer(), '');
  idle.socket.destroy();
  begun.send(RANGE.slice(30) + RANGE);
  // On the short way or the long one, whose fields are in another order.
  t.regex(await begun.answer(), /^HTTP\/1\.1 200 OK\r\n(?:[^\r]+\r\n)*Connection: close\r\n/);
  t.is(await begun.answer(), '');
  begun.socket.destroy();
  await drained;
  t.pass();
});
