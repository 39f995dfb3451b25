// Bytes to frames, however they come.

import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import { FrameReader } from '../../../../core/wire/http2/frame-reader.js';
import { PREFACE } from '../../../../core/wire/http2/protocol.js';
import { frame, u32 } from './kit.js';

/** Payloads are kept as views until the end: nobody may write to them again. */
function setUp(): { reader: FrameReader; told: () => string[] } {
  const views: (readonly [string, Buffer])[] = [];
  const reader = new FrameReader({
    onFrame: (type, flags, stream, bytes, from, to) => void views.push([`${type} ${flags} ${stream}`, bytes.subarray(from, to)]),
  });
  return { reader, told: () => views.map(([head, payload]) => `${head} ${payload.toString('hex')}`) };
}

function randomFrames(chance: Prng): { bytes: Buffer; frames: string[] } {
  const frames: string[] = [];
  const parts: Buffer[] = [PREFACE];
  for (let i = 0; i < 1 + chance.below(8); i++) {
    const [type, flags, stream] = [chance.below(256), chance.below(256), chance.below(2 ** 31)];
    const payload = Buffer.alloc([0, 4, chance.below(40), chance.below(16_385)][chance.below(4)] ?? 0, chance.below(256));
    parts.push(frame(type, flags, stream, payload));
    frames.push(`${type} ${flags} ${stream} ${payload.toString('hex')}`);
  }
  return { bytes: Buffer.concat(parts), frames };
}

test('frames cut anywhere are the same frames', (t) => {
  const chance = new Prng(2);
  for (let round = 0; round < 60; round++) {
    const { bytes, frames } = randomFrames(chance);
    const { reader, told } = setUp();
    const most = [1 + chance.below(12), 500, 20_000][round % 3] ?? 1;
    for (let at = 0; at < bytes.length; ) {
      const to = Math.min(bytes.length, at + 1 + chance.below(most));
      // Each piece has memory of its own, which is spoiled where a frame was copied out of it.
      reader.push(Buffer.from(bytes.subarray(at, to)));
      at = to;
    }
    t.deepEqual(told(), frames);
  }
});

test('a few frames are the same when cut at each two places', (t) => {
  const bytes = Buffer.concat([PREFACE, frame(4, 0, 0), frame(1, 5, 3, Buffer.from('abc')), frame(0, 1, 3, Buffer.from('d'))]);
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const { reader, told } = setUp();
      for (const piece of [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]) reader.push(piece);
      t.deepEqual(told(), ['4 0 0 ', '1 5 3 616263', '0 1 3 64']);
    }
  }
});

test('one byte at a time is enough', (t) => {
  const { bytes, frames } = randomFrames(new Prng(3));
  const { reader, told } = setUp();
  for (const byte of bytes) reader.push(Buffer.from([byte]));
  t.deepEqual(told(), frames);
});

test('a length beyond 16,384 is refused as soon as it is known', (t) => {
  for (const cut of [3, 9, 12]) {
    const { reader, told } = setUp();
    reader.push(PREFACE);
    const bytes = Buffer.concat([Buffer.from('004001', 'hex'), Buffer.from([0, 0]), u32(1), Buffer.alloc(3)]);
    t.throws(() => {
      reader.push(bytes.subarray(0, cut));
      reader.push(bytes.subarray(cut));
    }, { name: 'ConnectionFault' });
    t.deepEqual(told(), []);
  }
});

test('each wrong byte of the preface is refused', (t) => {
  for (let at = 0; at < PREFACE.length; at++) {
    const bytes = Buffer.from(PREFACE);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    for (const piece of [1, 7, 24]) {
      const { reader } = setUp();
      t.throws(() => {
        for (let from = 0; from < bytes.length; from += piece) reader.push(bytes.subarray(from, from + piece));
      }, { name: 'ConnectionFault' });
    }
  }
});

test('who is stopped within a frame tells of no other', (t) => {
  const told: number[] = [];
  const reader = new FrameReader({
    onFrame: (type) => {
      told.push(type);
      reader.stop();
    },
  });
  reader.push(Buffer.concat([PREFACE, frame(4, 0, 0), frame(6, 0, 0, Buffer.alloc(8))]));
  reader.push(frame(6, 0, 0, Buffer.alloc(8)));
  t.deepEqual(told, [4]);
});

test('who is held up goes on where he was, whatever came since, and however that was cut', (t) => {
  const chance = new Prng(5);
  for (let round = 0; round < 60; round++) {
    const { bytes, frames } = randomFrames(chance);
    const told: string[] = [];
    const reader = new FrameReader({
      onFrame: (type, flags, stream, from, start, end) => {
        told.push(`${type} ${flags} ${stream} ${from.toString('hex', start, end)}`);
        if (chance.below(2) === 0) reader.hold();
      },
    });
    const most = [1 + chance.below(12), 500, 200_000][round % 3] ?? 1;
    for (let at = 0; at < bytes.length; ) {
      const to = Math.min(bytes.length, at + 1 + chance.below(most));
      const before = told.length;
      reader.push(Buffer.from(bytes.subarray(at, to)));
      if (reader.hasRest) t.true(told.length > before);
      at = to;
    }
    while (reader.hasRest) reader.push(Buffer.alloc(0));
    t.deepEqual(told, frames);
  }
});

test('who is held up with each frame is told of one at a time', (t) => {
  const told: number[] = [];
  const reader = new FrameReader({
    onFrame: (type) => {
      told.push(type);
      reader.hold();
    },
  });
  reader.push(Buffer.concat([PREFACE, frame(4, 0, 0), frame(6, 0, 0, Buffer.alloc(8)), frame(7, 0, 0)]));
  t.deepEqual([told, reader.hasRest], [[4], true]);
  reader.push(Buffer.alloc(0));
  t.deepEqual([told, reader.hasRest], [[4, 6], true]);
  reader.push(Buffer.alloc(0));
  t.deepEqual([told, reader.hasRest], [[4, 6, 7], false]);
});
