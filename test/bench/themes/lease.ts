// Leases at size: keep-alives over streams that stay open, 100,000 granted and kept, 100,000 that expire together. Of the expiry
// it is told how many leases end a second, from when the first is due until the last has no key; it is measured in fewer rounds,
// since etcd needs minutes for each.

import { loadInProcess } from '../client-load.js';
import { startTarget } from '../targets.js';
import { atLeast, cost, rate, type Theme } from '../theme.js';

const LEASES = 100_000;
const RENEWED = 1_000;
const [TTL_SECONDS, EXPIRING_TTL_SECONDS] = [600, 30];

const keepAlive = rate(
  { id: 'lease-keep-alive', name: 'lease keep-alive, 1,000 leases on 10 connections', unit: 'renewals/s' }, atLeast(2),
);
const keepMany = rate(
  { id: 'lease-keep-alive-100000', name: 'lease keep-alive, 100,000 leases on 10 connections', unit: 'renewals/s' }, null,
);
const grant = rate({ id: 'lease-grant', name: '100,000 leases granted', unit: 'grants/s' }, atLeast(2));
const expiry = rate({ id: 'lease-expiry', name: '100,000 leases expired, with a key each', unit: 'leases/s' }, atLeast(2));
const stall = cost({ id: 'lease-expiry-read', name: 'longest linearizable get while 100,000 leases expire', unit: 'ms' }, null);

export const leaseTheme: Theme = {
  title: 'Leases, one member',
  rows: [keepAlive, grant, keepMany],
  quickRows: [],
  seconds: (pace, name) => 2 + pace.firstWarmUpSeconds + 2 * pace.seconds + (name === 'etcd' ? 9 : 4),
  async measure(bench) {
    const { pace } = bench;
    const { url, stop } = await startTarget(bench.stage, bench.name);
    try {
      const renewing = { firstId: 1, leases: RENEWED, connections: 10, streams: 10, depth: 100 };
      const renewed = { leases: RENEWED, ttlSeconds: TTL_SECONDS, firstId: 1, connections: 10, depth: 20 };
      await loadInProcess('grant', [[url, renewed]]);
      const warmUp = { ...renewing, seconds: pace.firstWarmUpSeconds };
      const { perSecond } = await loadInProcess('keepAlive', [[url, warmUp], [url, { ...renewing, seconds: pace.seconds }]]);
      bench.record(keepAlive, { value: perSecond });
      const granting = { leases: LEASES, ttlSeconds: TTL_SECONDS, firstId: RENEWED + 1, connections: 10, depth: 20 };
      bench.record(grant, { value: (await loadInProcess('grant', [[url, granting]])).perSecond });
      if (!bench.wants(keepMany)) return;
      const renewingAll = { ...renewing, firstId: RENEWED + 1, leases: LEASES, seconds: pace.seconds };
      bench.record(keepMany, { value: (await loadInProcess('keepAlive', [[url, renewingAll]])).perSecond });
    } finally {
      await stop();
    }
  },
};

export const expiryTheme: Theme = {
  title: 'Leases that end together, one member',
  rows: [expiry, stall],
  quickRows: [],
  roundsMax: 3,
  // etcd ends a thousand leases a second and no more.
  seconds: (_, name) => name === 'etcd' ? 150 : 38,
  async measure(bench) {
    const { url, stop } = await startTarget(bench.stage, bench.name);
    try {
      const figures = await loadInProcess('expiry', [[url, { leases: LEASES, ttlSeconds: EXPIRING_TTL_SECONDS, firstId: 1 }]]);
      bench.record(expiry, { value: figures.perSecond });
      bench.record(stall, { value: figures.slowestReadMs });
    } finally {
      await stop();
    }
  },
};
