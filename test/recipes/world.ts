// What the recipes' tests stand on: a whole node in this process on a simulated clock, and small words for what they
// ask of its store.

import { utf8 } from '../../core/base/bytes.js';
import type { Clock } from '../../core/base/clock.js';
import type { Admin, Backend, Client, KeyValue, LeaseId } from '../../core/client.js';
import { get, prefixRange } from '../../core/client.js';
import { startNode } from '../../core/index.js';
import { Prng } from '../../core/base/prng.js';
import { SimClock } from '../sim/clock.js';
import { Link } from './link.js';

export interface World {
  readonly clock: SimClock;
  /** Straight to the store, without a network in between. */
  readonly store: Backend;
  readonly prng: Prng;
  link(): Link;
  end(): Promise<void>;
}

/** The same seed gives the same world, lease ids and jitter included. */
export async function world(seed: number): Promise<World> {
  const clock = new SimClock();
  const node = await clock.until(startNode({ name: 't', dataDir: null, clock, seed }));
  return {
    clock,
    store: node.client,
    prng: new Prng(seed),
    link: () => new Link(node.client, clock),
    end: () => clock.until(node.close()),
  };
}

export async function leaseIds(store: Admin): Promise<readonly LeaseId[]> {
  return (await store.leases()).ids;
}

export async function keysUnder(store: Client, prefix: string): Promise<readonly KeyValue[]> {
  return (await store.range(prefixRange(utf8(prefix)))).kvs;
}

export async function exists(store: Client, key: string): Promise<boolean> {
  return (await get(store, utf8(key))) !== null;
}

/** A client whose server can be replaced by another one behind its back. */
export function switching(stores: { now: Client }): Client {
  return {
    range: (request, options) => stores.now.range(request, options),
    txn: (request, options) => stores.now.txn(request, options),
    watch: (request, options) => stores.now.watch(request, options),
    grant: (ttl, options) => stores.now.grant(ttl, options),
    keepAlive: (lease, options) => stores.now.keepAlive(lease, options),
    revoke: (lease, options) => stores.now.revoke(lease, options),
    close: () => stores.now.close(),
  };
}

/** What runs on it and throws is noted, as a process that survives uncaught errors would. */
export function guarded(clock: Clock): { readonly clock: Clock; readonly thrown: readonly unknown[] } {
  const thrown: unknown[] = [];
  const schedule = (delayMs: number, run: () => void): (() => void) => clock.schedule(delayMs, () => {
    try {
      run();
    } catch (error) {
      thrown.push(error);
    }
  });
  return { clock: { now: () => clock.now(), schedule }, thrown };
}
