// What etcd answers is checked against a real etcd in test/interop/differential.test.ts; here is what can be said without.

import test from 'ava';
import { created, opDelete, opPut, opRange, opTxn } from '../../../core/client.js';
import type { Op, SortTarget, TxnRequest } from '../../../core/client.js';
import { checkRange, checkTxn, isReadOnly, isSerializable } from '../../../core/store/check.js';
import { bytes } from './script.js';

const LIMITS = { txnOpsMax: 128, requestBytesMax: 10_000, envelope: { callIdBytes: 10 } };
const put = (key: string): Op => opPut(bytes(key), bytes('v'));
const del = (key: string, rangeEnd = ''): Op => opDelete(bytes(key), { rangeEnd: bytes(rangeEnd) });
const nested = (...success: Op[]): Op => opTxn({ success });
const either = (success: Op, failure: Op): Op => opTxn({ success: [success], failure: [failure] });
const check = (...success: Op[]): string | null => checkTxn({ success }, LIMITS);

test('a key is put at most once, wherever', (t) => {
  t.is(check(put('a'), put('a')), 'duplicate_key');
  t.is(check(nested(put('a')), put('a')), 'duplicate_key');
  t.is(check(nested(put('a')), nested(put('a'))), 'duplicate_key');
  t.is(check(nested(nested(put('a'))), put('a')), 'duplicate_key');
  t.is(checkTxn({ failure: [put('a'), put('a')] }, LIMITS), 'duplicate_key');
  t.is(checkTxn({ success: [put('a')], failure: [put('a')] }, LIMITS), null);
  t.is(check(either(put('a'), put('a'))), null);
  t.is(check(either(put('b'), put('a')), put('a')), 'duplicate_key');
});

test('a put does not meet a delete of its key, in either order', (t) => {
  t.is(check(put('k'), del('k')), 'duplicate_key');
  t.is(check(del('k'), put('k')), 'duplicate_key');
  t.is(check(put('k'), del('a', 'z')), 'duplicate_key');
  t.is(check(put('z'), del('a', 'z')), null);
  t.is(check(nested(del('k')), put('k')), 'duplicate_key');
  t.is(check(del('k'), nested(put('k'))), 'duplicate_key');
  t.is(check(del('a', 'c'), del('b', 'd'), del('x', 'y'), put('c')), 'duplicate_key');
  t.is(check(del('a', 'c'), del('b', 'd'), del('x', 'y'), put('d')), null);
  t.is(check(del('a', 'z'), del('b', 'c'), put('m')), 'duplicate_key');
  t.is(check(del('b', 'c'), del('a', 'z'), put('m')), 'duplicate_key');
  t.is(check(either(put('m'), del('k')), put('k')), 'duplicate_key');
  t.is(check(either(del('k'), put('m')), put('k')), 'duplicate_key');
});

test('the holes of the rule are those of etcd', (t) => {
  t.is(check(del('a', '\0'), put('k')), null);
  t.is(check(nested(put('k')), nested(del('k'))), null);
  t.is(check(nested(del('k')), nested(put('k'))), 'duplicate_key');
  t.is(check(del('z', 'a'), put('k')), null);
});

test('nested transactions live on what their parents leave of the budget', (t) => {
  const nest = (depth: number): Op => (depth === 0 ? put('k') : nested(nest(depth - 1)));
  t.is(check(nest(127)), null);
  t.is(check(nest(128)), 'too_many_ops');
  const many = Array.from({ length: 128 }, (_, i) => put(String(i)));
  t.is(check(...many), null);
  t.is(check(...many, put('x')), 'too_many_ops');
  t.is(check(...many.slice(1), nested(put('x'))), 'too_many_ops');
  const compare = Array.from({ length: 129 }, (_, i) => created(bytes(String(i)), '=', 0));
  t.is(checkTxn({ compare }, LIMITS), 'too_many_ops');
});

test('no budget is large enough for the stack to overflow', (t) => {
  let request: TxnRequest = {};
  for (let i = 0; i < 100_000; i++) request = { success: [opTxn(request)] };
  t.is(checkTxn(request, { ...LIMITS, txnOpsMax: 1_000_000 }), 'too_many_ops');
});

test('keys, flags and sorts are judged in the order of etcd', (t) => {
  t.is(check(put('')), 'key_empty');
  t.is(check(del('')), 'key_empty');
  t.is(check(opRange(bytes(''))), 'key_empty');
  t.is(checkTxn({ compare: [created(bytes(''), '=', 0)] }, LIMITS), 'key_empty');
  t.is(check(opPut(bytes('k'), bytes('v'), { ignoreValue: true, ignoreLease: true, lease: 1n })), 'value_provided');
  t.is(check(opPut(bytes('k'), bytes(''), { ignoreValue: true, ignoreLease: true, lease: 1n })), 'lease_provided');
  t.is(check(opPut(bytes('k'), bytes(''), { ignoreValue: true, ignoreLease: true, lease: 0n })), null);
  t.is(check(put('k'), put('k'), del('')), 'key_empty');
  t.is(checkRange({ key: bytes('a'), sortTarget: 'colour' as SortTarget }), 'invalid_sort');
  t.is(checkRange({ key: bytes('a'), sortTarget: 'value', sortOrder: 'descend' }), null);
});

test('an op of no kind is a key not found', (t) => {
  const nothing = JSON.parse('{"kind":"none"}') as Op;
  t.is(check(nothing, put('k')), 'key_not_found');
  t.is(check(nothing), 'key_not_found');
});

test('a request that is too large is refused last, and a read never', (t) => {
  const large = opPut(bytes('k'), new Uint8Array(10_001));
  t.is(check(large), 'request_too_large');
  t.is(check(nested(large)), 'request_too_large');
  t.is(check(large, large), 'duplicate_key');
  t.is(check(opRange(new Uint8Array(20_000).fill(1))), null);
  t.is(check(opRange(new Uint8Array(20_000).fill(1)), opRange(bytes('a'))), null);
});

test('read-only and serializable look at both branches and into nested transactions', (t) => {
  const stale = opRange(bytes('a'), { serializable: true });
  const fresh = opRange(bytes('a'));
  t.true(isReadOnly({}));
  t.true(isSerializable({}));
  t.true(isReadOnly({ success: [fresh], failure: [nested(stale)] }));
  t.false(isReadOnly({ success: [fresh], failure: [nested(put('a'))] }));
  t.true(isSerializable({ success: [stale], failure: [nested(stale)] }));
  t.false(isSerializable({ success: [stale], failure: [nested(fresh)] }));
  t.false(isSerializable({ success: [put('a')] }));
});
