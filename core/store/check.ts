// What can be judged about a request before it costs a log entry, in the order etcd judges it (contract 4.3, 4.6). Pure:
// it does not see the store. What depends on the store (does the key, the lease, the revision exist) is judged by apply.
//
// The duplicate-key rule is etcd's with its holes, because clients may rely on both: a delete up to `\0` collides with no
// put, and of two nested siblings the later may delete what the earlier put.

import { latin1 } from '../base/bytes.js';
import type { DeleteRequest, Op, PutRequest, RangeRequest, TxnRequest } from '../client.js';
import type { ErrorCode } from '../errors.js';
import type { Asker } from './access.js';
import { loneOp } from './command.js';
import { countBelow } from './key-set.js';
import { PUT_OVERHEAD_BYTES, TXN_DEPTH_MAX } from './limits.js';
import { requestBytes, type Envelope } from './request-size.js';

export interface Limits {
  /** In one branch of a transaction; nested ones share the budget of their parent (contract 4.6). */
  readonly txnOpsMax: number;
  readonly requestBytesMax: number;
  /** What goes around a request in etcd's log, and counts. */
  readonly envelope: Envelope;
}

const ORDERS: ReadonlySet<string | undefined> = new Set([undefined, 'none', 'ascend', 'descend']);
const TARGETS: ReadonlySet<string | undefined> = new Set([undefined, 'key', 'version', 'create', 'mod', 'value']);

/** `asker`: while auth is on, whoever asks; its name counts as bytes of the request. */
export function checkTxn(request: TxnRequest, limits: Limits, asker: Asker | null = null): ErrorCode | null {
  const lone = loneOp(request);
  if (lone !== null && lone.kind !== 'txn' && limits.txnOpsMax >= 1) {
    const code = checkOp(lone, 0, 0);
    if (code !== null || lone.kind === 'range') return code;
    return isTooLarge(request, limits, asker) ? 'request_too_large' : null;
  }
  const code = checkShape(request, limits.txnOpsMax, 0);
  if (code !== null) return code;
  if (writesOf(request.success ?? []) === null || writesOf(request.failure ?? []) === null) return 'duplicate_key';
  if (!isReadOnly(request) && isTooLarge(request, limits, asker)) return 'request_too_large';
  return null;
}

/** A put, which nearly every request is, need not be counted to the byte unless it comes near. */
function isTooLarge(request: TxnRequest, { requestBytesMax, envelope }: Limits, asker: Asker | null): boolean {
  const lone = loneOp(request);
  const payload = lone?.kind === 'put' ? lone.request.key.length + lone.request.value.length : Infinity;
  const nameBytesMax = 3 * (asker?.user?.length ?? 0);
  if (payload < requestBytesMax - PUT_OVERHEAD_BYTES - nameBytesMax) return false;
  return requestBytes(request, envelope, asker) > requestBytesMax;
}

export function checkRange(request: RangeRequest): ErrorCode | null {
  if (request.key.length === 0) return 'key_empty';
  // The types exclude an unknown sort; what came over a wire may still be one.
  return ORDERS.has(request.sortOrder) && TARGETS.has(request.sortTarget) ? null : 'invalid_sort';
}

/** All ops in both branches, nested ones too, are ranges. Call it on checked requests only: it trusts their depth. */
export function isReadOnly(request: TxnRequest): boolean {
  return everyOp(request, (op) => op.kind === 'range');
}

/** Read-only, and every range may be answered from stale data. A transaction without ops counts (contract 4.6). */
export function isSerializable(request: TxnRequest): boolean {
  return everyOp(request, (op) => op.kind === 'range' && op.request.serializable === true);
}

function everyOp(request: TxnRequest, holds: (op: Op) => boolean): boolean {
  for (const branch of [request.success ?? [], request.failure ?? []]) {
    for (const op of branch) {
      if (op.kind === 'txn' ? !everyOp(op.request, holds) : !holds(op)) return false;
    }
  }
  return true;
}

function checkShape(request: TxnRequest, opsMax: number, depth: number): ErrorCode | null {
  const { compare = [], success = [], failure = [] } = request;
  const ops = Math.max(compare.length, success.length, failure.length);
  if (ops > opsMax || depth > TXN_DEPTH_MAX) return 'too_many_ops';
  for (const each of compare) if (each.key.length === 0) return 'key_empty';
  for (const branch of [success, failure]) {
    for (const op of branch) {
      const code = checkOp(op, opsMax - ops, depth + 1);
      if (code !== null) return code;
    }
  }
  return null;
}

function checkOp(op: Op, opsMax: number, depth: number): ErrorCode | null {
  switch (op.kind) {
    case 'range':
      return checkRange(op.request);
    case 'put':
      return checkPut(op.request);
    case 'delete':
      return op.request.key.length === 0 ? 'key_empty' : null;
    case 'txn':
      return checkShape(op.request, opsMax, depth);
    default:
      // An op of no kind, as a wire may deliver it.
      return 'key_not_found';
  }
}

function checkPut(request: PutRequest): ErrorCode | null {
  if (request.key.length === 0) return 'key_empty';
  if (request.ignoreValue === true && request.value.length > 0) return 'value_provided';
  if (request.ignoreLease === true && request.lease !== undefined && request.lease !== 0n) return 'lease_provided';
  return null;
}

/** What the ops of one branch would write, nested ones included. */
interface Writes {
  readonly puts: Set<string>;
  readonly deletes: Intervals;
}

/**
 * Null when a key is written twice. The order matters and is etcd's: first the deletes of this level, then the nested
 * transactions one after the other (each against all that was gathered before it), last the puts of this level.
 */
function writesOf(ops: readonly Op[]): Writes | null {
  const puts = new Set<string>();
  const deletes = new Intervals();
  for (const op of ops) if (op.kind === 'delete') deletes.add(...intervalOf(op.request));
  for (const op of ops) {
    if (op.kind === 'txn' && !addNested(op.request, puts, deletes)) return null;
  }
  for (const op of ops) {
    if (op.kind !== 'put') continue;
    const key = latin1(op.request.key);
    if (puts.has(key) || deletes.has(key)) return null;
    puts.add(key);
  }
  return { puts, deletes };
}

/** False when the nested transaction collides. Its two branches never run both, so they may share keys. */
function addNested(request: TxnRequest, puts: Set<string>, deletes: Intervals): boolean {
  const success = writesOf(request.success ?? []);
  const failure = success === null ? null : writesOf(request.failure ?? []);
  if (success === null || failure === null) return false;
  for (const key of success.puts) {
    if (puts.has(key) || deletes.has(key)) return false;
    puts.add(key);
  }
  for (const key of failure.puts) {
    if ((puts.has(key) && !success.puts.has(key)) || deletes.has(key)) return false;
    puts.add(key);
  }
  deletes.addAll(success.deletes);
  deletes.addAll(failure.deletes);
  return true;
}

function intervalOf(request: DeleteRequest): [start: string, end: string] {
  const start = latin1(request.key);
  const end = request.rangeEnd === undefined || request.rangeEnd.length === 0 ? `${start}\0` : latin1(request.rangeEnd);
  return [start, end];
}

/** A set of keys given by intervals [start, end), kept disjoint and ascending. An end at or before its start adds nothing. */
class Intervals {
  readonly #starts: string[] = [];
  readonly #ends: string[] = [];

  add(start: string, end: string): void {
    if (end <= start) return;
    // Those from `first` up to `last` touch or overlap the new one and are merged into it.
    const first = countBelow(this.#ends, start, false);
    const last = countBelow(this.#starts, end, true);
    const least = first < last ? (this.#starts[first] ?? start) : start;
    const greatest = first < last ? (this.#ends[last - 1] ?? end) : end;
    this.#starts.splice(first, last - first, least < start ? least : start);
    this.#ends.splice(first, last - first, greatest > end ? greatest : end);
  }

  addAll(other: Intervals): void {
    other.#starts.forEach((start, i) => this.add(start, other.#ends[i] ?? start));
  }

  has(key: string): boolean {
    const at = countBelow(this.#ends, key, true);
    const start = this.#starts[at];
    return start !== undefined && start <= key;
  }
}
