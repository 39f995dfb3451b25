// The mutex: one holder at a time in store order, first come first served, one wake-up for each release (see line.ts). Its
// entries are etcd's layout, so clients of other languages and `etcdctl lock` stand in the same line.
//
// Keys and values: lock-names.ts. Transactions beyond those of entry.ts, all on the condition that our entry is there:
//   take   first in line: put the plain key (only while there is none), put the delay record (only while there is none)
//   arm    first in line, and the record of a holder that is gone is there: put it on a lease of its own, as long as the
//          delay. The store then counts the delay, once, whoever waits or gives up meanwhile
//   leave  together with our entry: delete the plain key and the delay record if they are ours
//
// What no lock can promise: see held.ts. Not here: re-entrance. Whoever holds it passes the handle on.

import { onceAborted } from '../core/base/abort.js';
import { compareBytes, utf8 } from '../core/base/bytes.js';
import type { Compare, KeyValue, Op } from '../core/client.js';
import { created, modified, opDelete, opPut, opTxn, prefixRange, valueIs } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import type { Own, Write } from './entry.js';
import { FencedTxn } from './fenced-txn.js';
import type { Held } from './held.js';
import { EntryMayRemain, Released } from './held.js';
import type { Holding } from './holding.js';
import type { LineOptions, Place, Rule, Verdict } from './line.js';
import { acquire, behindAll, createdBefore, newestBefore, tellWhenOld, tryAcquire } from './line.js';
import type { LockInfo, LockNames } from './lock-names.js';
import { DELAY_MS_MAX, isValue, lockNames, readDelay, writeDelay, writeInfo, writePlain } from './lock-names.js';
import { checkNumber, observing } from './pause.js';
import type { Session } from './session.js';

export interface LockOptions extends LineOptions {
  /** The prefix of the lock's keys; default `coterie/locks/`. '' for the same lock as `etcdctl lock NAME`. */
  readonly root?: string;
  /** Also takes the key `<root><name>` itself, which is what clients lock that know no line (python3-etcd3, npm etcd3). */
  readonly plainKey?: boolean;
  /**
   * How long the lock stays closed after this holder is lost (not after it has released), for work of the lost holder that
   * is still under way elsewhere. Rounded up to the store's seconds; counted from when the next in line finds it lost.
   */
  readonly lossDelayMs?: number;
  /** Shown to whoever looks at the lock. */
  readonly info?: LockInfo;
}

export interface HeldLock extends Held {
  /**
   * Aborts, with a `ReleaseWanted`, once `requestRelease` has asked this holder. The asking is watched for from the first
   * look at it.
   */
  readonly wanted: AbortSignal;
}

/** Resolves when it is held; `signal` and `timeoutMs` end the wait. See `acquire` in line.ts for how it rejects. */
export function lock(session: Session, name: string, options: LockOptions = {}): Promise<HeldLock> {
  return placed(session, name, options, (place) => acquire(session, place, options));
}

/** Null when somebody else holds it or waits for it; then nothing was written. */
export function tryLock(session: Session, name: string, options: LockOptions = {}): Promise<HeldLock | null> {
  return placed(session, name, options, (place) => tryAcquire(session, place, options));
}

/**
 * Does `work` while the lock is held. What `work` throws is what this throws; a release that then fails is attached to it
 * as `releaseError`. Rejects with the reason if the lock was lost before `work` was done. A release that cannot be
 * confirmed goes on in the background, is observed, and changes nothing about the outcome.
 */
export async function withLock<T>(
  session: Session,
  name: string,
  work: (held: HeldLock) => Promise<T> | T,
  options: LockOptions = {},
): Promise<T> {
  const held = await lock(session, name, options);
  const unconfirmed = observing(session.clock, options.observe);
  try {
    const value = await work(held);
    if (!held.isHeld && !(held.signal.reason instanceof Released)) held.assertHeld();
    await released(held, (error) => unconfirmed({ kind: 'release_unconfirmed', error }));
    return value;
  } catch (error) {
    await released(held, (releaseError) => {
      if (typeof error === 'object' && error !== null) attach(error, releaseError);
      unconfirmed({ kind: 'release_unconfirmed', error: releaseError });
    });
    throw error;
  }
}

/** Several locks as one; in the order of the names as given. */
export interface HeldLocks extends AsyncDisposable {
  readonly held: readonly HeldLock[];
  readonly isHeld: boolean;
  /** The least of them. */
  readonly remaining: number;
  /** Aborts with the reason of the first that ends. */
  readonly signal: AbortSignal;
  assertHeld(minRemainingMs?: number): void;
  /** Commits only while all of them are held. */
  txn(): FencedTxn;
  /** Tries all, then rejects with the first error there was. */
  release(): Promise<void>;
}

/**
 * All or none. They are acquired one after the other in the order of their keys, whatever the order given, so that two who
 * want the same locks cannot wait for each other. `timeoutMs` is for all together.
 */
export async function lockAll(session: Session, names: readonly string[], options: LockOptions = {}): Promise<HeldLocks> {
  const { clock } = session;
  const sorted = sortedNames(names, options.root);
  const deadline = options.timeoutMs === undefined ? Infinity : clock.now() + options.timeoutMs;
  // Each one's wait has a signal, ours: so what nobody bounds is told of here.
  const cancelTell = tellWhenOld(clock, options);
  const broken = new AbortController();
  const held = new Map<string, Holding>();
  const onAbort = (): void => broken.abort(options.signal?.reason);
  onceAborted(options.signal, onAbort);
  if (options.signal?.aborted === true) onAbort();
  try {
    for (const name of sorted) {
      const bounded = deadline === Infinity ? {} : { timeoutMs: Math.max(0, deadline - clock.now()) };
      const each = { ...options, ...bounded, signal: broken.signal };
      const one = await placed(session, name, each, (place) => acquire(session, place, each));
      held.set(name, one);
      const { signal } = one;
      signal.addEventListener('abort', () => broken.abort(signal.reason), { once: true });
      for (const before of held.values()) before.assertHeld();
    }
  } catch (error) {
    throw await givenUp([...held.values()], error);
  } finally {
    cancelTell();
    options.signal?.removeEventListener('abort', onAbort);
  }
  return new LockSet(names.flatMap((name) => held.get(name) ?? []), broken.signal);
}

/** Gives back what is held already; the error that the whole ends with. */
async function givenUp(held: readonly Holding[], error: unknown): Promise<unknown> {
  const lost = held.find(({ isHeld }) => !isHeld);
  const outcomes = await Promise.allSettled(held.map((each) => each.release()));
  if (lost !== undefined) return lost.signal.reason;
  const failed = outcomes.find(({ status }) => status === 'rejected');
  if (failed === undefined || error instanceof EntryMayRemain) return error;
  return new EntryMayRemain(isApiError(error) ? error.code : 'internal', 'giving back several locks', error);
}

class LockSet implements HeldLocks {
  readonly held: readonly Holding[];
  readonly #ended: AbortSignal;

  constructor(held: readonly Holding[], ended: AbortSignal) {
    this.held = held;
    this.#ended = ended;
  }

  get isHeld(): boolean {
    return this.held.every(({ isHeld }) => isHeld);
  }

  get remaining(): number {
    return Math.min(...this.held.map(({ remaining }) => remaining));
  }

  get signal(): AbortSignal {
    // Looking at one ends it if it is over, and with it this.
    this.held.every(({ isHeld }) => isHeld);
    return this.#ended;
  }

  assertHeld(minRemainingMs = 0): void {
    for (const each of this.held) each.assertHeld(minRemainingMs);
  }

  txn(): FencedTxn {
    const [first, ...others] = this.held.map((each) => each.ownership());
    if (first === undefined) throw new ApiError('invalid_request', { detail: 'a set of no locks fences nothing' });
    return new FencedTxn(first, ...others);
  }

  async release(): Promise<void> {
    const outcomes = await Promise.allSettled(this.held.map((each) => each.release()));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.held.map((each) => each[Symbol.asyncDispose]()));
  }
}

function sortedNames(names: readonly string[], root: string | undefined): readonly string[] {
  if (names.length === 0 || new Set(names).size < names.length) {
    const detail = `the locks' names are ${JSON.stringify(names).slice(0, 200)}; give at least one, and each of them once`;
    throw new ApiError('invalid_request', { detail });
  }
  const keys = names.map((name) => ({ name, key: utf8(lockNames(name, root).line) }));
  return keys.sort((a, b) => compareBytes(a.key, b.key)).map(({ name }) => name);
}

async function placed<T>(
  session: Session,
  name: string,
  options: LockOptions,
  stand: (place: Place) => Promise<T>,
): Promise<T> {
  checkNumber('lossDelayMs', options.lossDelayMs, 0, DELAY_MS_MAX);
  const names = lockNames(name, options.root);
  const value = writeInfo({ name: session.name, ...options.info });
  return stand({ name, what: `lock ${name}`, line: names.line, value, rule: lockRule(session, names, { ...options, value }) });
}

/** Behind whoever came before; then behind a lost holder's delay; then behind whoever holds the plain key. */
function lockRule(session: Session, names: LockNames, options: LockOptions & { value: Uint8Array }): Rule {
  const { plainKey = false, lossDelayMs = 0, value } = options;
  const { plain, delay } = names;
  const line = prefixRange(utf8(names.line));
  const mutex = behindAll(names.line);
  const plainValue = (own: Own): Uint8Array => writePlain(value, own.fence);
  const delayValue = (own: Own): Uint8Array => writeDelay({ fence: own.fence, delayMs: lossDelayMs });
  const leftover = (own: Own): Op[] => plainKey ? [deleteIf(plain, plainValue(own))] : [];
  return {
    free: [...mutex.free, ...(plainKey ? [created(plain, '=', 0)] : [])],
    reads: (own) => [newestBefore(line, own, true), { key: delay }, ...(plainKey ? [{ key: plain }] : [])],
    judge([before, left, taken], own): Verdict {
      const ahead = createdBefore(before, own);
      if (ahead !== null) return { kind: 'blocked', by: { key: ahead.key } };
      const [record, mark] = [left?.kvs[0], taken?.kvs[0]];
      const delayed = readDelay(record);
      if (record !== undefined && delayed !== null && delayed.fence !== own.fence) {
        if (record.lease !== 0n) return { kind: 'blocked', by: { key: delay } };
        return { kind: 'write', prepare: () => armed(session, record, delayed.delayMs) };
      }
      if (mark !== undefined && !isValue(mark, plainValue(own))) return { kind: 'blocked', by: { key: plain } };
      const writes: Write[] = [
        ...(plainKey && mark === undefined ? [putNew(plain, plainValue(own), { lease: session.lease })] : []),
        ...(lossDelayMs > 0 && delayed === null ? [putOver(delay, delayValue(own), record)] : []),
      ];
      if (writes.length > 0) return { kind: 'write', prepare: () => Promise.resolve(merged(writes)) };
      return mark === undefined ? { kind: 'free' }
        : { kind: 'free', also: [created(plain, '=', mark.createRevision)], watch: [{ key: plain }] };
    },
    leaving: (own) => [...leftover(own), ...(lossDelayMs > 0 ? [deleteIf(delay, delayValue(own))] : [])],
    leftover,
  };
}

/** From now on the store counts: the record goes with its lease. */
async function armed(session: Session, record: KeyValue, delayMs: number): Promise<Write> {
  const lease = await session.client.grant(Math.ceil(delayMs / 1000));
  return {
    compare: [modified(record.key, '=', record.modRevision)],
    success: [opPut(record.key, record.value, { lease: lease.id })],
  };
}

function putNew(key: Uint8Array, value: Uint8Array, options: { lease: bigint }): Write {
  return { compare: [created(key, '=', 0)], success: [opPut(key, value, options)] };
}

function putOver(key: Uint8Array, value: Uint8Array, before: KeyValue | undefined): Write {
  return { compare: [modified(key, '=', before?.modRevision ?? 0)], success: [opPut(key, value)] };
}

function deleteIf(key: Uint8Array, value: Uint8Array): Op {
  return opTxn({ compare: [valueIs(key, '=', value)], success: [opDelete(key)] });
}

function merged(writes: readonly Write[]): { compare: readonly Compare[]; success: readonly Op[] } {
  return {
    compare: writes.flatMap(({ compare = [] }) => compare),
    success: writes.flatMap(({ success }) => success),
  };
}

async function released(held: Held, onError: (error: Error) => void): Promise<void> {
  try {
    await held.release();
  } catch (error) {
    onError(asError(error));
  }
}

/** Beside what it already says; where that cannot be written to, the observer alone is told. */
function attach(error: object, releaseError: Error): void {
  Reflect.defineProperty(error, 'releaseError', { value: releaseError, configurable: true, writable: true });
}
