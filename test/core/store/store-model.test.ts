// The real store against the naive one of test/model: random commands, reads and watchers, compactions and restores in
// between; every answer and every event must be the same. A second real store takes the same commands with another past
// (restored from a snapshot now and then, history removed at once), and must answer and freeze alike (reliability R-12).

import { isDeepStrictEqual } from 'node:util';
import test from 'ava';
import fc from 'fast-check';
import type { Alarm, TxnRequest, WatchRequest } from '../../../core/client.js';
import { checkTxn, isReadOnly } from '../../../core/store/check.js';
import { decodeCommand, encodeCommand, type Command } from '../../../core/store/command.js';
import { Hub, type Watcher } from '../../../core/store/hub.js';
import { Store, type FrozenStore } from '../../../core/store/store.js';
import { command, plain, rangeRequest, txnRequest, watchRequest } from '../../model/store-arbitrary.js';
import { StoreModel } from '../../model/store-model.js';

const LIMITS = { txnOpsMax: 128, requestBytesMax: 1_572_864, envelope: { callIdBytes: 10 } };

type Step =
  | { do: 'apply'; command: Command }
  | { do: 'range'; request: Parameters<Store['range']>[0] }
  | { do: 'read'; request: TxnRequest }
  | { do: 'watch'; request: WatchRequest }
  | { do: 'drain'; watcher: number }
  | { do: 'restore' }
  | { do: 'tidy'; rows: number }
  | { do: 'defragment' }
  | { do: 'freeze' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('apply' as const), command }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('range' as const), request: rangeRequest }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('read' as const), request: txnRequest(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('watch' as const), request: watchRequest }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('drain' as const), watcher: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restore' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('tidy' as const), rows: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.constant({ do: 'freeze' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'defragment' as const }) },
);

interface Watching {
  readonly request: WatchRequest;
  readonly watcher: Watcher;
  /** The next revision it must be told of, if that has anything for it. */
  next: number;
  /** It was told that it may ask, or never got null. */
  mayAsk: boolean;
  ended: boolean;
}

class World {
  readonly model = new StoreModel();
  store = new Store();
  other = new Store();
  readonly hub: Hub;
  readonly watching: Watching[] = [];
  #index = 0;
  /** Keeps history from being removed; with the bytes it must have. */
  #frozen: { readonly store: FrozenStore; readonly bytes: Uint8Array } | null = null;

  constructor(bufferBytesMax: number) {
    this.hub = new Hub(() => this.store, { bufferBytesMax, catchUpRevisionsMax: 3 });
  }

  run(each: Step): void {
    switch (each.do) {
      case 'apply':
        return this.#apply(each.command);
      case 'range':
        return same(this.store.range(each.request), this.model.range(each.request), 'range');
      case 'read':
        return this.#read(each.request);
      case 'watch':
        return this.#watch(each.request);
      case 'drain': {
        const one = this.watching[each.watcher];
        if (one !== undefined) this.#drain(one);
        return;
      }
      case 'freeze':
        return this.#freeze();
      case 'defragment':
        return this.store.defragment();
      case 'restore':
        this.#thaw();
        this.store = reloaded(this.store);
        return this.hub.restored();
      case 'tidy':
        this.store.tidy(each.rows);
    }
  }

  finish(): void {
    this.#thaw();
    this.store.defragment();
    while (!this.store.tidy(1));
    while (!this.other.tidy(100));
    const needed = reloaded(this.store).dbSizeInUseBytes;
    same([this.store.dbSizeInUseBytes, this.other.dbSizeInUseBytes], [needed, needed], 'what is left after tidying');
    for (const one of this.watching) this.#drain(one);
    same(bytesOf(this.store), bytesOf(this.other), 'snapshots');
    for (let revision = Math.max(1, this.model.compacted); revision <= this.model.revision; revision++) {
      const request = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0), revision };
      same(this.store.range(request), this.model.range(request), `revision ${revision}`);
      same(this.other.range(request), this.model.range(request), `revision ${revision} of the other`);
    }
    const { leases, granted, remaining } = this.model;
    const told = [...leases].map(([id, ttl]) => [id, ttl, granted.get(id), remaining.get(id)]);
    const kept = [...this.store.leases()].map((each) => [each.id, each.ttlSeconds, each.granted, each.remainingSeconds]);
    same(kept, told, 'leases');
    same(this.store.alarms().map(alarmText), this.model.alarms.map(alarmText).sort(), 'alarms');
    same([this.store.hash(0), this.store.stateHash()], [this.other.hash(0), this.other.stateHash()], 'hashes');
    for (const id of this.model.leases.keys()) same(this.store.leaseKeys(id), this.model.leaseKeys(id), `keys of lease ${id}`);
    same(this.store.keyCount, this.model.states.at(-1)?.length, 'number of keys');
  }

  #apply(wanted: Command): void {
    if (wanted.kind === 'txn' && checkTxn(wanted.request, LIMITS) !== null) return;
    const bytes = encodeCommand(wanted);
    const id = { term: 1, index: ++this.#index };
    const before = this.model.revision;
    this.model.index = id.index - 1;
    const reply = this.model.apply(id.term, wanted);
    const applied = this.store.apply(id, decodeCommand(bytes));
    same(applied.reply, reply, 'reply');
    const expected = this.model.revision > before ? { revision: this.model.revision, events: this.model.events.at(-1) } : null;
    same(applied.events, expected, 'events');
    same(this.store.compacted, Math.max(0, this.model.compacted), 'compacted');
    if (applied.events !== null) this.hub.publish(applied.events);
    // The other store: the same entries, another past.
    if (this.#index % 5 === 0) this.other = reloaded(this.other);
    same(this.other.apply(id, decodeCommand(bytes)).reply, reply, 'reply of the other');
    if (this.#index % 3 === 0) while (!this.other.tidy(1));
  }

  /** Freezes the store, or has a look at what was frozen and lets it go. */
  #freeze(): void {
    if (this.#frozen !== null) return this.#thaw();
    const bytes = bytesOf(this.store);
    this.#frozen = { store: this.store.freeze(), bytes };
  }

  #thaw(): void {
    if (this.#frozen === null) return;
    const { store, bytes } = this.#frozen;
    this.#frozen = null;
    same(Buffer.concat([...store.chunks()]), bytes, 'frozen');
    store.release();
  }

  #read(request: TxnRequest): void {
    if (!isReadOnly(request)) return;
    same(this.store.read(request), this.model.read(request), 'read');
  }

  #watch(request: WatchRequest): void {
    const watcher = this.hub.open(request);
    const start = request.startRevision ?? 0;
    const next = start === 0 ? this.model.revision + 1 : start;
    const one: Watching = { request, watcher, next, mayAsk: true, ended: false };
    watcher.onReady = () => {
      one.mayAsk = true;
    };
    this.watching.push(one);
    same(watcher.next(), { kind: 'batch', batch: { kind: 'created', revision: this.model.revision, events: [] } }, 'created');
  }

  /** Asks until there is no more: all that happened since, revision by revision, or the end if history is gone. */
  #drain(one: Watching): void {
    if (one.ended) return;
    if (!one.mayAsk) return this.#expectNothing(one);
    for (;;) {
      const result = one.watcher.next();
      if (result === null) break;
      if (result.kind === 'ended') {
        same(result, { kind: 'ended', code: 'compacted', compactRevision: Math.max(0, this.model.compacted) }, 'end');
        truth(one.next < Math.max(0, this.model.compacted), 'a watcher ended that could have gone on');
        one.ended = true;
        return;
      }
      truth(result.batch.kind === 'events' && result.batch.events.length > 0, `an unexpected batch: ${result.batch.kind}`);
      this.#expectBatch(one, result.batch);
    }
    one.mayAsk = false;
    this.#expectNothing(one);
    one.next = Math.max(one.next, this.model.revision + 1);
  }

  #expectBatch(one: Watching, batch: { revision: number; events: readonly { kv: { modRevision: number } }[] }): void {
    let events = batch.events;
    truth(batch.revision <= this.model.revision, 'a batch from the future');
    while (events.length > 0) {
      const revision = events[0]?.kv.modRevision ?? 0;
      truth(revision >= one.next, `revision ${revision} is told after ${one.next - 1}`);
      this.#expectNothing(one, revision);
      const now = events.filter((event) => event.kv.modRevision === revision);
      events = events.slice(now.length);
      const isAllowed = this.#allowed(one, revision).some((each) => isDeepStrictEqual(plain(now), plain(each)));
      truth(isAllowed, `other events at ${revision}`);
      one.next = revision + 1;
    }
  }

  /** Nothing this watcher should see lies between what it was given and `end`. */
  #expectNothing(one: Watching, end = this.model.revision + 1): void {
    for (let revision = one.next; revision < end; revision++) {
      truth(this.model.watch(one.request, revision).length === 0, `revision ${revision} was not told`);
    }
  }

  /** What may be told: at and below the compacted revision both what was seen live, and what history still shows. */
  #allowed(one: Watching, revision: number): unknown[] {
    const now = this.model.watch(one.request, revision);
    const compacted = this.model.compacted;
    if (revision > compacted + 1) return [now];
    this.model.compacted = -1;
    const live = this.model.watch(one.request, revision);
    this.model.compacted = compacted;
    return [now, live];
  }
}

/** In the order of these words they are listed: no space first, then by member. */
function alarmText({ kind, memberId }: Alarm): string {
  return `${kind === 'no_space' ? 0 : 1} ${memberId.toString(16).padStart(16, '0')}`;
}

function reloaded(store: Store): Store {
  const frozen = store.freeze();
  const loader = Store.load();
  for (const chunk of frozen.chunks()) loader.push(chunk);
  frozen.release();
  return loader.finish();
}

function bytesOf(store: Store): Uint8Array {
  const frozen = store.freeze();
  const bytes = Buffer.concat([...frozen.chunks()]);
  frozen.release();
  return bytes;
}

function truth(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

function same(actual: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(plain(actual), plain(expected))) return;
  throw new Error(`${what} differs.\nstore: ${JSON.stringify(plain(actual))}\nmodel: ${JSON.stringify(plain(expected))}`);
}

for (const bufferBytesMax of [100, 1_000_000]) {
  test(`the store and the naive store agree, watchers holding ${bufferBytesMax} bytes`, (t) => {
    const property = fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const world = new World(bufferBytesMax);
      for (const each of steps) world.run(each);
      world.finish();
    });
    const runs = Number(process.env['STORE_RUNS'] ?? 500);
    const details = fc.check(property, { numRuns: runs });
    t.log(`seed ${details.seed}, ${details.numRuns} runs`);
    t.false(details.failed, `${String(details.errorInstance)}\n${details.failed ? fc.defaultReportMessage(details) : ''}`);
  });
}
