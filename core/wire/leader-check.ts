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

export interface LeaderWatch {
  /** Rejects when the leader has been away too long; never resolves. */
  readonly lost: Promise<never>;
  stop(): void;
}

/** Looks for a leader from time to time, if the caller asked for that, until stopped. */
export function watchLeader(backend: Admin, clock: Clock, call: CallContext): LeaderWatch {
  if (!call.hasLeader) return { lost: new Promise<never>(() => undefined), stop: () => undefined };
  let cancel = (): void => undefined;
  let stopped = false;
  let missed = 0;
  const lost = new Promise<never>((_resolve, reject) => {
    const look = (): void => {
      demandLeader(backend).then(
        () => again(0),
        (error: Error) => (missed + 1 < LEADER_CHECKS_MAX ? again(missed + 1) : reject(error)),
      );
    };
    const again = (count: number): void => {
      missed = count;
      if (!stopped) cancel = clock.schedule(LEADER_CHECK_MS, look);
    };
    again(0);
  });
  // Whoever races `lost` may have left before it rejects.
  lost.catch(() => undefined);
  return {
    lost,
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}
