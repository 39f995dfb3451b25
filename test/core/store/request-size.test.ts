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
      t.is(requestBytes(request, envelope), around(written));
    }),
  );
  const put = { key: new Uint8Array(5), value: new Uint8Array(300), lease: 7n, prevKv: true };
  const lone = rpc.PutRequest.encode(convert.writePutRequest(put)).finish().length;
  t.is(requestBytes({ success: [{ kind: 'put', request: put }] }, envelope), around(lone));
  const framed: TxnRequest = { compare: [], success: [{ kind: 'put', request: put }], failure: [] };
  t.is(requestBytes(framed, envelope), around(rpc.TxnRequest.encode(convert.writeTxnRequest(framed)).finish().length));
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
