// The semaphore: permits up to a limit, some of them for each holder, first come first served. Two lines, one behind the
// other: the gate, whose first one alone looks at the permits, so that a permit given back wakes one waiter, however many
// wait; and the permits themselves, where an entry holds when it and all that came before it fit under the limit. The gate
// is for order and quiet only: whatever becomes of it, the limit is kept by the permits. Where nobody waits and enough are
// free it is passed by: a look, and a creation on the condition that nobody has come since.
//
// Keys: coterie/semaphores/<name>/gate/<lease hex><mark>               a waiter; gone once it has its permits
//       coterie/semaphores/<name>/limit/<n>                            the limit, for ever; the value is empty
//       coterie/semaphores/<name>/permits/<lease hex><mark>~<weight>   `weight` permits; JSON for people, as a lock's
// Transactions beyond those of entry.ts:
//   found   in the gate, and there is no limit: put ours
//   resize  the limit is the one that was expected: delete it, put the new one
// Permits and limit lie side by side, so that whoever waits is woken by what becomes of either.

import { assert } from '../core/base/assert.js';
import { text, utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, Compare, KeyValue, LeaseId, RangeRequest, Revision } from '../core/client.js';
import { created, opDelete, opPut, opRange, prefixRange } from '../core/client.js';
import { isApiError } from '../core/errors.js';
import { checkWhole, found } from './coordination-names.js';
import { asError } from './deletion.js';
import type { Answer, Own } from './entry.js';
import { orStopped } from './entry.js';
import { EntryMayRemain } from './held.js';
import type { Holding } from './holding.js';
import type { HeldLock } from './lock.js';
import type { LineOptions, Place, Rule, Verdict } from './line.js';
import { acquire, createdBefore, newestBefore, tellWhenOld, tryAcquire } from './line.js';
import type { LockInfo } from './lock-names.js';
import { readInfo, writeInfo } from './lock-names.js';
import { checkNumber, observing } from './pause.js';
import { rootedPath } from './rooted-names.js';
import type { Session } from './session.js';

const ROOT = 'coterie/semaphores/';
export const PERMITS_MAX = 10_000;
const WAITERS_MAX = 1_000;
/** A look that takes longer saves nothing. */
const GLANCE_MS = 1_000;

/** Two callers do not agree on how many permits there are. */
export class SemaphoreLimitDiffers extends Error {
  override readonly name = 'SemaphoreLimitDiffers';
  readonly code = 'semaphore_limit_differs';
  readonly expected: number;
  /** What the store has; null when nobody has said yet. */
  readonly stored: number | null;

  constructor(what: string, expected: number, stored: number | null) {
    const there = stored === null ? 'has no limit' : `has a limit of ${stored}`;
    super(`${what} ${there} in the store, and ${expected} was expected; agree on one, or change it with resizeSemaphore`);
    this.expected = expected;
    this.stored = stored;
  }
}

export interface SemaphoreOptions extends LineOptions {
  /** How many permits there are in all, 1 to 10,000. The first caller's is kept in the store; others must say the same. */
  readonly limit: number;
  /** How many are wanted, together; default 1. */
  readonly permits?: number;
  /** Shown to whoever looks at the semaphore. */
  readonly info?: LockInfo;
}

export interface HeldPermits extends HeldLock {
  readonly permits: number;
}

/**
 * Resolves when they are held. Rejects with `SemaphoreLimitDiffers`, and else as `acquire` in line.ts does. Whoever waits
 * when the limit is changed goes on with the new one.
 */
export async function acquirePermits(session: Session, name: string, options: SemaphoreOptions): Promise<HeldPermits> {
  // It waits up to twice, at the gate and behind it. Each wait has a signal, ours if need be: so the whole is told of here, once.
  const cancelTell = tellWhenOld(session.clock, options);
  const { signal = new AbortController().signal } = options;
  try {
    return await acquireQuietly(session, name, { ...options, signal });
  } finally {
    cancelTell();
  }
}

async function acquireQuietly(session: Session, name: string, options: SemaphoreOptions): Promise<HeldPermits> {
  const { clock } = session;
  const places = placed(session, name, options);
  const deadline = options.timeoutMs === undefined ? Infinity : clock.now() + options.timeoutMs;
  const bounded = (): SemaphoreOptions => {
    return deadline === Infinity ? options : { ...options, timeoutMs: Math.max(0, deadline - clock.now()) };
  };
  const free = await glance(session, name, options);
  const atOnce = Array.isArray(free) ? await tryAcquire(session, whileFree(places.permits, free), bounded()) : null;
  if (atOnce !== null) return withPermits(atOnce, options);
  const gate = await acquire(session, places.gate, bounded());
  const held = await through(gate, options, () => acquire(session, places.permits, bounded()));
  assert(held !== null, 'a wait ends with what it waited for');
  return held;
}

/** Null when there are not enough, or somebody waits already; then nothing is left in the store. */
export async function tryPermits(session: Session, name: string, options: SemaphoreOptions): Promise<HeldPermits | null> {
  const places = placed(session, name, options);
  const free = await glance(session, name, options);
  if (free === 'none') return null;
  const atOnce = Array.isArray(free) ? await tryAcquire(session, whileFree(places.permits, free), options) : null;
  if (atOnce !== null) return withPermits(atOnce, options);
  const gate = await tryAcquire(session, places.gate, options);
  return gate === null ? null : through(gate, options, () => tryAcquire(session, places.permits, options));
}

export interface PermitsEntry {
  readonly key: string;
  readonly lease: LeaseId;
  /** The create revision: the holder's fence. */
  readonly since: Revision;
  readonly permits: number;
  readonly info: LockInfo;
}

export interface SemaphoreState {
  readonly revision: Revision;
  /** Null when nobody has ever used it. */
  readonly limit: number | null;
  readonly available: number;
  /** More than the limit for a while, if that was lowered. */
  readonly holders: readonly PermitsEntry[];
  /** How many wait, whatever they want; at most 1,000 are counted. */
  readonly waiting: number;
}

/** Who holds how many, at one revision. */
export async function semaphoreState(client: Client, name: string, options: CallOptions = {}): Promise<SemaphoreState> {
  const ranges = rangesOf(name);
  const answer = await client.txn({
    success: [
      opRange(ranges.limit.key, { rangeEnd: ranges.limit.rangeEnd, keysOnly: true }),
      opRange(ranges.permits.key, { ...inOrder(ranges.permits), limit: PERMITS_MAX }),
      opRange(ranges.gate.key, { ...inOrder(ranges.gate), keysOnly: true, limit: WAITERS_MAX }),
    ],
  }, options);
  const limit = limitIn(found(answer.responses, 0));
  const [all, gate] = [found(answer.responses, 1), found(answer.responses, 2)];
  const holders = all.map((kv): PermitsEntry => {
    const { key, value, lease, createRevision } = kv;
    return { key: text(key), lease, since: createRevision, permits: weightOf(key), info: readInfo(value) };
  });
  let used = holders.reduce((sum, { permits }) => sum + permits, 0);
  // The first one at the gate stands among the permits as well: waiting there if it does not fit, else about to leave the
  // gate. What does not fit since the limit was lowered is held all the same.
  const [last, first] = [holders.at(-1), gate[0]];
  let waiting = gate.length;
  if (last !== undefined && first !== undefined && last.lease === first.lease && last.since > first.createRevision) {
    if (used <= (limit ?? PERMITS_MAX)) {
      waiting -= 1;
    } else {
      holders.pop();
      used -= last.permits;
    }
  }
  return { revision: answer.header.revision, limit, available: Math.max(0, (limit ?? 0) - used), holders, waiting };
}

/**
 * Changes how many there are, if there are `from` now; rejects with `SemaphoreLimitDiffers` if not. Nobody loses what is
 * held already; with fewer permits, newcomers wait until enough have been given back.
 */
export async function resizeSemaphore(
  client: Client,
  name: string,
  change: { readonly from: number; readonly to: number },
  options: CallOptions = {},
): Promise<void> {
  checkWhole('from', change.from, 1, PERMITS_MAX);
  checkWhole('to', change.to, 1, PERMITS_MAX);
  const { limit } = rangesOf(name);
  const [before, after] = [limitKey(name, change.from), limitKey(name, change.to)];
  if (change.from === change.to) return;
  const answer = await client.txn({
    compare: [created(before, '>', 0)],
    success: [opDelete(before), opPut(after, utf8(''))],
    failure: [opRange(limit.key, { rangeEnd: limit.rangeEnd, keysOnly: true })],
  }, options);
  if (answer.succeeded) return;
  const stored = limitIn(found(answer.responses, 0));
  // An earlier attempt of the caller's has done it.
  if (stored !== change.to) throw new SemaphoreLimitDiffers(`semaphore ${name}`, change.from, stored);
}

/** What holds exactly while there are enough and nobody waits; `none`: that is not so now. `unclear`: the line will tell. */
async function glance(
  session: Session,
  name: string,
  options: SemaphoreOptions,
): Promise<readonly Compare[] | 'none' | 'unclear'> {
  const { limit, permits = 1, signal, timeoutMs = Infinity } = options;
  const ranges = rangesOf(name);
  const success = [
    opRange(ranges.gate.key, { rangeEnd: ranges.gate.rangeEnd, keysOnly: true, limit: 1 }),
    opRange(ranges.limit.key, { rangeEnd: ranges.limit.rangeEnd, keysOnly: true }),
    opRange(ranges.permits.key, { rangeEnd: ranges.permits.rangeEnd, keysOnly: true, limit: PERMITS_MAX }),
  ];
  try {
    const bounds = { timeoutMs: Math.min(GLANCE_MS, timeoutMs), ...(signal === undefined ? {} : { signal }) };
    const { responses, header } = await orStopped(session.client.txn({ success }, bounds), session.signal);
    session.assertLive();
    if (limitIn(found(responses, 1)) !== limit) return 'unclear';
    const used = usedBy(found(responses, 2));
    if (found(responses, 0).length > 0 || used + permits > limit) return 'none';
    return [
      { ...created(ranges.gate.key, '=', 0), rangeEnd: ranges.gate.rangeEnd },
      created(limitKey(name, limit), '>', 0),
      // Since then some may have gone, but nobody has come.
      { ...created(ranges.permits.key, '<', header.revision + 1), rangeEnd: ranges.permits.rangeEnd },
    ];
  } catch (error) {
    if (isApiError(error)) return 'unclear';
    throw error;
  }
}

function whileFree(place: Place, free: readonly Compare[]): Place {
  return { ...place, rule: { ...place.rule, free } };
}

function withPermits(held: Holding, { permits = 1 }: SemaphoreOptions): HeldPermits {
  return Object.assign(held, { permits });
}

/** Passes the gate, and leaves it to the next one whatever comes of it. */
async function through(
  gate: Holding,
  options: SemaphoreOptions,
  take: () => Promise<Holding | null>,
): Promise<HeldPermits | null> {
  const observe = observing(gate.session.clock, options.observe);
  try {
    const held = await take();
    if (held === null) {
      await gate.release();
      return null;
    }
    // Ours does not depend on it any more; it is removed for as long as the session lives.
    gate.release().catch((error: unknown) => observe({ kind: 'release_unconfirmed', error: asError(error) }));
    return withPermits(held, options);
  } catch (error) {
    throw await left(gate, error);
  }
}

async function left(gate: Holding, error: unknown): Promise<unknown> {
  try {
    await gate.release();
    return error;
  } catch (failure) {
    if (error instanceof EntryMayRemain) return error;
    return new EntryMayRemain(isApiError(error) ? error.code : 'internal', 'leaving the gate of a semaphore', failure);
  }
}

interface Ranges {
  readonly gate: Required<Pick<RangeRequest, 'key' | 'rangeEnd'>>;
  readonly limit: Required<Pick<RangeRequest, 'key' | 'rangeEnd'>>;
  readonly permits: Required<Pick<RangeRequest, 'key' | 'rangeEnd'>>;
}

function pathOf(name: string): string {
  return rootedPath('semaphore', name, ROOT);
}

function rangesOf(name: string): Ranges {
  const path = pathOf(name);
  const under = (part: string): Ranges['gate'] => prefixRange(utf8(`${path}/${part}/`));
  return { gate: under('gate'), limit: under('limit'), permits: under('permits') };
}

function limitKey(name: string, limit: number): Uint8Array {
  return utf8(`${pathOf(name)}/limit/${limit}`);
}

function placed(session: Session, name: string, options: SemaphoreOptions): { readonly gate: Place; readonly permits: Place } {
  const { limit, permits = 1 } = options;
  checkWhole('limit', limit, 1, PERMITS_MAX);
  checkWhole('permits', permits, 1, limit);
  checkNumber('timeoutMs', options.timeoutMs, 0);
  const path = pathOf(name);
  const what = `semaphore ${name}`;
  const ranges = rangesOf(name);
  const value = writeInfo({ name: session.name, ...options.info });
  return {
    gate: { name, what, line: `${path}/gate/`, value: utf8(''), rule: gateRule(what, name, ranges, limit) },
    permits: {
      name, what, line: `${path}/permits/`, suffix: `~${permits}`, value, rule: permitsRule(what, name, ranges, options),
    },
  };
}

/** Behind whoever came before; only those who agree on the limit stand here. */
function gateRule(what: string, name: string, ranges: Ranges, limit: number): Rule {
  const { gate } = ranges;
  let agreed = false;
  return {
    free: [{ ...created(gate.key, '=', 0), rangeEnd: gate.rangeEnd }],
    reads: (own) => [newestBefore(gate, own, true), { ...ranges.limit, keysOnly: true }],
    judge([before, limits], own): Verdict {
      const stored = limitIn(limits?.kvs ?? []);
      if (stored === null) return founding(name, limit);
      if (stored !== limit && !agreed) throw new SemaphoreLimitDiffers(what, limit, stored);
      agreed = true;
      const ahead = createdBefore(before, own);
      return ahead === null ? { kind: 'free' } : { kind: 'blocked', by: { key: ahead.key } };
    },
  };
}

/** Ours, once all that came before and we ourselves fit under the limit. What came before only ever gets less. */
function permitsRule(what: string, name: string, ranges: Ranges, options: SemaphoreOptions): Rule {
  const { limit: expected, permits = 1 } = options;
  const range = (own: Own | null): RangeRequest => ({
    ...ranges.permits, ...inOrder(ranges.permits), keysOnly: true, limit: PERMITS_MAX,
    ...(own === null ? {} : { maxCreateRevision: own.fence - 1 }),
  });
  return {
    // What is free cannot be compared; at the gate there is nobody else who could ask.
    free: [],
    reads: (own) => [range(own), { ...ranges.limit, keysOnly: true }],
    judge([entries, limits], own): Verdict {
      const stored = limitIn(limits?.kvs ?? []);
      if (stored === null) return founding(name, expected);
      // Fewer than we want since we came: nobody behind us shall wait for what cannot be.
      if (stored < permits) throw new SemaphoreLimitDiffers(what, expected, stored);
      const used = usedBefore(entries, own);
      return used + permits <= stored ? { kind: 'free' }
        : { kind: 'blocked', by: { key: ranges.limit.key, rangeEnd: ranges.permits.rangeEnd } };
    },
  };
}

/** Nobody has said how many there are, or somebody has deleted it by hand. */
function founding(name: string, limit: number): Verdict {
  const all = rangesOf(name).limit;
  const compare = [{ ...created(all.key, '=', 0), rangeEnd: all.rangeEnd }];
  return { kind: 'write', prepare: () => Promise.resolve({ compare, success: [opPut(limitKey(name, limit), utf8(''))] }) };
}

function usedBefore(entries: Answer | undefined, own: Own): number {
  return usedBy(entries?.kvs.filter(({ createRevision }) => createRevision < own.fence) ?? []);
}

function usedBy(before: readonly KeyValue[]): number {
  return before.reduce((sum, { key }) => sum + weightOf(key), 0);
}

function inOrder(range: Ranges['permits']): Pick<RangeRequest, 'rangeEnd' | 'sortTarget' | 'sortOrder'> {
  return { rangeEnd: range.rangeEnd, sortTarget: 'create', sortOrder: 'ascend' };
}

/** Of somebody else's making: one. */
function weightOf(key: Uint8Array): number {
  const [, weight = '1'] = /~(\d+)(?:\.\d+)?$/.exec(text(key)) ?? [];
  return Number(weight);
}

/** The least of them, if by somebody's hand there are several. */
function limitIn(kvs: readonly KeyValue[]): number | null {
  const limits = kvs.map(({ key }) => Number(/\/(\d+)$/.exec(text(key))?.[1] ?? 0)).filter((limit) => limit > 0);
  return limits.length === 0 ? null : Math.min(...limits);
}
