// The contract of `Client`, kept by RemoteClient towards a real etcd.

import test from 'ava';
import { connect } from '../../core/wire/remote-client.js';
import { isInstalled, startEtcd } from '../interop/real-etcd.js';
import { clientContract } from './client.contract.js';

clientContract(
  test,
  async (log) => {
    if (!isInstalled('etcd', log)) return null;
    const etcd = await startEtcd();
    const client = connect(etcd.url);
    return {
      client,
      another: () => connect(etcd.url),
      closable: () => Promise.resolve(connect(etcd.url)),
      close: async () => {
        await client.close();
        await etcd.close();
      },
    };
  },
  {
    progressOnRequest:
      'etcd 3.4.23 may tell of progress before it has sent the events it covers, ' +
      'so its answer is only believed for a watch that stands there already',
  },
);
