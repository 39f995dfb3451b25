// Bytes of messages and frames: what goes in comes out, and whatever else arrives is a DecodeError.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { checksum } from '../../../core/base/crc.js';
import { DecodeError, writeCounter, type PlainMessage } from '../../../core/peer/codec.js';
import { decodeFrame, encodeFrame, ENVELOPE_BYTES, type Body } from '../../../core/peer/frame.js';
import { COUNTER_MAX } from '../../../core/peer/limits.js';
import type { Entry } from '../../../core/raft/types.js';

const ENVELOPE = { clusterId: 2n ** 64n - 1n, from: 1n, to: 2n ** 63n + 5n, incarnation: 77n, session: 2 ** 40 + 3 };
const { from, to } = ENVELOPE;

function entry(term: number, index: number, data = ''): Entry {
  return { term, index, kind: data === '' ? 'empty' : 'command', data: new Uint8Array(Buffer.from(data)) };
}

const MESSAGES: readonly PlainMessage[] = [
  { kind: 'vote', from, to, term: 9, last: { term: 7, index: COUNTER_MAX }, pre: true, transfer: false },
  { kind: 'vote', from, to, term: 9, last: { term: 0, index: 0 }, pre: false, transfer: true },
  { kind: 'vote_reply', from, to, term: 9, pre: false, granted: true },
  { kind: 'append', from, to, term: 9, previous: { term: 0, index: 0 }, entries: [], commit: 0, round: 0, match: 0 },
  {
    kind: 'append', from, to, term: 9, previous: { term: 2, index: 2 ** 33 }, commit: 2 ** 33 - 1, round: 12, match: 2 ** 33 - 2,
    entries: [
      entry(2, 2 ** 33 + 1, 'a'), entry(2, 2 ** 33 + 2, 'bc'), entry(5, 2 ** 33 + 3),
      { ...entry(9, 2 ** 33 + 4, 'members'), kind: 'members' },
    ],
  },
  { kind: 'append_reply', from, to, term: 9, ok: false, index: 12, before: 3, round: 4 },
  { kind: 'timeout_now', from, to, term: 1 },
];

const META = { term: 4, index: 99, configuration: { voters: [1n, 2n, 2n ** 64n - 1n], outgoing: [1n], learners: [7n] } };
const payload = new Uint8Array([1, 2, 3]);
const BODIES: readonly Body[] = [
  { kind: 'messages', messages: MESSAGES },
  { kind: 'request', call: 5, payload },
  { kind: 'reply', session: 4, call: 5, payload: new Uint8Array(0) },
  { kind: 'notice', reason: 'other_incarnation', incarnation: 2n ** 63n },
  { kind: 'offer', transfer: 3, term: 4, sizeBytes: 2 ** 35, sent: 17, meta: META },
  { kind: 'accept', transfer: 3, stage: 2, offset: 1, taken: 3, asked: 9, state: 'busy' },
  { kind: 'piece', stage: 1, offset: 2 ** 33, bytes: payload },
  { kind: 'abort', transfer: 8 },
];

for (const body of BODIES) {
  test(`a frame with ${body.kind} comes out as it went in`, (t) => {
    t.deepEqual(decodeFrame(encodeFrame(ENVELOPE, body)), { ...ENVELOPE, body });
  });
}

test('entries are views into the frame, and no Buffers', (t) => {
  const bytes = encodeFrame(ENVELOPE, { kind: 'messages', messages: MESSAGES });
  const { body } = decodeFrame(bytes);
  const entries = body.kind === 'messages' ? body.messages.flatMap((each) => (each.kind === 'append' ? each.entries : [])) : [];
  t.is(entries.length, 4);
  for (const { data } of entries) {
    t.is(data.buffer, bytes.buffer);
    t.false(data instanceof Buffer);
  }
});

/** A frame whose checksum is right whatever was done to it. */
function resealed(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(checksum(bytes.subarray(8), checksum(bytes.subarray(0, 4))), 4);
  return bytes;
}

test('a single changed bit anywhere is noticed', (t) => {
  const bytes = encodeFrame(ENVELOPE, { kind: 'messages', messages: MESSAGES });
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = Buffer.from(bytes);
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    t.throws(() => decodeFrame(damaged), { instanceOf: DecodeError });
  }
  t.throws(() => decodeFrame(bytes.subarray(0, bytes.length - 1)), { instanceOf: DecodeError });
});

test('bytes at random, and frames damaged under a right checksum, are decoded or refused by name', (t) => {
  const dice = new Prng(5);
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const body = BODIES[dice.below(BODIES.length)];
    let bytes = body === undefined ? Buffer.alloc(0) : encodeFrame(ENVELOPE, body);
    const isCut = dice.below(3) === 0;
    if (isCut) bytes = Buffer.concat([bytes.subarray(0, dice.below(bytes.length)), Buffer.alloc(dice.below(20), 255)]);
    for (let i = dice.below(6); i > 0 && bytes.length > 0; i--) {
      bytes[dice.below(bytes.length)] = [0, 1, 127, 255, dice.below(256)][dice.below(5)] ?? 0;
    }
    if (bytes.length >= ENVELOPE_BYTES) resealed(bytes);
    try {
      decodeFrame(bytes);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      refused++;
    }
  }
  t.true(refused > 5000, `${refused} refused`);
});

/** An append whose field at `offset` of the message says something else. */
function twisted(offset: number, write: (buffer: Buffer, at: number) => void): Buffer {
  const [append] = MESSAGES.slice(4, 5);
  const bytes = encodeFrame(ENVELOPE, { kind: 'messages', messages: append === undefined ? [] : [append] });
  write(bytes, ENVELOPE_BYTES + 2 + offset);
  return resealed(bytes);
}

const NONSENSE: Readonly<Record<string, Buffer>> = {
  'a term of 2^53': twisted(1, (buffer, at) => void buffer.writeBigUInt64LE(2n ** 53n, at)),
  'a term of 2^63': twisted(1, (buffer, at) => void buffer.writeBigUInt64LE(2n ** 63n, at)),
  'a term before that of its entries': twisted(1, (buffer, at) => void writeCounter(buffer, at, 1)),
  'entries of a term before that of the slot they follow': twisted(9, (buffer, at) => void writeCounter(buffer, at, 3)),
  'a slot without a term': twisted(9, (buffer, at) => void writeCounter(buffer, at, 0)),
  'an index beyond any real one': twisted(17, (buffer, at) => void buffer.writeBigUInt64LE(2n ** 52n, at)),
  'four thousand million entries': twisted(49, (buffer, at) => void buffer.writeUInt32LE(2 ** 32 - 1, at)),
  'a run longer than the entries': twisted(61, (buffer, at) => void buffer.writeUInt32LE(9, at)),
  'an empty run': twisted(61, (buffer, at) => void buffer.writeUInt32LE(0, at)),
  'an entry of unknown kind': twisted(65, (buffer, at) => void buffer.writeUInt8(9, at)),
  'an entry of four gigabytes': twisted(66, (buffer, at) => void buffer.writeUInt32LE(2 ** 32 - 1, at)),
};

for (const [what, bytes] of Object.entries(NONSENSE)) {
  test(`${what} is refused`, (t) => {
    t.throws(() => decodeFrame(bytes), { instanceOf: DecodeError });
  });
}

test('entries with a gap are never written', (t) => {
  const messages: PlainMessage[] = [
    { kind: 'append', from, to, term: 2, previous: { term: 1, index: 1 }, entries: [entry(1, 3)], commit: 0, round: 0, match: 0 },
  ];
  t.throws(() => encodeFrame(ENVELOPE, { kind: 'messages', messages }), { message: /entry 3 stands where 2 belongs/ });
});

test('what cannot be a snapshot is refused', (t) => {
  const good = { kind: 'offer', transfer: 1, term: 9, sizeBytes: 5, sent: 0, meta: META } as const;
  const offer = (change: object): Buffer => encodeFrame(ENVELOPE, { ...good, ...change });
  for (const change of [
    { sizeBytes: 0 }, { sizeBytes: 2 ** 45 }, { term: 3 }, { meta: { ...META, index: 0, term: 0 } },
    { meta: { ...META, configuration: { ...META.configuration, voters: [] } } },
    { meta: { ...META, configuration: { ...META.configuration, voters: [2n, 1n] } } },
    { meta: { ...META, configuration: { ...META.configuration, learners: [2n] } } },
    { meta: { ...META, configuration: { ...META.configuration, learners: [0n] } } },
  ]) t.throws(() => decodeFrame(offer(change)), { instanceOf: DecodeError });
});
