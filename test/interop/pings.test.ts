// What becomes of callers who ping, in raw frames, at etcd and at coterie: gRPC's rule (--grpc-keepalive-min-time) sends away the
// same ones, with the same frames.

import { connect } from 'node:net';
import test from 'ava';
import { CODE, FLAG, FRAME } from '../../core/wire/http2/protocol.js';
import { data, framesIn, headers, HELLO, message, ping, REQUEST, type Frame } from '../core/wire/http2/kit.js';
import { startPair } from './pair.js';
import { isInstalled } from './real-etcd.js';

const RANGE = message(Buffer.from('0a0161', 'hex'));

function opened(stream: number, path: string): Buffer {
  return headers(stream, FLAG.endHeaders, REQUEST.map(([name, value]) => (name === ':path' ? [name, path] : [name, value])));
}

function asked(stream: number): Buffer {
  return Buffer.concat([opened(stream, '/etcdserverpb.KV/Range'), data(stream, FLAG.endStream, RANGE)]);
}

/** What is said step by step, each when the answers to the one before are there; `pause` waits a little. */
type Step = { readonly say: Buffer; readonly until: (frame: Frame) => boolean } | 'pause';

const PING: Step = { say: ping(), until: ({ type, flags }) => type === FRAME.ping && (flags & FLAG.ack) !== 0 };
const pings = (count: number): Step[] => Array.from({ length: count }, () => PING);
const answered = (stream: number): Step => ({
  say: asked(stream),
  until: (heard) => heard.stream === stream && heard.type === FRAME.headers && (heard.flags & FLAG.endStream) !== 0,
});
const watching: Step = { say: Buffer.concat([opened(1, '/etcdserverpb.Watch/Watch'), ping()]), until: PING.until };

const STORIES: Readonly<Record<string, readonly Step[]>> = {
  'three pings without a call': pings(3),
  'four pings without a call': pings(4),
  'four pings without a call, none too early if there were one': pings(4).flatMap((one) => [one, 'pause']),
  'four more pings on an open watch': [watching, ...pings(3)],
  'five pings on an open watch, none too early': [watching, 'pause', ...pings(4).flatMap((one): Step[] => [one, 'pause'])],
  'pings between answers': Array.from({ length: 6 }, (_, i) => [answered(2 * i + 1), PING]).flat(),
  'three pings behind an answer': [answered(1), ...pings(3)],
  'four pings behind an answer': [answered(1), ...pings(4)],
};

/** How it ended, and how many pings were answered. */
async function told(url: string, steps: readonly Step[]): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let bytes = Buffer.alloc(0);
  let isClosed = false;
  let wake = (): void => undefined;
  socket.on('error', () => undefined).on('close', () => {
    isClosed = true;
    wake();
  }).on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    wake();
  });
  socket.write(HELLO);
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  for (const step of steps) {
    if (isClosed) break;
    if (step === 'pause') {
      await sleep(MIN_MS + 50);
      continue;
    }
    const before = heardIn(bytes).filter(step.until).length;
    socket.write(step.say);
    while (!isClosed && heardIn(bytes).filter(step.until).length === before) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  // Whoever sends away does so at once, behind the answer.
  await sleep(100);
  socket.destroy();
  const frames = heardIn(bytes);
  const away = frames.find(({ type }) => type === FRAME.goaway);
  const why = away === undefined ? 'stays' : `${away.payload.readUInt32BE(4)} ${away.payload.toString('latin1', 8)}`;
  return `${frames.filter((heard) => heard.type === FRAME.ping && (heard.flags & FLAG.ack) !== 0).length} answered, ${why}`;
}

/** The whole ones. etcd greets with pings of its own, which are left unanswered. */
function heardIn(bytes: Buffer): Frame[] {
  let end = 0;
  while (end + 9 <= bytes.length && end + 9 + bytes.readUIntBE(end, 3) <= bytes.length) end += 9 + bytes.readUIntBE(end, 3);
  return framesIn(bytes.subarray(0, end));
}

const MIN_MS = 1000;
const AWAY = `${CODE.enhanceYourCalm} too_many_pings`;

test('etcd and coterie send away the same callers who ping, and no other', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) {
    t.pass();
    return;
  }
  const pair = await startPair({
    flags: ['--grpc-keepalive-min-time', '1s'],
    // The library's server answers all of them.
    serve: { grpcServer: 'own', connection: { streamsMax: 100, pingEveryMs: 60_000, pingTimeoutMs: 60_000, pingMinMs: MIN_MS } },
  });
  t.teardown(() => pair.close());
  const [etcd, ours] = await Promise.all(pair.sides.map(async ({ url }) => {
    const ends = Object.entries(STORIES).map(async ([name, steps]) => [name, await told(url, steps)] as const);
    return Object.fromEntries(await Promise.all(ends));
  }));
  t.deepEqual(ours, etcd);
  t.is(ours?.['four pings without a call'], `4 answered, ${AWAY}`);
  t.is(ours?.['five pings on an open watch, none too early'], '5 answered, stays');
});
