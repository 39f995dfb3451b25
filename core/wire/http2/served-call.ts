// One call as it is served: between its stream and its handler. It is what the handler sees of its caller, too.

import { gunzipSync, inflateSync } from 'node:zlib';
import { ApiError, Status } from '../../errors.js';
import { TAKEN, tokenOf } from '../call.js';
import type { CallContext, Method, StreamMethod, TellOver, UnaryMethod } from '../call.js';
import { Count } from '../counted.js';
import { SEND_BUFFER_BYTES } from '../limits.js';
import type { OpenCall, OpenCalls } from '../open-calls.js';
import { OK, type WireStatus } from '../status.js';
import { quoted } from './answer-head.js';
import type { Connection } from './connection.js';
import type { Deadline, Deadlines, Timed } from './deadlines.js';
import { CODE } from './protocol.js';
import { detached, Requests } from './requests.js';
import type { Stream, StreamUser } from './stream.js';

export interface CallDoors {
  readonly calls: OpenCalls;
  readonly deadlines: Deadlines;
  readonly messageBytesMax: number;
  /** Coded header fields that go out ahead of a stream's messages. */
  readonly streamFields: Uint8Array;
  readonly nameOf: ((peer: string) => string | null) | null;
}

const CANCELED: WireStatus = { code: Status.canceled, text: 'canceled' };
const LATE: WireStatus = { code: Status.deadline_exceeded, text: 'context deadline exceeded' };
const NO_MESSAGE: WireStatus = { code: Status.internal, text: 'the call ended without its message' };
const TWO_MESSAGES: WireStatus = { code: Status.internal, text: 'a second message came in a call that takes one' };
const NOT_WHOLE: WireStatus = { code: Status.internal, text: 'the caller ended within a message' };
const TOO_MANY: WireStatus = {
  code: Status.resource_exhausted, text: 'too many messages of this connection wait to be handled',
};
const NO_ENCODING: WireStatus = {
  code: Status.internal, text: 'grpc: compressed flag set with identity or empty encoding',
};

/** What a message costs that waits, beyond its bytes: of none at all as well. */
const MESSAGE_OVERHEAD_BYTES = 128;

export class ServedCall implements StreamUser, CallContext, OpenCall, Timed {
  readonly method: Method;
  readonly peer: string;
  readonly count: Count;
  place = -1;
  gone = false;
  readonly #stream: Stream;
  readonly #connection: Connection;
  readonly #doors: CallDoors;
  /** Of a stream: its messages; of a plain call: null. */
  readonly #requests: Requests | null;
  #request: Uint8Array | null = null;
  #deadline: Deadline | null = null;
  #abort: AbortController | null = null;
  /** Whom to tell, besides the signal. */
  #tell: TellOver | null = null;
  #isStopped = false;
  #isRunning = false;
  /** It has its status: what the handler still says goes nowhere. */
  #isOver = false;
  #name: string | null = null;
  /** Null: nobody waits to send more. */
  #awaiting: (() => void)[] | null = null;

  constructor(method: Method, stream: Stream, connection: Connection, peer: string, beganMs: number, doors: CallDoors) {
    this.method = method;
    this.peer = peer;
    this.count = new Count(beganMs);
    this.#stream = stream;
    this.#connection = connection;
    this.#doors = doors;
    this.#requests = method.kind === 'unary' ? null : new Requests((bytes) => this.#onTaken(bytes));
  }

  /** `timeout` in milliseconds; null: it may take as long as it likes. */
  begin(timeout: number | null): void {
    if (timeout !== null) this.#deadline = this.#doors.deadlines.add(this, timeout);
    this.#doors.calls.begin(this);
    if (this.method.kind === 'stream') this.#runStream(this.method);
  }

  // What the handler sees

  get token(): string | null {
    const { token, authorization } = this.#stream.head;
    return tokenOf(token, authorization);
  }

  /** Once known it stays: the address may be somebody else's when this connection is gone. */
  get certificateName(): string | null {
    const { nameOf } = this.#doors;
    this.#name ??= nameOf === null ? null : nameOf(this.peer);
    return this.#name;
  }

  get clientVersion(): string | null {
    return this.#stream.head.clientVersion;
  }

  get hasLeader(): boolean {
    return this.#stream.head.hasLeader;
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.#isStopped) this.#abort.abort(new ApiError('stopped'));
      else if (this.gone || this.#isOver) this.#abort.abort(GONE);
    }
    return this.#abort.signal;
  }

  whenOver(tell: TellOver): void {
    const before = this.#tell;
    if (this.#isStopped) tell(new ApiError('stopped'));
    else if (this.gone || this.#isOver) tell(null);
    else if (before === null) this.#tell = tell;
    else this.#tell = (why) => [before, tell].forEach((one) => one(why));
  }

  stop(): void {
    if (this.method.kind === 'unary' && this.method.waits !== true) return;
    this.#isStopped = true;
    this.#requests?.abort();
    this.#abort?.abort(new ApiError('stopped'));
    this.#tellOver(new ApiError('stopped'));
    this.#release();
  }

  // What the stream tells

  onMessage(message: Uint8Array, isCompressed: boolean): void {
    if (this.#isOver) return;
    const plain = isCompressed ? this.#unpack(message) : message;
    if (plain === null) return;
    this.count.received(plain);
    const requests = this.#requests;
    if (requests === null && this.#request !== null) return this.#finish(TWO_MESSAGES);
    const held = plain.length + MESSAGE_OVERHEAD_BYTES;
    if (!this.#connection.hold(held)) {
      this.#connection.hold(-held);
      return this.#finish(TOO_MANY);
    }
    if (requests === null) {
      // It is handled at once and forgotten, unless there is something to wait for.
      const isKept = !this.#stream.isHeard || (this.method.kind === 'unary' && this.method.waits === true);
      this.#request = isKept ? detached(plain) : plain;
      return;
    }
    requests.push(plain);
    this.#stream.isPaused = requests.isFull;
  }

  onTooLarge(length: number): void {
    const text = `grpc: received message larger than max (${length} vs. ${this.#doors.messageBytesMax})`;
    this.#finish({ code: Status.resource_exhausted, text });
  }

  onEnd(isWhole: boolean): void {
    if (this.#isOver) return;
    if (!isWhole) return this.#finish(NOT_WHOLE);
    if (this.#requests !== null) return this.#requests.end();
    const request = this.#takeRequest();
    if (request === null) return this.#finish(NO_MESSAGE);
    if (this.method.kind === 'unary') this.#runUnary(this.method, request);
  }

  onGone(): void {
    this.gone = true;
    this.#leave();
    // What is under way ends with its handler, whom nobody hears.
    if (!this.#isRunning) this.#finish(CANCELED);
  }

  onDeadline(): void {
    this.#deadline = null;
    this.#finish(LATE);
  }

  onTaken(): void {
    this.#release();
  }

  /** Of a plain call; it is the handler's from then on. */
  #takeRequest(): Uint8Array | null {
    const request = this.#request;
    this.#request = null;
    if (request !== null) this.#connection.hold(-request.length - MESSAGE_OVERHEAD_BYTES);
    return request;
  }

  #runUnary(method: UnaryMethod, request: Uint8Array): void {
    this.#isRunning = true;
    let answer: Promise<Uint8Array>;
    // A handler that throws where it should reject fails its own call, and not the connection it came on.
    try {
      answer = method.handle(request, this);
    } catch (error) {
      return this.#fault(error);
    }
    answer.then((bytes) => this.#answer(bytes), (error: unknown) => this.#fault(error));
  }

  #answer(bytes: Uint8Array): void {
    if (this.#isOver || this.gone) return this.#end(CANCELED);
    this.count.sent(bytes);
    this.#connection.sending.answer(this.#stream, bytes);
    this.#end(OK);
  }

  #fault(error: unknown): void {
    this.#finish(this.#doors.calls.judge(this.method, error));
  }

  #runStream(method: StreamMethod): void {
    const requests = this.#requests;
    if (requests === null) return;
    this.#isRunning = true;
    this.#connection.sending.begin(this.#stream, this.#doors.streamFields);
    let answered: Promise<void>;
    try {
      answered = method.handle(requests, this, (answer, rest) => this.#send(answer, rest));
    } catch (error) {
      return this.#fault(error);
    }
    answered.then(
      () => this.#finish(this.gone || this.#isStopped ? CANCELED : OK, OK),
      (error: unknown) => this.#fault(error),
    );
  }

  #send(answer: Uint8Array, rest = NOTHING): Promise<void> {
    if (this.#isOver || this.gone || this.#isStopped) return TAKEN;
    this.count.sent(answer, rest);
    this.#connection.sending.send(this.#stream, answer, rest);
    if (this.#stream.waitingCost < SEND_BUFFER_BYTES) return TAKEN;
    return new Promise((resolve) => {
      (this.#awaiting ??= []).push(resolve);
    });
  }

  /** `told`: what the caller hears, where that differs from what is counted. */
  #finish(status: WireStatus, told = status): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (!this.gone) this.#connection.sending.end(this.#stream, told.code, told.text);
    this.#leave();
    this.#doors.calls.end(this, status);
  }

  #end(status: WireStatus): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#deadline !== null) this.#doors.deadlines.delete(this.#deadline);
    this.#doors.calls.end(this, status);
  }

  #leave(): void {
    if (this.#deadline !== null) this.#doors.deadlines.delete(this.#deadline);
    this.#deadline = null;
    this.#requests?.abort();
    this.#takeRequest();
    this.#abort?.abort(GONE);
    this.#tellOver(null);
    this.#release();
  }

  #tellOver(why: ApiError | null): void {
    const tell = this.#tell;
    this.#tell = null;
    tell?.(why);
  }

  #release(): void {
    const woken = this.#awaiting;
    if (woken === null) return;
    this.#awaiting = null;
    for (const resume of woken) resume();
  }

  #onTaken(bytes: number): void {
    this.#connection.hold(-bytes - MESSAGE_OVERHEAD_BYTES);
    if (this.#stream.isPaused && !this.#isOver && this.#requests?.isFull === false) this.#connection.resume(this.#stream);
  }

  /** Null: it could not be, and the call has ended for it. */
  #unpack(message: Uint8Array): Uint8Array | null {
    const { encoding } = this.#stream.head;
    const { messageBytesMax } = this.#doors;
    if (encoding === '' || encoding === 'identity') return this.#fail(NO_ENCODING);
    const unpack = UNPACK.get(encoding);
    if (unpack === undefined) {
      const text = `grpc: Decompressor is not installed for grpc-encoding "${quoted(encoding)}"`;
      return this.#fail({ code: Status.unimplemented, text });
    }
    try {
      const unpacked = unpack(message, { maxOutputLength: messageBytesMax });
      this.#connection.onUnpacked(unpacked.length);
      return unpacked;
    } catch (error) {
      const isLarge = error instanceof RangeError;
      // Also what is broken may have been unpacked to its last byte.
      this.#connection.onUnpacked(messageBytesMax);
      const text = isLarge
        ? `grpc: received message after decompression larger than max (${messageBytesMax + 1} vs. ${messageBytesMax})`
        : `grpc: failed to decompress the received message: it is not ${encoding}`;
      return this.#fail({ code: isLarge ? Status.resource_exhausted : Status.internal, text });
    }
  }

  #fail(status: WireStatus): null {
    this.#finish(status);
    return null;
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);
/** Why a handler is told to end: without one each would be made, with the stack of where, which takes longer than all else. */
const GONE: Error = Object.freeze(new Error('the caller has left'));

const UNPACK: ReadonlyMap<string, typeof gunzipSync> = new Map([['gzip', gunzipSync], ['deflate', inflateSync]]);

/** Cuts off whoever does not take his answer. */
export function cutOff(stream: Stream, connection: Connection): void {
  stream.user?.onGone();
  connection.reset(stream, CODE.enhanceYourCalm);
}
