// Compaction by the clock, as etcd does it (contract 14.4): the leader alone proposes it, every member remembers what there is
// to know, so that a new leader goes on where the last one was.
//
//   periodic: every tenth of min(period, 1 h) the revision is noted. First after one period, then every min(period, 1 h),
//             history older than one period goes.
//   revision: every five minutes all but the newest `keep` revisions go.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Revision } from '../client.js';
import { compactionNotesMax, compactionPeriodMsMax, compactionRevisionMs } from './limits.js';

export type AutoCompaction =
  | { readonly mode: 'periodic'; readonly periodMs: number }
  | { readonly mode: 'revision'; readonly keep: number };

export interface CompactorDoors {
  readonly clock: Clock;
  isLeader(): boolean;
  revision(): Revision;
  /** The last compaction; 0: none. */
  compacted(): Revision;
  compact(revision: Revision, done: Done): void;
}

export class Compactor {
  readonly #mode: AutoCompaction;
  readonly #doors: CompactorDoors;
  readonly #lookMs: number;
  /** Noted at each look; the first is one period old. */
  #revisions: Revision[] = [];
  #dueMs = Infinity;
  #isCompacting = false;
  #cancel: () => void = () => undefined;

  constructor(mode: AutoCompaction, doors: CompactorDoors) {
    this.#mode = mode;
    this.#doors = doors;
    this.#lookMs = mode.mode === 'periodic' ? intervalOf(mode.periodMs) / 10 : compactionRevisionMs;
  }

  begin(): void {
    if (this.#mode.mode === 'periodic') {
      this.#dueMs = this.#doors.clock.now() + this.#mode.periodMs;
      this.#note(this.#mode.periodMs);
    }
    this.#schedule();
  }

  end(): void {
    this.#cancel();
  }

  #schedule(): void {
    this.#cancel = this.#doors.clock.schedule(this.#lookMs, () => {
      this.#schedule();
      if (this.#mode.mode === 'periodic') this.#lookByTime(this.#mode.periodMs);
      else this.#compact(this.#doors.revision() - this.#mode.keep, () => undefined);
    });
  }

  #lookByTime(periodMs: number): void {
    const { clock } = this.#doors;
    const [oldest] = this.#revisions;
    // A timer may fire a little early.
    if (oldest !== undefined && clock.now() >= this.#dueMs - 1) {
      this.#compact(oldest, () => {
        this.#dueMs = clock.now() + intervalOf(periodMs);
      });
    }
    this.#note(periodMs);
  }

  #note(periodMs: number): void {
    const notes = Math.min(compactionNotesMax, Math.floor(periodMs / this.#lookMs) + 1);
    this.#revisions.push(this.#doors.revision());
    if (this.#revisions.length > notes) this.#revisions.shift();
  }

  /** `succeeded`: history up to there is gone, whoever did it. */
  #compact(revision: Revision, succeeded: () => void): void {
    if (!this.#doors.isLeader() || this.#isCompacting || revision <= 0) return;
    if (revision <= this.#doors.compacted()) return succeeded();
    this.#isCompacting = true;
    this.#doors.compact(revision, (error) => {
      this.#isCompacting = false;
      if (error === null) succeeded();
    });
  }
}

function intervalOf(periodMs: number): number {
  return Math.min(periodMs, compactionPeriodMsMax);
}
