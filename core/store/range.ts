// The answer to a range request, in etcd's order of steps (contract 4.2). Rows are gathered as numbers; pairs are made
// only for those that survive filters and limit.

import { compareBytes } from '../base/bytes.js';
import type { KeyValue, RangeRequest, Revision, SortTarget } from '../client.js';
import type { ErrorCode } from '../errors.js';
import { NONE } from './rows.js';
import type { Table } from './table.js';

export interface RangeResult {
  /** Values are views into the store's memory: never to be written to, good for as long as they are held. */
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: number;
}

const NO_KVS: readonly KeyValue[] = Object.freeze([]);
const NOTHING: RangeResult = Object.freeze({ kvs: NO_KVS, more: false, count: 0 });

/** `current` is the newest revision the reader may see: inside a transaction that has written, the one being written. */
export function rangeOf(
  table: Table,
  request: RangeRequest,
  bounds: { readonly current: Revision; readonly compacted: Revision },
): RangeResult | ErrorCode {
  const asked = request.revision ?? 0;
  if (asked > bounds.current) return 'future_revision';
  const revision = asked <= 0 ? bounds.current : asked;
  if (revision < bounds.compacted) return 'compacted';
  const isCurrent = revision === bounds.current;
  if (request.rangeEnd === undefined || request.rangeEnd.length === 0) return pointOf(table, request, revision, isCurrent);

  const { from, to } = table.places(request.key, request.rangeEnd);
  const filtered = hasFilter(request);
  const order = request.sortOrder ?? 'none';
  const target = request.sortTarget ?? 'key';
  const limit = request.limit !== undefined && request.limit > 0 ? request.limit : Infinity;
  if (request.countOnly === true) return { kvs: NO_KVS, more: false, count: countOf(table, from, to, revision, isCurrent) };

  // Already in order and unfiltered: what lies beyond the limit need not be gathered, only counted. Order 'none' reads
  // no further even when it then sorts by something else; that is etcd's way.
  const inKeyOrder = target === 'key' && order !== 'descend';
  const cut = !filtered && (order === 'none' || inKeyOrder);
  let rows = gather(table, from, to, { revision, isCurrent, max: cut ? limit + 1 : Infinity });
  const count = cut && rows.length > limit ? countOf(table, from, to, revision, isCurrent) : rows.length;
  if (filtered) rows = rows.filter((row) => passes(table, row, request));
  if (!inKeyOrder) sortRows(table, rows, target, order === 'descend');
  const more = rows.length > limit;
  if (more) rows.length = limit;
  return { kvs: rows.map((row) => table.kv(row, request.keysOnly)), more, count };
}

function pointOf(table: Table, request: RangeRequest, revision: Revision, isCurrent: boolean): RangeResult {
  const slot = table.keys.find(request.key);
  if (slot === NONE) return NOTHING;
  const row = isCurrent ? table.liveRow(request.key) : table.rowAt(slot, revision);
  if (row === NONE) return NOTHING;
  if (request.countOnly === true || !passes(table, row, request)) return { kvs: NO_KVS, more: false, count: 1 };
  return { kvs: [table.kv(row, request.keysOnly)], more: false, count: 1 };
}

function gather(
  table: Table,
  from: number,
  to: number,
  options: { readonly revision: Revision; readonly isCurrent: boolean; readonly max: number },
): number[] {
  const { keys } = table;
  const { revision, isCurrent, max } = options;
  const found: number[] = [];
  for (let place = from; place < to && found.length < max; place = keys.after(place)) {
    const slot = keys.slotAt(place);
    if (!isCurrent) {
      const row = table.rowAt(slot, revision);
      if (row !== NONE) found.push(row);
    } else if (keys.isLive(slot)) {
      found.push(keys.newest(slot));
    }
  }
  return found;
}

function countOf(table: Table, from: number, to: number, revision: Revision, isCurrent: boolean): number {
  const { keys } = table;
  if (isCurrent) return keys.countLive(from, to);
  let count = 0;
  for (let place = from; place < to; place = keys.after(place)) {
    if (table.rowAt(keys.slotAt(place), revision) !== NONE) count += 1;
  }
  return count;
}

function hasFilter(request: RangeRequest): boolean {
  return (
    isSet(request.minModRevision) || isSet(request.maxModRevision) ||
    isSet(request.minCreateRevision) || isSet(request.maxCreateRevision)
  );
}

function isSet(bound: Revision | undefined): bound is Revision {
  return bound !== undefined && bound !== 0;
}

function passes(table: Table, row: number, request: RangeRequest): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  const mod = table.rows.main(row);
  if (isSet(minModRevision) && mod < minModRevision) return false;
  if (isSet(maxModRevision) && mod > maxModRevision) return false;
  const create = table.rows.create(row);
  if (isSet(minCreateRevision) && create < minCreateRevision) return false;
  return !isSet(maxCreateRevision) || create <= maxCreateRevision;
}

/** Stable, and so is its reverse: rows that are equal stay in key order. */
function sortRows(table: Table, rows: number[], target: SortTarget, descending: boolean): void {
  if (target === 'key') {
    if (descending) rows.reverse();
    return;
  }
  const ascending = comparison(table, target);
  rows.sort(descending ? (a, b) => ascending(b, a) : ascending);
}

function comparison(table: Table, target: Exclude<SortTarget, 'key'>): (a: number, b: number) => number {
  const { rows } = table;
  switch (target) {
    case 'version':
      return (a, b) => rows.version(a) - rows.version(b);
    case 'create':
      return (a, b) => rows.create(a) - rows.create(b);
    case 'mod':
      return (a, b) => rows.main(a) - rows.main(b);
    case 'value':
      return (a, b) => compareBytes(table.value(a), table.value(b));
  }
}
