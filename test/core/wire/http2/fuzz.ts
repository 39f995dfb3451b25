// Bytes that nobody's client would send, at a `Connection` without a socket, drawn from one seed: valid conversations with a few
// bytes changed, random frames, cut anywhere, while calls are answered, ended and left open at random. It never throws, never
// writes behind its end, holds no more than it may, and has no call open when the line is lost. What is kept of it, because it
// once failed or comes where little else does, is in test/fuzz/http2-corpus.txt.

import { Prng } from '../../../../core/base/prng.js';
import { UNREAD_BYTES_MAX } from '../../../../core/wire/http2/limits.js';
import { FLAG, FRAME, SETTING } from '../../../../core/wire/http2/protocol.js';
import {
  block, call, Caller, continuation, data, frame, goaway, headers, HELLO, message, ping, priority, request, REQUEST, reset,
  settings, windowUpdate, type FakeCall, type Fields,
} from './kit.js';

function bytes(chance: Prng, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => chance.below(256)));
}

const ODD: readonly Fields[] = [
  [], request([':path']), request([], [['x', 'y']]), request([], [['content-length', '5']]), request([], [['te', 'gzip']]),
  [['X', '']],
];
const NUMBERS = [0, 1, 5, 100, 16_384, 65_535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

/** What an honest caller may say next; `next` is the stream that he opens then. */
function honest(chance: Prng, next: number): { bytes: Buffer; next: number } {
  const older = Math.max(1, next - 2 - 2 * chance.below(4));
  switch (chance.below(8)) {
    case 0:
      return { bytes: headers(next), next: next + 2 };
    case 1:
      return { bytes: Buffer.concat([headers(next), data(next, 0, Buffer.from([0, 0, 0]))]), next: next + 2 };
    case 2:
      return { bytes: frame(FRAME.headers, FLAG.endHeaders, next, block(REQUEST, 0x40)), next: next + 2 };
    case 3:
      return { bytes: settings([SETTING.initialWindowSize, chance.below(100_000)], [SETTING.headerTableSize, 100]), next };
    case 4:
      return { bytes: next === 1 ? windowUpdate(0, 9) : windowUpdate(older, 1 + chance.below(50_000)), next };
    case 5:
      return { bytes: windowUpdate(0, 1 + chance.below(50_000)), next };
    default:
      return { bytes: call(next, bytes(chance, chance.below(40))), next: next + 2 };
  }
}

function odd(chance: Prng): Buffer {
  const id = 1 + chance.below(12);
  const number = NUMBERS[chance.below(NUMBERS.length)] ?? 0;
  const flags = [0, FLAG.endStream, FLAG.endHeaders, FLAG.endHeaders | FLAG.endStream, 0x2d, 8][chance.below(6)] ?? 0;
  switch (chance.below(11)) {
    case 0:
      return headers(id, flags, ODD[chance.below(ODD.length)]);
    case 1:
      return data(id, flags, chance.below(2) === 0 ? message(bytes(chance, chance.below(50))) : bytes(chance, chance.below(300)));
    case 2:
      return settings([1 + chance.below(8), number]);
    case 3:
      return windowUpdate(chance.below(3) === 0 ? 0 : id, number);
    case 4:
      return reset(id, chance.below(20));
    case 5:
      return priority(id, chance.below(12));
    case 6:
      return continuation(id, flags, block([['a', 'b']]));
    case 7:
      return ping();
    case 8:
      return goaway();
    case 9:
      return frame(FRAME.headers, flags, id, bytes(chance, chance.below(60)));
    default:
      return frame(chance.below(12), chance.below(256), chance.below(4) === 0 ? 0 : id, bytes(chance, chance.below(40)));
  }
}

function conversation(chance: Prng): Buffer {
  const parts: Buffer[] = [HELLO];
  let stream = 1;
  for (let i = 2 + chance.below(20); i > 0; i--) {
    if (chance.below(15) === 0) parts.push(odd(chance));
    const said = honest(chance, stream);
    parts.push(said.bytes);
    stream = said.next;
  }
  return Buffer.concat(parts);
}

function mutated(chance: Prng, original: Buffer): Buffer {
  const result = Buffer.from(original);
  for (let i = chance.below(4); i > 0; i--) result[chance.below(result.length)] = chance.below(256);
  const cut = chance.below(result.length);
  return chance.below(6) === 0 ? Buffer.concat([result.subarray(0, cut), result.subarray(cut + chance.below(5))]) : result;
}

/** What a handler may do with his call at any time. */
function act(chance: Prng, one: FakeCall): void {
  const { connection, stream } = one;
  const answer = Buffer.alloc(chance.below([10, 70_000][chance.below(2)] ?? 1));
  switch (chance.below(7)) {
    case 0:
      return one.answer(answer);
    case 1:
      return connection.sending.send(stream, answer);
    case 2:
      return connection.sending.end(stream, chance.below(17), 'a text \u20ac %');
    case 3:
      stream.isPaused = true;
      return;
    case 4:
      return connection.resume(stream);
    case 5:
      one.onGone();
      return connection.reset(stream, 11);
    default:
      return connection.refuse(stream, 415);
  }
}

export interface Outcome {
  /** The connection did not end it. */
  readonly wasOpen: boolean;
  /** What must not be. */
  readonly faults: readonly string[];
  /** What the caller and the handlers met, each kind of thing once: by this a fuzzer knows that it has come somewhere new. */
  readonly met: ReadonlySet<string>;
}

/** What is said with this seed. */
export function sayings(seed: number): Buffer {
  const chance = new Prng(seed);
  const whole = conversation(chance);
  return chance.below(4) === 0 ? Buffer.concat([HELLO, mutated(chance, whole.subarray(HELLO.length))]) : whole;
}

/** The same with a few bytes changed, or with a few frames of somebody else's in between. */
export function varied(seed: number, said: Buffer): Buffer {
  const chance = new Prng(seed);
  if (chance.below(2) === 0) return mutated(chance, said);
  const cut = chance.below(said.length + 1);
  const between = chance.below(3) === 0 ? odd(chance) : honest(chance, 1 + 2 * chance.below(9)).bytes;
  return Buffer.concat([said.subarray(0, cut), between, said.subarray(cut)]);
}

export function converse(seed: number): Outcome {
  return play(seed, sayings(seed));
}

function metBy(caller: Caller): Set<string> {
  const met = new Set<string>();
  for (const { type, flags, stream, payload } of caller.heard) {
    const kind = `${type}.${flags}${stream === 0 ? '' : ' of a stream'}`;
    const text = payload.toString('latin1', 8).replace(/\d+/g, 'n');
    const why = type === FRAME.goaway ? `${payload.readUInt32BE(4)} ${text}` : '';
    const code = type === FRAME.rstStream ? payload.readUInt32BE(0) : '';
    met.add(`${kind} ${why}${code}`);
  }
  for (const { messages, ended, gone, tooLarge } of caller.calls) {
    met.add([Math.min(2, messages.length), ended, gone, tooLarge > 0].join());
  }
  return met;
}

/** `seed`: where what is said is cut, and what handlers and the line do meanwhile. */
export function play(seed: number, said: Buffer): Outcome {
  const chance = new Prng(seed);
  const setup = chance.below(3) === 0 ? { pingMinMs: null, streamsMax: 2 } : { streamsMax: 20 };
  const caller = new Caller({ ...setup, messageBytesMax: 10_000, onEnd: (one) => act(chance, one), onCall: (one) => {
    if (chance.below(4) === 0) act(chance, one);
  } });
  for (let at = 0; at < said.length; ) {
    const to = Math.min(said.length, at + 1 + chance.below(chance.below(2) === 0 ? 20 : 2000));
    caller.say(said.subarray(at, to));
    at = to;
    const one = caller.calls[chance.below(caller.calls.length + 1)];
    if (one !== undefined && !one.stream.isReset && chance.below(3) === 0) act(chance, one);
    caller.line.isTaking = chance.below(10) !== 0;
    if (chance.below(4) === 0) {
      caller.line.take();
      caller.connection.onDrain();
      caller.clock.pass(chance.below(100));
    }
  }
  caller.line.take();
  // Whole frames, whatever happened.
  caller.hear();
  const wasOpen = !caller.connection.isClosed;
  const open = caller.calls.filter(({ stream }) => !stream.isReset).length;
  const faults: string[] = [];
  if (caller.connection.streams !== open) faults.push(`${caller.connection.streams} streams are kept, ${open} are open`);
  caller.connection.lost();
  if (caller.line.wroteLate) faults.push('it wrote behind its end');
  if (caller.connection.streams > 0) faults.push('streams are kept');
  for (const { stream } of caller.calls) {
    if (!stream.isReset || stream.waitingBytes > 0) faults.push(`stream ${stream.id} is open`);
  }
  const { connection } = caller;
  for (const { stack, message: text } of caller.faults) faults.push(stack ?? text);
  if (caller.unread > 0) faults.push('whoever counts all connections was not told that nothing is held');
  if (!connection.hold(UNREAD_BYTES_MAX) || connection.hold(1)) faults.push('what was held is not what was given back');
  return { wasOpen, faults, met: metBy(caller) };
}
