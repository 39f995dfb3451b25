// Which leases exist, with the TTL they were granted, and which keys hang on each. No time: who decides that a lease is
// over (node/lessor.ts) does so by a command. The keys of a lease are a chain through their slots (keys.ts), so a lease
// with a million keys costs no object for any of them.
//
// Invariant: a key is on the chain of lease L if and only if it is live and its newest row says L.

import { assert } from '../base/assert.js';
import type { LeaseId } from '../client.js';
import type { Keys } from './keys.js';
import { NONE } from './rows.js';

export interface LeaseRecord {
  readonly id: LeaseId;
  readonly ttlSeconds: number;
  /** The entry that granted it: ids may come again, this does not. */
  readonly granted: number;
  /** What was left of it at the last checkpoint; its whole TTL before any. */
  remainingSeconds: number;
  keyCount: number;
  /** The first slot of the chain, or NONE. */
  head: number;
}

export class Leases {
  readonly #keys: Keys;
  readonly #byId = new Map<LeaseId, LeaseRecord>();

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  get count(): number {
    return this.#byId.size;
  }

  get(id: LeaseId): LeaseRecord | null {
    return this.#byId.get(id) ?? null;
  }

  all(): Iterable<LeaseRecord> {
    return this.#byId.values();
  }

  grant(id: LeaseId, ttlSeconds: number, granted: number, remainingSeconds = ttlSeconds): void {
    assert(!this.#byId.has(id), `lease ${id} is granted twice`);
    this.#byId.set(id, { id, ttlSeconds, granted, remainingSeconds, keyCount: 0, head: NONE });
  }

  /** Forgets a lease, whose keys are all gone; none of them was taken off it. */
  removeWhole(lease: LeaseRecord): void {
    assert(lease.head === NONE || !this.#keys.isLive(lease.head), `lease ${lease.id} goes while it has keys`);
    this.#byId.delete(lease.id);
  }

  attach(id: LeaseId, slot: number): void {
    const lease = this.#byId.get(id);
    assert(lease !== undefined, `a key is put on lease ${id}, which does not exist`);
    this.#keys.setLeasePrev(slot, NONE);
    this.#keys.setLeaseNext(slot, lease.head);
    if (lease.head !== NONE) this.#keys.setLeasePrev(lease.head, slot);
    lease.head = slot;
    lease.keyCount += 1;
  }

  detach(id: LeaseId, slot: number): void {
    const lease = this.#byId.get(id);
    assert(lease !== undefined, `a key hangs on lease ${id}, which does not exist`);
    const prev = this.#keys.leasePrev(slot);
    const next = this.#keys.leaseNext(slot);
    if (prev === NONE) lease.head = next;
    else this.#keys.setLeaseNext(prev, next);
    if (next !== NONE) this.#keys.setLeasePrev(next, prev);
    lease.keyCount -= 1;
  }

  /** A key on the lease gets another slot. */
  renumber(id: LeaseId, from: number, to: number): void {
    const lease = this.#byId.get(id);
    assert(lease !== undefined, `a key hangs on lease ${id}, which does not exist`);
    const prev = this.#keys.leasePrev(from);
    const next = this.#keys.leaseNext(from);
    if (prev === NONE) lease.head = to;
    else this.#keys.setLeaseNext(prev, to);
    if (next !== NONE) this.#keys.setLeasePrev(next, to);
  }

  /** The slots on a lease, in byte order of their keys. */
  slotsOf(lease: LeaseRecord): Uint32Array {
    const keys = this.#keys;
    const slots = new Uint32Array(lease.keyCount);
    let at = 0;
    for (let slot = lease.head; slot !== NONE; slot = keys.leaseNext(slot)) slots[at++] = slot;
    assert(at === lease.keyCount, `lease ${lease.id} has ${at} keys and counts ${lease.keyCount}`);
    if (at < 2) return slots;
    // Sorting compares about log2(n) times a key, each a good deal dearer than a step along the order of all keys.
    if (keys.size < at * 2 * Math.log2(at)) return this.#picked(slots);
    return slots.sort((a, b) => keys.compareWith(keys.bytes(a), b));
  }

  /** The same in no order, one by one: for whoever may stop at any of them. */
  *slotsInAnyOrder(lease: LeaseRecord): Iterable<number> {
    for (let slot = lease.head; slot !== NONE; slot = this.#keys.leaseNext(slot)) yield slot;
  }

  /** Sorts by walking over all keys and picking those that are marked. */
  #picked(slots: Uint32Array): Uint32Array {
    const marks = new Uint8Array(this.#keys.slotsEnd);
    for (const slot of slots) marks[slot] = 1;
    let at = 0;
    for (const slot of this.#keys.inOrder()) if (marks[slot] === 1) slots[at++] = slot;
    assert(at === slots.length, 'a key on a lease is not among the keys');
    return slots;
  }
}
