// The size of a request, against the generated code that writes such requests.

import test from 'ava';
import fc from 'fast-check';
import type { Op, TxnRequest } from '../../../core/client.js';
import { checkTxn } from '../../../core/store/check.js';
import { envelopeOf, requestBytes } from '../../../core/store/request-size.js';
import * as convert from '../../../core/wire/convert.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { txnRequest } from '../../model/store-arbitrary.js';

test('a request is as large as what etcd would write of it', (t) => {
  const envelope = { callIdBytes: 10 };
  // Header and its call id; the request's own tag and length.
  const around = (bytes: number): number => 2 + 1 + 1 + 10 + 1 + lengthBytes(bytes) + bytes;
  const lengthBytes = (bytes: number): number => {
    const put = convert.writePutRequest({ key: new Uint8Array(bytes), value: new Uint8Array(0) });
    return rpc.PutRequest.encode(put).finish().length - bytes - 1;
  };
  fc.assert(
    fc.property(txnRequest(2), (drawn) => {
      const range: Op = { kind: 'range', request: { key: new Uint8Array(1) } };
      const request: TxnRequest = { ...drawn, failure: [...(drawn.failure ?? []), range] };
      const written = rpc.TxnRequest.encode(convert.writeTxnRequest(request)).finish().length;
      t.is(requestBytes(request, envelope, null), around(written));
    }),
  );
  const put = { key: new Uint8Array(5), value: new Uint8Array(300), lease: 7n, prevKv: true };
  const lone = rpc.PutRequest.encode(convert.writePutRequest(put)).finish().length;
  t.is(requestBytes({ success: [{ kind: 'put', request: put }] }, envelope, null), around(lone));
  const framed: TxnRequest = { compare: [], success: [{ kind: 'put', request: put }], failure: [] };
  t.is(requestBytes(framed, envelope, null), around(rpc.TxnRequest.encode(convert.writeTxnRequest(framed)).finish().length));
});

test('the id in the envelope is as long as the member\'s makes it', (t) => {
  t.deepEqual([0xffffn, 0x8000n, 0x7fffn, 0x100n, 0x1_0000_00ffn].map((id) => envelopeOf(id).callIdBytes), [10, 10, 9, 9, 8]);
});

test('the last byte that fits is taken, and the next one is not', (t) => {
  const limits = { txnOpsMax: 128, requestBytesMax: 1_572_864, envelope: envelopeOf(0xffffn) };
  const check = (valueBytes: number): string | null =>
    checkTxn({ success: [{ kind: 'put', request: { key: new Uint8Array([1]), value: new Uint8Array(valueBytes) } }] }, limits);
  const fits = 1_572_864 - (4 + 10 + 1 + 3) - (3 + 4);
  t.deepEqual([check(fits), check(fits + 1)], [null, 'request_too_large']);
});

test('while auth is on, whose a request is counts, too', (t) => {
  const limits = { txnOpsMax: 128, requestBytesMax: 1_572_864, envelope: envelopeOf(0xffffn) };
  const most = (user: string | null, authRevision: number): number => {
    const fits = (valueBytes: number): boolean => {
      const put = { key: new Uint8Array([1]), value: new Uint8Array(valueBytes) };
      return checkTxn({ success: [{ kind: 'put', request: put }] }, limits, { user, authRevision }) === null;
    };
    let bytes = limits.requestBytesMax;
    while (!fits(bytes)) bytes -= 1;
    return bytes;
  };
  // Found out from etcd 3.4 with names of 4 and of 64 letters.
  const nobodys = most(null, 0);
  t.deepEqual([most('root', 7), most('u'.repeat(64), 7)], [nobodys - 8, nobodys - 68]);
  // The last one makes the length of the header a byte longer.
  t.deepEqual([most('ü', 200), most('€'.repeat(300), 7)], [nobodys - 7, nobodys - (900 + 3 + 2 + 1)]);
});
