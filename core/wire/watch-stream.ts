// One Watch stream of the wire: many watches over `Client.watch`, told apart by id (contract 5). A watch that says it has
// something is emptied at once, without a promise for each batch, as far as the transport takes it; when that is full, watches
// take turns as it takes more, so that a slow reader slows its own watches and nothing else. Nothing is taken from a watch, nor
// made into bytes, before its turn: else each of a hundred thousand watches would hold its own copy of one large event for a
// reader that takes nothing.
//
// Invariants: a watch's answers go created, then events and progress, then at most one canceled, and nothing after that.
// One batch of a watch is one answer, unless the watch asked for fragments. An answer to a progress request (id -1) goes out
// when every watch that is open then has said since the request how far it is, and carries the least of those revisions.

import { isOpenEnd } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import { Fifo } from '../base/fifo.js';
import type { Backend, CallOptions, Header, Watch, WatchBatch, WatchEnd, WatchTap } from '../client.js';
import { ApiError, ERRORS, isApiError, type ErrorCode } from '../errors.js';
import { TAKEN, type CallContext, type Send } from './call.js';
import { readWatchCreate } from './convert.js';
import { watchLeader } from './leader-check.js';
import { FRAGMENT_BYTES, WATCHES_PER_STREAM_MAX } from './limits.js';
import { WatchRequest, type WatchCreateRequest, type WatchResponse } from './schema/generated/rpc.js';
import { goText } from './status.js';
import { decode, optionsOf } from './unary.js';
import { encodeAnswer, Fragments, idField, type WatchWriter } from './watch-codec.js';

/** Resolves when the caller is gone; rejects when the stream must end with an error. */
export function serveWatch(
  backend: Backend,
  clock: Clock,
  requests: AsyncIterable<Uint8Array>,
  call: CallContext,
  send: Send,
  writer: WatchWriter,
): Promise<void> {
  // One promise for the whole stream: there may be tens of thousands, opened at once.
  return new Promise((resolve, reject) => {
    const stream = new WatchStream(backend, call, { send, writer }, (error) => {
      stop();
      if (error === null) resolve();
      else reject(error);
    });
    const stop = watchLeader(backend, clock, call, (error) => stream.end(error));
    call.whenOver((why) => stream.end(why));
    void stream.take(requests);
  });
}

interface Mouth {
  readonly send: Send;
  readonly writer: WatchWriter;
}

interface Entry {
  readonly id: bigint;
  /** By the caller. */
  readonly isChosen: boolean;
  readonly idField: Uint8Array;
  readonly watch: Watch;
  readonly tap: WatchTap;
  readonly fragment: boolean;
  readonly notify: boolean;
  /** False once canceled: nothing more is sent under this id. */
  open: boolean;
  /** It waits for its turn. */
  isQueued: boolean;
  /** What is left of a batch that is sent in pieces. */
  rest: Fragments | null;
  /** To be called when its creation has been answered, one way or the other; null: it has. */
  onBegun: (() => void) | null;
}

/** One round of asking every open watch how far it is. */
interface ProgressRound {
  readonly waiting: Set<Entry>;
  /** Answers owed to the caller when the round is over. */
  readonly answers: number;
  header: Header | null;
}

const NO_WATCH = -1n;

/** Not this watch, or not any more; the others of the stream may go on (contract 19.15). */
const FORBIDDEN: ReadonlySet<string> = new Set<ErrorCode>([
  'permission_denied', 'user_empty', 'auth_revision_old', 'token_invalid',
]);

class WatchStream {
  readonly #backend: Backend;
  readonly #call: CallContext;
  readonly #send: Send;
  readonly #writer: WatchWriter;
  readonly #entries = new Map<bigint, Entry>();
  /** Ended by compaction, and not cancelled: to etcd such an id is still taken, and cancelling it is answered. */
  readonly #spent = new Set<bigint>();
  #nextId = 0n;
  #round: ProgressRound | null = null;
  /** Progress requests that came while a round was under way. */
  #progressQueued = 0;
  /** The transport has not taken what it was given. */
  #isBlocked = false;
  /** What waits until it has: answers to requests go first. */
  readonly #answers = new Fifo<{ readonly answer: Partial<WatchResponse>; readonly resolve: () => void }>();
  readonly #turns = new Fifo<Entry>();
  #closed = false;
  readonly #onEnd: (error: Error | null) => void;

  /** `onEnd`: the stream is over, with an error or because the caller is gone. Called once. */
  constructor(backend: Backend, call: CallContext, { send, writer }: Mouth, onEnd: (error: Error | null) => void) {
    this.#backend = backend;
    this.#call = call;
    this.#send = send;
    this.#writer = writer;
    this.#onEnd = onEnd;
  }

  /** Never rejects. When the caller sends no more, its watches live until it leaves (contract 5). */
  async take(requests: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const bytes of requests) await this.#onRequest(bytes);
    } catch (error) {
      this.end(errorOf(error));
    }
  }

  async #onRequest(bytes: Uint8Array): Promise<void> {
    const { requestUnion: request } = decode(WatchRequest, bytes, 'WatchRequest');
    switch (request?.$case) {
      case 'createRequest':
        return this.#onCreate(request.value);
      case 'cancelRequest':
        return this.#onCancel(request.value.watchId);
      case 'progressRequest':
        return this.#onProgressRequest();
      default:
        return undefined;
    }
  }

  end(error: Error | null): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const entry of this.#entries.values()) {
      entry.open = false;
      entry.watch.close();
      entry.onBegun?.();
    }
    this.#entries.clear();
    this.#turns.drain();
    for (const { resolve } of this.#answers.drain()) resolve();
    this.#onEnd(error);
  }

  async #onCreate(message: WatchCreateRequest): Promise<void> {
    const request = readWatchCreate(message);
    const end = message.rangeEnd;
    const options = await this.#options();
    // Nobody would close a watch that is opened now.
    if (this.#closed) return;
    if (options instanceof ApiError) return this.#refuse(goText(options));
    if (end.length > 0 && !isOpenEnd(end) && Buffer.compare(request.key, end) >= 0) {
      return this.#refuse('mvcc: watcher range is empty');
    }
    const fault = this.#faultIn(message);
    const watch = this.#backend.watch(request, options);
    if (fault !== null) return this.#refuseAfter(watch, fault);
    const id = message.watchId === 0n ? this.#freeId() : message.watchId;
    const entry: Entry = {
      id,
      isChosen: message.watchId !== 0n,
      idField: idField(id),
      watch,
      tap: tapOf(watch, () => this.#onReady(entry)),
      fragment: message.fragment,
      notify: message.progressNotify,
      open: true,
      isQueued: false,
      rest: null,
      onBegun: null,
    };
    this.#entries.set(entry.id, entry);
    // An answer under way speaks of this one as well, by the time that it is given.
    this.#round?.waiting.add(entry);
    if (this.#round !== null) watch.requestProgress();
    // The next request is looked at only when this one is answered, so answers keep the order of the requests.
    await new Promise<void>((resolve) => {
      entry.onBegun = resolve;
      this.#onReady(entry);
    });
  }

  /** What is wrong with it, whoever asks, in etcd's words. */
  #faultIn({ startRevision, watchId }: WatchCreateRequest): string | null {
    // Negative revisions are refused as later releases of etcd do (contract 5).
    if (startRevision < 0n) return ERRORS.compacted.text;
    if (this.#entries.size + this.#spent.size >= WATCHES_PER_STREAM_MAX) return ERRORS.too_many_requests.text;
    const isTaken = watchId !== 0n && this.#isTaken(watchId);
    return isTaken ? 'mvcc: duplicate watch ID provided on the WatchStream' : null;
  }

  /** Whoever may not watch there is told that first, which is found out by trying. */
  async #refuseAfter(watch: Watch, fault: string): Promise<void> {
    let reason = fault;
    try {
      await watch[Symbol.asyncIterator]().next();
    } catch (error) {
      if (isApiError(error) && FORBIDDEN.has(error.code)) reason = goText(error);
    } finally {
      watch.close();
    }
    await this.#refuse(reason);
  }

  /** On whose behalf; a caller nobody can make out is refused its watch, and keeps the others (contract 5). */
  async #options(): Promise<CallOptions | ApiError> {
    try {
      return await optionsOf(this.#backend, this.#call);
    } catch (error) {
      if (isApiError(error) && FORBIDDEN.has(error.code)) return error;
      throw error;
    }
  }

  #freeId(): bigint {
    while (this.#isTaken(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  #isTaken(id: bigint): boolean {
    return this.#entries.has(id) || this.#spent.has(id);
  }

  async #onCancel(id: bigint): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined && !this.#spent.delete(id)) return;
    if (entry !== undefined) this.#remove(entry);
    await this.#answer({ header: (await this.#backend.status()).header, watchId: id, canceled: true });
    await this.#checkRound();
  }

  async #refuse(reason: string): Promise<void> {
    const { header } = await this.#backend.status();
    await this.#answer({ header, watchId: NO_WATCH, created: true, canceled: true, cancelReason: reason });
  }

  /** There may be something to take from it. Called by the watch: nothing may be thrown there. */
  #onReady(entry: Entry): void {
    if (this.#closed || !entry.open || entry.isQueued) return;
    try {
      this.#move(entry);
    } catch (error) {
      // Not from within the watch, which would be closed with the others.
      this.#own(Promise.reject(errorOf(error)));
    }
  }

  /** Moves what there is, as far as the transport takes it; then it waits for its turn. */
  #move(entry: Entry): void {
    while (entry.open && !this.#closed) {
      if (this.#isBlocked) {
        entry.isQueued = true;
        return this.#turns.push(entry);
      }
      const fragment = entry.rest?.next() ?? null;
      if (fragment !== null) {
        this.#watchTransport(this.#send(fragment));
        continue;
      }
      entry.rest = null;
      const result = entry.tap();
      if (result === null) return;
      this.#onResult(entry, result);
    }
  }

  #onResult(entry: Entry, result: WatchBatch | WatchEnd): void {
    switch (result.kind) {
      case 'events':
        return this.#sendEvents(entry, result);
      case 'created':
        this.#watchTransport(this.#send(encodeAnswer({ header: result.header, watchId: entry.id, created: true })));
        return begun(entry);
      case 'progress':
        return this.#own(this.#onProgress(entry, result.header));
      case 'ended':
        return this.#own(this.#onWatchError(entry, result.error ?? new ApiError('closed')).finally(() => begun(entry)));
    }
  }

  #sendEvents(entry: Entry, { header, events }: WatchBatch): void {
    if (entry.fragment && this.#writer.sizeOf(header, entry.idField, events) >= FRAGMENT_BYTES) {
      entry.rest = new Fragments(header, entry.id, events);
      return;
    }
    this.#watchTransport(this.#writer.send(this.#send, header, entry.idField, events));
  }

  /** Compaction ends the one watch; a backend that is gone ends the stream, so that the caller looks elsewhere. */
  async #onWatchError(entry: Entry, error: Error): Promise<void> {
    const first = entry.onBegun !== null;
    if (!isApiError(error)) throw error;
    const { header } = await this.#backend.status();
    if (!entry.open) return;
    if (error.code === 'compacted') {
      if (first) await this.#answer({ header, watchId: entry.id, created: true });
      this.#remove(entry);
      this.#spent.add(entry.id);
      const { compactRevision } = error;
      // The header of this answer says revision 0 (contract 1.5).
      await this.#answer({ header: { ...header, revision: 0 }, watchId: entry.id, canceled: true, compactRevision });
      return this.#checkRound();
    }
    const isRefused = FORBIDDEN.has(error.code);
    if (!isRefused && error.status !== ERRORS.watch_overflow.status) throw error;
    this.#remove(entry);
    // Nobody has heard of that id.
    if (first && !entry.isChosen) this.#nextId = entry.id;
    const cancelReason = isRefused ? goText(error) : error.message;
    const answer = { header, watchId: entry.id, canceled: true, cancelReason };
    await this.#answer(first ? { ...answer, watchId: NO_WATCH, created: true } : answer);
    return this.#checkRound();
  }

  #remove(entry: Entry): void {
    entry.open = false;
    entry.watch.close();
    this.#entries.delete(entry.id);
    this.#round?.waiting.delete(entry);
  }

  async #onProgressRequest(): Promise<void> {
    this.#progressQueued++;
    if (this.#round === null) await this.#startRound();
  }

  async #startRound(): Promise<void> {
    const waiting = new Set(this.#entries.values());
    this.#round = { waiting, answers: this.#progressQueued, header: null };
    this.#progressQueued = 0;
    for (const entry of waiting) entry.watch.requestProgress();
    if (waiting.size === 0) await this.#checkRound();
  }

  /** A progress batch answers the round when one is waiting for this watch; otherwise it is the watch's own notice. */
  async #onProgress(entry: Entry, header: Header): Promise<void> {
    const round = this.#round;
    if (round === null || !round.waiting.delete(entry)) {
      if (entry.notify) await this.#answer({ header, watchId: entry.id });
      return;
    }
    if (round.header === null || header.revision < round.header.revision) round.header = header;
    await this.#checkRound();
  }

  async #checkRound(): Promise<void> {
    const round = this.#round;
    if (round === null || round.waiting.size > 0) return;
    const header = round.header ?? (await this.#backend.status()).header;
    // One that was created meanwhile is to say how far it is, or the answer was given meanwhile.
    if (this.#round !== round || round.waiting.size > 0) return;
    this.#round = null;
    for (let i = 0; i < round.answers; i++) await this.#answer({ header, watchId: NO_WATCH });
    if (this.#progressQueued > 0 && this.#round === null) await this.#startRound();
  }

  /** Resolves when the transport has been given it, or wants nothing any more. */
  async #answer(answer: Partial<WatchResponse>): Promise<void> {
    if (this.#closed) return;
    if (!this.#isBlocked) return this.#watchTransport(this.#send(encodeAnswer(answer)));
    await new Promise<void>((resolve) => this.#answers.push({ answer, resolve }));
  }

  #watchTransport(taken: Promise<void>): void {
    if (taken === TAKEN) return;
    this.#isBlocked = true;
    this.#own(taken.then(() => this.#onTaken()));
  }

  #onTaken(): void {
    this.#isBlocked = false;
    while (!this.#isBlocked && !this.#closed) {
      const waiting = this.#answers.shift();
      if (waiting !== undefined) {
        this.#watchTransport(this.#send(encodeAnswer(waiting.answer)));
        waiting.resolve();
        continue;
      }
      const entry = this.#turns.shift();
      if (entry === undefined) return;
      entry.isQueued = false;
      this.#move(entry);
    }
  }

  /** Whoever settles it, the stream fails with it. */
  #own(promise: Promise<void>): void {
    promise.catch((error: unknown) => this.end(errorOf(error)));
  }
}

function begun(entry: Entry): void {
  entry.onBegun?.();
  entry.onBegun = null;
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Of a watch that can only be iterated: one batch is asked for when there is none. */
function tapOf(watch: Watch, onReady: () => void): WatchTap {
  if (watch.tap !== undefined) return watch.tap(onReady);
  const batches = watch[Symbol.asyncIterator]();
  let got: WatchBatch | WatchEnd | null = null;
  let isAsked = false;
  const take = (result: WatchBatch | WatchEnd): void => {
    got = result;
    isAsked = result.kind === 'ended';
    onReady();
  };
  const ask = (): void => {
    isAsked = true;
    batches.next().then(
      (result) => take(result.done === true ? { kind: 'ended', error: null } : result.value),
      (error: unknown) => take({ kind: 'ended', error: errorOf(error) }),
    );
  };
  return () => {
    const result = got;
    got = null;
    if (result === null && !isAsked) ask();
    return result;
  };
}
