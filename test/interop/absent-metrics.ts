// Names of etcd's metrics that have no figure here, each with the reason. What /metrics does serve is core/cli/metrics.ts;
// together they are all that etcd 3.4 serves: metrics.test.ts asks a live one.

interface Absence {
  /** A name, or where names begin when it ends with `*`. */
  readonly name: string;
  readonly why: string;
}

const NO_BACKEND = 'there is no database file under the log: what is durable is the log, and its fsync has a name of its own';
const NO_V2 = 'counts the store of the v2 API';
const NO_PROXY = 'counts etcd\'s gRPC proxy, which even etcd itself leaves at 0 in a server';
const NO_GO = 'tells of the Go runtime; nodejs_* tells of Node\'s';
const ONE_TURN = 'is done within one turn of the event loop: nobody could ever see another figure than 0';
const NO_PAUSES = 'history is removed a little with each write; there is no pass to measure';

export const ABSENT: readonly Absence[] = [
  { name: 'etcd_disk_backend_commit_duration_seconds', why: NO_BACKEND },
  { name: 'etcd_disk_backend_snapshot_duration_seconds', why: NO_BACKEND },
  { name: 'etcd_disk_backend_defrag_duration_seconds', why: NO_BACKEND },
  { name: 'etcd_disk_defrag_inflight', why: NO_BACKEND },
  { name: 'etcd_debugging_disk_backend_*', why: NO_BACKEND },
  { name: 'etcd_mvcc_db_open_read_transactions', why: NO_BACKEND },
  { name: 'etcd_snap_db_*', why: NO_BACKEND },
  { name: 'etcd_snap_fsync_duration_seconds', why: 'is part of etcd_debugging_snap_save_total_duration_seconds' },
  { name: 'etcd_debugging_snap_save_marshalling_duration_seconds', why: 'a snapshot is written as it is made, not before' },
  { name: 'etcd_debugging_mvcc_db_compaction_*', why: NO_PAUSES },
  { name: 'etcd_debugging_mvcc_index_compaction_*', why: NO_PAUSES },
  { name: 'etcd_server_snapshot_apply_in_progress_total', why: ONE_TURN },
  { name: 'etcd_debugging_store_*', why: NO_V2 },
  { name: 'etcd_grpc_proxy_*', why: NO_PROXY },
  { name: 'etcd_server_go_version', why: NO_GO },
  { name: 'go_*', why: NO_GO },
  { name: 'promhttp_*', why: 'tells of the Go library that serves the page' },
];

/** Why etcd's metric of this name is not served; null: it should be. */
export function reasonWithout(name: string): string | null {
  const isMeant = (absence: Absence): boolean => {
    return absence.name.endsWith('*') ? name.startsWith(absence.name.slice(0, -1)) : absence.name === name;
  };
  return ABSENT.find(isMeant)?.why ?? null;
}
