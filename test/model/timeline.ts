// The reference for judging histories: the pairs at every revision there has been, and what each revision did. Written from
// contract 4 to 6, without a look at core/store, like the naive model beside it; but for a hundred thousand operations, so
// that a read at any revision costs no more than what it shows. Keys are latin1 text in here: it sorts as the bytes do.

import { latin1 } from '../../core/base/bytes.js';
import type { Compare, Event, KeyValue, LeaseId, Op, OpResponse, PutRequest, RangeRequest, Revision,
  TxnRequest } from '../../core/client.js';
import type { ErrorCode } from '../../core/errors.js';

const NOTHING = new Uint8Array(0);
const LAST = '\u{ffff}';

interface Version {
  readonly revision: Revision;
  /** Null: deleted. */
  readonly kv: KeyValue | null;
}

interface Row {
  readonly name: string;
  readonly key: Uint8Array;
  readonly versions: Version[];
}

export interface Evaluated {
  readonly revision: Revision;
  readonly succeeded: boolean;
  readonly responses: readonly OpResponse[];
  readonly events: readonly Event[];
}

export interface RangeAnswer {
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: number;
}

export class Timeline {
  /** `events.get(r)` is what revision r did, in order; `prevKv` is filled in. */
  readonly events = new Map<Revision, readonly Event[]>();
  readonly #rows = new Map<string, Row>();
  readonly #order: Row[] = [];
  readonly #attached = new Map<LeaseId, Set<string>>();
  #revision: Revision;
  #pending: Event[] = [];

  constructor(base: Revision = 1) {
    this.#revision = base;
  }

  get revision(): Revision {
    return this.#revision;
  }

  pairAt(key: Uint8Array, revision: Revision): KeyValue | null {
    return at(this.#rows.get(latin1(key)), revision);
  }

  /** The keys that hang on a lease now, ascending. */
  keysOf(lease: LeaseId): readonly string[] {
    return [...(this.#attached.get(lease) ?? [])].sort();
  }

  leasesInUse(): readonly LeaseId[] {
    return [...this.#attached.entries()].filter(([, keys]) => keys.size > 0).map(([lease]) => lease);
  }

  range(request: RangeRequest, now: Revision): RangeAnswer {
    const { revision = 0, limit = 0, sortOrder = 'none', sortTarget = 'key' } = request;
    const when = revision > 0 ? revision : now;
    const found: KeyValue[] = [];
    this.#each(request, (row) => {
      const kv = at(row, when);
      if (kv !== null) found.push(kv);
    });
    if (request.countOnly === true) return { kvs: [], more: false, count: found.length };
    const { minModRevision: minMod = 0, maxModRevision: maxMod = 0 } = request;
    const { minCreateRevision: minCreate = 0, maxCreateRevision: maxCreate = 0 } = request;
    let kvs = found;
    // etcd fetches one pair more than the limit and filters after that, unless it must sort first.
    const isFiltered = minMod !== 0 || maxMod !== 0 || minCreate !== 0 || maxCreate !== 0;
    if (sortOrder === 'none' && !isFiltered && limit > 0) kvs = kvs.slice(0, limit + 1);
    if (isFiltered) {
      kvs = kvs.filter(({ modRevision: mod, createRevision: create }) =>
        (maxMod === 0 || mod <= maxMod) && (minMod === 0 || mod >= minMod)
        && (maxCreate === 0 || create <= maxCreate) && (minCreate === 0 || create >= minCreate));
    }
    if (sortOrder !== 'none' || sortTarget !== 'key') {
      const sign = sortOrder === 'descend' ? -1 : 1;
      kvs = [...kvs].sort((a, b) => sign * order(a, b, sortTarget));
    }
    const more = limit > 0 && kvs.length > limit;
    if (more) kvs = kvs.slice(0, limit);
    if (request.keysOnly === true) kvs = kvs.map((kv) => ({ ...kv, value: NOTHING }));
    return { kvs, more, count: found.length };
  }

  /**
   * The branches that a transaction takes when it finds the pairs of `now`; nested ones too, which all look before any
   * writes.
   */
  plan(request: TxnRequest, now: Revision): Plan {
    const succeeded = (request.compare ?? []).every((compare) => this.#holds(compare, now));
    const branch = (succeeded ? request.success : request.failure) ?? [];
    return { succeeded, steps: branch.map((op) => (op.kind === 'txn' ? this.plan(op.request, now) : op)) };
  }

  /** What is answered at `now` by a transaction that writes nothing; null: it would have written. */
  look(request: TxnRequest, now: Revision): Evaluated | null {
    const plan = this.plan(request, now);
    const isWriting = (steps: readonly (Op | Plan)[]): boolean => steps.some((step) => {
      if (!('kind' in step)) return isWriting(step.steps);
      if (step.kind === 'put') return true;
      return step.kind === 'delete' && this.range({ ...step.request, limit: 1 }, now).count > 0;
    });
    if (isWriting(plan.steps)) return null;
    return { revision: now, succeeded: plan.succeeded, responses: this.#run(plan, now, now), events: [] };
  }

  /** Why a transaction that finds the present pairs is refused. */
  refusal(request: TxnRequest, leases: ReadonlyMap<LeaseId, unknown> | null, compacted: Revision): ErrorCode | null {
    const steps = flat(this.plan(request, this.#revision));
    const gone: { key: Uint8Array; rangeEnd?: Uint8Array }[] = [];
    const isLone = steps.length === 1 && request.compare === undefined && request.failure === undefined;
    for (const step of steps) {
      if (step.kind === 'delete') gone.push(step.request);
      if (step.kind !== 'put') continue;
      const { key, lease = 0n, ignoreLease, ignoreValue } = step.request;
      const isMissing = this.pairAt(key, this.#revision) === null || gone.some((range) => covers(range, key));
      const noKey = (ignoreLease === true || ignoreValue === true) && isMissing;
      const noLease = lease !== 0n && leases !== null && !leases.has(lease);
      if (noLease && (isLone || !noKey)) return 'lease_not_found';
      if (noKey) return 'key_not_found';
    }
    for (const step of steps) {
      if (step.kind !== 'range') continue;
      const { revision = 0 } = step.request;
      if (revision > this.#revision) return 'future_revision';
      if (revision !== 0 && revision < compacted) return 'compacted';
    }
    return null;
  }

  /** Runs a transaction on the present pairs. The next revision comes to be when it wrote something. */
  apply(request: TxnRequest): Evaluated {
    const before = this.#revision;
    const plan = this.plan(request, before);
    this.#pending = [];
    const responses = this.#run(plan, before, before + 1);
    return { succeeded: plan.succeeded, responses, ...this.#finish() };
  }

  /** What `apply` would do, undone again. */
  tryOut(request: TxnRequest): readonly Event[] {
    const { events } = this.apply(request);
    if (events.length > 0) this.#undo(events);
    return events;
  }

  /** The keys of a lease vanish together. */
  removeLease(lease: LeaseId): { revision: Revision; events: readonly Event[] } {
    this.#pending = [];
    for (const name of this.keysOf(lease)) {
      const row = this.#rows.get(name);
      if (row !== undefined) this.#remove(row, this.#revision + 1);
    }
    this.#attached.delete(lease);
    return this.#finish();
  }

  /** Takes what happened for granted: after a violation, and where nobody knows who did it. */
  force(revision: Revision, events: readonly Event[]): void {
    this.#pending = [];
    for (const event of events) {
      const row = this.#row(event.kv.key);
      const old = at(row, Infinity);
      row.versions.push({ revision, kv: event.kind === 'put' ? event.kv : null });
      this.#attach(row.name, old, event.kind === 'put' ? event.kv : null);
      this.#pending.push({ ...event, prevKv: old });
    }
    this.events.set(revision, this.#pending);
    this.#revision = revision;
  }

  #finish(): { revision: Revision; events: readonly Event[] } {
    const events = this.#pending;
    if (events.length > 0) this.events.set((this.#revision += 1), events);
    return { revision: this.#revision, events };
  }

  #undo(events: readonly Event[]): void {
    for (const { kv } of [...events].reverse()) {
      const row = this.#row(kv.key);
      const now = at(row, Infinity);
      row.versions.pop();
      const before = row.versions[row.versions.length - 1]?.kv ?? null;
      this.#attach(row.name, now, before);
    }
    this.events.delete(this.#revision);
    this.#revision--;
  }

  /** `wrote` is told by the events so far: a step shows the new revision from the first write on. */
  #run(plan: Plan, before: Revision, main: Revision): OpResponse[] {
    return plan.steps.map((step): OpResponse => {
      if (!('kind' in step)) {
        return { kind: 'txn', response: { revision: 0, succeeded: step.succeeded, responses: this.#run(step, before, main) } };
      }
      const now = (): Revision => (this.#pending.length > 0 && main !== before ? main : before);
      switch (step.kind) {
        case 'range':
          return { kind: 'range', response: { revision: now(), ...this.range(step.request, now()) } };
        case 'put': {
          const old = this.#put(step.request, main);
          return { kind: 'put', response: { revision: now(), prevKv: step.request.prevKv === true ? old : null } };
        }
        case 'delete': {
          const gone: KeyValue[] = [];
          this.#each(step.request, (row) => {
            const old = main === before ? null : this.#remove(row, main);
            if (old !== null) gone.push(old);
          });
          return { kind: 'delete', response: { revision: now(), deleted: gone.length, prevKvs: step.request.prevKv === true
            ? gone : [] } };
        }
      }
    });
  }

  #put(request: PutRequest, revision: Revision): KeyValue | null {
    const row = this.#row(request.key);
    const old = at(row, Infinity);
    const kv: KeyValue = {
      key: row.key,
      value: request.ignoreValue === true && old !== null ? old.value : request.value,
      createRevision: old === null ? revision : old.createRevision,
      modRevision: revision,
      version: old === null ? 1 : old.version + 1,
      lease: request.ignoreLease === true && old !== null ? old.lease : (request.lease ?? 0n),
    };
    row.versions.push({ revision, kv });
    this.#attach(row.name, old, kv);
    this.#pending.push({ kind: 'put', kv, prevKv: old });
    return old;
  }

  #remove(row: Row, revision: Revision): KeyValue | null {
    const old = at(row, Infinity);
    if (old === null) return null;
    row.versions.push({ revision, kv: null });
    this.#attach(row.name, old, null);
    const kv = { key: row.key, value: NOTHING, createRevision: 0, modRevision: revision, version: 0, lease: 0n };
    this.#pending.push({ kind: 'delete', kv, prevKv: old });
    return old;
  }

  #attach(name: string, old: KeyValue | null, kv: KeyValue | null): void {
    if (old !== null && old.lease !== 0n) this.#attached.get(old.lease)?.delete(name);
    if (kv === null || kv.lease === 0n) return;
    const keys = this.#attached.get(kv.lease);
    if (keys === undefined) this.#attached.set(kv.lease, new Set([name]));
    else keys.add(name);
  }

  #row(key: Uint8Array): Row {
    const name = latin1(key);
    const known = this.#rows.get(name);
    if (known !== undefined) return known;
    const row: Row = { name, key, versions: [] };
    this.#rows.set(name, row);
    this.#order.splice(this.#place(name), 0, row);
    return row;
  }

  /** Where `name` is or would be. */
  #place(name: string): number {
    let from = 0;
    let to = this.#order.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((this.#order[middle]?.name ?? LAST) < name) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  #each(range: { key: Uint8Array; rangeEnd?: Uint8Array }, visit: (row: Row) => void): void {
    const from = latin1(range.key);
    if (range.rangeEnd === undefined || range.rangeEnd.length === 0) {
      const row = this.#rows.get(from);
      if (row !== undefined) visit(row);
      return;
    }
    const end = endOf(range.rangeEnd);
    for (let i = this.#place(from); i < this.#order.length; i++) {
      const row = this.#order[i];
      if (row === undefined || row.name >= end) return;
      visit(row);
    }
  }

  #holds(compare: Compare, now: Revision): boolean {
    const found: KeyValue[] = [];
    this.#each(compare, (row) => {
      const kv = at(row, now);
      if (kv !== null) found.push(kv);
    });
    if (found.length > 0) return found.every((kv) => decides(compare, kv));
    if (compare.target === 'value') return false;
    return decides(compare, { key: NOTHING, value: NOTHING, createRevision: 0, modRevision: 0, version: 0, lease: 0n });
  }
}

interface Plan {
  readonly succeeded: boolean;
  readonly steps: readonly (Exclude<Op, { kind: 'txn' }> | Plan)[];
}

function flat(plan: Plan): Exclude<Op, { kind: 'txn' }>[] {
  return plan.steps.flatMap((step) => ('kind' in step ? [step] : flat(step)));
}

/** The newest version at or before a revision. Most ask for the last. */
function at(row: Row | undefined, revision: Revision): KeyValue | null {
  if (row === undefined) return null;
  const { versions } = row;
  let to = versions.length;
  if (to === 0) return null;
  if ((versions[to - 1]?.revision ?? 0) <= revision) return versions[to - 1]?.kv ?? null;
  let from = 0;
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((versions[middle]?.revision ?? 0) <= revision) from = middle + 1;
    else to = middle;
  }
  return from === 0 ? null : (versions[from - 1]?.kv ?? null);
}

function endOf(rangeEnd: Uint8Array): string {
  return rangeEnd.length === 1 && rangeEnd[0] === 0 ? LAST : latin1(rangeEnd);
}

export function covers(range: { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array }, key: Uint8Array): boolean {
  const name = latin1(key);
  const from = latin1(range.key);
  if (range.rangeEnd === undefined || range.rangeEnd.length === 0) return name === from;
  return name >= from && name < endOf(range.rangeEnd);
}

function order(a: KeyValue, b: KeyValue, target: NonNullable<RangeRequest['sortTarget']>): number {
  if (target === 'key') return Buffer.compare(a.key, b.key);
  if (target === 'value') return Buffer.compare(a.value, b.value);
  if (target === 'version') return a.version - b.version;
  return target === 'create' ? a.createRevision - b.createRevision : a.modRevision - b.modRevision;
}

function decides(compare: Compare, kv: KeyValue): boolean {
  const sign = signOf(compare, kv);
  if (compare.result === '=') return sign === 0;
  if (compare.result === '!=') return sign !== 0;
  if (compare.result === '>') return sign > 0;
  return compare.result === '<' ? sign < 0 : true;
}

function signOf(compare: Compare, kv: KeyValue): number {
  if (compare.target === 'value') return Buffer.compare(kv.value, compare.operand);
  if (compare.target === 'lease') return Number(kv.lease > compare.operand) - Number(kv.lease < compare.operand);
  const value = { version: kv.version, create: kv.createRevision, mod: kv.modRevision }[compare.target];
  return value - compare.operand;
}
