// The record of what clients asked and were told: what every checker of this folder takes, and what the simulator and the
// harness of real processes write. Times are milliseconds on one clock, that of whoever recorded. Nothing in here is of a
// server's own making, but for `log` and `course`, which say what the servers really did where somebody could see it.

import type {
  Event, Header, KeepAlive, Lease, LeaseId, RangeRequest, RangeResponse, Revision, TxnRequest, TxnResponse, WatchBatch,
    WatchRequest,
} from '../../core/client.js';
import type { ErrorCode } from '../../core/errors.js';
import type { Command } from '../../core/store/command.js';

export type OperationRequest =
  | { readonly kind: 'range'; readonly request: RangeRequest }
  | { readonly kind: 'txn'; readonly request: TxnRequest }
  /** `id` 0n: the server picks one; the answer names it. */
  | { readonly kind: 'grant'; readonly ttlSeconds: number; readonly id: LeaseId }
  | { readonly kind: 'revoke' | 'keep_alive'; readonly lease: LeaseId }
  | { readonly kind: 'compact'; readonly revision: Revision };

/** A range is answered by a RangeResponse, a txn by a TxnResponse, a grant by a Lease, and so on. */
export type Answer = RangeResponse | TxnResponse | Lease | KeepAlive | Header;

export type Outcome =
  | { readonly kind: 'ok'; readonly response: Answer }
  | { readonly kind: 'error'; readonly code: ErrorCode; readonly outcome: 'never' | 'unknown' };

export interface Operation {
  readonly client: string;
  readonly member: bigint;
  readonly calledAt: number;
  /** Infinity: never answered. One of unknown outcome may take effect after it returned. */
  readonly returnedAt: number;
  readonly request: OperationRequest;
  readonly outcome: Outcome;
  /** Of the member: one that starts again may have to catch up. Absent: nobody knows. */
  readonly life?: number;
}

export interface WatchRecord {
  readonly client: string;
  readonly request: WatchRequest;
  readonly batches: readonly { readonly at: number; readonly batch: WatchBatch }[];
  /** 'open': nobody ended it. 'canceled': the client did. Else what it threw. */
  readonly end: 'open' | 'canceled' | { readonly code: ErrorCode; readonly compactRevision: Revision };
  /** Its reader waited, nothing was on its way, and its member had long been at this revision. Absent: nobody looked. */
  readonly quietAt?: Revision;
}

/** A committed entry. `command` null: it means nothing to the store's pairs and leases. */
export interface LogEntry {
  readonly index: number;
  readonly term: number;
  readonly command: Command | null;
  /** When it was first known to be committed, where somebody saw it. */
  readonly at?: number;
}

/** Every event above a revision at which there was none of the keys that the operations touch. */
export interface Course {
  readonly base: Revision;
  readonly events: readonly Event[];
}

export interface History {
  readonly operations: readonly Operation[];
  readonly watches: readonly WatchRecord[];
  /** The committed entries in order from the first on; null: nobody saw them. */
  readonly log: readonly LogEntry[] | null;
  /** What a watch from the start has shown; absent or null: there was none. */
  readonly course?: Course | null;
  /** How far the clocks of members may run apart, as a share. Absent: 0.02. */
  readonly drift?: number;
  /** By term, when its leader stood still: that time does not count against leases. */
  readonly standstills?: ReadonlyMap<number, readonly { readonly from: number; readonly to: number }[]>;
}

export interface Violation {
  readonly invariant: string;
  /** A sentence that a person understands. */
  readonly message: string;
}
