// The requests made by hand, read by the generated code.

import test from 'ava';
import { PutRequest, RangeRequest, TxnRequest, type RequestOp } from '../../core/wire/schema/generated/rpc.js';
import {
  digitsAt, fillMessage, framed, KEY, putMessage, rangeMessage, setSpaceKey, spaceKey, txnMessage, VALUE_BYTES,
} from './messages.js';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

function putKeyOf({ request }: RequestOp): string {
  return request?.$case === 'requestPut' ? text(request.value.key) : 'not a put';
}

test('a put names the key and 256 bytes', (t) => {
  const { key, value } = PutRequest.decode(putMessage(KEY));
  t.is(text(key), KEY);
  t.is(value.length, VALUE_BYTES);
});

test('a range has its end, is serializable and counts only where that is asked for', (t) => {
  t.like(RangeRequest.decode(rangeMessage('a')), { serializable: false, countOnly: false, limit: 0n });
  const asked = RangeRequest.decode(rangeMessage('a', { end: 'b', isSerializable: true, isCount: true }));
  t.like(asked, { serializable: true, countOnly: true });
  t.deepEqual([text(asked.key), text(asked.rangeEnd)], ['a', 'b']);
});

test('a transaction compares the create revision and puts the same key', (t) => {
  const { compare, success, failure } = TxnRequest.decode(txnMessage(KEY));
  t.is(compare.length, 1);
  t.like(compare[0], { result: 1, target: 1, targetUnion: { $case: 'createRevision', value: 0n } });
  t.is(text(compare[0]?.key ?? Buffer.alloc(0)), KEY);
  t.deepEqual(success.map(putKeyOf), [KEY]);
  t.is(failure.length, 0);
});

test('a filling transaction puts each of its keys', (t) => {
  const keys = [1, 2, 3].map(spaceKey);
  const { success, compare } = TxnRequest.decode(fillMessage(keys));
  t.deepEqual(success.map(putKeyOf), keys);
  t.is(compare.length, 0);
});

test('another key of the space can be written into a request, and nothing else of it changes', (t) => {
  const message = framed(putMessage(spaceKey(0)));
  setSpaceKey(message, digitsAt(message), 12_345_678);
  t.deepEqual(message, Buffer.from(framed(putMessage(spaceKey(12_345_678)))));
  setSpaceKey(message, digitsAt(message), 7);
  t.deepEqual(message, Buffer.from(framed(putMessage(spaceKey(7)))));
  t.throws(() => digitsAt(framed(putMessage(KEY))));
});
