// What happened in a range from a revision on: how a watcher that is behind catches up. Rows lie in the order of revisions,
// so this is a walk over them. Where matches are far apart, the walk leaps to the next one by asking the keys of the range,
// if these are few: a watch on one key does not pay for a million changes of others. Where neither finds much, as with a filter
// that lets nothing through, it ends after so many rows and is gone on with later.

import type { Event, Revision, WatchRequest } from '../client.js';
import { HISTORY_SCAN_ROWS } from './limits.js';
import { NONE } from './rows.js';
import type { Steps } from './steps.js';
import type { Table } from './table.js';

export interface HistoryRequest extends Pick<WatchRequest, 'key' | 'rangeEnd' | 'prevKv' | 'exclude'> {
  readonly from: Revision;
  /** Stop behind the revision with which one of these is reached. */
  readonly revisionsMax: number;
  readonly bytesMax: number;
  /** Stop behind the revision with which so many rows were looked at, whatever was found; absent: look at all there are. */
  readonly rowsMax?: number;
}

export interface History {
  /** Ascending, whole revisions. */
  readonly events: readonly Event[];
  /** Everything below this has been looked at: where to go on. */
  readonly next: Revision;
}

interface Bounds {
  readonly revision: Revision;
  readonly compacted: Revision;
}

/** Besides its key and value, what an event costs in memory and on the wire. */
const EVENT_BYTES = 64;

/** `request.from` must not be below the compacted revision. */
export function eventsOf(table: Table, request: HistoryRequest, bounds: Bounds): History {
  const { rows } = table;
  const range = table.places(request.key, request.rangeEnd);
  const events: Event[] = [];
  let row = rows.first(request.from);
  let scanned = 0;
  let revisions = 0;
  let bytes = 0;
  let lastMain = 0;
  let seenMain = 0;
  const steps = { left: request.rowsMax ?? Infinity };
  while (row < rows.length && range.from < range.to) {
    if (events.length === 0 && ++scanned % HISTORY_SCAN_ROWS === 0) {
      row = leap(table, range, row, steps);
      if (row === NONE) break;
    }
    const main = rows.main(row);
    if (steps.left <= 0 && main !== seenMain) return { events, next: main };
    steps.left -= 1;
    seenMain = main;
    if (main !== lastMain && (revisions >= request.revisionsMax || bytes >= request.bytesMax)) return { events, next: main };
    if (matches(table, request, row) && !table.isSuperseded(row, bounds.compacted)) {
      if (main !== lastMain) revisions += 1;
      lastMain = main;
      bytes += table.keys.length(rows.slot(row)) + rows.valueLength(row) + EVENT_BYTES;
      events.push(eventOf(table, request, row, bounds.compacted));
    }
    row = rows.after(row);
  }
  return { events, next: Math.max(request.from, bounds.revision + 1) };
}

export function eventBytes(event: Event): number {
  return event.kv.key.length + event.kv.value.length + (event.prevKv?.value.length ?? 0) + EVENT_BYTES;
}

function matches(table: Table, request: HistoryRequest, row: number): boolean {
  const slot = table.rows.slot(row);
  const { key, rangeEnd, exclude } = request;
  if (exclude !== undefined && exclude.includes(table.rows.version(row) === 0 ? 'delete' : 'put')) return false;
  const from = table.keys.compareWith(key, slot);
  if (rangeEnd === undefined || rangeEnd.length === 0) return from === 0;
  if (from > 0) return false;
  return (rangeEnd.length === 1 && rangeEnd[0] === 0) || table.keys.compareWith(rangeEnd, slot) > 0;
}

function eventOf(table: Table, request: HistoryRequest, row: number, compacted: Revision): Event {
  const event = table.event(row);
  return request.prevKv === true ? { ...event, prevKv: prevOf(table, row, compacted) } : event;
}

/** A key that was deleted in the same revision is new, too: nothing is shown as its pair before (contract 5). */
export function isCreation({ kind, kv }: Event): boolean {
  return kind === 'put' && kv.createRevision === kv.modRevision;
}

function prevOf(table: Table, row: number, compacted: Revision): Event['prevKv'] {
  const { rows } = table;
  const main = rows.main(row);
  if (main - 1 < compacted || rows.create(row) === main) return null;
  let prev = rows.prev(row);
  while (prev !== NONE && rows.main(prev) === main) prev = rows.prev(prev);
  return prev === NONE || rows.version(prev) === 0 ? null : table.kv(prev);
}

/**
 * The first row at or behind `row` of a key in the range, NONE if there is none; `row` itself if finding out is dear, which may
 * show only when about as many rows were looked at for it as were read past before.
 */
function leap(table: Table, range: { readonly from: number; readonly to: number }, row: number, steps: Steps): number {
  const { rows, keys } = table;
  if (keys.countAll(range.from, range.to) > Math.min(HISTORY_SCAN_ROWS, (rows.length - row) / 4)) return row;
  let first = NONE;
  let looks = 0;
  for (let place = range.from; place < range.to; place = keys.after(place)) {
    let oldest = NONE;
    for (let each = keys.newest(keys.slotAt(place)); each !== NONE && each >= row; each = rows.prev(each)) {
      if (++looks > HISTORY_SCAN_ROWS) {
        steps.left -= looks;
        return row;
      }
      oldest = each;
    }
    if (oldest < first) first = oldest;
  }
  steps.left -= looks;
  return first;
}
