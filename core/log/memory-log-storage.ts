// A LogStorage without a disk, for tests that are about something else. What was appended outlives `close`, so that a
// test can restart a node on it; nothing outlives the object. "Durable" comes one turn of the clock after the call.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Entry, HardState, Index, Persist, Resumed, SnapshotMeta } from '../raft/types.js';
import { LogError, NO_SNAPSHOT, type LogStorage } from './log-storage.js';

export class MemoryLogStorage implements LogStorage {
  readonly #clock: Clock;
  #opened = false;
  #hard: HardState = { term: 0, vote: 0n, commit: 0 };
  #snapshot: SnapshotMeta = NO_SNAPSHOT;
  #chunks: readonly Uint8Array[] = [];
  /** Invariant: contiguous, and the first follows `#first - 1`. */
  #entries: Entry[] = [];
  #first: Index = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  open(done: Done<Resumed>): void {
    if (this.#opened) return this.#later(() => done(new LogError('the log is open already; close it first')));
    this.#opened = true;
    const entries = this.#entries.slice(Math.max(0, this.#snapshot.index + 1 - this.#first));
    const resumed = { hard: this.#hard, snapshot: this.#snapshot, entries };
    this.#later(() => done(null, resumed));
  }

  append(batch: Persist, done: Done): void {
    if (!this.#opened) return this.#refuse(done);
    if (batch.truncateAfter !== null) this.#entries.length = Math.max(0, batch.truncateAfter + 1 - this.#first);
    for (const entry of batch.entries) this.#entries.push(entry);
    if (batch.hard !== null) this.#hard = batch.hard;
    this.#later(() => done(null));
  }

  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>, done: Done): void {
    if (!this.#opened) return this.#refuse(done);
    const kept: Uint8Array[] = [];
    for (const chunk of chunks) if (chunk.length > 0) kept.push(chunk.slice());
    this.#snapshot = meta;
    this.#chunks = kept;
    this.#later(() => done(null));
  }

  readSnapshot(meta: SnapshotMeta, each: (chunk: Uint8Array) => void, done: Done): void {
    if (!this.#opened) return this.#refuse(done);
    if (meta.index !== this.#snapshot.index || meta.term !== this.#snapshot.term) {
      const newest = this.#snapshot.index;
      return this.#later(() => done(new LogError(`there is no snapshot at index ${meta.index}; the newest is at ${newest}`)));
    }
    const chunks = this.#chunks;
    this.#later(() => {
      for (const chunk of chunks) each(chunk);
      done(null);
    });
  }

  compact(through: Index, done: Done): void {
    if (!this.#opened) return this.#refuse(done);
    const covered = Math.min(through, this.#snapshot.index) + 1 - this.#first;
    if (covered > 0) {
      this.#entries.splice(0, covered);
      this.#first += covered;
    }
    this.#later(() => done(null));
  }

  close(done: Done): void {
    this.#opened = false;
    this.#later(() => done(null));
  }

  #refuse(done: Done): void {
    this.#later(() => done(new LogError('the log is not open')));
  }

  #later(run: () => void): void {
    this.#clock.schedule(0, run);
  }
}
