// Every bound of a running node, in one place. Reaching one is a named error, never growth.

export interface NodeLimits {
  /** Ops in one branch of a transaction; more is `too_many_ops`. etcd: --max-txn-ops. */
  readonly txnOpsMax: number;
  /** Bytes of one encoded command; more is `request_too_large`. etcd: --max-request-bytes. */
  readonly requestBytesMax: number;
  /** Commands proposed and not yet decided, and as many callers that wait to read; more is `too_many_requests`. */
  readonly proposalsMax: number;
  /** Bytes of those commands; more is `too_many_requests`. */
  readonly proposalBytesMax: number;
  /** Bytes of undelivered events one watcher may hold before it is fed from history instead. */
  readonly watchBufferBytesMax: number;
  /** Revisions in one catch-up batch of a watch (contract 5). */
  readonly watchCatchUpRevisionsMax: number;
  /** Bytes of log beyond which a snapshot is taken whatever `snapshotCount` says: they are also held in memory. */
  readonly logBytesMax: number;
  /** A quiet watch that asked for progress hears after this long (contract 5), plus up to a tenth. */
  readonly progressNotifyMs: number;
}

/** Rows of compacted history looked at in each tick, so that memory comes back also where nobody writes: some milliseconds. */
export const tidyRowsPerTick = 8192;

export const defaultLimits: NodeLimits = Object.freeze({
  txnOpsMax: 128,
  requestBytesMax: 1_572_864,
  proposalsMax: 20_000,
  proposalBytesMax: 256 * 1024 * 1024,
  watchBufferBytesMax: 4 * 1024 * 1024,
  watchCatchUpRevisionsMax: 1000,
  logBytesMax: 128 * 1024 * 1024,
  progressNotifyMs: 600_000,
});
