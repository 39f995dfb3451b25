// One entry of ours in a line: created, recognised, followed when it is moved, and removed. All that can go wrong with a
// request whose result is unknown is settled here, so that whoever waits in a line need not think of it.
//
// Keys: <line><lease hex><mark>        the entry, on the session's lease; mark: see marks.ts. etcd's layout. Some lines add
//                                      a suffix, `~<number>`, for whoever decides their order
//       <line><lease hex><mark>.<n>    the same entry after somebody has moved it to the end of the line n times
//       coterie/left/<entry>           its guard, on the session's lease; only after a creation whose result stayed unknown
// Transactions:
//   create  no entry, not moved, guard unchanged: put the entry, read what stands before it; else read what there is
//   look    the entry has our create revision: read what stands before it
//   write   the same, and put something beside it
//   remove  the entry has our create revision: delete it. After an unknown creation: guard unchanged: put the guard and
//           delete the entry; whatever creation is still on its way compares the guard's version and can never land
// A delete compares the create revision (or the guard), so a late one cannot hit the entry that comes after ours.

import { onceAborted } from '../core/base/abort.js';
import { assert } from '../core/base/assert.js';
import { prefixEnd, utf8 } from '../core/base/bytes.js';
import type {
  Compare, KeyValue, Op, RangeRequest, RangeResponse, Revision, Sub, TxnRequest, TxnResponse,
} from '../core/client.js';
import { created, opDelete, opPut, opRange, opTxn, versionIs } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { Mark } from './marks.js';
import { Backoff, chance, pause, within } from './pause.js';
import type { Session } from './session.js';

const GUARDS = 'coterie/left/';
/** Of one call; the wait around it has its own end. */
const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;
/** How long a removal waits for a creation under way before it counts it as unknown. */
const UNDER_WAY_MS = 1_000;

/** An entry as the store has it. */
export interface Own {
  readonly key: Uint8Array;
  readonly fence: Revision;
}

export type Answer = Sub<RangeResponse>;

/** What was read at one revision, at which our entry was there. */
export interface Look {
  readonly own: Own;
  readonly revision: Revision;
  readonly answers: readonly Answer[];
}

export interface Write {
  readonly compare?: readonly Compare[];
  readonly success: readonly Op[];
}

export interface EntryOptions {
  /** The prefix of the line's entries, as text; ends with a slash. */
  readonly line: string;
  /** Behind the mark in the entry's key; default ''. Contains no dot. */
  readonly suffix?: string;
  readonly value: Uint8Array;
  /** What to read with each look; null: with the creation, when our entry is the newest of its line. */
  readonly reads: (own: Own | null) => readonly RangeRequest[];
  /** Done together with the removal of our entry. */
  readonly leaving: (own: Own) => readonly Op[];
  /** What is left to be removed when somebody else has removed our entry. */
  readonly leftover: (own: Own) => readonly Op[];
  readonly onFailure: (error: Error) => void;
}

export class Entry {
  readonly session: Session;
  readonly #options: EntryOptions;
  readonly #backoff: Backoff;
  #mark: Mark;
  /** As the store has it, by the newest answer; null: not there, by the newest answer. */
  #own: Own | null = null;
  /** The last one known; its leftovers may have to be removed when `#own` is null. */
  #last: Own | null = null;
  /** Creations sent that may still land: unanswered, or ended with an unknown outcome. */
  readonly #loose = new Set<object>();
  /** Settles, never rejects, with the creation under way. */
  #underWay: Promise<void> = Promise.resolve();
  #removal: Promise<void> | null = null;

  constructor(session: Session, options: EntryOptions) {
    this.session = session;
    this.#options = options;
    this.#mark = session.marks.take(this.#markedLine);
    this.#backoff = new Backoff({
      baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(session.clock, session.lease, this.#markedLine, this.#mark.text),
    });
  }

  /** Nothing of ours is in the store, nor can it come to be. */
  get isClear(): boolean {
    return this.#own === null && this.#loose.size === 0;
  }

  get #base(): string {
    const { line, suffix = '' } = this.#options;
    return `${line}${this.session.lease.toString(16)}${this.#mark.text}${suffix}`;
  }

  /** Entries of different suffixes have guards of their own, and so marks of their own. */
  get #markedLine(): string {
    const { line, suffix = '' } = this.#options;
    return `${line}${suffix}`;
  }

  /**
   * Creates our entry, or finds the one that an earlier attempt has created. With `only`, compares that hold while a
   * newcomer would not have to wait, it gives up with null when they do not hold, having written nothing. Rejects with
   * the reason of `stop`, or with an error that trying again would not mend. Null too when our entry is gone again.
   */
  async create(stop: AbortSignal, only: readonly Compare[] | null = null): Promise<Look | null> {
    await this.#clearLeftovers(stop);
    for (;;) {
      const epoch = this.#mark.epoch;
      const answer = await this.#persist(stop, () => this.#sendCreation(only ?? []));
      const own = this.#own;
      if (own !== null && answer.succeeded) return this.#lookOf(own, answer, 1);
      if (own !== null) return this.look(stop);
      if (this.#isTaken(answer)) {
        // Somebody else wrote under our key: leave it alone, and stand under the next one. The mark stays taken.
        this.#mark = this.session.marks.take(this.#markedLine);
      } else if (this.#mark.epoch === epoch) {
        if (only !== null) return null;
        throw new ApiError('internal', { detail: `the store refused to create ${this.#base} although nothing is there` });
      }
    }
  }

  /** What stands before our entry now; null when it is gone. An entry that somebody has moved is found. */
  async look(stop: AbortSignal, write: Write = { success: [] }): Promise<Look | null> {
    for (let own = this.#own; own !== null; own = this.#own) {
      const { key, fence } = own;
      const reads = this.#options.reads(own).map(rangeOp);
      const compare = [created(key, '=', fence)];
      const refused = this.#findOps();
      const inner = opTxn({ compare: write.compare ?? [], success: [...write.success, ...reads], failure: reads });
      const request = write.success.length === 0 ? { compare, success: reads, failure: refused }
        : { compare, success: [inner], failure: refused };
      const answer = await this.#persist(stop, () => this.#call(request, stop), write.success.length === 0);
      if (this.#own !== own) continue;
      if (answer.succeeded) return this.#lookOf(own, unwrapped(answer), write.success.length);
      this.#adopt(answer);
    }
    return null;
  }

  /**
   * Resolves when nothing of ours is left in the store nor can come to be there, or the session is lost and with it all
   * that stands on its lease. Retries until then; idempotent. Rejects only with an error that no retry would mend.
   */
  remove(): Promise<void> {
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  async #remove(): Promise<void> {
    const over = new AbortController();
    const { signal } = over;
    const forget = this.session.onLost((reason) => over.abort(reason));
    const bounds = { timeoutMs: UNDER_WAY_MS, signal, what: 'creating an entry' };
    await Promise.allSettled([within(this.#underWay, this.session.clock, bounds)]);
    try {
      while (!this.isClear || this.#last !== null) {
        if (!this.session.live) return;
        if (this.#loose.size === 0) await this.#removeKnown(signal);
        else await this.#removeLoose(signal);
      }
      this.session.marks.give(this.#markedLine, this.#mark);
    } catch (error) {
      if (this.session.live) throw error;
    } finally {
      forget();
    }
  }

  async #removeKnown(stop: AbortSignal): Promise<void> {
    const own = this.#own ?? this.#last;
    if (own === null) return;
    const { leaving, leftover } = this.#options;
    if (this.#own === null && leftover(own).length === 0) {
      this.#last = null;
      return;
    }
    const answer = await this.#persist(stop, () => this.#call({
      compare: [created(own.key, '=', own.fence)],
      success: [opDelete(own.key), ...leaving(own)],
      failure: [...this.#findOps(), ...leftover(own)],
    }));
    this.#own = null;
    this.#last = null;
    if (!answer.succeeded) this.#adopt(answer);
  }

  async #removeLoose(stop: AbortSignal): Promise<void> {
    const own = this.#own ?? this.#last;
    const { epoch } = this.#mark;
    const { leaving, leftover } = this.#options;
    const [base, moved, guard] = [utf8(this.#base), this.#movedRange(), this.#guard()];
    const known: Op[] = own === null ? [] : [opTxn({
      compare: [created(own.key, '=', own.fence)],
      success: leaving(own),
      failure: leftover(own),
    })];
    const answer = await this.#persist(stop, () => this.#call({
      compare: [versionIs(guard, '=', epoch)],
      success: [opPut(guard, utf8(''), { lease: this.session.lease }), ...known, opDelete(base), opDelete(moved.key, moved)],
      failure: [opRange(guard)],
    }));
    // A lower version: the store was set back to an older copy. Then the next round closes that one.
    this.#mark.epoch = answer.succeeded ? epoch + 1 : versionOf(answer.responses[0]);
    if (this.#mark.epoch <= epoch) return;
    this.#loose.clear();
    this.#own = null;
    this.#last = null;
  }

  /** One creation. What its answer says is kept even if nobody waits for it any more. */
  #sendCreation(only: readonly Compare[]): Promise<TxnResponse> {
    const base = utf8(this.#base);
    const moved = this.#movedRange();
    const guard = this.#guard();
    const sent = {};
    this.#loose.add(sent);
    const call = this.#call({
      compare: [
        created(base, '=', 0),
        { ...created(moved.key, '=', 0), rangeEnd: moved.rangeEnd },
        versionIs(guard, '=', this.#mark.epoch),
        ...only,
      ],
      success: [
        opPut(base, this.#options.value, { lease: this.session.lease }),
        ...this.#options.reads(null).map(rangeOp),
      ],
      failure: [...this.#findOps(), opRange(guard)],
    }).then(
      (answer) => {
        // No longer among them: a removal has closed the door meanwhile, and what the answer says is past.
        if (this.#loose.delete(sent)) this.#learn(base, answer);
        return answer;
      },
      (error: unknown) => {
        if (isApiError(error) && error.outcome === 'never') this.#loose.delete(sent);
        throw error;
      },
    );
    this.#underWay = call.then(ignore, ignore);
    return call;
  }

  #learn(base: Uint8Array, answer: TxnResponse): void {
    if (answer.succeeded) {
      this.#own = { key: base, fence: answer.header.revision };
      this.#last = this.#own;
      return;
    }
    this.#mark.epoch = this.#guardIn(answer);
    this.#adopt(answer);
  }

  /** Takes what was found under our lease for ours: a moved entry, or one that a loose creation has made. */
  #adopt(answer: TxnResponse): void {
    const bare = this.#base.length;
    const wasKnown = this.#own !== null;
    const [found] = entriesIn(answer).filter(({ lease, key }) => {
      return lease === this.session.lease && (key.length > bare || this.#loose.size > 0);
    });
    this.#own = found === undefined ? null : { key: found.key, fence: found.createRevision };
    if (this.#own === null) return;
    this.#last = this.#own;
    // One that we knew and that was moved was not made by a loose creation: those may all still land.
    const [landed] = wasKnown ? [] : this.#loose;
    if (landed !== undefined) this.#loose.delete(landed);
  }

  /** There is an entry under our key, and it is not ours. */
  #isTaken(answer: TxnResponse): boolean {
    return this.#own === null && entriesIn(answer).length > 0;
  }

  /** What an earlier entry of ours has left beside it must not stand in the way of the next. */
  async #clearLeftovers(stop: AbortSignal): Promise<void> {
    const last = this.#last;
    if (last === null) return;
    const success = this.#options.leftover(last);
    if (success.length > 0) await this.#persist(stop, () => this.#call({ success }));
    this.#last = null;
  }

  #lookOf(own: Own, answer: TxnResponse, skip: number): Look {
    const ranges = answer.responses.slice(answer.succeeded ? skip : 0).map((response) => {
      assert(response.kind === 'range', 'a range is answered by a range');
      return response.response;
    });
    return { own, revision: answer.header.revision, answers: ranges };
  }

  #guardIn(answer: TxnResponse): number {
    return versionOf(answer.responses[2]);
  }

  #guard(): Uint8Array {
    return utf8(`${GUARDS}${this.#base}`);
  }

  #movedRange(): { key: Uint8Array; rangeEnd: Uint8Array } {
    const key = utf8(`${this.#base}.`);
    return { key, rangeEnd: prefixEnd(key) };
  }

  #findOps(): Op[] {
    const moved = this.#movedRange();
    return [opRange(utf8(this.#base)), opRange(moved.key, { rangeEnd: moved.rangeEnd })];
  }

  #call(request: TxnRequest, signal?: AbortSignal): Promise<TxnResponse> {
    return this.session.client.txn(request, { timeoutMs: CALL_MS, ...(signal === undefined ? {} : { signal }) });
  }

  /**
   * Sends until it is answered, `stop` ends it, or an error says that trying again is of no use. `ownLease`: no other lease
   * than the session's is in it. Where another one may be gone, whoever granted it must know, and grant a new one.
   */
  async #persist(stop: AbortSignal, send: () => Promise<TxnResponse>, ownLease = true): Promise<TxnResponse> {
    for (;;) {
      stop.throwIfAborted();
      try {
        const answer = await orStopped(send(), stop);
        this.#backoff.reset();
        return answer;
      } catch (error) {
        stop.throwIfAborted();
        if (!isWorthRepeating(error)) throw error;
        // The session will learn it with its next renewal and end all this; let that be soon.
        if (error.code === 'lease_not_found') this.session.suspect();
        if (error.code === 'lease_not_found' && !ownLease) throw error;
        this.#options.onFailure(error);
        await pause(this.session.clock, this.#backoff.next(), stop);
      }
    }
  }
}

/** Where the entry goes that is moved to the end of its line by `move` in line.ts. */
export function movedKey(key: string): string {
  const [, base = key, count = '0'] = /^(.*)\.(\d+)$/.exec(key) ?? [];
  return `${base}.${Number(count) + 1}`;
}

/** `work` goes on when `stop` ends the wait for it. */
export function orStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const end = (): void => reject(stop.reason instanceof Error ? stop.reason : new Error(String(stop.reason)));
    onceAborted(stop, end);
    work.then(resolve, reject).finally(() => stop.removeEventListener('abort', end)).catch(reject);
    if (stop.aborted) end();
  });
}

/** Whether sending it again may help. Whoever does must know that doing it twice is harmless. */
export function isWorthRepeating(error: unknown): error is ApiError {
  if (!isApiError(error) || error.code === 'closed') return false;
  return error.retryable || error.outcome === 'unknown' || error.code === 'lease_not_found';
}

function rangeOp(request: RangeRequest): Op {
  return { kind: 'range', request };
}

/** Of the first two answers, which are those of `findOps`. */
function entriesIn(answer: TxnResponse): readonly KeyValue[] {
  return answer.responses.slice(0, 2).flatMap((found): readonly KeyValue[] => {
    assert(found.kind === 'range', 'a range is answered by a range');
    return found.response.kvs;
  });
}

function versionOf(answer: TxnResponse['responses'][number] | undefined): number {
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.kvs[0]?.version ?? 0;
}

/** The answers of the transaction inside, whose outcome is the one that matters. */
function unwrapped(answer: TxnResponse): TxnResponse {
  const [inner] = answer.responses;
  if (inner?.kind !== 'txn') return answer;
  return { header: answer.header, succeeded: inner.response.succeeded, responses: inner.response.responses };
}

function ignore(): void {
  // The outcome is kept by whoever sent it.
}
