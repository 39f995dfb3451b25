// A data directory made from what is known already: a restored snapshot, or the entry that founds a cluster.

import type { Done } from '../base/done.js';
import type { Entry, HardState, SnapshotMeta } from '../raft/types.js';
import { LogError } from './log-storage.js';
import { WalStorage, type WalOptions } from './wal.js';

export interface LogSeed {
  readonly hard: HardState;
  readonly snapshot: { readonly meta: SnapshotMeta; readonly chunks: Iterable<Uint8Array> } | null;
  /** Contiguous, after the snapshot. */
  readonly entries: readonly Entry[];
}

/** Durable and closed when done. A directory that holds a log already is refused and left as it is. */
export function createLog(options: WalOptions, seed: LogSeed, done: Done): void {
  const log = new WalStorage(options);
  const close = (failure: Error | null): void => log.close((error) => done(failure ?? error));
  const write = (): void => {
    const { hard, snapshot, entries } = seed;
    log.append({ seq: 0, hard, truncateAfter: null, snapshot: snapshot?.meta ?? null, entries }, close);
  };
  log.open((error, resumed) => {
    if (error !== null || resumed === undefined) return done(error);
    if (resumed.hard.term > 0 || resumed.snapshot.index > 0 || resumed.entries.length > 0) {
      return close(new LogError(`${options.directory} holds a log already; give an empty directory`));
    }
    if (seed.snapshot === null) return write();
    log.saveSnapshot(seed.snapshot.meta, seed.snapshot.chunks, (failure) => (failure === null ? write() : close(failure)));
  });
}
