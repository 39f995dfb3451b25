// The built-in proxy as its users see it: who answers, what happens when nobody can, and that planned changes cost nothing.

import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import test from 'ava';
import { WebSocket, WebSocketServer } from 'ws';

import type { Clock } from '../../core/base/clock.js';
import { createProxy, PROXY_LIMITS } from '../../sidecar/proxy.js';
import { createForwarder } from '../../sidecar/proxy-forward.js';
import type { Forwarder } from '../../sidecar/proxy-forward.js';
import { ask, deadPort, LOOPBACK, raw, startInstance, startProxy, stopInstance, until, UPGRADE } from './proxy-rig.js';
import type { Instance } from './proxy-rig.js';

test('requests go to every instance and come back with their answers', async (t) => {
  const instances = [await startInstance(t, 'a'), await startInstance(t, 'b'), await startInstance(t, 'c')];
  const { proxy, port } = await startProxy(t, instances);
  const bodies = new Map<string, number>();
  for (let i = 0; i < 90; i += 1) {
    const { status, body } = await ask(port, { method: i % 2 === 0 ? 'GET' : 'POST' });
    t.is(status, 200);
    bodies.set(body, (bodies.get(body) ?? 0) + 1);
  }
  for (const id of ['a', 'b', 'c']) t.true((bodies.get(id) ?? 0) > 10, `${id}: ${bodies.get(id) ?? 0} of 90`);
  t.is(proxy.stats().requests, 90);
  t.deepEqual(proxy.stats().instances.map((instance) => instance.picked), ['a', 'b', 'c'].map((id) => bodies.get(id) ?? 0));
});

test('with no instance the answer is 503 at once, with Retry-After and a reason', async (t) => {
  const { proxy, port } = await startProxy(t, []);
  const answer = await ask(port, { method: 'POST', body: 'x' });
  t.is(answer.status, 503);
  t.is(answer.headers['retry-after'], '1');
  t.is(answer.body, 'coterie: no instance of api takes requests\n');
  t.regex(await raw(port, UPGRADE), /^HTTP\/1\.1 503 Service Unavailable\r\n(.*\r\n)*Retry-After: 1\r\n/);
  t.is(proxy.stats().refused.no_instance, 2);
  proxy.update([await startInstance(t, 'a')]);
  t.is((await ask(port)).status, 200, 'and it recovers with the next list');
});

test('an instance that cannot be reached costs no request, is left out, and is reported', async (t) => {
  const good = await startInstance(t, 'good');
  const dead = { id: 'dead', address: '127.0.0.1', port: await deadPort() };
  const { proxy, port, events } = await startProxy(t, [dead, good]);
  for (let i = 0; i < 50; i += 1) t.is((await ask(port, { method: 'POST', body: 'x' })).body, 'good');
  const ejections = events.filter((event) => event.kind === 'instance_ejected');
  t.true(ejections.length >= 1 && ejections.every((event) => event.id === 'dead'));
  t.true(proxy.stats().retried < 10, 'left out, not tried each time');
  t.true((proxy.stats().instances.find((instance) => instance.id === 'dead')?.ejectedForMs ?? 0) <= 10_000);
});

test('with every instance unreachable the answer is 502, and the first one back is used without waiting', async (t) => {
  const port = await deadPort();
  const front = await startProxy(t, [{ id: 'a', address: '127.0.0.1', port }]);
  for (let i = 0; i < 5; i += 1) {
    const answer = await ask(front.port);
    t.is(answer.status, 502);
    t.is(answer.body, 'coterie: no instance of api could be reached (tried 1, last ECONNREFUSED)\n');
  }
  t.regex(await raw(front.port, UPGRADE), /^HTTP\/1\.1 502 Bad Gateway/);
  const server = http.createServer((_request, response) => response.end('back'));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  t.is((await ask(front.port)).body, 'back');
});

test('a connection that is not made in time is given up and another instance asked', async (t) => {
  const good = await startInstance(t, 'good');
  const away = { id: 'away', address: '127.0.0.1', port: await deadPort() };
  const real = createForwarder();
  let given = 0;
  // Another way to carry requests, put in the library's place: for one instance it connects for ever.
  const forwarder: Forwarder = {
    ...real,
    web: (request, response, bodyless, target, hop) => {
      if (target.link.port !== away.port) return real.web(request, response, bodyless, target, hop);
      return () => (given += 1);
    },
  };
  const { proxy, port, events } = await startProxy(t, [away], { forwarder, limits: { connectMs: 500 } });
  t.like(await ask(port), { status: 502, body: 'coterie: no instance of api could be reached (tried 1, last ETIMEDOUT)\n' });
  proxy.update([away, good]);
  for (let i = 0; i < 10; i += 1) t.is((await ask(port, { method: 'POST', body: 'x' })).body, 'good');
  t.is(given, events.filter((event) => event.kind === 'instance_ejected').length);
});

test('a WebSocket is joined, also where the first instance refuses the connection', async (t) => {
  const good = await startInstance(t, 'good');
  const echo = new WebSocketServer({ server: good.server });
  echo.on('connection', (socket, request) => {
    socket.send(`${request.url} ${String(request.headers['x-forwarded-for'])}`);
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  });
  const dead = { id: 'dead', address: '127.0.0.1', port: await deadPort() };
  const { proxy, port } = await startProxy(t, [dead, good], { random: () => 0 });
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat?room=1`);
  const messages: Buffer[] = [];
  socket.on('message', (data: Buffer) => messages.push(data));
  await once(socket, 'open');
  const big = Buffer.alloc(200_000, 'x');
  socket.send(big);
  await until(() => messages.length === 2, 'both messages');
  t.is(String(messages[0]), '/chat?room=1 127.0.0.1');
  t.true(messages[1]?.equals(big));
  t.is(proxy.stats().inFlight, 1);
  socket.close(1000);
  const [code] = (await once(socket, 'close')) as [number];
  t.is(code, 1000, 'the closing handshake crosses the proxy');
  await until(() => proxy.stats().inFlight === 0, 'given back');
});

test('an upgrade to something else, or with a body, is refused', async (t) => {
  const instance = await startInstance(t, 'a');
  const { port } = await startProxy(t, [instance]);
  t.regex(await raw(port, UPGRADE.replace('websocket', 'spdy/3')), /^HTTP\/1\.1 501 /);
  t.regex(await raw(port, UPGRADE.replace('Host: a', 'Host: a\r\nContent-Length: 4')), /^HTTP\/1\.1 400 /);
  t.regex(await raw(port, UPGRADE.replace('GET ', 'POST ')), /^HTTP\/1\.1 400 /);
  t.is(instance.sockets.size, 0);
});

test('HEAD, HTTP/1.0, 204, 304, 100-continue and an early answer keep their meaning', async (t) => {
  const instance = await startInstance(t, 'a', (request, response) => {
    if (request.url === '/204') return void response.writeHead(204).end();
    if (request.url === '/304') return void response.writeHead(304, { etag: 'x' }).end();
    if (request.url === '/early') return void response.writeHead(413).end('too much');
    request.resume();
    request.once('end', () => {
      response.write('chunk');
      response.end();
    });
  });
  const { port } = await startProxy(t, [instance]);
  t.like(await ask(port, { method: 'HEAD' }), { status: 200, body: '' });
  t.like(await ask(port, { path: '/204' }), { status: 204, body: '' });
  t.is((await ask(port, { path: '/304' })).headers.etag, 'x');
  const old = await raw(port, 'GET / HTTP/1.0\r\n\r\n');
  t.regex(old, /\r\n\r\nchunk$/, 'no chunk sizes in an answer to HTTP/1.0');
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n';
  const expecting = await raw(port, `${head}ok`);
  t.regex(expecting, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
  t.is((await ask(port, { path: '/early', method: 'POST', body: 'x'.repeat(1_000_000) })).status, 413);
});

test('every limit is an answer: too much in flight on the instances, or in the proxy', async (t) => {
  const hold: http.ServerResponse[] = [];
  const instance = await startInstance(t, 'a', (_request, response) => void hold.push(response));
  const perInstance = await startProxy(t, [instance], { limits: { inFlightPerInstance: 2 } });
  const first = [ask(perInstance.port), ask(perInstance.port)];
  await until(() => hold.length === 2, 'both held');
  const busy = await ask(perInstance.port);
  t.like(busy, { status: 503, body: 'coterie: every instance of api is busy\n' });
  t.is(busy.headers['retry-after'], '1');
  for (const response of hold.splice(0)) response.end();
  await Promise.all(first);

  const total = await startProxy(t, [instance], { limits: { exchangesMax: 1 } });
  const held = ask(total.port);
  await until(() => hold.length === 1, 'held');
  t.like(await ask(total.port), { status: 503, body: 'coterie: the proxy is busy\n' });
  hold[0]?.end();
  t.is((await held).status, 200);
  const long = await raw(total.port, `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(PROXY_LIMITS.headBytes)}\r\n\r\n`);
  t.regex(long, /^HTTP\/1\.1 431 /);
});

test('drain lets what is in flight end, takes nothing new, and cuts what outlasts the grace', async (t) => {
  const hold: http.ServerResponse[] = [];
  const instance = await startInstance(t, 'a', (_request, response) => void hold.push(response));
  const { proxy, port } = await startProxy(t, [instance]);
  const running = ask(port, { agent: new http.Agent({ keepAlive: true }) });
  await until(() => hold.length === 1, 'held');
  const drained = proxy.drain(10_000);
  // Reset, if the system had taken the connection for the listener in the moment it closed.
  const refused = await t.throwsAsync<NodeJS.ErrnoException>(ask(port));
  t.regex(refused?.code ?? '', /^(?:ECONNREFUSED|ECONNRESET)$/);
  t.is(hold.length, 1, 'nothing new reached the instance');
  hold[0]?.end('done');
  const answer = await running;
  t.is(answer.body, 'done');
  t.is(answer.headers.connection, 'close', 'the client is asked not to use this connection again');
  await drained;

  const second = await startProxy(t, [instance]);
  const stuck = ask(second.port);
  await until(() => hold.length === 2, 'held');
  await Promise.all([t.throwsAsync(stuck), second.proxy.drain(30)]);
  t.is(second.proxy.stats().inFlight, 0);
});

test('listening on a port in use is an error that says so', async (t) => {
  const { port } = await startProxy(t, []);
  const second = createProxy({ targets: LOOPBACK });
  await t.throwsAsync(second.listen({ port }), { code: 'EADDRINUSE' });
  await second.close();
});

test('the clock and the dice are the caller\'s', async (t) => {
  const waits: number[] = [];
  const clock: Clock = { now: () => 0, schedule: (delayMs) => (waits.push(delayMs), () => undefined) };
  const [a, b] = [await startInstance(t, 'a'), await startInstance(t, 'b')];
  const { port } = await startProxy(t, [a, b], { clock, random: () => 0.99, limits: { connectMs: 1234 } });
  for (let i = 0; i < 5; i += 1) t.is((await ask(port)).body, 'b');
  t.true(waits.every((wait) => wait === 1234) && waits.length === 5);
});

test('adding, draining, removing and restarting instances under load costs no request', async (t) => {
  const start = (id: string): Promise<Instance> => startInstance(t, id, (request, response) => {
    request.resume();
    setTimeout(() => response.end(id), 2);
  });
  let live = [await start('a'), await start('b')];
  const { proxy, port, events } = await startProxy(t, live);
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const failures: string[] = [];
  let requests = 0;
  let loading = true;
  const load = async (client: number): Promise<void> => {
    for (let i = 0; loading; i += 1) {
      const post = { method: 'POST', body: 'x'.repeat(2_000) };
      const how = { ...(i % 3 === 0 ? post : {}), ...(client % 2 === 0 ? { agent } : {}) };
      const answer = await ask(port, how).catch((error: Error) => error);
      requests += 1;
      if (answer instanceof Error) failures.push(answer.message);
      else if (answer.status !== 200) failures.push(`${answer.status} ${answer.body}`);
    }
  };
  const clients = Array.from({ length: 8 }, (_, client) => load(client));
  for (let round = 0; round < 20; round += 1) {
    const [oldest, ...rest] = live;
    const fresh = await start(`c${round}`);
    live = [...rest, fresh];
    if (oldest === undefined) return t.fail();
    proxy.update(round % 2 === 0 ? [{ ...oldest, state: 'draining' }, ...live] : live);
    // What a service does that waits for the word before it exits; after that it may go in any manner.
    await until(() => events.some((event) => event.kind === 'instance_quiet' && event.id === oldest.id), 'quiet');
    proxy.update(live);
    await sleep(10);
    await stopInstance(oldest);
  }
  loading = false;
  await Promise.all(clients);
  t.deepEqual(failures, []);
  t.true(requests > 20, `${requests} requests`);
});

test('an instance that dies takes with it only what was in flight there', async (t) => {
  const [doomed, other] = [await startInstance(t, 'doomed'), await startInstance(t, 'other')];
  const { port } = await startProxy(t, [doomed, other]);
  for (let i = 0; i < 20; i += 1) await ask(port);
  await stopInstance(doomed);
  for (let i = 0; i < 100; i += 1) t.is((await ask(port, { method: i % 2 === 0 ? 'POST' : 'GET' })).body, 'other');
});

test('a client that talks no HTTP is answered or dropped, and harms nobody', async (t) => {
  const instance = await startInstance(t, 'a');
  const { port } = await startProxy(t, [instance]);
  for (const noise of [
    '\u0016\u0003\u0001\u0002', 'GET\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n',
  ]) {
    await raw(port, noise);
  }
  t.deepEqual(instance.seen, []);
  t.is((await ask(port)).status, 200);
});
