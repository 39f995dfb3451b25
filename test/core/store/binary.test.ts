// Numbers and bytes survive the writer and the reader, and nothing else is read.

import test from 'ava';
import fc from 'fast-check';
import { ByteReader, ByteWriter, varintBytes } from '../../../core/store/binary.js';

test('what was written is read', (t) => {
  const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.maxSafeInteger(), int64, fc.uint8Array(), (nat, int, big, raw) => {
      const writer = new ByteWriter();
      writer.varint(nat);
      writer.integer(int);
      writer.i64(big);
      writer.u32(nat % 2 ** 32);
      writer.bytes(raw);
      writer.raw(raw);
      const reader = new ByteReader(writer.take());
      t.deepEqual([reader.varint(), reader.integer() + 0, reader.i64(), reader.u32()], [nat, int + 0, big, nat % 2 ** 32]);
      t.deepEqual([reader.bytes(), reader.raw(raw.length)], [raw, raw]);
      t.is(reader.rest, 0);
    }),
  );
});

test('a varint takes the bytes it says', (t) => {
  for (const n of [0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 35, 2 ** 49, Number.MAX_SAFE_INTEGER]) {
    const writer = new ByteWriter();
    writer.varint(n);
    t.is(writer.length, varintBytes(n), String(n));
    t.is(new ByteReader(writer.take()).varint(), n);
  }
});

test('numbers that do not fit are refused', (t) => {
  const writer = new ByteWriter();
  for (const n of [-1, 0.5, 2 ** 53, NaN]) t.throws(() => writer.varint(n), { message: /cannot be written/ });
});

test('nothing is read past the end, nor a varint that does not end', (t) => {
  t.throws(() => new ByteReader(Uint8Array.of(5, 1)).bytes(), { message: /5 bytes expected at 1 of 2/ });
  t.throws(() => new ByteReader(Uint8Array.of(128)).varint(), { message: /expected/ });
  t.throws(() => new ByteReader(new Uint8Array(20).fill(255)).varint(), { message: /does not end/ });
  t.throws(() => new ByteReader(Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 127)).varint(), { message: /exceeds/ });
});
