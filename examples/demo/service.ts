// A service: one process that answers HTTP and keeps itself registered. Started by the demo with its id and the store's URL;
// told what to do over the channel to its parent, and gone when that channel is. What it does at the end is what a service
// should: say that it drains, serve on until nobody asks any more, then leave.

import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { connect } from '../../core/index.js';
import { register } from '../../recipes/index.js';

export const SERVICE = 'web';
/** A crashed one is out of the registry after at most this long (and out of the traffic at once). */
export const TTL_SECONDS = 3;
/** How long a draining instance stays for balancers that have not heard yet. */
export const DRAIN_GRACE_MS = 1_500;
const WORK_MS = { least: 4, most: 34 };

export type ServiceMessage =
  | { readonly kind: 'up'; readonly port: number }
  /** Since it asked to be registered. */
  | { readonly kind: 'first_request'; readonly afterMs: number }
  /** The last request it saw, since it was asked to drain. */
  | { readonly kind: 'quiet'; readonly afterMs: number };
export type ServiceOrder = 'drain' | 'stop';

async function main(id: string, storeUrl: string): Promise<void> {
  const tell = (message: ServiceMessage): void => void process.send?.(message);
  process.once('disconnect', () => process.exit());
  let registeringAt = 0;
  let requests = 0;
  let lastRequestAt = 0;
  const server = http.createServer((request, response) => {
    lastRequestAt = Date.now();
    requests += 1;
    if (requests === 1) tell({ kind: 'first_request', afterMs: lastRequestAt - registeringAt });
    request.resume();
    const workMs = WORK_MS.least + Math.random() * (WORK_MS.most - WORK_MS.least);
    setTimeout(() => response.writeHead(200, { 'x-served-by': id }).end(`hello from ${id}\n`), workMs);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  const client = connect(storeUrl);
  registeringAt = Date.now();
  const registration = await register(client, { service: SERVICE, id, address: '127.0.0.1', port }, { ttlSeconds: TTL_SECONDS });
  tell({ kind: 'up', port });

  const order = await new Promise<ServiceOrder>((resolve) => {
    process.once('message', (message) => resolve(message as ServiceOrder));
  });
  if (order === 'drain') {
    const askedAt = Date.now();
    await registration.drain({ graceMs: DRAIN_GRACE_MS });
    tell({ kind: 'quiet', afterMs: Math.max(0, lastRequestAt - askedAt) });
  } else {
    await registration.close();
  }
  const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
  server.closeIdleConnections();
  await Promise.race([closed, sleep(1_000)]);
  await client.close();
  process.exit();
}

const [id, storeUrl] = process.argv.slice(2);
if (process.send !== undefined && id !== undefined && storeUrl !== undefined) await main(id, storeUrl);
