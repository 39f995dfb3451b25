// The sending half of a connection: answers go out as far as the windows of the other side and the socket allow (RFC 9113,
// section 5.2), the rest waits with its stream. Streams that wait get their turn one after the other, a frame each.

import { AnswerHead } from './answer-head.js';
import { PREFIX_BYTES } from './message-reader.js';
import type { Output } from './output.js';
import { Pieces } from './pieces.js';
import { CODE, ConnectionFault, FLAG, FRAME, FRAME_BYTES_MAX, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX } from './protocol.js';
import type { Stream } from './stream.js';

export interface SendingDoors {
  readonly output: Output;
  /** The answer has ended. */
  readonly onSaid: (stream: Stream) => void;
  /** Bytes wait with a stream, more than before. */
  readonly onWaiting: (stream: Stream) => void;
}

const COPIED_BYTES = 8 * 1024;
const OK = { code: 0, text: '' } as const;
const NOTHING: Uint8Array = new Uint8Array(0);

export class Sending {
  readonly heads = new AnswerHead();
  /** Frames sent of answers. */
  frames = 0;
  readonly #doors: SendingDoors;
  readonly #output: Output;
  /** Streams of which something waits, longest first; not those whose own window is closed. */
  readonly #ready = new Set<Stream>();
  #window = WINDOW_BYTES_INITIAL;
  #windowOfStreams = WINDOW_BYTES_INITIAL;

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
    this.frames += 1;
    this.#output.frame(FRAME.headers, FLAG.endHeaders, stream.id, this.heads.head(fields));
  }

  /** A message, of which the end may be given apart. */
  send(stream: Stream, message: Uint8Array, rest = NOTHING): void {
    if (stream.isReset || stream.isSaid || stream.ending !== null) return;
    this.#head(stream);
    const messageBytes = message.length + rest.length;
    const length = messageBytes + PREFIX_BYTES;
    if (stream.waitingBytes === 0 && this.#fits(stream, length)) {
      this.frames += 1;
      this.#window -= length;
      stream.window -= length;
      this.#output.header(length, FRAME.data, 0, stream.id);
      this.#output.prefix(messageBytes);
      this.#output.bytes(message, 0, message.length);
      this.#output.bytes(rest, 0, rest.length);
      return;
    }
    // A small one is copied: it may lie in something far larger, which would stay for as long as this waits.
    const copied = message.length <= COPIED_BYTES ? message.length : 0;
    const head = Buffer.allocUnsafeSlow(PREFIX_BYTES + copied);
    head[0] = 0;
    head.writeUInt32BE(messageBytes, 1);
    head.set(message.subarray(0, copied), PREFIX_BYTES);
    stream.waiting ??= new Pieces();
    stream.waiting.push(head);
    if (copied === 0) stream.waiting.push(message);
    stream.waiting.push(rest);
    stream.waitingBytes += length;
    this.#ready.add(stream);
    this.pump();
    if (stream.waitingBytes > 0) this.#doors.onWaiting(stream);
  }

  /** The head of an answer that is no gRPC. `fields` are already coded. */
  beginPlain(stream: Stream, status: number, fields: Uint8Array): void {
    if (stream.hasHead || stream.isReset || stream.isSaid) return;
    stream.hasHead = true;
    this.frames += 1;
    this.#output.frame(FRAME.headers, FLAG.endHeaders, stream.id, this.heads.plain(status, fields));
  }

  /** Of such an answer: what is said before its head. */
  inform(stream: Stream, status: number): void {
    if (stream.hasHead || stream.isReset) return;
    this.#output.frame(FRAME.headers, FLAG.endHeaders, stream.id, this.heads.plain(status));
  }

  /** Of such an answer, bytes as they are. Nobody may write to them from here on. */
  sendPlain(stream: Stream, bytes: Uint8Array): void {
    if (stream.isReset || stream.isSaid || stream.ending !== null || bytes.length === 0) return;
    stream.waiting ??= new Pieces();
    stream.waiting.push(bytes);
    stream.waitingBytes += bytes.length;
    this.#ready.add(stream);
    this.pump();
    if (stream.waitingBytes > 0) this.#doors.onWaiting(stream);
  }

  /** Ends the answer behind what waits. */
  end(stream: Stream, code: number, text: string): void {
    if (stream.isReset || stream.isSaid || stream.ending !== null) return;
    stream.ending = { code, text };
    if (stream.waitingBytes === 0) this.#finish(stream);
  }

  /** Nothing of it is sent any more. */
  forget(stream: Stream): void {
    this.#ready.delete(stream);
    stream.waiting = null;
    stream.waitingBytes = 0;
  }

  /** Sends what has come to be possible. Whoever has had a turn stands at the end, so these go round within the loop. */
  pump(): void {
    for (const stream of this.#ready) {
      if (this.#window <= 0 || this.#output.isFull) return;
      this.#ready.delete(stream);
      // One whose own window is closed is not asked again until that opens.
      if (stream.window <= 0) continue;
      this.#step(stream);
      if (stream.waitingBytes > 0) this.#ready.add(stream);
    }
  }

  /** The window of a stream has grown. */
  onWindowOf(stream: Stream): void {
    if (stream.waitingBytes === 0 || stream.window <= 0) return;
    this.#ready.add(stream);
    this.pump();
  }

  onWindow(increment: number): void {
    this.#window += increment;
    if (this.#window > WINDOW_BYTES_MAX) throw new ConnectionFault(CODE.flowControl, 'the window of the connection is too large');
    this.pump();
  }

  /** SETTINGS_INITIAL_WINDOW_SIZE: of streams that are open as well (section 6.9.2). `pump` is to follow. */
  onWindowOfStreams(bytes: number, open: Iterable<Stream>): void {
    const more = bytes - this.#windowOfStreams;
    this.#windowOfStreams = bytes;
    for (const stream of open) {
      stream.window += more;
      if (stream.window > WINDOW_BYTES_MAX) throw new ConnectionFault(CODE.flowControl, 'the window of a stream is too large');
      if (stream.waitingBytes > 0 && stream.window > 0) this.#ready.add(stream);
    }
  }

  #fits(stream: Stream, length: number): boolean {
    return (
      length <= FRAME_BYTES_MAX && length <= stream.window && length <= this.#window &&
      !this.#output.isFull
    );
  }

  #head(stream: Stream): void {
    if (stream.hasHead) return;
    stream.hasHead = true;
    this.#output.frame(FRAME.headers, FLAG.endHeaders, stream.id, this.heads.head());
  }

  /** One frame of one stream, for which there is room. */
  #step(stream: Stream): void {
    const length = Math.min(stream.waitingBytes, stream.window, this.#window, FRAME_BYTES_MAX);
    this.#output.header(length, FRAME.data, 0, stream.id);
    stream.waiting?.moveTo(this.#output, length);
    this.frames += 1;
    this.#window -= length;
    stream.window -= length;
    stream.waitingBytes -= length;
    if (stream.waitingBytes > 0) return;
    stream.release?.();
    stream.release = null;
    if (stream.ending === null) stream.user?.onTaken();
    else this.#finish(stream);
  }

  #finish(stream: Stream): void {
    if (stream.isPlain) {
      this.#output.header(0, FRAME.data, FLAG.endStream, stream.id);
      return this.#said(stream);
    }
    const { code, text } = stream.ending ?? OK;
    if (code === 0) {
      this.#head(stream);
      return this.#end(stream, this.heads.end());
    }
    this.#end(stream, stream.hasHead ? this.heads.fail(code, text) : this.heads.only(code, text));
  }

  #end(stream: Stream, block: Uint8Array): void {
    this.#output.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream.id, block);
    this.#said(stream);
  }

  #said(stream: Stream): void {
    this.frames += 1;
    stream.isSaid = true;
    this.#doors.onSaid(stream);
  }
}
