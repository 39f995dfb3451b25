// What stands in etcd's database, record by record, both directions adjacent: keys of revisions, and messages in protobuf's
// form (a field is its number * 8 + its kind: 0 a varint, 2 a length and bytes; zeros are left out; unknown fields are passed).

import { assert } from '../base/assert.js';
import { EMPTY } from '../base/bytes.js';
import { varintBytes, writeVarint } from './binary.js';

const VARINT = 0;
const BYTES = 2;
const TOMBSTONE = 0x74;

/** Fields of a message, as they come; a number field is a bigint of 64 unsigned bits. */
export type Fields = ReadonlyMap<number, readonly (bigint | Uint8Array)[]>;

/** Bytes of a field with a number, whose tag is a byte; none for 0. A negative one is written as 64 bits. */
export function numberBytes(n: number | bigint): number {
  if (typeof n === 'number') {
    assert(Number.isSafeInteger(n), `${n} cannot be written as a varint`);
    if (n === 0) return 0;
    return n < 0 ? 11 : 1 + varintBytes(n);
  }
  if (n === 0n) return 0;
  let bytes = 2;
  for (let rest = BigInt.asUintN(64, n) >> 7n; rest > 0n; rest >>= 7n) bytes += 1;
  return bytes;
}

export function writeNumber(target: Uint8Array, at: number, field: number, n: number | bigint): number {
  if (n === 0 || n === 0n) return at;
  target[at] = field * 8 + VARINT;
  if (typeof n === 'number') return writeVarint(target, at + 1, n);
  let rest = BigInt.asUintN(64, n);
  let end = at + 1;
  for (; rest >= 128n; rest >>= 7n) target[end++] = Number(rest & 127n) | 128;
  target[end] = Number(rest);
  return end + 1;
}

/** The same for as many bytes behind their length; none for nothing. */
export function piecesBytes(length: number): number {
  return length === 0 ? 0 : 1 + varintBytes(length) + length;
}

export function writePiece(target: Uint8Array, at: number, field: number, bytes: Uint8Array): number {
  if (bytes.length === 0) return at;
  target[at] = field * 8 + BYTES;
  const from = writeVarint(target, at + 1, bytes.length);
  target.set(bytes, from);
  return from + bytes.length;
}

/** A message of a few small fields; zeros and empty pieces are left out. */
export function message(fields: readonly (readonly [field: number, value: number | bigint | Uint8Array])[]): Uint8Array {
  let length = 0;
  for (const [, value] of fields) length += value instanceof Uint8Array ? piecesBytes(value.length) : numberBytes(value);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const [field, value] of fields) {
    at = value instanceof Uint8Array ? writePiece(bytes, at, field, value) : writeNumber(bytes, at, field, value);
  }
  return bytes;
}

/** Throws on bytes that are no message. */
export function fieldsOf(bytes: Uint8Array): Fields {
  const fields = new Map<number, (bigint | Uint8Array)[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      assert(byte !== undefined, 'a record is cut off');
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    assert(false, 'a number in a record has no end');
  };
  const piece = (length: number): Uint8Array => {
    assert(at + length <= bytes.length, 'a record is cut off');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    const list = fields.get(field) ?? [];
    fields.set(field, list);
    if (kind === VARINT) list.push(varint());
    else if (kind === BYTES) list.push(piece(Number(varint())));
    else {
      assert(kind === 1 || kind === 5, `a field of kind ${kind} is in no record`);
      piece(kind === 1 ? 8 : 4);
    }
  }
  return fields;
}

/** The last one counts. */
export function numberIn(fields: Fields, field: number): bigint {
  const value = fields.get(field)?.at(-1);
  return typeof value === 'bigint' ? value : 0n;
}

export function pieceIn(fields: Fields, field: number): Uint8Array {
  const value = fields.get(field)?.at(-1);
  return value instanceof Uint8Array ? value : EMPTY;
}

export function piecesIn(fields: Fields, field: number): readonly Uint8Array[] {
  return (fields.get(field) ?? []).filter((value) => value instanceof Uint8Array);
}

/** A number that counts something here. */
export function countIn(fields: Fields, field: number): number {
  const n = Number(BigInt.asIntN(64, numberIn(fields, field)));
  assert(Number.isSafeInteger(n), `${n} is too large for a number in a record`);
  return n;
}

/** `main` and `sub`, eight bytes each, big endian, a line between them; behind those of a tombstone a letter. */
export function writeRevision(target: Buffer, main: number, sub: number): void {
  target.writeBigUInt64BE(BigInt(main), 0);
  target[8] = 0x5f;
  target.writeBigUInt64BE(BigInt(sub), 9);
}

export const REVISION_BYTES = 17;

/** The key of a record of this revision. */
export function revisionKey(main: number, sub = 0): Buffer {
  const key = Buffer.alloc(REVISION_BYTES);
  writeRevision(key, main, sub);
  return key;
}

export function markTombstone(target: Buffer): void {
  target[REVISION_BYTES] = TOMBSTONE;
}

export function readRevision(key: Uint8Array): { readonly main: number; readonly isTombstone: boolean } {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.length);
  const isTombstone = key.length === REVISION_BYTES + 1 && key[REVISION_BYTES] === TOMBSTONE;
  assert((key.length === REVISION_BYTES || isTombstone) && key[8] === 0x5f, 'a key of a revision is none');
  return { main: countOf(bytes), isTombstone };
}

/** Eight bytes, big endian. */
export function eight(n: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(n)), 0);
  return bytes;
}

export function countOf(bytes: Buffer): number {
  assert(bytes.length >= 8, 'a number in a record is cut off');
  const n = Number(bytes.readBigUInt64BE(0));
  assert(Number.isSafeInteger(n), `${n} is too large for a number in a record`);
  return n;
}
