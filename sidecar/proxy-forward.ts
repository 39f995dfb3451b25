// One attempt to carry one request, or one WebSocket, to one instance, on http-proxy 1.18.1. The only file that knows the
// library: whoever replaces it writes this file's `Forwarder` again. No policy here: who is asked, how often and what the
// client is told is decided in proxy.ts.
//
// The library is abandoned; what it does wrong is kept away from it. It never sees the client's headers as they came
// (proxy-headers.ts), never a body before the connection stands, and never the client's response: the answer's head is
// handed to `Hop` (`selfHandleResponse`). Every trap closed here has its test in test/sidecar/proxy-traps.test.ts.

import { Agent } from 'node:http';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { PassThrough, pipeline } from 'node:stream';
import type { Duplex } from 'node:stream';

import type HttpProxy from 'http-proxy';

import { responseHeaders } from './proxy-headers.js';
import type { Lookup } from './proxy-targets.js';

/** The connections to one instance. */
export interface Link {
  readonly host: string;
  readonly port: number;
  readonly lookup: Lookup;
  /** Keeps connections for the next request. */
  readonly kept: Agent;
  /** Opens a connection for each request, and closes it after. */
  readonly fresh: Agent;
}

export interface Target {
  readonly link: Link;
  /** Origin form; put on the request line exactly so. */
  readonly path: string;
  /** Not over a connection that has served others before. */
  readonly fresh: boolean;
  /** Silence of the instance after which the attempt fails with `timedOut`. */
  readonly answerMs: number;
}

export interface Failure {
  readonly error: NodeJS.ErrnoException;
  /** No connection: not one byte of the request has left. */
  readonly connecting: boolean;
  /** The connection had served an earlier request and was closed by the other side before any byte of an answer. */
  readonly stale: boolean;
  readonly timedOut: boolean;
}

/** What happens to an attempt. After `onAnswer` or `onFailure` nothing more is told; after `cancel` nothing at all. */
export interface Hop {
  /** The connection stands. Bytes leave from here on. */
  onConnected(): void;
  /** The head of the answer. The callee owns the stream now, its errors too. */
  onAnswer(answer: IncomingMessage): void;
  onFailure(failure: Failure): void;
}

export interface UpgradeHop extends Omit<Hop, 'onAnswer' | 'onConnected'> {
  /** Both directions are joined. */
  onOpen(): void;
  /** The instance answered something else than 101; it is being passed on, and the connection closed after it. */
  onRefused(status: number): void;
}

/** A client that asks for an upgrade. `head`: what Node has read beyond the request. */
export interface UpgradeClient {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

export interface Forwarder {
  /** `bodyless` spares the instance and us a body that is known to be empty. Returns `cancel`, which may come at any time. */
  web(request: IncomingMessage, response: ServerResponse, bodyless: boolean, target: Target, hop: Hop): () => void;
  /** Over `connection`, which stands already: `dial`. */
  upgrade(client: UpgradeClient, connection: Duplex, target: Target, hop: UpgradeHop): () => void;
}

/** Is given the library's own request before any byte of it leaves. */
type OnRequest = (upstream: ClientRequest) => void;

export function createForwarder(): Forwarder {
  const library = loadLibrary();
  // By the body that was handed to the library: unlike request and response, each attempt has its own.
  const attempts = new WeakMap<object, OnRequest>();
  const upgrades = new WeakMap<IncomingMessage, OnRequest>();
  const proxy = library.createProxyServer({ selfHandleResponse: true, xfwd: false, changeOrigin: false, toProxy: true });
  // For DELETE and OPTIONS without Content-Length this pass declares the body away and then sends it all the same: the
  // instance reads it as a second request (CVE-2026-29057).
  if (!hasPasses(proxy)) throw new Error('http-proxy has no webPasses, so its request smuggling cannot be removed; use 1.18.1');
  proxy.webPasses = proxy.webPasses.filter((pass) => pass.name !== 'deleteLength');
  // Every call below has its own callback; this listener is for what the library reports without one. It may hand over a
  // response or a socket; both can be destroyed, and after a head has gone out nothing else is right.
  proxy.on('error', (_error, _request, client) => {
    if (client !== undefined) client.destroy();
  });
  proxy.on('proxyReq', (upstream, _request, _response, { buffer }) => {
    if (buffer !== undefined) attempts.get(buffer)?.(upstream);
  });
  proxy.on('proxyReqWs', (upstream, request) => upgrades.get(request)?.(upstream));

  return {
    web(request, response, bodyless, target, hop) {
      return forwardWeb({ proxy, attempts, request, response, bodyless, target, hop });
    },
    upgrade(client, connection, target, hop) {
      return forwardUpgrade({ proxy, upgrades, client, connection, target, hop });
    },
  };
}

interface WebAttempt {
  readonly proxy: HttpProxy;
  readonly attempts: WeakMap<object, OnRequest>;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly bodyless: boolean;
  readonly target: Target;
  readonly hop: Hop;
}

function forwardWeb(attempt: WebAttempt): () => void {
  const { request, response, target, hop } = attempt;
  // What the library pipes into its request. It stays empty until the connection stands, so that a failed connect has
  // consumed nothing of the client's body, and the request can go to another instance whatever its method.
  const body = new PassThrough();
  let upstream: ClientRequest | null = null;
  let over = false;
  let connected = false;
  let timedOut = false;

  const fail = (error: NodeJS.ErrnoException): void => {
    if (over) return;
    over = true;
    request.unpipe(body);
    const reset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    const stale = connected && reset && !timedOut && upstream?.reusedSocket === true;
    hop.onFailure({ error, connecting: !connected, stale, timedOut });
  };
  const onConnected = (): void => {
    if (over || connected) return;
    connected = true;
    hop.onConnected();
    if (attempt.bodyless) body.end();
    else request.pipe(body);
  };
  attempt.attempts.set(body, (made) => {
    upstream = made;
    if (over) return void made.destroy();
    made.path = target.path; // The library joins slashes and parses the rest as a URL; the instance gets what was asked.
    made.once('timeout', () => (timedOut = true));
    made.once('response', (answer) => {
      if (over) return void answer.destroy();
      over = true;
      hop.onAnswer(answer);
    });
    if (made.socket?.connecting === true) made.socket.once('connect', onConnected);
    else onConnected();
  });
  const agent = target.fresh ? target.link.fresh : target.link.kept;
  const options = { target: locate(target), buffer: body, proxyTimeout: target.answerMs, agent };
  attempt.proxy.web(request, response, options, (error) => fail(error));
  return () => {
    over = true;
    request.unpipe(body);
    // The request that is still to come destroys itself: `onRequest`.
    upstream?.destroy();
  };
}

interface SocketAttempt {
  readonly proxy: HttpProxy;
  readonly upgrades: WeakMap<IncomingMessage, OnRequest>;
  readonly client: UpgradeClient;
  readonly connection: Duplex;
  readonly target: Target;
  readonly hop: UpgradeHop;
}

function forwardUpgrade(attempt: SocketAttempt): () => void {
  const { connection, target, hop } = attempt;
  const { request, socket: client, head } = attempt.client;
  let over = false;
  let timedOut = false;
  const fail = (error: NodeJS.ErrnoException): void => {
    if (over) return;
    over = true;
    hop.onFailure({ error, connecting: false, stale: false, timedOut });
  };
  attempt.upgrades.set(request, (upstream) => {
    upstream.path = target.path;
    // The library waits for an answer to the handshake for ever.
    upstream.setTimeout(target.answerMs, () => {
      timedOut = true;
      upstream.destroy(new Error(`no answer to the upgrade within ${target.answerMs} ms`));
    });
    upstream.once('response', (answer) => {
      if (over) return;
      over = true;
      closeAfter(answer);
      answer.once('error', () => client.destroy());
      hop.onRefused(answer.statusCode ?? 0);
    });
    upstream.once('upgrade', (_answer, joined) => {
      upstream.setTimeout(0);
      if (over) return void joined.destroy();
      over = true;
      // The library joins the data. It does not see when the instance goes without saying so; the client's going is `cancel`.
      joined.once('close', () => finish(client));
      hop.onOpen();
    });
  });
  attempt.proxy.ws(request, client, head, { target: locate(target), agent: agentOver(connection) }, fail);
  return () => {
    over = true;
    connection.destroy();
  };
}

export interface LinkOptions {
  readonly host: string;
  readonly port: number;
  readonly lookup: Lookup;
  readonly connectionsMax: number;
  readonly idleConnectionsMax: number;
  /** How long a connection is kept idle; below the instance's own patience, or it closes just as a request is sent. */
  readonly idleMs: number;
}

export function openLink(options: LinkOptions): Link {
  const { host, port, lookup, connectionsMax: maxSockets } = options;
  // Node's types leave `lookup` out of an agent's options; net.connect is handed all of them.
  const kept = { keepAlive: true, maxSockets, maxFreeSockets: options.idleConnectionsMax, timeout: options.idleMs, lookup };
  const fresh = { keepAlive: false, maxSockets, lookup };
  return { host, port, lookup, kept: new Agent(kept), fresh: new Agent(fresh) };
}

/** Closes the connections on which nothing is in flight, so that an instance that is leaving need not wait for them. */
export function closeIdle(link: Link): void {
  for (const sockets of Object.values(link.kept.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** Closes every connection, also those in use. */
export function closeLink(link: Link): void {
  link.kept.destroy();
  link.fresh.destroy();
}

/** Opens one connection outside the agents: for a WebSocket, which takes it over. Returns `cancel`. */
export function dial(link: Link, done: (error: NodeJS.ErrnoException | null, connection: Duplex | null) => void): () => void {
  const connection = link.fresh.createConnection({ host: link.host, port: link.port, lookup: link.lookup });
  if (connection === null || connection === undefined) throw new Error('an HTTP agent opens connections at once');
  let waiting = true;
  // This listener stays, so that a reset between two other listeners does not end the process.
  connection.on('error', (error) => {
    connection.destroy();
    if (waiting) done(error, null);
    waiting = false;
  });
  connection.once('connect', () => {
    if (waiting) done(null, connection);
    waiting = false;
  });
  return () => {
    waiting = false;
    connection.destroy();
  };
}

/** Passes the body on. Whichever side breaks off, the other one is told by a broken connection: never by a silent end. */
export function relay(answer: IncomingMessage, response: ServerResponse, done: (error: Error | null) => void): void {
  pipeline(answer, response, (error) => done(error ?? null));
}

/** An agent for the one request that goes over `connection`. */
function agentOver(connection: Duplex): Agent {
  const agent = new Agent({ keepAlive: false, maxSockets: 1 });
  agent.createConnection = () => connection;
  return agent;
}

/** The refusal's body is passed on decoded and ends with the connection; a head that says otherwise would be a lie. */
function closeAfter(answer: IncomingMessage): void {
  answer.headers = { ...responseHeaders(answer.headers), connection: 'close' };
}

/** What was written still goes out; then the socket is gone whether or not the other side agrees. */
function finish(socket: Duplex): void {
  if (socket.destroyed) return;
  if (socket.writableFinished) socket.destroy();
  else socket.end(() => socket.destroy());
}

function locate(target: Target): { host: string; port: number; protocol: string } {
  return { host: target.link.host, port: target.link.port, protocol: 'http:' };
}

/** http-proxy calls `util._extend` when it is loaded and ever after: deprecated (DEP0060), and gone from Node one day. */
function loadLibrary(): typeof HttpProxy {
  const require = createRequire(import.meta.url);
  const util = require('node:util') as { _extend: unknown };
  util._extend = Object.assign;
  return require('http-proxy') as typeof HttpProxy;
}

interface Pass {
  readonly name: string;
}

/** `webPasses` is there but not in the library's types. */
function hasPasses(proxy: object): proxy is { webPasses: readonly Pass[] } {
  return 'webPasses' in proxy && Array.isArray(proxy.webPasses);
}
