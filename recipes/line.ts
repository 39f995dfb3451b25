// Standing in line: entries ordered by their create revision, and a rule that says what stands in an entry's way. For a
// mutex that is the entry just before it, for a reader the last writer before it, for an election the same as for a mutex.
//
//   enter    one transaction: put our entry, read what stands before it. Nothing does: it is ours, after one round trip
//   wait     watch what stands before us, and our own entry; nothing is polled and nobody else is woken
//   look     whatever happened: one transaction that compares our entry's create revision and reads what stands before it
//            now. It may be another waiter; our entry may be gone (enter again, at the end) or moved (stand there)
//   leave    by abort, time-out or release our entry is removed before the promise settles (see entry.ts)
//
// An answer is believed only while the session lives. Entries of one create revision would be equals; nothing here makes
// such, since every entry is created by a transaction of its own.

import { onceAborted } from '../core/base/abort.js';
import { text, utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type { Compare, KeyValue, Op, RangeRequest, Revision, TxnRequest } from '../core/client.js';
import { created, modified, opDelete, opPut, prefixRange } from '../core/client.js';
import type { ErrorCode } from '../core/errors.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { Answer, Look, Own, Write } from './entry.js';
import { Entry, isWorthRepeating, movedKey, orStopped } from './entry.js';
import type { Range } from './deletion.js';
import { asError, deletion } from './deletion.js';
import { EntryMayRemain } from './held.js';
import { Holding, wantedKey } from './holding.js';
import type { WaitOptions } from './pause.js';
import { Backoff, chance, checkNumber, observing, pause, within } from './pause.js';
import type { Session } from './session.js';

/** How long a wait that ends, or a release, tries to remove the entry before it leaves that to the background. */
const LEAVE_MS = 5_000;
const TELL_AFTER_MS = 60_000;
const RETRY_MS = 100;
const RETRY_MS_MAX = 2_000;

/** `blocked`: until something in `by` is deleted. `write`: something is to be written first, then it is judged again. */
export type Verdict =
  | { readonly kind: 'free'; readonly also?: readonly Compare[]; readonly watch?: readonly Range[] }
  | { readonly kind: 'blocked'; readonly by: Range }
  | { readonly kind: 'write'; readonly prepare: () => Promise<Write> };

/** What stands in an entry's way. One for each acquisition; pure but for `prepare`. */
export interface Rule {
  /** What to read; `own` null: with the creation of our entry, which is then the newest of its line. */
  reads(own: Own | null): readonly RangeRequest[];
  /** `answers` are those to `reads`, at a revision at which our entry was there. */
  judge(answers: readonly Answer[], own: Own): Verdict;
  /** Compares that hold exactly while a newcomer need not wait. */
  readonly free: readonly Compare[];
  /** Done together with the removal of our entry; must be harmless wherever the acquisition has got to. */
  leaving?(own: Own): readonly Op[];
  /** What is left to be removed when somebody else has deleted our entry. */
  leftover?(own: Own): readonly Op[];
}

/** For logs and tests. */
export type LineEvent =
  | { readonly kind: 'entered'; readonly key: Uint8Array; readonly fence: Revision }
  /** Once, when a wait that neither a signal nor a time-out bounds has become old. */
  | { readonly kind: 'still_waiting'; readonly waitedMs: number }
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  | { readonly kind: 'lost'; readonly error: Error }
  /** A release that could not be confirmed in time and goes on in the background, or that cannot succeed. */
  | { readonly kind: 'release_unconfirmed'; readonly error: Error };

export interface LineOptions extends WaitOptions {
  /** When to tell of a wait that nothing bounds; default 60 s. */
  readonly tellAfterMs?: number;
  readonly observe?: (event: LineEvent) => void;
}

/** Where to stand, and what for. */
export interface Place {
  /** For messages and as `Held.name`. */
  readonly name: string;
  /** With its kind, for messages: 'lock nightly'. */
  readonly what: string;
  /** The prefix of the line's entries; ends with a slash. */
  readonly line: string;
  /** Of our entry's key; see entry.ts. */
  readonly suffix?: string;
  readonly value: Uint8Array;
  readonly rule: Rule;
}

/**
 * Resolves when it is held. Rejects with `SessionLost`, `canceled` or `deadline_exceeded`, after our entry has been
 * removed; with `EntryMayRemain` if that could not be confirmed; or with what the store refuses for good.
 */
export async function acquire(session: Session, place: Place, options: LineOptions = {}): Promise<Holding> {
  const held = await new Acquisition(session, place, options).run(false);
  if (held === null) throw new ApiError('internal', { detail: `${place.what}: a wait ended without an outcome` });
  return held;
}

/** Like `acquire`, but null instead of waiting. Where nothing is free nothing is written. */
export function tryAcquire(session: Session, place: Place, options: LineOptions = {}): Promise<Holding | null> {
  return new Acquisition(session, place, options).run(true);
}

/** Tells once of a wait that neither a signal nor a time-out bounds, when it has become old; what it returns ends that. */
export function tellWhenOld(clock: Clock, options: LineOptions): () => void {
  const { signal, timeoutMs = Infinity, tellAfterMs = TELL_AFTER_MS } = options;
  checkNumber('tellAfterMs', tellAfterMs, 0);
  if (signal !== undefined || timeoutMs !== Infinity) return () => undefined;
  const startedAt = clock.now();
  const tell = observing(clock, options.observe);
  return clock.schedule(tellAfterMs, () => tell({ kind: 'still_waiting', waitedMs: clock.now() - startedAt }));
}

class Acquisition {
  readonly #session: Session;
  readonly #place: Place;
  readonly #options: LineOptions;
  readonly #observe: (event: LineEvent) => void;
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  #lastError: Error | null = null;

  constructor(session: Session, place: Place, options: LineOptions) {
    checkNumber('timeoutMs', options.timeoutMs, 0);
    checkNumber('tellAfterMs', options.tellAfterMs, 0);
    this.#session = session;
    this.#place = place;
    this.#options = options;
    this.#observe = observing(session.clock, options.observe);
    this.#backoff = new Backoff({
      baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(session.clock, session.lease, place.line),
    });
  }

  async run(once: boolean): Promise<Holding | null> {
    const unbind = this.#bind();
    try {
      this.#assertWanted();
      const { line, suffix = '', value, rule } = this.#place;
      const entry = new Entry(this.#session, {
        line,
        suffix,
        value,
        reads: (own) => rule.reads(own),
        leaving: (own) => [opDelete(wantedKey(own.key)), ...(rule.leaving?.(own) ?? [])],
        leftover: (own) => rule.leftover?.(own) ?? [],
        onFailure: (error) => this.#onFailure(error),
      });
      try {
        const held = await this.#stand(entry, once);
        if (held === null) await this.#leave(entry, null);
        return held;
      } catch (error) {
        await this.#leave(entry, error);
        throw error;
      }
    } finally {
      unbind();
    }
  }

  /** Null: not free, and it was asked for once only. */
  async #stand(entry: Entry, once: boolean): Promise<Holding | null> {
    const stop = this.#stop.signal;
    const { rule } = this.#place;
    const only = once ? rule.free : null;
    let look: Look | null = null;
    for (;;) {
      if (look === null) {
        look = await entry.create(stop, only);
        this.#assertWanted();
        if (look === null && once) return null;
        if (look === null) continue;
        this.#observe({ kind: 'entered', ...look.own });
      }
      const verdict = rule.judge(look.answers, look.own);
      if (verdict.kind === 'free') return this.#held(entry, look, verdict);
      if (verdict.kind === 'blocked' && once) return null;
      look = verdict.kind === 'blocked'
        ? await this.#wait(entry, look, verdict.by)
        : await this.#write(entry, verdict.prepare);
      this.#assertWanted();
    }
  }

  async #wait(entry: Entry, look: Look, by: Range): Promise<Look | null> {
    const stop = this.#stop.signal;
    const { client, clock } = this.#session;
    const seen = await deletion(client, [{ key: look.own.key }, by], look.revision, stop);
    if (seen.error === null) {
      this.#backoff.reset();
      // Gone by somebody's hand, or with the lease: ask now.
      if (seen.range === 0) this.#session.suspect();
    } else {
      this.#onFailure(seen.error);
      await pause(clock, this.#backoff.next(), stop);
    }
    return entry.look(stop);
  }

  async #write(entry: Entry, prepare: () => Promise<Write>): Promise<Look | null> {
    const stop = this.#stop.signal;
    try {
      return await entry.look(stop, await orStopped(prepare(), stop));
    } catch (error) {
      if (stop.aborted || !isWorthRepeating(error)) throw error;
      this.#onFailure(error);
      await pause(this.#session.clock, this.#backoff.next(), stop);
      return entry.look(stop);
    }
  }

  #held(entry: Entry, look: Look, verdict: Verdict & { kind: 'free' }): Holding {
    const { name, what, line } = this.#place;
    const holding = { name, what, line: prefixRange(utf8(line)), also: verdict.also ?? [], watch: verdict.watch ?? [] };
    return new Holding(entry, look, { ...holding, leaveMs: this.#leaveMs(), observe: this.#observe });
  }

  /** Removes our entry. Rejects with `EntryMayRemain` when that is not confirmed in time. */
  async #leave(entry: Entry, error: unknown): Promise<void> {
    // What stands on a lost session's lease goes with it.
    if (!this.#session.live) return;
    const removal = entry.remove();
    try {
      const { clock } = this.#session;
      await within(removal, clock, { timeoutMs: this.#leaveMs(), what: `leaving the line of ${this.#place.what}` });
    } catch (failure) {
      removal.catch((late: unknown) => this.#observe({ kind: 'release_unconfirmed', error: asError(late) }));
      const code: ErrorCode = isApiError(error) ? error.code : 'deadline_exceeded';
      throw new EntryMayRemain(code, this.#waiting(), error ?? failure);
    }
  }

  #leaveMs(): number {
    return Math.min(LEAVE_MS, this.#session.ttlMs);
  }

  /** Everything that ends the wait aborts `#stop`, whose reason is then what it rejects with. */
  #bind(): () => void {
    const { clock } = this.#session;
    const { signal, timeoutMs } = this.#options;
    const what = this.#waiting();
    const onAbort = (): void => this.#stop.abort(new ApiError('canceled', { detail: what, cause: signal?.reason }));
    const onTimeout = (): void => {
      const cause = this.#lastError;
      const detail = `${what} took more than ${timeoutMs} ms${cause === null ? '' : `; the store: ${cause.message}`}`;
      this.#stop.abort(new ApiError('deadline_exceeded', cause === null ? { detail } : { detail, cause }));
    };
    const bounded = timeoutMs !== undefined && timeoutMs !== Infinity;
    const cancelTimeout = bounded ? clock.schedule(timeoutMs, onTimeout) : null;
    const cancelTell = tellWhenOld(clock, this.#options);
    const forget = this.#session.onLost((reason) => this.#stop.abort(reason));
    onceAborted(signal, onAbort);
    if (signal?.aborted === true) onAbort();
    return () => {
      cancelTimeout?.();
      cancelTell();
      forget();
      signal?.removeEventListener('abort', onAbort);
    };
  }

  /** No answer is believed that comes after the session's end, even if no timer has run since. */
  #assertWanted(): void {
    this.#session.assertLive();
    this.#stop.signal.throwIfAborted();
  }

  #waiting(): string {
    return `waiting for ${this.#place.what}`;
  }

  #onFailure(error: Error): void {
    this.#lastError = error;
    this.#observe({ kind: 'attempt_failed', error });
  }
}

/** The one just before ours in the line stands in the way: a mutex, an election. */
export function behindAll(line: string): Rule {
  return behind(line, true);
}

/**
 * The last of `ahead` that was created before our entry stands in the way: a reader waits for the last writer. `shared`:
 * our own entry is one of them.
 */
export function behind(ahead: string, shared: boolean): Rule {
  const range = prefixRange(utf8(ahead));
  return {
    free: [{ ...created(range.key, '=', 0), rangeEnd: range.rangeEnd }],
    reads: (own) => [newestBefore(range, own, shared)],
    judge: (answers, own) => {
      const before = createdBefore(answers[0], own);
      return before === null ? { kind: 'free' } : { kind: 'blocked', by: { key: before.key } };
    },
  };
}

/** The newest entry before ours, if any: for rules of one's own. */
export function newestBefore(range: Range, own: Own | null, shared: boolean): RangeRequest {
  const limit = own === null && shared ? 2 : 1;
  const before = own === null ? {} : { maxCreateRevision: own.fence - 1 };
  return { ...range, ...before, limit, sortTarget: 'create', sortOrder: 'descend', keysOnly: true };
}

export function createdBefore(answer: Answer | undefined, own: Own): KeyValue | null {
  return answer?.kvs.find(({ createRevision }) => createRevision < own.fence) ?? null;
}

/**
 * The transaction that moves somebody's waiting entry to the end of its line: by name, since its owner follows it to the
 * next one. `entry` as it was read with its value. Only whoever may decide the order of the line does this, one entry in
 * one transaction, so that create revisions stay distinct; its compares are part of the request.
 */
export function move(entry: KeyValue): TxnRequest & { readonly compare: readonly Compare[] } {
  const to = utf8(movedKey(text(entry.key)));
  return {
    compare: [modified(entry.key, '=', entry.modRevision), created(to, '=', 0)],
    success: [opDelete(entry.key), opPut(to, entry.value, { lease: entry.lease })],
  };
}
