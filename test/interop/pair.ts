// A real etcd and a coterie side by side, made to be told apart by nothing: same names, same peer url, so the same ids.
// What is asked of one is asked of the other; what may differ in the answers (addresses, lease ids) is known to who asks.

import { startNode, type NodeOptions } from '../../core/start-node.js';
import { serve, type ServeOptions } from '../serving.js';
import { startEtcd } from './real-etcd.js';

export interface Side {
  readonly name: 'etcd' | 'coterie';
  readonly url: string;
  /** What its member list says: the same on both. */
  readonly advertised: string;
  /** Who it is, the same on both. */
  readonly peerUrl: string;
  readonly memberId: string;
}

export interface Pair {
  readonly sides: readonly [Side, Side];
  close(): Promise<void>;
}

export interface PairOptions {
  /** More flags of etcd's, and what means the same to coterie. */
  readonly flags?: readonly string[];
  readonly node?: Partial<NodeOptions>;
  readonly serve?: ServeOptions;
}

export async function startPair(options: PairOptions = {}): Promise<Pair> {
  const etcd = await startEtcd({ flags: options.flags ?? [] });
  const node = await startNode({
    dataDir: null, name: 'default', peerUrls: [etcd.peerUrl], clientUrls: [etcd.url], ...options.node,
  });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], ...options.serve });
  const close = async (): Promise<void> => {
    await server.close();
    await node.close();
    await etcd.close();
  };
  const same = { advertised: etcd.url, peerUrl: etcd.peerUrl, memberId: node.memberId.toString(16) };
  return {
    sides: [
      { name: 'etcd', url: etcd.url, ...same },
      { name: 'coterie', url: server.urls[0] ?? '', ...same },
    ],
    close,
  };
}
