// The watches of a world, on both sides. One watch of everything, the journal, is always there: it compares what happened,
// and from it follows how much every other watch has to be told, so that "all has arrived" is known and not guessed.

import { ERRORS } from '../../../core/errors.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { WATCH } from './calls.js';
import { firstDifference, type Difference, type Names } from './compare.js';
import { isInverted } from './generate-auth.js';
import { plain, textOf } from './operation.js';
import type { Side } from './side.js';
import { WatchLog, type SeenEvent } from './watch-log.js';

interface OpenWatch {
  readonly id: bigint;
  readonly request: rpc.WatchCreateRequest;
  /** First revision it is told. */
  readonly from: number;
  /** Where it starts at the very revision that was compacted: keys deleted in it. */
  readonly lost: ReadonlySet<string>;
  /** Events of the journal looked at, and found to be its own. */
  looked: number;
  expected: number;
}

interface StreamPair {
  readonly etcd: WatchLog;
  readonly coterie: WatchLog;
  readonly open: Map<bigint, OpenWatch>;
}

/** Longer than any stall of a busy machine; reached only when something is wrong. */
const ARRIVAL_MS = 20_000;
const JOURNAL = -1;
const OPEN = new Uint8Array([0]);
const PROBE = -2;
const NO_WATCH = rpc.WatchCreateRequest.decode(new Uint8Array(0));

/** Of one user, one from each side. */
export interface Tokens {
  readonly etcd: string;
  readonly coterie: string;
}

export class Watches {
  readonly #sides: { readonly etcd: Side; readonly coterie: Side };
  readonly #names: Names;
  readonly #streams = new Map<number, StreamPair>();
  readonly #journal: SeenEvent[] = [];
  /** Up to this revision; a fresh store is at 1, of which there is nothing to tell. */
  readonly #arrived = { etcd: 1, coterie: 1 };
  /** Some watch may not have read its past yet. */
  #hasPast = false;
  #wake: () => void = () => undefined;
  constructor(sides: { readonly etcd: Side; readonly coterie: Side }, names: Names) {
    this.#sides = sides;
    this.#names = names;
  }

  /** The watch of everything, from behind `revision` on. */
  async start(revision: number, tokens: Tokens | null): Promise<Difference | null> {
    const value = { ...NO_WATCH, key: OPEN, rangeEnd: OPEN, startRevision: BigInt(revision + 1), prevKv: true };
    const bytes = rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value } }).finish();
    return await this.request(JOURNAL, bytes, { revision, compacted: -1 }, tokens);
  }

  /**
   * Waits until every watch is in the present, those that found nothing in the past as well: etcd reads history for all that
   * are behind together, a few times a second, so when a watch that began later has been told, all have been looked at.
   */
  async settle(revision: number, tokens: Tokens | null): Promise<Difference | null> {
    const difference = await this.sync(revision);
    if (difference !== null || !this.#hasPast) return difference;
    this.#hasPast = false;
    const value = { ...NO_WATCH, key: OPEN, rangeEnd: OPEN, startRevision: BigInt(revision) };
    const create = rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value } }).finish();
    const begun = await this.request(PROBE, create, { revision, compacted: -1 }, tokens);
    this.#hasPast = false;
    return begun ?? (await this.leave(PROBE, revision));
  }

  /** Leaves every stream. */
  async part(revision: number): Promise<Difference | null> {
    const difference = await this.sync(revision);
    this.close();
    this.#streams.clear();
    return difference;
  }

  /** Whether a request for progress has the same meaning to both: no watch on the stream waits for the future. */
  isPresent(stream: number, revision: number): boolean {
    return [...(this.#streams.get(stream)?.open.values() ?? [])].every(({ from }) => from <= revision + 1);
  }

  openIds(stream: number): bigint[] {
    return [...(this.#streams.get(stream)?.open.keys() ?? [])];
  }

  /** `tokens`: with which the stream is opened, if it is not open. */
  async request(
    stream: number,
    bytes: Uint8Array,
    at: { revision: number; compacted: number },
    tokens: Tokens | null,
  ): Promise<Difference | null> {
    const { requestUnion: request } = rpc.WatchRequest.decode(bytes);
    const pair = this.#streams.get(stream) ?? this.#open(stream, tokens);
    if (request?.$case === 'createRequest') {
      const { value } = request;
      return await (value.startRevision < 0n ? this.#createBefore(stream, pair, value) : this.#create(pair, value, bytes, at));
    }
    if (request?.$case === 'cancelRequest') return await this.#cancel(pair, request.value.watchId, bytes, at.revision);
    if (request?.$case === 'progressRequest') return await this.#progress(pair, bytes, at.revision);
    pair.etcd.send(bytes);
    pair.coterie.send(bytes);
    return null;
  }

  async leave(stream: number, revision: number): Promise<Difference | null> {
    const difference = await this.sync(revision);
    const pair = this.#streams.get(stream);
    pair?.etcd.leave();
    pair?.coterie.leave();
    this.#streams.delete(stream);
    return difference;
  }

  /** Waits until all that is owed up to `revision` has arrived on both sides, and compares it. */
  async sync(revision: number): Promise<Difference | null> {
    const hasJournal = (): boolean => this.#arrived.etcd >= revision && this.#arrived.coterie >= revision;
    await this.#until(hasJournal);
    for (const { open } of this.#streams.values()) for (const watch of open.values()) this.#look(watch);
    const hasAll = (): boolean =>
      [...this.#streams.values()].every((pair) => [...pair.open.values()].every((watch) => isServed(pair, watch)));
    await this.#until(hasAll);
    if (this.#difference() !== null) await this.#until(() => this.#difference() === null);
    const difference = this.#difference();
    for (const { etcd, coterie } of this.#streams.values()) {
      etcd.drop();
      coterie.drop();
    }
    if (difference !== null || (hasJournal() && hasAll())) return difference;
    // Equal, and equally incomplete.
    return { where: 'events that both still owe', etcd: this.#arrived.etcd, coterie: this.#arrived.coterie };
  }

  close(): void {
    for (const { etcd, coterie } of this.#streams.values()) {
      etcd.leave();
      coterie.leave();
    }
  }

  #open(stream: number, tokens: Tokens | null): StreamPair {
    const open = new Map<bigint, OpenWatch>();
    const log = (side: 'etcd' | 'coterie'): WatchLog =>
      new WatchLog(this.#sides[side].stream(WATCH.path, tokens?.[side] ?? null), this.#names[side], {
        hidden: (id, event) => isHidden(open.get(id), event),
        news: () => this.#wake(),
        ...(stream === JOURNAL ? { event: (event) => this.#onJournal(side, event) } : {}),
      });
    const pair = { etcd: log('etcd'), coterie: log('coterie'), open };
    this.#streams.set(stream, pair);
    return pair;
  }

  #onJournal(side: 'etcd' | 'coterie', event: SeenEvent): void {
    this.#arrived[side] = event.revision;
    if (side === 'etcd') this.#journal.push(event);
  }

  async #create(
    pair: StreamPair,
    request: rpc.WatchCreateRequest,
    bytes: Uint8Array,
    { revision, compacted }: { revision: number; compacted: number },
  ): Promise<Difference | null> {
    const before = pair.etcd.created.length;
    const start = Number(request.startRevision);
    // Known before the first event comes, on either side.
    const lost = new Set(start === compacted ? this.#deletedAt(start) : []);
    const foreseen = { request, from: start === 0 ? revision + 1 : start, lost, looked: 0, expected: 0 };
    const isNew = request.watchId !== 0n && !pair.open.has(request.watchId);
    if (isNew) pair.open.set(request.watchId, { id: request.watchId, ...foreseen });
    pair.etcd.send(bytes);
    pair.coterie.send(bytes);
    await this.#until(() => pair.etcd.created.length > before && pair.coterie.created.length > before);
    const [etcd, coterie] = [pair.etcd.created[before], pair.coterie.created[before]];
    if (etcd === undefined || coterie === undefined) return { where: 'answer to a watch', etcd, coterie };
    if (etcd.canceled || coterie.canceled || etcd.watchId !== coterie.watchId) {
      if (isNew) pair.open.delete(request.watchId);
      return null;
    }
    const id = etcd.watchId;
    if (start !== 0 && start < compacted) {
      await this.#until(() => pair.etcd.canceled.has(id) && pair.coterie.canceled.has(id));
      pair.open.delete(id);
      return null;
    }
    pair.open.set(id, { id, ...foreseen });
    if (start !== 0 && start <= revision) this.#hasPast = true;
    if (start === 0) {
      pair.etcd.markLive(id);
      pair.coterie.markLive(id);
    }
    return null;
  }

  /**
   * A start before the beginning of revisions: 3.4 lets the watch begin and end, or tells all there is; later releases refuse
   * it at once (contract 5), and so do we. What 3.4 says is not looked at; the stream has no other use.
   */
  async #createBefore(stream: number, pair: StreamPair, request: rpc.WatchCreateRequest): Promise<Difference | null> {
    const bytes = rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value: request } }).finish();
    pair.coterie.send(bytes);
    await this.#until(() => pair.coterie.created.length > 0);
    const { watchId, created, canceled, compactRevision, cancelReason: reason } = pair.coterie.created[0] ?? {};
    const said = { watchId, created, canceled, compactRevision, cancelReason: reason };
    const isEmpty = isInverted({ ...request, key: request.key.length === 0 ? OPEN : request.key });
    const cancelReason = isEmpty ? 'mvcc: watcher range is empty' : ERRORS.compacted.text;
    const due = { watchId: -1n, created: true, canceled: true, compactRevision: 0, cancelReason };
    pair.etcd.leave();
    pair.coterie.leave();
    this.#streams.delete(stream);
    return firstDifference(plain(due), plain(said), 'refusal of a negative start');
  }

  async #cancel(pair: StreamPair, id: bigint, bytes: Uint8Array, revision: number): Promise<Difference | null> {
    const difference = await this.sync(revision);
    pair.etcd.send(bytes);
    pair.coterie.send(bytes);
    if (difference !== null || !pair.open.delete(id)) return difference;
    await this.#until(() => pair.etcd.canceled.has(id) && pair.coterie.canceled.has(id));
    const end = await this.sync(revision);
    pair.etcd.forget(id);
    pair.coterie.forget(id);
    return end;
  }

  async #progress(pair: StreamPair, bytes: Uint8Array, revision: number): Promise<Difference | null> {
    const difference = await this.sync(revision);
    if (difference !== null) return difference;
    const before = pair.etcd.progress;
    pair.etcd.send(bytes);
    pair.coterie.send(bytes);
    await this.#until(() => pair.etcd.progress > before && pair.coterie.progress > before);
    return null;
  }

  #deletedAt(revision: number): string[] {
    return this.#journal.filter((event) => event.revision === revision && event.isDelete).map(({ key }) => textOf(key));
  }

  #look(watch: OpenWatch): void {
    for (; watch.looked < this.#journal.length; watch.looked++) {
      const event = this.#journal[watch.looked];
      if (event === undefined || event.revision < watch.from || isHidden(watch, event)) continue;
      if (isWanted(watch.request, event)) watch.expected++;
    }
  }

  #difference(): Difference | null {
    for (const [stream, { etcd, coterie }] of this.#streams) {
      const found = firstDifference(etcd.said(), coterie.said(), `stream ${stream}`);
      if (found !== null) return found;
    }
    return null;
  }

  async #until(holds: () => boolean): Promise<void> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#wake();
    }, ARRIVAL_MS);
    while (!holds() && !isLate) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
  }
}

function isServed({ etcd, coterie }: StreamPair, { id, expected }: OpenWatch): boolean {
  return etcd.eventsOf(id) >= expected && coterie.eventsOf(id) >= expected;
}

/** etcd 3.4 loses what was deleted at the very revision that was compacted; a put that was deleted with it goes as well. */
function isHidden(watch: OpenWatch | undefined, event: SeenEvent): boolean {
  return watch !== undefined && event.revision === watch.from && watch.lost.has(textOf(event.key));
}

function isWanted({ key, rangeEnd, filters }: rpc.WatchCreateRequest, event: SeenEvent): boolean {
  if (filters.includes(event.isDelete ? 1 : 0)) return false;
  const first = key.length === 0 ? new Uint8Array([0]) : key;
  const from = Buffer.compare(event.key, first);
  if (rangeEnd.length === 0) return from === 0;
  return from >= 0 && ((rangeEnd.length === 1 && rangeEnd[0] === 0) || Buffer.compare(event.key, rangeEnd) < 0);
}
