// Software transactional memory: code that reads and writes as if it were alone. All it reads is the store's state at one
// revision, that of its first read; what it writes is done in one transaction, if nothing it has read has changed since.
// Otherwise the code runs again, from the start. So transactions are serializable, those that only read included.
//
//   commit   every key read, those that were absent included, has the modification revision it had (0: absent)
//            every range read has no newer modification than its revision, and every pair it held is still there
//
// On a session, a commit whose answer was lost is settled (receipt.ts) before the code runs again. On a client alone it
// is not: then the error says that the outcome is unknown, and nothing is repeated.
// Keys: none of its own, but for receipts. Not here: locks; under lasting contention the limit of attempts is reached.

import { onceAborted } from '../core/base/abort.js';
import { EMPTY, fromLatin1, latin1, utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type {
  Client, Compare, KeyValue, LeaseId, Op, RangeRequest, RangeResponse, Revision, TxnRequest,
} from '../core/client.js';
import { inRange, modified, opDelete, opPut, prefixRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { checkWhole } from './coordination-names.js';
import { Backoff, chance, pause } from './pause.js';
import { Receipt } from './receipt.js';
import { Session } from './session.js';
import type { Task, TaskOptions } from './task.js';
import { asTask } from './task.js';

const ATTEMPTS = 100;
const ATTEMPTS_MAX = 1_000_000;
const CALL_MS = 5_000;
const CONFLICT_MS = 4;
const CONFLICT_MS_MAX = 500;
/** What one attempt may read; far more than a transaction can compare. */
const READS_MAX = 10_000;

export interface StmOptions extends TaskOptions {
  /** How often the code may run; default 100. Then it ends with an `StmConflict`. */
  readonly attemptsMax?: number;
  /** Default: the session's, or the system's. */
  readonly clock?: Clock;
}

export interface Pair {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** By prefix, or as a range of the store's. */
export type Selected = { readonly prefix: string | Uint8Array } | Pick<RangeRequest, 'key' | 'rangeEnd'>;

/** What the code sees. Its own writes show in what it reads afterwards. */
export interface Transaction {
  /** The revision all reads are of; 0 before the first. */
  readonly revision: Revision;
  /** The value, or null. */
  get(key: string | Uint8Array): Promise<Uint8Array | null>;
  /** In key order; with `limit`, the first ones, and only what lies before the last of them counts as read. */
  range(of: Selected, options?: { readonly limit?: number }): Promise<readonly Pair[]>;
  put(key: string | Uint8Array, value: string | Uint8Array, options?: { readonly lease?: LeaseId }): void;
  delete(key: string | Uint8Array): void;
}

/** Others changed what was read, each time; nothing was written. */
export class StmConflict extends Error {
  override readonly name = 'StmConflict';
  readonly code = 'stm_conflict';
  readonly attempts: number;

  constructor(attempts: number) {
    super(`nothing was written: others changed what the transaction had read, ${attempts} times; allow more attempts, `
      + 'read less in one transaction, or hold a lock');
    this.attempts = attempts;
  }
}

/**
 * Runs `work`, again if need be, until what it wrote is committed, and resolves with what it returned. What `work` throws
 * ends it, with nothing written. `work` must do nothing but this transaction, since it may run several times.
 */
export async function stm<T>(
  over: Client | Session,
  work: (tx: Transaction) => Promise<T> | T,
  options: StmOptions = {},
): Promise<T> {
  const session = over instanceof Session ? over : null;
  const client = over instanceof Session ? over.client : over;
  const { attemptsMax = ATTEMPTS, clock = session?.clock ?? systemClock } = options;
  checkWhole('attemptsMax', attemptsMax, 1, ATTEMPTS_MAX);
  return asTask({ client, clock, session }, 'a transaction', options, async (task) => {
    const receipt = session === null ? null : new Receipt(session);
    const conflicts = new Backoff({ baseMs: CONFLICT_MS, maxMs: CONFLICT_MS_MAX, prng: chance(clock, session?.lease ?? 'stm') });
    try {
      for (let attempt = 1; ; attempt += 1) {
        const outcome = await attempted(task, receipt, work);
        if (outcome !== null) return outcome.value;
        if (attempt >= attemptsMax) throw new StmConflict(attempt);
        await pause(clock, conflicts.next(), task.stop);
      }
    } finally {
      receipt?.end();
    }
  });
}

/** Null: it must run again. */
async function attempted<T>(
  task: Task,
  receipt: Receipt | null,
  work: (tx: Transaction) => Promise<T> | T,
): Promise<{ readonly value: T } | null> {
  const tx = new Attempt(task);
  try {
    const value = await stopped(task, work(tx));
    const request = tx.close();
    if (request === null) return { value };
    const { succeeded } = receipt === null ? await sent(task, request) : await receipt.commit(task, request);
    return succeeded ? { value } : null;
  } catch (error) {
    // The revision went out of the history meanwhile: from a newer one.
    if (tx.tooOld && isApiError(error, 'compacted')) return null;
    throw error;
  } finally {
    tx.close();
  }
}

/** Without a receipt: repeated only while it is certain that nothing was done. */
async function sent(task: Task, request: TxnRequest): Promise<{ readonly succeeded: boolean }> {
  for (;;) {
    task.assertWanted();
    try {
      return await task.bench.client.txn(request, { timeoutMs: CALL_MS, signal: task.stop });
    } catch (error) {
      task.stop.throwIfAborted();
      if (!isApiError(error) || error.outcome === 'unknown') throw error;
      await task.failed(error);
    }
  }
}

/** The code may wait for other things than its reads; the end of the task ends the wait for it. */
async function stopped<T>(task: Task, work: Promise<T> | T): Promise<T> {
  const { stop } = task;
  return new Promise<T>((resolve, reject) => {
    const end = (): void => reject(stop.reason instanceof Error ? stop.reason : new Error(String(stop.reason)));
    onceAborted(stop, end);
    Promise.resolve(work).then(resolve, reject).finally(() => stop.removeEventListener('abort', end)).catch(reject);
    if (stop.aborted) end();
  });
}

interface Span {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}

/** One run of the code. Keys are held as latin1 text. */
class Attempt implements Transaction {
  readonly #task: Task;
  /** The modification revision of every key read; 0: it was absent. */
  readonly #read = new Map<string, Revision>();
  readonly #spans: Span[] = [];
  readonly #written = new Map<string, { readonly value: Uint8Array; readonly lease: LeaseId } | null>();
  #revision: Revision = 0;
  /** The first read, which finds the revision of all. */
  #first: Promise<RangeResponse> | null = null;
  #closed = false;
  #compacted = false;

  constructor(task: Task) {
    this.#task = task;
  }

  get revision(): Revision {
    return this.#revision;
  }

  get tooOld(): boolean {
    return this.#compacted;
  }

  async get(key: string | Uint8Array): Promise<Uint8Array | null> {
    const name = nameOf(key);
    const own = this.#written.get(name);
    if (own !== undefined) return own?.value ?? null;
    const { kvs } = await this.#answer({ key: fromLatin1(name) });
    this.#note(name, kvs[0]?.modRevision ?? 0);
    // Written by a task of the same code while the read was under way: the later one counts.
    const since = this.#written.get(name);
    return since === undefined ? kvs[0]?.value ?? null : since?.value ?? null;
  }

  async range(of: Selected, options: { readonly limit?: number } = {}): Promise<readonly Pair[]> {
    const { limit = 0 } = options;
    checkWhole('limit', limit, 0, READS_MAX);
    const span = spanOf(of);
    // Deletions of our own may hide some of what is found, so more of them are read.
    const hidden = limit === 0 ? 0 : this.#writtenIn(span).filter(([, own]) => own === null).length;
    const { kvs, more } = await this.#answer({ ...span, limit: limit === 0 ? READS_MAX + 1 : limit + hidden });
    const last = kvs.at(-1);
    if (limit === 0 && more) throw tooMuch();
    const upTo = more && last !== undefined ? after(last.key) : span.rangeEnd;
    this.#spans.push({ key: span.key, rangeEnd: upTo });
    for (const { key, modRevision } of kvs) this.#note(latin1(key), modRevision);
    const pairs = this.#overlaid(kvs, { key: span.key, rangeEnd: upTo });
    return limit === 0 ? pairs : pairs.slice(0, limit);
  }

  put(key: string | Uint8Array, value: string | Uint8Array, options: { readonly lease?: LeaseId } = {}): void {
    this.#write(key, { value: typeof value === 'string' ? utf8(value) : value.slice(), lease: options.lease ?? 0n });
  }

  delete(key: string | Uint8Array): void {
    this.#write(key, null);
  }

  /** What is to be committed; null: nothing. */
  close(): TxnRequest | null {
    this.#closed = true;
    if (this.#written.size === 0) return null;
    const compare: Compare[] = [...this.#read].map(([key, revision]) => modified(fromLatin1(key), '=', revision));
    for (const { key, rangeEnd } of this.#spans) {
      compare.push({ key, rangeEnd, target: 'mod', result: '<', operand: this.#revision + 1 });
    }
    const success = [...this.#written].map(([key, own]): Op => {
      return own === null ? opDelete(fromLatin1(key)) : opPut(fromLatin1(key), own.value, { lease: own.lease });
    });
    return { compare, success };
  }

  async #answer(request: RangeRequest): Promise<RangeResponse> {
    this.#assertOpen();
    if (this.#read.size + this.#spans.length >= READS_MAX) throw tooMuch();
    if (this.#first === null) {
      this.#first = this.#send(request);
      const answer = await this.#first;
      this.#revision = answer.header.revision;
      return answer;
    }
    const { header } = await this.#first;
    try {
      return await this.#send({ ...request, revision: header.revision });
    } catch (error) {
      this.#compacted = isApiError(error, 'compacted');
      throw error;
    }
  }

  #send(request: RangeRequest): Promise<RangeResponse> {
    const { client } = this.#task.bench;
    return this.#task.persist(() => client.range(request, { timeoutMs: CALL_MS, signal: this.#task.stop }));
  }

  #write(key: string | Uint8Array, own: { readonly value: Uint8Array; readonly lease: LeaseId } | null): void {
    this.#assertOpen();
    const name = nameOf(key);
    if (name === '') throw new ApiError('key_empty');
    this.#written.set(name, own);
  }

  #note(name: string, revision: Revision): void {
    this.#read.set(name, revision);
  }

  #writtenIn({ key, rangeEnd }: Span): [string, { readonly value: Uint8Array } | null][] {
    return [...this.#written].filter(([name]) => inRange(fromLatin1(name), key, rangeEnd));
  }

  #overlaid(kvs: readonly KeyValue[], span: Span): readonly Pair[] {
    const pairs = new Map<string, Pair>(kvs.map(({ key, value }) => [latin1(key), { key, value }]));
    const own = this.#writtenIn(span);
    if (own.length === 0) return [...pairs.values()];
    for (const [name, written] of own) {
      if (written === null) pairs.delete(name);
      else pairs.set(name, { key: fromLatin1(name), value: written.value });
    }
    return [...pairs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, pair]) => pair);
  }

  #assertOpen(): void {
    if (this.#closed) throw new ApiError('invalid_request', { detail: 'this transaction is over; await everything it does' });
    this.#task.stop.throwIfAborted();
  }
}

function nameOf(key: string | Uint8Array): string {
  return latin1(typeof key === 'string' ? utf8(key) : key);
}

function spanOf(of: Selected): Span {
  if ('prefix' in of) return prefixRange(typeof of.prefix === 'string' ? utf8(of.prefix) : of.prefix);
  const { key, rangeEnd = EMPTY } = of;
  return { key, rangeEnd };
}

/** The first key after this one. */
function after(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

function tooMuch(): ApiError {
  return new ApiError('invalid_request', { detail: `a transaction reads more than ${READS_MAX} keys; read less at once` });
}
