// The contract of `Client`, kept by RemoteClient towards our own server, here a node in memory behind a real port.

import test from 'ava';
import { startNode } from '../../core/start-node.js';
import { serve } from '../serving.js';
import { connect } from '../../core/wire/remote-client.js';
import { clientContract } from './client.contract.js';

clientContract(
  test,
  async () => {
    const node = await startNode({ dataDir: null, heartbeatMs: 20 });
    const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
    const client = connect(server.urls);
    return {
      client,
      another: () => connect(server.urls),
      closable: () => Promise.resolve(connect(server.urls)),
      close: async () => {
        await client.close();
        await server.close();
        await node.close();
      },
    };
  },
  { progressOnRequest: true },
);
