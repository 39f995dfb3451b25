// Who leads, as far as this node knows, and what hangs on how long that has been so.

import type { Clock } from '../base/clock.js';
import type { Role } from '../raft/types.js';

export class Reign {
  readonly #clock: Clock;
  readonly #electionMs: number;
  #role: Role = { state: 'follower', term: 0, leader: 0n };
  /** Of the reign that goes on; means nothing while another member leads. */
  #ledSinceMs = 0;
  #lostMs = -Infinity;
  #leaderlessSinceMs: number | null = null;

  constructor(electionMs: number, clock: Clock) {
    this.#clock = clock;
    this.#electionMs = electionMs;
  }

  get role(): Role {
    return this.#role;
  }

  get isLeader(): boolean {
    return this.#role.state === 'leader';
  }

  /** When a leader was last lost, this node included. */
  get lostMs(): number {
    return this.#lostMs;
  }

  /** This node has led for long enough to have heard from whoever is well. */
  get isSeasoned(): boolean {
    return this.isLeader && this.#clock.now() - this.#ledSinceMs >= this.#electionMs;
  }

  /** Null: there is a leader. */
  get leaderlessSinceMs(): number | null {
    return this.#leaderlessSinceMs;
  }

  /** The node takes part from now on, and has heard of no leader yet. */
  begin(): void {
    this.#leaderlessSinceMs = this.#clock.now();
  }

  /** True: a reign of this node has ended, even if the next one is its own, too. */
  onRole(role: Role): boolean {
    const before = this.#role;
    const now = this.#clock.now();
    const isOther = before.state !== role.state || before.term !== role.term;
    this.#role = role;
    if (role.state === 'leader' && isOther) this.#ledSinceMs = now;
    if (before.leader !== 0n && before.leader !== role.leader) this.#lostMs = now;
    this.#leaderlessSinceMs = role.leader === 0n ? this.#leaderlessSinceMs ?? now : null;
    return before.state === 'leader' && isOther;
  }
}
