// What a node tells whoever runs it. Core never prints: it calls the one `observe` function handed in at the composition
// root, from which logs and metrics are made. Nothing here is on the path of a single request.

import type { PeerEvent } from '../peer/events.js';
import type { NodeId, Term } from '../raft/types.js';

export type NodeEvent =
  | PeerEvent
  | { readonly kind: 'role'; readonly state: 'follower' | 'candidate' | 'leader'; readonly term: Term; readonly leader: NodeId }
  /** The log ended in an unfinished batch, which was cut off: never acknowledged, so nothing is lost. */
  | { readonly kind: 'log_repaired'; readonly file: string; readonly offset: number; readonly droppedBytes: number }
  /** State was rebuilt from disk. */
  | {
      readonly kind: 'restored';
      readonly snapshotIndex: number;
      readonly entries: number;
      readonly revision: number;
      readonly tookMs: number;
    }
  /** One group commit reached the disk. */
  | { readonly kind: 'synced'; readonly batches: number; readonly bytes: number; readonly tookMs: number }
  | { readonly kind: 'snapshot_saved'; readonly index: number; readonly bytes: number; readonly tookMs: number }
  /** A tick: how late it came, and the longest silence of the leader since the one before (pulse.ts). */
  | { readonly kind: 'beat'; readonly lateMs: number; readonly silenceMs: number | null }
  /** The event loop stood still this long; leases were extended by it (reliability D4). */
  | { readonly kind: 'stalled'; readonly lateMs: number }
  | { readonly kind: 'lease_expired'; readonly id: bigint }
  /** What was left of long leases could not be written down: after a change of leader they have their whole time again. */
  | { readonly kind: 'checkpoint_lost'; readonly leases: number; readonly error: Error }
  /** These members hold other data at this revision than the rest: they have an alarm, and nothing is written any more. */
  | { readonly kind: 'members_differ'; readonly revision: number; readonly members: readonly NodeId[] }
  /** A configuration was applied: who votes, who only listens. */
  | {
      readonly kind: 'members';
      readonly voters: readonly NodeId[];
      readonly outgoing: readonly NodeId[];
      readonly learners: readonly NodeId[];
    }
  /** A snapshot went to another member; `ok` says that it has it whole. */
  | { readonly kind: 'snapshot_sent'; readonly to: NodeId; readonly ok: boolean }
  /** The store was replaced by a snapshot that another member sent. */
  | { readonly kind: 'snapshot_installed'; readonly index: number; readonly revision: number }
  /** The cluster will not have this member: it stops. */
  | { readonly kind: 'refused'; readonly reason: 'removed' | 'other_incarnation'; readonly by: NodeId }
  /** The node stopped taking part. `error` null: on purpose. */
  | { readonly kind: 'stopped'; readonly error: Error | null };

export type Observe = (event: NodeEvent) => void;
