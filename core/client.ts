// THE contract. Everything a user touches (recipes, sidecar, wire) is written against `Client`, so it cannot know
// whether it talks to the same process, to our server, or to etcd. The vocabulary is etcd's (contract 2 to 6).
//
// Eight promises, each a section of test/contract/client.contract.ts:
//   1. A resolved write happened, once. A rejected one says whether it 'never' happened or is 'unknown' (ApiError.outcome).
//   2. Reads are linearizable unless the request says `serializable`.
//   3. A transaction is atomic and has one revision.
//   4. A watch yields every event from its start revision, ascending, none twice, a revision never split, across
//      reconnects; or it throws `compacted`.
//   5. Keys on a lease disappear together, no earlier than its TTL counted from when the last acknowledged renewal was
//      sent.
//   6. `keepAlive` of a dead lease resolves with 0 seconds; it does not throw.
//   7. Aborting rejects with `canceled` at once; an aborted write is 'unknown'.
//   8. After `close`, calls reject with `closed` and iterators end.

import { EMPTY, isOpenEnd, OPEN_END, prefixEnd } from './base/bytes.js';
import { assert } from './base/assert.js';

/** Position in the store: 1 when fresh, +1 with each transaction that changed something. A safe integer. */
export type Revision = number;
/** 63 random bits on the wire a signed 64-bit integer; 0n is "no lease". */
export type LeaseId = bigint;

/** On every answer. `memberId` is the member that answered; `revision` its store's revision at that moment. */
export interface Header {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly revision: Revision;
  readonly raftTerm: number;
}

export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Revision that created this incarnation of the key; a fence. */
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** 1 at creation, +1 with each put; a delete resets it. */
  readonly version: number;
  readonly lease: LeaseId;
}

export type SortOrder = 'none' | 'ascend' | 'descend';
export type SortTarget = 'key' | 'version' | 'create' | 'mod' | 'value';

export interface RangeRequest {
  readonly key: Uint8Array;
  /** Absent or empty: exactly `key`. `\0`: every key >= `key`. Otherwise key <= x < rangeEnd. */
  readonly rangeEnd?: Uint8Array;
  /** 0 or less: no limit. */
  readonly limit?: number;
  /** 0 or less: now. */
  readonly revision?: Revision;
  readonly sortOrder?: SortOrder;
  readonly sortTarget?: SortTarget;
  /** Answered by the member asked, possibly stale. */
  readonly serializable?: boolean;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: Revision;
  readonly maxModRevision?: Revision;
  readonly minCreateRevision?: Revision;
  readonly maxCreateRevision?: Revision;
}

export interface RangeResponse {
  readonly header: Header;
  readonly kvs: readonly KeyValue[];
  /** True when `limit` cut something off. */
  readonly more: boolean;
  /** All keys in the range, before limit and filters. */
  readonly count: number;
}

/** A pair where it lies in memory: what is told is good until the next one is. Never to be written to. */
export interface PairPlace extends Omit<KeyValue, 'key' | 'value'> {
  readonly keyBytes: Uint8Array;
  readonly keyAt: number;
  readonly keyLength: number;
  readonly valueBytes: Uint8Array;
  readonly valueAt: number;
  readonly valueLength: number;
  toKeyValue(): KeyValue;
}

/** What the pairs of one range answer are made into, for which no object of each is needed. Each is told twice, in order. */
export interface RangeForm<T> {
  measure(pair: PairPlace): void;
  /** All are measured. */
  begin(facts: Pick<RangeResponse, 'header' | 'more' | 'count'>): void;
  write(pair: PairPlace): void;
  end(): T;
  /** In place of all of these where one key is asked for. `pair` null: there is none, or it is only counted. */
  only(facts: Pick<RangeResponse, 'header' | 'more' | 'count'>, pair: PairPlace | null): T;
}

/** A backend that has the pairs in its memory. */
export interface RangeSource {
  /** `range`, its answer in a form of the caller's. `formOf` is called again where reading has to begin anew. */
  rangeAs<T>(request: RangeRequest, formOf: () => RangeForm<T>, options?: CallOptions): Promise<T>;
}

export interface PutRequest {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Absent or 0n: detach from any lease. */
  readonly lease?: LeaseId;
  readonly prevKv?: boolean;
  /** Keep the present value; the key must exist. */
  readonly ignoreValue?: boolean;
  /** Keep the present lease; the key must exist. */
  readonly ignoreLease?: boolean;
}

export interface PutResponse {
  readonly header: Header;
  readonly prevKv: KeyValue | null;
}

export interface DeleteRequest {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array;
  readonly prevKv?: boolean;
}

export interface DeleteResponse {
  readonly header: Header;
  readonly deleted: number;
  readonly prevKvs: readonly KeyValue[];
}

export type CompareResult = '=' | '>' | '<' | '!=';

/** `result` of an unknown kind from the wire counts as true, as in etcd; it is carried as 'any'. */
export type Compare = {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array;
  readonly result: CompareResult | 'any';
} & (
  | { readonly target: 'version' | 'create' | 'mod'; readonly operand: number }
  | { readonly target: 'lease'; readonly operand: LeaseId }
  | { readonly target: 'value'; readonly operand: Uint8Array }
);

export type Op =
  | { readonly kind: 'range'; readonly request: RangeRequest }
  | { readonly kind: 'put'; readonly request: PutRequest }
  | { readonly kind: 'delete'; readonly request: DeleteRequest }
  | { readonly kind: 'txn'; readonly request: TxnRequest };

export interface TxnRequest {
  readonly compare?: readonly Compare[];
  readonly success?: readonly Op[];
  readonly failure?: readonly Op[];
}

/** Answers to ops inside a transaction carry a revision only; the full header stands on the whole answer. */
export type OpResponse =
  | { readonly kind: 'range'; readonly response: Sub<RangeResponse> }
  | { readonly kind: 'put'; readonly response: Sub<PutResponse> }
  | { readonly kind: 'delete'; readonly response: Sub<DeleteResponse> }
  | { readonly kind: 'txn'; readonly response: Sub<TxnResponse> };

/** A response inside a transaction: `revision` in place of a header. */
export type Sub<T> = Omit<T, 'header'> & { readonly revision: Revision };

export interface TxnResponse {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly OpResponse[];
}

export interface WatchRequest {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array;
  /** 0: from the next change on. Below the compacted revision: the iterator throws `compacted`. */
  readonly startRevision?: Revision;
  readonly prevKv?: boolean;
  /** Event kinds to leave out. */
  readonly exclude?: readonly ('put' | 'delete')[];
  /** Ask for a 'progress' batch when nothing has happened for a while. */
  readonly progressNotify?: boolean;
}

export interface Event {
  readonly kind: 'put' | 'delete';
  /** For a delete only `key` and `modRevision` mean anything; the rest is empty or 0. */
  readonly kv: KeyValue;
  readonly prevKv: KeyValue | null;
}

/**
 * What a watch yields. First a batch of kind 'created' (no events; its header tells the revision at which the watch took
 * hold). Then 'events': at least one, ascending, whole revisions. 'progress' (no events) says that everything up to and
 * including `header.revision` has been delivered.
 */
export interface WatchBatch {
  readonly kind: 'created' | 'events' | 'progress';
  readonly header: Header;
  readonly events: readonly Event[];
}

/** One consumer, once: iterate it, or call `close`. `return()` on the iterator (a `break`) cancels the watch. */
export interface Watch extends AsyncIterable<WatchBatch> {
  /** Asks for one 'progress' batch as soon as the watch has caught up; no effect after the end. */
  requestProgress(): void;
  close(): void;
  /** To be used in place of iterating by whoever serves very many: no promise for each batch. Not every home offers it. */
  tap?(onReady: () => void): WatchTap;
}

/**
 * What is next; null: nothing for now, and `onReady` is called from a later turn when that may have changed. The end is told
 * once; then, and after `close`, it is null for ever. Batches without end wait here for free, so who is in no hurry asks later.
 */
export type WatchTap = () => WatchBatch | WatchEnd | null;

/** `error` is what an iterator would have thrown; null: it is just over. */
export interface WatchEnd {
  readonly kind: 'ended';
  readonly error: Error | null;
}

export interface Lease {
  readonly header: Header;
  readonly id: LeaseId;
  /** What was granted: at least the server's minimum. */
  readonly ttlSeconds: number;
}

export interface KeepAlive {
  readonly header: Header;
  /** Seconds the lease now has; 0: it is gone. */
  readonly ttlSeconds: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Counted from the call; afterwards it rejects with `deadline_exceeded`. Absent: the client's default (never endless). */
  readonly timeoutMs?: number;
  /** On whose behalf. Absent: this process's own, which inside a node may do everything. Only servers pass it on. */
  readonly caller?: Caller;
}

/**
 * Who asks, as `Auth.identify` found it. Whoever holds one may act as that user, so it never leaves the process; a home
 * that asks another server carries on what it was given as the token.
 */
export interface Caller {
  /** Null: nobody in particular, which is refused wherever a user is needed. */
  readonly user: string | null;
  /** The auth revision at which that was established. Commands carry it: an older one than the store's is refused. */
  readonly authRevision: number;
  /** For a home that passes calls on; else null. */
  readonly token: string | null;
}

/** Of a caller who came while auth was off. Should it be on by the time it matters, then nobody is what it is. */
export const NOBODY: Caller = Object.freeze({ user: null, authRevision: 0, token: null });

export interface GrantOptions extends CallOptions {
  /** An id of the caller's choosing; absent or 0n: the server picks. */
  readonly id?: LeaseId;
}

export interface Client {
  range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse>;
  txn(request: TxnRequest, options?: CallOptions): Promise<TxnResponse>;
  /** Long-lived: `timeoutMs` bounds only the time until it is created. Throws from the iterator, never from the call. */
  watch(request: WatchRequest, options?: CallOptions): Watch;
  grant(ttlSeconds: number, options?: GrantOptions): Promise<Lease>;
  keepAlive(lease: LeaseId, options?: CallOptions): Promise<KeepAlive>;
  /** Deletes the lease and its keys. Rejects with `lease_not_found` when there is none. */
  revoke(lease: LeaseId, options?: CallOptions): Promise<Header>;
  close(): Promise<void>;
}

/**
 * Renews leases from beside the main loop, on a connection of its own, so that a lease outlives a loop that stands still.
 * Whoever hands it to a session says with it how to reach the store; no client can know that of itself.
 */
export interface KeepAliver {
  keep(order: KeepOrder): Keeping;
}

export interface KeepOrder {
  readonly lease: LeaseId;
  readonly ttlMs: number;
  /** Nothing is renewed while the newest `beat` is older than this. */
  readonly stallBudgetMs: number;
  /** Each from a later turn. `gone`: the store says that the lease does not exist. `failed`: it cannot renew for now. */
  tell(news: { readonly kind: 'gone' } | { readonly kind: 'failed'; readonly cause: Error }): void;
}

/** One lease being kept. All of it can be read by the first statement after a stall: it does not wait for the loop. */
export interface Keeping {
  /** The main loop turns. */
  beat(): void;
  /** At least the time since the newest confirmed renewal was sent; Infinity before the first. */
  ageMs(): number;
  /** The store said so. */
  readonly isGone: boolean;
  /** Nothing is sent for it from now on. Idempotent. */
  stop(): void;
}

// What etcd's API has beyond `Client`. Only wire and the command line use it.

export interface Admin {
  compact(revision: Revision, options?: CallOptions & { physical?: boolean }): Promise<Header>;
  leaseInfo(lease: LeaseId, options?: CallOptions & { keys?: boolean }): Promise<LeaseInfo>;
  /**
   * `Client.keepAlive` of many at once, from 1 to 1,000: the seconds each of them has now, in their order. What is refused for
   * one is refused for all.
   */
  keepAliveAll(leases: readonly LeaseId[], options?: CallOptions): Promise<KeptAlive>;
  leases(options?: CallOptions): Promise<{ header: Header; ids: readonly LeaseId[] }>;
  status(options?: CallOptions): Promise<StatusResponse>;
  /** `linearizable`: after a quorum round; else what this member knows. */
  members(options?: CallOptions & { linearizable?: boolean }): Promise<MembersResponse>;
  /** The new member has no name until it has started. One change at a time (contract 7). */
  addMember(request: { peerUrls: readonly string[]; isLearner?: boolean }, options?: CallOptions): Promise<MemberAdded>;
  removeMember(id: bigint, options?: CallOptions): Promise<MembersResponse>;
  updateMember(id: bigint, peerUrls: readonly string[], options?: CallOptions): Promise<MembersResponse>;
  /** Learner to voter; refused with `learner_not_ready` until it has caught up. */
  promoteMember(id: bigint, options?: CallOptions): Promise<MembersResponse>;
  /** Only the leader can do it: `not_leader` elsewhere. Resolves when `to` leads. */
  moveLeader(to: bigint, options?: CallOptions): Promise<Header>;
  /** The store of the member asked, as it is now: etcd's database file, which etcd's tools and etcd itself can read. */
  snapshot(options?: CallOptions): SnapshotStream;
  /** Equal on members that hold the same data at `revision` (0: the newest), compacted to the same revision. */
  hash(revision: Revision, options?: CallOptions): Promise<HashResponse>;
  /** Which alarms stand; `raise` and `clear` answer with those they changed (contract 9). */
  alarm(request: AlarmRequest, options?: CallOptions): Promise<AlarmsResponse>;
  /** Gives memory of removed data back, of the member asked only. The header is empty, as etcd's answer has none. */
  defragment(options?: CallOptions): Promise<Header>;
}

export type AlarmKind = 'no_space' | 'corrupt';

export interface Alarm {
  readonly memberId: bigint;
  readonly kind: AlarmKind;
}

export interface AlarmRequest {
  readonly action: 'list' | 'raise' | 'clear';
  /** 0n with `list`: of every member. */
  readonly memberId: bigint;
  /** Null with `list`: of every kind; with the others nothing happens. */
  readonly kind: AlarmKind | null;
}

export interface AlarmsResponse {
  readonly header: Header;
  readonly alarms: readonly Alarm[];
}

// Users and roles (contract 8). Only wire and the command line use it; what it guards is guarded wherever data is served.

export interface Auth {
  /**
   * Who a call comes from; null: auth is off and everybody may do everything. Rejects with `token_invalid` and the
   * like. Answers at once, without a promise, unless this member has to catch up with the token first.
   */
  identify(credentials: Credentials): Caller | null | Promise<Caller | null>;
  /** A token for later calls. */
  authenticate(name: string, password: string, options?: CallOptions): Promise<{ header: Header; token: string }>;
  authStatus(options?: CallOptions): Promise<AuthStatus>;
  changeAuth(change: AuthChange, options?: CallOptions): Promise<Header>;
  /** The roles of a user, ascending. */
  user(name: string, options?: CallOptions): Promise<{ header: Header; roles: readonly string[] }>;
  users(options?: CallOptions): Promise<{ header: Header; names: readonly string[] }>;
  /** Ordered by key, then by range end. */
  role(name: string, options?: CallOptions): Promise<{ header: Header; permissions: readonly Permission[] }>;
  roles(options?: CallOptions): Promise<{ header: Header; names: readonly string[] }>;
}

/** What a connection shows of who it is. */
export interface Credentials {
  readonly token: string | null;
  /** The common name of a verified certificate; it counts only where there is no token. */
  readonly certificateName: string | null;
}

export interface AuthStatus {
  readonly header: Header;
  readonly enabled: boolean;
  readonly authRevision: number;
}

export interface Permission {
  readonly kind: 'read' | 'write' | 'readwrite';
  readonly key: Uint8Array;
  /** Empty: exactly `key`; `\0`: every key from there on. */
  readonly rangeEnd: Uint8Array;
}

/** A password is plain here and hashed before it goes anywhere; null: the user has none and logs in by certificate only. */
export type AuthChange =
  | { readonly kind: 'enable' | 'disable' }
  | { readonly kind: 'user_add'; readonly name: string; readonly password: Password | null }
  | { readonly kind: 'user_delete'; readonly name: string }
  | { readonly kind: 'user_password'; readonly name: string; readonly password: Password | null }
  | { readonly kind: 'user_grant' | 'user_revoke'; readonly name: string; readonly role: string }
  | { readonly kind: 'role_add' | 'role_delete'; readonly name: string }
  | { readonly kind: 'role_grant'; readonly name: string; readonly permission: Permission | null }
  | { readonly kind: 'role_revoke'; readonly name: string; readonly key: Uint8Array; readonly rangeEnd: Uint8Array };

export type Password = { readonly plain: string } | { readonly bcrypt: string };

/** All that a server serves. */
export type Backend = Client & Admin & Auth & Partial<RangeSource>;

/** One reader, once. `remainingBytes` counts what is still to come after this piece. */
export interface SnapshotStream extends AsyncIterable<{ readonly bytes: Uint8Array; readonly remainingBytes: number }> {
  close(): void;
}

export interface MemberAdded extends MembersResponse {
  readonly member: Member;
}

export interface HashResponse {
  readonly header: Header;
  readonly hash: number;
  readonly compactRevision: Revision;
}

export interface KeptAlive {
  readonly header: Header;
  /** For each lease that was asked for; 0: it is gone. */
  readonly ttlSeconds: readonly number[];
}

export interface LeaseInfo {
  readonly header: Header;
  readonly id: LeaseId;
  /** Whole seconds left, rounded down; -1: there is no such lease. */
  readonly ttlSeconds: number;
  readonly grantedTtlSeconds: number;
  readonly keys: readonly Uint8Array[];
}

export interface StatusResponse {
  readonly header: Header;
  readonly version: string;
  readonly dbSizeBytes: number;
  readonly dbSizeInUseBytes: number;
  /** 0n while unknown. */
  readonly leader: bigint;
  /** The committed index. */
  readonly raftIndex: number;
  readonly raftAppliedIndex: number;
  readonly raftTerm: number;
  readonly errors: readonly string[];
  readonly isLearner: boolean;
}

export interface Member {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

export interface MembersResponse {
  /** Its revision is 0, as in etcd. */
  readonly header: Header;
  readonly members: readonly Member[];
}

// Op and compare constructors: a transaction is data.
//   client.txn({ compare: [created(key, '=', 0)], success: [opPut(key, value, { lease })], failure: [opRange(key)] })

export function opRange(key: Uint8Array, options: Omit<RangeRequest, 'key'> = {}): Op {
  return { kind: 'range', request: { ...options, key } };
}

export function opPut(key: Uint8Array, value: Uint8Array, options: Omit<PutRequest, 'key' | 'value'> = {}): Op {
  return { kind: 'put', request: { ...options, key, value } };
}

export function opDelete(key: Uint8Array, options: Omit<DeleteRequest, 'key'> = {}): Op {
  return { kind: 'delete', request: { ...options, key } };
}

export function opTxn(request: TxnRequest): Op {
  return { kind: 'txn', request };
}

/** Compares the create revision; `created(key, '=', 0)` holds when the key does not exist. */
export function created(key: Uint8Array, result: CompareResult, operand: Revision): Compare {
  return { key, result, target: 'create', operand };
}

export function modified(key: Uint8Array, result: CompareResult, operand: Revision): Compare {
  return { key, result, target: 'mod', operand };
}

export function versionIs(key: Uint8Array, result: CompareResult, operand: number): Compare {
  return { key, result, target: 'version', operand };
}

/** On a missing key this is false whatever `result` says, '!=' included (contract 4.6). */
export function valueIs(key: Uint8Array, result: CompareResult, operand: Uint8Array): Compare {
  return { key, result, target: 'value', operand };
}

export function leaseIs(key: Uint8Array, result: CompareResult, operand: LeaseId): Compare {
  return { key, result, target: 'lease', operand };
}

/** `{ key, rangeEnd }` selecting every key that starts with `prefix`; the empty prefix selects everything. */
export function prefixRange(prefix: Uint8Array): { key: Uint8Array; rangeEnd: Uint8Array } {
  return prefix.length === 0 ? { key: OPEN_END, rangeEnd: OPEN_END } : { key: prefix, rangeEnd: prefixEnd(prefix) };
}

/** Whether `key` lies in the range of `start` and `rangeEnd`, by the rules of `RangeRequest`. */
export function inRange(key: Uint8Array, start: Uint8Array, rangeEnd: Uint8Array = EMPTY): boolean {
  const from = Buffer.compare(key, start);
  if (rangeEnd.length === 0) return from === 0;
  return from >= 0 && (isOpenEnd(rangeEnd) || Buffer.compare(key, rangeEnd) < 0);
}

// Functions over the seven methods.

/** The pair under `key`, or null. */
export async function get(
  client: Client,
  key: Uint8Array,
  options: CallOptions & { revision?: Revision; serializable?: boolean } = {},
): Promise<KeyValue | null> {
  const { signal, timeoutMs, ...request } = options;
  const answer = await client.range({ ...request, key }, callOptions({ signal, timeoutMs }));
  return answer.kvs[0] ?? null;
}

export async function put(
  client: Client,
  key: Uint8Array,
  value: Uint8Array,
  options: CallOptions & Omit<PutRequest, 'key' | 'value'> = {},
): Promise<PutResponse> {
  const { signal, timeoutMs, ...request } = options;
  const answer = await client.txn({ success: [opPut(key, value, request)] }, callOptions({ signal, timeoutMs }));
  const only = answer.responses[0];
  assert(only?.kind === 'put', 'a put is answered by a put');
  return { header: answer.header, prevKv: only.response.prevKv };
}

export async function del(
  client: Client,
  key: Uint8Array,
  options: CallOptions & Omit<DeleteRequest, 'key'> = {},
): Promise<DeleteResponse> {
  const { signal, timeoutMs, ...request } = options;
  const answer = await client.txn({ success: [opDelete(key, request)] }, callOptions({ signal, timeoutMs }));
  const only = answer.responses[0];
  assert(only?.kind === 'delete', 'a delete is answered by a delete');
  return { header: answer.header, deleted: only.response.deleted, prevKvs: only.response.prevKvs };
}

function callOptions(options: { signal: AbortSignal | undefined; timeoutMs: number | undefined }): CallOptions {
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  };
}
