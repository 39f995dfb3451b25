// Who waits for leadership to be handed over. It shows as a change of role; a transfer that has not come true within an
// election time-out is given up by the machine, and a little later here.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import { ApiError } from '../errors.js';
import type { NodeId, Role, Status } from '../raft/types.js';

/** Who is best placed to lead next; null: nobody, or this node does not lead. */
export function heirOf({ state, peers }: Status, voters: readonly NodeId[]): NodeId | null {
  if (state !== 'leader') return null;
  const fit = peers.filter(({ id, isActive }) => isActive && voters.includes(id));
  return fit.sort((a, b) => b.match - a.match)[0]?.id ?? null;
}

interface Transfer {
  readonly to: NodeId;
  readonly deadlineMs: number;
  readonly done: Done;
}

export class Transfers {
  readonly #allowanceMs: number;
  readonly #clock: Clock;
  #waiting: Transfer[] = [];

  constructor(electionMs: number, clock: Clock) {
    // The machine's own patience, and one more election time-out for the target to win and to say so.
    this.#allowanceMs = 2 * electionMs;
    this.#clock = clock;
  }

  add(to: NodeId, done: Done): void {
    this.#waiting.push({ to, deadlineMs: this.#clock.now() + this.#allowanceMs, done });
  }

  onRole(role: Role): void {
    if (role.leader !== 0n) this.#settle((transfer) => transfer.to === role.leader, null);
  }

  onTick(nowMs: number): void {
    this.#settle((transfer) => transfer.deadlineMs <= nowMs, new ApiError('timeout'));
  }

  failAll(error: Error): void {
    this.#settle(() => true, error);
  }

  #settle(isOver: (transfer: Transfer) => boolean, error: Error | null): void {
    if (this.#waiting.length === 0) return;
    const over = this.#waiting.filter(isOver);
    if (over.length === 0) return;
    this.#waiting = this.#waiting.filter((transfer) => !isOver(transfer));
    for (const { done } of over) done(error);
  }
}
