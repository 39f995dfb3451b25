// The record of one round: every operation with its call and return times on one clock, every watch stream, and the full
// course of events that a watch from the round's first revision has shown. In the form test/model/history.ts defines.

import type { WatchBatch, WatchRequest, Event } from '../../core/client.js';
import type { Answer, Operation, OperationRequest, WatchRecord } from '../model/history.js';
import type { Failure } from './foreign-client.js';

/** Over the whole campaign, by second of its clock. */
export class Pace {
  /** Acknowledged writes and linearizable reads. */
  readonly acknowledged: number[] = [];
  operations = 0;
  acknowledgedWrites = 0;
  /** Failures by code. */
  readonly failures = new Map<string, number>();
  /** The texts behind codes that stand for "something else", a few. */
  readonly texts = new Set<string>();

  note(request: OperationRequest): void {
    this.operations++;
    if (request.kind === 'txn') this.acknowledgedWrites++;
    if (request.kind === 'range' && request.request.serializable === true) return;
    const second = Math.floor(performance.now() / 1000);
    this.acknowledged[second] = (this.acknowledged[second] ?? 0) + 1;
  }

  fail(failure: Failure): void {
    this.operations++;
    this.failures.set(failure.code, (this.failures.get(failure.code) ?? 0) + 1);
    if (this.texts.size < 40) this.texts.add(`${failure.code}: ${failure.text.slice(0, 120)}`);
  }
}

export class Recorder {
  readonly operations: Operation[] = [];
  readonly watches: WatchRecord[] = [];
  /** Every event above the base revision, ascending: what the store really did. */
  readonly course: Event[] = [];
  /** When each of them arrived, which is after it happened. */
  readonly courseAt: number[] = [];
  readonly #pace: Pace;

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /** Runs `call` and writes down how it went. Null: it failed. */
  async run<T extends Answer>(
    who: { client: string; member: bigint },
    request: OperationRequest,
    call: () => Promise<T>,
    judge: (error: unknown) => Failure,
  ): Promise<T | null> {
    const calledAt = performance.now();
    try {
      const response = await call();
      const returnedAt = performance.now();
      this.operations.push({ ...who, calledAt, returnedAt, request, outcome: { kind: 'ok', response } });
      this.#pace.note(request);
      return response;
    } catch (error) {
      const failure = judge(error);
      const { code, outcome } = failure;
      // An operation of unknown outcome may take effect at any later time.
      const returnedAt = outcome === 'unknown' ? Infinity : performance.now();
      this.operations.push({ ...who, calledAt, returnedAt, request, outcome: { kind: 'error', code, outcome } });
      this.#pace.fail(failure);
      return null;
    }
  }

  watch(client: string, request: WatchRequest, batches: readonly { at: number; batch: WatchBatch }[]): void {
    this.watches.push({ client, request, batches, end: 'open' });
  }
}
