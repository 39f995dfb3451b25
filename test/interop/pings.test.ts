// What becomes of callers who ping, in raw frames, at etcd and at coterie: gRPC's rule (--grpc-keepalive-min-time) sends away the
// same ones, with the same frames.

import { connect } from 'node:net';
import test from 'ava';
import { CODE, FLAG, FRAME } from '../../core/wire/http2/protocol.js';
import { data, framesSoFar, HELLO, message, opened, ping, type Frame } from '../core/wire/http2/kit.js';
import { startPair } from './pair.js';
import { isInstalled } from './real-etcd.js';

const RANGE = message(Buffer.from('0a0161', 'hex'));

function asked(stream: number): Buffer {
  return Buffer.concat([opened(stream, '/etcdserverpb.KV/Range'), data(stream, FLAG.endStream, RANGE)]);
}

/** What is said in one piece, until so many answers to it are there; `pause` waits a little. */
type Step = { readonly say: Buffer; readonly isAnswer: (frame: Frame) => boolean; readonly answers: number } | 'pause';

/** Pings are too early within a second of each other: those that shall be are sent together, on however busy a machine. */
function pings(count: number, behind: readonly Buffer[] = []): Step {
  const all = Array.from({ length: count }, () => ping());
  return { say: Buffer.concat([...behind, ...all]), isAnswer: isPong, answers: count };
}

function isPong({ type, flags }: Frame): boolean {
  return type === FRAME.ping && (flags & FLAG.ack) !== 0;
}

const answered = (stream: number): Step => ({
  say: asked(stream),
  isAnswer: (heard) => heard.stream === stream && heard.type === FRAME.headers && (heard.flags & FLAG.endStream) !== 0,
  answers: 1,
});
const WATCH = [opened(1, '/etcdserverpb.Watch/Watch')];
const slowly = (count: number): Step[] => Array.from({ length: count }, (): Step[] => [pings(1), 'pause']).flat();

const STORIES: Readonly<Record<string, readonly Step[]>> = {
  'three pings without a call': [pings(3)],
  'four pings without a call': [pings(4)],
  'four pings without a call, none too early if there were one': slowly(4),
  'four pings on an open watch': [pings(4, WATCH)],
  'five pings on an open watch, none too early': [pings(1, WATCH), 'pause', ...slowly(4)],
  'pings between answers': Array.from({ length: 6 }, (_, i) => [answered(2 * i + 1), pings(1)]).flat(),
  'three pings behind an answer': [answered(1), pings(3)],
  'four pings behind an answer': [answered(1), pings(4)],
};
/** Behind every story: who is not sent away is answered. */
const LAST = answered(101);

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
  for (const step of [...steps, LAST]) {
    if (isClosed) break;
    if (step === 'pause') {
      await sleep(MIN_MS + 50);
      continue;
    }
    const count = (): number => framesSoFar(bytes).filter(step.isAnswer).length;
    const enough = count() + step.answers;
    socket.write(step.say);
    while (!isClosed && count() < enough) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  socket.destroy();
  // etcd greets with pings of its own, which are left unanswered.
  const frames = framesSoFar(bytes);
  const away = frames.find(({ type }) => type === FRAME.goaway);
  const why = away === undefined ? 'stays' : `${away.payload.readUInt32BE(4)} ${away.payload.toString('latin1', 8)}`;
  return `${frames.filter(isPong).length} answered, ${why}`;
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
