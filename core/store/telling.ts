// Tells the pairs of a range that was read, one by one, to whoever wants them in a form of its own: no object is made for a pair,
// what is told of it is where its bytes lie. Twice, because a form is measured before it is written; in slices, as it was read.

import { assert } from '../base/assert.js';
import { EMPTY } from '../base/bytes.js';
import type {
  Header, KeyValue, LeaseId, PairPlace, RangeForm, RangeRequest, RangeResponse, Revision,
} from '../client.js';
import { isTold, type Reading } from './range.js';
import { NONE } from './rows.js';
import type { Steps } from './steps.js';
import type { Table } from './table.js';

/** So many bytes of a value take about as long as looking at one pair. */
const BYTES_A_STEP = 1024;
/** Of a pair besides its key and value, about. */
const PAIR_BYTES = 32;

export class Telling<T> {
  readonly #reading: Reading;
  readonly #form: RangeForm<T>;
  readonly #header: Header;
  readonly #pair: Pair;
  #phase: 'measure' | 'write' = 'measure';
  #at = 0;
  #bytes = 0;

  /** Of a reading that is done. Its rows must not move until this is done as well. */
  constructor(table: Table, reading: Reading, header: Header, form: RangeForm<T>) {
    this.#reading = reading;
    this.#form = form;
    this.#header = header;
    this.#pair = new Pair(table, reading.request.keysOnly === true);
  }

  /** Has as many pairs measured as there are steps; true when all are. */
  measure(steps: Steps): boolean {
    if (this.#phase === 'write') return true;
    const { rows } = this.#reading;
    const pair = this.#pair;
    for (; this.#at < rows.length; steps.left--) {
      if (steps.left <= 0) return false;
      pair.row = rows[this.#at++] as number;
      this.#form.measure(pair);
      this.#bytes += pair.keyLength + pair.valueLength + PAIR_BYTES;
    }
    return true;
  }

  /** About what the form takes, of those that are measured. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Tells about as many pairs as there are steps, once all are measured; true when all are told. */
  step(steps: Steps): boolean {
    if (!this.measure(steps)) return false;
    const { rows, more, count } = this.#reading;
    const pair = this.#pair;
    const form = this.#form;
    if (this.#phase === 'measure') {
      form.begin({ header: this.#header, more, count });
      this.#phase = 'write';
      this.#at = 0;
    }
    for (; this.#at < rows.length; steps.left--) {
      if (steps.left <= 0) return false;
      pair.row = rows[this.#at++] as number;
      form.write(pair);
      steps.left -= Math.floor(pair.valueLength / BYTES_A_STEP);
    }
    return true;
  }
}

/** The answer to a range of one key: nothing is made for it, and it is good until the next one. */
export class Point {
  readonly #table: Table;
  readonly #pair: Pair;
  count = 0;
  /** Null: there is none, or it was not wanted. */
  pair: PairPlace | null = null;

  constructor(table: Table) {
    this.#table = table;
    this.#pair = new Pair(table, false);
  }

  /** `row` NONE: there is no such key. */
  at(row: number, request: RangeRequest): this {
    this.count = row === NONE ? 0 : 1;
    this.pair = null;
    if (row === NONE || !isTold(this.#table, row, request)) return this;
    this.#pair.row = row;
    this.#pair.keysOnly = request.keysOnly === true;
    this.pair = this.#pair;
    return this;
  }
}

/** Looks up what is asked of it: most of it is asked once. */
class Pair implements PairPlace {
  readonly #table: Table;
  keysOnly: boolean;
  row = 0;

  constructor(table: Table, keysOnly: boolean) {
    this.#table = table;
    this.keysOnly = keysOnly;
  }

  get keyBytes(): Uint8Array {
    const { rows, keys } = this.#table;
    return keys.chunkBytes(rows.slot(this.row));
  }

  get keyAt(): number {
    const { rows, keys } = this.#table;
    return keys.offset(rows.slot(this.row));
  }

  get keyLength(): number {
    const { rows, keys } = this.#table;
    return keys.length(rows.slot(this.row));
  }

  get valueBytes(): Uint8Array {
    const { rows, values } = this.#table;
    return this.valueLength === 0 ? EMPTY : values.bytesOf(rows.chunk(this.row));
  }

  get valueAt(): number {
    return this.#table.rows.offset(this.row);
  }

  get valueLength(): number {
    return this.keysOnly ? 0 : this.#table.rows.valueLength(this.row);
  }

  get createRevision(): Revision {
    return this.#table.rows.create(this.row);
  }

  get modRevision(): Revision {
    return this.#table.rows.main(this.row);
  }

  get version(): number {
    return this.#table.rows.version(this.row);
  }

  get lease(): LeaseId {
    return this.#table.rows.lease(this.row);
  }

  toKeyValue(): KeyValue {
    return this.#table.kv(this.row, this.keysOnly);
  }
}

/** The form that has an object for each pair: what `range` answers. */
export class PairList implements RangeForm<RangeResponse> {
  readonly #kvs: KeyValue[] = [];
  #facts: Pick<RangeResponse, 'header' | 'more' | 'count'> | null = null;

  measure(): void {
    // An object is as large as it is.
  }

  begin(facts: Pick<RangeResponse, 'header' | 'more' | 'count'>): void {
    this.#facts = facts;
  }

  write(pair: PairPlace): void {
    this.#kvs.push(pair.toKeyValue());
  }

  only(facts: Pick<RangeResponse, 'header' | 'more' | 'count'>, pair: PairPlace | null): RangeResponse {
    return { ...facts, kvs: pair === null ? [] : [pair.toKeyValue()] };
  }

  end(): RangeResponse {
    assert(this.#facts !== null, 'a form ends that has begun');
    return { ...this.#facts, kvs: this.#kvs };
  }
}
