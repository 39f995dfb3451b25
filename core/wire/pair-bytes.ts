// A pair as a field of a range answer, written from where it lies: byte for byte what the generated code writes of it. Its size
// is asked for first, so that there is room.

import type { PairPlace } from '../client.js';

// Tags are a field's number times 8, and how it is written: 0 a number, 2 bytes.
const KV = 2 * 8 + 2;
const KEY = 1 * 8 + 2;
const CREATE_REVISION = 2 * 8;
const MOD_REVISION = 3 * 8;
const VERSION = 4 * 8;
const VALUE = 5 * 8 + 2;
const LEASE = 6 * 8;

const TWO_TO_31 = 2 ** 31;
/** Up to this length a loop is quicker than a view and a call. */
const SHORT_BYTES = 48;

/** Without tag and length. */
export function pairBytes(pair: PairPlace): number {
  const { keyLength, valueLength, lease } = pair;
  return (
    (keyLength === 0 ? 0 : fieldBytes(keyLength)) + (valueLength === 0 ? 0 : fieldBytes(valueLength)) +
    numberBytes(pair.createRevision) + numberBytes(pair.modRevision) + numberBytes(pair.version) +
    (lease === 0n ? 0 : 1 + int64Bytes(lease))
  );
}

/** With tag and length, which is `pairBytes(pair)`. Returns where to go on. */
export function writePair(into: Uint8Array, from: number, pair: PairPlace, length: number): number {
  into[from] = KV;
  let at = varint(into, from + 1, length);
  at = bytes(into, at, KEY, pair.keyBytes, pair.keyAt, pair.keyLength);
  at = number(into, at, CREATE_REVISION, pair.createRevision);
  at = number(into, at, MOD_REVISION, pair.modRevision);
  at = number(into, at, VERSION, pair.version);
  at = bytes(into, at, VALUE, pair.valueBytes, pair.valueAt, pair.valueLength);
  const { lease } = pair;
  return lease === 0n ? at : int64(into, at, LEASE, lease);
}

/** With tag and length. */
export function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** With its tag; nothing of 0. */
export function numberBytes(value: number): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

export function varintBytes(value: number): number {
  if (value < 1 << 7) return 1;
  if (value < 1 << 14) return 2;
  if (value < 1 << 21) return 3;
  let length = 3;
  for (let rest = Math.floor(value / (1 << 21)); rest > 0; rest = Math.floor(rest / 128)) length += 1;
  return length;
}

export function int64Bytes(value: bigint): number {
  let length = 1;
  for (let rest = BigInt.asUintN(64, value); rest >= 128n; rest >>= 7n) length += 1;
  return length;
}

// Each writes at `at`, and returns where to go on.

function varint(into: Uint8Array, at: number, value: number): number {
  let rest = value;
  let to = at;
  for (; rest >= TWO_TO_31; rest = Math.floor(rest / 128)) into[to++] = (rest % 128) | 128;
  for (; rest >= 128; rest >>>= 7) into[to++] = (rest & 127) | 128;
  into[to] = rest;
  return to + 1;
}

export function number(into: Uint8Array, at: number, tag: number, value: number): number {
  if (value === 0) return at;
  into[at] = tag;
  return varint(into, at + 1, value);
}

function int64(into: Uint8Array, at: number, tag: number, value: bigint): number {
  into[at] = tag;
  let to = at + 1;
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 128n; rest >>= 7n) into[to++] = Number(rest & 127n) | 128;
  into[to] = Number(rest);
  return to + 1;
}

function bytes(into: Uint8Array, at: number, tag: number, source: Uint8Array, from: number, length: number): number {
  if (length === 0) return at;
  into[at] = tag;
  const to = varint(into, at + 1, length);
  if (length > SHORT_BYTES) into.set(source.subarray(from, from + length), to);
  else for (let i = 0; i < length; i++) into[to + i] = source[from + i] as number;
  return to + length;
}
