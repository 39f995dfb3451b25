// What really happened, revision by revision: replayed from the committed entries where they are known; else put together
// from the answers, from a watch that saw everything, and from what operations of unknown outcome would have done.

import { latin1 } from '../../core/base/bytes.js';
import type { Event, KeyValue, LeaseId, Op, RangeResponse, Revision, TxnRequest, TxnResponse } from '../../core/client.js';
import type { History, LogEntry, Operation } from './history.js';
import { difference } from './same.js';
import { Timeline, covers, type Evaluated } from './timeline.js';
import { isMutation, isTxn, named, revisionOf, type Tell, type TxnOperation } from './operations.js';

/** What made a revision. */
export interface Deed {
  /** Null: the end of a lease. */
  readonly request: TxnRequest | null;
  readonly evaluated: Evaluated | null;
  /** Known when the course was put together from operations. */
  readonly maker: Operation | null;
  /** When it was committed; null: nobody saw it. */
  readonly at: number | null;
  /** When whoever asked for it called; set when that is found out. */
  calledAt: number;
}

export interface LeaseDeed {
  readonly kind: 'granted' | 'revoked' | 'expired';
  readonly lease: LeaseId;
  readonly ttlSeconds: number;
  readonly revision: Revision;
  readonly at: number | null;
  /** Of the entry. */
  readonly term: number;
}

export interface Course {
  readonly timeline: Timeline;
  readonly made: Map<Revision, Deed>;
  /** In the order of the entries; empty when they are not known. */
  readonly leases: readonly LeaseDeed[];
  readonly isFromLog: boolean;
}

export function reconstruct(history: History, tell: Tell): Course {
  return history.log === null ? fromAnswers(history, tell) : fromLog(history.log);
}

function fromLog(log: readonly LogEntry[]): Course {
  const replay = new Replay();
  for (const entry of log) replay.take(entry);
  return { timeline: replay.timeline, made: replay.made, leases: replay.deeds, isFromLog: true };
}

/** What committed entries mean, one after the other. */
export class Replay {
  readonly timeline = new Timeline();
  readonly made = new Map<Revision, Deed>();
  readonly deeds: LeaseDeed[] = [];
  /** Those that are there. */
  readonly leases = new Map<LeaseId, { ttlSeconds: number; granted: number }>();
  /** -1: never. */
  compacted = -1;

  take(entry: LogEntry): void {
    const { index, term, command, at = null } = entry;
    if (command === null) return;
    switch (command.kind) {
      case 'txn': return this.#txn(command.request, at);
      case 'lease_grant': {
        const { id, ttlSeconds } = command;
        if (this.leases.has(id)) return;
        this.leases.set(id, { ttlSeconds, granted: index });
        this.deeds.push({ kind: 'granted', lease: id, ttlSeconds, revision: this.timeline.revision, at, term });
        return;
      }
      case 'lease_revoke': {
        const lease = this.leases.get(command.id);
        if (lease === undefined) return;
        // What a leader believes to have expired counts in its own term only, and only of the lease it saw.
        if (command.term !== 0 && (command.term !== term || command.granted !== lease.granted)) return;
        return this.#end(command.id, lease.ttlSeconds, { isExpiry: command.term !== 0, at, term });
      }
      case 'compact':
        if (command.revision > this.compacted && command.revision <= this.timeline.revision) this.compacted = command.revision;
        return;
      case 'lease_checkpoint':
      case 'alarm':
      case 'member_update':
      case 'as_user':
      case 'auth_change':
      case 'authenticate':
      case 'rehash':
        return;
    }
  }

  #txn(request: TxnRequest, at: number | null): void {
    if (this.timeline.refusal(request, this.leases, this.compacted) !== null) return;
    const evaluated = this.timeline.apply(request);
    if (evaluated.events.length === 0) return;
    this.made.set(evaluated.revision, { request, evaluated, maker: null, at, calledAt: -Infinity });
  }

  #end(id: LeaseId, ttlSeconds: number, how: { isExpiry: boolean; at: number | null; term: number }): void {
    const { isExpiry, at, term } = how;
    this.leases.delete(id);
    const { revision, events } = this.timeline.removeLease(id);
    this.deeds.push({ kind: isExpiry ? 'expired' : 'revoked', lease: id, ttlSeconds, revision, at, term });
    if (events.length > 0) this.made.set(revision, { request: null, evaluated: null, maker: null, at, calledAt: -Infinity });
  }
}

/** A revision whose maker did not get its answer: who could it have been? */
class Search {
  readonly #timeline: Timeline;
  readonly #unknown: TxnOperation[] = [];
  readonly #byPut = new Map<string, Operation[]>();
  readonly #used = new Set<Operation>();

  constructor(history: History, timeline: Timeline) {
    this.#timeline = timeline;
    for (const operation of history.operations) {
      if (!isTxn(operation) || operation.outcome.kind !== 'error' || operation.outcome.outcome !== 'unknown') continue;
      this.#unknown.push(operation);
      for (const name of putsOf(operation.request.request)) {
        const same = this.#byPut.get(name);
        if (same === undefined) this.#byPut.set(name, [operation]);
        else same.push(operation);
      }
    }
  }

  /** `shownAt`: when the revision was first shown; who asked later cannot have made it. */
  find(fits: (events: readonly Event[]) => boolean, seen: readonly KeyValue[], shownAt: number): TxnOperation | null {
    const put = seen.find(({ version }) => version > 0);
    const candidates = put === undefined ? this.#unknown : (this.#byPut.get(nameOf(put.key, put.value)) ?? this.#unknown);
    for (const operation of candidates) {
      if (!isTxn(operation) || this.#used.has(operation) || operation.calledAt > shownAt) continue;
      const { request } = operation.request;
      if (this.#timeline.refusal(request, null, -1) !== null) continue;
      const events = this.#timeline.tryOut(request);
      if (events.length === 0 || !fits(events)) continue;
      this.#used.add(operation);
      return operation;
    }
    return null;
  }

  /** A lease that was there, and whose end would have done this. */
  lease(fits: (keys: readonly string[]) => boolean): LeaseId | null {
    return this.#timeline.leasesInUse().find((lease) => fits(this.#timeline.keysOf(lease))) ?? null;
  }
}

function putsOf(request: TxnRequest): string[] {
  const ops: readonly Op[] = [...(request.success ?? []), ...(request.failure ?? [])];
  return ops.flatMap((op) => {
    if (op.kind === 'txn') return putsOf(op.request);
    return op.kind === 'put' ? [nameOf(op.request.key, op.request.value)] : [];
  });
}

function nameOf(key: Uint8Array, value: Uint8Array): string {
  return `${key.length}:${latin1(key)}${latin1(value)}`;
}

function fromAnswers(history: History, tell: Tell): Course {
  const { course = null } = history;
  const base = course?.base ?? 1;
  const timeline = new Timeline(base);
  const made = new Map<Revision, Deed>();
  const search = new Search(history, timeline);
  const told = new Map<Revision, TxnOperation>();
  const seen = course === null ? seenIn(history) : byRevision(course.events);
  /** By revision, the lease that a client was told to have ended there; it may have had no keys, and changed nothing. */
  const ended = new Map<Revision, LeaseId>();
  let newest = [...seen.keys()].reduce((highest, each) => Math.max(highest, each), base);
  for (const operation of history.operations) {
    const revision = revisionOf(operation);
    if (revision === null) continue;
    if (course === null) newest = Math.max(newest, revision);
    if (isTxn(operation) && isMutation(operation) && !told.has(revision)) told.set(revision, operation);
    if (operation.request.kind === 'revoke' && !ended.has(revision)) ended.set(revision, operation.request.lease);
  }
  const shownAt = firstShown(history, newest);
  const note = (maker: TxnOperation | null, evaluated: Evaluated | null): void => {
    made.set(timeline.revision, {
      request: maker?.request.request ?? null, evaluated, maker, at: null, calledAt: maker?.calledAt ?? -Infinity,
    });
  };
  for (let revision = base + 1; revision <= newest; revision++) {
    const events = seen.get(revision) ?? [];
    const fits = (due: readonly Event[]): boolean => (course === null ? holds(due, events) : agree(due, events));
    const isEnd = (keys: readonly string[]): boolean =>
      events.every(({ kind, kv }) => kind === 'delete' && keys.includes(latin1(kv.key)))
        && (course === null || keys.length === events.length);
    const known = ended.get(revision);
    if (!told.has(revision) && known !== undefined && timeline.keysOf(known).length > 0 && isEnd(timeline.keysOf(known))) {
      timeline.removeLease(known);
      note(null, null);
      continue;
    }
    const maker = told.get(revision) ?? search.find(fits, events.map(({ kv }) => kv), shownAt[revision] ?? Infinity);
    if (maker !== null && maker !== undefined) {
      const evaluated = timeline.apply(maker.request.request);
      if (evaluated.events.length === 0) {
        tell('I22', `${named(maker)} was told that it made revision ${revision}, but by then it would have changed nothing`);
        timeline.force(revision, events);
      } else if (!fits(evaluated.events)) {
        tell('I22', `${named(maker)} made revision ${revision}, but what others saw of that revision is something else`);
      }
      note(maker, evaluated.events.length === 0 ? null : evaluated);
      continue;
    }
    const lease = events.length > 0 ? search.lease(isEnd) : null;
    if (lease !== null) {
      timeline.removeLease(lease);
    } else {
      tell('I19', `revision ${revision} is a phantom: no operation, and no end of a lease, can have made it`);
      timeline.force(revision, events);
    }
    note(null, null);
  }
  return { timeline, made, leases: [], isFromLog: false };
}

/** By revision, when an answer first showed it or a later one. */
function firstShown({ operations, watches }: History, newest: Revision): number[] {
  const at = Array.from({ length: newest + 2 }, () => Infinity);
  const note = (revision: Revision, time: number): void => {
    if (revision <= newest) at[revision] = Math.min(at[revision] ?? Infinity, time);
  };
  for (const operation of operations) note(revisionOf(operation) ?? Infinity, operation.returnedAt);
  for (const { batches } of watches) for (const { at: time, batch } of batches) note(batch.events.at(-1)?.kv.modRevision ?? 0,
    time);
  for (let revision = newest; revision > 0; revision--) at[revision] = Math.min(at[revision] ?? Infinity,
    at[revision + 1] ?? Infinity);
  return at;
}

function byRevision(events: readonly Event[]): Map<Revision, Event[]> {
  const found = new Map<Revision, Event[]>();
  for (const event of events) {
    const together = found.get(event.kv.modRevision);
    if (together === undefined) found.set(event.kv.modRevision, [event]);
    else together.push(event);
  }
  return found;
}

/** Without a watch that saw everything: what answers and watches showed, each pair once. */
function seenIn(history: History): Map<Revision, Event[]> {
  const found = new Map<Revision, Event[]>();
  const note = (event: Event): void => {
    const together = found.get(event.kv.modRevision);
    if (together === undefined) found.set(event.kv.modRevision, [event]);
    else if (!together.some(({ kv }) => Buffer.compare(kv.key, event.kv.key) === 0)) together.push(event);
  };
  const noteAll = (kvs: readonly KeyValue[]): void => kvs.forEach((kv) => note({ kind: 'put', kv, prevKv: null }));
  const dig = (responses: TxnResponse['responses']): void => {
    for (const each of responses) {
      if (each.kind === 'range') noteAll(each.response.kvs);
      else if (each.kind === 'txn') dig(each.response.responses);
    }
  };
  for (const { batches } of history.watches) for (const { batch } of batches) batch.events.forEach(note);
  for (const { request, outcome } of history.operations) {
    if (outcome.kind !== 'ok') continue;
    if (request.kind === 'range' && request.request.keysOnly !== true) noteAll((outcome.response as RangeResponse).kvs);
    if (request.kind === 'txn') dig((outcome.response as TxnResponse).responses);
  }
  return found;
}

/** Everything seen is among what is due. */
function holds(due: readonly Event[], seen: readonly Event[]): boolean {
  return seen.every((event) => due.some((each) => sameEvent(each, event)));
}

function agree(due: readonly Event[], told: readonly Event[]): boolean {
  return due.length === told.length && due.every((each, i) => told[i] !== undefined && sameEvent(each, told[i]));
}

export function sameEvent(due: Event, told: Event): boolean {
  if (due.kind !== told.kind) return false;
  if (due.kind === 'put') return difference(due.kv, told.kv) === null;
  return covers({ key: due.kv.key }, told.kv.key) && due.kv.modRevision === told.kv.modRevision;
}
