// One connection of HTTP/1.1 whose requests are served ahead of Node's server, as long as they are plain calls of the API in
// their usual form. The first that is not is handed over with the connection, from its first byte on and for good; nothing of it
// has been looked at by then but its head. What is answered here is what the long way answers, header fields included.
//
// One request at a time: what was sent ahead of an answer waits for its turn, and beyond a bound is not read. A request that
// does not come at once is handed over too, so that the time-outs of slow heads and bodies are in one place.

import type { Socket } from 'node:net';
import { present } from '../../base/assert.js';
import type { Clock } from '../../base/clock.js';
import { Status } from '../../errors.js';
import { tokenOf, type CallContext } from '../call.js';
import { Count } from '../counted.js';
import { siteFault, type CrossSiteRules } from '../cross-site.js';
import { errorBody, gatewayStatus, httpStatusOf, type Route } from '../http-gateway.js';
import { HTTP_IDLE_MS, UNSENT_COUNTED_BYTES } from '../limits.js';
import { asError } from '../open-calls.js';
import { isFault, statusOf } from '../status.js';
import type { UnsentAnswers } from '../unsent.js';
import type { ObserveWire } from '../wire-events.js';
import type { AnswerHeads } from './answer-heads.js';
import { AHEAD_BYTES_MAX, HEAD_BYTES_MAX, PIECES_MAX, REST_MS } from './limits.js';
import { mayBeHead, readHead, type KnownFields, type RequestHead } from './request-head.js';

export interface ConnectionDoors {
  readonly clock: Clock;
  readonly observe: ObserveWire;
  readonly unsent: UnsentAnswers;
  readonly crossSite: CrossSiteRules;
  readonly heads: AnswerHeads;
  readonly routeAt: (path: string) => Route | null;
  /** The connection is Node's from now on. */
  readonly handOver: (socket: Socket) => void;
  /** It has ended, or was handed over. */
  readonly forget: (connection: HttpConnection) => void;
}

const EMPTY_LINE = '\r\n\r\n';
const NOT_WHOLE = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n';

export class HttpConnection {
  readonly #socket: Socket;
  readonly #doors: ConnectionDoors;
  readonly #isSecure: boolean;
  readonly #peer: string;
  /** What has come and is not served. */
  #held: Buffer | null = null;
  #pieces = 0;
  /** The last head and what it says, because a caller's next is often the same. */
  #lastBytes: Buffer | null = null;
  #lastHead: RequestHead | null = null;
  #lastCall: CallContext | null = null;
  /** Of the call under way, or the last. */
  #route: Route | null = null;
  #count: Count | null = null;
  #isServing = false;
  /** The caller sends no more. */
  #hasEnded = false;
  /** The next answer is the last. */
  #isLast = false;
  /** Handed over, or gone. */
  #isOver = false;
  #cancelRest: (() => void) | null = null;

  constructor(socket: Socket, isSecure: boolean, doors: ConnectionDoors) {
    this.#socket = socket;
    this.#isSecure = isSecure;
    this.#doors = doors;
    this.#peer = `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
    socket.setTimeout(HTTP_IDLE_MS);
    socket.on('data', this.#onData).on('end', this.#onEnd).on('drain', this.#onDrain);
    socket.on('timeout', this.#onTimeout).on('close', this.#onClose);
  }

  /** The server goes: what is idle ends at once, and an answer under way, or to a request that has begun to come, is the last. */
  stop(): void {
    this.#isLast = true;
    if (!this.#isServing && this.#held === null) this.#endSoon();
  }

  // Handlers are fields, so that they can be taken off again.

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isOver) return;
    this.#held = this.#held === null ? chunk : Buffer.concat([this.#held, chunk]);
    this.#pieces += 1;
    if (!this.#isBusy) this.#serveNext();
    else if (this.#isFull) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    if (!this.#isBusy && !this.#isOver) this.#serveNext();
  };

  readonly #onDrain = (): void => this.#goOn();

  /** Nothing has moved for long: nobody asks, or nobody takes the answer. */
  readonly #onTimeout = (): void => {
    if (!this.#isServing) this.#socket.destroy();
  };

  readonly #onClose = (): void => this.#leave();

  /** An answer is under way, or its reader has not taken enough of the last. */
  get #isBusy(): boolean {
    return this.#isServing || this.#socket.writableNeedDrain;
  }

  /** As much was sent ahead as is read of it. */
  get #isFull(): boolean {
    return (this.#held?.length ?? 0) >= AHEAD_BYTES_MAX || this.#pieces > PIECES_MAX;
  }

  #goOn(): void {
    if (this.#isBusy || this.#isOver) return;
    this.#serveNext();
    // Not for each answer, of which another 64 KiB would come each time. Who is not busy lacks the rest of a request.
    const mayRead = !this.#isOver && !(this.#isBusy && this.#isFull);
    if (mayRead && this.#socket.isPaused()) this.#socket.resume();
  }

  #leave(): void {
    this.#isOver = true;
    this.#held = null;
    this.#cancelRest?.();
    this.#cancelRest = null;
    this.#doors.forget(this);
  }

  #handOver(): void {
    const socket = this.#socket;
    const held = this.#held;
    if (this.#hasEnded) return this.#endWith('');
    this.#leave();
    socket.off('data', this.#onData).off('end', this.#onEnd).off('drain', this.#onDrain);
    socket.off('timeout', this.#onTimeout).off('close', this.#onClose).setTimeout(0);
    socket.pause();
    if (held !== null) socket.unshift(held);
    this.#doors.handOver(socket);
    socket.resume();
  }

  #endWith(text: string): void {
    this.#leave();
    this.#socket.end(text);
  }

  /** When what was said is taken. */
  #endSoon(): void {
    this.#leave();
    this.#socket.destroySoon();
  }

  /** Serves what is there, until one has to be waited for. */
  #serveNext(): void {
    while (this.#held !== null && !this.#isBusy && !this.#isOver && !this.#socket.destroyed) {
      const head = this.#readHead(this.#held);
      const headBytes = this.#lastBytes?.length ?? 0;
      if (head === null || this.#held.length < headBytes + head.bodyBytes) return this.#awaitRest();
      const end = headBytes + head.bodyBytes;
      const body = this.#held.toString('utf8', headBytes, end);
      this.#held = this.#held.length === end ? null : this.#held.subarray(end);
      this.#pieces = this.#held === null ? 0 : 1;
      this.#cancelRest?.();
      this.#cancelRest = null;
      this.#serve(head, body);
    }
    if (this.#hasEnded && !this.#isBusy && !this.#isOver) this.#endWith('');
  }

  /** Null: it is not there yet, or not for us, in which case the connection is over. */
  #readHead(bytes: Buffer): RequestHead | null {
    const last = this.#lastBytes;
    if (last !== null && bytes.length >= last.length && bytes.compare(last, 0, last.length, 0, last.length) === 0) {
      return this.#lastHead;
    }
    const length = mayBeHead(bytes) ? bytes.indexOf(EMPTY_LINE) : HEAD_BYTES_MAX;
    if (length === -1 && bytes.length < HEAD_BYTES_MAX) return null;
    const isShort = length >= 0 && length < HEAD_BYTES_MAX;
    const head = isShort ? readHead(bytes.toString('latin1', 0, length), this.#doors.routeAt) : null;
    if (head === null || !this.#mayAsk(head.fields)) {
      this.#handOver();
      return null;
    }
    // A copy: the piece it came in is large.
    this.#lastBytes = Buffer.from(bytes.subarray(0, length + EMPTY_LINE.length));
    this.#lastHead = head;
    this.#lastCall = new HttpCaller(head.fields, this.#peer);
    return head;
  }

  /** A page is told that it may read the answer where origins are named, in words of its own. */
  #mayAsk(fields: KnownFields): boolean {
    const { crossSite } = this.#doors;
    const isPage = crossSite.origins !== null && fields.origin !== undefined;
    return !isPage && siteFault(crossSite, { ...fields, isSecure: this.#isSecure }) === null;
  }

  #awaitRest(): void {
    if (this.#isOver) return;
    if (this.#hasEnded) return this.#endWith(NOT_WHOLE);
    if (this.#pieces > PIECES_MAX) return this.#handOver();
    this.#cancelRest ??= this.#doors.clock.schedule(REST_MS, () => {
      this.#cancelRest = null;
      this.#handOver();
    });
  }

  #serve(head: RequestHead, body: string): void {
    const { plain, mapping } = head.route;
    if (head.isLast) this.#isLast = true;
    if (plain.kind !== 'unary' || this.#lastCall === null) return;
    let bytes: Uint8Array;
    try {
      bytes = mapping.toBytes(body);
    } catch (error) {
      return this.#refuse(error);
    }
    const { observe, clock } = this.#doors;
    const count = new Count(clock.now());
    this.#isServing = true;
    this.#route = head.route;
    this.#count = count;
    observe({ kind: 'call_started', method: plain, clientVersion: null });
    count.received(bytes);
    plain.handle(bytes, this.#lastCall).then(this.#onAnswer, this.#onFault);
  }

  readonly #onAnswer = (answer: Uint8Array): void => {
    const { observe, clock } = this.#doors;
    const { plain, mapping } = present(this.#route, 'the route of a call under way');
    const count = present(this.#count, 'the count of a call under way');
    count.sent(answer);
    observe(count.handled(plain, Status.ok, clock.now()));
    this.#isServing = false;
    try {
      const text = mapping.toText(answer);
      const bytes = Buffer.byteLength(text);
      this.#send(this.#doors.heads.answer(bytes, this.#isLast), text, bytes);
    } catch (error) {
      this.#refuse(error);
    }
    this.#goOn();
  };

  readonly #onFault = (error: unknown): void => {
    const { observe, clock } = this.#doors;
    const { plain } = present(this.#route, 'the route of a call under way');
    const count = present(this.#count, 'the count of a call under way');
    if (isFault(error)) observe({ kind: 'failed', where: 'http', error: asError(error) });
    observe(count.handled(plain, statusOf(error).code, clock.now()));
    this.#isServing = false;
    this.#refuse(error);
    this.#goOn();
  };

  #refuse(error: unknown): void {
    const status = gatewayStatus(error, Status.invalid_argument);
    const text = errorBody(status);
    const bytes = Buffer.byteLength(text);
    this.#send(this.#doors.heads.refusal(httpStatusOf(status.code), bytes, this.#isLast), text, bytes);
  }

  #send(head: string, text: string, bytes: number): void {
    const socket = this.#socket;
    if (this.#isOver || socket.destroyed) return;
    // Plain ASCII, as nearly all answers are, is taken as it is.
    const encoding = bytes === text.length ? 'latin1' : 'utf8';
    if (text.length < UNSENT_COUNTED_BYTES) socket.write(head + text, encoding);
    else {
      const address = socket.remoteAddress ?? 'unknown';
      const release = this.#doors.unsent.holdOn(socket, address, text.length, () => socket.destroy());
      socket.write(head + text, encoding, () => release());
    }
    // As the head says, nothing follows.
    if (this.#isLast) this.#endSoon();
  }
}

/** What a handler sees of a caller by HTTP. */
class HttpCaller implements CallContext {
  readonly #fields: KnownFields;
  readonly peer: string;

  constructor(fields: KnownFields, peer: string) {
    this.#fields = fields;
    this.peer = peer;
  }

  get token(): string | null {
    const { metadataToken, metadataAuthorization, authorization } = this.#fields;
    return tokenOf(metadataToken, metadataAuthorization ?? authorization);
  }

  /** As for every caller of the gateway (contract 8.2). */
  get certificateName(): null {
    return null;
  }

  get hasLeader(): boolean {
    return this.#fields.hasLeader === 'true';
  }

  /** A plain call is not told that its caller left. */
  get signal(): AbortSignal {
    return new AbortController().signal;
  }

  whenOver(): void {
    // Neither by call.
  }
}
