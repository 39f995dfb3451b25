// One port for gRPC and HTTP/1 (contract 1.1): the first bytes of a connection say which it is. HTTP/2 opens with `PRI`,
// which no HTTP/1 method begins with. With https they are the first within TLS: ALPN offers both, and what is then spoken
// decides. `serve` makes an etcd endpoint of any client and is the inverse of `connect`.
//
// Ending is in two steps: `drain` stops accepting, tells streams, lets calls finish and cuts off what is left when the
// grace is over; `close` cuts off at once.

import { createServer as createHttpServer, type RequestListener, type Server as HttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { calendarMs, systemClock, type Clock } from '../base/clock.js';
import { Tally } from '../base/tally.js';
import { TlsGate } from '../base/tls-gate.js';
import { JudgedTls, type TlsTerms } from '../base/tls-terms.js';
import type { Backend } from '../client.js';
import { coterieVersion, etcdClusterVersion, etcdVersion } from '../version.js';
import { mayNeedRepair, OPENING_BYTES, repairAuthority } from './authority.js';
import { ANY_SITE, type CrossSiteRules } from './cross-site.js';
import { GrpcServer, type ConnectionLimits } from './grpc-server.js';
import { HttpDoor } from './http1/door.js';
import type { ServeHttp } from './http2/plain-stream.js';
import { Http2Server } from './http2/server.js';
import type { HealthCheck } from './health.js';
import type { MetricsText } from './health-routes.js';
import { httpGateway, type HttpGateway } from './http-gateway.js';
import {
  CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, HANDSHAKE_MS, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, HTTP_BODY_MS,
  HTTP_HEADERS_MS, HTTP_IDLE_MS, REPORT_MS, REPORTED_MAX, REQUEST_BYTES_MAX, SNIFF_MS, UNSENT_BYTES_MAX,
} from './limits.js';
import { methods } from './methods.js';
import { SidePort } from './side-port.js';
import { NamedCallers } from './named-callers.js';
import { UnsentAnswers } from './unsent.js';
import { mayOpenWebSocket, opensWebSocket, WebSocketDoor } from './websocket.js';
import type { ObserveWire } from './wire-events.js';

export interface ServeOptions {
  /** Such as `http://127.0.0.1:2379`; port 0 picks a free one. https needs `tls`. Default: loopback, 2379. */
  readonly urls?: readonly string[];
  /** For HTTP alone; then there is none at `urls` (etcd 3.5: --listen-client-http-urls). Default: none. */
  readonly httpUrls?: readonly string[];
  /** For health and metrics alone (etcd: --listen-metrics-urls). Default: none. */
  readonly sideUrls?: readonly string[];
  /** Answers what begins with /debug at `sideUrls`. Default: nobody. */
  readonly debug?: RequestListener;
  /** Default: whoever asks. */
  readonly crossSite?: CrossSiteRules;
  /** False: HTTP has no API, only health, version and metrics. Default true. */
  readonly servesGateway?: boolean;
  readonly connection?: ConnectionLimits;
  /** For https. With `requireClientCert: true` the CommonName of a gRPC caller's certificate names a user. */
  readonly tls?: TlsTerms;
  /** Which of the two gRPC servers. Default: our own. */
  readonly grpcServer?: 'own' | 'grpc-js';
  /** etcd: --max-request-bytes. */
  readonly requestBytesMax?: number;
  /** Connections from one address; more are closed at once. Default 10,000. */
  readonly connectionsPerAddressMax?: number;
  /** Large answers not taken by their readers, in total; beyond, streams are cut off. Default 512 MiB. */
  readonly unsentBytesMax?: number;
  /** How long the body of an HTTP request may take, other than a stream's. Default 60,000. */
  readonly bodyMs?: number;
  /** etcd: --max-txn-ops. */
  readonly txnOpsMax?: number;
  /** What /version says; etcd's clients read it. */
  readonly version?: { readonly etcdserver: string; readonly etcdcluster: string };
  /** Checks of /readyz beyond the server's own. */
  readonly checks?: readonly HealthCheck[];
  /** The body of /metrics; absent: the path is not served. */
  readonly metrics?: () => Promise<MetricsText>;
  readonly observe?: ObserveWire;
  readonly clock?: Clock;
}

export interface WireServer {
  /** Where it listens, with actual ports, in the order asked for. */
  readonly urls: readonly string[];
  readonly httpUrls: readonly string[];
  readonly sideUrls: readonly string[];
  /**
   * New certificates, authorities or revocation lists: the next connection meets them, and who is connected by a certificate
   * that is no longer believed is cut off. Throws a `TlsFault`, and keeps the old, when they cannot be used.
   */
  renewTls(tls: TlsTerms): void;
  /** Resolves when nothing is open any more: at most `graceMs` later. Idempotent. */
  drain(graceMs: number): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Listens on all urls, or on none and rejects with what to do about it. */
export async function serve(backend: Backend, options: ServeOptions = {}): Promise<WireServer> {
  const port = new Port(backend, options);
  try {
    await port.listen(options);
  } catch (error) {
    await port.close();
    throw error;
  }
  return port;
}

class Port implements WireServer {
  readonly #clock: Clock;
  readonly #observe: ObserveWire;
  readonly #grpc: GrpcServer | Http2Server;
  readonly #gateway: HttpGateway;
  /** Ahead of the one below, for what both serve; null: none, because who calls is to be looked at first. */
  readonly #httpDoor: HttpDoor | null;
  readonly #http: HttpServer;
  /** Those of it that have begun and have not all been taken. */
  #answers = 0;
  readonly #webSockets: WebSocketDoor;
  readonly #side: SidePort;
  readonly #listeners: Server[] = [];
  readonly #sideListeners: Server[] = [];
  readonly #gate: TlsGate | null;
  /** Null: certificates name nobody. */
  readonly #named: NamedCallers | null;
  readonly #refusals: Tally;
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();
  readonly #perAddressMax: number;
  /** Connections that have not yet shown what they speak. */
  readonly #unknown = new Set<Socket>();
  #urls: Readonly<Record<keyof typeof SPEAKS, string[]>> = { urls: [], httpUrls: [], sideUrls: [] };
  #draining: Promise<void> | null = null;
  #onEmpty: () => void = () => undefined;

  constructor(backend: Backend, options: ServeOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#observe = options.observe ?? (() => undefined);
    this.#perAddressMax = options.connectionsPerAddressMax ?? CONNECTIONS_PER_ADDRESS_MAX;
    const isServing = (): boolean => this.#draining === null;
    const table = methods(backend, { clock: this.#clock, txnOpsMax: options.txnOpsMax ?? 128, isServing });
    const requestBytesMax = options.requestBytesMax ?? REQUEST_BYTES_MAX;
    this.#refusals = new Tally(this.#clock, { intervalMs: REPORT_MS, kindsMax: REPORTED_MAX });
    this.#gate = options.tls === undefined ? null : this.#makeGate(options.tls);
    const named = options.tls?.requireClientCert === true ? new NamedCallers() : null;
    this.#named = named;
    const nameOf = named === null ? null : (peer: string) => named.nameOf(peer);
    const unsent = new UnsentAnswers(options.unsentBytesMax ?? UNSENT_BYTES_MAX, (address) => {
      const count = this.#refusals.add(`${address} unread`);
      if (count > 0) this.#observe({ kind: 'answer_unread', address, count });
    });
    this.#grpc = new (options.grpcServer === 'grpc-js' ? GrpcServer : Http2Server)(table, {
      unsent, requestBytesMax, observe: this.#observe, clock: this.#clock, version: coterieVersion, nameOf,
      ...(options.connection === undefined ? {} : { connection: options.connection }),
    });
    const serving: HealthCheck = {
      name: 'serving',
      run: () => Promise.resolve(this.#draining === null ? null : 'the server is shutting down'),
    };
    const watched = {
      checks: [serving, ...(options.checks ?? [])],
      metrics: options.metrics ?? null,
      observe: this.#observe, clock: this.#clock,
    };
    this.#side = new SidePort(backend, { ...watched, debug: options.debug ?? null });
    this.#gateway = httpGateway(backend, table, {
      ...watched,
      unsent,
      requestBytesMax,
      crossSite: options.crossSite ?? ANY_SITE,
      servesApi: options.servesGateway ?? true,
      bodyMs: options.bodyMs ?? HTTP_BODY_MS,
      version: options.version ?? { etcdserver: etcdVersion, etcdcluster: etcdClusterVersion },
    });
    this.#observe({ kind: 'serving', methods: [...table.values()] });
    // A stream's request may last as long as its answer, so only the headers are timed.
    const limits = { headersTimeout: HTTP_HEADERS_MS, requestTimeout: 0, keepAliveTimeout: HTTP_IDLE_MS };
    this.#http = createHttpServer(limits, inTurn((request, response) => {
      this.#answers += 1;
      response.once('close', () => (this.#answers -= 1));
      if (this.#draining !== null) response.setHeader('Connection', 'close');
      if (named === null) return this.#gateway.app(request, response);
      const serveIt = (): void => this.#gateway.app(request, response);
      // Should it not be known whether there are users: a caller of the gateway has no name in any case.
      named.refuse(request, response, backend).then((isRefused) => (isRefused ? undefined : serveIt()), serveIt);
    }));
    this.#httpDoor = named !== null ? null : new HttpDoor({
      unsent, observe: this.#observe, clock: this.#clock, crossSite: options.crossSite ?? ANY_SITE,
      routeAt: (path) => this.#gateway.routeAt(path),
      handOver: (socket) => this.#http.emit('connection', socket),
    });
    this.#webSockets = new WebSocketDoor({
      unsent,
      gateway: this.#gateway,
      requestBytesMax,
      crossSite: options.crossSite ?? ANY_SITE,
      clock: this.#clock,
      observe: this.#observe,
      limits,
      refuse: async (request, response) => named !== null && (await named.refuse(request, response, backend)),
      otherwise: (request, response) => this.#http.emit('request', request, response),
    });
    // This server never listens itself; without the event it would not time out slow headers nor know idle connections.
    this.#http.emit('listening');
  }

  get urls(): readonly string[] {
    return this.#urls.urls;
  }

  get httpUrls(): readonly string[] {
    return this.#urls.httpUrls;
  }

  get sideUrls(): readonly string[] {
    return this.#urls.sideUrls;
  }

  async listen({ urls = ['http://127.0.0.1:2379'], httpUrls = [], sideUrls = [] }: ServeOptions): Promise<void> {
    const speaks = httpUrls.length === 0 ? 'any' : SPEAKS.urls;
    for (const url of urls) this.#urls.urls.push(await this.#listenOn(url, speaks));
    for (const url of httpUrls) this.#urls.httpUrls.push(await this.#listenOn(url, SPEAKS.httpUrls));
    for (const url of sideUrls) this.#urls.sideUrls.push(await this.#listenOn(url, SPEAKS.sideUrls));
  }

  #makeGate(tls: TlsTerms): TlsGate {
    return new TlsGate(new JudgedTls(tls, calendarMs()), {
      clock: this.#clock,
      handshakeMs: HANDSHAKE_MS,
      handshakesMax: HANDSHAKES_MAX,
      perAddressMax: HANDSHAKES_PER_ADDRESS_MAX,
      onSwept: (address, reason) => this.#observe({ kind: 'connection_swept', address, reason }),
    });
  }

  renewTls(tls: TlsTerms): void {
    if (this.#gate === null) throw new Error('this server was started without TLS; start it with TLS');
    this.#gate.renew(new JudgedTls(tls, calendarMs()));
  }

  async #listenOn(url: string, speaks: Speech): Promise<string> {
    const { host, port, isTls } = parseUrl(url);
    const gate = isTls ? this.#gate : null;
    if (isTls && gate === null) throw new Error(`cannot listen on ${url}: https needs a certificate; give one as \`tls\``);
    const listener = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#accept(socket, gate, speaks));
    listener.maxConnections = CONNECTIONS_MAX;
    listener.on('drop', () => this.#observe({ kind: 'connection_refused', connections: this.#sockets.size }));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, `${host}:${port}`)));
      listener.listen({ host, port }, resolve);
    });
    listener.on('error', (error) => this.#observe({ kind: 'failed', where: `listener ${url}`, error }));
    (speaks === 'health' ? this.#sideListeners : this.#listeners).push(listener);
    const address = listener.address();
    const actual = isTcp(address) ? address.port : port;
    return `${isTls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${actual}`;
  }

  drain(graceMs: number): Promise<void> {
    this.#draining ??= this.#drain(graceMs);
    return this.#draining;
  }

  async close(): Promise<void> {
    this.#draining ??= Promise.resolve();
    this.#stopAccepting();
    this.#gateway.calls.stop();
    this.#grpc.close();
    for (const listener of this.#sideListeners.splice(0)) listener.close();
    this.#side.close();
    for (const socket of this.#sockets) socket.destroy();
    // Ends the timer; that it was not listening is an error nobody asked about.
    this.#http.close(() => undefined);
    await this.#empty();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #drain(graceMs: number): Promise<void> {
    this.#stopAccepting();
    this.#gateway.calls.stop();
    const drained = this.#grpc.drain(graceMs);
    let cancel = (): void => undefined;
    const grace = new Promise<void>((resolve) => {
      cancel = this.#clock.schedule(graceMs, resolve);
    });
    await Promise.race([Promise.all([drained, this.#emptied()]), grace]);
    cancel();
    await this.close();
  }

  #stopAccepting(): void {
    for (const listener of this.#listeners.splice(0)) listener.close();
    for (const socket of this.#unknown) socket.destroy();
    this.#gate?.close();
    this.#httpDoor?.stop();
    this.#webSockets.close();
  }

  /** Resolves when the last connection has closed; idle HTTP connections are closed once no answer is under way. */
  async #emptied(): Promise<void> {
    while (this.#sockets.size > 0) {
      // Node takes a connection for idle as soon as its answer has been said, though it may not have been taken.
      if (this.#answers === 0) this.#http.closeIdleConnections();
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.schedule(DRAIN_LOOK_MS, resolve);
        this.#onEmpty = () => {
          cancel();
          resolve();
        };
      });
    }
  }

  async #empty(): Promise<void> {
    if (this.#sockets.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  #accept(socket: Socket, gate: TlsGate | null, speaks: Speech): void {
    const address = socket.remoteAddress ?? 'unknown';
    const fromThere = (this.#perAddress.get(address) ?? 0) + 1;
    if (fromThere > this.#perAddressMax) {
      this.#observe({ kind: 'connection_refused', connections: this.#sockets.size });
      return void socket.destroy();
    }
    this.#perAddress.set(address, fromThere);
    // Who watches the server does not hold up its end.
    if (speaks !== 'health') this.#sockets.add(socket);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#unknown.delete(socket);
      this.#forget(address);
      if (this.#sockets.size === 0) this.#onEmpty();
    });
    // Whoever takes the connection over adds its own; this one keeps a reset from ending the process.
    socket.on('error', () => socket.destroy());
    if (gate !== null) return this.#secure(socket, gate, speaks);
    this.#named?.add(socket, null);
    this.#sniff(socket, speaks);
  }

  #forget(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }

  #secure(socket: Socket, gate: TlsGate, speaks: Speech): void {
    const address = socket.remoteAddress ?? 'unknown';
    const offersH2First = speaks !== 'any' || this.#grpc instanceof Http2Server;
    gate.open(socket, offersH2First ? PROTOCOLS[speaks] : HTTP1_FIRST, (refused, secured) => {
      if (refused !== null) this.#refuse(address, refused.text);
      if (secured === null) return;
      const { socket: secure, certificateName } = secured;
      secure.on('error', () => secure.destroy());
      this.#named?.add(secure, certificateName);
      this.#sniff(secure, speaks);
    });
  }

  #refuse(address: string, reason: string): void {
    if (this.#draining !== null) return;
    const count = this.#refusals.add(`${address} ${reason}`);
    if (count > 0) this.#observe({ kind: 'handshake_refused', address, reason, count });
  }

  #sniff(socket: Socket, speaks: Speech): void {
    if (speaks === 'health') return this.#side.accept(socket);
    this.#unknown.add(socket);
    let seen = Buffer.alloc(0);
    const decide = (take: (socket: Socket) => void): void => {
      cancel();
      this.#unknown.delete(socket);
      socket.off('readable', look).off('end', end).off('close', cancel);
      if (seen.length > 0) socket.unshift(seen);
      take(socket);
    };
    const http1 = (taken: Socket): void => {
      if (speaks === 'grpc') taken.destroy();
      else if (opensWebSocket(seen)) this.#webSockets.accept(taken);
      else if (this.#httpDoor?.accept(taken, seen) !== true) this.#http.emit('connection', taken);
    };
    const serveHttp: ServeHttp = (stream, carrier) => {
      this.#named?.carry(stream, carrier);
      this.#http.emit('connection', stream);
    };
    const grpc = (taken: Socket): void => {
      if (speaks === 'http') return void taken.destroy();
      // A caller that half-closes an HTTP/2 connection is done with it.
      taken.once('end', () => taken.end());
      if (this.#grpc instanceof Http2Server) this.#grpc.accept(taken, speaks === 'any' ? serveHttp : null);
      else this.#grpc.accept(mayNeedRepair(seen) ? repairAuthority(taken) : taken);
    };
    const look = (): void => {
      const chunk: unknown = socket.read();
      if (!(chunk instanceof Buffer)) return;
      seen = Buffer.concat([seen, chunk]);
      const known = Math.min(seen.length, PREFACE.length);
      if (seen[0] === TLS_HANDSHAKE) return wrongDoor();
      if (mayOpenWebSocket(seen)) return;
      if (!seen.subarray(0, known).equals(PREFACE.subarray(0, known))) decide(http1);
      else if (seen.length >= OPENING_BYTES) decide(grpc);
    };
    const wrongDoor = (): void => {
      this.#refuse(socket.remoteAddress ?? 'unknown', 'it speaks TLS, and this port does not');
      socket.destroy();
    };
    const end = (): void => void socket.destroy();
    // A silent connection may be an HTTP/1 client keeping one ready: it is handed on, and bounded there.
    const cancel = this.#clock.schedule(SNIFF_MS, () => decide(http1));
    socket.on('readable', look).on('end', end).on('close', cancel);
  }
}

/**
 * A request that was sent before the one ahead of it is answered waits, as with etcd: it sees what that one did, and one
 * connection has one call at a time. When the connection closes, those behind are not told: what they began would go on.
 */
function inTurn(serveNext: RequestListener): RequestListener {
  return (request, response) => {
    if (response.socket !== null) serveNext(request, response);
    else response.once('socket', () => queueMicrotask(() => serveNext(request, response)));
  };
}

/** How HTTP/2 begins; no HTTP/1 request does. */
const PREFACE = Buffer.from('PRI ');
/** How TLS begins (RFC 8446 5.1); no text does. */
const TLS_HANDSHAKE = 0x16;
/** What is served at a port. */
type Speech = 'any' | 'grpc' | 'http' | 'health';
/** By our preference. In h2 both gRPC and HTTP are served, as in etcd. */
const PROTOCOLS: Readonly<Record<Speech, readonly string[]>> = {
  any: ['h2', 'http/1.1'], grpc: ['h2'], http: ['http/1.1'], health: ['http/1.1'],
};
/** Where the library speaks h2, it serves gRPC alone: whoever offers both is to get HTTP. */
const HTTP1_FIRST: readonly string[] = ['http/1.1', 'h2'];
const SPEAKS = { urls: 'grpc', httpUrls: 'http', sideUrls: 'health' } as const;
const DRAIN_LOOK_MS = 50;

function isTcp(address: AddressInfo | string | null): address is AddressInfo {
  return address !== null && typeof address === 'object';
}

function parseUrl(url: string): { host: string; port: number; isTls: boolean } {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  const isTls = parsed?.protocol === 'https:';
  if (parsed === null || !(isTls || parsed.protocol === 'http:') || (parsed.pathname !== '/' && parsed.pathname !== '')) {
    throw new Error(`cannot listen on ${JSON.stringify(url)}: expected a url such as http://127.0.0.1:2379`);
  }
  const usual = isTls ? 443 : 80;
  const port = parsed.port === '' ? usual : Number(parsed.port);
  return { host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'), port, isTls };
}

/** Why one cannot listen there, and, after the semicolon, what to do. */
export function listenError(error: NodeJS.ErrnoException, address: string): Error {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'the address is in use by another process; stop that one, or listen on another port',
    EADDRNOTAVAIL: 'this machine does not have that address; choose one it has, or 0.0.0.0 for all',
    EACCES: 'permission denied; choose a port above 1023, or run with the right to bind it',
    ENOTFOUND: 'the host name does not resolve; name an address of this machine',
  };
  const reason = reasons[error.code ?? ''] ?? error.message;
  return new Error(`cannot listen on ${address}: ${reason}`, { cause: error });
}
