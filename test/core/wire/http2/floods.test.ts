// Whoever makes a connection work for nothing is cut off, or bounded. Each flood is raw frames at a `Connection`; the names are
// those of the list of attacks in test/README.md.

import test, { type ExecutionContext } from 'ava';
import { FLOOD_WINDOW_MS, HTTP_HEADERS_MS, RESETS_MAX, SETTINGS_MAX } from '../../../../core/wire/limits.js';
import {
  EMPTY_FRAMES_MAX, HEADER_BLOCK_BYTES_MAX, PING_IDLE_MIN_MS, PINGS_MAX, PRIORITY_FRAMES_MAX, REFUSED_UNHEARD_MAX,
  SETTINGS_PER_FRAME_MAX, SOCKET_BYTES_MAX, UNREAD_BYTES_MAX,
} from '../../../../core/wire/http2/limits.js';
import { CODE, FLAG, FRAME, PREFACE, SETTING } from '../../../../core/wire/http2/protocol.js';
import {
  block, call, Caller, continuation, data, frame, headers, HELLO, integer, message, ping, priority, request, REQUEST, reset,
  settings, u32, windowUpdate, type Setup,
} from './kit.js';

function greeted(setup: Setup = {}): Caller {
  const caller = new Caller(setup);
  caller.say(HELLO);
  caller.hear();
  return caller;
}

function isCutOff(t: ExecutionContext, caller: Caller, what: string): void {
  const last = caller.hear().findLast(({ type }) => type === FRAME.goaway);
  t.is(last?.payload.readUInt32BE(4), CODE.enhanceYourCalm);
  t.is(last?.payload.toString('latin1', 8), what);
  t.deepEqual(caller.floods, [what]);
  t.true(caller.connection.isClosed);
  t.true(caller.line.isEnded);
  t.false(caller.line.wroteLate);
}

function many(count: number, make: (i: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));
}

const silent = (): void => undefined;
const LAST = FLAG.endHeaders | FLAG.endStream;

test('rapid reset: streams opened to be reset end the connection, and each call hears that its caller left', (t) => {
  const caller = greeted({ onEnd: silent });
  const bytes = many(RESETS_MAX + 1, (i) => Buffer.concat([headers(2 * i + 1), reset(2 * i + 1)]));
  caller.say(bytes.subarray(0, -13));
  t.false(caller.connection.isClosed);
  caller.say(bytes.subarray(-13));
  isCutOff(t, caller, 'streams opened and reset');
  t.true(caller.calls.every(({ gone }) => gone === 1));
});

test('rapid reset: a caller who lets most calls finish may give up as many as he likes', (t) => {
  const caller = greeted();
  for (let i = 0; i < 3 * RESETS_MAX; i++) {
    caller.say(call(6 * i + 1), call(6 * i + 3), headers(6 * i + 5), reset(6 * i + 5));
    caller.hear();
  }
  t.true(caller.isServed());
});

test('rapid reset: who resets slowly is no flood', (t) => {
  const caller = greeted({ onEnd: silent });
  for (let i = 0; i < 3 * RESETS_MAX; i++) {
    if (i % (RESETS_MAX - 1) === 0) caller.clock.pass(FLOOD_WINDOW_MS + 1);
    caller.say(headers(2 * i + 1), reset(2 * i + 1));
  }
  t.true(caller.isServed());
});

const PROVOCATIONS: readonly (readonly [how: string, make: (stream: number) => Buffer])[] = [
  ['windows that grow by nothing', (id) => Buffer.concat([headers(id), windowUpdate(id, 0)])],
  ['streams that depend on themselves', (id) => Buffer.concat([headers(id), priority(id, id)])],
  ['priorities of a wrong length', (id) => Buffer.concat([headers(id), frame(FRAME.priority, 0, id, u32(0))])],
  ['data behind the end', (id) => Buffer.concat([call(id), data(id)])],
  ['windows beyond all bounds', (id) => Buffer.concat([headers(id), windowUpdate(id, 2 ** 31 - 1)])],
  ['malformed requests', (id) => headers(id, FLAG.endHeaders, request([':path']))],
  ['malformed trailers', (id) => Buffer.concat([headers(id), headers(id, LAST, [['X', '']])])],
  ['a content-length that is not so', (id) => headers(id, LAST, request([], [['content-length', '9']]))],
  ['lists of fields that are too large', (id) => headers(id, FLAG.endHeaders, request([], many128()))],
];

function many128(): [string, string][] {
  return Array.from({ length: 128 }, (_, i) => [`n${i}`, '']);
}

for (const [how, make] of PROVOCATIONS) {
  test(`provoked resets: ${how} count as well`, (t) => {
    const caller = greeted({ onEnd: silent });
    caller.say(many(RESETS_MAX, (i) => make(2 * i + 1)));
    t.false(caller.connection.isClosed);
    t.is(caller.connection.streams, 0);
    t.is(caller.hear().filter(({ type }) => type === FRAME.rstStream).length, RESETS_MAX);
    caller.say(make(2 * RESETS_MAX + 1));
    isCutOff(t, caller, 'streams opened and reset');
  });
}

test('streams beyond those agreed on: a flood of them ends the connection', (t) => {
  const caller = greeted({ streamsMax: 1, onEnd: silent });
  caller.say(many(RESETS_MAX + 2, (i) => headers(2 * i + 1)));
  isCutOff(t, caller, 'streams opened and reset');
});

test('streams beyond those agreed on: who has not heard of the agreement yet is refused, and is no flood', (t) => {
  const caller = new Caller({ streamsMax: 1, onEnd: silent });
  caller.say(PREFACE, settings(), many(3 * RESETS_MAX, (i) => headers(2 * i + 1)));
  const refused = caller.hear().filter(({ type, payload }) => type === FRAME.rstStream && payload.readUInt32BE(0) === 7);
  t.is(refused.length, 3 * RESETS_MAX - 1);
  t.false(caller.connection.isClosed);
  // From then on he knows.
  caller.say(frame(FRAME.settings, FLAG.ack, 0), many(RESETS_MAX, (i) => headers(2 * (3 * RESETS_MAX + i) + 1)));
  t.false(caller.connection.isClosed);
  caller.say(many(2 * RESETS_MAX + 2, (i) => headers(2 * (4 * RESETS_MAX + i) + 1)));
  isCutOff(t, caller, 'streams opened and reset');
});

test('streams beyond those agreed on: who never hears of the agreement is cut off in the end', (t) => {
  const caller = new Caller({ streamsMax: 1, onEnd: silent });
  caller.say(PREFACE, settings(), many(REFUSED_UNHEARD_MAX + 1, (i) => headers(2 * i + 1)));
  t.false(caller.connection.isClosed);
  caller.say(headers(2 * REFUSED_UNHEARD_MAX + 3));
  isCutOff(t, caller, 'streams beyond those agreed on');
});

test('CONTINUATION: a block without end ends the connection, and so does one in too many pieces', (t) => {
  const large = greeted();
  large.say(headers(1, 0), many(5, () => continuation(1, 0, Buffer.alloc(HEADER_BLOCK_BYTES_MAX / 4))));
  isCutOff(t, large, 'header fields');
  const small = greeted();
  small.say(headers(1, 0), many(40, () => continuation(1, 0, Buffer.from([0x82]))));
  isCutOff(t, small, 'header fields');
  const empty = greeted();
  for (let i = 0; !empty.connection.isClosed && i < EMPTY_FRAMES_MAX; i++) {
    empty.say(headers(2 * i + 1, FLAG.endStream), many(20, () => continuation(2 * i + 1, 0, Buffer.alloc(0))));
    empty.say(continuation(2 * i + 1, FLAG.endHeaders, Buffer.alloc(0)));
  }
  isCutOff(t, empty, 'frames that carry nothing');
});

test('HPACK bomb: a block that unpacks without end is refused, costs little, and the next call is served', (t) => {
  const caller = greeted();
  const bomb = Buffer.concat([block(REQUEST), block([['x', 'y'.repeat(4000)]], 0x40), Buffer.alloc(12_000, 0xbe)]);
  caller.say(frame(FRAME.headers, FLAG.endHeaders, 1, bomb));
  t.deepEqual(caller.hear().map(({ type, stream }) => [type, stream]), [[FRAME.rstStream, 1]]);
  // The table is what the block left behind.
  const bytes = Buffer.concat([block(REQUEST), integer(62, 7, 0x80)]);
  caller.say(frame(FRAME.headers, FLAG.endHeaders, 3, bytes), data(3, FLAG.endStream));
  t.true(caller.hear().some(({ stream, flags }) => stream === 3 && (flags & FLAG.endStream) !== 0));
});

test('PING: the third too early in a row is one too many, in the words of gRPC', (t) => {
  const caller = greeted({ pingMinMs: 5000 });
  caller.say(ping(), ping(), ping());
  t.is(caller.hear().filter(({ type }) => type === FRAME.ping).length, 3);
  caller.say(ping());
  isCutOff(t, caller, 'too_many_pings');
});

test('PING: while a call is open, as often as agreed on is no flood, and one in between is forgiven', (t) => {
  const slow = greeted({ pingMinMs: 5000, onEnd: silent });
  slow.say(call(1));
  for (let i = 0; i < 20; i++) {
    slow.clock.pass(5000);
    slow.say(ping());
  }
  t.false(slow.connection.isClosed);
  slow.say(ping(), ping());
  t.false(slow.connection.isClosed);
  slow.say(ping());
  isCutOff(t, slow, 'too_many_pings');
});

test('PING: without an open call the fourth within two hours is one too many, as with etcd, which permits none then', (t) => {
  const caller = greeted({ pingMinMs: 5000 });
  caller.say(call(1));
  for (let i = 0; i < 3; i++) {
    caller.clock.pass(10_000);
    caller.say(ping());
  }
  t.is(caller.hear().filter(({ type }) => type === FRAME.ping).length, 3);
  caller.clock.pass(PING_IDLE_MIN_MS);
  caller.say(ping());
  t.false(caller.connection.isClosed);
  caller.clock.pass(PING_IDLE_MIN_MS - 1);
  caller.say(ping());
  isCutOff(t, caller, 'too_many_pings');
});

test('PING: over TLS, where etcd counts none, only very many within a while end the connection', (t) => {
  const caller = greeted({ pingMinMs: null });
  for (let round = 0; round < 3; round++) {
    caller.say(many(PINGS_MAX, () => ping()));
    t.is(caller.hear().length, PINGS_MAX);
    caller.clock.pass(FLOOD_WINDOW_MS + 1);
  }
  caller.say(many(2 * PINGS_MAX + 2, () => ping()));
  isCutOff(t, caller, 'pings');
});

test('PING: any number between the frames of an answer is no flood', (t) => {
  const measuring = greeted({ pingMinMs: 5000, onEnd: silent });
  measuring.say(headers(1));
  for (let i = 0; i < 20; i++) {
    measuring.connection.sending.send(measuring.call(1).stream, Buffer.from('event'));
    measuring.say(ping());
  }
  t.is(measuring.hear().filter(({ type }) => type === FRAME.ping).length, 20);
  t.false(measuring.connection.isClosed);
});

test('SETTINGS: more than some within a while end the connection', (t) => {
  const caller = greeted();
  caller.say(many(SETTINGS_MAX - 1, () => settings()));
  t.is(caller.hear().length, SETTINGS_MAX - 1);
  caller.say(settings());
  isCutOff(t, caller, 'settings');
  const slow = greeted();
  for (let i = 0; i < 3 * SETTINGS_MAX; i++) {
    if (i % 50 === 0) slow.clock.pass(FLOOD_WINDOW_MS + 1);
    slow.say(settings());
  }
  t.false(slow.connection.isClosed);
});

test('SETTINGS: one frame that changes all windows again and again ends the connection', (t) => {
  const caller = greeted();
  const pairs = Array.from({ length: SETTINGS_PER_FRAME_MAX + 1 }, (_, i) => [SETTING.initialWindowSize, i] as const);
  caller.say(settings(...pairs.slice(1)));
  t.false(caller.connection.isClosed);
  caller.say(settings(...pairs));
  isCutOff(t, caller, 'settings');
});

const NOTHINGS: readonly (readonly [what: string, bytes: Buffer])[] = [
  ['empty DATA', data(1, 0, Buffer.alloc(0))],
  ['DATA of nothing but padding', data(1, FLAG.padded, Buffer.from([1, 0]))],
  ['frames that nobody knows', frame(0xfa, 0, 0)],
  ['acknowledgements of settings', frame(FRAME.settings, FLAG.ack, 0)],
  ['answers to pings that nobody sent', frame(FRAME.ping, FLAG.ack, 0, Buffer.alloc(8))],
];

for (const [what, bytes] of NOTHINGS) {
  test(`frames that carry nothing: ${what}`, (t) => {
    const caller = greeted({ onEnd: silent });
    caller.say(headers(1));
    // One acknowledgement came with the greeting.
    caller.say(many(EMPTY_FRAMES_MAX - 1, () => bytes));
    t.false(caller.connection.isClosed);
    caller.say(bytes, bytes);
    isCutOff(t, caller, 'frames that carry nothing');
  });
}

test('frames that carry nothing: empty DATA of a stream that this side has ended', (t) => {
  const caller = greeted({ onCall: (one) => one.connection.sending.end(one.stream, 5, 'no') });
  caller.say(headers(1), many(EMPTY_FRAMES_MAX - 1, () => data(1, 0, Buffer.alloc(0))));
  t.false(caller.connection.isClosed);
  // What ends a request is no nothing: who calls what there is not sends one with each call.
  caller.say(many(EMPTY_FRAMES_MAX, () => data(1, FLAG.endStream, Buffer.alloc(0))));
  t.false(caller.connection.isClosed);
  caller.say(data(1, 0, Buffer.alloc(0)), data(1, 0, Buffer.alloc(0)));
  isCutOff(t, caller, 'frames that carry nothing');
});

test('PRIORITY: more than some within a while end the connection', (t) => {
  const caller = greeted();
  caller.say(many(PRIORITY_FRAMES_MAX, (i) => priority(2 * i + 1)));
  t.false(caller.connection.isClosed);
  caller.say(priority(1));
  isCutOff(t, caller, 'priorities');
});

test('zero windows: answers that are not taken wait, are told of, and are let go of with their caller', (t) => {
  const caller = greeted({ streamsMax: 1000, onEnd: (one) => one.answer(Buffer.alloc(100, 'x')) });
  caller.say(settings([SETTING.initialWindowSize, 0]));
  for (let i = 0; i < 1000; i++) caller.say(call(2 * i + 1));
  t.is(caller.waits, 1000);
  t.false(caller.hear().some(({ type }) => type === FRAME.data));
  caller.say(many(20_000, (i) => windowUpdate(2 * (i % 200) + 1, 1)));
  // Two hundred streams were given a hundred bytes each.
  const sent = caller.hear().filter(({ type }) => type === FRAME.data);
  t.is(sent.reduce((sum, { payload }) => sum + payload.length, 0), 20_000);
  caller.connection.lost();
  t.true(caller.calls.every(({ stream }) => stream.waitingBytes === 0));
});

test('a caller who takes nothing is not read from until he has', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(Buffer.alloc(60_000)) });
  caller.say(settings([SETTING.initialWindowSize, 2 ** 31 - 1]), windowUpdate(0, 2 ** 30));
  caller.hear();
  caller.line.isTaking = false;
  let calls = 0;
  for (; !caller.line.isPaused && calls < 1000; calls++) {
    caller.say(call(2 * calls + 1));
    caller.clock.pass(0);
  }
  t.true(calls > 10 && calls < 30);
  t.true(caller.line.writableLength < SOCKET_BYTES_MAX + 70_000);
  caller.line.take();
  caller.connection.onDrain();
  t.false(caller.line.isPaused);
  t.is(caller.hear().filter(({ flags, type }) => type === FRAME.headers && (flags & FLAG.endStream) !== 0).length, calls);
});

test('messages that never end are bounded on all streams together, and what ends is not counted any more', (t) => {
  const caller = greeted({ streamsMax: 1000, messageBytesMax: 2 ** 30, onEnd: silent });
  const endless = Buffer.concat([Buffer.from([0]), u32(2 ** 29), Buffer.alloc(16_379)]);
  let refused = 0;
  for (let i = 0; i < 600; i++) {
    caller.say(headers(2 * i + 1), data(2 * i + 1, 0, endless), many(7, () => data(2 * i + 1, 0, Buffer.alloc(16_384))));
    refused += caller.hear().filter(({ type }) => type === FRAME.rstStream).length;
  }
  // Of each eight frames have come, and the room for them is counted, which is twice as much.
  const held = 600 - refused;
  t.true(held >= UNREAD_BYTES_MAX / (2 * 8 * 16_384) - 1 && held < UNREAD_BYTES_MAX / (8 * 16_384), String(held));
  t.true(caller.unread > UNREAD_BYTES_MAX * 0.9 && caller.unread <= UNREAD_BYTES_MAX, 'whoever counts all connections is told');
  for (const { stream } of caller.calls) if (!stream.isReset) caller.say(reset(stream.id));
  t.is(caller.unread, 0);
  t.true(caller.connection.hold(UNREAD_BYTES_MAX), 'all that was counted has been given back');
});

test('what comes behind the end of a call is not counted for it', (t) => {
  const caller = greeted({ messageBytesMax: 10, onEnd: silent });
  for (let i = 0; i < 400; i++) {
    const id = 2 * i + 1;
    caller.say(headers(id));
    const one = caller.call(id);
    one.onMessage = () => one.connection.sending.end(one.stream, 13, 'no');
    caller.say(data(id, 0, Buffer.concat([message(), Buffer.from([0]), u32(9), Buffer.alloc(8)])));
    caller.hear();
  }
  t.is(caller.connection.streams, 0);
  t.true(caller.connection.hold(UNREAD_BYTES_MAX));
  t.is(caller.unread, UNREAD_BYTES_MAX);
  caller.connection.lost();
  t.is(caller.unread, 0, 'a connection that is gone holds nothing, whatever was counted');
});

test('what is broken here ends the one connection that came upon it, and whoever runs the server hears of it', (t) => {
  const caller = greeted({ onEnd: () => {
    throw new TypeError('a fault of ours');
  } });
  caller.say(call(1));
  const last = caller.hear().at(-1);
  t.deepEqual([last?.type, last?.payload.readUInt32BE(4)], [FRAME.goaway, CODE.internal]);
  t.deepEqual(caller.faults.map(({ message: text }) => text), ['a fault of ours']);
  t.is(caller.call(1).gone, 1);
  t.true(caller.connection.isClosed && caller.line.isEnded);
});

test('who is cut off for what he costs others hears why', (t) => {
  const caller = greeted({ onEnd: silent });
  caller.say(headers(1));
  caller.connection.cutOff('requests that are not whole');
  isCutOff(t, caller, 'requests that are not whole');
  t.is(caller.call(1).gone, 1);
});

test('a slow preface holds a few bytes', (t) => {
  const caller = new Caller();
  for (const byte of PREFACE) caller.say(Buffer.from([byte]));
  for (const byte of settings().subarray(0, 8)) caller.say(Buffer.from([byte]));
  t.false(caller.connection.isClosed);
  t.is(caller.connection.streams, 0);
  caller.say(settings().subarray(8));
  t.true(caller.isServed());
});

test('few bytes that ask for many: in the middle of what came it is not read on until the answers are taken', (t) => {
  const caller = greeted({ streamsMax: 10_000, onCall: (one) => one.connection.sending.end(one.stream, 12, 'x'.repeat(1000)) });
  caller.line.isTaking = false;
  caller.say(many(5000, (i) => headers(2 * i + 1, LAST)));
  const began = caller.calls.length;
  t.true(began < 1500, String(began));
  t.true(caller.line.isPaused && caller.line.writableLength < SOCKET_BYTES_MAX + 100_000);
  // As long as nothing is taken, nothing more happens.
  for (let i = 0; i < 3; i++) {
    caller.clock.pass(0);
    caller.connection.onDrain();
  }
  t.is(caller.calls.length, began);
  for (let i = 0; i < 10; i++) {
    caller.line.take();
    caller.line.isTaking = false;
    caller.connection.onDrain();
    t.true(caller.line.writableLength < SOCKET_BYTES_MAX + 100_000);
  }
  caller.line.take();
  caller.connection.onDrain();
  t.false(caller.line.isPaused);
  const answered = caller.hear().filter(({ type, flags }) => type === FRAME.headers && (flags & FLAG.endStream) !== 0);
  t.deepEqual(answered.map(({ stream }) => stream), Array.from({ length: 5000 }, (_, i) => 2 * i + 1));
});

test('what is wrong is found also behind what was not read on, and who is gone by then is told of nothing more', (t) => {
  for (const isLost of [false, true]) {
    const caller = greeted({ streamsMax: 10_000, onCall: (one) => one.connection.sending.end(one.stream, 12, 'x'.repeat(1000)) });
    caller.line.isTaking = false;
    caller.say(many(1500, (i) => headers(2 * i + 1, LAST)), frame(FRAME.windowUpdate, 0, 0, u32(0)));
    const began = caller.calls.length;
    t.false(caller.connection.isClosed);
    if (isLost) caller.connection.lost();
    caller.line.take();
    caller.connection.onDrain();
    t.is(caller.calls.length, isLost ? began : 1500);
    t.true(caller.connection.isClosed);
    t.is(caller.line.isEnded, !isLost);
  }
});

test('messages that never end: one byte of each counts for the room that it was given', (t) => {
  const caller = greeted({ streamsMax: 1000, onEnd: silent });
  const count = 400;
  const begun = Buffer.concat([Buffer.from([0]), u32(100_000), Buffer.from([1])]);
  caller.say(many(count, (i) => Buffer.concat([headers(2 * i + 1), data(2 * i + 1, 0, begun)])));
  t.true(caller.unread > count * 4000, String(caller.unread));
  caller.say(many(count, (i) => reset(2 * i + 1)));
  t.true(caller.connection.hold(UNREAD_BYTES_MAX), 'all that was counted has been given back');
});

test('large header fields count as long as their stream is open, and are bounded on all streams together', (t) => {
  const caller = greeted({ streamsMax: 1000, onEnd: silent });
  const open = (id: number): Buffer => headers(id, FLAG.endHeaders, request([], [['token', 'x'.repeat(8000)]]));
  const cost = open(1).length - 9;
  t.true(caller.connection.hold(UNREAD_BYTES_MAX - 3 * cost));
  caller.say(many(5, (i) => open(2 * i + 1)), headers(11));
  const refused = caller.hear().map(({ type, stream, payload }) => [type, stream, payload.readUInt32BE(0)]);
  t.deepEqual(refused, [7, 9].map((id) => [FRAME.rstStream, id, CODE.enhanceYourCalm]));
  t.deepEqual(caller.calls.map(({ stream }) => stream.id), [1, 3, 5, 11]);
  // Who leaves makes room.
  caller.say(data(1), reset(3), open(13), data(13, FLAG.endStream));
  t.deepEqual(caller.hear(), []);
  t.is(caller.call(13).ended, true);
  caller.say(many(7, (i) => reset(2 * i + 1)));
  t.true(caller.connection.hold(3 * cost) && !caller.connection.hold(1), 'what was counted has been given back');
});

test('SD2, CONTINUATION: a block that does not come whole in its time ends the connection, and counts until then', (t) => {
  const caller = greeted({ onEnd: silent });
  const piece = block([['x', 'y'.repeat(9000)]]);
  const begin = (id: number): void => caller.say(headers(id, 0), continuation(id, 0, piece));
  begin(1);
  t.false(caller.connection.hold(UNREAD_BYTES_MAX - piece.length));
  caller.connection.hold(piece.length - UNREAD_BYTES_MAX);
  caller.clock.pass(HTTP_HEADERS_MS - 1);
  caller.say(continuation(1, FLAG.endHeaders, Buffer.alloc(0)));
  t.false(caller.connection.isClosed);
  caller.clock.pass(HTTP_HEADERS_MS);
  t.false(caller.connection.isClosed, 'one that came in time is not looked at any more');
  begin(3);
  caller.clock.pass(HTTP_HEADERS_MS);
  isCutOff(t, caller, 'header fields that do not end');
  t.true(caller.connection.hold(UNREAD_BYTES_MAX), 'all that was counted has been given back');
});

test('frames that carry nothing: header fields of a stream that this side has ended', (t) => {
  const caller = greeted({ onCall: (one) => one.connection.sending.end(one.stream, 5, 'no') });
  caller.say(headers(1), many(EMPTY_FRAMES_MAX - 1, () => headers(1)));
  t.false(caller.connection.isClosed);
  caller.say(headers(1), headers(1));
  isCutOff(t, caller, 'frames that carry nothing');
});
