// The traps of http-proxy 1.18.1, each closed: one section per trap, and then P1, all ways to break a connection off, many
// times over. Several of these tests end the process when the trap is open; that is how they fail.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import test from 'ava';

import {
  ask, deadPort, echoUpgrades, firstData, listen, openSockets, raw, startInstance, startProxy, until, upgrade, UPGRADE,
} from './proxy-rig.js';

// 1. util._extend

test('nothing deprecated is called, even where deprecations are errors', async (t) => {
  const proxy = new URL('../../sidecar/proxy.js', import.meta.url).href;
  const script = `
    const { createProxy } = await import(${JSON.stringify(proxy)});
    const http = await import('node:http');
    const backend = http.createServer((q, s) => s.end('ok')).listen(0, '127.0.0.1', async () => {
      const proxy = createProxy({ targets: { networks: ['127.0.0.0/8'] } });
      proxy.update([{ id: 'a', address: '127.0.0.1', port: backend.address().port }]);
      const { port } = await proxy.listen({ port: 0 });
      const util = await import('node:util');
      if (util.default._extend !== Object.assign) throw new Error('util._extend is not ours');
      process.stdout.write(await (await fetch('http://127.0.0.1:' + port + '/a//b?c')).text());
      await proxy.close();
      backend.close();
      process.exit();
    });`;
  const words = ['--throw-deprecation', '--input-type=module', '-e', script];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, words);
  t.is(stdout, 'ok');
  t.is(stderr, '');
});

// 2. Request smuggling

for (const method of ['DELETE', 'OPTIONS', 'GET', 'POST']) {
  test(`a chunked body of ${method} without Content-Length is one request's body and not a second request`, async (t) => {
    const instance = await startInstance(t, 'a');
    const { port } = await startProxy(t, [instance]);
    const hidden = 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\n';
    const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
    await raw(port, `${method} /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`);
    t.deepEqual(instance.seen.map((seen) => `${seen.method} ${seen.url}`), [`${method} /open`]);
    t.is(instance.seen[0]?.body, hidden);
  });
}

test('a request whose length can be read in two ways is refused and the connection closed', async (t) => {
  const instance = await startInstance(t, 'a');
  const { proxy, port } = await startProxy(t, [instance]);
  for (const head of [
    'Content-Length: 5\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nContent-Length: 5',
    'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: xchunked', 'Content-Length: 5\r\nContent-Length: 6',
    'Transfer-Encoding : chunked', 'Content-Length: +5',
  ]) {
    const hidden = 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\n';
    const answer = await raw(port, `POST / HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n0\r\n\r\n${hidden}`);
    t.regex(answer, /^HTTP\/1\.1 400 /, head);
    t.is(answer.split('HTTP/1.1 ').length, 2, 'one answer, then the connection is closed');
  }
  t.is(proxy.stats().instances[0]?.picked, 0, 'what came behind was not read as a request');
  t.deepEqual(instance.seen, []);
});

// 3. The client goes away

test('when the client goes away its request at the instance is broken off', async (t) => {
  const instance = await startInstance(t, 'a', () => undefined);
  const { proxy, port } = await startProxy(t, [instance]);
  const start = (): http.ClientRequest => http.get({ port, host: '127.0.0.1', agent: false }).on('error', () => undefined);
  const clients = Array.from({ length: 20 }, start);
  await until(() => instance.seen.length === 20, 'all requests at the instance');
  for (const client of clients) client.destroy();
  await until(() => instance.aborted === 20 && instance.sockets.size === 0, 'all broken off at the instance');
  await until(() => proxy.stats().inFlight === 0 && proxy.stats().instances[0]?.inFlight === 0, 'nothing in flight');
  t.is(instance.seen.length, 20);
});

test('requests pipelined behind one that waits are given back when the client goes away', async (t) => {
  const instance = await startInstance(t, 'a', () => undefined);
  const { proxy, port } = await startProxy(t, [instance]);
  const client = net.connect(port, '127.0.0.1').on('error', () => undefined);
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(5));
  await until(() => proxy.stats().inFlight === 5, 'all in flight');
  client.resetAndDestroy();
  await until(() => proxy.stats().inFlight === 0 && proxy.stats().instances[0]?.inFlight === 0, 'all given back');
  await until(() => instance.sockets.size === 0, 'and broken off at the instance');
  t.pass();
});

test('when the client goes away in the middle of an answer the instance is told', async (t) => {
  const instance = await startInstance(t, 'a', (_request, response) => {
    response.write('some');
  });
  const { proxy, port } = await startProxy(t, [instance]);
  const client = net.connect(port, '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await firstData(client);
  client.destroy();
  await until(() => instance.aborted === 1 && proxy.stats().inFlight === 0, 'broken off');
  t.pass();
});

// 4. Errors without a listener

test('an instance that resets, lies or leaves is an answer to the client and never the end of the process', async (t) => {
  const manners: Record<string, (socket: net.Socket) => void> = {
    reset: (socket) => socket.resetAndDestroy(),
    nonsense: (socket) => socket.end('SSH-2.0-OpenSSH\r\n'),
    silence: (socket) => socket.end(),
    'a strange head': (socket) => socket.end('HTTP/1.1 200 OK\r\nX-A: \u0001\r\n\r\n'),
  };
  for (const [name, act] of Object.entries(manners)) {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => act(socket));
    });
    const instance = { id: name, address: '127.0.0.1', port: await listen(server) };
    t.teardown(() => server.close());
    const { port } = await startProxy(t, [instance]);
    const answer = await ask(port);
    t.is(answer.status, 502, name);
    t.regex(answer.body, /^coterie: the connection broke before an answer/);
    t.regex(await raw(port, UPGRADE), /^HTTP\/1\.1 502 Bad Gateway/, name);
  }
});

test('an answer that breaks off reaches the client as broken, not as complete', async (t) => {
  const instance = await startInstance(t, 'a', (_request, response) => {
    response.writeHead(200);
    response.write('half');
    setImmediate(() => response.socket?.resetAndDestroy());
  });
  const { port } = await startProxy(t, [instance]);
  await t.throwsAsync(ask(port), { message: /aborted|hang up|ECONNRESET/ });
});

// 5. WebSocket clients that reset

test('a WebSocket client that resets, before or after the upgrade, takes nothing with it', async (t) => {
  const instance = await startInstance(t, 'a');
  echoUpgrades(instance);
  const { proxy, port } = await startProxy(t, [instance]);
  for (let i = 0; i < 20; i += 1) {
    const early = net.connect(port, '127.0.0.1').on('error', () => undefined);
    early.write(UPGRADE);
    await once(early, 'connect');
    if (i % 2 === 0) await sleep(1);
    early.resetAndDestroy();
    const late = await upgrade(port);
    late.write('hello');
    t.is(await firstData(late), 'hello');
    late.resetAndDestroy();
  }
  await until(() => instance.sockets.size === 0 && proxy.stats().inFlight === 0, 'nothing left');
  t.is((await ask(port)).status, 200);
});

test('a WebSocket whose instance resets is closed for the client', async (t) => {
  const instance = await startInstance(t, 'a');
  echoUpgrades(instance);
  const { proxy, port } = await startProxy(t, [instance]);
  const client = await upgrade(port);
  for (const socket of instance.sockets) socket.resetAndDestroy();
  await once(client.resume(), 'end');
  client.end();
  await until(() => proxy.stats().inFlight === 0, 'nothing left');
  t.pass();
});

// 6. Hop-by-hop headers

test('headers of one hop, also those that Connection names, reach neither the instance nor the client', async (t) => {
  const instance = await startInstance(t, 'a', (_request, response) => {
    response.writeHead(200, { connection: 'x-inner', 'x-inner': '1', 'proxy-authenticate': 'Basic', 'x-outer': '2' });
    response.end();
  });
  const { port } = await startProxy(t, [instance]);
  const { headers } = await ask(port, {
    headers: {
      te: 'trailers', 'proxy-authorization': 'Basic x', connection: 'keep-alive, x-secret', 'x-secret': '1', 'x-kept': '1',
    },
  });
  const names = Object.keys(instance.seen[0]?.headers ?? {});
  t.deepEqual(names.filter((name) => ['te', 'proxy-authorization', 'x-secret'].includes(name)), []);
  t.true(names.includes('x-kept'));
  t.is(headers['x-inner'], undefined);
  t.is(headers['proxy-authenticate'], undefined);
  t.is(headers['x-outer'], '2');
});

// 7. X-Forwarded-*

test('what a stranger says in X-Forwarded-* is dropped; what a trusted proxy says is kept and added to', async (t) => {
  const instance = await startInstance(t, 'a');
  const headers = { 'x-forwarded-for': '6.6.6.6', 'x-forwarded-proto': 'https', forwarded: 'for=6.6.6.6', host: 'shop.example' };
  const strict = await startProxy(t, [instance]);
  await ask(strict.port, { headers });
  t.like(instance.seen[0]?.headers, {
    'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http', 'x-forwarded-host': 'shop.example',
  });
  t.is(instance.seen[0]?.headers.forwarded, undefined);
  const trusting = await startProxy(t, [instance], { trustedProxies: ['127.0.0.0/8'] });
  await ask(trusting.port, { headers });
  t.like(instance.seen[1]?.headers, { 'x-forwarded-for': '6.6.6.6, 127.0.0.1', 'x-forwarded-proto': 'https' });
});

// 8. Connections, time-outs, retries

test('connections to an instance are kept and used again', async (t) => {
  const instance = await startInstance(t, 'a');
  const { port } = await startProxy(t, [instance]);
  let connections = 0;
  instance.server.on('connection', () => (connections += 1));
  for (let i = 0; i < 20; i += 1) await ask(port);
  t.is(connections, 1);
});

test('an instance that is silent for too long is 504, and the request at it is broken off', async (t) => {
  const instance = await startInstance(t, 'a', () => undefined);
  instance.server.on('upgrade', (_request, socket) => socket.on('error', () => undefined));
  const { port } = await startProxy(t, [instance], { limits: { answerMs: 50 } });
  const answer = await ask(port);
  t.is(answer.status, 504);
  t.is(answer.body, 'coterie: no answer within 50 ms\n');
  t.regex(await raw(port, UPGRADE), /^HTTP\/1\.1 504 Gateway Timeout/);
  await until(() => instance.sockets.size <= 1, 'broken off');
});

test('a request with a body whose instance refuses the connection goes to another one, whole', async (t) => {
  const instance = await startInstance(t, 'a');
  const dead = { id: 'dead', address: '127.0.0.1', port: await deadPort() };
  const body = 'x'.repeat(300_000);
  for (let i = 0; i < 6; i += 1) {
    const { port } = await startProxy(t, [dead, instance], { random: () => 0 });
    const answer = await ask(port, { method: 'POST', body });
    t.is(answer.status, 200);
    t.is(instance.seen.at(-1)?.body.length, body.length);
  }
});

test('a kept connection that turns out closed costs an idempotent request nothing, and repeats no other', async (t) => {
  const server = net.createServer();
  const heads: string[] = [];
  server.on('connection', (socket) => {
    let first = true;
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      heads.push(chunk.toString().slice(0, 4));
      // Reads the second request of a connection and closes without a word, as a server does that has just lost patience.
      if (first) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.resetAndDestroy();
      first = false;
    });
  });
  const instance = { id: 'a', address: '127.0.0.1', port: await listen(server) };
  t.teardown(() => server.close());
  const { proxy, port } = await startProxy(t, [instance]);
  // At once, so that three connections are kept.
  for (const answer of await Promise.all([ask(port), ask(port), ask(port)])) t.is(answer.status, 200);
  t.is((await ask(port)).status, 200);
  t.deepEqual(heads, ['GET ', 'GET ', 'GET ', 'GET ', 'GET ']);
  t.is(proxy.stats().retried, 1, 'the second try does not trust another kept connection');
  await sleep(20);
  t.is((await ask(port)).status, 200);
  t.is((await ask(port, { method: 'POST', body: 'pay' })).status, 502);
  t.is(heads.filter((head) => head === 'POST').length, 1);
});

// 9. Bodies are passed on, redirects too

test('a body is passed on byte for byte, and a redirect is passed on and not followed', async (t) => {
  const instance = await startInstance(t, 'a', (request, response) => {
    if (request.url === '/old') return void response.writeHead(302, { location: '/new' }).end();
    request.pipe(response);
  });
  const { port } = await startProxy(t, [instance]);
  const text = '{"a": 1,  "b":[1,2 ]}';
  const headers = { 'content-type': 'application/json' };
  const answer = await ask(port, { method: 'POST', chunks: [text.slice(0, 7), text.slice(7)], headers });
  t.is(answer.body, text);
  const moved = await ask(port, { path: '/old' });
  t.deepEqual([moved.status, moved.headers.location, instance.seen.length], [302, '/new', 2]);
});

test('the path reaches the instance as the client wrote it', async (t) => {
  const instance = await startInstance(t, 'a');
  const { port } = await startProxy(t, [instance]);
  const paths = ['/a//b///c', '/x?to=http://y//z', '//evil.example/x', '/%2F%2e%2e/', '/?a=b?c'];
  for (const path of paths) await ask(port, { path });
  await raw(port, 'GET http://other.example/abs?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  t.deepEqual(instance.seen.map((seen) => seen.url), [...paths, '/abs?q']);
});

// 10. Targets

test('an instance at an address the policy forbids is never connected to, and the refusal is reported once', async (t) => {
  const instance = await startInstance(t, 'a');
  const { proxy, port, events } = await startProxy(t, [instance], { targets: {} });
  proxy.update([instance]);
  t.is((await ask(port)).status, 503);
  t.is(instance.sockets.size, 0);
  const refusals = events.filter((event) => event.kind === 'instance_refused');
  t.deepEqual(refusals.map((event) => event.at), [`127.0.0.1:${instance.port}`]);
});

test('a name that resolves to a forbidden address is not connected to, over HTTP, WebSocket or on a second try', async (t) => {
  const instance = await startInstance(t, 'a');
  const named = ['a', 'b'].map((id) => ({ id, address: 'localhost', port: instance.port }));
  const { port } = await startProxy(t, named, { targets: {} });
  t.is((await ask(port)).status, 502);
  t.regex(await raw(port, UPGRADE), /^HTTP\/1\.1 502/);
  t.is(instance.sockets.size, 0);
});

// 11. Draining

for (const leaving of ['draining', 'gone'] as const) {
  test(`an instance that is ${leaving} gets nothing new, finishes what it has, and is told when that is over`, async (t) => {
    let finish: () => void = () => undefined;
    const slow = await startInstance(t, 'slow', (_request, response) => {
      finish = () => response.end('done');
    });
    const other = await startInstance(t, 'other');
    const { proxy, port, events } = await startProxy(t, [slow]);
    const running = ask(port);
    await until(() => slow.seen.length === 1, 'the request at the instance');
    proxy.update(leaving === 'draining' ? [{ ...slow, state: 'draining' }, other] : [other]);
    for (let i = 0; i < 20; i += 1) t.is((await ask(port)).body, 'other');
    t.false(events.some((event) => event.kind === 'instance_quiet'));
    finish();
    t.is((await running).body, 'done');
    await until(() => events.some((event) => event.kind === 'instance_quiet' && event.id === 'slow'), 'quiet');
    await until(() => slow.sockets.size === 0, 'no connection kept to it');
    t.is(slow.seen.length, 1);
  });
}

test('an instance that leaves loses its idle connections at once, so that it can exit', async (t) => {
  const [a, b] = [await startInstance(t, 'a'), await startInstance(t, 'b')];
  const { proxy, port } = await startProxy(t, [a]);
  await ask(port);
  t.is(a.sockets.size, 1);
  proxy.update([b]);
  await until(() => a.sockets.size === 0, 'closed');
});

// P1. Every way to break off, many times

test.serial('after ten thousand connections broken off in every way no handle is left, and the proxy still works', async (t) => {
  t.timeout(90_000);
  const instance = await startInstance(t, 'a', (request, response) => {
    if (request.url === '/reset') return void request.socket.resetAndDestroy();
    if (request.url === '/hang') return;
    if (request.url === '/half') return void response.write('half', () => request.socket.resetAndDestroy());
    request.resume();
    response.end('ok');
  });
  instance.server.on('upgrade', (request, socket) => {
    socket.on('error', () => undefined);
    if (request.headers['x-do'] === 'reset') return void (socket as net.Socket).resetAndDestroy();
    if (request.headers['x-do'] === 'refuse') {
      return void socket.end('HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n');
    }
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    if (request.headers['x-do'] === 'leave') return void socket.end();
    socket.pipe(socket);
  });
  const { proxy, port } = await startProxy(t, [instance]);
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const ws = (act: string): string => UPGRADE.replace('Host: a', `Host: a\r\nX-Do: ${act}`);
  /** What is sent, and what the client does when the first answer comes ('reset' or 'fin'), or at once ('early'). */
  const manners: readonly (readonly [string, 'reset' | 'fin' | 'early'])[] = [
    [get('/reset'), 'fin'], [get('/half'), 'reset'], [get('/hang'), 'early'], [get('/ok'), 'fin'],
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf', 'early'], [ws('reset'), 'fin'], [ws('refuse'), 'fin'],
    [ws('leave'), 'fin'], [ws('echo'), 'reset'], [ws('echo'), 'fin'], [ws('echo'), 'early'],
  ];
  const cycle = async (i: number): Promise<void> => {
    const [bytes, manner] = manners[i % manners.length] ?? ['', 'fin'];
    const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined);
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    client.write(bytes);
    if (manner === 'early') setTimeout(() => client.resetAndDestroy(), i % 4);
    else client.once('data', () => (manner === 'fin' ? client.end() : client.resetAndDestroy()));
    client.once('end', () => client.end());
    await closed;
  };
  const before = openSockets();
  const startedMs = Date.now();
  let cycles = 0;
  // 10,000 when the machine is quick enough; the time is bounded so that a busy one does not wait for ever.
  const worker = async (): Promise<void> => {
    while (cycles < 10_000 && Date.now() - startedMs < 20_000) await cycle(cycles++);
  };
  await Promise.all(Array.from({ length: 32 }, worker));
  t.log(`${cycles} cycles in ${Date.now() - startedMs} ms`);
  t.true(cycles >= 200, `only ${cycles} cycles`);
  t.is((await ask(port)).body, 'ok');
  await until(() => proxy.stats().inFlight === 0 && proxy.stats().instances[0]?.inFlight === 0, 'nothing in flight');
  proxy.update([]);
  await until(() => instance.sockets.size === 0, 'no connection left at the instance');
  await until(() => openSockets() <= before, `no more than the ${before} sockets of before`);
});

test('a refused upgrade reaches the client as an answer it can read to its end', async (t) => {
  const instance = await startInstance(t, 'a');
  instance.server.on('upgrade', (_request, socket) => {
    socket.end('HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nX-Why: closed\r\n\r\n4\r\nshut\r\n0\r\n\r\n');
  });
  const { port } = await startProxy(t, [instance]);
  const answer = await raw(port, UPGRADE);
  t.regex(answer, /^HTTP\/1\.1 403 Forbidden\r\n/);
  t.regex(answer, /x-why: closed\r\n/);
  t.notRegex(answer, /transfer-encoding/i);
  t.regex(answer, /\r\n\r\nshut$/);
});

test('either side may close its half of a WebSocket first, and the rest still arrives', async (t) => {
  const instance = await startInstance(t, 'a');
  instance.server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.on('data', () => undefined);
    socket.once('end', () => socket.end('last words'));
  });
  const { proxy, port } = await startProxy(t, [instance]);
  const client = await upgrade(port);
  client.end('bye');
  t.is(await firstData(client), 'last words');
  await until(() => proxy.stats().inFlight === 0 && instance.sockets.size === 0, 'closed on both sides');
});
