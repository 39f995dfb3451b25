// Our own gRPC server: the table of methods over HTTP/2. What is no gRPC goes to the port's HTTP server, where that serves at the
// same port (plain-stream.ts), and is refused elsewhere. It takes connections whose first bytes are
// HTTP/2, and is exchangeable with the one that stands on the library (../grpc-server.ts).

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.js';
import { Tally } from '../../base/tally.js';
import { Status } from '../../errors.js';
import { unknownMethodText, type Methods } from '../call.js';
import type { ConnectionLimits, GrpcServerOptions } from '../grpc-server.js';
import { RECEIVE_OVERHEAD_BYTES, REPORT_MS, REPORTED_MAX } from '../limits.js';
import { OpenCalls } from '../open-calls.js';
import type { UnsentAnswers } from '../unsent.js';
import type { ObserveWire } from '../wire-events.js';
import { field, quoted } from './answer-head.js';
import { Connection, type Line } from './connection.js';
import { Deadlines, timeoutMs } from './deadlines.js';
import {
  CALLS_MAX, PING_MIN_MS, PLAIN_STREAMS_MAX, PLAIN_TOTAL_MAX,
  SOCKET_BYTES_MAX, SOCKET_BYTES_MIN, SOCKETS_BYTES_MAX, STREAMS_MAX, UNREAD_TOTAL_BYTES_MAX,
} from './limits.js';
import { CODE } from './protocol.js';
import { PlainStream, type Carrier, type ServeHttp } from './plain-stream.js';
import type { PlainHead } from './request-head.js';
import { cutOff, ServedCall, type CallDoors } from './served-call.js';
import type { Stream } from './stream.js';
import { UnreadRequests, type Holder } from './unread.js';

export class Http2Server {
  readonly #methods: Methods;
  readonly #observe: ObserveWire;
  readonly #clock: Clock;
  readonly #unsent: UnsentAnswers;
  readonly #options: GrpcServerOptions;
  readonly #calls: OpenCalls;
  readonly #deadlines: Deadlines;
  readonly #doors: CallDoors;
  readonly #unread = new UnreadRequests(UNREAD_TOTAL_BYTES_MAX);
  readonly #floods: Tally;
  readonly #carried = new Set<Carried>();
  /** Requests that are no gRPC and have no answer yet. */
  #plainCount = 0;
  #isDraining = false;

  constructor(methods: Methods, options: GrpcServerOptions) {
    this.#methods = methods;
    this.#options = options;
    this.#observe = options.observe;
    this.#clock = options.clock;
    this.#unsent = options.unsent;
    this.#calls = new OpenCalls(options.observe, options.clock);
    this.#deadlines = new Deadlines(options.clock);
    this.#floods = new Tally(options.clock, { intervalMs: REPORT_MS, kindsMax: REPORTED_MAX });
    this.#doors = {
      calls: this.#calls,
      deadlines: this.#deadlines,
      messageBytesMax: options.requestBytesMax + RECEIVE_OVERHEAD_BYTES,
      // Tells our own client whom it talks to; etcd's clients pass over what they do not know.
      streamFields: field('coterie-version', options.version),
      nameOf: options.nameOf,
    };
  }

  /** Takes over a connection whose first bytes are HTTP/2. `serveHttp`: who answers what is no gRPC; null: it is refused. */
  accept(socket: Duplex & Pick<Socket, 'remoteAddress' | 'remotePort'>, serveHttp: ServeHttp | null = null): void {
    const address = socket.remoteAddress ?? 'unknown';
    const peer = `${address}:${socket.remotePort}`;
    const limits = this.#options.connection ?? null;
    const holder: Holder = { address, cutOff: () => connection.cutOff(TOO_MUCH) };
    const http = serveHttp === null ? null : new PlainRequests(serveHttp, socket, (more) => this.#mayAddPlain(more), this.#clock);
    const connection: Connection = new Connection({
      line: lineOf(socket, this.#clock),
      clock: this.#clock,
      streamsMax: Math.min(limits?.streamsMax ?? STREAMS_MAX, STREAMS_MAX),
      // Over TLS etcd leaves HTTP/2 to Go's own server, which counts no pings; its clients may have got used to that.
      pingMinMs: 'encrypted' in socket ? null : limits?.pingMinMs ?? PING_MIN_MS,
      waitingMax: () => this.#waitingMax(),
      onCall: (stream, on) => this.#onCall(stream, on, peer, http),
      onWaiting: (stream, on) => this.#onWaiting(stream, on, address),
      onFlood: (what) => this.#onFlood(what, address),
      onFault: (error) => this.#observe({ kind: 'failed', where: 'http2', error }),
      onUnread: (bytes) => this.#unread.set(holder, bytes),
    });
    const carried = new Carried({ connection, socket, clock: this.#clock, limits });
    this.#carried.add(carried);
    if (this.#isDraining) connection.drain();
    socket.on('data', (bytes: Buffer) => carried.onData(bytes));
    socket.on('drain', () => connection.onDrain());
    socket.on('close', () => {
      carried.close();
      connection.lost();
      this.#carried.delete(carried);
    });
  }

  /** Ends streams with `server stopped`, lets plain calls finish, and resolves when none is open; after `graceMs` cuts off. */
  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true;
    this.#calls.stop();
    for (const { connection } of this.#carried) connection.drain();
    const cancel = this.#clock.schedule(graceMs, () => this.#cutOff());
    await this.#calls.idle();
    cancel();
  }

  close(): void {
    this.#calls.stop();
    this.#cutOff();
    this.#deadlines.close();
  }

  #waitingMax(): number {
    return Math.max(SOCKET_BYTES_MIN, Math.min(SOCKET_BYTES_MAX, SOCKETS_BYTES_MAX / this.#carried.size));
  }

  #cutOff(): void {
    for (const carried of this.#carried) carried.cutOff();
  }

  /** Counts requests that are no gRPC; false: there are too many already. */
  #mayAddPlain(more: 1 | -1): boolean {
    if (more === 1 && this.#plainCount >= PLAIN_TOTAL_MAX) return false;
    this.#plainCount += more;
    return true;
  }

  /** Whoever is cut off may come again at once, and would fill the log. */
  #onFlood(what: string, address: string): void {
    const count = this.#floods.add(`${address} ${what}`);
    if (count > 0) this.#observe({ kind: 'connection_flooded', what, address, count });
  }

  #onCall(stream: Stream, connection: Connection, peer: string, http: PlainRequests | null): void {
    const { head } = stream;
    if (head.plain !== null && http !== null) return http.serve(stream, head.plain, connection);
    if (head.method !== 'POST') return connection.refuse(stream, 405);
    if (head.plain !== null) return connection.refuse(stream, 415);
    const timeout = head.timeout === '' ? null : timeoutMs(head.timeout);
    if (head.timeout !== '' && timeout === null) {
      return connection.sending.end(stream, Status.internal, `malformed grpc-timeout: ${JSON.stringify(quoted(head.timeout))}`);
    }
    const method = this.#methods.get(head.path);
    if (method === undefined) {
      return connection.sending.end(stream, Status.unimplemented, quoted(unknownMethodText(head.path, this.#methods)));
    }
    if (this.#calls.count >= CALLS_MAX) return connection.reset(stream, CODE.refusedStream);
    const call = new ServedCall(method, stream, connection, peer, connection.receivedMs, this.#doors);
    stream.attach(call, this.#doors.messageBytesMax);
    call.begin(timeout);
  }

  #onWaiting(stream: Stream, connection: Connection, address: string): void {
    stream.release?.();
    stream.release = null;
    const release = this.#unsent.hold(address, stream.waitingCost, () => cutOff(stream, connection));
    // There may have been no room for it, and then it has been cut off already.
    if (stream.isReset) release();
    else stream.release = release;
  }
}

/** What a connection is told that is cut off for what it holds. */
const TOO_MUCH = 'requests that are not whole';

/** Of one connection, what is no gRPC. */
class PlainRequests {
  readonly #serveHttp: ServeHttp;
  readonly #carrier: Carrier;
  /** Counts them on all connections; false: there are too many. */
  readonly #mayAdd: (more: 1 | -1) => boolean;
  readonly #clock: Clock;
  #count = 0;

  constructor(serveHttp: ServeHttp, carrier: Carrier, mayAdd: (more: 1 | -1) => boolean, clock: Clock) {
    this.#clock = clock;
    this.#serveHttp = serveHttp;
    this.#carrier = carrier;
    this.#mayAdd = mayAdd;
  }

  serve(stream: Stream, head: PlainHead, connection: Connection): void {
    if (this.#count >= PLAIN_STREAMS_MAX || !this.#mayAdd(1)) return connection.reset(stream, CODE.refusedStream);
    this.#count += 1;
    const onOver = (): void => {
      this.#count -= 1;
      this.#mayAdd(-1);
    };
    const user = new PlainStream(stream, connection, { serve: this.#serveHttp, onOver, clock: this.#clock });
    stream.attachPlain(user);
    user.begin(head, this.#carrier);
  }
}

interface CarriedParts {
  readonly connection: Connection;
  readonly socket: Duplex & Pick<Socket, 'remotePort'>;
  readonly clock: Clock;
  readonly limits: ConnectionLimits | null;
}

/**
 * A connection with its socket, and what time does to it: the pings by which this side finds out that nobody is there any
 * more, and the ends of those that are idle or old.
 */
class Carried {
  readonly connection: Connection;
  readonly #socket: Duplex;
  readonly #clock: Clock;
  readonly #limits: ConnectionLimits | null;
  #cancel: () => void = () => undefined;
  #cancelIdle: () => void = () => undefined;
  #cancelAge: () => void = () => undefined;
  #hasHeard = true;

  constructor({ connection, socket, clock, limits }: CarriedParts) {
    this.connection = connection;
    this.#socket = socket;
    this.#clock = clock;
    this.#limits = limits;
    if (limits === null) return;
    this.#watch();
    if ((limits.idleMs ?? 0) > 0) this.#watchIdle(limits.idleMs ?? 0, -1);
    if ((limits.ageMs ?? 0) > 0) this.#watchAge(limits.ageMs ?? 0, limits.ageGraceMs ?? 0, socket.remotePort ?? 0);
  }

  onData(bytes: Buffer): void {
    this.#hasHeard = true;
    this.connection.receive(bytes);
  }

  close(): void {
    this.#cancel();
    this.#cancelIdle();
    this.#cancelAge();
  }

  cutOff(): void {
    this.connection.close();
    this.#socket.destroy();
  }

  /** `lastStream`: as it was at the last look. Looked at now and then, so that a call costs nothing for it. */
  #watchIdle(idleMs: number, lastStream: number): void {
    this.#cancelIdle = this.#clock.schedule(idleMs, () => {
      const { connection } = this;
      if (connection.streams === 0 && connection.lastStream === lastStream) return connection.drain();
      this.#watchIdle(idleMs, connection.streams === 0 ? connection.lastStream : -1);
    });
  }

  /** Some sooner than others: those that came together must not all come again together. */
  #watchAge(ageMs: number, graceMs: number, port: number): void {
    const share = AGE_SHARE_LEAST + (port % AGE_STEPS) / AGE_STEPS * 2 * (1 - AGE_SHARE_LEAST);
    this.#cancelAge = this.#clock.schedule(ageMs * share, () => {
      this.connection.drain();
      if (graceMs > 0) this.#cancelAge = this.#clock.schedule(graceMs, () => this.cutOff());
    });
  }

  #watch(): void {
    const limits = this.#limits;
    if (limits === null) return;
    this.#hasHeard = false;
    this.#cancel = this.#clock.schedule(limits.pingEveryMs, () => {
      if (this.#hasHeard) return this.#watch();
      this.connection.ping(OURS);
      this.#cancel = this.#clock.schedule(limits.pingTimeoutMs, () => {
        // The answer may be there and not read, if this process has been held up.
        this.#cancel = this.#clock.schedule(0, () => {
          if (this.#hasHeard) this.#watch();
          else this.#socket.destroy();
        });
      });
    });
  }
}

/** An age is what was asked for, more or less a tenth of it. */
const AGE_SHARE_LEAST = 0.9;
const AGE_STEPS = 101;
const OURS = Buffer.from('coterie?', 'latin1');

/** An end that nobody takes is cut off; one that was taken waits a little for the other side, which may still speak. */
const END_MS = 10_000;
const LINGER_MS = 1000;

function lineOf(socket: Duplex, clock: Clock): Line {
  return {
    get writableLength() {
      return socket.writableLength;
    },
    cork: () => socket.cork(),
    uncork: () => socket.uncork(),
    write: (bytes) => socket.write(bytes),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    end: () => endGently(socket, clock),
    destroy: () => void socket.destroy(),
  };
}

/** What has come and was not read would turn the end into a reset, by which the other side may lose what it has not read. */
function endGently(socket: Duplex, clock: Clock): void {
  let cancel = clock.schedule(END_MS, () => socket.destroy());
  socket.once('close', () => cancel());
  socket.resume();
  socket.end(() => {
    cancel();
    cancel = clock.schedule(LINGER_MS, () => socket.destroy());
  });
}
