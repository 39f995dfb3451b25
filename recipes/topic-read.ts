// The reading side of topics: one subscription, from its start to its end. Reading what there is (one transaction at one
// revision) is the truth; the watch that starts right behind it only spares the asking. So whatever happens to the watch,
// compaction, a lost connection, silence, the answer is to read again from the last position.
//
// Nothing is buffered here: a reader that is slow makes its watch fall behind. Positions are dense, so every message that
// this reader does not get shows, and is told as a `Gap`.

import { onceAborted } from '../core/base/abort.js';
import type { Clock } from '../core/base/clock.js';
import type { Client, KeyValue, Op, Revision, TxnResponse, Watch, WatchBatch, WatchRequest } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import { orStopped } from './entry.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, observing, pause, within } from './pause.js';
import type { GapReason, Message } from './topic-names.js';
import { checkPosition, Gap } from './topic-names.js';

const LIVENESS_MS = 9_000;
const LIVENESS_MS_MIN = 50;
const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_500;

export interface SubscribeOptions {
  /**
   * `now` (default): what is published after the subscription; `oldest`: from the oldest message that is kept; `after`: behind
   * this position, the token of a reader that goes on where it was.
   */
  readonly from?: 'now' | 'oldest' | { readonly after: number };
  /** `throw` (default): the iterator throws a `Gap`. `skip`: it goes on, and the next message says what it missed. */
  readonly onGap?: 'throw' | 'skip';
  /** Aborting ends the iteration. */
  readonly signal?: AbortSignal;
  /** Silence for this long makes the subscription ask the store. Default 9 s, at least 50 ms. */
  readonly livenessMs?: number;
  /** For logs and tests: why the subscription has to read again. */
  readonly observe?: (event: SubscriptionEvent) => void;
}

export type SubscriptionEvent =
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  | { readonly kind: 'read'; readonly messages: number };

/** What there is behind a position, at one revision. */
export interface Page {
  readonly messages: readonly { readonly position: number; readonly body: Uint8Array }[];
  /** The newest position there is; null: there is no topic. */
  readonly last: number | null;
  /** What the first message ever stood behind. */
  readonly base: number;
  /** When it changes, positions seen before mean nothing. Null: says nothing. */
  readonly epoch: number | null;
  readonly more: boolean;
}

/** Where messages come from: the log of a durable topic, or the one key of a live one. */
export interface Source {
  readonly topic: string;
  readonly range: { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array };
  /** What is told when messages are missing. */
  readonly lossReason: GapReason;
  reads(after: number | null): readonly Op[];
  page(answer: TxnResponse, after: number | null): Page;
  /** Null: not a message. */
  positionOf(kv: KeyValue): { readonly position: number; readonly epoch: number | null } | null;
  /** Where to go on behind, after positions went back. */
  afterReset(page: Page): number;
}

/** One reader, once: iterate it. `break`, `close` and the signal end it. */
export class Subscription implements AsyncIterable<Message>, AsyncDisposable {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #source: Source;
  readonly #options: { livenessMs: number; onGap: 'throw' | 'skip'; observe: (event: SubscriptionEvent) => void };
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  readonly #messages: AsyncGenerator<Message, undefined>;
  readonly #started: Promise<Page | null>;
  #forgetSignal: () => void = () => undefined;
  /** The last position handed out or known to be missed; null: whatever comes first is the first. */
  #position: number | null = null;
  #revision: Revision = 0;
  #epoch: number | null = null;
  #missed: Gap | null = null;
  /** The store has gone back: it may have positions that only look like the ones this reader knows. */
  #storeWentBack = false;
  #isIterated = false;

  /** Asks the store at once, so that `now` is now and not when somebody starts to iterate. */
  constructor(client: Client, clock: Clock, source: Source, options: SubscribeOptions) {
    const { from = 'now', onGap = 'throw', livenessMs = LIVENESS_MS, signal } = options;
    checkNumber('livenessMs', livenessMs, LIVENESS_MS_MIN);
    if (typeof from === 'object') checkPosition('after', from.after);
    this.#client = client;
    this.#clock = clock;
    this.#source = source;
    this.#options = { onGap, livenessMs, observe: observing(clock, options.observe) };
    this.#backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, source.topic) });
    if (signal !== undefined) {
      const onAbort = (): void => this.#end();
      onceAborted(signal, onAbort);
      this.#forgetSignal = () => signal.removeEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
    }
    this.#started = this.#start(from);
    // Also thrown to whoever iterates or waits; here for when nobody does.
    this.#started.catch(() => undefined);
    this.#messages = this.#run();
  }

  /** The last position that was handed out, or known to be missed; where `now` was before the first one. 0: nothing yet. */
  get position(): number {
    return this.#position ?? 0;
  }

  /** Resolves, with the position it starts behind, once nothing published from now on can be missed without being told. */
  async ready(options: WaitOptions = {}): Promise<number> {
    await within(this.#started, this.#clock, { ...options, what: `subscribing to ${this.#source.topic}` });
    if (!this.#stop.signal.aborted) return this.position;
    throw new ApiError('canceled', { detail: `the subscription to ${this.#source.topic} has ended` });
  }

  [Symbol.asyncIterator](): AsyncIterator<Message, undefined> {
    if (this.#isIterated) throw new ApiError('invalid_request', { detail: 'a subscription is iterated once; subscribe again' });
    this.#isIterated = true;
    return {
      next: () => this.#messages.next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
    };
  }

  async close(): Promise<void> {
    this.#end();
    await this.#messages.return(undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#forgetSignal();
    this.#stop.abort(new ApiError('canceled', { detail: 'the subscription was ended' }));
  }

  /** The page to begin with; null when it ended before. */
  async #start(from: 'now' | 'oldest' | { readonly after: number }): Promise<Page | null> {
    if (typeof from === 'object') this.#position = from.after;
    const page = await this.#read();
    if (page === null) return null;
    const [first] = page.messages;
    this.#epoch = page.epoch;
    if (from === 'now') {
      this.#position = page.last;
      return { ...page, messages: [], more: false };
    }
    if (from === 'oldest') this.#position = first === undefined ? page.last : first.position - 1;
    return page;
  }

  async *#run(): AsyncGenerator<Message, undefined> {
    const stop = this.#stop.signal;
    try {
      for (let page = await this.#started; page !== null; page = await this.#read()) {
        yield* this.#deliver(page);
        if (page.more) continue;
        // The watch may hand over a page that it had to read.
        for (let next = yield* this.#follow(); next !== null; next = null) yield* this.#deliver(next);
        if (stop.aborted) break;
      }
    } catch (error) {
      if (!stop.aborted && !isApiError(error, 'closed')) throw error;
    } finally {
      this.#end();
    }
    return undefined;
  }

  /** Until it is answered. Null: it has ended. */
  async #read(): Promise<Page | null> {
    const stop = this.#stop.signal;
    const what = `reading the topic ${this.#source.topic}`;
    while (!stop.aborted) {
      try {
        const request = { success: this.#source.reads(this.#position) };
        const options = { timeoutMs: CALL_MS, outer: stop, what };
        const call = bounded(this.#clock, options, (signal) => this.#client.txn(request, { signal }));
        const answer = await orStopped(call, stop);
        const page = this.#source.page(answer, this.#position);
        if (answer.header.revision < this.#revision) this.#storeWentBack = true;
        this.#revision = answer.header.revision;
        this.#options.observe({ kind: 'read', messages: page.messages.length });
        return page;
      } catch (error) {
        if (stop.aborted) return null;
        await this.#failed(error);
      }
    }
    return null;
  }

  /** Waits before the next attempt; throws what trying again would not mend. */
  async #failed(error: unknown): Promise<void> {
    if (!isApiError(error) || error.code === 'closed' || error.code === 'invalid_request') throw error;
    this.#options.observe({ kind: 'attempt_failed', error });
    await pause(this.#clock, this.#backoff.next(), this.#stop.signal);
  }

  *#deliver(page: Page): Generator<Message> {
    const { last, epoch } = page;
    const wentBack = this.#storeWentBack || this.#isOther(epoch);
    if (last === null) return;
    this.#epoch = epoch;
    this.#storeWentBack = false;
    if (this.#position === null) this.#position = page.base;
    else if (last < this.#position || wentBack) this.#miss(this.#position + 1, this.#source.afterReset(page), 'reset');
    for (const message of page.messages) yield* this.#hand(message.position, message.body);
    if (!page.more && last > this.position) this.#miss(this.position + 1, last, this.#source.lossReason);
  }

  *#hand(position: number, body: Uint8Array): Generator<Message> {
    if (position <= this.position) return;
    if (position > this.position + 1) this.#miss(this.position + 1, position - 1, this.#source.lossReason);
    this.#position = position;
    const missed = this.#missed;
    this.#missed = null;
    yield { position, body, missed };
  }

  #isOther(epoch: number | null): boolean {
    return epoch !== null && this.#epoch !== null && epoch !== this.#epoch;
  }

  #miss(from: number, to: number, reason: GapReason): void {
    this.#position = to;
    const before = this.#missed;
    const why = before?.reason === 'reset' ? 'reset' : reason;
    const gap = new Gap(this.#source.topic, { from: before?.from ?? from, to, reason: why });
    if (this.#options.onGap === 'throw') throw gap;
    this.#missed = gap;
  }

  /** Hands out what the watch brings. Ends when there is something to be read: what it has read already, or null. */
  async *#follow(): AsyncGenerator<Message, Page | null> {
    const stop = this.#stop.signal;
    const { range } = this.#source;
    const request: WatchRequest = { ...range, startRevision: this.#revision + 1, progressNotify: true, exclude: ['delete'] };
    const watch = this.#client.watch(request, { signal: stop });
    const listening = new Listening(watch, this.#clock, this.#options.livenessMs, stop);
    const openedAt = this.#clock.now();
    try {
      for (;;) {
        const next = await listening.next();
        if (next === 'silent') {
          const page = await this.#read();
          if (page === null || this.#storeWentBack || page.last !== this.#position || this.#isOther(page.epoch)) return page;
          continue;
        }
        if (next.done === true) break;
        for (const { kv } of next.value.events) {
          const found = this.#source.positionOf(kv);
          if (found === null) continue;
          // Of a topic that was not there when it was last looked at; or positions that go back. Reading tells which.
          if (this.#position === null || found.position <= this.#position || this.#isOther(found.epoch)) return null;
          this.#epoch = found.epoch;
          this.#revision = Math.max(this.#revision, kv.modRevision);
          yield* this.#hand(found.position, kv.value);
        }
      }
    } catch (error) {
      if (error instanceof Gap || stop.aborted) throw error;
      if (isApiError(error, 'closed')) throw error;
      this.#options.observe({ kind: 'attempt_failed', error: asError(error) });
    } finally {
      listening.end();
      watch.close();
      if (this.#clock.now() - openedAt >= RETRY_MS_MAX) this.#backoff.reset();
    }
    await pause(this.#clock, this.#backoff.next(), stop);
    return null;
  }
}

type Heard = IteratorResult<WatchBatch> | 'silent';

/**
 * What a watch says, or its silence. One timer and one listener for as long as it lasts: of their own for each message they
 * would cost more than the message.
 */
class Listening {
  readonly #watch: Watch;
  readonly #batches: AsyncIterator<WatchBatch>;
  readonly #clock: Clock;
  readonly #halfMs: number;
  readonly #stop: AbortSignal;
  /** Whoever waits. */
  #reader: ((heard: Heard | Promise<Heard>) => void) | null = null;
  /** Asked of the watch and not handed out yet. */
  #pending: Promise<Heard> | null = null;
  #isSettled = false;
  #since = 0;
  #hasAsked = false;
  #cancelTimer: (() => void) | null = null;

  constructor(watch: Watch, clock: Clock, livenessMs: number, stop: AbortSignal) {
    this.#watch = watch;
    this.#batches = watch[Symbol.asyncIterator]();
    this.#clock = clock;
    this.#halfMs = livenessMs / 2;
    this.#stop = stop;
    onceAborted(stop, this.#onAbort);
  }

  /** `silent`: nothing for `livenessMs`, not even when asked; the next call goes on waiting for the same. */
  next(): Promise<Heard> {
    return new Promise((resolve) => {
      this.#reader = resolve;
      this.#since = this.#clock.now();
      this.#hasAsked = false;
      if (this.#stop.aborted) return this.#onAbort();
      this.#cancelTimer ??= this.#clock.schedule(this.#halfMs, this.#onTimer);
      if (this.#pending === null) this.#ask();
      else if (this.#isSettled) this.#hand();
    });
  }

  end(): void {
    this.#cancelTimer?.();
    this.#stop.removeEventListener('abort', this.#onAbort);
  }

  #ask(): void {
    const settled = (): void => {
      this.#isSettled = true;
      this.#hand();
    };
    this.#isSettled = false;
    this.#pending = this.#batches.next();
    this.#pending.then(settled, settled);
  }

  #hand(): void {
    const [reader, pending] = [this.#reader, this.#pending];
    if (reader === null || pending === null) return;
    this.#reader = null;
    this.#pending = null;
    reader(pending);
  }

  /** The timer is older than the wait, most of the time: then it goes on for what is missing. Nobody waits: it ends. */
  readonly #onTimer = (): void => {
    this.#cancelTimer = null;
    const reader = this.#reader;
    if (reader === null) return;
    // Never less than a millisecond: sums of times are not exact.
    const leftMs = this.#since + this.#halfMs - this.#clock.now();
    const isSilent = leftMs < 1;
    if (isSilent && this.#hasAsked) {
      this.#reader = null;
      return reader('silent');
    }
    if (isSilent) {
      this.#hasAsked = true;
      this.#since = this.#clock.now();
      this.#watch.requestProgress();
    }
    this.#cancelTimer = this.#clock.schedule(isSilent ? this.#halfMs : leftMs, this.#onTimer);
  };

  readonly #onAbort = (): void => {
    const reader = this.#reader;
    this.#reader = null;
    reader?.(Promise.reject(asError(this.#stop.reason)));
  };
}
