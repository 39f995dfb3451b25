// Whether this member still belongs to the cluster. One that does not stops, with the reason and the remedy (refusal.ts), a
// little later, so that what it has to say gets out.
//
// Its own log is believed, and who says that its data is not the known one. But that it was removed may be said by a fork of
// the cluster (--force-new-cluster on a copy), to which all others are removed. So nobody is believed while there is a leader,
// whom one that was removed soon hears no more; and then only most of the others, or anybody once there was no leader for much
// longer than an election takes. Only who speaks is answered, and who has no vote says nothing of itself; so one that hears of
// no leader asks.

import type { Clock } from '../base/clock.js';
import type { Refusal } from '../peer/frame.js';
import type { NodeId } from '../raft/types.js';
import type { Observe } from './events.js';
import { forsakenElections } from './limits.js';
import { refusal } from './refusal.js';
import type { Reign } from './reign.js';

export interface LeavingConfig {
  readonly id: NodeId;
  readonly heartbeatMs: number;
  readonly electionMs: number;
}

export interface LeavingDoors {
  readonly clock: Clock;
  readonly observe: Observe;
  readonly reign: Reign;
  /** The other members, as far as this one knows. */
  others(): readonly NodeId[];
  /** Says anything to it that it answers, or refuses to. */
  ask(member: NodeId): void;
  /** The node must stop. */
  end(error: Error): void;
}

export class Leaving {
  readonly #config: LeavingConfig;
  readonly #doors: LeavingDoors;
  /** Who has said that this one was removed, since the leader was lost at that time. */
  readonly #tellers = new Set<NodeId>();
  #tellersSinceMs = 0;
  #askedMs = 0;
  #cancel: (() => void) | null = null;

  constructor(config: LeavingConfig, doors: LeavingDoors) {
    this.#config = config;
    this.#doors = doors;
  }

  onTick(): void {
    const sinceMs = this.#doors.reign.leaderlessSinceMs;
    const now = this.#doors.clock.now();
    if (sinceMs === null || now - Math.max(sinceMs, this.#askedMs) < this.#config.electionMs) return;
    this.#askedMs = now;
    for (const member of this.#doors.others()) this.#doors.ask(member);
  }

  /**
   * Another one says so; it says so again and again. `isMember`: as far as this one knows, which after the loss of its disk are
   * those it was founded with, all of whom may have been replaced since; then it believes the leader that it follows.
   */
  onNotice(reason: Refusal, by: NodeId, isMember: boolean): void {
    const isFollowed = this.#doors.reign.role.leader === by;
    if (!isMember && !(reason === 'other_incarnation' && isFollowed)) return;
    if (reason === 'other_incarnation') return this.leave(reason, by);
    const sinceMs = this.#doors.reign.leaderlessSinceMs;
    if (sinceMs === null) return;
    if (sinceMs !== this.#tellersSinceMs) this.#tellers.clear();
    this.#tellersSinceMs = sinceMs;
    this.#tellers.add(by);
    const isForsaken = this.#doors.clock.now() - sinceMs >= forsakenElections * this.#config.electionMs;
    if (isForsaken || this.#tellers.size * 2 > this.#doors.others().length) this.leave(reason, by);
  }

  /** It is certain. */
  leave(reason: Refusal, by: NodeId): void {
    if (this.#cancel !== null) return;
    const { id, heartbeatMs, electionMs } = this.#config;
    this.#doors.observe({ kind: 'refused', reason, by });
    const delayMs = this.#doors.reign.isLeader ? electionMs : 2 * heartbeatMs;
    this.#cancel = this.#doors.clock.schedule(delayMs, () => this.#doors.end(refusal(reason, id, by)));
  }

  /** The node stops already. */
  cancel(): void {
    this.#cancel?.();
  }
}
