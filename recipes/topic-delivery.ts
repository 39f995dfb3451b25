// One message in the hands of one consumer of a group: held by its claim, which stands on the consumer's session, until it
// is acknowledged or given back. Whoever has lost the claim can do neither, nor commit anything in its name.
//
//   ack   the claim is ours: delete it and the message's pending record, and do what is to happen together with it
//   nack  the claim is ours: delete it; the message is handed out again, and counts one attempt more

import { assert } from '../core/base/assert.js';
import type { Client, Op, OpResponse, Revision } from '../core/client.js';
import { opRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { orStopped } from './entry.js';
import { FencedOut, FencedTxn } from './fenced-txn.js';
import { EntryLost, Released } from './held.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, pause, within } from './pause.js';
import type { Session } from './session.js';
import { SessionLost } from './session.js';
import type { Gap } from './topic-names.js';

const CALL_MS = 5_000;
const SETTLE_MS = 30_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_000;

export interface Claimed {
  readonly what: string;
  readonly position: number;
  readonly body: Uint8Array;
  /** 1 for the first time that the message is handed out. */
  readonly attempt: number;
  readonly missed: Gap | null;
  readonly claim: Uint8Array;
  readonly pending: Uint8Array;
  readonly fence: Revision;
  /** Called once, when it is over. `isGone`: the claim is, as far as is known here; else somebody has to see to it. */
  readonly onEnd: (isGone: boolean) => void;
}

export interface AckMessageOptions extends WaitOptions {
  /** Done in the same transaction as the acknowledgement: effectively once. */
  readonly also?: readonly Op[];
}

export class TopicDelivery implements AsyncDisposable {
  readonly position: number;
  readonly body: Uint8Array;
  /** How often the message was handed out by now, to whomever: 1 for the first time. */
  readonly attempt: number;
  /** Messages before this one that the group will never see; else null. */
  readonly missed: Gap | null;
  /** Our claim. It stands on the session's lease. */
  readonly key: Uint8Array;
  readonly fence: Revision;
  readonly #session: Session;
  readonly #claimed: Claimed;
  readonly #over = new AbortController();
  readonly #forget: () => void;
  #reason: Error | null = null;
  #isSettling = false;
  /** The error of an attempt to settle that may have happened, or may still. */
  #loose: ApiError | null = null;

  constructor(session: Session, claimed: Claimed) {
    this.position = claimed.position;
    this.body = claimed.body;
    this.attempt = claimed.attempt;
    this.missed = claimed.missed;
    this.key = claimed.claim;
    this.fence = claimed.fence;
    this.#session = session;
    this.#claimed = claimed;
    this.#forget = session.onLost((reason) => this.#end(reason));
  }

  /** Computed now. */
  get isHeld(): boolean {
    return this.#ended() === null;
  }

  /** Aborts once: with `SessionLost`, `EntryLost`, or `Released` after an acknowledgement or its contrary. */
  get signal(): AbortSignal {
    this.#ended();
    return this.#over.signal;
  }

  assertHeld(minRemainingMs = 0): void {
    const reason = this.#ended();
    if (reason !== null) throw reason;
    this.#session.assertLive(minRemainingMs);
  }

  /** A transaction that commits only while the message is ours. For what is to happen exactly once, see `ack`. */
  txn(): FencedTxn {
    return this.#fenced(() => this.#ended());
  }

  #fenced(ended: () => Error | null): FencedTxn {
    return new FencedTxn({ name: this.#claimed.what, client: this.#session.client, key: this.key, fence: this.fence, ended });
  }

  /**
   * It is done. `also` happens in the same transaction: once, however often the message was handed out. Rejects with
   * `FencedOut` when the message is not ours any more; then nothing was written and somebody else will do it.
   */
  ack({ also = [], ...options }: AckMessageOptions = {}): Promise<void> {
    const { claim, pending } = this.#claimed;
    return this.#settle('acknowledging', () => this.txn().delete(pending).delete(claim).add(...also), pending, options);
  }

  /**
   * It is not done, and shall be handed out again. `signal` aborts at once, since somebody else may have it any time now.
   * Where this rejects, its group goes on giving it back for as long as the session lives.
   */
  async nack(options: WaitOptions = {}): Promise<void> {
    const { claim, what } = this.#claimed;
    const lost = this.#ended();
    if (lost !== null) throw new FencedOut(what, { token: this.fence, cause: lost });
    const unsettled = (): Error | null => (this.#session.live ? null : lossOf(this.#session));
    let isGone = false;
    this.#end(new Released(what), null);
    try {
      await this.#settle('giving back', () => this.#fenced(unsettled).delete(claim), claim, options);
      isGone = true;
    } catch (error) {
      isGone = error instanceof FencedOut;
      throw error;
    } finally {
      this.#claimed.onEnd(isGone);
    }
  }

  /** Without an acknowledgement it is given back; what cannot be reached is left to the session's lease. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isHeld) return;
    await Promise.allSettled([this.nack()]);
  }

  /** Somebody else has deleted the claim. */
  lose(): void {
    if (!this.#isSettling) this.#end(new EntryLost(this.#claimed.what));
  }

  /** Until it is known what has happened. `trace` is gone once it has, and nothing but it removes that while we live. */
  async #settle(verb: string, build: () => FencedTxn, trace: Uint8Array, options: WaitOptions): Promise<void> {
    if (this.#isSettling) throw new ApiError('invalid_request', { detail: `${this.#claimed.what} is being settled already` });
    this.#isSettling = true;
    const stop = new AbortController();
    const what = `${verb} ${this.#claimed.what}`;
    try {
      const work = this.#try(build, trace, stop.signal, what);
      await within(work, this.#session.clock, { timeoutMs: SETTLE_MS, ...options, what });
      this.#end(new Released(this.#claimed.what));
    } catch (error) {
      if (error instanceof FencedOut) this.#end(new EntryLost(this.#claimed.what));
      throw error;
    } finally {
      this.#isSettling = false;
      stop.abort(new ApiError('canceled', { detail: what }));
    }
  }

  async #try(build: () => FencedTxn, trace: Uint8Array, stop: AbortSignal, what: string): Promise<void> {
    const { client, clock, lease } = this.#session;
    const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, lease, what) });
    while (!stop.aborted) {
      try {
        const call = { timeoutMs: CALL_MS, outer: stop, what };
        await bounded(clock, call, (signal) => orStopped(build().commit({ signal }), signal));
        return;
      } catch (error) {
        if (isApiError(error) && error.outcome === 'unknown') this.#loose = error;
        if (stop.aborted) return;
        if (error instanceof FencedOut) {
          if (this.#loose === null) throw error;
          // The claim goes with the session; what an unanswered attempt has done can then not be told any more.
          if (!this.#session.live) throw this.#loose;
          if (await this.#isGone(client, trace, stop)) return;
          throw error;
        }
        if (!isApiError(error) || (!error.retryable && error.outcome === 'never')) throw error;
      }
      await pause(clock, backoff.next(), stop);
    }
  }

  async #isGone(client: Client, key: Uint8Array, stop: AbortSignal): Promise<boolean> {
    const { clock } = this.#session;
    for (;;) {
      try {
        const ops = { success: [opRange(key, { countOnly: true })] };
        const call = { timeoutMs: CALL_MS, outer: stop, what: 'looking what has happened' };
        const answer = await bounded(clock, call, (signal) => orStopped(client.txn(ops, { signal }), signal));
        return countIn(answer.responses[0]) === 0;
      } catch (error) {
        if (stop.aborted || !this.#session.live || isApiError(error, 'closed')) throw error;
        await pause(clock, RETRY_MS, stop);
      }
    }
  }

  #ended(): Error | null {
    if (this.#reason === null && !this.#session.live) this.#end(lossOf(this.#session));
    return this.#reason;
  }

  #end(reason: Error, isGone: boolean | null = true): void {
    if (this.#reason !== null || (!(reason instanceof SessionLost) && !this.#session.live && this.#ended() !== null)) return;
    this.#reason = reason;
    this.#forget();
    this.#over.abort(reason);
    if (isGone !== null) this.#claimed.onEnd(isGone);
  }
}

function lossOf(session: Session): Error {
  const reason: unknown = session.signal.reason;
  return reason instanceof Error ? reason : new Error(String(reason));
}

function countIn(answer: OpResponse | undefined): number {
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.count;
}
