// What the checkers ask of an operation: what it is, what it was told, and how to name it.

import { latin1 } from '../../core/base/bytes.js';
import type { Header, OpResponse, Revision, TxnRequest, TxnResponse } from '../../core/client.js';
import { encodeCommand } from '../../core/store/command.js';
import type { Operation } from './history.js';

export type TxnOperation = Operation & { readonly request: { readonly kind: 'txn'; readonly request: TxnRequest } };

export type Tell = (invariant: string, message: string) => void;

export function isTxn(operation: Operation): operation is TxnOperation {
  return operation.request.kind === 'txn';
}

/** The revision on an answer; null: it failed. */
export function revisionOf({ outcome }: Operation): Revision | null {
  if (outcome.kind !== 'ok') return null;
  const { response } = outcome;
  return 'header' in response ? response.header.revision : (response satisfies Header).revision;
}

/** Whether the answer says that something was changed. */
export function hasWritten(responses: readonly OpResponse[]): boolean {
  return responses.some((each) => {
    if (each.kind === 'txn') return hasWritten(each.response.responses);
    return each.kind === 'put' || (each.kind === 'delete' && each.response.deleted > 0);
  });
}

export function isMutation(operation: Operation): boolean {
  return isTxn(operation) && operation.outcome.kind === 'ok' && hasWritten((operation.outcome.response as TxnResponse).responses);
}

export function named(operation: Operation): string {
  const { client, request, calledAt, returnedAt, member } = operation;
  const end = returnedAt === Infinity ? 'never answered' : `${returnedAt.toFixed(1)} ms`;
  return `the ${request.kind} of ${client} at member ${member.toString(16)} (${calledAt.toFixed(1)} ms to ${end})`;
}

export function bytesOf(request: TxnRequest): string {
  return latin1(encodeCommand({ kind: 'txn', request }));
}
