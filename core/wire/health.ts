// Is this server well? The checks behind /health, /livez and /readyz (contract 13), asked of the backend itself, so that
// they fail when it cannot do its work. /livez looks at this member alone, /readyz also at what it needs from others.

import type { Clock } from '../base/clock.js';
import { utf8 } from '../base/bytes.js';
import type { Admin, Client } from '../client.js';

export interface HealthCheck {
  /** As it stands in the answer and in `?exclude=`. */
  readonly name: string;
  /** What is wrong, in one line; null: well. Must answer within about a second. A rejection is a failure. */
  run(): Promise<string | null>;
}

export interface HealthChecks {
  readonly live: readonly HealthCheck[];
  readonly ready: readonly HealthCheck[];
}

export interface HealthReport {
  readonly well: boolean;
  /** `[+]name ok` or `[-]name failed: why`, one per line. */
  readonly lines: readonly string[];
}

// etcd asks for this key as well; that it does not exist is no matter.
const PROBE_KEY = utf8('health');
const PROBE_MS = 1000;

export function healthChecks(backend: Client & Admin, extra: readonly HealthCheck[]): HealthChecks {
  const serializableRead: HealthCheck = { name: 'serializable_read', run: () => probe(backend, true) };
  const linearizableRead: HealthCheck = { name: 'linearizable_read', run: () => probe(backend, false) };
  const nonLearner: HealthCheck = {
    name: 'non_learner',
    run: async () => ((await backend.status()).isLearner ? 'this member is a learner' : null),
  };
  // Damage to the data stops a node, so a member that answers has found none.
  const corruption: HealthCheck = { name: 'data_corruption', run: () => Promise.resolve(null) };
  return { live: [serializableRead], ready: [corruption, serializableRead, linearizableRead, nonLearner, ...extra] };
}

async function probe(backend: Client, serializable: boolean): Promise<string | null> {
  await backend.range({ key: PROBE_KEY, serializable, limit: 1, keysOnly: true }, { timeoutMs: PROBE_MS });
  return null;
}

/** `/health`: a leader is known and a quorum read works. A learner, which may not read so, is well when it has a leader. */
export async function isHealthy(backend: Client & Admin, serializable: boolean): Promise<boolean> {
  try {
    const { leader, isLearner } = await backend.status({ timeoutMs: PROBE_MS });
    if (leader === 0n) return false;
    return (await probe(backend, serializable || isLearner)) === null;
  } catch {
    return false;
  }
}

/** Runs all checks but the excluded ones, at the same time, each bounded. */
export async function report(
  checks: readonly HealthCheck[],
  excluded: ReadonlySet<string>,
  clock: Clock,
): Promise<HealthReport> {
  const run = (check: HealthCheck): Promise<string | null> =>
    excluded.has(check.name) ? Promise.resolve(null) : bounded(check, clock);
  const faults = await Promise.all(checks.map(run));
  const lines = checks.map(({ name }, i) => {
    const fault = faults[i] ?? null;
    return fault === null ? `[+]${name} ok` : `[-]${name} failed: ${fault}`;
  });
  return { well: faults.every((fault) => fault === null), lines };
}

function bounded(check: HealthCheck, clock: Clock): Promise<string | null> {
  return new Promise((resolve) => {
    const cancel = clock.schedule(2 * PROBE_MS, () => resolve('no answer in time'));
    check
      .run()
      .catch((error: unknown) => (error instanceof Error ? error.message : String(error)))
      .then((fault) => {
        cancel();
        resolve(fault);
      }, resolve);
  });
}
