// What a connection holds for its calls: every byte that waits is counted, and given back when it does not wait any more.

import { gzipSync } from 'node:zlib';
import test from 'ava';
import type { ApiError } from '../../../../core/errors.js';
import { tellWhenAborted, type CallContext, type Method } from '../../../../core/wire/call.js';
import { Deadlines } from '../../../../core/wire/http2/deadlines.js';
import { PIECE_OVERHEAD_BYTES, UNPACKED_AT_ONCE_BYTES, UNREAD_BYTES_MAX } from '../../../../core/wire/http2/limits.js';
import { FLAG, FRAME, SETTING } from '../../../../core/wire/http2/protocol.js';
import { Requests } from '../../../../core/wire/http2/requests.js';
import { ServedCall } from '../../../../core/wire/http2/served-call.js';
import { SEND_BUFFER_BYTES, STREAM_REQUESTS_MAX } from '../../../../core/wire/limits.js';
import { OpenCalls } from '../../../../core/wire/open-calls.js';
import { fakeCall } from '../fake-call.js';
import { Caller, data, headers, HELLO, message, request, reset, settings, windowUpdate } from './kit.js';

const MESSAGE_BYTES_MAX = 2_000_000;

function serving(method: Method, timeout: number | null = null, began: (call: ServedCall) => void = () => undefined): Caller {
  const caller: Caller = new Caller({
    streamsMax: 1000,
    onCall: ({ stream, connection }) => {
      const served = new ServedCall(method, stream, connection, 'somebody', 0, {
        calls: new OpenCalls(() => undefined, caller.clock), deadlines: new Deadlines(caller.clock),
        messageBytesMax: MESSAGE_BYTES_MAX, streamFields: new Uint8Array(0), nameOf: null,
      });
      stream.attach(served, MESSAGE_BYTES_MAX);
      served.begin(timeout);
      began(served);
    },
  });
  caller.say(HELLO);
  caller.hear();
  return caller;
}

const ECHO: Method = { kind: 'unary', service: 'a', name: 'B', handle: (request) => Promise.resolve(request) };

function holdsNothing(caller: Caller): boolean {
  const { connection } = caller;
  return connection.hold(UNREAD_BYTES_MAX) && !connection.hold(1);
}

function inFrames(stream: number, bytes: Buffer): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 16_384) frames.push(data(stream, 0, bytes.subarray(at, at + 16_384)));
  return Buffer.concat(frames);
}

test('whole messages of plain calls count until their callers have said all, and are bounded', (t) => {
  const caller = serving(ECHO);
  const whole = message(Buffer.alloc(1_900_000));
  let refused = 0;
  for (let i = 0; i < 50; i++) {
    caller.say(headers(2 * i + 1), inFrames(2 * i + 1, whole));
    refused += caller.hear().filter(({ type, flags }) => type === FRAME.headers && (flags & FLAG.endStream) !== 0).length;
  }
  t.true(refused >= 50 - UNREAD_BYTES_MAX / 1_900_000 && refused < 20, String(refused));
  for (const { stream } of caller.calls) if (!stream.isReset) caller.say(reset(stream.id));
  t.true(holdsNothing(caller));
});

test('a plain call that was answered holds nothing', async (t) => {
  const caller = serving(ECHO);
  for (let i = 0; i < 10; i++) caller.say(headers(2 * i + 1), data(2 * i + 1, FLAG.endStream, message(Buffer.alloc(1000))));
  await new Promise(setImmediate);
  t.is(caller.hear().filter(({ type, flags }) => type === FRAME.headers && (flags & FLAG.endStream) !== 0).length, 10);
  t.true(holdsNothing(caller));
});

test('messages that their handler does not take stop the caller, and are counted even if they are empty', (t) => {
  const caller = serving({ kind: 'stream', service: 'a', name: 'B', handle: () => new Promise(() => undefined) });
  const empty = Buffer.concat(Array.from({ length: 3000 }, () => message()));
  let refused = 0;
  for (let i = 0; i < 60; i++) {
    caller.say(headers(2 * i + 1));
    for (let k = 0; k < 5; k++) caller.say(data(2 * i + 1, 0, empty));
    t.true(caller.call(2 * i + 1).stream.isPaused);
    const frames = caller.hear();
    t.false(frames.some(({ type, stream }) => type === FRAME.windowUpdate && stream > 0));
    refused += frames.filter(({ type, flags }) => type === FRAME.headers && (flags & FLAG.endStream) !== 0).length;
  }
  t.true(refused > 20, String(refused));
  for (const { stream } of caller.calls) if (!stream.isReset) caller.say(reset(stream.id));
  t.true(holdsNothing(caller));
});

test('a caller hears that he may go on when few messages wait, not when one was taken of many', async (t) => {
  const taken: number[] = [];
  let go: () => void = () => undefined;
  const caller = serving({
    kind: 'stream', service: 'a', name: 'B',
    handle: async (requests) => {
      for await (const request of requests) {
        taken.push(request.length);
        await new Promise<void>((resolve) => {
          go = resolve;
        });
      }
    },
  });
  caller.say(headers(1));
  await new Promise(setImmediate);
  caller.say(inFrames(1, Buffer.concat(Array.from({ length: 40 }, () => message(Buffer.alloc(4000))))));
  const heard: number[] = [];
  while (taken.length < 40) {
    if (caller.hear().some(({ type, stream }) => type === FRAME.windowUpdate && stream === 1)) heard.push(taken.length);
    go();
    await new Promise(setImmediate);
  }
  t.deepEqual(heard, [40 - STREAM_REQUESTS_MAX + 1]);
  caller.say(reset(1));
  go();
  t.true(holdsNothing(caller));
});

test('messages that wait may be taken together, each counted once', async (t) => {
  const given: number[] = [];
  const requests = new Requests((bytes) => void given.push(bytes));
  const lengths = (messages: readonly Uint8Array[]): number[] => messages.map((each) => each.length);
  const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  t.deepEqual(requests.takeWaiting(5), []);
  for (let i = 1; i <= 600; i++) requests.push(new Uint8Array(i));
  const first = await requests.next();
  t.is(first.done === true ? -1 : first.value.length, 1);
  t.deepEqual(lengths(requests.takeWaiting(299)), numbers(2, 300));
  t.true(requests.isFull);
  t.deepEqual(lengths(requests.takeWaiting(1000)), numbers(301, 600));
  t.false(requests.isFull);
  t.deepEqual(requests.takeWaiting(1000), []);
  t.deepEqual(given, numbers(1, 600));
  requests.push(new Uint8Array(601));
  requests.end();
  t.deepEqual(lengths(requests.takeWaiting(1)), [601]);
  t.deepEqual(await requests.next(), { done: true, value: undefined });
});

test('messages come in order, and those that wait are given back when nobody takes them any more', async (t) => {
  const given: number[] = [];
  const requests = new Requests((bytes) => void given.push(bytes));
  for (let i = 1; i <= 600; i++) requests.push(new Uint8Array(i));
  t.true(requests.isFull);
  const taken: number[] = [];
  while (taken.length < 590) {
    const next = await requests.next();
    taken.push(next.done === true ? -1 : next.value.length);
  }
  t.deepEqual(taken, Array.from({ length: 590 }, (_, i) => i + 1));
  t.false(requests.isFull);
  given.length = 0;
  requests.abort();
  t.deepEqual(given, [591, 592, 593, 594, 595, 596, 597, 598, 599, 600]);
  requests.push(new Uint8Array(7));
  t.is(given.at(-1), 7);
  t.deepEqual(await requests.next(), { done: true, value: undefined });
});

test('a small message that waits does not keep what it came with', async (t) => {
  const requests = new Requests(() => undefined);
  requests.push(Buffer.alloc(65_536, 'x').subarray(5, 10));
  for await (const { length, buffer } of requests) {
    t.deepEqual([length, buffer.byteLength], [5, 5]);
    break;
  }
});

test('a small message that is kept does not keep all that it came with', async (t) => {
  const filler = Buffer.alloc(60_000);
  const handled: Uint8Array[] = [];
  const chunkOf = (id: number, flags: number): Buffer => Buffer.concat([
    headers(id), data(id, flags, message(Buffer.from('small'))), headers(id + 2), inFrames(id + 2, filler),
  ]);
  const wait = (request: Uint8Array): Promise<Uint8Array> => {
    handled.push(request);
    return new Promise(() => undefined);
  };
  const methods: readonly (readonly [method: Method, isKept: boolean])[] = [
    [{ kind: 'unary', service: 'a', name: 'Lock', waits: true, handle: wait }, true],
    [{ kind: 'unary', service: 'a', name: 'Get', handle: wait }, false],
    [{
      kind: 'stream', service: 'a', name: 'Watch',
      handle: async (requests) => {
        for await (const request of requests) handled.push(request);
      },
    }, true],
  ];
  for (const [method, isKept] of methods) {
    const caller = serving(method);
    caller.say(chunkOf(1, FLAG.endStream));
    await new Promise(setImmediate);
    caller.say(chunkOf(5, 0), data(5, FLAG.endStream, Buffer.alloc(0)));
    await new Promise(setImmediate);
    const sizes = handled.splice(0).filter((one) => Buffer.from(one).toString() === 'small').map((one) => one.buffer.byteLength);
    t.is(sizes.length, 2);
    t.is((sizes[0] ?? 0) < 60_000, isKept, method.name);
    t.true((sizes[1] ?? 0) < 60_000, 'who has not said all waits in any case');
  }
});

test('however a call ends before its deadline, nothing stays scheduled for it', async (t) => {
  const ends: readonly (readonly [bytes: Buffer, method: Method])[] = [
    [data(1, FLAG.endStream, message()), ECHO],
    [data(1, FLAG.endStream, message()), { ...ECHO, handle: () => Promise.reject(new Error('no')) }],
    [data(1, 0, Buffer.concat([message(), message()])), ECHO],
    [reset(1), ECHO],
    [data(1, FLAG.endStream, message()), { kind: 'stream', service: 'a', name: 'B', handle: () => Promise.resolve() }],
  ];
  for (const [i, [bytes, method]] of ends.entries()) {
    const caller = serving(method, 60_000);
    caller.say(headers(1));
    caller.hear();
    t.is(caller.clock.scheduled, 1);
    caller.say(bytes);
    await new Promise(setImmediate);
    for (let k = 0; k < 3; k++) caller.clock.pass(20);
    t.is(caller.clock.scheduled, 0, String(i));
  }
});

/** All that a call tells of its end. */
function ears(told: string[], name: string): (why: ApiError | null) => void {
  return (why) => void told.push(`${name} ${why === null ? 'gone' : why.code}`);
}

test('who waits for the end of a call by a call is told once, and of what the signal says', (t) => {
  const ends: readonly (readonly [why: string, end: (caller: Caller, served: ServedCall) => void])[] = [
    ['gone', (caller) => caller.say(reset(1))],
    ['gone', (caller) => caller.connection.lost()],
    ['gone', (caller) => [60_000, 1000].forEach((ms) => caller.clock.pass(ms))],
    ['stopped', (_caller, served) => served.stop()],
  ];
  for (const [why, end] of ends) {
    const told: string[] = [];
    const open: { call: CallContext; served: ServedCall | null } = { call: fakeCall(), served: null };
    const handle = (_requests: unknown, call: CallContext): Promise<void> => {
      open.call = call;
      return new Promise(() => undefined);
    };
    const method: Method = { kind: 'stream', service: 'a', name: 'B', handle };
    const caller = serving(method, 60_000, (served) => (open.served = served));
    caller.say(headers(1));
    for (const name of ['a', 'b', 'c']) open.call.whenOver(ears(told, name));
    tellWhenAborted(open.call.signal, ears(told, 'signal'));
    t.deepEqual(told, []);
    if (open.served === null) return t.fail('it has not begun');
    end(caller, open.served);
    t.deepEqual(told.splice(0).toSorted(), [`a ${why}`, `b ${why}`, `c ${why}`, `signal ${why}`]);
    open.call.whenOver(ears(told, 'late'));
    tellWhenAborted(open.call.signal, ears(told, 'late signal'));
    t.deepEqual(told.splice(0), [`late ${why}`, `late signal ${why}`]);
    caller.connection.lost();
    t.deepEqual(told, []);
  }
});

test('a handler waits for a caller who does not take its messages, by what they cost to be kept', async (t) => {
  let sent = 0;
  const caller = serving({
    kind: 'stream', service: 'a', name: 'B',
    handle: async (_requests, _call, send) => {
      for (; sent < 5000; sent++) await send(Buffer.from([1]));
    },
  });
  caller.say(settings([SETTING.initialWindowSize, 0]), headers(1));
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  t.is(sent + 1, Math.ceil(SEND_BUFFER_BYTES / (6 + PIECE_OVERHEAD_BYTES)));
  caller.say(windowUpdate(1, 100_000));
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  t.is(sent, 5000);
});

test('SD4: messages that unpack to very many bytes are not all unpacked in one go', async (t) => {
  const broken = Uint8Array.from(gzipSync(Buffer.alloc(MESSAGE_BYTES_MAX)));
  broken.fill(1, -8);
  const wholes = [gzipSync(Buffer.alloc(MESSAGE_BYTES_MAX)), gzipSync(Buffer.alloc(MESSAGE_BYTES_MAX + 1)), broken];
  const atOnce = Math.ceil(UNPACKED_AT_ONCE_BYTES / MESSAGE_BYTES_MAX);
  for (const [whole, isOneByOne] of wholes.flatMap((each) => [[each, false], [each, true]] as const)) {
    const caller = serving({ ...ECHO, handle: () => Promise.resolve(new Uint8Array(0)) });
    const packed = message(whole, 1);
    const heads = request([], [['grpc-encoding', 'gzip']]);
    const calls = Array.from({ length: 12 }, (_, i) => [
      headers(2 * i + 1, FLAG.endHeaders, heads), data(2 * i + 1, FLAG.endStream, packed),
    ]);
    // As records of TLS come: each by itself, as long as they are taken.
    const left = isOneByOne ? calls : [calls.flat()];
    for (let turn = 1; turn <= 12 / atOnce; turn++) {
      while (!caller.line.isPaused && left.length > 0) caller.say(...left.shift() ?? []);
      t.is(caller.calls.length, turn * atOnce);
      t.true(caller.line.isPaused);
      caller.clock.pass(0);
    }
    t.is(caller.calls.length, 12);
    t.false(caller.line.isPaused);
    await new Promise(setImmediate);
    t.is(caller.connection.streams, 0);
  }
});
