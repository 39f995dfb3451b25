// Answers of Watch streams that carry events, in bytes: what the generated code would write, byte for byte. What is the same for
// many watches is made once: an event for all that are given it, the events of an answer for all that are given the same, the
// whole answer for all that bear one id, which is how most clients watch (each on a stream of its own, whose first id is 0).

import { EMPTY } from '../base/bytes.js';
import type { Event, Header } from '../client.js';
import { writeEvent, writeHeader } from './convert.js';
import { FRAGMENT_BYTES } from './limits.js';
import { Event as EventMessage } from './schema/generated/mvcc.js';
import { ResponseHeader, WatchResponse } from './schema/generated/rpc.js';
import type { Send } from './call.js';

const TAG = { header: 1 * 8 + 2, watchId: 2 * 8, events: 11 * 8 + 2 } as const;
/** Of events that many may be given one after the other, so much is remembered. */
const EVENTS_KEPT = 256;
const EVENT_BYTES_KEPT = 1024 * 1024;
/** Events this large are given to the transport as they are, beside what is before them; smaller ones cost less to copy. */
const SHARED_BYTES = 4 * 1024;
const PIECE_BYTES = 64 * 1024;

/** For all streams of one server. What it gives out is never written to again. */
export class WatchWriter {
  #header: Header | null = null;
  #headerField: Uint8Array = EMPTY;
  #events: readonly Event[] | null = null;
  #eventFields: Uint8Array = EMPTY;
  /** The answer with `#header`, id 0 and `#events`. */
  #whole: Uint8Array | null = null;
  readonly #known = new Map<Event, Uint8Array>();
  #knownBytes = 0;
  #piece: Uint8Array = EMPTY;
  #pieceAt = 0;

  /** `id` as `idField` makes it. */
  send(send: Send, header: Header, id: Uint8Array, events: readonly Event[]): Promise<void> {
    this.#prepare(header, events);
    if (this.#eventFields.length >= SHARED_BYTES) return send(join(this.#headerField, id), this.#eventFields);
    if (id.length > 0) return send(this.#write(id));
    this.#whole ??= this.#write(id);
    return send(this.#whole);
  }

  /** Of the answer that `send` would send. */
  sizeOf(header: Header, id: Uint8Array, events: readonly Event[]): number {
    this.#prepare(header, events);
    return this.#headerField.length + id.length + this.#eventFields.length;
  }

  #prepare(header: Header, events: readonly Event[]): void {
    if (this.#header !== header) {
      this.#header = header;
      this.#headerField = field(TAG.header, ResponseHeader.encode(writeHeader(header)).finish());
      this.#whole = null;
    }
    if (this.#events === events) return;
    this.#events = events;
    this.#eventFields = this.#fieldsOf(events);
    this.#whole = null;
  }

  #fieldsOf(events: readonly Event[]): Uint8Array {
    const [only] = events;
    if (only !== undefined && events.length === 1) return this.#fieldOf(only);
    return Buffer.concat(events.map((event) => this.#fieldOf(event)));
  }

  #fieldOf(event: Event): Uint8Array {
    const known = this.#known.get(event);
    if (known !== undefined) return known;
    const bytes = field(TAG.events, EventMessage.encode(writeEvent(event)).finish());
    this.#knownBytes += bytes.length;
    if (this.#known.size >= EVENTS_KEPT || this.#knownBytes > EVENT_BYTES_KEPT) {
      this.#known.clear();
      this.#knownBytes = bytes.length;
    }
    this.#known.set(event, bytes);
    return bytes;
  }

  #write(id: Uint8Array): Uint8Array {
    const [header, events] = [this.#headerField, this.#eventFields];
    const length = header.length + id.length + events.length;
    if (this.#pieceAt + length > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, length));
      this.#pieceAt = 0;
    }
    const piece = this.#piece;
    const from = this.#pieceAt;
    piece.set(header, from);
    let at = from + header.length;
    for (let i = 0; i < id.length; i++) piece[at++] = id[i] ?? 0;
    piece.set(events, at);
    this.#pieceAt = at + events.length;
    return piece.subarray(from, this.#pieceAt);
  }
}

/** An answer too large for whoever asked for fragments, cut between events. Each piece is made when it is asked for. */
export class Fragments {
  readonly #header: Header;
  readonly #watchId: bigint;
  readonly #events: readonly Event[];
  readonly #around: number;
  #from = 0;

  constructor(header: Header, watchId: bigint, events: readonly Event[]) {
    this.#header = header;
    this.#watchId = watchId;
    this.#events = events;
    this.#around = encodeAnswer({ header, watchId, fragment: true }).length;
  }

  /** Null: that was all. */
  next(): Uint8Array | null {
    const from = this.#from;
    if (from >= this.#events.length) return null;
    let bytes = this.#around;
    let to = from;
    for (; to < this.#events.length; to++) {
      bytes += sizeOf(this.#events[to]);
      if (to > from && bytes >= FRAGMENT_BYTES) break;
    }
    this.#from = to;
    const events = this.#events.slice(from, to).map(writeEvent);
    return encodeAnswer({ header: this.#header, watchId: this.#watchId, events, fragment: to < this.#events.length });
  }
}

export function encodeAnswer(answer: Partial<WatchResponse>): Uint8Array {
  const { header, watchId = 0n, created = false, canceled = false } = answer;
  const { compactRevision = 0, cancelReason = '', fragment = false, events = [] } = answer;
  const message = { header, watchId, created, canceled, compactRevision, cancelReason, fragment, events };
  return WatchResponse.encode(message).finish();
}

/** The id of a watch as the field of its answers; 0 is not written. */
export function idField(watchId: bigint): Uint8Array {
  if (watchId === 0n) return EMPTY;
  return Uint8Array.from([TAG.watchId, ...varint(BigInt.asUintN(64, watchId))]);
}

function field(tag: number, message: Uint8Array): Uint8Array {
  return join(Uint8Array.from([tag, ...varint(BigInt(message.length))]), message);
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  return Buffer.concat([first, second]);
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return bytes;
}

/** Of an event as a field of an answer. */
function sizeOf(event: Event | undefined): number {
  const length = event === undefined ? 0 : EventMessage.encode(writeEvent(event)).finish().length;
  return 1 + Math.max(1, Math.ceil((32 - Math.clz32(length)) / 7)) + length;
}
