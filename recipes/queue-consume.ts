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
import { Session } from './session.js';

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
  /** Nothing more is asked for on this session. */
  leave(session: Session): void;
}

export async function consume<T>(
  source: Source<T>,
  work: (delivery: Delivery<T>) => Promise<void> | void,
  options: ConsumeOptions,
): Promise<void> {
  const { concurrency = 1, leaseMs = LEASE_MS, session } = options;
  checkInteger('concurrency', concurrency, 1, CONCURRENCY_MAX);
  checkNumber('leaseMs', leaseMs, 1_000);
  const over = either(options.signal);
  try {
    if (session !== undefined) {
      await serve(source, session, work, concurrency, over.signal);
      return;
    }
    const backoff = retries(source.clock, source.name);
    while (!over.signal.aborted) {
      try {
        await using own = await opened(source, leaseMs, over.signal);
        source.observe({ kind: 'session_opened', error: null });
        backoff.reset();
        await serve(source, own, work, concurrency, over.signal);
      } catch (error) {
        if (over.signal.aborted) return;
        if (isApiError(error) && !isPassing(error)) throw error;
        source.observe({ kind: 'session_lost', error: asError(error) });
        await pause(source.clock, backoff.next(), over.signal);
      }
    }
  } finally {
    over.forget();
  }
}

function opened<T>(source: Source<T>, leaseMs: number, signal: AbortSignal): Promise<Session> {
  const { client, clock, observe } = source;
  const name = `a consumer of queue ${source.name}`;
  return Session.open(client, { ttlSeconds: Math.ceil(leaseMs / 1000), clock, name, signal, observe: stallsOf(observe) });
}

/** The store may answer otherwise later. */
function isPassing(error: { readonly code: string; readonly retryable: boolean; readonly outcome: string }): boolean {
  return error.code !== 'closed' && (error.retryable || error.outcome === 'unknown' || error.code === 'lease_not_found');
}

/** Until `over`; rejects when the session is lost. Either way nothing is being worked on any more. */
async function serve<T>(
  source: Source<T>,
  session: Session,
  work: (delivery: Delivery<T>) => Promise<void> | void,
  concurrency: number,
  over: AbortSignal,
): Promise<void> {
  const broken = new AbortController();
  const both = either(over, broken.signal);
  const fan = fanned(both.signal, concurrency);
  const hand = async (stop: AbortSignal): Promise<void> => {
    while (!stop.aborted) {
      const delivery = await source.take(session, stop);
      await done(source, delivery, work);
    }
  };
  const hands = fan.signals.map(async (stop) => {
    try {
      await hand(stop);
    } catch (error) {
      broken.abort(error);
      throw error;
    }
  });
  const outcomes = await Promise.allSettled(hands);
  fan.forget();
  both.forget();
  source.leave(session);
  if (over.aborted) return;
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw broken.signal.reason;
}

/** What the work has not settled itself is settled by how it ended. Never rejects. */
async function done<T>(
  source: Source<T>,
  delivery: Delivery<T>,
  work: (delivery: Delivery<T>) => Promise<void> | void,
): Promise<void> {
  const { id, attempt } = delivery;
  let failure: Error | null = null;
  try {
    await work(delivery);
  } catch (error) {
    failure = asError(error);
    source.observe({ kind: 'work_failed', id, attempt, error: failure });
  }
  if (!delivery.isHeld) return;
  try {
    if (failure === null) await delivery.ack();
    else await delivery.nack({ error: failure });
  } catch (error) {
    source.observe({ kind: 'unsettled', id, error: asError(error) });
    // It stays held with the session otherwise: for ever, if that lives on.
    if (!(error instanceof FencedOut)) await delivery[Symbol.asyncDispose]();
  }
}
