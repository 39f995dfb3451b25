// Keeps leases from a thread of its own, with a connection of its own, for sessions that must outlive a blocked main loop.
// One thread for all leases of one KeepAliver: it starts with the first and ends with the last. Should it die, every
// session is told, goes on by itself, and the thread is started anew after a moment.
//
// Only for servers at an address: a store in the same process stands still together with the loop it lives on.

import { Worker } from 'node:worker_threads';
import { processNs, systemClock } from '../base/clock.js';
import type { KeepAliver, KeepOrder, Keeping } from '../client.js';
import { KeepCell } from './keep-cell.js';
import type { RemoteOptions } from './remote-client.js';

/** A thread that dies is not started again sooner. */
const RESTART_MS = 1_000;
const NS_PER_MS = 1_000_000;

/** A source of tokens cannot be handed to a thread: it logs in by name and password. */
export type KeepAliverOptions = Omit<RemoteOptions, 'clock' | 'token'>;

export interface ThreadOptions {
  readonly endpoints: readonly string[];
  readonly options: KeepAliverOptions;
}

export type ToThread =
  | { readonly kind: 'keep'; readonly id: number; readonly memory: SharedArrayBuffer; readonly order: Omit<KeepOrder, 'tell'> }
  | { readonly kind: 'drop'; readonly id: number }
  | { readonly kind: 'end' };

export type FromThread = { readonly kind: 'gone'; readonly id: number };

/**
 * For `Session.open(client, { stallBudgetMs, keepAliver })`: renews at these endpoints, as `connect` takes them. Nothing is
 * opened before it is used, and nothing remains when no session uses it any more.
 */
export function keepAliver(endpoints: string | readonly string[], options: KeepAliverOptions = {}): KeepAliver {
  return new ThreadKeepAliver(typeof endpoints === 'string' ? endpoints.split(',') : endpoints, options);
}

interface Kept {
  readonly order: KeepOrder;
  readonly cell: KeepCell;
}

class ThreadKeepAliver implements KeepAliver {
  readonly #data: ThreadOptions;
  readonly #kept = new Map<number, Kept>();
  #thread: Worker | null = null;
  #last = 0;
  #cancelRestart: (() => void) | null = null;

  constructor(endpoints: readonly string[], options: KeepAliverOptions) {
    this.#data = { endpoints: [...endpoints], options };
  }

  keep(order: KeepOrder): Keeping {
    const id = (this.#last += 1);
    const cell = new KeepCell();
    cell.beatNs = processNs();
    const kept: Kept = { order, cell };
    this.#kept.set(id, kept);
    if (this.#thread !== null) post(this.#thread, id, kept);
    else if (this.#cancelRestart === null) this.#start();
    return {
      beat: () => (cell.beatNs = processNs()),
      ageMs: () => (cell.renewedNs === 0n ? Infinity : Number(processNs() - cell.renewedNs) / NS_PER_MS),
      get isGone() {
        return cell.isGone;
      },
      stop: () => this.#drop(id),
    };
  }

  #start(): void {
    // What Node was told of the text it runs, such as --input-type, is not true of a file.
    const thread = new Worker(new URL('./keeper-thread.js', import.meta.url), { workerData: this.#data, execArgv: [] });
    this.#thread = thread;
    // The sessions' own timers keep the process alive for as long as there is something to keep.
    thread.unref();
    let cause = new Error('the thread that keeps leases ended by itself');
    thread.on('message', ({ id }: FromThread) => this.#kept.get(id)?.order.tell({ kind: 'gone' }));
    thread.on('error', (error) => {
      cause = error instanceof Error ? error : new Error(String(error));
    });
    thread.on('exit', () => this.#onExit(thread, cause));
    for (const [id, kept] of this.#kept) post(thread, id, kept);
  }

  #drop(id: number): void {
    const kept = this.#kept.get(id);
    if (kept === undefined) return;
    kept.cell.stop();
    this.#kept.delete(id);
    this.#thread?.postMessage({ kind: 'drop', id } satisfies ToThread);
    if (this.#kept.size > 0) return;
    this.#cancelRestart?.();
    this.#cancelRestart = null;
    this.#thread?.postMessage({ kind: 'end' } satisfies ToThread);
    this.#thread = null;
  }

  #onExit(thread: Worker, cause: Error): void {
    if (this.#thread !== thread) return;
    this.#thread = null;
    this.#cancelRestart = systemClock.schedule(RESTART_MS, () => {
      this.#cancelRestart = null;
      this.#start();
    });
    for (const { order } of this.#kept.values()) order.tell({ kind: 'failed', cause });
  }
}

function post(thread: Worker, id: number, { order, cell }: Kept): void {
  const { lease, ttlMs, stallBudgetMs } = order;
  const message: ToThread = { kind: 'keep', id, memory: cell.memory, order: { lease, ttlMs, stallBudgetMs } };
  thread.postMessage(message);
}
