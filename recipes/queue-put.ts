// Putting items into a queue. One transaction puts an item, or finds that its id is known; no two producers stand in each
// other's way, because nothing is counted by reading and writing back:
//
//   bound  the versions of `in` and `done` count. `version(in) < ended + limit` holds as long as there is room for one who
//          knows that `ended` items have ended, and a number that is too old only makes him ask again
//   order  the place is a revision. It may be one that was seen some time ago as long as nobody has put since (compared);
//          else the answer of the refused attempt brings a fresh one. So: one call when alone, two at most, and an item
//          that was put before another was begun always stands before it. The puts of one producer share the revision:
//          the first compares that nobody has put since and leaves a mark in `in`, the others compare that it is there
//   once   every put writes ids/<id>, generated if it is not given, with a mark of its own. When an answer was lost, the
//          same is sent again: whichever lands first, the other finds the id, and the mark tells whose it was
//
// The leases that ids stand on are renewed by nobody: a new one is granted after half of its time.

import { onceAborted } from '../core/base/abort.js';
import { equalBytes, text, utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type { Prng } from '../core/base/prng.js';
import type { Client, Compare, LeaseId, Op, Revision, TxnRequest, TxnResponse } from '../core/client.js';
import { created, modified, opPut, opRange, valueIs, versionIs } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import { orStopped, isWorthRepeating } from './entry.js';
import type { WaitOptions } from './pause.js';
import { chance, pause } from './pause.js';
import type { Caller } from './queue-call.js';
import { call, follow, kvsOf, retries, versionOf } from './queue-call.js';
import type { Head, QueueKeys } from './queue-keys.js';
import { ATTEMPTS_MAX, checkInteger, checkName, NUMBERS, placeAt, PRIORITY_MAX, writeItem } from './queue-keys.js';
import { delaying, entering } from './queue-moves.js';

export const DELAY_MS_MAX = 30 * 24 * 3_600_000;
/** Producers that wait for room try at different times, so that one place wakes them all but is asked for by few. */
const JITTER_MS = 16;
/** Calls under way at once; further ones wait here and not at the store, where they would only run out of time. */
const WIDTH = 64;
/** Puts that share a place's revision; told apart by numbers, of which each takes no more than four. */
const CHAIN_MAX = 1_000_000;
/** Generated ids are remembered only as long as a put is tried again. */
const GENERATED_MS = 60_000;
const LATE_MS = 10_000;

export interface PutOptions extends WaitOptions {
  /** While an item of this id is there, and for the window of de-duplication after it was put, no second one is put. */
  readonly id?: string;
  /** Items of a group are delivered one after the other, in the order of their puts; groups take turns. */
  readonly group?: string;
  /** 0 to 255, default 0; higher goes first. Within a group the order of puts holds whatever the priorities. */
  readonly priority?: number;
  /** Not delivered before; rounded up to the store's seconds. */
  readonly delayMs?: number;
  /** Deliveries after which it is given up (see `dead`); default as the queue's. At most 255. */
  readonly maxAttempts?: number;
}

export interface PutResult {
  readonly id: string;
  /** The id was known: nothing was put. */
  readonly duplicate: boolean;
}

/** There was no room for as long as the put was allowed to wait. Nothing was put. */
export class QueueFull extends Error {
  override readonly name = 'QueueFull';
  readonly code = 'queue_full';

  constructor(queue: string, limit: number, cause: unknown) {
    super(`queue ${queue} holds ${limit} items, its limit, and no room came in time; consume faster, or put less`, { cause });
  }
}

export class ItemTooLarge extends Error {
  override readonly name = 'ItemTooLarge';
  readonly code = 'item_too_large';

  constructor(queue: string, sizeBytes: number, limit: number) {
    super(`an item for queue ${queue} takes ${sizeBytes} bytes, at most ${limit}; keep what is large elsewhere`);
  }
}

export interface ProducerOptions {
  readonly itemsMax: number;
  readonly bodyBytesMax: number;
  readonly windowMs: number;
  readonly maxAttempts: number;
}

interface Item {
  readonly id: string;
  readonly mark: Uint8Array;
  readonly head: Omit<Head, 'place'>;
  readonly body: Uint8Array;
  readonly delayMs: number;
}

/** Puts that stand at one revision, because between them nobody else has put. */
interface Chain {
  readonly revision: Revision;
  /** In `in` for as long as that is so. */
  readonly mark: Uint8Array;
  left: number;
}

/** Where a put is to stand, on which condition, and what it leaves in `in`. */
interface Stand {
  readonly revision: Revision;
  readonly compare: readonly Compare[];
  readonly mark: Uint8Array;
}

/** What a put has met so far. */
interface Progress {
  full: boolean;
  /** Since when an attempt may have been done, or may still be. */
  doubtfulSince: number | null;
}

export class Producer implements Caller {
  readonly client: Client;
  readonly clock: Clock;
  readonly observe: Caller['observe'];
  readonly #keys: QueueKeys;
  readonly #options: ProducerOptions;
  readonly #prng: Prng;
  readonly #given: Remembering;
  readonly #generated: Remembering;
  readonly #width = new Width(WIDTH);
  #number = 0;
  #chain: Chain | null = null;
  /** Seen in an answer: what was put up to here stands before what is put now, unless somebody has put since. */
  #revision: Revision = 0;
  /** Items that have ended, as last seen; it only grows, unless the whole queue is deleted. */
  #ended = 0;

  constructor(caller: Caller, keys: QueueKeys, options: ProducerOptions) {
    this.client = caller.client;
    this.clock = caller.clock;
    this.observe = caller.observe;
    this.#keys = keys;
    this.#options = options;
    this.#prng = chance(caller.clock, keys.root);
    this.#given = new Remembering(caller, options.windowMs);
    this.#generated = new Remembering(caller, Math.min(options.windowMs, GENERATED_MS));
  }

  async put(body: Uint8Array, options: PutOptions): Promise<PutResult> {
    const { itemsMax, bodyBytesMax, maxAttempts } = this.#options;
    const { id, group = null, priority = 0, delayMs = 0 } = options;
    checkInteger('priority', priority, 0, PRIORITY_MAX);
    checkInteger('maxAttempts', options.maxAttempts ?? maxAttempts, 1, ATTEMPTS_MAX);
    checkInteger('delayMs', Math.ceil(delayMs), 0, DELAY_MS_MAX);
    if (id !== undefined) checkName('an item\'s id', id);
    if (group !== null) checkName('an item\'s group', group);
    if (body.length > bodyBytesMax) throw new ItemTooLarge(this.#keys.name, body.length, bodyBytesMax);
    const head = { group, priority, maxAttempts: options.maxAttempts ?? maxAttempts };
    const wait = waiting(this.clock, options, `putting into queue ${this.#keys.name}`);
    const progress: Progress = { full: false, doubtfulSince: null };
    try {
      const ids = id === undefined ? this.#generated : this.#given;
      const lease = await ids.lease(wait.signal);
      const mark = `${lease.toString(16)}-${(this.#number += 1)}`;
      return await this.#persist({ id: id ?? mark, mark: utf8(mark), head, body, delayMs }, ids, wait.signal, progress);
    } catch (error) {
      const nothingPut = progress.full && progress.doubtfulSince === null;
      if (nothingPut && isApiError(error, 'deadline_exceeded')) throw new QueueFull(this.#keys.name, itemsMax, error);
      throw error;
    } finally {
      wait.forget();
    }
  }

  async #persist(item: Item, ids: Remembering, stop: AbortSignal, progress: Progress): Promise<PutResult> {
    const backoff = retries(this.clock, this.#keys.root);
    let ordered = true;
    for (;;) {
      try {
        const lease = await ids.lease(stop);
        const delay = item.delayMs === 0 ? null : await granted(this, item.delayMs, stop);
        const send = (): Promise<TxnResponse> => {
          return this.#send(this.#request(item, { lease, delay }, this.#stand(item, ordered)), stop, progress);
        };
        const answer = await this.#width.within(stop, send);
        this.#revision = Math.max(this.#revision, answer.header.revision);
        if (answer.succeeded) return { id: item.id, duplicate: false };
        const known = this.#known(item, answer);
        if (known !== null) return { id: item.id, duplicate: known === 'theirs' };
        ordered = false;
        this.#chain = null;
        if (await this.#hasRoom(answer, stop, progress)) continue;
        backoff.reset();
      } catch (error) {
        stop.throwIfAborted();
        if (!isWorthRepeating(error)) throw error;
        // Once its id may be forgotten, a put that may have been done cannot be sent again.
        const { doubtfulSince } = progress;
        if (doubtfulSince !== null && this.clock.now() - doubtfulSince > ids.windowMs / 2) throw error;
        if (error.code === 'lease_not_found') ids.forget();
        this.observe({ kind: 'attempt_failed', error });
        await pause(this.clock, backoff.next(), stop);
      }
    }
  }

  async #send(request: TxnRequest, stop: AbortSignal, progress: Progress): Promise<TxnResponse> {
    try {
      return await call(this, stop, request);
    } catch (error) {
      if (isApiError(error) && error.outcome === 'unknown') progress.doubtfulSince ??= this.clock.now();
      throw error;
    }
  }

  /** `isFirst`: it has not been refused yet. */
  #stand(item: Item, isFirst: boolean): Stand {
    const counter = this.#keys.in;
    const [revision, present] = [this.#revision, this.#chain];
    if (!isFirst) return { revision, compare: [], mark: utf8('') };
    if (present !== null && present.left > 0) {
      present.left -= 1;
      return { revision: present.revision, compare: [valueIs(counter, '=', present.mark)], mark: present.mark };
    }
    // Numbers do not go round within a chain.
    if (this.#number % NUMBERS > NUMBERS - 4 * CHAIN_MAX) this.#number += 4 * CHAIN_MAX;
    // Another one each time, also of an item that is sent again: what waits for it stands at its revision.
    const mark = utf8(`${text(item.mark)}.${(this.#number += 1)}`);
    this.#chain = { revision, mark, left: CHAIN_MAX };
    return { revision, compare: [modified(counter, '<', revision + 1)], mark };
  }

  #request(item: Item, at: { lease: LeaseId; delay: LeaseId | null }, stand: Stand) {
    const { id, mark, body, head } = item;
    const keys = this.#keys;
    const named = { id, head: { ...head, place: placeAt(stand.revision, this.#number += 1) } };
    const [itemKey, idKey] = [keys.item(id), keys.remembered(id)];
    const { place } = named.head;
    const out = { place, attempts: 0, turns: 0, entered: false, by: '' };
    const compare: Compare[] = [
      created(itemKey, '=', 0),
      created(idKey, '=', 0),
      versionIs(keys.in, '<', this.#ended + this.#options.itemsMax),
      ...(this.#ended === 0 ? [] : [versionIs(keys.done, '>', this.#ended - 1)]),
      ...stand.compare,
    ];
    const success: Op[] = [
      opPut(itemKey, writeItem(named.head, body)),
      opPut(idKey, mark, { lease: at.lease }),
      opPut(keys.in, stand.mark),
      ...(at.delay === null ? entering(keys, named) : delaying(keys, id, out, at.delay)),
    ];
    const failure = [
      opRange(idKey),
      opRange(itemKey, { keysOnly: true }),
      opRange(keys.in, { keysOnly: true }),
      opRange(keys.done, { keysOnly: true }),
    ];
    return { compare, success, failure };
  }

  /** Whose the item of this id is; null: there is none. */
  #known(item: Item, answer: TxnResponse): 'ours' | 'theirs' | null {
    const [remembered] = kvsOf(answer.responses[0]);
    if (remembered !== undefined) return equalBytes(remembered.value, item.mark) ? 'ours' : 'theirs';
    return kvsOf(answer.responses[1]).length > 0 ? 'theirs' : null;
  }

  /** False: there was none, and something has happened since. */
  async #hasRoom(answer: TxnResponse, stop: AbortSignal, progress: Progress): Promise<boolean> {
    const { in: inKey, done } = this.#keys;
    const { itemsMax } = this.#options;
    let [entered, ended] = [versionOf(answer.responses[2]), versionOf(answer.responses[3])];
    this.#ended = ended;
    if (entered - ended < itemsMax) return true;
    progress.full = true;
    let mayTry = false;
    // Until there has been room for as long as a throw of the dice: the others throw too, and whoever is first takes it.
    await follow(this, [{ key: inKey }, { key: done }], { revision: answer.header.revision }, stop, async ({ events }) => {
      for (const { kind, kv } of events) {
        const version = kind === 'delete' ? 0 : kv.version;
        if (equalBytes(kv.key, inKey)) entered = version;
        else ended = version;
      }
      mayTry = entered - ended < itemsMax;
      if (!mayTry) return false;
      await pause(this.clock, 1 + this.#prng.below(JITTER_MS), stop);
      return entered - ended < itemsMax;
    });
    this.#ended = ended;
    return mayTry;
  }
}

/** So much work at once; the rest in the order in which it came. */
class Width {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(width: number) {
    this.#free = width;
  }

  async within<T>(stop: AbortSignal, work: () => Promise<T>): Promise<T> {
    stop.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(stop);
    try {
      return await work();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  #turn(stop: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        this.#waiting.delete(go);
        stop.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.delete(go);
        reject(asError(stop.reason));
      };
      this.#waiting.add(go);
      onceAborted(stop, leave);
    });
  }
}

/** A lease for the ids that are to be remembered for at least `windowMs` from now. */
class Remembering {
  readonly windowMs: number;
  readonly #caller: Caller;
  #lease: Promise<LeaseId> | null = null;
  #goodUntil = 0;

  constructor(caller: Caller, windowMs: number) {
    this.#caller = caller;
    this.windowMs = windowMs;
  }

  forget(): void {
    this.#lease = null;
  }

  async lease(stop: AbortSignal): Promise<LeaseId> {
    const { clock } = this.#caller;
    if (this.#lease === null || clock.now() >= this.#goodUntil) {
      this.#goodUntil = clock.now() + this.windowMs;
      this.#lease = granted(this.#caller, 2 * this.windowMs + LATE_MS);
    }
    const asked = this.#lease;
    try {
      return await orStopped(asked, stop);
    } catch (error) {
      if (this.#lease === asked && !stop.aborted) this.#lease = null;
      throw error;
    }
  }
}

/** A lease that nobody renews. */
export async function granted(caller: Caller, ms: number, stop?: AbortSignal): Promise<LeaseId> {
  const backoff = retries(caller.clock, String(ms));
  for (;;) {
    try {
      const asked = caller.client.grant(Math.max(1, Math.ceil(ms / 1000)), { timeoutMs: 5_000 });
      return (stop === undefined ? await asked : await orStopped(asked, stop)).id;
    } catch (error) {
      // One that was granted without our hearing of it ends by itself.
      if (stop?.aborted === true || !isWorthRepeating(error)) throw error;
      caller.observe({ kind: 'attempt_failed', error });
      await pause(caller.clock, backoff.next(), stop);
    }
  }
}

/** A signal that aborts with the error that a wait of these options ends with. */
export function waiting(clock: Clock, options: WaitOptions, what: string): { signal: AbortSignal; forget: () => void } {
  const control = new AbortController();
  const { signal, timeoutMs } = options;
  const onAbort = (): void => control.abort(new ApiError('canceled', { detail: what, cause: signal?.reason }));
  const bounded = timeoutMs !== undefined && timeoutMs !== Infinity;
  const late = (): void => control.abort(new ApiError('deadline_exceeded', { detail: `${what} took more than ${timeoutMs} ms` }));
  const cancel = bounded ? clock.schedule(timeoutMs, late) : null;
  onceAborted(signal, onAbort);
  if (signal?.aborted === true) onAbort();
  return {
    signal: control.signal,
    forget: () => {
      cancel?.();
      signal?.removeEventListener('abort', onAbort);
    },
  };
}
