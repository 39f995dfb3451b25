// The messages of gRPC in the bytes of a stream.

import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import { MessageReader } from '../../../../core/wire/http2/message-reader.js';
import { message, u32 } from './kit.js';

const MAX = 100_000;
/** As core/wire/http2/message-reader.ts has it. */
const ROOM_BYTES_MIN = 4096;

function setUp(bytesMax = MAX): { reader: MessageReader; told: string[]; push: (bytes: Buffer) => void } {
  const told: string[] = [];
  const reader = new MessageReader(bytesMax, {
    onMessage: (bytes, isCompressed) => {
      told.push(`${isCompressed ? 'compressed ' : ''}${Buffer.from(bytes).toString('hex')}`);
    },
    onTooLarge: (length) => void told.push(`too large: ${length}`),
  });
  return { reader, told, push: (bytes) => reader.push(bytes, 0, bytes.length) };
}

test('messages cut anywhere are the same messages', (t) => {
  const chance = new Prng(1);
  for (let round = 0; round < 40; round++) {
    const bodies = Array.from({ length: 1 + chance.below(6) }, () => {
      return Buffer.alloc(chance.below(chance.below(4) === 0 ? 20_000 : 20), chance.below(256));
    });
    const flags = bodies.map(() => chance.below(2));
    const bytes = Buffer.concat(bodies.map((body, i) => message(body, flags[i])));
    const { reader, told, push } = setUp();
    for (let at = 0; at < bytes.length; ) {
      const to = Math.min(bytes.length, at + 1 + chance.below(chance.below(3) === 0 ? 9000 : 7));
      push(bytes.subarray(at, to));
      at = to;
    }
    t.deepEqual(told, bodies.map((body, i) => `${flags[i] === 1 ? 'compressed ' : ''}${body.toString('hex')}`));
    t.true(reader.isBetween);
    t.is(reader.held, 0);
  }
});

test('a few messages are the same when cut at each place', (t) => {
  const bytes = Buffer.concat([message(Buffer.from('ab')), message(), message(Buffer.from('c'), 1)]);
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const { reader, told } = setUp();
      for (const [from, to] of [[0, first], [first, second], [second, bytes.length]] as const) reader.push(bytes, from, to);
      t.deepEqual(told, ['6162', '', 'compressed 63']);
    }
  }
});

test('a message that has begun is not between messages, however little of it came', (t) => {
  const { reader, push } = setUp();
  t.true(reader.isBetween);
  push(Buffer.from([0]));
  t.false(reader.isBetween);
  push(Buffer.from([0, 0, 0, 2]));
  t.false(reader.isBetween);
  push(Buffer.from('a'));
  t.is(reader.held, 2);
  push(Buffer.from('b'));
  t.true(reader.isBetween);
});

test('a message announced too large is told of once, before its bytes come, and nothing behind it is read', (t) => {
  for (const piece of [1, 4, 5, 1000]) {
    const { told, push } = setUp(10);
    const announced = Buffer.concat([Buffer.from([0]), u32(2 ** 32 - 1)]);
    const bytes = Buffer.concat([message(Buffer.alloc(10, 1)), announced, message(Buffer.from('never')), Buffer.alloc(100)]);
    for (let at = 0; at < bytes.length; at += piece) push(bytes.subarray(at, at + piece));
    t.deepEqual(told, ['01'.repeat(10), 'too large: 4294967295']);
  }
});

test('the largest message is taken, and one byte more is not', (t) => {
  const { told, push } = setUp(4);
  push(message(Buffer.from('abcd')));
  push(message(Buffer.from('abcde')));
  t.deepEqual(told, ['61626364', 'too large: 5']);
});

test('memory for a message grows with what came of it, not with what was announced, and all of it is counted', (t) => {
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 200 }, () => {
    const { reader, push } = setUp(2 ** 31);
    push(Buffer.concat([Buffer.from([0]), u32(2 ** 30), Buffer.from('a')]));
    return reader;
  });
  const more = process.memoryUsage().arrayBuffers - before;
  t.true(more < 200 * 64 * 1024);
  t.true(readers.every(({ held }) => held === ROOM_BYTES_MIN));
});

test('what nobody knows ahead of a message counts as compressed, so that it is not taken for a plain one', (t) => {
  for (const piece of [1, 100]) {
    const { told, push } = setUp();
    const bytes = message(Buffer.from('a'), 2);
    for (let at = 0; at < bytes.length; at += piece) push(bytes.subarray(at, at + piece));
    t.deepEqual(told, ['compressed 61']);
  }
});
