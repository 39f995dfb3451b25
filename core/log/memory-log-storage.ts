// A LogStorage without a disk, for tests that are about something else. What was appended outlives `close`, so that a
// test can restart a node on it; nothing outlives the object. "Durable" comes one turn of the clock after the call.

import type { Clock } from '../base/clock.js';
import { checksum } from '../base/crc.js';
import type { Done } from '../base/done.js';
import type { Entry, HardState, Index, Persist, Resumed, SnapshotMeta } from '../raft/types.js';
import { LogError, NO_SNAPSHOT, type LogStorage, type SnapshotFile, type SnapshotStage } from './log-storage.js';

export class MemoryLogStorage implements LogStorage {
  readonly failure = null;
  readonly #clock: Clock;
  #opened = false;
  #hard: HardState = { term: 0, vote: 0n, commit: 0 };
  #snapshot: SnapshotMeta = NO_SNAPSHOT;
  #chunks: readonly Uint8Array[] = [];
  /** Invariant: contiguous, and the first follows `#first - 1`. */
  #entries: Entry[] = [];
  #first: Index = 1;
  #staged: { readonly meta: SnapshotMeta; readonly bytes: Uint8Array } | null = null;

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
    const install = batch.snapshot;
    if (install !== null && !this.#install(install)) {
      const problem = `no snapshot at index ${install.index} of term ${install.term} is staged, or there is a newer one`;
      return this.#later(() => done(new LogError(problem)));
    }
    if (batch.truncateAfter !== null) this.#entries.length = Math.max(0, batch.truncateAfter + 1 - this.#first);
    for (const entry of batch.entries) this.#entries.push(entry);
    if (batch.hard !== null) this.#hard = batch.hard;
    this.#later(() => done(null));
  }

  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>, done: Done): void {
    if (!this.#opened) return this.#refuse(done);
    const newest = this.#snapshot.index;
    if (meta.index < newest) {
      return this.#later(() => done(new LogError(`a snapshot at ${meta.index} is older than the one at ${newest}`)));
    }
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

  openSnapshot(done: Done<SnapshotFile | null>): void {
    if (!this.#opened) return this.#refuse(done);
    if (this.#snapshot.index === 0) return this.#later(() => done(null, null));
    const bytes = sealed(this.#chunks);
    this.#later(() => done(null, {
      meta: this.#snapshot,
      sizeBytes: bytes.length,
      read: (offset, sizeBytes, each) => this.#later(() => each(null, bytes.subarray(offset, offset + sizeBytes))),
      close: (closed) => this.#later(() => closed(null)),
    }));
  }

  stageSnapshot(meta: SnapshotMeta, done: Done<SnapshotStage>): void {
    if (!this.#opened) return this.#refuse(done);
    const pieces: Uint8Array[] = [];
    let isDiscarded = false;
    this.#staged = null;
    this.#later(() => done(null, {
      meta,
      write: (bytes, written) => {
        pieces.push(bytes.slice());
        this.#later(() => written(isDiscarded ? new LogError('it was discarded') : null));
      },
      finish: (each, finished) => this.#later(() => {
        const bytes = unsealed(pieces);
        if (bytes === null || isDiscarded) return finished(new LogError(`the snapshot at ${meta.index} is not whole`));
        each(bytes);
        this.#staged = { meta, bytes };
        finished(null);
      }),
      discard: (discarded) => {
        isDiscarded = true;
        if (this.#staged?.meta === meta) this.#staged = null;
        this.#later(() => discarded(null));
      },
    }));
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

  /** False: nothing was changed. */
  #install(meta: SnapshotMeta): boolean {
    if (meta.index !== this.#snapshot.index || meta.term !== this.#snapshot.term) {
      const staged = this.#staged;
      if (meta.index <= this.#snapshot.index) return false;
      if (staged?.meta.index !== meta.index || staged.meta.term !== meta.term) return false;
      this.#snapshot = meta;
      this.#chunks = [staged.bytes];
      this.#staged = null;
    }
    this.#entries = [];
    this.#first = meta.index + 1;
    return true;
  }

  #refuse(done: Done<never>): void {
    this.#later(() => done(new LogError('the log is not open')));
  }

  #later(run: () => void): void {
    this.#clock.schedule(0, run);
  }
}

/** The chunks as one, with their checksum behind them: what stands for a file here. */
function sealed(chunks: readonly Uint8Array[]): Uint8Array {
  const end = Buffer.alloc(4);
  const data = Buffer.concat(chunks);
  end.writeUInt32LE(checksum(data));
  return Buffer.concat([data, end]);
}

function unsealed(pieces: readonly Uint8Array[]): Uint8Array | null {
  const all = Buffer.concat(pieces);
  if (all.length < 4) return null;
  const data = all.subarray(0, all.length - 4);
  return all.readUInt32LE(data.length) === checksum(data) ? data : null;
}
