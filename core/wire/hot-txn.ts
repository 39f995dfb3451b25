// Transactions and deletes as bytes, read in the manner of hot-codec.ts: what is usual in one step, null for all else, which the
// generated code then reads. Not usual are transactions within transactions, ranges and puts that are not usual by themselves,
// compares over ranges, and an operation that says nothing.

import { EMPTY } from '../base/bytes.js';
import type { Compare, CompareResult, DeleteRequest, Op, TxnRequest } from '../client.js';
import { Reader, readPut, readRange } from './hot-codec.js';

// Tags are a field's number times 8, and how it is written: 0 a number, 2 bytes.
const NUMBER = 0;
const BYTES = 2;

const RESULTS: readonly CompareResult[] = ['=', '>', '<', '!='];
const TARGETS: readonly Compare['target'][] = ['version', 'create', 'mod', 'value', 'lease'];
/** The field of the operand for each target. */
const OPERANDS: Readonly<Record<Compare['target'], number>> = { version: 4, create: 5, mod: 6, value: 7, lease: 8 };

/** Null: in a form that is not usual. Keys and values are views of `bytes`. */
export function readTxn(bytes: Uint8Array): TxnRequest | null {
  const reader = new Reader(bytes);
  const compare: Compare[] = [];
  const success: Op[] = [];
  const failure: Op[] = [];
  while (reader.at < bytes.length) {
    const tag = reader.byte();
    const part = reader.bytes();
    if (reader.isOdd) return null;
    if (tag === 1 * 8 + BYTES) {
      const each = readCompare(part);
      if (each === null) return null;
      compare.push(each);
    } else if (tag === 2 * 8 + BYTES || tag === 3 * 8 + BYTES) {
      const op = readOp(part);
      if (op === null) return null;
      (tag === 2 * 8 + BYTES ? success : failure).push(op);
    } else {
      return null;
    }
  }
  return { compare, success, failure };
}

export function readDelete(bytes: Uint8Array): DeleteRequest | null {
  const reader = new Reader(bytes);
  let [key, rangeEnd] = [EMPTY, EMPTY];
  let prevKv = false;
  while (reader.at < bytes.length) {
    switch (reader.byte()) {
      case 1 * 8 + BYTES:
        key = reader.bytes();
        break;
      case 2 * 8 + BYTES:
        rangeEnd = reader.bytes();
        break;
      case 3 * 8 + NUMBER:
        prevKv = reader.bool();
        break;
      default:
        return null;
    }
    if (reader.isOdd) return null;
  }
  return { key, rangeEnd, prevKv };
}

/** One that is named twice is not usual: the last one would count. */
function readOp(bytes: Uint8Array): Op | null {
  const reader = new Reader(bytes);
  const tag = reader.byte();
  const part = reader.bytes();
  if (reader.isOdd || reader.at !== bytes.length) return null;
  switch (tag) {
    case 1 * 8 + BYTES: {
      const request = readRange(part);
      return request === null ? null : { kind: 'range', request };
    }
    case 2 * 8 + BYTES: {
      const request = readPut(part);
      return request === null ? null : { kind: 'put', request };
    }
    case 3 * 8 + BYTES: {
      const request = readDelete(part);
      return request === null ? null : { kind: 'delete', request };
    }
    default:
      return null;
  }
}

function readCompare(bytes: Uint8Array): Compare | null {
  const reader = new Reader(bytes);
  let [resultCode, targetCode] = [0, 0];
  let key = EMPTY;
  // The operand that came last is the one that counts.
  let [field, number, value] = [0, 0, EMPTY];
  while (reader.at < bytes.length) {
    const tag = reader.byte();
    switch (tag) {
      case 1 * 8 + NUMBER:
        resultCode = reader.number();
        break;
      case 2 * 8 + NUMBER:
        targetCode = reader.number();
        break;
      case 3 * 8 + BYTES:
        key = reader.bytes();
        break;
      case 4 * 8 + NUMBER:
      case 5 * 8 + NUMBER:
      case 6 * 8 + NUMBER:
      case 8 * 8 + NUMBER:
        field = tag >>> 3;
        number = reader.number();
        break;
      case 7 * 8 + BYTES:
        field = 7;
        value = reader.bytes();
        break;
      default:
        return null;
    }
    if (reader.isOdd) return null;
  }
  const result = RESULTS[resultCode];
  const target = TARGETS[targetCode];
  if (result === undefined || target === undefined) return null;
  // One that belongs to another target says nothing.
  const isMeant = field === OPERANDS[target];
  if (target === 'value') return { key, rangeEnd: EMPTY, result, target, operand: isMeant ? value : EMPTY };
  const operand = isMeant ? number : 0;
  if (target === 'lease') return { key, rangeEnd: EMPTY, result, target, operand: BigInt(operand) };
  return { key, rangeEnd: EMPTY, result, target, operand };
}
