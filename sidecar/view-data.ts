// What the registry says becomes the data a template sees. Pure. Every object is null-prototype, frozen, and sorted, so that
// the same registrations give the same data in whatever order they arrived. Revisions and times are not in it: what cannot
// be seen cannot make two renderings differ. Values arrive checked by the registry's own edge (recipes/instance.ts) and
// are checked again, against the target's alphabet, where they are printed (escape.ts).

import type { Instance as Registered } from '../recipes/registry.js';

/** What the sidecar needs to know of a registered instance. */
export type Instance = Pick<
  Registered,
  'service' | 'id' | 'address' | 'port' | 'weight' | 'zone' | 'tags' | 'meta' | 'state'
>;

/** Whether new requests may go to it. Weight 0 says "none", which nginx has no weight for. */
export function takesTraffic(instance: Instance): boolean {
  return instance.state === 'up' && instance.weight > 0;
}

export interface Refused {
  readonly service: string;
  readonly id: string;
  readonly reason: string;
}

/** What one group's templates are given. `services` keeps the order of the configuration. */
export interface GroupData {
  readonly group: string;
  readonly services: readonly { readonly name: string; readonly instances: readonly Instance[] }[];
  readonly vars: Readonly<Record<string, unknown>>;
}

export type Dict = { readonly [key: string]: unknown };

const VARS_DEPTH_MAX = 8;

/** `address:port`, with brackets around an IPv6 address. */
export function hostport(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Code-unit order: the same on every machine, whatever its locale. */
export function byText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Maps a template's instance objects back to who they are, so that an unsafe value can be blamed on its owner. */
export type Owners = WeakMap<object, { readonly service: string; readonly id: string }>;

/** The data a template walks: `group`, `vars`, `services` (each `name`, `instances` that take traffic, `draining`). */
export function templateData(data: GroupData, leftOut: ReadonlySet<string>): { root: Dict; owners: Owners } {
  const owners: Owners = new WeakMap();
  const services = data.services.map((service) => {
    const kept = service.instances.filter((instance) => !leftOut.has(instanceKey(instance)));
    const known = kept.toSorted((a, b) => byText(a.id, b.id));
    const dicts = (some: readonly Instance[]): readonly Dict[] => Object.freeze(some.map((one) => instanceDict(one, owners)));
    return dict(`service ${service.name}`, {
      name: service.name,
      instances: dicts(known.filter(takesTraffic)),
      draining: dicts(known.filter((instance) => !takesTraffic(instance))),
    });
  });
  const vars = frozenCopy(data.vars, 'vars', 0);
  return { root: dict('the view', { group: data.group, vars, services: Object.freeze(services) }), owners };
}

export function instanceKey(instance: { readonly service: string; readonly id: string }): string {
  return `${instance.service}/${instance.id}`;
}

function instanceDict(instance: Instance, owners: Owners): Dict {
  const label = `instance ${instance.service}/${instance.id}`;
  const shape = dict(label, {
    service: instance.service,
    id: instance.id,
    address: instance.address,
    port: instance.port,
    hostport: hostport(instance.address, instance.port),
    weight: instance.weight,
    zone: instance.zone,
    state: instance.state,
    tags: Object.freeze(instance.tags.toSorted(byText)),
    meta: dict(`meta of ${label}`, sortedEntries(instance.meta)),
  });
  owners.set(shape, { service: instance.service, id: instance.id });
  return shape;
}

function sortedEntries(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).toSorted(([a], [b]) => byText(a, b)));
}

/** A frozen object without a prototype. `label` is how an error message calls it. */
export function dict(label: string, entries: Readonly<Record<string, unknown>>): Dict {
  const made = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of Object.entries(entries)) {
    Object.defineProperty(made, key, { value, enumerable: true });
  }
  Object.defineProperty(made, Symbol.toPrimitive, { value: () => label });
  return Object.freeze(made);
}

export class BadVars extends Error {
  override readonly name = 'BadVars';
}

function frozenCopy(value: unknown, label: string, depth: number): unknown {
  if (depth > VARS_DEPTH_MAX) throw new BadVars(`${label} is nested deeper than ${VARS_DEPTH_MAX} levels`);
  if (Array.isArray(value)) return Object.freeze(value.map((item: unknown, i) => frozenCopy(item, `${label}[${i}]`, depth + 1)));
  if (typeof value === 'object' && value !== null) {
    const copied = Object.entries(value).map(([key, item]) => [key, frozenCopy(item, `${label}.${key}`, depth + 1)] as const);
    return dict(label, Object.fromEntries(copied));
  }
  if (value === null || value === undefined) return '';
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw new BadVars(`${label} is a ${typeof value}; a template can be given texts, numbers, true, false, lists and maps`);
}
