// Messages of leases between bytes and the types of client.ts, in the manner of hot-codec.ts: what is usual in one step, null for
// what is not, and byte for byte what the generated code writes. Ids are random numbers of 64 bits, so they are taken apart
// into two halves once: arithmetic on numbers of that size costs more than all else here.

import { EMPTY } from '../base/bytes.js';
import type { Header, Lease, LeaseId } from '../client.js';
import { HotWriter } from './hot-codec.js';

// Tags of numbers: the field's number times 8.
const ASKED_ID = 1 * 8;
const GRANT_TTL = 1 * 8;
const GRANT_ID = 2 * 8;
const ID = 2 * 8;
const TTL = 3 * 8;
/** A message in a message, which holds an id. */
const LISTED = 2 * 8 + 2;
const LISTED_ID = 1 * 8;

/** Of a number of 64 bits. */
const VARINT_BYTES_MAX = 10;
const TWO_TO_31 = 2 ** 31;

/** Of one server. What was returned is never written to again. */
export class LeaseCodec {
  readonly #heads = new HotWriter();
  #header: Header | null = null;
  #head: Uint8Array = EMPTY;
  /** The last number of 64 bits, and its halves. */
  readonly #view = new DataView(new ArrayBuffer(8));
  #low = 0;
  #high = 0;

  /** The id in a LeaseKeepAliveRequest or a LeaseRevokeRequest, which hold nothing else. Null: in an unusual form. */
  readId(bytes: Uint8Array): LeaseId | null {
    if (bytes.length === 0) return 0n;
    return bytes[0] === ASKED_ID && this.#read(bytes, 1) === bytes.length ? this.#id() : null;
  }

  /** What a LeaseGrantRequest asks for. Null: in an unusual form. */
  readGrant(bytes: Uint8Array): { readonly ttlSeconds: number; readonly id: LeaseId } | null {
    let ttlSeconds = 0;
    let id = 0n;
    for (let at = 0; at < bytes.length; ) {
      const tag = bytes[at];
      at = this.#read(bytes, at + 1);
      if (at === -1) return null;
      if (tag === GRANT_ID) id = this.#id();
      else if (tag === GRANT_TTL && this.#high === 0) ttlSeconds = this.#low;
      else return null;
    }
    return { ttlSeconds, id };
  }

  grant({ header, id, ttlSeconds }: Lease): Uint8Array {
    return this.keepAlive(header, id, ttlSeconds);
  }

  revoke(header: Header): Uint8Array {
    return this.#heads.put(header, null);
  }

  keepAlive(header: Header, id: LeaseId, ttlSeconds: number): Uint8Array {
    // Answers that are given together share their header.
    if (header !== this.#header) {
      this.#header = header;
      this.#head = this.#heads.put(header, null);
    }
    const head = this.#head;
    const bytes = Buffer.allocUnsafe(head.length + 2 * (1 + VARINT_BYTES_MAX));
    bytes.set(head, 0);
    let at = head.length;
    this.#take(id);
    if (this.#low !== 0 || this.#high !== 0) at = this.#write(bytes, at, ID);
    if (ttlSeconds !== 0) at = writeNumber(bytes, at, TTL, ttlSeconds);
    return bytes.subarray(0, at);
  }

  leases(header: Header, ids: readonly LeaseId[]): Uint8Array {
    const head = this.#heads.put(header, null);
    const bytes = Buffer.allocUnsafe(head.length + ids.length * (3 + VARINT_BYTES_MAX));
    bytes.set(head, 0);
    let at = head.length;
    for (const id of ids) {
      this.#take(id);
      const from = at + 2;
      const end = this.#low === 0 && this.#high === 0 ? from : this.#write(bytes, from, LISTED_ID);
      bytes[at] = LISTED;
      bytes[at + 1] = end - from;
      at = end;
    }
    return bytes.subarray(0, at);
  }

  #take(id: LeaseId): void {
    this.#view.setBigInt64(0, id);
    this.#high = this.#view.getUint32(0);
    this.#low = this.#view.getUint32(4);
  }

  #id(): LeaseId {
    this.#view.setUint32(0, this.#high);
    this.#view.setUint32(4, this.#low);
    return this.#view.getBigInt64(0);
  }

  /** A number of 64 bits into the halves; returns where it ends, -1: nowhere. Bits beyond are dropped, as everywhere. */
  #read(bytes: Uint8Array, from: number): number {
    let low = 0;
    let high = 0;
    for (let n = 0; n < VARINT_BYTES_MAX; n++) {
      const byte = bytes[from + n];
      if (byte === undefined) return -1;
      const bits = byte & 0x7f;
      if (n < 4) low |= bits << (7 * n);
      else if (n === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      }
      else high |= bits << (7 * n - 32);
      if (byte >= 0x80) continue;
      this.#low = low >>> 0;
      this.#high = high >>> 0;
      return from + n + 1;
    }
    return -1;
  }

  #write(bytes: Uint8Array, from: number, tag: number): number {
    let at = from;
    let low = this.#low;
    let high = this.#high;
    bytes[at++] = tag;
    while (high !== 0) {
      bytes[at++] = (low & 127) | 128;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    for (; low >= 128; low >>>= 7) bytes[at++] = (low & 127) | 128;
    bytes[at++] = low;
    return at;
  }
}

function writeNumber(bytes: Uint8Array, from: number, tag: number, value: number): number {
  let at = from;
  let rest = value;
  bytes[at++] = tag;
  for (; rest >= TWO_TO_31; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 128;
  for (; rest >= 128; rest >>>= 7) bytes[at++] = (rest & 127) | 128;
  bytes[at++] = rest;
  return at;
}
