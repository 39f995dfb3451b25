// What a node tells whoever runs it. Core never prints: it calls the one `observe` function handed in at the composition
// root, from which logs and metrics are made. Nothing here is on the path of a single request.

import type { NodeId, Term } from '../raft/types.js';

export type NodeEvent =
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
  /** The event loop stood still this long; leases were extended by it (reliability D4). */
  | { readonly kind: 'stalled'; readonly lateMs: number }
  | { readonly kind: 'lease_expired'; readonly id: bigint }
  /** The node stopped taking part. `error` null: on purpose. */
  | { readonly kind: 'stopped'; readonly error: Error | null };

export type Observe = (event: NodeEvent) => void;
