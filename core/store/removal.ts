// The end of a lease: all its keys go in one revision, however many. Of very many no events are made unless somebody looks at
// them: they would take longer than the deletes, and the memory of several times the keys.

import type { Event, Revision } from '../client.js';
import type { LeaseRecord } from './leases.js';
import { EVENTS_MADE_MAX } from './limits.js';
import type { Table } from './table.js';

/** What was removed, as store.ts tells it. To be looked at before anything else is applied: rows may move. */
export interface Removed {
  readonly revision: Revision;
  readonly events: readonly Event[];
}

/** Null: it had no keys. */
export function removeLease(table: Table, lease: LeaseRecord, revision: Revision): Removed | null {
  const { leases, rows } = table;
  const slots = leases.slotsOf(lease);
  const from = rows.length;
  for (const slot of slots) table.entomb(revision, slot);
  leases.removeWhole(lease);
  if (slots.length === 0) return null;
  const removed = new Tombstones(table, revision, from, rows.length);
  return slots.length <= EVENTS_MADE_MAX ? { revision, events: removed.events } : removed;
}

/** Those in the rows [from, to). */
class Tombstones implements Removed {
  readonly revision: Revision;
  readonly #table: Table;
  readonly #from: number;
  readonly #to: number;
  #events: readonly Event[] | null = null;

  constructor(table: Table, revision: Revision, from: number, to: number) {
    this.#table = table;
    this.revision = revision;
    this.#from = from;
    this.#to = to;
  }

  get events(): readonly Event[] {
    this.#events ??= Array.from({ length: this.#to - this.#from }, (_, i) => this.#table.event(this.#from + i));
    return this.#events;
  }
}
