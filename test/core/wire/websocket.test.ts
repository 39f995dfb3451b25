// The gateway over a WebSocket, as a page in a browser uses it, and what keeps other people's pages out.

import { once } from 'node:events';
import { connect } from 'node:net';
import { Duplex } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { WebSocket, type ClientOptions } from 'ws';
import { systemClock, type Clock } from '../../../core/base/clock.js';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { startNode, type RunningNode } from '../../../core/start-node.js';
import { serve, type ServeOptions, type WireServer } from '../../serving.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';

interface Setup {
  readonly node: RunningNode;
  readonly server: WireServer;
  readonly open: (path: string, options?: ClientOptions & { protocols?: string[] }) => Page;
}

async function setUp(t: ExecutionContext, options: ServeOptions = {}): Promise<Setup> {
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], ...options });
  const pages: Page[] = [];
  t.teardown(async () => {
    for (const page of pages) page.socket.terminate();
    await server.close();
    await node.close();
  });
  const url = (server.urls[0] ?? '').replace('http', 'ws');
  return {
    node,
    server,
    open: (path, { protocols = [], ...more } = {}) => {
      const page = new Page(new WebSocket(`${url}${path}`, protocols, more));
      pages.push(page);
      return page;
    },
  };
}

class Page {
  readonly socket: WebSocket;
  readonly #heard: string[] = [];
  #wake: () => void = () => undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    const tell = (text: string): void => {
      this.#heard.push(text);
      this.#wake();
    };
    socket.on('message', (data: Buffer) => tell(data.toString()));
    socket.on('close', (code) => tell(`closed ${code}`));
    socket.on('unexpected-response', (_request, response) => {
      tell(`refused ${response.statusCode}`);
      response.resume();
    });
    socket.on('error', () => undefined);
  }

  async send(...messages: readonly unknown[]): Promise<void> {
    if (this.socket.readyState !== WebSocket.OPEN) await once(this.socket, 'open');
    for (const message of messages) this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  async hear(): Promise<string> {
    while (this.#heard.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#heard.shift() ?? '';
  }

  async parsed(): Promise<Record<string, unknown>> {
    return JSON.parse(await this.hear()) as Record<string, unknown>;
  }
}

const key = Buffer.from('a').toString('base64');

test('a plain call is one message each way, and an error is the body that HTTP has', async (t) => {
  const { node, open } = await setUp(t);
  await put(node.client, utf8('a'), utf8('1'));
  const good = open('/v3/kv/range');
  await good.send({ key });
  t.like(await good.parsed(), { count: '1' });
  t.is(await good.hear(), 'closed 1000');
  const bad = open('/v3beta/kv/range');
  await bad.send('{"key":"YQ"}');
  const text = 'illegal base64 data at input byte 0';
  t.deepEqual(await bad.parsed(), { error: text, message: text, code: 3 });
  t.is(await bad.hear(), 'closed 1000');
});

test('a watch is a conversation, cut into messages anywhere, and ends with the server', async (t) => {
  const { node, server, open } = await setUp(t);
  const page = open('/v3/watch');
  await page.send('{"create_request":', `{"key":"${key}"}}{"create_request":{"key":"${key}"}}`);
  t.like(await page.parsed(), { result: { created: true } });
  t.like(await page.parsed(), { result: { created: true, watch_id: '1' } });
  await put(node.client, utf8('a'), utf8('1'));
  t.regex(await page.hear(), /"events":\[/);
  t.regex(await page.hear(), /"events":\[/);
  await page.send({ cancel_request: { watch_id: 1 } });
  t.like(await page.parsed(), { result: { canceled: true, watch_id: '1' } });
  void server.drain(2000);
  t.like(await page.parsed(), { error: { grpc_code: 14, message: 'etcdserver: server stopped' } });
  t.is(await page.hear(), 'closed 1001');
});

test('a page that leaves takes its waiting place in a lock with it', async (t) => {
  const { node, open } = await setUp(t);
  const { id } = await node.client.grant(60);
  const name = Buffer.from('l').toString('base64');
  const first = open('/v3/lock/lock');
  await first.send({ name, lease: String(id) });
  t.like(await first.parsed(), { key: Buffer.from(`l/${id.toString(16)}`).toString('base64') });
  const keys = async (): Promise<number> => (await node.client.range({ key: utf8('l/'), rangeEnd: utf8('l0') })).count;
  const second = open('/v3/lock/lock');
  await second.send({ name });
  while ((await keys()) < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  second.socket.terminate();
  while ((await keys()) > 1) await new Promise((resolve) => setTimeout(resolve, 5));
  t.is(await keys(), 1);
});

test('SB10: a token in the sub-protocol, in a header and in a cookie of our own page is the same', async (t) => {
  const { node, server, open } = await setUp(t);
  const { client } = node;
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'secret' } });
  await client.changeAuth({ kind: 'role_add', name: 'root' });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'enable' });
  const { token } = await client.authenticate('root', 'secret');
  const code = async (options: ClientOptions & { protocols?: string[] }): Promise<unknown> => {
    const page = open('/v3/kv/range', options);
    await page.send({ key });
    return (await page.parsed())['code'] ?? 0;
  };
  t.is(await code({}), 3);
  t.is(await code({ protocols: ['Bearer', token] }), 0);
  t.is(await code({ protocols: ['Bearer', 'nonsense'] }), 16);
  t.is(await code({ headers: { Authorization: token } }), 0);
  t.is(await code({ headers: { Authorization: `Bearer ${token}` } }), 0);
  t.is(await code({ headers: { Cookie: `a=b; token=${token}` } }), 0);
  const own = server.urls[0] ?? '';
  t.is(await code({ origin: own, headers: { Cookie: `token=${token}` } }), 0);
  // SE1: what a browser sends along by itself is no word of its user's.
  t.is(await code({ origin: 'http://evil.example', headers: { Cookie: `token=${token}` } }), 3);
});

test('SE5: pages of other origins are refused where origins are named, and so are names nobody gave this server', async (t) => {
  const crossSite = { origins: ['http://good.example'], hosts: ['127.0.0.1'] };
  const { server, open } = await setUp(t, { crossSite });
  t.is(await open('/v3/watch', { origin: 'http://evil.example' }).hear(), 'refused 403');
  t.is(await open('/v3/watch', { headers: { Host: 'rebound.example' } }).hear(), 'refused 421');
  t.is(await open('/v3/nope', { origin: 'http://good.example' }).hear(), 'refused 404');
  t.is(await open('/metrics').hear(), 'refused 404');
  for (const origin of ['http://good.example', server.urls[0] ?? '']) {
    const page = open('/v3/kv/range', { origin });
    await page.send({ key });
    t.like(await page.parsed(), { header: { revision: '1' } });
  }
});

test('SE5: what is too long, not text or not framed closes the socket, and the server goes on', async (t) => {
  const { open } = await setUp(t, { requestBytesMax: 1000 });
  const long = open('/v3/watch');
  await long.send('x'.repeat(2_000_000));
  t.is(await long.hear(), 'closed 1009');
  const binary = open('/v3/watch');
  await once(binary.socket, 'open');
  binary.socket.send(Buffer.from([1, 2, 3]));
  t.is(await binary.hear(), 'closed 1003');
  const broken = open('/v3/watch');
  await once(broken.socket, 'open');
  const below: unknown = Reflect.get(broken.socket, '_socket');
  if (below instanceof Duplex) below.write(Buffer.from('ffffffffffffffff', 'hex'));
  t.regex(await broken.hear(), /^closed 100[26]$/);
  const page = open('/v3/kv/range');
  await page.send({ key });
  t.like(await page.parsed(), { header: { revision: '1' } });
});

test('SE5: who does not answer when it is asked whether it is there is cut off; who does stays', async (t) => {
  // Half a minute is less than a third of a second here.
  const clock: Clock = {
    now: () => systemClock.now(),
    schedule: (delayMs, run) => systemClock.schedule(delayMs === 30_000 ? 300 : delayMs, run),
  };
  const { open } = await setUp(t, { clock });
  const here = open('/v3/watch');
  const gone = open('/v3/watch', { autoPong: false });
  t.is(await gone.hear(), 'closed 1006');
  await here.send({ create_request: { key } });
  t.like(await here.parsed(), { result: { created: true } });
});

/** What a server says to a request that arrives in these pieces. */
async function saidTo({ server }: Setup, pieces: readonly string[]): Promise<string> {
  const socket = connect(Number(new URL(server.urls[0] ?? '').port), '127.0.0.1').setNoDelay(true);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  for (const piece of pieces) {
    socket.write(piece);
    // The server is in this process: a turn of the loop brings it what is there, however long that takes.
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  const [first = ''] = await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => ['closed'])]) as unknown[];
  socket.destroy();
  return String(first).split('\r\n')[0] ?? '';
}

const HANDSHAKE = 'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
  + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

test('a request for a WebSocket may arrive in pieces, and one for no path is refused', async (t) => {
  const setup = await setUp(t);
  t.is(await saidTo(setup, ['GET /v3/watch HTTP/1.1\r\nX: y\r\nHo', HANDSHAKE.slice(2)]), 'HTTP/1.1 101 Switching Protocols');
  t.is(await saidTo(setup, [`GET // HTTP/1.1\r\n${HANDSHAKE}`]), 'HTTP/1.1 404 Not Found');
  t.is(await saidTo(setup, [`GET http://[ HTTP/1.1\r\n${HANDSHAKE}`]), 'HTTP/1.1 404 Not Found');
  t.is(await saidTo(setup, [`GET /v3/x/../watch HTTP/1.1\r\n${HANDSHAKE}`]), 'HTTP/1.1 404 Not Found');
  const page = setup.open('/v3/kv/range');
  await page.send({ key });
  t.like(await page.parsed(), { header: { revision: '1' } });
});

test('one message of a million values, and one value of many messages, are bounded', async (t) => {
  const { open } = await setUp(t, { requestBytesMax: 600_000 });
  const many = open('/v3/watch');
  await many.send('1 '.repeat(1_000_000));
  t.like(await many.parsed(), { code: 2 });
  const endless = open('/v3/lease/keepalive');
  await once(endless.socket, 'open');
  for (let i = 0; i < 4; i++) endless.socket.send(`[${'x'.repeat(1_000_000)}`);
  t.like(await endless.parsed(), { code: 8 });
  const page = open('/v3/kv/range');
  await page.send({ key });
  t.like(await page.parsed(), { header: { revision: '1' } });
});

test('a page that leaves without a word has asked for nothing', async (t) => {
  const called: string[] = [];
  const observe = (event: WireEvent): void => void (event.kind === 'call_started' && called.push(event.method.name));
  const { open } = await setUp(t, { observe });
  for (const path of ['/v3/maintenance/defragment', '/v3/watch']) {
    const silent = open(path);
    await once(silent.socket, 'open');
    silent.socket.close();
    t.is(await silent.hear(), 'closed 1005');
  }
  const page = open('/v3/kv/range');
  await page.send({ key });
  t.like(await page.parsed(), { header: { revision: '1' } });
  t.deepEqual(called, ['Range']);
});

test('a page that comes when the server is going away is told so', async (t) => {
  const { server, open } = await setUp(t);
  const page = open('/v3/watch');
  const lock = open('/v3/lock/lock');
  await Promise.all([once(page.socket, 'open'), once(lock.socket, 'open')]);
  const drained = server.drain(20_000);
  await page.send({ create_request: { key } });
  t.like(await page.parsed(), { code: 14, message: 'etcdserver: server stopped' });
  page.socket.close();
  lock.socket.close();
  await drained;
});
