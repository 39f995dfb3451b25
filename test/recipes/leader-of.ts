// Which member of a cluster of processes leads now; waits until one does.

import { setTimeout as sleep } from 'node:timers/promises';
import { isApiError } from '../../core/errors.js';
import { connect } from '../../core/index.js';
import type { ProcessCluster } from '../interop/cluster-processes.js';

export async function leaderOf(cluster: ProcessCluster): Promise<string> {
  for (;;) {
    for (const member of cluster.members.filter(({ isRunning }) => isRunning)) {
      const client = connect(member.url);
      try {
        const { leader, header } = await client.status({ timeoutMs: 2_000 });
        if (leader !== 0n && leader === header.memberId) return member.name;
      } catch (error) {
        // Whoever does not answer does not lead; the next one is asked, and all of them again.
        if (!isApiError(error)) throw error;
      } finally {
        await client.close();
      }
    }
    await sleep(100);
  }
}
