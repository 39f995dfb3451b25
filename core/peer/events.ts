// What the peers tell whoever runs them: facts for logs and metrics, at a bounded rate, never on the path of a message.

import type { NodeId } from '../raft/types.js';

/** Why a frame was not believed. */
export type DropReason =
  /** Damaged, or of a form that no release of ours sends. */
  | 'malformed'
  | 'other_cluster'
  /** Sent to a member that this is not: an address that was given to somebody else. */
  | 'other_member'
  /** From a member that was removed. */
  | 'removed'
  /** From a data directory other than the one known under this id: that one was lost, or restored from a copy. */
  | 'other_incarnation'
  /** A request from somebody who is no member as far as this one knows. */
  | 'stranger'
  /** Too large for a frame; it was never sent. */
  | 'too_large'
  /** More at once than this member takes. */
  | 'too_many';

export type PeerEvent =
  | { readonly kind: 'peer_connected'; readonly peer: NodeId }
  | { readonly kind: 'peer_lost'; readonly peer: NodeId; readonly reason: string }
  /** A heartbeat was answered: twice a second for each member at most. */
  | { readonly kind: 'peer_round_trip'; readonly peer: NodeId; readonly tookMs: number }
  /** `count` frames since the last report of this kind; reported at a bounded rate. */
  | {
      readonly kind: 'frames_dropped';
      readonly peer: NodeId;
      readonly reason: DropReason;
      readonly count: number;
      readonly detail: string;
    }
  /** A snapshot to or from `peer` came to nothing; reported at a bounded rate. */
  | {
      readonly kind: 'snapshot_failed';
      readonly peer: NodeId;
      readonly way: 'sending' | 'receiving';
      readonly reason: string;
      readonly count: number;
    }
  /** A member could not be reached at `url`, or who answers there is not the one meant; `count` since the last report. */
  | { readonly kind: 'dial_failed'; readonly peer: NodeId; readonly url: string; readonly reason: string; readonly count: number }
  /** Somebody at `address` was sent away from the port for members, or the port is in trouble itself; `count` as above. */
  | { readonly kind: 'connection_refused'; readonly address: string; readonly reason: string; readonly count: number };
