// The answer to a range request, in etcd's order of steps (contract 4.2). Rows are gathered as numbers; pairs are told only of
// those that survive filters and limit, and whoever wants them has them as objects or writes them elsewhere (telling.ts).
//
// A large range is read in slices, between which the store goes on: the answer is of one revision all the same, because versions
// above it are passed over and those below it stay while the rows are pinned (store.ts). Where the next slice begins is told by
// the last key, not by its place: places change as keys come.

import { EMPTY } from '../base/bytes.js';
import type { KeyValue, RangeRequest, Revision } from '../client.js';
import type { ErrorCode } from '../errors.js';
import { NONE } from './rows.js';
import { orderBy, RowSort, type IsAfter } from './row-sort.js';
import type { Steps } from './steps.js';
import type { Table } from './table.js';

export interface RangeResult {
  /** Values are views into the store's memory: never to be written to, good for as long as they are held. */
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: number;
}

export interface RangeBounds {
  /** The newest revision the reader may see: inside a transaction that has written, the one being written. */
  readonly current: Revision;
  readonly compacted: Revision;
}

const NO_KVS: readonly KeyValue[] = Object.freeze([]);
const NOTHING: RangeResult = Object.freeze({ kvs: NO_KVS, more: false, count: 0 });

/** All of it at once. */
export function rangeOf(table: Table, request: RangeRequest, bounds: RangeBounds): RangeResult | ErrorCode {
  const revision = revisionOf(request, bounds);
  if (typeof revision === 'string') return revision;
  if (isPoint(request)) return pointOf(table, request, rowOf(table, request, revision === bounds.current ? null : revision));
  const reading = new Reading(table, request, revision, bounds.current);
  reading.step({ left: Infinity });
  return { kvs: reading.rows.map((row) => table.kv(row, request.keysOnly)), more: reading.more, count: reading.count };
}

/** The same to be read in slices; of a single key, nothing is gained by it. */
export function readingOf(table: Table, request: RangeRequest, bounds: RangeBounds): Reading | ErrorCode {
  const revision = revisionOf(request, bounds);
  return typeof revision === 'string' ? revision : new Reading(table, request, revision, bounds.current);
}

export function isPoint({ rangeEnd }: RangeRequest): boolean {
  return rangeEnd === undefined || rangeEnd.length === 0;
}

function revisionOf({ revision: asked = 0 }: RangeRequest, { current, compacted }: RangeBounds): Revision | ErrorCode {
  if (asked > current) return 'future_revision';
  const revision = asked <= 0 ? current : asked;
  return revision < compacted ? 'compacted' : revision;
}

/** The row of the one key that is asked for; NONE: there is none. `guess`: see `Keys.find`. */
export function pointRow(table: Table, request: RangeRequest, bounds: RangeBounds, guess: number): number | ErrorCode {
  const revision = revisionOf(request, bounds);
  if (typeof revision === 'string') return revision;
  return rowOf(table, request, revision === bounds.current ? null : revision, guess);
}

/** `revision` null: the newest. */
function rowOf(table: Table, request: RangeRequest, revision: Revision | null, guess = NONE): number {
  const slot = table.keys.find(request.key, guess);
  if (slot === NONE) return NONE;
  return revision === null ? table.liveRowOf(slot) : table.rowAt(slot, revision);
}

function pointOf(table: Table, request: RangeRequest, row: number): RangeResult {
  if (row === NONE) return NOTHING;
  if (!isTold(table, row, request)) return { kvs: NO_KVS, more: false, count: 1 };
  return { kvs: [table.kv(row, request.keysOnly)], more: false, count: 1 };
}

/** Whether a row that is counted is told as well. */
export function isTold(table: Table, row: number, request: RangeRequest): boolean {
  return request.countOnly !== true && passes(table, row, request);
}

export class Reading {
  /** Of the answer, in its order, once it is all read. */
  readonly rows: number[] = [];
  /** All keys in the range, before limit and filters. */
  count = 0;
  more = false;
  readonly request: RangeRequest;
  readonly #table: Table;
  readonly #revision: Revision;
  readonly #isFiltered: boolean;
  /** From the last key to the first. */
  readonly #isBackward: boolean;
  /** Rows that are kept as they come; one more only tells that there is more. */
  readonly #rowsMax: number;
  readonly #limit: number;
  /** Nothing that is not kept needs to be looked at: the count is known. */
  readonly #isCounted: boolean;
  #phase: 'walk' | 'sort' | 'done' = 'walk';
  /** How the answer is sorted; null: in the order of keys. */
  readonly #isAfter: IsAfter | null;
  /** Of all that is to be sorted the first alone is wanted: whoever stands in line asks so, once for each that leaves it. */
  readonly #isFirstOnly: boolean;
  /** The slot looked at last; NONE: none yet. */
  #slot = NONE;
  #sort: RowSort | null = null;

  constructor(table: Table, request: RangeRequest, revision: Revision, current: Revision) {
    this.#table = table;
    this.request = request;
    this.#revision = revision;
    const { limit = 0, countOnly, sortOrder = 'none', sortTarget = 'key' } = request;
    this.#limit = limit > 0 ? limit : Infinity;
    this.#isFiltered = hasFilter(request);
    this.#isBackward = sortTarget === 'key' && sortOrder === 'descend';
    // Order 'none' reads no further than the limit even when it then sorts by something else; that is etcd's way, unless
    // there is a filter. In the order of keys, either way, what lies beyond the limit need not be gathered.
    const cut = sortTarget === 'key' || (sortOrder === 'none' && !this.#isFiltered);
    this.#rowsMax = cut ? this.#limit + 1 : Infinity;
    if (countOnly === true) this.#rowsMax = 0;
    this.#isAfter = sortTarget === 'key' || countOnly === true ? null : orderBy(table, sortTarget, sortOrder === 'descend');
    this.#isFirstOnly = this.#isAfter !== null && this.#limit === 1 && this.#rowsMax === Infinity;
    this.#isCounted = revision === current && this.#rowsMax < Infinity;
    if (!this.#isCounted) return;
    const { from, to } = this.#places();
    this.count = table.keys.countLive(from, to);
  }

  /** Looks at as many keys more as there are steps; true when the answer is known. */
  step(steps: Steps): boolean {
    if (this.#phase === 'walk') {
      const isEnd = this.#isBackward ? this.#walkBack(steps) : this.#walk(steps);
      if (!isEnd) return false;
      this.#afterWalk();
    }
    if (this.#phase === 'sort') {
      if (this.#sort?.step(steps) === false) return false;
      this.#cut();
    }
    return true;
  }

  /** True: there is nothing more to look at. */
  #walk(steps: Steps): boolean {
    const { keys } = this.#table;
    const { from, to } = this.#places();
    // While rows are pinned no key goes: the last one is where it belongs.
    let place = this.#slot === NONE ? from : keys.after(keys.placeOf(keys.bytes(this.#slot)));
    for (; place < to; place = keys.after(place)) {
      if (this.#isEnough) return true;
      if (steps.left <= 0) return false;
      steps.left -= 1;
      this.#look(keys.slotAt(place));
    }
    return true;
  }

  #walkBack(steps: Steps): boolean {
    const { keys } = this.#table;
    const { from, to } = this.#places();
    let place = this.#slot === NONE ? to : keys.placeOf(keys.bytes(this.#slot));
    while (place > from) {
      if (this.#isEnough) return true;
      if (steps.left <= 0) return false;
      steps.left -= 1;
      place = keys.before(place);
      this.#look(keys.slotAt(place));
    }
    return true;
  }

  #places(): { from: number; to: number } {
    return this.#table.places(this.request.key, this.request.rangeEnd ?? EMPTY);
  }

  get #isEnough(): boolean {
    return this.#isCounted && this.rows.length >= this.#rowsMax;
  }

  #look(slot: number): void {
    this.#slot = slot;
    const row = this.#table.rowAt(slot, this.#revision);
    if (row === NONE) return;
    if (!this.#isCounted) this.count += 1;
    if (this.rows.length >= this.#rowsMax) return;
    if (this.#isFiltered && !passes(this.#table, row, this.request)) return;
    const { rows } = this;
    if (!this.#isFirstOnly || rows.length === 0) {
      rows.push(row);
      return;
    }
    this.more = true;
    if (this.#isAfter !== null && this.#isAfter(rows[0] as number, row) > 0) rows[0] = row;
  }

  #afterWalk(): void {
    this.#phase = 'sort';
    if (this.#isAfter !== null && this.rows.length > 1) this.#sort = new RowSort(this.rows, this.#isAfter);
  }

  #cut(): void {
    this.#phase = 'done';
    this.#sort = null;
    if (this.request.countOnly === true) return;
    if (this.rows.length <= this.#limit) return;
    this.more = true;
    this.rows.length = this.#limit;
  }
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
