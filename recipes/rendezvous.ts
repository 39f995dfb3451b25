// One who comes to a barrier: it arrives, waits for the decision, and goes. What is decided stands in one record of the
// generation, written by whoever sees first that it must be, so that nobody can be told anything else.
//
//   survey   read the newest generation: join it, open the next, or be told that it is broken or full
//   open     the last one is over as we read it, there is no newer: put the tally and our entry; forget older ones
//   join     undecided, for as many as we say, not full, our entry not there: put our entry, count in the tally
//   decide   undecided, and everybody has arrived: put 'passed' ('entered')
//   break    undecided: put 'broken'. Done by who gives up, and by who sees fewer entries than have arrived
//   leaving  entered, our entry has not been marked: mark it, count in `left`. Whoever counts last decides 'passed'
//   remove   our entry is there: delete it, and what is left of the generation when we were the last of an older one
//
// Nobody polls and nobody wakes a herd: each watches the decision, and the entry that arrived just before its own; the
// first watches all. So whoever is lost, somebody who is left sees it. A request whose answer was lost is sent again as it
// was until it is answered, and a wait that ends closes the door to one that may still land.

import { EMPTY, text, utf8 } from '../core/base/bytes.js';
import type {
  Compare, KeyValue, Op, RangeRequest, RangeResponse, Revision, TxnRequest, TxnResponse, WatchRequest,
} from '../core/client.js';
import { created, modified, opDelete, opPut, opRange, opTxn, valueIs, versionIs } from '../core/client.js';
import type { ErrorCode } from '../core/errors.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { BarrierNames, BreakReason, Outcome, Phase } from './barrier-names.js';
import {
  BarrierBroken, BarrierRefused, generationOf, partiesIn, readOutcome, writeOutcome, writeTally,
} from './barrier-names.js';
import { found } from './coordination-names.js';
import { asError } from './deletion.js';
import { orStopped } from './entry.js';
import { EntryMayRemain } from './held.js';
import type { Mark } from './marks.js';
import type { Session } from './session.js';
import type { Bench } from './task.js';
import { Task } from './task.js';

const CALL_MS = 5_000;
/** How long a wait that ends tries to tell the others before it leaves that to the background. */
const LEAVE_MS = 5_000;
/** Older generations looked at with each opening; more than can come to be with each. */
const FORGET_MAX = 4;

export interface Place {
  readonly names: BarrierNames;
  readonly parties: number;
  /** What it is when everybody has arrived. */
  readonly passes: 'passed' | 'entered';
  readonly observe: Task['observe'];
}

/** What was read of our generation. */
interface Look {
  readonly revision: Revision;
  readonly outcome: Outcome | null;
  readonly arrived: number;
  /** Entries that are there. */
  readonly present: number;
  readonly left: number;
  /** The entry just before ours; null: we are the first. */
  readonly ahead: Uint8Array | null;
  readonly own: KeyValue | null;
}

/** A request that may still land: how it would, and what it builds on. */
type Door = { readonly kind: 'join' } | { readonly kind: 'open'; readonly before: KeyValue };

export class Rendezvous {
  readonly session: Session;
  readonly #place: Place;
  readonly #bench: Bench;
  readonly #mark: Mark;
  readonly #line: string;
  generation = 0;
  /** In the order of arrival, from 0. */
  index = 0;
  #own: Uint8Array = EMPTY;
  #fence: Revision = 0;
  #loose: Door | null = null;
  #look: Look | null = null;

  constructor(session: Session, place: Place) {
    this.session = session;
    this.#place = place;
    this.#bench = { client: session.client, clock: session.clock, session };
    this.#line = `${place.names.prefix}in/`;
    this.#mark = session.marks.take(this.#line);
  }

  /** Resolves when we are in. Rejects with `BarrierBroken` or `BarrierRefused` when we are not, and have changed nothing. */
  async arrive(task: Task): Promise<void> {
    while (this.#fence === 0) {
      const next = await this.#survey(task);
      if (next === null) continue;
      this.generation = next.generation;
      this.#own = utf8(`${this.#place.names.line(this.generation)}${this.session.lease.toString(16)}${this.#mark.text}`);
      const answer = next.before === null
        ? await this.#send(task, { kind: 'join' }, this.#joining())
        : await this.#send(task, { kind: 'open', before: next.before }, this.#opening(next.before, next.older));
      this.#loose = null;
      if (answer.succeeded) this.#arrived(answer.header.revision, answer);
      else await this.#onRefusal(task, answer);
    }
  }

  /** The decision on this phase. Our own end is the task's. */
  async decision(task: Task, phase: Phase): Promise<Outcome> {
    for (;;) {
      const look = this.#look ?? await this.#lookAgain(task);
      this.#look = null;
      task.assertWanted();
      const outcome = await this.#judge(task, look, phase);
      if (outcome !== null) return outcome;
      const seen = await this.#change(task, look);
      if (seen !== null && isDecision(seen, phase)) return seen;
    }
  }

  /** Says that we want to leave. Idempotent; the decision is then the others' too. */
  async leaving(task: Task): Promise<void> {
    const { names } = this.#place;
    await task.persist(() => this.#call({
      compare: [
        created(this.#own, '=', this.#fence), versionIs(this.#own, '=', 1),
        valueIs(names.outcome(this.generation), '=', writeOutcome({ kind: 'entered' })),
      ],
      success: [
        opPut(this.#own, EMPTY, { ignoreValue: true, lease: this.session.lease }),
        opPut(names.left(this.generation), utf8('')),
      ],
    }));
  }

  /** Asks the store for the decision anew, if there is one to be made: after `leaving`. */
  async settle(task: Task): Promise<Outcome | null> {
    return this.#judge(task, await this.#lookAgain(task), 'leave');
  }

  /**
   * The wait is over before the decision: tells the others, unless we were never in (null). What it resolves with is the
   * decision, whoever made it. Rejects with `EntryMayRemain` if the store cannot be reached, and goes on in the background.
   */
  async giveUp(phase: Phase, reason: BreakReason, error: unknown): Promise<Outcome | null> {
    if (this.#fence === 0 && this.#loose === null) return null;
    const door = this.#loose;
    const telling = (options: { timeoutMs?: number }): Promise<Outcome | null> => this.#asTask('leaving', options, (task) => {
      return door?.kind === 'open' ? this.#closeOpening(task, door.before, reason) : this.#breakOff(task, phase, reason);
    });
    try {
      return await telling({ timeoutMs: Math.min(LEAVE_MS, this.session.ttlMs) });
    } catch (failure) {
      if (!this.session.live) throw asError(this.session.signal.reason);
      void this.#later(async () => {
        await telling({});
        await this.#asTask('leaving', {}, (task) => this.#remove(task));
      });
      const code: ErrorCode = isApiError(error) ? error.code : 'deadline_exceeded';
      throw new EntryMayRemain(code, `leaving ${this.#place.names.what}`, error ?? failure);
    }
  }

  /** Removes our entry in the background, for as long as the session lives. */
  remove(): void {
    void this.#later(() => this.#asTask('leaving', {}, (task) => this.#remove(task)));
  }

  broken(reason: BreakReason, cause?: unknown): BarrierBroken {
    return new BarrierBroken(this.#place.names.what, this.generation, cause === undefined ? { reason } : { reason, cause });
  }

  /** Null: look again. `before`: the outcome of the generation before the one to open; null: the generation is there. */
  async #survey(task: Task): Promise<{ generation: number; before: KeyValue | null; older: readonly number[] } | null> {
    const { names } = this.#place;
    const newest = { sortTarget: 'key', sortOrder: 'descend', limit: 1 } as const;
    const answer = await task.persist(() => this.#call({ success: [
      opRange(names.outcomes.key, { ...names.outcomes, ...newest }),
      opRange(names.tallies.key, { ...names.tallies, ...newest }),
      opRange(names.tallies.key, { ...names.tallies, limit: FORGET_MAX, keysOnly: true }),
    ] }));
    const [outcome, tally] = [found(answer.responses, 0)[0], found(answer.responses, 1)[0]];
    const [decided, counted] = [numberOf(outcome), numberOf(tally)];
    if (counted > decided) return { generation: counted, before: null, older: [] };
    if (outcome === undefined) {
      await this.#begin(task, answer.header.revision);
      return null;
    }
    const was = readOutcome(outcome.value);
    this.generation = decided;
    if (was.kind === 'entered') throw this.#full();
    if (was.kind === 'broken' && !was.over) throw this.broken(was.reason);
    const past = found(answer.responses, 2).map(numberOf).filter((each) => each < decided);
    return { generation: decided + 1, before: outcome, older: [...past, decided] };
  }

  /** The first of all generations has nothing before it; what it is opened on is this. */
  async #begin(task: Task, revision: Revision): Promise<void> {
    const { names } = this.#place;
    const absent = [names.outcomes, names.tallies].map(({ key, rangeEnd = EMPTY }): Compare => {
      return { ...created(key, '=', 0), rangeEnd };
    });
    const success = [opPut(names.outcome(revision), writeOutcome({ kind: 'passed' }))];
    await task.persist(() => this.#call({ compare: absent, success }));
  }

  #opening(before: KeyValue, older: readonly number[]): TxnRequest {
    const { names, parties } = this.#place;
    return {
      compare: [...this.#unopened(before), created(this.#own, '=', 0)],
      success: [
        opPut(names.tally(this.generation), writeTally(parties)),
        opPut(this.#own, utf8(this.session.name), { lease: this.session.lease }),
        ...this.#reads(null),
        ...older.map((generation) => names.forget(generation, null)),
      ],
      failure: this.#reads(null),
    };
  }

  #joining(): TxnRequest {
    const { names, parties } = this.#place;
    const tally = names.tally(this.generation);
    return {
      compare: [
        created(names.outcome(this.generation), '=', 0), created(this.#own, '=', 0),
        valueIs(tally, '=', writeTally(parties)), versionIs(tally, '<', parties),
      ],
      success: [
        opPut(this.#own, utf8(this.session.name), { lease: this.session.lease }),
        opPut(tally, EMPTY, { ignoreValue: true }),
        ...this.#reads(null),
      ],
      failure: this.#reads(null),
    };
  }

  /** The generation before is over as we know it, and nobody has opened the next. */
  #unopened(before: KeyValue): Compare[] {
    const { key, rangeEnd } = this.#place.names.from(this.generation);
    return [modified(before.key, '=', before.modRevision), { ...created(key, '=', 0), rangeEnd }];
  }

  #arrived(fence: Revision, answer: TxnResponse): void {
    this.#fence = fence;
    this.#look = this.#read(answer, 2);
    this.index = this.#look.arrived - 1;
  }

  /** Our entry is there already; or the generation is not one that we can join. */
  async #onRefusal(task: Task, answer: TxnResponse): Promise<void> {
    const { names, parties } = this.#place;
    const look = this.#read(answer, 0);
    const [tally] = found(answer.responses, 1);
    if (look.own !== null && look.own.lease === this.session.lease) {
      this.#fence = look.own.createRevision;
      this.index = await this.#indexOf(task, this.#fence);
      return;
    }
    if (look.outcome !== null || tally === undefined) return;
    const present = partiesIn(tally);
    if (present !== parties) throw new BarrierRefused(names.what, 'parties', { parties, present });
    if (look.arrived < parties) return;
    // Full and undecided: either the last one is about to decide, or somebody was lost whom nobody saw go.
    if (look.present === look.arrived) throw this.#full();
    await this.#break(task, 'enter', 'lost');
  }

  /** How many had arrived before the revision at which we did. */
  async #indexOf(task: Task, fence: Revision): Promise<number> {
    const { names } = this.#place;
    const range = (request: RangeRequest): Promise<RangeResponse> => {
      return task.persist(() => this.session.client.range(request, { timeoutMs: CALL_MS }));
    };
    try {
      const { kvs } = await range({ key: names.tally(this.generation), revision: fence });
      return (kvs[0]?.version ?? 1) - 1;
    } catch (error) {
      if (!isApiError(error, 'compacted')) throw error;
      // Then by who is still there.
      return (await range({ ...names.members(this.generation), maxCreateRevision: fence - 1, keysOnly: true })).kvs.length;
    }
  }

  #full(): BarrierRefused {
    const { names, parties } = this.#place;
    return new BarrierRefused(names.what, 'full', { parties, present: parties });
  }

  async #judge(task: Task, look: Look, phase: Phase): Promise<Outcome | null> {
    const { parties, passes } = this.#place;
    const { outcome } = look;
    if (outcome !== null && isDecision(outcome, phase)) return outcome;
    if (look.arrived === 0 || (phase === 'leave' && outcome === null)) return gone(phase);
    // With the lease it may be the session that went.
    if (look.own === null) this.session.suspect();
    if (look.present < (phase === 'enter' ? look.arrived : parties)) return this.#break(task, phase, 'lost');
    if (phase === 'enter' && look.arrived >= parties) return this.#decide(task, phase, passes);
    if (phase === 'leave' && look.left >= parties) return this.#decide(task, phase, 'passed');
    return null;
  }

  #decide(task: Task, phase: Phase, kind: 'passed' | 'entered'): Promise<Outcome> {
    return this.#put(task, phase, { kind });
  }

  #break(task: Task, phase: Phase, reason: BreakReason): Promise<Outcome> {
    return this.#put(task, phase, { kind: 'broken', phase, reason, over: false });
  }

  /** What is decided, by us or by whoever was faster. */
  async #put(task: Task, phase: Phase, outcome: Outcome, aside: readonly Op[] = []): Promise<Outcome> {
    const key = this.#place.names.outcome(this.generation);
    const answer = await task.persist(() => this.#call({
      compare: this.#undecided(phase),
      success: [opPut(key, writeOutcome(outcome)), ...aside],
      failure: [opRange(key)],
    }));
    if (answer.succeeded) return outcome;
    const [kv] = found(answer.responses, 0);
    return kv === undefined ? gone(phase) : readOutcome(kv.value);
  }

  #undecided(phase: Phase): Compare[] {
    const { names } = this.#place;
    const key = names.outcome(this.generation);
    if (phase === 'leave') return [valueIs(key, '=', writeOutcome({ kind: 'entered' }))];
    return [created(key, '=', 0), created(names.tally(this.generation), '>', 0)];
  }

  /** Breaks it and goes, in one; null: it turns out that we were not in. */
  async #breakOff(task: Task, phase: Phase, reason: BreakReason): Promise<Outcome | null> {
    const outcome = await this.#put(task, phase, { kind: 'broken', phase, reason, over: false }, [opDelete(this.#own)]);
    if (this.#fence !== 0) return outcome;
    const [own] = (await task.persist(() => this.session.client.range({ key: this.#own }, { timeoutMs: CALL_MS }))).kvs;
    const mine = outcome.kind === 'broken' && outcome.reason === reason;
    return own === undefined && !mine ? null : outcome;
  }

  /** Our opening was not answered: touches what it compares, so that it cannot land; or breaks what it has opened. */
  async #closeOpening(task: Task, before: KeyValue, reason: BreakReason): Promise<Outcome | null> {
    const key = this.#place.names.outcome(this.generation);
    const outcome: Outcome = { kind: 'broken', phase: 'enter', reason, over: false };
    const answer = await task.persist(() => this.#call({
      compare: this.#unopened(before),
      success: [opPut(before.key, before.value)],
      failure: [opTxn({
        compare: [created(this.#own, '>', 0), created(key, '=', 0)],
        success: [opPut(key, writeOutcome(outcome)), opDelete(this.#own)],
        failure: [opRange(key), opRange(this.#own)],
      })],
    }));
    const [inner] = answer.responses;
    if (answer.succeeded || inner?.kind !== 'txn') return null;
    if (inner.response.succeeded) return outcome;
    const [decided, own] = [found(inner.response.responses, 0)[0], found(inner.response.responses, 1)[0]];
    // Decided with our entry in it; or broken by our own first try, whose answer was lost.
    if (decided === undefined) return null;
    const was = readOutcome(decided.value);
    return own !== undefined || (was.kind === 'broken' && was.reason === reason) ? was : null;
  }

  async #remove(task: Task): Promise<void> {
    const { names } = this.#place;
    if (this.#fence === 0) return;
    const newer = names.from(this.generation + 1);
    const isOld = { ...created(newer.key, '>', 0), rangeEnd: newer.rangeEnd };
    await task.persist(() => this.#call({
      compare: [created(this.#own, '=', this.#fence)],
      success: [opDelete(this.#own), names.forget(this.generation, this.#own, [isOld])],
    }));
  }

  /** The answers that `#read` takes, at the revision of the transaction. */
  #reads(fence: Revision | null): Op[] {
    const { names } = this.#place;
    const { key, rangeEnd } = names.members(this.generation);
    const before = fence === null ? { limit: 2 } : { limit: 1, maxCreateRevision: fence - 1 };
    return [
      opRange(names.outcome(this.generation)), opRange(names.tally(this.generation)), opRange(this.#own),
      opRange(names.left(this.generation)),
      opRange(key, { rangeEnd, ...before, sortTarget: 'create', sortOrder: 'descend', keysOnly: true }),
    ];
  }

  #read(answer: TxnResponse, from: number): Look {
    const [outcome, tally, own, left] = [0, 1, 2, 3].map((at) => found(answer.responses, from + at)[0]);
    const members = answer.responses[from + 4];
    const kvs = found(answer.responses, from + 4);
    const ahead = kvs.find(({ key }) => text(key) !== text(this.#own));
    return {
      revision: answer.header.revision,
      outcome: outcome === undefined ? null : readOutcome(outcome.value),
      arrived: tally?.version ?? 0,
      present: members?.kind === 'range' ? members.response.count : 0,
      left: left?.version ?? 0,
      ahead: ahead?.key ?? null,
      own: own ?? null,
    };
  }

  async #lookAgain(task: Task): Promise<Look> {
    return this.#read(await task.persist(() => this.#call({ success: this.#reads(this.#fence) })), 0);
  }

  /** Until something has changed that matters: the outcome if it was that, else null. */
  async #change(task: Task, look: Look): Promise<Outcome | null> {
    const { names } = this.#place;
    const startRevision = look.revision + 1;
    const ahead = look.ahead === null ? names.members(this.generation) : { key: look.ahead };
    const watches: WatchRequest[] = [
      { key: names.outcome(this.generation), startRevision, exclude: ['delete'] },
      { ...ahead, startRevision, exclude: ['put'] },
    ];
    try {
      const value = await firstEvent(this.session, watches, task.stop);
      task.recovered();
      return value === null ? null : readOutcome(value);
    } catch (error) {
      task.assertWanted();
      await task.hindered(asError(error));
      return null;
    }
  }

  /** What the request may do is remembered until its answer has been looked at. */
  #send(task: Task, door: Door, request: TxnRequest): Promise<TxnResponse> {
    return task.persist(async () => {
      const before = this.#loose;
      this.#loose = door;
      try {
        return await this.#call(request);
      } catch (error) {
        if (isApiError(error) && error.outcome === 'never') this.#loose = before;
        throw error;
      }
    });
  }

  #call(request: TxnRequest): Promise<TxnResponse> {
    return this.session.client.txn(request, { timeoutMs: CALL_MS });
  }

  async #asTask<T>(doing: string, options: { timeoutMs?: number }, work: (task: Task) => Promise<T>): Promise<T> {
    const task = new Task(this.#bench, `${doing} ${this.#place.names.what}`, { ...options, observe: this.#place.observe });
    try {
      return await work(task);
    } finally {
      task.end();
    }
  }

  async #later(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      this.session.marks.give(this.#line, this.#mark);
    } catch (error) {
      // It goes with the session's lease; until then nobody else uses its mark.
      this.#place.observe({ kind: 'removal_unconfirmed', error: asError(error) });
    }
  }
}

function isDecision(outcome: Outcome, phase: Phase): boolean {
  return phase === 'enter' || outcome.kind !== 'entered';
}

function numberOf(kv: KeyValue | undefined): number {
  return kv === undefined ? -1 : generationOf(kv.key) ?? -1;
}

function gone(phase: Phase): Outcome {
  return { kind: 'broken', phase, reason: 'deleted', over: true };
}

/** The value of the first watch's event, or null if the other had one first. */
async function firstEvent(session: Session, requests: readonly WatchRequest[], stop: AbortSignal): Promise<Uint8Array | null> {
  const watches = requests.map((request) => session.client.watch(request));
  const first = async (at: number): Promise<Uint8Array | null> => {
    for await (const { events } of watches[at] ?? []) {
      const last = events.at(-1);
      if (last !== undefined) return at === 0 ? last.kv.value : null;
    }
    throw new ApiError('connection_lost', { detail: 'a watch ended by itself' });
  };
  try {
    return await orStopped(Promise.race(watches.map((_, at) => first(at))), stop);
  } finally {
    for (const watch of watches) watch.close();
  }
}
