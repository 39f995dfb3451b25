// Lease deadlines: on the leader only, on its own Clock, in memory. The store knows which leases exist and their TTL but
// no time; a lease ends only by a committed `lease_revoke`. This file decides when to propose one.
//
// Never early: a deadline counts from when a renewal was processed, a new leader gives every lease what it had left at the
// last checkpoint, or its whole TTL, and an election time-out on top, and time that passed while the event loop stood still
// does not count (reliability D4). Never late by much: at most one tick, plus the queue when very many expire at once.

import { Heap } from '../base/heap.js';
import type { LeaseId } from '../client.js';
import { expiryLooksMax } from './limits.js';

interface Deadline {
  /** On the lessor's own time: clock time minus all stalls so far. */
  at: number;
  readonly ttlSeconds: number;
  /** Once proposed it may come to pass at any time, also where the answer was that it took too long: nothing takes it back. */
  revoke: 'none' | 'proposed' | 'failed';
}

interface Scheduled {
  readonly at: number;
  readonly id: LeaseId;
}

export class Lessor {
  readonly #deadlines = new Map<LeaseId, Deadline>();
  /** Renewal moves only the map's deadline later; the heap is corrected when its top comes due. */
  readonly #heap = new Heap<Scheduled>((a, b) => a.at < b.at);
  #stalledMs = 0;
  #active = false;
  /** From when the leases count that were there when leadership began. */
  #fromMs = 0;

  /** Entries in the heap; bounded by twice the leases plus a constant. For tests and metrics. */
  get scheduled(): number {
    return this.#heap.size;
  }

  get isActive(): boolean {
    return this.#active;
  }

  /** Leadership begins. Every lease the store has is to be adopted. */
  activate(nowMs: number, graceMs: number): void {
    this.deactivate();
    this.#active = true;
    this.#fromMs = this.#local(nowMs) + graceMs;
  }

  /** A lease goes on from what is written down of it, as of the beginning, whenever this is called. False: it is known. */
  adopt(id: LeaseId, lease: { readonly ttlSeconds: number; readonly remainingSeconds: number }): boolean {
    if (this.#deadlines.has(id)) return false;
    this.#add(id, lease.ttlSeconds, this.#fromMs + lease.remainingSeconds * 1000);
    return true;
  }

  /** Leadership ended: somebody else keeps the time now. */
  deactivate(): void {
    this.#active = false;
    this.#deadlines.clear();
    this.#heap.clear();
  }

  /** The store granted a lease. */
  onGranted(id: LeaseId, ttlSeconds: number, nowMs: number): void {
    if (this.#active) this.#add(id, ttlSeconds, this.#local(nowMs) + ttlSeconds * 1000);
  }

  /** The store no longer has the lease. */
  onRevoked(id: LeaseId): void {
    this.#deadlines.delete(id);
    if (this.#heap.size > 2 * this.#deadlines.size + 1024) this.#rebuild();
  }

  /** Starts the lease's TTL over; false when it is unknown or on its way out, from which none returns in this reign. */
  renew(id: LeaseId, nowMs: number): boolean {
    const deadline = this.#deadlines.get(id);
    if (deadline?.revoke !== 'none') return false;
    deadline.at = this.#local(nowMs) + deadline.ttlSeconds * 1000;
    return true;
  }

  /** Milliseconds until the lease may be revoked; null when unknown here. Negative: overdue. */
  remainingMs(id: LeaseId, nowMs: number): number | null {
    const deadline = this.#deadlines.get(id);
    return deadline === undefined ? null : deadline.at - this.#local(nowMs);
  }

  /** The event loop stood still for `lateMs`: renewals may be waiting unread, so the time does not count. */
  onStall(lateMs: number): void {
    this.#stalledMs += lateMs;
  }

  /**
   * Leases whose time is over, at most `max`; each is named once until `onRevokeFailed`. All that were granted together and
   * renewed since come up together as well, so it looks at a bounded number: `hasUnseen` says whether that was all.
   */
  expired(nowMs: number, max: number): LeaseId[] {
    const due: LeaseId[] = [];
    const now = this.#local(nowMs);
    for (let looks = 0; looks < expiryLooksMax && due.length < max; looks++) {
      const top = this.#heap.peek();
      if (top === undefined || top.at > now) break;
      this.#heap.pop();
      const deadline = this.#deadlines.get(top.id);
      if (deadline === undefined || deadline.revoke === 'proposed') continue;
      if (deadline.at > now) {
        this.#heap.push({ at: deadline.at, id: top.id });
        continue;
      }
      deadline.revoke = 'proposed';
      due.push(top.id);
    }
    return due;
  }

  /** There may be more whose time is over. */
  hasUnseen(nowMs: number): boolean {
    const top = this.#heap.peek();
    return top !== undefined && top.at <= this.#local(nowMs);
  }

  /** Leases granted for longer than `ttlMs`. */
  longerThan(ttlMs: number): LeaseId[] {
    const long: LeaseId[] = [];
    for (const [id, { ttlSeconds }] of this.#deadlines) if (ttlSeconds * 1000 > ttlMs) long.push(id);
    return long;
  }

  /** A proposed revoke has not happened, as far as is known: try again at the next tick. */
  onRevokeFailed(id: LeaseId): void {
    const deadline = this.#deadlines.get(id);
    if (deadline?.revoke !== 'proposed') return;
    deadline.revoke = 'failed';
    this.#heap.push({ at: deadline.at, id });
  }

  #local(nowMs: number): number {
    return nowMs - this.#stalledMs;
  }

  #add(id: LeaseId, ttlSeconds: number, at: number): void {
    this.#deadlines.set(id, { at, ttlSeconds, revoke: 'none' });
    this.#heap.push({ at, id });
  }

  /** Drops what revoked leases left in the heap, so that it stays within twice the number of leases. */
  #rebuild(): void {
    this.#heap.clear();
    for (const [id, { at, revoke }] of this.#deadlines) if (revoke !== 'proposed') this.#heap.push({ at, id });
  }
}
