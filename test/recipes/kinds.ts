// Whatever is held by standing in a line: locks, read and write locks, permits and offices, each as the same few functions, for
// suites that all of them run.

import { campaign } from '../../recipes/election.js';
import type { Held } from '../../recipes/held.js';
import { lock } from '../../recipes/lock.js';
import type { WaitOptions } from '../../recipes/pause.js';
import { readLock, writeLock } from '../../recipes/rw-lock.js';
import { acquirePermits } from '../../recipes/semaphore.js';
import type { Session } from '../../recipes/session.js';

export interface KindOptions extends WaitOptions {
  readonly tellAfterMs?: number;
  readonly observe?: (event: { readonly kind: string }) => void;
}

export interface Kind {
  readonly name: string;
  /** Of everything it puts there while it is held or waited for. */
  readonly prefix: string;
  acquire(session: Session, options?: KindOptions): Promise<Held>;
  /** What keeps `acquire` waiting while it is held. */
  block(session: Session): Promise<Held>;
}

/** On the resource of this name. */
export function kindsOf(x: string): readonly Kind[] {
  return [
    {
      name: 'lock', prefix: `coterie/locks/${x}/`,
      acquire: (session, options) => lock(session, x, options),
      block: (session) => lock(session, x),
    },
    {
      name: 'read lock', prefix: `coterie/rwlocks/${x}/`,
      acquire: (session, options) => readLock(session, x, options),
      block: (session) => writeLock(session, x),
    },
    {
      name: 'write lock', prefix: `coterie/rwlocks/${x}/`,
      acquire: (session, options) => writeLock(session, x, options),
      block: (session) => readLock(session, x),
    },
    {
      name: 'permits', prefix: `coterie/semaphores/${x}/permits/`,
      acquire: (session, options) => acquirePermits(session, x, { ...options, limit: 4, permits: 2 }),
      block: (session) => acquirePermits(session, x, { limit: 4, permits: 3 }),
    },
    {
      name: 'office', prefix: `coterie/elections/${x}/`,
      acquire: (session, options) => campaign(session, x, 'v', options),
      block: (session) => campaign(session, x, 'v'),
    },
  ];
}
