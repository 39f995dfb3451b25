// One transaction on the table (contract 4.6), in three steps. Plan: all compares, of nested transactions too, are judged
// on the state before the transaction, and choose the branches. Check: what would fail inside the chosen branches refuses
// the whole, before anything is written. Run: the ops in order, later reads seeing earlier writes, one revision for all.
//
// Bounded by check.ts, which every request passed before it was logged: depth, number of ops, keys written twice.

import { compareBytes, EMPTY, isOpenEnd } from '../base/bytes.js';
import { assert } from '../base/assert.js';
import type {
  Compare, CompareResult, DeleteRequest, Event, KeyValue, Op, OpResponse, PutRequest, Revision, TxnRequest,
} from '../client.js';
import type { ErrorCode } from '../errors.js';
import { rangeOf } from './range.js';
import { NONE } from './rows.js';
import type { Table } from './table.js';

export interface TxnOutcome {
  readonly succeeded: boolean;
  readonly responses: readonly OpResponse[];
}

/** Which branch is taken, here and in the nested transactions of that branch. */
interface Plan {
  readonly succeeded: boolean;
  readonly ops: readonly Op[];
  /** One for each op of kind 'txn' in `ops`, in order. */
  readonly nested: readonly Plan[];
}

const NO_KVS: readonly KeyValue[] = Object.freeze([]);

export class Execution {
  /** What was written, in order; empty while nothing was. */
  readonly events: Event[] = [];
  readonly #table: Table;
  readonly #begin: Revision;
  readonly #compacted: Revision;

  constructor(table: Table, at: { readonly revision: Revision; readonly compacted: Revision }) {
    this.#table = table;
    this.#begin = at.revision;
    this.#compacted = at.compacted;
  }

  /** The newest revision: the one being written once something has been. */
  get revision(): Revision {
    return this.events.length > 0 ? this.#begin + 1 : this.#begin;
  }

  run(request: TxnRequest): TxnOutcome | ErrorCode {
    const plan = this.#plan(request);
    const code = this.#checkPuts(plan, []) ?? this.#checkRanges(plan);
    return code ?? this.#execute(plan);
  }

  /** A put that is not inside a transaction: the lease is looked at before the key (contract 4.3). */
  runPut(request: PutRequest): TxnOutcome | ErrorCode {
    const code = this.#checkLease(request) ?? this.#checkIgnore(request, []);
    return code ?? { succeeded: true, responses: [this.#put(request)] };
  }

  /** Writes the tombstones of `slots`, which are live and in byte order. */
  removeAll(slots: Iterable<number>): void {
    const main = this.#begin + 1;
    const { keys } = this.#table;
    for (const slot of slots) {
      this.#table.remove(main, slot);
      this.events.push(deleted(keys.bytes(slot), main));
    }
  }

  #plan(request: TxnRequest): Plan {
    const succeeded = (request.compare ?? []).every((compare) => holds(this.#table, compare));
    const ops = (succeeded ? request.success : request.failure) ?? [];
    const nested: Plan[] = [];
    for (const op of ops) if (op.kind === 'txn') nested.push(this.#plan(op.request));
    return { succeeded, ops, nested };
  }

  /** `deletes`: those that will have run before the op looked at. */
  #checkPuts(plan: Plan, deletes: DeleteRequest[]): ErrorCode | null {
    let nested = 0;
    for (const op of plan.ops) {
      let code: ErrorCode | null = null;
      if (op.kind === 'put') code = this.#checkIgnore(op.request, deletes) ?? this.#checkLease(op.request);
      else if (op.kind === 'delete') deletes.push(op.request);
      else if (op.kind === 'txn') code = this.#checkPuts(plan.nested[nested++] as Plan, deletes);
      if (code !== null) return code;
    }
    return null;
  }

  #checkLease(request: PutRequest): ErrorCode | null {
    const lease = request.lease ?? 0n;
    return lease === 0n || this.#table.leases.get(lease) !== null ? null : 'lease_not_found';
  }

  /**
   * What is to be kept must be there. An earlier delete of the key in the same transaction gets through the duplicate-key
   * rule in its holes; etcd's server then stops for good, here it counts as a missing key.
   */
  #checkIgnore(request: PutRequest, deletes: readonly DeleteRequest[]): ErrorCode | null {
    if (request.ignoreValue !== true && request.ignoreLease !== true) return null;
    if (this.#table.liveRow(request.key) === NONE) return 'key_not_found';
    const gone = deletes.some((each) => covers(each, request.key));
    return gone ? 'key_not_found' : null;
  }

  #checkRanges(plan: Plan): ErrorCode | null {
    let nested = 0;
    for (const op of plan.ops) {
      let code: ErrorCode | null = null;
      if (op.kind === 'txn') code = this.#checkRanges(plan.nested[nested++] as Plan);
      else if (op.kind === 'range') code = this.#checkRevision(op.request.revision ?? 0);
      if (code !== null) return code;
    }
    return null;
  }

  /** Stricter than outside a transaction: a negative revision is not "now". */
  #checkRevision(revision: Revision): ErrorCode | null {
    if (revision === 0) return null;
    if (revision > this.#begin) return 'future_revision';
    return revision < this.#compacted ? 'compacted' : null;
  }

  #execute(plan: Plan): TxnOutcome {
    const responses: OpResponse[] = [];
    let nested = 0;
    for (const op of plan.ops) {
      switch (op.kind) {
        case 'range': {
          const result = rangeOf(this.#table, op.request, { current: this.revision, compacted: this.#compacted });
          assert(typeof result !== 'string', 'a range that was checked cannot fail');
          responses.push({ kind: 'range', response: { revision: this.revision, ...result } });
          break;
        }
        case 'put':
          responses.push(this.#put(op.request));
          break;
        case 'delete':
          responses.push(this.#delete(op.request));
          break;
        case 'txn': {
          // etcd leaves the header of a nested answer empty (contract 1.5).
          const outcome = this.#execute(plan.nested[nested++] as Plan);
          responses.push({ kind: 'txn', response: { revision: 0, ...outcome } });
          break;
        }
      }
    }
    return { succeeded: plan.succeeded, responses };
  }

  #put(request: PutRequest): OpResponse {
    const table = this.#table;
    const { rows } = table;
    const main = this.#begin + 1;
    const keeps = request.ignoreValue === true || request.ignoreLease === true;
    const old = keeps || request.prevKv === true ? table.liveRow(request.key) : NONE;
    const prevKv = request.prevKv === true && old !== NONE ? table.kv(old) : null;
    const value = request.ignoreValue === true ? table.value(old) : request.value;
    const lease = request.ignoreLease === true ? rows.lease(old) : (request.lease ?? 0n);
    const row = table.put(main, request.key, value, lease);
    const kv: KeyValue = {
      key: request.key,
      value,
      createRevision: rows.create(row),
      modRevision: main,
      version: rows.version(row),
      lease,
    };
    this.events.push({ kind: 'put', kv, prevKv: null });
    return { kind: 'put', response: { revision: main, prevKv } };
  }

  #delete(request: DeleteRequest): OpResponse {
    const table = this.#table;
    const slots = this.#liveSlots(request);
    const prevKvs = request.prevKv === true ? slots.map((slot) => table.kv(table.keys.newest(slot))) : NO_KVS;
    this.removeAll(slots);
    return { kind: 'delete', response: { revision: this.revision, deleted: slots.length, prevKvs } };
  }

  #liveSlots(request: DeleteRequest): number[] {
    const { keys } = this.#table;
    if (request.rangeEnd === undefined || request.rangeEnd.length === 0) {
      const slot = keys.find(request.key);
      return slot === NONE || !keys.isLive(slot) ? [] : [slot];
    }
    const { from, to } = this.#table.places(request.key, request.rangeEnd);
    const slots: number[] = [];
    for (let place = from; place < to; place = keys.after(place)) {
      const slot = keys.slotAt(place);
      if (keys.isLive(slot)) slots.push(slot);
    }
    return slots;
  }
}

function covers(range: DeleteRequest, key: Uint8Array): boolean {
  const { key: start, rangeEnd = EMPTY } = range;
  const from = compareBytes(key, start);
  if (rangeEnd.length === 0) return from === 0;
  return from >= 0 && (isOpenEnd(rangeEnd) || compareBytes(key, rangeEnd) < 0);
}

function deleted(key: Uint8Array, main: Revision): Event {
  const kv: KeyValue = { key, value: EMPTY, createRevision: 0, modRevision: main, version: 0, lease: 0n };
  return { kind: 'delete', kv, prevKv: null };
}

/** Over a range, all its pairs must pass; an empty range is like a missing key. */
function holds(table: Table, compare: Compare): boolean {
  const { key, rangeEnd = EMPTY } = compare;
  if (rangeEnd.length === 0) return rowHolds(table, compare, table.liveRow(key));
  const { keys } = table;
  const { from, to } = table.places(key, rangeEnd);
  let some = false;
  for (let place = from; place < to; place = keys.after(place)) {
    const slot = keys.slotAt(place);
    if (!keys.isLive(slot)) continue;
    if (!rowHolds(table, compare, keys.newest(slot))) return false;
    some = true;
  }
  return some || rowHolds(table, compare, NONE);
}

/** A missing key (`row` NONE) compares as zeros, except that no value compares with anything. */
function rowHolds(table: Table, compare: Compare, row: number): boolean {
  const { rows } = table;
  const missing = row === NONE;
  switch (compare.target) {
    case 'version':
      return fits(compare.result, (missing ? 0 : rows.version(row)) - compare.operand);
    case 'create':
      return fits(compare.result, (missing ? 0 : rows.create(row)) - compare.operand);
    case 'mod':
      return fits(compare.result, (missing ? 0 : rows.main(row)) - compare.operand);
    case 'value':
      return !missing && fits(compare.result, compareBytes(table.value(row), compare.operand));
    case 'lease': {
      const lease = missing ? 0n : rows.lease(row);
      if (lease === compare.operand) return fits(compare.result, 0);
      return fits(compare.result, lease < compare.operand ? -1 : 1);
    }
  }
}

function fits(result: CompareResult | 'any', difference: number): boolean {
  switch (result) {
    case '=':
      return difference === 0;
    case '!=':
      return difference !== 0;
    case '>':
      return difference > 0;
    case '<':
      return difference < 0;
    case 'any':
      return true;
  }
}
