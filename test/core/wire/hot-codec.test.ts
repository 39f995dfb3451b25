// What is read and written in one step against the generated code, which is asked about everything else: the same requests out
// of the same bytes, damaged ones too, and the same bytes out of the same answers.

import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { EMPTY, utf8 } from '../../../core/base/bytes.js';
import type { Compare, KeyValue, OpResponse, PutRequest, RangeRequest } from '../../../core/client.js';
import * as convert from '../../../core/wire/convert.js';
import { HotWriter, readPut, readRange } from '../../../core/wire/hot-codec.js';
import { readDelete, readTxn } from '../../../core/wire/hot-txn.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import {
  compare, deleteRequest, key, lease, plain, putRequest, rangeRequest, txnRequest, value,
} from '../../model/store-arbitrary.js';

interface Message<T> {
  readonly hot: (bytes: Uint8Array) => unknown;
  readonly slow: (bytes: Uint8Array) => unknown;
  readonly encode: (request: T) => { finish(): Uint8Array };
}

/**
 * Whatever is done to the bytes, what is read of them is what the generated code reads, or nothing; and all that is usual, and
 * whole, is read.
 */
function sameReading<T>(
  t: ExecutionContext, [requests, usual]: readonly [fc.Arbitrary<T>, fc.Arbitrary<T>], { hot, slow, encode }: Message<T>,
): void {
  const spot = fc.record({ at: fc.nat(), byte: fc.nat(255), length: fc.nat() });
  fc.assert(fc.property(fc.oneof(requests, usual), fc.option(spot, { freq: 2 }), (request, damage) => {
    let bytes = Uint8Array.from(encode(request).finish());
    if (damage !== null) {
      bytes[damage.at % Math.max(1, bytes.length)] = damage.byte;
      bytes = bytes.subarray(0, bytes.length - (damage.length % 3));
    }
    const read = hot(bytes);
    if (read !== null) t.deepEqual(plain(read), plain(slow(bytes)));
  }), { numRuns: 500 });
  fc.assert(fc.property(usual, (request) => {
    const bytes = encode(request).finish();
    t.deepEqual(plain(hot(bytes)), plain(slow(bytes)));
  }), { numRuns: 300 });
}

const usualPut = putRequest.map((request): PutRequest => ({ ...request, lease: 0n }));
const usualRange = rangeRequest.map((request): RangeRequest => {
  const { key: from, rangeEnd = EMPTY, limit = 0, revision = 0 } = request;
  const { serializable = false, keysOnly = false, countOnly = false } = request;
  return { key: from, rangeEnd, limit: Math.max(0, limit), revision: Math.max(0, revision), serializable, keysOnly, countOnly };
});
const usualCompare = compare
  .filter(({ result, operand }) => result !== 'any' && (operand instanceof Uint8Array || operand >= 0))
  .map((each): Compare => ({ ...each, rangeEnd: EMPTY }));
const usualOps = fc.array(fc.oneof(
  fc.record({ kind: fc.constant('put' as const), request: usualPut }),
  fc.record({ kind: fc.constant('range' as const), request: usualRange }),
  fc.record({ kind: fc.constant('delete' as const), request: deleteRequest }),
), { maxLength: 4 });
const usualTxn = fc.record({ compare: fc.array(usualCompare, { maxLength: 2 }), success: usualOps, failure: usualOps });

test('a put, a range and a delete are read as the generated code reads them', (t) => {
  sameReading(t, [putRequest, usualPut], {
    hot: readPut,
    slow: (bytes) => convert.readPutRequest(rpc.PutRequest.decode(bytes)),
    encode: (request) => rpc.PutRequest.encode(convert.writePutRequest(request)),
  });
  sameReading(t, [rangeRequest, usualRange], {
    hot: readRange,
    slow: (bytes) => convert.readRangeRequest(rpc.RangeRequest.decode(bytes)),
    encode: (request) => rpc.RangeRequest.encode(convert.writeRangeRequest(request)),
  });
  sameReading(t, [deleteRequest, deleteRequest], {
    hot: readDelete,
    slow: (bytes) => convert.readDeleteRequest(rpc.DeleteRangeRequest.decode(bytes)),
    encode: (request) => rpc.DeleteRangeRequest.encode(convert.writeDeleteRequest(request)),
  });
});

test('a transaction is read as the generated code reads it', (t) => {
  sameReading(t, [txnRequest(1), usualTxn], {
    hot: readTxn,
    slow: (bytes) => convert.readTxnRequest(rpc.TxnRequest.decode(bytes)),
    encode: (request) => rpc.TxnRequest.encode(convert.writeTxnRequest(request)),
  });
});

test('numbers are read up to the size that the usual form has, and not beyond', (t) => {
  for (const revision of [1, 2 ** 28, 2 ** 31 + 5, 2 ** 48 + 1]) {
    const bytes = rpc.RangeRequest.encode(convert.writeRangeRequest({ key: Uint8Array.of(1), revision })).finish();
    t.is(readRange(bytes)?.revision, revision);
  }
  const most = convert.writeRangeRequest({ key: Uint8Array.of(1), revision: 2 ** 52 });
  t.is(readRange(rpc.RangeRequest.encode(most).finish()), null);
});

test('an operation that says nothing, and a transaction in a transaction, are left to the generated code', (t) => {
  t.is(readTxn(rpc.TxnRequest.encode({ compare: [], success: [{ request: undefined }], failure: [] }).finish()), null);
  const inner = convert.writeTxnRequest({ success: [{ kind: 'txn', request: {} }] });
  t.is(readTxn(rpc.TxnRequest.encode(inner).finish()), null);
});

test('of an operation that is named twice, and an operand that belongs to another target, the same is read', (t) => {
  const two = ['a', 'b'].map((name) => {
    const { success } = convert.writeTxnRequest({ success: [{ kind: 'put', request: { key: utf8(name), value: EMPTY } }] });
    const [op] = success;
    return op === undefined ? EMPTY : rpc.RequestOp.encode(op).finish();
  });
  const op = Buffer.concat(two);
  t.is(readTxn(Buffer.concat([Uint8Array.of(2 * 8 + 2, op.length), op])), null);
  // Target "version", and a lease to compare with.
  const condition = Uint8Array.of(3 * 8 + 2, 1, 97, 8 * 8, 5);
  const bytes = Buffer.concat([Uint8Array.of(1 * 8 + 2, condition.length), condition]);
  t.deepEqual(plain(readTxn(bytes)), plain(convert.readTxnRequest(rpc.TxnRequest.decode(bytes))));
});

const whole = fc.oneof(fc.nat(300), fc.constantFrom(0, 1, 127, 128, 2 ** 31, 2 ** 40));
const pair: fc.Arbitrary<KeyValue> = fc.record({
  key, value: fc.oneof(value, fc.constant(new Uint8Array(200))), lease,
  createRevision: whole, modRevision: whole, version: whole,
});
const pairs = fc.array(pair, { maxLength: 3 });
const header = fc.record({
  clusterId: fc.constantFrom(0n, 7n, 2n ** 63n + 5n), memberId: fc.constantFrom(0n, 1n), revision: whole, raftTerm: whole,
});
const response: fc.Arbitrary<OpResponse> = fc.oneof(
  fc.record({
    kind: fc.constant('put' as const), response: fc.record({ revision: whole, prevKv: fc.option(pair) }),
  }),
  fc.record({
    kind: fc.constant('delete' as const), response: fc.record({ revision: whole, deleted: whole, prevKvs: pairs }),
  }),
  fc.record({
    kind: fc.constant('range' as const),
    response: fc.record({ revision: whole, kvs: pairs, more: fc.boolean(), count: whole }),
  }),
);

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

test('answers are written as the generated code writes them, and what was written stays', (t) => {
  const writer = new HotWriter();
  const written: [Uint8Array, string][] = [];
  const same = (bytes: Uint8Array | null, generated: { finish(): Uint8Array }): void => {
    const expected = hex(generated.finish());
    t.is(bytes === null ? null : hex(bytes), expected);
    if (bytes !== null) written.push([bytes, expected]);
  };
  const responses = fc.array(response, { maxLength: 4 });
  const answer = fc.record({ header, succeeded: fc.boolean(), responses, kvs: pairs, count: whole });
  fc.assert(fc.property(answer, ({ header: head, succeeded, responses: ops, kvs, count }) => {
    const txn = { header: head, succeeded, responses: ops };
    same(writer.txn(txn), rpc.TxnResponse.encode(convert.writeTxnResponse(txn)));
    const removed = { header: head, deleted: count, prevKvs: kvs };
    same(writer.delete(removed), rpc.DeleteRangeResponse.encode(convert.writeDeleteResponse(removed)));
    const range = { header: head, kvs, more: succeeded, count };
    same(writer.range(range), rpc.RangeResponse.encode(convert.writeRangeResponse(range)));
    const prevKv = kvs[0] ?? null;
    same(writer.put(head, prevKv), rpc.PutResponse.encode(convert.writePutResponse({ header: head, prevKv })));
  }), { numRuns: 300 });
  t.deepEqual(written.filter(([bytes, expected]) => hex(bytes) !== expected), []);
  const nested = { kind: 'txn', response: { revision: 0, succeeded: true, responses: [] } } as const;
  const head = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
  t.is(writer.txn({ header: head, succeeded: true, responses: [nested] }), null);
});

test('an answer may be larger than the memory that is taken at a time', (t) => {
  const writer = new HotWriter();
  const head = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
  for (const size of [10, 70_000, 10, 300_000, 64 * 1024]) {
    const kv = { key: utf8('a'), value: new Uint8Array(size).fill(7), lease: 0n, createRevision: 1, modRevision: 2, version: 3 };
    const range = { header: head, kvs: [kv], more: false, count: 1 };
    const expected = rpc.RangeResponse.encode(convert.writeRangeResponse(range)).finish();
    t.true(Buffer.from(writer.range(range)).equals(expected), `${size}`);
  }
});
