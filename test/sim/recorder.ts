// What clients asked and were told, as the checkers want it (test/model/history.ts). Every call of every client of the world
// is here, those of the recipes included: a revision nobody asked for is then known to be an invention.

import type { HashResponse, WatchBatch, WatchRequest } from '../../core/client.js';
import type { ApiError } from '../../core/errors.js';
import type { History, Operation, OperationRequest, WatchRecord } from '../model/history.js';

type Outcome = Operation['outcome'];
export type WatchEnd = WatchRecord['end'];

export interface CallEntry {
  readonly client: string;
  readonly member: bigint;
  readonly calledAt: number;
  readonly request: OperationRequest;
  returnedAt: number;
  outcome: Outcome;
  /** Of the member's that took it up. */
  life?: number;
}

export interface WatchEntry {
  readonly client: string;
  readonly member: bigint;
  readonly request: WatchRequest;
  readonly batches: { at: number; batch: WatchBatch }[];
  end: WatchEnd;
  quietAt?: number;
}

export class Recorder {
  readonly operations: CallEntry[] = [];
  readonly watches: WatchEntry[] = [];
  readonly hashes: HashResponse[] = [];
  acknowledged = 0;
  unknown = 0;

  called(call: Pick<CallEntry, 'client' | 'member' | 'calledAt' | 'request'>): CallEntry {
    const outcome: Outcome = { kind: 'error', code: 'deadline_exceeded', outcome: 'unknown' };
    const entry: CallEntry = { ...call, returnedAt: Infinity, outcome };
    this.operations.push(entry);
    return entry;
  }

  answered(entry: CallEntry, at: number, response: unknown): void {
    this.acknowledged++;
    entry.returnedAt = at;
    // The request says of which kind the answer is: the two come from one typed call.
    entry.outcome = { kind: 'ok', response } as Outcome;
  }

  failed(entry: CallEntry, at: number, error: ApiError): void {
    entry.returnedAt = at;
    entry.outcome = { kind: 'error', code: error.code, outcome: error.outcome };
    if (error.outcome === 'unknown') this.unknown++;
  }

  watched(client: string, request: WatchRequest, member: bigint): WatchEntry {
    const entry: WatchEntry = { client, member, request, batches: [], end: 'open' };
    this.watches.push(entry);
    return entry;
  }

  batch(entry: WatchEntry, at: number, batch: WatchBatch): void {
    entry.batches.push({ at, batch });
  }

  watchEnded(entry: WatchEntry, end: WatchEnd): void {
    entry.end = end;
  }

  history(log: History['log'], drift: number): History {
    return { operations: this.operations, watches: this.watches, log, drift };
  }
}
