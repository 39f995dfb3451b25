// Judges leases, which have no revisions: keys vanish only with their lease (the replay sees to that), no lease ends before
// the time its holder was promised, and nobody is told of a lease that is not there. Needs the committed entries with times.

import type { KeepAlive, Lease, LeaseId } from '../../core/client.js';
import type { Course, LeaseDeed } from './course.js';
import type { History, Operation } from './history.js';
import { named, type Tell } from './operations.js';

const DRIFT = 0.02;

export function checkLeases(history: History, course: Course, tell: Tell): void {
  if (!course.isFromLog) return;
  const drift = history.drift ?? DRIFT;
  const deeds = new Map<LeaseId, LeaseDeed[]>();
  for (const deed of course.leases) {
    const same = deeds.get(deed.lease);
    if (same === undefined) deeds.set(deed.lease, [deed]);
    else same.push(deed);
  }
  for (const operation of history.operations) {
    const { request, outcome } = operation;
    if (outcome.kind !== 'ok') continue;
    if (request.kind === 'grant') granted(operation, outcome.response as Lease, deeds, drift, tell);
    if (request.kind === 'revoke' && !(deeds.get(request.lease) ?? []).some(({ kind }) => kind === 'revoked')) {
      tell('I27', `${named(operation)} was told that lease ${request.lease} is revoked, but no entry did that`);
    }
    if (request.kind === 'keep_alive') renewed(operation, request.lease, outcome.response as KeepAlive, deeds, drift, tell);
  }
}

function granted(operation: Operation, answer: Lease, deeds: ReadonlyMap<LeaseId, readonly LeaseDeed[]>, drift: number,
  tell: Tell): void {
  const all = deeds.get(answer.id) ?? [];
  const grant = all.find(({ kind, ttlSeconds }) => kind === 'granted' && ttlSeconds === answer.ttlSeconds);
  if (grant === undefined) return tell('I27', `${named(operation)} was told of lease ${answer.id}, but no entry granted it`);
  ends(operation, answer.ttlSeconds, all.slice(all.indexOf(grant) + 1), drift, tell);
}

function renewed(
  operation: Operation, lease: LeaseId, answer: KeepAlive,
  deeds: ReadonlyMap<LeaseId, readonly LeaseDeed[]>, drift: number, tell: Tell,
): void {
  if (answer.ttlSeconds <= 0) return;
  const all = deeds.get(lease) ?? [];
  const from = all.findIndex(({ kind, at }) => kind === 'granted' && (at === null || at <= operation.returnedAt));
  if (from < 0) return tell('I29', `${named(operation)} was told that lease ${lease} lives, but it had not been granted`);
  const later = all.slice(from + 1);
  const gone = later.find(({ kind }) => kind !== 'granted');
  const isAgain = later.some(({ kind }) => kind === 'granted');
  if (gone !== undefined && gone.at !== null && gone.at < operation.calledAt && !isAgain) {
    return tell('I29',
      `${named(operation)} was told that lease ${lease} lives, but it had ${gone.kind} at ${gone.at.toFixed(1)} ms`);
  }
  ends(operation, answer.ttlSeconds, later, drift, tell);
}

/** I28: an expiry comes no earlier than the promised time after whoever was promised it asked. */
function ends(operation: Operation, ttlSeconds: number, later: readonly LeaseDeed[], drift: number, tell: Tell): void {
  const end = later.find(({ kind, at }) => kind !== 'granted' && at !== null && at >= operation.calledAt);
  if (end === undefined || end.kind !== 'expired' || end.at === null) return;
  const due = operation.calledAt + ttlSeconds * 1000 * (1 - drift);
  if (end.at >= due) return;
  const promise = `${named(operation)} promised it until ${due.toFixed(1)} ms`;
  tell('I28', `lease ${end.lease} expired at ${end.at.toFixed(1)} ms, though ${promise}`);
}
