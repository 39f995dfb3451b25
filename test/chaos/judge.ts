// The verdict on one round. First the plain questions, asked without any theory: is every acknowledged write in the course
// of events at the revision it was answered with, is every acknowledged element of a list still in it, and is what the
// members show in the end exactly what the course of events leads to? Then the checker of histories, which knows them all.

import { latin1, text } from '../../core/base/bytes.js';
import type {
  Event, KeepAlive, KeyValue, Lease, LeaseId, Op, TxnRequest, TxnResponse,
} from '../../core/client.js';
import type { History } from '../model/history.js';
import { checkHistory } from '../model/witness.js';
import type { Recorder } from './recorder.js';

export interface RoundVerdict {
  readonly operations: number;
  readonly acknowledgedWrites: number;
  readonly lost: number;
  readonly violations: readonly string[];
  readonly judgedInMs: number;
}

/** How many of one kind are told; the count is in the last line. */
const TOLD_MAX = 10;

/** By member, what it showed of the round's keys in the end, and at which revision: leases go on ending meanwhile. */
export type Final = ReadonlyMap<string, { readonly revision: number; readonly kvs: readonly KeyValue[] }>;

export function judgeRound(recorder: Recorder, final: Final, baseRevision: number): RoundVerdict {
  const startedAt = performance.now();
  const byRevision = new Map<number, Event[]>();
  for (const event of recorder.course) {
    const revision = event.kv.modRevision;
    const together = byRevision.get(revision);
    if (together === undefined) byRevision.set(revision, [event]);
    else together.push(event);
  }
  const lost: string[] = [];
  let acknowledgedWrites = 0;
  for (const { request, outcome, client } of recorder.operations) {
    if (request.kind !== 'txn' || outcome.kind !== 'ok') continue;
    const answer = outcome.response as TxnResponse;
    const written = writtenBy(request.request, answer);
    if (written.length > 0) acknowledgedWrites++;
    const events = byRevision.get(answer.header.revision) ?? [];
    const missing = written.find((put) => !events.some((event) => sameWrite(event, put)));
    if (missing === undefined) continue;
    lost.push(`lost: ${client} was told that ${text(missing.key)} was written at revision ${answer.header.revision}`);
  }
  const { operations, watches, course } = recorder;
  const history: History = { operations, watches, log: null, course: { base: baseRevision, events: course } };
  const violations = [
    ...few(lost),
    ...wrongEnds(course, final),
    ...shortLists(course),
    ...earlyEnds(recorder),
    ...few(checkHistory(history).map(({ invariant, message }) => `${invariant}: ${message}`)),
  ];
  const judgedInMs = Math.round(performance.now() - startedAt);
  return { operations: recorder.operations.length, acknowledgedWrites, lost: lost.length, violations, judgedInMs };
}

interface Written {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

function writtenBy(request: TxnRequest, answer: TxnResponse): Written[] {
  const branch: readonly Op[] = (answer.succeeded ? request.success : request.failure) ?? [];
  return branch.flatMap((op) => (op.kind === 'put' ? [op.request] : []));
}

function sameWrite(event: Event, put: Written): boolean {
  return event.kind === 'put' && Buffer.compare(event.kv.key, put.key) === 0 && Buffer.compare(event.kv.value, put.value) === 0;
}

/** Every member's final answer must be the state that the course of events leads to. */
function wrongEnds(course: readonly Event[], final: Final): string[] {
  const found: string[] = [];
  for (const [member, { revision, kvs }] of final) {
    const state = new Map<string, KeyValue>();
    for (const { kind, kv } of course) {
      if (kv.modRevision > revision) break;
      if (kind === 'put') state.set(latin1(kv.key), kv);
      else state.delete(latin1(kv.key));
    }
    if (kvs.length !== state.size) found.push(`${member} shows ${kvs.length} keys in the end, ${state.size} were left`);
    for (const kv of kvs) {
      const due = state.get(latin1(kv.key));
      const isSame = due?.modRevision === kv.modRevision && due.version === kv.version;
      if (isSame && Buffer.compare(due.value, kv.value) === 0) continue;
      const dueText = due === undefined ? 'nothing' : `that of revision ${due.modRevision}`;
      found.push(`${member} shows ${text(kv.key)} of revision ${kv.modRevision}, due is ${dueText}`);
    }
  }
  return few(found);
}

/** A list only ever grows by one element, or is begun anew with one. */
function shortLists(course: readonly Event[]): string[] {
  const before = new Map<string, string>();
  const found: string[] = [];
  for (const { kind, kv } of course) {
    const key = text(kv.key);
    if (!/\/l\d+$/.test(key)) continue;
    const after = text(kv.value);
    const isNew = !after.includes(',');
    if (kind === 'delete') found.push(`${key} was deleted at revision ${kv.modRevision}; nobody asked for it`);
    else if (!isNew && after.slice(0, after.lastIndexOf(',')) !== before.get(key)) {
      found.push(`${key} at revision ${kv.modRevision} is not what it was before plus one element`);
    }
    before.set(key, after);
  }
  return few(found);
}

/** Clocks of members may run apart by so much. */
const DRIFT = 0.02;

/**
 * A key on a lease that nobody revoked may go when the time is over that was promised to its holder, counted from when the
 * holder asked, and not before. Seen too early is too early: it happened before it was seen.
 */
function earlyEnds({ course, courseAt, operations }: Recorder): string[] {
  const due = new Map<LeaseId, number>();
  const revoked = new Map<LeaseId, number>();
  for (const { request, outcome, calledAt } of operations) {
    if (request.kind === 'revoke') revoked.set(request.lease, Math.min(calledAt, revoked.get(request.lease) ?? Infinity));
    if (outcome.kind !== 'ok' || (request.kind !== 'grant' && request.kind !== 'keep_alive')) continue;
    const { ttlSeconds } = outcome.response as Lease | KeepAlive;
    const lease = request.kind === 'grant' ? (outcome.response as Lease).id : request.lease;
    if (ttlSeconds > 0) due.set(lease, Math.max(calledAt + ttlSeconds * 1000 * (1 - DRIFT), due.get(lease) ?? 0));
  }
  const found: string[] = [];
  course.forEach(({ kind, kv, prevKv }, i) => {
    const at = courseAt[i] ?? Infinity;
    const lease = prevKv?.lease ?? 0n;
    if (kind !== 'delete' || lease === 0n || !/\/s\w+$/.test(text(kv.key)) || (revoked.get(lease) ?? Infinity) <= at) return;
    const earlyMs = (due.get(lease) ?? 0) - at;
    if (earlyMs <= 0) return;
    found.push(`${text(kv.key)} went at revision ${kv.modRevision}, ${Math.ceil(earlyMs)} ms before its lease ended`);
  });
  return few(found);
}

function few(found: readonly string[]): string[] {
  if (found.length <= TOLD_MAX) return [...found];
  return [...found.slice(0, TOLD_MAX), `... and ${found.length - TOLD_MAX} more like these`];
}
