// The contract of `Client`, kept by LocalClient: in process, on a node in memory.

import test from 'ava';
import { startNode, type RunningNode } from '../../core/start-node.js';
import { clientContract } from './client.contract.js';
import { unclosed } from './unclosed.js';

function start(): Promise<RunningNode> {
  return startNode({ dataDir: null, heartbeatMs: 20 });
}

clientContract(
  test,
  async () => {
    const node = await start();
    const others: RunningNode[] = [];
    return {
      client: node.client,
      another: () => unclosed(node.client),
      closable: async () => {
        const other = await start();
        others.push(other);
        return other.client;
      },
      close: async () => {
        await Promise.all([node, ...others].map((one) => one.close()));
      },
    };
  },
  { progressOnRequest: true },
);
