// The error table is protocol: clients written for etcd decide by these very texts and statuses (contract 3). A change here
// breaks somebody's retry loop, so each is written down once more.

import test from 'ava';
import { ApiError, codeOfText, ERRORS, isApiError, type ErrorCode } from '../../core/errors.js';

const PROTOCOL: Readonly<Partial<Record<ErrorCode, readonly [status: number, text: string]>>> = {
  key_empty: [3, 'etcdserver: key is not provided'],
  key_not_found: [3, 'etcdserver: key not found'],
  value_provided: [3, 'etcdserver: value is provided'],
  lease_provided: [3, 'etcdserver: lease is provided'],
  too_many_ops: [3, 'etcdserver: too many operations in txn request'],
  duplicate_key: [3, 'etcdserver: duplicate key given in txn request'],
  request_too_large: [3, 'etcdserver: request is too large'],
  invalid_sort: [3, 'etcdserver: invalid sort option'],
  compacted: [11, 'etcdserver: mvcc: required revision has been compacted'],
  future_revision: [11, 'etcdserver: mvcc: required revision is a future revision'],
  lease_not_found: [5, 'etcdserver: requested lease not found'],
  lease_exists: [9, 'etcdserver: lease already exists'],
  lease_ttl_too_large: [11, 'etcdserver: too large lease TTL'],
  member_not_found: [5, 'etcdserver: member not found'],
  member_exists: [9, 'etcdserver: member ID already exist'],
  member_urls_invalid: [3, 'etcdserver: given member URLs are invalid'],
  peer_urls_exist: [9, 'etcdserver: Peer URLs already exists'],
  not_learner: [9, 'etcdserver: can only promote a learner member'],
  learner_not_ready: [9, 'etcdserver: can only promote a learner member which is in sync with leader'],
  too_many_learners: [9, 'etcdserver: too many learner members in cluster'],
  not_enough_started: [2, 'etcdserver: re-configuration failed due to not enough started members'],
  unhealthy_cluster: [14, 'etcdserver: unhealthy cluster'],
  bad_transferee: [9, 'etcdserver: bad leader transferee'],
  learner_unsupported: [14, 'etcdserver: rpc not supported for learner'],
  too_many_requests: [8, 'etcdserver: too many requests'],
  no_space: [8, 'etcdserver: mvcc: database space exceeded'],
  no_leader: [14, 'etcdserver: no leader'],
  not_leader: [9, 'etcdserver: not leader'],
  leader_changed: [14, 'etcdserver: leader changed'],
  stopped: [14, 'etcdserver: server stopped'],
  timeout: [14, 'etcdserver: request timed out'],
  timeout_leader_lost: [14, 'etcdserver: request timed out, possibly due to previous leader failure'],
  corrupt: [15, 'etcdserver: corrupt cluster'],
  user_empty: [3, 'etcdserver: user name is empty'],
  role_empty: [3, 'etcdserver: role name is empty'],
  auth_failed: [3, 'etcdserver: authentication failed, invalid user ID or password'],
  auth_without_password: [2, 'auth: authentication failed, password was given for no password user'],
  auth_invalid_change: [3, 'etcdserver: invalid auth management'],
  auth_revision_old: [3, 'etcdserver: revision of auth store is old'],
  permission_empty: [3, 'etcdserver: permission not given'],
  permission_denied: [7, 'etcdserver: permission denied'],
  root_missing: [9, 'etcdserver: root user does not exist'],
  root_role_missing: [9, 'etcdserver: root user does not have root role'],
  user_exists: [9, 'etcdserver: user name already exists'],
  user_not_found: [9, 'etcdserver: user name not found'],
  role_exists: [9, 'etcdserver: role name already exists'],
  role_not_found: [9, 'etcdserver: role name not found'],
  role_not_granted: [9, 'etcdserver: role is not granted to the user'],
  permission_not_granted: [9, 'etcdserver: permission is not granted to the role'],
  auth_disabled: [9, 'etcdserver: authentication is not enabled'],
  token_invalid: [16, 'etcdserver: invalid auth token'],
  downgrade_format: [3, 'etcdserver: wrong downgrade target version format'],
  downgrade_target: [3, 'etcdserver: invalid downgrade target version'],
  downgrade_none: [9, 'etcdserver: no inflight downgrade job'],
  session_expired: [2, 'mutex: session is expired'],
  election_no_leader: [2, 'election: no leader'],
  election_not_leader: [2, 'election: not leader'],
  leader_missing: [2, '"leader" field must be provided'],
};
const OURS: readonly ErrorCode[] = [
  'canceled', 'deadline_exceeded', 'closed', 'unavailable', 'connection_lost', 'watch_overflow', 'unsupported', 'invalid_request',
  'internal', 'too_many_logins', 'password_unfit', 'limit_reached',
];

test('texts and statuses are etcd\'s, and no other text claims to be', (t) => {
  for (const [code, row] of Object.entries(ERRORS)) {
    const protocol = PROTOCOL[code as ErrorCode];
    if (protocol !== undefined) t.deepEqual([row.status, row.text], [...protocol], code);
    else t.false(row.text.startsWith('etcdserver: '), code);
  }
  t.deepEqual([...Object.keys(PROTOCOL), ...OURS].sort(), Object.keys(ERRORS).sort());
});

test('a text leads back to its code, and no two codes share one', (t) => {
  for (const [code, { text }] of Object.entries(ERRORS)) t.is(codeOfText(text), code as ErrorCode);
  t.is(codeOfText('etcdserver: something else'), null);
});

test('a detail is added to our own texts, and never to protocol', (t) => {
  for (const [code, row] of Object.entries(PROTOCOL)) {
    t.is(new ApiError(code as ErrorCode, { detail: 'at 5' }).message, row[1]);
  }
  t.is(new ApiError('unavailable', { detail: 'refused' }).message, 'unavailable: no endpoint could be reached: refused');
});

test('what may be retried has surely not happened', (t) => {
  for (const [code, row] of Object.entries(ERRORS)) t.false(row.retryable && row.outcome === 'unknown', code);
});

test('an error knows its row and keeps its cause', (t) => {
  const cause = new Error('below');
  const error = new ApiError('timeout', { cause });
  t.like(error, { code: 'timeout', status: 14, retryable: false, outcome: 'unknown', cause });
  t.true(isApiError(error, 'timeout'));
  t.false(isApiError(error, 'closed'));
  t.false(isApiError(cause));
});
