// Transactions of one condition, which holds, and one put.

import { txnLoad } from '../grpc-loads.js';
import { startTarget } from '../targets.js';
import { atLeast, loadSeconds, rate, type Theme } from '../theme.js';

const row = rate({ id: 'txn', name: 'txn (compare and put), 10 x 20', unit: 'txns/s' }, atLeast(1.5));

export const txnTheme: Theme = {
  title: 'Transactions, one member',
  rows: [row],
  quickRows: [row],
  seconds: (pace) => 1 + loadSeconds(pace, 1),
  async measure({ stage, name, pace, record }) {
    const server = await startTarget(stage, name);
    try {
      const shape = { connections: 10, depth: 20, warmUpSeconds: pace.firstWarmUpSeconds, seconds: pace.seconds };
      record(row, await txnLoad(server, shape));
    } finally {
      await server.stop();
    }
  },
};
