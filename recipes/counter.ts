// A number that many count with, and blocks of ids that nobody is given twice.
//
// Keys: coterie/counters/<name>          the number, as decimal text; absent: 0
//       coterie/counted/<name>/<id>      the number after the operation of this id, on a lease as long as its retention
//       coterie/ids/<name>               the last id given out, as decimal text; absent: none
//       coterie/receipts/…               while an operation is under way: see receipt.ts
// Transactions:
//   add      the number is unchanged since we read it, the id was not counted: put the number, put the id's mark
//   reserve  the last id is unchanged since we read it: put it n higher
//
// An addition is done once however often its request is repeated here, because its compare can hold only once. What the
// caller repeats after an error is told apart by the id it gave. Ids need neither: a reservation whose answer was lost is a
// gap. Whoever deletes such a key by hand starts it over.

import { text, utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, KeyValue, LeaseId, Revision } from '../core/client.js';
import { created, get, modified, opPut, opRange } from '../core/client.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import { ApiError, isApiError } from '../core/errors.js';
import { checkWhole, found, nameStep, readWhole } from './coordination-names.js';
import { orStopped } from './entry.js';
import { Backoff, chance, pause } from './pause.js';
import type { Committed, Receipt } from './receipt.js';
import { withReceipt } from './receipt.js';
import type { Session } from './session.js';
import { checkSeconds } from './session.js';
import type { Task, TaskOptions } from './task.js';
import { asTask } from './task.js';

const COUNTERS = 'coterie/counters/';
const COUNTED = 'coterie/counted/';
const IDS = 'coterie/ids/';
const KEEP_SECONDS = 600;
const BLOCK_MAX = 1_000_000_000;
const CALL_MS = 5_000;
/** Of the delay after others were faster. */
const CONFLICT_MS = 2;
const CONFLICT_MS_MAX = 500;

export interface AddOptions extends TaskOptions {
  /** Names the operation: whoever repeats it under this id, from wherever, counts once. */
  readonly id?: string;
  /** How long the id is remembered, at least, counted from the call; default 600 s. */
  readonly keepSeconds?: number;
}

export interface Counter {
  readonly name: string;
  /**
   * Adds `delta`, which may be negative, and resolves with the number after it; with the same one again when `id` has
   * been counted before. Rejects with an outcome of 'unknown' if it may have been counted: then repeat it, with its id.
   */
  add(delta: number, options?: AddOptions): Promise<number>;
  value(options?: CallOptions): Promise<number>;
}

/** Nothing is written before the first `add`. A counter is a name; there is nothing to close. */
export function counter(session: Session, name: string): Counter {
  return new StoredCounter(session, name);
}

class StoredCounter implements Counter {
  readonly name: string;
  readonly #session: Session;
  readonly #key: Uint8Array;
  readonly #marks: string;
  readonly #turns = new Turns();
  /** The newest answer's: saves the reading when nobody else counts. */
  #known: { readonly value: number; readonly revision: Revision } | null = null;
  /** What ids hang on, shared by those of the same retention. */
  #retained: { readonly keepSeconds: number; readonly lease: LeaseId; readonly until: number } | null = null;

  constructor(session: Session, name: string) {
    const step = nameStep('counter\'s name', name);
    this.name = name;
    this.#session = session;
    this.#key = utf8(`${COUNTERS}${step}`);
    this.#marks = `${COUNTED}${step}/`;
  }

  async add(delta: number, options: AddOptions = {}): Promise<number> {
    checkWhole('delta', delta, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    const { keepSeconds = KEEP_SECONDS } = options;
    checkSeconds('keepSeconds', keepSeconds);
    const mark = options.id === undefined ? null : utf8(`${this.#marks}${nameStep('operation\'s id', options.id)}`);
    const session = this.#session;
    const bench = { client: session.client, clock: session.clock, session };
    const what = `counting with counter ${this.name}`;
    return asTask(bench, what, options, (task) => this.#turns.take(task, () => withReceipt(session, async (receipt) => {
      for (;;) {
        const lease = mark === null ? 0n : await this.#retention(task, keepSeconds);
        try {
          return await this.#add(task, receipt, delta, mark === null ? null : { mark, lease });
        } catch (error) {
          if (mark === null || !isApiError(error, 'lease_not_found')) throw error;
          // Somebody revoked it, or it took too long to get here: with a new one.
          this.#retained = null;
          session.suspect();
          await task.hindered(error);
        }
      }
    })));
  }

  async value(options: CallOptions = {}): Promise<number> {
    return numberIn(this.name, await get(this.#session.client, this.#key, options) ?? undefined);
  }

  async #add(
    task: Task,
    receipt: Receipt,
    delta: number,
    id: { readonly mark: Uint8Array; readonly lease: LeaseId } | null,
  ): Promise<number> {
    const conflicts = newBackoff(this.#session.clock, this.#session.lease);
    const key = this.#key;
    const reads = [opRange(key), ...(id === null ? [] : [opRange(id.mark)])];
    const take = (responses: Committed['responses']): number | null => {
      const [kv, mark] = [found(responses ?? [], 0)[0], id === null ? undefined : found(responses ?? [], 1)[0]];
      this.#known = { value: numberIn(this.name, kv), revision: kv?.modRevision ?? 0 };
      return mark === undefined ? null : readWhole(mark.value);
    };
    for (;;) {
      let known = this.#known;
      if (known === null) {
        const answer = await task.persist(() => task.bench.client.txn({ success: reads }, { timeoutMs: CALL_MS }));
        const counted = take(answer.responses);
        if (counted !== null) return counted;
        known = this.#known;
      }
      if (known === null) continue;
      const next = sum(this.name, known.value, delta);
      const value = utf8(String(next));
      const committed = await receipt.commit(task, {
        compare: [modified(key, '=', known.revision), ...(id === null ? [] : [created(id.mark, '=', 0)])],
        success: [opPut(key, value), ...(id === null ? [] : [opPut(id.mark, value, { lease: id.lease })])],
        failure: reads,
      });
      if (committed.succeeded) {
        const { revision } = committed;
        this.#known = revision === null ? null : { value: next, revision };
        return next;
      }
      const counted = take(committed.responses);
      if (counted !== null) return counted;
      await pause(this.#session.clock, conflicts.next(), task.stop);
    }
  }

  /** A lease that lasts at least `keepSeconds` from now. It is renewed by nobody; half of it is for sharing. */
  async #retention(task: Task, keepSeconds: number): Promise<LeaseId> {
    const now = this.#session.clock.now();
    const shared = this.#retained;
    if (shared !== null && shared.keepSeconds === keepSeconds && now < shared.until) return shared.lease;
    const { id } = await task.persist(() => this.#session.client.grant(2 * keepSeconds, { timeoutMs: CALL_MS }));
    this.#retained = { keepSeconds, lease: id, until: now + keepSeconds * 1000 };
    return id;
  }
}

/** Ids of one block, both ends included. */
export interface IdBlock {
  readonly from: number;
  readonly to: number;
}

export interface Ids {
  readonly name: string;
  /** The next `n` ids, in one round trip unless others reserve at the same time. Never given out twice; gaps are possible. */
  reserve(n: number, options?: TaskOptions): Promise<IdBlock>;
}

/** Ids count from 1. Needs no session: whatever becomes of this process, what it reserved is nobody else's. */
export function ids(client: Client, name: string, options: { readonly clock?: Clock } = {}): Ids {
  return new StoredIds(client, name, options.clock ?? systemClock);
}

class StoredIds implements Ids {
  readonly name: string;
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #key: Uint8Array;
  readonly #turns = new Turns();
  #known: { readonly last: number; readonly revision: Revision } = { last: 0, revision: 0 };

  constructor(client: Client, name: string, clock: Clock) {
    this.name = name;
    this.#client = client;
    this.#clock = clock;
    this.#key = utf8(`${IDS}${nameStep('name of the ids', name)}`);
  }

  async reserve(n: number, options: TaskOptions = {}): Promise<IdBlock> {
    checkWhole('the number of ids', n, 1, BLOCK_MAX);
    const bench = { client: this.#client, clock: this.#clock, session: null };
    return asTask(bench, `reserving ids of ${this.name}`, options, (task) => {
      return this.#turns.take(task, () => this.#reserve(task, n));
    });
  }

  async #reserve(task: Task, n: number): Promise<IdBlock> {
    const conflicts = newBackoff(this.#clock, this.name);
    for (;;) {
      const { last, revision } = this.#known;
      const to = sum(this.name, last, n);
      // Sent again after a lost answer it fails if the first one was done, and the ids of that one are a gap.
      const answer = await task.persist(() => this.#client.txn({
        compare: [modified(this.#key, '=', revision)],
        success: [opPut(this.#key, utf8(String(to)))],
        failure: [opRange(this.#key)],
      }, { timeoutMs: CALL_MS }));
      if (answer.succeeded) {
        this.#known = { last: to, revision: answer.header.revision };
        return { from: last + 1, to };
      }
      const [kv] = found(answer.responses, 0);
      this.#known = { last: numberIn(this.name, kv), revision: kv?.modRevision ?? 0 };
      // What we knew was old, which costs one more round trip; only who is overtaken again waits.
      if (revision !== 0 && kv !== undefined) await pause(this.#clock, conflicts.next(), task.stop);
    }
  }
}

/** One after the other: who shares a handle would otherwise only be in its own way. */
class Turns {
  #last: Promise<void> = Promise.resolve();

  async take<T>(task: Task, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    let pass = (): void => undefined;
    this.#last = new Promise((resolve) => {
      pass = resolve;
    });
    try {
      await orStopped(before, task.stop);
      return await work();
    } finally {
      void before.then(pass);
    }
  }
}

function newBackoff(clock: Clock, mark: bigint | string): Backoff {
  return new Backoff({ baseMs: CONFLICT_MS, maxMs: CONFLICT_MS_MAX, prng: chance(clock, mark) });
}

function numberIn(name: string, kv: KeyValue | undefined): number {
  if (kv === undefined) return 0;
  const value = readWhole(kv.value);
  if (value !== null) return value;
  const given = JSON.stringify(text(kv.value)).slice(0, 80);
  throw new ApiError('invalid_request', { detail: `${name} holds ${given}, which is no whole number; somebody else wrote it` });
}

function sum(name: string, value: number, delta: number): number {
  const result = value + delta;
  if (Number.isSafeInteger(result)) return result;
  throw new ApiError('invalid_request', { detail: `${name} holds ${value}; with ${delta} more it would not be exact any more` });
}
