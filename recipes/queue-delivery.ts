// One item in the hands of one consumer. It is `Held` like a lock: `isHeld`, `signal` and `fence` say until when, and every
// way of ending it compares the fence, so whoever has lost it can end nothing and change nothing.
//
// The hold stands on the consumer's session lease, or, where the delivery has asked for a lease of its own, on that one:
// a session of its own, renewed like any other and never brought back once it was lost.
//
// An end whose answer was lost is sent again. If then the hold is gone, the store's history tells by whom: the counter of
// ends, read at the very revision at which the hold went, names the fence that ended the item.

import { utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type { Client, Compare, Header, KeyValue, LeaseId, Op, Revision, TxnRequest, TxnResponse } from '../core/client.js';
import { created, opDelete, opPut, opRange, opTxn } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import type { FencedResult } from './fenced-txn.js';
import { FencedOut, FencedTxn } from './fenced-txn.js';
import type { Held } from './held.js';
import { EntryLost, Released } from './held.js';
import { checkNumber, pause } from './pause.js';
import type { QueueEvent } from './queue-call.js';
import { follow, kvsOf, persist } from './queue-call.js';
import type { Head, Out, QueueKeys } from './queue-keys.js';
import { readEnd } from './queue-keys.js';
import { delaying, ending, nextOf, returning } from './queue-moves.js';
import { DELAY_MS_MAX, granted } from './queue-put.js';
import type { SessionLost } from './session.js';
import { Session } from './session.js';

/** How long an end is tried before the caller is told that it is not known. */
const SETTLE_MS = 30_000;
const WATCH_AGAIN_MS = 100;
const SETTLE_AGAIN_MS = 1_000;

export interface AckOptions {
  /** Done in the same transaction as the acknowledgement: effectively once. */
  readonly also?: readonly Op[];
  /** All must hold, else nothing is written and the item stays ours. */
  readonly compare?: readonly Compare[];
}

export interface NackOptions {
  /** Before it is delivered again; default: the queue's back-off. Rounded up to the store's seconds. */
  readonly delayMs?: number;
  /** Gives it up now, whatever the attempts that are left. */
  readonly dead?: boolean;
  /** Kept with a dead item. */
  readonly error?: unknown;
}

/** Disposing of it without having ended it is a `nack`. */
export interface Delivery<T> extends Held {
  readonly id: string;
  readonly body: T;
  readonly group: string | null;
  /** 1 for the first delivery. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /**
   * It is done. `succeeded` is false when a compare of the caller's did not hold; then nothing was written. `responses` are
   * those of `also`; none where an answer was lost and only the outcome is known. Rejects with `FencedOut` when the item is
   * not ours any more.
   */
  ack(options?: AckOptions): Promise<FencedResult>;
  /** It failed: delivered again after a while, or dead if this was the last attempt. */
  nack(options?: NackOptions): Promise<void>;
  /** From now on it stands on a lease of its own of `ms`, renewed at a third of that. `fence` stays. */
  extend(ms: number): Promise<void>;
  /** Gives it back at once, in its old place and without counting the attempt. */
  release(): Promise<void>;
  /** Settles it by this, trying until it is settled or lost. Never rejects. */
  settled(settle: () => Promise<unknown>): Promise<void>;
}

/** What a delivery needs of the consumer that took it. */
export interface Desk {
  readonly client: Client;
  readonly clock: Clock;
  readonly observe: (event: QueueEvent) => void;
  readonly session: Session;
  readonly keys: QueueKeys;
  readonly deadMax: number;
  backoffMs(attempt: number): number;
  weight(group: string): number;
  /** Reads that keep the consumer informed of what is ready, and what becomes of their answers. */
  reads(): readonly Op[];
  learn(answer: TxnResponse, from: number): void;
  /** Where whoever stands in line now would stand; as far as it has been told of a revision. */
  place(): string;
  note(revision: Revision): void;
  forget(delivery: Taken): void;
  trim(): void;
}

/** As the store has it. */
export interface Item {
  readonly id: string;
  readonly head: Head;
  readonly body: Uint8Array;
  readonly out: Out;
  readonly hold: Uint8Array;
  readonly fence: Revision;
}

export class Taken implements Held {
  readonly name: string;
  readonly key: Uint8Array;
  readonly fence: Revision;
  readonly item: Item;
  readonly #desk: Desk;
  readonly #over = new AbortController();
  /** The lease it stands on is that of the last one; before a move is confirmed it may be either's, and both must live. */
  #keepers: readonly Session[];
  #forgets: (() => void)[] = [];
  #reason: Error | null = null;
  #settling = false;
  /** Settles, never rejects, with the newest extension. */
  #extending: Promise<void> = Promise.resolve();

  constructor(item: Item, desk: Desk) {
    this.name = item.id;
    this.key = item.hold;
    this.fence = item.fence;
    this.item = item;
    this.#desk = desk;
    this.#keepers = [desk.session];
    this.#forgets.push(desk.session.onLost((reason) => this.#onSessionLost(reason)));
  }

  get isHeld(): boolean {
    return this.#ended() === null;
  }

  get isSettling(): boolean {
    return this.#settling;
  }

  get remaining(): number {
    return this.#ended() === null ? Math.min(...this.#keepers.map(({ remaining }) => remaining)) : 0;
  }

  get signal(): AbortSignal {
    this.#ended();
    return this.#over.signal;
  }

  assertHeld(minRemainingMs = 0): void {
    const reason = this.#ended();
    if (reason !== null) throw reason;
    for (const keeper of this.#keepers) keeper.assertLive(minRemainingMs);
  }

  txn(): FencedTxn {
    const { client } = this.#desk;
    return new FencedTxn({ name: this.#what(), client, key: this.key, fence: this.fence, ended: () => this.#ended() });
  }

  async ack(options: AckOptions = {}): Promise<FencedResult> {
    const { also = [], compare = [] } = options;
    const answer = await this.#settle((next) => this.#end('done', next, { also, compare }), 'done');
    const responses = answer.succeeded ? answer.responses.slice(0, also.length) : [];
    return { header: answer.header, succeeded: answer.succeeded, responses };
  }

  async nack(options: NackOptions = {}): Promise<void> {
    const { head, out } = this.item;
    checkNumber('delayMs', options.delayMs, 0, DELAY_MS_MAX);
    this.#assertOurs();
    if (options.dead === true || out.attempts >= head.maxAttempts) {
      const reason = options.error === undefined ? 'given up' : messageOf(options.error);
      await this.#settle((next) => this.#end('dead', next, { also: [], compare: [], reason }), 'dead');
      this.#desk.trim();
      return;
    }
    const delayMs = options.delayMs ?? this.#desk.backoffMs(out.attempts);
    if (delayMs <= 0) await this.#back(out);
    else await this.#later(out, delayMs);
  }

  release(): Promise<void> {
    if (this.#ended() !== null || this.#settling) return Promise.resolve();
    const { out } = this.item;
    return this.#back({ ...out, attempts: out.attempts - 1 });
  }

  /** One after the other: of two that overlap, the one whose lease is given up could be the one that the hold stands on. */
  extend(ms: number): Promise<void> {
    const turn = this.#extending.then(() => this.#extend(ms));
    this.#extending = turn.catch(() => undefined);
    return turn;
  }

  async #extend(ms: number): Promise<void> {
    checkNumber('an item\'s lease', ms, 1_000, DELAY_MS_MAX);
    this.assertHeld();
    if (this.#settling) throw this.#busy();
    const { client, clock, observe } = this.#desk;
    const [name, ttlSeconds] = [this.#what(), Math.ceil(ms / 1000)];
    const keeper = await Session.open(client, { ttlSeconds, clock, name, observe: stallsOf(observe), signal: this.signal });
    const over = this.#ended();
    if (over !== null) {
      await keeper.close();
      throw over;
    }
    const before = this.#keepers;
    this.#keepers = [...before, keeper];
    this.#forgets.push(keeper.onLost((reason) => this.#onKeeperLost(keeper, reason)));
    const request = {
      compare: [created(this.key, '=', this.fence)],
      success: [opPut(this.key, utf8(''), { lease: keeper.lease })],
    };
    const { answer } = await persist(this.#desk, this.signal, () => request, this.name);
    if (!answer.succeeded) {
      // Perhaps it was ended meanwhile, by us: then that tells how.
      if (!this.#settling) this.lose(new EntryLost(this.#what()));
      throw new FencedOut(this.#what(), { token: this.fence });
    }
    this.#keepers = [keeper];
    for (const old of before) if (old !== this.#desk.session) await old.close();
  }

  /** A scope that ends must not hide what it ended with. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled(() => this.nack());
  }

  /** Tries until it is settled or lost: else it would stay ours for as long as the session lives. Never rejects. */
  async settled(settle: () => Promise<unknown>): Promise<void> {
    while (this.#ended() === null && !this.#settling) {
      try {
        await settle();
        return;
      } catch (error) {
        this.#desk.observe({ kind: 'unsettled', id: this.name, error: asError(error) });
        await pause(this.#desk.clock, SETTLE_AGAIN_MS, this.signal);
      }
    }
  }

  /** Somebody deleted the hold. */
  lose(reason: Error): void {
    if (this.#ended() === null) this.#finish(reason);
  }

  async #back(out: Out): Promise<void> {
    const desk = this.#desk;
    const { id, head } = this.item;
    await this.#settle(() => ({
      compare: [created(this.key, '=', this.fence)],
      success: [
        opDelete(this.key),
        opDelete(desk.keys.outItem(id)),
        ...returning(desk.keys, { id, head }, out, desk.place()),
        ...desk.reads(),
      ],
      failure: [],
    }), 'back');
  }

  async #later(out: Out, delayMs: number): Promise<void> {
    const { keys } = this.#desk;
    let lease: LeaseId;
    try {
      lease = await granted(this.#desk, delayMs, this.signal);
    } catch (error) {
      this.#assertOurs();
      throw error;
    }
    await this.#settle(() => ({
      compare: [created(this.key, '=', this.fence)],
      success: [opDelete(this.key), ...delaying(keys, this.item.id, out, lease), ...this.#desk.reads()],
      failure: [],
    }), 'back');
  }

  #end(
    outcome: 'done' | 'dead',
    next: KeyValue | null,
    also: { readonly also: readonly Op[]; readonly compare: readonly Compare[]; readonly reason?: string },
  ): TxnRequest {
    const desk = this.#desk;
    const { id, head, out } = this.item;
    const goesOn = head.group !== null && out.turns + 1 < desk.weight(head.group);
    const { compare, ops } = ending(desk.keys, { id, head }, {
      outcome,
      attempts: out.attempts,
      fence: this.fence,
      next,
      ...(also.reason === undefined ? {} : { reason: also.reason }),
      // While it is still the group's turn it keeps its place; then it goes behind all who wait.
      place: goesOn ? out.place : desk.place(),
      turns: goesOn ? out.turns + 1 : 0,
    });
    const effects = [...also.also, opDelete(this.key), opDelete(desk.keys.outItem(id)), ...ops, ...desk.reads()];
    const inner = opTxn({
      compare: [...compare],
      success: effects,
      failure: head.group === null ? [] : [nextOf(desk.keys, head.group)],
    });
    const owned = created(this.key, '=', this.fence);
    return {
      compare: [owned],
      success: [also.compare.length === 0 ? inner : opTxn({ compare: also.compare, success: [inner], failure: [] })],
      failure: [],
    };
  }

  /**
   * Sends what ends it until it is known what has become of it. The answer is that of the part that says what was done;
   * without responses where an earlier attempt, whose answer was lost, has done it.
   */
  async #settle(request: (next: KeyValue | null) => TxnRequest, kind: 'done' | 'dead' | 'back'): Promise<TxnResponse> {
    this.#assertOurs();
    if (this.#settling) throw this.#busy();
    this.#settling = true;
    const limit = new AbortController();
    const late = (): void => limit.abort(new ApiError('deadline_exceeded', { detail: `settling ${this.#what()}` }));
    const cancel = this.#desk.clock.schedule(SETTLE_MS, late);
    try {
      let next: KeyValue | null = null;
      let doubted = false;
      for (;;) {
        const { answer, doubtful } = await persist(this.#desk, limit.signal, () => request(next), this.name);
        doubted ||= doubtful;
        if (!answer.succeeded) return await this.#judge(kind, doubted);
        const done = innermost(answer);
        if (done.kind === 'refused') {
          this.#settling = false;
          return { ...answer, succeeded: false, responses: [] };
        }
        if (done.kind === 'done') {
          this.#finish(new Released(this.#what()));
          this.#desk.learn(done.answer, done.answer.responses.length - 2);
          return done.answer;
        }
        next = done.next;
      }
    } catch (error) {
      this.#settling = false;
      throw error;
    } finally {
      cancel();
    }
  }

  /** The hold is not there: by an earlier attempt of ours, or because the item is not ours any more. */
  async #judge(kind: 'done' | 'dead' | 'back', doubted: boolean): Promise<TxnResponse> {
    const header = doubted ? await this.#doneByUs(kind) : null;
    if (header !== null) {
      this.#finish(new Released(this.#what()));
      return { header, succeeded: true, responses: [] };
    }
    this.lose(new EntryLost(this.#what()));
    throw new FencedOut(this.#what(), { token: this.fence });
  }

  /** Null: it was somebody else. */
  async #doneByUs(kind: 'done' | 'dead' | 'back'): Promise<Header | null> {
    const { clock, keys } = this.#desk;
    const limit = new AbortController();
    const cancel = clock.schedule(SETTLE_MS, () => limit.abort(new ApiError('deadline_exceeded', { detail: this.#what() })));
    try {
      let goneAt: Revision | null = null;
      while (goneAt === null) {
        await follow(this.#desk, [{ key: this.key }], { revision: this.fence, exclude: ['put'] }, limit.signal, ({ events }) => {
          goneAt = events[0]?.kv.modRevision ?? null;
          return true;
        });
        if (goneAt === null) await pause(clock, WATCH_AGAIN_MS, limit.signal);
        limit.signal.throwIfAborted();
      }
      const { answer } = await persist(this.#desk, limit.signal, () => ({
        success: [opRange(keys.done, { revision: goneAt ?? 0 })],
      }), this.name);
      const [counter] = kvsOf(answer.responses[0]);
      const end = counter?.modRevision === goneAt ? readEnd(counter) : null;
      // Without an end it went by us or with its lease; in both cases it is where it was to go, or will be.
      const isOurs = kind === 'back' ? end === null : end?.fence === this.fence && end.id === this.name;
      return isOurs ? answer.header : null;
    } catch (error) {
      if (!isApiError(error, 'compacted')) throw error;
      throw new ApiError('timeout', { cause: error });
    } finally {
      cancel();
    }
  }

  #assertOurs(): void {
    const cause = this.#ended();
    if (cause !== null) throw new FencedOut(this.#what(), { token: this.fence, cause });
  }

  #ended(): Error | null {
    if (this.#reason !== null) return this.#reason;
    for (const keeper of this.#keepers) {
      if (!keeper.live) this.#finish(asError(keeper.signal.reason));
    }
    return this.#reason;
  }

  #onSessionLost(reason: SessionLost): void {
    const standsOnIt = this.#keepers.includes(this.#desk.session);
    // Whoever closes the session gives everything back, also what stands on a lease of its own.
    if (standsOnIt || reason.reason === 'closed') this.lose(reason);
  }

  #onKeeperLost(keeper: Session, reason: Error): void {
    if (this.#reason === null && this.#keepers.includes(keeper)) this.lose(reason);
  }

  #finish(reason: Error): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    for (const forget of this.#forgets) forget();
    for (const keeper of this.#keepers) if (keeper !== this.#desk.session) void keeper.close();
    this.#desk.forget(this);
    this.#over.abort(reason);
    if (!(reason instanceof Released)) this.#desk.observe({ kind: 'lost', id: this.name, error: reason });
  }

  #busy(): ApiError {
    return new ApiError('invalid_request', { detail: `${this.#what()} is being settled already` });
  }

  #what(): string {
    return `item ${this.item.id} of queue ${this.#desk.keys.name}`;
  }
}

type Innermost =
  | { readonly kind: 'done'; readonly answer: TxnResponse }
  | { readonly kind: 'refused' }
  | { readonly kind: 'other_next'; readonly next: KeyValue | null };

/** What the transactions inside say; one level for the group's next, one around it for the caller's compares. */
function innermost(answer: TxnResponse): Innermost {
  const [first] = answer.responses;
  if (first?.kind !== 'txn') return { kind: 'done', answer };
  const { succeeded, responses } = first.response;
  const inner = { header: answer.header, succeeded, responses };
  if (succeeded) return responses.length === 1 ? innermost(inner) : { kind: 'done', answer: inner };
  return responses.length === 0 ? { kind: 'refused' } : { kind: 'other_next', next: kvsOf(responses[0])[0] ?? null };
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 1_000);
}

export function stallsOf(observe: (event: QueueEvent) => void) {
  return (event: { readonly kind: string; readonly gapMs?: number }): void => {
    if (event.kind === 'stalled' && event.gapMs !== undefined) observe({ kind: 'stalled', gapMs: event.gapMs });
  };
}
