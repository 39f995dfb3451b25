// A connection against RFC 9113, in raw frames and without a socket: the rows of connection-rows.ts, and what does not fit a row.

import test from 'ava';
import { ENDED_EARLY_MAX } from '../../../../core/wire/http2/limits.js';
import { CODE, FLAG, FRAME, SETTING } from '../../../../core/wire/http2/protocol.js';
import { ROWS, type Must } from './connection-rows.js';
import {
  block, call, Caller, data, frame, headers, HELLO, integer, ping, REQUEST, reset, settings, windowUpdate, type Frame,
} from './kit.js';

const ALL = FLAG.endHeaders | FLAG.endStream;

/** What was said about it, in the words of a row. */
function told(frames: readonly Frame[]): Must[] {
  return frames.flatMap((one): Must[] => {
    if (one.type === FRAME.goaway) return [{ goaway: one.payload.readUInt32BE(4) }];
    if (one.type === FRAME.rstStream) return [{ reset: one.stream, code: one.payload.readUInt32BE(0) }];
    if (one.type === FRAME.headers && (one.flags & FLAG.endStream) !== 0) return [{ answered: one.stream }];
    return [];
  });
}

for (const { section, claim, say, must, first, answers, isBare } of ROWS) {
  test(`${section} ${claim}`, (t) => {
    const caller = new Caller({ streamsMax: 4, ...(answers === true ? {} : { onEnd: () => undefined }) });
    if (isBare !== true) caller.say(HELLO);
    caller.say(...(first ?? []));
    caller.hear();
    t.false(caller.connection.isClosed, 'what was said before is no fault');
    caller.say(...say);
    const heard = told(caller.hear());
    t.deepEqual(heard, must === 'nothing' ? [] : [must]);
    const isFatal = typeof must === 'object' && 'goaway' in must && must.goaway !== CODE.noError;
    const isOver = isFatal || (section === '6.8' && caller.connection.streams === 0);
    t.is(caller.connection.isClosed, isOver);
    t.is(caller.line.isEnded, isOver);
    if (isOver) t.is(caller.calls.filter(({ stream }) => !stream.isReset && !stream.isSaid).length, 0);
    else t.true(caller.isServed());
    // What was reset is over for its user and takes no room.
    if (typeof must === 'object' && 'reset' in must) {
      t.false(caller.calls.some(({ stream, gone }) => stream.id === must.reset && (gone !== 1 || !stream.isReset)));
    }
  });
}

function indexed(path: number): Buffer {
  return Buffer.concat([block(REQUEST.slice(0, 2)), integer(path, 7, 0x80)]);
}

test('a block that came before means what the table says now, and not what it meant then', (t) => {
  const caller = new Caller();
  caller.say(HELLO);
  const ask = (stream: number, bytes: Buffer): void => caller.say(frame(FRAME.headers, ALL, stream, bytes));
  ask(1, Buffer.concat([block(REQUEST.slice(0, 2)), block([[':path', '/first']], 0x40)]));
  ask(3, indexed(62));
  ask(5, indexed(62));
  ask(7, Buffer.concat([block(REQUEST.slice(0, 2)), block([[':path', '/second']], 0x40)]));
  ask(9, indexed(62));
  t.deepEqual(caller.calls.map(({ stream }) => stream.head.path), ['/first', '/first', '/first', '/second', '/second']);
  // Trailers change the table as well, even those of a stream that is reset for them.
  caller.say(headers(11));
  ask(13, indexed(62));
  caller.say(frame(FRAME.headers, ALL, 11, block([[':path', '/third']], 0x40)));
  ask(15, indexed(62));
  t.deepEqual(caller.calls.slice(6).map(({ stream }) => stream.head.path), ['/second', '/third']);
  // And so does a table that becomes smaller.
  caller.say(headers(17));
  ask(19, indexed(62));
  caller.say(frame(FRAME.headers, ALL, 17, Buffer.concat([Buffer.from([0x20]), block([['x', 'y']])])));
  ask(21, indexed(62));
  t.deepEqual(told(caller.hear()).at(-1), { goaway: CODE.compression });
});

test('calls behind GOAWAY of this side do not begin, and what belongs to them is let pass', (t) => {
  const caller = new Caller();
  caller.say(HELLO, headers(1));
  caller.connection.drain();
  caller.say(call(3), headers(5), reset(5), windowUpdate(3, 5));
  const [goneAway] = caller.hear().filter(({ type }) => type === FRAME.goaway);
  t.deepEqual([goneAway?.payload.readUInt32BE(0), goneAway?.payload.readUInt32BE(4)], [1, CODE.noError]);
  t.deepEqual(caller.calls.map(({ stream }) => stream.id), [1]);
  t.true(caller.isServed());
  caller.say(data(1, FLAG.endStream));
  t.true(caller.line.isEnded && caller.connection.isClosed);
  caller.say(ping());
  caller.connection.ping(Buffer.alloc(8));
  caller.hear();
  t.false(caller.line.wroteLate);
});

test('who is answered before he has said all is told to stop, and what was under way is let pass on any stream', (t) => {
  const caller = new Caller({ onCall: (one) => one.connection.sending.end(one.stream, 5, 'no') });
  caller.say(HELLO);
  for (let i = 0; i <= 2 * ENDED_EARLY_MAX; i++) caller.say(headers(2 * i + 1));
  const stops = caller.hear().filter(({ type }) => type === FRAME.rstStream);
  t.deepEqual([stops.length, stops[0]?.payload.readUInt32BE(0)], [2 * ENDED_EARLY_MAX + 1, CODE.noError]);
  caller.say(data(1), headers(1, ALL), data(3), data(4 * ENDED_EARLY_MAX + 1));
  t.deepEqual(told(caller.hear()), []);
  // Who has said all himself may still say no more.
  caller.say(headers(4 * ENDED_EARLY_MAX + 3, ALL), data(4 * ENDED_EARLY_MAX + 3));
  t.deepEqual(told(caller.hear()).at(-1), { goaway: CODE.streamClosed });
});

test('who has said all is not told to stop', (t) => {
  const caller = new Caller({ onCall: (one) => one.connection.sending.end(one.stream, 5, 'no') });
  caller.say(HELLO, headers(1, ALL));
  t.deepEqual(told(caller.hear()), [{ answered: 1 }]);
});

test('nothing is said on a line that is lost, and every call on it hears so once', (t) => {
  const caller = new Caller({ onEnd: () => undefined });
  caller.say(HELLO, call(1), headers(3));
  caller.hear();
  caller.connection.lost();
  caller.connection.lost();
  for (const one of caller.calls) one.answer(Buffer.alloc(100));
  caller.connection.ping(Buffer.alloc(8));
  caller.connection.flush();
  t.deepEqual(caller.hear(), []);
  t.deepEqual(caller.calls.map(({ gone }) => gone), [1, 1]);
});

test('who is sent away is read to the end, also when much waits for him: else he may not hear why', (t) => {
  const caller = new Caller({ onEnd: (one) => one.answer(Buffer.alloc(20_000)), waitingMax: () => 10_000 });
  caller.say(HELLO);
  caller.hear();
  caller.line.isTaking = false;
  caller.say(call(1), data(0));
  t.deepEqual(told(caller.hear()), [{ goaway: CODE.protocol }]);
  t.true(caller.line.isEnded);
  t.false(caller.line.isPaused);
});

test('who makes his table of fields smaller is told so ahead of the next block, and no place of it is named again', (t) => {
  const caller = new Caller();
  caller.say(HELLO, call(1), call(3));
  const before = caller.hear().filter(({ type }) => type === FRAME.headers).map((one) => caller.fields(one));
  caller.say(settings([SETTING.headerTableSize, 0]), call(5), call(7));
  const blocks = caller.hear().filter(({ type }) => type === FRAME.headers);
  t.deepEqual(blocks.map(({ payload }) => payload[0] === 0x20), [true, false, false, false]);
  t.deepEqual(blocks.map((one) => caller.fields(one)), before);
});
