// Loads of watches, leases and locks, whose streams and messages are their own, in a process of their own.

import type { expiryLoad, grantLoad, keepAliveLoad } from './lease-load.js';
import { figuresOf } from './load-process.js';
import type { LockFigures, LockLoad } from './lock-load.js';
import type { watchLoad } from './watch-load.js';

export interface ClientLoads {
  readonly grant: typeof grantLoad;
  readonly keepAlive: typeof keepAliveLoad;
  readonly expiry: typeof expiryLoad;
  readonly watch: typeof watchLoad;
  readonly lock: (load: LockLoad) => Promise<LockFigures>;
}

const PATIENCE_MS = 600_000;

/**
 * Calls it there with the same words, once for each; the figures of the last. Those before it warm up server and client. `onMark`
 * is called when the measured time begins and ends, by loads that tell.
 */
export async function loadInProcess<K extends keyof ClientLoads>(
  kind: K, calls: readonly Parameters<ClientLoads[K]>[], onMark: () => void = () => undefined,
): Promise<Awaited<ReturnType<ClientLoads[K]>>> {
  const words = calls.map((each) => [kind, ...each]);
  const figures = await figuresOf({ file: 'client-load-main.js', words, timeoutMs: PATIENCE_MS, onMark });
  return figures as Awaited<ReturnType<ClientLoads[K]>>;
}
