// How regularly time and the leader are felt here: how late each tick came, and how long nothing was heard of the leader
// meanwhile. An election begins when a silence lasts an election time-out; the figures say how far from that a busy cluster
// stays. Measured where it counts: a message that waits for this process to look is not heard yet.

import type { Clock } from '../base/clock.js';
import type { Message, NodeId } from '../raft/types.js';

export interface Beat {
  /** After it was due. */
  readonly lateMs: number;
  /** The longest since the tick before, one that still lasts included; null: this member leads, or nobody does. */
  readonly silenceMs: number | null;
}

export class Pulse {
  readonly #clock: Clock;
  readonly #self: NodeId;
  #leader: NodeId = 0n;
  #heardMs = 0;
  #longestMs = 0;

  constructor(self: NodeId, clock: Clock) {
    this.#self = self;
    this.#clock = clock;
  }

  /** What arrived together, from one member. */
  onMessages(messages: readonly Message[]): void {
    const [first] = messages;
    if (first?.kind !== 'append' || first.from !== this.#leader) return;
    const now = this.#clock.now();
    this.#longestMs = Math.max(this.#longestMs, now - this.#heardMs);
    this.#heardMs = now;
  }

  onLeader(leader: NodeId): void {
    if (leader === this.#leader) return;
    this.#leader = leader;
    this.#heardMs = this.#clock.now();
    this.#longestMs = 0;
  }

  onTick(lateMs: number): Beat {
    const isFollowing = this.#leader !== 0n && this.#leader !== this.#self;
    const silenceMs = isFollowing ? Math.max(this.#longestMs, this.#clock.now() - this.#heardMs) : null;
    this.#longestMs = 0;
    return { lateMs: Math.max(0, lateMs), silenceMs };
  }
}
