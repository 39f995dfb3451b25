// Discovery: who serves what, and why who is gone. `discover` follows, `readServices` reads once; both hand out only
// entries that keep the rules of instance.ts and report the others. Registering lives in registration.ts; both halves are
// re-exported here, so that this file is the registry.
//
// Keys: coterie/services/<service>/{instances,departed}/<id>, read only, except for `evict`:
//   evict   if the instance exists: delete it, put epitaph 'evicted' with its owner's mark; its registration then ends

import { assert } from '../core/base/assert.js';
import type { CallOptions, Client, KeyValue, Revision } from '../core/client.js';
import { modified, opDelete, opPut, opRange, prefixRange } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { compareBytes } from '../core/base/bytes.js';
import type { Departure, Entry, Instance, InvalidEntry } from './instance.js';
import {
  checkWhy, departedKey, encodeDeparture, instanceKey, readEntry, servicePrefix, SERVICES_PREFIX,
} from './instance.js';
import type { WaitOptions } from './pause.js';
import type { ViewChange, ViewOptions } from './view.js';
import { View } from './view.js';

export { checkId, checkService, checkSpec, isHost, readEntry, WEIGHT_MAX } from './instance.js';
export type {
  Departure, DepartureReason, Entry, Instance, InstanceSpec, InstanceState, InvalidEntry,
} from './instance.js';
export { register, Registration, RegistrationEnded } from './registration.js';
export type { EndReason, InstancePatch, RegisterOptions, RegistrationEvent } from './registration.js';

/** etcd's default limit on operations in one transaction. */
const RANGES_MAX = 128;
const READ_ATTEMPTS = 3;
const EVICTED_SECONDS = 3_600;

/** One moment of one or all services. Everything in it is frozen and checked. */
export interface ServiceState {
  readonly revision: Revision;
  /** Sorted by service, then id. */
  readonly instances: readonly Instance[];
  /** Those of instances that are not there now; sorted likewise. */
  readonly departures: readonly Departure[];
  readonly invalid: readonly InvalidEntry[];
}

/** Follows one service, or all of them when `service` is absent. Read it after `ready()`, or iterate `changes`. */
export function discover(client: Client, service?: string, options: ViewOptions = {}): ServiceView {
  const prefix = service === undefined ? SERVICES_PREFIX : servicePrefix(service);
  return new ServiceView(View.follow(client, { prefix }, options));
}

export interface ServiceChange extends ServiceState {
  /** As on the view. */
  readonly staleSince: number | null;
}

export class ServiceView {
  readonly #view: View;
  readonly #ledger = new Ledger();
  /** The pairs that `#state` was made of. */
  #from: readonly KeyValue[] = [];
  #state: Omit<ServiceState, 'revision'> = Object.freeze({ instances: [], departures: [], invalid: [] });

  constructor(view: View) {
    this.#view = view;
  }

  get revision(): Revision {
    return this.#view.revision;
  }

  get synced(): boolean {
    return this.#view.synced;
  }

  /** Null while known to be current; else since when (on the clock) it may not be. What it holds stays readable. */
  get staleSince(): number | null {
    return this.#view.staleSince;
  }

  get lastError(): Error | null {
    return this.#view.lastError;
  }

  get instances(): readonly Instance[] {
    return this.#current().instances;
  }

  get departures(): readonly Departure[] {
    return this.#current().departures;
  }

  get invalid(): readonly InvalidEntry[] {
    return this.#current().invalid;
  }

  /** Level-triggered: first the state as it is, then the latest one whenever it has changed since the consumer looked. */
  get changes(): AsyncIterable<ServiceChange, undefined> {
    return { [Symbol.asyncIterator]: () => this.#iterate() };
  }

  async ready(options: WaitOptions = {}): Promise<this> {
    await this.#view.ready(options);
    return this;
  }

  close(): Promise<void> {
    return this.#view.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #iterate(): AsyncIterator<ServiceChange, undefined> {
    const changes: AsyncIterator<ViewChange> = this.#view.changes[Symbol.asyncIterator]();
    return {
      next: async () => {
        const step = await changes.next();
        if (step.done === true) return { done: true, value: undefined };
        const { revision, staleSince } = this;
        return { done: false, value: Object.freeze({ ...this.#current(), revision, staleSince }) };
      },
      return: async () => {
        await changes.return?.();
        return { done: true, value: undefined };
      },
    };
  }

  #current(): Omit<ServiceState, 'revision'> {
    const kvs = this.#view.entries();
    if (kvs === this.#from) return this.#state;
    this.#from = kvs;
    this.#state = this.#ledger.take(kvs);
    return this.#state;
  }
}

export interface ServicesRead {
  readonly revision: Revision;
  /** One list for each service asked for, empty when it has no instances. */
  readonly services: ReadonlyMap<string, readonly Instance[]>;
  readonly departed: ReadonlyMap<string, readonly Departure[]>;
  readonly invalid: readonly InvalidEntry[];
}

/** Everything about several services at ONE revision, linearizable; in one transaction up to 128 services. */
export async function readServices(
  client: Client,
  services: readonly string[],
  options: CallOptions = {},
): Promise<ServicesRead> {
  const names = [...new Set(services)].sort();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await readOnce(client, names, options);
    } catch (error) {
      // A compaction overtook the revision between two transactions: once more, from a newer one.
      if (!(error instanceof ApiError) || error.code !== 'compacted' || attempt === READ_ATTEMPTS) throw error;
    }
  }
}

async function readOnce(client: Client, names: readonly string[], options: CallOptions): Promise<ServicesRead> {
  const services = new Map<string, readonly Instance[]>();
  const departed = new Map<string, readonly Departure[]>();
  const invalid: InvalidEntry[] = [];
  let revision = 0;
  for (let from = 0; from < names.length; from += RANGES_MAX) {
    const some = names.slice(from, from + RANGES_MAX);
    const ranges = some.map((name) => prefixRange(servicePrefix(name)));
    const success = ranges.map(({ key, rangeEnd }) => opRange(key, { rangeEnd, revision }));
    const answer = await client.txn({ success }, options);
    // Later transactions read at the first one's revision.
    if (revision === 0) revision = answer.header.revision;
    some.forEach((name, index) => {
      const response = answer.responses[index];
      assert(response?.kind === 'range', 'a range is answered by a range');
      const state = new Ledger().take(response.response.kvs);
      services.set(name, state.instances);
      departed.set(name, state.departures);
      invalid.push(...state.invalid);
    });
  }
  return { revision, services, departed, invalid };
}

/**
 * Removes an instance on somebody else's behalf; its own registration ends with `evicted` and does not come back.
 * False when there is no such instance.
 */
export async function evict(
  client: Client,
  service: string,
  id: string,
  options: CallOptions & { why?: string } = {},
): Promise<boolean> {
  const { why = '', ...call } = options;
  const keys = { instance: instanceKey(service, id), epitaph: departedKey(service, id) };
  const reason = { reason: 'evicted', why: checkWhy(why) } as const;
  const found = (await client.range({ key: keys.instance }, call)).kvs[0];
  if (found === undefined) return false;
  const entry = readEntry(found);
  const owner = entry.kind === 'instance' ? entry.instance.owner : '0';
  const lease = await client.grant(EVICTED_SECONDS, call);
  const answer = await client.txn(
    {
      compare: [modified(keys.instance, '=', found.modRevision)],
      success: [opDelete(keys.instance), opPut(keys.epitaph, encodeDeparture({ ...reason, owner }), { lease: lease.id })],
    },
    call,
  );
  if (answer.succeeded) return true;
  await client.revoke(lease.id, call);
  return evict(client, service, id, options);
}

/**
 * From pairs in key order to lists in the order of services and ids, again and again: pairs that were there before are not
 * judged again, and no name is compared or hashed that has not changed. With 10,000 instances that is the difference
 * between a change that costs a millisecond and one that holds up the process.
 */
class Ledger {
  #from: readonly KeyValue[] = [];
  /** One for each of `#from`. */
  #entries: readonly Entry[] = [];
  readonly #present = new Set<string>();
  readonly #epitaphs = new Map<string, Entry>();
  /** Epitaphs whose instance is there: they are written in advance, together with it, and do not speak yet. */
  readonly #silent = new Set<Entry>();

  take(kvs: readonly KeyValue[]): Omit<ServiceState, 'revision'> {
    this.#judge(kvs);
    const instances: Instance[] = [];
    const departures: Departure[] = [];
    const invalid: InvalidEntry[] = [];
    for (const entry of this.#entries) {
      if (entry.kind === 'instance') instances.push(entry.instance);
      else if (entry.kind === 'invalid') invalid.push(entry.invalid);
      else if (!this.#silent.has(entry)) departures.push(entry.departure);
    }
    return Object.freeze({
      instances: Object.freeze(instances),
      departures: Object.freeze(departures),
      invalid: Object.freeze(invalid),
    });
  }

  #judge(kvs: readonly KeyValue[]): void {
    let at = 0;
    const forgetBefore = (kv: KeyValue | null): void => {
      for (let old = this.#from[at]; old !== undefined && old !== kv; old = this.#from[at]) {
        if (kv !== null && compareBytes(old.key, kv.key) > 0) return;
        this.#forget(this.#entries[at]);
        at += 1;
      }
    };
    const entries = kvs.map((kv) => {
      forgetBefore(kv);
      const known = this.#from[at] === kv ? this.#entries[at] : undefined;
      if (known === undefined) return this.#meet(readEntry(kv));
      at += 1;
      return known;
    });
    forgetBefore(null);
    this.#from = kvs;
    this.#entries = entries;
  }

  #meet(entry: Entry): Entry {
    if (entry.kind === 'instance') {
      const name = nameOf(entry.instance);
      this.#present.add(name);
      const epitaph = this.#epitaphs.get(name);
      if (epitaph !== undefined) this.#silent.add(epitaph);
    } else if (entry.kind === 'departed') {
      const name = nameOf(entry.departure);
      this.#epitaphs.set(name, entry);
      if (this.#present.has(name)) this.#silent.add(entry);
    }
    return entry;
  }

  #forget(entry: Entry | undefined): void {
    if (entry?.kind === 'instance') {
      const name = nameOf(entry.instance);
      this.#present.delete(name);
      const epitaph = this.#epitaphs.get(name);
      if (epitaph !== undefined) this.#silent.delete(epitaph);
    } else if (entry?.kind === 'departed') {
      this.#epitaphs.delete(nameOf(entry.departure));
      this.#silent.delete(entry);
    }
  }
}

function nameOf(named: { readonly service: string; readonly id: string }): string {
  return `${named.service}/${named.id}`;
}
