// Records in a stream of bytes: cut anywhere they come out whole; damaged anywhere they do not come out.

import test from 'ava';
import { EMPTY } from '../../../core/base/bytes.js';
import { checksum } from '../../../core/base/crc.js';
import { Prng } from '../../../core/base/prng.js';
import { DecodeError, entryPieces } from '../../../core/peer/codec.js';
import { encodeAppendStart, encodeFrame } from '../../../core/peer/frame.js';
import { decodeHello, encodeHello, FrameReader, recordHead, tagsOf, type RecordKind } from '../../../core/peer/framing.js';
import { FRAME_BYTES_MAX } from '../../../core/peer/limits.js';
import type { Entry } from '../../../core/raft/types.js';
import { heartbeat } from './rig.js';

const envelope = { clusterId: 1n, from: 1n, to: 2n, incarnation: 3n, session: 4 };

function record(kind: RecordKind, body: Uint8Array): Buffer {
  return Buffer.concat([recordHead(kind, body), body]);
}

function plain(): Buffer {
  const message = heartbeat(1n, 2n);
  return message.kind === 'snapshot' ? Buffer.alloc(0) : encodeFrame(envelope, { kind: 'messages', messages: [message] });
}

test('records come out whole however the stream is cut', (t) => {
  const bodies = [Buffer.alloc(0), Buffer.from('a'), Buffer.alloc(100_000, 3), plain()];
  const records = bodies.map((body, i) => record(i === 0 ? 'heartbeat' : 'raft', body));
  const stream = Buffer.concat([...records, record('call', Buffer.from('z'))]);
  const dice = new Prng(3);
  for (const largest of [1, 7, 64, 40_000, stream.length]) {
    const reader = new FrameReader();
    const got: Buffer[] = [];
    for (let at = 0; at < stream.length;) {
      const size = 1 + dice.below(largest);
      for (const each of reader.push(stream.subarray(at, at + size))) got.push(Buffer.from(each.bytes));
      at += size;
    }
    t.is(Buffer.compare(Buffer.concat(got), stream), 0);
    t.is(got.length, 5);
    t.is(reader.heldBytes, 0);
  }
});

test('a changed bit never lets a record through', (t) => {
  const bytes = record('raft', plain());
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = Buffer.from(bytes);
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    t.throws(() => new FrameReader().push(damaged), { instanceOf: DecodeError });
  }
});

test('a length is believed only with its checksum, and never beyond the bound', (t) => {
  const head = recordHead('raft', Buffer.alloc(0));
  head.writeUInt32LE(FRAME_BYTES_MAX + 1, 0);
  t.throws(() => new FrameReader().push(head), { instanceOf: DecodeError, message: /checksum/ });
  t.throws(() => new FrameReader().push(sealed(head)), { instanceOf: DecodeError, message: /raft record of \d+ bytes; at most/ });
  head.writeUInt32LE(99, 4);
  t.throws(() => new FrameReader().push(sealed(head)), { instanceOf: DecodeError, message: /a record of kind 99/ });
  t.throws(() => recordHead('heartbeat', Buffer.alloc(10)), { message: /heartbeat record of 10 bytes/ });
});

test('as long as nobody knows who speaks, nothing large is waited for', (t) => {
  const [small, large] = [record('raft', Buffer.alloc(40)), record('raft', Buffer.alloc(41))];
  const refused = { instanceOf: DecodeError, message: /41 bytes; at most 40/ };
  t.throws(() => new FrameReader(40).push(large.subarray(0, 16)), refused);
  const reader = new FrameReader(40);
  t.is(reader.push(Buffer.concat([small, large])).length, 2);
  t.is(reader.push(large).length, 1);
});

/** A head that says what it says under a right checksum. */
function sealed(head: Buffer): Buffer {
  head.writeUInt32LE(checksum(head.subarray(0, 12)), 12);
  return head;
}

test('a record tells its lane and what it says', (t) => {
  const [first] = new FrameReader().push(record('raft', plain()));
  t.deepEqual(first && tagsOf(first), ['raft', 'append']);
  const piece = encodeFrame(envelope, { kind: 'piece', stage: 1, offset: 0, bytes: Buffer.from('x') });
  const [second] = new FrameReader().push(record('snapshot', piece));
  t.deepEqual(second && tagsOf(second), ['snapshot', 'piece']);
});

test('a hello says who speaks to whom on which lanes; another version is named, and anything else is none', (t) => {
  const hello = { group: 'control', clusterId: 5n, from: 2n, to: 3n } as const;
  const bytes = encodeHello(hello);
  t.deepEqual(decodeHello(bytes), hello);
  const damaged = (at: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at] = 200;
    return copy;
  };
  t.throws(() => decodeHello(damaged(0)), { instanceOf: DecodeError, message: /not ours/ });
  t.throws(() => decodeHello(bytes.subarray(0, 9)), { instanceOf: DecodeError, message: /not ours/ });
  t.throws(() => decodeHello(encodeHello(hello, 7)), { instanceOf: DecodeError, message: /protocol 7 between members/ });
  t.throws(() => decodeHello(damaged(10)), { instanceOf: DecodeError, message: /lanes that this version does not know/ });
  const longer = Buffer.concat([bytes, Buffer.alloc(1)]);
  t.throws(() => decodeHello(longer), { instanceOf: DecodeError, message: /a hello of \d+ bytes/ });
});

test('a large record lies in memory of its own, wherever the stream is cut, and its neighbours come out as well', (t) => {
  const large = Buffer.alloc(64 * 1024, 7);
  const stream = Buffer.concat([record('raft', plain()), record('raft', large), record('call', Buffer.from('z'))]);
  for (const size of [1000, 4096, 60_000, 65_536, stream.length]) {
    const reader = new FrameReader();
    const got: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) {
      // The pieces of a socket lie in buffers of its own choice.
      const piece = Buffer.alloc(Math.max(size, 256 * 1024)).subarray(0, Math.min(size, stream.length - at));
      stream.copy(piece, 0, at);
      for (const { body } of reader.push(piece)) got.push(Buffer.from(body.buffer, body.byteOffset, body.length));
    }
    t.deepEqual(got.map(({ length }) => length), [plain().length, large.length, 1]);
    t.is(Buffer.compare(got[1] ?? EMPTY, large), 0);
    t.true((got[1]?.buffer.byteLength ?? 0) < large.length + 100, `pieces of ${size} bytes`);
    t.is(reader.heldBytes, 0);
  }
});

test('room is set aside for no more than a frame of the usual size, and what is damaged in it does not come out', (t) => {
  const large = record('raft', Buffer.alloc(8 * 1024 * 1024, 5));
  const reader = new FrameReader();
  t.deepEqual(reader.push(large.subarray(0, 20)), []);
  t.is(reader.heldBytes, 20);
  const [whole] = reader.push(large.subarray(20));
  t.is(Buffer.compare(whole?.bytes ?? EMPTY, large), 0);
  const damaged = Buffer.from(record('raft', Buffer.alloc(100_000, 3)));
  damaged[70_000] = 4;
  const other = new FrameReader();
  t.deepEqual(other.push(damaged.subarray(0, 50_000)), []);
  t.throws(() => other.push(damaged.subarray(50_000)), { instanceOf: DecodeError, message: /checksum of a raft record/ });
});

test('a frame in two pieces has the bytes of the whole one, whatever entries it carries', (t) => {
  const dice = new Prng(5);
  for (let round = 0; round < 200; round++) {
    let term = 1 + dice.below(3);
    const entries = Array.from({ length: 1 + dice.below(4) }, (_, i): Entry => {
      term += dice.below(2);
      const kind = (['empty', 'command', 'members'] as const)[dice.below(3)] ?? 'empty';
      return { kind, term, index: 11 + i, data: Buffer.alloc(dice.below(300), dice.below(256)) };
    });
    const previous = { term: 1, index: 10 };
    const message = { kind: 'append', from: 1n, to: 2n, term: 20, previous, entries, commit: round, round: 3, match: 9 } as const;
    const pieces = entryPieces(entries);
    const start = encodeAppendStart(envelope, message, pieces);
    const whole = encodeFrame(envelope, { kind: 'messages', messages: [message] });
    t.is(Buffer.compare(Buffer.concat([start, pieces.rest]), whole), 0);
    t.is(Buffer.compare(recordHead('raft', start, pieces.rest), recordHead('raft', whole)), 0);
    if (entries.length === 1) t.true(pieces.rest === entries[0]?.data);
  }
});
