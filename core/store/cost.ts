// What a request is reckoned to add to the store, by etcd's rules (contract 9): a guess from its bytes, made before it is
// carried out and compared with what is left of the quota. Transactions inside transactions count, as in etcd from 3.5.33 on.

import type { Op, TxnRequest } from '../client.js';
import { loneOp } from './command.js';

/** For each put, beside its key and value. */
const PUT_BYTES = 256;
/** For a lease. */
export const LEASE_COST = 64;

/** Of the dearer branch; 0: it puts nothing, so it may always pass. */
export function txnCost(request: TxnRequest): number {
  const lone = loneOp(request);
  if (lone !== null) return opCost(lone);
  return Math.max(branchCost(request.success ?? []), branchCost(request.failure ?? []));
}

function branchCost(ops: readonly Op[]): number {
  let bytes = 0;
  for (const op of ops) bytes += opCost(op);
  return bytes;
}

function opCost(op: Op): number {
  if (op.kind === 'put') return PUT_BYTES + op.request.key.length + op.request.value.length;
  return op.kind === 'txn' ? txnCost(op.request) : 0;
}
