// Door 3: frames of bytes to other members, in lanes. Whoever implements it may lose, repeat, delay and reorder frames; it
// must not damage them, and it never waits. What is said in the frames, and who is believed, is peers.ts and codec.ts: the
// same over a simulated network as over real sockets.

import type { Done } from '../base/done.js';
import type { NodeId } from '../raft/types.js';

/**
 * Lanes do not hold each other up: a snapshot on its way does not delay a heartbeat.
 *   raft      the machine's messages, several in a frame
 *   call      requests of a follower to the leader, and their answers
 *   snapshot  pieces of a snapshot, and their acknowledgements
 */
export type Lane = 'raft' | 'call' | 'snapshot';

export type Receive = (from: NodeId, lane: Lane, frame: Uint8Array) => void;

/** Bytes of frames since the start, all lanes together; what was dropped does not count. */
export interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export interface Transport {
  /**
   * Begins to listen and to connect. `receive` gets every frame, from a later turn, never re-entrant; `from` is what the
   * sender claims to be; a certificate proves that it may be a member, not which. Done when it listens.
   */
  start(receive: Receive, done: Done): void;
  /** Where to reach whom, as URLs; replaces what was said before. Who is not named any more is disconnected. */
  setPeers(addresses: ReadonlyMap<NodeId, readonly string[]>): void;
  /**
   * Never waits. False: dropped, because the lane to `to` is full or no connection stands. Who is not named by `setPeers` can
   * be answered where there are connections, as long as the one stands on which it spoke.
   */
  send(to: NodeId, lane: Lane, frame: Uint8Array): boolean;
  /** The same for a frame of which `rest` is the end; nobody writes to that any more. */
  sendPieces(to: NodeId, lane: Lane, frame: Uint8Array, rest: Uint8Array): boolean;
  /** Whether a connection to `to` stands, as far as one can know. */
  isConnected(to: NodeId): boolean;
  /** Absent where nobody counts; null for somebody this one never spoke with. */
  traffic?(peer: NodeId): Traffic | null;
  close(done: Done): void;
}
