// A store of a million keys of 256 bytes: memory, restart, large reads, and whether puts and gets of any key cost more than in a
// store of a thousand keys. Loads of any key are the bench's own (h2load sends one request only), the same for both sizes.

import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../../core/base/bytes.js';
import { connect } from '../../../core/wire/remote-client.js';
import { generate, type Job, type Loaded } from '../generator.js';
import { PATH, rangeMessage, SPACE_PREFIX, spaceKey, VALUE_BYTES } from '../messages.js';
import type { Row } from '../report.js';
import { startTarget, type Target } from '../targets.js';
import { atLeast, atMost, cost, rate, type Bench, type Theme } from '../theme.js';

const [FEW, MANY] = [1_000, 1_000_000];
const LARGE = 10_000;
/** After the last write, and after a restart: memory is read when a server has come to rest. */
const SETTLE_MS = 4_000;
const MIB = 2 ** 20;

const memory = cost({ id: 'memory-fresh', name: 'memory with 1,000,000 keys x 256 B, freshly put', unit: 'MiB' }, atMost(0.7));
const memoryAfter = cost(
  { id: 'memory-restarted', name: 'memory with 1,000,000 keys x 256 B, after a restart', unit: 'MiB' }, atMost(0.7),
);
const restart = cost(
  { id: 'restart', name: 'restart with 1,000,000 keys until the first linearizable get', unit: 's' }, atMost(0.7),
);
const fill = cost({ id: 'fill', name: 'putting 1,000,000 keys, 100 in a transaction', unit: 's' }, null);
const range = rate({ id: 'range-10000', name: 'range of 10,000 keys, one at a time', unit: 'ranges/s' }, atLeast(1));
const rangeMedian = cost({ id: 'range-10000-p50', name: 'range of 10,000 keys, one at a time: p50', unit: 'ms' }, null);
const count = rate({ id: 'count-1000000', name: 'count of 1,000,000 keys, one at a time', unit: 'counts/s' }, atLeast(1));
const countMedian = cost({ id: 'count-1000000-p50', name: 'count of 1,000,000 keys, one at a time: p50', unit: 'ms' }, null);

function growth(id: string, name: string): Row {
  return { id, name, unit: 'times', better: 'more', against: 'itself', goal: atLeast(0.8), judged: 'median' };
}

const putGrowth = growth('put-growth', 'durable put of any of 1,000,000 keys, against any of 1,000');
const getGrowth = growth('get-growth', 'linearizable get of any of 1,000,000 keys, against any of 1,000');

export const sizeTheme: Theme = {
  title: 'A million keys, one member',
  rows: [memory, memoryAfter, restart, range, rangeMedian, count, countMedian, putGrowth, getGrowth, fill],
  quickRows: [],
  seconds: ({ firstWarmUpSeconds, warmUpSeconds, seconds }) =>
    18 + (2 * SETTLE_MS) / 1000 + 2 * firstWarmUpSeconds + 4 * warmUpSeconds + 6 * seconds,
  async measure(bench) {
    const few = bench.wants(putGrowth) || bench.wants(getGrowth) ? await measureFew(bench) : null;
    const server = await startTarget(bench.stage, bench.name);
    try {
      bench.record(fill, { value: (await filled(server, MANY)).seconds });
      bench.progress('1,000,000 keys are there');
      if (bench.wants(memory)) {
        await sleep(SETTLE_MS);
        bench.record(memory, { value: server.residentBytes() / MIB });
      }
      if (bench.wants(restart) || bench.wants(memoryAfter)) await measureRestart(bench, server);
      await measureReads(bench, server);
      if (few === null) return;
      const many = await anyKey(bench, server, MANY);
      for (const [row, of] of [[getGrowth, 'any_get'], [putGrowth, 'any_put']] as const) {
        bench.record(row, { value: many[of].perSecond / few[of].perSecond, cpuMicros: many[of].cpuMicros });
      }
    } finally {
      await server.stop();
    }
  },
};

type AnyKey = Readonly<Record<'any_get' | 'any_put', Loaded>>;

async function measureFew(bench: Bench): Promise<AnyKey> {
  const server = await startTarget(bench.stage, bench.name);
  try {
    await filled(server, FEW);
    return await anyKey(bench, server, FEW);
  } finally {
    await server.stop();
  }
}

async function filled(server: Target, keys: number): Promise<Loaded> {
  const result = await generate({
    url: server.url, path: PATH.txn, connections: 8, pacing: { kind: 'closed', depth: 4 },
    requests: { kind: 'fill', keys }, warmUpSeconds: 0, seconds: 0,
  }, () => server.cpuMicros());
  await mustHold(server, keys);
  return result;
}

/** Every key, and of every thousandth the value. */
async function mustHold({ name, url }: Target, keys: number): Promise<void> {
  const client = connect(url);
  try {
    const all = await client.range({ key: utf8(SPACE_PREFIX), rangeEnd: utf8('space0'), countOnly: true });
    if (all.count !== keys) throw new Error(`${name} has ${all.count} of ${keys} keys`);
    for (let i = 0; i < keys; i += 1_000) {
      const answer = await client.range({ key: utf8(spaceKey(i)) });
      if (answer.kvs[0]?.value.length !== VALUE_BYTES) throw new Error(`${name} does not have ${spaceKey(i)}`);
    }
  } finally {
    await client.close();
  }
}

async function measureRestart(bench: Bench, server: Target): Promise<void> {
  const tookMs = await server.restart();
  await sleep(SETTLE_MS);
  bench.record(memoryAfter, { value: server.residentBytes() / MIB });
  await mustHold(server, MANY);
  bench.record(restart, { value: tookMs / 1000 });
}

/** A closed loop on one connection, one request at a time. */
function oneByOne(bench: Bench, server: Target, message: Buffer): Promise<Loaded> {
  const job: Job = {
    url: server.url, path: PATH.range, connections: 1, pacing: { kind: 'closed', depth: 1 },
    requests: { kind: 'same', base64: message.toString('base64') },
    warmUpSeconds: bench.pace.warmUpSeconds, seconds: bench.pace.seconds,
  };
  return generate(job, () => server.cpuMicros());
}

async function measureReads(bench: Bench, server: Target): Promise<void> {
  if (bench.wants(range) || bench.wants(rangeMedian)) {
    const message = rangeMessage(spaceKey(0), { end: spaceKey(LARGE) });
    const { perSecond, latency, cpuMicros, bodyBytes, answers } = await oneByOne(bench, server, message);
    if (bodyBytes < answers * LARGE * VALUE_BYTES) throw new Error(`${bench.name} did not send all of a range`);
    bench.record(range, { value: perSecond, cpuMicros });
    bench.record(rangeMedian, { value: latency.p50 / 1000 });
  }
  if (!bench.wants(count) && !bench.wants(countMedian)) return;
  const message = rangeMessage(SPACE_PREFIX, { end: 'space0', isCount: true });
  const { perSecond, latency, cpuMicros } = await oneByOne(bench, server, message);
  bench.record(count, { value: perSecond, cpuMicros });
  bench.record(countMedian, { value: latency.p50 / 1000 });
}

async function anyKey(bench: Bench, server: Target, keys: number): Promise<AnyKey> {
  const { warmUpSeconds, firstWarmUpSeconds, seconds } = bench.pace;
  const load = (kind: 'any_get' | 'any_put', warmUp: number): Promise<Loaded> => generate({
    url: server.url, path: kind === 'any_get' ? PATH.range : PATH.put, connections: 10, pacing: { kind: 'closed', depth: 20 },
    requests: { kind, keys }, warmUpSeconds: warmUp, seconds,
  }, () => server.cpuMicros());
  const anyGet = await load('any_get', firstWarmUpSeconds);
  const anyPut = await load('any_put', warmUpSeconds);
  return { any_get: anyGet, any_put: anyPut };
}
