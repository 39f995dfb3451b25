// The naive store: what contract 4 to 6 say, in the plainest way, written without a look at core/store. It keeps the whole
// map of pairs for every revision there ever was and finds everything by going through it. The second opinion on the real
// store; slow on purpose, and not to be made clever.

import type {
  Alarm, Compare, Event, KeyValue, LeaseId, Op, OpResponse, PutRequest, RangeRequest, Revision, TxnRequest, WatchRequest,
} from '../../core/client.js';
import { inRange } from '../../core/client.js';
import type { ErrorCode } from '../../core/errors.js';
import type { Command } from '../../core/store/command.js';
import type { RangeResult, Reply } from '../../core/store/store.js';

type State = readonly KeyValue[];

const bytes = (a: Uint8Array, b: Uint8Array): number => Buffer.compare(a, b);
const none = new Uint8Array(0);

export class StoreModel {
  /** `states[r]` is everything that was there at revision r, in key order. Revision 0 is no revision. */
  readonly states: State[] = [[], []];
  /** `events[r]` is what revision r did, in order. */
  readonly events: Event[][] = [[], []];
  readonly leases = new Map<LeaseId, number>();
  /** Which entry granted a lease, and what was left of it at the last checkpoint. */
  readonly granted = new Map<LeaseId, number>();
  readonly remaining = new Map<LeaseId, number>();
  /** Entries applied. */
  index = 0;
  compacted: Revision = -1;
  alarms: Alarm[] = [];

  get revision(): Revision {
    return this.states.length - 1;
  }

  apply(term: number, command: Command): Reply {
    this.index++;
    const alarming = this.#alarming(command);
    if (alarming !== null) return { kind: 'error', code: alarming };
    switch (command.kind) {
      case 'txn':
        return this.#txn(command.request);
      case 'lease_grant': {
        const { id, ttlSeconds } = command;
        if (this.leases.has(id)) return { kind: 'error', code: 'lease_exists' };
        this.leases.set(id, ttlSeconds);
        this.granted.set(id, this.index);
        this.remaining.set(id, ttlSeconds);
        return { kind: 'lease_grant', revision: this.revision, id, ttlSeconds };
      }
      case 'lease_revoke': {
        if (command.term !== 0 && command.term !== term) return { kind: 'error', code: 'not_leader' };
        if (!this.leases.has(command.id)) return { kind: 'error', code: 'lease_not_found' };
        if (command.term !== 0 && command.granted !== this.granted.get(command.id)) {
          return { kind: 'error', code: 'lease_not_found' };
        }
        const work = new Work(this.states[this.revision] ?? [], this.revision + 1);
        for (const key of this.leaseKeys(command.id)) work.remove((kv) => bytes(kv.key, key) === 0);
        this.leases.delete(command.id);
        this.#finish(work);
        return { kind: 'lease_revoke', revision: this.revision, id: command.id };
      }
      case 'lease_checkpoint':
        if (command.term !== term) return { kind: 'error', code: 'not_leader' };
        for (const { id, remainingSeconds } of command.leases) {
          const ttl = this.leases.get(id);
          if (ttl !== undefined) this.remaining.set(id, Math.min(ttl, remainingSeconds));
        }
        return { kind: 'lease_checkpoint', revision: this.revision };
      case 'as_user':
      case 'auth_change':
      case 'authenticate':
      case 'rehash':
        // The model has no users: those have an oracle of their own.
        return { kind: 'error', code: 'auth_disabled' };
      case 'member_update':
        // The model has no members: there is nobody to update.
        return { kind: 'error', code: 'member_not_found' };
      case 'compact':
        if (command.revision > this.revision) return { kind: 'error', code: 'future_revision' };
        if (command.revision <= this.compacted) return { kind: 'error', code: 'compacted' };
        this.compacted = command.revision;
        return { kind: 'compact', revision: this.revision };
      case 'alarm': {
        const { memberId, kind } = command.alarm;
        const others = this.alarms.filter((each) => each.memberId !== memberId || each.kind !== kind);
        const stood = others.length < this.alarms.length;
        this.alarms = command.action === 'raise' ? [...others, command.alarm] : others;
        const isTold = stood || command.action === 'raise';
        return { kind: 'alarm', revision: this.revision, alarms: isTold ? [command.alarm] : [] };
      }
    }
  }

  leaseKeys(id: LeaseId): Uint8Array[] {
    return (this.states[this.revision] ?? []).filter((kv) => kv.lease === id).map((kv) => kv.key);
  }

  range(request: RangeRequest): RangeResult | ErrorCode {
    return this.#rangeIn(request, this.states);
  }

  /** The pair as of a revision; null also when that is compacted. */
  pairAt(key: Uint8Array, revision: Revision): KeyValue | null {
    if (revision < this.compacted) return null;
    return this.states[revision]?.find((kv) => bytes(kv.key, key) === 0) ?? null;
  }

  /** What a watcher that reads now is told of one revision. At the compacted one only what is the last word on each key. */
  watch(request: WatchRequest, revision: Revision): Event[] {
    const all = this.events[revision] ?? [];
    const last = (event: Event, i: number): boolean => !all.slice(i + 1).some((later) => bytes(later.kv.key, event.kv.key) === 0);
    return all
      .filter((event, i) => revision > this.compacted || last(event, i))
      .filter((event) => inRange(event.kv.key, request.key, request.rangeEnd))
      .filter((event) => !(request.exclude ?? []).includes(event.kind))
      .map((event) => {
        const isNew = event.kind === 'put' && event.kv.createRevision === revision;
        return { ...event, prevKv: request.prevKv === true && !isNew ? this.pairAt(event.kv.key, revision - 1) : null };
      });
  }

  #rangeIn(request: RangeRequest, states: readonly State[]): RangeResult | ErrorCode {
    const current = states.length - 1;
    const { revision = 0, limit = 0, sortOrder = 'none', sortTarget = 'key' } = request;
    if (revision > current) return 'future_revision';
    const at = revision <= 0 ? current : revision;
    if (at < this.compacted) return 'compacted';
    const all = (states[at] ?? []).filter((kv) => inRange(kv.key, request.key, request.rangeEnd));
    if (request.countOnly === true) return { kvs: [], more: false, count: all.length };
    const { minModRevision = 0, maxModRevision = 0, minCreateRevision = 0, maxCreateRevision = 0 } = request;
    const unfiltered = minModRevision === 0 && maxModRevision === 0 && minCreateRevision === 0 && maxCreateRevision === 0;
    let kvs = all;
    if (sortOrder === 'none' && unfiltered && limit > 0) kvs = kvs.slice(0, limit + 1);
    if (maxModRevision !== 0) kvs = kvs.filter((kv) => kv.modRevision <= maxModRevision);
    if (minModRevision !== 0) kvs = kvs.filter((kv) => kv.modRevision >= minModRevision);
    if (maxCreateRevision !== 0) kvs = kvs.filter((kv) => kv.createRevision <= maxCreateRevision);
    if (minCreateRevision !== 0) kvs = kvs.filter((kv) => kv.createRevision >= minCreateRevision);
    const by = {
      key: (a: KeyValue, b: KeyValue) => bytes(a.key, b.key),
      version: (a: KeyValue, b: KeyValue) => a.version - b.version,
      create: (a: KeyValue, b: KeyValue) => a.createRevision - b.createRevision,
      mod: (a: KeyValue, b: KeyValue) => a.modRevision - b.modRevision,
      value: (a: KeyValue, b: KeyValue) => bytes(a.value, b.value),
    }[sortTarget];
    kvs = [...kvs].sort(sortOrder === 'descend' ? (a, b) => by(b, a) : by);
    const more = limit > 0 && kvs.length > limit;
    if (more) kvs = kvs.slice(0, limit);
    if (request.keysOnly === true) kvs = kvs.map((kv) => ({ ...kv, value: none }));
    return { kvs, more, count: all.length };
  }

  /** A transaction that only reads, which no alarm concerns. */
  read(request: TxnRequest): Reply {
    return this.#txn(request);
  }

  /** Contract 9: what is refused while an alarm stands. */
  #alarming(command: Command): ErrorCode | null {
    const stands = (kind: Alarm['kind']): boolean => this.alarms.some((each) => each.kind === kind);
    const puts = (ops: readonly Op[]): boolean => ops.some((op) => {
      return op.kind === 'put' || (op.kind === 'txn' && (puts(op.request.success ?? []) || puts(op.request.failure ?? [])));
    });
    if (!['txn', 'lease_grant', 'lease_revoke', 'compact'].includes(command.kind)) return null;
    if (stands('corrupt')) return 'corrupt';
    if (!stands('no_space')) return null;
    if (command.kind === 'lease_grant') return 'no_space';
    const takes = command.kind === 'txn' && puts([...(command.request.success ?? []), ...(command.request.failure ?? [])]);
    return takes ? 'no_space' : null;
  }

  #txn(request: TxnRequest): Reply {
    const before = this.states[this.revision] ?? [];
    const chosen = this.#choose(request, before);
    const flat = flatten(chosen);
    const { compare, success = [], failure } = request;
    const isPut = compare === undefined && failure === undefined && success.length === 1 && success[0]?.kind === 'put';
    const code = this.#refusal(flat, before, isPut);
    if (code !== null) return { kind: 'error', code };
    const work = new Work(before, this.revision + 1);
    const responses = this.#run(chosen, work);
    this.#finish(work);
    return { kind: 'txn', revision: this.revision, succeeded: chosen.succeeded, responses };
  }

  #choose(request: TxnRequest, state: State): Chosen {
    const succeeded = (request.compare ?? []).every((compare) => holds(compare, state));
    const ops = ((succeeded ? request.success : request.failure) ?? []).map((op) =>
      op.kind === 'txn' ? this.#choose(op.request, state) : op,
    );
    return { kind: 'chosen', succeeded, ops };
  }

  #refusal(ops: readonly Plain[], state: State, leaseFirst: boolean): ErrorCode | null {
    const gone = (put: PutRequest, i: number): boolean =>
      ops.slice(0, i).some((op) => op.kind === 'delete' && inRange(put.key, op.request.key, op.request.rangeEnd));
    for (const [i, op] of ops.entries()) {
      if (op.kind !== 'put') continue;
      const { key, lease = 0n, ignoreLease, ignoreValue } = op.request;
      const missing = !state.some((kv) => bytes(kv.key, key) === 0) || gone(op.request, i);
      const codes: (ErrorCode | null)[] = [
        (ignoreLease === true || ignoreValue === true) && missing ? 'key_not_found' : null,
        lease !== 0n && !this.leases.has(lease) ? 'lease_not_found' : null,
      ];
      const code = (leaseFirst ? codes.reverse() : codes).find((each) => each !== null);
      if (code !== undefined && code !== null) return code;
    }
    for (const op of ops) {
      if (op.kind !== 'range') continue;
      const { revision = 0 } = op.request;
      if (revision > this.revision) return 'future_revision';
      if (revision !== 0 && revision < this.compacted) return 'compacted';
    }
    return null;
  }

  #run(chosen: Chosen, work: Work): OpResponse[] {
    return chosen.ops.map((op): OpResponse => {
      switch (op.kind) {
        case 'chosen':
          return { kind: 'txn', response: { revision: 0, succeeded: op.succeeded, responses: this.#run(op, work) } };
        case 'range': {
          const result = this.#rangeIn(op.request, work.wrote ? [...this.states, work.state] : this.states);
          if (typeof result === 'string') throw new Error(`a checked range fails with ${result}`);
          return { kind: 'range', response: { revision: work.revision, ...result } };
        }
        case 'put': {
          const old = work.state.find((kv) => bytes(kv.key, op.request.key) === 0) ?? null;
          work.put(op.request, old);
          return { kind: 'put', response: { revision: work.revision, prevKv: op.request.prevKv === true ? old : null } };
        }
        case 'delete': {
          const gone = work.remove((kv) => inRange(kv.key, op.request.key, op.request.rangeEnd));
          const prevKvs = op.request.prevKv === true ? gone : [];
          return { kind: 'delete', response: { revision: work.revision, deleted: gone.length, prevKvs } };
        }
      }
    });
  }

  #finish(work: Work): void {
    if (!work.wrote) return;
    this.states.push(work.state);
    this.events.push(work.events);
  }
}

type Plain = Exclude<Op, { kind: 'txn' }>;

interface Chosen {
  readonly kind: 'chosen';
  readonly succeeded: boolean;
  readonly ops: readonly (Plain | Chosen)[];
}

function flatten(chosen: Chosen): Plain[] {
  return chosen.ops.flatMap((op) => (op.kind === 'chosen' ? flatten(op) : [op]));
}

/** The state under a transaction. */
class Work {
  state: State;
  readonly events: Event[] = [];
  readonly #main: Revision;

  constructor(state: State, main: Revision) {
    this.state = state;
    this.#main = main;
  }

  get wrote(): boolean {
    return this.events.length > 0;
  }

  get revision(): Revision {
    return this.wrote ? this.#main : this.#main - 1;
  }

  put(request: PutRequest, old: KeyValue | null): void {
    const kv: KeyValue = {
      key: request.key,
      value: request.ignoreValue === true && old !== null ? old.value : request.value,
      createRevision: old?.createRevision ?? this.#main,
      modRevision: this.#main,
      version: (old?.version ?? 0) + 1,
      lease: request.ignoreLease === true && old !== null ? old.lease : (request.lease ?? 0n),
    };
    this.state = [...this.state.filter((each) => each !== old), kv].sort((a, b) => bytes(a.key, b.key));
    this.events.push({ kind: 'put', kv, prevKv: null });
  }

  remove(select: (kv: KeyValue) => boolean): KeyValue[] {
    const gone = this.state.filter(select);
    this.state = this.state.filter((kv) => !gone.includes(kv));
    for (const { key } of gone) {
      const kv: KeyValue = { key, value: none, createRevision: 0, modRevision: this.#main, version: 0, lease: 0n };
      this.events.push({ kind: 'delete', kv, prevKv: null });
    }
    return gone;
  }
}

function holds(compare: Compare, state: State): boolean {
  const found = state.filter((kv) => inRange(kv.key, compare.key, compare.rangeEnd));
  if (found.length === 0 && compare.target === 'value') return false;
  const zero: KeyValue = { key: none, value: none, createRevision: 0, modRevision: 0, version: 0, lease: 0n };
  return (found.length === 0 ? [zero] : found).every((kv) => {
    const order = orderOf(compare, kv);
    return { '=': order === 0, '!=': order !== 0, '>': order > 0, '<': order < 0, any: true }[compare.result];
  });
}

function orderOf(compare: Compare, kv: KeyValue): number {
  switch (compare.target) {
    case 'value':
      return bytes(kv.value, compare.operand);
    case 'lease':
      return Number(kv.lease > compare.operand) - Number(kv.lease < compare.operand);
    case 'version':
      return kv.version - compare.operand;
    case 'create':
      return kv.createRevision - compare.operand;
    case 'mod':
      return kv.modRevision - compare.operand;
  }
}
