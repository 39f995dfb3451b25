// Lines of waiters as they stand in the store, for commands that look at all of them: which entry is whose, who is first,
// and how long each session still has. Everything is read, nothing is written, and nothing found is believed to be ours:
// an entry is one whose key ends in the number of its own lease, which is how etcd's layout can be told from other keys.

import { text, utf8 } from '../base/bytes.js';
import type { Client, KeyValue, LeaseId, LeaseInfo, Revision } from '../client.js';
import { opRange, prefixRange } from '../client.js';
import type { RemoteClient } from '../wire/remote-client.js';
import type { LockInfo } from '../../recipes/lock-names.js';
import { readInfo } from '../../recipes/lock-names.js';
import { hex, plain } from './output.js';
import { Refusal } from './refusal.js';

/** Keys read in one answer. */
const PAGE_KEYS = 1_000;
/** Of one root; whoever has more must look more closely. */
const KEYS_MAX = 100_000;
/** Values read in one transaction, of at most a few KiB each. */
const PAGE_VALUES = 64;
/** Questions about leases under way at once. */
const ASKED_MAX = 16;

export interface Standing {
  readonly key: string;
  readonly lease: LeaseId;
  /** The create revision: the holder's fence. */
  readonly since: Revision;
  readonly value: Uint8Array;
  readonly info: LockInfo;
}

export interface Line {
  /** As it is called by those who stand in it. */
  readonly name: string;
  /** In the order in which it will be theirs. */
  readonly entries: readonly [Standing, ...Standing[]];
}

export interface Lines {
  readonly revision: Revision;
  /** Sorted by name. */
  readonly lines: readonly Line[];
}

/** All lines under `root`, at one revision. `escaped`: slashes in names are written as %2F there. */
export async function readLines(client: Client, root: string, escaped: boolean): Promise<Lines> {
  const { kvs, revision } = await keysUnder(client, root);
  const found = kvs.flatMap((kv) => {
    const path = lineOf(kv);
    return path === null ? [] : [{ kv, name: path.slice(root.length) }];
  });
  const values = await valuesOf(client, found.map(({ kv }) => kv), revision);
  const lines = new Map<string, Standing[]>();
  found.forEach(({ kv, name }, i) => {
    const value = values[i] ?? kv.value;
    const entry = { key: text(kv.key), lease: kv.lease, since: kv.createRevision, value, info: readInfo(value) };
    const called = escaped ? unescaped(name) : name;
    lines.set(called, [...(lines.get(called) ?? []), entry]);
  });
  const sorted = [...lines].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    revision,
    lines: sorted.flatMap(([name, all]) => {
      const [first, ...others] = all.sort((a, b) => a.since - b.since);
      return first === undefined ? [] : [{ name, entries: [first, ...others] }];
    }),
  };
}

/** What stands before `/<lease hex>…`; null: not an entry of a line. */
function lineOf({ key, lease }: KeyValue): string | null {
  const [, path, own] = /^(.*)\/([0-9a-f]+)(?:[-~.][^/]*)?$/s.exec(text(key)) ?? [];
  return path === undefined || lease === 0n || own !== hex(lease) ? null : path;
}

function unescaped(name: string): string {
  return name.replace(/%2F/g, '/').replace(/%25/g, '%');
}

/** Everything under `root`, at one revision. */
export async function readUnder(client: Client, root: string): Promise<{ kvs: readonly KeyValue[]; revision: Revision }> {
  const { kvs, revision } = await keysUnder(client, root);
  const values = await valuesOf(client, kvs, revision);
  return { kvs: kvs.map((kv, i) => ({ ...kv, value: values[i] ?? kv.value })), revision };
}

async function keysUnder(client: Client, root: string): Promise<{ kvs: readonly KeyValue[]; revision: Revision }> {
  const { rangeEnd, key: start } = prefixRange(utf8(root));
  const kvs: KeyValue[] = [];
  let [key, revision] = [start, 0];
  for (;;) {
    const answer = await client.range({ key, rangeEnd, revision, limit: PAGE_KEYS, keysOnly: true });
    if (revision === 0) revision = answer.header.revision;
    kvs.push(...answer.kvs);
    const last = answer.kvs.at(-1);
    if (!answer.more || last === undefined) return { kvs, revision };
    if (kvs.length >= KEYS_MAX) {
      const remedy = 'name one of them, or a narrower --root';
      throw new Refusal(`more than ${KEYS_MAX} keys begin with ${JSON.stringify(root)}`, remedy, { exitCode: 1 });
    }
    key = Buffer.concat([last.key, Buffer.of(0)]);
  }
}

async function valuesOf(client: Client, kvs: readonly KeyValue[], revision: Revision): Promise<readonly Uint8Array[]> {
  const values: Uint8Array[] = [];
  for (let from = 0; from < kvs.length; from += PAGE_VALUES) {
    const success = kvs.slice(from, from + PAGE_VALUES).map(({ key }) => opRange(key, { revision }));
    const { responses } = await client.txn({ success });
    for (const response of responses) {
      values.push(response.kind === 'range' ? response.response.kvs[0]?.value ?? new Uint8Array() : new Uint8Array());
    }
  }
  return values;
}

/** How long each still has, as the leader counts; a lease that has gone meanwhile is not among them. */
export async function leaseInfos(client: RemoteClient, leases: Iterable<LeaseId>): Promise<ReadonlyMap<LeaseId, LeaseInfo>> {
  const asked = [...new Set(leases)];
  const infos = new Map<LeaseId, LeaseInfo>();
  for (let from = 0; from < asked.length; from += ASKED_MAX) {
    const some = asked.slice(from, from + ASKED_MAX);
    for (const info of await Promise.all(some.map((lease) => client.leaseInfo(lease, { keys: true })))) {
      if (info.ttlSeconds >= 0) infos.set(info.id, info);
    }
  }
  return infos;
}

/** `8s of 10s`. */
export function leftText(info: LeaseInfo | undefined): string {
  return info === undefined ? 'gone' : `${info.ttlSeconds}s of ${info.grantedTtlSeconds}s`;
}

/** `backup (pid 12 on web1)`, or what there is to be said. */
export function personOf(info: LockInfo, lease: LeaseId): string {
  const pid = info.pid === undefined ? null : `pid ${info.pid}`;
  const place = [pid, info.host === undefined ? null : `on ${info.host}`].filter((part) => part !== null).join(' ');
  const name = info.name ?? `lease ${hex(lease)}`;
  return plain(place === '' ? name : `${name} (${place})`);
}
