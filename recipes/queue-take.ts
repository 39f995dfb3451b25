// Taking items: what one session does for all of its consumers of one queue. It has one transaction under way at a time,
// which takes for several consumers at once.
//
//   take   no pause, guard unchanged: for each consumer a chain of candidates, each compared as it was seen; the first
//          that is still there is moved from ready to out, with a hold on the session's lease. The answer also brings
//          what is ready now, so the next take needs no look of its own (queue-choice.ts)
//   wait   nothing is ready: stand in one of few lines; only the first of each watches (queue-lane.ts). Having got what
//          it waited for it leaves, and the next looks for itself
//   doubt  an answer was lost: put the guard, which every take compares, and read our holds. Nothing sent before can land
//          any more, and what has landed is among the holds and is handed out

import { utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type {
  Client, Compare, KeyValue, Op, OpResponse, Revision, TxnRequest, TxnResponse, WatchBatch,
} from '../core/client.js';
import { created, modified, opDelete, opPut, opRange, opTxn, versionIs } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import { isWorthRepeating } from './entry.js';
import { EntryLost } from './held.js';
import type { Holding } from './holding.js';
import type { Mark } from './marks.js';
import { type Backoff, chance, pause } from './pause.js';
import type { QueueEvent } from './queue-call.js';
import { call, either, fanned, follow, kvsOf, persist, retries, versionOf } from './queue-call.js';
import { type Candidate, Choice, type Pools } from './queue-choice.js';
import { type Desk, Taken } from './queue-delivery.js';
import type { Out, Pool, QueueKeys, Ready } from './queue-keys.js';
import { idOf, placeAt, readItem, readOut, writeOut } from './queue-keys.js';
import { care } from './queue-care.js';
import { Lane } from './queue-lane.js';
import type { Session } from './session.js';

/** What was read longer ago is read again before it is believed. */
const FRESH_MS = 100;
/** What is held for less needs no watch. */
const WATCH_AFTER_MS = 20;
const DEAD_AT_ONCE = 16;

/** A consumer that waits. */
interface Wish {
  /** Takes nothing for an answer. */
  readonly once: boolean;
  readonly give: (taken: Taken | null) => void;
  readonly refuse: (error: Error) => void;
}

interface Knowledge {
  readonly pools: Pools;
  readonly at: number;
  readonly revision: Revision;
}

export interface TakerOptions {
  readonly observe: (event: QueueEvent) => void;
  readonly deadMax: number;
  readonly backoffMs: (attempt: number) => number;
  readonly weight: (group: string) => number;
}

export class Taker implements Desk {
  readonly client: Client;
  readonly clock: Clock;
  readonly session: Session;
  readonly keys: QueueKeys;
  readonly observe: (event: QueueEvent) => void;
  readonly deadMax: number;
  readonly #options: TakerOptions;
  readonly #mark: Mark;
  readonly #who: string;
  readonly #choice: Choice;
  readonly #lane: Lane;
  readonly #backoff: Backoff;
  readonly #over = new AbortController();
  /** Aborts with `#over`; for what goes on beside the taking. */
  readonly #beside: { readonly follow: AbortSignal; readonly background: AbortSignal };
  /** In the order they came. */
  readonly #wishes = new Set<Wish>();
  readonly #held = new Map<string, Taken>();
  #idle = new AbortController();
  #running = false;
  #following = false;
  #known: Knowledge | null = null;
  #revision: Revision = 0;
  /** Nothing was ready at this revision. */
  #emptyAt: Revision = 0;
  #number = 0;
  #epoch = 0;
  #background: Promise<unknown> = Promise.resolve();
  #forgetSession: () => void = () => undefined;

  constructor(session: Session, keys: QueueKeys, options: TakerOptions) {
    this.client = session.client;
    this.clock = session.clock;
    this.session = session;
    this.keys = keys;
    this.observe = options.observe;
    this.deadMax = options.deadMax;
    this.#options = options;
    this.#mark = session.marks.take(keys.root);
    this.#who = `${session.lease.toString(16)}${this.#mark.text}`;
    const prng = chance(session.clock, session.lease, keys.root);
    this.#choice = new Choice(keys, prng);
    this.#lane = new Lane(session, keys, prng);
    this.#backoff = retries(session.clock, this.#who);
    const [careOver = this.#over.signal, followOver = careOver, background = careOver] = fanned(this.#over.signal, 3).signals;
    this.#beside = { follow: followOver, background };
    this.#forgetSession = session.onLost((reason) => this.#stop(reason));
    void care(this, careOver);
  }

  /** Resolves as soon as there is an item; what comes after `stop` has aborted is given back. */
  async take(stop: AbortSignal): Promise<Taken> {
    const taken = await this.#wait(stop, false);
    if (taken === null) throw new ApiError('internal', { detail: 'a wait for an item ended without an outcome' });
    return taken;
  }

  /** Null when nothing is ready now, or the queue is paused. */
  tryTake(stop: AbortSignal): Promise<Taken | null> {
    return this.#wait(stop, true);
  }

  async #wait(stop: AbortSignal, once: boolean): Promise<Taken | null> {
    this.session.assertLive();
    this.#over.signal.throwIfAborted();
    stop.throwIfAborted();
    return await new Promise<Taken | null>((resolve, reject) => {
      const settle = (): void => {
        this.#drop(wish);
        stop.removeEventListener('abort', onAbort);
      };
      const wish: Wish = {
        once,
        give: (taken) => {
          settle();
          resolve(taken);
        },
        refuse: (error) => {
          settle();
          reject(error);
        },
      };
      const onAbort = (): void => wish.refuse(asError(stop.reason));
      stop.addEventListener('abort', onAbort, { once: true });
      this.#wishes.add(wish);
      if (once) this.#lookNow();
      this.#start();
    });
  }

  #lookNow(): void {
    this.#known = null;
    this.#idle.abort(new ApiError('canceled', { detail: 'somebody wants to know now' }));
  }

  /** Nobody is served any more; what is held stays held. */
  close(): void {
    this.#stop(new ApiError('closed', { detail: `the queue ${this.keys.name} was closed` }));
  }

  backoffMs(attempt: number): number {
    return this.#options.backoffMs(attempt);
  }

  weight(group: string): number {
    return this.#options.weight(group);
  }

  place(): string {
    return placeAt(this.#revision, this.#number += 1);
  }

  note(revision: Revision): void {
    this.#revision = Math.max(this.#revision, revision);
  }

  reads(): readonly Op[] {
    const limit = this.#choice.limit(this.#wishes.size);
    return this.keys.ready.map(({ key, rangeEnd }) => {
      return opRange(key, { ...(rangeEnd === undefined ? {} : { rangeEnd }), limit, keysOnly: true });
    });
  }

  learn(answer: TxnResponse, from: number): void {
    const { revision } = answer.header;
    if (this.#known !== null && revision < this.#known.revision) return;
    this.note(revision);
    const pool = (at: number): readonly Candidate[] => this.#candidates(kvsOf(answer.responses[at]));
    this.#known = { pools: [pool(from), pool(from + 1)], at: this.clock.now(), revision };
  }

  forget(taken: Taken): void {
    this.#held.delete(taken.name);
  }

  /** Dead items beyond the limit go, the oldest first. */
  trim(): void {
    this.#inBackground(async () => {
      const { key, rangeEnd } = this.keys.deads;
      const range = { ...(rangeEnd === undefined ? {} : { rangeEnd }), keysOnly: true, limit: DEAD_AT_ONCE } as const;
      const oldest = opRange(key, { ...range, sortTarget: 'create', sortOrder: 'ascend' });
      for (;;) {
        const { answer } = await persist(this, this.#beside.background, () => ({ success: [oldest] }), this.#who);
        const [first] = answer.responses;
        const beyond = first?.kind === 'range' ? first.response.count - this.deadMax : 0;
        if (beyond <= 0) return;
        const ops = kvsOf(first).slice(0, beyond).map((kv) => opTxn({
          compare: [created(kv.key, '=', kv.createRevision)],
          success: [opDelete(kv.key), opDelete(this.keys.item(idOf(kv.key)))],
        }));
        await persist(this, this.#beside.background, () => ({ success: ops }), this.#who);
      }
    });
  }

  #drop(wish: Wish): void {
    this.#wishes.delete(wish);
    if (this.#wishes.size === 0) this.#idle.abort(new ApiError('canceled', { detail: 'nobody waits' }));
  }

  #stop(reason: Error): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort(reason);
    this.#forgetSession();
    for (const wish of [...this.#wishes]) wish.refuse(reason);
    if (!this.session.live) return;
    this.#inBackground(async () => {
      await this.#leaveLane();
    });
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    try {
      while (this.#wishes.size > 0 && !this.#over.signal.aborted) {
        if (this.#idle.signal.aborted) this.#idle = new AbortController();
        await this.#step(this.#idle.signal);
      }
    } catch (error) {
      for (const wish of [...this.#wishes]) wish.refuse(asError(error));
    }
    this.#running = false;
    // Somebody may have come between the last look and here.
    if (this.#wishes.size > 0 && !this.#over.signal.aborted) this.#start();
    else this.#inBackground(() => this.#leaveLane());
  }

  /** One take, or one wait. */
  async #step(idle: AbortSignal): Promise<void> {
    const known = this.#known;
    const fresh = known !== null && this.clock.now() - known.at <= FRESH_MS;
    const outcome = await this.#take(fresh ? this.#choice.inOrder(known.pools) : []);
    if (outcome === 'failed') return;
    const paused = outcome === 'paused';
    const more = this.#known?.pools.some((pool) => pool.length > 0) ?? true;
    if (this.#wishes.size === 0 || (more && !paused)) return;
    for (const wish of [...this.#wishes]) if (wish.once) wish.give(null);
    if (this.#wishes.size === 0) return;
    // What was read before standing first in a lane is not to be waited on.
    const { head } = this.#lane;
    if (head === null) await this.#standInLane(idle);
    else await this.#watch(head, paused, idle);
  }

  /** Takes what it can of them; without any it only looks. */
  async #take(candidates: readonly Candidate[]): Promise<'taken' | 'paused' | 'failed'> {
    const chains = this.#choice.chains(candidates, this.#wishes.size);
    let answer: TxnResponse;
    try {
      answer = await call(this, this.#over.signal, this.#request(chains));
      this.#backoff.reset();
    } catch (error) {
      this.#over.signal.throwIfAborted();
      this.#known = null;
      if (!isWorthRepeating(error)) throw error;
      if (error.code === 'lease_not_found') this.session.suspect();
      this.observe({ kind: 'attempt_failed', error });
      if (error.outcome === 'unknown' && chains.length > 0) await this.#resolveDoubt();
      await pause(this.clock, this.#backoff.next(), this.#over.signal);
      return 'failed';
    }
    this.session.assertLive();
    if (!answer.succeeded) {
      this.#epoch = versionOf(answer.responses[1]);
      this.learn(answer, 2);
      // Else it is the guard that was not as we knew it: now it is.
      return kvsOf(answer.responses[0]).length > 0 ? 'paused' : 'failed';
    }
    this.learn(answer, chains.length);
    const depths = chains.map((chain, i) => this.#receive(answer, chain, answer.responses[i]));
    this.#choice.adapt(depths);
    return 'taken';
  }

  #request(chains: readonly (readonly Candidate[])[]): TxnRequest {
    const { paused } = this.keys;
    const guard = this.keys.guard(this.#who);
    return {
      compare: [created(paused, '=', 0), versionIs(guard, '=', this.#epoch)],
      success: [...chains.flatMap((chain) => this.#chainOp(chain) ?? []), ...this.reads()],
      failure: [opRange(paused, { keysOnly: true }), opRange(guard, { keysOnly: true }), ...this.reads()],
    };
  }

  #chainOp([first, ...others]: readonly Candidate[]): Op | null {
    if (first === undefined) return null;
    const next = this.#chainOp(others);
    const { id } = first;
    const compare: Compare[] = [modified(first.key, '=', first.modRevision)];
    const success = [
      opDelete(first.key),
      opPut(this.keys.outItem(id), writeOut(this.#outOf(first))),
      opPut(this.keys.hold(this.#who, id), utf8(''), { lease: this.session.lease }),
      opRange(this.keys.item(id)),
    ];
    return opTxn({ compare, success, failure: next === null ? [] : [next] });
  }

  #outOf({ place, attempts, turns }: Ready): Out {
    return { place, attempts: attempts + 1, turns, by: this.#who, entered: true };
  }

  /** Hands out what a chain has taken; how far down the chain that was, or null. */
  #receive(answer: TxnResponse, chain: readonly Candidate[], response: OpResponse | undefined): number | null {
    let at = response;
    for (const [depth, candidate] of chain.entries()) {
      if (at?.kind !== 'txn') return null;
      if (at.response.succeeded) {
        this.#choice.served(candidate, answer.header.revision);
        this.#found(candidate.id, this.#outOf(candidate), answer.header.revision, kvsOf(at.response.responses[3])[0]);
        return depth;
      }
      at = at.response.responses[0];
    }
    return null;
  }

  #found(id: string, out: Out, fence: Revision, kv: KeyValue | undefined): void {
    const read = kv === undefined ? null : readItem(kv.value);
    const hold = this.keys.hold(this.#who, id);
    if (read === null) {
      this.#inBackground(() => this.#discard(id, hold, fence));
      return;
    }
    const taken = new Taken({ id, head: read.head, body: read.body, out, hold, fence }, this);
    this.#held.set(id, taken);
    void this.#follow(fence);
    const [wish] = this.#wishes;
    if (wish !== undefined) wish.give(taken);
    else void taken.settled(() => taken.release());
  }

  /** An entry without an item: somebody deleted the item, or it is not one of ours. */
  async #discard(id: string, hold: Uint8Array, fence: Revision): Promise<void> {
    this.observe({ kind: 'lost', id, error: new EntryLost(`item ${id} of queue ${this.keys.name}`) });
    await persist(this, this.#beside.background, () => ({
      compare: [created(hold, '=', fence)],
      success: [opDelete(hold), opDelete(this.keys.outItem(id))],
    }), this.#who);
  }

  /** Nothing that was sent before can land after this; what has landed is handed out. */
  async #resolveDoubt(): Promise<void> {
    const guard = this.keys.guard(this.#who);
    const { key, rangeEnd } = this.keys.holdsOf(this.#who);
    const { answer } = await persist(this, this.#over.signal, () => ({
      success: [
        opPut(guard, utf8(''), { lease: this.session.lease }),
        opRange(guard, { keysOnly: true }),
        opRange(key, { ...(rangeEnd === undefined ? {} : { rangeEnd }), keysOnly: true }),
      ],
    }), this.#who);
    this.#epoch = versionOf(answer.responses[1]);
    for (const hold of kvsOf(answer.responses[2])) {
      const id = idOf(hold.key);
      if (this.#held.get(id)?.fence === hold.createRevision) continue;
      const read = await persist(this, this.#over.signal, () => ({
        compare: [created(hold.key, '=', hold.createRevision)],
        success: [opRange(this.keys.outItem(id)), opRange(this.keys.item(id))],
      }), this.#who);
      const out = readOut(kvsOf(read.answer.responses[0])[0]);
      if (read.answer.succeeded && out !== null) this.#found(id, out, hold.createRevision, kvsOf(read.answer.responses[1])[0]);
    }
  }

  #candidates(kvs: readonly KeyValue[]): readonly Candidate[] {
    return kvs.flatMap((kv) => this.#choice.candidate(kv) ?? []);
  }

  async #standInLane(idle: AbortSignal): Promise<void> {
    const both = either(idle, this.#over.signal);
    try {
      await this.#lane.stand(both.signal);
      this.#known = null;
    } catch (error) {
      if (this.#over.signal.aborted) throw this.#over.signal.reason;
      if (!idle.aborted) throw error;
    } finally {
      both.forget();
    }
  }

  /** Until nobody waits any more, the pause begins or ends, or it is not our turn any more. Takes what it sees. */
  async #watch(head: Holding, paused: boolean, idle: AbortSignal): Promise<void> {
    const revision = this.#known?.revision ?? 0;
    this.#emptyAt = revision;
    const both = either(idle, this.#over.signal, head.signal);
    const range = paused ? { key: this.keys.paused } : this.keys.readyAll;
    const from = { revision, exclude: [paused ? 'put' : 'delete'] } as const;
    try {
      const settled = await follow(this, [range], from, both.signal, async (batch) => {
        if (!paused) return await this.#takeSeen(batch);
        this.#known = null;
        return true;
      });
      if (!settled) await this.#lookAgain(both.signal);
    } catch (error) {
      if (this.#over.signal.aborted) throw this.#over.signal.reason;
      if (!both.signal.aborted) throw error;
      this.#known = null;
    } finally {
      both.forget();
    }
  }

  /** True: there is nothing to go on watching for. */
  async #takeSeen({ events, header }: WatchBatch): Promise<boolean> {
    // What came before nothing was ready is gone. Of an item that has come more than once only the last entry can be there.
    const news = this.#candidates(events.map(({ kv }) => kv).filter(({ modRevision }) => modRevision > this.#emptyAt));
    if (news.length === 0) return false;
    const seen = [...new Map(news.map((candidate) => [candidate.id, candidate])).values()];
    const pool = (number: Pool): readonly Candidate[] => seen.filter((one) => one.pool === number);
    let known: Knowledge = { pools: [pool(0), pool(1)], at: this.clock.now(), revision: header.revision };
    this.#known = known;
    while (this.#wishes.size > 0) {
      const candidates = this.#choice.inOrder(known.pools);
      if (candidates.length === 0) {
        this.#emptyAt = known.revision;
        return false;
      }
      if (await this.#take(candidates) !== 'taken') return true;
      if (this.#known === null) return true;
      known = this.#known;
    }
    return true;
  }

  async #lookAgain(stop: AbortSignal): Promise<void> {
    this.#known = null;
    await pause(this.clock, this.#backoff.next(), stop);
  }

  async #leaveLane(): Promise<void> {
    if (this.#wishes.size === 0) await this.#lane.leave();
  }

  /** Tells the deliveries whose holds somebody deletes. Once begun it goes on as long as the session does. */
  async #follow(from: Revision): Promise<void> {
    if (this.#following) return;
    this.#following = true;
    const range = this.keys.holdsOf(this.#who);
    const over = this.#beside.follow;
    let revision = from;
    try {
      await pause(this.clock, WATCH_AFTER_MS, over);
      while (!over.aborted && this.#held.size > 0) {
        await follow(this, [range], { revision, exclude: ['put'] }, over, ({ events }) => {
          for (const { kv } of events) this.#gone(idOf(kv.key), kv.modRevision);
          return false;
        });
        await pause(this.clock, this.#backoff.next(), over);
        const { answer } = await persist(this, over, () => ({ success: [rangeOf(range)] }), this.#who);
        revision = answer.header.revision;
        const there = new Map(kvsOf(answer.responses[0]).map((kv) => [idOf(kv.key), kv.createRevision]));
        for (const [id, taken] of [...this.#held]) if (there.get(id) !== taken.fence) this.#gone(id, revision);
      }
    } catch (error) {
      if (!over.aborted) this.observe({ kind: 'attempt_failed', error: asError(error) });
    } finally {
      this.#following = false;
    }
  }

  #gone(id: string, revision: Revision): void {
    const taken = this.#held.get(id);
    if (taken === undefined || taken.isSettling || taken.fence >= revision) return;
    taken.lose(new EntryLost(`item ${id} of queue ${this.keys.name}`));
    // Perhaps it was the lease that went.
    this.session.suspect();
  }

  #inBackground(work: () => Promise<unknown>): void {
    this.#background = Promise.allSettled([this.#background, this.#observed(work)]);
  }

  async #observed(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#over.signal.aborted) this.observe({ kind: 'attempt_failed', error: asError(error) });
    }
  }
}

function rangeOf(range: { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array }): Op {
  return { kind: 'range', request: { ...range, keysOnly: true } };
}
