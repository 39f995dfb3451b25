// The server's own locks (v3lockpb), which `etcdctl` and clients without recipes use: a thousand callers wait in one line.

import { loadInProcess } from '../client-load.js';
import { startTarget } from '../targets.js';
import { cost, rate, type Theme } from '../theme.js';

const WAITERS = 1_000;
const CONNECTIONS = 10;
const what = `Lock service, ${WAITERS.toLocaleString('en-US')} waiters`;

const handOvers = rate({ id: 'lock-1000', name: `${what}: hand-overs`, unit: 'hand-overs/s' }, null);
const median = cost({ id: 'lock-1000-p50', name: `${what}: from unlock to the next holder, p50`, unit: 'ms' }, null);
const tail = cost({ id: 'lock-1000-p99', name: `${what}: from unlock to the next holder, p99`, unit: 'ms' }, null);

export const lockTheme: Theme = {
  title: 'Locks, one member',
  rows: [handOvers, median, tail],
  quickRows: [],
  seconds: (pace) => 3 + pace.firstWarmUpSeconds + pace.seconds,
  async measure(bench) {
    const server = await startTarget(bench.stage, bench.name);
    try {
      const { firstWarmUpSeconds: warmUpSeconds, seconds } = bench.pace;
      const cpu: number[] = [];
      const load = { url: server.url, waiters: WAITERS, connections: CONNECTIONS, warmUpSeconds, seconds };
      const figures = await loadInProcess('lock', [[load]], () => cpu.push(server.cpuMicros()));
      const [before = NaN, after = NaN] = cpu;
      bench.record(handOvers, { value: figures.perSecond, cpuMicros: (after - before) / figures.handOvers });
      bench.record(median, { value: figures.p50Ms });
      bench.record(tail, { value: figures.p99Ms });
    } finally {
      await server.stop();
    }
  },
};
