// Snapshots on their way from one member to another, as the bytes of their files: read from one log, gathered by the other.
// What is gathered counts for nothing until it has been read front to back and synced, and then only once the log gives it
// a snapshot's name; so a member never has half of one.

import { assert } from '../base/assert.js';
import type { Done } from '../base/done.js';
import type { SnapshotMeta } from '../raft/types.js';
import type { SnapshotFile, SnapshotStage } from './log-storage.js';
import { readStagedChunks, snapshotName, stagedPath, type SnapshotPlace } from './snapshot-file.js';

/** `closed` lets the log remove the file, if a newer one took its place. */
export function openSnapshotFile(
  place: SnapshotPlace, meta: SnapshotMeta, closed: (done: Done) => void, done: Done<SnapshotFile>,
): void {
  const path = `${place.directory}/${snapshotName(meta)}`;
  place.files.stat(path, (error, stat) => {
    if (error !== null || stat === null || stat === undefined) {
      const failure = error ?? new Error(`${path} is gone`);
      return closed(() => done(failure));
    }
    done(null, {
      meta,
      sizeBytes: stat.sizeBytes,
      read: (offset, sizeBytes, each) => place.files.read(path, offset, sizeBytes, each),
      close: closed,
    });
  });
}

export class Stage implements SnapshotStage {
  readonly meta: SnapshotMeta;
  readonly #place: SnapshotPlace;
  readonly #path: string;
  /** The log's failure: after the disk's first error nothing is believed any more. */
  readonly #failure: () => Error | null;
  #state: 'open' | 'finished' | 'claimed' | 'discarded' = 'open';
  #isBusy = false;
  /** A discard that came while a write was under way. */
  #afterwards: (() => void) | null = null;

  constructor(place: SnapshotPlace, meta: SnapshotMeta, failure: () => Error | null) {
    this.meta = meta;
    this.#place = place;
    this.#path = stagedPath(place, meta);
    this.#failure = failure;
  }

  get isClaimed(): boolean {
    return this.#state === 'claimed';
  }

  /** The file is the log's, which gives it its name: a discard does nothing any more. False: it is not finished. */
  claim(): boolean {
    if (this.#state !== 'finished') return false;
    this.#state = 'claimed';
    return true;
  }

  /** What an earlier attempt left is gone when done. */
  begin(done: Done): void {
    this.#place.files.stat(this.#path, (error, stat) => {
      if (error !== null) return done(error);
      if (stat === null) return done(null);
      this.#place.files.remove(this.#path, done);
    });
  }

  write(bytes: Uint8Array, done: Done): void {
    this.#work(done, (finish) => this.#place.files.append(this.#path, [bytes], finish));
  }

  finish(each: (chunk: Uint8Array) => void, done: Done): void {
    const { files } = this.#place;
    const judged: Done = (error) => {
      if (error === null) {
        this.#state = 'finished';
        return done(null);
      }
      this.discard(() => done(error));
    };
    this.#work(judged, (finish) => {
      files.sync(this.#path, (error) => {
        if (error !== null) return finish(error);
        readStagedChunks(this.#place, this.meta, each, (failure) => {
          if (failure !== null) return finish(failure);
          files.close(this.#path, finish);
        });
      });
    });
  }

  /** Gone, or going as soon as the write under way has come back. */
  discard(done: Done): void {
    const { files } = this.#place;
    if (this.#state === 'discarded' || this.#state === 'claimed') {
      files.stat(this.#path, () => done(null));
      return;
    }
    this.#state = 'discarded';
    const remove = (): void => {
      files.stat(this.#path, (error, stat) => {
        if (error !== null || stat === null) return done(error);
        files.remove(this.#path, done);
      });
    };
    if (this.#isBusy) this.#afterwards = remove;
    else remove();
  }

  #work(done: Done, run: (finish: Done) => void): void {
    assert(!this.#isBusy, 'one call at a time on a staged snapshot');
    if (this.#state !== 'open') {
      this.#place.files.stat(this.#path, () => done(new Error(`the snapshot at ${this.meta.index} is no longer taken in`)));
      return;
    }
    this.#isBusy = true;
    run((error) => {
      this.#isBusy = false;
      const afterwards = this.#afterwards;
      this.#afterwards = null;
      const failure = error ?? this.#failure();
      if (afterwards !== null) afterwards();
      done(failure ?? (this.#state === 'discarded' ? new Error('it was discarded meanwhile') : null));
    });
  }
}
