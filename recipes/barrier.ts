// Nobody goes on before everybody has arrived, again and again; and if somebody does not, nobody is left waiting, and
// everybody is told the same (Java's CyclicBarrier is the model, the store its memory).
//
// Keys and records: barrier-names.ts. Transactions: rendezvous.ts.
//
// Membership is by session. Who has arrived and is lost, gives up or runs out of time breaks the generation: for those who
// wait, and for those who come later, until somebody resets it. What no barrier can promise: that those who pass are still
// alive a moment later; and a process that crashed and comes again before its old session has expired counts twice.

import type { CallOptions, Client, Op } from '../core/client.js';
import { created, modified, opPut, opRange } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import type { BreakReason, Outcome } from './barrier-names.js';
import { BarrierNames, generationOf, PARTIES_MAX, partiesIn, readOutcome, writeOutcome } from './barrier-names.js';
import { checkWhole, found } from './coordination-names.js';
import { asError } from './deletion.js';
import { observing } from './pause.js';
import { Rendezvous } from './rendezvous.js';
import type { Session } from './session.js';
import type { TaskOptions } from './task.js';
import { Task } from './task.js';

export interface BarrierOptions extends TaskOptions {
  /** How many it takes; everybody must say the same. */
  readonly parties: number;
}

/** Of one generation everybody sees the same number, and another `index`. */
export interface Passage {
  /** Grows with each generation, for ever. */
  readonly generation: number;
  /** From 0, in the order of arrival. */
  readonly index: number;
}

/**
 * Resolves when `parties` sessions have arrived. Rejects with `BarrierBroken`, the same for everybody in the generation
 * (its cause, where we were the reason: `canceled` or `deadline_exceeded`); with `BarrierRefused`; or with `SessionLost`.
 */
export async function arriveAt(session: Session, name: string, options: BarrierOptions): Promise<Passage> {
  const { generation, index } = await met(session, new BarrierNames('single', name), options, 'passed', (it) => it.remove());
  return { generation, index };
}

/** Arrives and waits for the decision to go on. `done`: when we are through, or it is broken for us. */
export async function met(
  session: Session,
  names: BarrierNames,
  options: BarrierOptions,
  passes: 'passed' | 'entered',
  done: (it: Rendezvous) => void,
): Promise<Rendezvous> {
  const { parties } = options;
  checkWhole('parties', parties, 1, PARTIES_MAX);
  const task = new Task({ client: session.client, clock: session.clock, session }, `waiting at ${names.what}`, options);
  try {
    task.assertWanted();
    const it = new Rendezvous(session, { names, parties, passes, observe: observing(session.clock, options.observe) });
    const outcome = await decided(it, task);
    session.assertLive();
    // Broken while leaving: by then everybody had entered.
    if (outcome.kind === 'broken' && outcome.phase === 'enter') {
      it.remove();
      throw it.broken(outcome.reason, task.stop.aborted ? task.stop.reason : undefined);
    }
    done(it);
    return it;
  } finally {
    task.end();
  }
}

async function decided(it: Rendezvous, task: Task): Promise<Outcome> {
  try {
    await it.arrive(task);
    return await it.decision(task, 'enter');
  } catch (error) {
    if (!it.session.live) throw asError(it.session.signal.reason);
    const outcome = await it.giveUp('enter', reasonOf(task), error);
    if (outcome !== null) return outcome;
    it.remove();
    throw error;
  }
}

/** Why a task that ended has ended. */
export function reasonOf(task: Task): BreakReason {
  const reason: unknown = task.stop.reason;
  return reason instanceof ApiError && reason.code === 'deadline_exceeded' ? 'timed_out' : 'canceled';
}

export interface ResetOptions extends CallOptions {
  /** Only if the newest generation is this one: so that of all who saw it break, one resets it. */
  readonly generation?: number;
}

/**
 * Lets a new generation begin. Who still waits in the old one ends with `BarrierBroken`, reason `reset`. Does nothing when
 * the newest generation has passed, has been reset before, or is not `generation`.
 */
export function resetBarrier(client: Client, name: string, options: ResetOptions = {}): Promise<void> {
  return reset(client, new BarrierNames('single', name), options);
}

export async function reset(client: Client, names: BarrierNames, options: ResetOptions): Promise<void> {
  const { generation, ...call } = options;
  for (;;) {
    const now = await newest(client, names, call);
    if (now === null || (generation !== undefined && generation !== now.generation)) return;
    const { outcome, revision } = now;
    if (outcome?.kind === 'passed' || (outcome?.kind === 'broken' && outcome.over)) return;
    const phase = outcome?.kind === 'entered' ? 'leave' : 'enter';
    const broken = outcome?.kind === 'broken' ? outcome : { kind: 'broken', phase, reason: 'reset' } as const;
    const key = names.outcome(now.generation);
    const { succeeded } = await client.txn({
      compare: [modified(key, '=', revision), ...(outcome === null ? [created(names.tally(now.generation), '>', 0)] : [])],
      success: [opPut(key, writeOutcome({ ...broken, over: true }))],
    }, call);
    if (succeeded) return;
  }
}

/** How a barrier stands, for whoever looks at it. */
export interface BarrierState {
  readonly generation: number;
  /** Null where the generation has not begun. */
  readonly parties: number | null;
  /** Of the newest generation, those who have ever arrived. */
  readonly arrived: number;
  /** Those of them who are there. */
  readonly present: number;
  readonly state: 'open' | 'passed' | 'entered' | 'broken';
  readonly reason: BreakReason | null;
}

/** Null: nobody has come to it yet. */
export function barrierState(client: Client, name: string, options: CallOptions = {}): Promise<BarrierState | null> {
  return stateOf(client, new BarrierNames('single', name), options);
}

export async function stateOf(client: Client, names: BarrierNames, options: CallOptions): Promise<BarrierState | null> {
  const now = await newest(client, names, options);
  if (now === null) return null;
  const { generation, outcome } = now;
  const { key, rangeEnd } = names.members(generation);
  const reads = [opRange(names.tally(generation)), opRange(key, { rangeEnd, countOnly: true })];
  const answer = await client.txn({ success: reads }, options);
  const [tally] = found(answer.responses, 0);
  const members = answer.responses[1];
  return {
    generation,
    parties: tally === undefined ? null : partiesIn(tally),
    arrived: tally?.version ?? 0,
    present: members?.kind === 'range' ? members.response.count : 0,
    state: outcome?.kind ?? 'open',
    reason: outcome?.kind === 'broken' ? outcome.reason : null,
  };
}

/** The newest generation and what was decided on it; `revision`: of that decision, 0 while there is none. */
async function newest(
  client: Client,
  names: BarrierNames,
  options: CallOptions,
): Promise<{ generation: number; outcome: Outcome | null; revision: number } | null> {
  const last = { sortTarget: 'key', sortOrder: 'descend', limit: 1 } as const;
  const reads: Op[] = [names.outcomes, names.tallies].map((range) => opRange(range.key, { ...range, ...last }));
  const { responses } = await client.txn({ success: reads }, options);
  const [[decided], [counted]] = [found(responses, 0), found(responses, 1)];
  const [a, b] = [decided, counted].map((kv) => (kv === undefined ? -1 : generationOf(kv.key) ?? -1));
  if (b !== undefined && b > (a ?? -1)) return { generation: b, outcome: null, revision: 0 };
  if (decided === undefined || a === undefined || a < 0) return null;
  return { generation: a, outcome: readOutcome(decided.value), revision: decided.modRevision };
}
