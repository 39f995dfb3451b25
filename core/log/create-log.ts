// A data directory made from what is known already: a restored snapshot, or the entry that founds a cluster.

import type { Done } from '../base/done.js';
import type { Entry, HardState, SnapshotMeta } from '../raft/types.js';
import { readIdentity, writeIdentity } from './identity-file.js';
import { LogError } from './log-storage.js';
import { WalStorage, type WalOptions } from './wal.js';

export interface LogSeed {
  readonly hard: HardState;
  readonly snapshot: { readonly meta: SnapshotMeta; readonly chunks: Iterable<Uint8Array> } | null;
  /** Contiguous, after the snapshot. */
  readonly entries: readonly Entry[];
}

/**
 * Durable and closed when done. A directory that holds a log already, or a part of one, is refused and left as it is. The
 * identity comes last: what a crash leaves before it is nobody's, and `open` refuses it.
 */
export function createLog(options: WalOptions, seed: LogSeed, done: Done): void {
  const { files, directory, identity } = options;
  const log = new WalStorage({ ...options, isNameless: true });
  const giveUp = (failure: Error): void => log.close(() => done(failure));
  const write = (): void => {
    const { hard, snapshot, entries } = seed;
    log.append({ seq: 0, hard, truncateAfter: null, snapshot: snapshot?.meta ?? null, entries }, (error) => {
      if (error !== null) return giveUp(error);
      writeIdentity(files, directory, identity, (failure) => (failure === null ? log.close(done) : giveUp(failure)));
    });
  };
  readIdentity(files, directory, (unreadable, found) => {
    if (unreadable !== null) return done(unreadable);
    if (found !== null) return done(new LogError(`${directory} holds a log already; give an empty directory`));
    log.open((error) => {
      if (error !== null) return done(error);
      if (seed.snapshot === null) return write();
      log.saveSnapshot(seed.snapshot.meta, seed.snapshot.chunks, (failure) => (failure === null ? write() : giveUp(failure)));
    });
  });
}
