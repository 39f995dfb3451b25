// Cuts the bytes of a connection into frames (RFC 9113, section 4.1). A frame is not an object: its header is given as numbers
// and its payload as a place in the bytes it came in, which nobody writes to again. What lies across two pieces is copied.

import { CODE, ConnectionFault, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, PREFACE } from './protocol.js';

export interface FrameSink {
  /** `bytes` from `from` to `to` are the payload. */
  onFrame(type: number, flags: number, stream: number, bytes: Buffer, from: number, to: number): void;
}

export class FrameReader {
  readonly #sink: FrameSink;
  /** The beginning of a frame, or of the preface, in room for all of it as far as its length is known. */
  #part: Buffer = Buffer.allocUnsafe(PREFACE.length);
  #have = 0;
  #hasPreface = false;
  #stopped = false;
  #isHeld = false;
  /** What came and is not cut yet, because it was held up; begins with a frame. */
  #rest: Buffer | null = null;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Nothing more reaches the sink. */
  stop(): void {
    this.#stopped = true;
    this.#rest = null;
  }

  /** Told of a frame: the sink wants no more until it is pushed to again. */
  hold(): void {
    this.#isHeld = true;
  }

  /** Something waits to be pushed on, be it with nothing. */
  get hasRest(): boolean {
    return this.#rest !== null;
  }

  /** Throws a `ConnectionFault`; of the sink's, whatever it throws. Nothing may be pushed after that. */
  push(more: Buffer): void {
    const bytes = this.#rest === null ? more : this.#withRest(this.#rest, more);
    this.#isHeld = false;
    let at = this.#hasPreface ? 0 : this.#readPreface(bytes);
    if (this.#have > 0) at = this.#complete(bytes, at);
    while (!this.#stopped && !this.#isHeld && bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = lengthAt(bytes, at);
      const from = at + FRAME_HEADER_BYTES;
      if (bytes.length - from < length) break;
      this.#tell(bytes, at, from + length);
      at = from + length;
    }
    if (at >= bytes.length || this.#stopped) return;
    if (this.#isHeld) this.#rest = bytes.subarray(at);
    else this.#keep(bytes, at);
  }

  #withRest(rest: Buffer, more: Buffer): Buffer {
    this.#rest = null;
    return more.length === 0 ? rest : Buffer.concat([rest, more]);
  }

  #readPreface(bytes: Buffer): number {
    const count = Math.min(bytes.length, PREFACE.length - this.#have);
    if (bytes.compare(PREFACE, this.#have, this.#have + count, 0, count) !== 0) {
      throw new ConnectionFault(CODE.protocol, 'the connection does not begin as HTTP/2 does');
    }
    this.#have += count;
    if (this.#have < PREFACE.length) return bytes.length;
    this.#hasPreface = true;
    this.#have = 0;
    return count;
  }

  /** Goes on with the frame begun before; returns where the next one begins. */
  #complete(bytes: Buffer, start: number): number {
    let at = start;
    while (at < bytes.length && !this.#stopped) {
      const isHeader = this.#have < FRAME_HEADER_BYTES;
      const end = isHeader ? FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + lengthAt(this.#part, 0);
      const count = Math.min(end - this.#have, bytes.length - at);
      bytes.copy(this.#part, this.#have, at, at + count);
      this.#have += count;
      at += count;
      if (this.#have < end) break;
      if (isHeader && this.#grow()) continue;
      this.#have = 0;
      this.#tell(this.#part, 0, end);
      break;
    }
    return at;
  }

  /** The length of the frame is known now. False: it has no payload. */
  #grow(): boolean {
    const length = lengthAt(this.#part, 0);
    if (length === 0) return false;
    const room = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
    this.#part.copy(room, 0, 0, FRAME_HEADER_BYTES);
    this.#part = room;
    return true;
  }

  #keep(bytes: Buffer, at: number): void {
    const count = bytes.length - at;
    const isKnown = count >= FRAME_HEADER_BYTES;
    // Room of its own each time: what was told of is not written to again.
    this.#part = Buffer.allocUnsafe(isKnown ? FRAME_HEADER_BYTES + lengthAt(bytes, at) : FRAME_HEADER_BYTES);
    bytes.copy(this.#part, 0, at);
    this.#have = count;
  }

  #tell(bytes: Buffer, at: number, end: number): void {
    const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff;
    this.#sink.onFrame(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, stream, bytes, at + FRAME_HEADER_BYTES, end);
  }
}

function lengthAt(bytes: Buffer, at: number): number {
  const length = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
  if (length > FRAME_BYTES_MAX) throw new ConnectionFault(CODE.frameSize, `a frame of ${length} bytes was not agreed on`);
  return length;
}
