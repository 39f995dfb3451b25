// What the log means: the key-value store with every key's history since the last compaction (contract 4 to 6). A state
// machine: its state is a function of the entries applied, nothing else. It has no clock, no disk, no chance, and it never
// refuses to apply: a client's mistake is a reply.
//
// This file maps commands to replies and counts revisions; the data is in table.ts, transactions are in txn.ts.

import { assert, unreachable } from '../base/assert.js';
import { checksum } from '../base/crc.js';
import type {
  Alarm, AlarmKind, Event, Header, KeyValue, LeaseId, OpResponse, RangeForm, RangeRequest, Revision, TxnRequest,
} from '../client.js';
import type { ErrorCode } from '../errors.js';
import type { Configuration } from '../raft/types.js';
import { refuseCommand, type LeaseKeys } from './access.js';
import { Alarms } from './alarms.js';
import { AuthTable } from './auth.js';
import { ByteWriter } from './binary.js';
import { Defragmentation } from './defragment.js';
import { deedOf, loneOp, type Command } from './command.js';
import type { PageSource } from './bolt-reader.js';
import { etcdFileOf } from './etcd-file.js';
import { loadEtcdFile } from './etcd-load.js';
import { eventsOf, type History, type HistoryRequest } from './history.js';
import type { Foresight } from './foresight.js';
import { FORESIGHT_STORE_KEYS_MIN, SWEEP_ROWS_PER_APPLY } from './limits.js';
import { Hashing, type StoreHash } from './hashing.js';
import { decodeMemberRecords, MemberTable, type MemberRecord } from './members.js';
import { pointRow, rangeOf, readingOf, type Reading, type RangeResult } from './range.js';
import { chunksOf, SnapshotReader, type Loaded } from './snapshot.js';
import { removeLease, type EventParts } from './removal.js';
import { NONE } from './rows.js';
import { Sweep } from './sweep.js';
import { Table } from './table.js';
import { Point, Telling } from './telling.js';
import { Execution, type TxnOutcome } from './txn.js';

/** Names an entry of the log. */
export interface EntryId {
  readonly term: number;
  readonly index: number;
}

export type Reply =
  | { readonly kind: 'error'; readonly code: ErrorCode }
  | { readonly kind: 'txn'; readonly revision: Revision; readonly succeeded: boolean; readonly responses: readonly OpResponse[] }
  | { readonly kind: 'lease_grant'; readonly revision: Revision; readonly id: LeaseId; readonly ttlSeconds: number }
  | { readonly kind: 'lease_revoke'; readonly revision: Revision; readonly id: LeaseId }
  | { readonly kind: 'lease_checkpoint'; readonly revision: Revision }
  | { readonly kind: 'members'; readonly revision: Revision }
  | { readonly kind: 'member_update'; readonly revision: Revision }
  | { readonly kind: 'compact'; readonly revision: Revision }
  | { readonly kind: 'alarm'; readonly revision: Revision; readonly alarms: readonly Alarm[] }
  /** `index`: of the entry, which is a part of the token it made. */
  | { readonly kind: 'auth'; readonly revision: Revision; readonly index: number };

/** All events of one revision, in the order they were written. `prevKv` is null in each: the hub fills it in where asked. */
export interface EventBatch {
  readonly revision: Revision;
  readonly events: readonly Event[];
  /** There where they are very many. */
  readonly parts?: EventParts;
}

export interface Applied {
  readonly reply: Reply;
  /** Null when nothing changed. */
  readonly events: EventBatch | null;
}

/** The store as it was at one entry. Its bytes are the same on every replica. `release` it, or history is never removed. */
export interface FrozenStore {
  readonly meta: EntryId;
  readonly revision: Revision;
  /** Written while it is read, a piece for each step; an empty one is a pause. To be iterated before `release`. */
  chunks(): Iterable<Uint8Array>;
  /** The same for who needs each piece only until the next is asked for, whose bytes take its place. */
  lentChunks(): Iterable<Uint8Array>;
  /** The same as etcd's database file, in the same manner. */
  etcdFile(): Iterable<Uint8Array>;
  release(): void;
}

export interface StoreLoader {
  push(chunk: Uint8Array): void;
  /** Throws when a byte is missing or wrong. */
  finish(): Store;
}

export interface LeaseFacts {
  readonly ttlSeconds: number;
  /** What was left of it at the last checkpoint. Renewals are not in the log: it may have more. */
  readonly remainingSeconds: number;
  /** The entry that granted it. */
  readonly granted: number;
  readonly keyCount: number;
}

export type { StoreHash } from './hashing.js';
export type { RangeResult } from './range.js';

type Deed = ReturnType<typeof deedOf>;

/** Before the first compaction, so that compacting a fresh store to 0 is not a repetition (contract 4.7). */
const NEVER_COMPACTED = -1;

export class Store {
  #table = new Table();
  #point = new Point(this.#table);
  #members = new MemberTable();
  #alarms = new Alarms();
  #auth = new AuthTable();
  #revision: Revision = 1;
  #compacted: Revision = NEVER_COMPACTED;
  #applied: EntryId = { term: 0, index: 0 };
  /** Removal of history up to here is finished, or `#sweep` is at it. */
  #sweptTo: Revision = NEVER_COMPACTED;
  #sweep: Sweep | null = null;
  #defragmentation: Defragmentation | null = null;
  /** Frozen copies not released, and others who need rows to stay where they are. */
  #frozen = 0;

  /** Of the last change; 1 in a fresh store. */
  get revision(): Revision {
    return this.#revision;
  }

  /** Reads and watches below this revision are refused; 0 before the first compaction. */
  get compacted(): Revision {
    return Math.max(0, this.#compacted);
  }

  /** The last entry that was applied, or skipped. */
  get applied(): EntryId {
    return this.#applied;
  }

  get keyCount(): number {
    return this.#table.keys.live;
  }

  get leaseCount(): number {
    return this.#table.leases.count;
  }

  /** Memory held for data, history and index. */
  get dbSizeBytes(): number {
    return this.#table.sizeBytes;
  }

  /** The part of `dbSizeBytes` that is in use. */
  get dbSizeInUseBytes(): number {
    return this.#table.liveBytes;
  }

  /** The only writer. Entries come in order, each once. */
  apply(id: EntryId, command: Command): Applied {
    this.skip(id);
    if (command.kind !== 'as_user') return this.#auth.isEnabled ? refused('auth_revision_old') : this.#carryOut(command);
    const deed = deedOf(command);
    const code = command.user === null ? null : refuseCommand(this.#auth, command, deed, this.#keysOn);
    return code === null ? this.#carryOut(deed) : refused(code);
  }

  #carryOut(command: Deed): Applied {
    if (!this.#alarms.isQuiet) {
      const code = this.#alarms.refusal(command);
      if (code !== null) return refused(code);
    }
    switch (command.kind) {
      case 'txn':
        return this.#applyTxn(command.request);
      case 'lease_grant':
        return this.#applyGrant(command.id, command.ttlSeconds);
      case 'lease_revoke':
        return this.#applyRevoke(command);
      case 'lease_checkpoint':
        return this.#applyCheckpoint(command);
      case 'member_update': {
        const code = this.#members.update(command);
        return code === null ? this.#answer('member_update') : refused(code);
      }
      case 'compact':
        return this.#applyCompact(command.revision);
      case 'alarm':
        return this.#applyAlarm(command);
      case 'auth_change':
        return this.#applyAuth(this.#auth.change(command.change));
      case 'authenticate': {
        const { digest, user, authRevision } = command;
        return this.#applyAuth(this.#auth.addToken({ digest, user, index: this.#applied.index }, authRevision));
      }
      case 'rehash':
        this.#auth.rehash(command.name, command.from, command.to);
        return this.#applyAuth(null);
      default:
        return unreachable(command);
    }
  }

  /** A committed change of members; `context` are the records it brings (`encodeMemberRecords`). */
  applyMembers(id: EntryId, configuration: Configuration, context: Uint8Array): Applied {
    this.skip(id);
    this.#members.change(configuration, decodeMemberRecords(context));
    return this.#answer('members');
  }

  /** An entry that means nothing to the store: it only moves `applied`. */
  skip(id: EntryId): void {
    assert(id.index > this.#applied.index, `entry ${id.index} comes after ${this.#applied.index} was applied`);
    this.#applied = id;
    if (this.#sweptTo !== this.#compacted || this.#sweep !== null) this.tidy(SWEEP_ROWS_PER_APPLY);
  }

  /**
   * Frees memory of compacted history: looks at up to `rowsMax` rows; true when there is nothing left to do. Applying does
   * a little of it each time; an idle driver may do more. No answer depends on it.
   */
  tidy(rowsMax: number): boolean {
    if (this.#frozen > 0) return false;
    if (this.#sweep === null) {
      if (this.#sweptTo === this.#compacted) return this.#defragmentStep(rowsMax);
      this.#sweptTo = this.#compacted;
      this.#sweep = new Sweep(this.#table, this.#compacted);
    }
    if (!this.#sweep.step(rowsMax)) return false;
    this.#sweep = null;
    return this.#sweptTo === this.#compacted && this.#defragmentation === null;
  }

  /** Wishes for all memory that nothing is in any more; `tidy` gives it back, from now on until it says true. */
  defragment(): void {
    this.#defragmentation ??= new Defragmentation(this.#table);
  }

  /** `tidy` has something to do, or would have if nothing were frozen. */
  get isTidyDue(): boolean {
    return this.#sweep !== null || this.#sweptTo !== this.#compacted || this.#defragmentation !== null;
  }

  /** Nothing can be tidied: somebody reads a frozen copy. */
  get isFrozen(): boolean {
    return this.#frozen > 0;
  }

  /** Look-ups of many keys, or the writing of many, are about to begin: see foresight.ts. */
  look(foresight: Foresight, withValues: boolean): void {
    foresight.look(this.#table, withValues);
  }

  /** So many keys that foresight pays. */
  get isLarge(): boolean {
    return this.#table.keys.size >= FORESIGHT_STORE_KEYS_MIN;
  }

  range(request: RangeRequest): RangeResult | ErrorCode {
    return rangeOf(this.#table, request, { current: this.#revision, compacted: this.#compacted });
  }

  /** The same of one key, told from where it lies. `guess`: see `Foresight.slotOf`. */
  point(request: RangeRequest, guess: number): Point | ErrorCode {
    const row = pointRow(this.#table, request, { current: this.#revision, compacted: this.#compacted }, guess);
    return typeof row === 'string' ? row : this.#point.at(row, request);
  }

  /** A range to be read in slices. Between them it must be pinned. */
  reading(request: RangeRequest): Reading | ErrorCode {
    return readingOf(this.#table, request, { current: this.#revision, compacted: this.#compacted });
  }

  /** Tells the pairs of a reading that is done, in slices as well. */
  telling<T>(reading: Reading, header: Header, form: RangeForm<T>): Telling<T> {
    return new Telling(this.#table, reading, header, form);
  }

  /** Keeps everything where it is, until what is returned is called. Applying goes on. */
  pin(): () => void {
    this.#frozen += 1;
    return () => {
      this.#frozen -= 1;
    };
  }

  /** A read-only transaction (`isReadOnly` in check.ts), answered without the log. */
  read(request: TxnRequest): Reply {
    const execution = new Execution(this.#table, { revision: this.#revision, compacted: this.#compacted });
    const outcome = execution.run(request);
    assert(execution.events.length === 0, 'a transaction that writes was sent as one that reads');
    return this.#reply(outcome);
  }

  /** Those of a member, 0n: of all; of a kind, null: of all. */
  alarms(memberId = 0n, kind: AlarmKind | null = null): readonly Alarm[] {
    return this.#alarms.list(memberId, kind);
  }

  /** The members are known to differ: nothing is written until somebody has cleared the alarm. */
  get isCorrupt(): boolean {
    return this.#alarms.isCorrupt;
  }

  /** Who may do what. Written by applying entries only. */
  get auth(): AuthTable {
    return this.#auth;
  }

  /** Ascending by id. */
  members(): readonly MemberRecord[] {
    return this.#members.records;
  }

  /** As of the last entry applied; the machine may know of a newer one. */
  get configuration(): Configuration {
    return this.#members.configuration;
  }

  /** The id belonged to a member that was removed: it never comes back. */
  isRemoved(id: bigint): boolean {
    return this.#members.removed.has(id);
  }

  /** In the order they were granted. */
  *leases(): Iterable<{ readonly id: LeaseId } & LeaseFacts> {
    yield* this.#table.leases.all();
  }

  lease(id: LeaseId): LeaseFacts | null {
    return this.#table.leases.get(id);
  }

  /** In byte order; none for a lease that does not exist. */
  leaseKeys(id: LeaseId): readonly Uint8Array[] {
    const { keys, leases } = this.#table;
    const lease = leases.get(id);
    return lease === null ? [] : Array.from(leases.slotsOf(lease), (slot) => keys.bytes(slot));
  }

  /** The same in no order, one by one. Nothing may be applied meanwhile. */
  *keysOn(id: LeaseId): Iterable<Uint8Array> {
    const { keys, leases } = this.#table;
    const lease = leases.get(id);
    if (lease === null) return;
    for (const slot of leases.slotsInAnyOrder(lease)) yield keys.bytes(slot);
  }

  readonly #keysOn: LeaseKeys = (id) => this.keysOn(id);

  freeze(): FrozenStore {
    const { keys, leases, rows } = this.#table;
    const state = {
      table: this.#table,
      applied: this.#applied,
      revision: this.#revision,
      compacted: this.#compacted,
      rowsEnd: rows.length,
      slots: keys.inOrder(),
      isAllLive: keys.live === keys.size,
      leases: Array.from(leases.all(), (lease) => ({ ...lease })),
      members: written(this.#members),
      alarms: written(this.#alarms),
      auth: written(this.#auth),
    };
    let released = false;
    this.#frozen += 1;
    return {
      meta: this.#applied,
      revision: this.#revision,
      chunks: () => {
        assert(!released, 'a frozen store is read after its release');
        return chunksOf(state, false);
      },
      lentChunks: () => {
        assert(!released, 'a frozen store is read after its release');
        return chunksOf(state, true);
      },
      etcdFile: () => {
        assert(!released, 'a frozen store is read after its release');
        return etcdFileOf(state);
      },
      release: () => {
        if (!released) this.#frozen -= 1;
        released = true;
      },
    };
  }

  /** The way back from `etcdFile`, of etcd's own making as well. Throws when something in it is not what it should be. */
  static loadEtcdFile(source: PageSource): Store {
    return Store.#from(loadEtcdFile(source));
  }

  /** The way back from `freeze`: push all its bytes, in pieces of any size, then `finish`. */
  static load(): StoreLoader {
    const reader = new SnapshotReader();
    return { push: (chunk) => reader.push(chunk), finish: () => Store.#from(reader.finish()) };
  }

  /**
   * The same data as the beginning of another cluster, whose members have nothing to do with the old ones: for restoring a
   * snapshot. With `revisionsSkipped`, revisions go on that much later and history ends there, so that none means two things.
   */
  refound(founding: { configuration: Configuration; members: readonly MemberRecord[]; revisionsSkipped: number }): void {
    const { configuration, members, revisionsSkipped } = founding;
    this.#members = new MemberTable();
    this.#members.change(configuration, members);
    // They were of members that are strangers now.
    this.#alarms = new Alarms();
    if (revisionsSkipped === 0) return;
    this.#revision += revisionsSkipped;
    this.#compacted = this.#revision;
  }

  /**
   * Equal on replicas that hold the same pairs and history up to `revision` (0: the newest) and are compacted to the same
   * revision; whatever was removed from memory already (contract 2, HashKV).
   */
  hash(revision: Revision): StoreHash | ErrorCode {
    const hashing = this.hashing(revision);
    if (typeof hashing === 'string') return hashing;
    const hash = hashing.step(Infinity);
    hashing.release();
    assert(hash !== null, 'all rows at once are all rows');
    return hash;
  }

  /** The same in slices. To be released. */
  hashing(revision: Revision): Hashing | ErrorCode {
    const through = revision <= 0 ? this.#revision : revision;
    if (through > this.#revision) return 'future_revision';
    if (through < this.#compacted) return 'compacted';
    const bounds = { through, revision: this.#revision, compacted: this.#compacted };
    return new Hashing(this.#table, bounds, this.pin());
  }

  /** Equal on replicas that have applied the same entries: over all there is, not only the pairs. Costs a snapshot. */
  stateHash(): number {
    const frozen = this.freeze();
    let hash = 0;
    for (const chunk of frozen.chunks()) hash = checksum(chunk, hash);
    frozen.release();
    return hash;
  }

  /** About how many keys there are to be looked at for it: all in the range, or no more than it wants. */
  keysIn({ key, rangeEnd, limit = 0, sortTarget = 'key', countOnly }: RangeRequest): number {
    const { from, to } = this.#table.places(key, rangeEnd);
    const all = this.#table.keys.countAll(from, to);
    return sortTarget === 'key' && countOnly !== true && limit > 0 ? Math.min(limit, all) : all;
  }

  /** Events a watcher missed; for the hub. */
  history(request: HistoryRequest): History {
    return eventsOf(this.#table, request, { revision: this.#revision, compacted: this.#compacted });
  }

  /** The pair as of the revision before `revision`; null when there was none or that revision is compacted. */
  pairBefore(key: Uint8Array, revision: Revision): KeyValue | null {
    if (revision - 1 < this.#compacted) return null;
    const slot = this.#table.keys.find(key);
    const row = slot === NONE ? NONE : this.#table.rowAt(slot, revision - 1);
    return row === NONE ? null : this.#table.kv(row);
  }

  static #from(loaded: Loaded): Store {
    const store = new Store();
    store.#table = loaded.table;
    store.#point = new Point(loaded.table);
    store.#members = loaded.members;
    store.#alarms = loaded.alarms;
    store.#auth = loaded.auth;
    store.#revision = loaded.revision;
    store.#compacted = loaded.compacted;
    store.#sweptTo = loaded.compacted;
    store.#applied = loaded.applied;
    return store;
  }

  #applyTxn(request: TxnRequest): Applied {
    const execution = new Execution(this.#table, { revision: this.#revision, compacted: this.#compacted });
    const lone = loneOp(request);
    const outcome = lone?.kind === 'put' ? execution.runPut(lone.request) : execution.run(request);
    const events = this.#commit(execution);
    return { reply: this.#reply(outcome), events };
  }

  #applyGrant(id: LeaseId, ttlSeconds: number): Applied {
    const { leases } = this.#table;
    if (leases.get(id) !== null) return refused('lease_exists');
    leases.grant(id, ttlSeconds, this.#applied.index);
    return { reply: { kind: 'lease_grant', revision: this.#revision, id, ttlSeconds }, events: null };
  }

  #applyRevoke({ id, term, granted }: Extract<Command, { kind: 'lease_revoke' }>): Applied {
    // A leader's wish from before it was deposed: its successor gave every lease a new term of life.
    if (term !== 0 && term !== this.#applied.term) return refused('not_leader');
    const { leases } = this.#table;
    const lease = leases.get(id);
    // An expiry decided on before a revoke and a new grant of the same id came between is not the new lease's.
    if (lease === null || (term !== 0 && granted !== lease.granted)) return refused('lease_not_found');
    const events = removeLease(this.#table, lease, this.#revision + 1);
    if (events !== null) this.#revision = events.revision;
    return { reply: { kind: 'lease_revoke', revision: this.#revision, id }, events };
  }

  #applyCheckpoint({ term, leases }: Extract<Command, { kind: 'lease_checkpoint' }>): Applied {
    if (term !== this.#applied.term) return refused('not_leader');
    for (const { id, remainingSeconds } of leases) {
      const lease = this.#table.leases.get(id);
      if (lease !== null) lease.remainingSeconds = Math.min(remainingSeconds, lease.ttlSeconds);
    }
    return this.#answer('lease_checkpoint');
  }

  #applyCompact(revision: Revision): Applied {
    if (revision > this.#revision) return refused('future_revision');
    if (revision <= this.#compacted) return refused('compacted');
    this.#compacted = revision;
    this.tidy(SWEEP_ROWS_PER_APPLY);
    return { reply: { kind: 'compact', revision: this.#revision }, events: null };
  }

  #applyAlarm({ action, alarm }: Extract<Command, { kind: 'alarm' }>): Applied {
    const alarms = action === 'raise' ? this.#alarms.raise(alarm) : this.#alarms.clear(alarm);
    if (typeof alarms === 'string') return refused(alarms);
    return { reply: { kind: 'alarm', revision: this.#revision, alarms }, events: null };
  }

  #applyAuth(code: ErrorCode | null): Applied {
    if (code !== null) return refused(code);
    return { reply: { kind: 'auth', revision: this.#revision, index: this.#applied.index }, events: null };
  }

  #defragmentStep(rowsMax: number): boolean {
    if (this.#defragmentation === null) return true;
    if (this.#defragmentation.step(rowsMax)) this.#defragmentation = null;
    return this.#defragmentation === null;
  }

  #answer(kind: 'members' | 'member_update' | 'lease_checkpoint'): Applied {
    return { reply: { kind, revision: this.#revision }, events: null };
  }

  #commit(execution: Execution): EventBatch | null {
    if (execution.events.length === 0) return null;
    this.#revision = execution.revision;
    return { revision: this.#revision, events: execution.events };
  }

  #reply(outcome: TxnOutcome | ErrorCode): Reply {
    if (typeof outcome === 'string') return { kind: 'error', code: outcome };
    return { kind: 'txn', revision: this.#revision, succeeded: outcome.succeeded, responses: outcome.responses };
  }
}

function written(part: { write(writer: ByteWriter): void }): Uint8Array {
  const writer = new ByteWriter();
  part.write(writer);
  return writer.take();
}

function refused(code: ErrorCode): Applied {
  return { reply: { kind: 'error', code }, events: null };
}
