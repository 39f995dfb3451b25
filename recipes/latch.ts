// A gate that opens once, when it has been counted down to 0, and stays open.
//
// Keys: coterie/latches/<name>        { remaining, of }; stays there, open, until it is removed
//       coterie/latched/<name>/<id>   an id that has counted, until the latch is open
//       coterie/receipts/…            while it is opened or counted down: see receipt.ts
// Transactions:
//   open   there is none: put it
//   count  it is unchanged since we read that the id has not counted: put it lower, put the id's mark (delete all, when it
//          opens). Whoever counts changes it, so nothing has counted since
//
// Nobody is a member: what a session has counted stays counted when it is lost. Counting under an id counts once, however
// often, and in however many processes one after the other, it is repeated. For the next round take the next name.

import { utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, KeyValue, Revision, Watch } from '../core/client.js';
import { created, modified, opDelete, opPut, opRange, prefixRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { checkWhole, found, nameStep, readRecord } from './coordination-names.js';
import { Backoff, chance, pause, within } from './pause.js';
import type { WaitOptions } from './pause.js';
import { withReceipt } from './receipt.js';
import type { Receipt } from './receipt.js';
import type { Session } from './session.js';
import type { Bench, Task, TaskOptions } from './task.js';
import { asTask } from './task.js';
import { View } from './view.js';

const LATCHES = 'coterie/latches/';
const LATCHED = 'coterie/latched/';
/** Its ids are deleted in one transaction when it opens. */
const COUNT_MAX = 100_000;
const CALL_MS = 5_000;
const CONFLICT_MS = 2;
const CONFLICT_MS_MAX = 500;

export interface LatchOptions extends TaskOptions {
  /** What to count down from. Who gives it creates the latch; who does not waits for somebody to create it. */
  readonly count?: number;
}

export interface CountDownOptions extends TaskOptions {
  /** Default 1. */
  readonly by?: number;
  /** Names the one who counts: repeated under this id it counts once. */
  readonly id?: string;
}

/** The latch's callers disagree about its count; nothing was changed. */
export class LatchMismatch extends Error {
  override readonly name = 'LatchMismatch';
  readonly code = 'latch_mismatch';
  readonly count: number;
  readonly present: number;

  constructor(name: string, count: number, present: number) {
    super(`latch ${name} was created with a count of ${present}, not ${count}; agree on one, or take another name`);
    this.count = count;
    this.present = present;
  }
}

/** Somebody removed the latch before it was open. */
export class LatchRemoved extends Error {
  override readonly name = 'LatchRemoved';
  readonly code = 'latch_removed';

  constructor(name: string) {
    super(`latch ${name} was removed before it was open`);
  }
}

/** The reason of `Latch.signal`. */
export class LatchOpen extends Error {
  override readonly name = 'LatchOpen';
  readonly code = 'latch_open';

  constructor(name: string) {
    super(`latch ${name} is open`);
  }
}

interface State {
  readonly remaining: number;
  readonly of: number;
}

interface Seen {
  readonly state: State | null;
  readonly revision: Revision;
}

/** Resolves when the latch is known: created if need be, or read. Close it when it is not needed any more. */
export async function latch(session: Session, name: string, options: LatchOptions = {}): Promise<Latch> {
  const { count } = options;
  if (count !== undefined) checkWhole('count', count, 0, COUNT_MAX);
  const step = nameStep('latch\'s name', name);
  const key = utf8(`${LATCHES}${step}`);
  const bench = { client: session.client, clock: session.clock, session };
  if (count !== undefined) {
    await asTask(bench, `creating latch ${name}`, options, (task) => withReceipt(session, (receipt) => {
      return create(task, receipt, { name, key, count });
    }));
  }
  const view = View.follow(session.client, { key }, { clock: session.clock });
  const it = new Latch(session, { name, key, marks: `${LATCHED}${step}/` }, view);
  try {
    const { signal, timeoutMs } = options;
    await view.ready({ ...(signal === undefined ? {} : { signal }), ...(timeoutMs === undefined ? {} : { timeoutMs }) });
    return it;
  } catch (error) {
    await it.close();
    throw error;
  }
}

/** Deletes a latch and what belongs to it. Who waits for it is told, unless it was open. */
export async function removeLatch(client: Client, name: string, options: CallOptions = {}): Promise<boolean> {
  const step = nameStep('latch\'s name', name);
  const marks = prefixRange(utf8(`${LATCHED}${step}/`));
  const success = [opDelete(utf8(`${LATCHES}${step}`)), opDelete(marks.key, { rangeEnd: marks.rangeEnd })];
  const [latched] = (await client.txn({ success }, options)).responses;
  return latched?.kind === 'delete' && latched.response.deleted > 0;
}

export class Latch implements AsyncDisposable {
  readonly name: string;
  readonly #session: Session;
  readonly #keys: { readonly name: string; readonly key: Uint8Array; readonly marks: string };
  readonly #view: View;
  readonly #open = new AbortController();
  readonly #over = new AbortController();
  /** Settles when it is open, removed or closed; never rejects. */
  readonly #following: Promise<Error | null>;
  #remaining: number | null = null;
  /** The create revision of the latch first seen; another one is another latch. */
  #since: Revision | null = null;
  /** The modification revision of what was seen last of it. */
  #seenAt: Revision = 0;
  #removed = false;

  /** Use `latch()`. */
  constructor(session: Session, keys: { name: string; key: Uint8Array; marks: string }, view: View) {
    this.name = keys.name;
    this.#session = session;
    this.#keys = keys;
    this.#view = view;
    this.#following = this.#follow();
  }

  /** As last seen; null while nobody has created it. It only falls. */
  get remaining(): number | null {
    this.#look();
    return this.#remaining;
  }

  get isOpen(): boolean {
    this.#look();
    return this.#open.signal.aborted;
  }

  /** Aborts, with a `LatchOpen` as its reason, once it is open. */
  get signal(): AbortSignal {
    this.#look();
    return this.#open.signal;
  }

  /** Resolves when it is open. Rejects with `LatchRemoved`, `canceled`, `deadline_exceeded`, or `closed` after `close`. */
  async wait(options: WaitOptions = {}): Promise<void> {
    const error = await within(this.#following, this.#session.clock, { ...options, what: `waiting for latch ${this.name}` });
    if (error !== null) throw error;
  }

  /**
   * Resolves with what remains; 0: it is open. An open latch stays open. Rejects with an outcome of 'unknown' if it may
   * have been counted: then repeat it, with its id.
   */
  async countDown(options: CountDownOptions = {}): Promise<number> {
    const { by = 1, id } = options;
    checkWhole('by', by, 1, COUNT_MAX);
    const mark = id === undefined ? null : utf8(`${this.#keys.marks}${nameStep('id', id)}`);
    const session = this.#session;
    const bench: Bench = { client: session.client, clock: session.clock, session };
    return asTask(bench, `counting down latch ${this.name}`, options, (task) => {
      return withReceipt(session, (receipt) => this.#countDown(task, receipt, by, mark));
    });
  }

  async close(): Promise<void> {
    this.#over.abort(new ApiError('closed', { detail: `latch ${this.name} was closed` }));
    await this.#view.close();
    await this.#following;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #countDown(task: Task, receipt: Receipt, by: number, mark: Uint8Array | null): Promise<number> {
    const { key, marks } = this.#keys;
    const conflicts = newBackoff(this.#session);
    const reads = [opRange(key), ...(mark === null ? [] : [opRange(mark)])];
    let answer: { responses: Parameters<typeof found>[0] } = await task.persist(() => {
      return task.bench.client.txn({ success: reads }, { timeoutMs: CALL_MS });
    });
    for (;;) {
      const { state, revision } = seenIn(this.name, found(answer.responses, 0)[0]);
      if (state === null) throw new LatchRemoved(this.name);
      if (mark !== null && found(answer.responses, 1).length > 0) return this.#note(state.remaining);
      if (state.remaining === 0) return this.#note(0);
      const next = { ...state, remaining: Math.max(0, state.remaining - by) };
      const all = prefixRange(utf8(marks));
      const counted = mark === null ? [] : [opPut(mark, utf8(''))];
      const aside = next.remaining === 0 ? [opDelete(all.key, { rangeEnd: all.rangeEnd })] : counted;
      const committed = await receipt.commit(task, {
        compare: [modified(key, '=', revision)],
        success: [opPut(key, written(next)), ...aside],
        failure: reads,
      });
      if (committed.succeeded) return this.#note(next.remaining);
      answer = { responses: committed.responses ?? [] };
      await pause(this.#session.clock, conflicts.next(), task.stop);
    }
  }

  #look(): void {
    const kv = this.#view.get(this.#keys.key);
    const state = kv === null ? null : stateIn(kv);
    if (kv === null || state === null || this.#removed) return;
    this.#since ??= kv.createRevision;
    if (this.#since !== kv.createRevision) this.#removed = true;
    else {
      this.#seenAt = kv.modRevision;
      this.#note(state.remaining);
    }
  }

  #note(remaining: number): number {
    this.#remaining = Math.min(this.#remaining ?? remaining, remaining);
    if (remaining === 0) this.#open.abort(new LatchOpen(this.name));
    return remaining;
  }

  async #follow(): Promise<Error | null> {
    try {
      for await (const { deletes } of this.#view.changes) {
        this.#look();
        if (this.#open.signal.aborted) return null;
        const isGone = this.#removed || (this.#since !== null && deletes.length > 0);
        if (isGone) return await this.#hadOpened() ? null : new LatchRemoved(this.name);
      }
      return this.isOpen ? null : new ApiError('closed', { detail: `latch ${this.name} was closed before it was open` });
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    } finally {
      void this.#view.close();
    }
  }

  /** It may have opened and been removed between two looks of ours: the store's history tells, unless it was compacted. */
  async #hadOpened(): Promise<boolean> {
    const { client, clock } = this.#session;
    const stop = this.#over.signal;
    const backoff = newBackoff(this.#session);
    const until = clock.now() + CALL_MS;
    while (!stop.aborted && clock.now() < until) {
      const watch = client.watch({ key: this.#keys.key, startRevision: this.#seenAt + 1 });
      try {
        // A store that was replaced may have no such history, and would never say so.
        const bounds = { timeoutMs: until - clock.now(), signal: stop, what: `reading how latch ${this.name} ended` };
        const opened = await within(this.#openedIn(watch), clock, bounds);
        if (opened && !this.#open.signal.aborted) this.#note(0);
        return opened;
      } catch (error) {
        if (stop.aborted || isApiError(error, 'compacted') || isApiError(error, 'closed')) return false;
        await pause(clock, backoff.next(), stop);
      } finally {
        watch.close();
      }
    }
    return false;
  }

  async #openedIn(watch: Watch): Promise<boolean> {
    for await (const { events } of watch) {
      for (const { kind, kv } of events) {
        if (kind === 'delete' || kv.createRevision !== this.#since) return false;
        if (stateIn(kv)?.remaining === 0) return true;
      }
    }
    throw new ApiError('connection_lost', { detail: 'a watch ended by itself' });
  }
}

async function create(task: Task, receipt: Receipt, it: { name: string; key: Uint8Array; count: number }): Promise<void> {
  const { name, key, count } = it;
  const { succeeded, responses } = await receipt.commit(task, {
    compare: [created(key, '=', 0)],
    success: [opPut(key, written({ remaining: count, of: count }))],
    failure: [opRange(key)],
  });
  if (succeeded) return;
  const { state } = seenIn(name, found(responses ?? [], 0)[0]);
  if (state !== null && state.of !== count) throw new LatchMismatch(name, count, state.of);
}

function written(state: State): Uint8Array {
  return utf8(JSON.stringify({ remaining: state.remaining, of: state.of }));
}

function seenIn(name: string, kv: KeyValue | undefined): Seen {
  if (kv === undefined) return { state: null, revision: 0 };
  const state = stateIn(kv);
  if (state !== null) return { state, revision: kv.modRevision };
  throw new ApiError('invalid_request', { detail: `the key of latch ${name} holds something else; somebody wrote it` });
}

function stateIn(kv: KeyValue): State | null {
  const { remaining, of } = readRecord(kv.value) ?? {};
  const legible = typeof remaining === 'number' && typeof of === 'number' && Number.isSafeInteger(remaining) && remaining >= 0;
  return legible ? { remaining, of } : null;
}

function newBackoff(session: Session): Backoff {
  return new Backoff({ baseMs: CONFLICT_MS, maxMs: CONFLICT_MS_MAX, prng: chance(session.clock, session.lease) });
}
