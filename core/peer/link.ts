// One connection between two members after their hello: lanes in, lanes out. Writing never waits: what the socket does not
// take stands in the lane's queue, what the queue does not take is dropped. Lanes take turns, the machine's messages first: a
// follower that is far behind still gets its answers.
//
// Both ends say something about every HEARTBEAT_MS; an end that was silent for SILENCE_MS is dead, whether its packets are
// lost on the way or its process stands still. A late look at the clock is no silence: then it was this process that slept.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.js';
import { EMPTY, view } from '../base/bytes.js';
import { DecodeError } from './codec.js';
import { groupOf, recordHead, type FrameReader, type FrameRecord, type LaneGroup, type RecordKind } from './framing.js';
import { COPIED_BYTES_MAX, HEARTBEAT_MS, LANES, SILENCE_MS, SOCKET_BYTES_MAX } from './limits.js';
import type { Lane } from './transport.js';

export interface LinkDoors {
  readonly clock: Clock;
  onFrame(lane: Lane, frame: Uint8Array): void;
  /** How long an echo took to come back; absent: none are asked for. */
  readonly onRoundTrip?: (tookMs: number) => void;
  /** Once. The socket is gone. */
  onClose(reason: string): void;
}

/** What waits: a frame, and the rest of it if it is in two pieces. */
interface Waiting {
  readonly frame: Uint8Array;
  readonly rest: Uint8Array;
}

interface Queue {
  readonly lane: Lane;
  readonly frames: Waiting[];
  bytes: number;
}

/** A heartbeat that asks for its echo, and the echo: a byte and the asker's clock. */
const ECHO_BYTES = 9;
const ECHO_WANTED = 0;
const ECHO = 1;

const ORDER: readonly Lane[] = ['raft', 'call', 'snapshot'];

export class Link {
  readonly group: LaneGroup;
  readonly #socket: Socket;
  readonly #doors: LinkDoors;
  readonly #reader: FrameReader;
  readonly #queues: readonly Queue[];
  #heardAt: number;
  #wroteAt: number;
  #lookedAt: number;
  #cancelLook: () => void = () => undefined;
  #isOpen = true;

  /** `reader` may already hold the beginning of a record that came with the hello. */
  constructor(socket: Socket, group: LaneGroup, reader: FrameReader, doors: LinkDoors) {
    this.group = group;
    this.#socket = socket;
    this.#doors = doors;
    this.#reader = reader;
    this.#queues = ORDER.filter((lane) => groupOf(lane) === group).map((lane) => ({ lane, frames: [], bytes: 0 }));
    this.#heardAt = this.#wroteAt = this.#lookedAt = doors.clock.now();
    socket.on('drain', () => this.#flush());
    this.#lookLater();
  }

  /** Bytes that wait in queues, those in the socket not counted. */
  get queuedBytes(): number {
    return this.#queues.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** False: dropped. `rest` follows the frame and belongs to it. */
  send(lane: Lane, frame: Uint8Array, rest: Uint8Array = EMPTY): boolean {
    const queue = this.#queues.find((each) => each.lane === lane);
    if (!this.#isOpen || queue === undefined) return false;
    const isFree = this.#socket.writableLength < SOCKET_BYTES_MAX;
    if (isFree && this.queuedBytes === 0) {
      this.#write(lane, frame, rest);
      return true;
    }
    const { bytesMax, framesMax } = LANES[lane];
    const bytes = frame.length + rest.length;
    const isFull = queue.frames.length >= framesMax || (queue.bytes > 0 && queue.bytes + bytes > bytesMax);
    if (isFull) return false;
    queue.frames.push({ frame, rest });
    queue.bytes += bytes;
    return true;
  }

  /** Bytes from the socket. */
  take(chunk: Uint8Array): void {
    if (!this.#isOpen) return;
    this.#heardAt = this.#doors.clock.now();
    this.#guarded(() => this.#deliver(this.#reader.push(chunk)));
  }

  /** Records that came together with the hello. */
  deliver(records: readonly FrameRecord[]): void {
    this.#guarded(() => this.#deliver(records));
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.close(error.message);
    }
  }

  #deliver(records: readonly FrameRecord[]): void {
    for (const { kind, body } of records) {
      if (!this.#isOpen) return;
      if (kind === 'heartbeat') {
        this.#onHeartbeat(body);
        continue;
      }
      const lane = this.#queues.find((each) => each.lane === kind)?.lane;
      if (lane === undefined) throw new DecodeError(`a ${kind} record on a ${this.group} connection`);
      this.#doors.onFrame(lane, body);
    }
  }

  close(reason: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#cancelLook();
    for (const queue of this.#queues) {
      queue.frames.length = 0;
      queue.bytes = 0;
    }
    this.#socket.destroy();
    this.#doors.onClose(reason);
  }

  #write(kind: RecordKind, body: Uint8Array, rest: Uint8Array = EMPTY): void {
    const socket = this.#socket;
    this.#wroteAt = this.#doors.clock.now();
    const head = recordHead(kind, body, rest);
    // Head and body leave together. To copy a small body costs less than to hand over two pieces.
    const isSmall = body.length <= COPIED_BYTES_MAX;
    const start = isSmall ? Buffer.concat([head, body], head.length + body.length) : head;
    if (isSmall && rest.length === 0) return void socket.write(start);
    socket.cork();
    socket.write(start);
    if (!isSmall) socket.write(body);
    if (rest.length > 0) socket.write(rest);
    socket.uncork();
  }

  #flush(): void {
    while (this.#queues.some(({ frames }) => frames.length > 0)) {
      for (const queue of this.#queues) {
        if (!this.#isOpen || this.#socket.writableLength >= SOCKET_BYTES_MAX) return;
        const next = queue.frames.shift();
        if (next === undefined) continue;
        queue.bytes -= next.frame.length + next.rest.length;
        this.#write(queue.lane, next.frame, next.rest);
      }
    }
  }

  #lookLater(): void {
    this.#cancelLook = this.#doors.clock.schedule(HEARTBEAT_MS, () => this.#look());
  }

  #onHeartbeat(body: Uint8Array): void {
    if (body.length !== ECHO_BYTES) return;
    if (body[0] === ECHO_WANTED) {
      // Whoever does not take what is said here gets no echo either.
      if (this.#socket.writableLength > 0) return;
      const echo = Buffer.from(body);
      echo[0] = ECHO;
      return this.#write('heartbeat', echo);
    }
    const tookMs = this.#doors.clock.now() - view(body).readDoubleLE(1);
    if (tookMs >= 0 && tookMs < SILENCE_MS) this.#doors.onRoundTrip?.(tookMs);
  }

  #heartbeat(): void {
    if (this.#doors.onRoundTrip === undefined) return this.#write('heartbeat', EMPTY);
    const body = Buffer.alloc(ECHO_BYTES, ECHO_WANTED);
    body.writeDoubleLE(this.#doors.clock.now(), 1);
    this.#write('heartbeat', body);
  }

  #look(): void {
    const now = this.#doors.clock.now();
    const wasAsleep = now - this.#lookedAt > 2 * HEARTBEAT_MS;
    this.#lookedAt = now;
    if (wasAsleep) this.#heardAt = Math.max(this.#heardAt, now - HEARTBEAT_MS);
    if (now - this.#heardAt >= SILENCE_MS) return this.close(`nothing was heard for ${Math.round(now - this.#heardAt)} ms`);
    const isDue = now - this.#wroteAt >= HEARTBEAT_MS / 2 || this.#doors.onRoundTrip !== undefined;
    if (isDue && this.#socket.writableLength === 0) this.#heartbeat();
    this.#lookLater();
  }
}
