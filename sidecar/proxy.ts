// The built-in reverse proxy, for where neither nginx nor HAProxy stands: HTTP and WebSocket, to a list of instances that
// can be replaced at any time. It changes nothing but what a proxy must; no caching, no TLS, no HTTP/2, no rewriting.
//
// An instance that leaves the list, or is there but not 'up', gets no new request and finishes those it has. With no
// instance left the answer is 503 with Retry-After, at once. Everything is bounded: PROXY_LIMITS.

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import type { Duplex } from 'node:stream';

import { systemClock } from '../core/base/clock.js';
import type { Clock } from '../core/base/clock.js';
import { Prng } from '../core/base/prng.js';

import { Balancer } from './proxy-balancer.js';
import type { Backend, Seat } from './proxy-balancer.js';
import { REFUSALS, refuseSocket, UpgradeExchange, WebExchange } from './proxy-exchange.js';
import type { Carrier, Refusal } from './proxy-exchange.js';
import { closeIdle, closeLink, createForwarder, openLink } from './proxy-forward.js';
import type { Forwarder, Link } from './proxy-forward.js';
import type { Peer } from './proxy-headers.js';
import { createTargets, isInside, toBlockList } from './proxy-targets.js';
import type { TargetPolicy, Targets } from './proxy-targets.js';

export const PROXY_LIMITS = {
  /** Client connections; further ones are closed at once. */
  connectionsMax: 20_000,
  /** Requests and WebSockets in flight; further ones get 503. */
  exchangesMax: 10_000,
  inFlightPerInstance: 1_024,
  idleConnectionsPerInstance: 64,
  /** Instances one request is tried on. */
  attemptsMax: 3,
  connectMs: 2_000,
  /** Silence of an instance that has the request. */
  answerMs: 60_000,
  /** An idle connection to an instance is kept this long: less than the 5 s after which a Node server closes it. */
  instanceIdleMs: 4_000,
  /** A client's time for its head, and for the whole request. */
  headMs: 15_000,
  requestMs: 300_000,
  /** Silence of a client's connection in the middle of a request, and between two of them. */
  clientSilenceMs: 120_000,
  clientIdleMs: 75_000,
  /** How long a body that nobody wants is still read after its answer. */
  lingerMs: 1_000,
  headBytes: 16 * 1024,
  retryAfterSeconds: 1,
} as const;

export type ProxyLimits = { readonly [name in keyof typeof PROXY_LIMITS]: number };

export type ProxyEvent =
  | { readonly kind: 'instance_added' | 'instance_closed' | 'instance_removed'; readonly id: string; readonly at: string }
  /** It takes no new requests, and the last one in flight has ended. */
  | { readonly kind: 'instance_quiet'; readonly id: string; readonly at: string }
  /** Not put on the list: the target policy forbids its address. */
  | { readonly kind: 'instance_refused'; readonly id: string; readonly at: string; readonly reason: string }
  /** Left out for `forMs` after a failed connect. */
  | {
      readonly kind: 'instance_ejected';
      readonly id: string;
      readonly at: string;
      readonly forMs: number;
      readonly error: string;
    }
  | { readonly kind: 'request_retried'; readonly id: string; readonly error: string }
  | { readonly kind: 'request_refused'; readonly refusal: Refusal; readonly detail: string };

export interface ProxyOptions {
  /** Named in messages. */
  readonly service?: string;
  readonly targets?: TargetPolicy;
  /** Networks (CIDR) whose X-Forwarded-* headers are believed. None by default. */
  readonly trustedProxies?: readonly string[];
  readonly limits?: Partial<ProxyLimits>;
  readonly observe?: (event: ProxyEvent) => void;
  readonly clock?: Clock;
  /** Uniform in [0, 1); only balances, so a seeded default will do. */
  readonly random?: () => number;
  readonly forwarder?: Forwarder;
}

export interface ProxyStats {
  /** Since the start. WebSockets count once. */
  readonly requests: number;
  readonly retried: number;
  readonly refused: Readonly<Record<Refusal, number>>;
  readonly inFlight: number;
  readonly connections: number;
  readonly instances: readonly InstanceStats[];
}

export interface InstanceStats {
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly open: boolean;
  readonly inFlight: number;
  readonly picked: number;
  /** 0: not ejected. */
  readonly ejectedForMs: number;
}

export interface Proxy {
  /** Replaces the list. Takes effect with the next request; the registry's instances can be given as they are. */
  update(instances: readonly Backend[]): void;
  /** Rejects when the address cannot be had. Port 0: any free one. */
  listen(options: { readonly port: number; readonly host?: string }): Promise<{ readonly host: string; readonly port: number }>;
  stats(): ProxyStats;
  /** Takes no new connections, lets what is in flight end, and cuts what is left after `graceMs`. */
  drain(graceMs: number): Promise<void>;
  /** At once. */
  close(): Promise<void>;
}

export function createProxy(options: ProxyOptions = {}): Proxy {
  return new ReverseProxy(options);
}

class ReverseProxy implements Proxy {
  readonly #clock: Clock;
  readonly #limits: ProxyLimits;
  readonly #targets: Targets;
  readonly #trusted: BlockList;
  readonly #observe: (event: ProxyEvent) => void;
  readonly #balancer: Balancer;
  readonly #carrier: Carrier;
  readonly #server: Server;
  readonly #links = new Map<Seat, Link>();
  /** Client sockets that Node's server has handed over; it neither counts nor closes them any more. */
  readonly #upgraded = new Set<Duplex>();
  readonly #refused = Object.fromEntries(Object.keys(REFUSALS).map((name) => [name, 0])) as Record<Refusal, number>;
  readonly #condemned = new WeakSet<Duplex>();
  #refusedBackends: ReadonlySet<string> = new Set();
  /** Seats whose silence has been reported. */
  readonly #quiet = new WeakSet<Seat>();
  #requests = 0;
  #retried = 0;
  #exchanges = 0;
  #connections = 0;
  #draining = false;
  /** Called when an exchange has ended: how `drain` and `close` wait. */
  #onIdle: () => void = () => undefined;

  constructor(options: ProxyOptions) {
    const seeded = new Prng(1);
    this.#clock = options.clock ?? systemClock;
    this.#limits = { ...PROXY_LIMITS, ...options.limits };
    this.#targets = createTargets(options.targets);
    this.#trusted = toBlockList(options.trustedProxies ?? []);
    this.#observe = options.observe ?? ((): void => undefined);
    this.#balancer = new Balancer({
      clock: this.#clock,
      random: options.random ?? ((): number => seeded.u32() / 2 ** 32),
      inFlightMax: this.#limits.inFlightPerInstance,
    });
    this.#carrier = this.#createCarrier(options);
    this.#server = this.#createServer();
  }

  update(instances: readonly Backend[]): void {
    const allowed = this.#allowed(instances);
    const { added, closed, removed } = this.#balancer.update(allowed);
    for (const seat of added) this.#observe({ kind: 'instance_added', id: seat.id, at: at(seat) });
    for (const seat of closed) this.#observe({ kind: 'instance_closed', id: seat.id, at: at(seat) });
    for (const seat of removed) this.#observe({ kind: 'instance_removed', id: seat.id, at: at(seat) });
    for (const seat of new Set([...closed, ...removed])) this.#onLeaving(seat);
    for (const seat of this.#balancer.seats()) if (seat.open) this.#quiet.delete(seat);
  }

  listen({ port, host = '127.0.0.1' }: { port: number; host?: string }): Promise<{ host: string; port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ port, host }, () => {
        this.#server.off('error', reject);
        const address = this.#server.address();
        if (address === null || typeof address === 'string') return reject(new Error('the server has no port'));
        resolve({ host: address.address, port: address.port });
      });
    });
  }

  stats(): ProxyStats {
    const now = this.#clock.now();
    const instances = this.#balancer.seats().map((seat) => ({
      id: seat.id, address: seat.address, port: seat.port, weight: seat.weight, open: seat.open, inFlight: seat.inFlight,
      picked: seat.picked, ejectedForMs: Math.max(0, seat.ejectedUntilMs - now),
    }));
    return {
      requests: this.#requests, retried: this.#retried, refused: { ...this.#refused }, inFlight: this.#exchanges,
      connections: this.#connections, instances,
    };
  }

  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    const closed = this.#stopListening();
    this.#server.closeIdleConnections();
    let cancel: () => void = () => undefined;
    const graceOver = new Promise<void>((resolve) => (cancel = this.#clock.schedule(graceMs, resolve)));
    await Promise.race([this.#idle(), graceOver]);
    cancel();
    this.#cut();
    await Promise.all([closed, this.#idle()]);
  }

  async close(): Promise<void> {
    this.#draining = true;
    const closed = this.#stopListening();
    this.#cut();
    await Promise.all([closed, this.#idle()]);
  }

  /** Resolves when nothing is in flight. */
  #idle(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#onIdle;
      this.#onIdle = (): void => {
        before();
        if (this.#exchanges === 0) resolve();
      };
      this.#onIdle();
    });
  }

  #stopListening(): Promise<void> {
    if (!this.#server.listening) return Promise.resolve();
    return new Promise((resolve) => void this.#server.close(() => resolve()));
  }

  #cut(): void {
    this.#server.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    for (const link of this.#links.values()) closeLink(link);
  }

  #createServer(): Server {
    const limits = this.#limits;
    const server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize: limits.headBytes,
      headersTimeout: limits.headMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.clientIdleMs,
      noDelay: true,
    });
    server.maxConnections = limits.connectionsMax;
    server.timeout = limits.clientSilenceMs;
    server.on('connection', (socket) => {
      this.#connections += 1;
      socket.once('close', () => (this.#connections -= 1));
    });
    server.on('request', (request, response) => this.#onRequest(request, response));
    server.on('upgrade', (request, client, head) => this.#onUpgrade(request, client, head));
    return server;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // Pipelined behind a request that could be read in two ways: perhaps a part of that one's body.
    if (this.#condemned.has(socket)) return;
    this.#requests += 1;
    this.#exchanges += 1;
    const exchange = new WebExchange(this.#carrier, request, response);
    let ended = false;
    const onClosed = (): void => {
      if (ended) return; // A listener that is removed while its event is being told still hears it.
      ended = true;
      response.off('close', onClosed);
      socket.off('close', onClosed);
      exchange.end();
      this.#onExchangeEnded();
    };
    response.once('close', onClosed);
    // The response to a pipelined request has no connection until it is its turn, and is never closed when that is lost before.
    socket.once('close', onClosed);
    if (this.#exchanges > this.#limits.exchangesMax) exchange.refuse('overloaded', 'the proxy is busy');
    else exchange.start();
  }

  #onUpgrade(request: IncomingMessage, client: Duplex, head: Buffer): void {
    // First of all: a reset of this socket without a listener ends the process.
    client.on('error', () => client.destroy());
    this.#requests += 1;
    this.#exchanges += 1;
    this.#upgraded.add(client);
    client.once('close', () => {
      this.#upgraded.delete(client);
      this.#onExchangeEnded();
    });
    if (this.#exchanges > this.#limits.exchangesMax) {
      this.#carrier.onRefusal('overloaded', 'the proxy is busy');
      return refuseSocket(client, 'overloaded', 'the proxy is busy', this.#limits.retryAfterSeconds);
    }
    new UpgradeExchange(this.#carrier, request, client, head).start();
  }

  #onExchangeEnded(): void {
    this.#exchanges -= 1;
    this.#onIdle();
  }

  #createCarrier(options: ProxyOptions): Carrier {
    const balancer = this.#balancer;
    return {
      clock: this.#clock,
      limits: this.#limits,
      balancer,
      forwarder: options.forwarder ?? createForwarder(),
      what: options.service === undefined ? 'instance' : `instance of ${options.service}`,
      link: (seat) => this.#link(seat),
      peerOf: (request) => this.#peerOf(request),
      isDraining: () => this.#draining,
      onRetry: (seat, error) => {
        this.#retried += 1;
        this.#observe({ kind: 'request_retried', id: seat.id, error: error.message });
      },
      onConnectFailed: (seat, error) => {
        const forMs = balancer.failed(seat);
        if (forMs > 0) this.#observe({ kind: 'instance_ejected', id: seat.id, at: at(seat), forMs, error: error.message });
      },
      onRefusal: (refusal, detail) => {
        this.#refused[refusal] += 1;
        this.#observe({ kind: 'request_refused', refusal, detail });
      },
      condemn: (socket) => this.#condemned.add(socket),
      onReleased: (seat) => {
        if (!seat.open) this.#onLeaving(seat);
      },
    };
  }

  #link(seat: Seat): Link {
    const known = this.#links.get(seat);
    if (known !== undefined) return known;
    const link = openLink({
      host: seat.address,
      port: seat.port,
      lookup: this.#targets.lookup,
      // Twice: a connection whose answer is out may take a moment to become free.
      connectionsMax: 2 * this.#limits.inFlightPerInstance,
      idleConnectionsMax: this.#limits.idleConnectionsPerInstance,
      idleMs: this.#limits.instanceIdleMs,
    });
    this.#links.set(seat, link);
    return link;
  }

  /** For a seat that takes no new requests: at its leaving, and each time one in flight has ended. */
  #onLeaving(seat: Seat): void {
    const link = this.#links.get(seat);
    if (link !== undefined) closeIdle(link);
    if (seat.inFlight > 0) return;
    if (!this.#quiet.has(seat)) this.#observe({ kind: 'instance_quiet', id: seat.id, at: at(seat) });
    this.#quiet.add(seat);
    // The last connection becomes free in the turn after its response is closed.
    if (link !== undefined) this.#clock.schedule(0, () => (seat.inFlight === 0 && !seat.open ? closeLink(link) : undefined));
    if (seat.gone) this.#links.delete(seat);
  }

  #allowed(instances: readonly Backend[]): readonly Backend[] {
    const refused = new Map<string, ProxyEvent>();
    const allowed = instances.filter((instance) => {
      const reason = this.#targets.refuse(instance.address, instance.port);
      const event = { kind: 'instance_refused', id: instance.id, at: at(instance), reason: reason ?? '' } as const;
      if (reason !== null) refused.set(`${event.id}\n${event.at}`, event);
      return reason === null;
    });
    for (const [name, event] of refused) if (!this.#refusedBackends.has(name)) this.#observe(event);
    this.#refusedBackends = new Set(refused.keys());
    return allowed;
  }

  #peerOf(request: IncomingMessage): Peer {
    const { socket } = request;
    const address = (socket.remoteAddress ?? 'unknown').replace(/^::ffff:(?=\d+\.)/, '');
    return { address, secure: false, port: socket.localPort ?? 0, trusted: isInside(this.#trusted, address) };
  }
}

function at(place: { readonly address: string; readonly port: number }): string {
  return place.address.includes(':') ? `[${place.address}]:${place.port}` : `${place.address}:${place.port}`;
}
