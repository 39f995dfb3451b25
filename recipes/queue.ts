// A queue of items in the store, for coordination: thousands of items, not millions. At least once; effectively once for
// effects that are committed together with the acknowledgement. Keys are in queue-keys.ts, transactions in queue-moves.ts.
//
//   put       queue-put.ts       bound, order and de-duplication without a counter that anybody reads and writes back
//   take      queue-take.ts      one transaction; many consumers spread over what is ready
//   ack, …    queue-delivery.ts  every end compares the fence of the delivery
//   looked after by one of the consumers, queue-care.ts: what its consumer lost, or whose delay is over, becomes ready
//
// A `Queue` keeps nothing but what it needs to be quick; any number of them, anywhere, are the same queue. They must agree
// on `itemsMax`, and only they who consume need `weights`.

import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import { text, utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, Revision } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import type { WaitOptions } from './pause.js';
import { checkNumber, observing } from './pause.js';
import type { QueueEvent } from './queue-call.js';
import type { ConsumeOptions } from './queue-consume.js';
import { consume } from './queue-consume.js';
import type { AckOptions, Delivery, NackOptions, Taken } from './queue-delivery.js';
import type { FencedResult, FencedTxn } from './fenced-txn.js';
import type { End } from './queue-keys.js';
import { ATTEMPTS_MAX, checkInteger, checkName, QueueKeys, TURNS_MAX } from './queue-keys.js';
import type { PutOptions, PutResult } from './queue-put.js';
import { Producer, waiting } from './queue-put.js';
import type { DeadItem, QueueStats, Removal } from './queue-state.js';
import { deadItems, ends, putBack, queueStats, removeItem, setPaused } from './queue-state.js';
import { Taker } from './queue-take.js';
import type { Session } from './session.js';

const ITEMS_MAX = 10_000;
const BODY_BYTES_MAX = 64 * 1024;
const WINDOW_MS = 300_000;
const ATTEMPTS = 5;
const DEAD_MAX = 1_000;
const BACKOFF_MS = 1_000;
const BACKOFF_MS_MAX = 300_000;
/** What any store takes in one request, with room for what is around the body. */
const BODY_BYTES_LIMIT = 1024 * 1024;

export interface Codec<T> {
  encode(body: T): Uint8Array;
  /** Throws when it cannot be read; the item is then dead. */
  decode(bytes: Uint8Array): T;
}

export interface QueueOptions<T> {
  /** Items that have not ended; a put waits for room. Default 10,000. */
  readonly itemsMax?: number;
  /** Of one body as bytes; default 64 KiB, at most 1 MiB. */
  readonly bodyBytesMax?: number;
  /** For at least how long after its put an id is known; default 5 min. */
  readonly windowMs?: number;
  /** Deliveries after which an item is dead; default 5. */
  readonly maxAttempts?: number;
  /** Before the next delivery of what has failed for the n-th time; default 1 s, doubling up to 5 min. */
  readonly backoffMs?: (attempt: number) => number;
  /** Dead items kept; the oldest go. Default 1,000. */
  readonly deadMax?: number;
  /** Turns in a row, by group; default 1. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Default JSON. */
  readonly codec?: Codec<T>;
  /** For producers, and for the sessions that `consume` opens. */
  readonly clock?: Clock;
  readonly observe?: (event: QueueEvent) => void;
}

export interface TakeOptions extends WaitOptions {
  /** Puts the item on a lease of its own, renewed at a third of it, in place of the session's. At least 1 s. */
  readonly leaseMs?: number;
}

export class Queue<T = unknown> {
  readonly client: Client;
  readonly name: string;
  readonly clock: Clock;
  readonly observe: (event: QueueEvent) => void;
  readonly #keys: QueueKeys;
  readonly #codec: Codec<T>;
  readonly #options: QueueOptions<T>;
  readonly #producer: Producer;
  readonly #takers = new Map<Session, { readonly taker: Taker; readonly forget: () => void }>();
  #closed = false;

  constructor(client: Client, name: string, options: QueueOptions<T> = {}) {
    this.client = client;
    this.name = name;
    this.clock = options.clock ?? systemClock;
    this.observe = observing(this.clock, options.observe);
    this.#keys = new QueueKeys(name);
    this.#codec = options.codec ?? json<T>();
    this.#options = options;
    const { itemsMax = ITEMS_MAX, bodyBytesMax = BODY_BYTES_MAX, windowMs = WINDOW_MS, maxAttempts = ATTEMPTS } = options;
    checkInteger('itemsMax', itemsMax, 1, Number.MAX_SAFE_INTEGER / 4);
    checkInteger('bodyBytesMax', bodyBytesMax, 1, BODY_BYTES_LIMIT);
    checkInteger('maxAttempts', maxAttempts, 1, ATTEMPTS_MAX);
    checkInteger('deadMax', options.deadMax ?? DEAD_MAX, 1, Number.MAX_SAFE_INTEGER);
    checkNumber('windowMs', windowMs, 1_000);
    for (const [group, weight] of Object.entries(options.weights ?? {})) {
      checkInteger(`the weight of ${group}`, weight, 1, TURNS_MAX);
    }
    this.#producer = new Producer(this, this.#keys, { itemsMax, bodyBytesMax, windowMs, maxAttempts });
  }

  /**
   * Resolves when the item is committed, or was before. Waits while the queue is full; `QueueFull` when `timeoutMs` ends
   * that. Whatever else ends the wait, with the outcome 'unknown' the item may have been put: the same `id` finds out.
   */
  async put(body: T, options: PutOptions = {}): Promise<PutResult> {
    return await this.#producer.put(this.#codec.encode(body), options);
  }

  /** Waits for an item. Rejects with `SessionLost`, `canceled` or `deadline_exceeded`; then nothing was taken. */
  async take(session: Session, options: TakeOptions = {}): Promise<Delivery<T>> {
    const wait = waiting(session.clock, options, `waiting for an item of queue ${this.name}`);
    try {
      for (;;) {
        const delivery = await this.#opened(await this.#taker(session).take(wait.signal), options);
        if (delivery !== null) return delivery;
      }
    } finally {
      wait.forget();
    }
  }

  /** Null when there is nothing to take now. */
  async tryTake(session: Session, options: TakeOptions = {}): Promise<Delivery<T> | null> {
    const wait = waiting(session.clock, options, `looking for an item of queue ${this.name}`);
    try {
      for (;;) {
        const taken = await this.#taker(session).tryTake(wait.signal);
        const delivery = taken === null ? null : await this.#opened(taken, options);
        if (taken === null || delivery !== null) return delivery;
      }
    } finally {
      wait.forget();
    }
  }

  /**
   * Works on items until `signal` aborts, on sessions of its own that it opens anew when one is lost. What `work` has not
   * settled is acknowledged when it resolves, and a `nack` when it throws.
   */
  async consume(work: (delivery: Delivery<T>) => Promise<void> | void, options: ConsumeOptions = {}): Promise<void> {
    const { client, clock, name, observe } = this;
    await consume<T>({
      client, clock, name, observe,
      take: (session, signal) => this.take(session, { signal }),
    }, work, options);
  }

  stats(options: CallOptions = {}): Promise<QueueStats> {
    return queueStats(this.client, this.#keys, options);
  }

  /** Nothing more is taken, by anybody, until `resume`; puts and what is held go on. */
  pause(options: WaitOptions = {}): Promise<void> {
    return this.#waiting(options, 'pausing', (stop) => setPaused(this, this.#keys, true, stop));
  }

  resume(options: WaitOptions = {}): Promise<void> {
    return this.#waiting(options, 'resuming', (stop) => setPaused(this, this.#keys, false, stop));
  }

  /** Items given up, as they were at one revision. `body` is as it was put, in bytes. */
  async* dead(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<DeadItem> {
    const wait = waiting(this.clock, options, `reading the dead of queue ${this.name}`);
    try {
      yield* deadItems(this, this.#keys, wait.signal);
    } finally {
      wait.forget();
    }
  }

  /** A dead item begins again in its old place, with no attempts counted. False: there is no dead one of that id. */
  putBack(id: string, options: WaitOptions = {}): Promise<boolean> {
    checkName('an item\'s id', id);
    return this.#waiting(options, `putting back ${id}`, (stop) => putBack(this, this.#keys, id, stop));
  }

  /** Wherever it is, dead ones included; but one that is held only with `held`, whose delivery then ends. */
  remove(id: string, options: WaitOptions & { readonly held?: boolean } = {}): Promise<Removal> {
    checkName('an item\'s id', id);
    const { held = false } = options;
    return this.#waiting(options, `removing ${id}`, (stop) => removeItem(this, this.#keys, { id, held }, stop));
  }

  /**
   * How items end, from now or from a revision on: exactly one for each time an item was put, or put back. Goes on after a
   * lost connection; ends when `signal` aborts. Throws `compacted` when the store has forgotten some.
   */
  async* ends(
    options: { readonly from?: Revision; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<End & { readonly revision: Revision }> {
    const wait = waiting(this.clock, options, `following the ends of queue ${this.name}`);
    try {
      yield* ends(this, this.#keys, options.from ?? 0, wait.signal);
    } finally {
      wait.forget();
    }
  }

  /** Ends what waits here, with `closed`. What is held stays held by its session; the queue itself stays as it is. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#takers.keys()]) this.#leave(session);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #leave(session: Session): void {
    const known = this.#takers.get(session);
    known?.taker.close();
    known?.forget();
    this.#takers.delete(session);
  }

  #taker(session: Session): Taker {
    session.assertLive();
    const known = this.#takers.get(session);
    if (known !== undefined) return known.taker;
    const { weights = {}, backoffMs = backingOff, deadMax = DEAD_MAX } = this.#options;
    const { observe } = this;
    const weight = (group: string): number => weights[group] ?? 1;
    const taker = new Taker(session, this.#keys, { observe, deadMax, backoffMs, weight });
    if (this.#closed) taker.close();
    else this.#takers.set(session, { taker, forget: session.onLost(() => this.#takers.delete(session)) });
    return taker;
  }

  /** Null: it could not be read, and is dead. */
  async #opened(taken: Taken, { leaseMs }: TakeOptions): Promise<Delivery<T> | null> {
    let body: T;
    try {
      body = this.#codec.decode(taken.item.body);
    } catch (error) {
      this.observe({ kind: 'work_failed', id: taken.name, attempt: taken.item.out.attempts, error: asError(error) });
      await taken.nack({ dead: true, error });
      return null;
    }
    if (leaseMs === undefined) return new Delivered(taken, body);
    try {
      await taken.extend(leaseMs);
    } catch (error) {
      await taken.release();
      throw error;
    }
    return new Delivered(taken, body);
  }

  async #waiting<R>(options: WaitOptions, what: string, work: (stop: AbortSignal) => Promise<R>): Promise<R> {
    const wait = waiting(this.clock, options, `${what} in queue ${this.name}`);
    try {
      return await work(wait.signal);
    } finally {
      wait.forget();
    }
  }
}

class Delivered<T> implements Delivery<T> {
  readonly body: T;
  readonly #taken: Taken;

  constructor(taken: Taken, body: T) {
    this.#taken = taken;
    this.body = body;
  }

  get name(): string {
    return this.#taken.name;
  }

  get id(): string {
    return this.#taken.item.id;
  }

  get group(): string | null {
    return this.#taken.item.head.group;
  }

  get attempt(): number {
    return this.#taken.item.out.attempts;
  }

  get maxAttempts(): number {
    return this.#taken.item.head.maxAttempts;
  }

  get key(): Uint8Array {
    return this.#taken.key;
  }

  get fence(): Revision {
    return this.#taken.fence;
  }

  get isHeld(): boolean {
    return this.#taken.isHeld;
  }

  get remaining(): number {
    return this.#taken.remaining;
  }

  get signal(): AbortSignal {
    return this.#taken.signal;
  }

  assertHeld(minRemainingMs = 0): void {
    this.#taken.assertHeld(minRemainingMs);
  }

  txn(): FencedTxn {
    return this.#taken.txn();
  }

  ack(options: AckOptions = {}): Promise<FencedResult> {
    return this.#taken.ack(options);
  }

  nack(options: NackOptions = {}): Promise<void> {
    return this.#taken.nack(options);
  }

  extend(ms: number): Promise<void> {
    return this.#taken.extend(ms);
  }

  release(): Promise<void> {
    return this.#taken.release();
  }

  settled(settle: () => Promise<unknown>): Promise<void> {
    return this.#taken.settled(settle);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#taken[Symbol.asyncDispose]();
  }
}

function backingOff(attempt: number): number {
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(attempt - 1, 20));
}

function json<T>(): Codec<T> {
  return {
    encode: (body) => {
      const written: string | undefined = JSON.stringify(body);
      if (written === undefined) throw new ApiError('invalid_request', { detail: 'the body is nothing that JSON knows' });
      return utf8(written);
    },
    decode: (bytes) => {
      const body: unknown = JSON.parse(text(bytes));
      return body as T;
    },
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
