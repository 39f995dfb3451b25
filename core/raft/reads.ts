// Linearizable reads without a log entry (thesis 6.4), leader only. A read first waits until an entry of the leader's own
// term is committed; then it is told the commit index of that moment, and waits until a majority has answered a message
// sent after it came: so nobody else led meanwhile. All reads of a step share one round, and a later round answers for
// every earlier one, so that reads which keep coming cannot put off those that wait.

import type { Members } from './members.js';
import type { Index, NodeId, Token } from './types.js';

/** Reads waiting for confirmation; more are refused with 'too_many'. */
export const READS_MAX = 100_000;

/** A read that waits until a majority has confirmed `round`; then it sees everything up to `index`. */
interface PendingRead {
  readonly token: Token;
  readonly index: Index;
  readonly round: number;
}

export class Reads {
  #round = 0;
  #pending: PendingRead[] = [];
  /** Those that no round has been started for. */
  #early: Token[] = [];

  get isFull(): boolean {
    return this.#early.length + this.#pending.length >= READS_MAX;
  }

  /** What followers are asked to confirm; 0: nothing. */
  get asked(): number {
    return this.#pending.length > 0 ? this.#round : 0;
  }

  add(token: Token): void {
    this.#early.push(token);
  }

  /** The commit index is known to be current: one round for all who wait. False: nobody does. */
  start(commit: Index): boolean {
    if (this.#early.length === 0) return false;
    this.#round++;
    for (const token of this.#early) this.#pending.push({ token, index: commit, round: this.#round });
    this.#early = [];
    return true;
  }

  /** Calls `each` with the reads that are confirmed. `roundOf`: the largest round that a member has answered. */
  confirm(members: Members, self: NodeId, roundOf: (id: NodeId) => number, each: (token: Token, index: Index) => void): void {
    if (this.#pending.length === 0) return;
    const round = members.reached((id) => (id === self ? this.#round : roundOf(id)));
    let ready = 0;
    for (const read of this.#pending) {
      if (read.round > round) break;
      each(read.token, read.index);
      ready++;
    }
    if (ready > 0) this.#pending.splice(0, ready);
  }

  /** Everybody who waits, in no particular order; nobody does afterwards. */
  drop(): readonly Token[] {
    const tokens = [...this.#early, ...this.#pending.map(({ token }) => token)];
    this.#early = [];
    this.#pending = [];
    this.#round = 0;
    return tokens;
  }
}
