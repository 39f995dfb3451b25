// Every bound of a running node, in one place. Reaching one is a named error, never growth.

export interface NodeLimits {
  /** Ops in one branch of a transaction; more is `too_many_ops`. etcd: --max-txn-ops. */
  readonly txnOpsMax: number;
  /** Bytes of one request; more is `request_too_large`. etcd: --max-request-bytes. */
  readonly requestBytesMax: number;
  /**
   * Commands proposed and not yet decided, as many callers that wait to read, and as many that wait to be told that there is no
   * space; more is `too_many_requests`.
   */
  readonly proposalsMax: number;
  /** Bytes of those commands; more is `too_many_requests`. */
  readonly proposalBytesMax: number;
  /** Bytes of undelivered events one watcher may hold before it is fed from history instead. */
  readonly watchBufferBytesMax: number;
  /** Revisions in one catch-up batch of a watch (contract 5). */
  readonly watchCatchUpRevisionsMax: number;
  /**
   * Bytes of log beyond which a snapshot is taken whatever `snapshotCount` says: they are also held in memory. A store that is
   * small is saved earlier, once its log is as large as its last snapshot. Large entries count for less: `largeEntryShare`.
   */
  readonly logBytesMax: number;
  /** Bytes of entries applied in one turn, some milliseconds of work: of a long log at the start, or of what was far behind. */
  readonly applyBytesMax: number;
  /** Entries kept in memory behind a snapshot, so that a member a little behind is not sent a snapshot; etcd: 5000. */
  readonly catchUpEntries: number;
  /** Bytes the store may hold before it takes no more (`no_space`); Infinity: no such bound. etcd: --quota-backend-bytes. */
  readonly quotaBytes: number;
  /** Leases in the cluster, watches at one member, users and roles; more is `limit_reached`. etcd has no such bounds. */
  readonly leasesMax: number;
  readonly watchersMax: number;
  readonly usersMax: number;
  readonly rolesMax: number;
  /** A quiet watch that asked for progress hears after this long (contract 5), plus up to a tenth. */
  readonly progressNotifyMs: number;
}

/**
 * A command may be larger than the request it came in by so much: whose limit is `requestBytesMax`, in its wire form
 * (store/request-size.ts).
 */
export const commandOverheadBytesMax = 64 * 1024;
/** Entries in one call of a follower to the leader, and their bytes; one larger entry still goes alone. */
export const callItemsMax = 1000;
export const callBytesMax = 1024 * 1024;
/** Such calls on their way at once; what comes meanwhile waits with its caller's deadline. */
export const proposeCallsMax = 32;
/** The same for calls that ask for a read index: each serves all who came before it. */
export const readCallsMax = 8;
/** Leases in one keep-alive call, and in one wish of a caller. */
export const leasesPerCallMax = 1000;
/** Leases to be kept alive that wait at one member for its next turn: all of them may ask after it has stood still. */
export const renewalsMax = 250_000;
/** Of them, those asked for in one turn: some milliseconds of work. */
export const renewalsPerTurnMax = 10_000;
/** Questions to the leader (keep-alives, remaining times, changes of members) waiting at one member. */
export const questionsMax = 10_000;
/** Reads of other members waiting at the leader for one answer. */
export const readersMax = 10_000;
/** Changes of members waiting at the leader; they are made one after the other. */
export const changesMax = 16;
/** URLs of one member. */
export const peerUrlsMax = 64;
/** Process starts of one member that a leader tells apart within a term. */
export const sessionsMax = 8;
/** How long a member that was removed is still dialled, so that it hears of it. */
export const farewellMs = 10_000;
/** Election time-outs without a leader after which one other member is believed that says this one was removed. */
export const forsakenElections = 5;
/** Learners in a cluster; etcd: 1. */
export const learnersMax = 1;
/** How long voters must have been reached without a break before a change counts on them; etcd: 5 s. */
export const healthyMs = 5000;
/** Of the entries that are kept behind a snapshot: large ones are dearer to keep than a snapshot is to send. */
export const catchUpBytes = 16 * 1024 * 1024;
/**
 * Entries of so many bytes count for this share of them when it is weighed whether the log is worth a snapshot, where they lie
 * in memory of their own, as they do unless they were read from the disk: the store then keeps the value in the memory of the
 * log (store/arena.ts), also at a follower, which gets each by itself (raft/followers.ts). And a snapshot, which writes all
 * there is once more, costs what it is long. Weighed in full, a store that is filled with large values would be written
 * three times over.
 */
export const largeEntryBytes = 32 * 1024;
export const largeEntryShare = 1 / 4;
/** Below this a log is not worth a snapshot, however small the store. */
export const snapshotLogBytesMin = 32 * 1024 * 1024;
/** Bytes of entries in one message to a follower; one larger entry still goes alone. */
export const appendBytesMax = 1024 * 1024;
/** Leases revoked for expiry and not yet gone, so that a mass expiry delays nothing: the next slice follows the last. */
export const expiringMax = 1000;
/** Deadlines looked at in one turn, some milliseconds of work: of a million leases that were renewed none may be due. */
export const expiryLooksMax = 10_000;
/** Leases whose deadlines are set in one turn when leadership begins: a million take most of a second. */
export const adoptionsMax = 10_000;
/** A timer later than this, or than two ticks, means that the event loop stood still (reliability D4). */
export const stallMsMin = 100;
/** A turn whose entries take the store longer than this counts as slow; etcd: 100 ms for one. */
export const slowApplyMs = 100;
/** How often what is left of long leases is written down, so that a change of leader does not start them over; etcd: 5 min. */
export const leaseCheckpointMs = 300_000;
/** Leases in one such entry. */
export const leasesPerCheckpointMax = 1000;
/** Bytes in one piece of a snapshot for a client, and pieces counted or handed out in one turn. */
export const snapshotPieceBytes = 64 * 1024;

/** Rows of compacted history looked at in each tick, so that memory comes back also where nobody writes: some milliseconds. */
export const tidyRowsPerTick = 8192;
/** The same for each turn of a defragmentation, some milliseconds of work; and how long one waits while a copy is read. */
export const defragmentRowsPerTurn = 4096;
export const frozenWaitMs = 50;
/**
 * Keys that large ranges look at in one turn, and one of them before the next has its turn: each is looked at three times, to
 * be found, measured and written, which takes some milliseconds. How many are read beside each other, and how many wait.
 */
export const readKeysPerTurn = 4096;
export const readKeysPerSlice = 1024;
export const readingsMax = 16;
/** Bytes of the answers that are being written, all together: who finds no room waits, one that is larger is written alone. */
export const readingsBytesMax = 256 * 1024 * 1024;
export const readingsWaitingMax = 20_000;
/** Rows hashed in one turn, some milliseconds of work; and hashes under way in one member: each keeps history in memory. */
export const hashRowsPerTurn = 4096;
export const hashesMax = 8;
/** How long another member may take for its hash; how often, and how long apart, one that is a little behind is asked again. */
export const hashCallMs = 60_000;
export const hashTriesMax = 5;
export const hashAgainMs = 1000;
/** Compaction by the clock (contract 14.4): it comes no less often, or this often where revisions are kept by number. */
export const compactionPeriodMsMax = 3_600_000;
export const compactionRevisionMs = 300_000;
/** Revisions noted on the way: a year of tenths of an hour. */
export const compactionNotesMax = 100_000;

export const defaultLimits: NodeLimits = Object.freeze({
  txnOpsMax: 128,
  requestBytesMax: 1_572_864,
  proposalsMax: 20_000,
  proposalBytesMax: 256 * 1024 * 1024,
  watchBufferBytesMax: 4 * 1024 * 1024,
  watchCatchUpRevisionsMax: 1000,
  logBytesMax: 192 * 1024 * 1024,
  applyBytesMax: 2 * 1024 * 1024,
  catchUpEntries: 5000,
  quotaBytes: 2 * 1024 * 1024 * 1024,
  leasesMax: 2_000_000,
  watchersMax: 1_000_000,
  usersMax: 100_000,
  rolesMax: 100_000,
  progressNotifyMs: 600_000,
});

/** Passwords waiting for the one thread that hashes them; more is `too_many_logins`. */
export const passwordsWaitingMax = 32;
/** Of those, for one name. */
export const passwordsPerNameMax = 8;
/** Wrong passwords in a row for one name before the next attempt has to wait; then it waits twice as long each time. */
export const loginFailuresFree = 5;
export const loginPauseMsMin = 100;
export const loginPauseMsMax = 5000;
/** Names whose failures are remembered; then the one tried least recently is forgotten. */
export const loginNamesMax = 1000;
/** The cost of new passwords, and how long a simple token is good unused, where nothing else is said; etcd's. */
export const bcryptCost = 10;
export const tokenTtlSeconds = 300;
/** A login begins anew when users or roles changed while its password was checked; no more often than this. */
export const loginRoundsMax = 10;
/** How often open watches are held against permissions that may have changed, where no event makes them look (SC7: 5 s). */
export const watchSweepMs = 1000;
/** So many of them in one turn: to end so many takes tens of milliseconds, and there may be a million. */
export const watchesPerSweep = 500;
/** How long watches are told of what is new before the loop turns, and how many before the clock is looked at. */
export const watchTurnMs = 5;
export const watchesPerLook = 32;
