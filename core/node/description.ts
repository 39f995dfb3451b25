// What a running cluster tells somebody who is about to join it: its id, and who its members are, as the store writes them. To
// core/peer, which carries it, it is bytes.

import { decodeMemberRecords, encodeMemberRecords, type MemberRecord } from '../store/members.js';
import { attempt } from './caught.js';

export interface Description {
  readonly clusterId: bigint;
  readonly members: readonly MemberRecord[];
}

const CLUSTER_BYTES = 8;

/** The cluster (eight bytes, little-endian), then the records. */
export function encodeDescription({ clusterId, members }: Description): Uint8Array {
  const cluster = Buffer.alloc(CLUSTER_BYTES);
  cluster.writeBigUInt64LE(clusterId);
  return Buffer.concat([cluster, encodeMemberRecords(members)]);
}

/** Throws for anything else: whoever answers at an address may be anybody. */
export function decodeDescription(bytes: Uint8Array): Description {
  const { buffer, byteOffset, length } = bytes;
  if (length <= CLUSTER_BYTES) throw new Error(`a description of a cluster in ${length} bytes is too short`);
  const clusterId = new DataView(buffer, byteOffset).getBigUint64(0, true);
  const members = attempt(() => decodeMemberRecords(bytes.subarray(CLUSTER_BYTES)));
  if (members instanceof Error) throw new Error(`not a description of a cluster: ${members.message}`, { cause: members });
  return { clusterId, members };
}
