// Latency at a fixed rate of arrivals, one every so many microseconds whatever the answers do, counted from when each was due:
// a server that stands still for a while is charged with everybody who waited meanwhile (no coordinated omission).

import { putKey, type Reached } from '../grpc-loads.js';
import { generate, generatorFault } from '../generator.js';
import { KEY, PATH, putMessage, rangeMessage } from '../messages.js';
import type { Row } from '../report.js';
import { startTarget } from '../targets.js';
import { atMost, cost, type Bench, type Theme } from '../theme.js';

const CONNECTIONS = 10;

interface Steady {
  readonly perSecond: number;
  readonly path: string;
  readonly message: Buffer;
  readonly p50: Row;
  readonly p99: Row;
}

function steady(kind: 'put' | 'get', perSecond: number, goal: number | null): Steady {
  const isPut = kind === 'put';
  const what = `${isPut ? 'durable put' : 'linearizable get'} at ${perSecond.toLocaleString('en-US')}/s, open loop`;
  const row = (quantile: 'p50' | 'p99', wanted: number | null): Row => cost({
    id: `${kind}-${perSecond}-${quantile}`, name: `${what}: ${quantile}`, unit: 'ms',
  }, wanted === null ? null : atMost(wanted));
  return {
    perSecond, path: isPut ? PATH.put : PATH.range, message: isPut ? putMessage(KEY) : rangeMessage(KEY),
    p50: row('p50', null), p99: row('p99', goal),
  };
}

/** Of the same server, so that it has been warmed by the first. */
const parts = [steady('put', 10_000, 1), steady('put', 1_000, null), steady('get', 5_000, null)];
const rowsOf = (some: readonly Steady[]): Row[] => some.flatMap(({ p50, p99 }) => [p50, p99]);

export const steadyTheme: Theme = {
  title: 'Latency at fixed rates, one member',
  rows: rowsOf(parts),
  quickRows: rowsOf(parts.slice(0, 1)),
  seconds: (pace) => (pace.isShort ? 1 : parts.length) * (pace.seconds + 1) + pace.firstWarmUpSeconds + pace.seconds + 2,
  async measure(bench) {
    const server = await startTarget(bench.stage, bench.name);
    try {
      let warmUpSeconds = bench.pace.firstWarmUpSeconds + 1;
      for (const part of parts) {
        if (!bench.wants(part.p50) && !bench.wants(part.p99)) continue;
        await measurePart(bench, server, part, warmUpSeconds);
        ({ warmUpSeconds } = bench.pace);
      }
    } finally {
      await server.stop();
    }
  },
};

async function measurePart(bench: Bench, server: Reached, part: Steady, warmUpSeconds: number): Promise<void> {
  await putKey(server);
  const result = await generate({
    url: server.url, path: part.path, connections: CONNECTIONS, pacing: { kind: 'open', perSecond: part.perSecond },
    requests: { kind: 'same', base64: part.message.toString('base64') },
    // The tail is judged at the first rate: more of it.
    warmUpSeconds, seconds: bench.pace.seconds * (part === parts[0] ? 2 : 1),
  }, () => server.cpuMicros());
  const fault = generatorFault(result);
  const [late, latest] = [result.late?.p99, result.late?.max].map((micros) => ((micros ?? NaN) / 1000).toFixed(2));
  bench.progress(`the generator was late by ${late} ms (p99), at most by ${latest} ms`);
  for (const row of [part.p50, part.p99]) {
    const micros = row === part.p50 ? result.latency.p50 : result.latency.p99;
    if (fault === null) bench.record(row, { value: micros / 1000, cpuMicros: result.cpuMicros });
    else bench.refuse(row, fault);
  }
}
