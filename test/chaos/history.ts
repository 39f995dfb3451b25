// The record of operations and watches in the form that checkers of histories take.

import type {
  Header, KeepAlive, Lease, LeaseId, RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchBatch, WatchRequest,
} from '../../core/client.js';
import type { ErrorCode } from '../../core/errors.js';

export type OperationRequest =
  | { readonly kind: 'range'; readonly request: RangeRequest }
  | { readonly kind: 'txn'; readonly request: TxnRequest }
  | { readonly kind: 'grant'; readonly ttlSeconds: number; readonly id: LeaseId }
  | { readonly kind: 'revoke' | 'keep_alive'; readonly lease: LeaseId };

export interface Operation {
  readonly client: string;
  readonly member: bigint;
  readonly calledAt: number;
  /** Infinity: never answered. */
  readonly returnedAt: number;
  readonly request: OperationRequest;
  readonly outcome:
    | { readonly kind: 'ok'; readonly response: RangeResponse | TxnResponse | Lease | KeepAlive | Header }
    | { readonly kind: 'error'; readonly code: ErrorCode; readonly outcome: 'never' | 'unknown' };
}

export interface WatchRecord {
  readonly client: string;
  readonly request: WatchRequest;
  readonly batches: readonly { readonly at: number; readonly batch: WatchBatch }[];
  readonly end: 'open';
}
