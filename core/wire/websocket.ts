// The paths of the JSON gateway over a WebSocket, for pages in a browser, which cannot read a stream that HTTP leaves open
// (contract 11.4): messages in are the request's JSON values, messages out are the answer's lines. A browser lets any page
// open one without asking, so the page it comes from is judged here, and a cookie speaks for the user on pages of our own
// only. Frames, messages and silence are bounded.

import {
  createServer, ServerResponse, type IncomingMessage, type RequestListener, type Server, type ServerOptions,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../base/clock.js';
import { Status } from '../errors.js';
import { TAKEN, tellWhenAborted, tokenOf, type CallContext, type TellOver } from './call.js';
import { isOwn, siteFault, type CrossSiteRules, type Site } from './cross-site.js';
import {
  bytesMax, errorBody, errorLine, gatewayStatus, StreamInput, tooLarge, type HttpGateway, type Route,
} from './http-gateway.js';
import { JsonSplitter } from './json-text.js';
import {
  HTTP_HEADER_BYTES, SEND_BUFFER_BYTES, SOCKET_PING_MS, SOCKET_WAITING_MAX, STREAM_REQUESTS_MAX, UNSENT_COUNTED_BYTES,
} from './limits.js';
import type { UnsentAnswers } from './unsent.js';
import type { ObserveWire } from './wire-events.js';

export interface WebSocketOptions {
  readonly gateway: HttpGateway;
  readonly requestBytesMax: number;
  readonly crossSite: CrossSiteRules;
  readonly unsent: UnsentAnswers;
  readonly clock: Clock;
  readonly observe: ObserveWire;
  readonly limits: ServerOptions;
  /** True: the request was answered, and is not to be served. */
  readonly refuse: (request: IncomingMessage, response: ServerResponse) => Promise<boolean>;
  /** For whatever else comes on such a connection. */
  readonly otherwise: RequestListener;
}

/** Whether a connection begins with a request for a WebSocket. */
export function opensWebSocket(opening: Buffer): boolean {
  return /^GET [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?upgrade:[ \t]*websocket[ \t]*\r\n/i.test(opening.toString('latin1'));
}

/** Whether more of the request has to come before one knows. What has not come within SNIFF_MS opens none. */
export function mayOpenWebSocket(opening: Buffer): boolean {
  return opening.subarray(0, 4).equals(GET) && opening.length < HTTP_HEADER_BYTES && !opening.includes('\r\n\r\n');
}

const GET = Buffer.from('GET ');

export class WebSocketDoor {
  readonly #options: WebSocketOptions;
  readonly #http: Server;
  /** Loaded for the first of them: most servers never see one. */
  #sockets: Promise<WebSocketServer> | null = null;

  constructor(options: WebSocketOptions) {
    this.#options = options;
    this.#http = createServer(options.limits, options.otherwise);
    this.#http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#onUpgrade(request, socket, head).catch((error: unknown) => this.#onFault(error, socket));
    });
    this.#http.emit('listening');
  }

  accept(socket: Socket): void {
    this.#http.emit('connection', socket);
  }

  close(): void {
    this.#http.close(() => undefined);
  }

  async #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    // What was answered goes out with the socket that is given to it.
    const hangUp = (): void => {
      response.on('finish', () => socket.end());
      response.assignSocket(request.socket);
    };
    const refuse = (status: number, text: string): void => {
      response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
      hangUp();
    };
    const site = siteOf(request);
    // As it is written: what is no path is served by nothing.
    const [path = ''] = (request.url ?? '').split('?', 1);
    const route = this.#options.gateway.routeAt(path);
    const fault = siteFault(this.#options.crossSite, site);
    if (fault !== null) return refuse(fault.status, fault.text);
    if (route === null) return refuse(404, 'Not Found');
    // Should it not be known whether there are users: a caller of the gateway has no name in any case.
    const isAnswered = await this.#options.refuse(request, response).catch(() => false);
    if (isAnswered) return hangUp();
    this.#sockets ??= webSockets(2 * bytesMax(this.#options));
    const sockets = await this.#sockets;
    sockets.handleUpgrade(request, socket, head, (opened) => {
      this.#serve(opened, request, route).catch((error: unknown) => this.#onFault(error, socket));
    });
  }

  #onFault(error: unknown, socket: Duplex): void {
    socket.destroy();
    const fault = error instanceof Error ? error : new Error(String(error));
    this.#options.observe({ kind: 'failed', where: 'websocket', error: fault });
  }

  async #serve(socket: WebSocket, request: IncomingMessage, { method, mapping }: Route): Promise<void> {
    const { gateway, clock, unsent } = this.#options;
    const abort = gateway.calls.begin();
    const stopPings = keepAwake(socket, clock);
    socket.on('close', () => {
      stopPings();
      gateway.calls.end(abort);
      abort.abort();
    });
    // What breaks the framing closes the socket; there is nobody left to tell.
    socket.on('error', () => socket.terminate());
    const call = new SocketCall(request, abort.signal);
    const input = new StreamInput(textsOf(socket, abort.signal, 2 * bytesMax(this.#options)), mapping);
    let begun = false;
    const address = request.socket.remoteAddress ?? 'unknown';
    const hold = (length: number): (() => void) => unsent.holdOn(socket, address, length, () => socket.terminate());
    const say = (text: string): Promise<void> => said(socket, text, hold);
    try {
      await input.first(abort.signal);
      const requests = input.requests(abort.signal);
      if (method.kind === 'stream') {
        await method.handle(requests, call, (first, rest) => {
          begun = true;
          const answer = rest === undefined ? first : Buffer.concat([first, rest]);
          return say(`{"result":${mapping.toText(answer)}}`);
        });
      } else {
        for await (const bytes of requests) {
          await say(mapping.toText(await method.handle(bytes, call)));
          break;
        }
      }
      socket.close(1000);
    } catch (error) {
      const status = gatewayStatus(error, mapping.takesMany ? Status.unknown : Status.invalid_argument);
      await say(begun ? errorLine(status).trimEnd() : errorBody(status));
      socket.close(status.code === Status.unavailable ? 1001 : 1000);
    } finally {
      input.end();
    }
  }
}

async function webSockets(maxPayload: number): Promise<WebSocketServer> {
  const ws = await import('ws');
  return new ws.WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload,
    // The token stands behind the word, and is not said back.
    handleProtocols: (offered) => (offered.has('Bearer') ? 'Bearer' : false),
  });
}

function siteOf({ headers, socket }: IncomingMessage): Site {
  return { host: headers.host ?? '', origin: headers.origin, isSecure: 'encrypted' in socket };
}

/** What a handler sees of a WebSocket. */
class SocketCall implements CallContext {
  readonly #request: IncomingMessage;
  readonly signal: AbortSignal;
  readonly peer: string;

  constructor(request: IncomingMessage, signal: AbortSignal) {
    this.#request = request;
    this.signal = signal;
    this.peer = `${request.socket.remoteAddress ?? 'unknown'}:${request.socket.remotePort ?? 0}`;
  }

  get token(): string | null {
    const { headers } = this.#request;
    const [, offered] = /^\s*Bearer\s*,\s*([^\s,]+)/.exec(headers['sec-websocket-protocol'] ?? '') ?? [];
    return tokenOf(undefined, headers.authorization ?? offered ?? this.#cookie());
  }

  /** Another page's script cannot read it, but its browser would send it along. */
  #cookie(): string | undefined {
    const { headers } = this.#request;
    const site = siteOf(this.#request);
    if (site.origin !== undefined && !isOwn(site)) return undefined;
    return /(?:^|;)\s*token=([^;]*)/.exec(headers.cookie ?? '')?.[1];
  }

  get certificateName(): null {
    return null;
  }

  get hasLeader(): boolean {
    return this.#request.headers['grpc-metadata-hasleader'] === 'true';
  }

  whenOver(tell: TellOver): void {
    tellWhenAborted(this.signal, tell);
  }
}

/** Resolves when little enough is buffered, or when nobody is there any more. */
function said(socket: WebSocket, text: string, hold: (length: number) => () => void): Promise<void> {
  const taken = text.length < UNSENT_COUNTED_BYTES ? null : hold(text.length);
  const sent = new Promise<void>((resolve) => {
    socket.send(text, () => {
      taken?.();
      resolve();
    });
  });
  return socket.bufferedAmount < SEND_BUFFER_BYTES ? TAKEN : sent;
}

/** The JSON values in the messages; while several messages wait to be handled nothing more is read. */
async function* textsOf(socket: WebSocket, signal: AbortSignal, lengthMax: number): AsyncGenerator<string, void> {
  const splitter = new JsonSplitter();
  const waiting: string[] = [];
  let waitingLength = 0;
  let wake = (): void => undefined;
  socket.on('message', (data: RawData, isBinary: boolean) => {
    if (isBinary || !(data instanceof Buffer)) return socket.close(1003, 'messages are text');
    const message = `${data.toString('utf8')}\n`;
    waiting.push(message);
    waitingLength += message.length;
    if (waiting.length >= STREAM_REQUESTS_MAX || waitingLength >= SOCKET_WAITING_MAX) socket.pause();
    wake();
  });
  signal.addEventListener('abort', () => wake(), { once: true });
  while (!signal.aborted) {
    const message = waiting.shift();
    if (message === undefined) {
      if (socket.isPaused) socket.resume();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      continue;
    }
    waitingLength -= message.length;
    for (const text of splitter.push(message)) {
      yield text;
      if (signal.aborted) return;
    }
    if (splitter.pendingLength > lengthMax) throw tooLarge(splitter.pendingLength, lengthMax);
  }
}

/** Cuts off who does not answer; returns what stops asking. */
function keepAwake(socket: WebSocket, clock: Clock): () => void {
  let isHeard = true;
  let cancel = (): void => undefined;
  const hear = (): void => {
    isHeard = true;
  };
  const look = (): void => {
    if (!isHeard) return socket.terminate();
    isHeard = false;
    socket.ping();
    cancel = clock.schedule(SOCKET_PING_MS, look);
  };
  socket.on('pong', hear).on('message', hear);
  cancel = clock.schedule(SOCKET_PING_MS, look);
  return () => cancel();
}
