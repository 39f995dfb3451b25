// One stream of a connection, which carries one call: what the connection knows of it. The connection owns the rules.

import { MessageReader, PREFIX_BYTES, type MessageSink } from './message-reader.js';
import { PIECE_OVERHEAD_BYTES } from './limits.js';
import type { Pieces } from './pieces.js';
import type { RequestHead } from './request-head.js';

/** Whose call it is. Called from the connection's turn; none may throw. */
export interface StreamUser extends MessageSink {
  /** Nobody writes to `message` later. */
  onMessage(message: Uint8Array, isCompressed: boolean): void;
  /** A message of so many bytes has been announced, which is too many; nothing more is told of. */
  onTooLarge(length: number): void;
  /** The caller sends no more. `isWhole` false: it stopped within a message. */
  onEnd(isWhole: boolean): void;
  /** The caller does not want an answer any more, or has left. */
  onGone(): void;
  /** All that waited to be sent has been. */
  onTaken(): void;
}

/** The same for a request that is no gRPC: its body comes as it is, and its answer goes out so. */
export interface PlainUser {
  /** Nobody writes to `bytes` later. */
  onBytes(bytes: Uint8Array): void;
  onEnd(): void;
  onGone(): void;
  onTaken(): void;
}

export class Stream {
  readonly id: number;
  readonly head: RequestHead;
  /** What may be sent on it. */
  window: number;
  /** What the caller may send on it. */
  credit: number;
  /** Of what it sent, what it has not been told that it was taken. */
  untold = 0;
  /** Of header fields, where they are large; they stay as long as the stream is open. */
  headBytes = 0;
  /** What the connection has counted of `held`. */
  counted = 0;
  /** Bytes of the body so far. */
  received = 0;
  /** What is to be sent and could not be yet; null: there never was anything. */
  waiting: Pieces | null = null;
  waitingBytes = 0;
  /** The block of header fields that ends the answer is made when its turn comes; null: more may follow. */
  ending: { readonly code: number; readonly text: string } | null = null;
  hasHead = false;
  /** The caller has ended its half, this side its own. */
  isHeard = false;
  isSaid = false;
  isReset = false;
  /** Takes messages no faster than its user; see Connection.resume. */
  isPaused = false;
  /** Lets go of the place among the answers that nobody takes. */
  release: (() => void) | null = null;
  #user: StreamUser | null = null;
  #plain: PlainUser | null = null;
  /** Made for the first message that does not come whole in one frame, alone in it; null: none has. */
  #reader: MessageReader | null = null;
  #messageBytesMax = 0;

  constructor(id: number, head: RequestHead, window: number, credit: number) {
    this.id = id;
    this.head = head;
    this.window = window;
    this.credit = credit;
  }

  get user(): StreamUser | PlainUser | null {
    return this.#user ?? this.#plain;
  }

  /** Nothing in it, or around it, is gRPC. */
  get isPlain(): boolean {
    return this.#plain !== null;
  }

  attach(user: StreamUser, messageBytesMax: number): void {
    this.#user = user;
    this.#messageBytesMax = messageBytesMax;
  }

  /** No gRPC is read from it. */
  attachPlain(user: PlainUser): void {
    this.#plain = user;
  }

  push(bytes: Buffer, from: number, to: number): void {
    const user = this.#user;
    if (user === null) {
      if (to > from) this.#plain?.onBytes(bytes.subarray(from, to));
      return;
    }
    if (this.#reader === null) {
      const length = to - from - PREFIX_BYTES;
      if (length >= 0 && length <= this.#messageBytesMax && bytes.readUInt32BE(from + 1) === length) {
        return user.onMessage(bytes.subarray(from + PREFIX_BYTES, to), bytes[from] !== 0);
      }
      if (to === from) return;
      this.#reader = new MessageReader(this.#messageBytesMax, user);
    }
    this.#reader.push(bytes, from, to);
  }

  /** What is held for what it was asked: large header fields, and the room for a message that is not whole. */
  get held(): number {
    return this.headBytes + (this.#reader?.held ?? 0);
  }

  /** What waits to be sent, and what it costs that it does. */
  get waitingCost(): number {
    return this.waitingBytes + (this.waiting === null ? 0 : this.waiting.count * PIECE_OVERHEAD_BYTES);
  }

  get isBetween(): boolean {
    return this.#reader?.isBetween ?? true;
  }
}
