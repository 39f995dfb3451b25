// What the machine knows of its disk: what it was given, what has become durable, and which messages wait for that. It
// writes nothing itself: `gather` makes the batch of a step, `persisted` takes the answer.
//
// Several batches may be under way; they become durable in order. Entries that are overwritten while under way are taken
// out of their batch's account (`through` is lowered), so that the late answer for them counts for nothing that has taken
// their place. Invariant: the log through `durable` is on disk as it is in memory.

import { assert, present } from '../base/assert.js';
import type { RaftLog } from './log.js';
import type { HardState, Index, Message, Persist, SnapshotMeta } from './types.js';

/** A persist batch under way. `through`: the last index it makes durable. */
interface Flight {
  readonly seq: number;
  /** The tick it was given out. */
  readonly givenAt: number;
  through: Index;
}

/** A message that may leave once batch `seq` is durable. */
interface Held {
  readonly seq: number;
  readonly message: Message;
}

/**
 * Messages that wait for one term and vote; more are lost, as on the network. A disk that hangs would otherwise gather an
 * answer to each heartbeat for as long as it hangs.
 */
export const HELD_MAX = 1024;

export class Disk {
  #durable: Index;
  /** Entries after this index were not given to the disk yet. */
  #given: Index;
  #seq = 0;
  readonly #flights: Flight[] = [];
  /** The batch that holds the newest term and vote, and whether those have changed since. */
  #hardSeq = 0;
  #hardDirty = false;
  #commitPersisted: Index;
  #truncateAfter: Index | null = null;
  /** Received, in memory, and not yet given to the disk. */
  #snapshot: SnapshotMeta | null = null;
  /** Given to the disk with batch `seq`, and not yet durable. */
  #installing: { readonly seq: number; readonly snapshot: SnapshotMeta } | null = null;
  readonly #held: Held[] = [];

  constructor(last: Index, commit: Index) {
    this.#durable = last;
    this.#given = last;
    this.#commitPersisted = commit;
  }

  get durable(): Index {
    return this.#durable;
  }

  /** The newest term and vote are not durable yet. */
  get isHardPending(): boolean {
    const first = this.#flights[0];
    return this.#hardDirty || (first !== undefined && first.seq <= this.#hardSeq);
  }

  /** A batch has been waiting for more than `ticks`. */
  isHung(now: number, ticks: number): boolean {
    const first = this.#flights[0];
    return first !== undefined && now - first.givenAt > ticks;
  }

  hardChanged(): void {
    this.#hardDirty = true;
  }

  /** The log was cut after `index`, in flight to the disk or not. */
  cutAfter(index: Index): void {
    if (index < this.#given) {
      this.#given = index;
      this.#truncateAfter = Math.min(index, this.#truncateAfter ?? index);
    }
    this.#lower(index);
  }

  /**
   * The log in memory starts over after `snapshot`. Until that is durable, too, nothing counts as durable but what has been
   * applied: it is on the disk either way.
   */
  install(snapshot: SnapshotMeta, applied: Index): void {
    this.#snapshot = snapshot;
    this.#installing = null;
    this.#truncateAfter = null;
    this.#given = snapshot.index;
    this.#lower(applied);
  }

  /** Holds `message`, if there is room, until the newest term and vote are durable; false: they are, it may leave now. */
  hold(message: Message): boolean {
    if (!this.isHardPending) return false;
    if (this.#held.length < HELD_MAX) this.#held.push({ seq: this.#hardDirty ? this.#seq + 1 : this.#hardSeq, message });
    return true;
  }

  /** All that the disk lacks of `log` and `hard`; null: nothing that cannot wait. */
  gather(log: RaftLog, hard: HardState, now: number): Persist | null {
    const last = log.lastIndex;
    const snapshot = this.#snapshot;
    if (!this.#hardDirty && this.#truncateAfter === null && snapshot === null && this.#given === last) return null;
    const seq = ++this.#seq;
    const withHard = this.#hardDirty || hard.commit !== this.#commitPersisted;
    if (withHard) this.#commitPersisted = hard.commit;
    if (this.#hardDirty) this.#hardSeq = seq;
    if (snapshot !== null) this.#installing = { seq, snapshot };
    const entries = log.slice(this.#given + 1, last);
    const persist = { seq, hard: withHard ? hard : null, truncateAfter: this.#truncateAfter, snapshot, entries };
    this.#hardDirty = false;
    this.#truncateAfter = null;
    this.#snapshot = null;
    this.#given = last;
    this.#flights.push({ seq, givenAt: now, through: last });
    return persist;
  }

  /** Answers `seq` and every batch before it. The snapshot that is installed now, if one is. */
  persisted(seq: number): SnapshotMeta | null {
    const first = this.#flights[0];
    assert(first !== undefined && seq >= first.seq && seq <= this.#seq, `persisted ${seq} answers no batch under way`);
    let answered = 0;
    for (const flight of this.#flights) {
      if (flight.seq > seq) break;
      this.#durable = Math.max(this.#durable, flight.through);
      answered++;
    }
    this.#flights.splice(0, answered);
    const installing = this.#installing;
    if (installing === null || installing.seq > seq) return null;
    this.#installing = null;
    return installing.snapshot;
  }

  /** The messages that waited for batch `seq` or an earlier one. */
  released(seq: number): readonly Message[] {
    let ready = 0;
    while (ready < this.#held.length && present(this.#held[ready], 'held message').seq <= seq) ready++;
    return ready === 0 ? [] : this.#held.splice(0, ready).map(({ message }) => message);
  }

  #lower(index: Index): void {
    this.#durable = Math.min(this.#durable, index);
    for (const flight of this.#flights) flight.through = Math.min(flight.through, index);
  }
}
