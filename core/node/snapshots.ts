// Snapshots of the store: written when the log has grown enough, read at the start, taken in from another member. One that
// arrives is loaded beside the store while it streams; the store is replaced only when the machine says `restore`, which is
// when the log has it, too.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { LogStorage } from '../log/log-storage.js';
import type { Entry, Persist, Resumed, SnapshotMeta } from '../raft/types.js';
import { Store, type StoreLoader } from '../store/store.js';
import { attempt, caught, reasonOf } from './caught.js';
import { largeEntryBytes, largeEntryShare, snapshotLogBytesMin } from './limits.js';

export interface SnapshotsConfig {
  readonly snapshotCount: number;
  readonly logBytesMax: number;
}

export interface SnapshotsDoors {
  readonly clock: Clock;
  readonly log: LogStorage;
  /** A snapshot is durable: the machine may forget. */
  saved(meta: SnapshotMeta): void;
  failed(error: Error): void;
}

interface Arriving {
  readonly meta: SnapshotMeta;
  readonly loader: StoreLoader;
  sizeBytes: number;
  failure: Error | null;
}

interface Arrived extends Pick<Arriving, 'meta' | 'sizeBytes'> {
  readonly store: Store;
  isInstalling: boolean;
  isNew: boolean;
}

export class Snapshots {
  readonly #config: SnapshotsConfig;
  readonly #doors: SnapshotsDoors;
  #isSaving = false;
  /** The newest on disk is damaged: it must be replaced, however little the log has grown. */
  #isDoubtful = false;
  /** Of the newest on disk. */
  #index = 0;
  #sizeBytes = 0;
  /** Of commands applied since the newest that is there or being saved: what the next one frees. */
  #logBytes = 0;
  #arriving: Arriving | null = null;
  #arrived: Arrived | null = null;

  constructor(config: SnapshotsConfig, doors: SnapshotsDoors) {
    this.#config = config;
    this.#doors = doors;
  }

  /** The store as the newest snapshot has it; an empty one when there is none. */
  load({ snapshot }: Resumed, done: Done<Store>): void {
    this.#index = snapshot.index;
    if (snapshot.index === 0) return done(null, new Store());
    const loader = Store.load();
    let failure: Error | null = null;
    const each = (chunk: Uint8Array): void => {
      this.#sizeBytes += chunk.length;
      failure ??= caught(() => loader.push(chunk));
    };
    this.#doors.log.readSnapshot(snapshot, each, (error) => {
      if (error !== null) return done(error);
      const store = failure ?? attempt(() => loader.finish());
      if (store instanceof Store) return done(null, store);
      const problem = `the snapshot at index ${snapshot.index} cannot be loaded: ${reasonOf(store)}`;
      const remedy = 'Start the release that wrote it, or restore the data directory from a backup';
      done(new Error(`${problem}. ${remedy}`, { cause: store }));
    });
  }

  onPersist({ snapshot }: Persist): void {
    if (snapshot === null) return;
    assert(this.#arrived !== null, 'a snapshot is installed that has arrived');
    this.#arrived.isInstalling = true;
    this.#index = snapshot.index;
    this.#sizeBytes = this.#arrived.sizeBytes;
    this.#isDoubtful = false;
    this.#logBytes = 0;
  }

  /** Only these are in a snapshot that is saved now: after a start, far less than the log holds. */
  onApplied(entries: readonly Entry[]): void {
    this.#logBytes += weightOf(entries);
  }

  saveIfDue(store: Store): void {
    const { applied } = store;
    const { snapshotCount, logBytesMax } = this.#config;
    // Each time as much is written of the store as was written to the log: what a snapshot costs a put does not grow with it.
    const isWorthIt = applied.index - this.#index >= snapshotCount && this.#logBytes >= this.#sizeBytes;
    const isLong = this.#logBytes >= Math.min(logBytesMax, Math.max(snapshotLogBytesMin, this.#sizeBytes));
    const isDue = isWorthIt || isLong || this.#isDoubtful;
    // A newer one that is being installed is not in this store yet.
    if (this.#isSaving || !isDue || applied.index < this.#index) return;
    const meta: SnapshotMeta = { ...applied, configuration: store.configuration };
    const frozen = store.freeze();
    const counted = new CountedChunks(frozen.lentChunks());
    this.#isSaving = true;
    this.#isDoubtful = false;
    this.#logBytes = 0;
    this.#doors.log.saveSnapshot(meta, counted, (error) => {
      frozen.release();
      if (error !== null) return this.#doors.failed(error);
      this.#isSaving = false;
      // A newer one may have arrived from another member meanwhile.
      if (meta.index < this.#index) return;
      this.#index = meta.index;
      this.#sizeBytes = counted.sizeBytes;
      this.#doors.saved(meta);
      this.#doors.log.compact(meta.index, (compactError) => {
        if (compactError !== null) this.#doors.failed(compactError);
      });
    });
  }

  /** The newest on disk turned out to be damaged: another one replaces it, maybe at the same index. */
  distrust(store: Store): void {
    // One that is being saved replaces it as well.
    if (this.#isSaving) return;
    this.#isDoubtful = true;
    this.saveIfDue(store);
  }

  /** Another member begins to send one. Null: not wanted. */
  begin(meta: SnapshotMeta, applied: number): ((chunk: Uint8Array) => void) | null {
    if (meta.index <= applied || this.#arrived?.isNew === true || this.#arrived?.isInstalling === true) return null;
    this.#arrived = null;
    const arriving: Arriving = { meta, loader: Store.load(), sizeBytes: 0, failure: null };
    this.#arriving = arriving;
    return (chunk) => {
      arriving.sizeBytes += chunk.length;
      arriving.failure ??= caught(() => arriving.loader.push(chunk));
    };
  }

  /** Every chunk was there. An error: it is whole and verified, and yet this release cannot read it. */
  finish(meta: SnapshotMeta): Error | null {
    const arriving = this.#arriving;
    this.#arriving = null;
    assert(arriving?.meta.index === meta.index && arriving.meta.term === meta.term, 'a snapshot ends that began');
    const store = arriving.failure ?? attempt(() => arriving.loader.finish());
    if (!(store instanceof Store)) {
      const problem = `the snapshot at index ${meta.index} that another member sent cannot be loaded: ${reasonOf(store)}`;
      return new Error(`${problem}. Run the same release on all members`, { cause: store });
    }
    this.#arrived = { meta, sizeBytes: arriving.sizeBytes, store, isInstalling: false, isNew: true };
    return null;
  }

  /** What `finish` has loaded, for the machine has installed it. */
  take(meta: SnapshotMeta): Store {
    const arrived = this.#arrived;
    this.#arrived = null;
    assert(arrived?.meta.index === meta.index && arrived.meta.term === meta.term, `no store was loaded at index ${meta.index}`);
    return arrived.store;
  }

  /** The machine has been given what has arrived; it may not have wanted it. */
  onStep(): void {
    if (this.#arrived === null) return;
    this.#arrived.isNew = false;
    if (!this.#arrived.isInstalling) this.#arrived = null;
  }
}

/** Bytes that the log holds for these, of large ones that the store shares with it a share: see `largeEntryShare`. */
function weightOf(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const { data } of entries) bytes += isShared(data) ? data.length * largeEntryShare : data.length;
  return bytes;
}

/** It is nearly all of its memory. What was read from the disk lies among others, and the store copies it (store/arena.ts). */
function isShared(data: Uint8Array): boolean {
  return data.length >= largeEntryBytes && data.length * 8 >= data.buffer.byteLength * 7;
}

/** Passes chunks through and counts their bytes. */
class CountedChunks implements Iterable<Uint8Array> {
  sizeBytes = 0;
  readonly #chunks: Iterable<Uint8Array>;

  constructor(chunks: Iterable<Uint8Array>) {
    this.#chunks = chunks;
  }

  *[Symbol.iterator](): Iterator<Uint8Array> {
    for (const chunk of this.#chunks) {
      this.sizeBytes += chunk.length;
      yield chunk;
    }
  }
}
