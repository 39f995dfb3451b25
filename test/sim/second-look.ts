// Second opinions about some of the seeds. One in 20 is also run as a small world whose whole history is given to the general
// checker (test/model/linearizable.ts), which knows nothing of revisions: it must agree with the witness. One in 50 is run a
// second time, and must be the same run.

import type { Op, TxnResponse } from '../../core/client.js';
import type { Operation, OperationRequest, Outcome } from '../model/history.js';
import { isLinearizable, pairsModel } from '../model/linearizable.js';
import { runSeed, type RunOptions, type Verdict } from './run.js';
import { NO_RECIPES, type Swarm } from './swarm.js';

const SMALL_EACH = 20;
const TWICE_EACH = 50;
const SMALL_CLIENTS_MAX = 4;
const SMALL_OPERATIONS = 200;
const SMALL_MS = 8000;
/** Tries of the search before it is given up, which is counted. */
const STEPS_MAX = 100_000;
const LOST_MAX = 4;
const LOST: Outcome = Object.freeze({ kind: 'error', code: 'deadline_exceeded', outcome: 'unknown' });

export async function runAndLookAgain(seed: number, options: RunOptions = {}): Promise<Verdict> {
  let verdict = await runSeed(seed, options);
  if (verdict.violation === null && seed % TWICE_EACH === 0) verdict = again(verdict, await runSeed(seed, options));
  if (verdict.violation === null && seed % SMALL_EACH === 3) verdict = await smallWorld(verdict);
  return verdict;
}

function again(first: Verdict, second: Verdict): Verdict {
  const isSame = first.hash === second.hash && first.operations === second.operations;
  const message = `two runs differ: ${first.events} events ${first.hash}, then ${second.events} events ${second.hash}`;
  return { ...first, ...(isSame ? marked(first, 'run twice, the same both times') : broken('determinism', message)) };
}

async function smallWorld(verdict: Verdict): Promise<Verdict> {
  let operations: readonly Operation[] = [];
  const small = await runSeed(verdict.seed, { alter: smallOf, onHistory: (history) => ({ operations } = history) });
  if (small.violation !== null) {
    const { invariant, message } = small.violation;
    return { ...verdict, ...broken(invariant, `in the small world of this seed: ${message}`), trace: small.trace };
  }
  const opinion = isLinearizable(judgedOf(operations), pairsModel, STEPS_MAX);
  if (opinion === 'not linearizable') {
    const message = `the witness accepts ${operations.length} operations of the small world, the general checker does not`;
    return { ...verdict, ...broken('cross-check', message), trace: small.trace };
  }
  return { ...verdict, ...marked(verdict, opinion === 'unknown' ? 'cross-check: given up' : 'cross-check: both agree') };
}

/** The same dangers in less time, few enough operations, and nothing that changes pairs but transactions. */
export function smallOf(swarm: Swarm): Swarm {
  const clients = Math.min(SMALL_CLIENTS_MAX, swarm.clients);
  const faults = { ...swarm.faults };
  for (const kind of Object.keys(faults) as (keyof typeof faults)[]) faults[kind] *= 3;
  return {
    ...swarm, clients, faults, registrants: 0, recipes: NO_RECIPES, valueBytes: 8,
    faultMs: SMALL_MS, thinkMs: (clients * SMALL_MS) / SMALL_OPERATIONS,
    workload: { ...swarm.workload, leases: 0, registry: 0, maintenance: 0 },
  };
}

/**
 * What a state can judge: no reads of the past, none that may be old, none without an answer. The beginning of it, up to where
 * so many writes are lost that their orders are too many to search.
 */
export function judgedOf(operations: readonly Operation[]): Operation[] {
  const judged = operations.map(withoutPast).filter(({ request, outcome }) => {
    if (!mayWrite(request) && outcome.kind !== 'ok') return false;
    if (request.kind === 'txn') return true;
    return request.kind === 'range' && request.request.serializable !== true && (request.request.revision ?? 0) === 0;
  });
  const lost = judged.filter(({ outcome }) => outcome.kind === 'error' && outcome.outcome === 'unknown');
  const end = lost[LOST_MAX]?.calledAt ?? Infinity;
  const begun = judged.filter(({ calledAt, returnedAt, request }) => calledAt < end && (returnedAt < end || mayWrite(request)));
  // One that was still under way may have seen what came later.
  return begun.map((operation) => operation.returnedAt < end ? operation : { ...operation, returnedAt: Infinity, outcome: LOST });
}

/** A transaction may read the past beside what it does: such a part and its answer are left out. */
function withoutPast(operation: Operation): Operation {
  const { request, outcome } = operation;
  if (request.kind !== 'txn') return operation;
  const { success = [], failure = [] } = request.request;
  const isNow = (op: Op): boolean => op.kind !== 'range' || (op.request.revision ?? 0) === 0;
  if (success.every(isNow) && failure.every(isNow)) return operation;
  const now = { ...request, request: { ...request.request, success: success.filter(isNow), failure: failure.filter(isNow) } };
  if (outcome.kind !== 'ok') return { ...operation, request: now };
  const response = outcome.response as TxnResponse;
  const taken = response.succeeded ? success : failure;
  const responses = response.responses.filter((_, i) => taken[i] !== undefined && isNow(taken[i]));
  return { ...operation, request: now, outcome: { kind: 'ok', response: { ...response, responses } } };
}

function mayWrite(request: OperationRequest): boolean {
  if (request.kind !== 'txn') return false;
  const { success = [], failure = [] } = request.request;
  return [...success, ...failure].some(({ kind }) => kind !== 'range');
}

function broken(invariant: string, message: string): Pick<Verdict, 'violation'> {
  return { violation: { invariant, message } };
}

function marked(verdict: Verdict, mark: string): Pick<Verdict, 'coverage'> {
  return { coverage: { ...verdict.coverage, [mark]: 1 } };
}
