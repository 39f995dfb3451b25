// Where the sidecar's data comes from: the registry, seen through the narrow window it needs. Views tell *that* something
// changed and whether they are current; the data itself is read in one transaction at one revision, so that no template
// ever sees half of a change.

import type { Clock } from '../core/base/clock.js';
import type { Client } from '../core/client.js';
import type { ServiceView } from '../recipes/registry.js';
import { discover, readServices } from '../recipes/registry.js';
import type { Departed } from './hold.js';
import type { Instance } from './view-data.js';

/** Up to this many services each have a view of their own; above, one view of everything. */
const VIEWS_MAX = 32;

export interface Snapshot {
  readonly revision: number;
  readonly services: ReadonlyMap<string, readonly Instance[]>;
  readonly departed: ReadonlyMap<string, readonly Departed[]>;
  /** Entries that do not keep the registry's rules, in words. */
  readonly invalid: readonly string[];
}

export interface Source {
  /** Runs `changed` after the first complete read, after each change, and when staleness comes or goes. */
  follow(services: readonly string[], changed: () => void): Feed;
  read(services: readonly string[], signal: AbortSignal, timeoutMs: number): Promise<Snapshot>;
}

export interface Feed {
  readonly synced: boolean;
  /** The clock when this was last known to be current; null while it is. */
  readonly staleSince: number | null;
  readonly lastError: Error | null;
  close(): Promise<void>;
}

export function registrySource(client: Client, clock: Clock, options: { readonly livenessMs?: number } = {}): Source {
  return {
    follow(services, changed) {
      const single = services.length > VIEWS_MAX;
      const one = (service?: string): ServiceView => discover(client, service, { ...options, clock });
      const views = single ? [one()] : services.map(one);
      const feeds = views.map(async (view) => {
        for await (const _change of view.changes) if (views.every((one) => one.synced)) changed();
      });
      const oldest = (): number | null => {
        const times = views.map((view) => view.staleSince).filter((time) => time !== null);
        return times.length === 0 ? null : Math.min(...times);
      };
      return {
        get synced() {
          return views.every((view) => view.synced);
        },
        get staleSince() {
          return oldest();
        },
        get lastError() {
          return views.find((view) => view.lastError !== null)?.lastError ?? null;
        },
        async close() {
          await Promise.all(views.map((view) => view.close()));
          await Promise.allSettled(feeds);
        },
      };
    },
    async read(services, signal, timeoutMs) {
      const { revision, services: found, departed, invalid } = await readServices(client, services, { signal, timeoutMs });
      return { revision, services: found, departed, invalid: invalid.map((entry) => `${entry.key}: ${entry.problem}`) };
    },
  };
}
