// Elections: of all candidates one leads, in the order they came; with priorities, whoever has the highest. Entries are
// etcd's layout, so `etcdctl elect` and Go's candidates stand in the same line. A term is the create revision of the
// leader's entry, and its fence.
//
// Keys: election-state.ts. Transactions beyond those of entry.ts, all on the condition that our entry is there:
//   yield     first in line, a higher priority behind us: move our own entry to the end
//   proclaim  put our value, if nobody has changed it since we last knew it
//   line up   as the leader, before resigning to somebody: move one candidate that stands before the heir to the end, one
//             in each transaction; then put the heir's chosen key
//
// The end of a leadership has one order: the signal aborts, then its hooks run, then the entry is removed. Nobody else can
// be elected before the third, or before the session's lease runs out, which the signal precedes as well.
//
// Not here: taking the office away from a leader. A higher priority is elected next; `requestResign` asks for it sooner.

import { text, utf8 } from '../core/base/bytes.js';
import type { KeyValue, RangeRequest, Revision } from '../core/client.js';
import { created, modified, opDelete, opPut, opRange, prefixRange } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import type { Candidate, ElectionPlace } from './election-state.js';
import {
  CANDIDATES_MAX, chosenKey, electionLine, inOrder, priorityOf, readCandidate,
} from './election-state.js';
import type { Own } from './entry.js';
import { isWorthRepeating, orStopped } from './entry.js';
import type { FencedResult, FencedTxn } from './fenced-txn.js';
import type { Held } from './held.js';
import { Released } from './held.js';
import type { Holding } from './holding.js';
import type { LineEvent, LineOptions, Rule, Verdict } from './line.js';
import { acquire, createdBefore, move, newestBefore } from './line.js';
import type { WaitOptions } from './pause.js';
import { Backoff, chance, checkNumber, observing, pause, within } from './pause.js';
import type { Session } from './session.js';

export const PRIORITY_MAX = 1_000;
export const VALUE_BYTES_MAX = 16 * 1024;
/** How long an end waits for its hooks; what they protect is then left to the fence. */
const HOOKS_MS = 5_000;
/** Of one call; what it is part of has its own end. */
const CALL_MS = 5_000;
const HAND_OVER_MS = 10_000;
/** More candidates than are looked at cannot stand before an heir; each needs a move, and some may have to be repeated. */
const MOVES_MAX = 2 * CANDIDATES_MAX;
const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;

export type ElectionEvent =
  | LineEvent
  /** A hook of the end threw, or did not finish in time. */
  | { readonly kind: 'hook_failed'; readonly error: Error };

export interface CampaignOptions extends ElectionPlace, Omit<LineOptions, 'observe'> {
  /** 0 (the default) to 1,000: among those who wait, the highest is elected next, however long the others have waited. */
  readonly priority?: number;
  /** How long an end waits for its hooks before the entry is removed all the same; default 5 s. */
  readonly hooksMs?: number;
  readonly observe?: (event: ElectionEvent) => void;
}

export interface ResignOptions extends WaitOptions {
  /**
   * Who shall come next, though others have waited longer or have a higher priority: a candidate's id, or the first one
   * that this says yes to. Default: whose turn it is.
   */
  readonly handTo?: string | ((candidate: Candidate) => boolean);
}

/** What an end does before the office is free. It may still write with `txn()` as the leader that it was. */
export type EndHook = (reason: Error) => void | Promise<void>;

/** An office that is held. `fence` is its term; `release()` is `resign()`. */
export interface Leadership extends Held {
  readonly term: Revision;
  /** Computed now. False from the moment that `signal` aborts. */
  readonly isLeader: boolean;
  /** What we last proclaimed, or were elected with. */
  readonly value: string | Uint8Array;
  /** Aborts, with a `ReleaseWanted`, once `requestResign` has asked this leader. Watched for from the first look at it. */
  readonly wanted: AbortSignal;
  /** Changes what others see of the leader. The last call wins; each resolves when the store has its value or a later one. */
  proclaim(value: string | Uint8Array, options?: WaitOptions): Promise<void>;
  /**
   * To be called when it ends, in the opposite order of adding, before the office is free if it ends by `resign`. At once
   * if it is over. Returns what forgets it.
   */
  onEnd(hook: EndHook): () => void;
  /**
   * Final, and idempotent. With `handTo` the heir is first brought to the head of the line, while we lead; if that fails it
   * rejects with `HandOverFailed`, and we still lead. Else as `release` of anything held.
   */
  resign(options?: ResignOptions): Promise<void>;
}

/** Nobody could be put in our place; the leadership goes on. */
export class HandOverFailed extends Error {
  override readonly name = 'HandOverFailed';
  readonly code = 'hand_over_failed';

  constructor(what: string, why: string) {
    super(`${what} cannot be handed over: ${why}; nothing has ended`);
  }
}

/** Resolves when we lead. `value` is what others see of us. Rejects as `acquire` in line.ts does. */
export async function campaign(
  session: Session,
  name: string,
  value: string | Uint8Array,
  options: CampaignOptions = {},
): Promise<Leadership> {
  const { priority = 0, hooksMs = HOOKS_MS, root } = options;
  checkNumber('priority', priority, 0, PRIORITY_MAX);
  checkNumber('hooksMs', hooksMs, 0);
  if (!Number.isInteger(priority)) {
    throw new ApiError('invalid_request', { detail: `priority is ${priority}; give a whole number` });
  }
  const line = electionLine(name, root);
  const rule = electionRule(line, priority);
  const what = `leadership of ${name}`;
  const holding = await acquire(session, { name, what, line, suffix: `~${priority}`, value: bytesOf(value), rule }, options);
  return new Office(holding, { what, line, value, hooksMs, observe: observing(session.clock, options.observe) });
}

/** Behind whoever came before; once first, behind whoever has a higher priority, unless the leader has chosen us. */
function electionRule(line: string, priority: number): Rule {
  const range = prefixRange(utf8(line));
  const behind = (own: Own): RangeRequest => ({
    ...inOrder(line, CANDIDATES_MAX), minCreateRevision: own.fence + 1, keysOnly: true,
  });
  return {
    free: [{ ...created(range.key, '=', 0), rangeEnd: range.rangeEnd }],
    reads: (own) => [
      newestBefore(range, own, true),
      ...(own === null ? [] : [{ key: own.key }, { key: chosenKey(own.key) }, behind(own)]),
    ],
    judge([before, mine, chosen, after], own): Verdict {
      // With the creation nothing else is read: nobody can stand behind us yet.
      const entry = mine?.kvs[0];
      // We have just moved ourselves: a look will find us at the end.
      if (mine !== undefined && entry?.createRevision !== own.fence) return writing({ success: [] });
      const ahead = createdBefore(before, own);
      if (ahead !== null) return { kind: 'blocked', by: { key: ahead.key } };
      const higher = after?.kvs.some(({ key }) => (priorityOf(key) ?? 0) > priority) ?? false;
      const isChosen = text(chosen?.kvs[0]?.value ?? utf8('')) === String(own.fence);
      if (entry !== undefined && higher && !isChosen) return writing(move(entry));
      return { kind: 'free' };
    },
    leaving: (own) => [opDelete(chosenKey(own.key))],
    leftover: (own) => [opDelete(chosenKey(own.key))],
  };
}

function writing(write: Pick<ReturnType<typeof move>, 'success'> & Partial<ReturnType<typeof move>>): Verdict {
  return { kind: 'write', prepare: () => Promise.resolve({ compare: write.compare ?? [], success: write.success ?? [] }) };
}

interface OfficeOptions {
  readonly what: string;
  readonly line: string;
  readonly value: string | Uint8Array;
  readonly hooksMs: number;
  readonly observe: (event: ElectionEvent) => void;
}

class Office implements Leadership {
  readonly #holding: Holding;
  readonly #options: OfficeOptions;
  readonly #over = new AbortController();
  readonly #hooks: EndHook[] = [];
  /** The hooks of the end, running or done; null while it has not ended. */
  #ending: Promise<void> | null = null;
  #resigning: Promise<void> | null = null;
  #value: string | Uint8Array;
  /** The modification revision of our entry, as far as we know. */
  #modified: Revision;
  #proclaiming: Promise<void> = Promise.resolve();

  constructor(holding: Holding, options: OfficeOptions) {
    this.#holding = holding;
    this.#options = options;
    this.#value = options.value;
    this.#modified = holding.fence;
    const { signal } = holding;
    signal.addEventListener('abort', () => this.#end(asError(signal.reason)), { once: true });
    if (signal.aborted) this.#end(asError(signal.reason));
  }

  get name(): string {
    return this.#holding.name;
  }

  get key(): Uint8Array {
    return this.#holding.key;
  }

  get fence(): Revision {
    return this.#holding.fence;
  }

  get term(): Revision {
    return this.#holding.fence;
  }

  get isHeld(): boolean {
    return this.#look() && !this.#over.signal.aborted;
  }

  get isLeader(): boolean {
    return this.isHeld;
  }

  get remaining(): number {
    return this.isHeld ? this.#holding.remaining : 0;
  }

  get value(): string | Uint8Array {
    return this.#value;
  }

  get signal(): AbortSignal {
    this.#look();
    return this.#over.signal;
  }

  get wanted(): AbortSignal {
    return this.#holding.wanted;
  }

  assertHeld(minRemainingMs = 0): void {
    if (!this.isHeld) throw asError(this.#over.signal.reason);
    this.#holding.assertHeld(minRemainingMs);
  }

  txn(): FencedTxn {
    return this.#holding.txn();
  }

  onEnd(hook: EndHook): () => void {
    if (!this.isHeld) {
      void this.#called(hook, asError(this.#over.signal.reason));
      return () => undefined;
    }
    this.#hooks.push(hook);
    return () => {
      const at = this.#hooks.indexOf(hook);
      if (at >= 0) this.#hooks.splice(at, 1);
    };
  }

  proclaim(value: string | Uint8Array, options: WaitOptions = {}): Promise<void> {
    const bytes = bytesOf(value);
    this.#value = value;
    const { clock } = this.#holding.session;
    const stop = new AbortController();
    // One after the other: two that overlap could be done in either order.
    const turn = this.#proclaiming.then(() => this.#proclaim(bytes, stop.signal));
    this.#proclaiming = turn.catch(() => undefined);
    const what = `proclaiming as ${this.#options.what}`;
    return within(turn, clock, { ...options, what }).finally(() => stop.abort());
  }

  release(): Promise<void> {
    // What was lost before is not released.
    this.#look();
    this.#end(new Released(this.#options.what));
    this.#resigning ??= this.#leave();
    return this.#resigning;
  }

  async resign(options: ResignOptions = {}): Promise<void> {
    const { handTo, timeoutMs = HAND_OVER_MS, signal } = options;
    if (handTo !== undefined && this.isHeld) {
      const { clock } = this.#holding.session;
      const stop = new AbortController();
      const bounds = { timeoutMs, ...(signal === undefined ? {} : { signal }), what: `handing over ${this.#options.what}` };
      await within(this.#lineUp(handTo, stop.signal), clock, bounds).finally(() => stop.abort());
    }
    await this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.release();
    } catch (error) {
      this.#options.observe({ kind: 'release_unconfirmed', error: asError(error) });
    }
  }

  /** A session past its deadline tells once it is asked. */
  #look(): boolean {
    return this.#holding.isHeld;
  }

  #end(reason: Error): void {
    if (this.#ending !== null) return;
    // Whatever its listeners do, they find it ended.
    this.#ending = Promise.resolve();
    this.#over.abort(reason);
    this.#ending = this.#runHooks(reason);
  }

  async #runHooks(reason: Error): Promise<void> {
    const { clock } = this.#holding.session;
    const run = async (): Promise<void> => {
      for (const hook of this.#hooks.splice(0).reverse()) await this.#called(hook, reason);
    };
    try {
      await within(run(), clock, { timeoutMs: this.#options.hooksMs, what: `the hooks of ${this.#options.what}` });
    } catch (error) {
      this.#options.observe({ kind: 'hook_failed', error: asError(error) });
    }
  }

  async #called(hook: EndHook, reason: Error): Promise<void> {
    try {
      await hook(reason);
    } catch (error) {
      this.#options.observe({ kind: 'hook_failed', error: asError(error) });
    }
  }

  async #leave(): Promise<void> {
    await this.#ending;
    try {
      await this.#holding.release();
    } catch (error) {
      // Calling again waits again.
      this.#resigning = null;
      throw error;
    }
  }

  /** Whatever the outcome of an attempt, at most one put of this value happens: each compares what it replaces. */
  async #proclaim(value: Uint8Array, stop: AbortSignal): Promise<void> {
    const { key, session } = this.#holding;
    await this.#persist(stop, async () => {
      this.assertHeld();
      const answer = await this.#commit(this.txn()
        .compare(modified(key, '=', this.#modified))
        .put(key, value, { lease: session.lease })
        .otherwise(opRange(key)), stop);
      if (answer.succeeded) {
        this.#modified = answer.header.revision;
        return true;
      }
      const found = rangeIn(answer)[0];
      if (found !== undefined) this.#modified = found.modRevision;
      return found !== undefined && Buffer.compare(found.value, value) === 0;
    });
  }

  /** Brings the heir right behind us, and makes it known as chosen. */
  async #lineUp(handTo: string | ((candidate: Candidate) => boolean), stop: AbortSignal): Promise<void> {
    const { what, line } = this.#options;
    const isHeir = typeof handTo === 'string' ? ({ id }: Candidate): boolean => id === handTo : handTo;
    let heir: string | null = null;
    let moves = 0;
    await this.#persist(stop, async () => {
      this.assertHeld();
      const request = inOrder(line, CANDIDATES_MAX);
      const everybody = rangeIn(await this.#commit(this.txn().add({ kind: 'range', request }), stop));
      const waiting = everybody.filter(({ createRevision }) => createRevision > this.fence);
      const at = waiting.findIndex((kv) => {
        const candidate = readCandidate(kv);
        return heir === null ? isHeir(candidate) : candidate.id === heir;
      });
      const chosen = waiting[at];
      if (chosen === undefined) {
        const who = heir ?? (typeof handTo === 'string' ? handTo : 'such a candidate');
        throw new HandOverFailed(what, `${who} does not wait for it`);
      }
      heir = readCandidate(chosen).id;
      if (priorityOf(chosen.key) === null) throw new HandOverFailed(what, `${text(chosen.key)} is not one of ours`);
      for (const before of waiting.slice(0, at)) {
        if (priorityOf(before.key) === null) {
          const why = `${text(before.key)} stands before ${heir}, and its owner would not follow if it were moved`;
          throw new HandOverFailed(what, why);
        }
        moves += 1;
        if (moves > MOVES_MAX) throw new HandOverFailed(what, `${MOVES_MAX} moves were not enough to clear the way`);
        const { compare, success = [] } = move(before);
        const moved = await this.#commit(this.txn().compare(...compare).add(...success), stop);
        if (!moved.succeeded) return false;
      }
      const choice = await this.#commit(this.txn()
        .compare(created(chosen.key, '=', chosen.createRevision))
        .add(opPut(chosenKey(chosen.key), utf8(String(chosen.createRevision)), { lease: chosen.lease })), stop);
      return choice.succeeded;
    });
  }

  #commit(txn: FencedTxn, stop: AbortSignal): Promise<FencedResult> {
    return orStopped(txn.commit({ signal: stop, timeoutMs: CALL_MS }), AbortSignal.any([stop, this.#over.signal]));
  }

  /** Until `attempt` says that it is done; what may have failed only by chance is tried again. */
  async #persist(stop: AbortSignal, attempt: () => Promise<boolean>): Promise<void> {
    const { clock, lease } = this.#holding.session;
    const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, lease, String(this.fence)) });
    for (;;) {
      stop.throwIfAborted();
      try {
        if (await attempt()) return;
      } catch (error) {
        stop.throwIfAborted();
        if (!isWorthRepeating(error)) throw error;
        this.#options.observe({ kind: 'attempt_failed', error });
      }
      await pause(clock, backoff.next(), AbortSignal.any([stop, this.#over.signal]));
    }
  }
}

function rangeIn(answer: FencedResult): readonly KeyValue[] {
  const [range] = answer.responses;
  return range?.kind === 'range' ? range.response.kvs : [];
}

function bytesOf(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? utf8(value) : value;
  if (bytes.length <= VALUE_BYTES_MAX) return bytes;
  throw new ApiError('invalid_request', {
    detail: `the candidate's value has ${bytes.length} bytes; give at most ${VALUE_BYTES_MAX}`,
  });
}
