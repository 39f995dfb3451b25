// The messages that nearly all traffic is made of, between bytes and the types of client.ts in one step: what the generated code
// does by way of a message object, a writer and a list of pieces. It writes what the generated code writes, byte for byte.
// It reads the usual forms alone, and says null to all others, which are then read by the generated code: whatever is unusual
// about a request is judged in one place.

import { EMPTY } from '../base/bytes.js';
import type {
  DeleteResponse, Header, KeyValue, OpResponse, PairPlace, PutRequest, RangeRequest, RangeResponse, TxnResponse,
} from '../client.js';
import { fieldBytes, int64Bytes, numberBytes, pairBytes, varintBytes, writePair } from './pair-bytes.js';

// Reading. Tags are a field's number times 8, and how it is written: 0 a number, 2 bytes.

const NUMBER = 0;
const BYTES = 2;

/** Null: in a form that is not usual. Key and value are views of `bytes`. */
export function readPut(bytes: Uint8Array): PutRequest | null {
  const reader = new Reader(bytes);
  let [key, value] = [EMPTY, EMPTY];
  let [prevKv, ignoreValue, ignoreLease] = [false, false, false];
  while (reader.at < bytes.length) {
    switch (reader.byte()) {
      case 1 * 8 + BYTES:
        key = reader.bytes();
        break;
      case 2 * 8 + BYTES:
        value = reader.bytes();
        break;
      case 4 * 8 + NUMBER:
        prevKv = reader.bool();
        break;
      case 5 * 8 + NUMBER:
        ignoreValue = reader.bool();
        break;
      case 6 * 8 + NUMBER:
        ignoreLease = reader.bool();
        break;
      // A lease is a number of 64 bits, and seldom.
      default:
        return null;
    }
    if (reader.isOdd) return null;
  }
  return { key, value, lease: 0n, prevKv, ignoreValue, ignoreLease };
}

/** Null: in a form that is not usual, or sorted. */
export function readRange(bytes: Uint8Array): RangeRequest | null {
  const reader = new Reader(bytes);
  let [key, rangeEnd] = [EMPTY, EMPTY];
  let [limit, revision] = [0, 0];
  let [serializable, keysOnly, countOnly] = [false, false, false];
  while (reader.at < bytes.length) {
    switch (reader.byte()) {
      case 1 * 8 + BYTES:
        key = reader.bytes();
        break;
      case 2 * 8 + BYTES:
        rangeEnd = reader.bytes();
        break;
      case 3 * 8 + NUMBER:
        limit = reader.number();
        break;
      case 4 * 8 + NUMBER:
        revision = reader.number();
        break;
      case 7 * 8 + NUMBER:
        serializable = reader.bool();
        break;
      case 8 * 8 + NUMBER:
        keysOnly = reader.bool();
        break;
      case 9 * 8 + NUMBER:
        countOnly = reader.bool();
        break;
      default:
        return null;
    }
    if (reader.isOdd) return null;
  }
  // Written out: to spread a part of it would take longer than all of the above.
  return {
    key, rangeEnd, limit, revision, sortOrder: 'none', sortTarget: 'key', serializable, keysOnly, countOnly,
    minModRevision: 0, maxModRevision: 0, minCreateRevision: 0, maxCreateRevision: 0,
  };
}

const TWO_TO_49 = 2 ** 49;

/** Numbers below 2^49, and no more than there is. */
export class Reader {
  readonly #bytes: Uint8Array;
  at = 0;
  /** Something was met that this does not read; what was returned since means nothing. */
  isOdd = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(): number {
    return this.#bytes[this.at++] ?? 0;
  }

  bool(): boolean {
    return this.number() !== 0;
  }

  number(): number {
    let value = 0;
    for (let scale = 1; scale < TWO_TO_49; scale *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) break;
      if (byte < 0x80) return value + byte * scale;
      value += (byte & 0x7f) * scale;
    }
    this.isOdd = true;
    return 0;
  }

  bytes(): Uint8Array {
    const length = this.number();
    const from = this.at;
    this.at += length;
    if (this.at > this.#bytes.length) this.isOdd = true;
    return this.#bytes.subarray(from, this.at);
  }
}

// Writing

/** Answers of one server. Memory is taken in pieces; what was returned is never written to again. */
export class HotWriter {
  #piece: Buffer = Buffer.allocUnsafeSlow(0);
  #at = 0;
  /** The part of a header that stays: who answers. */
  #clusterId = 0n;
  #memberId = 0n;
  #identity: Uint8Array = EMPTY;

  put(header: Header, prevKv: KeyValue | null): Uint8Array {
    const headerBytes = this.#headerBytes(header);
    const prevBytes = prevKv === null ? -1 : keyValueBytes(prevKv);
    const length = fieldBytes(headerBytes) + (prevBytes < 0 ? 0 : fieldBytes(prevBytes));
    const from = this.#reserve(length);
    this.#header(header, headerBytes);
    if (prevKv !== null) this.#keyValue(2 * 8 + BYTES, prevKv, prevBytes);
    return this.#piece.subarray(from, this.#at);
  }

  range({ header, kvs, more, count }: RangeResponse): Uint8Array {
    const headerBytes = this.#headerBytes(header);
    const [only] = kvs;
    // The size of a pair is needed twice; it is kept where there is but one.
    const onlyBytes = only !== undefined && kvs.length === 1 ? keyValueBytes(only) : -1;
    let length = fieldBytes(headerBytes) + (more ? 2 : 0) + (count === 0 ? 0 : 1 + varintBytes(count));
    if (onlyBytes >= 0) length += fieldBytes(onlyBytes);
    else for (const kv of kvs) length += fieldBytes(keyValueBytes(kv));
    const from = this.#reserve(length);
    this.#header(header, headerBytes);
    for (const kv of kvs) this.#keyValue(2 * 8 + BYTES, kv, onlyBytes >= 0 ? onlyBytes : keyValueBytes(kv));
    if (more) {
      this.#byte(3 * 8 + NUMBER);
      this.#byte(1);
    }
    this.#number(4 * 8 + NUMBER, count);
    return this.#piece.subarray(from, this.#at);
  }

  /** The answer to a range of one key, from where it lies. */
  point(header: Header, pair: PairPlace | null, count: number): Uint8Array {
    const headerBytes = this.#headerBytes(header);
    const length = pair === null ? 0 : pairBytes(pair);
    const from = this.#reserve(fieldBytes(headerBytes) + (pair === null ? 0 : fieldBytes(length)) + numberBytes(count));
    this.#header(header, headerBytes);
    if (pair !== null) this.#at = writePair(this.#piece, this.#at, pair, length);
    this.#number(4 * 8 + NUMBER, count);
    return this.#piece.subarray(from, this.#at);
  }

  delete({ header, deleted, prevKvs }: DeleteResponse): Uint8Array {
    const headerBytes = this.#headerBytes(header);
    const from = this.#reserve(fieldBytes(headerBytes) + numberBytes(deleted) + pairsBytes(prevKvs));
    this.#header(header, headerBytes);
    this.#number(2 * 8 + NUMBER, deleted);
    for (const kv of prevKvs) this.#keyValue(3 * 8 + BYTES, kv, keyValueBytes(kv));
    return this.#piece.subarray(from, this.#at);
  }

  /** Null: with an answer in it that is not usual, one of a nested transaction. */
  txn({ header, succeeded, responses }: TxnResponse): Uint8Array | null {
    const headerBytes = this.#headerBytes(header);
    let length = fieldBytes(headerBytes) + (succeeded ? 2 : 0);
    const sizes: number[] = [];
    for (const each of responses) {
      if (each.kind === 'txn') return null;
      const size = opBytes(each);
      sizes.push(size);
      length += fieldBytes(fieldBytes(size));
    }
    const from = this.#reserve(length);
    this.#header(header, headerBytes);
    if (succeeded) {
      this.#byte(2 * 8 + NUMBER);
      this.#byte(1);
    }
    for (const [i, each] of responses.entries()) this.#op(each, sizes[i] ?? 0);
    return this.#piece.subarray(from, this.#at);
  }

  /** An answer within a transaction: its header has the revision alone. `length`: see opBytes. */
  #op(op: OpResponse, length: number): void {
    this.#byte(3 * 8 + BYTES);
    this.#varint(fieldBytes(length));
    this.#byte(OP_FIELDS[op.kind] * 8 + BYTES);
    this.#varint(length);
    this.#byte(1 * 8 + BYTES);
    this.#varint(numberBytes(op.response.revision));
    this.#number(3 * 8 + NUMBER, op.response.revision);
    if (op.kind === 'put') {
      const { prevKv } = op.response;
      if (prevKv !== null) this.#keyValue(2 * 8 + BYTES, prevKv, keyValueBytes(prevKv));
    } else if (op.kind === 'delete') {
      this.#number(2 * 8 + NUMBER, op.response.deleted);
      for (const kv of op.response.prevKvs) this.#keyValue(3 * 8 + BYTES, kv, keyValueBytes(kv));
    } else if (op.kind === 'range') {
      const { kvs, more, count } = op.response;
      for (const kv of kvs) this.#keyValue(2 * 8 + BYTES, kv, keyValueBytes(kv));
      if (more) {
        this.#byte(3 * 8 + NUMBER);
        this.#byte(1);
      }
      this.#number(4 * 8 + NUMBER, count);
    }
  }

  #headerBytes({ clusterId, memberId, revision, raftTerm }: Header): number {
    if (clusterId !== this.#clusterId || memberId !== this.#memberId) this.#learn(clusterId, memberId);
    return this.#identity.length + numberBytes(revision) + numberBytes(raftTerm);
  }

  #learn(clusterId: bigint, memberId: bigint): void {
    this.#clusterId = clusterId;
    this.#memberId = memberId;
    const bytes: number[] = [];
    for (const [tag, id] of [[1 * 8 + NUMBER, clusterId], [2 * 8 + NUMBER, memberId]] as const) {
      if (id === 0n) continue;
      bytes.push(tag);
      let rest = id;
      for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
      bytes.push(Number(rest));
    }
    this.#identity = Uint8Array.from(bytes);
  }

  #header({ revision, raftTerm }: Header, length: number): void {
    this.#byte(1 * 8 + BYTES);
    this.#varint(length);
    this.#piece.set(this.#identity, this.#at);
    this.#at += this.#identity.length;
    this.#number(3 * 8 + NUMBER, revision);
    this.#number(4 * 8 + NUMBER, raftTerm);
  }

  #keyValue(tag: number, kv: KeyValue, length: number): void {
    this.#byte(tag);
    this.#varint(length);
    this.#bytes(1 * 8 + BYTES, kv.key);
    this.#number(2 * 8 + NUMBER, kv.createRevision);
    this.#number(3 * 8 + NUMBER, kv.modRevision);
    this.#number(4 * 8 + NUMBER, kv.version);
    this.#bytes(5 * 8 + BYTES, kv.value);
    if (kv.lease !== 0n) this.#int64(6 * 8 + NUMBER, kv.lease);
  }

  #bytes(tag: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#byte(tag);
    this.#varint(bytes.length);
    this.#piece.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #number(tag: number, value: number): void {
    if (value === 0) return;
    this.#byte(tag);
    this.#varint(value);
  }

  #int64(tag: number, value: bigint): void {
    this.#byte(tag);
    let rest = BigInt.asUintN(64, value);
    for (; rest >= 128n; rest >>= 7n) this.#byte(Number(rest & 127n) | 128);
    this.#byte(Number(rest));
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest >= TWO_TO_31; rest = Math.floor(rest / 128)) this.#byte((rest % 128) | 128);
    for (; rest >= 128; rest >>>= 7) this.#byte((rest & 127) | 128);
    this.#byte(rest);
  }

  #byte(value: number): void {
    this.#piece[this.#at++] = value;
  }

  #reserve(length: number): number {
    if (this.#at + length > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, length));
      this.#at = 0;
    }
    return this.#at;
  }
}

const PIECE_BYTES = 64 * 1024;
/** Which field of a ResponseOp it is. */
const OP_FIELDS: Readonly<Record<OpResponse['kind'], number>> = { range: 1, put: 2, delete: 3, txn: 4 };
const TWO_TO_31 = 2 ** 31;

function keyValueBytes({ key, createRevision, modRevision, version, value, lease }: KeyValue): number {
  return (
    (key.length === 0 ? 0 : fieldBytes(key.length)) + (value.length === 0 ? 0 : fieldBytes(value.length)) +
    numberBytes(createRevision) + numberBytes(modRevision) + numberBytes(version) + (lease === 0n ? 0 : 1 + int64Bytes(lease))
  );
}

function pairsBytes(kvs: readonly KeyValue[]): number {
  let bytes = 0;
  for (const kv of kvs) bytes += fieldBytes(keyValueBytes(kv));
  return bytes;
}

/** Of the answer itself, without what says of which kind it is. */
function opBytes(op: Exclude<OpResponse, { kind: 'txn' }>): number {
  const headBytes = fieldBytes(numberBytes(op.response.revision));
  switch (op.kind) {
    case 'put':
      return headBytes + (op.response.prevKv === null ? 0 : fieldBytes(keyValueBytes(op.response.prevKv)));
    case 'delete':
      return headBytes + numberBytes(op.response.deleted) + pairsBytes(op.response.prevKvs);
    case 'range':
      return headBytes + pairsBytes(op.response.kvs) + (op.response.more ? 2 : 0) + numberBytes(op.response.count);
  }
}
