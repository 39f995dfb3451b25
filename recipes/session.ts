// One lease, kept alive. Everything a recipe holds hangs on a session; recipes themselves contain no renewal timers.
//
// The rule that makes it safe: the local deadline is counted on the monotonic Clock from the moment a renewing request
// was SENT (`sentAt + granted TTL - margin`), never from its answer. The store counts from a later moment, so `lost` is
// known here before the store can give the resource to another. `live` and `remaining` are computed when they are read,
// so code that resumes after a stalled event loop sees the truth in its first statement.
//
//   live       renewed lately
//   suspended  the last attempt failed, or nothing was confirmed for half the TTL; the lease is still ours
//   lost       terminal; a new session is a new object with a new lease
//
// Keys: none. Renewals come from the main loop, so that a hung process does not stay the owner. With a stall budget a
// KeepAliver renews beside it, but only while the loop's last beat is younger than the budget: what the loop may be blocked
// for is a number somebody chose. The loop renews as well when the other one has not for too long.

import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { Prng } from '../core/base/prng.js';
import type { CallOptions, Client, KeepAliver, Keeping, Lease, LeaseId } from '../core/client.js';
import type { ErrorCode } from '../core/errors.js';
import { ApiError, isApiError, Status } from '../core/errors.js';
import { Marks } from './marks.js';
import { Backoff, chance, checkNumber, observing, pause, within } from './pause.js';

/** Share of the TTL kept back for clock drift and late timers. */
const MARGIN_SHARE = 0.1;
/** An attempt unanswered for this share of the TTL is given up; a second one runs beside it well before. */
const ATTEMPT_SHARE = 0.45;
const ATTEMPT_MS_MAX = 10_000;
/** A timer this late means the event loop stood still. */
const STALL_MS = 100;
/** etcd's limit. */
const LEASE_SECONDS_MAX = 9_000_000_000;
const OPEN_TIMEOUT_MS = 10_000;
const OPEN_RETRY_MS = 50;
const OPEN_RETRY_MS_MAX = 1_000;
/** What an opening meets while the store elects a leader; that nobody can be reached at all is said at once. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'connection_lost', 'leader_changed', 'no_leader', 'not_leader', 'timeout', 'timeout_leader_lost',
]);
const CLOSE_TIMEOUT_MS = 5_000;
const REVOKE_RETRY_MS = 100;
/** Renewals in flight at once; the oldest is given up for a newer one. */
const ATTEMPTS_MAX = 4;
/** Between two renewals from here: a third of the TTL; beside a KeepAliver a little longer, so that it comes first. */
const INTERVAL_SHARE = 1 / 3;
const BESIDE_SHARE = 0.42;
/** Beats of the main loop: this many to a budget, and to a TTL. */
const BEATS = 6;
/** A shorter one would be used up by the beats' own spacing. */
const STALL_BUDGET_MS_MIN = 100;
const STALL_BUDGET_MS_MAX = 86_400_000;

/**
 * Why a session ended. `expired`: the store answered, but no renewal was confirmed before the deadline. `unreachable`:
 * it did not answer at all. `stalled`: this process stood still past the deadline. `revoked`: the store says the lease
 * is gone. `closed`: `close()` was called.
 */
export type LossReason = 'expired' | 'revoked' | 'stalled' | 'closed' | 'unreachable';

const EXPLANATION: Readonly<Record<LossReason, string>> = Object.freeze({
  expired: 'no renewal was confirmed in time, although the store answered; open a new session',
  revoked: 'the store says that the lease is gone (revoked, or the store was replaced); open a new session',
  stalled: 'this process stood still past the deadline (blocked event loop, stopped process); open a new session',
  closed: 'it was closed by its owner',
  unreachable: 'the store did not answer until the deadline; open a new session once it does',
});

export class SessionLost extends Error {
  override readonly name = 'SessionLost';
  readonly code = 'session_lost';
  readonly reason: LossReason;
  readonly lease: LeaseId;

  constructor(reason: LossReason, lease: LeaseId, label: string) {
    super(`session ${label} (lease ${lease.toString(16)}) is lost: ${EXPLANATION[reason]}`);
    this.reason = reason;
    this.lease = lease;
  }
}

/** For logs and tests. The truth is `signal`, `live` and `remaining`. What an observer throws surfaces in a turn of its own. */
export type SessionEvent =
  | { readonly kind: 'renewed'; readonly remaining: number }
  | { readonly kind: 'suspended'; readonly cause: Error | null }
  | { readonly kind: 'resumed' }
  | { readonly kind: 'stalled'; readonly gapMs: number }
  | { readonly kind: 'lost'; readonly error: SessionLost }
  /** The KeepAliver cannot renew for now: until it can, the budget is not there, and the main loop renews alone. */
  | { readonly kind: 'unbudgeted'; readonly cause: Error }
  /** `close` could not reach the store: the lease ends by itself, at the latest one TTL after its last renewal. */
  | { readonly kind: 'orphaned'; readonly cause: Error };

export interface SessionOptions {
  /** What to ask for; the store may grant more. At least 1. */
  readonly ttlSeconds: number;
  /** How long before the store may expire the lease the session counts as lost. Default: a tenth of the granted TTL. */
  readonly marginMs?: number;
  readonly clock?: Clock;
  /** For messages only. */
  readonly name?: string;
  readonly observe?: (event: SessionEvent) => void;
  /**
   * The main loop may stand still for this long without the lease being lost. Whoever stands still for longer loses it, at
   * the latest one TTL later. Needs `keepAliver` and the system's clock.
   */
  readonly stallBudgetMs?: number;
  /** Renews beside the main loop: `keepAliver(url)` of 'coterie', for the servers that `client` speaks to. */
  readonly keepAliver?: KeepAliver;
  /** Aborts the opening. An opened session ends by `close`. */
  readonly signal?: AbortSignal;
  /** Bounds the opening, which waits out an election in the store; default 10 s. */
  readonly timeoutMs?: number;
}

interface Attempt {
  readonly sentAt: number;
  readonly call: AbortController;
}

export class Session {
  readonly client: Client;
  readonly clock: Clock;
  readonly lease: LeaseId;
  /** As granted. */
  readonly ttlMs: number;
  readonly name: string;
  /** For recipes: which entries of this session are in use. */
  readonly marks = new Marks();

  readonly #marginMs: number;
  readonly #intervalMs: number;
  readonly #attemptMs: number;
  readonly #observe: (event: SessionEvent) => void;
  readonly #prng: Prng;
  readonly #ended = new AbortController();
  readonly #listeners = new Set<(reason: SessionLost) => void>();
  readonly #attempts = new Set<Attempt>();
  /** When the newest confirmed renewal was sent. Invariant: the store keeps the lease at least until this + TTL. */
  #confirmedAt: number;
  /** Invariant: at most confirmedAt + TTL - margin; once passed, the session is lost whatever arrives later. */
  #deadline: number;
  #nextAttemptAt: number;
  #dueAt: number;
  #cancelTimer: () => void = () => undefined;
  #suspended = false;
  /** The store answered something since the last confirmed renewal. */
  #answered = false;
  #lost: SessionLost | null = null;
  #closed: Promise<void> | null = null;
  #keeping: Keeping | null = null;
  #cancelBeat: () => void = () => undefined;

  /** Resolves with a live session, or rejects; an opening given up leaves no lease behind that anybody renews. */
  static async open(client: Client, options: SessionOptions): Promise<Session> {
    const clock = options.clock ?? systemClock;
    checkOptions(options);
    const { lease, sentAt } = await granted(client, clock, options);
    const session = new Session(client, clock, lease, sentAt, options);
    const failure = session.#keepBeside(options);
    if (session.live && failure === null) return session;
    const lost = failure ?? session.#lost;
    await session.close();
    throw lost ?? new SessionLost('expired', lease.id, session.name);
  }

  private constructor(client: Client, clock: Clock, lease: Lease, sentAt: number, options: SessionOptions) {
    this.client = client;
    this.clock = clock;
    this.lease = lease.id;
    this.ttlMs = lease.ttlSeconds * 1000;
    this.name = options.name ?? 'without a name';
    this.#marginMs = Math.min(options.marginMs ?? this.ttlMs * MARGIN_SHARE, this.ttlMs / 2);
    this.#intervalMs = this.ttlMs * (options.keepAliver === undefined ? INTERVAL_SHARE : BESIDE_SHARE);
    this.#attemptMs = Math.min(this.ttlMs * ATTEMPT_SHARE, ATTEMPT_MS_MAX);
    this.#observe = observing(clock, options.observe);
    this.#prng = chance(clock, lease.id);
    this.#confirmedAt = sentAt;
    this.#deadline = sentAt + this.ttlMs - this.#marginMs;
    this.#nextAttemptAt = sentAt + this.#intervalMs;
    this.#dueAt = this.#nextAttemptAt;
    this.#arm();
  }

  /** Computed now. Reading it once the deadline has passed is enough to end the session. */
  get state(): 'live' | 'suspended' | 'lost' {
    if (this.#expired()) return 'lost';
    const quiet = this.clock.now() - this.#confirmedAt >= this.ttlMs / 2;
    return this.#suspended || quiet ? 'suspended' : 'live';
  }

  /** The lease cannot have run out yet: `remaining > 0`. True while suspended as well. */
  get live(): boolean {
    return !this.#expired();
  }

  /** Milliseconds until the local deadline; 0 once lost. */
  get remaining(): number {
    return this.#expired() ? 0 : this.#deadline - this.clock.now();
  }

  /** Aborts once, with a `SessionLost` as its reason. */
  get signal(): AbortSignal {
    this.#expired();
    return this.#ended.signal;
  }

  /**
   * Calls `tell` once, when the session is lost; at once if it is. Returns what forgets it. For recipes: a signal with
   * hundreds of listeners makes Node warn of a leak, and hundreds of things may be held on one session.
   */
  onLost(tell: (reason: SessionLost) => void): () => void {
    // What one of them throws keeps nobody else from being told.
    const told = observing(this.clock, tell);
    if (this.#expired() && this.#lost !== null) told(this.#lost);
    else this.#listeners.add(told);
    return () => this.#listeners.delete(told);
  }

  /** Throws `SessionLost` unless at least `minRemainingMs` are left. */
  assertLive(minRemainingMs = 0): void {
    if (this.live && this.remaining >= minRemainingMs) return;
    throw this.#lost ?? new SessionLost('expired', this.lease, `${this.name}, less than ${minRemainingMs} ms left`);
  }

  /** Something suggests that the lease is gone (a key of ours is): asks the store at once, not at the next renewal. */
  suspect(): void {
    if (this.#expired()) return;
    this.#nextAttemptAt = Math.min(this.#nextAttemptAt, this.clock.now());
    this.#arm();
  }

  /**
   * Ends the session and revokes its lease, which deletes its keys. Renewals stop at once. If the store cannot be
   * reached within `timeoutMs` the lease is left to expire. Never rejects; further calls return the first one's promise.
   */
  close(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#farewell(options.timeoutMs ?? CLOSE_TIMEOUT_MS);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #arm(): void {
    this.#cancelTimer();
    if (this.#lost !== null) return;
    const suspectAt = this.#suspended ? Infinity : this.#confirmedAt + this.ttlMs / 2;
    const now = this.clock.now();
    // Due now at the earliest: that the opening took long, or that somebody asks sooner, is no stall of this process.
    this.#dueAt = Math.max(now, Math.min(this.#nextAttemptAt, suspectAt, this.#deadline));
    this.#cancelTimer = this.clock.schedule(this.#dueAt - now, () => this.#onTimer());
  }

  #onTimer(): void {
    if (this.#expired()) return;
    this.#noticeStall();
    const now = this.clock.now();
    if (now - this.#confirmedAt >= this.ttlMs / 2) this.#suspend(null);
    if (now >= this.#nextAttemptAt) this.#send(now);
    this.#arm();
  }

  /** What went wrong, or null. */
  #keepBeside({ keepAliver, stallBudgetMs }: SessionOptions): Error | null {
    if (keepAliver === undefined || stallBudgetMs === undefined || this.#expired()) return null;
    try {
      this.#keeping = keepAliver.keep({
        lease: this.lease,
        ttlMs: this.ttlMs,
        stallBudgetMs,
        tell: (news) => {
          if (this.#expired()) return;
          if (news.kind === 'failed') this.#observe({ kind: 'unbudgeted', cause: news.cause });
        },
      });
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
    this.#beat(Math.min(stallBudgetMs, this.ttlMs) / BEATS);
    return null;
  }

  #beat(everyMs: number): void {
    if (this.#expired()) return;
    this.#keeping?.beat();
    this.#cancelBeat = this.clock.schedule(everyMs, () => this.#beat(everyMs));
  }

  /** What was renewed beside this loop counts from when it was sent, and is known before the loop turns again. */
  #takeIn(keeping: Keeping): void {
    if (keeping.isGone) {
      this.#lose('revoked');
      return;
    }
    const now = this.clock.now();
    const sentAt = now - keeping.ageMs();
    // The same moment is never computed twice to the same fraction; and what is over already confirms nothing.
    if (sentAt < this.#confirmedAt + 1 || sentAt + this.ttlMs - this.#marginMs <= now) return;
    this.#noticeStall();
    this.#confirm(sentAt, this.ttlMs);
  }

  /** True, and the session is lost, if the deadline has passed. Everything that reads or changes the session asks first. */
  #expired(): boolean {
    if (this.#lost === null && this.#keeping !== null) this.#takeIn(this.#keeping);
    if (this.#lost !== null) return true;
    if (this.clock.now() < this.#deadline) return false;
    const stalled = this.#noticeStall();
    const otherwise = this.#answered ? 'expired' : 'unreachable';
    this.#lose(stalled ? 'stalled' : otherwise);
    return true;
  }

  #noticeStall(): boolean {
    const gapMs = this.clock.now() - this.#dueAt;
    if (gapMs <= STALL_MS) return false;
    this.#dueAt = this.clock.now();
    this.#observe({ kind: 'stalled', gapMs });
    return true;
  }

  #send(now: number): void {
    this.#nextAttemptAt = now + Math.min(this.#intervalMs, this.#attemptMs);
    this.#giveUpOld(now);
    const call = new AbortController();
    const attempt: Attempt = { sentAt: now, call };
    this.#attempts.add(attempt);
    void this.client
      .keepAlive(this.lease, { signal: call.signal, timeoutMs: this.#attemptMs })
      .then(
        (answer) => this.#onAnswer(attempt, answer.ttlSeconds),
        (error: unknown) => this.#onFailure(attempt, error instanceof Error ? error : new Error(String(error))),
      );
  }

  #giveUpOld(now: number): void {
    for (const attempt of this.#attempts) {
      const tooOld = now - attempt.sentAt >= this.#attemptMs;
      if (!tooOld && this.#attempts.size < ATTEMPTS_MAX) break;
      this.#attempts.delete(attempt);
      attempt.call.abort();
    }
  }

  #onAnswer(attempt: Attempt, ttlSeconds: number): void {
    this.#attempts.delete(attempt);
    if (this.#expired()) return;
    this.#answered = true;
    if (ttlSeconds <= 0) {
      this.#lose('revoked');
      return;
    }
    if (attempt.sentAt > this.#confirmedAt) this.#confirm(attempt.sentAt, ttlSeconds * 1000);
  }

  #confirm(sentAt: number, ttlMs: number): void {
    this.#confirmedAt = sentAt;
    this.#deadline = sentAt + ttlMs - this.#marginMs;
    if (this.#expired()) return;
    this.#answered = false;
    const now = this.clock.now();
    this.#nextAttemptAt = Math.max(now, sentAt + this.#intervalMs);
    const resumed = this.#suspended && now - this.#confirmedAt < this.ttlMs / 2;
    if (resumed) this.#suspended = false;
    this.#arm();
    this.#observe({ kind: 'renewed', remaining: this.#deadline - now });
    if (resumed) this.#observe({ kind: 'resumed' });
  }

  #onFailure(attempt: Attempt, error: Error): void {
    const current = this.#attempts.delete(attempt);
    if (this.#expired() || !current) return;
    if (isApiError(error, 'lease_not_found')) {
      this.#lose('revoked');
      return;
    }
    if (isApiError(error, 'closed')) {
      this.#lose('unreachable');
      return;
    }
    if (isApiError(error) && !SILENCE.has(error.status)) this.#answered = true;
    // A newer renewal was confirmed meanwhile: this failure says nothing about the link.
    if (attempt.sentAt < this.#confirmedAt) return;
    const sixth = this.#intervalMs / 6;
    const retryAt = this.clock.now() + sixth + (sixth * this.#prng.below(1000)) / 1000;
    this.#nextAttemptAt = Math.min(this.#nextAttemptAt, retryAt);
    this.#suspend(error);
    this.#arm();
  }

  #suspend(cause: Error | null): void {
    if (this.#suspended || this.#lost !== null) return;
    this.#suspended = true;
    this.#observe({ kind: 'suspended', cause });
  }

  #lose(reason: LossReason): void {
    if (this.#lost !== null) return;
    const error = new SessionLost(reason, this.lease, this.name);
    this.#lost = error;
    this.#cancelTimer();
    this.#cancelBeat();
    this.#keeping?.stop();
    for (const attempt of this.#attempts) attempt.call.abort();
    this.#ended.abort(error);
    for (const tell of this.#listeners) tell(error);
    this.#listeners.clear();
    this.#observe({ kind: 'lost', error });
  }

  async #farewell(timeoutMs: number): Promise<void> {
    this.#expired();
    const before = this.#lost;
    this.#lose('closed');
    if (before?.reason === 'revoked') return;
    const giveUp = new AbortController();
    const cancel = this.clock.schedule(timeoutMs, () => giveUp.abort());
    for (;;) {
      const failure = await revoked(this.client, this.lease, { signal: giveUp.signal });
      if (failure === null) break;
      if (giveUp.signal.aborted || isApiError(failure, 'closed')) {
        this.#observe({ kind: 'orphaned', cause: failure });
        break;
      }
      await pause(this.clock, REVOKE_RETRY_MS, giveUp.signal);
    }
    cancel();
  }
}

/** Statuses that come from this side of the connection: they are no sign of life. */
const SILENCE: ReadonlySet<number> = new Set([Status.unavailable, Status.canceled, Status.deadline_exceeded]);

/** Throws `invalid_request` unless a lease may be asked for that long. */
export function checkSeconds(name: string, seconds: number): void {
  checkNumber(name, seconds, 1, LEASE_SECONDS_MAX);
}

function checkOptions(options: SessionOptions): void {
  const { ttlSeconds, marginMs } = options;
  checkSeconds('ttlSeconds', ttlSeconds);
  if (marginMs !== undefined && (!(marginMs >= 0) || marginMs > (ttlSeconds * 1000) / 2)) {
    throw new ApiError('invalid_request', { detail: `marginMs is ${marginMs}; give 0 to half of the TTL` });
  }
  checkNumber('stallBudgetMs', options.stallBudgetMs, STALL_BUDGET_MS_MIN, STALL_BUDGET_MS_MAX);
  if ((options.stallBudgetMs === undefined) !== (options.keepAliver === undefined)) {
    const [given, missing] = options.keepAliver === undefined ? ['stallBudgetMs', 'keepAliver'] : ['keepAliver', 'stallBudgetMs'];
    const detail = `${given} without ${missing}: give both, or neither and the main loop renews; keepAliver(url) makes one`;
    throw new ApiError('invalid_request', { detail });
  }
}

/** Null when the lease is gone, else what went wrong. */
async function revoked(client: Client, lease: LeaseId, options: CallOptions): Promise<Error | null> {
  try {
    await client.revoke(lease, options);
    return null;
  } catch (error) {
    if (isApiError(error, 'lease_not_found')) return null;
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** A lease nobody waits for any more. If revoking fails it expires by itself, since nobody renews it. */
/** A lease, and when the request that got it was sent. An election in the store, or a lost connection, is waited out. */
async function granted(client: Client, clock: Clock, options: SessionOptions): Promise<{ lease: Lease; sentAt: number }> {
  const { ttlSeconds, signal, timeoutMs = OPEN_TIMEOUT_MS } = options;
  const deadline = clock.now() + timeoutMs;
  const backoff = new Backoff({ baseMs: OPEN_RETRY_MS, maxMs: OPEN_RETRY_MS_MAX, prng: chance(clock) });
  for (;;) {
    if (signal?.aborted === true) throw new ApiError('canceled', { detail: 'opening a session', cause: signal.reason });
    const sentAt = clock.now();
    const leftMs = deadline - sentAt;
    try {
      // The signal is not handed to the call: a grant that arrives late is revoked instead of being left to expire.
      const lease = await within(client.grant(ttlSeconds, { timeoutMs: leftMs }), clock, {
        what: 'opening a session',
        timeoutMs: leftMs,
        ...(signal === undefined ? {} : { signal }),
        onLate: (late) => discard(client, late),
      });
      return { lease, sentAt };
    } catch (error) {
      // A lease that was granted without our hearing of it has no keys, and ends by itself.
      const delayMs = backoff.next();
      if (!isApiError(error) || !PASSING.has(error.code) || clock.now() + delayMs >= deadline) throw error;
      await pause(clock, delayMs, signal);
    }
  }
}

function discard(client: Client, lease: Lease): void {
  void revoked(client, lease.id, {});
}
