// All watches of a remote client over one Watch stream. A watch remembers the revision it needs next; when the stream
// breaks, it is created again from there, so its reader sees no gap and nothing twice (promise 4 of client.ts). Only
// compaction of what it needs, or a refusal, ends it.
//
// A reader that is too slow holds up nobody: at a limit its watch is stopped at the server and created again from the
// next revision once the reader has caught up with what is buffered.
//
// Invariants: `needs` only grows, and everything below it that matches was put into the buffer. An id names one creation on
// one stream and is never used again, so an answer to an older creation cannot be taken for a newer one's.

import { EMPTY } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import { Pipe } from '../base/pipe.js';
import type { Header, Watch, WatchBatch, WatchRequest } from '../client.js';
import { ApiError, canceled } from '../errors.js';
import { readEvent, readHeader, writeWatchCreate } from './convert.js';
import { CLIENT_WATCH_BYTES_MAX, REQUEST_BYTES_MAX } from './limits.js';
import { mayLoginHelp } from './remote-login.js';
import { backoffMs, isWorthReopening, type ByteStream, type OpenStream } from './remote-stream.js';
import * as rpc from './schema/generated/rpc.js';
import { errorOf, statusInText } from './status.js';

const PATH = '/etcdserverpb.Watch/Watch';
const NO_WATCH = -1n;
const EMPTY_RANGE = 'mvcc: watcher range is empty';
/** A progress request that etcd left unanswered is asked again after this. */
const PROGRESS_RETRY_MS = 1000;
/** What a batch, and each pair in it, takes in memory beside its bytes, roughly. */
const OVERHEAD_BYTES = 200;
/** Then its buffer has more than CLIENT_WATCH_BYTES_MAX, and the watch is parked. */
const BATCHES_MAX = Math.floor(CLIENT_WATCH_BYTES_MAX / OVERHEAD_BYTES) + 1;

export interface RemoteWatchesDoors {
  readonly open: OpenStream;
  readonly clock: Clock;
  /** The release of a server that is not ours. */
  readonly version: () => Promise<string>;
}

export interface WatchOptions {
  readonly signal: AbortSignal | null;
  /** Until it is created for the first time. */
  readonly timeoutMs: number;
}

/** The progress requests under way on the stream: one, and the times it was asked again. */
interface Round {
  /** The watches, with the creation that counted, that were there at the first of them: any answer speaks of these. */
  readonly covers: ReadonlyMap<RemoteWatch, bigint>;
  /** Requests not yet answered. */
  unanswered: number;
  cancelTimer: () => void;
}

export class RemoteWatches {
  readonly #doors: RemoteWatchesDoors;
  readonly #all = new Set<RemoteWatch>();
  /** By the id of the present creation; parked watches have none. */
  readonly #byId = new Map<bigint, RemoteWatch>();
  /** Ids whose creation is unanswered, in the order of the requests; so a refusal, which names no id, finds its watch. */
  #creating: bigint[] = [];
  #nextId = 1n;
  #stream: ByteStream | null = null;
  #attempts = 0;
  /** A new token was asked for, and no watch has been created since. */
  #isRenamed = false;
  #cancelReopen: (() => void) | null = null;
  /** Whether the server's progress answers can be believed; null until known, for this stream. */
  #trusted: boolean | null = null;
  #coterie = false;
  /** The stream for which the server's release is being asked. */
  #learning: ByteStream | null = null;
  #round: Round | null = null;
  readonly #wantProgress = new Set<RemoteWatch>();

  constructor(doors: RemoteWatchesDoors) {
    this.#doors = doors;
  }

  get isIdle(): boolean {
    return this.#all.size === 0;
  }

  watch(request: WatchRequest, options: WatchOptions): Watch {
    const watch = new RemoteWatch(this, request, options, this.#doors.clock);
    if (!watch.ended) {
      this.#all.add(watch);
      if (this.#stream !== null) this.#create(watch);
      else if (this.#cancelReopen === null) this.#start();
    }
    return watch;
  }

  /** A watch that is over, for whatever reason. */
  forget(watch: RemoteWatch): void {
    this.#all.delete(watch);
    this.#wantProgress.delete(watch);
    this.#detach(watch);
  }

  /** The reader is too slow: stop the watch at the server, keep what is buffered. */
  park(watch: RemoteWatch): void {
    this.#detach(watch);
  }

  /** The reader has caught up with what was buffered. */
  unpark(watch: RemoteWatch): void {
    if (this.#stream !== null && this.#all.has(watch)) this.#create(watch);
  }

  requestProgress(watch: RemoteWatch): void {
    this.#wantProgress.add(watch);
    this.#askProgress();
  }

  close(): void {
    for (const watch of [...this.#all]) watch.close();
    this.#cancelReopen?.();
    this.#cancelReopen = null;
    this.#endStream();
  }

  #start(): void {
    if (this.#all.size === 0) return;
    this.#trusted = null;
    this.#coterie = false;
    this.#stream = this.#doors.open(PATH, {
      onOpen: (coterie) => {
        this.#coterie = coterie;
        if (coterie) this.#trusted = true;
      },
      onMessage: (bytes) => this.#onMessage(rpc.WatchResponse.decode(bytes)),
      onEnd: (error) => this.#onEnd(error),
    });
    for (const watch of this.#all) {
      if (!watch.parked) this.#create(watch);
    }
  }

  #endStream(): void {
    this.#stream?.cancel();
    this.#stream = null;
    this.#round?.cancelTimer();
    this.#round = null;
    this.#creating = [];
    for (const watch of this.#byId.values()) watch.id = null;
    this.#byId.clear();
  }

  #create(watch: RemoteWatch): void {
    const id = this.#nextId++;
    watch.id = id;
    watch.live = false;
    this.#byId.set(id, watch);
    this.#creating.push(id);
    const value = writeWatchCreate({ ...watch.request, startRevision: watch.needs }, id);
    this.#send({ requestUnion: { $case: 'createRequest', value } });
  }

  #detach(watch: RemoteWatch): void {
    const { id } = watch;
    if (id === null) return;
    watch.id = null;
    watch.live = false;
    this.#byId.delete(id);
    this.#send({ requestUnion: { $case: 'cancelRequest', value: { watchId: id } } });
  }

  #send(request: rpc.WatchRequest): void {
    this.#stream?.send(rpc.WatchRequest.encode(request).finish());
  }

  #onEnd(error: ApiError): void {
    const mayRename = this.#rename(error);
    this.#stream = null;
    this.#endStream();
    if (!mayRename && !isWorthReopening(error)) {
      for (const watch of [...this.#all]) watch.fail(error);
      return;
    }
    this.#reopen();
  }

  /** Whether another token may help, and can be had. */
  #rename(error: ApiError): boolean {
    if (!mayLoginHelp(error.code) || this.#isRenamed || this.#stream?.disown() !== true) return false;
    this.#isRenamed = true;
    return true;
  }

  #reopen(): void {
    this.#attempts++;
    this.#cancelReopen = this.#doors.clock.schedule(backoffMs(this.#attempts), () => {
      this.#cancelReopen = null;
      this.#start();
    });
  }

  #onMessage(message: rpc.WatchResponse): void {
    this.#attempts = 0;
    if (message.created) return this.#onCreated(message);
    if (message.watchId === NO_WATCH) return this.#onProgress(readHeader(message.header));
    // An unknown id is one this side has canceled; what was under way is not wanted.
    const watch = this.#byId.get(message.watchId);
    if (watch === undefined) return;
    if (message.canceled) return this.#onCanceled(watch, message);
    if (message.events.length > 0) return watch.onEvents(message);
    watch.onProgress(readHeader(message.header), this.#wantProgress.delete(watch));
  }

  #onCreated(message: rpc.WatchResponse): void {
    const id = this.#creating.shift();
    const watch = id === undefined ? undefined : this.#byId.get(id);
    if (watch === undefined) return;
    if (message.canceled && message.cancelReason !== EMPTY_RANGE) return this.#onCanceled(watch, message);
    // An empty range is not an error of `Client.watch`: it is a watch on which nothing ever happens.
    watch.live = !message.canceled;
    this.#isRenamed = false;
    watch.onCreated(readHeader(message.header));
    this.#askProgress();
  }

  #onCanceled(watch: RemoteWatch, message: rpc.WatchResponse): void {
    const { compactRevision, cancelReason } = message;
    const refusal = errorOf(statusInText(cancelReason));
    if (compactRevision === 0 && this.#rename(refusal)) {
      // A stream speaks for who it was opened for: all its watches move to a new one.
      this.#endStream();
      return this.#reopen();
    }
    if (watch.id !== null) this.#byId.delete(watch.id);
    watch.id = null;
    if (compactRevision > 0) watch.fail(new ApiError('compacted', { compactRevision }));
    else if (cancelReason === '') watch.fail(new ApiError('internal', { detail: 'the server canceled the watch' }));
    else watch.fail(refusal);
  }

  /** One round at a time; whoever asks meanwhile is answered by the next. */
  #askProgress(): void {
    if (this.#round !== null || this.#stream === null) return;
    if (![...this.#wantProgress].some((watch) => watch.live)) return;
    if (this.#trusted === null) return this.#learnTrust(this.#stream);
    const covers = new Map<RemoteWatch, bigint>();
    for (const [id, watch] of this.#byId) {
      if (watch.live) covers.set(watch, id);
    }
    this.#round = { covers, unanswered: 0, cancelTimer: () => undefined };
    this.#sendProgressRequest(this.#round);
  }

  /** Our servers answer each request once; etcd stays silent while a watch is behind, so it is asked again. */
  #sendProgressRequest(round: Round): void {
    round.unanswered++;
    this.#send({ requestUnion: { $case: 'progressRequest', value: {} } });
    if (this.#coterie) return;
    round.cancelTimer = this.#doors.clock.schedule(PROGRESS_RETRY_MS, () => this.#sendProgressRequest(round));
  }

  /** Our own servers say who they are; of etcd's releases some answer truthfully. */
  #learnTrust(stream: ByteStream): void {
    if (this.#learning === stream) return;
    this.#learning = stream;
    const learned = (trusted: boolean): void => {
      if (this.#stream !== stream) return;
      this.#trusted = trusted;
      this.#askProgress();
    };
    this.#doors.version().then(
      (version) => learned(answersProgressTruthfully(version)),
      () => learned(false),
    );
  }

  /**
   * "Everything up to this revision has been sent", for all watches of the stream. Releases of etcd before 3.4.31 and
   * 3.5.13 say so even while events of a watch that is behind, or events already queued, are still to come. From them the
   * answer is believed only for a watch that already stands there; for others it is dropped, because a wrong 'progress'
   * would make a reader skip events when it resumes.
   */
  #onProgress(header: Header): void {
    const round = this.#round;
    if (round === null) return;
    round.cancelTimer();
    round.unanswered--;
    for (const [watch, id] of round.covers) {
      if (watch.id !== id) continue;
      const wanted = this.#wantProgress.delete(watch);
      if (this.#trusted === true || watch.needs > header.revision) watch.onProgress(header, wanted);
    }
    const next = (): void => {
      this.#round = null;
      this.#askProgress();
    };
    // An answer still to come must not be taken for one to a later request, which covers more watches.
    if (round.unanswered === 0) next();
    else round.cancelTimer = this.#doors.clock.schedule(PROGRESS_RETRY_MS, next);
  }
}

/** Contract 18: progress answers are accurate from 3.4.31 and 3.5.13 on. */
export function answersProgressTruthfully(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (major !== 3) return major > 3;
  if (minor < 4) return false;
  if (minor === 4) return patch >= 31;
  return minor > 5 || patch >= 13;
}

/** One watch: its place in history, its buffer and its reader. */
class RemoteWatch implements Watch {
  readonly request: WatchRequest;
  readonly #home: RemoteWatches;
  readonly #pipe = new Pipe<WatchBatch>({
    sizeMax: BATCHES_MAX, onWanted: () => this.#onWanted(), onEnd: () => this.#release(),
  });
  /** The id of the present creation at the server; null while parked, or without a stream. */
  id: bigint | null = null;
  /** The server has confirmed the present creation. */
  live = false;
  parked = false;
  /** The next revision to ask for; 0 until the server has said where "now" is. */
  needs: number;
  #created = false;
  /** Of what was buffered since the buffer was empty. */
  #bufferBytes = 0;
  #cancelTimer: () => void = () => undefined;

  constructor(home: RemoteWatches, request: WatchRequest, options: WatchOptions, clock: Clock) {
    this.request = request;
    this.#home = home;
    const { key, rangeEnd = EMPTY, startRevision = 0 } = request;
    this.needs = Number.isNaN(startRevision) ? 0 : Math.max(0, startRevision);
    this.#pipe.follow(options.signal, canceled);
    // A server ends the whole stream over such a request, and with it everybody else's watches.
    if (key.length + rangeEnd.length > REQUEST_BYTES_MAX) {
      this.fail(new ApiError('request_too_large'));
    }
    if (this.ended) return;
    this.#cancelTimer = clock.schedule(options.timeoutMs, () => {
      this.fail(new ApiError('deadline_exceeded', { detail: `the watch was not created within ${options.timeoutMs} ms` }));
    });
  }

  get ended(): boolean {
    return !this.#pipe.isOpen;
  }

  requestProgress(): void {
    if (!this.ended) this.#home.requestProgress(this);
  }

  close(): void {
    this.#pipe.cut(null);
  }

  /** What is buffered is still delivered before the error. */
  fail(error: ApiError): void {
    this.#pipe.end(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch, undefined> {
    return this.#pipe[Symbol.asyncIterator]();
  }

  onCreated(header: Header): void {
    if (this.needs === 0) this.needs = header.revision + 1;
    if (this.#created) return;
    this.#created = true;
    this.#cancelTimer();
    this.#deliver({ kind: 'created', header, events: [] }, 0);
  }

  onEvents(message: rpc.WatchResponse): void {
    const header = readHeader(message.header);
    const all = message.events.map(readEvent);
    const events = all.filter(({ kv }) => kv.modRevision >= this.needs);
    const last = events.at(-1);
    if (last === undefined) return;
    this.needs = last.kv.modRevision + 1;
    const bytes = events.reduce((sum, { kv, prevKv }) => sum + pairBytes(kv) + (prevKv === null ? 0 : pairBytes(prevKv)), 0);
    this.#deliver({ kind: 'events', header, events }, bytes);
  }

  onProgress(header: Header, wanted: boolean): void {
    this.needs = Math.max(this.needs, header.revision + 1);
    if (wanted || this.request.progressNotify === true) this.#deliver({ kind: 'progress', header, events: [] }, 0);
  }

  #deliver(batch: WatchBatch, bytes: number): void {
    this.#pipe.push(batch);
    // The reader waited for it.
    if (this.#pipe.size === 0) return;
    this.#bufferBytes += bytes + OVERHEAD_BYTES;
    if (this.#bufferBytes <= CLIENT_WATCH_BYTES_MAX) return;
    this.parked = true;
    this.#home.park(this);
  }

  #onWanted(): void {
    if (this.#pipe.size > 0) return;
    this.#bufferBytes = 0;
    if (!this.parked) return;
    this.parked = false;
    this.#home.unpark(this);
  }

  #release(): void {
    this.#cancelTimer();
    this.#home.forget(this);
  }
}

/** What a pair takes in memory, roughly. */
function pairBytes({ key, value }: { readonly key: Uint8Array; readonly value: Uint8Array }): number {
  return key.length + value.length + OVERHEAD_BYTES;
}
