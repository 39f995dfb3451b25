// A range answer written from where its pairs lie is what the generated code writes of the same pairs.

import test from 'ava';
import fc from 'fast-check';
import type { KeyValue, PairPlace, RangeForm, RangeResponse } from '../../../core/client.js';
import * as convert from '../../../core/wire/convert.js';
import { HotWriter } from '../../../core/wire/hot-codec.js';
import { RangeBytes } from '../../../core/wire/range-bytes.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';

/** Somewhere in a larger piece of memory, as in a store. */
function placeOf(pair: KeyValue, offset: number): PairPlace {
  const around = (bytes: Uint8Array): Uint8Array => {
    const larger = new Uint8Array(bytes.length + 2 * offset).fill(255);
    larger.set(bytes, offset);
    return larger;
  };
  const { key, value, createRevision, modRevision, version, lease } = pair;
  return {
    keyBytes: around(key), keyAt: offset, keyLength: key.length,
    valueBytes: around(value), valueAt: offset, valueLength: value.length,
    createRevision, modRevision, version, lease,
    toKeyValue: () => pair,
  };
}

function tell<T>({ kvs, ...facts }: RangeResponse, form: RangeForm<T>): T {
  const places = kvs.map((pair, i) => placeOf(pair, i));
  for (const place of places) form.measure(place);
  form.begin(facts);
  for (const place of places) form.write(place);
  return form.end();
}

const edge = fc.constantFrom(2 ** 7, 2 ** 14, 2 ** 21, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 35);
const number = fc.oneof(fc.nat(300), edge, fc.maxSafeNat())
  .chain((n) => fc.constantFrom(n, Math.max(0, n - 1)));
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const lease = fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }));
const keyValue: fc.Arbitrary<KeyValue> = fc.record({
  key: bytes(60), value: fc.oneof(bytes(140), bytes(40)), createRevision: number, modRevision: number, version: number, lease,
});
const id = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const answer: fc.Arbitrary<RangeResponse> = fc.record({
  header: fc.record({ clusterId: id, memberId: id, revision: number, raftTerm: number }),
  kvs: fc.array(keyValue, { maxLength: 8 }),
  more: fc.boolean(),
  count: number,
});

test('it is the same, byte for byte', (t) => {
  const writer = new HotWriter();
  fc.assert(fc.property(answer, (each) => {
    const expected = Buffer.from(rpc.RangeResponse.encode(convert.writeRangeResponse(each)).finish());
    t.deepEqual(Buffer.from(tell(each, new RangeBytes(writer))), expected);
    t.deepEqual(Buffer.from(writer.range(each)), expected);
  }), { numRuns: 500 });
});

test('the answer of one key, or of none, is the same as well', (t) => {
  const writer = new HotWriter();
  const single = fc.tuple(answer, fc.option(keyValue), fc.nat(1)).map(([each, pair, count]) => {
    return { ...each, kvs: pair === null ? [] : [pair], more: false, count };
  });
  fc.assert(fc.property(single, fc.nat(70), ({ kvs, ...facts }, offset) => {
    const [pair] = kvs;
    const place = pair === undefined ? null : placeOf(pair, offset);
    const expected = Buffer.from(rpc.RangeResponse.encode(convert.writeRangeResponse({ ...facts, kvs })).finish());
    t.deepEqual(Buffer.from(new RangeBytes(writer).only(facts, place)), expected);
  }), { numRuns: 500 });
});

test('a value of any length is found again', (t) => {
  const header = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
  for (const length of [0, 1, 47, 48, 49, 127, 128, 16_383, 16_384, 300_000]) {
    const [key, value] = [new Uint8Array(length % 50), new Uint8Array(length).fill(7)];
    const pair = { key, value, createRevision: 1, modRevision: 2, version: 1, lease: 0n };
    const each: RangeResponse = { header, kvs: [pair, pair], more: false, count: 2 };
    const expected = rpc.RangeResponse.encode(convert.writeRangeResponse(each)).finish();
    t.is(Buffer.compare(tell(each, new RangeBytes(new HotWriter())), expected), 0);
    const one = { ...each, kvs: [pair], count: 1 };
    const expectedOne = rpc.RangeResponse.encode(convert.writeRangeResponse(one)).finish();
    t.is(Buffer.compare(new RangeBytes(new HotWriter()).only(one, placeOf(pair, length % 7)), expectedOne), 0);
  }
});
