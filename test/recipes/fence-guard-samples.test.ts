// The samples for databases, run on real ones: SQL in SQLite, the script in Redis. Each is also a store for a FenceGuard
// that several processes share.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Redis } from 'ioredis';
import { Prng } from '../../core/base/prng.js';
import { FenceGuard, StaleFence } from '../../recipes/fence-guard.js';
import { freePort } from '../interop/free-ports.js';
import { isInstalled } from '../interop/real-etcd.js';
import { ROOT } from '../tidy/source.js';

const SQL = readFileSync(path.join(ROOT, 'examples/fences/fence.sql'), 'utf8');
const LUA = readFileSync(path.join(ROOT, 'examples/fences/fence.lua'), 'utf8');

function folder(t: ExecutionContext): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'coterie-fences-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function redis(t: ExecutionContext): Promise<Redis> {
  const port = await freePort();
  const server = spawn('redis-server', ['--port', `${port}`, '--save', '', '--dir', folder(t)], { stdio: 'ignore' });
  const client = new Redis({ port, host: '127.0.0.1' });
  // Until the server is up.
  client.on('error', () => undefined);
  t.teardown(async () => {
    client.disconnect();
    server.kill('SIGKILL');
    await once(server, 'exit');
  });
  return client;
}

/** A new process of SQLite for each call, so that nothing but the file is shared. */
async function sqlite(file: string, resource: string, fence: number, text: string): Promise<number> {
  const parameters = [
    `.parameter set :resource "'${resource}'"`, `.parameter set :fence ${fence}`, `.parameter set :text "'${text}'"`,
  ];
  const child = spawn('sqlite3', ['-bail', '-cmd', '.timeout 20000', file], { stdio: ['pipe', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stdin.end(`${parameters.join('\n')}\n${SQL}`);
  await once(child, 'close');
  return Number(output.trim());
}

test('SQL: a stale holder changes nothing, and is told the newest fence', async (t) => {
  if (!isInstalled('sqlite3', t.log)) return;
  const file = path.join(folder(t), 'fences.db');
  const report = (): string => spawnSync('sqlite3', [file, 'SELECT text FROM reports'], { encoding: 'utf8' }).stdout.trim();
  t.is(await sqlite(file, 'daily', 7, 'by a'), 7);
  t.is(await sqlite(file, 'daily', 9, 'by b'), 9);
  t.is(await sqlite(file, 'daily', 7, 'by a, too late'), 9);
  t.is(report(), 'by b');
  t.is(await sqlite(file, 'daily', 9, 'by b again'), 9);
  t.is(report(), 'by b again');
});

test('I32 SQL: of holders in processes of their own, in any order, the last one to write is the newest', async (t) => {
  if (!isInstalled('sqlite3', t.log)) return;
  const file = path.join(folder(t), 'fences.db');
  await sqlite(file, 'daily', 1, 'by 1');
  const fences = Array.from({ length: 12 }, (_, i) => 2 + ((i * 7) % 12));
  const newest = await Promise.all(fences.map((fence) => sqlite(file, 'daily', fence, `by ${fence}`)));
  t.true(newest.every((seen, i) => seen >= (fences[i] ?? Infinity)));
  t.is(spawnSync('sqlite3', [file, 'SELECT text FROM reports'], { encoding: 'utf8' }).stdout.trim(), 'by 13');
});

test('Redis: a stale holder changes nothing, and is told the newest fence', async (t) => {
  if (!isInstalled('redis-server', t.log)) return;
  const client = await redis(t);
  const write = (fence: number, text: string) => client.eval(LUA, 2, 'fence:daily', 'daily', fence, text);
  t.is(await write(7, 'by a'), 7);
  t.is(await write(9, 'by b'), 9);
  t.is(await write(7, 'by a, too late'), 9);
  t.is(await client.get('daily'), 'by b');
  t.is(await client.ttl('fence:daily'), -1, 'it is not forgotten');
  const high = Number.MAX_SAFE_INTEGER;
  t.is(await write(high, 'x'), high, 'to the last digit');
  t.is(await write(high - 1, 'y'), high);
});

test('I32 Redis: a guard with its fences there, in two processes\' place', async (t) => {
  if (!isInstalled('redis-server', t.log)) return;
  const client = await redis(t);
  const store = {
    raise: async (resource: string, fence: number) => Number(await client.eval(LUA, 1, `fence:${resource}`, fence)),
  };
  const guards = [new FenceGuard({ store }), new FenceGuard({ store })];
  const prng = new Prng(3);
  const admitted: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    const fence = 1 + Math.floor(i / 2) + prng.below(20);
    try {
      await guards[i % 2]?.admit('x', fence);
      admitted.push(fence);
    } catch (error) {
      t.true(error instanceof StaleFence);
    }
  }
  t.deepEqual(admitted, admitted.toSorted((a, b) => a - b));
  t.true(admitted.length > 10 && admitted.length < 200);
});
