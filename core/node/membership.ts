// Who the others are and whether they are reached; this member's own announcement; its own removal. What the members are is
// in the store, who votes is the machine's: here only the consequences are drawn.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Refusal } from '../peer/frame.js';
import type { NodeId } from '../raft/types.js';
import type { Command } from '../store/command.js';
import { decodeMemberRecords, type MemberRecord } from '../store/members.js';
import type { Reply, Store } from '../store/store.js';
import { farewellMs, healthyMs } from './limits.js';

/** What a member tells of itself at each start. */
export interface Announcement {
  readonly id: NodeId;
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly incarnation: bigint;
}

export interface MembershipDoors {
  readonly clock: Clock;
  store(): Store;
  isConnected(id: NodeId): boolean;
  setPeers(members: readonly MemberRecord[]): void;
  submit(command: Command, done: Done<Reply>): void;
  /** The members know that this one was removed, or has lost its disk. */
  refused(reason: Refusal): void;
}

export class Membership {
  readonly #self: Announcement;
  readonly #doors: MembershipDoors;
  /** Where members may be reached whom the store does not know yet: from settings, and from the log not yet applied. */
  readonly #contacts = new Map<NodeId, MemberRecord>();
  /** Just removed, and still dialled, so that they hear of it. Who comes back later is told the way it came. */
  readonly #departed = new Map<NodeId, { readonly record: MemberRecord; readonly untilMs: number }>();
  #members: readonly MemberRecord[] = [];
  readonly #connectedSinceMs = new Map<NodeId, number>();
  #announcing = false;
  #wasMember = false;
  #onAnnounced: (() => void)[] = [];

  constructor(self: Announcement, contacts: readonly MemberRecord[], doors: MembershipDoors) {
    this.#self = self;
    this.#doors = doors;
    for (const record of contacts) this.#contacts.set(record.id, record);
  }

  get isAnnounced(): boolean {
    const own = this.#own();
    return own !== undefined && own.name === this.#self.name && own.incarnation === this.#self.incarnation
      && sameList(own.clientUrls, this.#self.clientUrls);
  }

  /** The context of a 'members' entry that is in the log, applied or not. */
  learn(context: Uint8Array): void {
    if (context.length === 0) return;
    for (const record of decodeMemberRecords(context)) this.#contacts.set(record.id, record);
  }

  whenAnnounced(run: () => void): void {
    if (this.isAnnounced) run();
    else this.#onAnnounced.push(run);
  }

  /**
   * Whom a newcomer is told of. A lone voter that restarts may not know yet that its last addition was committed, and it
   * needs the vote of whom it added: so that one must be able to join by what the log says.
   */
  described(): readonly MemberRecord[] {
    const { voters } = this.#doors.store().configuration;
    const members = this.#doors.store().members();
    if (voters.length !== 1 || voters[0] !== this.#self.id) return members;
    return [...members, ...this.#contacts.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Members as far as they are known here, from the log and else from settings. */
  others(): readonly NodeId[] {
    return [...this.#members, ...this.#contacts.values()].map(({ id }) => id).filter((id) => id !== this.#self.id);
  }

  /** To be called when the members in the store may have changed, and once at the start. */
  onChange(): void {
    const store = this.#doors.store();
    const members = store.members();
    const known = new Set(members.map(({ id }) => id));
    for (const id of this.#contacts.keys()) if (known.has(id) || store.isRemoved(id)) this.#contacts.delete(id);
    const untilMs = this.#doors.clock.now() + farewellMs;
    for (const record of this.#members) if (store.isRemoved(record.id)) this.#departed.set(record.id, { record, untilMs });
    this.#members = members;
    this.#tellPeers();
    for (const id of this.#connectedSinceMs.keys()) if (!known.has(id)) this.#connectedSinceMs.delete(id);
    const own = this.#own();
    if (own !== undefined) this.#wasMember = true;
    else if (this.#wasMember || store.isRemoved(this.#self.id)) return this.#doors.refused('removed');
    if (own !== undefined && own.incarnation !== 0n && own.incarnation !== this.#self.incarnation) {
      return this.#doors.refused('other_incarnation');
    }
    if (!this.isAnnounced) return;
    const waiting = this.#onAnnounced;
    this.#onAnnounced = [];
    for (const run of waiting) run();
  }

  /** To be called each tick. */
  onTick(hasLeader: boolean): void {
    const now = this.#doors.clock.now();
    if ([...this.#departed.values()].some(({ untilMs }) => untilMs <= now)) this.#tellPeers();
    for (const { id } of this.#doors.store().members()) {
      if (id === this.#self.id) continue;
      const since = this.#connectedSinceMs.get(id);
      const isConnected = this.#doors.isConnected(id);
      if (isConnected === (since !== undefined)) continue;
      if (isConnected) this.#connectedSinceMs.set(id, now);
      else this.#connectedSinceMs.delete(id);
    }
    if (hasLeader) this.announce();
  }

  /** Connected without a break for long enough that a change of members may count on it. */
  isHealthy(id: NodeId): boolean {
    const since = this.#connectedSinceMs.get(id);
    return since !== undefined && this.#doors.clock.now() - since >= healthyMs;
  }

  /** Says how it is called and reached, once the members know it at all; again at the next tick where that failed. */
  announce(): void {
    if (this.#announcing || this.#own() === undefined || this.isAnnounced) return;
    this.#announcing = true;
    const { id, name, clientUrls, incarnation } = this.#self;
    this.#doors.submit({ kind: 'member_update', id, name, peerUrls: null, clientUrls, incarnation }, () => {
      this.#announcing = false;
    });
  }

  /** An address has one owner: whoever was removed lets go of it when it is a member's again. */
  #tellPeers(): void {
    const now = this.#doors.clock.now();
    const known = [...this.#members, ...this.#contacts.values()];
    const taken = new Set(known.flatMap(({ peerUrls }) => peerUrls));
    for (const [id, { record, untilMs }] of this.#departed) {
      if (untilMs <= now || record.peerUrls.some((url) => taken.has(url))) this.#departed.delete(id);
      else known.push(record);
    }
    this.#doors.setPeers(known.filter(({ id }) => id !== this.#self.id).sort((a, b) => (a.id < b.id ? -1 : 1)));
  }

  #own(): MemberRecord | undefined {
    return this.#doors.store().members().find(({ id }) => id === this.#self.id);
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
