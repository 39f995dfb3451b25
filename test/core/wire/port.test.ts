// The port: what a connection speaks shows in its first bytes, however they arrive; and ending it leaves nothing open.

import { connect as dial, createServer, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { get, put } from '../../../core/client.js';
import { startNode } from '../../../core/start-node.js';
import { serve, type ServeOptions, type WireServer } from '../../serving.js';
import { connect } from '../../../core/wire/remote-client.js';

async function start(t: ExecutionContext, options: ServeOptions = {}): Promise<WireServer> {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], ...options });
  t.teardown(() => server.close());
  return server;
}

function open(server: WireServer): Socket {
  return dial(Number(new URL(server.urls[0] ?? '').port), '127.0.0.1');
}

function answer(socket: Socket, enough: (text: string) => boolean = (text) => text.includes('\r\n\r\n')): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (enough(text)) resolve(text);
    });
    socket.on('close', () => resolve(text));
    socket.on('error', () => resolve(text));
  });
}

test('gRPC and HTTP/1 share one port', async (t) => {
  const server = await start(t);
  const client = connect(server.urls);
  await put(client, utf8('a'), utf8('1'));
  t.truthy(await get(client, utf8('a')));
  await client.close();
  const response = await fetch(`${server.urls[0] ?? ''}/health`);
  t.deepEqual(await response.json(), { health: 'true' });
});

test('a request that arrives byte by byte is understood', async (t) => {
  const socket = open(await start(t));
  const text = answer(socket);
  for (const char of 'PUT /version HTTP/1.1\r\nHost: x\r\n\r\n') {
    socket.write(char);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  t.regex(await text, /^HTTP\/1\.1 405 /);
  socket.destroy();
});

test('a connection may idle before its first request', async (t) => {
  const socket = open(await start(t));
  await new Promise((resolve) => setTimeout(resolve, 300));
  socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
  t.regex(await answer(socket), /^HTTP\/1\.1 200 /);
  socket.destroy();
});

test('several requests go over one connection', async (t) => {
  const socket = open(await start(t));
  const text = answer(socket, (got) => got.split('HTTP/1.1 200').length === 3);
  socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n');
  t.is((await text).split('HTTP/1.1 200').length, 3);
  socket.destroy();
});

function posted(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

test('requests sent ahead wait for their turn, and go with their connection', async (t) => {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  t.teardown(() => server.close());
  const patient = open(server);
  const answers = answer(patient, (text) => text.split('HTTP/1.1 200').length === 4);
  patient.write(posted('/v3/kv/put', '{"key":"YQ==","value":"MQ=="}') + posted('/v3/kv/range', '{"key":"YQ=="}'));
  patient.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
  t.regex(await answers, /"revision":"2".*"count":"1".*"etcdserver"/s);
  patient.destroy();
  const hasty = open(server);
  const watch = posted('/v3/watch', '{"create_request":{"key":"YQ=="}}');
  hasty.write(watch + watch + posted('/v3/kv/put', '{"key":"Yg==","value":"MQ=="}') + watch);
  t.regex(await answer(hasty, (text) => text.includes('"created":true')), /"watch_id"|"created":true/);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.is(node.facts().watchers, 1);
  hasty.destroy();
  while (node.facts().watchers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.is(node.facts().watchers, 0);
  t.is(await get(node.client, utf8('b')), null);
});

test('a connection whose request was refused unread serves the next one', async (t) => {
  const server = await start(t);
  const tooLong = 'A'.repeat(6_000_000);
  const fault = `{"create_request":5}${' '.repeat(500_000)}`;
  for (const [path, body] of [['/v3/kv/put', tooLong], ['/v3/watch', `{"x":"${tooLong}`], ['/v3/watch', fault]] as const) {
    const socket = open(server);
    const text = answer(socket, (got) => got.includes('etcdserver":'));
    socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
    t.regex(await text, /^HTTP\/1\.1 (?:429|500) [^]*HTTP\/1\.1 200 /, path);
    socket.destroy();
  }
});

test('noise is answered with an error and harms nobody', async (t) => {
  const server = await start(t);
  for (const noise of ['\u0016\u0003\u0001\u0002', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense nonsense', 'P', '\r\n\r\n', '{}']) {
    const socket = open(server);
    const text = answer(socket, () => false);
    socket.end(noise);
    await text;
  }
  const reset = open(server);
  reset.on('error', () => undefined);
  reset.once('connect', () => reset.resetAndDestroy());
  await new Promise((resolve) => reset.once('close', resolve));
  t.is((await fetch(`${server.urls[0] ?? ''}/health`)).status, 200);
});

test('a port in use is refused with the address and what to do', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  const address = other.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const error = await t.throwsAsync(start(t, { urls: [`http://127.0.0.1:${port}`] }));
  t.regex(error?.message ?? '', new RegExp(`cannot listen on 127.0.0.1:${port}: .*in use.*another port`));
  await t.throwsAsync(start(t, { urls: ['nonsense'] }), { message: /expected a url such as/ });
});

test('readiness names its checks, can leave some out, and turns when draining', async (t) => {
  const gate = { fault: null as string | null };
  const server = await start(t, { checks: [{ name: 'gate', run: () => Promise.resolve(gate.fault) }] });
  const read = async (path: string): Promise<[number, string]> => {
    const response = await fetch(`${server.urls[0] ?? ''}${path}`);
    return [response.status, await response.text()];
  };
  t.deepEqual(await read('/livez'), [200, 'ok\n']);
  t.deepEqual(await read('/readyz'), [200, 'ok\n']);
  t.regex((await read('/readyz?verbose'))[1], /\[\+\]linearizable_read ok\n[^]*\[\+\]gate ok\nok\n/);
  gate.fault = 'closed';
  const [status, text] = await read('/readyz');
  t.is(status, 503);
  t.regex(text, /\[-\]gate failed: closed/);
  t.is((await read('/readyz?exclude=gate'))[0], 200);
  t.is((await read('/readyz/gate'))[0], 503);
  t.is((await read('/readyz/serving'))[0], 200);
  t.is((await read('/readyz/nope'))[0], 404);
});

test('metrics are whatever was handed in', async (t) => {
  const server = await start(t, { metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', body: 'up 1\n' }) });
  const response = await fetch(`${server.urls[0] ?? ''}/metrics`);
  t.is(response.headers.get('content-type'), 'text/plain; version=0.0.4');
  t.is(await response.text(), 'up 1\n');
  const without = await start(t);
  t.is((await fetch(`${without.urls[0] ?? ''}/metrics`)).status, 404);
});

test('draining ends open streams over HTTP, and leaves no connection', async (t) => {
  const server = await start(t);
  const response = await fetch(`${server.urls[0] ?? ''}/v3/watch`, { method: 'POST', body: '{"create_request":{"key":"YQ=="}}' });
  const text = response.text();
  const idle = open(server);
  const idleEnd = new Promise((resolve) => idle.once('close', resolve));
  idle.on('error', () => undefined);
  await new Promise((resolve) => idle.once('connect', resolve));
  const startedAt = performance.now();
  await server.drain(60_000);
  t.true(performance.now() - startedAt < 50_000);
  t.regex(await text, /"grpc_code":14,"http_code":503,"message":"etcdserver: server stopped"/);
  await idleEnd;
  await server.drain(1);
  await server.close();
});

test('a stream whose request has not come yet does not hold up the end of a server', async (t) => {
  const server = await start(t);
  const socket = open(server);
  const headers = 'Host: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n';
  socket.write(`POST /v3/watch HTTP/1.1\r\n${headers}`);
  t.regex(await answer(socket), /^HTTP\/1.1 100 /);
  const said = answer(socket, () => false);
  const startedAt = performance.now();
  await server.drain(60_000);
  t.true(performance.now() - startedAt < 50_000);
  t.regex(await said, /^HTTP\/1.1 503 [^]*"etcdserver: server stopped"/);
});

test('a stream that begins when the server is going away ends as those that were open', async (t) => {
  const server = await start(t);
  const socket = open(server);
  socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
  await answer(socket, (text) => text.endsWith('}'));
  // Half of a request: the connection is not idle.
  socket.write('POST /v3/watch HTTP/1.1\r\nHost: x\r\n');
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  const said = answer(socket, () => false);
  const startedAt = performance.now();
  const drained = server.drain(60_000);
  const body = '{"create_request":{"key":"YQ=="}}';
  socket.write(`Content-Length: ${body.length}\r\n\r\n${body}`);
  await drained;
  t.true(performance.now() - startedAt < 50_000);
  t.regex(await said, /^HTTP\/1.1 503 [^]*"etcdserver: server stopped"/);
});
