// How large a request is to etcd: what it would write into its log, byte for byte. A client that was told "too large" by one
// and not by the other would find out at the worst time, so the limit (contract 1.4) is counted as etcd counts it, in the
// wire form of the request and its envelope, not in the form of our own log.

import type { Compare, DeleteRequest, Op, PutRequest, RangeRequest, TxnRequest } from '../client.js';
import { utf8 } from '../base/bytes.js';
import type { Asker } from './access.js';
import { varintBytes } from './binary.js';
import { loneOp } from './command.js';
import { numberBytes, piecesBytes } from './etcd-records.js';

/** Around the request: its header with a call id, and its own tag. The id counts as it would for this member. */
export interface Envelope {
  readonly callIdBytes: number;
}

/** An id begins with the last 16 bits of the member's, written in groups of seven bits. */
export function envelopeOf(memberId: bigint): Envelope {
  const bits = 48 + BigInt.asUintN(16, memberId).toString(2).length;
  return { callIdBytes: Math.ceil(bits / 7) };
}

/**
 * A put or delete alone counts as the plain call it was; a transaction of one operation is larger by its frame. While auth is
 * on, whose it is stands in the header; `asker` null: it is off, or this process itself asks.
 */
export function requestBytes(request: TxnRequest, { callIdBytes }: Envelope, asker: Asker | null): number {
  const lone = loneOp(request);
  const bytes = lone !== null && lone.kind !== 'txn' ? opBytes(lone) : txnBytes(request);
  const whose = asker === null ? 0 : text(utf8(asker.user ?? '')) + number(asker.authRevision);
  // The header's tag has two bytes.
  return 1 + field(1 + callIdBytes + whose) + field(bytes);
}

function txnBytes({ compare = [], success = [], failure = [] }: TxnRequest): number {
  let bytes = 0;
  for (const each of compare) bytes += field(compareBytes(each));
  for (const branch of [success, failure]) for (const op of branch) bytes += field(field(opBytes(op)));
  return bytes;
}

function opBytes(op: Op): number {
  switch (op.kind) {
    case 'range':
      return rangeBytes(op.request);
    case 'put':
      return putBytes(op.request);
    case 'delete':
      return deleteBytes(op.request);
    case 'txn':
      return txnBytes(op.request);
  }
}

function putBytes({ key, value, lease, prevKv, ignoreValue, ignoreLease }: PutRequest): number {
  return text(key) + text(value) + number(lease) + flag(prevKv) + flag(ignoreValue) + flag(ignoreLease);
}

function deleteBytes({ key, rangeEnd, prevKv }: DeleteRequest): number {
  return text(key) + text(rangeEnd) + flag(prevKv);
}

function rangeBytes(request: RangeRequest): number {
  const { key, rangeEnd, limit, revision, sortOrder = 'none', sortTarget = 'key' } = request;
  const { serializable, keysOnly, countOnly, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  const bounds = number(minModRevision) + number(maxModRevision) + number(minCreateRevision) + number(maxCreateRevision);
  const flags = flag(sortOrder !== 'none') + flag(sortTarget !== 'key') + flag(serializable) + flag(keysOnly) + flag(countOnly);
  return text(key) + text(rangeEnd) + number(limit) + number(revision) + flags + bounds;
}

function compareBytes(compare: Compare): number {
  const { key, rangeEnd, result, target, operand } = compare;
  // An operand is written even when it is 0 or empty; the end of the range has a tag of two bytes.
  const operandBytes = operand instanceof Uint8Array ? field(operand.length) : number(operand) || 2;
  const end = text(rangeEnd);
  return flag(result !== '=') + flag(target !== 'version') + text(key) + operandBytes + (end === 0 ? 0 : end + 1);
}

/** Something of this many bytes with its tag and length, be it empty. */
function field(bytes: number): number {
  return 1 + varintBytes(bytes) + bytes;
}

function text(bytes: Uint8Array | undefined): number {
  return bytes === undefined ? 0 : piecesBytes(bytes.length);
}

function number(value: number | bigint | undefined): number {
  return value === undefined ? 0 : numberBytes(value);
}

function flag(isSet: boolean | undefined): number {
  return isSet === true ? 2 : 0;
}
