// The machine's part of the log: every entry since the last snapshot, in memory, so that a step never reads a disk. It
// knows terms, slices and conflicts; it does not know what is committed or durable.
// Invariants: entries are contiguous; the first follows `base`; terms never decrease with the index (Raft §5.3).

import { assert, present } from '../base/assert.js';
import type { Entry, EntryId, Index, Term } from './types.js';

// Takes the place of a forgotten entry until the array is cut, so that its data can go at once.
const FORGOTTEN: Entry = { kind: 'empty', term: 0, index: 0, data: new Uint8Array(0) };

export class RaftLog {
  /** The slot just before the first entry kept: the snapshot's, or (0, 0). */
  #base: EntryId;
  /** `#entries[#head + i]` has index `#base.index + 1 + i`. */
  #entries: Entry[];
  #head = 0;

  constructor(base: EntryId, entries: readonly Entry[]) {
    this.#base = { term: base.term, index: base.index };
    this.#entries = entries.slice();
    let previous: EntryId = base;
    for (const entry of entries) {
      assert(entry.index === previous.index + 1, `entry ${entry.index} follows entry ${previous.index}: the log has a hole`);
      assert(entry.term >= previous.term, `entry ${entry.index} has term ${entry.term}, below term ${previous.term} before it`);
      previous = entry;
    }
  }

  get base(): EntryId {
    return this.#base;
  }

  get last(): EntryId {
    return this.#entries.length > this.#head ? present(this.#entries.at(-1), 'last entry') : this.#base;
  }

  get lastIndex(): Index {
    return this.#base.index + this.#entries.length - this.#head;
  }

  /** null: not in memory, either forgotten or beyond the end. */
  termAt(index: Index): Term | null {
    if (index === this.#base.index) return this.#base.term;
    if (index < this.#base.index) return null;
    return this.#entries[this.#head + index - this.#base.index - 1]?.term ?? null;
  }

  /** The entries from index `from` through index `through`, both in memory; none when `from > through`. */
  slice(from: Index, through: Index): readonly Entry[] {
    if (from <= this.#base.index || through > this.lastIndex) assert(false, `entries ${from} to ${through} are not in memory`);
    const start = this.#head + from - this.#base.index - 1;
    return this.#entries.slice(start, Math.max(start, start + through - from + 1));
  }

  /**
   * Entries from `from` on, as many as have at most `bytesMax` bytes of data; one larger entry goes alone, and so does each
   * of `aloneBytes`: whoever gets it by itself can keep it where it arrived.
   */
  sliceBytes(from: Index, bytesMax: number, aloneBytes = Infinity): readonly Entry[] {
    if (from <= this.#base.index) assert(false, `entry ${from} has been forgotten; the log starts after ${this.#base.index}`);
    const start = this.#head + from - this.#base.index - 1;
    let end = start;
    let bytes = 0;
    while (end < this.#entries.length) {
      const { length } = present(this.#entries[end], 'entry').data;
      bytes += length;
      const isLarge = length >= aloneBytes;
      if ((bytes > bytesMax || isLarge) && end > start) break;
      end++;
      if (isLarge) break;
    }
    return this.#entries.slice(start, end);
  }

  append(entry: Entry): void {
    // The words are made only when they are needed: this runs for every entry.
    const { index, term } = this.last;
    if (entry.index !== index + 1) assert(false, `entry ${entry.index} cannot follow entry ${index}`);
    if (entry.term < term) assert(false, `entry ${entry.index} has term ${entry.term}, below the ${term} before it`);
    this.#entries.push(entry);
  }

  truncateAfter(index: Index): void {
    assert(index >= this.#base.index, `cannot cut after ${index}: covered by the snapshot at ${this.#base.index}`);
    if (index >= this.lastIndex) return;
    this.#entries.length = this.#head + index - this.#base.index;
  }

  /**
   * Raft §5.3, consistency check: the log has an entry at `id.index` with `id.term`. What a snapshot covers is committed,
   * and a committed entry is the same in every log that reaches so far.
   */
  matches(id: EntryId): boolean {
    return id.index < this.#base.index || this.termAt(id.index) === id.term;
  }

  /** Where, in `entries`, the first one is that this log lacks or holds with another term; their count if there is none. */
  firstDifference(entries: readonly Entry[]): number {
    for (let i = 0; i < entries.length; i++) {
      if (!this.matches(present(entries[i], 'entry'))) return i;
    }
    return entries.length;
  }

  /**
   * The last slot at or before `index` whose term is at most `term`, or the base. Two logs that differ at a slot can agree
   * at the earliest there: where one has a later term than the other's whole past, nothing of it is in the other
   * (Raft §5.3, the optimisation of the back-up).
   */
  lastAtMost(index: Index, term: Term): EntryId {
    let at = Math.min(index, this.lastIndex);
    while (at > this.#base.index && (this.termAt(at) ?? 0) > term) at--;
    return at > this.#base.index ? { term: this.termAt(at) ?? 0, index: at } : this.#base;
  }

  /**
   * Leader: where to go on with a follower that has nothing of ours after `index`, and whose entry there has term `before`.
   * A result at or before the base says that only a snapshot can help.
   */
  retryAt(index: Index, before: Term): Index {
    if (index < this.#base.index) return index + 1;
    const meeting = this.lastAtMost(index, before);
    return meeting.index === this.#base.index && meeting.term > before ? meeting.index : meeting.index + 1;
  }

  /** Starts over behind a snapshot: every entry goes. */
  restart(base: EntryId): void {
    this.#base = { term: base.term, index: base.index };
    this.#entries = [];
    this.#head = 0;
  }

  /** Raft §5.4.1: later last term wins; with equal last terms the longer log does. */
  isUpToDate(candidateLast: EntryId): boolean {
    const own = this.last;
    return candidateLast.term > own.term || (candidateLast.term === own.term && candidateLast.index >= own.index);
  }

  /** Forgets entries up to and including `index`. Amortised O(1) for each entry: the array is cut when half is empty. */
  forgetThrough(index: Index): void {
    if (index <= this.#base.index) return;
    assert(index <= this.lastIndex, `cannot forget through ${index}: the log ends at ${this.lastIndex}`);
    const term = present(this.termAt(index), 'term of the new base');
    const newHead = this.#head + index - this.#base.index;
    this.#entries.fill(FORGOTTEN, this.#head, newHead);
    this.#head = newHead;
    this.#base = { term, index };
    if (this.#head * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }
}
