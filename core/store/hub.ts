// Watchers (contract 5). Pull-based and synchronous: a consumer takes what is there with `next`, and is told by `onReady`
// when there is something again. Each watcher is either in step, fed by `publish` into a buffer of its own, or behind, and
// then reads history from the store when it is asked; a slow consumer therefore costs a bounded buffer, never memory
// without end, and never slows anybody else.
//
// Invariant: all that a watcher should see below `#from` has been given out or lies unread in its line; nothing at or above it
// has. So an event cannot be lost or doubled by going behind and coming back into step, whatever is published meanwhile.
//
// `publish` costs what matches: watchers of the same key or range form a group; groups are found by key or by interval. What
// one revision is to them is made once: watchers of a group that want the same of it read along one chain of parcels, each
// from its own place, so to have a thousand of them costs a place each. A chain is kept from the last reader's place on only.

import { EMPTY, fromLatin1, isOpenEnd, latin1, OPEN_END } from '../base/bytes.js';
import type { Event, Revision, WatchRequest } from '../client.js';
import type { ErrorCode } from '../errors.js';
import { eventBytes, isCreation } from './history.js';
import { Intervals } from './intervals.js';
import { HISTORY_ROWS_MAX } from './limits.js';
import type { EventParts } from './removal.js';
import type { EventBatch, Store } from './store.js';

export interface HubLimits {
  /** Bytes of events a watcher in step may leave unread; beyond it falls behind. Also the aim for one batch of history. */
  readonly bufferBytesMax: number;
  /** Revisions in one batch of history. */
  readonly catchUpRevisionsMax: number;
}

/** `revision`: of live events their last one's; of 'created' the store's at the opening; else the store's when it was made. */
export interface HubBatch {
  readonly kind: 'created' | 'events' | 'progress';
  readonly revision: Revision;
  readonly events: readonly Event[];
}

export type WatchResult =
  | { readonly kind: 'batch'; readonly batch: HubBatch }
  | { readonly kind: 'ended'; readonly code: ErrorCode; readonly compactRevision: Revision };

const NO_EVENTS: readonly Event[] = Object.freeze([]);

/** Watchers of one key or range, and what they are about to be given. */
interface Group {
  readonly start: string;
  /** '' for the one key `start`, null for no end. */
  readonly end: string | null;
  /** By taste. */
  readonly lines: Map<string, Line>;
  /** Scratch of `publish`: the events of the revision that match. */
  matched: Event[];
}

/** Watchers that want the same of the same events. */
interface Line {
  readonly prevKv: boolean;
  readonly exclude: readonly Event['kind'][];
  readonly watchers: Set<Watcher>;
  /** The chain: from the place of the last reader to the newest. Both null: everybody has read everything. */
  first: Parcel | null;
  last: Parcel | null;
}

/** A live batch, made once for all watchers of its line. */
interface Parcel {
  readonly batch: HubBatch;
  readonly bytes: number;
  readonly line: Line;
  /** The one behind it. Null as well once it has left the chain. */
  next: Parcel | null;
  /** Watchers of which it is the first that they have not read. */
  readers: number;
  /** This and the `count - 1` behind it as one batch, for whoever lags alike; null: nobody has, yet. */
  joined: { readonly count: number; readonly batch: HubBatch } | null;
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
    lineOf(group, watcher).watchers.add(watcher);
    this.#watchers.add(watcher);
    return watcher;
  }

  /** Hands out the events of one revision: after every apply that has events, before anything else is asked of store or hub. */
  publish(batch: EventBatch): void {
    this.#noticeRestore();
    this.#level = batch.revision;
    if (this.#watchers.size === 0) return;
    const ready: Watcher[] = [];
    const prevs = new Map<Event, Event>();
    const { parts } = batch;
    // Where watchers are fewer than events, those of each are looked for rather than all made and looked at.
    const isFew = parts !== undefined && this.#watchers.size < parts.count;
    for (const group of isFew ? this.#matchParts(parts) : this.#match(batch.events)) {
      const events = group.matched;
      group.matched = [];
      for (const line of group.lines.values()) {
        this.#deliver(line, batch.revision, this.#tasted(line, batch.revision, events, prevs), ready);
      }
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

  /** The same of very many events. */
  #matchParts(parts: EventParts): readonly Group[] {
    const touched: Group[] = [];
    const look = (group: Group): void => {
      const { start, end } = group;
      const matched = parts.within(fromLatin1(start), end === null ? null : fromLatin1(end === '' ? `${start}\0` : end));
      if (matched.length === 0) return;
      group.matched = matched;
      touched.push(group);
    };
    for (const group of this.#byKey.values()) look(group);
    this.#byRange.each(look);
    return touched;
  }

  #deliver(line: Line, revision: Revision, events: readonly Event[], ready: Watcher[]): void {
    if (events.length === 0) return;
    let bytes = 0;
    for (const event of events) bytes += eventBytes(event);
    const parcel: Parcel = { batch: { kind: 'events', revision, events }, bytes, line, next: null, readers: 0, joined: null };
    for (const watcher of line.watchers) {
      if (watcher.wants(revision) && watcher.offer(parcel)) ready.push(watcher);
    }
    if (line.last !== null) line.last.next = parcel;
    else if (parcel.readers > 0) line.first = parcel;
    else return;
    line.last = parcel;
  }

  /** The events as a line wants them. `prevs`: those of the revision that were given their pair before, for other lines too. */
  #tasted(line: Line, revision: Revision, all: readonly Event[], prevs: Map<Event, Event>): readonly Event[] {
    const { exclude, prevKv } = line;
    const events = exclude.length === 0 ? all : all.filter((event) => !exclude.includes(event.kind));
    if (!prevKv) return events;
    const store = this.#store();
    return events.map((event) => {
      const known = prevs.get(event);
      if (known !== undefined) return known;
      const whole = { ...event, prevKv: isCreation(event) ? null : store.pairBefore(event.kv.key, revision) };
      prevs.set(event, whole);
      return whole;
    });
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
    const group: Group = { start, end, lines: new Map(), matched: [] };
    if (end === '') this.#byKey.set(start, group);
    else this.#byRange.add(start, end, group);
    return group;
  }

  #remove(watcher: Watcher, group: Group): void {
    this.#watchers.delete(watcher);
    this.#early.delete(watcher);
    const line = lineOf(group, watcher);
    line.watchers.delete(watcher);
    if (line.watchers.size > 0) return;
    group.lines.delete(watcher.taste);
    if (group.lines.size > 0) return;
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
  /** Of the store when it was opened. */
  readonly #opened: Revision;
  /** Everything below it has been given out or is unread. */
  #from: Revision;
  #state: 'new' | 'open' | 'closed' = 'new';
  #isBehind = false;
  /** The first parcel of its line that it has not read, and how much there is from it on: to the end of the chain. */
  #unread: Parcel | null = null;
  #unreadParcels = 0;
  #unreadEvents = 0;
  #unreadBytes = 0;
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
    this.#opened = revision;
    const start = request.startRevision ?? 0;
    this.#from = start === 0 ? revision + 1 : start;
    if (this.#from <= revision) this.fallBehind(this.#from);
  }

  /**
   * What is to be told next, or null: then `onReady` says when to ask again, unless `isSearching`. Null for ever once it has
   * ended or was closed.
   */
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
    this.#dropUnread();
    this.#home.close();
  }

  // For the hub.

  /** Whether events of a revision just published are to be offered. One that is behind will find them in history. */
  wants(revision: Revision): boolean {
    return !this.#isBehind && revision >= this.#from;
  }

  /** Takes a parcel as unread, or falls behind if that is too much. True when the consumer must be told. */
  offer(parcel: Parcel): boolean {
    const { revision, events } = parcel.batch;
    if (this.#unread === null) {
      this.#goTo(parcel);
    } else if (this.#unreadBytes + parcel.bytes > this.#limits.bufferBytesMax) {
      this.fallBehind(revision);
      return this.wake();
    }
    this.#unreadParcels += 1;
    this.#unreadEvents += events.length;
    this.#unreadBytes += parcel.bytes;
    this.#from = revision + 1;
    return this.wake();
  }

  /** Gives up what is unread; `next` reads history, from the first revision not given out. */
  fallBehind(from: Revision): void {
    if (this.#state === 'closed' || this.#isBehind) return;
    this.#from = this.#unread?.batch.revision ?? Math.max(from, this.#from);
    this.#dropUnread();
    this.#setBehind(true);
  }

  /** The store has reached the revision before the one it waits for. */
  isLevel(level: Revision): boolean {
    return this.#from <= level + 1;
  }

  get pendingEventCount(): number {
    return this.#unreadEvents;
  }

  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** `next` found nothing yet in a part of the history that takes some milliseconds to read: ask again, in a later turn. */
  get isSearching(): boolean {
    return this.#isIdle && this.#isBehind;
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
      return batchOf('created', this.#opened, NO_EVENTS);
    }
    if (this.#isBehind) {
      const result = this.#catchUp(store);
      // No progress is told of what has not been read.
      if (result !== null || this.#isBehind) return result;
    }
    if (this.#unread !== null) return { kind: 'batch', batch: this.#read(this.#unread) };
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
      rowsMax: HISTORY_ROWS_MAX,
    });
    this.#from = next;
    if (next > store.revision) this.#setBehind(false);
    return events.length === 0 ? null : batchOf('events', store.revision, events);
  }

  /** A consumer in step gets a revision at a time; one that lags gets at once what waits for it, which is far cheaper. */
  #read(first: Parcel): HubBatch {
    const count = Math.min(this.#unreadParcels, this.#limits.catchUpRevisionsMax);
    if (count > 1 && first.joined?.count !== count) first.joined = { count, batch: join(first, count) };
    const batch = count === 1 || first.joined === null ? first.batch : first.joined.batch;
    let end: Parcel | null = first;
    for (let i = 0; i < count && end !== null; i++, end = end.next) {
      this.#unreadBytes -= end.bytes;
      this.#unreadEvents -= end.batch.events.length;
    }
    this.#unreadParcels -= count;
    this.#goTo(end);
    return batch;
  }

  #goTo(parcel: Parcel | null): void {
    const before = this.#unread;
    this.#unread = parcel;
    if (parcel !== null) parcel.readers += 1;
    if (before !== null) leave(before);
  }

  #dropUnread(): void {
    this.#goTo(null);
    this.#unreadParcels = 0;
    this.#unreadEvents = 0;
    this.#unreadBytes = 0;
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

function join(first: Parcel, count: number): HubBatch {
  const events: Event[] = [];
  let { revision } = first.batch;
  let parcel: Parcel | null = first;
  for (let i = 0; i < count && parcel !== null; i++, parcel = parcel.next) {
    for (const event of parcel.batch.events) events.push(event);
    revision = parcel.batch.revision;
  }
  return { kind: 'events', revision, events };
}

/**
 * One reader has gone on; what nobody before it waits for leaves the chain. It is unhooked as well: an old one, though dead,
 * would keep all that are ever behind it until the collector next looks at everything.
 */
function leave(parcel: Parcel): void {
  const { line } = parcel;
  parcel.readers -= 1;
  while (line.first !== null && line.first.readers === 0) {
    const { next } = line.first;
    line.first.next = null;
    line.first = next;
  }
  if (line.first === null) line.last = null;
}

function lineOf(group: Group, { taste, request }: Watcher): Line {
  const known = group.lines.get(taste);
  if (known !== undefined) return known;
  const { prevKv = false, exclude = [] } = request;
  const line: Line = { prevKv, exclude, watchers: new Set(), first: null, last: null };
  group.lines.set(taste, line);
  return line;
}

function boundsOf(request: WatchRequest): { start: string; end: string | null } {
  const start = request.key.length === 0 ? '\0' : latin1(request.key);
  if (request.rangeEnd === undefined || request.rangeEnd.length === 0) return { start, end: '' };
  return { start, end: isOpenEnd(request.rangeEnd) ? null : latin1(request.rangeEnd) };
}
