// Everything that can happen to a node (`Input`) and everything a node can do (`Output`). Whoever has read these two
// unions knows the machine's whole surface: it has no clock, no disk, no socket and no dice of its own.
//
// The rule that replaces a page of rules: everything in an Output is safe to act on the moment it appears. A message that
// must wait for the disk is not emitted until `persisted` comes back as an input; a leader counts its own log only then,
// too; `apply` never runs ahead of the local disk. The driver has one order to keep: `restore`, then `apply`, ascending.

export type NodeId = bigint;
/** Raft §5.1: logical time. 0 before the first election. */
export type Term = number;
/** Position in the log; the first entry is 1, 0 is "before the log". */
export type Index = number;
/** The driver's name for a waiting caller; echoed in `Settled`, never interpreted. */
export type Token = number;

/** Names a slot in the history of the log. Equal (term, index) implies equal prefixes (Raft §5.3, log matching). */
export interface EntryId {
  readonly term: Term;
  readonly index: Index;
}

export interface Entry extends EntryId {
  /**
   * 'empty': the entry a new leader commits first. 'command': means something to the store. 'members': a configuration,
   * in force from the moment it is in a node's log (Raft §6); `data` is `encodeMembers` of members.ts.
   */
  readonly kind: 'empty' | 'command' | 'members';
  readonly data: Uint8Array;
}

/** What must survive a restart besides the log (Raft figure 2). `commit` may lag behind and only saves work. */
export interface HardState {
  readonly term: Term;
  /** 0n: no vote in this term. A node grants at most one vote per term, restarts included. */
  readonly vote: NodeId;
  readonly commit: Index;
}

/**
 * Who votes. `outgoing` is non-empty only while a joint configuration is in force (Raft §6). Learners get entries but do not
 * count (thesis 4.2.1). Invariant: each list ascends, and nobody is in `voters` and `learners`; one that stops voting is
 * in `outgoing` and `learners` while the configuration is joint.
 */
export interface Configuration {
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

/**
 * A wish to change who votes. `voters` become voters, new ones or learners promoted; `learners` become learners; `removed`
 * are neither. One voter more or less is changed in one step (thesis 4.1), more by a joint configuration (Raft §6), which
 * the leader leaves by itself once it is committed.
 */
export interface MemberChange {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly removed: readonly NodeId[];
  /** Carried in the entry and never interpreted: what the driver wants to know about these members. */
  readonly context: Uint8Array;
}

export interface SnapshotMeta extends EntryId {
  readonly configuration: Configuration;
}

/** What the log on disk held when the node started. Invariant: entries are contiguous and follow `snapshot.index`. */
export interface Resumed {
  readonly hard: HardState;
  readonly snapshot: SnapshotMeta;
  readonly entries: readonly Entry[];
}

export type Message =
  | {
      readonly kind: 'vote';
      readonly from: NodeId;
      readonly to: NodeId;
      /** `pre`: the term the sender would campaign in; it has not entered it (thesis 9.6). */
      readonly term: Term;
      readonly last: EntryId;
      readonly pre: boolean;
      /** The leader itself asked for this election (thesis 3.10): voters do not protect it. */
      readonly transfer: boolean;
    }
  | {
      readonly kind: 'vote_reply';
      readonly from: NodeId;
      readonly to: NodeId;
      readonly term: Term;
      readonly pre: boolean;
      readonly granted: boolean;
    }
  | {
      readonly kind: 'append';
      readonly from: NodeId;
      readonly to: NodeId;
      readonly term: Term;
      /** The slot just before `entries`; the follower must have it. */
      readonly previous: EntryId;
      readonly entries: readonly Entry[];
      readonly commit: Index;
      /** Largest read round the leader wants confirmed; echoed in the reply (thesis 6.4). 0: none. */
      readonly round: number;
      /** What the follower has said, in this term, that it has durably. If its log does not reach so far it has lost entries. */
      readonly match: Index;
    }
  | {
      readonly kind: 'append_reply';
      readonly from: NodeId;
      readonly to: NodeId;
      readonly term: Term;
      /** ok: durable through `index`. Refused: `index` is where to try next (Raft §5.3, one round a conflicting term). */
      readonly ok: boolean;
      readonly index: Index;
      /** Refused: the term of the sender's entry before `index`; the leader passes over its own of later terms. ok: 0. */
      readonly before: Term;
      readonly round: number;
    }
  /** To the target of a transfer: campaign now (thesis 3.10). */
  | { readonly kind: 'timeout_now'; readonly from: NodeId; readonly to: NodeId; readonly term: Term }
  /**
   * In `Output.send`: ship this snapshot, and say how that went with `snapshot_sent`. In `receive`: its bytes are here, whole
   * and verified, and the log can install them. Answered by an `append_reply` once installed.
   */
  | {
      readonly kind: 'snapshot';
      readonly from: NodeId;
      readonly to: NodeId;
      readonly term: Term;
      readonly snapshot: SnapshotMeta;
    };

export type Input =
  /** A driver that was stalled feeds one tick, not those it missed: nobody could answer in the time it was not there. */
  | { readonly kind: 'tick' }
  | { readonly kind: 'receive'; readonly message: Message }
  | { readonly kind: 'propose'; readonly token: Token; readonly data: Uint8Array }
  | { readonly kind: 'propose_members'; readonly token: Token; readonly change: MemberChange }
  | { readonly kind: 'read'; readonly token: Token }
  /** Hand leadership to `to`; given up after an election time-out. Success shows as a change of role. */
  | { readonly kind: 'transfer'; readonly to: NodeId }
  /** Batch `seq` is durable, and so is every batch before it. Each seq is named at most once. */
  | { readonly kind: 'persisted'; readonly seq: number }
  /** The store is safe on disk up to here: the machine may forget the log's tail before it. */
  | { readonly kind: 'snapshotted'; readonly snapshot: SnapshotMeta }
  /** How the shipping of a snapshot ended. `ok` says that `to` has it whole, not that it has installed it. */
  | { readonly kind: 'snapshot_sent'; readonly to: NodeId; readonly ok: boolean }
  /** Messages to `peer` are being lost. */
  | { readonly kind: 'unreachable'; readonly peer: NodeId };

/** One batch for the disk. Durable as a whole before `persisted(seq)` is fed back. */
export interface Persist {
  /** Ascending by one, so that a late answer for an overwritten entry cannot be mistaken for a newer one. */
  readonly seq: number;
  readonly hard: HardState | null;
  /** Entries after this index are void (they conflicted); null: nothing to cut. */
  readonly truncateAfter: Index | null;
  /** The log starts over after this snapshot, which was received before: every entry on disk is void. Before `entries`. */
  readonly snapshot: SnapshotMeta | null;
  readonly entries: readonly Entry[];
}

/** Each means that it will never happen; 'leader_changed' is said of reads only. */
export type RefusedReason =
  | 'no_leader'
  | 'not_leader'
  | 'leader_changed'
  | 'too_many'
  /** Leadership is being handed over; ask again when a leader is known. */
  | 'transferring'
  /** A change of members is under way, or this leader has not committed an entry of its own term. Ask again. */
  | 'change_pending'
  /** The change would add who is there, remove who is not, or leave no voter. */
  | 'change_invalid';

export type Settled =
  /** The proposal has a slot. It is committed only when an entry with this very id comes in `apply`. */
  | { readonly kind: 'appended'; readonly token: Token; readonly id: EntryId }
  | { readonly kind: 'refused'; readonly token: Token; readonly reason: RefusedReason; readonly leader: NodeId }
  /** A linearizable read may be answered from a store that has applied `index` or more (thesis 6.4). */
  | { readonly kind: 'readable'; readonly token: Token; readonly index: Index };

export interface Role {
  /** One that only asks whether an election is worth holding (thesis 9.6) is a follower without a leader. */
  readonly state: 'follower' | 'candidate' | 'leader';
  readonly term: Term;
  /** 0n: unknown. */
  readonly leader: NodeId;
}

export interface Output {
  readonly persist: Persist | null;
  /** May leave now, in any order, or be lost. */
  readonly send: readonly Message[];
  /** Replace the store before applying what follows. A snapshot that a newer one overtakes is never restored. */
  readonly restore: SnapshotMeta | null;
  /** Committed and locally durable; every index once, ascending, after `restore` where there is one. There may be more. */
  readonly apply: readonly Entry[];
  readonly settled: readonly Settled[];
  /** When state, term or leader changed; null otherwise. */
  readonly role: Role | null;
}

export interface RaftConfig {
  readonly id: NodeId;
  /**
   * The configuration to start with when the log names none; otherwise the resumed one counts. Empty: a member that joins a
   * running cluster, which waits to be told.
   */
  readonly voters: readonly NodeId[];
  /** Election time-out in ticks; randomised per election in [n, 2n). At least 3. */
  readonly electionTicks: number;
  /** A leader sends heartbeats every this many ticks. */
  readonly heartbeatTicks: number;
  /** Seeds the election jitter; the machine's only chance. */
  readonly seed: number;
  /** Bytes of entry data in one append message; one larger entry still goes alone. */
  readonly appendBytesMax: number;
  /** Entries proposed but not committed; more are refused with 'too_many'. */
  readonly uncommittedMax: number;
  /** Entries kept in memory behind a snapshot, so that a follower a little behind need not be sent a snapshot. */
  readonly catchUpEntries: number;
  /** Bytes of their data; fewer are kept when they are more. Infinity: no such bound. */
  readonly catchUpBytes: number;
  /**
   * Bytes of entries in one `apply`, about; one larger entry still goes alone. What is left comes with the next steps
   * (`hasMoreToApply`). Infinity: no such bound.
   */
  readonly applyBytesMax: number;
}

/** What a leader believes about one other member. */
export interface PeerStatus {
  readonly id: NodeId;
  readonly mode: 'probe' | 'stream' | 'snapshot';
  readonly match: Index;
  readonly next: Index;
  /** Answered within the last election time-out. */
  readonly isActive: boolean;
}

/** For tests, metrics and transcripts. Invariant: applied <= commit <= last. */
export interface Status extends Role {
  readonly commit: Index;
  readonly applied: Index;
  readonly last: Index;
  readonly durable: Index;
  /** The newest in the log, committed or not. */
  readonly configuration: Configuration;
  /** Leader only, ascending by id; empty otherwise. */
  readonly peers: readonly PeerStatus[];
  /** 0n: no transfer under way. */
  readonly transferTo: NodeId;
}
