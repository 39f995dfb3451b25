// The error table. An operating error is an `ApiError`: one class, one frozen table. The message text is protocol:
// etcd's clients decide by the exact string (contract 3), so the texts below are etcd's, byte for byte. Errors that only
// coterie has carry no `etcdserver: ` prefix. `outcome` says what a failed write means: 'never' happened, or 'unknown'.

/** gRPC status codes by name; the numbers are the wire's. */
export const Status = {
  ok: 0,
  canceled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
} as const;

export interface ErrorRow {
  readonly status: number;
  readonly text: string;
  /** The same call may succeed when sent again, without harm. */
  readonly retryable: boolean;
  readonly outcome: 'never' | 'unknown';
  /** The text is not etcd's, so more may be said behind it. */
  readonly isOurs?: true;
}

function never(status: number, text: string): ErrorRow {
  return { status, text, retryable: false, outcome: 'never' };
}

function later(status: number, text: string): ErrorRow {
  return { status, text, retryable: true, outcome: 'never' };
}

function unknown(status: number, text: string): ErrorRow {
  return { status, text, retryable: false, outcome: 'unknown' };
}

function ours(row: ErrorRow): ErrorRow {
  return { ...row, isOurs: true };
}

export const ERRORS = Object.freeze({
  key_empty: never(Status.invalid_argument, 'etcdserver: key is not provided'),
  key_not_found: never(Status.invalid_argument, 'etcdserver: key not found'),
  value_provided: never(Status.invalid_argument, 'etcdserver: value is provided'),
  lease_provided: never(Status.invalid_argument, 'etcdserver: lease is provided'),
  too_many_ops: never(Status.invalid_argument, 'etcdserver: too many operations in txn request'),
  duplicate_key: never(Status.invalid_argument, 'etcdserver: duplicate key given in txn request'),
  request_too_large: never(Status.invalid_argument, 'etcdserver: request is too large'),
  invalid_sort: never(Status.invalid_argument, 'etcdserver: invalid sort option'),
  compacted: never(Status.out_of_range, 'etcdserver: mvcc: required revision has been compacted'),
  future_revision: never(Status.out_of_range, 'etcdserver: mvcc: required revision is a future revision'),
  lease_not_found: never(Status.not_found, 'etcdserver: requested lease not found'),
  lease_exists: never(Status.failed_precondition, 'etcdserver: lease already exists'),
  lease_ttl_too_large: never(Status.out_of_range, 'etcdserver: too large lease TTL'),
  member_not_found: never(Status.not_found, 'etcdserver: member not found'),
  member_exists: never(Status.failed_precondition, 'etcdserver: member ID already exist'),
  member_urls_invalid: never(Status.invalid_argument, 'etcdserver: given member URLs are invalid'),
  peer_urls_exist: never(Status.failed_precondition, 'etcdserver: Peer URLs already exists'),
  not_learner: never(Status.failed_precondition, 'etcdserver: can only promote a learner member'),
  learner_not_ready: never(
    Status.failed_precondition, 'etcdserver: can only promote a learner member which is in sync with leader',
  ),
  too_many_learners: never(Status.failed_precondition, 'etcdserver: too many learner members in cluster'),
  // etcd sends this one with the status of an error it does not know (contract 3).
  not_enough_started: never(Status.unknown, 'etcdserver: re-configuration failed due to not enough started members'),
  unhealthy_cluster: later(Status.unavailable, 'etcdserver: unhealthy cluster'),
  bad_transferee: never(Status.failed_precondition, 'etcdserver: bad leader transferee'),
  learner_unsupported: never(Status.unavailable, 'etcdserver: rpc not supported for learner'),
  too_many_requests: later(Status.resource_exhausted, 'etcdserver: too many requests'),
  no_space: later(Status.resource_exhausted, 'etcdserver: mvcc: database space exceeded'),
  no_leader: later(Status.unavailable, 'etcdserver: no leader'),
  not_leader: later(Status.failed_precondition, 'etcdserver: not leader'),
  leader_changed: unknown(Status.unavailable, 'etcdserver: leader changed'),
  stopped: unknown(Status.unavailable, 'etcdserver: server stopped'),
  timeout: unknown(Status.unavailable, 'etcdserver: request timed out'),
  timeout_leader_lost: unknown(Status.unavailable, 'etcdserver: request timed out, possibly due to previous leader failure'),
  corrupt: never(Status.data_loss, 'etcdserver: corrupt cluster'),
  downgrade_format: never(Status.invalid_argument, 'etcdserver: wrong downgrade target version format'),
  downgrade_target: never(Status.invalid_argument, 'etcdserver: invalid downgrade target version'),
  downgrade_none: never(Status.failed_precondition, 'etcdserver: no inflight downgrade job'),
  // Users and roles (contract 8).
  user_empty: never(Status.invalid_argument, 'etcdserver: user name is empty'),
  role_empty: never(Status.invalid_argument, 'etcdserver: role name is empty'),
  auth_failed: never(Status.invalid_argument, 'etcdserver: authentication failed, invalid user ID or password'),
  auth_without_password: never(Status.unknown, 'auth: authentication failed, password was given for no password user'),
  auth_invalid_change: never(Status.invalid_argument, 'etcdserver: invalid auth management'),
  auth_revision_old: later(Status.invalid_argument, 'etcdserver: revision of auth store is old'),
  permission_empty: never(Status.invalid_argument, 'etcdserver: permission not given'),
  permission_denied: never(Status.permission_denied, 'etcdserver: permission denied'),
  root_missing: never(Status.failed_precondition, 'etcdserver: root user does not exist'),
  root_role_missing: never(Status.failed_precondition, 'etcdserver: root user does not have root role'),
  user_exists: never(Status.failed_precondition, 'etcdserver: user name already exists'),
  user_not_found: never(Status.failed_precondition, 'etcdserver: user name not found'),
  role_exists: never(Status.failed_precondition, 'etcdserver: role name already exists'),
  role_not_found: never(Status.failed_precondition, 'etcdserver: role name not found'),
  role_not_granted: never(Status.failed_precondition, 'etcdserver: role is not granted to the user'),
  permission_not_granted: never(Status.failed_precondition, 'etcdserver: permission is not granted to the role'),
  auth_disabled: never(Status.failed_precondition, 'etcdserver: authentication is not enabled'),
  token_invalid: never(Status.unauthenticated, 'etcdserver: invalid auth token'),
  // Of the Lock and Election services (contract 10).
  session_expired: never(Status.unknown, 'mutex: session is expired'),
  election_no_leader: later(Status.unknown, 'election: no leader'),
  election_not_leader: never(Status.unknown, 'election: not leader'),
  leader_missing: never(Status.unknown, '"leader" field must be provided'),
  // What only coterie says, as a server or as a client.
  too_many_logins: ours(later(
    Status.resource_exhausted, 'too many logins: passwords are checked one at a time, and wrong ones cost patience; try again',
  )),
  password_unfit: ours(never(Status.invalid_argument, 'this cannot be a password')),
  canceled: ours(unknown(Status.canceled, 'canceled: the caller gave up on the call')),
  deadline_exceeded: ours(unknown(Status.deadline_exceeded, 'deadline exceeded: no answer within the time-out')),
  closed: ours(never(Status.canceled, 'closed: this client has been closed')),
  unavailable: ours(later(Status.unavailable, 'unavailable: no endpoint could be reached')),
  connection_lost: ours(unknown(Status.unavailable, 'connection lost before the answer arrived')),
  watch_overflow: ours(later(Status.resource_exhausted, 'watch buffer full: this watcher reads too slowly')),
  unsupported: ours(never(Status.unimplemented, 'unsupported: this server does not have the method')),
  limit_reached: ours(never(Status.resource_exhausted, 'limit reached')),
  invalid_request: ours(never(Status.invalid_argument, 'invalid request')),
  internal: ours(unknown(Status.unknown, 'internal error')),
} satisfies Record<string, ErrorRow>);

export type ErrorCode = keyof typeof ERRORS;

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly outcome: 'never' | 'unknown';
  /** With `compacted` from a watch: the revision compacted to, so that the reader knows from where to read again. Else 0. */
  readonly compactRevision: number;

  /** `detail` is appended to the table's text, except for texts that are etcd's protocol; there it replaces nothing. */
  constructor(code: ErrorCode, options: { detail?: string; cause?: unknown; compactRevision?: number } = {}) {
    const row: ErrorRow = ERRORS[code];
    const message = options.detail === undefined || row.isOurs !== true ? row.text : `${row.text}: ${options.detail}`;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = row.status;
    this.retryable = row.retryable;
    this.outcome = row.outcome;
    this.compactRevision = options.compactRevision ?? 0;
  }
}

/** The caller gave up: its signal was aborted for this reason. */
export function canceled(reason: unknown): ApiError {
  return new ApiError('canceled', { cause: reason });
}

/** True when `error` is an `ApiError` with this code. */
export function isApiError(error: unknown, code?: ErrorCode): error is ApiError {
  return error instanceof ApiError && (code === undefined || error.code === code);
}

const BY_TEXT: ReadonlyMap<string, ErrorCode> = new Map(
  (Object.keys(ERRORS) as ErrorCode[]).map((code) => [ERRORS[code].text, code]),
);

/** The code whose text is exactly `text`: how an answer from the wire becomes an `ApiError` again. */
export function codeOfText(text: string): ErrorCode | null {
  return BY_TEXT.get(text) ?? null;
}
