// One instance, kept registered. A registration is desired state: `update` changes it, and after an outage or a lost
// session the LATEST state is put back under a fresh session. One loop does all writing, one write at a time.
//
// Keys: coterie/services/<service>/instances/<id>   on the session's lease
//       coterie/services/<service>/departed/<id>    the epitaph, on a longer lease of its own
// Transactions, each comparing the modification revisions last seen of BOTH keys:
//   appear   put instance, put epitaph 'expired': a crash then leaves the right reason behind without anybody's help
//   change   put instance: one put, so watchers never see a gap
//   leave    delete instance, put epitaph 'closed' or 'drained': from then on a late 'appear' or 'change' compares unequal
//
// Two processes with one id: the newer incarnation wins. It takes the entry over with one put; the older one sees another
// owner's mark, ends as `superseded` and never fights back, not even after the newer one has gone.
//
// Long because the loop and all that it decides by are one machine; in two files each half would need the other's fields.

import { onceAborted } from '../core/base/abort.js';
import { equalBytes } from '../core/base/bytes.js';
import { assert } from '../core/base/assert.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { Client, KeyValue, LeaseId, Op, OpResponse, Revision, TxnRequest, TxnResponse } from '../core/client.js';
import { modified, opDelete, opPut, opRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { DepartureReason, InstanceData, InstanceSpec } from './instance.js';
import { checkSpec, checkWhy, departedKey, encodeDeparture, encodeInstance, instanceKey, readEntry } from './instance.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, observing, pause, TokenBucket, within } from './pause.js';
import { checkSeconds, Session, SessionLost } from './session.js';
import { View } from './view.js';

const TTL_SECONDS = 10;
const EPITAPH_SECONDS = 3_600;
const REGISTER_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 5_000;
const CALL_TIMEOUT_MS = 3_000;
const RETRY_MS = 100;
const RETRY_MS_MAX = 1_200;
/** Reads and writes in one attempt; more are only needed when somebody else writes the same keys all the time. */
const ROUNDS_MAX = 10;
/** Restorations: this many at once, then one each second, however often sessions die or others delete the key. */
const RESTORE = Object.freeze({ capacity: 5, refillMs: 1_000 });

/** Why a registration is over. `superseded`: a newer incarnation registered the same id. */
export type EndReason = DepartureReason | 'superseded';

export class RegistrationEnded extends Error {
  override readonly name = 'RegistrationEnded';
  readonly code = 'registration_ended';
  readonly reason: EndReason;

  constructor(service: string, id: string, reason: EndReason) {
    const next = reason === 'superseded' ? ': a newer process registered the same id; give each process its own' : '';
    super(`the registration of ${service}/${id} has ended: ${reason}${next}`);
    this.reason = reason;
  }
}

/** For logs and tests. */
export type RegistrationEvent =
  | { readonly kind: 'registered'; readonly revision: Revision; readonly lease: LeaseId }
  | { readonly kind: 'session_lost'; readonly error: Error }
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  /**
   * The store could not be told in time; the instance disappears when its lease expires, with the reason `expired`. On a
   * session that was handed in it does not expire while that lives, so the removal goes on being tried.
   */
  | { readonly kind: 'left_behind'; readonly error: Error }
  | { readonly kind: 'ended'; readonly reason: EndReason };

export interface RegisterOptions extends WaitOptions {
  /** Of the sessions opened here; default 10. Ignored while a session that was handed in lives. */
  readonly ttlSeconds?: number;
  readonly clock?: Clock;
  /** How long the reason of a departure stays readable; default one hour. */
  readonly epitaphSeconds?: number;
  /** How long `close` and `drain` try to tell the store; default 5 s. */
  readonly closeTimeoutMs?: number;
  readonly observe?: (event: RegistrationEvent) => void;
}

export type InstancePatch = Partial<Omit<InstanceSpec, 'service' | 'id'>>;

/**
 * Resolves once the instance is in the store. With a client, sessions are opened as needed. With a session, that one is
 * used until it is lost; closing it closes the registration too. `signal` and `timeoutMs` (default 30 s) bound the
 * registering only; a registration that is given up is taken back.
 */
export async function register(
  home: Client | Session,
  spec: InstanceSpec,
  options: RegisterOptions = {},
): Promise<Registration> {
  const registration = new Registration(home, spec, options);
  try {
    await within(registration.first(), registration.clock, {
      timeoutMs: options.timeoutMs ?? REGISTER_TIMEOUT_MS,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      what: `registering ${spec.service}/${spec.id}`,
    });
    return registration;
  } catch (error) {
    const cause = registration.lastError;
    await registration.close();
    if (!isApiError(error, 'deadline_exceeded') || cause === null) throw error;
    const detail = `registering ${spec.service}/${spec.id}, because: ${cause.message}`;
    throw new ApiError('deadline_exceeded', { detail, cause });
  }
}

export class Registration {
  readonly service: string;
  readonly id: string;
  readonly clock: Clock;
  readonly #client: Client;
  readonly #keys: { readonly instance: Uint8Array; readonly epitaph: Uint8Array };
  readonly #options: {
    ttlSeconds: number;
    epitaphSeconds: number;
    closeTimeoutMs: number;
    observe: (event: RegistrationEvent) => void;
  };
  readonly #backoff: Backoff;
  readonly #bucket: TokenBucket;
  readonly #ended = new AbortController();
  /** Aborts as soon as the instance is to leave: whatever the loop waits for is then of no interest. */
  readonly #leaving = new AbortController();

  // What is wanted. `#version` counts the changes; `#stored` is the newest one the store has acknowledged.
  #data: InstanceData;
  #state: 'up' | 'maintenance' | 'draining' = 'up';
  #why = '';
  #version = 1;
  #storedVersion = 0;
  #goal: DepartureReason | null = null;

  // What is known of the store. While not `#known` (an outcome is open, or somebody wrote), both keys are read first.
  #known = false;
  #instanceRevision: Revision = 0;
  #epitaphRevision: Revision = 0;
  /** The lease our value stands on, as far as known; null: it must be written. */
  #placed: LeaseId | null = null;
  /** The newest revision at which the key's view saw something that was not ours. */
  #disturbedRevision: Revision = 0;

  #session: Session | null;
  /** Stops listening to the session. */
  #detach: () => void = () => undefined;
  /** False while the session is one that was handed in. */
  #ownsSession: boolean;
  #owner = '';
  #attempted = false;
  #epitaph: { readonly lease: LeaseId; renewAt: number; written: boolean } | null = null;
  #view: View | null = null;
  #following: Promise<void> = Promise.resolve();
  #end: RegistrationEnded | null = null;
  /** Nothing of ours is left in the store to be removed. */
  #departed = false;
  #lastError: Error | null = null;
  #woken = false;
  #wakeLoop: () => void = () => undefined;
  readonly #waiting: (() => void)[] = [];
  readonly #running: Promise<void>;
  #draining: Promise<void> | null = null;

  /** Use `register`. */
  constructor(home: Client | Session, spec: InstanceSpec, options: RegisterOptions) {
    const { service, id, data } = checkSpec(spec);
    if (options.ttlSeconds !== undefined) checkSeconds('ttlSeconds', options.ttlSeconds);
    if (options.epitaphSeconds !== undefined) checkSeconds('epitaphSeconds', options.epitaphSeconds);
    checkNumber('closeTimeoutMs', options.closeTimeoutMs, 0);
    this.service = service;
    this.id = id;
    this.#data = data;
    this.#session = home instanceof Session ? home : null;
    this.#ownsSession = !(home instanceof Session);
    this.#client = home instanceof Session ? home.client : home;
    this.clock = options.clock ?? this.#session?.clock ?? systemClock;
    this.#keys = { instance: instanceKey(service, id), epitaph: departedKey(service, id) };
    this.#options = {
      ttlSeconds: options.ttlSeconds ?? (this.#session === null ? TTL_SECONDS : this.#session.ttlMs / 1000),
      epitaphSeconds: options.epitaphSeconds ?? EPITAPH_SECONDS,
      closeTimeoutMs: options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS,
      observe: observing(this.clock, options.observe),
    };
    this.#backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(this.clock, service, id) });
    this.#bucket = new TokenBucket(this.clock, RESTORE);
    if (this.#session !== null) this.#attach(this.#session);
    this.#running = this.#run();
  }

  /** What is wanted of the instance; `gone` once the registration has ended. */
  get state(): 'up' | 'maintenance' | 'draining' | 'gone' {
    return this.#end === null ? this.#state : 'gone';
  }

  /** The latest state is in the store, on a live session, as far as anybody here can know. */
  get registered(): boolean {
    return this.#inPlace() && this.#end === null;
  }

  /** Aborts once, with a `RegistrationEnded`: closed, drained, evicted or superseded. An outage does not end it. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** What the last attempt failed with; null while all is well. */
  get lastError(): Error | null {
    return this.#lastError;
  }

  /** Resolves when the store has it for the first time. */
  first(): Promise<void> {
    return this.#stored(1);
  }

  /**
   * Changes the desired state at once; resolves when the store has it, which an outage may delay. Rejects with
   * `invalid_request` (nothing changed) or `RegistrationEnded`.
   */
  async update(patch: InstancePatch): Promise<void> {
    this.#assertOpen();
    const { data } = checkSpec({ ...this.#data, ...patch, service: this.service, id: this.id });
    this.#data = data;
    await this.#want();
  }

  /** Alive, but without traffic; `false` brings it back. `why` is shown to whoever asks. Not while draining. */
  async maintenance(on: boolean, why = ''): Promise<void> {
    this.#assertOpen();
    if (this.#state === 'draining') {
      throw new ApiError('invalid_request', { detail: `${this.service}/${this.id} is draining and cannot come back` });
    }
    const checked = checkWhy(why);
    this.#state = on ? 'maintenance' : 'up';
    this.#why = on ? checked : '';
    await this.#want();
  }

  /**
   * Publishes `draining`, waits `graceMs` from the moment the store has it, then removes the instance with the reason
   * `drained`. `close` cuts it short. Never rejects because of the store: see `left_behind`.
   */
  async drain(options: { graceMs: number }): Promise<void> {
    checkNumber('graceMs', options.graceMs, 0);
    this.#draining ??= this.#drain(options.graceMs);
    await this.#draining;
  }

  /** Removes the instance with the reason `closed`; nothing can bring it back. Idempotent; never rejects. */
  async close(): Promise<void> {
    this.#leave('closed');
    await this.#running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #drain(graceMs: number): Promise<void> {
    if (this.#end === null && this.#goal === null) {
      this.#state = 'draining';
      this.#why = '';
      const told = this.#want();
      const giveUp = within(told, this.clock, {
        timeoutMs: this.#options.closeTimeoutMs,
        signal: this.#leaving.signal,
        what: 'publishing that it drains',
      });
      await Promise.allSettled([giveUp]);
      await pause(this.clock, graceMs, this.#leaving.signal);
      this.#leave('drained');
    }
    await this.#running;
  }

  #leave(reason: DepartureReason): void {
    if (this.#end !== null || this.#goal !== null) return;
    this.#goal = reason;
    this.#leaving.abort();
    this.#wake();
  }

  #assertOpen(): void {
    if (this.#end !== null) throw this.#end;
    if (this.#goal !== null) throw new RegistrationEnded(this.service, this.id, this.#goal);
  }

  #want(): Promise<void> {
    this.#version += 1;
    this.#wake();
    return this.#stored(this.#version);
  }

  async #stored(version: number): Promise<void> {
    while (this.#storedVersion < version) {
      if (this.#end !== null) throw this.#end;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #tellWaiting(): void {
    for (const tell of this.#waiting.splice(0)) tell();
  }

  #wake(): void {
    this.#woken = true;
    this.#wakeLoop();
  }

  async #run(): Promise<void> {
    // The first step is taken from a later turn, when the constructor's caller holds the object.
    await pause(this.clock, 0);
    while (this.#end === null && this.#goal === null) {
      try {
        await this.#restore();
        this.#lastError = null;
        this.#backoff.reset();
        await this.#quiet();
      } catch (error) {
        if (this.#leaving.signal.aborted) break;
        await this.#onFailure(error instanceof Error ? error : new Error(String(error)));
      }
    }
    if (this.#goal !== null && this.#end === null) await this.#takeBack(this.#goal);
    await this.#cleanUp();
  }

  /** Makes the store say what is wanted: a live session, a lease for the epitaph, both keys as they should be. */
  async #restore(): Promise<void> {
    if (!this.#inPlace() && this.#storedVersion === this.#version) {
      await pause(this.clock, this.#bucket.take(), this.#leaving.signal);
    }
    const session = await this.#liveSession();
    await this.#keepEpitaph();
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      if (this.#end !== null || this.#goal !== null || !session.live || this.#inPlace()) return;
      if (this.#known) await this.#write(session);
      else await this.#look();
    }
    if (!this.#inPlace()) throw new ApiError('internal', { detail: `others changed the entry ${ROUNDS_MAX} times meanwhile` });
  }

  #inPlace(): boolean {
    return this.#known && this.#storedVersion === this.#version && this.#session !== null && this.#session.live
      && this.#placed === this.#session.lease;
  }

  /** Waits until something wakes the loop: a change, a lost session, a disturbed key, the epitaph's renewal. */
  async #quiet(): Promise<void> {
    if (this.#end !== null) return;
    const renewIn = this.#epitaph === null ? 0 : this.#epitaph.renewAt - this.clock.now();
    const cancel = this.clock.schedule(Math.max(0, renewIn), () => this.#wake());
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        this.#wakeLoop = resolve;
      });
    }
    cancel();
    this.#woken = false;
  }

  async #onFailure(error: Error): Promise<void> {
    this.#lastError = error;
    if (isApiError(error, 'lease_not_found')) {
      // One of the two leases is gone and the answer does not say which. A session whose lease is gone will find out at
      // its next renewal and wake the loop; a new lease for the epitaph costs nothing.
      this.#epitaph = null;
    }
    if (isApiError(error, 'closed')) this.#finish('closed');
    this.#options.observe({ kind: 'attempt_failed', error });
    await pause(this.clock, this.#backoff.next(), this.#leaving.signal);
  }

  async #liveSession(): Promise<Session> {
    const present = this.#session;
    if (present !== null && present.live) {
      if (this.#owner === '') this.#owner = present.lease.toString(16);
      return present;
    }
    this.#session = null;
    const session = await Session.open(this.#client, {
      ttlSeconds: this.#options.ttlSeconds,
      clock: this.clock,
      name: `${this.service}/${this.id}`,
      timeoutMs: CALL_TIMEOUT_MS,
      signal: this.#leaving.signal,
    });
    this.#session = session;
    this.#ownsSession = true;
    if (this.#owner === '') this.#owner = session.lease.toString(16);
    this.#attach(session);
    return session;
  }

  #attach(session: Session): void {
    const onLost = (): void => {
      if (this.#session !== session || this.#goal !== null || this.#end !== null) return;
      const error: unknown = session.signal.reason;
      if (error instanceof SessionLost) {
        this.#options.observe({ kind: 'session_lost', error });
        // Its owner ended it on purpose, and the instance with it.
        if (error.reason === 'closed') this.#leave('closed');
      }
      this.#wake();
    };
    this.#detach();
    const { signal } = session;
    onceAborted(signal, onLost);
    this.#detach = () => signal.removeEventListener('abort', onLost);
    if (signal.aborted) onLost();
  }

  async #keepEpitaph(): Promise<void> {
    const now = this.clock.now();
    const seconds = this.#options.epitaphSeconds;
    if (this.#epitaph !== null && now >= this.#epitaph.renewAt) {
      const { lease } = this.#epitaph;
      const answer = await this.#call('renewing the epitaph', (signal) => this.#client.keepAlive(lease, { signal }));
      if (answer.ttlSeconds > 0) this.#epitaph.renewAt = now + (answer.ttlSeconds * 1000) / 3;
      else this.#epitaph = null;
    }
    if (this.#epitaph !== null) return;
    const granted = await this.#call('a lease for the epitaph', (signal) => this.#client.grant(seconds, { signal }));
    this.#epitaph = { lease: granted.id, renewAt: now + (granted.ttlSeconds * 1000) / 3, written: false };
    this.#placed = null;
  }

  #call<T>(
    what: string,
    call: (signal: AbortSignal) => Promise<T>,
    outer: AbortSignal | null = this.#leaving.signal,
  ): Promise<T> {
    return bounded(this.clock, { timeoutMs: CALL_TIMEOUT_MS, what, ...(outer === null ? {} : { outer }) }, call);
  }

  #value(): Uint8Array {
    return encodeInstance(this.#data, { state: this.#state, why: this.#why, owner: this.#owner });
  }

  #epitaphOp(reason: DepartureReason): Op {
    assert(this.#epitaph !== null, 'the epitaph has a lease before it is written');
    return opPut(this.#keys.epitaph, encodeDeparture({ reason, why: '', owner: this.#owner }), { lease: this.#epitaph.lease });
  }

  #guarded(success: readonly Op[]): TxnRequest {
    return {
      compare: [
        modified(this.#keys.instance, '=', this.#instanceRevision),
        modified(this.#keys.epitaph, '=', this.#epitaphRevision),
      ],
      success,
      failure: [opRange(this.#keys.instance), opRange(this.#keys.epitaph)],
    };
  }

  async #write(session: Session): Promise<void> {
    const version = this.#version;
    const epitaph = this.#epitaph;
    // An instance that appears takes its epitaph with it; the guard on that key is what makes a late 'appear' harmless.
    const appears = this.#instanceRevision === 0 || this.#storedVersion === 0 || epitaph?.written !== true;
    const instance = opPut(this.#keys.instance, this.#value(), { lease: session.lease });
    const answer = await this.#commit([instance, ...(appears ? [this.#epitaphOp('expired')] : [])]);
    if (!answer.succeeded) {
      this.#learn(answer.responses);
      return;
    }
    const revision = revisionOf(answer.responses[0]);
    this.#instanceRevision = revision;
    if (appears) this.#epitaphRevision = revision;
    if (epitaph !== null) epitaph.written = true;
    this.#known = revision >= this.#disturbedRevision;
    this.#placed = session.lease;
    this.#storedVersion = version;
    this.#follow();
    this.#tellWaiting();
    this.#options.observe({ kind: 'registered', revision, lease: session.lease });
  }

  /** Until the answer is here the outcome is open, and both keys count as unknown. */
  async #commit(success: readonly Op[], outer?: AbortSignal): Promise<TxnResponse> {
    const request = this.#guarded(success);
    this.#known = false;
    this.#attempted = true;
    const answer = await this.#call('writing the registration', (signal) => this.#client.txn(request, { signal }), outer);
    this.#known = true;
    return answer;
  }

  async #look(outer?: AbortSignal): Promise<void> {
    const request = { success: [opRange(this.#keys.instance), opRange(this.#keys.epitaph)] };
    const answer = await this.#call('reading the registration', (signal) => this.#client.txn(request, { signal }), outer);
    this.#known = true;
    this.#learn(answer.responses);
  }

  /** What both keys hold now, and what that means for this registration. */
  #learn(responses: readonly OpResponse[]): void {
    const instance = onlyOf(responses[0]);
    const epitaph = onlyOf(responses[1]);
    this.#instanceRevision = instance?.modRevision ?? 0;
    this.#epitaphRevision = epitaph?.modRevision ?? 0;
    this.#placed = null;
    const held = instance === null ? null : readEntry(instance);
    const left = epitaph === null ? null : readEntry(epitaph);
    // A value that nobody can read is nobody's: it is written over.
    const owner = held?.kind === 'instance' ? held.instance.owner : null;
    const starting = this.#storedVersion === 0;
    if (owner !== null && owner !== this.#owner) {
      if (!starting || this.#goal !== null) this.#conclude('superseded');
      return;
    }
    if (instance !== null) {
      if (owner === null || !equalBytes(instance.value, this.#value())) return;
      if (this.#epitaph?.written === true) this.#placed = instance.lease;
      return;
    }
    if (left?.kind !== 'departed' || starting) return;
    if (left.departure.owner !== this.#owner) this.#conclude('superseded');
    else if (left.departure.reason !== 'expired') this.#conclude(left.departure.reason);
  }

  /** Watches the own key, so that a deletion or another's write is noticed when it happens. */
  #follow(): void {
    if (this.#view !== null) return;
    const view = View.follow(this.#client, { key: this.#keys.instance }, { clock: this.clock });
    this.#view = view;
    this.#following = this.#judge(view);
  }

  async #judge(view: View): Promise<void> {
    let seen = 0;
    for await (const change of view.changes) {
      const present = view.get(this.#keys.instance);
      const revision = present?.modRevision ?? view.revision;
      // A store that was restored from an older copy: what it holds is new here, although its revisions are lower.
      const wentBack = change.revision < seen;
      seen = change.revision;
      if (!wentBack && (change.staleSince !== null || revision <= this.#instanceRevision)) continue;
      this.#disturbedRevision = wentBack ? 0 : Math.max(this.#disturbedRevision, revision);
      this.#known = false;
      this.#wake();
    }
  }

  async #takeBack(reason: DepartureReason): Promise<void> {
    if (!this.#attempted) {
      this.#conclude(reason);
      return;
    }
    const giveUp = new AbortController();
    const cancel = this.clock.schedule(this.#options.closeTimeoutMs, () => giveUp.abort());
    while (this.#end === null) {
      try {
        await this.#remove(reason, giveUp.signal);
      } catch (error) {
        const failure = this.#onRemovalFailure(error);
        if (giveUp.signal.aborted || isApiError(failure, 'closed')) {
          this.#options.observe({ kind: 'left_behind', error: failure });
          this.#finish(reason);
        } else {
          await pause(this.clock, RETRY_MS, giveUp.signal);
        }
      }
    }
    cancel();
  }

  #onRemovalFailure(error: unknown): Error {
    this.#known = false;
    if (isApiError(error, 'lease_not_found')) this.#epitaph = null;
    return error instanceof Error ? error : new Error(String(error));
  }

  /**
   * The session that was handed in goes on living and would keep the instance for ever, so the store is told as soon as it
   * can be. Ends with that session; never rejects.
   */
  async #removeLater(reason: DepartureReason, session: Session): Promise<void> {
    const { signal } = session;
    while (!this.#departed && session.live) {
      await pause(this.clock, this.#backoff.next(), signal);
      try {
        if (session.live) await this.#remove(reason, signal);
      } catch (error) {
        if (isApiError(this.#onRemovalFailure(error), 'closed')) return;
      }
    }
  }

  async #remove(reason: DepartureReason, outer: AbortSignal): Promise<void> {
    if (!this.#known) await this.#look(outer);
    if (this.#departed) return;
    if (this.#epitaph === null) {
      const seconds = this.#options.epitaphSeconds;
      const granted = await this.#call('a lease for the epitaph', (signal) => this.#client.grant(seconds, { signal }), outer);
      this.#epitaph = { lease: granted.id, renewAt: Infinity, written: false };
    }
    const removal = this.#instanceRevision === 0 ? [] : [opDelete(this.#keys.instance)];
    const answer = await this.#commit([...removal, this.#epitaphOp(reason)], outer);
    if (answer.succeeded) this.#conclude(reason);
    else this.#learn(answer.responses);
  }

  async #cleanUp(): Promise<void> {
    await this.#view?.close();
    await this.#following;
    this.#detach();
    const session = this.#session;
    // Revoking the lease also makes void whatever write on it is still on its way.
    if (this.#ownsSession) await session?.close({ timeoutMs: this.#options.closeTimeoutMs });
    else if (session !== null && this.#goal !== null && !this.#departed) void this.#removeLater(this.#goal, session);
    await this.#releaseEpitaph();
  }

  /** A lease that no epitaph of ours stands on: others have written theirs, or there never was one. */
  async #releaseEpitaph(): Promise<void> {
    const reason = this.#end?.reason;
    if (this.#epitaph === null || (this.#attempted && reason !== 'superseded' && reason !== 'evicted')) return;
    const { lease } = this.#epitaph;
    await Promise.allSettled([
      this.#call('revoking the lease of the epitaph', (signal) => this.#client.revoke(lease, { signal }), null),
    ]);
  }

  /** Over, and the store knows. */
  #conclude(reason: EndReason): void {
    this.#departed = true;
    this.#finish(reason);
  }

  #finish(reason: EndReason): void {
    if (this.#end !== null) return;
    this.#end = new RegistrationEnded(this.service, this.id, reason);
    this.#leaving.abort();
    this.#ended.abort(this.#end);
    this.#tellWaiting();
    this.#wake();
    this.#options.observe({ kind: 'ended', reason });
  }
}

function onlyOf(response: OpResponse | undefined): KeyValue | null {
  assert(response?.kind === 'range', 'a range is answered by a range');
  return response.response.kvs[0] ?? null;
}

function revisionOf(response: OpResponse | undefined): Revision {
  assert(response?.kind === 'put', 'a put is answered by a put');
  return response.response.revision;
}
