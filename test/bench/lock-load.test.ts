// The load of locks, against a server that keeps its promises and against some that do not.

import { createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { startNode } from '../../core/start-node.js';
import { serve } from '../serving.js';
import { numberIn } from './lease-load.js';
import { lockLoad } from './lock-load.js';
import { bytesField, framed, numberField } from './messages.js';

const small = { waiters: 20, connections: 3, warmUpSeconds: 0.1, seconds: 1 };

test('the lock goes from one to the next, and as many as were asked for always wait', async (t) => {
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  try {
    const marks: number[] = [];
    const figures = await lockLoad({ url: server.urls[0] ?? '', ...small }, () => marks.push(performance.now()));
    t.is(marks.length, 2);
    const [from = NaN, to = NaN] = marks;
    t.true(to - from >= 990);
    t.true(figures.handOvers > 0 && figures.perSecond > 0);
    t.true(figures.p50Ms > 0 && figures.p50Ms <= figures.p99Ms);
  } finally {
    await server.close();
    await node.close();
  }
});

/** Grants leases, says that everybody stands in line, and answers Lock and Unlock as `lock` does: null is a refusal. */
async function against(lock: (method: string) => Buffer | null, use: (url: string) => Promise<void>): Promise<void> {
  let leases = 0;
  const answerTo = (path: string, request: Buffer): Buffer | null => {
    switch (path) {
      case '/etcdserverpb.Lease/LeaseGrant':
        leases += 1;
        return numberField(2, numberIn(request, 0, request.length, 2));
      case '/etcdserverpb.Lease/LeaseLeases':
        return Buffer.concat(Array.from({ length: leases }, (_, i) => bytesField(2, numberField(1, i + 1))));
      case '/etcdserverpb.KV/Range':
        return numberField(4, leases);
      default:
        return lock(path.slice(path.lastIndexOf('/') + 1));
    }
  };
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const parts: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => parts.push(bytes));
    stream.on('end', () => {
      const answer = answerTo(String(headers[':path']), Buffer.concat(parts).subarray(5));
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.end(answer === null ? undefined : framed(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.close();
  }
}

test('a server that gives one lock to two, a key that is not of its line, or nothing, is found out', async (t) => {
  const answers = new Map([
    ['lock-load/1', /hold one lock/], ['somewhere/1', /caller \d+ holds 'somewhere\/1'/],
  ]);
  for (const [key, message] of answers) {
    await against(() => bytesField(2, key), async (url) => {
      await t.throwsAsync(lockLoad({ url, ...small }, () => undefined), { message });
    });
  }
  await against(() => null, async (url) => {
    await t.throwsAsync(lockLoad({ url, ...small }, () => undefined), { message: /did not get the lock/ });
  });
});
