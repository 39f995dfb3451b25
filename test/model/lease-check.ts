// Judges leases, which have no revisions: keys vanish only with their lease (the replay sees to that), no lease ends before
// the time its holder was promised, nobody is told of a lease that is not there, nor that one is gone which lives. Needs the
// committed entries with times.

import type { KeepAlive, Lease, LeaseId, TxnRequest } from '../../core/client.js';
import type { Course, LeaseDeed } from './course.js';
import type { History, Operation } from './history.js';
import { named, type Tell } from './operations.js';

const DRIFT = 0.02;

export function checkLeases(history: History, course: Course, tell: Tell): void {
  if (course.isFromLog) new Leases(history, course, tell).check();
}

class Leases {
  readonly #history: History;
  readonly #tell: Tell;
  readonly #drift: number;
  readonly #deeds = new Map<LeaseId, LeaseDeed[]>();
  /** By lease, until when its holders were promised that it lives. */
  readonly #promises = new Map<LeaseId, { readonly until: number; readonly operation: Operation }[]>();

  constructor(history: History, course: Course, tell: Tell) {
    this.#history = history;
    this.#tell = tell;
    this.#drift = history.drift ?? DRIFT;
    for (const deed of course.leases) push(this.#deeds, deed.lease, deed);
  }

  check(): void {
    for (const operation of this.#history.operations) {
      const { request, outcome } = operation;
      if (outcome.kind !== 'ok') continue;
      if (request.kind === 'grant') this.#granted(operation, outcome.response as Lease);
      if (request.kind === 'keep_alive') this.#renewed(operation, request.lease, outcome.response as KeepAlive);
      if (request.kind === 'revoke' && !this.#of(request.lease).some(({ kind }) => kind === 'revoked')) {
        this.#tell('I27', `${named(operation)} was told that lease ${request.lease} is revoked, but no entry did that`);
      }
    }
    for (const operation of this.#history.operations) this.#denied(operation);
  }

  #of(lease: LeaseId): readonly LeaseDeed[] {
    return this.#deeds.get(lease) ?? [];
  }

  #granted(operation: Operation, answer: Lease): void {
    const all = this.#of(answer.id);
    const grant = all.find(({ kind, ttlSeconds }) => kind === 'granted' && ttlSeconds === answer.ttlSeconds);
    if (grant === undefined) {
      return this.#tell('I27', `${named(operation)} was told of lease ${answer.id}, but no entry granted it`);
    }
    this.#promised(operation, answer.id, answer.ttlSeconds, all.slice(all.indexOf(grant) + 1));
  }

  #renewed(operation: Operation, lease: LeaseId, answer: KeepAlive): void {
    if (answer.ttlSeconds <= 0) return;
    const all = this.#of(lease);
    const from = all.findIndex(({ kind, at }) => kind === 'granted' && (at === null || at <= operation.returnedAt));
    if (from < 0) return this.#tell('I29', `${named(operation)} was told that lease ${lease} lives, but it had not been granted`);
    const later = all.slice(from + 1);
    const gone = later.find(({ kind }) => kind !== 'granted');
    const isAgain = later.some(({ kind }) => kind === 'granted');
    if (gone !== undefined && gone.at !== null && gone.at < operation.calledAt && !isAgain) {
      return this.#tell('I29',
        `${named(operation)} was told that lease ${lease} lives, but it had ${gone.kind} at ${gone.at.toFixed(1)} ms`);
    }
    this.#promised(operation, lease, answer.ttlSeconds, later);
  }

  /** I28: an expiry comes no earlier than the promised time after whoever was promised it asked. */
  #promised(operation: Operation, lease: LeaseId, ttlSeconds: number, later: readonly LeaseDeed[]): void {
    const { calledAt } = operation;
    const lengthMs = ttlSeconds * 1000 * (1 - this.#drift);
    push(this.#promises, lease, { until: calledAt + lengthMs, operation });
    const end = later.find(({ kind, at }) => kind !== 'granted' && at !== null && at >= calledAt);
    if (end === undefined || end.kind !== 'expired' || end.at === null) return;
    const stoodMs = this.#stoodMs(end.term, calledAt, end.at);
    const due = calledAt + lengthMs + stoodMs;
    if (end.at >= due) return;
    const besides = stoodMs > 0 ? `, ${stoodMs.toFixed(1)} ms of which the leader stood still` : '';
    this.#tell('I28', `lease ${lease} expired at ${end.at.toFixed(1)} ms, though ${named(operation)} promised it until `
      + `${due.toFixed(1)} ms${besides}`);
  }

  /** For how long, at the least, the leader of a term did nothing between two moments. */
  #stoodMs(term: number, from: number, to: number): number {
    let sum = 0;
    for (const stood of this.#history.standstills?.get(term) ?? []) {
      if (stood.from >= from && stood.to <= to) sum += stood.to - stood.from;
    }
    return sum * (1 - this.#drift);
  }

  /** Who is told that a lease is gone: there was a moment without it while that was asked, or nobody's promise held. */
  #denied(operation: Operation): void {
    const lease = deniedLease(operation);
    if (lease === null) return;
    const { calledAt, returnedAt, request } = operation;
    if (!this.#livedThrough(lease, calledAt, returnedAt)) return;
    // A renewal is refused as soon as the leader has set out to end the lease: then its time was over.
    const promises = this.#promises.get(lease) ?? [];
    const isPromised = promises.some(({ until, operation: by }) => until > returnedAt && by.returnedAt <= calledAt);
    if (request.kind === 'keep_alive' && !isPromised) return;
    this.#tell('I29', `${named(operation)} was told that lease ${lease} is gone, but it lived all the while`);
  }

  #livedThrough(lease: LeaseId, from: number, to: number): boolean {
    let lives = false;
    for (const { kind, at } of this.#of(lease)) {
      if (at === null) return false;
      // Whoever watched may have noticed a little later than it was so.
      if (at > from && !(at > to)) return false;
      if (at <= from) lives = kind === 'granted';
    }
    return lives;
  }
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const same = map.get(key);
  if (same === undefined) map.set(key, [value]);
  else same.push(value);
}

/** Which lease an answer says is not there; null: none, or it cannot be told which. */
function deniedLease({ request, outcome }: Operation): LeaseId | null {
  if (request.kind === 'keep_alive' && outcome.kind === 'ok') {
    return (outcome.response as KeepAlive).ttlSeconds > 0 ? null : request.lease;
  }
  if (outcome.kind !== 'error' || outcome.code !== 'lease_not_found') return null;
  if (request.kind === 'keep_alive' || request.kind === 'revoke') return request.lease;
  return request.kind === 'txn' ? onlyLease(request.request) : null;
}

function onlyLease({ success = [], failure = [] }: TxnRequest): LeaseId | null {
  const named = new Set<LeaseId>();
  for (const op of [...success, ...failure]) {
    if (op.kind === 'txn') return null;
    if (op.kind === 'put' && (op.request.lease ?? 0n) !== 0n) named.add(op.request.lease ?? 0n);
  }
  const [lease] = named;
  return named.size === 1 && lease !== undefined ? lease : null;
}
