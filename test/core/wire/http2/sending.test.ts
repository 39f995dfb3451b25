// Flow control (RFC 9113, section 5.2), both ways: windows of every size, changed while answers wait, shared fairly, and never
// overdrawn, against a model that adds up what each side was allowed.

import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import {
  CONNECTION_WINDOW_BYTES, PIECE_OVERHEAD_BYTES, SOCKET_BYTES_MAX, STREAM_WINDOW_BYTES,
} from '../../../../core/wire/http2/limits.js';
import { CODE, FLAG, FRAME, SETTING } from '../../../../core/wire/http2/protocol.js';
import { call, Caller, data, headers, HELLO, message, reset, settings, windowUpdate, type Frame, type Setup } from './kit.js';

function greeted(setup: Setup = {}, window = -1): Caller {
  const caller = new Caller(setup);
  caller.say(HELLO);
  if (window >= 0) caller.say(settings([SETTING.initialWindowSize, window]));
  caller.hear();
  return caller;
}

const BYTES = Buffer.alloc(251 * 1000, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));

function body(length: number): Buffer {
  return BYTES.subarray(0, length);
}

function dataOf(frames: readonly Frame[], stream: number): Buffer {
  const own = frames.filter(({ type, stream: id }) => type === FRAME.data && id === stream);
  return Buffer.concat(own.map(({ payload }) => payload));
}

function isEnded(frames: readonly Frame[], stream: number): boolean {
  return frames.some(({ type, flags, stream: id }) => type === FRAME.headers && id === stream && (flags & FLAG.endStream) !== 0);
}

const silent = (): void => undefined;

test('what waited because much was on its way goes out when that was taken, also if the socket was never full', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(8000)), waitingMax: () => 20_000 });
  caller.line.isTaking = false;
  caller.say(call(1));
  caller.hear();
  t.is(caller.line.writableLength > 8000 && caller.line.writableLength < 16_384, true);
  // Together with what is not given to the socket yet this is too much, and it is listened to no more.
  caller.say(call(3), call(5), call(7), call(9));
  t.true(caller.line.isPaused);
  caller.line.take();
  const frames = [...caller.hear(), ...caller.hear(), ...caller.hear()];
  for (const id of [3, 5, 7, 9]) t.true(isEnded(frames, id), String(id));
  t.false(caller.line.isPaused);
});

test('a small message that waits does not keep something far larger that it lies in', (t) => {
  for (const length of [1, 100, 8192]) {
    const large = Buffer.alloc(1_000_000, 1);
    const caller = greeted({ onEnd: (one) => one.answer(large.subarray(500, 500 + length)) }, 0);
    caller.say(call(1));
    caller.hear();
    // Whoever holds the same memory would see this.
    large.fill(2);
    caller.say(windowUpdate(1, 60_000));
    t.deepEqual(dataOf([...caller.hear(), ...caller.hear()], 1), message(Buffer.alloc(length, 1)));
  }
});

test('with a window of 0 the head of an answer is sent, and its messages when the window opens', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(10)) }, 0);
  caller.say(call(1));
  t.deepEqual(caller.hear().map(({ type }) => type), [FRAME.headers]);
  t.is(caller.waits, 1);
  caller.say(windowUpdate(1, 15));
  const frames = caller.hear();
  t.deepEqual(dataOf(frames, 1), message(body(10)));
  t.true(isEnded(frames, 1));
});

test('with a window of 1 an answer goes out a byte at a time, and ends with the last', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(10)) }, 1);
  caller.say(call(1));
  for (let i = 0; i < 14; i++) {
    t.false(isEnded(caller.hear(), 1));
    caller.say(windowUpdate(1, 1));
  }
  t.true(isEnded(caller.hear(), 1));
  t.deepEqual(dataOf(caller.heard, 1), message(body(10)));
});

test('an answer without bytes needs no more than its five, and an answer without messages needs none', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer() }, 5);
  caller.say(call(1));
  t.true(isEnded(caller.hear(), 1));
  const closed = greeted({ onEnd: (one) => one.connection.sending.end(one.stream, 5, 'nothing') }, 0);
  closed.say(call(1));
  t.true(isEnded(closed.hear(), 1));
  // The same when it had to wait.
  const opened = greeted({ onEnd: (one) => one.answer() }, 0);
  opened.say(call(1), windowUpdate(1, 5));
  t.true(isEnded(opened.hear(), 1));
});

test('settings change the windows of streams that wait, also below zero, and it is acknowledged first', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(300)) }, 100);
  caller.say(call(1));
  t.is(dataOf(caller.hear(), 1).length, 100);
  caller.say(settings([SETTING.initialWindowSize, 40]), windowUpdate(1, 50));
  t.is(dataOf(caller.hear(), 1).length, 0);
  t.is(caller.call(1).stream.window, -10);
  caller.say(windowUpdate(1, 11));
  t.is(dataOf(caller.hear(), 1).length, 1);
  caller.say(settings([SETTING.initialWindowSize, 1000], [SETTING.headerTableSize, 0]));
  const frames = caller.hear();
  t.deepEqual([frames[0]?.type, frames[0]?.flags], [FRAME.settings, FLAG.ack]);
  t.deepEqual(dataOf(caller.heard, 1), message(body(300)));
});

test('of several values in one frame of settings the last one counts', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(300)) }, 0);
  caller.say(call(1), settings([SETTING.initialWindowSize, 100], [SETTING.initialWindowSize, 1]));
  t.is(dataOf(caller.hear(), 1).length, 1);
});

test('the window of the connection bounds all streams, and settings do not change it', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(50_000)) });
  caller.say(call(1), call(3), settings([SETTING.initialWindowSize, 1_000_000]));
  const frames = caller.hear();
  t.is(dataOf(frames, 1).length + dataOf(frames, 3).length, 65_535);
  caller.say(windowUpdate(0, 34_475));
  t.true(isEnded(caller.hear(), 3));
  t.true(isEnded(caller.heard, 1));
});

test('a frame is as long as agreed on, and a larger one that the caller would take is not made', (t) => {
  for (const size of [16_384, 100_000]) {
    const caller = greeted({ onEnd: (one) => one.answer(body(60_000)) });
    caller.say(settings([SETTING.maxFrameSize, size]), call(1));
    t.true(caller.hear().every(({ payload }) => payload.length <= 16_384));
    t.deepEqual(dataOf(caller.heard, 1), message(body(60_000)));
  }
});

test('messages that wait are sent together, in as few frames as they fit in', (t) => {
  const caller = greeted({ onEnd: silent }, 0);
  caller.say(headers(1));
  const { stream } = caller.call(1);
  for (let i = 0; i < 1000; i++) caller.connection.sending.send(stream, Buffer.from([i % 256]));
  caller.hear();
  caller.say(settings([SETTING.initialWindowSize, 6000]));
  t.is(caller.hear().filter(({ type }) => type === FRAME.data).length, 1);
  t.deepEqual(dataOf(caller.heard, 1), Buffer.concat(Array.from({ length: 1000 }, (_, i) => message(Buffer.from([i % 256])))));
  t.is(caller.call(1).taken, 1);
  t.is(stream.waitingBytes, 0);
});

test('streams that wait for the connection get their turn one after the other, a frame each, however little it opens', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(200_000)) }, 1_000_000);
  const streams = [1, 3, 5, 7];
  for (const id of streams) caller.say(call(id));
  caller.hear();
  for (let i = 0; i < 8; i++) caller.say(windowUpdate(0, 1000));
  const sent = streams.map((id) => dataOf(caller.hear().concat(caller.heard), id).length);
  const all = caller.heard.filter(({ type }) => type === FRAME.data).slice(-8).map(({ stream }) => stream);
  for (const id of streams) t.is(all.filter((one) => one === id).length, 2, `${id}: ${all.join()} ${sent.join()}`);
});

test('a stream whose own window is closed does not hold up the others', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(1000)) }, 0);
  caller.say(call(1), call(3), call(5), windowUpdate(3, 2000));
  t.true(isEnded(caller.hear(), 3));
  t.is(dataOf(caller.heard, 1).length + dataOf(caller.heard, 5).length, 0);
});

test('an answer that waits is let go of when its caller leaves, and its place goes to the others', (t) => {
  const caller = greeted({ onEnd: (one) => one.answer(body(100_000)) }, 1_000_000);
  caller.say(call(1), call(3));
  caller.hear();
  caller.say(reset(1), windowUpdate(0, 200_000));
  t.false(isEnded(caller.hear(), 1));
  t.true(isEnded(caller.heard, 3));
  t.is(caller.call(1).stream.waitingBytes, 0);
});

/** Says what the windows allow, as section 6.9 adds it up. */
class Model {
  connection = 65_535;
  initial = 65_535;
  readonly streams = new Map<number, number>();

  onSent(frames: readonly Frame[]): string[] {
    const faults: string[] = [];
    for (const { type, stream, payload } of frames) {
      if (type !== FRAME.data) continue;
      const left = (this.streams.get(stream) ?? 0) - payload.length;
      this.streams.set(stream, left);
      this.connection -= payload.length;
      // A window below zero by settings may not be drawn on at all.
      if (payload.length > 0 && (left < 0 || this.connection < 0)) faults.push(`${payload.length} bytes too many on ${stream}`);
    }
    return faults;
  }
}

test('no order of answers, windows, settings and resets makes it send more than it may, or less than it can', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const chance = new Prng(seed);
    const sizes = new Map<number, number>();
    const gone = new Set<number>();
    const caller = greeted({
      streamsMax: 1000,
      onEnd: (one) => {
        const size = chance.below([1, 20, 30_000, 200_000][chance.below(4)] ?? 1);
        sizes.set(one.stream.id, size + 5);
        one.answer(body(size));
      },
    });
    const model = new Model();
    let next = 1;
    const faults: string[] = [];
    for (let step = 0; step < 150; step++) {
      const id = 1 + 2 * chance.below(Math.max(1, (next - 1) / 2));
      const more = 1 + chance.below([3, 300, 70_000][chance.below(3)] ?? 1);
      const kind = chance.below(10);
      if (kind < 3) {
        model.streams.set(next, model.initial);
        caller.say(call(next));
        next += 2;
      } else if (kind < 6) {
        model.connection += more;
        caller.say(windowUpdate(0, more));
      } else if (kind < 8 && next > 1) {
        model.streams.set(id, (model.streams.get(id) ?? 0) + more);
        caller.say(windowUpdate(id, more));
      } else if (kind === 8) {
        const initial = chance.below(100_000);
        for (const [stream, window] of model.streams) model.streams.set(stream, window + initial - model.initial);
        model.initial = initial;
        caller.say(settings([SETTING.initialWindowSize, initial]));
      } else if (next > 1 && chance.below(3) === 0) {
        gone.add(id);
        caller.say(reset(id));
      }
      faults.push(...model.onSent(caller.hear()));
    }
    t.deepEqual(faults, []);
    caller.clock.pass(20_000);
    caller.say(windowUpdate(0, 2 ** 29), settings([SETTING.initialWindowSize, 2 ** 28]));
    caller.hear();
    const sentOn = new Map<number, number>();
    for (const { type, stream, payload } of caller.heard) {
      if (type === FRAME.data) sentOn.set(stream, (sentOn.get(stream) ?? 0) + payload.length);
    }
    for (const [id, size] of sizes) {
      const sent = sentOn.get(id) ?? 0;
      if (gone.has(id) && !isEnded(caller.heard, id)) t.true(sent < size);
      else t.deepEqual([sent, isEnded(caller.heard, id)], [size, true]);
    }
    t.true(sizes.size > 10);
    t.is(caller.connection.streams, 0);
  }
});

// The other way

test('a caller hears that his bytes were taken before he has to stop', (t) => {
  const caller = greeted({ onEnd: silent });
  caller.say(headers(1));
  let stream = STREAM_WINDOW_BYTES;
  let connection = CONNECTION_WINDOW_BYTES;
  // Of more than both windows together; in whole messages, which are given on.
  for (let i = 0; i < 1500; i++) {
    caller.say(data(1, 0, message(Buffer.alloc(16_375))));
    stream -= 16_380;
    connection -= 16_380;
    for (const { type, stream: id, payload } of caller.hear()) {
      if (type !== FRAME.windowUpdate) continue;
      if (id === 0) connection += payload.readUInt32BE(0);
      else stream += payload.readUInt32BE(0);
    }
    if (stream < 16_380 || connection < 16_380) return t.fail(`stopped at ${i}`);
  }
  t.true(stream <= STREAM_WINDOW_BYTES && connection <= CONNECTION_WINDOW_BYTES);
});

test('a byte beyond the window of a stream resets it, padding counted, and one beyond that of the connection ends it', (t) => {
  const caller = greeted({ onEnd: silent, onCall: (one) => void (one.stream.isPaused = true) });
  caller.say(headers(1));
  for (let i = 0; i < 16; i++) caller.say(data(1, 0, Buffer.alloc(16_384)));
  t.deepEqual(caller.hear(), []);
  caller.say(data(1, FLAG.padded, Buffer.from([0])));
  const [frame] = caller.hear();
  t.deepEqual([frame?.type, frame?.payload.readUInt32BE(0)], [FRAME.rstStream, CODE.flowControl]);
  t.false(caller.connection.isClosed);
});

test('a stream whose user takes no more is given no more, and goes on when he does', (t) => {
  const caller = greeted({ onEnd: silent, onCall: (one) => void (one.stream.isPaused = true) });
  caller.say(headers(1));
  for (let i = 0; i < 10; i++) caller.say(data(1, 0, Buffer.alloc(16_384)));
  t.deepEqual(caller.hear(), []);
  caller.connection.resume(caller.call(1).stream);
  t.deepEqual(caller.hear().map(({ type, payload }) => [type, payload.readUInt32BE(0)]), [[FRAME.windowUpdate, 163_840]]);
});

test('bytes for streams that have ended count for the connection, so that it never runs dry', (t) => {
  const caller = greeted({ onEnd: silent });
  caller.say(headers(1), windowUpdate(1, 0));
  let given = 0;
  for (let i = 0; i < 2000; i++) {
    caller.say(data(1, 0, Buffer.alloc(16_384)));
    for (const { stream, payload } of caller.hear()) if (stream === 0) given += payload.readUInt32BE(0);
  }
  t.false(caller.connection.isClosed);
  t.true(given >= 2000 * 16_384 - CONNECTION_WINDOW_BYTES);
});

test('no more is given to the socket than it takes, whatever the windows allow, and the rest follows when it has', (t) => {
  const caller = greeted({ onEnd: silent }, 0);
  caller.say(headers(1), headers(3));
  for (const id of [1, 3]) caller.connection.sending.send(caller.call(id).stream, Buffer.alloc(5_000_000, id));
  caller.line.isTaking = false;
  caller.say(settings([SETTING.initialWindowSize, 2 ** 31 - 1]), windowUpdate(0, 2 ** 30));
  t.true(caller.line.writableLength > SOCKET_BYTES_MAX / 2 && caller.line.writableLength < SOCKET_BYTES_MAX + 20_000);
  t.true(caller.line.isPaused);
  // Half of it is not enough to go on.
  caller.connection.onDrain();
  t.true(caller.line.isPaused);
  for (let i = 0; i < 12; i++) {
    caller.line.take();
    caller.line.isTaking = false;
    caller.connection.onDrain();
    t.true(caller.line.writableLength < SOCKET_BYTES_MAX + 20_000);
  }
  caller.line.take();
  caller.hear();
  t.false(caller.line.isPaused);
  t.deepEqual([1, 3].map((id) => dataOf(caller.heard, id).length), [5_000_005, 5_000_005]);
});

test('where there are very many connections each leaves less with its socket', (t) => {
  const caller = greeted({ onEnd: silent, waitingMax: () => 100_000 }, 0);
  caller.say(headers(1));
  caller.connection.sending.send(caller.call(1).stream, Buffer.alloc(2_000_000, 1));
  caller.line.isTaking = false;
  caller.say(settings([SETTING.initialWindowSize, 2 ** 31 - 1]), windowUpdate(0, 2 ** 30));
  t.true(caller.line.writableLength > 50_000 && caller.line.writableLength < 120_000);
  caller.line.take();
  caller.connection.onDrain();
  caller.hear();
  t.is(dataOf(caller.heard, 1).length, 2_000_005);
});

test('messages in two parts arrive whole and in order through any windows, and what many share stays as it is', (t) => {
  const prng = new Prng(33);
  const rest = Buffer.from(body(9000));
  for (let round = 0; round < 40; round++) {
    const caller = greeted({ onEnd: silent }, prng.below(3) === 0 ? 0 : prng.below(30_000));
    const expected: Buffer[] = [];
    caller.say(call(1));
    const { stream } = caller.call(1);
    for (let i = 0; i < 20; i++) {
      const first = Buffer.from(body(prng.below(2) === 0 ? prng.below(50) : prng.below(10_000)));
      const second = rest.subarray(0, prng.below(3) === 0 ? 0 : prng.below(9000));
      caller.connection.sending.send(stream, first, second);
      expected.push(message(Buffer.concat([first, second])));
      caller.say(windowUpdate(1, 1 + prng.below(12_000)));
      caller.hear();
    }
    caller.say(windowUpdate(1, 1_000_000), windowUpdate(0, 1_000_000));
    caller.hear();
    t.true(dataOf(caller.heard, 1).equals(Buffer.concat(expected)), String(round));
  }
  t.true(rest.equals(body(9000)));
});

test('the place of an answer that waits is given back once, whether it was taken or its caller leaves', (t) => {
  const ends: readonly ((caller: Caller) => void)[] = [
    (caller) => caller.say(windowUpdate(1, 1000)), (caller) => caller.say(reset(1)), (caller) => caller.connection.lost(),
    (caller) => caller.connection.reset(caller.call(1).stream, CODE.cancel),
  ];
  for (const [i, end] of ends.entries()) {
    const caller = greeted({ onEnd: (one) => one.answer(body(100)) }, 0);
    let released = 0;
    caller.say(call(1));
    caller.call(1).stream.release = () => void (released += 1);
    end(caller);
    caller.connection.lost();
    t.is(released, 1, String(i));
  }
});

test('a message that would fit does not overtake one that waits for a socket that has room again and did not say so', (t) => {
  const caller = greeted({ onEnd: silent, waitingMax: () => 5000 });
  caller.line.isTaking = false;
  caller.say(call(1));
  const { stream } = caller.call(1);
  const { sending } = caller.connection;
  for (const length of [6000, 700]) sending.send(stream, body(length));
  t.true(stream.waitingBytes > 0);
  caller.connection.flush();
  caller.line.take();
  sending.send(stream, body(8));
  caller.connection.onDrain();
  t.true(dataOf(caller.hear(), 1).equals(Buffer.concat([6000, 700, 8].map((length) => message(body(length))))));
});

test('messages that wait count for what they cost to be kept, however small they are, until they are sent', (t) => {
  const caller = greeted({ onEnd: silent }, 0);
  caller.say(headers(1));
  const { stream } = caller.call(1);
  t.is(stream.waitingCost, 0);
  for (let i = 0; i < 300; i++) caller.connection.sending.send(stream, Buffer.from([1]));
  t.deepEqual([stream.waitingBytes, stream.waitingCost], [300 * 6, 300 * (6 + PIECE_OVERHEAD_BYTES)]);
  // All of ten, and a part of one.
  caller.say(windowUpdate(1, 63));
  t.is(stream.waitingCost, 1800 - 63 + 290 * PIECE_OVERHEAD_BYTES);
  caller.say(windowUpdate(1, 10_000));
  t.is(stream.waitingCost, 0);
});
