// A client process's connection to one machine: requests and answers take time, are lost with the process that had them, and
// wait in the socket while it stands still. Everything that passes is recorded for the history check, so that what the
// recipes do is judged like everything else.
//
// The contract of Client holds: a request that never reached anybody says so; a lost answer is unknown. A watch is not
// resumed here: it ends, and whoever wanted it opens another.

import { Pipe } from '../../core/base/pipe.js';
import type {
  Backend, CallOptions, Client, GrantOptions, Header, KeepAlive, Lease, LeaseId, RangeRequest, RangeResponse, TxnRequest,
  TxnResponse, Watch, WatchBatch, WatchRequest,
} from '../../core/client.js';
import { ApiError, canceled } from '../../core/errors.js';
import type { OperationRequest } from '../model/history.js';
import type { Machine } from './machine.js';
import type { ClientProcess } from './process.js';
import { Dice } from './random.js';
import type { CallEntry, WatchEnd, WatchEntry } from './recorder.js';
import { Kind } from './scheduler.js';
import type { World } from './world.js';

const DEFAULT_TIMEOUT_MS = 5000;
/** Batches on their way to a slow reader before the member's side waits for it. */
const WATCH_WINDOW = 4;

type Server = Backend;
export type Call<T> = (server: Server, rest: { timeoutMs: number }) => Promise<T>;

export class Connection implements Client {
  readonly name: string;
  machine: Machine;
  readonly #world: World;
  readonly #dice: Dice;
  readonly #process: ClientProcess | null;
  #isClosed = false;
  #isDead = false;
  #cutUntil = 0;
  readonly #watches = new Set<RemoteWatch>();
  /** What ends each call under way: with an error, or without a word to anybody. */
  readonly #calls = new Set<(error: ApiError | null) => void>();

  /** `process`: whose it is; null: of one that is never late. */
  constructor(world: World, name: string, machine: Machine, process: ClientProcess | null = null) {
    this.#world = world;
    this.#process = process;
    this.name = name;
    this.machine = machine;
    this.#dice = new Dice(world.swarm.seed, name);
  }

  range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse> {
    return this.#recorded({ kind: 'range', request }, options, (server, rest) => server.range(request, rest));
  }

  txn(request: TxnRequest, options?: CallOptions): Promise<TxnResponse> {
    return this.#recorded({ kind: 'txn', request }, options, (server, rest) => server.txn(request, rest));
  }

  grant(ttlSeconds: number, options: GrantOptions = {}): Promise<Lease> {
    const id = options.id ?? 0n;
    return this.#recorded({ kind: 'grant', ttlSeconds, id }, options, (server, rest) => {
      return server.grant(ttlSeconds, { ...rest, id });
    });
  }

  keepAlive(lease: LeaseId, options?: CallOptions): Promise<KeepAlive> {
    return this.#recorded({ kind: 'keep_alive', lease }, options, (server, rest) => server.keepAlive(lease, rest));
  }

  revoke(lease: LeaseId, options?: CallOptions): Promise<Header> {
    return this.#recorded({ kind: 'revoke', lease }, options, (server, rest) => server.revoke(lease, rest));
  }

  compact(revision: number, options?: CallOptions): Promise<Header> {
    return this.#recorded({ kind: 'compact', revision }, options, (server, rest) => server.compact(revision, rest));
  }

  /** What leaves no trace in the history. */
  call<T>(options: CallOptions | undefined, work: Call<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => this.#send(options, work, resolve, reject));
  }

  watch(request: WatchRequest, options: CallOptions = {}): Watch {
    const watch = new RemoteWatch(this.#world, this.machine, request, {
      ...options, name: this.name, process: this.#process, delayMs: () => this.#delayMs(),
      onEnd: (ended) => this.#watches.delete(ended),
    });
    if (watch.isOpen) this.#watches.add(watch);
    return watch;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return Promise.resolve();
  }

  /**
   * To another member, as a client of several does when its own is of no use. Watches end and are to be opened anew; of the
   * calls under way nobody knows what becomes of them.
   */
  move(machine: Machine): void {
    this.machine = machine;
    const [watches, calls] = [[...this.#watches], [...this.#calls]];
    const tell = (): void => {
      for (const watch of watches) watch.lose();
      for (const end of calls) end(new ApiError('connection_lost'));
    };
    if (this.#process === null) tell();
    else this.#process.arrive(tell);
  }

  /** Nothing gets through for so long, in either direction; what was sent meanwhile comes late. */
  cut(ms: number): void {
    this.#cutUntil = this.#world.scheduler.now + ms;
  }

  /** The client's process is gone: nothing is asked, answered or told any more. */
  kill(): void {
    this.#isDead = true;
    for (const watch of this.#watches) watch.close();
    for (const end of [...this.#calls]) end(null);
  }

  #recorded<T>(
    request: OperationRequest, options: CallOptions | undefined,
    work: Call<T>,
  ): Promise<T> {
    const world = this.#world;
    const calledAt = world.scheduler.now;
    const member = this.machine.memberId;
    const entry = world.recorder.called({ client: this.name, member, calledAt, request });
    const isRead = request.kind === 'range' && request.request.serializable !== true;
    return new Promise<T>((resolve, reject) => {
      this.#send(options, this.#seen(entry, isRead ? this.#proven(work) : work), (value) => {
        world.recorder.answered(entry, world.scheduler.now, value);
        resolve(value);
      }, (error) => {
        world.recorder.failed(entry, world.scheduler.now, error);
        reject(error);
      });
    });
  }

  /** Notes which life of the member took it up. */
  #seen<T>(entry: CallEntry, work: Call<T>): Call<T> {
    const { machine } = this;
    return (server, rest) => {
      if (machine.life !== null) entry.life = machine.life.number;
      return work(server, rest);
    };
  }

  /** A linearizable read, shown to the probe when it comes to the member and when the member answers. */
  #proven<T>(work: Call<T>): Call<T> {
    const { probe } = this.#world;
    const { machine } = this;
    if (probe === null) return work;
    return async (server, rest) => {
      const { life } = machine;
      const mark = probe.readAsked();
      const value = await work(server, rest);
      if (life !== null) probe.readAnswered(machine.memberId, mark, life.member.node.store.applied);
      return value;
    };
  }

  #send<T>(
    options: CallOptions | undefined, work: Call<T>,
    resolve: (value: T) => void, reject: (error: ApiError) => void,
  ): void {
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options ?? {};
    const { scheduler } = this.#world;
    const { machine } = this;
    // A process that is gone waits for nothing.
    if (this.#isDead) return;
    if (this.#isClosed) return reject(new ApiError('closed'));
    if (signal?.aborted === true) return reject(canceled(signal.reason));
    this.#world.openCalls++;
    let isOpen = true;
    const settle = (finish: () => void): void => {
      if (!isOpen) return;
      isOpen = false;
      this.#world.isStirred = true;
      this.#world.openCalls--;
      this.#calls.delete(end);
      cancelTimer();
      signal?.removeEventListener('abort', onAbort);
      if (!this.#isDead) finish();
    };
    const end = (error: ApiError | null): void => settle(() => (error === null ? undefined : reject(error)));
    this.#calls.add(end);
    const onAbort = (): void => settle(() => reject(canceled(signal?.reason)));
    const cancelTimer = this.#after(timeoutMs, machine, () => settle(() => reject(new ApiError('deadline_exceeded'))));
    signal?.addEventListener('abort', onAbort, { once: true });
    const back = (finish: () => void): void => {
      scheduler.after(this.#delayMs(), Kind.client, machine.place, () => {
        if (this.#process === null || this.#isDead) settle(finish);
        else this.#process.arrive(() => settle(finish));
      });
    };
    scheduler.after(this.#delayMs(), Kind.client, machine.place, () => {
      const { life } = machine;
      if (life === null || !life.isUp) return back(() => reject(new ApiError('unavailable')));
      const onDeath = (): void => back(() => reject(new ApiError('connection_lost')));
      life.onDeath.add(onDeath);
      const answer = (finish: () => void): void => {
        // An answer that was not sent before the process died never is.
        if (life.onDeath.delete(onDeath)) back(finish);
      };
      life.loop.arrive(() => {
        work(life.member.client, { timeoutMs }).then(
          (value) => answer(() => resolve(value)),
          (error: unknown) => answer(() => reject(this.#elsewhere(asApiError(error)))),
        );
      });
    });
  }

  /** A client of several members asks another one when it has met a learner. */
  #elsewhere(error: ApiError): ApiError {
    return this.#process !== null && error.code === 'learner_unsupported' ? new ApiError('unavailable') : error;
  }

  /** A timer of the client's process. */
  #after(ms: number, machine: Machine, run: () => void): () => void {
    if (this.#process !== null) return this.#process.schedule(ms, run);
    const timer = this.#world.scheduler.after(ms, Kind.client, machine.place, run);
    return () => {
      timer.canceled = true;
    };
  }

  #delayMs(): number {
    const { scheduler, swarm } = this.#world;
    return Math.max(this.#cutUntil - scheduler.now, this.#dice.tailed(swarm.network.delayMs / 2));
  }
}

interface RemoteWatchOptions extends CallOptions {
  readonly name: string;
  readonly delayMs: () => number;
  readonly process: ClientProcess | null;
  readonly onEnd: (watch: RemoteWatch) => void;
}

class RemoteWatch implements Watch {
  readonly #world: World;
  readonly machine: Machine;
  readonly #options: RemoteWatchOptions;
  readonly #record: WatchEntry;
  readonly #pipe = new Pipe<WatchBatch>({
    sizeMax: WATCH_WINDOW, onWanted: () => this.#onWanted(), onEnd: () => this.#release(),
  });
  /** How it ended, for the record: unless something happens to it, because its reader wants no more. */
  #ending: WatchEnd = 'canceled';
  #inner: Watch | null = null;
  #next: (() => void) | null = null;
  #onTheWay = 0;
  /** The member's side waits for what happens; else word that there is room again is still on its way there. */
  #isPulling = false;
  #lastArrival = 0;
  #onDeath: () => void = () => undefined;

  constructor(world: World, machine: Machine, request: WatchRequest, options: RemoteWatchOptions) {
    this.#world = world;
    this.machine = machine;
    this.#options = options;
    this.#record = world.recorder.watched(options.name, request, machine.memberId);
    world.openWatches.add(this);
    this.#pipe.follow(options.signal, canceled);
    this.#ship(() => this.#open(request));
  }

  get isOpen(): boolean {
    return this.#pipe.isOpen;
  }

  requestProgress(): void {
    this.#ship(() => this.machine.life?.loop.arrive(() => this.#inner?.requestProgress()));
  }

  close(): void {
    this.#pipe.cut(null);
  }

  /** The connection it was opened on is given up. */
  lose(): void {
    this.#fail(new ApiError('connection_lost'), 'open');
  }

  /** Its member has been at `revision` for long enough that whoever waits must have heard of it. */
  quiet(revision: number): void {
    // What came while its process stands still has not been told.
    if (this.#options.process?.isBusy === true) return;
    if (this.#pipe.isAwaited && this.#onTheWay === 0 && this.#isPulling) this.#record.quietAt = revision;
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch, undefined> {
    return this.#pipe[Symbol.asyncIterator]();
  }

  #open(request: WatchRequest): void {
    const { life } = this.machine;
    if (!this.isOpen) return;
    if (life === null || !life.isUp) {
      return this.#tell(() => this.#fail(new ApiError('unavailable'), 'open'));
    }
    this.#onDeath = () => this.#tell(() => this.#fail(new ApiError('connection_lost'), 'open'));
    life.onDeath.add(this.#onDeath);
    life.loop.arrive(() => {
      if (!this.isOpen) return;
      const inner = life.member.client.watch(request);
      this.#inner = inner;
      const iterator = inner[Symbol.asyncIterator]();
      const isLive = (): boolean => life.loop.isAlive && life.onDeath.has(this.#onDeath);
      const pull = (): void => {
        this.#isPulling = true;
        iterator.next().then((result) => {
          this.#isPulling = false;
          if (!isLive()) return;
          if (result.done === true) return this.#tell(() => this.#fail(new ApiError('connection_lost'), 'open'));
          this.#onTheWay++;
          this.#tell(() => this.#take(result.value));
          if (this.#onTheWay < WATCH_WINDOW) pull();
          else this.#next = pull;
        }, (error: unknown) => {
          this.#isPulling = false;
          if (!isLive()) return;
          const failure = asApiError(error);
          this.#tell(() => this.#fail(failure, { code: failure.code, compactRevision: failure.compactRevision }));
        });
      };
      pull();
    });
  }

  /** In order, each direction for itself being enough: a watch says little. */
  #ship(run: () => void): void {
    const { scheduler } = this.#world;
    const arrival = scheduler.now + this.#options.delayMs();
    this.#lastArrival = Math.max(arrival, this.#lastArrival + 0.001);
    scheduler.at(this.#lastArrival, Kind.client, this.machine.place, run);
  }

  /** Something for the client, whose process may stand still when it arrives. */
  #tell(run: () => void): void {
    const { process } = this.#options;
    this.#ship(() => (process === null ? run() : process.arrive(run)));
  }

  #take(batch: WatchBatch): void {
    if (!this.isOpen) return;
    this.#world.recorder.batch(this.#record, this.#world.scheduler.now, batch);
    this.#world.isStirred = true;
    if (this.#pipe.isAwaited) this.#taken();
    this.#pipe.push(batch);
  }

  #onWanted(): void {
    if (this.#pipe.size > 0) this.#taken();
  }

  #taken(): void {
    this.#onTheWay--;
    const next = this.#next;
    this.#next = null;
    if (next !== null) this.#ship(() => this.machine.life?.loop.arrive(next));
  }

  #fail(error: ApiError, recorded: WatchEnd): void {
    if (!this.isOpen) return;
    this.#ending = recorded;
    this.#pipe.end(error);
  }

  #release(): void {
    this.#world.isStirred = true;
    this.#world.recorder.watchEnded(this.#record, this.#ending);
    this.#world.openWatches.delete(this);
    this.#options.onEnd(this);
    this.machine.life?.onDeath.delete(this.#onDeath);
    const inner = this.#inner;
    this.#inner = null;
    this.#next = null;
    if (inner !== null) this.#ship(() => this.machine.life?.loop.arrive(() => inner.close()));
  }
}

/**
 * As a server says it to a remote client. That the server's own client was closed means that the server stops. What is no
 * ApiError is a failure of the product, which the client that gets this code reports.
 */
function asApiError(error: unknown): ApiError {
  if (!(error instanceof ApiError)) return new ApiError('internal', { detail: String(error), cause: error });
  return error.code === 'closed' ? new ApiError('unavailable') : error;
}
