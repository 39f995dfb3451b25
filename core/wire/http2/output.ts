// What one connection sends: frames are written one after the other into a piece of memory, which goes to the socket once for
// each turn of the loop, with all answers that became ready in it. Large payloads are not copied.

import type { Clock } from '../../base/clock.js';
import { PREFIX_BYTES } from './message-reader.js';
import { FLAG, FRAME, FRAME_HEADER_BYTES } from './protocol.js';

/** The socket, or what stands for it in a test. */
export interface Sink {
  /** Bytes given to it and not taken. */
  readonly writableLength: number;
  cork(): void;
  uncork(): void;
  write(bytes: Uint8Array): boolean;
}

/** A connection begins with little memory, because there may be many that say little. */
const PIECE_BYTES_MIN = 2 * 1024;
const PIECE_BYTES_MAX = 64 * 1024;
/** A payload from here on is given to the socket as it is. */
const LARGE_BYTES = 8 * 1024;

export class Output {
  readonly #sink: Sink;
  readonly #clock: Clock;
  readonly #waitingMax: () => number;
  readonly #onGiven: () => void;
  readonly #onFull: () => void;
  #piece: Buffer = Buffer.allocUnsafeSlow(PIECE_BYTES_MIN);
  /** What of the piece has been written to, and up to where that was given to the socket. */
  #end = 0;
  #given = 0;
  #isScheduled = false;
  #isCorked = false;
  #isClosed = false;

  /**
   * `waitingMax`: how much may wait for the socket. `onGiven`: what was said in a turn has been given to it; this may have been
   * too much together with what it has taken since, and then nothing else tells that there is room again. `onFull`: it did not
   * take so much that more is to wait, which within a turn is found out whenever a piece of memory is full.
   */
  constructor(sink: Sink, clock: Clock, waitingMax: () => number, onGiven: () => void, onFull: () => void) {
    this.#sink = sink;
    this.#clock = clock;
    this.#waitingMax = waitingMax;
    this.#onGiven = onGiven;
    this.#onFull = onFull;
  }

  /** Bytes that wait for the socket. */
  get waiting(): number {
    return this.#sink.writableLength + this.#end - this.#given;
  }

  /** More is to wait elsewhere. */
  get isFull(): boolean {
    return this.waiting >= this.#waitingMax();
  }

  frame(type: number, flags: number, stream: number, payload: Uint8Array): void {
    this.header(payload.length, type, flags, stream);
    this.bytes(payload, 0, payload.length);
  }

  /** The header of a frame, whose payload must follow. */
  header(length: number, type: number, flags: number, stream: number): void {
    this.#reserve(FRAME_HEADER_BYTES);
    const piece = this.#piece;
    const at = this.#end;
    piece[at] = length >>> 16;
    piece[at + 1] = length >>> 8;
    piece[at + 2] = length;
    piece[at + 3] = type;
    piece[at + 4] = flags;
    piece[at + 5] = stream >>> 24;
    piece[at + 6] = stream >>> 16;
    piece[at + 7] = stream >>> 8;
    piece[at + 8] = stream;
    this.#end = at + FRAME_HEADER_BYTES;
    this.#schedule();
  }

  /** Before each message of gRPC; never compressed. */
  prefix(length: number): void {
    this.#reserve(PREFIX_BYTES);
    this.#piece[this.#end] = 0;
    this.#piece.writeUInt32BE(length, this.#end + 1);
    this.#end += PREFIX_BYTES;
  }

  /** Nobody may write to `bytes` from here on. */
  bytes(bytes: Uint8Array, from: number, to: number): void {
    if (this.#isClosed) return;
    const length = to - from;
    if (length >= LARGE_BYTES) {
      this.#give();
      if (!this.#isCorked) this.#sink.cork();
      this.#isCorked = true;
      this.#sink.write(bytes.subarray(from, to));
      return;
    }
    this.#reserve(length);
    this.#piece.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#end);
    this.#end += length;
  }

  ping(payload: Uint8Array, isAnswer: boolean): void {
    this.frame(FRAME.ping, isAnswer ? FLAG.ack : 0, 0, payload);
  }

  /** A frame whose payload is one number: a window, or why a stream ends. */
  number(type: number, stream: number, value: number): void {
    this.header(4, type, 0, stream);
    this.#reserve(4);
    this.#piece.writeUInt32BE(value, this.#end);
    this.#end += 4;
  }

  goaway(lastStream: number, code: number, why: string): void {
    const payload = Buffer.alloc(8 + why.length);
    payload.writeUInt32BE(lastStream, 0);
    payload.writeUInt32BE(code, 4);
    payload.write(why, 8, 'latin1');
    this.frame(FRAME.goaway, 0, 0, payload);
  }

  /** Gives everything to the socket now. */
  flush(): void {
    this.#give();
    if (this.#isCorked) this.#sink.uncork();
    this.#isCorked = false;
  }

  close(): void {
    this.#isClosed = true;
    this.#end = 0;
    this.#given = 0;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    this.#clock.schedule(0, this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    this.flush();
    this.#onGiven();
  };

  #reserve(length: number): void {
    if (this.#end + length <= this.#piece.length) return;
    this.#give();
    const size = Math.min(PIECE_BYTES_MAX, this.#piece.length * 4);
    this.#piece = Buffer.allocUnsafeSlow(Math.max(size, length));
    this.#end = 0;
    this.#given = 0;
  }

  #give(): void {
    if (this.#end === this.#given || this.#isClosed) return;
    this.#sink.write(this.#piece.subarray(this.#given, this.#end));
    this.#given = this.#end;
    const { writableLength } = this.#sink;
    if (writableLength > 0) {
      if (writableLength >= this.#waitingMax()) this.#onFull();
      return;
    }
    // Taken at once: the memory can be written to again.
    this.#end = 0;
    this.#given = 0;
  }
}
