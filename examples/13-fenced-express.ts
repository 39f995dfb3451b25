// A lock before something outside the store, a service that keeps reports: each request carries its holder's fence, and who
// has been succeeded is refused, whatever he believes. fences/fence.sql and fences/fence.lua do the same inside a database.
//
// Prints:
//   a writes: 200 by a
//   a stands still; b holds the lock now
//   b writes: 200 by b
//   a wakes up and writes: 412 stale_fence
//   somebody without a fence writes: 428 fence_required
//   the report: by b

import { once } from 'node:events';
import express from 'express';
import type { AddressInfo } from 'node:net';
import { startNode } from '../core/index.js';
import { FenceGuard, fenced, lock, Session } from '../recipes/index.js';

const reports = new Map<string, string>();
const guard = new FenceGuard();
const app = express();
app.put('/reports/:name', fenced(guard, { resource: 'reports' }), express.text(), (request, response) => {
  const text = String(request.body);
  reports.set(request.params.name ?? '', text);
  response.json({ saved: text });
});
const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/reports/daily`;

const node = await startNode({ dataDir: null });
const a = await Session.open(node.client, { ttlSeconds: 10, name: 'a' });
const b = await Session.open(node.client, { ttlSeconds: 10, name: 'b' });

const first = await lock(a, 'reports');
say(`a writes: ${await write(first.fence, 'by a')}`);

// What a long pause does to a holder: its lease ends, and it has not heard of that yet.
await node.client.revoke(a.lease);
const second = await lock(b, 'reports');
say('a stands still; b holds the lock now');
say(`b writes: ${await write(second.fence, 'by b')}`);
say(`a wakes up and writes: ${await write(first.fence, 'by a, too late')}`);
say(`somebody without a fence writes: ${await write(null, 'by nobody')}`);
say(`the report: ${reports.get('daily')}`);

await Promise.all([a.close(), b.close()]);
await node.close();
server.closeAllConnections();
server.close();

async function write(fence: number | null, text: string): Promise<string> {
  const headers = { 'content-type': 'text/plain', ...(fence === null ? {} : { fence: String(fence) }) };
  const response = await fetch(url, { method: 'PUT', headers, body: text });
  const body = await response.json() as { saved?: string; error?: string };
  return `${response.status} ${body.saved ?? body.error}`;
}

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}
