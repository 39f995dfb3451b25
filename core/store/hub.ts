// Watchers (contract 5). Pull-based and synchronous: a consumer takes what is there with `next`, and is told by `onReady`
// when there is something again. Each watcher is either in step, fed by `publish` into a buffer of its own, or behind, and
// then reads history from the store when it is asked; a slow consumer therefore costs a bounded buffer, never memory
// without end, and never slows anybody else.
//
// Invariant: all that a watcher should see below `#from` has been given out or lies in its buffer; nothing at or above it
// has. So an event cannot be lost or doubled by going behind and coming back into step, whatever is published meanwhile.
//
// `publish` costs what matches: watchers of the same key or range form a group; groups are found by key or by interval.

import { EMPTY, isOpenEnd, latin1, OPEN_END } from '../base/bytes.js';
import type { Event, Revision, WatchRequest } from '../client.js';
import type { ErrorCode } from '../errors.js';
import { eventBytes, isCreation } from './history.js';
import { Intervals } from './intervals.js';
import type { EventBatch, Store } from './store.js';

export interface HubLimits {
  /** Bytes of events a watcher in step may leave unread; beyond it falls behind. Also the aim for one batch of history. */
  readonly bufferBytesMax: number;
  /** Revisions in one batch of history. */
  readonly catchUpRevisionsMax: number;
}

/** `revision`: of live events their last one's; else the store's when the batch was made. */
export interface HubBatch {
  readonly kind: 'created' | 'events' | 'progress';
  readonly revision: Revision;
  readonly events: readonly Event[];
}

export type WatchResult =
  | { readonly kind: 'batch'; readonly batch: HubBatch }
  | { readonly kind: 'ended'; readonly code: ErrorCode; readonly compactRevision: Revision };

/** Batches already read that a buffer holds on to before it moves the rest down. */
const READ_BATCHES_KEPT = 256;

const NO_EVENTS: readonly Event[] = Object.freeze([]);

/** Watchers of one key or range, and what they are about to be given. */
interface Group {
  readonly start: string;
  /** '' for the one key `start`, null for no end. */
  readonly end: string | null;
  readonly watchers: Set<Watcher>;
  /** Scratch of `publish`: the events of the revision that match. */
  matched: Event[];
}

/** A live batch, made once for all watchers that want the same of it. */
interface Parcel {
  readonly batch: HubBatch;
  readonly bytes: number;
}

export class Hub {
  readonly #store: () => Store;
  readonly #limits: HubLimits;
  readonly #byKey = new Map<string, Group>();
  readonly #byRange = new Intervals<Group>();
  readonly #watchers = new Set<Watcher>();
  /** Watchers that asked for progress before the store came near their start. */
  readonly #early = new Set<Watcher>();
  /** The store whose changes have been published up to `#level`. */
  #seen: Store;
  #level: Revision;
  #behind = 0;

  constructor(store: () => Store, limits: HubLimits) {
    this.#store = store;
    this.#limits = limits;
    this.#seen = store();
    this.#level = this.#seen.revision;
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  /** Watchers that read from history: behind, or not yet caught up. */
  get slowWatcherCount(): number {
    return this.#behind;
  }

  /** Events that wait in the buffers of watchers for their consumers. */
  get pendingEventCount(): number {
    let count = 0;
    for (const watcher of this.#watchers) count += watcher.pendingEventCount;
    return count;
  }

  open(request: WatchRequest): Watcher {
    this.#noticeRestore();
    const watcher = new Watcher(request, this.#limits, {
      store: () => this.#current(),
      changeBehind: (by) => {
        this.#behind += by;
      },
      waitForLevel: () => this.#early.add(watcher),
      close: () => this.#remove(watcher, group),
    });
    const group = this.#groupOf(request);
    group.watchers.add(watcher);
    this.#watchers.add(watcher);
    return watcher;
  }

  /** Hands out the events of one revision: after every apply that has events, before anything else is asked of store or hub. */
  publish(batch: EventBatch): void {
    this.#noticeRestore();
    this.#level = batch.revision;
    if (this.#watchers.size === 0) return;
    const ready: Watcher[] = [];
    for (const group of this.#match(batch.events)) {
      const events = group.matched;
      group.matched = [];
      this.#deliver(group, batch.revision, events, ready);
    }
    for (const watcher of this.#early) {
      if (!watcher.isLevel(this.#level)) continue;
      this.#early.delete(watcher);
      if (watcher.wake()) ready.push(watcher);
    }
    for (const watcher of ready) watcher.tell();
  }

  /** To be called when the store was replaced: watchers go on from its history. */
  restored(): void {
    this.#noticeRestore();
    for (const watcher of [...this.#watchers]) if (watcher.isBehind && watcher.wake()) watcher.tell();
  }

  /** The groups whose watchers may see one of the events, with those events in `matched`. */
  #match(events: readonly Event[]): Set<Group> {
    const touched = new Set<Group>();
    const add = (group: Group, event: Event): void => {
      group.matched.push(event);
      touched.add(group);
    };
    for (const event of events) {
      const key = latin1(event.kv.key);
      const group = this.#byKey.get(key);
      if (group !== undefined) add(group, event);
      this.#byRange.containing(key, (each) => add(each, event));
    }
    return touched;
  }

  #deliver(group: Group, revision: Revision, events: readonly Event[], ready: Watcher[]): void {
    const parcels = new Map<string, Parcel | null>();
    for (const watcher of group.watchers) {
      if (!watcher.wants(revision)) continue;
      let parcel = parcels.get(watcher.taste);
      if (parcel === undefined) {
        parcel = this.#pack(watcher.request, revision, events);
        parcels.set(watcher.taste, parcel);
      }
      if (parcel !== null && watcher.offer(parcel)) ready.push(watcher);
    }
  }

  /** The batch as requests of one taste want it; null when the filter leaves nothing. */
  #pack(request: WatchRequest, revision: Revision, all: readonly Event[]): Parcel | null {
    const { exclude = [], prevKv } = request;
    let events = exclude.length === 0 ? all : all.filter((event) => !exclude.includes(event.kind));
    if (events.length === 0) return null;
    const store = this.#store();
    const before = (event: Event): Event['prevKv'] => (isCreation(event) ? null : store.pairBefore(event.kv.key, revision));
    if (prevKv === true) events = events.map((event) => ({ ...event, prevKv: before(event) }));
    const bytes = events.reduce((sum, event) => sum + eventBytes(event), 0);
    return { batch: { kind: 'events', revision, events }, bytes };
  }

  #current(): Store {
    this.#noticeRestore();
    return this.#store();
  }

  /** A restore put another store in place: what happened between the two was published to nobody. */
  #noticeRestore(): void {
    const store = this.#store();
    if (store === this.#seen) return;
    this.#seen = store;
    for (const watcher of this.#watchers) watcher.fallBehind(this.#level + 1);
    this.#level = store.revision;
  }

  #groupOf(request: WatchRequest): Group {
    const { start, end } = boundsOf(request);
    const known = end === '' ? this.#byKey.get(start) : this.#byRange.get(start, end);
    if (known !== undefined && known !== null) return known;
    const group: Group = { start, end, watchers: new Set(), matched: [] };
    if (end === '') this.#byKey.set(start, group);
    else this.#byRange.add(start, end, group);
    return group;
  }

  #remove(watcher: Watcher, group: Group): void {
    this.#watchers.delete(watcher);
    this.#early.delete(watcher);
    group.watchers.delete(watcher);
    if (group.watchers.size > 0) return;
    if (group.end === '') this.#byKey.delete(group.start);
    else this.#byRange.remove(group.start, group.end);
  }
}

/** What a watcher needs of its hub. */
interface WatcherHome {
  /** The present store; a restore has been noticed when it returns. */
  readonly store: () => Store;
  readonly changeBehind: (by: 1 | -1) => void;
  /** Wake me when the published revision has come near my start. */
  readonly waitForLevel: () => void;
  readonly close: () => void;
}

export class Watcher {
  /** Set by the consumer. Called when `next` had returned null and now has something; never from inside `next`. */
  onReady: (() => void) | null = null;
  readonly request: WatchRequest;
  /** Equal for watchers that want events in the same form. */
  readonly taste: string;
  readonly #limits: HubLimits;
  readonly #home: WatcherHome;
  /** Everything below it has been given out or is in `#buffer`. */
  #from: Revision;
  #state: 'new' | 'open' | 'closed' = 'new';
  #isBehind = false;
  /** Unread from `#bufferAt` on. */
  #buffer: Parcel[] = [];
  #bufferAt = 0;
  #bufferBytes = 0;
  #progressAsked = false;
  /** The last `next` returned null: the consumer waits for `onReady`. */
  #isIdle = false;

  /** Made by `Hub.open`. */
  constructor(request: WatchRequest, limits: HubLimits, home: WatcherHome) {
    const key = request.key.length === 0 ? OPEN_END : request.key;
    this.request = { ...request, key };
    this.taste = `${request.prevKv === true}${[...(request.exclude ?? [])].sort().join()}`;
    this.#limits = limits;
    this.#home = home;
    const revision = home.store().revision;
    const start = request.startRevision ?? 0;
    this.#from = start === 0 ? revision + 1 : start;
    if (this.#from <= revision) this.fallBehind(this.#from);
  }

  /** What is to be told next, or null: then `onReady` says when to ask again. Null for ever once it has ended or was closed. */
  next(): WatchResult | null {
    const result = this.#take();
    this.#isIdle = result === null;
    return result;
  }

  /** Asks for one batch of kind 'progress', given once all events before it have been. */
  requestProgress(): void {
    if (this.#state === 'closed') return;
    this.#progressAsked = true;
    const level = this.#home.store().revision;
    if (!this.isLevel(level)) this.#home.waitForLevel();
    else if (this.wake()) this.tell();
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#setBehind(false);
    this.#dropBuffer();
    this.#home.close();
  }

  // For the hub.

  /** Whether events of a revision just published are to be offered. One that is behind will find them in history. */
  wants(revision: Revision): boolean {
    return !this.#isBehind && revision >= this.#from;
  }

  /** Takes a batch into the buffer, or falls behind if it is full. True when the consumer must be told. */
  offer(parcel: Parcel): boolean {
    const { revision } = parcel.batch;
    if (this.#bufferBytes > 0 && this.#bufferBytes + parcel.bytes > this.#limits.bufferBytesMax) {
      this.fallBehind(revision);
      return this.wake();
    }
    this.#buffer.push(parcel);
    this.#bufferBytes += parcel.bytes;
    this.#from = revision + 1;
    return this.wake();
  }

  /** Gives its buffer up; `next` reads history, from the first revision not given out. */
  fallBehind(from: Revision): void {
    if (this.#state === 'closed' || this.#isBehind) return;
    const unread = this.#buffer[this.#bufferAt];
    this.#from = unread?.batch.revision ?? Math.max(from, this.#from);
    this.#dropBuffer();
    this.#setBehind(true);
  }

  /** The store has reached the revision before the one it waits for. */
  isLevel(level: Revision): boolean {
    return this.#from <= level + 1;
  }

  get pendingEventCount(): number {
    let count = 0;
    for (let i = this.#bufferAt; i < this.#buffer.length; i++) count += this.#buffer[i]?.batch.events.length ?? 0;
    return count;
  }

  get isBehind(): boolean {
    return this.#isBehind;
  }

  tell(): void {
    if (this.#state !== 'closed') this.onReady?.();
  }

  /** True once after `next` returned null. */
  wake(): boolean {
    const wasIdle = this.#isIdle;
    this.#isIdle = false;
    return wasIdle;
  }

  #take(): WatchResult | null {
    if (this.#state === 'closed') return null;
    const store = this.#home.store();
    if (this.#state === 'new') {
      this.#state = 'open';
      return batchOf('created', store.revision, NO_EVENTS);
    }
    if (this.#isBehind) {
      const result = this.#catchUp(store);
      if (result !== null) return result;
    }
    const parcel = this.#buffer[this.#bufferAt];
    if (parcel !== undefined) return this.#shift(parcel);
    if (!this.#progressAsked || !this.isLevel(store.revision)) return null;
    this.#progressAsked = false;
    return batchOf('progress', store.revision, NO_EVENTS);
  }

  #catchUp(store: Store): WatchResult | null {
    // A start before the beginning of revisions is answered as one that was compacted (contract 5).
    if (this.#from < store.compacted || this.#from < 0) {
      this.close();
      return { kind: 'ended', code: 'compacted', compactRevision: store.compacted };
    }
    const { key, rangeEnd = EMPTY, prevKv = false, exclude = [] } = this.request;
    const { catchUpRevisionsMax, bufferBytesMax } = this.#limits;
    const { events, next } = store.history({
      key, rangeEnd, prevKv, exclude, from: this.#from, revisionsMax: catchUpRevisionsMax, bytesMax: bufferBytesMax,
    });
    this.#from = next;
    if (next > store.revision) this.#setBehind(false);
    return events.length === 0 ? null : batchOf('events', store.revision, events);
  }

  /** A consumer in step gets a revision at a time; one that lags gets at once what waits for it, which is far cheaper. */
  #shift(first: Parcel): WatchResult {
    const from = this.#bufferAt;
    const taken = Math.min(this.#buffer.length - from, this.#limits.catchUpRevisionsMax);
    const parcels = taken > 1 ? this.#buffer.slice(from, from + taken) : [first];
    for (const { bytes } of parcels) this.#bufferBytes -= bytes;
    this.#bufferAt += parcels.length;
    if (this.#bufferAt === this.#buffer.length) {
      this.#dropBuffer();
    } else if (this.#bufferAt >= READ_BATCHES_KEPT) {
      this.#buffer.splice(0, this.#bufferAt);
      this.#bufferAt = 0;
    }
    const last = parcels.at(-1);
    if (last === undefined || last === first) return { kind: 'batch', batch: first.batch };
    return batchOf('events', last.batch.revision, parcels.flatMap(({ batch }) => batch.events));
  }

  #dropBuffer(): void {
    this.#buffer = [];
    this.#bufferAt = 0;
    this.#bufferBytes = 0;
  }

  #setBehind(isBehind: boolean): void {
    if (this.#isBehind === isBehind) return;
    this.#isBehind = isBehind;
    this.#home.changeBehind(isBehind ? 1 : -1);
  }
}

function batchOf(kind: HubBatch['kind'], revision: Revision, events: readonly Event[]): WatchResult {
  return { kind: 'batch', batch: { kind, revision, events } };
}

function boundsOf(request: WatchRequest): { start: string; end: string | null } {
  const start = request.key.length === 0 ? '\0' : latin1(request.key);
  if (request.rangeEnd === undefined || request.rangeEnd.length === 0) return { start, end: '' };
  return { start, end: isOpenEnd(request.rangeEnd) ? null : latin1(request.rangeEnd) };
}
