// A consumer that keeps itself going: takes items, hands each to the work, and tells the store what has become of it. It
// opens its own session, and a new one whenever it has lost one; while the store is away it waits for it.

import { isApiError } from '../core/errors.js';
import type { Client } from '../core/client.js';
import type { Clock } from '../core/base/clock.js';
import { asError } from './deletion.js';
import { FencedOut } from './fenced-txn.js';
import { checkNumber, pause } from './pause.js';
import type { Caller, QueueEvent } from './queue-call.js';
import { either, fanned, retries } from './queue-call.js';
import type { Delivery } from './queue-delivery.js';
import { stallsOf } from './queue-delivery.js';
import { checkInteger } from './queue-keys.js';
import { Session, SessionLost } from './session.js';

const LEASE_MS = 10_000;
export const CONCURRENCY_MAX = 1_000;

export interface ConsumeOptions {
  /** Items worked on at once; default 1. */
  readonly concurrency?: number;
  /**
   * The one knob: how long items stay with a consumer that gives no sign of life; renewed at a third of it. Default 10 s.
   * Not with `session`.
   */
  readonly leaseMs?: number;
  /** Ends with this session instead of opening new ones. */
  readonly session?: Session;
  /** Takes nothing more; resolves when what is being worked on is done. */
  readonly signal?: AbortSignal;
}

export interface Source<T> extends Caller {
  readonly client: Client;
  readonly clock: Clock;
  readonly name: string;
  readonly observe: (event: QueueEvent) => void;
  take(session: Session, stop: AbortSignal): Promise<Delivery<T>>;
}

type Work<T> = (delivery: Delivery<T>) => Promise<void> | void;

/** Rejects with what no new attempt would mend; with the session's end, if it was given one. */
export async function consume<T>(source: Source<T>, work: Work<T>, options: ConsumeOptions): Promise<void> {
  const { concurrency = 1, leaseMs = LEASE_MS, session } = options;
  checkInteger('concurrency', concurrency, 1, CONCURRENCY_MAX);
  checkNumber('leaseMs', leaseMs, 1_000);
  const broken = new AbortController();
  const both = either(options.signal, broken.signal);
  const fan = fanned(both.signal, concurrency);
  const desk = new Sessions(source, leaseMs, both.signal, session ?? null);
  const outcomes = await Promise.allSettled(fan.signals.map(async (stop) => {
    try {
      await hand(source, desk, work, stop);
    } catch (error) {
      broken.abort(error);
      throw error;
    }
  }));
  fan.forget();
  both.forget();
  await desk.close();
  if (options.signal?.aborted === true) return;
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw broken.signal.reason;
}

/** One item after the other. A piece of work that goes on after its session was lost keeps this hand busy and no other. */
async function hand<T>(source: Source<T>, desk: Sessions<T>, work: Work<T>, stop: AbortSignal): Promise<void> {
  const backoff = retries(source.clock, source.name);
  while (!stop.aborted) {
    try {
      const delivery = await source.take(await desk.live(), stop);
      backoff.reset();
      await done(delivery, source, work);
    } catch (error) {
      if (stop.aborted) return;
      if (desk.isGiven || !isPassing(error)) throw error;
      desk.tell(asError(error));
      await pause(source.clock, backoff.next(), stop);
    }
  }
}

/** The session all hands take on: the one that was given, or our own, opened anew whenever it is lost. */
class Sessions<T> {
  readonly isGiven: boolean;
  readonly #source: Source<T>;
  readonly #leaseMs: number;
  readonly #stop: AbortSignal;
  #now: Session | null;
  #opening: Promise<Session> | null = null;
  #told: Error | null = null;

  constructor(source: Source<T>, leaseMs: number, stop: AbortSignal, given: Session | null) {
    this.isGiven = given !== null;
    this.#source = source;
    this.#leaseMs = leaseMs;
    this.#stop = stop;
    this.#now = given;
  }

  async live(): Promise<Session> {
    if (this.#now !== null && (this.isGiven || this.#now.live)) return this.#now;
    this.#opening ??= this.#open();
    return await this.#opening;
  }

  /** Once, however many hands meet it. */
  tell(error: Error): void {
    if (this.#told === error) return;
    this.#told = error;
    this.#source.observe({ kind: 'session_lost', error });
  }

  async close(): Promise<void> {
    if (!this.isGiven) await this.#now?.close();
  }

  async #open(): Promise<Session> {
    const { client, clock, observe } = this.#source;
    const ttlSeconds = Math.ceil(this.#leaseMs / 1000);
    const name = `a consumer of queue ${this.#source.name}`;
    try {
      const before = this.#now;
      this.#now = await Session.open(client, { ttlSeconds, clock, name, signal: this.#stop, observe: stallsOf(observe) });
      observe({ kind: 'session_opened', error: null });
      // Revoked, if the store has not found out yet: what it holds is worked on anew, and sooner.
      void before?.close();
      return this.#now;
    } finally {
      this.#opening = null;
    }
  }
}

/** Whether it may be otherwise with another session, or later. */
function isPassing(error: unknown): boolean {
  if (error instanceof SessionLost || error instanceof FencedOut) return true;
  if (!isApiError(error) || error.code === 'closed') return false;
  return error.retryable || error.outcome === 'unknown' || error.code === 'lease_not_found';
}

/** What the work has not settled itself is settled by how it ended. Never rejects. */
async function done<T>(delivery: Delivery<T>, { observe }: Source<T>, work: Work<T>): Promise<void> {
  const { id, attempt } = delivery;
  let failure: Error | null = null;
  try {
    await work(delivery);
  } catch (error) {
    failure = asError(error);
    observe({ kind: 'work_failed', id, attempt, error: failure });
  }
  await delivery.settled(() => (failure === null ? delivery.ack() : delivery.nack({ error: failure })));
}
