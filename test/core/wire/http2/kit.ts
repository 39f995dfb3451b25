// What tests of the HTTP/2 server stand on: frames as bytes, a line without a socket, a clock that stands still, and a caller
// who says exactly what a test wants and keeps what he hears. Header fields are literals, so no block depends on another.

import type { Clock } from '../../../../core/base/clock.js';
import { Connection, type ConnectionDoors, type Line } from '../../../../core/wire/http2/connection.js';
import { HeaderDecoder } from '../../../../core/wire/http2/header-decoder.js';
import { FLAG, FRAME, PREFACE } from '../../../../core/wire/http2/protocol.js';
import type { Stream, StreamUser } from '../../../../core/wire/http2/stream.js';

export class StillClock implements Clock {
  #now = 1000;
  readonly #due = new Set<{ readonly at: number; readonly run: () => void }>();

  now(): number {
    return this.#now;
  }

  schedule(delayMs: number, run: () => void): () => void {
    const due = { at: this.#now + delayMs, run };
    this.#due.add(due);
    return () => void this.#due.delete(due);
  }

  get scheduled(): number {
    return this.#due.size;
  }

  /** Runs what is due by then, once each. */
  pass(ms: number): void {
    this.#now += ms;
    for (const due of [...this.#due]) {
      if (due.at > this.#now || !this.#due.delete(due)) continue;
      due.run();
    }
  }
}

/** Takes everything, unless told to take nothing. */
export class FakeLine implements Line {
  written: Buffer[] = [];
  writableLength = 0;
  isTaking = true;
  isPaused = false;
  isEnded = false;
  isDestroyed = false;
  /** Told to write after it had been ended. */
  wroteLate = false;

  cork(): void {}

  uncork(): void {}

  write(bytes: Uint8Array): boolean {
    if (this.isEnded || this.isDestroyed) this.wroteLate = true;
    // A socket that takes nothing keeps the bytes themselves, so whoever writes to them again is found out.
    this.written.push(this.isTaking ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    if (!this.isTaking) this.writableLength += bytes.length;
    return this.writableLength < 16_384;
  }

  /** Takes what it was given, and whatever comes. */
  take(): void {
    this.written = this.written.map((bytes) => Buffer.from(bytes));
    this.writableLength = 0;
    this.isTaking = true;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  end(): void {
    this.isEnded = true;
  }

  destroy(): void {
    this.isDestroyed = true;
  }
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function settings(...pairs: readonly (readonly [number, number])[]): Buffer {
  return frame(FRAME.settings, 0, 0, Buffer.concat(pairs.flatMap(([name, value]) => [u32(name).subarray(2), u32(value)])));
}

export const SETTINGS_ACK = frame(FRAME.settings, FLAG.ack, 0);
/** What every honest caller says first. */
export const HELLO = Buffer.concat([PREFACE, settings(), SETTINGS_ACK]);

export type Fields = readonly (readonly [name: string, value: string])[];

export function integer(value: number, prefixBits: number, first = 0): Buffer {
  const max = 2 ** prefixBits - 1;
  if (value < max) return Buffer.from([first | value]);
  const bytes = [first | max];
  let left = value - max;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  return Buffer.from([...bytes, left]);
}

/** Without a table and without Huffman; `first` 0x40 puts them into the table. */
export function block(fields: Fields, first = 0): Buffer {
  const text = (value: string): Buffer => Buffer.concat([integer(value.length, 7), Buffer.from(value, 'latin1')]);
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([first]), text(name), text(value)]));
}

export const REQUEST: Fields = [
  [':method', 'POST'], [':scheme', 'http'], [':path', '/a/B'], [':authority', 'here'],
  ['content-type', 'application/grpc'], ['te', 'trailers'],
];

/** Those of a request, without some and with others. */
export function request(without: readonly string[] = [], more: Fields = []): Fields {
  return [...REQUEST.filter(([name]) => !without.includes(name)), ...more];
}

export function headers(stream: number, flags: number = FLAG.endHeaders, fields: Fields = REQUEST): Buffer {
  return frame(FRAME.headers, flags, stream, block(fields));
}

/** Of a call of that method. */
export function opened(stream: number, path: string): Buffer {
  return headers(stream, FLAG.endHeaders, REQUEST.map(([name, value]) => [name, name === ':path' ? path : value]));
}

export function data(stream: number, flags = 0, payload: Uint8Array = message()): Buffer {
  return frame(FRAME.data, flags, stream, payload);
}

/** As gRPC wraps it. */
export function message(body: Uint8Array = Buffer.alloc(0), flag = 0): Buffer {
  return Buffer.concat([Buffer.from([flag]), u32(body.length), body]);
}

/** A whole call. */
export function call(stream: number, body: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([headers(stream), data(stream, FLAG.endStream, message(body))]);
}

export function reset(stream: number, code = 8): Buffer {
  return frame(FRAME.rstStream, 0, stream, u32(code));
}

export function windowUpdate(stream: number, increment: number): Buffer {
  return frame(FRAME.windowUpdate, 0, stream, u32(increment));
}

export function ping(payload = 'pingping'): Buffer {
  return frame(FRAME.ping, 0, 0, Buffer.from(payload, 'latin1'));
}

export function priority(stream: number, on = 0): Buffer {
  return frame(FRAME.priority, 0, stream, Buffer.concat([u32(on), Buffer.from([15])]));
}

export function goaway(code = 0, last = 0): Buffer {
  return frame(FRAME.goaway, 0, 0, Buffer.concat([u32(last), u32(code)]));
}

export function continuation(stream: number, flags: number, bytes: Uint8Array): Buffer {
  return frame(FRAME.continuation, flags, stream, bytes);
}

export function framesIn(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = bytes.readUIntBE(at, 3);
    if (at + 9 + length > bytes.length) throw new Error('what was sent ends within a frame');
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({ type: bytes[at + 3] ?? 0, flags: bytes[at + 4] ?? 0, stream: bytes.readUInt32BE(at + 5), payload });
    at += 9 + length;
  }
  return frames;
}

/** The whole ones. */
export function framesSoFar(bytes: Buffer): Frame[] {
  let end = 0;
  while (end + 9 <= bytes.length && end + 9 + bytes.readUIntBE(end, 3) <= bytes.length) end += 9 + bytes.readUIntBE(end, 3);
  return framesIn(bytes.subarray(0, end));
}

/** What one call hears and does. */
export class FakeCall implements StreamUser {
  readonly stream: Stream;
  readonly connection: Connection;
  readonly messages: Buffer[] = [];
  tooLarge = 0;
  ended: boolean | null = null;
  gone = 0;
  taken = 0;
  readonly #onEnd: (call: FakeCall) => void;

  constructor(stream: Stream, connection: Connection, onEnd: (call: FakeCall) => void) {
    this.stream = stream;
    this.connection = connection;
    this.#onEnd = onEnd;
  }

  onMessage(bytes: Uint8Array): void {
    this.messages.push(Buffer.from(bytes));
  }

  onTooLarge(length: number): void {
    this.tooLarge = length;
  }

  onEnd(isWhole: boolean): void {
    this.ended = isWhole;
    this.#onEnd(this);
  }

  onGone(): void {
    this.gone += 1;
  }

  onTaken(): void {
    this.taken += 1;
  }

  answer(body: Uint8Array = Buffer.alloc(0)): void {
    this.connection.sending.answer(this.stream, body);
  }
}

export interface Setup {
  readonly streamsMax?: number;
  readonly messageBytesMax?: number;
  readonly waitingMax?: () => number;
  /** Null: as over TLS. */
  readonly pingMinMs?: number | null;
  /** When the caller has said all. Default: an empty answer. */
  readonly onEnd?: (call: FakeCall) => void;
  readonly onCall?: (call: FakeCall) => void;
}

/** A caller and the connection that serves him. */
export class Caller {
  readonly clock = new StillClock();
  readonly line = new FakeLine();
  readonly calls: FakeCall[] = [];
  readonly floods: string[] = [];
  readonly faults: Error[] = [];
  /** As last told of. */
  unread = 0;
  readonly connection: Connection;
  readonly heard: Frame[] = [];
  waits = 0;
  readonly #decoder = new HeaderDecoder();

  constructor(setup: Setup = {}) {
    const onEnd = setup.onEnd ?? ((call: FakeCall): void => call.answer());
    const doors: ConnectionDoors = {
      line: this.line,
      clock: this.clock,
      streamsMax: setup.streamsMax ?? 100,
      ...(setup.waitingMax === undefined ? {} : { waitingMax: setup.waitingMax }),
      pingMinMs: setup.pingMinMs === undefined ? 5000 : setup.pingMinMs,
      onCall: (stream, connection) => {
        const call = new FakeCall(stream, connection, onEnd);
        this.calls.push(call);
        stream.attach(call, setup.messageBytesMax ?? 1_000_000);
        setup.onCall?.(call);
      },
      onWaiting: () => {
        this.waits += 1;
      },
      onFlood: (what) => void this.floods.push(what),
      onFault: (error) => void this.faults.push(error),
      onUnread: (bytes) => {
        this.unread = bytes;
      },
    };
    this.connection = new Connection(doors);
  }

  say(...bytes: readonly Uint8Array[]): void {
    this.connection.receive(Buffer.concat(bytes));
  }

  /** New frames, which are kept in `heard` as well. */
  hear(): Frame[] {
    this.clock.pass(0);
    const frames = framesIn(Buffer.concat(this.line.written.splice(0)));
    this.heard.push(...frames);
    return frames;
  }

  /** The fields of each block heard so far are to be asked for in order, once. */
  fields({ payload }: Frame): Map<string, string> {
    const fields = new Map<string, string>();
    this.#decoder.decode(payload, 0, payload.length, { onField: (name, value) => void fields.set(name, value) });
    return fields;
  }

  call(stream: number): FakeCall {
    const found = this.calls.find((one) => one.stream.id === stream);
    if (found === undefined) throw new Error(`call ${stream} did not begin`);
    return found;
  }

  /** Whether the connection still answers. */
  isServed(): boolean {
    this.say(ping('are you?'));
    return this.hear().some(({ type, flags, payload }) => {
      return type === FRAME.ping && flags === FLAG.ack && payload.toString() === 'are you?';
    });
  }
}
