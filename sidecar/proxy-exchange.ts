// One request, or one WebSocket, from the client's head to its end: which instance, which again when that fails, and what
// the client is told in the end. Bytes are moved by proxy-forward.ts, instances are chosen by proxy-balancer.ts.
//
// What may be tried again. A connect that failed: always, for no byte has left. A connection that had served before and
// was closed before any byte of an answer: only what is idempotent and has no body (RFC 9110 §9.2.2). Nothing else, and
// nothing once an answer has begun. Invariant: every seat taken with `begin` is given back exactly once.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

import type { Clock } from '../core/base/clock.js';

import type { Balancer, Seat } from './proxy-balancer.js';
import { dial, relay } from './proxy-forward.js';
import type { Failure, Forwarder, Link } from './proxy-forward.js';
import { isReplayable, readFraming, readPath, requestHeaders, responseHeaders, upgradeHeaders } from './proxy-headers.js';
import type { Framing, Peer } from './proxy-headers.js';

/** Why the proxy answered by itself, with the status the client gets. */
export const REFUSALS = {
  /** The request could be read in two ways, or not at all. */
  bad_request: 400,
  /** An upgrade to something that is not WebSocket. */
  bad_upgrade: 501,
  /** No instance takes requests. */
  no_instance: 503,
  /** Every instance, or the proxy itself, has as much in flight as it may. */
  overloaded: 503,
  /** No instance could be connected to. */
  unreachable: 502,
  /** The connection broke, or what came was no answer. */
  broken: 502,
  /** Connected, but silent for too long. */
  timed_out: 504,
} as const;

export type Refusal = keyof typeof REFUSALS;

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request', 501: 'Not Implemented', 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout',
};

export interface ExchangeLimits {
  readonly attemptsMax: number;
  readonly connectMs: number;
  readonly answerMs: number;
  readonly lingerMs: number;
  readonly retryAfterSeconds: number;
}

/** What exchanges share: the proxy behind them. */
export interface Carrier {
  readonly clock: Clock;
  readonly limits: ExchangeLimits;
  readonly balancer: Balancer;
  readonly forwarder: Forwarder;
  /** In messages to clients: 'instance of "api"'. */
  readonly what: string;
  link(seat: Seat): Link;
  peerOf(request: IncomingMessage): Peer;
  /** True once the proxy is going away: clients are asked to come back over another connection. */
  isDraining(): boolean;
  onRetry(seat: Seat, error: NodeJS.ErrnoException): void;
  onConnectFailed(seat: Seat, error: NodeJS.ErrnoException): void;
  onRefusal(refusal: Refusal, detail: string): void;
  /** What follows on this connection is not to be read as requests. */
  condemn(socket: Duplex): void;
  /** Nothing more of this exchange is in flight on the seat. */
  onReleased(seat: Seat): void;
}

/** Carries one HTTP request, until `end`. */
export class WebExchange {
  readonly #carrier: Carrier;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #tried = new Set<Seat>();
  #attempts = 0;
  #lastError: NodeJS.ErrnoException | null = null;
  #seat: Seat | null = null;
  #cancel: () => void = () => undefined;
  #cancelTimer: () => void = () => undefined;
  #over = false;

  constructor(carrier: Carrier, request: IncomingMessage, response: ServerResponse) {
    this.#carrier = carrier;
    this.#request = request;
    this.#response = response;
  }

  start(): void {
    const { method = 'GET', url = '/', headers, rawHeaders } = this.#request;
    const framing = readFraming({ method, url, headers }, rawHeaders);
    const path = readPath(url);
    if (typeof framing === 'object') {
      this.#carrier.condemn(this.#request.socket);
      return this.refuse('bad_request', framing.refused);
    }
    if (path === null) return this.refuse('bad_request', 'the request target is neither a path nor an http URL');
    this.#response.once('finish', () => this.#onFinished());
    // A client that breaks off in its body is an event of the response ('close'), not a reason to end the process.
    this.#request.on('error', () => this.#response.destroy());
    this.#request.headers = requestHeaders({ method, url, headers }, framing, this.#carrier.peerOf(this.#request));
    this.#attempt(path, framing, false);
  }

  #attempt(path: string, framing: Framing, fresh: boolean): void {
    const { balancer, limits, clock } = this.#carrier;
    const pick = balancer.pick(this.#tried);
    if (pick.kind !== 'seat') return this.#onNobody(pick.kind);
    const { seat } = pick;
    const link = this.#carrier.link(seat);
    this.#attempts += 1;
    this.#take(seat);
    const onFailure = (failure: Failure): void => this.#onFailure(seat, failure, path, framing);
    this.#cancelTimer = clock.schedule(limits.connectMs, () => {
      this.#cancel();
      onFailure({ error: notConnected(limits.connectMs), connecting: true, stale: false, timedOut: false });
    });
    const target = { link, path, fresh, answerMs: limits.answerMs };
    this.#cancel = this.#carrier.forwarder.web(this.#request, this.#response, framing === 'none', target, {
      onConnected: () => {
        this.#cancelTimer();
        balancer.connected(seat);
      },
      onAnswer: (answer) => this.#onAnswer(answer),
      onFailure,
    });
  }

  #onFailure(seat: Seat, failure: Failure, path: string, framing: Framing): void {
    this.#cancelTimer();
    this.#release();
    if (this.#over || this.#response.destroyed) return;
    this.#lastError = failure.error;
    if (failure.connecting) {
      this.#tried.add(seat);
      this.#carrier.onConnectFailed(seat, failure.error);
    }
    const method = this.#request.method ?? 'GET';
    const again = failure.connecting || (failure.stale && isReplayable(method, framing));
    if (again && this.#attempts < this.#carrier.limits.attemptsMax) {
      this.#carrier.onRetry(seat, failure.error);
      // Where one kept connection was stale the others may be, too.
      return this.#attempt(path, framing, true);
    }
    if (failure.connecting) return this.refuse('unreachable', this.#unreachable());
    if (failure.timedOut) return this.refuse('timed_out', `no answer within ${this.#carrier.limits.answerMs} ms`);
    return this.refuse('broken', `the connection broke before an answer (${codeOf(failure.error)})`);
  }

  #onNobody(kind: 'none' | 'full'): void {
    if (this.#lastError !== null) return this.refuse('unreachable', this.#unreachable());
    if (kind === 'full') return this.refuse('overloaded', `every ${this.#carrier.what} is busy`);
    return this.refuse('no_instance', `no ${this.#carrier.what} takes requests`);
  }

  #unreachable(): string {
    return `no ${this.#carrier.what} could be reached (tried ${this.#attempts}, last ${codeOf(this.#lastError)})`;
  }

  #onAnswer(answer: IncomingMessage): void {
    if (this.#response.destroyed) return void answer.destroy();
    const headers = responseHeaders(answer.headers);
    if (this.#carrier.isDraining()) headers['connection'] = 'close';
    try {
      this.#response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', headers);
    } catch (error) {
      // Node parses a few heads that it refuses to write.
      answer.destroy();
      return this.refuse('broken', `the answer's head cannot be passed on (${codeOf(error)})`);
    }
    relay(answer, this.#response, (error) => {
      if (error !== null) this.#response.destroy();
    });
  }

  /** The answer is out while the body still comes in: read on for a moment, so that the client sees the answer and no reset. */
  #onFinished(): void {
    if (this.#request.complete) return;
    this.#cancel();
    this.#request.unpipe();
    this.#request.resume();
    const cut = this.#carrier.clock.schedule(this.#carrier.limits.lingerMs, () => this.#request.socket.destroy());
    this.#request.once('end', cut);
    this.#request.once('close', cut);
  }

  /** To be called once, when the response or its connection is closed, whether or not the answer is complete. */
  end(): void {
    this.#over = true;
    this.#cancelTimer();
    if (!this.#response.writableFinished) this.#cancel();
    this.#release();
  }

  #take(seat: Seat): void {
    this.#seat = seat;
    this.#carrier.balancer.begin(seat);
  }

  #release(): void {
    const seat = this.#seat;
    if (seat === null) return;
    this.#seat = null;
    this.#carrier.balancer.end(seat);
    this.#carrier.onReleased(seat);
  }

  /** Answers in the instance's place. */
  refuse(refusal: Refusal, detail: string): void {
    this.#carrier.onRefusal(refusal, detail);
    if (this.#response.headersSent) return void this.#response.destroy();
    const status = REFUSALS[refusal];
    const body = `coterie: ${detail}\n`;
    this.#response.writeHead(status, {
      'content-type': 'text/plain; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      ...(status === 503 ? { 'retry-after': String(this.#carrier.limits.retryAfterSeconds) } : {}),
      // After a head that could be read in two ways nobody knows where the next one begins.
      ...(status === 400 || this.#carrier.isDraining() ? { connection: 'close' } : {}),
    });
    this.#response.end(this.#request.method === 'HEAD' ? undefined : body);
  }
}

/** Carries one WebSocket. Ends when the client's socket is closed. */
export class UpgradeExchange {
  readonly #carrier: Carrier;
  readonly #request: IncomingMessage;
  readonly #client: Duplex;
  readonly #head: Buffer;
  readonly #tried = new Set<Seat>();
  #attempts = 0;
  #lastError: NodeJS.ErrnoException | null = null;
  #seat: Seat | null = null;
  #cancel: () => void = () => undefined;
  #cancelTimer: () => void = () => undefined;

  constructor(carrier: Carrier, request: IncomingMessage, client: Duplex, head: Buffer) {
    this.#carrier = carrier;
    this.#request = request;
    this.#client = client;
    this.#head = head;
  }

  start(): void {
    this.#client.once('close', () => this.#onClosed());
    const { method = 'GET', url = '/', headers, rawHeaders } = this.#request;
    const framing = readFraming({ method, url, headers }, rawHeaders);
    const path = readPath(url);
    if (typeof framing === 'object') return this.#refuse('bad_request', framing.refused);
    if (path === null) return this.#refuse('bad_request', 'the request target is neither a path nor an http URL');
    if (framing !== 'none' || method !== 'GET') return this.#refuse('bad_request', 'an upgrade is a GET without a body');
    if (headers.upgrade?.toLowerCase() !== 'websocket') {
      return this.#refuse('bad_upgrade', 'only upgrades to websocket are passed on');
    }
    this.#request.headers = upgradeHeaders({ method, url, headers }, this.#carrier.peerOf(this.#request));
    this.#attempt(path);
  }

  #attempt(path: string): void {
    const { balancer, limits, clock } = this.#carrier;
    const pick = balancer.pick(this.#tried);
    if (pick.kind !== 'seat') return this.#onNobody(pick.kind);
    const { seat } = pick;
    this.#attempts += 1;
    this.#seat = seat;
    balancer.begin(seat);
    const link = this.#carrier.link(seat);
    const cancelDial = dial(link, (error, connection) => {
      this.#cancelTimer();
      if (connection === null) return this.#onConnectFailed(seat, error ?? notConnected(limits.connectMs), path);
      balancer.connected(seat);
      this.#join(link, connection, path);
    });
    this.#cancel = cancelDial;
    this.#cancelTimer = clock.schedule(limits.connectMs, () => {
      cancelDial();
      this.#onConnectFailed(seat, notConnected(limits.connectMs), path);
    });
  }

  #join(link: Link, connection: Duplex, path: string): void {
    const { limits } = this.#carrier;
    const target = { link, path, fresh: true, answerMs: limits.answerMs };
    const client = { request: this.#request, socket: this.#client, head: this.#head };
    this.#cancel = this.#carrier.forwarder.upgrade(client, connection, target, {
      onOpen: () => undefined,
      onRefused: () => undefined,
      onFailure: (failure) => {
        if (failure.timedOut) this.#refuse('timed_out', `no answer to the upgrade within ${limits.answerMs} ms`);
        else this.#refuse('broken', `the connection broke before an answer (${codeOf(failure.error)})`);
      },
    });
  }

  #onConnectFailed(seat: Seat, error: NodeJS.ErrnoException, path: string): void {
    this.#release();
    if (this.#client.destroyed) return;
    this.#lastError = error;
    this.#tried.add(seat);
    this.#carrier.onConnectFailed(seat, error);
    if (this.#attempts >= this.#carrier.limits.attemptsMax) {
      return this.#refuse('unreachable', this.#unreachable());
    }
    this.#carrier.onRetry(seat, error);
    this.#attempt(path);
  }

  #onNobody(kind: 'none' | 'full'): void {
    if (this.#lastError !== null) return this.#refuse('unreachable', this.#unreachable());
    if (kind === 'full') return this.#refuse('overloaded', `every ${this.#carrier.what} is busy`);
    return this.#refuse('no_instance', `no ${this.#carrier.what} takes requests`);
  }

  #unreachable(): string {
    return `no ${this.#carrier.what} could be reached (tried ${this.#attempts}, last ${codeOf(this.#lastError)})`;
  }

  #onClosed(): void {
    this.#cancelTimer();
    this.#cancel();
    this.#release();
  }

  #release(): void {
    const seat = this.#seat;
    if (seat === null) return;
    this.#seat = null;
    this.#carrier.balancer.end(seat);
    this.#carrier.onReleased(seat);
  }

  #refuse(refusal: Refusal, detail: string): void {
    this.#carrier.onRefusal(refusal, detail);
    refuseSocket(this.#client, refusal, detail, this.#carrier.limits.retryAfterSeconds);
  }
}

/** Answers on a socket that Node no longer treats as HTTP, and closes it. */
export function refuseSocket(client: Duplex, refusal: Refusal, detail: string, retryAfterSeconds: number): void {
  if (client.destroyed || client.writableEnded) return;
  const status = REFUSALS[refusal];
  const body = `coterie: ${detail}\n`;
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status] ?? ''}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 503 ? [`Retry-After: ${retryAfterSeconds}`] : []),
    'Connection: close',
  ];
  client.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => client.destroy());
}

function notConnected(connectMs: number): NodeJS.ErrnoException {
  return Object.assign(new Error(`no connection within ${connectMs} ms`), { code: 'ETIMEDOUT' });
}

/** Codes go to clients, messages do not: they name addresses inside. */
function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown error';
}
