// Errors at the door: an error becomes a gRPC status in `statusOf`, a status becomes an error in `errorOf`. Nothing else
// of this room inspects messages. The texts are etcd's, because etcd's clients decide by them (contract 3).

import { ApiError, codeOfText, isApiError, Status, type ErrorCode } from '../errors.js';

export interface WireStatus {
  readonly code: number;
  readonly text: string;
}

/** Said with another status than the error's own, where a service of etcd's does so. */
export class WireError extends Error {
  override readonly name = 'WireError';
  readonly status: number;

  constructor(status: number, text: string, cause?: unknown) {
    super(text, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

const FAULT = 'internal error';

/** An error that nobody foresaw, to be told to whoever runs the server. */
export function isFault(error: unknown): boolean {
  return !isApiError(error) && !(error instanceof WireError);
}

export const OK: WireStatus = { code: Status.ok, text: '' };

/** What the wire says about an error. Only here do status and table differ (contract 3, second table). */
export function statusOf(error: unknown): WireStatus {
  if (error instanceof WireError) return { code: error.status, text: error.message };
  if (isApiError(error)) {
    // A server that goes away says so; `closed` is a word for whoever closed it.
    if (error.code === 'closed') return { code: Status.unavailable, text: 'etcdserver: server stopped' };
    if (error.code === 'too_many_requests') return { code: Status.unknown, text: error.message };
    return { code: error.status, text: error.message };
  }
  // A fault of ours, whose words may name files and worse: they are for the log.
  return { code: Status.unknown, text: FAULT };
}

/** Go's names of the statuses. */
const GO_NAMES: readonly string[] = [
  'OK', 'Canceled', 'Unknown', 'InvalidArgument', 'DeadlineExceeded', 'NotFound', 'AlreadyExists', 'PermissionDenied',
  'ResourceExhausted', 'FailedPrecondition', 'Aborted', 'OutOfRange', 'Unimplemented', 'Internal', 'Unavailable', 'DataLoss',
  'Unauthenticated',
];
const GO_TEXT = /^rpc error: code = (\w+) desc = (.*)$/s;

/** An error as Go's gRPC prints it: the words in which etcd says why a watch was refused, and by which clients know it. */
export function goText(error: ApiError): string {
  const { code, text } = statusOf(error);
  return `rpc error: code = ${GO_NAMES[code] ?? 'Unknown'} desc = ${text}`;
}

/** The status in such a text; others are taken as they are, for a wrong request. */
export function statusInText(text: string): WireStatus {
  const [, name = '', desc = ''] = GO_TEXT.exec(text) ?? [];
  const code = GO_NAMES.indexOf(name);
  return code === -1 ? { code: Status.invalid_argument, text } : { code, text: desc };
}

const BY_STATUS: ReadonlyMap<number, ErrorCode> = new Map([
  [Status.canceled, 'canceled'],
  [Status.deadline_exceeded, 'deadline_exceeded'],
  [Status.unimplemented, 'unsupported'],
  [Status.unavailable, 'connection_lost'],
  [Status.invalid_argument, 'invalid_request'],
  [Status.not_found, 'invalid_request'],
  [Status.already_exists, 'invalid_request'],
  [Status.permission_denied, 'invalid_request'],
  [Status.failed_precondition, 'invalid_request'],
  [Status.out_of_range, 'invalid_request'],
  [Status.unauthenticated, 'invalid_request'],
  [Status.resource_exhausted, 'limit_reached'],
] as const);

/**
 * The error a status from a server stands for. A text from the table decides; otherwise the code does, and the text
 * becomes the detail. `sent` false: the request never left this process, so it never happened.
 */
export function errorOf(status: WireStatus, sent = true): ApiError {
  if (!sent) return new ApiError('unavailable', { detail: status.text });
  const code = codeOfText(status.text);
  if (code !== null) return new ApiError(code);
  // etcd names the suspected cause of a time-out in the text, and 3.4 lets Go's own words through (contract 3).
  if (status.text.startsWith('etcdserver: request timed out')) return new ApiError('timeout');
  if (status.text.endsWith('context deadline exceeded')) return new ApiError('timeout');
  return new ApiError(BY_STATUS.get(status.code) ?? 'internal', { detail: status.text });
}
