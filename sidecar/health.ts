// Door: the sidecar's own small HTTP server, for orchestrators and people. /healthz: this process answers. /readyz: every
// group runs what the registry says, and the registry is known to be current. /status: all of it as JSON.

import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SidecarStatus } from './events.js';

const CONNECTIONS_MAX = 64;
const REQUEST_MS = 5_000;

export interface Health {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** `listen` is `host:port`; port 0 takes a free one. Rejects when the address cannot be had. */
export async function serveHealth(listen: string, status: () => SidecarStatus): Promise<Health> {
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon).replace(/^\[|\]$/g, '');
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    const [code, type, body] = answer(request.url ?? '/', status());
    response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store' }).end(`${body}\n`);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listening(server, Number(listen.slice(colon + 1)), host === '' ? '127.0.0.1' : host, listen);
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function answer(url: string, status: SidecarStatus): readonly [number, string, string] {
  const path = url.split('?')[0];
  if (path === '/healthz' || path === '/livez') return [200, 'text/plain', 'ok'];
  if (path === '/readyz') {
    const red = status.groups.filter((group) => !group.ready).map((group) => `${group.name}: ${group.reason}`);
    if (status.ready) return [200, 'text/plain', 'ok'];
    return [503, 'text/plain', red.length === 0 ? 'starting' : red.join('\n')];
  }
  if (path === '/status') return [200, 'application/json', JSON.stringify(status, null, 2)];
  return [404, 'text/plain', 'there are /healthz, /readyz and /status'];
}

function cannot(listen: string): string {
  return `cannot serve the status at ${listen}; choose another address with --status-listen or the key status`;
}

function listening(server: Server, port: number, host: string, listen: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(new Error(`${cannot(listen)}: ${cause.message}`, { cause })));
    server.listen(port, host, resolve);
  });
}
