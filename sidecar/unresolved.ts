// Names that do not resolve. nginx resolves what it reads and refuses the whole file for one name it cannot; so one such
// registration would hold up its group for ever. Here is remembered which `host:port` it named, so that these are left out
// for a while, growing from one time to the next, and then tried again. Pure but for the clock.

import type { Clock } from '../core/base/clock.js';
import type { GroupData, Instance, Refused } from './view-data.js';
import { hostport, takesTraffic } from './view-data.js';

/** How long one is left out at first, and at most. */
export const UNRESOLVED_MS = { first: 5_000, most: 300_000 } as const;
/** Candidates that are checked in one round, each without one more name. */
export const UNRESOLVED_CHECKS_MAX = 32;

type Services = GroupData['services'];

export class Unresolved {
  readonly #clock: Clock;
  readonly #known = new Map<string, { readonly until: number; readonly pauseMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The services without those that are left out now, and these with the reason. Forgets what is not registered any more. */
  without(services: Services): { readonly services: Services; readonly refused: readonly Refused[] } {
    if (this.#known.size === 0) return { services, refused: [] };
    const there = new Set(services.flatMap(({ instances }) => instances.map(at)));
    for (const name of this.#known.keys()) if (!there.has(name)) this.#known.delete(name);
    const now = this.#clock.now();
    const isOut = (one: Instance): boolean => (this.#known.get(at(one))?.until ?? 0) > now;
    const refused = services.flatMap(({ instances }) => instances.filter(isOut)).map((one): Refused => {
      const reason = `${one.address} does not resolve here, and nginx would refuse the whole file`;
      return { service: one.service, id: one.id, reason: `${reason}; register an address, or mend the name` };
    });
    const kept = services.map(({ name, instances }) => ({ name, instances: instances.filter((one) => !isOut(one)) }));
    return { services: kept, refused };
  }

  /**
   * The proxy could not resolve `name`. False when nothing can be left out for it: nobody is registered with it, or a service
   * of `shown`, which had somebody to serve, would be left with nobody. Then the last configuration is better.
   */
  leaveOut(name: string, services: Services, shown: ReadonlySet<string>): boolean {
    const hit = services.filter(({ instances }) => instances.some((one) => at(one) === name));
    if (hit.length === 0) return false;
    const emptied = hit.some(({ name: service, instances }) => {
      return shown.has(service) && !instances.some((one) => takesTraffic(one) && at(one) !== name);
    });
    if (emptied) return false;
    const before = this.#known.get(name)?.pauseMs;
    const pauseMs = before === undefined ? UNRESOLVED_MS.first : Math.min(UNRESOLVED_MS.most, before * 2);
    this.#known.set(name, { until: this.#clock.now() + pauseMs, pauseMs });
    return true;
  }

  /** The proxy took these, so their names do resolve. */
  taken(services: Services): void {
    if (this.#known.size === 0) return;
    for (const { instances } of services) for (const one of instances) if (takesTraffic(one)) this.#known.delete(at(one));
  }

  /** When the next one is to be tried again; null when there is none. */
  get againInMs(): number | null {
    if (this.#known.size === 0) return null;
    const first = Math.min(...[...this.#known.values()].map(({ until }) => until));
    return Math.max(1, first - this.#clock.now() + 1);
  }
}

function at(one: Instance): string {
  return hostport(one.address, one.port);
}
