// One durable put after the other, and many at once, on one member: the rate, the latency of a lone caller, the processor time.

import { putLoad } from '../grpc-loads.js';
import { generate } from '../generator.js';
import { KEY, PATH, putMessage } from '../messages.js';
import { startTarget } from '../targets.js';
import { atLeast, atMost, cost, loadSeconds, rate, type Bench, type Theme } from '../theme.js';

const many = rate({ id: 'put-10x20', name: 'durable put, 10 connections x 20 streams', unit: 'puts/s' }, atLeast(2));
const wide = rate({ id: 'put-100x10', name: 'durable put, 100 connections x 10 streams', unit: 'puts/s' }, atLeast(2));
const cpu = cost({ id: 'put-cpu', name: 'server CPU per put, 10 x 20', unit: 'µs' }, atMost(0.7));
const lone = cost({ id: 'put-alone-p50', name: 'durable put, one at a time: p50', unit: 'ms' }, atMost(1));
const loneTail = cost({ id: 'put-alone-p99', name: 'durable put, one at a time: p99', unit: 'ms' }, null);

export const putTheme: Theme = {
  title: 'Durable puts, one member',
  rows: [many, wide, cpu, lone, loneTail],
  quickRows: [many, cpu, lone, loneTail],
  seconds: (pace) => (pace.isShort ? loadSeconds(pace, 1) : loadSeconds(pace, 2)) + pace.firstWarmUpSeconds + pace.seconds + 1,
  async measure(bench) {
    const server = await startTarget(bench.stage, bench.name);
    try {
      const { pace } = bench;
      const first = { warmUpSeconds: pace.firstWarmUpSeconds, seconds: pace.seconds };
      if (bench.wants(many) || bench.wants(cpu)) {
        const figure = await putLoad(server, { connections: 10, depth: 20, ...first });
        bench.record(many, figure);
        bench.record(cpu, { value: figure.cpuMicros ?? NaN });
      }
      const next = { warmUpSeconds: pace.warmUpSeconds, seconds: pace.seconds };
      if (bench.wants(wide)) bench.record(wide, await putLoad(server, { connections: 100, depth: 10, ...next }));
      if (bench.wants(lone) || bench.wants(loneTail)) await measureLone(bench, server);
    } finally {
      await server.stop();
    }
  },
};

async function measureLone(bench: Bench, server: { readonly url: string; cpuMicros(): number }): Promise<void> {
  const { latency, cpuMicros } = await generate({
    url: server.url, path: PATH.put, connections: 1, pacing: { kind: 'closed', depth: 1 },
    requests: { kind: 'same', base64: putMessage(KEY).toString('base64') },
    // What is asked one by one takes longer until a server that compiles as it goes has seen enough of it.
    warmUpSeconds: bench.pace.firstWarmUpSeconds, seconds: bench.pace.seconds,
  }, () => server.cpuMicros());
  bench.record(lone, { value: latency.p50 / 1000, cpuMicros });
  bench.record(loneTail, { value: latency.p99 / 1000 });
}
