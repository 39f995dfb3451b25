// Who a member is. The ids are etcd's, computed by etcd's rule for a statically bootstrapped cluster (contract 1.6), so
// that the same flags give the same ids here and there. A door: the only place in core that hashes with SHA-1.

import { createHash } from 'node:crypto';

export interface MemberSpec {
  readonly name: string;
  readonly peerUrls: readonly string[];
}

/** First 8 bytes, big-endian, of SHA-1 over the sorted peer URLs followed by the cluster token. */
export function memberId(peerUrls: readonly string[], clusterToken: string): bigint {
  const hash = createHash('sha1');
  for (const url of [...peerUrls].sort()) hash.update(url);
  hash.update(clusterToken);
  return hash.digest().readBigUInt64BE(0);
}

/** First 8 bytes of SHA-1 over all initial member ids, ascending, 8 bytes big-endian each. */
export function clusterId(memberIds: readonly bigint[]): bigint {
  const bytes = Buffer.alloc(8 * memberIds.length);
  const ascending = new BigUint64Array(memberIds).sort();
  ascending.forEach((id, i) => void bytes.writeBigUInt64BE(id, 8 * i));
  return createHash('sha1').update(bytes).digest().readBigUInt64BE(0);
}
