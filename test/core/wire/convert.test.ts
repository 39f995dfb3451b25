// Both directions of every conversion agree, and odd values mean what they mean to etcd.

import test from 'ava';
import { EMPTY, utf8 } from '../../../core/base/bytes.js';
import type { Compare, RangeRequest, TxnRequest } from '../../../core/client.js';
import * as convert from '../../../core/wire/convert.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';

test('numbers beyond the safe integers are clamped, on the way in and out', (t) => {
  t.is(convert.clamp(2n ** 63n - 1n), Number.MAX_SAFE_INTEGER);
  t.is(convert.clamp(-(2n ** 63n)), Number.MIN_SAFE_INTEGER);
  t.is(convert.clamp(42n), 42);
  t.is(convert.int64(Infinity), 2n ** 63n - 1n);
  t.is(convert.int64(-Infinity), -(2n ** 63n));
  t.is(convert.int64(undefined), 0n);
  t.is(convert.int64(Number.NaN), 0n);
  t.is(convert.int64(1.2), 2n);
});

test('a range request survives the wire', (t) => {
  const request: RangeRequest = {
    key: utf8('a'),
    rangeEnd: utf8('b'),
    limit: 7,
    revision: 9,
    sortOrder: 'descend',
    sortTarget: 'value',
    serializable: true,
    keysOnly: true,
    countOnly: false,
    minModRevision: 1,
    maxModRevision: 2,
    minCreateRevision: 3,
    maxCreateRevision: 4,
  };
  const bytes = rpc.RangeRequest.encode(convert.writeRangeRequest(request)).finish();
  t.deepEqual(convert.readRangeRequest(rpc.RangeRequest.decode(bytes)), request);
});

test('a transaction survives the wire, nested and all', (t) => {
  const compare: Compare[] = (['=', '>', '<', '!='] as const).flatMap((result): Compare[] => [
    { key: utf8('k'), rangeEnd: EMPTY, result, target: 'version', operand: 1 },
    { key: utf8('k'), rangeEnd: EMPTY, result, target: 'create', operand: 2 },
    { key: utf8('k'), rangeEnd: utf8('z'), result, target: 'mod', operand: 3 },
    { key: utf8('k'), rangeEnd: EMPTY, result, target: 'value', operand: utf8('v') },
    { key: utf8('k'), rangeEnd: EMPTY, result, target: 'lease', operand: -5n },
  ]);
  const put = { key: utf8('a'), value: utf8('1'), lease: 7n, prevKv: true, ignoreValue: false, ignoreLease: true };
  const del = { key: utf8('a'), rangeEnd: utf8('c'), prevKv: false };
  const inner: TxnRequest = { compare, success: [{ kind: 'delete', request: del }], failure: [] };
  const request: TxnRequest = { compare, success: [{ kind: 'put', request: put }, { kind: 'txn', request: inner }], failure: [] };
  const bytes = rpc.TxnRequest.encode(convert.writeTxnRequest(request)).finish();
  t.deepEqual(convert.readTxnRequest(rpc.TxnRequest.decode(bytes)), request);
});

test('unknown enum values mean what they mean to etcd', (t) => {
  const range = { ...convert.writeRangeRequest({ key: utf8('a') }) };
  t.is(convert.readRangeRequest({ ...range, sortOrder: 9 as 0, sortTarget: 4 }).sortTarget, 'key');
  t.throws(() => convert.readRangeRequest({ ...range, sortTarget: 9 as 0 }), { message: 'etcdserver: invalid sort option' });
  const compare = { result: 0, target: 0, key: utf8('a'), targetUnion: undefined, rangeEnd: EMPTY } as const;
  t.is(convert.readCompare({ ...compare, result: 9 as 0 }).result, 'any');
  // Nothing is equal to nothing, and neither less nor greater nor different.
  t.is(convert.readCompare({ ...compare, target: 9 as 0 }).result, 'any');
  const less = convert.readCompare({ ...compare, target: 9 as 0, result: 2 });
  t.deepEqual([less.result, less.operand], ['<', 0]);
  t.is(convert.readCompare(compare).operand, 0);
  const other = convert.readCompare({ ...compare, targetUnion: { $case: 'value', value: utf8('x') } });
  t.is(other.operand, 0);
});

test('the header of an operation inside a transaction is its revision, and of a nested one nothing', (t) => {
  const header = { clusterId: 1n, memberId: 2n, revision: 9, raftTerm: 3 };
  const inner = { kind: 'txn', response: { revision: 9, succeeded: true, responses: [] } } as const;
  const put = { kind: 'put', response: { revision: 9, prevKv: null } } as const;
  const message = convert.writeTxnResponse({ header, succeeded: true, responses: [put, inner] });
  const [first, second] = rpc.TxnResponse.decode(rpc.TxnResponse.encode(message).finish()).responses;
  t.deepEqual(first?.response?.value.header, { clusterId: 0n, memberId: 0n, revision: 9, raftTerm: 0 });
  t.deepEqual(second?.response?.value.header, { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 });
});
