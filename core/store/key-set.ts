// The union of many ranges of keys, made once and asked often: whether a key, or all of a range, lies in it. Ranges that
// overlap or touch are one. Keys are latin1 strings, whose `<` is byte order; an end of null is the end of the key space.

import { EMPTY, isOpenEnd, latin1 } from '../base/bytes.js';

/** [start, end). Nothing lies in it when the end does not follow the start. */
export interface KeyInterval {
  readonly start: string;
  readonly end: string | null;
}

/** By the rules of `RangeRequest`: no end is one key, `\0` is every key from there on. */
export function intervalOf(key: Uint8Array, rangeEnd: Uint8Array = EMPTY): KeyInterval {
  const start = latin1(key);
  if (rangeEnd.length === 0) return { start, end: `${start}\0` };
  return { start, end: isOpenEnd(rangeEnd) ? null : latin1(rangeEnd) };
}

/** How many of the ascending `sorted` lie below `bound`, or at it when `inclusive`. */
export function countBelow(sorted: readonly string[], bound: string, inclusive: boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const text = sorted[middle] ?? '';
    if (text < bound || (inclusive && text === bound)) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class KeySet {
  /** Disjoint, ascending, with a gap between any two. */
  readonly #starts: string[] = [];
  readonly #ends: (string | null)[] = [];

  constructor(intervals: Iterable<KeyInterval>) {
    const sorted = [...intervals].filter(({ start, end }) => end === null || start < end);
    sorted.sort((a, b) => (a.start < b.start ? -1 : Number(a.start > b.start)));
    for (const { start, end } of sorted) this.#append(start, end);
  }

  /**
   * Whether all of the interval lies within one of the set's. An empty one, whose end does not follow its start, selects no
   * key; it is within where both its ends are, as in etcd.
   */
  covers({ start, end }: KeyInterval): boolean {
    const at = countBelow(this.#starts, start, true) - 1;
    const first = this.#starts[at];
    const last = this.#ends[at];
    if (first === undefined || last === undefined || (last !== null && last <= start)) return false;
    if (end === null || last === null) return last === null && (end === null || first <= end);
    return first <= end && end <= last;
  }

  #append(start: string, end: string | null): void {
    const at = this.#ends.length - 1;
    const last = this.#ends[at];
    if (last === undefined || (last !== null && last < start)) {
      this.#starts.push(start);
      this.#ends.push(end);
      return;
    }
    if (last !== null && (end === null || end > last)) this.#ends[at] = end;
  }
}
