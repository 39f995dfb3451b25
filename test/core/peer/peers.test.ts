// Who is believed, what is told to those who are not, and that a call is executed once.

import test from 'ava';
import type { CallFailed } from '../../../core/peer/peers.js';
import { TERM_JUMP_MAX } from '../../../core/peer/limits.js';
import { heartbeat, Rig } from './rig.js';

function wordOf(error: Error | null, reply?: Uint8Array): string {
  return error?.message ?? Buffer.from(reply ?? []).toString();
}

test('messages for several members arrive at each, together', async (t) => {
  const rig = new Rig();
  const [a, b, c] = [rig.peer(1n), rig.peer(2n), rig.peer(3n)];
  rig.introduce([a, b, c]);
  a.peers.send([heartbeat(1n, 2n), heartbeat(1n, 3n), heartbeat(1n, 2n, 2)]);
  t.deepEqual(b.messages, []);
  await rig.clock.advance(10);
  t.deepEqual(b.messages, [heartbeat(1n, 2n), heartbeat(1n, 2n, 2)]);
  t.deepEqual(c.messages, [heartbeat(1n, 3n)]);
});

test('a frame of another cluster is ignored, and reported once', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n, { clusterId: 43n }), rig.peer(2n)];
  rig.introduce([a, b]);
  for (let i = 0; i < 50; i++) a.peers.send([heartbeat(1n, 2n)]);
  await rig.clock.advance(100);
  t.deepEqual(b.messages, []);
  t.deepEqual(a.refused, []);
  t.is(b.events.length, 1);
  t.like(b.events[0], { kind: 'frames_dropped', reason: 'other_cluster', peer: 1n, count: 1 });
});

test('a removed member is ignored, and told so now and then', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n)];
  rig.introduce([a, b]);
  b.peers.setMembers([{ id: 1n, peerUrls: ['memory://1'], incarnation: 101n }], (id) => id === 1n);
  for (let i = 0; i < 25; i++) {
    a.peers.send([heartbeat(1n, 2n)]);
    await rig.clock.advance(100);
  }
  t.deepEqual(b.messages, []);
  t.deepEqual(a.refused, ['removed by 2', 'removed by 2', 'removed by 2']);
});

test('a member on another data directory is ignored, and told so', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n, { incarnation: 999n }), rig.peer(2n)];
  rig.introduce([a, b]);
  a.peers.send([heartbeat(1n, 2n)]);
  await rig.clock.advance(10);
  t.deepEqual(b.messages, []);
  t.deepEqual(a.refused, ['other_incarnation by 2']);
});

test('a notice about an earlier life is not about us', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n, { incarnation: 999n }), rig.peer(2n)];
  rig.introduce([a, b]);
  a.peers.setMembers([], () => false);
  b.peers.send([heartbeat(2n, 1n)]);
  await rig.clock.advance(10);
  t.is(a.messages.length, 1);
  // What b says about life 999 reaches a process that lives under another one.
  rig.board.onFrame = () => null;
  a.peers.setMembers([{ id: 2n, peerUrls: ['memory://2'], incarnation: 0n }], () => false);
  const kept: Uint8Array[] = [];
  rig.board.onFrame = ({ from, frame }) => {
    if (from === 2n) kept.push(frame);
    return from === 2n ? null : [frame];
  };
  a.peers.send([heartbeat(1n, 2n)]);
  await rig.clock.advance(10);
  t.is(kept.length, 1);
  a.peers.close(() => undefined);
  const next = rig.peer(1n, { incarnation: 101n });
  next.peers.setMembers([{ id: 2n, peerUrls: ['memory://2'], incarnation: 0n }], () => false);
  rig.board.onFrame = () => kept;
  b.peers.send([heartbeat(2n, 1n)]);
  await rig.clock.advance(10);
  t.deepEqual(next.refused, []);
});

test('a notice from no member is handed on as that', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n, { incarnation: 999n }), rig.peer(2n)];
  b.peers.setMembers([{ id: 1n, peerUrls: ['memory://1'], incarnation: 101n }], () => false);
  a.peers.setMembers([{ id: 2n, peerUrls: ['memory://2'], incarnation: 0n }], () => false);
  a.peers.send([heartbeat(1n, 2n)]);
  a.peers.setMembers([], () => false);
  await rig.clock.advance(10);
  t.deepEqual(a.refused, ['other_incarnation by stranger 2']);
});

test('damaged frames are dropped and counted, and nothing of them is applied', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n)];
  rig.introduce([a, b]);
  rig.board.onFrame = ({ frame }) => {
    const damaged = Buffer.from(frame);
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] ?? 0) ^ 4;
    return [damaged];
  };
  for (let i = 0; i < 5; i++) a.peers.send([heartbeat(1n, 2n)]);
  await rig.clock.advance(10_001);
  a.peers.send([heartbeat(1n, 2n)]);
  await rig.clock.advance(10);
  t.deepEqual(b.messages, []);
  const told = b.events.map((event) => event.kind === 'frames_dropped' && [event.reason, event.count]);
  t.deepEqual(told, [['malformed', 1], ['malformed', 5]]);
});

test('messages of a stranger count, its requests do not', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n)];
  rig.introduce([a]);
  a.peers.setMembers([{ id: 2n, peerUrls: ['memory://2'], incarnation: 0n }], () => false);
  a.peers.send([heartbeat(1n, 2n)]);
  a.peers.call(2n, Buffer.from('do'), 100, () => undefined);
  await rig.clock.advance(10);
  t.is(b.messages.length, 1);
  t.deepEqual(b.calls, []);
});

test('messages nobody takes are told of as unreachable, once a turn', async (t) => {
  const rig = new Rig();
  const a = rig.peer(1n);
  a.peers.send([heartbeat(1n, 2n)]);
  a.peers.send([heartbeat(1n, 2n)]);
  t.deepEqual(a.unreachable, []);
  await rig.clock.advance(1);
  t.deepEqual(a.unreachable, [2n]);
});

test('a call has one answer, and a repeated frame is executed once', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n)];
  rig.introduce([a, b]);
  rig.board.onFrame = ({ frame }) => [frame, frame, frame];
  const replies: string[] = [];
  for (const word of ['one', 'two']) {
    a.peers.call(2n, Buffer.from(word), 1000, (error, reply) => replies.push(wordOf(error, reply)));
  }
  await rig.clock.advance(5);
  t.deepEqual(b.calls.map(({ request }) => request), ['one', 'two']);
  for (const { request, answer } of [...b.calls].reverse()) answer(Buffer.from(`did ${request}`));
  await rig.clock.advance(5);
  t.deepEqual(replies, ['did two', 'did one']);
});

test('a request of long ago that arrives again is not executed again', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n, { handlers: {} })];
  rig.introduce([a, b]);
  let first: Uint8Array | null = null;
  rig.board.onFrame = ({ from, frame }) => {
    if (from === 1n) first ??= frame;
    return [frame];
  };
  for (let i = 0; i < 9000; i++) {
    a.peers.call(2n, Buffer.from(String(i)), 1000, () => undefined);
    await rig.clock.advance(0);
    b.calls.at(-1)?.answer(Buffer.from(''));
    if (i % 100 === 0) await rig.clock.advance(1);
  }
  const before = b.calls.length;
  // In the lane of requests, in place of another one.
  rig.board.onFrame = () => (first === null ? [] : [first]);
  a.peers.call(2n, Buffer.from('carries it'), 1000, () => undefined);
  await rig.clock.advance(10);
  t.is(before, 9000);
  t.is(b.calls.length, before);
});

test('a request of a process of many starts ago that arrives again is not executed again', async (t) => {
  const rig = new Rig();
  const b = rig.peer(2n);
  const frames: Uint8Array[] = [];
  for (let session = 10; session < 30; session++) {
    const a = rig.peer(1n, { session });
    rig.introduce([a, b]);
    rig.board.onFrame = ({ from, frame }) => {
      if (from === 1n) frames.push(frame);
      return [frame];
    };
    a.peers.call(2n, Buffer.from(String(session)), 1000, () => undefined);
    await rig.clock.advance(5);
    a.peers.close(() => undefined);
  }
  t.is(b.calls.length, 20);
  const last = rig.peer(1n, { session: 40 });
  rig.introduce([last, b]);
  rig.board.onFrame = () => frames;
  last.peers.call(2n, Buffer.from('carries them'), 1000, () => undefined);
  await rig.clock.advance(5);
  t.is(frames.length, 20);
  t.is(b.calls.length, 20);
});

test('a call without an answer ends in time, and a late answer is ignored', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n)];
  rig.introduce([a, b]);
  const ends: (string | null)[] = [];
  const end = (error: Error | null): void => void ends.push(error === null ? null : (error as CallFailed).reason);
  a.peers.call(2n, Buffer.from('slow'), 50, end);
  await rig.clock.advance(60);
  t.deepEqual(ends, ['timeout']);
  b.calls[0]?.answer(Buffer.from('late'));
  await rig.clock.advance(10);
  a.peers.call(9n, Buffer.from('nobody'), 50, end);
  t.is(ends.length, 1);
  await rig.clock.advance(1);
  a.peers.call(2n, Buffer.from('cut short'), 50, end);
  a.peers.close(() => undefined);
  await rig.clock.advance(1);
  t.deepEqual(ends, ['timeout', 'unreachable', 'closed']);
});

test('an answer to an earlier life of the asker is not taken for one of this', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n, { session: 5 }), rig.peer(2n)];
  rig.introduce([a, b]);
  a.peers.call(2n, Buffer.from('before'), 1000, () => undefined);
  await rig.clock.advance(5);
  a.peers.close(() => undefined);
  const next = rig.peer(1n, { session: 6 });
  rig.introduce([next, b]);
  const replies: string[] = [];
  next.peers.call(2n, Buffer.from('after'), 1000, (error, reply) => replies.push(wordOf(error, reply)));
  await rig.clock.advance(5);
  t.deepEqual(b.calls.map(({ request }) => request), ['before', 'after']);
  b.calls[0]?.answer(Buffer.from('old'));
  await rig.clock.advance(5);
  t.deepEqual(replies, []);
  b.calls[1]?.answer(Buffer.from('new'));
  await rig.clock.advance(5);
  t.deepEqual(replies, ['new']);
});

test('a term far beyond all that was heard is nonsense, whatever carries it; a later one in reason is not', async (t) => {
  const rig = new Rig();
  const [a, b] = [rig.peer(1n), rig.peer(2n)];
  rig.introduce([a, b]);
  const snapshot = { term: 1, index: 9, configuration: { voters: [1n, 2n], outgoing: [], learners: [] } };
  a.log.newest = { meta: snapshot, bytes: Buffer.alloc(10) };
  a.peers.send([heartbeat(1n, 2n, 2 ** 40), { kind: 'snapshot', from: 1n, to: 2n, term: 2 ** 40, snapshot }]);
  await rig.clock.advance(100);
  t.deepEqual([b.messages, b.log.stages], [[], 0]);
  t.like(b.events[0], { kind: 'frames_dropped', reason: 'malformed', detail: `term ${2 ** 40}, when the newest known is 0` });
  const [c, d] = [rig.peer(3n), rig.peer(4n)];
  rig.introduce([c, d]);
  for (const term of [5_000_000, 5_000_000 + TERM_JUMP_MAX]) c.peers.send([heartbeat(3n, 4n, term)]);
  await rig.clock.advance(100);
  t.is(d.messages.length, 2);
  // What a member has said itself counts, too: it comes back with its own term.
  const e = rig.peer(5n);
  rig.introduce([c, e]);
  e.peers.send([heartbeat(5n, 3n, 5_000_000 + TERM_JUMP_MAX)]);
  c.peers.send([heartbeat(3n, 5n, 5_000_000 + TERM_JUMP_MAX + 1)]);
  await rig.clock.advance(100);
  t.is(e.messages.length, 1);
});
