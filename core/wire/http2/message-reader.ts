// Bytes of one stream to messages of gRPC: one byte that says whether the message is compressed, four for its length, and the
// message. A message that came in one piece is a view of it; room for any other grows with what has come, not with what was
// announced: quickly at first, for what is outgrown is left to the collector; later to twice of it.

export interface MessageSink {
  onMessage(message: Uint8Array, isCompressed: boolean): void;
  onTooLarge(length: number): void;
}

export const PREFIX_BYTES = 5;
const ROOM_BYTES_MIN = 4096;
/** A frame of the usual 16 KiB and four more: in this a value of 64 KiB with its key has room from the first one on. */
const ROOM_GROWTH = 5;
const ROOM_GROWTH_BYTES_MAX = 128 * 1024;

export class MessageReader {
  readonly #bytesMax: number;
  readonly #sink: MessageSink;
  #prefixHave = 0;
  #isCompressed = false;
  #length = 0;
  #room: Buffer | null = null;
  #have = 0;
  #isStopped = false;

  constructor(bytesMax: number, sink: MessageSink) {
    this.#bytesMax = bytesMax;
    this.#sink = sink;
  }

  /** The room for a message that is not whole: of a byte that has come as well, for that is what it costs. */
  get held(): number {
    return this.#room?.length ?? 0;
  }

  /** No message has begun that has not ended. */
  get isBetween(): boolean {
    return this.#prefixHave === 0;
  }

  /** The same bytes are not written to by anybody later. */
  push(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && !this.#isStopped) {
      at = this.#prefixHave < PREFIX_BYTES ? this.#readPrefix(bytes, at, end) : this.#readBody(bytes, at, end);
    }
  }

  /** Returns where it stands then; a message that is whole in these bytes is told of at once. */
  #readPrefix(bytes: Buffer, at: number, end: number): number {
    if (this.#prefixHave === 0 && end - at >= PREFIX_BYTES) {
      const length = bytes.readUInt32BE(at + 1);
      const from = at + PREFIX_BYTES;
      if (end - from >= length && length <= this.#bytesMax) {
        this.#sink.onMessage(bytes.subarray(from, from + length), bytes[at] !== 0);
        return from + length;
      }
    }
    const byte = bytes[at] ?? 0;
    if (this.#prefixHave === 0) {
      this.#isCompressed = byte !== 0;
      this.#length = 0;
    } else {
      this.#length = this.#length * 256 + byte;
    }
    this.#prefixHave += 1;
    if (this.#prefixHave === PREFIX_BYTES) this.#begin();
    return at + 1;
  }

  #begin(): void {
    if (this.#length > this.#bytesMax) {
      this.#isStopped = true;
      this.#sink.onTooLarge(this.#length);
    } else if (this.#length === 0) {
      this.#finish(EMPTY);
    }
  }

  #readBody(bytes: Buffer, at: number, end: number): number {
    const count = Math.min(this.#length - this.#have, end - at);
    const room = this.#roomFor(this.#have + count);
    bytes.copy(room, this.#have, at, at + count);
    this.#have += count;
    if (this.#have === this.#length) this.#finish(room.subarray(0, this.#length));
    return at + count;
  }

  #finish(message: Buffer): void {
    this.#prefixHave = 0;
    this.#have = 0;
    this.#room = null;
    this.#sink.onMessage(message, this.#isCompressed);
  }

  #roomFor(bytes: number): Buffer {
    const old = this.#room;
    if (old !== null && old.length >= bytes) return old;
    const quick = Math.min(bytes * ROOM_GROWTH, ROOM_GROWTH_BYTES_MAX);
    const room = Buffer.allocUnsafe(Math.min(this.#length, Math.max(bytes * 2, quick, ROOM_BYTES_MIN)));
    old?.copy(room, 0, 0, this.#have);
    this.#room = room;
    return room;
  }
}

const EMPTY = Buffer.alloc(0);
