// Leases in a cluster: the leader's lessor says when, this file makes entries of it. A lease ends only by a `lease_revoke`
// that carries the term it was proposed in and the entry that granted the lease: what a deposed leader wished is void,
// and so is a wish about a lease that was granted anew under the same id.
//
// What is left of long leases is written down now and then (`lease_checkpoint`), or a change of leader would start them over.
// A renewal is not in the log. So once less than the whole TTL is, or may soon be, written down, a renewal writes down the
// whole TTL before it is acknowledged: a later leader must not count from an older remainder.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { LeaseId } from '../client.js';
import { ApiError, isApiError } from '../errors.js';
import type { Role } from '../raft/types.js';
import type { Command } from '../store/command.js';
import type { Applied, LeaseFacts, Reply, Store } from '../store/store.js';
import type { Observe } from './events.js';
import { Lessor } from './lessor.js';
import { adoptionsMax, expiringMax, leaseCheckpointMs, leasesPerCheckpointMax } from './limits.js';

export interface LeasesDoors {
  readonly clock: Clock;
  readonly observe: Observe;
  store(): Store;
  /** So many were renewed, by this leader. */
  renewed(leases: number): void;
  role(): Role;
  /** Proposes without regard to the callers' limits: they could keep the node so busy that no lease ever ends. */
  submit(command: Command, done: Done<Reply>): void;
  /** Linearizable read: done when leadership was proven after the call. */
  read(done: Done): void;
}

export class Leases {
  readonly lessor = new Lessor();
  readonly #doors: LeasesDoors;
  readonly #graceMs: number;
  #expiring = 0;
  /** Leases of before this reign that the lessor may not know yet, but for those somebody has asked for; null: it knows all. */
  #toAdopt: Iterator<{ readonly id: LeaseId } & LeaseFacts> | null = null;
  /** The look for what is due goes on in the next turn. */
  #isLooking = false;
  /** The event loop stood still: nothing expires before a majority has confirmed that this node still leads (D4). */
  #isInDoubt = false;
  /** Less than the whole TTL is written down of these, or may be soon; with the number of the wish that says so. */
  readonly #shortened = new Map<LeaseId, number>();
  #wishes = 0;
  /** Up to when the time counts: the last tick, or the one before if it was late. What a stall hides is not known yet. */
  #tickedMs = -Infinity;
  /** The last tick, late or not. */
  #lastTickMs = -Infinity;
  /** Long leases still to be written down in this round. */
  #toCheckpoint: LeaseId[] = [];
  #nextCheckpointMs = Infinity;

  /** `graceMs`: given on top to every lease when leadership begins. */
  constructor(graceMs: number, doors: LeasesDoors) {
    this.#graceMs = graceMs;
    this.#doors = doors;
  }

  /** The leader's first own entry is applied: everything before it is, too, so the lease table is complete. */
  begin(): void {
    const now = this.#doors.clock.now();
    this.lessor.activate(now, this.#graceMs);
    this.#shortened.clear();
    this.#toAdopt = this.#doors.store().leases()[Symbol.iterator]();
    this.#adoptMore();
    this.#expiring = 0;
    this.#isInDoubt = false;
    this.#toCheckpoint = [];
    this.#nextCheckpointMs = now + leaseCheckpointMs;
    this.#tickedMs = now;
    this.#lastTickMs = now;
  }

  end(): void {
    this.lessor.deactivate();
    this.#toAdopt = null;
    this.#shortened.clear();
    this.#toCheckpoint = [];
    this.#nextCheckpointMs = Infinity;
  }

  onApplied(command: Command, { reply }: Applied): void {
    if (reply.kind === 'lease_grant') this.lessor.onGranted(reply.id, reply.ttlSeconds, this.#doors.clock.now());
    else if (reply.kind === 'lease_revoke') this.#onGone(reply.id);
    else if (command.kind === 'lease_revoke' && reply.kind === 'error' && this.#doors.store().lease(command.id) === null) {
      this.#onGone(command.id);
    }
  }

  /** The event loop stood still for `lateMs`: renewals may lie unread, so nothing expires on the strength of this time. */
  onStall(lateMs: number): void {
    this.lessor.onStall(lateMs);
    // What had come before the last tick has been read since. So leases end also where every tick is late; only the stalls,
    // which the lessor leaves out, do not count.
    this.#tickedMs = this.#lastTickMs + lateMs;
    this.#lastTickMs = this.#doors.clock.now();
    if (this.lessor.isActive && !this.#isInDoubt) this.#confirm();
  }

  onTick(): void {
    this.#lastTickMs = this.#doors.clock.now();
    if (!this.lessor.isActive || this.#isInDoubt) return;
    this.#tickedMs = this.#lastTickMs;
    this.#expire();
    this.#checkpoint();
  }

  /**
   * Seconds for each of the leases, which now have their whole TTL again; 0: gone. Only after leadership was proven;
   * `not_leader` when it is lost meanwhile.
   */
  renew(ids: readonly LeaseId[], done: Done<readonly number[]>): void {
    if (!this.lessor.isActive) return done(new ApiError('not_leader'));
    const store = this.#doors.store();
    if (this.#toAdopt !== null) for (const id of ids) this.#adopt(id, store.lease(id));
    if (this.#shortened.size === 0) return done(null, this.#renewed(ids));
    const seen = new Map<LeaseId, number>();
    const leases: { id: LeaseId; remainingSeconds: number }[] = [];
    for (const id of ids) {
      const wish = this.#shortened.get(id);
      const lease = wish === undefined ? null : store.lease(id);
      if (wish === undefined || lease === null) continue;
      seen.set(id, wish);
      leases.push({ id, remainingSeconds: lease.ttlSeconds });
    }
    if (leases.length === 0) return done(null, this.#renewed(ids));
    const { term } = this.#doors.role();
    this.#doors.submit({ kind: 'lease_checkpoint', term, leases }, (error, reply) => {
      if (error !== null) return done(error);
      if (reply?.kind !== 'lease_checkpoint' || term !== this.#doors.role().term) return done(new ApiError('not_leader'));
      // One that was shortened again meanwhile must be written down again.
      for (const [id, wish] of seen) if (this.#shortened.get(id) === wish) this.#shortened.delete(id);
      this.renew(ids, done);
    });
  }

  /** Null: unknown. */
  remainingMs(id: LeaseId): number | null {
    this.#adopt(id, this.#doors.store().lease(id));
    return this.lessor.remainingMs(id, this.#doors.clock.now());
  }

  /** A slice, so that to take over a million leases holds nobody up. */
  #adoptMore(): void {
    const leases = this.#toAdopt;
    if (leases === null) return;
    for (let i = 0; i < adoptionsMax; i++) {
      const next = leases.next();
      if (next.done === true) {
        this.#toAdopt = null;
        return;
      }
      this.#adopt(next.value.id, next.value);
    }
    this.#doors.clock.schedule(0, () => {
      if (leases === this.#toAdopt) this.#adoptMore();
    });
  }

  #adopt(id: LeaseId, lease: LeaseFacts | null): void {
    if (this.#toAdopt === null || lease === null || !this.lessor.adopt(id, lease)) return;
    if (lease.remainingSeconds < lease.ttlSeconds) this.#shortened.set(id, 0);
  }

  #confirm(): void {
    this.#isInDoubt = true;
    const { term } = this.#doors.role();
    this.#doors.read((error) => {
      // Another reign has had its own proof since.
      if (term !== this.#doors.role().term || !this.lessor.isActive) return;
      if (error !== null) return this.#confirm();
      this.#isInDoubt = false;
      this.#expire();
      this.#checkpoint();
    });
  }

  #renewed(ids: readonly LeaseId[]): readonly number[] {
    const now = this.#doors.clock.now();
    const kept = ids.map((id) => {
      const lease = this.#doors.store().lease(id);
      return lease !== null && this.lessor.renew(id, now) ? lease.ttlSeconds : 0;
    });
    let renewed = 0;
    for (const ttlSeconds of kept) if (ttlSeconds > 0) renewed += 1;
    this.#doors.renewed(renewed);
    return kept;
  }

  #onGone(id: LeaseId): void {
    this.lessor.onRevoked(id);
    this.#shortened.delete(id);
  }

  /** A slice; the next one follows when this one is gone, so that very many at once delay nobody else. */
  #expire(): void {
    const { term, state } = this.#doors.role();
    // While the members are known to differ nothing is written, so what has expired waits.
    if (state !== 'leader' || this.#expiring > 0 || this.#isInDoubt || this.#doors.store().isCorrupt) return;
    const due = this.lessor.expired(this.#tickedMs, expiringMax);
    if (due.length === 0) return this.#lookOn();
    for (const id of due) {
      const granted = this.#doors.store().lease(id)?.granted;
      if (granted === undefined) {
        this.#onGone(id);
        continue;
      }
      this.#expiring += 1;
      this.#doors.submit({ kind: 'lease_revoke', id, term, granted }, (error, reply) => {
        if (error === null && reply?.kind === 'lease_revoke') this.#doors.observe({ kind: 'lease_expired', id });
        else this.lessor.onRevokeFailed(id);
        if (term !== this.#doors.role().term) return;
        this.#expiring = Math.max(0, this.#expiring - 1);
        if (this.#expiring === 0 && !isApiError(error)) this.#expire();
      });
    }
  }

  /** None of those looked at was due, but there are more. */
  #lookOn(): void {
    if (this.#isLooking || !this.lessor.hasUnseen(this.#tickedMs)) return;
    this.#isLooking = true;
    this.#doors.clock.schedule(0, () => {
      this.#isLooking = false;
      this.#expire();
    });
  }

  #checkpoint(): void {
    const now = this.#doors.clock.now();
    if (now >= this.#nextCheckpointMs) {
      this.#nextCheckpointMs = now + leaseCheckpointMs;
      this.#toCheckpoint = this.lessor.longerThan(leaseCheckpointMs);
    }
    if (this.#toCheckpoint.length === 0) return;
    const store = this.#doors.store();
    const leases: { id: LeaseId; remainingSeconds: number }[] = [];
    for (const id of this.#toCheckpoint.splice(0, leasesPerCheckpointMax)) {
      const lease = store.lease(id);
      const leftMs = this.lessor.remainingMs(id, now);
      if (lease === null || leftMs === null || leftMs <= 0) continue;
      const remainingSeconds = Math.min(lease.ttlSeconds, Math.ceil(leftMs / 1000));
      if (remainingSeconds >= lease.remainingSeconds) continue;
      this.#shortened.set(id, this.#wishes);
      leases.push({ id, remainingSeconds });
    }
    if (leases.length === 0) return;
    this.#wishes += 1;
    this.#doors.submit({ kind: 'lease_checkpoint', term: this.#doors.role().term, leases }, (error) => {
      // Lost with the leader, or this node stops: the leases start over with their whole TTL, which is never too early.
      if (error !== null) this.#doors.observe({ kind: 'checkpoint_lost', leases: leases.length, error });
    });
  }
}
