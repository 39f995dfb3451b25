// `coterie services [SERVICE …]`: what is registered, where, in which state, and how long each instance still has without a
// sign of life; and who has left lately, why. Reads; changes nothing.

import type { KeyValue, LeaseId, LeaseInfo } from '../client.js';
import { checkService, readEntry, type Departure, type Instance, type InvalidEntry } from '../../recipes/registry.js';
import { SERVICES_PREFIX } from '../../recipes/instance.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { leaseInfos, leftText, readUnder } from './lines.js';
import { columns, json, plain, table, type Json } from './output.js';

const SERVICES: ClientCommand = {
  words: 'services', usage: '[SERVICE …]', summary: 'what is registered, and what has left why', takes: [0, Infinity], flags: [
    { name: 'departed', help: 'those that have left, and why, instead of those that are there' },
  ],
  formats: ['simple', 'table', 'json'],
  async run(invocation) {
    const client = invocation.connect();
    const roots = invocation.args.map((service) => `${SERVICES_PREFIX}${checkService(service)}/`);
    const kvs: KeyValue[] = [];
    for (const root of roots.length === 0 ? [SERVICES_PREFIX] : new Set(roots)) kvs.push(...(await readUnder(client, root)).kvs);
    const found = sorted(kvs);
    const infos = await leaseInfos(client, found.instances.map(({ lease }) => lease));
    invocation.print(servicesText(invocation, found, infos));
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [SERVICES];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('services', COMMANDS, argv);
}

interface Found {
  readonly instances: readonly { readonly instance: Instance; readonly lease: LeaseId }[];
  readonly departures: readonly Departure[];
  readonly invalid: readonly InvalidEntry[];
}

/** The word about an instance's end is written when it comes, and does not speak before it has gone. */
function sorted(kvs: readonly KeyValue[]): Found {
  const entries = kvs.map((kv) => ({ entry: readEntry(kv), lease: kv.lease }));
  const instances = entries.flatMap(({ entry, lease }) => {
    return entry.kind === 'instance' ? [{ instance: entry.instance, lease }] : [];
  });
  const present = new Set(instances.map(({ instance: { service, id } }) => `${service}/${id}`));
  return {
    instances,
    departures: entries.flatMap(({ entry }) => {
      if (entry.kind !== 'departed') return [];
      return present.has(`${entry.departure.service}/${entry.departure.id}`) ? [] : [entry.departure];
    }),
    invalid: entries.flatMap(({ entry }) => (entry.kind === 'invalid' ? [entry.invalid] : [])),
  };
}

function servicesText(invocation: Invocation, found: Found, infos: ReadonlyMap<LeaseId, LeaseInfo>): string {
  const { instances, departures, invalid } = found;
  if (invocation.format === 'json') return `${json(servicesJson(found, infos))}\n`;
  const draw = invocation.format === 'table' ? table : columns;
  if (invocation.isSet('departed')) {
    const rows = departures.map(({ service, id, reason, why }) => [service, id, reason, plain(why)]);
    return draw(['SERVICE', 'ID', 'REASON', 'WHY'], rows);
  }
  const rows = instances.map(({ instance: { service, id, address, port, state, why, weight, zone, tags }, lease }) => [
    service, id, address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    why === '' ? state : `${state} (${plain(why)})`, String(weight), zone, tags.join(','), leftText(infos.get(lease)),
  ]);
  const said = draw(['SERVICE', 'ID', 'ADDRESS', 'STATE', 'WEIGHT', 'ZONE', 'TAGS', 'LEFT'], rows);
  return said + invalid.map(({ key, problem }) => `not an instance: ${key}: ${plain(problem)}\n`).join('');
}

function servicesJson({ instances, departures, invalid }: Found, infos: ReadonlyMap<LeaseId, LeaseInfo>): Json {
  return {
    instances: instances.map(({ instance, lease }) => ({
      service: instance.service, id: instance.id, address: instance.address, port: instance.port, state: instance.state,
      why: instance.why, weight: instance.weight, zone: instance.zone, tags: instance.tags, meta: instance.meta,
      since: instance.since, revision: instance.revision, ttlSeconds: infos.get(lease)?.ttlSeconds ?? 0,
      grantedTtlSeconds: infos.get(lease)?.grantedTtlSeconds ?? 0,
    })),
    departures: departures.map(({ service, id, reason, why, revision }) => ({ service, id, reason, why, revision })),
    invalid: invalid.map(({ key, problem, revision }) => ({ key, problem, revision })),
  };
}
