// The load generator as the bench runs it, in its own process, against a server of Node's own HTTP/2 that keeps its hands open:
// what it sends, what it takes for good, and that a server which stands still is charged with everybody who was due meanwhile.

import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { generate, generatorFault, type Job } from './generator.js';
import type { Quantiles } from './histogram.js';
import { LoadLoop } from './load-loop.js';
import { framed, KEY, PATH, putMessage, VALUE_BYTES } from './messages.js';

interface Served {
  readonly job: Job;
  readonly bodies: Buffer[];
  readonly paths: Set<string>;
}

type Answer = (stream: ServerHttp2Stream, nth: number) => void;

const message = framed(Buffer.alloc(300, 'a'));

function good(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(message);
}

function refused(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '14' }, { endStream: true });
}

async function against(answer: Answer, use: (served: Served) => Promise<void>): Promise<void> {
  const bodies: Buffer[] = [];
  const paths = new Set<string>();
  let nth = 0;
  const server: Http2Server = createServer();
  server.on('stream', (stream, headers) => {
    paths.add([':method', ':path', 'content-type', 'te'].map((name) => String(headers[name])).join(' '));
    const parts: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => parts.push(bytes));
    stream.on('end', () => {
      bodies.push(Buffer.concat(parts));
      answer(stream, nth++);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await use({
      bodies, paths,
      job: {
        url, path: PATH.put, connections: 2, pacing: { kind: 'closed', depth: 3 },
        requests: { kind: 'same', base64: putMessage(KEY).toString('base64') }, warmUpSeconds: 0, seconds: 0.3,
      },
    });
  } finally {
    server.close();
  }
}

function sane(t: ExecutionContext, { p50, p99, max }: Quantiles): void {
  t.true(p50 > 0 && p50 <= p99 && p99 <= max, `${p50} ${p99} ${max}`);
}

test('a closed loop sends the request again and again, and counts answers, bytes and the server\'s processor time', async (t) => {
  await against(good, async ({ job, bodies, paths }) => {
    let asked = 0;
    const result = await generate(job, () => 1_000 * asked++);
    t.true(result.answers > 0 && result.answers <= bodies.length);
    t.deepEqual([...paths], [`POST ${PATH.put} application/grpc trailers`]);
    t.deepEqual(bodies.find((body) => !body.equals(framed(putMessage(KEY)))), undefined);
    t.true(result.bodyBytes > message.length && result.bodyBytes % message.length === 0);
    t.is(result.cpuMicros, 1_000 / result.answers);
    t.is(result.late, null);
    sane(t, result.latency);
  });
});

test('an answer without a message is an error, not a fast answer', async (t) => {
  await against((stream, nth) => (nth === 3 ? refused(stream) : good(stream)), async ({ job }) => {
    await t.throwsAsync(generate(job, () => 0), { message: /^1 of \d+ answers brought no message$/ });
  });
});

test('a server that hangs up ends the load with the reason', async (t) => {
  await against((stream, nth) => (nth === 3 ? stream.session?.destroy() : good(stream)), async ({ job }) => {
    // With requests unread in its socket, it does not close but reset it.
    const message = /a load ended with 1: (?:the server (?:sends|closed)|read ECONNRESET|write EPIPE)/;
    await t.throwsAsync(generate(job, () => 0), { message });
  });
});

test('an open loop sends every arrival, and charges a server that stands still with all that were due meanwhile', async (t) => {
  const stall = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  const answer: Answer = (stream, nth) => {
    if (nth === 100) stall(300);
    good(stream);
  };
  await against(answer, async ({ job, bodies }) => {
    const result = await generate({ ...job, pacing: { kind: 'open', perSecond: 500 }, seconds: 1 }, () => 0);
    t.is(result.answers, 500);
    t.is(bodies.length, 500);
    // One answer alone took 300 ms to make; of the 150 due in that time half had to wait for more than 150.
    t.true(result.latency.max >= 290_000, `${result.latency.max}`);
    t.true(result.latency.p90 >= 100_000, `${result.latency.p90}`);
    t.not(result.late, null);
  });
});

test('a generator that stands still itself says so, and charges nobody less for it', async (t) => {
  await against(good, async ({ job }) => {
    const never = (why?: string): void => void (why === undefined || t.fail(why));
    const stall = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    const open: Job = { ...job, pacing: { kind: 'open', perSecond: 500 }, seconds: 1 };
    const loop = new LoadLoop(open, { onBegin: () => setTimeout(stall, 50), onEnd: never, onFault: never });
    await loop.open();
    const { answers, late, latency } = await loop.run();
    loop.close();
    t.is(answers, 500);
    t.true((late?.max ?? 0) >= 180_000, `${late?.max}`);
    t.true(latency.max >= 180_000, `${latency.max}`);
    t.true(latency.p90 >= (late?.p90 ?? Infinity));
  });
});

test('arrivals of a warm-up are sent and not counted', async (t) => {
  await against(good, async ({ job, bodies }) => {
    const warmed: Job = { ...job, pacing: { kind: 'open', perSecond: 500 }, warmUpSeconds: 0.2, seconds: 0.2 };
    const result = await generate(warmed, () => 0);
    t.is(bodies.length, 200);
    t.is(result.answers, 100);
  });
});

test('filling sends each key once, in transactions larger than a frame and than the first window', async (t) => {
  await against(good, async ({ job, bodies }) => {
    const requests = { kind: 'fill', keys: 2_050 } as const;
    const filling: Job = { ...job, path: PATH.txn, pacing: { kind: 'closed', depth: 4 }, requests };
    const result = await generate(filling, () => 0);
    t.is(result.answers, 21);
    const keys = bodies.flatMap((body) => [...body.toString('latin1').matchAll(/space\/\d{8}/g)].map(([key]) => key));
    t.is(keys.length, 2_050);
    t.is(new Set(keys).size, 2_050);
    t.true(bodies.every((body) => body.length === 5 + body.readUInt32BE(1)));
    t.true(Math.max(...bodies.map(({ length }) => length)) > 100 * VALUE_BYTES);
  });
});

test('a generator that was late itself is found out', (t) => {
  const quantiles = { p50: 0, p90: 0, p999: 0, max: 0 };
  const result = { answers: 1, failed: 0, seconds: 1, perSecond: 1, bodyBytes: 0 };
  const fault = (late: number, p99: number): string | null =>
    generatorFault({ ...result, latency: { ...quantiles, p99 }, late: { ...quantiles, p99: late } });
  t.is(generatorFault({ ...result, latency: { ...quantiles, p99: 9 }, late: null }), null);
  t.is(fault(1_000, 2_000), null);
  t.is(fault(1_900, 10_000), null);
  t.is(fault(2_100, 10_000), 'the generator itself was late (p99 2.1 ms): the machine is too busy for this rate');
  t.is(fault(1_001, 2_000), 'the generator itself was late (p99 1.0 ms): the machine is too busy for this rate');
});
