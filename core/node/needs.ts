// What each method of a backend asks of whoever calls it, while auth is on (contract 8.3). Deny by default: a method without
// a row does not compile, and one that is asked for nothing here says why.

import type { Backend } from '../client.js';

export type Need =
  /** Anybody, known or not. */
  | 'nothing'
  /** A user, whoever it is. */
  | 'user'
  /** The role root. */
  | 'admin'
  /** It depends on what is asked for, so the method judges: by keys, by leases, by whose roles. */
  | 'judged';

export const NEEDS: Readonly<Record<Exclude<keyof Backend, 'close'>, Need>> = {
  range: 'judged',
  rangeAs: 'judged',
  txn: 'judged',
  watch: 'judged',
  grant: 'user',
  // Write on every key of the lease.
  keepAlive: 'judged',
  keepAliveAll: 'judged',
  revoke: 'judged',
  compact: 'admin',
  // With its keys: read on each of them.
  leaseInfo: 'judged',
  // Read on the keys of all leases.
  leases: 'judged',
  status: 'user',
  members: 'user',
  addMember: 'admin',
  removeMember: 'admin',
  updateMember: 'admin',
  promoteMember: 'admin',
  moveLeader: 'admin',
  snapshot: 'admin',
  hash: 'admin',
  // To look is a user's; to raise or clear one an administrator's.
  alarm: 'judged',
  defragment: 'admin',
  // These are how one becomes somebody, and how a client learns that it must.
  identify: 'nothing',
  authenticate: 'nothing',
  authStatus: 'nothing',
  changeAuth: 'admin',
  // One's own roles, and what is in them.
  user: 'judged',
  role: 'judged',
  users: 'admin',
  roles: 'admin',
};
