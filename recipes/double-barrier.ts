// Nobody begins before everybody has come, and nobody goes before everybody is done: a barrier with an inside.
//
// Keys and records: barrier-names.ts. Transactions: rendezvous.ts.
//
// Everybody who enters stays a member until the decision that all leave. One who is lost inside breaks the generation for
// all: `signal` says so to those who work, `leave` to those who wait. Who comes while a generation is inside is refused.

import type { CallOptions, Client } from '../core/client.js';
import type { Outcome } from './barrier-names.js';
import { BarrierBroken, BarrierNames } from './barrier-names.js';
import type { BarrierOptions, BarrierState, Passage, ResetOptions } from './barrier.js';
import { met, reasonOf, reset, stateOf } from './barrier.js';
import { asError } from './deletion.js';
import { orStopped } from './entry.js';
import { Released } from './held.js';
import { observing } from './pause.js';
import type { Rendezvous } from './rendezvous.js';
import type { Session } from './session.js';
import type { TaskOptions } from './task.js';
import { Task } from './task.js';

export interface Inside extends Passage, AsyncDisposable {
  /** Aborts once: with `BarrierBroken`, `SessionLost`, or `Released` when everybody has left. */
  readonly signal: AbortSignal;
  /**
   * Resolves when everybody wants to leave. Rejects with `BarrierBroken`, the same for everybody, or with `SessionLost`.
   * Giving up the wait breaks it. Idempotent: calling again waits for the same decision.
   */
  leave(options?: TaskOptions): Promise<void>;
}

/** Resolves when `parties` sessions have come. Rejects as `arriveAt` does. */
export async function enterBarrier(session: Session, name: string, options: BarrierOptions): Promise<Inside> {
  const names = new BarrierNames('double', name);
  const it = await met(session, names, options, 'entered', () => undefined);
  return new Entered(session, it, names.what, options);
}

/** Does `work` between entering and leaving. What `work` throws is what this throws, and breaks the barrier for all. */
export async function withBarrier<T>(
  session: Session,
  name: string,
  work: (inside: Inside) => Promise<T> | T,
  options: BarrierOptions,
): Promise<T> {
  const inside = await enterBarrier(session, name, options);
  try {
    const value = await work(inside);
    await inside.leave(options);
    return value;
  } catch (error) {
    // Broken, or lost, already: then everybody knows.
    if (!inside.signal.aborted) await breaking(session, inside, error, options);
    throw error;
  }
}

async function breaking(session: Session, inside: Inside, error: unknown, options: BarrierOptions): Promise<void> {
  const unconfirmed = observing(session.clock, options.observe);
  try {
    await inside.leave({ signal: AbortSignal.abort(error) });
  } catch (failure) {
    const expected = failure instanceof BarrierBroken || !session.live;
    if (!expected) unconfirmed({ kind: 'removal_unconfirmed', error: asError(failure) });
  }
}

/** As `resetBarrier`. */
export function resetDoubleBarrier(client: Client, name: string, options: ResetOptions = {}): Promise<void> {
  return reset(client, new BarrierNames('double', name), options);
}

export function doubleBarrierState(client: Client, name: string, options: CallOptions = {}): Promise<BarrierState | null> {
  return stateOf(client, new BarrierNames('double', name), options);
}

class Entered implements Inside {
  readonly generation: number;
  readonly index: number;
  readonly #it: Rendezvous;
  readonly #session: Session;
  readonly #what: string;
  readonly #options: TaskOptions;
  readonly #over = new AbortController();
  /** Follows the decision until there is one; never rejects. */
  readonly #following: Task;
  readonly #ended: Promise<Outcome | Error>;
  /** As seen while our entry was there; afterwards what is read may be gone with it. Null: not yet. */
  #outcome: Outcome | Error | null = null;

  constructor(session: Session, it: Rendezvous, what: string, options: TaskOptions) {
    this.generation = it.generation;
    this.index = it.index;
    this.#it = it;
    this.#session = session;
    this.#what = what;
    const { observe } = options;
    this.#options = observe === undefined ? {} : { observe };
    this.#following = this.#task('being inside', {});
    this.#ended = this.#follow();
  }

  get signal(): AbortSignal {
    // Having been asked, a session past its deadline tells everybody.
    if (!this.#session.live && !this.#over.signal.aborted) this.#over.abort(this.#session.signal.reason);
    return this.#over.signal;
  }

  async leave(options: TaskOptions = {}): Promise<void> {
    const task = this.#task('leaving', options);
    try {
      this.#finish(await this.#left(task));
    } catch (error) {
      if (!this.#session.live) throw asError(this.#session.signal.reason);
      if (!task.stop.aborted) throw error;
      const given = this.#outcome === null ? await this.#it.giveUp('leave', reasonOf(task), error) : null;
      this.#finish(this.#outcome ?? given ?? asError(error), error);
    } finally {
      task.end();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }

  async #left(task: Task): Promise<Outcome | Error> {
    if (this.#over.signal.aborted) return this.#ended;
    task.assertWanted();
    await this.#it.leaving(task);
    const settled = this.#outcome ?? await this.#it.settle(task);
    return this.#outcome ?? settled ?? await orStopped(this.#ended, task.stop);
  }

  /** Tells it, once, and throws unless everybody has left. */
  #finish(outcome: Outcome | Error, cause?: unknown): void {
    this.#session.assertLive();
    if (outcome instanceof Error) throw outcome;
    const broken = outcome.kind === 'broken' ? this.#it.broken(outcome.reason, cause) : null;
    this.#over.abort(broken ?? new Released(this.#what));
    if (broken !== null) throw broken;
  }

  async #follow(): Promise<Outcome | Error> {
    try {
      const outcome = await this.#it.decision(this.#following, 'leave');
      this.#outcome = outcome;
      this.#over.abort(outcome.kind === 'broken' ? this.#it.broken(outcome.reason) : new Released(this.#what));
      return outcome;
    } catch (error) {
      this.#over.abort(asError(error));
      return asError(error);
    } finally {
      this.#following.end();
      this.#it.remove();
    }
  }

  #task(doing: string, options: TaskOptions): Task {
    const bench = { client: this.#session.client, clock: this.#session.clock, session: this.#session };
    return new Task(bench, `${doing} ${this.#what}`, { ...this.#options, ...options });
  }
}
