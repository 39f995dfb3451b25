// Puts of large values, on one member and on three: where what is copied, summed up and written counts, not requests.

import { startCluster } from '../cluster.js';
import { putLoad, type Reached } from '../grpc-loads.js';
import type { Row } from '../report.js';
import { startTarget } from '../targets.js';
import { loadSeconds, rate, type Bench, type Theme } from '../theme.js';

interface Part {
  readonly row: Row;
  readonly valueBytes: number;
  readonly depth: number;
}

const large = { valueBytes: 64 * 1024, depth: 4 };
const alone: readonly Part[] = [
  { row: rate({ id: 'put-64k', name: 'durable put of 64 KiB, 10 x 4', unit: 'puts/s' }, null), ...large },
];
const through = 'three members, through the leader';
const members: readonly Part[] = [
  {
    row: rate({ id: 'members-put-4k', name: `${through}: durable put of 4 KiB, 10 x 20`, unit: 'puts/s' }, null),
    valueBytes: 4 * 1024, depth: 20,
  },
  { row: rate({ id: 'members-put-64k', name: `${through}: durable put of 64 KiB, 10 x 4`, unit: 'puts/s' }, null), ...large },
];

async function measureAll(bench: Bench, server: Reached, parts: readonly Part[]): Promise<void> {
  const { firstWarmUpSeconds, seconds } = bench.pace;
  let warmUpSeconds = firstWarmUpSeconds;
  for (const { row, valueBytes, depth } of parts) {
    if (!bench.wants(row)) continue;
    bench.record(row, await putLoad(server, { connections: 10, depth, warmUpSeconds, seconds }, valueBytes));
    ({ warmUpSeconds } = bench.pace);
  }
}

export const largeThemes: readonly Theme[] = [
  {
    title: 'Large values, one member',
    rows: alone.map(({ row }) => row),
    quickRows: [],
    seconds: (pace) => 1 + loadSeconds(pace, alone.length),
    async measure(bench) {
      const server = await startTarget(bench.stage, bench.name);
      try {
        await measureAll(bench, server, alone);
      } finally {
        await server.stop();
      }
    },
  },
  {
    title: 'Large values, three members',
    rows: members.map(({ row }) => row),
    quickRows: [],
    seconds: (pace) => 3 + loadSeconds(pace, members.length),
    async measure(bench) {
      const { leader, stop } = await startCluster(bench.stage, bench.name);
      try {
        await measureAll(bench, leader, members);
      } finally {
        await stop();
      }
    },
  },
];
