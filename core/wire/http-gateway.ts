// HTTP/1 on the client port, on express: the JSON gateway of etcd's v3 API over the same table of methods as gRPC, health,
// version and metrics. JSON becomes message bytes, the handler answers bytes, and those become JSON again.
//
// What a client sees (paths, names, error bodies, statuses) is contract 11 and 13, in the shape of etcd 3.4. Only POST
// writes; nothing here is cached, and nothing of the framework shows.

import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { onceAborted } from '../base/abort.js';
import type { Backend } from '../client.js';
import { ApiError, Status } from '../errors.js';
import { TAKEN, tellWhenAborted, tokenOf } from './call.js';
import type { CallContext, Method, Methods, TellOver } from './call.js';
import { counted } from './counted.js';
import { crossSiteGuard, type CrossSiteRules } from './cross-site.js';
import { healthPaths, mountHealthRoutes, notAllowed, sendText, type HealthRouteOptions } from './health-routes.js';
import { jsonMappings, type JsonMapping } from './json-mapping.js';
import { JsonFault, JsonSplitter } from './json-text.js';
import { RECEIVE_OVERHEAD_BYTES, UNSENT_COUNTED_BYTES } from './limits.js';
import { statusOf, type WireStatus } from './status.js';
import type { UnsentAnswers } from './unsent.js';

export interface GatewayOptions extends HealthRouteOptions {
  readonly requestBytesMax: number;
  readonly version: { readonly etcdserver: string; readonly etcdcluster: string };
  readonly crossSite: CrossSiteRules;
  /** False: health, version and metrics alone; etcd: --enable-grpc-gateway. */
  readonly servesApi: boolean;
  readonly unsent: UnsentAnswers;
  /** How long the request of a method that is not a stream may take to arrive. */
  readonly bodyMs: number;
}

export interface HttpGateway {
  readonly app: Express;
  /** What is served at a path; null: nothing, or HTTP has no API here. */
  routeAt(path: string): Route | null;
  readonly calls: LastingCalls;
}

/** Calls that may last, by what ends them. */
export class LastingCalls {
  readonly #open = new Set<AbortController>();
  #isStopped = false;

  begin(): AbortController {
    const abort = new AbortController();
    this.#open.add(abort);
    if (this.#isStopped) abort.abort(new ApiError('stopped'));
    return abort;
  }

  end(abort: AbortController): void {
    this.#open.delete(abort);
  }

  /** Ends them, and those that begin from now on, with `server stopped`. */
  stop(): void {
    this.#isStopped = true;
    for (const abort of this.#open) abort.abort(new ApiError('stopped'));
  }
}

const ROUTES: readonly (readonly [path: string, method: string])[] = [
  ['kv/range', 'etcdserverpb.KV/Range'],
  ['kv/put', 'etcdserverpb.KV/Put'],
  ['kv/deleterange', 'etcdserverpb.KV/DeleteRange'],
  ['kv/txn', 'etcdserverpb.KV/Txn'],
  ['kv/compaction', 'etcdserverpb.KV/Compact'],
  ['watch', 'etcdserverpb.Watch/Watch'],
  ['lease/grant', 'etcdserverpb.Lease/LeaseGrant'],
  ['lease/revoke', 'etcdserverpb.Lease/LeaseRevoke'],
  ['kv/lease/revoke', 'etcdserverpb.Lease/LeaseRevoke'],
  ['lease/keepalive', 'etcdserverpb.Lease/LeaseKeepAlive'],
  ['lease/timetolive', 'etcdserverpb.Lease/LeaseTimeToLive'],
  ['kv/lease/timetolive', 'etcdserverpb.Lease/LeaseTimeToLive'],
  ['lease/leases', 'etcdserverpb.Lease/LeaseLeases'],
  ['kv/lease/leases', 'etcdserverpb.Lease/LeaseLeases'],
  ['cluster/member/add', 'etcdserverpb.Cluster/MemberAdd'],
  ['cluster/member/remove', 'etcdserverpb.Cluster/MemberRemove'],
  ['cluster/member/update', 'etcdserverpb.Cluster/MemberUpdate'],
  ['cluster/member/list', 'etcdserverpb.Cluster/MemberList'],
  ['cluster/member/promote', 'etcdserverpb.Cluster/MemberPromote'],
  ['maintenance/status', 'etcdserverpb.Maintenance/Status'],
  ['maintenance/hash', 'etcdserverpb.Maintenance/Hash'],
  // 3.4 answers 404 here, 3.5 does not.
  ['maintenance/hashkv', 'etcdserverpb.Maintenance/HashKV'],
  ['maintenance/snapshot', 'etcdserverpb.Maintenance/Snapshot'],
  ['maintenance/transfer-leadership', 'etcdserverpb.Maintenance/MoveLeader'],
  ['maintenance/alarm', 'etcdserverpb.Maintenance/Alarm'],
  ['maintenance/defragment', 'etcdserverpb.Maintenance/Defragment'],
  // From 3.5 on.
  ['maintenance/downgrade', 'etcdserverpb.Maintenance/Downgrade'],
  ['auth/status', 'etcdserverpb.Auth/AuthStatus'],
  ['auth/enable', 'etcdserverpb.Auth/AuthEnable'],
  ['auth/disable', 'etcdserverpb.Auth/AuthDisable'],
  ['auth/authenticate', 'etcdserverpb.Auth/Authenticate'],
  ['auth/user/add', 'etcdserverpb.Auth/UserAdd'],
  ['auth/user/get', 'etcdserverpb.Auth/UserGet'],
  ['auth/user/list', 'etcdserverpb.Auth/UserList'],
  ['auth/user/delete', 'etcdserverpb.Auth/UserDelete'],
  ['auth/user/changepw', 'etcdserverpb.Auth/UserChangePassword'],
  ['auth/user/grant', 'etcdserverpb.Auth/UserGrantRole'],
  ['auth/user/revoke', 'etcdserverpb.Auth/UserRevokeRole'],
  ['auth/role/add', 'etcdserverpb.Auth/RoleAdd'],
  ['auth/role/get', 'etcdserverpb.Auth/RoleGet'],
  ['auth/role/list', 'etcdserverpb.Auth/RoleList'],
  ['auth/role/delete', 'etcdserverpb.Auth/RoleDelete'],
  ['auth/role/grant', 'etcdserverpb.Auth/RoleGrantPermission'],
  ['auth/role/revoke', 'etcdserverpb.Auth/RoleRevokePermission'],
  ['lock/lock', 'v3lockpb.Lock/Lock'],
  ['lock/unlock', 'v3lockpb.Lock/Unlock'],
  ['election/campaign', 'v3electionpb.Election/Campaign'],
  ['election/proclaim', 'v3electionpb.Election/Proclaim'],
  ['election/leader', 'v3electionpb.Election/Leader'],
  ['election/observe', 'v3electionpb.Election/Observe'],
  ['election/resign', 'v3electionpb.Election/Resign'],
];

/** gRPC status to HTTP, as etcd 3.4 maps them (contract 11.3). */
const HTTP_STATUS: readonly number[] = [200, 408, 500, 400, 504, 404, 409, 403, 429, 412, 409, 400, 501, 500, 503, 500, 401];
const HTTP_TEXT: ReadonlyMap<number, string> = new Map([
  [400, 'Bad Request'],
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'Not Found'],
  [408, 'Request Timeout'],
  [409, 'Conflict'],
  [412, 'Precondition Failed'],
  [429, 'Too Many Requests'],
  [500, 'Internal Server Error'],
  [501, 'Not Implemented'],
  [503, 'Service Unavailable'],
  [504, 'Gateway Timeout'],
]);

export interface Route {
  /** Tells of its calls. */
  readonly method: Method;
  /** The same for whoever tells of them himself. */
  readonly plain: Method;
  readonly mapping: JsonMapping;
}

const API_PATH = /^\/v3(?:beta)?\/(.+)$/s;

export function httpGateway(backend: Backend, methods: Methods, options: GatewayOptions): HttpGateway {
  const app = express();
  const calls = new LastingCalls();
  app.disable('x-powered-by').disable('etag').enable('case sensitive routing').enable('strict routing');
  app.use((request, response, next) => {
    // Of two names nobody can say which was meant (RFC 9112 3.2); Node takes the first, and others before us may take the last.
    const hosts = request.headersDistinct['host'] ?? [];
    if (decodedPath(request) !== null && hosts.length < 2) return next();
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    response.status(400).end('400 Bad Request');
  });
  app.use(crossSiteGuard(options.crossSite));
  const routes = routesOf(methods, options);
  const routeAt = (path: string): Route | null => {
    const [, name = ''] = API_PATH.exec(path) ?? [];
    return options.servesApi ? routes.get(name) ?? null : null;
  };
  // Ahead of the framework's own look-up, which takes a path apart for each of the others: most requests are for this.
  if (options.servesApi) app.use((request, response, next) => {
    const path = decodedPath(request) ?? '';
    if (!API_PATH.test(path)) return next();
    const route = routeAt(path);
    if (route === null) return sendText(response, 404, 'Not Found');
    if (request.method !== 'POST') return sendText(response, 405, 'Method Not Allowed');
    return route.method.kind === 'unary'
      ? serveUnary(route, request, response, options, calls)
      : serveStream(route, request, response, options, calls);
  });
  const served = ['/version', ...healthPaths(options)];
  // The framework would answer HEAD like GET; etcd does not serve it.
  app.head(served, notAllowed);
  mountHealthRoutes(app, backend, options);
  app.get('/version', (_request, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(options.version));
  });
  app.all(served, notAllowed);
  app.use((_request, response) => sendText(response, 404, '404 page not found'));
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    options.observe({ kind: 'failed', where: 'http', error: error instanceof Error ? error : new Error(String(error)) });
    if (response.headersSent) response.destroy();
    else sendError(response, statusOf(error));
  });
  return { app, routeAt, calls };
}

/** The path without its escapes; null when they are not valid. */
function decodedPath(request: Request): string | null {
  try {
    return decodeURIComponent(request.path);
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

function routesOf(methods: Methods, options: GatewayOptions): ReadonlyMap<string, Route> {
  const mapping = jsonMappings();
  const routes = new Map<string, Route>();
  for (const [path, name] of ROUTES) {
    const method = methods.get(`/${name}`);
    if (method === undefined) continue;
    routes.set(path, { method: counted(method, options), plain: method, mapping: mapping(method.service, method.name) });
  }
  return routes;
}

/** What a handler sees of an HTTP request. */
class HttpCall implements CallContext {
  readonly #request: Request;
  readonly #abort: AbortController;
  readonly peer: string;

  constructor(request: Request, abort: AbortController) {
    this.#request = request;
    this.#abort = abort;
    this.peer = `${request.socket.remoteAddress ?? 'unknown'}:${request.socket.remotePort ?? 0}`;
  }

  get token(): string | null {
    const authorization = this.#request.get('grpc-metadata-authorization') ?? this.#request.get('authorization');
    return tokenOf(this.#request.get('grpc-metadata-token'), authorization);
  }

  /** The gateway's connections never speak for a user by their certificate (contract 8.2). */
  get certificateName(): null {
    return null;
  }

  get hasLeader(): boolean {
    return this.#request.get('grpc-metadata-hasleader') === 'true';
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  whenOver(tell: TellOver): void {
    tellWhenAborted(this.signal, tell);
  }
}

async function serveUnary(
  route: Route,
  request: Request,
  response: Response,
  options: GatewayOptions,
  calls: LastingCalls,
): Promise<void> {
  const { method, mapping } = route;
  if (method.kind !== 'unary') return;
  const abort = method.waits === true ? calls.begin() : new AbortController();
  if (method.waits === true) {
    response.on('close', () => {
      calls.end(abort);
      abort.abort();
    });
  }
  const call = new HttpCall(request, abort);
  let text: string;
  try {
    const cancel = options.clock.schedule(options.bodyMs, () => request.destroy());
    const body = await readBody(request, 2 * bytesMax(options)).finally(cancel);
    const bytes = mapping.toBytes(body);
    if (bytes.length > bytesMax(options)) throw tooLarge(bytes.length, bytesMax(options));
    text = mapping.toText(await method.handle(bytes, call));
  } catch (error) {
    return sendError(response, gatewayStatus(error, Status.invalid_argument));
  }
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Grpc-Metadata-Content-Type', 'application/grpc');
  response.end(text);
  held(response, request, text.length, options);
}

/** Counts a large answer until it is taken; returns what says so before the end of the response. */
function held(response: Response, request: Request, length: number, { unsent }: GatewayOptions): () => void {
  if (length < UNSENT_COUNTED_BYTES || response.closed) return () => undefined;
  return unsent.holdOn(response, request.socket.remoteAddress ?? 'unknown', length, () => response.destroy());
}

/** The requests of a stream stand one after another in the body; answers go out as lines (contract 11.4). */
async function serveStream(
  route: Route,
  request: Request,
  response: Response,
  options: GatewayOptions,
  calls: LastingCalls,
): Promise<void> {
  const { method, mapping } = route;
  if (method.kind !== 'stream') return;
  const abort = calls.begin();
  response.on('close', () => abort.abort());
  const input = new StreamInput(textsOf(request, 2 * bytesMax(options)), mapping);
  const begin = (): void => {
    if (response.headersSent) return;
    response.setHeader('Content-Type', 'application/json');
    response.setHeader('Grpc-Metadata-Content-Type', 'application/grpc');
    response.flushHeaders();
  };
  const drained = drainOf(response, abort.signal);
  const send = (first: Uint8Array, rest?: Uint8Array): Promise<void> => {
    if (abort.signal.aborted) return TAKEN;
    begin();
    const answer = rest === undefined ? first : Buffer.concat([first, rest]);
    const line = `{"result":${mapping.toText(answer)}}\n`;
    if (response.write(line, held(response, request, line.length, options))) return TAKEN;
    return drained();
  };
  try {
    await input.first(abort.signal);
    await method.handle(input.requests(abort.signal), new HttpCall(request, abort), send);
    begin();
    response.end();
  } catch (error) {
    // etcd finds a fault in a stream of requests only when the call has begun.
    const status = gatewayStatus(error, mapping.takesMany ? Status.unknown : Status.invalid_argument);
    if (response.headersSent) return void response.end(errorLine(status));
    // What is left of its request nobody waits for.
    if (abort.signal.aborted) response.setHeader('Connection', 'close');
    sendError(response, status);
  } finally {
    calls.end(abort);
    input.end();
  }
}

/** The values a caller sends, as message bytes. A fault in the first is an error; later ones end the input, as in etcd. */
export class StreamInput {
  readonly #texts: AsyncGenerator<string>;
  readonly #mapping: JsonMapping;
  #first: Uint8Array | null = null;

  constructor(texts: AsyncGenerator<string>, mapping: JsonMapping) {
    this.#texts = texts;
    this.#mapping = mapping;
  }

  /** No more is wanted. */
  end(): void {
    void this.#texts.return(undefined);
  }

  /** Rejects with the signal's reason when that aborts before there is one. */
  async first(signal: AbortSignal): Promise<void> {
    const ended = new Promise<never>((_resolve, reject) => {
      const end = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
      onceAborted(signal, end);
      if (signal.aborted) end();
    });
    const text = await Promise.race([this.#texts.next(), ended]);
    this.#first = text.done === true ? null : this.#mapping.toBytes(text.value);
  }

  async *requests(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (this.#first === null) return;
    yield this.#first;
    try {
      while (!signal.aborted) {
        const text = await this.#texts.next();
        if (text.done === true) return;
        yield this.#mapping.toBytes(text.value);
      }
    } catch (error) {
      if (!(error instanceof JsonFault)) throw error;
    }
  }
}

async function* textsOf(request: Request, lengthMax: number): AsyncGenerator<string> {
  const splitter = new JsonSplitter();
  const decoder = new TextDecoder();
  for await (const chunk of bodyOf(request)) {
    yield* splitter.push(decoder.decode(chunk, { stream: true }));
    if (splitter.pendingLength > lengthMax) throw tooLarge(splitter.pendingLength, lengthMax);
  }
  const rest = splitter.rest();
  if (rest !== '') yield rest;
}

async function readBody(request: Request, lengthMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of bodyOf(request)) {
    length += chunk.length;
    if (length > lengthMax) throw tooLarge(length, lengthMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * The raw body; a caller that breaks off ends it. What nobody reads any more is discarded: left where it is, it would hold up
 * the answer to the next request on the connection for ever.
 */
async function* bodyOf(request: Request): AsyncGenerator<Uint8Array> {
  const source: AsyncIterable<unknown> = request.iterator({ destroyOnReturn: false });
  try {
    for await (const chunk of source) {
      if (chunk instanceof Uint8Array) yield chunk;
    }
  } finally {
    request.resume();
  }
}

/** Of one message. */
export function bytesMax(options: Pick<GatewayOptions, 'requestBytesMax'>): number {
  return options.requestBytesMax + RECEIVE_OVERHEAD_BYTES;
}

/** A request too large to be read, in the words and with the status gRPC has for it. */
class TooLarge extends Error {}

export function tooLarge(length: number, lengthMax: number): TooLarge {
  return new TooLarge(`grpc: received message larger than max (${length} vs. ${lengthMax})`);
}

export function gatewayStatus(error: unknown, badInput: number): WireStatus {
  if (error instanceof JsonFault) return { code: badInput, text: error.message };
  if (error instanceof TooLarge) return { code: Status.resource_exhausted, text: error.message };
  return statusOf(error);
}

export function httpStatusOf(code: number): { status: number; text: string } {
  const status = HTTP_STATUS[code] ?? 500;
  return { status, text: HTTP_TEXT.get(status) ?? '' };
}

function sendError(response: Response, { code, text }: WireStatus): void {
  response.setHeader('Content-Type', 'application/json');
  response.status(httpStatusOf(code).status).end(errorBody({ code, text }));
}

export function errorBody({ code, text }: WireStatus): string {
  return JSON.stringify({ error: text, message: text, code });
}

export function errorLine({ code, text }: WireStatus): string {
  const http = httpStatusOf(code);
  const error = { grpc_code: code, http_code: http.status, message: text, http_status: http.text };
  return `${JSON.stringify({ error })}\n`;
}

/** Resolves when the response takes more, or when nobody is there any more: for all who wait at the same time. */
function drainOf(response: Response, signal: AbortSignal): () => Promise<void> {
  let waiting: Promise<void> | null = null;
  return () => {
    waiting ??= new Promise((resolve) => {
      const go = (): void => {
        response.off('drain', go);
        signal.removeEventListener('abort', go);
        waiting = null;
        resolve();
      };
      response.on('drain', go);
      signal.addEventListener('abort', go, { once: true });
    });
    return waiting;
  };
}
