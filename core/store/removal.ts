// The end of a lease: all its keys go in one revision, however many. Of very many, events are made only of those that somebody
// looks at: they would take longer than the deletes, and the memory of several times the keys.

import type { Event, Revision } from '../client.js';
import type { LeaseRecord } from './leases.js';
import { EVENTS_MADE_MAX } from './limits.js';
import type { Table } from './table.js';

/** What was removed, as store.ts tells it. To be looked at before anything else is applied: rows may move. */
export interface Removed {
  readonly revision: Revision;
  readonly events: readonly Event[];
  readonly parts?: EventParts;
}

/** Very many events, in byte order of their keys, to be had without making all of them. */
export interface EventParts {
  readonly count: number;
  /** Those of the keys in [start, end); null: to the end. Each is the same object however often it is asked for. */
  within(start: Uint8Array, end: Uint8Array | null): Event[];
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

/** Those in the rows [from, to), whose keys ascend. */
class Tombstones implements Removed, EventParts {
  readonly revision: Revision;
  readonly parts: EventParts = this;
  readonly #table: Table;
  readonly #from: number;
  readonly #to: number;
  /** By row; those of other rows are not made yet. */
  readonly #made = new Map<number, Event>();

  constructor(table: Table, revision: Revision, from: number, to: number) {
    this.#table = table;
    this.revision = revision;
    this.#from = from;
    this.#to = to;
  }

  get count(): number {
    return this.#to - this.#from;
  }

  get events(): readonly Event[] {
    return this.#slice(this.#from, this.#to);
  }

  within(start: Uint8Array, end: Uint8Array | null): Event[] {
    return this.#slice(this.#rowOf(start), end === null ? this.#to : this.#rowOf(end));
  }

  #slice(from: number, to: number): Event[] {
    return Array.from({ length: Math.max(0, to - from) }, (_, i) => this.#event(from + i));
  }

  #event(row: number): Event {
    const known = this.#made.get(row);
    if (known !== undefined) return known;
    const event = this.#table.event(row);
    this.#made.set(row, event);
    return event;
  }

  /** The first whose key is not below `key`. */
  #rowOf(key: Uint8Array): number {
    const { keys, rows } = this.#table;
    let [low, high] = [this.#from, this.#to];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys.compareWith(key, rows.slot(middle)) > 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
