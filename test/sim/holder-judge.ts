// Whether those who were told that something is theirs were told the truth, by what was committed: nobody who excludes them was
// before them any more when they were told (I33); as long as they believed it, it was so (I37: a session ends for its holder
// before it does for the store, and with it all that stands on it); what only a holder may write was written by holders (I32);
// what was given back is gone, for good. And observers of the office saw leaders that there were, in order (I36).

import { text } from '../../core/base/bytes.js';
import type { LeaseId, Revision } from '../../core/client.js';
import type { OperationRequest } from '../model/history.js';
import type { Sight } from './campaigners.js';
import { OFFICE_LINE } from './campaigners.js';
import type { Beliefs, Claim, Idle } from './programs.js';
import type { RecipeCourse, Stay, Step } from './recipe-course.js';
import { stayName } from './recipe-course.js';
import type { CallEntry } from './recorder.js';

export interface Objection {
  readonly invariant: string;
  readonly message: string;
}

/** The cause of much that I37 would find too rarely: a session counts from when the newest answered question was sent. */
export function judgeSessions(beliefs: Beliefs, operations: readonly CallEntry[]): Objection | null {
  const renewals = new Map<LeaseId, { readonly calledAt: number; readonly returnedAt: number; readonly ttlMs: number }[]>();
  for (const { request, outcome, calledAt, returnedAt } of operations) {
    if (outcome.kind !== 'ok') continue;
    const { response } = outcome;
    if (!('ttlSeconds' in response)) continue;
    const lease = 'id' in response ? response.id : leaseOf(request);
    const known = renewals.get(lease) ?? [];
    renewals.set(lease, known);
    known.push({ calledAt, returnedAt, ttlMs: response.ttlSeconds * 1000 });
  }
  for (const [lease, { who, counts }] of beliefs.sessions) {
    for (const { at, until } of counts) {
      const due = (renewals.get(lease) ?? []).filter(({ returnedAt }) => returnedAt <= at);
      const latest = Math.max(...due.map(({ calledAt, ttlMs }) => calledAt + ttlMs));
      if (until <= latest) continue;
      const message = `${who} counted at ${ms(at)} on the lease ${lease.toString(16)} until ${ms(until)}`;
      return { invariant: 'I37', message: `${message}; it is promised until ${ms(latest)}` };
    }
  }
  return null;
}

function leaseOf(request: OperationRequest): LeaseId {
  return request.kind === 'keep_alive' ? request.lease : 0n;
}

export function judgeHolders(course: RecipeCourse, beliefs: Beliefs): Objection | null {
  const byPrefix = new Map<string, Stay[]>();
  const under = (prefix: string): readonly Stay[] => {
    let found = byPrefix.get(prefix);
    if (found === undefined) byPrefix.set(prefix, found = [...course.stays.values()].filter(({ key }) => key.startsWith(prefix)));
    return found;
  };
  for (const claim of beliefs.claims) {
    const wrong = judgeClaim(course, claim, under);
    if (wrong !== null) return wrong;
  }
  for (const { lease, at } of course.expiries) {
    const known = beliefs.sessions.get(lease);
    if (known === undefined || at >= known.believedAt) continue;
    const named = `the lease ${lease.toString(16)} of ${known.who}`;
    return { invariant: 'I37', message: `${named} expired at ${ms(at)}; it counted on it at ${ms(known.believedAt)}` };
  }
  for (const idle of beliefs.idles) {
    const wrong = judgeIdle(idle, under(idle.line));
    if (wrong !== null) return wrong;
  }
  return judgeFenced(course);
}

function judgeClaim(course: RecipeCourse, claim: Claim, under: (prefix: string) => readonly Stay[]): Objection | null {
  const { who, kind, name, key, fence, at, believedAt } = claim;
  const what = `${who} was told at ${ms(at)} that it has ${kind} ${name} with fence ${fence}`;
  const own = course.stays.get(stayName(key, fence));
  if (own === undefined || own.madeAt > at) return { invariant: 'I33', message: `${what}; there was no such entry` };
  if (own.goneAt < believedAt) {
    const how = own.hasExpired ? 'expired with its lease' : 'was gone';
    const message = `${what}, and at ${ms(believedAt)} that it still has it; it ${how} at ${ms(own.goneAt)}`;
    return { invariant: 'I37', message };
  }
  const line = lineOf(claim);
  if (line === null) return null;
  const before = under(line).filter((stay) => stay.fence < fence && stay.goneAt > at);
  if (kind === 'permits') {
    const used = before.reduce((sum, stay) => sum + weightOf(stay.key), 0);
    if (used + claim.permits <= claim.limit) return null;
    return { invariant: 'I33', message: `${what}; ${used} of ${claim.limit} permits were taken, and it took ${claim.permits}` };
  }
  const [first] = before;
  if (first === undefined) return null;
  return { invariant: 'I33', message: `${what}; ${first.key} with fence ${first.fence} was before it until ${ms(first.goneAt)}` };
}

/** The prefix of all entries that are in the way if they came before. */
function lineOf({ kind, name }: Claim): string | null {
  switch (kind) {
    case 'lock': return `coterie/locks/${name}/`;
    case 'write': return `coterie/rwlocks/${name}/`;
    case 'read': return `coterie/rwlocks/${name}/write/`;
    case 'permits': return `coterie/semaphores/${name}/permits/`;
    case 'office': return OFFICE_LINE;
    case 'item': return null;
  }
}

function weightOf(key: string): number {
  return Number(/~(\d+)/.exec(key)?.[1] ?? 1);
}

/** What was given back is gone, and nothing that was sent before comes back. */
function judgeIdle(idle: Idle, line: readonly Stay[]): Objection | null {
  const { who, lease, from, until } = idle;
  const left = line.find((stay) => stay.lease === lease && stay.madeAt < until && stay.goneAt > from);
  if (left === undefined || left.madeAt >= until) return null;
  const message = `${who} was told at ${ms(from)} that nothing of it is left in ${idle.line}; `
    + `${left.key} was there from ${ms(left.madeAt)} to ${ms(left.goneAt)}`;
  return { invariant: 'I43', message };
}

/** Each write through `txn()` of something held was its holder's, who was first in line at that revision. */
function judgeFenced({ steps, stays }: RecipeCourse): Objection | null {
  const all = [...stays.values()];
  for (const { revision, changes } of steps) {
    for (const { key, kv } of changes) {
      const [, kind, name = ''] = /^fenced\/(lock|write|office)\/(.*)$/.exec(key) ?? [];
      if (kv === null || kind === undefined) continue;
      const [fence] = text(kv.value).split(' ');
      const prefix = { lock: 'coterie/locks', write: 'coterie/rwlocks', office: 'coterie/elections' }[kind] ?? '';
      const there = all.filter((stay) => {
        return stay.key.startsWith(`${prefix}/${name}/`) && stay.fence < revision && stay.goneRevision >= revision;
      });
      const first = Math.min(...there.map((stay) => stay.fence));
      if (String(first) === fence) continue;
      return { invariant: 'I32', message: `revision ${revision} wrote ${key} with fence ${fence}; the holder's was ${first}` };
    }
  }
  return null;
}

interface Reign {
  readonly term: Revision | null;
  readonly at: number;
}

/** I36. */
export function judgeSights({ steps }: RecipeCourse, sights: readonly Sight[]): Objection | null {
  const reigns = reignsOf(steps);
  const values = new Map<Revision, string>();
  for (const { revision, changes } of steps) {
    for (const { key, kv } of changes) if (kv !== null && key.startsWith(OFFICE_LINE)) values.set(revision, text(kv.value));
  }
  const seen = new Map<string, number>();
  for (const { who, at, term, revision, value } of sights) {
    const from = seen.get(who) ?? 0;
    const found = reigns.findIndex((reign, i) => i >= from && reign.term === term);
    const shown = `${who} was shown ${term === null ? 'that nobody leads' : `the leader of term ${term}`} at ${ms(at)}`;
    const wrong = (what: string): Objection => ({ invariant: 'I36', message: `${shown}, ${what}` });
    if (found < 0) return wrong('and there was none such after what it had seen');
    if ((reigns[found]?.at ?? 0) > at) return wrong('before it was so');
    const due = values.get(revision);
    if (term !== null && due !== value) return wrong(`with '${value}' of revision ${revision}; it was '${due}'`);
    seen.set(who, found);
  }
  return null;
}

/** Who led, as the store had it: the candidate with the lowest create revision; null: there was none. */
function reignsOf(steps: readonly Step[]): readonly Reign[] {
  const there = new Map<string, Revision>();
  const reigns: Reign[] = [{ term: null, at: 0 }];
  for (const { at, changes } of steps) {
    let isTouched = false;
    for (const { key, kv } of changes) {
      if (!key.startsWith(OFFICE_LINE)) continue;
      isTouched = true;
      if (kv === null) there.delete(key);
      else there.set(key, kv.createRevision);
    }
    if (!isTouched) continue;
    const term = there.size === 0 ? null : Math.min(...there.values());
    if (reigns.at(-1)?.term !== term) reigns.push({ term, at });
  }
  return reigns;
}

export function ms(time: number): string {
  return `${time.toFixed(1)} ms`;
}
