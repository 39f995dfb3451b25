// The tables of etcdctl command lines that etcd and coterie must answer alike, each with the pair of servers it is asked of.
// Groups run in this order. The rows' language is in etcdctl-rows.ts; that nothing is left out is checked in
// etcdctl-complete.test.ts.

import { FULL, MIRROR, SNAPSHOTS, UPKEEP } from './etcdctl-table-upkeep.js';
import { USERS_AND_ROLES } from './etcdctl-table-auth.js';
import { CLIENT, CLUSTER, KEYS, LEASES } from './etcdctl-table-keys.js';
import type { Group } from './etcdctl-rows.js';
import type { PairOptions } from './pair.js';

export interface Table {
  readonly title: string;
  readonly pair: PairOptions;
  /** Whether the rows speak of `$other`, another server of the same kind. */
  readonly hasOther?: boolean;
  readonly groups: readonly Group[];
}

export const TABLES: readonly Table[] = [
  {
    title: 'one member',
    // A hash for each `--user`, on either side: the cheapest there are.
    pair: { flags: ['--bcrypt-cost=4'], node: { auth: { bcryptCost: 4 } } },
    groups: [...KEYS, ...LEASES, ...CLUSTER, ...CLIENT, ...UPKEEP, ...USERS_AND_ROLES],
  },
  { title: 'two servers', pair: {}, hasOther: true, groups: MIRROR },
  { title: 'snapshots', pair: {}, groups: SNAPSHOTS },
  { title: 'full', pair: { flags: ['--quota-backend-bytes=1'], node: { limits: { quotaBytes: 1 } } }, groups: FULL },
];
