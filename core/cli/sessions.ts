// `coterie sessions`: every lease, how long it still has without a sign of life, who keeps it alive, and what hangs on it.
// Reads; changes nothing.

import { text } from '../base/bytes.js';
import type { Client, LeaseId, LeaseInfo } from '../client.js';
import { ELECTIONS_ROOT } from '../../recipes/election-state.js';
import { LOCKS_ROOT, type LockInfo } from '../../recipes/lock-names.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { leaseInfos, leftText, personOf, readLines } from './lines.js';
import { columns, hex, json, plain, table, type Json } from './output.js';
import { Refusal } from './refusal.js';

/** Leases that are asked about one by one. */
const SESSIONS_MAX = 10_000;
/** Of what a candidate says of itself; all of it stands in JSON. */
const WHO_MAX = 60;

const SESSIONS: ClientCommand = {
  words: 'sessions', usage: '[LEASE …]', summary: 'who is there, what they hold, and for how long without a sign of life',
  takes: [0, Infinity], flags: [], formats: ['simple', 'table', 'json'],
  async run(invocation) {
    const client = invocation.connect();
    const wanted = invocation.args.map(readLease);
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

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('sessions', [SESSIONS], argv);
}

function readLease(word: string): LeaseId {
  if (/^[0-9a-f]{1,16}$/i.test(word)) return BigInt(`0x${word}`);
  throw new Refusal(`${word}: not a lease`, 'leases are hex, as coterie sessions prints them');
}

/** Where an entry stands: 0 is the one that holds. */
interface Place {
  readonly kind: 'lock' | 'election';
  readonly name: string;
  readonly place: number;
  readonly fence: number;
  readonly info: LockInfo;
  /** What a candidate says of itself; '' for a lock. */
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
  readonly otherKeys: number;
}

async function placesIn(client: Client): Promise<ReadonlyMap<string, Place>> {
  const places = new Map<string, Place>();
  for (const [kind, root] of [['lock', LOCKS_ROOT], ['election', ELECTIONS_ROOT]] as const) {
    for (const { name, entries } of (await readLines(client, root, true)).lines) {
      entries.forEach(({ key, since, info, value }, place) => {
        const said = kind === 'election' ? text(value) : '';
        places.set(key, { kind, name, place, fence: since, info: kind === 'lock' ? info : {}, value: said });
      });
    }
  }
  return places;
}

function sessionOf(left: LeaseInfo, known: ReadonlyMap<string, Place>): SeenSession {
  const keys = left.keys.map(text);
  const places = keys.flatMap((key) => known.get(key) ?? []);
  const named = (room: string): string[] => keys.flatMap((key) => {
    const [, service, id] = new RegExp(`^coterie/services/([^/]+)/${room}/([^/]+)$`).exec(key) ?? [];
    return service === undefined || id === undefined ? [] : [`${service}/${id}`];
  });
  const [instances, departures] = [named('instances'), named('departed')];
  const who = places.find(({ info }) => info.name !== undefined)?.info ?? {};
  const otherKeys = keys.length - places.length - instances.length - departures.length;
  return { lease: left.id, left, who, places, instances, departures, otherKeys };
}

function sessionsText(invocation: Invocation, sessions: readonly SeenSession[]): string {
  if (invocation.format === 'json') return `${json({ sessions: sessions.map(sessionJson) })}\n`;
  const draw = invocation.format === 'table' ? table : columns;
  const rows = sessions.map(({ lease, left, who, places, instances, departures, otherKeys }) => {
    const holds = places.filter(({ place }) => place === 0).map(({ kind, name }) => `${kind} ${plain(name)}`);
    const waits = places.filter(({ place }) => place > 0).map(({ kind, name, place }) => `${kind} ${plain(name)} (${place})`);
    const others = otherKeys === 0 ? [] : [`${otherKeys} other ${otherKeys === 1 ? 'key' : 'keys'}`];
    const value = places.find((one) => one.value !== '')?.value ?? '';
    const person = who.name === undefined ? plain(value).slice(0, WHO_MAX) : personOf(who, lease);
    const words = departures.map((name) => `last word of ${plain(name)}`);
    const hangs = [...holds, ...instances.map(plain), ...words, ...others];
    return [hex(lease), leftText(left), person, hangs.join(', '), waits.join(', ')];
  });
  return draw(['LEASE', 'LEFT', 'WHO', 'HOLDS', 'WAITS FOR'], rows);
}

function sessionJson({ lease, left, who, places, instances, departures, otherKeys }: SeenSession): Json {
  const at = (which: (place: Place) => boolean): Json => places.filter(which).map(({ kind, name, place, fence, value }) => {
    const said = kind === 'election' ? { value } : {};
    return place === 0 ? { kind, name, fence, ...said } : { kind, name, place, ...said };
  });
  return {
    lease: hex(lease), ttlSeconds: left.ttlSeconds, grantedTtlSeconds: left.grantedTtlSeconds, name: who.name, host: who.host,
    pid: who.pid, holds: at(({ place }) => place === 0), waits: at(({ place }) => place > 0), instances, departures, otherKeys,
  };
}
