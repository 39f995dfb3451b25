// How an item gets from one place to the next: the operations, and the compares they stand on. Pure; who sends them, and
// what happens when the answer is lost, is the business of queue-put, queue-take, queue-delivery and queue-care.
//
// A group has at most one item in ready or out, its first: that is what keeps the group in order. When the first ends, the
// next of the line takes its place in the same transaction; so whoever ends a first must know who is next, and the
// transaction compares that (`Ending.compare`). Compares see the state before the transaction, nested ones too.

import { text, utf8 } from '../core/base/bytes.js';
import type { Compare, KeyValue, LeaseId, Op, Revision } from '../core/client.js';
import { created, opDelete, opPut, opRange, opTxn } from '../core/client.js';
import type { Head, Out, Outcome, QueueKeys } from './queue-keys.js';
import { DELAY, idOf, PRIORITY_MAX, TURNS_MAX, writeDead, writeEnd, writeOut } from './queue-keys.js';

/** An item with a name. */
export interface Named {
  readonly id: string;
  readonly head: Head;
}

/** Among the others: ready, or behind the first of its group. */
export function entering(keys: QueueKeys, { id, head }: Named): readonly Op[] {
  const { group, priority, place } = head;
  const ready = { id, priority, place, attempts: 0, turns: 0 };
  if (group === null) return [opPut(keys.readyKey({ ...ready, pool: 0 }), utf8(''))];
  return [opTxn({
    compare: [created(keys.active(group), '=', 0)],
    success: [opPut(keys.active(group), utf8(place)), opPut(keys.readyKey({ ...ready, pool: 1 }), utf8(''))],
    failure: [opPut(keys.lineKey(group, place, id), utf8(String(priority)))],
  })];
}

/** Ready again, after having been out. `place`: of a group's first, where it stands now. */
export function returning(keys: QueueKeys, { id, head }: Named, out: Out, place: string): readonly Op[] {
  const { group, priority } = head;
  const { attempts, turns } = out;
  if (group === null) {
    return [opPut(keys.readyKey({ pool: 0, id, priority, place: head.place, attempts, turns: 0 }), utf8(''))];
  }
  return [
    opPut(keys.active(group), utf8(place)),
    opPut(keys.readyKey({ pool: 1, id, priority, place, attempts, turns }), utf8('')),
  ];
}

/** Out until the store's time is up: `lease` lasts as long as the delay. */
export function delaying(keys: QueueKeys, id: string, out: Out, lease: LeaseId): readonly Op[] {
  return [
    opPut(keys.outItem(id), writeOut({ ...out, by: DELAY })),
    opPut(keys.hold(DELAY, id), utf8(''), { lease }),
  ];
}

export interface Ending {
  /** Hold while `next` is what was believed. */
  readonly compare: readonly Compare[];
  readonly ops: readonly Op[];
}

export interface EndingOptions {
  readonly outcome: Outcome;
  readonly attempts: number;
  readonly fence: Revision | null;
  readonly reason?: string;
  /** Of the group, if it has one: the first of its line; null: nobody is in line. */
  readonly next: KeyValue | null;
  /** Where the group goes on, and after how many turns in a row. */
  readonly place: string;
  readonly turns: number;
}

/** The item has ended: it is counted, told of, and the next of its group takes its place. */
export function ending(keys: QueueKeys, { id, head }: Named, options: EndingOptions): Ending {
  const { outcome, attempts, fence, reason = '', next } = options;
  const ops = [
    opPut(keys.done, writeEnd({ id, outcome, attempts, fence })),
    outcome === 'dead' ? opPut(keys.dead(id), writeDead({ attempts, reason })) : opDelete(keys.item(id)),
  ];
  if (head.group === null) return { compare: [], ops };
  const promotion = promoting(keys, head.group, next, options);
  return { compare: promotion.compare, ops: [...ops, ...promotion.ops] };
}

function promoting(keys: QueueKeys, group: string, next: KeyValue | null, at: { place: string; turns: number }): Ending {
  const line = keys.line(group);
  if (next === null) {
    const range = line.rangeEnd === undefined ? {} : { rangeEnd: line.rangeEnd };
    return { compare: [{ ...created(line.key, '=', 0), ...range }], ops: [opDelete(keys.active(group))] };
  }
  const { place, turns } = at;
  const ready = { pool: 1, id: idOf(next.key), priority: priorityIn(next.value) } as const;
  return {
    compare: [created(next.key, '=', next.createRevision)],
    ops: [
      opDelete(next.key),
      opPut(keys.active(group), utf8(place)),
      opPut(keys.readyKey({ ...ready, place, attempts: 0, turns: Math.min(turns, TURNS_MAX) }), utf8('')),
    ],
  };
}

/** What others wrote may be anything. */
function priorityIn(value: Uint8Array): number {
  const priority = Number(text(value));
  return Number.isInteger(priority) && priority >= 0 && priority <= PRIORITY_MAX ? priority : 0;
}

/** Reads who is next. */
export function nextOf(keys: QueueKeys, group: string): Op {
  const { key, rangeEnd } = keys.line(group);
  return opRange(key, { ...(rangeEnd === undefined ? {} : { rangeEnd }), limit: 1 });
}
