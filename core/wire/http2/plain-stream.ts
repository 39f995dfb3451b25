// A request over HTTP/2 that is no gRPC (etcd serves its gateway, health and metrics so, too): it becomes one exchange of HTTP/1
// with the port's own HTTP server, in this process, over a pair of streams. Thereby both ways of asking are answered by the same
// code, with the same bounds of time and size.
//
// Each exchange has its connection to itself, and its body goes in chunks, whatever length was said: nothing in a request can
// begin a second one. What the caller does not take waits with its stream, as an answer of gRPC does, and stops the server.

import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { duplexPair, type Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.js';
import { SEND_BUFFER_BYTES } from '../limits.js';
import { field } from './answer-head.js';
import type { Connection } from './connection.js';
import { PIECE_OVERHEAD_BYTES } from './limits.js';
import { CODE, FRAME_BYTES_MAX, OF_A_CONNECTION } from './protocol.js';
import type { PlainHead, RequestHead } from './request-head.js';
import { detached } from './requests.js';
import type { PlainUser, Stream } from './stream.js';

/** What carries the connection: the HTTP server may ask the same of it as of a socket of its own. */
export interface Carrier extends Duplex {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** Serves HTTP/1 on `end`, as it would on `carrier`. */
export type ServeHttp = (end: Duplex, carrier: Carrier) => void;

interface PlainDoors {
  readonly serve: ServeHttp;
  readonly onOver: () => void;
  readonly clock: Clock;
}

/** For so long an answer that did not need the whole request stays open. */
const UNHEARD_MS = 100;
/** RFC 9113, section 8.2.2; and what is said anew, or answered here. */
const NOT_HANDED_ON: ReadonlySet<string> = new Set(['te', 'content-length', 'expect', 'cookie', 'host']);
const METHOD = /^[A-Z]+(?:-[A-Z]+)*$/;

export class PlainStream implements PlainUser {
  readonly #stream: Stream;
  readonly #connection: Connection;
  readonly #doors: PlainDoors;
  #request: ClientRequest | null = null;
  #response: IncomingMessage | null = null;
  /** Of the body: read, and not taken by the server. */
  #held = 0;
  /** Nothing is asked of the server any more; the end may be owed to the caller. */
  #isOver = false;
  #cancelEnd: () => void = () => undefined;

  constructor(stream: Stream, connection: Connection, doors: PlainDoors) {
    this.#stream = stream;
    this.#connection = connection;
    this.#doors = doors;
  }

  begin(plain: PlainHead, carrier: Carrier): void {
    const { head, isHeard } = this.#stream;
    if (!METHOD.test(head.method) || head.method === 'CONNECT') return this.#refuse(405);
    if (!head.path.startsWith('/') && !(head.path === '*' && head.method === 'OPTIONS')) return this.#refuse(400);
    const [ours, theirs] = pairFor(carrier);
    try {
      this.#request = httpRequest({
        createConnection: () => ours, setHost: false, method: head.method, path: head.path,
        headers: requestFields(head, plain, isHeard),
      });
    } catch {
      // There are characters that HTTP/2 lets pass and HTTP/1 does not.
      ours.destroy();
      return this.#refuse(400);
    }
    this.#listen(this.#request);
    this.#doors.serve(theirs, carrier);
    // Not with the first of the body: the server times what is to come, and may answer without.
    this.#request.flushHeaders();
    if (!isHeard && expects(plain)) this.#connection.sending.inform(this.#stream, 100);
  }

  onBytes(bytes: Uint8Array): void {
    const request = this.#request;
    if (request === null || this.#isOver) return;
    const cost = bytes.length + PIECE_OVERHEAD_BYTES;
    this.#held += cost;
    if (!this.#connection.hold(cost)) return this.#fail(CODE.enhanceYourCalm);
    // What it held may have cut off the connection, and with it this.
    if (this.#stream.isReset) return;
    this.#stream.isPaused = !request.write(detached(bytes), () => this.#onHandedOn(cost));
  }

  onEnd(): void {
    if (this.#isOver) this.#end();
    else this.#request?.end();
  }

  onGone(): void {
    this.#leave();
    this.#cancelEnd();
  }

  onTaken(): void {
    this.#response?.resume();
  }

  #listen(request: ClientRequest): void {
    request.on('response', (response) => this.#onResponse(response));
    request.on('drain', () => {
      if (!this.#isOver) this.#connection.resume(this.#stream);
    });
    // It closes in any case, and then it is seen whether the answer was whole.
    request.on('error', () => undefined);
    request.on('close', () => this.#fail(CODE.internal));
  }

  #onHandedOn(cost: number): void {
    if (this.#isOver) return;
    this.#held -= cost;
    this.#connection.hold(-cost);
  }

  #onResponse(response: IncomingMessage): void {
    response.on('error', () => undefined);
    if (this.#isOver) return void response.destroy();
    this.#response = response;
    const fields = answerFields(response.rawHeaders);
    // No answer of ours is that long; one frame is all that every caller takes.
    if (fields.length > ANSWER_HEAD_BYTES_MAX) return this.#fail(CODE.internal);
    this.#connection.sending.beginPlain(this.#stream, response.statusCode ?? 500, fields);
    response.on('data', (bytes: Buffer) => this.#onAnswer(response, bytes));
    response.on('end', () => (response.complete ? this.#finish() : this.#fail(CODE.internal)));
  }

  #onAnswer(response: IncomingMessage, bytes: Buffer): void {
    if (this.#isOver) return;
    this.#connection.sending.sendPlain(this.#stream, bytes);
    if (this.#stream.waitingCost >= SEND_BUFFER_BYTES) response.pause();
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#leave();
    if (this.#stream.isHeard) return this.#end();
    // With the end comes a reset, for the rest of the body: some callers must have seen the answer before it, or lose it.
    this.#cancelEnd = this.#doors.clock.schedule(UNHEARD_MS, () => this.#end());
  }

  #end(): void {
    this.#cancelEnd();
    this.#connection.sending.end(this.#stream, 0, '');
  }

  #refuse(status: number): void {
    this.#connection.sending.beginPlain(this.#stream, status, NO_FIELDS);
    this.#finish();
  }

  #fail(code: number): void {
    if (this.#isOver) return;
    this.#leave();
    this.#connection.reset(this.#stream, code);
  }

  #leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#connection.hold(-this.#held);
    this.#held = 0;
    this.#request?.destroy();
    this.#doors.onOver();
  }
}

const NO_FIELDS: Uint8Array = new Uint8Array(0);
const ANSWER_HEAD_BYTES_MAX = FRAME_BYTES_MAX - 64;

/** Two ends. The server may close its own as soon as it has answered: what it has said is read to its end nevertheless. */
function pairFor(carrier: Carrier): readonly [Duplex, Duplex] {
  const [ours, theirs] = duplexPair();
  ours.on('error', () => undefined).on('close', () => theirs.destroy());
  theirs.on('error', () => undefined).on('close', () => ours.push(null));
  const { remoteAddress, remotePort } = carrier;
  Object.assign(theirs, { remoteAddress, remotePort, ...('encrypted' in carrier ? { encrypted: true } : {}) });
  return [ours, theirs];
}

/** Name and value in turn. */
function requestFields({ contentLength }: RequestHead, { authority, fields }: PlainHead, isHeard: boolean): string[] {
  const handed = ['Connection', 'close'];
  const cookies: string[] = [];
  let host = authority;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const value = fields[i + 1] ?? '';
    // They may come apart (section 8.2.3); HTTP/1 has one.
    if (name === 'cookie') cookies.push(value);
    // The authority counts where there is one (section 8.3.1).
    else if (name === 'host') host ||= value;
    else if (!NOT_HANDED_ON.has(name)) handed.push(name, value);
  }
  // Empty where none is said, which HTTP/1 must say (RFC 9112, section 3.2).
  handed.push('Host', host);
  if (cookies.length > 0) handed.push('Cookie', cookies.join('; '));
  if (!isHeard) handed.push('Transfer-Encoding', 'chunked');
  else if (contentLength === 0) handed.push('Content-Length', '0');
  return handed;
}

function expects({ fields }: PlainHead): boolean {
  return fields.some((name, i) => i % 2 === 0 && name === 'expect' && /^100-continue$/i.test(fields[i + 1] ?? ''));
}

function answerFields(raw: readonly string[]): Uint8Array {
  const coded: Uint8Array[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase();
    if (!OF_A_CONNECTION.has(name)) coded.push(field(name, raw[i + 1] ?? ''));
  }
  return Buffer.concat(coded);
}
