// What the proxy's tests stand on: instances that remember what reached them, a proxy in front, and clients of all manners.

import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import type { ExecutionContext } from 'ava';

import { createProxy } from '../../sidecar/proxy.js';
import type { Proxy, ProxyEvent, ProxyOptions } from '../../sidecar/proxy.js';
import type { Backend } from '../../sidecar/proxy-balancer.js';

export const LOOPBACK = { networks: ['127.0.0.0/8'] };

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  body: string;
}

export interface Instance extends Backend {
  readonly server: http.Server;
  readonly seen: Seen[];
  /** Connections open now. */
  readonly sockets: Set<net.Socket>;
  /** Requests that were broken off before they were answered. */
  aborted: number;
}

/** An instance on a free port; answers 200 with its id unless `handle` does otherwise. */
export async function startInstance(t: ExecutionContext, id: string, handle?: http.RequestListener): Promise<Instance> {
  const server = http.createServer();
  const port = await listen(server);
  const instance: Instance = { id, address: '127.0.0.1', port, server, seen: [], sockets: new Set(), aborted: 0 };
  server.on('connection', (socket) => {
    instance.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => instance.sockets.delete(socket));
  });
  server.on('request', (request, response) => {
    const seen: Seen = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: '' };
    instance.seen.push(seen);
    response.once('close', () => (instance.aborted += response.writableFinished ? 0 : 1));
    request.on('error', () => undefined);
    request.on('data', (chunk: Buffer) => (seen.body += chunk.toString('latin1')));
    if (handle !== undefined) return handle(request, response);
    request.once('end', () => response.end(id));
  });
  t.teardown(() => stopInstance(instance));
  return instance;
}

export async function stopInstance(instance: Instance): Promise<void> {
  if (!instance.server.listening) return;
  const closed = once(instance.server, 'close');
  instance.server.close();
  for (const socket of instance.sockets) socket.destroy();
  await closed;
}

export interface Front {
  readonly proxy: Proxy;
  readonly port: number;
  readonly events: ProxyEvent[];
}

export async function startProxy(t: ExecutionContext, instances: readonly Backend[], options: ProxyOptions = {}): Promise<Front> {
  const events: ProxyEvent[] = [];
  const proxy = createProxy({ service: 'api', targets: LOOPBACK, observe: (event) => events.push(event), ...options });
  proxy.update(instances);
  const { port } = await proxy.listen({ port: 0 });
  t.teardown(() => proxy.close());
  return { proxy, port, events };
}

/** A port on which nobody listens. */
export async function deadPort(): Promise<number> {
  const server = net.createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  return port;
}

export async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface Ask extends http.RequestOptions {
  readonly body?: string;
  /** Sent in pieces, without Content-Length. */
  readonly chunks?: readonly string[];
}

export function ask(port: number, { body, chunks, ...options }: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, agent: false, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    request.once('error', reject);
    for (const chunk of chunks ?? []) request.write(chunk);
    request.end(body);
  });
}

/** Sends bytes as they stand and gives back everything that came until the other side closed, or has said its part. */
export async function raw(port: number, bytes: string, silenceMs = 1_000): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => {
    text += chunk;
    socket.setTimeout(silenceMs);
  });
  socket.on('error', () => undefined);
  socket.write(bytes, 'latin1');
  // A busy machine may be slow to begin.
  socket.setTimeout(10_000, () => socket.destroy());
  await once(socket, 'close');
  return text;
}

export const UPGRADE = [
  'GET /socket HTTP/1.1', 'Host: a', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', '', '',
].join('\r\n');

/** Makes an instance join in an upgrade; what comes over it is sent back. */
export function echoUpgrades(instance: Instance): void {
  instance.server.on('upgrade', (request, socket) => {
    instance.seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: '' });
    socket.on('error', () => socket.destroy());
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.pipe(socket);
  });
}

/** A socket on which the proxy has answered 101. */
export async function upgrade(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  socket.write(UPGRADE);
  const head = await firstData(socket);
  if (!head.startsWith('HTTP/1.1 101')) throw new Error(`no upgrade: ${head}`);
  return socket;
}

export async function firstData(socket: net.Socket): Promise<string> {
  const chunk = await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => [''])]);
  return String(chunk[0]);
}

/** Waits, within reason, for something to become true. */
export async function until(claim: () => boolean, what: string, withinMs = 60_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!claim()) {
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(5);
  }
}

/** Open sockets of this process, listening ones not counted. */
export function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap' || name === 'TCPConnectWrap').length;
}
