// The built-in proxy, fed by the registry: what the sidecar does for nginx by way of a file, done here in memory. The same
// rule decides about emptiness (hold.ts): who leaves on purpose is gone at once, a service that vanishes without a word is
// kept for a while; and while the store is away nothing changes at all.

import type { Clock } from '../core/base/clock.js';
import type { ServiceView } from '../recipes/registry.js';
import type { ServiceConfig } from './config.js';
import { decideHold, type Hold } from './hold.js';
import type { Proxy } from './proxy.js';

export type FeedEvent =
  | { readonly kind: 'fed'; readonly revision: number; readonly instances: readonly string[] }
  /** All instances vanished without a word; those named are kept. An alarm. */
  | { readonly kind: 'holding'; readonly instances: readonly string[] }
  | { readonly kind: 'hold_ended'; readonly gaveUp: boolean };

export interface FeedOptions {
  readonly service: ServiceConfig;
  readonly clock: Clock;
  readonly observe?: (event: FeedEvent) => void;
}

/** Keeps `proxy` in step with `view` until the view is closed. */
export async function feedProxy(view: ServiceView, proxy: Proxy, options: FeedOptions): Promise<void> {
  const { service, clock, observe = () => undefined } = options;
  let last: Hold | null = null;
  let cancel = (): void => undefined;
  const feed = (): void => {
    cancel();
    cancel = () => undefined;
    const now = clock.now();
    const hold = decideHold({ service, present: view.instances, departed: view.departures, last, now });
    const wasHeld = last !== null && last.since !== null;
    if (hold.since !== null && !wasHeld) observe({ kind: 'holding', instances: hold.held });
    if (hold.since === null && wasHeld) observe({ kind: 'hold_ended', gaveUp: hold.expired });
    last = hold;
    proxy.update(hold.instances);
    observe({ kind: 'fed', revision: view.revision, instances: hold.instances.map((instance) => instance.id) });
    if (hold.since !== null && service.holdMaxMs > 0) {
      cancel = clock.schedule(Math.max(1, hold.since + service.holdMaxMs - now), feed);
    }
  };
  try {
    for await (const _change of view.changes) feed();
  } finally {
    cancel();
  }
}
