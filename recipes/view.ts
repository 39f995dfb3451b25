// A prefix (or one key), read once and then followed for ever: the one cache of the recipes. It survives lost
// connections, compaction (it reads again, and the difference yields the deletes it missed) and a store that was
// replaced by an older one (revisions that go backwards, versions that do not follow).
//
// Silence is not health: a view that has heard nothing asks for progress, and one that gets no answer within
// `livenessMs` says since when it is stale and opens its watch anew. What it holds stays readable all the time.
//
// Level-triggered: a slow consumer gets the latest state of every key that changed, not every step, and waiting changes
// of one consumer never exceed the keys it knows plus the keys there are. Not here: order between keys across batches.

import { compareBytes, EMPTY, equalBytes, fromLatin1, latin1, utf8, view as bufferOf } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { Client, Event, KeyValue, Revision, Watch, WatchBatch } from '../core/client.js';
import { prefixRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, observing, pause, within } from './pause.js';

const LIVENESS_MS = 9_000;
const LIVENESS_MS_MIN = 50;
const PAGE_ENTRIES = 1_000;
/** More changes than this since the entries were last put in order: sorting again is cheaper. */
const AMENDMENTS_MAX = 256;
const ENTRIES_MAX = 200_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_500;
/** A timer this late means the event loop stood still, and that input may be waiting unread. */
const STALL_MS = 100;

export type Selection = { readonly prefix: string | Uint8Array } | { readonly key: string | Uint8Array };

export interface ViewOptions {
  readonly clock?: Clock;
  /** Without a sign of life for this long the view is stale and its watch is opened anew. Default 9 s, at least 50 ms. */
  readonly livenessMs?: number;
  /** More entries than this are refused: the view stays stale and `lastError` says why. Default 200,000. */
  readonly entriesMax?: number;
  readonly observe?: (event: ViewEvent) => void;
}

/** For logs and tests. */
export type ViewEvent =
  | { readonly kind: 'listed'; readonly revision: Revision; readonly entries: number; readonly changed: number }
  | { readonly kind: 'stale'; readonly since: number; readonly cause: Error | null }
  | { readonly kind: 'current'; readonly revision: Revision };

/** What has changed for one consumer since it last looked; the first one carries everything there is. */
export interface ViewChange {
  /** The state after this change is the store's at this revision. */
  readonly revision: Revision;
  /** As on the view. A change without puts and deletes tells only that this went from or to null. */
  readonly staleSince: number | null;
  readonly puts: readonly KeyValue[];
  /** The pairs as they were last known. */
  readonly deletes: readonly KeyValue[];
}

export class View {
  readonly clock: Clock;
  readonly #client: Client;
  readonly #range: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array };
  readonly #options: { livenessMs: number; entriesMax: number; observe: (event: ViewEvent) => void };
  readonly #backoff: Backoff;
  readonly #stop = new AbortController();
  readonly #feeds = new Set<Feed>();
  readonly #waiting = new Set<() => void>();
  readonly #openedAt: number;

  #entries = new Map<string, KeyValue>();
  /** In key order, as it was before the keys of `#moved` changed; null: not yet, or too much has changed since. */
  #sorted: readonly KeyValue[] | null = null;
  readonly #moved = new Set<string>();
  #revision: Revision = 0;
  /** Every event up to here has been applied; a watch goes on from the next. Invariant: at most `revision`. */
  #appliedRevision: Revision = 0;
  #clusterId = 0n;
  #synced = false;
  #mustList = true;
  /** The watch failed, or was silent for too long, and what it misses has not been caught up with yet. */
  #suspect = false;
  /** While suspect: the state is current again once this revision is reached. */
  #catchUpTo: Revision = 0;
  /** When the view was last known to be current. */
  #currentAt: number;
  #heardAt: number;
  #watch: Watch | null = null;
  #lastError: Error | null = null;
  #running: Promise<void> = Promise.resolve();

  /** Starts following at once; `ready()` waits for the first complete read. */
  static follow(client: Client, selection: Selection, options: ViewOptions = {}): View {
    const view = new View(client, selection, options);
    view.#running = view.#run();
    return view;
  }

  private constructor(client: Client, selection: Selection, options: ViewOptions) {
    this.#client = client;
    this.#range = 'prefix' in selection
      ? prefixRange(bytesOf(selection.prefix))
      : { key: bytesOf(selection.key), rangeEnd: EMPTY };
    checkNumber('livenessMs', options.livenessMs, LIVENESS_MS_MIN);
    checkNumber('entriesMax', options.entriesMax, 1);
    this.clock = options.clock ?? systemClock;
    this.#options = {
      livenessMs: options.livenessMs ?? LIVENESS_MS,
      entriesMax: options.entriesMax ?? ENTRIES_MAX,
      observe: observing(this.clock, options.observe),
    };
    this.#backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(this.clock) });
    this.#openedAt = this.clock.now();
    this.#currentAt = this.#openedAt;
    this.#heardAt = this.#openedAt;
  }

  /** What is held is exactly the store's state at this revision; 0 before the first read. */
  get revision(): Revision {
    return this.#revision;
  }

  /** Everything has been read at least once. Stays true; see `staleSince` for what has become of it. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Null while known to be current; else the clock's time at which that was last true (or the view was opened). */
  get staleSince(): number | null {
    if (!this.#synced) return this.#openedAt;
    const silent = this.clock.now() - this.#heardAt > this.#options.livenessMs;
    return this.#suspect || silent ? this.#currentAt : null;
  }

  /** What went wrong last while the view is stale; null while it is current. */
  get lastError(): Error | null {
    return this.#lastError;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string | Uint8Array): KeyValue | null {
    return this.#entries.get(latin1(bytesOf(key))) ?? null;
  }

  /** In key order. The same array until something changes. */
  entries(): readonly KeyValue[] {
    if (this.#sorted !== null && this.#moved.size === 0) return this.#sorted;
    this.#sorted = Object.freeze(this.#sorted === null ? inOrder(this.#entries) : this.#amended(this.#sorted));
    this.#moved.clear();
    return this.#sorted;
  }

  /** A few changes are put in their places: sorting tens of thousands of entries for one of them would take far longer. */
  #amended(sorted: readonly KeyValue[]): KeyValue[] {
    const amended = [...sorted];
    for (const key of this.#moved) {
      const kv = this.#entries.get(key);
      const at = placeOf(amended, fromLatin1(key));
      const found = amended[at];
      const present = found !== undefined && latin1(found.key) === key;
      amended.splice(at, present ? 1 : 0, ...(kv === undefined ? [] : [kv]));
    }
    return amended;
  }

  /** Resolves with this view once `synced`. Rejects with `canceled`, `deadline_exceeded` (its cause: `lastError`) or `closed`. */
  async ready(options: WaitOptions = {}): Promise<this> {
    let wake = (): void => undefined;
    const first = new Promise<void>((resolve) => {
      wake = resolve;
      if (this.#synced || this.#stop.signal.aborted) resolve();
      else this.#waiting.add(resolve);
    });
    try {
      await within(first, this.clock, { ...options, what: 'the first read of the view' });
    } catch (error) {
      if (!isApiError(error, 'deadline_exceeded') || this.#lastError === null) throw error;
      const detail = `the first read of the view, because: ${this.#lastError.message}`;
      throw new ApiError('deadline_exceeded', { detail, cause: this.#lastError });
    } finally {
      this.#waiting.delete(wake);
    }
    if (!this.#synced) throw new ApiError('closed', { detail: 'the view was closed before its first read' });
    return this;
  }

  /** Each iteration is a consumer of its own. It first yields the whole state, then what changes; it ends with `close`. */
  get changes(): AsyncIterable<ViewChange, undefined> {
    return { [Symbol.asyncIterator]: () => this.#feed() };
  }

  /** Stops following; what is held stays readable. Idempotent. */
  async close(): Promise<void> {
    this.#end();
    await this.#running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#stop.abort();
    this.#watch?.close();
    for (const feed of this.#feeds) feed.end();
    this.#feeds.clear();
    this.#wakeWaiting();
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal;
    while (!stop.aborted) {
      try {
        if (this.#mustList) await this.#list(stop);
        await this.#follow(stop);
      } catch (error) {
        if (stop.aborted) return;
        if (isApiError(error, 'closed')) {
          this.#end();
          return;
        }
        if (isApiError(error, 'compacted')) this.#mustList = true;
        this.#suspectNow(error instanceof Error ? error : new Error(String(error)));
      }
      await pause(this.clock, this.#backoff.next(), stop);
    }
  }

  async #list(stop: AbortSignal): Promise<void> {
    const found = new Map<string, KeyValue>();
    let { key } = this.#range;
    let revision = 0;
    let clusterId = 0n;
    for (;;) {
      const request = { key, rangeEnd: this.#range.rangeEnd, limit: PAGE_ENTRIES, revision };
      const page = await bounded(
        this.clock,
        { timeoutMs: this.#options.livenessMs, outer: stop, what: 'reading the view' },
        (signal) => this.#client.range(request, { signal }),
      );
      // All pages are read at the first one's revision.
      if (revision === 0) ({ revision, clusterId } = page.header);
      for (const kv of page.kvs) found.set(latin1(kv.key), kv);
      if (found.size > this.#options.entriesMax) throw tooMany(this.#options.entriesMax);
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) break;
      key = bufferOf(new Uint8Array(last.key.length + 1));
      key.set(last.key);
    }
    if (stop.aborted) return;
    this.#adopt(found, revision, clusterId);
  }

  #adopt(found: Map<string, KeyValue>, revision: Revision, clusterId: bigint): void {
    const before = this.#entries;
    this.#entries = found;
    let changed = 0;
    for (const [key, old] of before) {
      if (found.has(key)) continue;
      changed += 1;
      this.#record(key, null, old);
    }
    for (const [key, kv] of found) {
      const old = before.get(key) ?? null;
      if (old !== null && same(old, kv)) {
        // The same object, so that who reads it knows without looking that nothing has changed.
        found.set(key, old);
        continue;
      }
      changed += 1;
      this.#record(key, kv, old);
    }
    this.#sorted = null;
    this.#moved.clear();
    this.#revision = revision;
    this.#appliedRevision = revision;
    this.#clusterId = clusterId;
    this.#mustList = false;
    this.#synced = true;
    this.#heardAt = this.clock.now();
    this.#options.observe({ kind: 'listed', revision, entries: found.size, changed });
    this.#currentNow();
    this.#wakeWaiting();
    this.#wakeFeeds();
  }

  /** Returns when the watch has ended, was found dead, or contradicts what is held. */
  async #follow(stop: AbortSignal): Promise<void> {
    const request = { ...this.#range, startRevision: this.#appliedRevision + 1, progressNotify: true };
    const watch = this.#client.watch(request, { signal: stop, timeoutMs: this.#options.livenessMs });
    this.#watch = watch;
    this.#heardAt = this.clock.now();
    const openedAt = this.#heardAt;
    const stopBeating = this.#beat(watch);
    try {
      for await (const batch of watch) {
        if (stop.aborted) return;
        if (this.#onBatch(batch, watch)) continue;
        this.#mustList = true;
        this.#suspectNow(null);
        return;
      }
      if (stop.aborted) return;
      // Ended by the heartbeat, which says so; or by the client, for reasons that a read will find out.
      if (!this.#suspect) this.#mustList = true;
      this.#suspectNow(null);
    } finally {
      await stopBeating();
      this.#watch = null;
      watch.close();
      // Only a watch that has held for a while ends the waiting: one that ends as soon as it is created must not have
      // everything read again and again without a pause.
      if (this.clock.now() - openedAt >= RETRY_MS_MAX) this.#backoff.reset();
    }
  }

  /**
   * Asks a silent watch for progress, and if it stays silent, the store itself. A watch without a sign of life for
   * `livenessMs` is closed. Returns what stops this.
   */
  #beat(watch: Watch): () => Promise<void> {
    const over = new AbortController();
    let probing: Promise<void> | null = null;
    const everyMs = this.#options.livenessMs / 3;
    let dueAt = 0;
    let cancel = (): void => undefined;
    const arm = (): void => {
      dueAt = this.clock.now() + everyMs;
      cancel = this.clock.schedule(everyMs, onTimer);
    };
    const onTimer = (): void => {
      const now = this.clock.now();
      const stood = now - dueAt;
      // Time that passed inside a stall proves nothing: the answer may lie unread. It is heard first, or missed later.
      if (stood > STALL_MS) this.#heardAt = Math.min(now, this.#heardAt + stood);
      if (now - this.#heardAt >= this.#options.livenessMs) {
        this.#suspectNow(null);
        watch.close();
        return;
      }
      if (now - this.#heardAt >= everyMs / 2) watch.requestProgress();
      if (now - this.#heardAt >= everyMs * 1.5) {
        probing ??= this.#probe(over.signal).finally(() => {
          probing = null;
        });
      }
      arm();
    };
    arm();
    return async () => {
      cancel();
      over.abort();
      await probing;
    };
  }

  /**
   * Asks the store whether anything has changed since the last event; never rejects. Releases of etcd before 3.4.31 and
   * 3.5.13 have no progress answer that can be believed while other keys change, so a quiet prefix of a busy store would
   * never be heard of. Having moved is no answer: then the watch has something to deliver, or it is dead.
   */
  async #probe(signal: AbortSignal): Promise<void> {
    const since = this.#appliedRevision;
    const request = { ...this.#range, minModRevision: since + 1, limit: 1, keysOnly: true };
    try {
      const { header, kvs, count } = await this.#client.range(request, { signal, timeoutMs: this.#options.livenessMs });
      const { revision, clusterId } = header;
      if (signal.aborted || this.#appliedRevision !== since) return;
      if (kvs.length > 0 || count !== this.#entries.size || clusterId !== this.#clusterId || revision < this.#revision) return;
      // What came and went in between may still be delivered; it is known to have gone.
      this.#appliedRevision = revision;
      this.#heardAt = this.clock.now();
      this.#reached(revision);
    } catch (error) {
      if (this.#suspect && !signal.aborted) this.#lastError = error instanceof Error ? error : new Error(String(error));
    }
  }

  /** False when the batch does not follow from what is held: then everything is read again. */
  #onBatch(batch: WatchBatch, watch: Watch): boolean {
    const { revision, clusterId } = batch.header;
    this.#heardAt = this.clock.now();
    if (clusterId !== this.#clusterId) return false;
    if (batch.kind === 'events') return this.#onEvents(batch.events);
    // A store that was restored from an older copy, or a member that lags; reading again settles which.
    if (revision < this.#revision) return false;
    if (batch.kind === 'created') {
      this.#catchUpTo = revision;
      if (!this.#suspect) this.#currentAt = this.#heardAt;
      else if (revision === this.#revision) this.#currentNow();
      else watch.requestProgress();
      return true;
    }
    this.#reached(revision);
    return true;
  }

  /** Nothing is missing up to `revision`. */
  #reached(revision: Revision): void {
    const moved = revision > this.#revision;
    this.#revision = revision;
    if (!this.#suspect || revision >= this.#catchUpTo) this.#currentNow();
    if (moved) for (const feed of this.#feeds) feed.revision = revision;
  }

  /** All or nothing: what does not follow from what is held leaves it as it was. */
  #onEvents(events: readonly Event[]): boolean {
    const latest = new Map<string, KeyValue | null>();
    for (const { kind, kv } of events) {
      if (kv.modRevision <= this.#appliedRevision) continue;
      const key = latin1(kv.key);
      const before = latest.get(key);
      const old = before === undefined ? this.#entries.get(key) ?? null : before;
      if (kind === 'put' ? !follows(old, kv) : old === null) return false;
      latest.set(key, kind === 'put' ? kv : null);
    }
    for (const [key, kv] of latest) {
      const old = this.#entries.get(key) ?? null;
      if (kv !== null) this.#entries.set(key, kv);
      else this.#entries.delete(key);
      if (kv !== null || old !== null) this.#record(key, kv, old);
      if (this.#sorted !== null) this.#moved.add(key);
    }
    if (this.#moved.size > AMENDMENTS_MAX) {
      this.#sorted = null;
      this.#moved.clear();
    }
    // Not the header's: while catching up that one is ahead of what has been delivered.
    this.#appliedRevision = Math.max(this.#appliedRevision, events.at(-1)?.kv.modRevision ?? 0);
    this.#revision = Math.max(this.#revision, this.#appliedRevision);
    if (this.#entries.size > this.#options.entriesMax) {
      this.#mustList = true;
      throw tooMany(this.#options.entriesMax);
    }
    if (!this.#suspect || this.#revision >= this.#catchUpTo) this.#currentNow();
    this.#wakeFeeds();
    return true;
  }

  #currentNow(): void {
    this.#currentAt = this.clock.now();
    this.#lastError = null;
    if (!this.#suspect) return;
    this.#suspect = false;
    this.#options.observe({ kind: 'current', revision: this.#revision });
    this.#wakeFeeds();
  }

  #suspectNow(cause: Error | null): void {
    if (cause !== null) this.#lastError = cause;
    if (this.#suspect) return;
    this.#suspect = true;
    this.#options.observe({ kind: 'stale', since: this.#currentAt, cause });
    this.#wakeFeeds();
  }

  #record(key: string, kv: KeyValue | null, old: KeyValue | null): void {
    for (const feed of this.#feeds) feed.record(key, kv, old);
  }

  #wakeFeeds(): void {
    if (!this.#synced) return;
    for (const feed of this.#feeds) feed.publish(this.#revision, this.staleSince);
  }

  #wakeWaiting(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #feed(): Feed {
    const feed = new Feed((self) => this.#feeds.delete(self));
    if (this.#stop.signal.aborted) {
      feed.end();
      return feed;
    }
    this.#feeds.add(feed);
    for (const [key, kv] of this.#entries) feed.record(key, kv, null);
    if (this.#synced) feed.publish(this.#revision, this.staleSince);
    return feed;
  }
}

/** What one key will say to one consumer. `known`: the consumer has been told of the key and must be told of its end. */
interface Waiting {
  readonly kv: KeyValue | null;
  readonly last: KeyValue | null;
  readonly known: boolean;
}

/** One consumer's side of a view. Invariant: `waiting` names only keys the consumer knows or keys that exist. */
class Feed implements AsyncIterator<ViewChange> {
  revision: Revision = 0;
  readonly #waiting = new Map<string, Waiting>();
  readonly #onReturn: (self: Feed) => void;
  readonly #wakers: (() => void)[] = [];
  #staleSince: number | null = null;
  #toldStale: boolean | null = null;
  #published = false;
  #ended = false;

  constructor(onReturn: (self: Feed) => void) {
    this.#onReturn = onReturn;
  }

  record(key: string, kv: KeyValue | null, old: KeyValue | null): void {
    const before = this.#waiting.get(key);
    const known = before?.known ?? old !== null;
    if (kv === null && !known) this.#waiting.delete(key);
    else this.#waiting.set(key, { kv, last: old, known });
  }

  publish(revision: Revision, staleSince: number | null): void {
    this.revision = revision;
    this.#staleSince = staleSince;
    this.#published = true;
    if (this.#has()) this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#waiting.clear();
    this.#wake();
  }

  async next(): Promise<IteratorResult<ViewChange, undefined>> {
    while (!this.#ended && !this.#has()) await new Promise<void>((resolve) => this.#wakers.push(resolve));
    return this.#ended ? { done: true, value: undefined } : { done: false, value: this.#take() };
  }

  async return(): Promise<IteratorResult<ViewChange, undefined>> {
    this.#onReturn(this);
    this.end();
    return { done: true, value: undefined };
  }

  #has(): boolean {
    return this.#published && (this.#waiting.size > 0 || this.#toldStale !== (this.#staleSince !== null));
  }

  #take(): ViewChange {
    const puts: KeyValue[] = [];
    const deletes: KeyValue[] = [];
    for (const { kv, last } of this.#waiting.values()) {
      if (kv !== null) puts.push(kv);
      else if (last !== null) deletes.push(last);
    }
    this.#waiting.clear();
    this.#toldStale = this.#staleSince !== null;
    return { revision: this.revision, staleSince: this.#staleSince, puts, deletes };
  }

  #wake(): void {
    for (const wake of this.#wakers.splice(0)) wake();
  }
}

function inOrder(entries: ReadonlyMap<string, KeyValue>): KeyValue[] {
  return [...entries.values()].sort((a, b) => compareBytes(a.key, b.key));
}

/** The index of the first entry whose key is not before `key`. */
function placeOf(sorted: readonly KeyValue[], key: Uint8Array): number {
  let from = 0;
  let to = sorted.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    const entry = sorted[middle];
    if (entry !== undefined && compareBytes(entry.key, key) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}

function bytesOf(key: string | Uint8Array): Uint8Array {
  return typeof key === 'string' ? utf8(key) : key;
}

/** Revisions of a replaced store may repeat, so the values are compared too. */
function same(a: KeyValue, b: KeyValue): boolean {
  return a.modRevision === b.modRevision && a.createRevision === b.createRevision && a.lease === b.lease
    && equalBytes(a.value, b.value);
}

/** Versions count the puts since creation, so a step that was missed shows. */
function follows(old: KeyValue | null, kv: KeyValue): boolean {
  if (old === null || kv.createRevision !== old.createRevision) return old === null && kv.version === 1;
  return kv.version === old.version + 1;
}

function tooMany(entriesMax: number): ApiError {
  return new ApiError('invalid_request', { detail: `the prefix holds more than ${entriesMax} entries; follow a narrower one` });
}
