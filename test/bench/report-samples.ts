// Reports made up for the tests of the writers: every verdict there is, and characters that must be escaped.

import type { Figure, Measured, Report, Row, ServerName } from './report.js';
import { atLeast, atMost, cost, rate } from './theme.js';

const fast = rate({ id: 'fast', name: 'puts <many> & "wide"', unit: 'puts/s' }, atLeast(2));
const slow = rate({ id: 'slow', name: 'gets', unit: 'gets/s' }, atLeast(3));
const small = cost({ id: 'small', name: 'memory', unit: 'MiB' }, atMost(0.7));
const late = cost({ id: 'late', name: 'latency', unit: 'ms' }, null);
const lost = rate({ id: 'lost', name: 'watches', unit: 'events/s' }, atLeast(1.5));
const own: Row = {
  id: 'own', name: 'heartbeats', unit: 'ms', better: 'less', against: 'itself', goal: atMost(500), judged: 'worst',
};

export function measuredOf(
  row: Row, values: Readonly<Record<ServerName, readonly (number | null)[]>>, faults: readonly string[] = [],
): Measured {
  const figures = (name: ServerName): (Figure | null)[] =>
    values[name].map((value) => value === null ? null : { value, ...(row.unit === 'puts/s' ? { cpuMicros: value / 10 } : {}) });
  return {
    row, theme: row.against === 'itself' ? 'Members' : 'One',
    sides: { coterie: { rounds: figures('coterie'), faults }, etcd: { rounds: figures('etcd'), faults: [] } },
  };
}

export const SAMPLE: Report = {
  setup: {
    takenAt: '2026-11-22T05:00:00.000Z', commit: 'abc1234', command: 'npm run bench -- --write',
    machine: '2 x CPU, 24 GiB, Linux 6.18',
    disk: 'ext4', versions: { node: 'v20.20.2', etcd: 'etcd 3.4.23', h2load: 'h2load 1.52' },
    flags: { coterie: '--log-level error', etcd: '--log-level error --logger zap' },
    rounds: 3, roundsPlanned: 3, isQuick: false, only: '', tookSeconds: 600,
  },
  measured: [
    measuredOf(fast, { coterie: [300, 250, 280], etcd: [100, 100, 100] }),
    measuredOf(slow, { coterie: [50, 60, 40], etcd: [100, 100, 100] }),
    measuredOf(small, { coterie: [60, 60, 60], etcd: [100, 100, 100] }),
    measuredOf(late, { coterie: [1, 2, 1], etcd: [4, 4, 4] }),
    measuredOf(lost, { coterie: [null, null, null], etcd: [5, 5, 5] }, ['round 1, coterie: it broke']),
    measuredOf(own, { coterie: [100, 501, 100], etcd: [] }),
  ],
};
