// Fences in front of HTTP: with the real Express, and with node:http alone.

import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import express from 'express';
import { FenceGuard } from '../../recipes/fence-guard.js';
import { fenced } from '../../recipes/fence-middleware.js';

async function listen(t: ExecutionContext, server: http.Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function ask(url: string, fence: string | null, signal?: AbortSignal): Promise<{ status: number; body: string }> {
  const headers = fence === null ? {} : { fence };
  const response = await fetch(url, { method: 'PUT', headers, ...(signal === undefined ? {} : { signal }) });
  return { status: response.status, body: await response.text() };
}

test('Express: a stale, a missing and a broken fence are refused with words, and no handler runs', async (t) => {
  const app = express();
  const handled: string[] = [];
  app.put('/:name', fenced(new FenceGuard(), { resource: (request: express.Request) => request.path }), (request, response) => {
    handled.push(`${request.path} ${request.get('fence')}`);
    response.send('done');
  });
  const url = await listen(t, http.createServer(app));
  t.deepEqual(await ask(`${url}/a`, '7'), { status: 200, body: 'done' });
  t.is((await ask(`${url}/a`, '7')).status, 200, 'one holder, many requests');
  t.is((await ask(`${url}/a`, '9')).status, 200);
  const stale = await ask(`${url}/a`, '8');
  t.is(stale.status, 412);
  t.like(JSON.parse(stale.body), { error: 'stale_fence', resource: '/a', fence: 8, newest: 9 });
  t.is((await ask(`${url}/b`, '1')).status, 200, 'another resource');
  t.is((await ask(`${url}/a`, null)).status, 428);
  for (const broken of ['', '0', '-1', '1.5', '0x10', '1e3', '9'.repeat(17), '9007199254740993', '10, 11']) {
    t.is((await ask(`${url}/a`, broken)).status, 400, broken);
  }
  t.deepEqual(handled, ['/a 7', '/a 7', '/a 9', '/b 1']);
});

test('Express: one request for a resource at a time; whoever was overtaken in the line is refused', async (t) => {
  const app = express();
  const order: string[] = [];
  const options = { resource: 'all', waitMs: 5_000, header: 'Fence' };
  app.put('/:ms', fenced(new FenceGuard(), options), async (request, response) => {
    order.push(`begin ${request.get('fence')}`);
    await sleep(Number(request.params['ms']));
    order.push(`end ${request.get('fence')}`);
    response.send('done');
  });
  const url = await listen(t, http.createServer(app));
  const first = ask(`${url}/300`, '1');
  await sleep(100);
  const second = ask(`${url}/0`, '2');
  await sleep(50);
  const third = ask(`${url}/0`, '3');
  t.deepEqual((await Promise.all([first, second, third])).map(({ status }) => status), [200, 412, 200]);
  t.deepEqual(order, ['begin 1', 'end 1', 'begin 3', 'end 3']);
});

test('Express: behind a handler that hangs the next one waits for a while, then 503; a hang-up ends a turn', async (t) => {
  const app = express();
  app.put('/:name', fenced(new FenceGuard(), { resource: 'all', waitMs: 200 }), (request, response) => {
    if (request.params['name'] !== 'hang') response.send('done');
  });
  const url = await listen(t, http.createServer(app));
  const abort = new AbortController();
  const hanging = t.throwsAsync(ask(`${url}/hang`, '1', abort.signal), { any: true });
  await sleep(100);
  const late = await ask(`${url}/x`, '2');
  t.is(late.status, 503);
  t.like(JSON.parse(late.body), { error: 'deadline_exceeded' });
  abort.abort();
  await hanging;
  await sleep(50);
  t.is((await ask(`${url}/x`, '2')).status, 200);
});

test('Express: whoever hung up while it waited for its turn is not served', async (t) => {
  const app = express();
  const handled: string[] = [];
  app.put('/:name', fenced(new FenceGuard(), { resource: 'all' }), async (request, response) => {
    handled.push(request.params['name'] ?? '');
    if (request.params['name'] === 'slow') await sleep(400);
    response.send('done');
  });
  const url = await listen(t, http.createServer(app));
  const slow = ask(`${url}/slow`, '1');
  await sleep(100);
  const abort = new AbortController();
  const gone = t.throwsAsync(ask(`${url}/gone`, '1', abort.signal), { any: true });
  await sleep(100);
  abort.abort();
  await gone;
  t.is((await slow).status, 200);
  t.is((await ask(`${url}/last`, '1')).status, 200);
  t.deepEqual(handled, ['slow', 'last']);
});

test('an error of the store, or of whoever names the resource, goes to next', async (t) => {
  const app = express();
  const broken = new FenceGuard({ store: { raise: () => Promise.reject(new Error('the database is away')) } });
  app.put('/a', fenced(broken, { resource: 'x' }), () => t.fail('it was handled'));
  app.put('/b', fenced(new FenceGuard(), { resource: () => JSON.parse('{') as string }), () => t.fail('it was handled'));
  app.put('/c', fenced(new FenceGuard(), { resource: '' }), () => t.fail('it was handled'));
  const failures: string[] = [];
  app.use((error: Error, _: express.Request, response: express.Response, next: express.NextFunction) => {
    failures.push(error.message);
    if (response.headersSent) next(error);
    else response.status(500).send('sorry');
  });
  const url = await listen(t, http.createServer(app));
  for (const path of ['a', 'b', 'c']) t.is((await ask(`${url}/${path}`, '1')).status, 500);
  t.is(failures.length, 3);
  t.is(failures[0], 'the database is away');
});

test('node:http alone has the shape too', async (t) => {
  const guarded = fenced(new FenceGuard(), { resource: 'x' });
  const url = await listen(t, http.createServer((request, response) => {
    guarded(request, response, () => response.end('done'));
  }));
  t.deepEqual([(await ask(url, '2')).status, (await ask(url, '1')).status], [200, 412]);
});
