// What the ghost knows of stores: what the committed entries, replayed by the model of the history check, make of pairs,
// revisions and leases. Now and then a member's store is held against it (I16, I18, I19, I20, I22, I31), and stores of
// different members at the same index against each other (I21). All of a store is looked at, so not at every turn.

import type { LogEntry } from '../model/history.js';
import { Replay, sameEvent } from '../model/course.js';
import { difference } from '../model/same.js';
import { latin1 } from '../../core/base/bytes.js';
import type { Revision } from '../../core/client.js';
import { Store } from '../../core/store/store.js';

/** Indexes at which whoever stops there is compared with others. */
const COMPARED_EACH = 64;
/** A member's store is looked at when it has applied so many more. */
const LOOKED_AT_EACH = 150;
/** Of history, from the compacted revision on. */
const PAST_REVISIONS = 20;
const EVERYTHING = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

type Broken = (invariant: string, message: string) => never;

export class GhostState {
  readonly #replay = new Replay();
  /** By index, the revision there. */
  readonly #revisions: Revision[] = [1];
  readonly #entryAt: (index: number) => LogEntry | null;
  readonly #broken: Broken;
  readonly #hashes = new Map<number, { readonly hash: number; readonly who: string }>();
  readonly #lookedAt = new Map<string, number>();

  constructor(entryAt: (index: number) => LogEntry | null, broken: Broken) {
    this.#entryAt = entryAt;
    this.#broken = broken;
  }

  /** A new life: what it recovered is looked at first of all. */
  started(who: string): void {
    this.#lookedAt.delete(who);
  }

  turned(who: string, store: Store): void {
    const { index } = store.applied;
    if (index === 0) return;
    if (index % COMPARED_EACH === 0) this.#compare(who, store);
    const last = this.#lookedAt.get(who);
    if (last !== undefined && index < last + LOOKED_AT_EACH) return;
    this.#lookedAt.set(who, index);
    this.#look(who, store, last === undefined);
  }

  #compare(who: string, store: Store): void {
    const { index } = store.applied;
    const known = this.#hashes.get(index);
    if (known?.who === who) return;
    const hash = store.stateHash();
    if (known === undefined) this.#hashes.set(index, { hash, who });
    else if (known.hash !== hash) this.#broken('I21', `${who} and ${known.who} have both applied ${index}, and differ`);
  }

  #look(who: string, store: Store, isFirst: boolean): void {
    const { index } = store.applied;
    while (this.#revisions.length <= index) {
      const entry = this.#entryAt(this.#revisions.length);
      if (entry === null) return;
      this.#replay.take(entry);
      this.#revisions.push(this.#replay.timeline.revision);
    }
    const revision = this.#revisions[index] ?? 0;
    const where = isFirst ? `${who}, just started, at ${index}` : `${who} at ${index}`;
    if (store.revision !== revision) {
      this.#broken(isFirst ? 'I16' : 'I19', `${where} has revision ${store.revision}; the entries up to there make ${revision}`);
    }
    if (store.compacted > revision) this.#broken('I19', `${where} is compacted to ${store.compacted}, beyond ${revision}`);
    const back = Math.max(store.compacted, 1, revision - (index % 40));
    for (const at of back === revision ? [revision] : [revision, back]) this.#pairs(where, store, at);
    this.#past(where, store);
    if (this.#revisions.length === index + 1) this.#leases(where, store);
    if (isFirst) this.#written(where, store);
  }

  #pairs(where: string, store: Store, revision: Revision): void {
    const told = store.range({ ...EVERYTHING, revision });
    if (typeof told === 'string') return this.#broken('I22', `${where} cannot be read at ${revision}: ${told}`);
    const due = this.#replay.timeline.range({ ...EVERYTHING, revision }, revision);
    const wrong = difference(due.kvs, told.kvs, 'pairs');
    if (wrong !== null) this.#broken('I22', `${where}, read at ${revision}: ${wrong}`);
  }

  /** What a watch from the compacted revision on would see first. Of that revision itself only the last words are left. */
  #past(where: string, store: Store): void {
    const from = Math.max(1, store.compacted);
    const { events, next } = store.history({
      ...EVERYTHING, prevKv: false, exclude: [], from, revisionsMax: PAST_REVISIONS, bytesMax: Infinity,
    });
    for (let revision = from; revision < next; revision++) {
      const told = events.filter(({ kv }) => kv.modRevision === revision);
      const all = this.#replay.timeline.events.get(revision) ?? [];
      const last = all.filter(({ kv }, i) => !all.slice(i + 1).some((event) => Buffer.compare(event.kv.key, kv.key) === 0));
      const due = revision === store.compacted ? last : all;
      const isRight = told.length === due.length && due.every((event, i) => told[i] !== undefined && sameEvent(event, told[i]));
      if (!isRight) this.#broken('I20', `${where} has ${told.length} events of revision ${revision}, due are ${due.length}`);
    }
  }

  #leases(where: string, store: Store): void {
    const { leases, timeline } = this.#replay;
    const told = [...store.leases()].map(({ id }) => id);
    const extra = told.find((id) => !leases.has(id));
    if (extra !== undefined) this.#broken('I27', `${where} has lease ${extra}, which is not there`);
    for (const [id, { ttlSeconds }] of leases) {
      const lease = store.lease(id);
      if (lease === null) this.#broken('I27', `${where} lacks lease ${id}, which nothing has ended`);
      if (lease.ttlSeconds !== ttlSeconds) this.#broken('I27', `${where} gives lease ${id} ${lease.ttlSeconds} s`);
      if (lease.remainingSeconds > ttlSeconds || lease.remainingSeconds < 0) {
        this.#broken('I31', `${where} has ${lease.remainingSeconds} s left of lease ${id} of ${ttlSeconds} s`);
      }
      const keys = store.leaseKeys(id).map((key) => latin1(key));
      const wrong = difference(timeline.keysOf(id), keys.sort(), 'keys');
      if (wrong !== null) this.#broken('I31', `${where}, lease ${id}: ${wrong}`);
    }
  }

  /** I18: what would be written down is what is in memory. */
  #written(where: string, store: Store): void {
    const loader = Store.load();
    const frozen = store.freeze();
    for (const chunk of frozen.chunks()) loader.push(Buffer.from(chunk));
    frozen.release();
    if (loader.finish().stateHash() !== store.stateHash()) {
      this.#broken('I18', `${where}: its store, written down and read again, is another`);
    }
  }
}
