// Puts of large values, on one member and on three: where what is copied, summed up and written counts, not requests.

import { startCluster } from '../cluster.js';
import { putLoad } from '../grpc-loads.js';
import type { Row } from '../report.js';
import { startTarget } from '../targets.js';
import { loadSeconds, rate, type Theme } from '../theme.js';

const VALUE_BYTES = 64 * 1024;

const alone = rate({ id: 'put-64k', name: 'durable put of 64 KiB, 10 x 4', unit: 'puts/s' }, null);
const members = rate(
  { id: 'members-put-64k', name: 'three members: durable put of 64 KiB through the leader, 10 x 4', unit: 'puts/s' }, null,
);

function largeTheme(title: string, row: Row, isAlone: boolean): Theme {
  return {
    title,
    rows: [row],
    quickRows: [],
    seconds: (pace) => (isAlone ? 1 : 3) + loadSeconds(pace, 1),
    async measure({ stage, name, pace, record }) {
      const shape = { connections: 10, depth: 4, warmUpSeconds: pace.firstWarmUpSeconds, seconds: pace.seconds };
      if (isAlone) {
        const server = await startTarget(stage, name);
        try {
          record(row, await putLoad(server, shape, VALUE_BYTES));
        } finally {
          await server.stop();
        }
        return;
      }
      const { leader, stop } = await startCluster(stage, name);
      try {
        record(row, await putLoad(leader, shape, VALUE_BYTES));
      } finally {
        await stop();
      }
    },
  };
}

export const largeThemes: readonly Theme[] = [
  largeTheme('Large values, one member', alone, true),
  largeTheme('Large values, three members', members, false),
];
