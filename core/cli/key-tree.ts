// Keys as a tree, split at slashes: what `coterie ls` and `coterie tree` show. Read page by page at one revision, without
// values; what lies deeper than asked for is jumped over, so that listing a few folders of a million keys costs a few pages.

import { OPEN_END, prefixEnd, utf8 } from '../base/bytes.js';
import { prefixRange, type Client, type KeyValue } from '../client.js';
import { Refusal } from './refusal.js';

/** Keys read in one answer. */
const PAGE_KEYS = 500;
/** Entries shown; whoever has more looks at a part. */
const ENTRIES_MAX = 100_000;
const SLASH = 0x2f;

export interface Entry {
  /** A whole key, or the beginning that keys of a folder share, the slash included. */
  readonly path: Uint8Array;
  /** Null: a folder. */
  readonly kv: KeyValue | null;
}

export interface Listing {
  readonly revision: number;
  /** In the order of the keys; a folder stands where the first of its keys would. */
  readonly entries: readonly Entry[];
}

/** What stands under `prefix`, at most `depth` levels down; a folder at the last level stands for all that is in it. */
export async function listKeys(client: Client, prefix: string, depth: number): Promise<Listing> {
  const root = utf8(prefix);
  const { key, rangeEnd } = prefixRange(root);
  const entries: Entry[] = [];
  let [from, revision]: [Uint8Array, number] = [key, 0];
  for (;;) {
    const answer = await client.range({ key: from, rangeEnd, revision, limit: PAGE_KEYS, keysOnly: true });
    if (revision === 0) revision = answer.header.revision;
    let folder: Uint8Array | null = null;
    for (const kv of answer.kvs) {
      if (folder !== null && startsWith(kv.key, folder)) continue;
      folder = folderOf(kv.key, root.length, depth);
      entries.push(folder === null ? { path: kv.key, kv } : { path: folder, kv: null });
    }
    if (entries.length > ENTRIES_MAX) {
      const remedy = 'name a part of it, or a smaller --depth';
      throw new Refusal(`more than ${ENTRIES_MAX} entries under '${prefix}'`, remedy, { exitCode: 1 });
    }
    const last = answer.kvs.at(-1);
    if (!answer.more || last === undefined) return { revision, entries };
    from = folder === null ? Buffer.concat([last.key, OPEN_END]) : prefixEnd(folder);
    if (Buffer.compare(from, OPEN_END) === 0) return { revision, entries };
  }
}

/** The first `depth` steps of a key that has more of them. */
function folderOf(key: Uint8Array, from: number, depth: number): Uint8Array | null {
  let slashes = 0;
  for (let at = from; at < key.length; at++) {
    if (key[at] !== SLASH) continue;
    slashes += 1;
    if (slashes === depth) return key.subarray(0, at + 1);
  }
  return null;
}

function startsWith(key: Uint8Array, start: Uint8Array): boolean {
  return key.length >= start.length && Buffer.compare(key.subarray(0, start.length), start) === 0;
}

/** The steps of a path behind `from`; what ends in a slash has no empty last step. */
export function stepsOf(path: Uint8Array, from: number): Uint8Array[] {
  const steps: Uint8Array[] = [];
  let start = from;
  for (let at = from; at < path.length; at++) {
    if (path[at] !== SLASH) continue;
    steps.push(path.subarray(start, at + 1));
    start = at + 1;
  }
  return start < path.length ? [...steps, path.subarray(start)] : steps;
}

