// A bad network in front of any Client, on a Clock: it freezes, breaks, is slow, fails single calls. A frozen link holds
// both requests and answers and delivers them after the thaw, even requests whose caller has long given up, as TCP does.
// It keeps the contract of Client: an abort rejects at once, and a lost answer is an unknown outcome.

import { onceAborted } from '../../core/base/abort.js';
import type { Clock } from '../../core/base/clock.js';
import type {
  CallOptions, Client, GrantOptions, Header, KeepAlive, Lease, LeaseId, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
  Watch, WatchBatch, WatchRequest,
} from '../../core/client.js';
import { ApiError } from '../../core/errors.js';

export type Method = 'range' | 'txn' | 'watch' | 'grant' | 'keepAlive' | 'revoke';

export class Link implements Client {
  readonly clock: Clock;
  readonly #inner: Client;
  /** Latencies, asked for each call. */
  requestMs: (method: Method) => number = () => 0;
  answerMs: (method: Method) => number = () => 0;
  /** True: this call fails before it is sent. */
  refuse: (method: Method) => boolean = () => false;
  /** Calls that were sent, by method. */
  readonly sent: Record<Method, number> = { range: 0, txn: 0, watch: 0, grant: 0, keepAlive: 0, revoke: 0 };
  /** When a keep-alive was answered by the store with some life left. */
  readonly renewals: number[] = [];
  #frozen: Promise<void> | null = null;
  #thaw: () => void = () => undefined;
  #down = false;
  #broken = new AbortController();
  #watches = new Set<() => void>();

  constructor(inner: Client, clock: Clock) {
    this.#inner = inner;
    this.clock = clock;
  }

  /** Nothing arrives any more in either direction, and nobody is told. */
  freeze(): void {
    this.#frozen ??= new Promise((resolve) => {
      this.#thaw = resolve;
    });
  }

  thaw(): void {
    this.#frozen = null;
    this.#thaw();
  }

  /** Everything in flight is lost with an error; new calls are refused until `up`. */
  down(): void {
    this.#down = true;
    this.#broken.abort();
    for (const end of this.#watches) end();
  }

  up(): void {
    this.#down = false;
    this.#broken = new AbortController();
  }

  range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse> {
    return this.#call('range', () => this.#inner.range(request), options);
  }

  txn(request: TxnRequest, options?: CallOptions): Promise<TxnResponse> {
    return this.#call('txn', () => this.#inner.txn(request), options);
  }

  grant(ttlSeconds: number, options: GrantOptions = {}): Promise<Lease> {
    const { id } = options;
    return this.#call('grant', () => this.#inner.grant(ttlSeconds, id === undefined ? {} : { id }), options);
  }

  keepAlive(lease: LeaseId, options?: CallOptions): Promise<KeepAlive> {
    return this.#call('keepAlive', () => this.#renew(lease), options);
  }

  revoke(lease: LeaseId, options?: CallOptions): Promise<Header> {
    return this.#call('revoke', () => this.#inner.revoke(lease), options);
  }

  watch(request: WatchRequest, options: CallOptions = {}): Watch {
    let inner: Watch | null = null;
    let closed = false;
    const close = (): void => {
      closed = true;
      inner?.close();
    };
    const start = async function* (this: Link): AsyncGenerator<WatchBatch> {
      onceAborted(options.signal, close);
      try {
        yield* follow.call(this);
      } finally {
        options.signal?.removeEventListener('abort', close);
      }
    };
    const follow = async function* (this: Link): AsyncGenerator<WatchBatch> {
      const broken = this.#broken.signal;
      if (this.#down) throw new ApiError('unavailable');
      this.sent.watch += 1;
      if (!(await this.#passes(broken, options.signal))) throw new ApiError('connection_lost');
      if (closed) return;
      inner = this.#inner.watch(request);
      let lost = false;
      const end = (): void => {
        lost = true;
        close();
      };
      this.#watches.add(end);
      try {
        for await (const batch of inner) {
          if (!(await this.#passes(broken, options.signal))) break;
          if (closed) break;
          yield batch;
        }
        if (lost) throw new ApiError('connection_lost');
      } finally {
        this.#watches.delete(end);
        inner.close();
      }
    };
    return abandonable(start.call(this), close, () => inner?.requestProgress());
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #renew(lease: LeaseId): Promise<KeepAlive> {
    const answer = await this.#inner.keepAlive(lease);
    if (answer.ttlSeconds > 0) this.renewals.push(this.clock.now());
    return answer;
  }

  #call<T>(method: Method, send: () => Promise<T>, options: CallOptions = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const abort = (): void => reject(new ApiError('canceled'));
      if (options.signal?.aborted === true) {
        abort();
        return;
      }
      onceAborted(options.signal, abort);
      this.#travel(method, send).then(resolve, reject).finally(() => {
        options.signal?.removeEventListener('abort', abort);
      }).catch(reject);
    });
  }

  async #travel<T>(method: Method, send: () => Promise<T>): Promise<T> {
    if (this.#down || this.refuse(method)) throw new ApiError('unavailable');
    const broken = this.#broken.signal;
    this.sent[method] += 1;
    await this.#wait(this.requestMs(method));
    await this.#thawed();
    // The connection broke with the request still on this side of it.
    if (broken.aborted) throw new ApiError('connection_lost');
    const answer = await orLost(send(), broken);
    await this.#wait(this.answerMs(method));
    await this.#thawed();
    if (broken.aborted) throw new ApiError('connection_lost');
    return answer;
  }

  /** False when the connection broke, or the caller gave up, before it was free. */
  async #passes(broken: AbortSignal, signal: AbortSignal | undefined): Promise<boolean> {
    while (this.#frozen !== null && !broken.aborted && signal?.aborted !== true) {
      const frozen = this.#frozen;
      const settled = new AbortController();
      await Promise.race([frozen, aborted(broken, settled), ...(signal === undefined ? [] : [aborted(signal, settled)])]);
      settled.abort();
    }
    return !broken.aborted;
  }

  async #thawed(): Promise<void> {
    for (let frozen = this.#frozen; frozen !== null; frozen = this.#frozen) await frozen;
  }

  #wait(ms: number): Promise<void> {
    if (ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.clock.schedule(ms, resolve);
    });
  }
}

/** Resolves when `signal` aborts; forgotten when `settled` does. */
function aborted(signal: AbortSignal, settled: AbortController): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true, signal: settled.signal });
  });
}

/** The call goes on at the store; its caller learns nothing but that the connection is gone. */
function orLost<T>(work: Promise<T>, broken: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const lose = (): void => reject(new ApiError('connection_lost'));
    onceAborted(broken, lose);
    work.then(resolve, reject).finally(() => broken.removeEventListener('abort', lose)).catch(reject);
  });
}

/** A generator as a Watch whose `close` ends a waiting `next` at once. */
function abandonable(batches: AsyncGenerator<WatchBatch>, close: () => void, requestProgress: () => void): Watch {
  let end: () => void = () => undefined;
  const ended = new Promise<IteratorResult<WatchBatch, undefined>>((resolve) => {
    end = () => resolve({ done: true, value: undefined });
  });
  const stop = (): void => {
    close();
    end();
  };
  return {
    requestProgress,
    close: stop,
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.race([batches.next(), ended]),
      return: async () => {
        stop();
        return { done: true, value: undefined };
      },
    }),
  };
}
