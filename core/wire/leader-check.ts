// What a caller gets who asked for a leader (contract 1.3): a plain call is refused at once by a member without one, a
// stream is ended when none has been known for a while.

import type { Clock } from '../base/clock.js';
import type { Admin } from '../client.js';
import { ApiError } from '../errors.js';
import type { CallContext } from './call.js';
import { LEADER_CHECK_MS, LEADER_CHECKS_MAX } from './limits.js';

/** Rejects with `no_leader` unless the member knows a leader now. */
export async function demandLeader(backend: Admin): Promise<void> {
  const { leader } = await backend.status();
  if (leader === 0n) throw new ApiError('no_leader');
}

/**
 * Looks for a leader from time to time, if the caller asked for that, until what it returns is called. Tells, once, when the
 * leader has been away too long.
 */
export function watchLeader(backend: Admin, clock: Clock, call: CallContext, onLost: (error: Error) => void): () => void {
  if (!call.hasLeader) return NOTHING;
  let cancel = NOTHING;
  let stopped = false;
  let missed = 0;
  const look = (): void => {
    demandLeader(backend).then(() => again(0), onMissed);
  };
  const onMissed = (error: Error): void => {
    if (missed + 1 < LEADER_CHECKS_MAX) again(missed + 1);
    else if (!stopped) onLost(error);
  };
  const again = (count: number): void => {
    missed = count;
    if (!stopped) cancel = clock.schedule(LEADER_CHECK_MS, look);
  };
  again(0);
  return () => {
    stopped = true;
    cancel();
  };
}

const NOTHING = (): void => undefined;

/** Ends as `answered` does, or with `no_leader` before. */
export function whileLed(backend: Admin, clock: Clock, call: CallContext, answered: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = watchLeader(backend, clock, call, reject);
    answered.finally(stop).then(resolve, reject);
  });
}
