// One connection of the load generator: plain gRPC calls of one method, as frames of HTTP/2 (RFC 9113) written by hand on a
// socket, so that a hundred thousand a second cost less than a server does. Header fields are in the other side's table after
// the first call. It reads no header fields: an answer is good if it brought a message, which an error of gRPC does not; whoever
// measures checks effects besides. It keeps the server's windows, opens its own wide, and answers its pings. Not for anything but
// a bench: what it does not expect ends it.

import { connect, type Socket } from 'node:net';

/** `at` is what was given to `send`. */
export type OnAnswer = (at: number, isGood: boolean) => void;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, window: 8 } as const;
const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;
const HEAD_BYTES = 9;
const FRAME_BYTES_MAX = 16_384;
const WINDOW_BYTES_INITIAL = 65_535;
const WINDOW_BYTES = 2 ** 30;
/** Calls under way on one connection; a power of two. */
const UNDER_WAY_MAX = 2 ** 17;
const SLAB_BYTES = 2 ** 18;
const SETTING_WINDOW = 4;

interface Waiting {
  readonly message: Buffer;
  readonly at: number;
}

/** The header block of the first call, and of all others. */
interface Fields {
  readonly first: Buffer;
  readonly later: Buffer;
}

export class UnaryConnection {
  readonly #socket: Socket;
  readonly #fields: Fields;
  readonly #onAnswer: OnAnswer;
  readonly #onFault: (why: string) => void;
  /** By number of the call, modulo its length: what was given to `send`, and whether a message has come. */
  readonly #ats = new Float64Array(UNDER_WAY_MAX);
  readonly #brought = new Uint8Array(UNDER_WAY_MAX);
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #slab = Buffer.allocUnsafe(SLAB_BYTES);
  #from = 0;
  #to = 0;
  #calls = 0;
  #answers = 0;
  #window = WINDOW_BYTES_INITIAL;
  readonly #waiting: Waiting[] = [];
  #received = 0;
  #bodyBytes = 0;
  #headFilled = 0;
  /** What is left of the frame that is being read. */
  #left = 0;
  #type = 0;
  #flags = 0;
  #stream = 0;
  #payload: Buffer[] = [];
  #isClosed = false;

  /** Resolves when the socket is open; `onFault` hears, at most once, why it is of no more use. */
  static open(url: string, path: string, onAnswer: OnAnswer, onFault: (why: string) => void): Promise<UnaryConnection> {
    const { hostname, port, host } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new UnaryConnection(socket, fieldsOf(path, host), onAnswer, onFault));
      });
    });
  }

  constructor(socket: Socket, fields: Fields, onAnswer: OnAnswer, onFault: (why: string) => void) {
    this.#socket = socket;
    this.#fields = fields;
    this.#onAnswer = onAnswer;
    this.#onFault = onFault;
    socket.on('data', (bytes: Buffer) => this.#onBytes(bytes));
    socket.on('error', (error) => this.#fail(error.message));
    socket.on('close', () => this.#fail('the server closed the connection'));
    const setting = Buffer.alloc(6);
    setting.writeUInt16BE(SETTING_WINDOW, 0);
    setting.writeUInt32BE(WINDOW_BYTES, 2);
    this.#append(PREFACE);
    this.#frame(TYPE.settings, 0, 0, setting);
    this.#frame(TYPE.window, 0, 0, uint32(WINDOW_BYTES - WINDOW_BYTES_INITIAL));
    this.flush();
  }

  get underWay(): number {
    return this.#calls - this.#answers;
  }

  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  /** `message` with its prefix of five bytes; its bytes are taken at once. Goes out with the next `flush`. */
  send(message: Buffer, at: number): void {
    if (this.underWay + this.#waiting.length >= UNDER_WAY_MAX) return this.#fail(`${UNDER_WAY_MAX} calls are under way`);
    if (this.#waiting.length > 0 || message.length > this.#window) this.#waiting.push({ message: Buffer.from(message), at });
    else this.#begin(message, at);
  }

  flush(): void {
    if (this.#from === this.#to || this.#isClosed) return;
    this.#socket.write(this.#slab.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }

  close(): void {
    this.#isClosed = true;
    this.#socket.destroy();
  }

  #begin(message: Buffer, at: number): void {
    const id = 2 * this.#calls + 1;
    const place = this.#calls & (UNDER_WAY_MAX - 1);
    this.#ats[place] = at;
    this.#brought[place] = 0;
    this.#window -= message.length;
    this.#frame(TYPE.headers, FLAG.endHeaders, id, this.#calls === 0 ? this.#fields.first : this.#fields.later);
    this.#calls += 1;
    if (message.length <= FRAME_BYTES_MAX) return this.#frame(TYPE.data, FLAG.endStream, id, message);
    for (let from = 0; from < message.length; from += FRAME_BYTES_MAX) {
      const isLast = from + FRAME_BYTES_MAX >= message.length;
      this.#frame(TYPE.data, isLast ? FLAG.endStream : 0, id, message.subarray(from, from + FRAME_BYTES_MAX));
    }
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    const { length } = payload;
    const at = this.#room(HEAD_BYTES + length);
    const slab = this.#slab;
    slab[at] = length >> 16;
    slab[at + 1] = length >> 8;
    slab[at + 2] = length;
    slab[at + 3] = type;
    slab[at + 4] = flags;
    slab.writeUInt32BE(stream, at + 5);
    slab.set(payload, at + HEAD_BYTES);
  }

  #append(bytes: Buffer): void {
    const at = this.#room(bytes.length);
    this.#slab.set(bytes, at);
  }

  /** Where so many bytes may be written; bytes that were given to the socket are never written again. */
  #room(length: number): number {
    if (this.#to + length > this.#slab.length) {
      this.flush();
      this.#slab = Buffer.allocUnsafe(Math.max(SLAB_BYTES, length));
      this.#from = 0;
      this.#to = 0;
    }
    this.#to += length;
    return this.#to - length;
  }

  #onBytes(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, bytes.length - at);
        if (this.#isKept()) this.#payload.push(Buffer.from(bytes.subarray(at, at + taken)));
        this.#left -= taken;
        at += taken;
        if (this.#left === 0) this.#onFrame();
        continue;
      }
      if (this.#headFilled === 0 && bytes.length - at >= HEAD_BYTES) {
        this.#onHead(bytes, at);
        at += HEAD_BYTES;
      } else {
        const taken = Math.min(HEAD_BYTES - this.#headFilled, bytes.length - at);
        bytes.copy(this.#head, this.#headFilled, at, at + taken);
        at += taken;
        this.#headFilled += taken;
        if (this.#headFilled < HEAD_BYTES) continue;
        this.#headFilled = 0;
        this.#onHead(this.#head, 0);
      }
      if (this.#left === 0) this.#onFrame();
    }
    this.flush();
  }

  #onHead(bytes: Buffer, at: number): void {
    this.#left = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    this.#type = bytes[at + 3] ?? 0;
    this.#flags = bytes[at + 4] ?? 0;
    this.#stream = bytes.readUInt32BE(at + 5);
    if (this.#type !== TYPE.data) return;
    this.#bodyBytes += this.#left;
    this.#received += this.#left;
    if (this.#left > 0) this.#brought[(this.#stream >> 1) & (UNDER_WAY_MAX - 1)] = 1;
    if (this.#received < WINDOW_BYTES / 2) return;
    this.#frame(TYPE.window, 0, 0, uint32(this.#received));
    this.#received = 0;
  }

  #isKept(): boolean {
    return this.#type !== TYPE.data && this.#type !== TYPE.headers;
  }

  #onFrame(): void {
    const [type, flags] = [this.#type, this.#flags];
    if (type === TYPE.data || type === TYPE.headers) {
      if ((flags & FLAG.endStream) !== 0) this.#onEnd(true);
      return;
    }
    const payload = Buffer.concat(this.#payload);
    this.#payload = [];
    if (type === TYPE.reset) this.#onEnd(false);
    else if (type === TYPE.goaway) this.#fail(`the server sends the load away: ${payload.toString('latin1', 8)}`);
    else if (type === TYPE.window) this.#onWindow(payload.readUInt32BE(0));
    else if (type === TYPE.settings && (flags & FLAG.ack) === 0) this.#frame(TYPE.settings, FLAG.ack, 0, Buffer.alloc(0));
    else if (type === TYPE.ping && (flags & FLAG.ack) === 0) this.#frame(TYPE.ping, FLAG.ack, 0, payload);
  }

  #onEnd(isWhole: boolean): void {
    const place = (this.#stream >> 1) & (UNDER_WAY_MAX - 1);
    this.#answers += 1;
    this.#onAnswer(this.#ats[place] ?? NaN, isWhole && this.#brought[place] === 1);
  }

  /** Of a call's own window nothing is needed: a message is less than it is at the beginning. */
  #onWindow(bytes: number): void {
    if (this.#stream !== 0) return;
    this.#window += bytes;
    for (;;) {
      const [next] = this.#waiting;
      if (next === undefined || next.message.length > this.#window) return;
      this.#waiting.shift();
      this.#begin(next.message, next.at);
    }
  }

  #fail(why: string): void {
    if (this.#isClosed) return;
    this.close();
    this.#onFault(why);
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/**
 * RFC 7541: `:method: POST` and `:scheme: http` by their places in the static table; the other four as literals that are to be
 * remembered (section 6.2.1), afterwards by their places in the dynamic table, where the newest is number 62.
 */
function fieldsOf(path: string, authority: string): Fields {
  const word = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')]);
  const first = Buffer.concat([
    Buffer.from([0x83, 0x86, 0x44]), word(path), Buffer.from([0x41]), word(authority),
    Buffer.from([0x5f]), word('application/grpc'), Buffer.from([0x40]), word('te'), word('trailers'),
  ]);
  return { first, later: Buffer.from([0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]) };
}
