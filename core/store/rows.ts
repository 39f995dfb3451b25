// One row for each version of each key, in the order they came to be, which is the order of revisions. Rows are 56 bytes
// in pages of typed arrays; there is no object per version. A row's number is its position, and changes when `move` slides
// it down over removed ones: nobody outside this room keeps one across an apply.
//
//   main       revision            never decreasing from row to row
//   create     revision that began this incarnation of the key; 0 for a tombstone
//   version    1, 2, 3 … within the incarnation; 0 for a tombstone
//   lease      id, 0n for none
//   value      chunk, offset and length in the arena
//   slot       the key (keys.ts)
//   prev next  the key's version before and after this one, or NONE
//
// While history is being removed there is a gap, [gapStart, gapEnd), of rows that mean nothing: `first` and `after` step
// over it.

import { assert } from '../base/assert.js';

export const NONE = 0xffffffff;

const PAGE_SHIFT = 12;
const PAGE_ROWS = 1 << PAGE_SHIFT;
const PAGE_MASK = PAGE_ROWS - 1;

// A row is 7 words of 8 bytes, or 14 of 4.
const WIDE = 7;
const NARROW = 14;
const ROW_BYTES = 8 * WIDE;
const MAIN = 0;
const CREATE = 1;
const VERSION = 2;
const LEASE = 3;
const LEASE_LOW = 6;
const LEASE_HIGH = 7;
const CHUNK = 8;
const OFFSET = 9;
const LENGTH = 10;
const SLOT = 11;
const PREV = 12;
const NEXT = 13;

export class Rows {
  /** One more than the last row's number. */
  length = 0;
  gapStart = 0;
  gapEnd = 0;
  /** What `bringNear` read; it means nothing, but what nobody keeps need not be read. */
  seen = 0;

  readonly #wide: Float64Array[] = [];
  readonly #big: BigInt64Array[] = [];
  readonly #narrow: Uint32Array[] = [];

  get sizeBytes(): number {
    return this.#wide.length * PAGE_ROWS * ROW_BYTES;
  }

  get liveBytes(): number {
    return (this.length - (this.gapEnd - this.gapStart)) * ROW_BYTES;
  }

  /** A new last row, linked behind `prev`. */
  append(slot: number, prev: number, main: number): number {
    const row = this.length;
    if ((row & PAGE_MASK) === 0 && row >>> PAGE_SHIFT === this.#wide.length) this.#addPage();
    this.length = row + 1;
    this.#setWide(row, MAIN, main);
    this.#setNarrow(row, SLOT, slot);
    this.#setNarrow(row, PREV, prev);
    this.#setNarrow(row, NEXT, NONE);
    if (prev !== NONE) this.#setNarrow(prev, NEXT, row);
    return row;
  }

  /** The rest of a new row. */
  fill(row: number, create: number, version: number, lease: bigint): void {
    const page = this.#wide[row >>> PAGE_SHIFT] as Float64Array;
    const at = (row & PAGE_MASK) * WIDE;
    page[at + CREATE] = create;
    page[at + VERSION] = version;
    (this.#big[row >>> PAGE_SHIFT] as BigInt64Array)[at + LEASE] = lease;
  }

  setValue(row: number, chunk: number, offset: number, length: number): void {
    const page = this.#narrow[row >>> PAGE_SHIFT] as Uint32Array;
    const at = (row & PAGE_MASK) * NARROW;
    page[at + CHUNK] = chunk;
    page[at + OFFSET] = offset;
    page[at + LENGTH] = length;
  }

  /** Reads both ends of the first `count` of `rows`, which may lie in two lines of memory each (foresight.ts). */
  bringNear(rows: Uint32Array, count: number): void {
    let seen = 0;
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      const page = this.#narrow[row >>> PAGE_SHIFT] as Uint32Array;
      const at = (row & PAGE_MASK) * NARROW;
      seen ^= (page[at] as number) ^ (page[at + NEXT] as number);
    }
    this.seen ^= seen;
  }

  main(row: number): number {
    return this.#getWide(row, MAIN);
  }

  create(row: number): number {
    return this.#getWide(row, CREATE);
  }

  /** 0 for a tombstone. */
  version(row: number): number {
    return this.#getWide(row, VERSION);
  }

  lease(row: number): bigint {
    if (!this.hasLease(row)) return 0n;
    return (this.#big[row >>> PAGE_SHIFT] as BigInt64Array)[(row & PAGE_MASK) * WIDE + LEASE] as bigint;
  }

  hasLease(row: number): boolean {
    const page = this.#narrow[row >>> PAGE_SHIFT] as Uint32Array;
    const at = (row & PAGE_MASK) * NARROW;
    return ((page[at + LEASE_LOW] as number) | (page[at + LEASE_HIGH] as number)) !== 0;
  }

  chunk(row: number): number {
    return this.#getNarrow(row, CHUNK);
  }

  offset(row: number): number {
    return this.#getNarrow(row, OFFSET);
  }

  valueLength(row: number): number {
    return this.#getNarrow(row, LENGTH);
  }

  slot(row: number): number {
    return this.#getNarrow(row, SLOT);
  }

  prev(row: number): number {
    return this.#getNarrow(row, PREV);
  }

  next(row: number): number {
    return this.#getNarrow(row, NEXT);
  }

  setSlot(row: number, slot: number): void {
    this.#setNarrow(row, SLOT, slot);
  }

  setPrev(row: number, prev: number): void {
    this.#setNarrow(row, PREV, prev);
  }

  setNext(row: number, next: number): void {
    this.#setNarrow(row, NEXT, next);
  }

  /** The first row whose revision is at least `revision`; `length` when there is none. */
  first(revision: number): number {
    if (this.gapStart > 0 && this.main(this.gapStart - 1) >= revision) return this.#search(0, this.gapStart, revision);
    return this.#search(this.gapEnd, this.length, revision);
  }

  /** The row that follows, past the gap; `length` at the end. */
  after(row: number): number {
    return row + 1 === this.gapStart ? this.gapEnd : row + 1;
  }

  /** The row that comes before, past the gap; NONE at the beginning. */
  before(row: number): number {
    const before = row === this.gapEnd ? this.gapStart : row;
    return before === 0 ? NONE : before - 1;
  }

  /** Copies row `from` over row `to` and tells its neighbours. The newest row of the key must be told by the caller. */
  move(from: number, to: number): void {
    const source = this.#wide[from >>> PAGE_SHIFT] as Float64Array;
    const target = this.#wide[to >>> PAGE_SHIFT] as Float64Array;
    const sourceNarrow = this.#narrow[from >>> PAGE_SHIFT] as Uint32Array;
    const targetNarrow = this.#narrow[to >>> PAGE_SHIFT] as Uint32Array;
    const wideFrom = (from & PAGE_MASK) * WIDE;
    const wideTo = (to & PAGE_MASK) * WIDE;
    target[wideTo + MAIN] = source[wideFrom + MAIN] as number;
    target[wideTo + CREATE] = source[wideFrom + CREATE] as number;
    target[wideTo + VERSION] = source[wideFrom + VERSION] as number;
    const narrowFrom = (from & PAGE_MASK) * NARROW;
    const narrowTo = (to & PAGE_MASK) * NARROW;
    for (let i = LEASE_LOW; i < NARROW; i++) targetNarrow[narrowTo + i] = sourceNarrow[narrowFrom + i] as number;
    const prev = targetNarrow[narrowTo + PREV] as number;
    const next = targetNarrow[narrowTo + NEXT] as number;
    if (prev !== NONE) this.setNext(prev, to);
    if (next !== NONE) this.setPrev(next, to);
  }

  /** The gap has reached the end, or there is none: what lies behind it goes, and with it pages nobody needs. */
  closeGap(): void {
    if (this.gapStart < this.gapEnd) {
      assert(this.gapEnd === this.length, 'a gap is closed before it has reached the end');
      this.length = this.gapStart;
      const pages = (this.length + PAGE_MASK) >>> PAGE_SHIFT;
      this.#wide.length = pages;
      this.#big.length = pages;
      this.#narrow.length = pages;
    }
    this.gapStart = 0;
    this.gapEnd = 0;
  }

  #search(from: number, to: number, revision: number): number {
    let low = from;
    let high = to;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.main(middle) < revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #getWide(row: number, column: number): number {
    return (this.#wide[row >>> PAGE_SHIFT] as Float64Array)[(row & PAGE_MASK) * WIDE + column] as number;
  }

  #setWide(row: number, column: number, n: number): void {
    (this.#wide[row >>> PAGE_SHIFT] as Float64Array)[(row & PAGE_MASK) * WIDE + column] = n;
  }

  #getNarrow(row: number, column: number): number {
    return (this.#narrow[row >>> PAGE_SHIFT] as Uint32Array)[(row & PAGE_MASK) * NARROW + column] as number;
  }

  #setNarrow(row: number, column: number, n: number): void {
    (this.#narrow[row >>> PAGE_SHIFT] as Uint32Array)[(row & PAGE_MASK) * NARROW + column] = n;
  }

  #addPage(): void {
    const buffer = new ArrayBuffer(PAGE_ROWS * ROW_BYTES);
    this.#wide.push(new Float64Array(buffer));
    this.#big.push(new BigInt64Array(buffer));
    this.#narrow.push(new Uint32Array(buffer));
  }
}
