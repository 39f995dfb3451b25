// One Watch stream of the wire: many watches over `Client.watch`, told apart by id (contract 5). Each watch has a pump
// that moves batches from its iterator to the stream and waits for the transport after each, so that a slow reader slows
// its own watches and nothing else.
//
// Invariants: a watch's answers go created, then events and progress, then at most one canceled, and nothing after that.
// One batch of a watch is one answer, unless the watch asked for fragments. An answer to a progress request (id -1) goes
// out when every watch that was open at the request has said how far it is, and carries the least of those revisions.

import { onceAborted } from '../base/abort.js';
import { isOpenEnd } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import type { Backend, CallOptions, Header, Watch, WatchBatch } from '../client.js';
import { ApiError, ERRORS, isApiError, type ErrorCode } from '../errors.js';
import type { CallContext } from './call.js';
import { readWatchCreate, writeEvent } from './convert.js';
import { watchLeader } from './leader-check.js';
import { FRAGMENT_BYTES, WATCHES_PER_STREAM_MAX } from './limits.js';
import { Event } from './schema/generated/mvcc.js';
import { WatchRequest, WatchResponse, type WatchCreateRequest } from './schema/generated/rpc.js';
import { goText } from './status.js';
import { decode, optionsOf } from './unary.js';

/** Resolves when the caller is gone; rejects when the stream must end with an error. */
export async function serveWatch(
  backend: Backend,
  clock: Clock,
  requests: AsyncIterable<Uint8Array>,
  call: CallContext,
  send: (answer: Uint8Array) => Promise<void>,
): Promise<void> {
  const stream = new WatchStream(backend, call, send);
  const leader = watchLeader(backend, clock, call);
  const gone = new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      stream.close();
      if (call.signal.reason instanceof ApiError) reject(call.signal.reason);
      else resolve();
    };
    if (call.signal.aborted) onAbort();
    else onceAborted(call.signal, onAbort);
  });
  const answer = async (): Promise<void> => {
    for await (const bytes of requests) await stream.onRequest(bytes);
    // The caller sends no more; its watches live until it leaves (contract 5).
    await gone;
  };
  try {
    await Promise.race([answer(), gone, leader.lost, stream.failed]);
  } finally {
    leader.stop();
    stream.close();
  }
}

interface Entry {
  readonly id: bigint;
  /** By the caller. */
  readonly isChosen: boolean;
  readonly watch: Watch;
  readonly batches: AsyncIterator<WatchBatch>;
  readonly fragment: boolean;
  readonly notify: boolean;
  /** False once canceled: nothing more is sent under this id. */
  open: boolean;
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
  readonly #send: (answer: Uint8Array) => Promise<void>;
  readonly #entries = new Map<bigint, Entry>();
  /** Ended by compaction, and not cancelled: to etcd such an id is still taken, and cancelling it is answered. */
  readonly #spent = new Set<bigint>();
  #nextId = 0n;
  #round: ProgressRound | null = null;
  /** Progress requests that came while a round was under way. */
  #progressQueued = 0;
  /** Settles with the last of the answers that the transport has not taken; null: it takes more. */
  #tail: Promise<void> | null = null;
  #closed = false;
  #fail: (error: Error) => void = () => undefined;
  /** Rejects when a watch fails in a way that ends the whole stream; never resolves. */
  readonly failed: Promise<never>;

  constructor(backend: Backend, call: CallContext, send: (answer: Uint8Array) => Promise<void>) {
    this.#backend = backend;
    this.#call = call;
    this.#send = send;
    this.failed = new Promise<never>((_resolve, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined);
  }

  async onRequest(bytes: Uint8Array): Promise<void> {
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

  close(): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) {
      entry.open = false;
      entry.watch.close();
    }
    this.#entries.clear();
  }

  async #onCreate(message: WatchCreateRequest): Promise<void> {
    const request = readWatchCreate(message);
    const end = message.rangeEnd;
    const options = await this.#options();
    if (options instanceof ApiError) return this.#refuse(goText(options));
    if (end.length > 0 && !isOpenEnd(end) && Buffer.compare(request.key, end) >= 0) {
      return this.#refuse('mvcc: watcher range is empty');
    }
    const fault = this.#faultIn(message);
    const watch = this.#backend.watch(request, options);
    if (fault !== null) return this.#refuseAfter(watch, fault);
    const entry: Entry = {
      id: message.watchId === 0n ? this.#freeId() : message.watchId,
      isChosen: message.watchId !== 0n,
      watch,
      batches: watch[Symbol.asyncIterator](),
      fragment: message.fragment,
      notify: message.progressNotify,
      open: true,
    };
    this.#entries.set(entry.id, entry);
    // The next request is looked at only when this one is answered, so answers keep the order of the requests.
    const taken = await this.#take(entry, true);
    if (taken) void this.#pump(entry);
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

  /** Moves batches until the watch ends. Owned by the stream: it never rejects, `failed` does. */
  async #pump(entry: Entry): Promise<void> {
    try {
      while (await this.#take(entry, false));
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Moves one batch. False: the watch is over. */
  async #take(entry: Entry, first: boolean): Promise<boolean> {
    let result: IteratorResult<WatchBatch>;
    try {
      result = await entry.batches.next();
    } catch (error) {
      if (!entry.open) return false;
      await this.#onWatchError(entry, error, first);
      return false;
    }
    if (!entry.open || result.done === true) return false;
    const { kind, header, events } = result.value;
    if (kind === 'created') await this.#answer({ header, watchId: entry.id, created: true });
    else if (kind === 'progress') await this.#onProgress(entry, header);
    else await this.#sendEvents(entry, header, events);
    return true;
  }

  async #sendEvents(entry: Entry, header: Header, events: WatchBatch['events']): Promise<void> {
    const whole = (): Uint8Array => encode({ header, watchId: entry.id, events: events.map(writeEvent) });
    if (!entry.fragment) return this.#inTurn(() => (entry.open ? whole() : null));
    // Made once if it can go out at once; while others wait only its length is looked at.
    const made = whole();
    const kept = this.#tail === null ? made : null;
    if (made.length < FRAGMENT_BYTES) return this.#inTurn(() => (entry.open ? kept ?? whole() : null));
    return this.#sendFragments(entry, header, events.map(writeEvent));
  }

  async #sendFragments(entry: Entry, header: Header, events: Event[]): Promise<void> {
    const around = encode({ header, watchId: entry.id, fragment: true }).length;
    for (let from = 0; from < events.length && entry.open; ) {
      let bytes = around;
      let to = from;
      for (; to < events.length; to++) {
        bytes += sizeOf(events[to]);
        if (to > from && bytes >= FRAGMENT_BYTES) break;
      }
      const [begin, end] = [from, to];
      const fragment = end < events.length;
      await this.#inTurn(() => {
        return entry.open ? encode({ header, watchId: entry.id, events: events.slice(begin, end), fragment }) : null;
      });
      from = end;
    }
  }

  /** Compaction ends the one watch; a backend that is gone ends the stream, so that the caller looks elsewhere. */
  async #onWatchError(entry: Entry, error: unknown, first: boolean): Promise<void> {
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
    this.#round = null;
    const header = round.header ?? (await this.#backend.status()).header;
    for (let i = 0; i < round.answers; i++) await this.#answer({ header, watchId: NO_WATCH });
    if (this.#progressQueued > 0 && this.#round === null) await this.#startRound();
  }

  #answer(answer: Partial<WatchResponse>): Promise<void> {
    return this.#inTurn(() => encode(answer));
  }

  /**
   * Answers go out one after another, and none is made into bytes before its turn: else each of a hundred thousand watches
   * would hold its own copy of one large event for a reader that takes nothing. `make` null: it is of no use any more.
   */
  #inTurn(make: () => Uint8Array | null): Promise<void> {
    const run = (): Promise<void> => {
      const answer = this.#closed ? null : make();
      return answer === null ? Promise.resolve() : this.#send(answer);
    };
    const sent = this.#tail === null ? run() : this.#tail.then(run);
    this.#tail = sent;
    const clear = (): void => {
      if (this.#tail === sent) this.#tail = null;
    };
    sent.then(clear, clear);
    return sent;
  }
}

function encode(answer: Partial<WatchResponse>): Uint8Array {
  const { header, watchId = 0n, created = false, canceled = false } = answer;
  const { compactRevision = 0, cancelReason = '', fragment = false, events = [] } = answer;
  const message = { header, watchId, created, canceled, compactRevision, cancelReason, fragment, events };
  return WatchResponse.encode(message).finish();
}

/** Of an event as a field of an answer. */
function sizeOf(event: Event | undefined): number {
  const length = event === undefined ? 0 : Event.encode(event).finish().length;
  return 1 + Math.max(1, Math.ceil((32 - Math.clz32(length)) / 7)) + length;
}
