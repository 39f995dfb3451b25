// The sending half of a connection: answers go out as far as the windows of the other side and the socket allow (RFC 9113,
// section 5.2), the rest waits with its stream. Streams that wait get their turn one after the other, a frame each.

import { AnswerHead } from './answer-head.js';
import { SOCKET_BYTES_MAX } from './limits.js';
import type { Output } from './output.js';
import { CODE, ConnectionFault, FLAG, FRAME, FRAME_BYTES_MAX, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX } from './protocol.js';
import type { Stream } from './stream.js';

export interface SendingDoors {
  readonly output: Output;
  /** The answer has ended. */
  readonly onSaid: (stream: Stream) => void;
  /** Bytes wait with a stream, more than before. */
  readonly onWaiting: (stream: Stream) => void;
}

const PREFIX_BYTES = 5;
const OK = { code: 0, text: '' } as const;

export class Sending {
  readonly heads = new AnswerHead();
  readonly #doors: SendingDoors;
  readonly #output: Output;
  readonly #blocked = new Set<Stream>();
  #window = WINDOW_BYTES_INITIAL;
  #windowOfStreams = WINDOW_BYTES_INITIAL;
  #frameBytesMax = FRAME_BYTES_MAX;

  constructor(doors: SendingDoors) {
    this.#doors = doors;
    this.#output = doors.output;
  }

  /** What may be sent on a stream that begins. */
  get windowOfStreams(): number {
    return this.#windowOfStreams;
  }

  /** The whole answer of a plain call. */
  answer(stream: Stream, message: Uint8Array): void {
    const length = message.length + PREFIX_BYTES;
    if (stream.isSaid || stream.isReset) return;
    if (!this.#fits(stream, length)) {
      this.send(stream, message);
      return this.end(stream, OK.code, OK.text);
    }
    const output = this.#output;
    const { id } = stream;
    this.#head(stream);
    this.#window -= length;
    stream.window -= length;
    output.header(length, FRAME.data, 0, id);
    output.prefix(message.length);
    output.bytes(message, 0, message.length);
    this.#end(stream, this.heads.end());
  }

  /** `fields` are already coded. */
  begin(stream: Stream, fields: Uint8Array): void {
    if (stream.hasHead || stream.isReset || stream.isSaid) return;
    stream.hasHead = true;
    this.#output.frame(FRAME.headers, FLAG.endHeaders, stream.id, this.heads.head(fields));
  }

  send(stream: Stream, message: Uint8Array): void {
    if (stream.isReset || stream.isSaid || stream.ending !== null) return;
    this.#head(stream);
    const length = message.length + PREFIX_BYTES;
    if (this.#fits(stream, length) && stream.waiting.length === 0) {
      this.#window -= length;
      stream.window -= length;
      this.#output.header(length, FRAME.data, 0, stream.id);
      this.#output.prefix(message.length);
      this.#output.bytes(message, 0, message.length);
      return;
    }
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(message.length, 1);
    stream.waiting.push(prefix, message);
    stream.waitingBytes += length;
    this.#blocked.add(stream);
    this.pump();
    if (stream.waitingBytes > 0) this.#doors.onWaiting(stream);
  }

  /** Ends the answer behind what waits. */
  end(stream: Stream, code: number, text: string): void {
    if (stream.isReset || stream.isSaid || stream.ending !== null) return;
    stream.ending = { code, text };
    if (stream.waiting.length === 0) this.#finish(stream);
  }

  /** Nothing of it is sent any more. */
  forget(stream: Stream): void {
    this.#blocked.delete(stream);
    stream.waiting.length = 0;
    stream.waitingBytes = 0;
  }

  /** Sends what has come to be possible. */
  pump(): void {
    while (this.#blocked.size > 0) {
      let isStuck = true;
      for (const stream of this.#blocked) {
        if (this.#step(stream)) isStuck = false;
      }
      if (isStuck) return;
    }
  }

  onWindow(increment: number): void {
    this.#window += increment;
    if (this.#window > WINDOW_BYTES_MAX) throw new ConnectionFault(CODE.flowControl, 'the window of the connection is too large');
    this.pump();
  }

  onFrameSize(bytes: number): void {
    // Larger frames are not worth a longer wait of other streams.
    this.#frameBytesMax = Math.min(bytes, FRAME_BYTES_MAX);
  }

  /** SETTINGS_INITIAL_WINDOW_SIZE: of streams that are open as well (section 6.9.2). */
  onWindowOfStreams(bytes: number, open: Iterable<Stream>): void {
    const more = bytes - this.#windowOfStreams;
    this.#windowOfStreams = bytes;
    for (const stream of open) {
      stream.window += more;
      if (stream.window > WINDOW_BYTES_MAX) throw new ConnectionFault(CODE.flowControl, 'the window of a stream is too large');
    }
    this.pump();
  }

  #fits(stream: Stream, length: number): boolean {
    return (
      length <= this.#frameBytesMax && length <= stream.window && length <= this.#window && this.#output.waiting < SOCKET_BYTES_MAX
    );
  }

  #head(stream: Stream): void {
    if (stream.hasHead) return;
    stream.hasHead = true;
    this.#output.frame(FRAME.headers, FLAG.endHeaders, stream.id, this.heads.head());
  }

  /** One frame of one stream. False: it cannot go on. */
  #step(stream: Stream): boolean {
    const piece = stream.waiting[0];
    if (piece === undefined || stream.window <= 0 || this.#window <= 0) return false;
    if (this.#output.waiting >= SOCKET_BYTES_MAX) return false;
    const from = stream.sent;
    const to = Math.min(piece.length, from + Math.min(stream.window, this.#window, this.#frameBytesMax));
    const length = to - from;
    this.#output.header(length, FRAME.data, 0, stream.id);
    this.#output.bytes(piece, from, to);
    this.#window -= length;
    stream.window -= length;
    stream.waitingBytes -= length;
    stream.sent = to;
    if (to < piece.length) return true;
    stream.sent = 0;
    stream.waiting.shift();
    if (stream.waiting.length > 0) return true;
    this.#blocked.delete(stream);
    stream.release?.();
    stream.release = null;
    if (stream.ending === null) stream.user?.onTaken();
    else this.#finish(stream);
    return true;
  }

  #finish(stream: Stream): void {
    const { code, text } = stream.ending ?? OK;
    if (code === 0) {
      this.#head(stream);
      return this.#end(stream, this.heads.end());
    }
    this.#end(stream, stream.hasHead ? this.heads.fail(code, text) : this.heads.only(code, text));
  }

  #end(stream: Stream, block: Uint8Array): void {
    this.#output.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream.id, block);
    stream.isSaid = true;
    this.#doors.onSaid(stream);
  }
}
