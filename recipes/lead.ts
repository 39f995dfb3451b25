// Doing something for as long as we lead: campaign, work, and what comes after, in one function. Given a way to open
// sessions it survives their loss, so that a process can be a candidate for all its life.
//
// The work is the first thing that an end waits for: nobody else is elected by our resigning while it still runs, unless
// it takes longer than `hooksMs`. Two runs of the work of one `lead` never overlap.
//
// Keys: none of its own.

import { onceAborted } from '../core/base/abort.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { CampaignOptions, ElectionEvent, Leadership } from './election.js';
import { campaign } from './election.js';
import { asError } from './deletion.js';
import { isWorthRepeating } from './entry.js';
import { Released } from './held.js';
import { Backoff, chance, observing, pause, TokenBucket } from './pause.js';
import type { Session } from './session.js';
import { SessionLost } from './session.js';
import { systemClock } from '../core/base/clock.js';
import type { Clock } from '../core/base/clock.js';

/** Of being a candidate again: a work that ends at once, or a store that keeps failing, must not make this spin. */
const AGAIN = { capacity: 5, refillMs: 1_000 } as const;
const RETRY_MS = 100;
const RETRY_MS_MAX = 2_000;

export type LeadEvent =
  | ElectionEvent
  /** The work threw after its leadership was lost, and there is to be another one. */
  | { readonly kind: 'work_failed'; readonly error: Error };

export interface LeadOptions extends Omit<CampaignOptions, 'observe'> {
  /**
   * True: once a leadership has ended, be a candidate again, until `signal` aborts or the work throws while it leads.
   * False, the default: one leadership.
   */
  readonly again?: boolean;
  /** Only needed with a function that opens sessions. */
  readonly clock?: Clock;
  readonly observe?: (event: LeadEvent) => void;
}

/**
 * Does `work` while we lead. What it throws is what this throws; what it returned is what this resolves with, unless the
 * leadership was lost before: then this rejects with the reason. With `again` there is another leadership after one that was
 * lost or whose work has returned. `work` should end soon after `leadership.signal` has aborted.
 *
 * Aborting `signal` ends it politely: a wait rejects with `canceled`; a leadership's signal aborts, its work is waited for,
 * then it resigns, and this settles as the work has.
 *
 * `session`: one that is open already, or how to open one. Those opened here are closed here.
 */
export async function lead<T>(
  session: Session | (() => Promise<Session>),
  name: string,
  value: string | Uint8Array,
  work: (leadership: Leadership) => Promise<T> | T,
  options: LeadOptions = {},
): Promise<T> {
  const { again = false, signal } = options;
  const owned = typeof session === 'function';
  const clock = owned ? options.clock ?? systemClock : session.clock;
  const rounds = new TokenBucket(clock, AGAIN);
  const observe = observing<LeadEvent>(clock, options.observe);
  for (;;) {
    await pause(clock, rounds.take(), signal);
    const mine = owned ? await opened(session, clock, options) : session;
    try {
      const outcome = await oneTerm(mine, name, value, work, options);
      const isOver = signal?.aborted === true || !again;
      if (outcome.kind === 'failed' && (isOver || outcome.reason === null)) throw outcome.error;
      if (outcome.kind === 'failed') observe({ kind: 'work_failed', error: asError(outcome.error) });
      if (outcome.kind === 'done' && isOver && outcome.reason !== null) throw outcome.reason;
      if (outcome.kind === 'done' && isOver) return outcome.value;
    } catch (error) {
      // A session of one's own that is lost is replaced; one that was handed in is the end of it.
      if (!again || !owned || signal?.aborted === true || !(error instanceof SessionLost)) throw error;
    } finally {
      if (owned) await mine.close();
    }
    if (!owned) mine.assertLive();
  }
}

/** How the work ended; `reason`: why the leadership was lost before that, if it was. */
type Outcome<T> =
  | { readonly kind: 'done'; readonly value: T; readonly reason: Error | null }
  | { readonly kind: 'failed'; readonly error: unknown; readonly reason: Error | null };

async function oneTerm<T>(
  session: Session,
  name: string,
  value: string | Uint8Array,
  work: (leadership: Leadership) => Promise<T> | T,
  options: LeadOptions,
): Promise<Outcome<T>> {
  const { signal } = options;
  const observe = observing<LeadEvent>(session.clock, options.observe);
  const leadership = await campaign(session, name, value, options);
  const release = (): Promise<void> => leadership.release().catch((error: unknown) => {
    observe({ kind: 'release_unconfirmed', error: asError(error) });
  });
  let ended: Promise<void> = Promise.resolve();
  const onAbort = (): void => {
    ended = release();
  };
  const running = (async () => work(leadership))();
  leadership.onEnd(() => running.then(ignore, ignore));
  onceAborted(signal, onAbort);
  if (signal?.aborted === true) onAbort();
  const outcome = await running.then(
    (result): Outcome<T> => ({ kind: 'done', value: result, reason: lossOf(leadership) }),
    (error: unknown): Outcome<T> => ({ kind: 'failed', error, reason: lossOf(leadership) }),
  );
  signal?.removeEventListener('abort', onAbort);
  await ended;
  await release();
  return outcome;
}

/** Null while we lead, and after resigning. */
function lossOf(leadership: Leadership): Error | null {
  const reason: unknown = leadership.signal.reason;
  return reason === undefined || reason instanceof Released ? null : asError(reason);
}

async function opened(open: () => Promise<Session>, clock: Clock, options: LeadOptions): Promise<Session> {
  const { again = false, signal } = options;
  const observe = observing<LeadEvent>(clock, options.observe);
  const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock) });
  for (;;) {
    if (signal?.aborted === true) {
      throw new ApiError('canceled', { detail: 'opening a session to be a candidate with', cause: signal.reason });
    }
    try {
      const session = await open();
      if (session.live) return session;
      session.assertLive();
    } catch (error) {
      const isHopeless = !(error instanceof SessionLost) && (!isWorthRepeating(error) || isApiError(error, 'canceled'));
      if (!again || isHopeless) throw error;
      observe({ kind: 'attempt_failed', error: asError(error) });
      await pause(clock, backoff.next(), signal);
    }
  }
}

function ignore(): void {
  // The outcome is kept by whoever waits for the work.
}
