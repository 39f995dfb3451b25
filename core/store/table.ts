// All versions of all keys, with the primitives the rest of the room is made of: write a version, read the one that held
// at a revision, remove what compaction made superfluous. No requests, no replies, no revision counter of its own:
// store.ts decides which revision is written.

import { EMPTY, isOpenEnd } from '../base/bytes.js';
import type { Event, KeyValue, LeaseId, Revision } from '../client.js';
import { Arena } from './arena.js';
import { Keys } from './keys.js';
import { Leases } from './leases.js';
import { NONE, Rows } from './rows.js';

/** Rows of a key that are looked at one after the other before its history is taken for a long one. */
const NEAR_ROWS = 32;

export class Table {
  readonly rows = new Rows();
  readonly keys = new Keys(this.rows);
  readonly leases = new Leases(this.keys);
  readonly values = new Arena();

  get sizeBytes(): number {
    return this.rows.sizeBytes + this.keys.sizeBytes + this.values.sizeBytes;
  }

  get liveBytes(): number {
    return this.rows.liveBytes + this.keys.liveBytes + this.values.liveBytes;
  }

  /** Writes a version of `key` at `main`; returns its row. The lease must exist. */
  put(main: Revision, key: Uint8Array, value: Uint8Array, lease: LeaseId): number {
    const { rows, keys, leases } = this;
    let slot = keys.find(key);
    if (slot === NONE) slot = keys.add(key);
    const old = keys.newest(slot);
    const row = this.append(slot, main, value);
    const version = old === NONE ? 0 : rows.version(old);
    rows.fill(row, version === 0 ? main : rows.create(old), version + 1, lease);
    if (old !== NONE && version === 0) keys.changeLive(slot, 1);
    const oldLease = version === 0 ? 0n : rows.lease(old);
    if (oldLease !== lease) {
      if (oldLease !== 0n) leases.detach(oldLease, slot);
      if (lease !== 0n) leases.attach(lease, slot);
    }
    return row;
  }

  /** A new last row for a slot, of which `Rows.fill` is to say the rest. Nobody may write to `value` from now on. */
  append(slot: number, main: Revision, value: Uint8Array): number {
    const { rows, keys, values } = this;
    values.keep(value);
    const row = rows.append(slot, keys.newest(slot), main);
    rows.setValue(row, values.chunk, values.offset, value.length);
    keys.setNewest(slot, row);
    return row;
  }

  /** Writes the tombstone of a live key. */
  remove(main: Revision, slot: number): number {
    const { rows, keys, leases } = this;
    const old = keys.newest(slot);
    if (rows.hasLease(old)) leases.detach(rows.lease(old), slot);
    return this.entomb(main, slot);
  }

  /** The same of a key whose lease, if it has one, goes with all its keys. */
  entomb(main: Revision, slot: number): number {
    const { rows, keys } = this;
    const row = this.append(slot, main, EMPTY);
    rows.fill(row, 0, 0, 0n);
    keys.changeLive(slot, -1);
    return row;
  }

  /** Gives keys with the highest slots lower ones that are free, up to about `rowsMax` rows of them. True when none are. */
  packSlots(rowsMax: number): boolean {
    const { rows, keys, leases } = this;
    for (let left = rowsMax; left > 0; ) {
      const to = keys.takeVacancy();
      if (to === NONE) {
        keys.trim();
        return true;
      }
      const from = keys.slotsEnd - 1;
      const newest = keys.newest(from);
      for (let row = newest; row !== NONE; row = rows.prev(row)) {
        rows.setSlot(row, to);
        left--;
      }
      if (rows.hasLease(newest)) leases.renumber(rows.lease(newest), from, to);
      keys.renumber(from, to);
    }
    return false;
  }

  /** The row of a slot as of `revision`; NONE when the key did not exist then. */
  rowAt(slot: number, revision: Revision): number {
    const rows = this.rows;
    let row = this.keys.newest(slot);
    for (let i = 0; row !== NONE && rows.main(row) > revision; i++) {
      if (i === NEAR_ROWS) {
        row = this.#rowBefore(slot, row, revision);
        break;
      }
      row = rows.prev(row);
    }
    return row === NONE || rows.version(row) === 0 ? NONE : row;
  }

  /**
   * The same of a key that was written often since: besides the chain of its rows, back from `newer`, all rows are searched, back
   * from that revision. A long chain has rows everywhere, so of ten million rows some thousand are looked at, not half of them.
   */
  #rowBefore(slot: number, newer: number, revision: Revision): number {
    const rows = this.rows;
    let row = rows.prev(newer);
    let other = rows.before(rows.first(revision + 1));
    while (row !== NONE && rows.main(row) > revision) {
      row = rows.prev(row);
      if (other === NONE) continue;
      if (rows.slot(other) === slot) return other;
      other = rows.before(other);
    }
    return row;
  }

  /** The newest row of a key; NONE when it does not exist. */
  liveRow(key: Uint8Array): number {
    const slot = this.keys.find(key);
    return slot === NONE ? NONE : this.liveRowOf(slot);
  }

  /** The same of a slot. */
  liveRowOf(slot: number): number {
    const row = this.keys.newest(slot);
    return this.rows.version(row) === 0 ? NONE : row;
  }

  kv(row: number, keysOnly = false): KeyValue {
    const rows = this.rows;
    return {
      key: this.keys.bytes(rows.slot(row)),
      value: keysOnly ? EMPTY : this.value(row),
      createRevision: rows.create(row),
      modRevision: rows.main(row),
      version: rows.version(row),
      lease: rows.lease(row),
    };
  }

  /** Never to be written to; see arena.ts. */
  value(row: number): Uint8Array {
    const rows = this.rows;
    return this.values.read(rows.chunk(row), rows.offset(row), rows.valueLength(row));
  }

  /** See foresight.ts. */
  bringValueNear(row: number): void {
    const rows = this.rows;
    this.values.bringNear(rows.chunk(row), rows.offset(row), rows.valueLength(row));
  }

  /** What a watcher is told of a row. */
  event(row: number): Event {
    return { kind: this.rows.version(row) === 0 ? 'delete' : 'put', kv: this.kv(row), prevKv: null };
  }

  /** The places [from, to) of a range (contract 4.1). */
  places(key: Uint8Array, rangeEnd: Uint8Array = EMPTY): { from: number; to: number } {
    const keys = this.keys;
    const from = keys.placeOf(key);
    if (rangeEnd.length === 0) {
      const found = from < keys.end && keys.compareWith(key, keys.slotAt(from)) === 0;
      return { from, to: found ? keys.after(from) : from };
    }
    const to = isOpenEnd(rangeEnd) ? keys.end : keys.placeOf(rangeEnd);
    return { from, to: Math.max(from, to) };
  }

  /**
   * Whether compaction to `compacted` leaves nothing to see of a row: a newer one at or below that revision takes its
   * place, or it is an older tombstone (the one at the very revision stays, for watches that start there).
   */
  isSuperseded(row: number, compacted: Revision): boolean {
    const rows = this.rows;
    const main = rows.main(row);
    if (main > compacted) return false;
    const next = rows.next(row);
    return (next !== NONE && rows.main(next) <= compacted) || (rows.version(row) === 0 && main < compacted);
  }
}
