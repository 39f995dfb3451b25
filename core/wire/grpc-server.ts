// Mounts the table of methods on the gRPC library. The only server file that knows the library: raw bytes in and out, errors
// to statuses, back-pressure, and a registry of open calls of our own, because the library cannot say when it has drained.
//
// Nothing may throw into the library: a handler that rejects there would end the process. The library keeps one message
// limit with a text of its own; here etcd's text goes out for what is read, and far larger messages are cut off unread.

import {
  logVerbosity,
  Server,
  ServerCredentials,
  setLogVerbosity,
  type ConnectionInjector,
  type ServerInterceptingCall,
  type ServerOptions,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js';
import type { Http2Stream, ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import { view } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import { ApiError, Status } from '../errors.js';
import { pathOf, TAKEN, tellWhenAborted, tokenOf, unknownMethodText } from './call.js';
import type { CallContext, Method, Methods, Send, StreamMethod, TellOver, UnaryMethod } from './call.js';
import { Count } from './counted.js';
import { RECEIVE_OVERHEAD_BYTES, SEND_BUFFER_BYTES, UNSENT_COUNTED_BYTES } from './limits.js';
import { tellAddress } from './authority.js';
import { OpenCalls, type OpenCall } from './open-calls.js';
import { SessionGuard } from './session-guard.js';
import { OK, type WireStatus } from './status.js';
import type { UnsentAnswers } from './unsent.js';
import type { ObserveWire } from './wire-events.js';

export interface ConnectionLimits {
  /** etcd: --max-concurrent-streams. */
  readonly streamsMax: number;
  /** etcd: --grpc-keepalive-interval. */
  readonly pingEveryMs: number;
  /** etcd: --grpc-keepalive-timeout. */
  readonly pingTimeoutMs: number;
  /** etcd: --grpc-keepalive-min-time. Default 5 seconds; the library answers pings as often as they come. */
  readonly pingMinMs?: number;
  /** A connection without calls for so long, up to twice that, is ended. Default: never. */
  readonly idleMs?: number;
  /** A connection of this age, a tenth more or less, begins no more calls; default: it may grow as old as it likes. */
  readonly ageMs?: number;
  /** And those that are open have so long. Default: as long as they take. */
  readonly ageGraceMs?: number;
}

export interface GrpcServerOptions {
  readonly requestBytesMax: number;
  readonly observe: ObserveWire;
  readonly clock: Clock;
  readonly unsent: UnsentAnswers;
  /** Streams open at once on one connection, pings of ours and how long they may go unanswered. */
  readonly connection?: ConnectionLimits;
  /** Goes out as the header `coterie-version` on streams, by which our own client knows what it may rely on. */
  readonly version: string;
  /** The name that the certificate of who calls from this address gives him; null: certificates name nobody. */
  readonly nameOf: ((peer: string) => string | null) | null;
}

/** Rewords what the library says about an oversized message. */
const LIBRARY_TOO_LARGE = /^Received message larger than max \((\d+) vs (\d+)\)$/;

export class GrpcServer {
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #observe: ObserveWire;
  readonly #clock: Clock;
  readonly #unsent: UnsentAnswers;
  readonly #version: string;
  readonly #nameOf: ((peer: string) => string | null) | null;
  readonly #calls: OpenCalls;

  constructor(methods: Methods, options: GrpcServerOptions) {
    this.#clock = options.clock;
    this.#unsent = options.unsent;
    // It writes to the standard error by itself, and what callers sent it, tokens too, as they sent it.
    setLogVerbosity(logVerbosity.NONE);
    this.#observe = options.observe;
    this.#calls = new OpenCalls(options.observe, options.clock);
    this.#version = options.version;
    this.#nameOf = options.nameOf;
    this.#server = new Server({
      'grpc.max_receive_message_length': options.requestBytesMax + RECEIVE_OVERHEAD_BYTES,
      'grpc.max_send_message_length': -1,
      'grpc.enable_channelz': 0,
      ...connectionOptions(options.connection),
      // Every status leaves through here, the library's own too, so its words can be etcd's.
      interceptors: [
        (_method, call) => {
          const send = call.sendStatus.bind(call);
          call.sendStatus = (status) => send({ ...status, details: reworded(status.details ?? '') });
          return call as ServerInterceptingCall;
        },
      ],
    });
    for (const method of methods.values()) this.#mount(method);
    answerUnknown(this.#server, methods);
    guardStreams(this.#server);
    this.#guardSessions();
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Takes over a connection whose first bytes are HTTP/2. */
  accept(socket: Duplex): void {
    this.#injector.injectConnection(socket);
  }

  /** Ends streams with `server stopped`, lets plain calls finish, and resolves when none is open; after `graceMs` cuts off. */
  async drain(graceMs: number): Promise<void> {
    this.#calls.stop();
    this.#injector.drain(graceMs);
    await this.#calls.idle();
  }

  close(): void {
    this.#calls.stop();
    this.#injector.destroy();
    this.#server.forceShutdown();
  }

  /** The library knows each connection first, and tells nobody. */
  #guardSessions(): void {
    const known: unknown = Reflect.get(this.#server, '_sessionHandler');
    Reflect.set(this.#server, '_sessionHandler', (server: unknown): unknown => {
      const inner: unknown = typeof known === 'function' ? Reflect.apply(known, this.#server, [server]) : null;
      return (session: ServerHttp2Session): void => {
        tellAddress(session);
        if (typeof inner === 'function') Reflect.apply(inner, this.#server, [session]);
        const address = session.socket.remoteAddress ?? 'unknown';
        new SessionGuard(session, this.#clock, (what) => this.#observe({ kind: 'connection_flooded', what, address, count: 1 }));
      };
    });
  }

  #mount(method: Method): void {
    const path = pathOf(method);
    if (method.kind === 'unary') {
      this.#server.register(path, (call: UnaryCall, reply: Reply) => this.#onUnary(method, call, reply), same, same, 'unary');
    } else {
      this.#server.register(path, (stream: Stream) => this.#onStream(method, stream), same, same, 'bidi');
    }
  }

  #onUnary(method: UnaryMethod, library: UnaryCall, reply: Reply): void {
    const call = this.#begin(method, library);
    call.count.received(library.request);
    method.handle(library.request, call).then(
      (answer) => {
        call.count.sent(answer);
        reply(null, view(answer));
        if (answer.length >= UNSENT_COUNTED_BYTES) this.#hold(library, answer.length);
        this.#calls.end(call, OK);
      },
      (error: unknown) => {
        const status = this.#calls.judge(method, error);
        reply({ code: status.code, details: status.text });
        this.#calls.end(call, status);
      },
    );
  }

  #onStream(method: StreamMethod, stream: Stream): void {
    const call = this.#begin(method, stream);
    // The headers tell our own client whom it talks to; etcd's clients ignore what they do not know.
    const headers = stream.metadata.clone();
    for (const key of Object.keys(headers.getMap())) headers.remove(key);
    headers.set('coterie-version', this.#version);
    stream.sendMetadata(headers);
    const send = sender(stream, call, (bytes) => this.#hold(stream, bytes));
    method.handle(requestsOf(stream, call), call, send).then(
      () => {
        stream.end();
        this.#calls.end(call, call.signal.aborted ? CANCELED : OK);
      },
      (error: unknown) => {
        const status = this.#calls.judge(method, error);
        if (!call.gone) stream.emit('error', { code: status.code, details: status.text });
        this.#calls.end(call, status);
      },
    );
  }

  /** A large answer, until it is taken; returns what says so, if that shows before the end of the stream. */
  #hold(library: UnaryCall | Stream, bytes: number): () => void {
    const stream = http2StreamOf(library);
    if (stream === null || stream.destroyed) return () => undefined;
    const address = library.getPeer().replace(/:\d+$/, '');
    return this.#unsent.holdOn(stream, address, bytes, () => {
      stream.close(ENHANCE_YOUR_CALM);
      // Lets go of its bytes at once, even if the reader does not take the news either.
      stream.destroy();
    });
  }

  #begin(method: Method, library: UnaryCall | Stream): Call {
    const call = new Call(method, library, this.#nameOf, this.#clock.now());
    this.#calls.begin(call);
    return call;
  }
}

function connectionOptions(limits: ConnectionLimits | undefined): ServerOptions {
  if (limits === undefined) return {};
  const { streamsMax, pingEveryMs, pingTimeoutMs, idleMs = 0, ageMs = 0, ageGraceMs = 0 } = limits;
  return {
    'grpc.max_concurrent_streams': streamsMax, 'grpc.keepalive_time_ms': pingEveryMs, 'grpc.keepalive_timeout_ms': pingTimeoutMs,
    ...(idleMs > 0 ? { 'grpc.max_connection_idle_ms': idleMs } : {}),
    ...(ageMs > 0 ? { 'grpc.max_connection_age_ms': ageMs } : {}),
    ...(ageMs > 0 && ageGraceMs > 0 ? { 'grpc.max_connection_age_grace_ms': ageGraceMs } : {}),
  };
}

/** RFC 9113 section 7. */
const ENHANCE_YOUR_CALM = 0xb;

/**
 * What carries a call; the library keeps it to itself. Null: it does so in another way now, and
 * test/core/wire/unsent.test.ts fails.
 */
function http2StreamOf(library: UnaryCall | Stream): Http2Stream | null {
  const call: unknown = Reflect.get(library, 'call');
  const stream: unknown = typeof call === 'object' && call !== null ? Reflect.get(call, 'stream') : null;
  return isHttp2Stream(stream) ? stream : null;
}

function isHttp2Stream(stream: unknown): stream is Http2Stream {
  return typeof stream === 'object' && stream !== null && 'rstCode' in stream && 'close' in stream;
}

type UnaryCall = ServerUnaryCall<Buffer, Buffer>;
type Stream = ServerDuplexStream<Buffer, Buffer>;
type Reply = sendUnaryData<Buffer>;

const CANCELED: WireStatus = { code: Status.canceled, text: 'canceled' };

function same(bytes: Buffer): Buffer {
  return bytes;
}

function reworded(text: string): string {
  const match = LIBRARY_TOO_LARGE.exec(text);
  return match === null ? text : `grpc: received message larger than max (${match[1]} vs. ${match[2]})`;
}

/** One open call: what the handler sees of it. */
class Call implements CallContext, OpenCall {
  readonly method: Method;
  readonly count: Count;
  readonly #library: UnaryCall | Stream;
  readonly #nameOf: ((peer: string) => string | null) | null;
  #name: string | null = null;
  #abort: AbortController | null = null;
  #stopped = false;
  place = -1;
  gone = false;

  constructor(method: Method, library: UnaryCall | Stream, nameOf: ((peer: string) => string | null) | null, beganMs: number) {
    this.count = new Count(beganMs);
    this.method = method;
    this.#library = library;
    this.#nameOf = nameOf;
    library.on('cancelled', () => {
      this.gone = true;
      this.#abort?.abort();
    });
  }

  get token(): string | null {
    const { metadata } = this.#library;
    return tokenOf(metadata.get('token')[0]?.toString(), metadata.get('authorization')[0]?.toString());
  }

  /** Once known it stays: the address may be somebody else's when this connection is gone. */
  get certificateName(): string | null {
    this.#name ??= this.#nameOf === null ? null : this.#nameOf(this.peer);
    return this.#name;
  }

  /** As etcd's own client says it of itself. */
  get clientVersion(): string | null {
    const value = this.#library.metadata.get('client-api-version')[0];
    return value === undefined ? null : String(value);
  }

  get hasLeader(): boolean {
    return this.#library.metadata.get('hasleader')[0] === 'true';
  }

  get peer(): string {
    return this.#library.getPeer();
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.#stopped) this.#abort.abort(new ApiError('stopped'));
      else if (this.gone) this.#abort.abort();
    }
    return this.#abort.signal;
  }

  whenOver(tell: TellOver): void {
    tellWhenAborted(this.signal, tell);
  }

  /** The server goes away: what may wait for long ends with that word, a plain call is left to finish. */
  stop(): void {
    this.#stopped = true;
    if (this.method.kind === 'stream' || this.method.waits === true) this.#abort?.abort(new ApiError('stopped'));
  }
}

/** The caller's messages; ends with the half-close, and with an abort. One message is read ahead by the library. */
async function* requestsOf(stream: Stream, call: Call): AsyncGenerator<Uint8Array> {
  let wake: () => void = () => undefined;
  let ended = false;
  const onEnd = (): void => {
    ended = true;
    wake();
  };
  const onReadable = (): void => wake();
  stream.on('readable', onReadable).on('end', onEnd).on('close', onEnd).on('cancelled', onEnd);
  call.signal.addEventListener('abort', onEnd);
  while (!call.signal.aborted) {
    const message: unknown = stream.read();
    if (message instanceof Uint8Array) {
      call.count.received(message);
      yield message;
    } else if (ended) {
      return;
    } else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}

/** Writes, and resolves when little enough is buffered; at once when the caller is gone. */
function sender(stream: Stream, call: Call, hold: (bytes: number) => () => void): Send {
  let buffered = 0;
  let waiting: (() => void)[] = [];
  const release = (): void => {
    const woken = waiting;
    waiting = [];
    for (const resume of woken) resume();
  };
  call.signal.addEventListener('abort', release);
  return (first, rest) => {
    if (call.signal.aborted) return TAKEN;
    const answer = rest === undefined ? first : Buffer.concat([first, rest]);
    buffered += answer.length;
    call.count.sent(answer);
    const taken = answer.length >= UNSENT_COUNTED_BYTES ? hold(answer.length) : null;
    stream.write(view(answer), () => {
      taken?.();
      buffered -= answer.length;
      if (buffered < SEND_BUFFER_BYTES) release();
    });
    if (buffered < SEND_BUFFER_BYTES) return TAKEN;
    return new Promise<void>((resolve) => waiting.push(resolve));
  };
}

/**
 * The library has one answer to every unknown path, with a text of its own, and no public way to word it. Its look-up of
 * handlers is replaced here by one that knows an answer for every path; test/core/wire/grpc-server.test.ts fails if a
 * new release looks handlers up in another way.
 */
function answerUnknown(server: Server, methods: Methods): void {
  const known: unknown = Reflect.get(server, '_retrieveHandler');
  Reflect.set(server, '_retrieveHandler', (path: string): unknown => {
    const handler: unknown = typeof known === 'function' ? Reflect.apply(known, server, [path]) : null;
    if (handler !== null) return handler;
    const details = unknownMethodText(path, methods);
    const func = (stream: Stream): void => void stream.emit('error', { code: Status.unimplemented, details });
    return { path, type: 'bidi', func, serialize: same, deserialize: same };
  });
}

/**
 * The library answers to a request it does not like without looking whether the stream is still there, and throws out of the
 * event when it is not: a request and its reset in one packet would end the process. What cannot be answered is dropped.
 * test/core/wire/hostile.test.ts fails if a new release takes streams in another way.
 */
function guardStreams(server: Server): void {
  const known: unknown = Reflect.get(server, '_streamHandler');
  Reflect.set(server, '_streamHandler', (interceptors: unknown, stream: Duplex, headers: unknown): void => {
    if (stream.destroyed || typeof known !== 'function') return;
    try {
      Reflect.apply(known, server, [interceptors, stream, headers]);
    } catch {
      stream.destroy();
    }
  });
}
