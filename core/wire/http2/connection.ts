// One HTTP/2 connection of a caller (RFC 9113), as gRPC uses it: bytes in, calls out, answers in, bytes out. It knows no socket:
// what carries it is given as a `Line`, and whose calls these are as `Calls`. Everything happens in the turn that brings it.
//
// A stream is in `#streams` until both halves have ended or either side has reset it. Whatever breaks the rules of the
// connection ends it with GOAWAY; what breaks those of a stream resets that stream, and counts against the caller.
//
// It is long because each kind of frame has its few lines here, and all of them act on the same few fields.

import type { Clock } from '../../base/clock.js';
import { HTTP_HEADERS_MS } from '../limits.js';
import { asError } from '../open-calls.js';
import { Budget, flood } from './budget.js';
import { FrameReader, type FrameSink } from './frame-reader.js';
import { HeaderDecoder } from './header-decoder.js';
import {
  CONNECTION_WINDOW_BYTES, ENDED_EARLY_MAX, HEADER_BLOCK_BYTES_MAX, HEADER_COUNTED_BYTES, HEADER_LIST_BYTES_MAX, SOCKET_BYTES_MAX,
  STREAM_WINDOW_BYTES, UNPACKED_AT_ONCE_BYTES, UNREAD_BYTES_MAX, UNREAD_STEP_BITS,
} from './limits.js';
import { KnownHeads } from './known-heads.js';
import { Output, type Sink } from './output.js';
import { CODE, ConnectionFault, FLAG, FRAME, SETTING, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX } from './protocol.js';
import { HeadReader, TrailerReader, type RequestHead } from './request-head.js';
import { Sending } from './sending.js';
import { Stream } from './stream.js';
import { Streams } from './streams.js';

/** What carries a connection. */
export interface Line extends Sink {
  pause(): void;
  resume(): void;
  /** Closes when everything given to it has been taken. */
  end(): void;
  destroy(): void;
}

export interface ConnectionDoors {
  readonly line: Line;
  readonly clock: Clock;
  readonly streamsMax: number;
  /** Bytes that may wait for the socket; absent: what one connection may have. */
  readonly waitingMax?: () => number;
  /** etcd: --grpc-keepalive-min-time; null: pings are judged as any other frames. */
  readonly pingMinMs: number | null;
  /** A call begins: attaches a user to the stream, or ends it. */
  readonly onCall: (stream: Stream, connection: Connection) => void;
  readonly onWaiting: (stream: Stream, connection: Connection) => void;
  /** Cut off for a flood of something. */
  readonly onFlood: (what: string) => void;
  /** It ends because something here is broken: this is not the caller's fault. */
  readonly onFault: (error: Error) => void;
  /** What it holds of requests that are read and not handled, whenever that passes a step of 2 ** UNREAD_STEP_BITS. */
  readonly onUnread: (bytes: number, connection: Connection) => void;
}

export class Connection implements FrameSink {
  readonly sending: Sending;
  readonly #doors: ConnectionDoors;
  readonly #output: Output;
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HeaderDecoder();
  readonly #budget: Budget;
  readonly #streams = new Streams();
  /** Streams that this side has ended before the caller did: what was under way is let pass. */
  readonly #endedEarly = new Set<number>();
  /** The highest of those that are not kept any more; up to it nobody knows who ended a stream first. */
  #endedBefore = 0;
  #lastStream = 0;
  /** The last streams that were left out: above the first and below the second of these. */
  #skippedAbove = 0;
  #skippedBelow = 0;
  /** A block of header fields that is not whole. */
  #block: Block | null = null;
  #cancelBlock: () => void = () => undefined;
  readonly #knownHeads = new KnownHeads();
  #credit = CONNECTION_WINDOW_BYTES;
  #untold = 0;
  #unread = 0;
  #unreadSteps = 0;
  /** Of compressed messages, since others had their turn for it. */
  #unpacked = 0;
  #isYielding = false;
  #hasSettings = false;
  /** The caller knows what was agreed on. */
  #hasHeard = false;
  #isPaused = false;
  /** Streams beyond this are not begun any more; see `drain`. */
  #lastServed = Infinity;
  isClosed = false;
  /** When what is being read came: calls begin then, and the clock is asked once for all of them. */
  receivedMs = 0;

  constructor(doors: ConnectionDoors) {
    this.#doors = doors;
    this.#budget = new Budget(doors.clock, doors.pingMinMs);
    const waitingMax = doors.waitingMax ?? ((): number => SOCKET_BYTES_MAX);
    // Also in the middle of what has come: few bytes may ask for many.
    this.#output = new Output(doors.line, doors.clock, waitingMax, () => this.onDrain(), () => this.#reader.hold());
    this.sending = new Sending({
      output: this.#output,
      onSaid: (stream) => this.#onSaid(stream),
      onWaiting: (stream) => doors.onWaiting(stream, this),
    });
    this.#greet();
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** The last stream that the caller has opened. */
  get lastStream(): number {
    return this.#lastStream;
  }

  /** Bytes from the caller, in order. */
  receive(bytes: Buffer): void {
    if (this.isClosed) return;
    this.receivedMs = this.#doors.clock.now();
    this.#read(bytes);
    // Whoever makes more answers than he takes is not listened to until he has.
    if (this.isClosed || this.#isPaused || !this.#isBehind) return;
    this.#isPaused = true;
    this.#doors.line.pause();
  }

  /** There may be room in the socket again. */
  onDrain(): void {
    if (this.isClosed) return;
    this.sending.pump();
    if (!this.#isPaused || this.#isYielding || this.#output.isFull) return;
    if (this.#reader.hasRest) this.#read(NOTHING);
    if (this.isClosed || this.#isBehind) return;
    this.#isPaused = false;
    this.#doors.line.resume();
  }

  /** There is nobody at the other end any more. */
  lost(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#endBlock();
    this.#reader.stop();
    this.#output.close();
    for (const stream of this.#streams.values()) this.#gone(stream);
    this.#streams.clear();
    if (this.#unreadSteps > 0) this.#doors.onUnread(0, this);
  }

  /** The user of the stream takes more. */
  resume(stream: Stream): void {
    stream.isPaused = false;
    this.#tell(stream);
  }

  /** Counts bytes of requests that are read and not handled; false: they are too many. */
  hold(bytes: number): boolean {
    this.#unread += bytes;
    const steps = this.#unread >>> UNREAD_STEP_BITS;
    if (steps !== this.#unreadSteps && !this.isClosed) {
      this.#unreadSteps = steps;
      this.#doors.onUnread(steps << UNREAD_STEP_BITS, this);
    }
    return this.#unread <= UNREAD_BYTES_MAX;
  }

  /** Told for each compressed message: few bytes may unpack to very many, for which others would wait. */
  onUnpacked(bytes: number): void {
    this.#unpacked += bytes;
    if (this.#unpacked < UNPACKED_AT_ONCE_BYTES || this.#isYielding) return;
    this.#unpacked = 0;
    this.#isYielding = true;
    this.#reader.hold();
    this.#doors.clock.schedule(0, () => {
      this.#isYielding = false;
      this.onDrain();
    });
  }

  /** Ends a stream at once, whatever it was about to say. */
  reset(stream: Stream, code: number): void {
    if (stream.isReset || this.isClosed) return;
    this.#output.number(FRAME.rstStream, stream.id, code);
    this.#endEarly(stream);
    this.#forget(stream);
  }

  /** Answers what is no gRPC in the words of HTTP. */
  refuse(stream: Stream, status: number): void {
    this.#output.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream.id, this.sending.heads.plain(status));
    stream.isSaid = true;
    this.#onSaid(stream);
  }

  /** No new calls: the caller is told, what is open may end, and then the connection does. */
  drain(): void {
    if (this.isClosed || this.#lastServed !== Infinity) return;
    this.#lastServed = this.#lastStream;
    this.#output.goaway(this.#lastStream, CODE.noError, '');
    this.#endIfIdle();
  }

  /** For what it costs others. */
  cutOff(what: string): void {
    if (!this.isClosed) this.#fail(flood(what));
  }

  close(): void {
    if (this.isClosed) return;
    this.#output.flush();
    this.lost();
    this.#doors.line.destroy();
  }

  flush(): void {
    this.#output.flush();
  }

  ping(payload: Uint8Array): void {
    this.#output.ping(payload, false);
  }

  onFrame(type: number, flags: number, id: number, bytes: Buffer, from: number, to: number): void {
    if (this.#block !== null && type !== FRAME.continuation) throw broken('a block of header fields is interrupted');
    if (!this.#hasSettings) {
      if (type !== FRAME.settings || (flags & FLAG.ack) !== 0) throw broken('the first frame is not SETTINGS');
      this.#hasSettings = true;
    }
    switch (type) {
      case FRAME.data:
        return this.#onData(flags, id, bytes, from, to);
      case FRAME.headers:
        return this.#onHeaders(flags, id, bytes, from, to);
      case FRAME.windowUpdate:
        return this.#onWindowUpdate(id, bytes, from, to);
      case FRAME.rstStream:
        return this.#onReset(id, to - from);
      case FRAME.settings:
        return this.#onSettings(flags, id, bytes, from, to);
      case FRAME.ping:
        return this.#onPing(flags, id, bytes, from, to);
      case FRAME.continuation:
        return this.#onContinuation(flags, id, bytes, from, to);
      case FRAME.priority:
        return this.#onPriority(id, bytes, from, to);
      case FRAME.goaway:
        return this.#onGoaway(id, to - from);
      case FRAME.pushPromise:
        throw broken('a client promises nothing');
      default:
        // What nobody knows is passed over (section 4.1); it must not be the way to keep a server busy.
        return this.#budget.onEmptyFrame();
    }
  }

  #greet(): void {
    const settings = Buffer.alloc(18);
    [
      [SETTING.maxConcurrentStreams, this.#doors.streamsMax],
      [SETTING.initialWindowSize, STREAM_WINDOW_BYTES],
      [SETTING.maxHeaderListSize, HEADER_LIST_BYTES_MAX],
    ].forEach(([name = 0, value = 0], i) => {
      settings.writeUInt16BE(name, i * 6);
      settings.writeUInt32BE(value, i * 6 + 2);
    });
    this.#output.frame(FRAME.settings, 0, 0, settings);
    this.#output.number(FRAME.windowUpdate, 0, CONNECTION_WINDOW_BYTES - WINDOW_BYTES_INITIAL);
  }

  #read(bytes: Buffer): void {
    try {
      this.#reader.push(bytes);
    } catch (error) {
      this.#fail(error instanceof ConnectionFault ? error : this.#broken(error));
    }
  }

  /** Not all that has come was looked at, others have their turn, or too much that was said is not taken. */
  get #isBehind(): boolean {
    return this.#isYielding || this.#reader.hasRest || this.#output.isFull;
  }

  /** One connection ends for what is broken here, and not all of them. */
  #broken(error: unknown): ConnectionFault {
    this.#doors.onFault(asError(error));
    return new ConnectionFault(CODE.internal, 'something is broken here');
  }

  #fail(fault: ConnectionFault): void {
    if (fault.isFlood) this.#doors.onFlood(fault.message);
    this.#output.goaway(this.#lastStream, fault.code, fault.message);
    this.#output.flush();
    this.lost();
    this.#doors.line.end();
  }

  // Calls

  #onHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) throw broken('header fields of no stream');
    let from = start;
    let to = end;
    if ((flags & FLAG.padded) !== 0) {
      if (from >= to) throw sized('HEADERS');
      to -= bytes[from] ?? 0;
      from += 1;
      if (from > to) throw broken('more padding than frame');
    }
    if ((flags & FLAG.priority) !== 0) {
      if (end - from < PRIORITY_BYTES) throw sized('HEADERS');
      if (to - from < PRIORITY_BYTES) throw broken('more padding than frame');
      if ((bytes.readUInt32BE(from) & 0x7fffffff) === id) throw broken('a stream depends on itself');
      from += PRIORITY_BYTES;
    }
    if ((flags & FLAG.endHeaders) !== 0) return this.#onBlock(id, flags, bytes, from, to);
    this.#block = { stream: id, flags, parts: [], bytes: 0 };
    this.#cancelBlock = this.#doors.clock.schedule(HTTP_HEADERS_MS, () => this.cutOff(SLOW_BLOCK));
    this.#addToBlock(this.#block, bytes, from, to);
  }

  #addToBlock(block: Block, bytes: Buffer, from: number, to: number): void {
    block.parts.push(bytes.subarray(from, to));
    block.bytes += to - from;
    if (!this.hold(to - from) && !this.isClosed) throw flood('header fields');
  }

  #onContinuation(flags: number, id: number, bytes: Buffer, from: number, to: number): void {
    const block = this.#block;
    if (block === null || id !== block.stream) throw broken('CONTINUATION of nothing');
    this.#addToBlock(block, bytes, from, to);
    if (this.isClosed) return;
    if (from === to) this.#budget.onEmptyFrame();
    if (block.bytes > HEADER_BLOCK_BYTES_MAX || block.parts.length > PARTS_MAX) throw flood('header fields');
    if ((flags & FLAG.endHeaders) === 0) return;
    this.#endBlock();
    const whole = Buffer.concat(block.parts);
    this.#onBlock(id, block.flags, whole, 0, whole.length);
  }

  #endBlock(): void {
    if (this.#block === null) return;
    this.#cancelBlock();
    this.hold(-this.#block.bytes);
    this.#block = null;
  }

  #onBlock(id: number, flags: number, bytes: Buffer, from: number, to: number): void {
    const isLast = (flags & FLAG.endStream) !== 0;
    const open = this.#streams.get(id);
    if (open !== undefined) return this.#onTrailers(open, isLast, bytes, from, to);
    if (id % 2 === 0) throw broken(`a client cannot open stream ${id}`);
    if (id <= this.#lastStream) {
      this.#decoder.decode(bytes, from, to, new TrailerReader());
      // They were read, for the table, and nobody needs them.
      if (this.#isEndedEarly(id)) return this.#budget.onEmptyFrame();
      if (id > this.#skippedAbove && id < this.#skippedBelow) throw broken(`stream ${id} comes behind ${this.#lastStream}`);
      throw new ConnectionFault(CODE.streamClosed, `stream ${id} has ended`);
    }
    if (id > this.#lastStream + 2) {
      this.#skippedAbove = this.#lastStream;
      this.#skippedBelow = id;
    }
    this.#lastStream = id;
    const head = this.#readHead(bytes, from, to);
    this.#budget.onStream();
    if (head === 'too_large') return this.#refuse(id, CODE.enhanceYourCalm);
    if (head === null) return this.#refuse(id, CODE.protocol);
    if (this.#streams.size >= this.#doors.streamsMax) return this.#refuseMore(id);
    // Calls after GOAWAY are those that crossed it on the way: whoever made them knows that they did not begin.
    if (id > this.#lastServed) return this.#endedEarlyAdd(id);
    const stream = new Stream(id, head, this.sending.windowOfStreams, STREAM_WINDOW_BYTES);
    this.#streams.set(id, stream);
    stream.isHeard = isLast;
    if (to - from > HEADER_COUNTED_BYTES && !this.#countHead(stream, to - from)) return;
    this.#doors.onCall(stream, this);
    if (isLast) this.#onHeard(stream);
  }

  #readHead(bytes: Buffer, from: number, to: number): RequestHead | 'too_large' | null {
    const { version } = this.#decoder;
    const known = this.#knownHeads.find(bytes, from, to, version);
    if (known !== undefined) return known;
    const reader = new HeadReader();
    if (!this.#decoder.decode(bytes, from, to, reader)) return 'too_large';
    const { head } = reader;
    if (version === this.#decoder.version) this.#knownHeads.keep(bytes, from, to, version, head);
    return head;
  }

  #onTrailers(stream: Stream, isLast: boolean, bytes: Buffer, from: number, to: number): void {
    const reader = new TrailerReader();
    const isSmall = this.#decoder.decode(bytes, from, to, reader);
    if (stream.isHeard) return this.#break(stream, CODE.streamClosed);
    if (!isLast || reader.isMalformed || !isSmall) return this.#break(stream, CODE.protocol);
    stream.isHeard = true;
    this.#onHeard(stream);
  }

  #onData(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (id === 0) throw broken('data of no stream');
    this.#credit -= length;
    if (this.#credit < 0) throw new ConnectionFault(CODE.flowControl, 'more data than the connection may send');
    this.#tellConnection(length);
    const isLast = (flags & FLAG.endStream) !== 0;
    let from = start;
    let to = end;
    if ((flags & FLAG.padded) !== 0) {
      if (from >= to) throw sized('DATA');
      to -= bytes[from] ?? 0;
      from += 1;
      if (from > to) throw broken('more padding than frame');
    }
    if (from === to && !isLast) this.#budget.onEmptyFrame();
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (id > this.#lastStream || id % 2 === 0) throw broken(`data of stream ${id}, which has not begun`);
      if (this.#isEndedEarly(id)) return;
      throw new ConnectionFault(CODE.streamClosed, `stream ${id} has ended`);
    }
    if (stream.isHeard) return this.#break(stream, CODE.streamClosed);
    stream.credit -= length;
    if (stream.credit < 0) return this.#break(stream, CODE.flowControl);
    stream.untold += length;
    stream.received += to - from;
    stream.isHeard = isLast;
    stream.push(bytes, from, to);
    if (stream.held !== stream.counted && !this.#count(stream)) return this.#break(stream, CODE.enhanceYourCalm);
    if (isLast) this.#onHeard(stream);
    else if (!stream.isPaused) this.#tell(stream);
  }

  /** Of large header fields; false: it does not begin. It may be that the connection was cut off for them. */
  #countHead(stream: Stream, bytes: number): boolean {
    stream.headBytes = bytes;
    if (!this.#count(stream)) this.#break(stream, CODE.enhanceYourCalm);
    return !stream.isReset;
  }

  /** Counts what a stream holds. */
  #count(stream: Stream): boolean {
    // What came may have ended the call: nothing is held for it any more.
    if (stream.isReset) return true;
    const more = stream.held - stream.counted;
    stream.counted += more;
    return this.hold(more);
  }

  /** The caller has said all. */
  #onHeard(stream: Stream): void {
    // What came with it may have ended the call already.
    if (stream.isReset) return;
    const { contentLength } = stream.head;
    if (contentLength !== -1 && contentLength !== stream.received) return this.#break(stream, CODE.protocol);
    stream.user?.onEnd(stream.isBetween);
  }

  #onSaid(stream: Stream): void {
    if (!stream.isHeard) {
      // The answer did not need the rest of the request (section 8.1).
      this.#output.number(FRAME.rstStream, stream.id, CODE.noError);
      this.#endEarly(stream);
    }
    this.#forget(stream);
  }

  #onReset(id: number, length: number): void {
    if (length !== 4) throw sized('RST_STREAM');
    if (id === 0 || id > this.#lastStream || id % 2 === 0) throw broken(`stream ${id} ends before it begins`);
    this.#budget.onReset();
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#gone(stream);
    this.#forget(stream);
  }

  /** The caller broke a rule of one stream. */
  #break(stream: Stream, code: number): void {
    if (stream.isReset) return;
    stream.user?.onGone();
    this.reset(stream, code);
    this.#budget.onReset();
  }

  #refuse(id: number, code: number): void {
    this.#output.number(FRAME.rstStream, id, code);
    this.#endedEarlyAdd(id);
    this.#budget.onReset();
  }

  #refuseMore(id: number): void {
    if (this.#hasHeard) return this.#refuse(id, CODE.refusedStream);
    this.#output.number(FRAME.rstStream, id, CODE.refusedStream);
    this.#endedEarlyAdd(id);
    this.#budget.onUnheard();
  }

  #gone(stream: Stream): void {
    if (stream.isReset) return;
    this.#letGo(stream);
    stream.user?.onGone();
  }

  #forget(stream: Stream): void {
    if (!this.#streams.delete(stream.id)) return;
    if (!stream.isReset) this.#letGo(stream);
    this.#endIfIdle();
  }

  #letGo(stream: Stream): void {
    stream.isReset = true;
    this.hold(-stream.counted);
    stream.counted = 0;
    this.sending.forget(stream);
    stream.release?.();
    stream.release = null;
  }

  #endEarly(stream: Stream): void {
    if (!stream.isHeard) this.#endedEarlyAdd(stream.id);
  }

  #endedEarlyAdd(id: number): void {
    this.#endedEarly.add(id);
    if (this.#endedEarly.size <= ENDED_EARLY_MAX) return;
    const [oldest = 0] = this.#endedEarly;
    this.#endedEarly.delete(oldest);
    this.#endedBefore = Math.max(this.#endedBefore, oldest);
  }

  #isEndedEarly(id: number): boolean {
    return id <= this.#endedBefore || this.#endedEarly.has(id);
  }

  #endIfIdle(): void {
    if (this.#lastServed === Infinity || this.#streams.size > 0 || this.isClosed) return;
    this.#output.flush();
    this.lost();
    this.#doors.line.end();
  }

  // Windows

  #tellConnection(bytes: number): void {
    this.#untold += bytes;
    if (this.#untold < CONNECTION_WINDOW_BYTES / 2) return;
    this.#output.number(FRAME.windowUpdate, 0, this.#untold);
    this.#credit += this.#untold;
    this.#untold = 0;
  }

  #tell(stream: Stream): void {
    if (stream.untold < STREAM_WINDOW_BYTES / 2 || stream.isHeard || stream.isReset) return;
    this.#output.number(FRAME.windowUpdate, stream.id, stream.untold);
    stream.credit += stream.untold;
    stream.untold = 0;
  }

  #onWindowUpdate(id: number, bytes: Buffer, from: number, to: number): void {
    if (to - from !== 4) throw sized('WINDOW_UPDATE');
    const increment = bytes.readUInt32BE(from) & 0x7fffffff;
    if (id === 0) {
      if (increment === 0) throw broken('a window grows by nothing');
      return this.sending.onWindow(increment);
    }
    if (id > this.#lastStream || id % 2 === 0) throw broken(`the window of stream ${id}, which has not begun`);
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (increment === 0) return this.#break(stream, CODE.protocol);
    stream.window += increment;
    if (stream.window > WINDOW_BYTES_MAX) return this.#break(stream, CODE.flowControl);
    this.sending.onWindowOf(stream);
  }

  // The connection itself

  #onSettings(flags: number, id: number, bytes: Buffer, from: number, to: number): void {
    if (id !== 0) throw broken('settings of a stream');
    if ((flags & FLAG.ack) !== 0) {
      if (from !== to) throw sized('SETTINGS');
      this.#hasHeard = true;
      return this.#budget.onEmptyFrame();
    }
    if ((to - from) % SETTING_BYTES !== 0) throw sized('SETTINGS');
    this.#budget.onSettings((to - from) / SETTING_BYTES);
    let window = this.sending.windowOfStreams;
    for (let at = from; at < to; at += SETTING_BYTES) {
      const name = bytes.readUInt16BE(at);
      const value = bytes.readUInt32BE(at + 2);
      if (name === SETTING.initialWindowSize) window = value;
      this.#onSetting(name, value);
    }
    // Once for each frame, however often it says so: every open stream is looked at for it.
    if (window !== this.sending.windowOfStreams) this.sending.onWindowOfStreams(window, this.#streams.values());
    this.#output.frame(FRAME.settings, FLAG.ack, 0, NOTHING);
    // A window may have opened. What is sent for it comes behind the acknowledgement (section 6.5.3).
    this.sending.pump();
  }

  #onSetting(name: number, value: number): void {
    switch (name) {
      case SETTING.headerTableSize:
        return this.sending.heads.onTableSize(value);
      case SETTING.enablePush:
        if (value > 1) throw broken(`ENABLE_PUSH is ${value}`);
        return;
      case SETTING.initialWindowSize:
        if (value > WINDOW_BYTES_MAX) throw new ConnectionFault(CODE.flowControl, `INITIAL_WINDOW_SIZE is ${value}`);
        return;
      case SETTING.maxFrameSize:
        if (value < FRAME_SIZE_LEAST || value > FRAME_SIZE_MOST) throw broken(`MAX_FRAME_SIZE is ${value}`);
        // Larger frames are not worth a longer wait of other streams.
        return;
      default:
        return;
    }
  }

  #onPing(flags: number, id: number, bytes: Buffer, from: number, to: number): void {
    if (id !== 0) throw broken('a ping of a stream');
    if (to - from !== 8) throw sized('PING');
    if ((flags & FLAG.ack) !== 0) return this.#budget.onEmptyFrame();
    // Also the one that is one too many, as gRPC does.
    this.#output.ping(bytes.subarray(from, to), true);
    this.#budget.onPing(this.sending.frames, this.#streams.size);
  }

  #onPriority(id: number, bytes: Buffer, from: number, to: number): void {
    if (id === 0) throw broken('a priority of no stream');
    this.#budget.onPriority();
    const stream = this.#streams.get(id);
    const isWrong = to - from !== PRIORITY_BYTES;
    if (!isWrong && (bytes.readUInt32BE(from) & 0x7fffffff) !== id) return;
    if (stream === undefined) throw isWrong ? sized('PRIORITY') : broken('a stream depends on itself');
    this.#break(stream, isWrong ? CODE.frameSize : CODE.protocol);
  }

  #onGoaway(id: number, length: number): void {
    if (id !== 0) throw broken('GOAWAY of a stream');
    if (length < 8) throw sized('GOAWAY');
    this.#budget.onEmptyFrame();
    // The caller begins no more calls; those that are open are answered.
    this.drain();
  }
}

const PRIORITY_BYTES = 5;
const SETTING_BYTES = 6;
const FRAME_SIZE_LEAST = 2 ** 14;
const FRAME_SIZE_MOST = 2 ** 24 - 1;
/** Frames that one block of header fields may come in. */
const PARTS_MAX = 32;
const NOTHING = Buffer.alloc(0);
const SLOW_BLOCK = 'header fields that do not end';

interface Block {
  readonly stream: number;
  readonly flags: number;
  readonly parts: Buffer[];
  bytes: number;
}

function broken(message: string): ConnectionFault {
  return new ConnectionFault(CODE.protocol, message);
}

function sized(name: string): ConnectionFault {
  return new ConnectionFault(CODE.frameSize, `a ${name} frame has the wrong size`);
}
