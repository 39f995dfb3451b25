// The contract of `Client`, kept by the LocalClient of a follower in a cluster of three: nothing shows that others decide.

import test from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { startNode, type RunningNode } from '../../core/start-node.js';
import { Switchboard } from '../core/peer/memory-transport.js';
import { clientContract } from './client.contract.js';
import { unclosed } from './unclosed.js';

async function three(): Promise<{ follower: RunningNode; close: () => Promise<void> }> {
  const board = new Switchboard(systemClock);
  const initialCluster = ['a', 'b', 'c'].map((name) => ({ name, peerUrls: [`http://${name}:2380`] }));
  const nodes = await Promise.all(initialCluster.map(({ name, peerUrls }) => startNode({
    name, peerUrls, initialCluster, dataDir: null, heartbeatMs: 20,
    transport: ({ memberId }) => board.transport(memberId),
  })));
  const follower = nodes.find((node) => node.facts().state !== 'leader');
  if (follower === undefined) throw new Error('three leaders');
  return { follower, close: () => Promise.all(nodes.map((node) => node.close())).then(() => undefined) };
}

clientContract(
  test,
  async () => {
    const cluster = await three();
    const others: { close: () => Promise<void> }[] = [];
    return {
      client: cluster.follower.client,
      another: () => unclosed(cluster.follower.client),
      closable: async () => {
        const other = await three();
        others.push(other);
        return other.follower.client;
      },
      close: async () => {
        await Promise.all([cluster, ...others].map((one) => one.close()));
      },
    };
  },
  { progressOnRequest: true },
);
