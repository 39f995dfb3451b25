// `coterie sessions`: every lease, how long it still has without a sign of life, who keeps it alive, and what hangs on it.
// Reads; changes nothing.

import { text } from '../base/bytes.js';
import type { Client, LeaseId, LeaseInfo } from '../client.js';
import { ELECTIONS_ROOT } from '../../recipes/election-state.js';
import { LOCKS_ROOT, type LockInfo } from '../../recipes/lock-names.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { hangsOf } from './hangs.js';
import { leaseInfos, leftText, personOf, readLines, type Line, type Standing } from './lines.js';
import { readLease } from './operations.js';
import { columns, hex, json, plain, table, type Json } from './output.js';
import { Refusal } from './refusal.js';

/** Leases that are asked about one by one. */
const SESSIONS_MAX = 10_000;
/** Of what a candidate says of itself; all of it stands in JSON. */
const WHO_MAX = 60;
const RW_LOCKS_ROOT = 'coterie/rwlocks/';
const SEMAPHORES_ROOT = 'coterie/semaphores/';

const SESSIONS: ClientCommand = {
  words: 'sessions', usage: '[LEASE …]', summary: 'who is there, what they hold, and for how long without a sign of life',
  takes: [0, Infinity], flags: [], formats: ['simple', 'table', 'json'],
  async run(invocation) {
    const client = invocation.connect();
    const wanted = invocation.args.map((word) => readLease(word));
    const leases = wanted.length > 0 ? wanted : (await client.leases()).ids;
    if (leases.length > SESSIONS_MAX) {
      throw new Refusal(`there are ${leases.length} leases`, 'name those that you want to know about', { exitCode: 1 });
    }
    const places = await placesIn(client);
    const infos = await leaseInfos(client, leases);
    const sessions = leases.flatMap((lease) => {
      const info = infos.get(lease);
      return info === undefined ? [] : [sessionOf(info, places)];
    });
    invocation.print(sessionsText(invocation, sessions.sort((a, b) => (a.lease < b.lease ? -1 : 1))));
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [SESSIONS];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('sessions', COMMANDS, argv);
}

/** Where an entry stands: 0 is one that holds. */
interface Place {
  readonly kind: 'lock' | 'election' | 'read lock' | 'write lock' | 'permits';
  readonly name: string;
  readonly place: number;
  readonly fence: number;
  readonly info: LockInfo;
  /** What a candidate says of itself; '' for all others. */
  readonly value: string;
}

interface SeenSession {
  readonly lease: LeaseId;
  readonly left: LeaseInfo;
  readonly who: LockInfo;
  readonly places: readonly Place[];
  readonly instances: readonly string[];
  /** Instances whose last word hangs on it. */
  readonly departures: readonly string[];
  /** Whatever else recipes have put on it, in words. */
  readonly others: readonly string[];
  readonly otherKeys: number;
}

async function placesIn(client: Client): Promise<ReadonlyMap<string, Place>> {
  const places = new Map<string, Place>();
  const put = (entry: Standing, at: Pick<Place, 'kind' | 'name' | 'place'>): void => {
    const { key, since, info, value } = entry;
    const isElection = at.kind === 'election';
    places.set(key, { ...at, fence: since, info: isElection ? {} : info, value: isElection ? text(value) : '' });
  };
  for (const [kind, root] of [['lock', LOCKS_ROOT], ['election', ELECTIONS_ROOT]] as const) {
    for (const { name, entries } of (await readLines(client, root, true)).lines) {
      entries.forEach((entry, place) => put(entry, { kind, name, place }));
    }
  }
  for (const [name, parts] of inParts((await readLines(client, RW_LOCKS_ROOT, true)).lines)) {
    const [readers, writers] = [parts.get('read') ?? [], parts.get('write') ?? []];
    const all = [...readers, ...writers].sort((a, b) => a.since - b.since);
    const firstWriter = all.findIndex((entry) => writers.includes(entry));
    const holders = firstWriter < 0 ? all.length : Math.max(1, firstWriter);
    all.forEach((entry, i) => {
      put(entry, { kind: writers.includes(entry) ? 'write lock' : 'read lock', name, place: Math.max(0, i - holders + 1) });
    });
  }
  for (const [name, parts] of inParts((await readLines(client, SEMAPHORES_ROOT, true)).lines)) {
    const [gate, permits] = [parts.get('gate') ?? [], parts.get('permits') ?? []];
    gate.forEach((entry, i) => put(entry, { kind: 'permits', name, place: i + 1 }));
    // The first at the gate stands among the permits, too, until it has them.
    const waits = permits.findLast(({ lease }) => lease === gate[0]?.lease);
    for (const entry of permits) put(entry, { kind: 'permits', name, place: entry === waits ? 1 : 0 });
  }
  return places;
}

/** Lines of one thing, by the last step of their names. */
function inParts(lines: readonly Line[]): ReadonlyMap<string, ReadonlyMap<string, readonly Standing[]>> {
  const things = new Map<string, Map<string, readonly Standing[]>>();
  for (const { name, entries } of lines) {
    const at = name.lastIndexOf('/');
    const thing = things.get(name.slice(0, at)) ?? new Map<string, readonly Standing[]>();
    things.set(name.slice(0, at), thing.set(name.slice(at + 1), entries));
  }
  return things;
}

function sessionOf(left: LeaseInfo, known: ReadonlyMap<string, Place>): SeenSession {
  const keys = left.keys.map(text).sort();
  const places = keys.flatMap((key) => known.get(key) ?? []);
  const named = (room: string): string[] => keys.flatMap((key) => {
    const [, service, id] = new RegExp(`^coterie/services/([^/]+)/${room}/([^/]+)$`).exec(key) ?? [];
    return service === undefined || id === undefined ? [] : [`${service}/${id}`];
  });
  const [instances, departures] = [named('instances'), named('departed')];
  const who = places.find(({ info }) => info.name !== undefined)?.info ?? {};
  const rest = keys.filter((key) => !known.has(key) && !/^coterie\/services\/[^/]+\/(?:instances|departed)\/[^/]+$/.test(key));
  const { words: others, unknown: otherKeys } = hangsOf(rest);
  return { lease: left.id, left, who, places, instances, departures, others, otherKeys };
}

function sessionsText(invocation: Invocation, sessions: readonly SeenSession[]): string {
  if (invocation.format === 'json') return `${json({ sessions: sessions.map(sessionJson) })}\n`;
  const draw = invocation.format === 'table' ? table : columns;
  const rows = sessions.map(({ lease, left, who, places, instances, departures, others, otherKeys }) => {
    const holds = places.filter(({ place }) => place === 0).map(({ kind, name }) => `${kind} ${plain(name)}`);
    const waits = places.filter(({ place }) => place > 0).map(({ kind, name, place }) => `${kind} ${plain(name)} (${place})`);
    const more = otherKeys === 0 ? [] : [`${otherKeys} other ${otherKeys === 1 ? 'key' : 'keys'}`];
    const value = places.find((one) => one.value !== '')?.value ?? '';
    const person = who.name === undefined ? plain(value).slice(0, WHO_MAX) : personOf(who, lease);
    const words = departures.map((name) => `last word of ${plain(name)}`);
    const hangs = [...holds, ...instances.map(plain), ...words, ...others.map(plain), ...more];
    return [hex(lease), leftText(left), person, hangs.join(', '), [...new Set(waits)].join(', ')];
  });
  return draw(['LEASE', 'LEFT', 'WHO', 'HOLDS', 'WAITS FOR'], rows);
}

function sessionJson({ lease, left, who, places, instances, departures, others, otherKeys }: SeenSession): Json {
  const at = (which: (place: Place) => boolean): Json => places.filter(which).map(({ kind, name, place, fence, value }) => {
    const said = kind === 'election' ? { value } : {};
    return place === 0 ? { kind, name, fence, ...said } : { kind, name, place, ...said };
  });
  return {
    lease: hex(lease), ttlSeconds: left.ttlSeconds, grantedTtlSeconds: left.grantedTtlSeconds, name: who.name, host: who.host,
    pid: who.pid, holds: at(({ place }) => place === 0), waits: at(({ place }) => place > 0), instances, departures, others,
    otherKeys,
  };
}
