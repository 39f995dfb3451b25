// The built-in proxy behind the real registry: what it forwards to follows what is registered, and emptiness is judged as
// the sidecar judges it.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, get, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { connect, startNode, type Client } from '../../core/index.js';
import { discover, evict, register, type Registration } from '../../recipes/registry.js';
import { createProxy, feedProxy, type FeedEvent } from '../../sidecar/index.js';
import { freePort } from '../interop/free-ports.js';
import { startServer } from '../interop/server-process.js';

const HOLD = { name: 'web', whenEmpty: 'holdLast', holdMaxMs: 0, require: 0 } as const;

async function backend(t: ExecutionContext, id: string): Promise<{ port: number; server: Server }> {
  const server = createServer((_request, response) => response.end(id));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
  return { port: address.port, server };
}

function ask(port: number): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    }).on('error', reject);
  });
}

async function until(claim: () => Promise<boolean> | boolean): Promise<void> {
  const giveUpAt = performance.now() + 20_000;
  while (!(await claim())) {
    if (performance.now() > giveUpAt) throw new Error('waited 20 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function fed(t: ExecutionContext): Promise<{ client: Client; port: number; events: FeedEvent[] }> {
  const node = await startNode({ dataDir: null, heartbeatMs: 20, electionMs: 100 });
  const view = await discover(node.client, 'web').ready();
  const proxy = createProxy({ service: 'web', targets: { networks: ['127.0.0.0/8'] } });
  const events: FeedEvent[] = [];
  const feeding = feedProxy(view, proxy, { service: HOLD, clock: systemClock, observe: (event) => events.push(event) });
  const { port } = await proxy.listen({ port: 0 });
  t.teardown(async () => {
    await view.close();
    await feeding;
    await proxy.close();
    await node.close();
  });
  return { client: node.client, port, events };
}

async function registered(t: ExecutionContext, client: Client, id: string): Promise<Registration> {
  const { port } = await backend(t, id);
  const registration = await register(client, { service: 'web', id, address: '127.0.0.1', port });
  t.teardown(() => registration.close());
  return registration;
}

test('the proxy forwards to whoever is registered, and answers 503 when the last one leaves on purpose', async (t) => {
  const { client, port } = await fed(t);
  t.is((await ask(port)).status, 503);
  const one = await registered(t, client, 'one');
  await until(async () => (await ask(port)).body === 'one');
  await registered(t, client, 'two').then((two) => two.close());
  await one.close();
  await until(async () => (await ask(port)).status === 503);
});

test('instances that vanish without a word are kept until one is back, and that is an alarm', async (t) => {
  const { client, port, events } = await fed(t);
  await registered(t, client, 'one');
  await until(async () => (await ask(port)).body === 'one');
  const wiped = await client.txn({
    success: [{ kind: 'delete', request: { key: Buffer.from('coterie/'), rangeEnd: Buffer.from('coterie0') } }],
  });
  t.true(wiped.succeeded);
  t.is((await ask(port)).body, 'one');
  await until(() => events.some((event) => event.kind === 'holding' && event.instances.includes('one')));
  t.is((await ask(port)).body, 'one');
});

test('an evicted instance gets no more traffic', async (t) => {
  const { client, port } = await fed(t);
  await registered(t, client, 'one');
  await until(async () => (await ask(port)).body === 'one');
  await evict(client, 'web', 'one');
  await until(async () => (await ask(port)).status === 503);
  t.is((await ask(port)).status, 503);
});

test('coterie proxy follows a store that comes, goes and comes back', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'coterie-proxy-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const store = { port: await freePort(), dataDir: join(directory, 'data') };
  const url = `http://127.0.0.1:${store.port}`;
  const main = fileURLToPath(new URL('../../core/main.js', import.meta.url));
  const flags = ['--service', 'web', '--listen', '127.0.0.1:0', '--endpoints', url, '--allow-network', '127.0.0.0/8'];
  const child = spawn(process.execPath, [main, 'proxy', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(() => void child.kill('SIGKILL'));
  let port = 0;
  createInterface({ input: child.stderr }).on('line', (line) => {
    const at = /"at":"http:\/\/127\.0\.0\.1:(\d+)"/.exec(line);
    if (at !== null) port = Number(at[1]);
  });
  const first = await startServer(store);
  const client = connect(url);
  t.teardown(() => client.close());
  await until(() => port > 0);
  const one = await registered(t, client, 'one');
  await until(async () => (await ask(port)).body === 'one');
  await first.end('SIGKILL');
  t.is((await ask(port)).body, 'one');
  const second = await startServer(store);
  t.teardown(() => second.end('SIGKILL'));
  const two = await registered(t, client, 'two');
  await until(async () => (await ask(port)).body === 'two');
  await Promise.all([one.close(), two.close()]);
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  t.is(await ended, 0);
});
