// The way to one member for one group of lanes: dials its URLs in turn, says hello, and keeps the connection; after a break
// it dials again, later each time and never at the same moment as others, so that a cluster that comes back does not fall
// upon its members all at once.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.js';
import type { Prng } from '../base/prng.js';
import type { NodeId } from '../raft/types.js';
import { DecodeError } from './codec.js';
import { decodeHello, encodeHello, FrameReader, recordHead, type FrameRecord, type LaneGroup } from './framing.js';
import { BACKOFF_MAX_MS, BACKOFF_MIN_MS, HANDSHAKE_MS, HELLO_BYTES_MAX } from './limits.js';
import { Link } from './link.js';
import { readAnswer } from './opening.js';
import { hungUp, reasonOf } from './tls.js';
import type { Lane } from './transport.js';

export interface OutboundDoors {
  readonly clock: Clock;
  readonly dice: Prng;
  readonly clusterId: bigint;
  readonly self: NodeId;
  /** Connects to `url`; `ready` once, when bytes may be written and, with TLS, the other end is who it should be. */
  dial(url: string, ready: () => void): Socket;
  onFrame(lane: Lane, frame: Uint8Array): void;
  onUp(): void;
  /** How long bytes take there and back, twice a second while it is up; absent: nobody asks. */
  readonly onRoundTrip?: (tookMs: number) => void;
  onDown(reason: string): void;
  /** One attempt came to nothing. */
  onFailure(url: string, reason: string): void;
}

export class Outbound {
  readonly #to: NodeId;
  readonly #group: LaneGroup;
  readonly #doors: OutboundDoors;
  #urls: readonly string[];
  #turn = 0;
  #attempts = 0;
  #url = '';
  #socket: Socket | null = null;
  #link: Link | null = null;
  #cancel: () => void = () => undefined;
  #isClosed = false;

  constructor(to: NodeId, group: LaneGroup, urls: readonly string[], doors: OutboundDoors) {
    this.#to = to;
    this.#group = group;
    this.#urls = urls;
    this.#doors = doors;
    this.#cancel = doors.clock.schedule(0, () => this.#dial());
  }

  get isUp(): boolean {
    return this.#link !== null;
  }

  get queuedBytes(): number {
    return this.#link?.queuedBytes ?? 0;
  }

  setUrls(urls: readonly string[]): void {
    const isSame = urls.length === this.#urls.length && urls.every((url, i) => url === this.#urls[i]);
    this.#urls = urls;
    if (isSame || this.#isClosed) return;
    this.#turn = 0;
    this.#attempts = 0;
    const isThere = urls.includes(this.#url);
    if (this.#link !== null) return isThere ? undefined : this.#link.close('its address has changed');
    if (this.#socket !== null && isThere) return;
    // The attempt, or the wait for the next one, was for the old addresses.
    this.#socket?.destroy();
    this.#socket = null;
    this.#cancel();
    this.#cancel = this.#doors.clock.schedule(0, () => this.#dial());
  }

  send(lane: Lane, frame: Uint8Array, rest: Uint8Array): boolean {
    return this.#link !== null && this.#link.send(lane, frame, rest);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
    this.#link?.close('closed here');
    this.#socket?.destroy();
    this.#socket = null;
  }

  #dial(): void {
    const { clock, clusterId, self } = this.#doors;
    const url = this.#urls[this.#turn++ % Math.max(1, this.#urls.length)];
    if (this.#isClosed || url === undefined) return;
    this.#url = url;
    const reader = new FrameReader(HELLO_BYTES_MAX);
    const socket = this.#doors.dial(url, () => {
      const hello = encodeHello({ group: this.#group, clusterId, from: self, to: this.#to });
      socket.write(Buffer.concat([recordHead('hello', hello), hello]));
    });
    this.#socket = socket;
    const fail = (reason: string): void => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#cancel();
      socket.destroy();
      if (this.#isClosed) return;
      this.#doors.onFailure(url, reason);
      this.#dialLater();
    };
    this.#cancel = clock.schedule(HANDSHAKE_MS, () => fail(`no answer within ${HANDSHAKE_MS} ms`));
    let link: Link | null = null;
    socket.on('error', (error) => {
      const reason = reasonOf(error);
      fail(reason);
      link?.close(reason);
    });
    socket.on('close', () => {
      fail(hungUp(url));
      link?.close('the other side closed the connection');
    });
    socket.on('data', (chunk: Buffer) => {
      if (link !== null) return link.take(chunk);
      const early = this.#socket === socket ? this.#readAnswer(reader, chunk, fail) : null;
      if (early === null) return;
      this.#cancel();
      this.#socket = null;
      link = this.#open(socket, reader);
      link.deliver(early);
    });
  }

  /** What came after a welcome; null: there is none (yet). */
  #readAnswer(reader: FrameReader, chunk: Uint8Array, fail: (reason: string) => void): readonly FrameRecord[] | null {
    try {
      const [answer, ...early] = readAnswer(reader, chunk);
      if (answer === undefined) return null;
      if (answer.kind !== 'welcome') throw new DecodeError(`a ${answer.kind} record instead of a welcome`);
      const { clusterId, from } = decodeHello(answer.body);
      if (clusterId === this.#doors.clusterId && from === this.#to) return early;
      throw new DecodeError(`member ${from.toString(16)} of cluster ${clusterId.toString(16)} lives there`);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      fail(error.message);
      return null;
    }
  }

  #open(socket: Socket, reader: FrameReader): Link {
    const { clock, onRoundTrip } = this.#doors;
    const upAt = clock.now();
    const link = new Link(socket, this.#group, reader, {
      clock,
      onFrame: (lane, frame) => this.#doors.onFrame(lane, frame),
      ...(onRoundTrip === undefined ? {} : { onRoundTrip }),
      onClose: (reason) => {
        this.#link = null;
        // One that breaks at once is waited for like one that never came.
        if (clock.now() - upAt >= BACKOFF_MAX_MS) this.#attempts = 0;
        this.#doors.onDown(reason);
        if (!this.#isClosed) this.#dialLater();
      },
    });
    this.#link = link;
    this.#doors.onUp();
    return link;
  }

  #dialLater(): void {
    const span = Math.min(BACKOFF_MIN_MS * 2 ** Math.min(this.#attempts++, 16), BACKOFF_MAX_MS);
    const delayMs = span / 2 + this.#doors.dice.below(Math.ceil(span / 2) + 1);
    this.#cancel();
    this.#cancel = this.#doors.clock.schedule(delayMs, () => this.#dial());
  }
}
