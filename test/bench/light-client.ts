// A gRPC client that costs little, for loads that h2load cannot make: many different messages, streams that stay open. It
// writes frames of HTTP/2 by hand (RFC 9113), all of a turn in one piece, remembers its header fields in the other side's
// table, and gives messages out as views. It reads no header fields of answers: an answer without a message is a failure, and
// whoever measures checks what was done. Not for anything but a bench: it trusts the server.

import { connect, type Socket } from 'node:net';
import { framed } from './messages.js';

/** Called for each message of an answer: its bytes are `bytes` from `from` to `to`, and are gone after the call. */
export type OnMessage = (bytes: Buffer, from: number, to: number) => void;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, window: 8 } as const;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;
const HEADER_BYTES = 9;
const PREFIX_BYTES = 5;
const FRAME_BYTES_MAX = 16_384;
/** What the other side may send before it hears of it again. */
const WINDOW_BYTES = 2 ** 30;
const WINDOW_BYTES_INITIAL = 65_535;
/** Taken from the socket at once. */
const READ_BYTES = 256 * 1024;
const NOTHING = Buffer.alloc(0);

export class LightStream {
  readonly id: number;
  readonly onMessage: OnMessage;
  readonly onEnd: () => void;
  window: number;
  received = 0;
  /** Not sent yet, because windows are closed. */
  waiting: Buffer = Buffer.alloc(0);
  isEnding = false;
  /** The beginning of a message whose rest comes in another frame. */
  partial: Buffer = NOTHING;
  partialLength = 0;
  readonly #client: LightClient;

  constructor(client: LightClient, id: number, window: number, onMessage: OnMessage, onEnd: () => void) {
    this.#client = client;
    this.id = id;
    this.window = window;
    this.onMessage = onMessage;
    this.onEnd = onEnd;
  }

  /** Messages as `framed` makes them, one after the other. */
  send(bytes: Buffer): void {
    this.waiting = this.waiting.length === 0 ? bytes : Buffer.concat([this.waiting, bytes]);
    this.#client.pump(this);
  }

  end(): void {
    this.isEnding = true;
    this.#client.pump(this);
  }
}

export class LightClient {
  readonly #socket: Socket;
  readonly #authority: string;
  readonly #streams = new Map<number, LightStream>();
  readonly #blocked = new Set<LightStream>();
  /** Header fields the other side remembers, oldest first. */
  readonly #table: string[] = [];
  #out: Buffer[] = [];
  #isScheduled = false;
  /** A frame that has come in part. */
  readonly #rest: Buffer = Buffer.allocUnsafeSlow(HEADER_BYTES + FRAME_BYTES_MAX);
  #restLength = 0;
  #nextId = 1;
  #window = WINDOW_BYTES_INITIAL;
  #windowOfStreams = WINDOW_BYTES_INITIAL;
  #received = 0;
  #isClosed = false;

  static async connect(url: string): Promise<LightClient> {
    const { hostname, port, host } = new URL(url);
    let client: LightClient | null = null;
    // Always the same memory: that of each reading would have to be made and given back.
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    const callback = (length: number): boolean => {
      client?.onBytes(buffer, length);
      return true;
    };
    const onread = { buffer, callback };
    const socket = connect({ host: hostname, port: Number(port), noDelay: true, onread });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    client = new LightClient(socket, host);
    return client;
  }

  constructor(socket: Socket, authority: string) {
    this.#socket = socket;
    this.#authority = authority;
    const fail = (): void => {
      if (!this.#isClosed) throw new Error(`the server at ${authority} ended the connection of the bench`);
    };
    socket.on('error', fail);
    socket.on('close', fail);
    const settings = Buffer.alloc(6);
    settings.writeUInt16BE(4, 0);
    settings.writeUInt32BE(WINDOW_BYTES, 2);
    this.#out.push(PREFACE);
    this.#frame(TYPE.settings, 0, 0, settings);
    this.#frame(TYPE.window, 0, 0, number(WINDOW_BYTES - WINDOW_BYTES_INITIAL));
  }

  /** Begins a call; `onEnd` when the answer has ended, whatever it was. */
  open(path: string, onMessage: OnMessage, onEnd: () => void): LightStream {
    const stream = new LightStream(this, this.#nextId, this.#windowOfStreams, onMessage, onEnd);
    this.#nextId += 2;
    this.#streams.set(stream.id, stream);
    this.#frame(TYPE.headers, END_HEADERS, stream.id, this.#fields(path));
    return stream;
  }

  /** A plain call; resolves with a copy of the message of its answer, null: there was none. */
  call(path: string, message: Uint8Array): Promise<Buffer | null> {
    return new Promise((resolve) => {
      const parts: Buffer[] = [];
      const onEnd = (): void => resolve(parts[0] ?? null);
      const stream = this.open(path, (bytes, from, to) => parts.push(Buffer.from(bytes.subarray(from, to))), onEnd);
      stream.send(framed(message));
      stream.end();
    });
  }

  pump(stream: LightStream): void {
    let { waiting } = stream;
    while (waiting.length > 0) {
      const room = Math.min(this.#window, stream.window, FRAME_BYTES_MAX);
      if (room <= 0) break;
      const part = waiting.subarray(0, room);
      waiting = waiting.subarray(room);
      this.#window -= part.length;
      stream.window -= part.length;
      const isLast = stream.isEnding && waiting.length === 0;
      this.#frame(TYPE.data, isLast ? END_STREAM : 0, stream.id, part);
      if (isLast) stream.isEnding = false;
    }
    stream.waiting = waiting;
    if (waiting.length > 0) {
      this.#blocked.add(stream);
      return;
    }
    this.#blocked.delete(stream);
    if (stream.isEnding) this.#frame(TYPE.data, END_STREAM, stream.id, Buffer.alloc(0));
    stream.isEnding = false;
  }

  /** Reads nothing any more. */
  pause(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#isClosed = true;
    this.#socket.destroy();
  }

  /** Fields by number where the other side has them (RFC 7541, section 6.1), else to be remembered. */
  #fields(path: string): Buffer {
    const parts: Buffer[] = [Buffer.from([0x83, 0x86])];
    const fields: readonly [number, string, string][] = [
      [4, ':path', path], [1, ':authority', this.#authority], [31, 'content-type', 'application/grpc'], [0, 'te', 'trailers'],
    ];
    for (const [index, name, value] of fields) {
      const place = this.#table.indexOf(`${name} ${value}`);
      if (place !== -1) {
        parts.push(Buffer.from([0x80 | (61 + this.#table.length - place)]));
        continue;
      }
      parts.push(Buffer.from([0x40 | index]));
      if (index === 0) parts.push(sized(name));
      parts.push(sized(value));
      this.#table.push(`${name} ${value}`);
    }
    return Buffer.concat(parts);
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    header.writeUIntBE(payload.length, 0, 3);
    header[3] = type;
    header[4] = flags;
    header.writeUInt32BE(stream, 5);
    this.#out.push(header, payload);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      const out = this.#out;
      this.#out = [];
      if (!this.#isClosed) this.#socket.write(Buffer.concat(out));
    });
  }

  /** `bytes`, of which so many count, are written over after the call. */
  onBytes(bytes: Buffer, length: number): void {
    let at = 0;
    while (this.#restLength > 0 && at < length) at += this.#fillRest(bytes, at, length);
    while (length - at >= HEADER_BYTES) {
      const from = at + HEADER_BYTES;
      const to = from + frameLength(bytes, at);
      if (to > length) break;
      this.#onFrame(bytes, bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, bytes.readInt32BE(at + 5), from, to);
      at = to;
    }
    if (at < length) this.#restLength = bytes.copy(this.#rest, 0, at, length);
  }

  /** Adds what a frame lacks that has come in part: first of its header, then all. Returns how much that is. */
  #fillRest(bytes: Buffer, at: number, end: number): number {
    const rest = this.#rest;
    const whole = (): number => (this.#restLength < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + frameLength(rest, 0));
    const taken = bytes.copy(rest, this.#restLength, at, Math.min(end, at + whole() - this.#restLength));
    this.#restLength += taken;
    if (this.#restLength < whole()) return taken;
    this.#restLength = 0;
    this.#onFrame(rest, rest[3] ?? 0, rest[4] ?? 0, rest.readInt32BE(5), HEADER_BYTES, HEADER_BYTES + frameLength(rest, 0));
    return taken;
  }

  #onFrame(all: Buffer, type: number, flags: number, id: number, from: number, to: number): void {
    const stream = this.#streams.get(id);
    if (type === TYPE.data) {
      this.#onWindowUsed(stream, to - from);
      if (stream !== undefined) takeMessages(stream, all, from, to);
    } else if (type === TYPE.settings && (flags & ACK) === 0) {
      this.#onSettings(all.subarray(from, to));
    } else if (type === TYPE.ping && (flags & ACK) === 0) {
      this.#frame(TYPE.ping, ACK, 0, Buffer.from(all.subarray(from, to)));
    } else if (type === TYPE.window) {
      this.#onWindow(stream, id, all.readUInt32BE(from));
    } else if (type === TYPE.goaway) {
      throw new Error(`the server at ${this.#authority} sends the bench away: ${all.toString('latin1', from + 8, to)}`);
    }
    const isEnd = type === TYPE.reset || ((type === TYPE.data || type === TYPE.headers) && (flags & END_STREAM) !== 0);
    if (!isEnd || stream === undefined) return;
    this.#streams.delete(id);
    this.#blocked.delete(stream);
    stream.onEnd();
  }

  #onWindowUsed(stream: LightStream | undefined, bytes: number): void {
    this.#received += bytes;
    if (this.#received > WINDOW_BYTES / 2) {
      this.#frame(TYPE.window, 0, 0, number(this.#received));
      this.#received = 0;
    }
    if (stream === undefined) return;
    stream.received += bytes;
    if (stream.received <= WINDOW_BYTES / 2) return;
    this.#frame(TYPE.window, 0, stream.id, number(stream.received));
    stream.received = 0;
  }

  #onSettings(payload: Buffer): void {
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      if (payload.readUInt16BE(at) !== 4) continue;
      const more = payload.readUInt32BE(at + 2) - this.#windowOfStreams;
      this.#windowOfStreams += more;
      for (const stream of this.#streams.values()) stream.window += more;
    }
    this.#frame(TYPE.settings, ACK, 0, Buffer.alloc(0));
    for (const stream of [...this.#blocked]) this.pump(stream);
  }

  #onWindow(stream: LightStream | undefined, id: number, bytes: number): void {
    if (id === 0) this.#window += bytes;
    else if (stream !== undefined) stream.window += bytes;
    for (const each of [...this.#blocked]) this.pump(each);
  }
}

function takeMessages(stream: LightStream, bytes: Buffer, from: number, to: number): void {
  let at = from;
  while (stream.partialLength > 0 && at < to) at += fillPartial(stream, bytes, at, to);
  while (to - at >= PREFIX_BYTES) {
    const next = at + PREFIX_BYTES + bytes.readInt32BE(at + 1);
    if (next > to) break;
    stream.onMessage(bytes, at + PREFIX_BYTES, next);
    at = next;
  }
  if (at === to) return;
  const isKnown = to - at >= PREFIX_BYTES;
  stream.partial = Buffer.allocUnsafe(isKnown ? PREFIX_BYTES + bytes.readInt32BE(at + 1) : PREFIX_BYTES);
  stream.partialLength = bytes.copy(stream.partial, 0, at, to);
}

/** Adds what a message lacks that has come in part: first of its prefix, then all. Returns how much that is. */
function fillPartial(stream: LightStream, bytes: Buffer, at: number, to: number): number {
  const { partial, partialLength } = stream;
  const taken = bytes.copy(partial, partialLength, at, Math.min(to, at + partial.length - partialLength));
  stream.partialLength += taken;
  if (stream.partialLength < partial.length) return taken;
  const whole = PREFIX_BYTES + partial.readInt32BE(1);
  if (whole > partial.length) {
    stream.partial = Buffer.allocUnsafe(whole);
    partial.copy(stream.partial);
    return taken;
  }
  stream.partialLength = 0;
  stream.onMessage(partial, PREFIX_BYTES, whole);
  return taken;
}

function frameLength(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
}

/** Below 128 characters, not in Huffman's code. */
function sized(text: string): Buffer {
  return Buffer.from(String.fromCharCode(text.length) + text, 'latin1');
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
