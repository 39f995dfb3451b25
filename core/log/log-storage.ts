// The log of one node, as the driver sees it. `WalStorage` keeps it on Files; `MemoryLogStorage` is for tests that are
// about something else. What the interface means is test/contract/log-storage.contract.ts.

import type { Done } from '../base/done.js';
import type { Index, Persist, Resumed, SnapshotMeta } from '../raft/types.js';

export interface LogStorage {
  /** Why it takes nothing any more; null: it does. The disk may fail while nobody's call is under way. */
  readonly failure: Error | null;
  /**
   * Reads what is there, once, before anything else. Repairs a torn tail (an unfinished last batch) and reports it;
   * refuses anything worse with `LogError`, naming file and offset.
   */
  open(done: Done<Resumed>): void;
  /**
   * Done when durable, in call order. Batches that arrive during one sync share the next. A batch with a `snapshot` installs
   * the one staged under that meta: from then on it is the newest, and the log starts over after it. It is refused, and
   * nothing changed, when it is not staged and finished, or is not newer than the newest.
   */
  append(batch: Persist, done: Done): void;
  /**
   * Streams a snapshot beside ongoing appends; durable and the newest when done. Older ones may go. One at a time. An empty
   * chunk is not kept: it asks for the next one in a later turn. The bytes of a chunk are good until the next is asked for.
   */
  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>, done: Done): void;
  /** The chunks of the snapshot that `open` or `saveSnapshot` named, in order, whatever their size. */
  readSnapshot(meta: SnapshotMeta, each: (chunk: Uint8Array) => void, done: Done): void;
  /** The newest snapshot's bytes, for shipping. The file stays until closed, whatever is saved meanwhile. Null: there is none. */
  openSnapshot(done: Done<SnapshotFile | null>): void;
  /**
   * Takes in a snapshot shipped by another member, under a name that `open` removes. One at a time: an earlier stage that
   * was not installed is discarded first. Refused while one is being installed.
   */
  stageSnapshot(meta: SnapshotMeta, done: Done<SnapshotStage>): void;
  /** The log up to and including `through` is covered by a snapshot and may go; whole segments only. */
  compact(through: Index, done: Done): void;
  /** Waits for what was appended, then releases files and lock. A snapshot being saved may be given up: its `done` says so. */
  close(done: Done): void;
}

/** A snapshot as bytes: its file on disk, checksums included, so that damage on either side or between is noticed. */
export interface SnapshotFile {
  readonly meta: SnapshotMeta;
  readonly sizeBytes: number;
  /** Up to `sizeBytes` from `offset` on; fewer only at the end. */
  read(offset: number, sizeBytes: number, done: Done<Uint8Array>): void;
  close(done: Done): void;
}

export interface SnapshotStage {
  readonly meta: SnapshotMeta;
  /** Appends. One call at a time. */
  write(bytes: Uint8Array, done: Done): void;
  /**
   * Checks the whole, gives its chunks to `each` in order, and makes it durable: it can be installed. An error means that
   * the bytes are not the snapshot they claim to be; the stage is discarded, the log lives on.
   */
  finish(each: (chunk: Uint8Array) => void, done: Done): void;
  discard(done: Done): void;
}

/** The snapshot of a log that has none: before the first entry, naming nobody. */
export const NO_SNAPSHOT: SnapshotMeta = { term: 0, index: 0, configuration: { voters: [], outgoing: [], learners: [] } };

/** What to do about damage, whoever the member is. */
export const REMEDY = 'Nothing was changed. Restore the data directory from a backup if this is the only member, or else '
  + 'remove the member from its cluster and add it anew, under a new id and with an empty directory';

/** Any error from a LogStorage stops the node: it must not guess what is on disk. */
export class LogError extends Error {
  override readonly name = 'LogError';
}
