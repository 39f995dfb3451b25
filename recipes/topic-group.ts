// Consumers that share a topic: each message is handed to one of them, in the order of positions, at least once. What a
// lost consumer had is handed out again, before anything new.
//
// Keys: topic-group-keys.ts.
// Transactions, all fenced by the turn, so that a late one of a former turn cannot land:
//   take   the cursor is unchanged and the message is there: move the cursor, put pending record and claim, read the message
//   again  the pending record is unchanged, without a claim: count one attempt more, put the claim, read the message
//   skip   the pending record's message is not kept any more: delete the record
//   reset  the topic went back: so does the cursor
// All consumers follow the group's state and the head by views; deciding costs nothing, and a view that lags costs one try.

import { onceAborted } from '../core/base/abort.js';
import { assert } from '../core/base/assert.js';
import { utf8 } from '../core/base/bytes.js';
import type { Client, KeyValue, LeaseId, Op, OpResponse, Revision, TxnRequest, TxnResponse } from '../core/client.js';
import { created, modified, opDelete, opPut, opRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import { orStopped } from './entry.js';
import type { FencedTxn } from './fenced-txn.js';
import { FencedOut } from './fenced-txn.js';
import type { HeldLock } from './lock.js';
import { lock } from './lock.js';
import type { Mark } from './marks.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, observing, pause } from './pause.js';
import type { Session } from './session.js';
import { TopicDelivery } from './topic-delivery.js';
import type { Cursor, GroupKeys, MessageKeys, Pending } from './topic-group-keys.js';
import { groupKeys, isClaimOf, messageKeys, readCursor, readPending, writeClaim, writePending } from './topic-group-keys.js';
import type { Head, TopicNames } from './topic-names.js';
import { Gap, readHead, readPosition } from './topic-names.js';
import { View } from './view.js';

const IN_FLIGHT = 256;
const IN_FLIGHT_MAX = 10_000;
const CALL_MS = 5_000;
const OPEN_MS = 30_000;
const CLOSE_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_000;
const CONCURRENCY_MAX = 1_000;

export interface GroupOptions extends WaitOptions {
  /** Where a group that does not exist yet begins. Default `oldest`. */
  readonly from?: 'oldest' | 'now';
  /**
   * Messages handed out and not acknowledged, of all consumers together; then taking waits. A consumer that
   * learns late of what others took may exceed it by that. Default 256.
   */
  readonly inFlightMax?: number;
  readonly observe?: (event: GroupEvent) => void;
}

export interface GroupConsumeOptions {
  /** Messages worked on at the same time. Default 1. */
  readonly concurrency?: number;
  /** Aborting ends it after what is being worked on. */
  readonly signal?: AbortSignal;
}

export type GroupEvent =
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  /** `consume`: the work threw; the message was given back. */
  | { readonly kind: 'work_failed'; readonly position: number; readonly attempt: number; readonly error: Error }
  | { readonly kind: 'missed'; readonly gap: Gap };

type Choice =
  | { readonly kind: 'take'; readonly cursor: Cursor; readonly position: number }
  | { readonly kind: 'again'; readonly pending: Pending }
  | { readonly kind: 'adopt'; readonly position: number }
  | { readonly kind: 'reset'; readonly cursor: Cursor; readonly head: Head; readonly headMod: Revision };

export class TopicGroup implements AsyncDisposable {
  readonly topic: string;
  readonly name: string;
  readonly session: Session;
  readonly #names: TopicNames;
  readonly #keys: GroupKeys;
  readonly #mark: Mark;
  readonly #me: { readonly by: string; readonly lease: LeaseId };
  readonly #claim: string;
  readonly #inFlightMax: number;
  readonly #observe: (event: GroupEvent) => void;
  readonly #backoff: Backoff;
  readonly #state: View;
  readonly #head: View;
  readonly #enders = new Set<(reason: Error) => void>();
  readonly #waiting = new Set<() => void>();
  readonly #mine = new Map<number, TopicDelivery>();
  /** Fences of claims of ours that are settled, while the view still shows them. */
  readonly #settled = new Map<number, Revision>();
  /** Pending records that could not be had, by their modification, until the view shows why. */
  readonly #refused = new Map<number, Revision>();
  #cursor: Cursor = { after: null, mod: 0 };
  /** Where the take of the last choice should have begun, when messages behind the cursor turned out to be missing. */
  #firstThere: { readonly cursor: Revision; readonly position: number } | null = null;
  /** Behind the cursor nothing was kept up to this position. */
  #emptyUpTo = 0;
  #missed: Gap | null = null;
  #takes = 0;
  #sweeping: Promise<void> | null = null;
  #closed: Promise<void> | null = null;
  readonly #following: Promise<unknown>;

  /** Resolves once the group exists and its state has been read. */
  static async open(session: Session, names: TopicNames, name: string, options: GroupOptions = {}): Promise<TopicGroup> {
    checkNumber('inFlightMax', options.inFlightMax, 1, IN_FLIGHT_MAX);
    const group = new TopicGroup(session, names, name, options);
    const { signal, timeoutMs = OPEN_MS } = options;
    const wait = group.#wait({ timeoutMs, ...(signal === undefined ? {} : { signal }) }, `joining the group ${name}`);
    try {
      await group.#found(options.from ?? 'oldest', wait.stop);
      await orStopped(Promise.all([group.#state.ready(), group.#head.ready()]), wait.stop);
      return group;
    } catch (error) {
      await group.close();
      throw error;
    } finally {
      wait.end();
    }
  }

  private constructor(session: Session, names: TopicNames, name: string, options: GroupOptions) {
    const { client, clock, lease } = session;
    this.topic = names.topic;
    this.name = name;
    this.session = session;
    this.#names = names;
    this.#keys = groupKeys(names, name);
    this.#mark = session.marks.take(this.#keys.claims);
    this.#me = { by: `${lease.toString(16)}${this.#mark.text}`, lease };
    this.#claim = writeClaim(this.#me.by, session.name);
    this.#inFlightMax = options.inFlightMax ?? IN_FLIGHT;
    this.#observe = observing(clock, options.observe);
    this.#backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, lease, this.#keys.root) });
    this.#state = View.follow(client, { prefix: this.#keys.state }, { clock });
    this.#head = View.follow(client, { key: names.head }, { clock });
    this.#following = Promise.all([this.#state, this.#head].map((view) => this.#follow(view)));
  }

  /** The next message for this consumer, as soon as there is one. */
  async take(options: WaitOptions = {}): Promise<TopicDelivery> {
    const wait = this.#wait(options, `taking a message of ${this.topic} for ${this.name}`);
    this.#takes += 1;
    try {
      for (;;) {
        const turn = await this.#turn(wait.stop);
        try {
          return await this.#takeInTurn(turn, wait.stop);
        } catch (error) {
          // Somebody has removed our entry from the line.
          if (!this.session.live) throw asError(this.session.signal.reason);
          if (!(error instanceof FencedOut)) throw error;
        } finally {
          await turn[Symbol.asyncDispose]();
        }
      }
    } catch (error) {
      if (wait.stop.aborted) throw wait.stop.reason;
      throw error;
    } finally {
      wait.end();
      this.#takes -= 1;
      this.#wake();
      this.#sweep();
    }
  }

  /**
   * Takes, works and acknowledges until the signal aborts. A message whose work throws is given back. Rejects when the
   * session is lost; what is being worked on then belongs to somebody else.
   */
  async consume(work: (delivery: TopicDelivery) => Promise<void> | void, options: GroupConsumeOptions = {}): Promise<void> {
    const { concurrency = 1, signal } = options;
    checkNumber('concurrency', concurrency, 1, CONCURRENCY_MAX);
    // One for each worker: hundreds of listeners on one signal make Node warn of a leak.
    const over = Array.from({ length: concurrency }, () => new AbortController());
    const onAbort = (): void => {
      for (const each of over) each.abort();
    };
    onceAborted(signal, onAbort);
    if (signal?.aborted === true) onAbort();
    try {
      const workers = over.map((each) => this.#work(work, each.signal));
      for (const worker of workers) worker.catch(onAbort);
      const outcomes = await Promise.allSettled(workers);
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Gives back what is not acknowledged, for at most 5 s, and takes nothing more. The session is left as it is. */
  async close(): Promise<void> {
    this.#closed ??= this.#leave();
    await this.#closed;
  }

  async #leave(): Promise<void> {
    const { clock } = this.session;
    for (const tell of this.#enders) tell(new ApiError('canceled', { detail: `the group ${this.name} was left` }));
    this.#enders.clear();
    const nacks = Promise.allSettled([...this.#mine.values()].map((delivery) => delivery.nack({ timeoutMs: CLOSE_MS })));
    // Its own way out of the line is bounded, too.
    while (this.#takes > 0) await new Promise<void>((resolve) => this.#waiting.add(resolve));
    await nacks;
    const what = `leaving the group ${this.name}`;
    try {
      await bounded(clock, { timeoutMs: CLOSE_MS, outer: this.session.signal, what }, (signal) => this.#giveBackAll(signal));
    } catch (error) {
      this.#observe({ kind: 'attempt_failed', error: asError(error) });
    }
    await this.#sweeping;
    await Promise.all([this.#state.close(), this.#head.close()]);
    await this.#following;
    this.session.marks.give(this.#keys.claims, this.#mark);
  }

  /** Also what no view has shown yet. Nothing more can land: every taking is fenced by a turn that is given back. */
  async #giveBackAll(stop: AbortSignal): Promise<void> {
    if (stop.aborted || this.#state.revision === 0) return;
    const range = opRange(utf8(this.#keys.claims), { rangeEnd: utf8(`${this.#keys.claims}~`) });
    const [answer] = (await this.#send({ success: [range] }, stop)).responses;
    for (const kv of rangeIn(answer)) {
      if (!isClaimOf(kv, this.#me)) continue;
      await this.#send({ compare: [created(kv.key, '=', kv.createRevision)], success: [opDelete(kv.key)] }, stop);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #work(work: (delivery: TopicDelivery) => Promise<void> | void, over: AbortSignal): Promise<void> {
    const { clock, lease } = this.session;
    const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, lease, this.name) });
    while (!over.aborted) {
      let delivery: TopicDelivery;
      try {
        delivery = await this.take({ signal: over });
      } catch (error) {
        if (over.aborted) return;
        throw error;
      }
      const { position, attempt } = delivery;
      try {
        await work(delivery);
        if (delivery.isHeld) await delivery.ack();
        backoff.reset();
      } catch (error) {
        this.#observe({ kind: 'work_failed', position, attempt, error: asError(error) });
        await delivery[Symbol.asyncDispose]();
        await pause(clock, backoff.next(), over);
      }
    }
  }

  /** What ends a wait: its own signal and time, the group, the session. */
  #wait(options: WaitOptions, what: string): { stop: AbortSignal; end: () => void } {
    const { signal, timeoutMs } = options;
    const control = new AbortController();
    const onAbort = (): void => control.abort(new ApiError('canceled', { detail: what, cause: signal?.reason }));
    const onStop = (reason: Error): void => control.abort(reason);
    const forget = this.session.onLost((reason) => control.abort(reason));
    const late = (): void => {
      control.abort(new ApiError('deadline_exceeded', { detail: `${what} took more than ${timeoutMs} ms` }));
    };
    const cancel = timeoutMs === undefined || timeoutMs === Infinity ? null : this.session.clock.schedule(timeoutMs, late);
    onceAborted(signal, onAbort);
    this.#enders.add(onStop);
    if (signal?.aborted === true) onAbort();
    if (this.#closed !== null) onStop(new ApiError('canceled', { detail: `the group ${this.name} was left` }));
    const end = (): void => {
      forget();
      cancel?.();
      signal?.removeEventListener('abort', onAbort);
      this.#enders.delete(onStop);
    };
    return { stop: control.signal, end };
  }

  #turn(stop: AbortSignal): Promise<HeldLock> {
    return lock(this.session, 'turn', {
      root: this.#keys.root,
      signal: stop,
      info: { name: this.session.name },
      observe: (event) => {
        if ('error' in event) this.#observe({ kind: 'attempt_failed', error: event.error });
      },
    });
  }

  async #takeInTurn(turn: HeldLock, stop: AbortSignal): Promise<TopicDelivery> {
    for (;;) {
      if (stop.aborted) throw stop.reason;
      const choice = this.#choose();
      if (choice === null) {
        await this.#change(stop);
        continue;
      }
      try {
        const delivery = await this.#attempt(choice, turn, stop);
        this.#backoff.reset();
        if (delivery !== null) return delivery;
      } catch (error) {
        if (stop.aborted || !isApiError(error) || (!error.retryable && error.outcome === 'never')) throw error;
        this.#observe({ kind: 'attempt_failed', error });
        await pause(this.session.clock, this.#backoff.next(), stop);
      }
    }
  }

  /** What to take next, by all that is known here; null: nothing, until that changes. */
  #choose(): Choice | null {
    const claims = this.#claims();
    const stray = claims.find((kv) => this.#isStray(kv));
    if (stray !== undefined) return { kind: 'adopt', position: readPosition(stray.key, this.#keys.claims) ?? 0 };
    const claimed = new Set(claims.map(({ key }) => readPosition(key, this.#keys.claims)));
    const all = this.#pending();
    const pending = all.find((each) => !claimed.has(each.position) && !this.#mine.has(each.position)
      && this.#refused.get(each.position) !== each.mod);
    if (pending !== undefined) return { kind: 'again', pending };
    const cursor = this.#newestCursor();
    const headKv = this.#head.get(this.#names.head);
    const head = readHead(headKv);
    if (head === null || headKv === null || cursor.mod === 0) return null;
    if (cursor.after !== null && head.last < cursor.after) return { kind: 'reset', cursor, head, headMod: headKv.modRevision };
    if (all.length >= this.#inFlightMax) return null;
    const next = (cursor.after ?? head.base) + 1;
    const from = this.#firstThere?.cursor === cursor.mod ? this.#firstThere.position : next;
    return head.last < next || head.last <= this.#emptyUpTo ? null : { kind: 'take', cursor, position: from };
  }

  async #attempt(choice: Choice, turn: HeldLock, stop: AbortSignal): Promise<TopicDelivery | null> {
    if (choice.kind === 'take') return this.#takeNew(choice.cursor, choice.position, turn, stop);
    if (choice.kind === 'again') return this.#takeAgain(choice.pending, turn, stop);
    if (choice.kind === 'adopt') return this.#adopt(choice.position, stop);
    const { cursor, head, headMod } = choice;
    const txn = turn.txn().compare(modified(this.#keys.cursor, '=', cursor.mod), modified(this.#names.head, '=', headMod))
      .put(this.#keys.cursor, JSON.stringify({ after: head.last }))
      .otherwise(opRange(this.#keys.cursor));
    const { succeeded, responses, header } = await this.#commit(txn, stop);
    if (succeeded) {
      this.#cursor = { after: head.last, mod: header.revision };
      this.#emptyUpTo = 0;
      this.#miss({ from: (cursor.after ?? 0) + 1, to: head.last, reason: 'reset' });
    } else {
      this.#learnCursor(responses[0], cursor);
      if (this.#newestCursor().mod === cursor.mod) await this.#change(stop);
    }
    return null;
  }

  async #takeNew(cursor: Cursor, position: number, turn: HeldLock, stop: AbortSignal): Promise<TopicDelivery | null> {
    const { cursor: cursorKey } = this.#keys;
    const { message, pending, claim } = this.#keysOf(position);
    const first = (cursor.after ?? position - 1) + 1;
    const missedFrom = first < position ? first : null;
    const rest = { rangeEnd: utf8(`${this.#names.log}~`), limit: 1, keysOnly: true };
    const txn = turn.txn().compare(modified(cursorKey, '=', cursor.mod), created(message, '>', 0))
      .range(message).put(cursorKey, JSON.stringify({ after: position }))
      .put(pending, writePending(1, missedFrom)).put(claim, this.#claim, { lease: this.session.lease })
      .otherwise(opRange(cursorKey), opRange(message, rest), opRange(this.#names.head));
    const { succeeded, responses, header } = await this.#commit(txn, stop);
    if (succeeded) {
      this.#cursor = { after: position, mod: header.revision };
      const [kv] = rangeIn(responses[0]);
      assert(kv !== undefined, 'a message that was compared is read');
      return this.#delivery(kv.value, header.revision, { position, attempt: 1, missedFrom, mod: header.revision });
    }
    if (this.#learnCursor(responses[0], cursor)) return null;
    const [next] = rangeIn(responses[1]);
    const there = next === undefined ? null : readPosition(next.key, this.#names.log);
    if (there === null) this.#emptyUpTo = readHead(rangeIn(responses[2])[0])?.last ?? 0;
    else this.#firstThere = { cursor: cursor.mod, position: there };
    return null;
  }

  async #takeAgain(record: Pending, turn: HeldLock, stop: AbortSignal): Promise<TopicDelivery | null> {
    const { message, pending, claim } = this.#keysOf(record.position);
    const unchanged = [modified(pending, '=', record.mod), created(claim, '=', 0)];
    const attempt = record.attempt + 1;
    const txn = turn.txn().compare(...unchanged, created(message, '>', 0))
      .range(message).put(pending, writePending(attempt, record.missedFrom))
      .put(claim, this.#claim, { lease: this.session.lease })
      .otherwise(opRange(message, { countOnly: true }));
    const { succeeded, responses, header } = await this.#commit(txn, stop);
    const [kv] = rangeIn(responses[0]);
    if (succeeded && kv !== undefined) {
      return this.#delivery(kv.value, header.revision, { ...record, attempt, mod: header.revision });
    }
    if (responses[0]?.kind === 'range' && responses[0].response.count === 0) {
      const dropped = await this.#commit(turn.txn().compare(...unchanged).delete(pending), stop);
      if (dropped.succeeded) this.#miss({ from: record.position, to: record.position, reason: 'trimmed' });
    }
    this.#refused.set(record.position, record.mod);
    return null;
  }

  /** A claim of ours that nobody here knows of: its answer was lost. */
  async #adopt(position: number, stop: AbortSignal): Promise<TopicDelivery | null> {
    const { message, pending, claim } = this.#keysOf(position);
    const answer = await this.#send({ success: [opRange(claim), opRange(pending), opRange(message)] }, stop);
    const [own, record, kv] = answer.responses.map((each) => rangeIn(each)[0]);
    if (own === undefined || !isClaimOf(own, this.#me)) {
      // The view lags.
      this.#settled.set(position, this.#state.get(claim)?.createRevision ?? 0);
      return null;
    }
    const found = record === undefined ? null : readPending(record, this.#keys.pending);
    if (kv !== undefined && found !== null) return this.#delivery(kv.value, own.createRevision, found);
    const dropped = await this.#send({
      compare: [created(claim, '=', own.createRevision)], success: [opDelete(claim), opDelete(pending)],
    }, stop);
    if (dropped.succeeded) this.#miss({ from: position, to: position, reason: 'trimmed' });
    this.#settled.set(position, own.createRevision);
    return null;
  }

  #delivery(body: Uint8Array, fence: Revision, record: Pending): TopicDelivery {
    const { position, attempt, missedFrom } = record;
    if (missedFrom !== null) this.#miss({ from: missedFrom, to: position - 1, reason: 'trimmed' });
    const { pending, claim } = this.#keysOf(position);
    const missed = this.#missed;
    this.#missed = null;
    const delivery = new TopicDelivery(this.session, {
      what: `message ${position} of ${this.topic} for ${this.name}`,
      position, body, attempt, missed, claim, pending, fence,
      onEnd: (isGone) => {
        this.#mine.delete(position);
        if (isGone) this.#settled.set(position, fence);
        else this.#sweep();
      },
    });
    this.#settled.delete(position);
    if (delivery.isHeld) this.#mine.set(position, delivery);
    return delivery;
  }

  #miss(missing: { from: number; to: number; reason: 'trimmed' | 'reset' }): void {
    const gap = new Gap(this.topic, missing);
    const before = this.#missed;
    this.#missed = before === null ? gap
      : new Gap(this.topic, { from: Math.min(before.from, gap.from), to: Math.max(before.to, gap.to), reason: gap.reason });
    this.#observe({ kind: 'missed', gap });
  }

  /** True: somebody has moved it. */
  #learnCursor(answer: OpResponse | undefined, before: Cursor): boolean {
    const [kv] = rangeIn(answer);
    if (kv === undefined || kv.modRevision === before.mod) return false;
    this.#cursor = readCursor(kv);
    return true;
  }

  #newestCursor(): Cursor {
    const kv = this.#state.get(this.#keys.cursor);
    if (kv !== null && kv.modRevision > this.#cursor.mod) this.#cursor = readCursor(kv);
    return this.#cursor;
  }

  #keysOf(position: number): MessageKeys {
    return messageKeys(this.#names, this.#keys, position);
  }

  #claims(): readonly KeyValue[] {
    const { claims } = this.#keys;
    return this.#state.entries().filter(({ key }) => readPosition(key, claims) !== null);
  }

  #pending(): readonly Pending[] {
    return this.#state.entries().flatMap((kv) => readPending(kv, this.#keys.pending) ?? []);
  }

  #isStray(kv: KeyValue): boolean {
    const position = readPosition(kv.key, this.#keys.claims);
    if (position === null || !isClaimOf(kv, this.#me)) return false;
    return !this.#mine.has(position) && this.#settled.get(position) !== kv.createRevision;
  }

  async #follow(view: View): Promise<void> {
    for await (const { puts, deletes } of view.changes) {
      if (view === this.#state) this.#look([...puts, ...deletes]);
      this.#wake();
      this.#sweep();
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** Whether what we hold is still ours, and what need not be remembered any more. */
  #look(changed: readonly KeyValue[]): void {
    for (const { key } of changed) {
      const position = readPosition(key, this.#keys.claims) ?? readPosition(key, this.#keys.pending);
      if (position === null) continue;
      const { claim, pending } = this.#keysOf(position);
      const now = this.#state.get(claim);
      const delivery = this.#mine.get(position);
      const isShown = delivery !== undefined && this.#state.revision >= delivery.fence;
      if (isShown && now?.createRevision !== delivery.fence) delivery.lose();
      if (now === null) this.#settled.delete(position);
      if (this.#state.get(pending)?.modRevision !== this.#refused.get(position)) this.#refused.delete(position);
    }
  }

  /** Claims of ours whose answer was lost, while nobody is there to take them: given back. */
  #sweep(): void {
    if (this.#sweeping !== null || this.#takes > 0 || !this.session.live) return;
    if (!this.#claims().some((kv) => this.#isStray(kv))) return;
    this.#sweeping = this.#giveBack().catch((error: unknown) => {
      this.#observe({ kind: 'attempt_failed', error: asError(error) });
    }).finally(() => {
      this.#sweeping = null;
    });
  }

  async #giveBack(): Promise<void> {
    const stop = this.session.signal;
    while (this.#takes === 0 && !stop.aborted) {
      const stray = this.#claims().find((kv) => this.#isStray(kv));
      if (stray === undefined) return;
      try {
        await this.#send({ compare: [created(stray.key, '=', stray.createRevision)], success: [opDelete(stray.key)] }, stop);
        this.#settled.set(readPosition(stray.key, this.#keys.claims) ?? 0, stray.createRevision);
      } catch (error) {
        if (stop.aborted || isApiError(error, 'closed')) return;
        this.#observe({ kind: 'attempt_failed', error: asError(error) });
        await pause(this.session.clock, this.#backoff.next(), stop);
      }
    }
  }

  /** Until a view says something new. */
  #change(stop: AbortSignal): Promise<void> {
    let wake = (): void => undefined;
    const changed = new Promise<void>((resolve) => {
      wake = resolve;
      this.#waiting.add(resolve);
    });
    return orStopped(changed, stop).finally(() => this.#waiting.delete(wake));
  }

  #commit(txn: FencedTxn, stop: AbortSignal): ReturnType<FencedTxn['commit']> {
    const call = { timeoutMs: CALL_MS, outer: stop, what: `taking a message of ${this.topic}` };
    return bounded(this.session.clock, call, (signal) => orStopped(txn.commit({ signal }), signal));
  }

  #send(request: TxnRequest, stop: AbortSignal): Promise<TxnResponse> {
    const call = { timeoutMs: CALL_MS, outer: stop, what: `the group ${this.name} of ${this.topic}` };
    const { client, clock }: { client: Client; clock: Session['clock'] } = this.session;
    return bounded(clock, call, (signal) => orStopped(client.txn(request, { signal }), signal));
  }

  /** Creates the group's cursor unless there is one. */
  async #found(from: 'oldest' | 'now', stop: AbortSignal): Promise<void> {
    const { head, log } = this.#names;
    for (;;) {
      try {
        const first: Op = opRange(utf8(log), { rangeEnd: utf8(`${log}~`), limit: 1, keysOnly: true });
        const read = await this.#send({ success: [opRange(this.#keys.cursor), opRange(head), first] }, stop);
        const [cursor, headKv, oldest] = read.responses.map((each) => rangeIn(each)[0]);
        if (cursor !== undefined) return;
        const there = from === 'now' || oldest === undefined ? null : readPosition(oldest.key, log);
        const after = there === null ? readHead(headKv)?.last ?? null : there - 1;
        const put = opPut(this.#keys.cursor, utf8(JSON.stringify({ after })));
        await this.#send({ compare: [created(this.#keys.cursor, '=', 0)], success: [put] }, stop);
        return;
      } catch (error) {
        if (stop.aborted || !isApiError(error) || (!error.retryable && error.outcome === 'never')) throw error;
        this.#observe({ kind: 'attempt_failed', error });
        await pause(this.session.clock, this.#backoff.next(), stop);
      }
    }
  }
}

function rangeIn(answer: OpResponse | undefined): readonly KeyValue[] {
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.kvs;
}

