// The log of one node, as the driver sees it. `WalStorage` keeps it on Files; `MemoryLogStorage` is for tests that are
// about something else. What the interface means is test/contract/log-storage.contract.ts.

import type { Done } from '../base/done.js';
import type { Index, Persist, Resumed, SnapshotMeta } from '../raft/types.js';

export interface LogStorage {
  /**
   * Reads what is there, once, before anything else. Repairs a torn tail (an unfinished last batch) and reports it;
   * refuses anything worse with `LogError`, naming file and offset.
   */
  open(done: Done<Resumed>): void;
  /** Done when durable, in call order. Batches that arrive during one sync share the next. */
  append(batch: Persist, done: Done): void;
  /**
   * Streams a snapshot beside ongoing appends; durable and the newest when done. Older ones may go. One at a time. An empty
   * chunk is not kept: it asks for the next one in a later turn.
   */
  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>, done: Done): void;
  /** The chunks of the snapshot that `open` or `saveSnapshot` named, in order, whatever their size. */
  readSnapshot(meta: SnapshotMeta, each: (chunk: Uint8Array) => void, done: Done): void;
  /** The log up to and including `through` is covered by a snapshot and may go; whole segments only. */
  compact(through: Index, done: Done): void;
  /** Waits for what was appended, then releases files and lock. A snapshot being saved may be given up: its `done` says so. */
  close(done: Done): void;
}

/** The snapshot of a log that has none: before the first entry, naming nobody. */
export const NO_SNAPSHOT: SnapshotMeta = { term: 0, index: 0, configuration: { voters: [], outgoing: [], learners: [] } };

/** Any error from a LogStorage stops the node: it must not guess what is on disk. */
export class LogError extends Error {
  override readonly name = 'LogError';
}
