// Numbers and bytes, one after the other: what commands and snapshots are written with. Little endian; whole numbers as
// varints of seven bits a byte. The writer grows; the reader never reads past its end, and asserts instead.

import { assert } from '../base/assert.js';

const START_BYTES = 256;
const TWO_TO_32 = 2 ** 32;
/** Bytes of the longest varint of a safe integer. */
export const VARINT_BYTES_MAX = 8;

/** How many bytes `n` takes as a varint. */
export function varintBytes(n: number): number {
  let bytes = 1;
  for (let rest = n; rest >= 128; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** Writes the varint of `n`, a whole number from 0 to 2^53 - 1, at `offset`; returns the offset behind it. */
export function writeVarint(target: Uint8Array, offset: number, n: number): number {
  let at = offset;
  let rest = n;
  while (rest >= TWO_TO_32) {
    target[at++] = (rest % 128) + 128;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 128) {
    target[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

export class ByteWriter {
  #bytes: Uint8Array = new Uint8Array(START_BYTES);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  byte(n: number): void {
    this.#room(1);
    this.#bytes[this.length++] = n;
  }

  /** A whole number from 0 to 2^53 - 1. */
  varint(n: number): void {
    assert(Number.isSafeInteger(n) && n >= 0, `${n} cannot be written as a varint`);
    this.#room(VARINT_BYTES_MAX);
    this.length = writeVarint(this.#bytes, this.length, n);
  }

  /** Any safe integer. */
  integer(n: number): void {
    this.byte(n < 0 ? 1 : 0);
    this.varint(Math.abs(n));
  }

  u32(n: number): void {
    this.#room(4);
    this.#view.setUint32(this.length, n, true);
    this.length += 4;
  }

  i64(n: bigint): void {
    this.#room(8);
    this.#view.setBigInt64(this.length, n, true);
    this.length += 8;
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** The `length` bytes of `source` from `from` on. */
  copy(source: Uint8Array, from: number, length: number): void {
    this.#room(length);
    const target = this.#bytes;
    let to = this.length;
    for (let i = from; i < from + length; i++) target[to++] = source[i] as number;
    this.length = to;
  }

  /** Bytes behind their length. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** A copy of all that was written, of exactly its size. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }

  /** What was written, without a copy: good until the next write. */
  peek(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }

  #room(more: number): void {
    const needed = this.length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
  }

  get rest(): number {
    return this.#bytes.length - this.at;
  }

  byte(): number {
    this.#need(1);
    return this.#bytes[this.at++] as number;
  }

  varint(): number {
    let n = 0;
    let scale = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = this.byte();
      n += (byte & 127) * scale;
      if (byte < 128) {
        assert(n <= Number.MAX_SAFE_INTEGER, 'a varint exceeds 2^53');
        return n;
      }
      scale *= 128;
    }
    assert(false, 'a varint does not end');
  }

  integer(): number {
    const negative = this.byte();
    assert(negative <= 1, `${negative} is no sign`);
    const n = this.varint();
    return negative === 1 ? -n : n;
  }

  u32(): number {
    this.#need(4);
    this.at += 4;
    return this.#view.getUint32(this.at - 4, true);
  }

  i64(): bigint {
    this.#need(8);
    this.at += 8;
    return this.#view.getBigInt64(this.at - 8, true);
  }

  /** A view, not a copy. */
  raw(length: number): Uint8Array {
    this.#need(length);
    const bytes = this.#bytes;
    this.at += length;
    return new Uint8Array(bytes.buffer, bytes.byteOffset + this.at - length, length);
  }

  /** Bytes behind their length; a view, not a copy. */
  bytes(): Uint8Array {
    return this.raw(this.varint());
  }

  /** The next byte, which stays the next. */
  peek(): number {
    this.#need(1);
    return this.#bytes[this.at] as number;
  }

  /** Copies the next `length` bytes to `offset` in `target`. */
  copy(target: Uint8Array, offset: number, length: number): void {
    this.#need(length);
    const bytes = this.#bytes;
    const at = this.at;
    for (let i = 0; i < length; i++) target[offset + i] = bytes[at + i] as number;
    this.at = at + length;
  }

  /** Everything from position `at` on, a view; the reader does not move. */
  from(at: number): Uint8Array {
    assert(at >= 0 && at <= this.#bytes.length, `position ${at} of ${this.#bytes.length}`);
    return this.#bytes.subarray(at);
  }

  #need(count: number): void {
    assert(this.at + count <= this.#bytes.length, `${count} bytes expected at ${this.at} of ${this.#bytes.length}`);
  }
}
