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
import { latin1 } from '../core/base/bytes.js';
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
  /** Entries already judged, by key; a pair is judged again when its revision or its bytes change. */
  #judged = new Map<string, { readonly kv: KeyValue; readonly entry: Entry }>();
  #from: readonly KeyValue[] | null = null;
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
    const judged = new Map<string, { readonly kv: KeyValue; readonly entry: Entry }>();
    const entries: Entry[] = [];
    for (const kv of kvs) {
      const key = latin1(kv.key);
      const before = this.#judged.get(key);
      const now = before?.kv === kv ? before : { kv, entry: readEntry(kv) };
      judged.set(key, now);
      entries.push(now.entry);
    }
    this.#judged = judged;
    this.#from = kvs;
    this.#state = sorted(entries);
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
      const state = sorted(response.response.kvs.map(readEntry));
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

/** An epitaph speaks only while its instance is away: it is written in advance, together with the instance. */
function sorted(entries: readonly Entry[]): Omit<ServiceState, 'revision'> {
  const instances: Instance[] = [];
  const departures: Departure[] = [];
  const invalid: InvalidEntry[] = [];
  for (const entry of entries) {
    if (entry.kind === 'instance') instances.push(entry.instance);
    else if (entry.kind === 'departed') departures.push(entry.departure);
    else invalid.push(entry.invalid);
  }
  const present = new Set(instances.map(nameOf));
  return Object.freeze({
    instances: Object.freeze(instances.sort(byName)),
    departures: Object.freeze(departures.filter((departure) => !present.has(nameOf(departure))).sort(byName)),
    invalid: Object.freeze(invalid),
  });
}

interface Named {
  readonly service: string;
  readonly id: string;
}

function nameOf(entry: Named): string {
  return `${entry.service}/${entry.id}`;
}

function byName(a: Named, b: Named): number {
  const left = nameOf(a);
  const right = nameOf(b);
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
