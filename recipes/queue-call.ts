// Calls of a queue that are sent until they are answered, and what is common to all who send them.

import { onceAborted } from '../core/base/abort.js';
import type { Clock } from '../core/base/clock.js';
import type { Client, KeyValue, OpResponse, Revision, TxnRequest, TxnResponse, WatchBatch } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { Range } from './deletion.js';
import { asError } from './deletion.js';
import { isWorthRepeating, orStopped } from './entry.js';
import { Backoff, chance, pause } from './pause.js';

const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;

/** For logs and tests. */
export type QueueEvent =
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  /** The loop of this process stood still: the time the delivered items were not looked after. */
  | { readonly kind: 'stalled'; readonly gapMs: number }
  | { readonly kind: 'lost'; readonly id: string; readonly error: Error }
  | { readonly kind: 'work_failed'; readonly id: string; readonly attempt: number; readonly error: Error }
  /** The outcome of a piece of work could not be told to the store; the item will be delivered again. */
  | { readonly kind: 'unsettled'; readonly id: string; readonly error: Error }
  /** An item whose hold has gone is ready again, or dead. */
  | { readonly kind: 'came_back'; readonly id: string; readonly dead: boolean }
  | { readonly kind: 'session_opened' | 'session_lost'; readonly error: Error | null };

export interface Caller {
  readonly client: Client;
  readonly clock: Clock;
  readonly observe: (event: QueueEvent) => void;
}

export interface Answered {
  readonly answer: TxnResponse;
  /** An attempt before this answer may have been done. */
  readonly doubtful: boolean;
}

/** Sends until it is answered, `stop` ends it, or an error says that trying again is of no use. */
export async function persist(caller: Caller, stop: AbortSignal, request: () => TxnRequest, mark: string): Promise<Answered> {
  const backoff = retries(caller.clock, mark);
  let doubtful = false;
  for (;;) {
    stop.throwIfAborted();
    try {
      return { answer: await call(caller, stop, request()), doubtful };
    } catch (error) {
      if (isApiError(error) && error.outcome === 'unknown') doubtful = true;
      stop.throwIfAborted();
      if (!isWorthRepeating(error) || error.code === 'lease_not_found') throw error;
      caller.observe({ kind: 'attempt_failed', error });
      await pause(caller.clock, backoff.next(), stop);
    }
  }
}

export function call(caller: Caller, stop: AbortSignal, request: TxnRequest): Promise<TxnResponse> {
  // Not handed to the client: one listener on `stop` is enough, and a call that nobody waits for is bounded anyway.
  return orStopped(caller.client.txn(request, { timeoutMs: CALL_MS }), stop);
}

export function retries(clock: Clock, mark: string): Backoff {
  return new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, mark) });
}

export function kvsOf(answer: OpResponse | undefined): readonly KeyValue[] {
  return answer?.kind === 'range' ? answer.response.kvs : [];
}

export function countOf(answer: OpResponse | undefined): number {
  return answer?.kind === 'range' ? answer.response.count : 0;
}

/** The version of one key that was read; 0: it is not there. */
export function versionOf(answer: OpResponse | undefined): number {
  return kvsOf(answer)[0]?.version ?? 0;
}

/**
 * Hands over what happens in the ranges after `revision` until `onBatch` says enough; false when a watch ended or failed
 * before: then look again. Throws the reason of `stop`.
 */
export async function follow(
  caller: Caller,
  ranges: readonly Range[],
  from: { readonly revision: Revision; readonly exclude?: readonly ('put' | 'delete')[] },
  stop: AbortSignal,
  onBatch: (batch: WatchBatch) => boolean | Promise<boolean>,
): Promise<boolean> {
  const { revision, exclude = [] } = from;
  const watches = ranges.map((range) => caller.client.watch({ ...range, startRevision: revision + 1, exclude }));
  const read = async (index: number): Promise<boolean> => {
    for await (const batch of watches[index] ?? []) {
      if (batch.events.length > 0 && await onBatch(batch)) return true;
    }
    throw new ApiError('connection_lost', { detail: 'a watch ended by itself' });
  };
  try {
    return await orStopped(Promise.race(watches.map((_, index) => read(index))), stop);
  } catch (error) {
    stop.throwIfAborted();
    if (isApiError(error, 'closed')) throw error;
    caller.observe({ kind: 'attempt_failed', error: asError(error) });
    return false;
  } finally {
    for (const watch of watches) watch.close();
  }
}

/** So many signals that abort with one: hundreds of listeners on a single signal make Node warn of a leak. */
export function fanned(
  stop: AbortSignal,
  count: number,
): { readonly signals: readonly AbortSignal[]; readonly forget: () => void } {
  const controls = Array.from({ length: count }, () => new AbortController());
  const abort = (): void => controls.forEach((control) => control.abort(stop.reason));
  onceAborted(stop, abort);
  if (stop.aborted) abort();
  return { signals: controls.map(({ signal }) => signal), forget: () => stop.removeEventListener('abort', abort) };
}

/** Aborts with the first of them, with its reason. `forget` when it is of no more use. */
export function either(
  ...signals: readonly (AbortSignal | undefined)[]
): { readonly signal: AbortSignal; readonly forget: () => void } {
  const control = new AbortController();
  const forgets = signals.map((signal) => {
    const abort = (): void => control.abort(signal?.reason);
    onceAborted(signal, abort);
    if (signal?.aborted === true) abort();
    return () => signal?.removeEventListener('abort', abort);
  });
  return { signal: control.signal, forget: () => forgets.forEach((forget) => forget()) };
}
