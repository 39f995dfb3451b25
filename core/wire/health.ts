// Is this server well? The checks behind /health, /livez and /readyz (contract 13), asked of the backend itself, so that
// they fail when it cannot do its work. /livez looks at this member alone, /readyz also at what it needs from others.

import type { Clock } from '../base/clock.js';
import { utf8 } from '../base/bytes.js';
import type { Admin, Backend, Client } from '../client.js';
import { statusOf } from './status.js';

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
  const corruption: HealthCheck = {
    name: 'data_corruption',
    run: async () => (alarmsIn((await backend.status()).errors).includes('CORRUPT') ? 'alarm activated: CORRUPT' : null),
  };
  return { live: [serializableRead], ready: [corruption, serializableRead, linearizableRead, nonLearner, ...extra] };
}

async function probe(backend: Client, serializable: boolean): Promise<string | null> {
  await backend.range({ key: PROBE_KEY, serializable, limit: 1, keysOnly: true }, { timeoutMs: PROBE_MS });
  return null;
}

/** etcd tells of alarms in the errors of a status, so that asking costs no round through the log. */
const ALARM = /alarm:\s*(NOSPACE|CORRUPT)/i;

function alarmsIn(errors: readonly string[]): readonly string[] {
  return errors.flatMap((error) => ALARM.exec(error)?.[1]?.toUpperCase() ?? []);
}

/**
 * `/health`: no alarm but the excluded ones stands, a leader is known, and a quorum read works; null: so it is, else why not, in
 * etcd's words. A learner, which may not read so, is well when it has a leader.
 */
export async function healthFault(
  backend: Backend, options: { readonly excluded: ReadonlySet<string>; readonly isSerializable: boolean },
): Promise<string | null> {
  try {
    const { leader, isLearner, errors } = await backend.status({ timeoutMs: PROBE_MS });
    const alarm = alarmsIn(errors).find((kind) => !options.excluded.has(kind));
    if (alarm !== undefined) return `ALARM ${alarm}`;
    if (leader === 0n) return 'RAFT NO LEADER';
    await probe(backend, options.isSerializable || isLearner);
    return null;
  } catch (error) {
    return `RANGE ERROR:${statusOf(error).text}`;
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
      .catch((error: unknown) => statusOf(error).text)
      .then((fault) => {
        cancel();
        resolve(fault);
      }, resolve);
  });
}
