// Gives memory of removed data back at a caller's wish, in as many turns as it takes, so that heartbeats and requests go on
// meanwhile (etcd's member stands still instead). A frozen copy that somebody reads holds it up.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import { ApiError } from '../errors.js';
import type { Store } from '../store/store.js';
import { attempt } from './caught.js';
import { defragmentRowsPerTurn, frozenWaitMs } from './limits.js';

export interface DefragmentDoors {
  readonly clock: Clock;
  store(): Store;
  isRunning(): boolean;
  /** The store does not understand its own state: the node must stop. */
  end(error: Error): void;
}

export function defragment(doors: DefragmentDoors, done: Done): void {
  const store = doors.store();
  store.defragment();
  const step = (): void => {
    if (!doors.isRunning()) return done(new ApiError('stopped'));
    // A store that took its place came from a snapshot, and is as small as can be.
    if (doors.store() !== store) return done(null);
    const isOver = attempt(() => store.tidy(defragmentRowsPerTurn));
    if (isOver === true) return done(null);
    if (isOver === false) return void doors.clock.schedule(store.isFrozen ? frozenWaitMs : 0, step);
    doors.end(isOver);
    done(new ApiError('stopped', { cause: isOver }));
  };
  doors.clock.schedule(0, step);
}
