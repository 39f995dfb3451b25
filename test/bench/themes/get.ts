// Gets of one key, many at once, on one member.

import { getLoad } from '../grpc-loads.js';
import { startTarget } from '../targets.js';
import { atLeast, loadSeconds, rate, type Theme } from '../theme.js';

const linearizable = rate({ id: 'get-linearizable', name: 'linearizable get, 10 x 20', unit: 'gets/s' }, atLeast(3));
const serializable = rate({ id: 'get-serializable', name: 'serializable get, 10 x 20', unit: 'gets/s' }, atLeast(3));

export const getTheme: Theme = {
  title: 'Gets, one member',
  rows: [linearizable, serializable],
  quickRows: [linearizable, serializable],
  seconds: (pace) => 1 + loadSeconds(pace, 2),
  async measure(bench) {
    const server = await startTarget(bench.stage, bench.name);
    try {
      let warmUpSeconds = bench.pace.firstWarmUpSeconds;
      for (const row of [linearizable, serializable]) {
        if (!bench.wants(row)) continue;
        const shape = { connections: 10, depth: 20, warmUpSeconds, seconds: bench.pace.seconds };
        bench.record(row, await getLoad(server, shape, row === serializable));
        warmUpSeconds = bench.pace.warmUpSeconds;
      }
    } finally {
      await server.stop();
    }
  },
};
