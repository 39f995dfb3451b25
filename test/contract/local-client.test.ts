// The contract of `Client`, kept by LocalClient: in process, on a node in memory.

import test from 'ava';
import type { Admin, Client } from '../../core/client.js';
import { startNode, type RunningNode } from '../../core/start-node.js';
import { clientContract } from './client.contract.js';

function start(): Promise<RunningNode> {
  return startNode({ dataDir: null, heartbeatMs: 20 });
}

/** The same client, but for `close`: closing the one there is would end it for all tests. */
function unclosed(client: Client & Admin): Client & Admin {
  return new Proxy(client, {
    get: (target, name) => {
      if (name === 'close') return () => Promise.resolve();
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? (...args: unknown[]): unknown => Reflect.apply(member, target, args) : member;
    },
  });
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
