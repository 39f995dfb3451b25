// Three members on this machine, asked through the leader and through a follower, because that is where forwarding and read
// rounds cost. All three members and the load generator share the machine's processors, for both servers.

import { startCluster } from '../cluster.js';
import { getLoad, putLoad } from '../grpc-loads.js';
import { latestHeartbeatMs } from '../heartbeats.js';
import type { Row } from '../report.js';
import { atLeast, atMost, loadSeconds, rate, type Theme } from '../theme.js';

const goal = atLeast(1.5);
const putLeader = rate(
  { id: 'members-put-leader', name: 'three members: durable put through the leader, 10 x 20', unit: 'puts/s' }, goal,
);
const putFollower = rate(
  { id: 'members-put-follower', name: 'three members: durable put through a follower, 10 x 20', unit: 'puts/s' }, goal,
);
const getLeader = rate(
  { id: 'members-get-leader', name: 'three members: linearizable get through the leader, 10 x 20', unit: 'gets/s' }, goal,
);
const getFollower = rate(
  { id: 'members-get-follower', name: 'three members: linearizable get through a follower, 10 x 20', unit: 'gets/s' }, goal,
);
/** Half an election time-out, which both have at its default of 1,000 ms. */
const LATE_MS_MAX = 500;
const heartbeats: Row = {
  id: 'members-heartbeats-late', name: 'three members: latest heartbeat under those loads', unit: 'ms', better: 'less',
  against: 'itself', goal: atMost(LATE_MS_MAX), judged: 'worst',
};

export const membersTheme: Theme = {
  title: 'Three members on this machine',
  rows: [putLeader, putFollower, getLeader, getFollower, heartbeats],
  quickRows: [],
  seconds: (pace) => 3 + loadSeconds(pace, 4),
  async measure(bench) {
    const cluster = await startCluster(bench.stage, bench.name);
    try {
      const { leader, follower } = cluster;
      let warmUpSeconds = bench.pace.firstWarmUpSeconds;
      for (const row of [putLeader, putFollower, getLeader, getFollower]) {
        if (!bench.wants(row) && !bench.wants(heartbeats)) continue;
        const server = row === putLeader || row === getLeader ? leader : follower;
        const shape = { connections: 10, depth: 20, warmUpSeconds, seconds: bench.pace.seconds };
        bench.record(row, await (row === putLeader || row === putFollower ? putLoad(server, shape) : getLoad(server, shape)));
        warmUpSeconds = bench.pace.warmUpSeconds;
      }
      if (bench.name !== 'coterie' || !bench.wants(heartbeats)) return;
      const lateMs = await latestHeartbeatMs(cluster.urls);
      if (lateMs === null) bench.refuse(heartbeats, 'the members tell no figure of it in /metrics');
      else bench.record(heartbeats, { value: lateMs });
    } finally {
      await cluster.stop();
    }
  },
};
