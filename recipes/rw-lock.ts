// The read/write lock: any number of readers, or one writer. First come first served: a reader waits for every writer that
// came before it, a writer for everybody who did, so neither starves the other. A writer that leaves wakes the readers right
// behind it at once; whoever else leaves wakes at most one. The layout is that of etcd's own recipe in Go.
//
// Keys: <root><name>/read/<lease hex><mark>     a reader; the value is JSON for people, as a lock's
//       <root><name>/write/<lease hex><mark>    a writer
// The root is `coterie/rwlocks/`; see rooted-names.ts for names under another one.
//
// Fences: of two holders that exclude each other the later one's is higher. Readers that share have fences of their own.
// What no lock can promise: see held.ts. Not here: turning a reader into a writer, which two of them could not both do.

import { text, utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, KeyValue, LeaseId, Revision } from '../core/client.js';
import { prefixRange } from '../core/client.js';
import type { HeldLock } from './lock.js';
import type { LineOptions, Place, Rule } from './line.js';
import { acquire, behind, behindAll, tryAcquire } from './line.js';
import type { LockInfo } from './lock-names.js';
import { readInfo, writeInfo } from './lock-names.js';
import { rootedPath } from './rooted-names.js';
import type { Session } from './session.js';

const ROOT = 'coterie/rwlocks/';
/** So many are shown, those that came first. */
const ENTRIES_MAX = 1_000;

export interface RwLockOptions extends LineOptions {
  /** The prefix of the lock's keys; default `coterie/rwlocks/`. */
  readonly root?: string;
  /** Shown to whoever looks at the lock. */
  readonly info?: LockInfo;
}

/** Resolves when no writer holds it, nor waits for it since before us. See `acquire` in line.ts for how it rejects. */
export async function readLock(session: Session, name: string, options: RwLockOptions = {}): Promise<HeldLock> {
  return acquire(session, reading(session, name, options), options);
}

/** Resolves when nobody else holds it, nor waits for it since before us. */
export async function writeLock(session: Session, name: string, options: RwLockOptions = {}): Promise<HeldLock> {
  return acquire(session, writing(session, name, options), options);
}

/** Null when a writer holds it or waits for it; then nothing was written. */
export async function tryReadLock(session: Session, name: string, options: RwLockOptions = {}): Promise<HeldLock | null> {
  return tryAcquire(session, reading(session, name, options), options);
}

/** Null when anybody holds it or waits for it; then nothing was written. */
export async function tryWriteLock(session: Session, name: string, options: RwLockOptions = {}): Promise<HeldLock | null> {
  return tryAcquire(session, writing(session, name, options), options);
}

export interface RwLockEntry {
  readonly key: string;
  readonly kind: 'read' | 'write';
  readonly lease: LeaseId;
  /** The create revision: where it stands in the line, and its fence. */
  readonly since: Revision;
  readonly info: LockInfo;
}

export interface RwLockState {
  readonly revision: Revision;
  /** One writer, or readers. */
  readonly holders: readonly RwLockEntry[];
  /** In the order of the line. */
  readonly waiters: readonly RwLockEntry[];
  /** Of those who hold and wait only the first 1,000 are shown. */
  readonly more: boolean;
}

/** Who holds it and who waits, at one revision. */
export async function rwLockState(
  client: Client,
  name: string,
  options: CallOptions & { readonly root?: string } = {},
): Promise<RwLockState> {
  const { root, ...call } = options;
  const path = rootedPath('lock', name, ROOT, root);
  const request = { ...prefixRange(utf8(`${path}/`)), sortTarget: 'create', sortOrder: 'ascend', limit: ENTRIES_MAX } as const;
  const { header, kvs, more } = await client.range(request, call);
  const entries = kvs.map((kv) => readEntry(kv, `${path}/write/`));
  const at = entries.findIndex(({ kind }) => kind === 'write');
  const readers = at < 0 ? entries.length : at;
  const held = readers > 0 ? readers : Math.min(1, entries.length);
  return { revision: header.revision, holders: entries.slice(0, held), waiters: entries.slice(held), more };
}

function reading(session: Session, name: string, options: RwLockOptions): Place {
  const path = rootedPath('lock', name, ROOT, options.root);
  return placed(session, { name, what: `read lock ${name}`, line: `${path}/read/` }, behind(`${path}/write/`, false), options);
}

function writing(session: Session, name: string, options: RwLockOptions): Place {
  const path = rootedPath('lock', name, ROOT, options.root);
  return placed(session, { name, what: `write lock ${name}`, line: `${path}/write/` }, behindAll(`${path}/`), options);
}

function placed(
  session: Session,
  place: Pick<Place, 'name' | 'what' | 'line'>,
  rule: Rule,
  options: RwLockOptions,
): Place {
  return { ...place, rule, value: writeInfo({ name: session.name, ...options.info }) };
}

function readEntry(kv: KeyValue, writers: string): RwLockEntry {
  const key = text(kv.key);
  const kind = key.startsWith(writers) ? 'write' : 'read';
  return { key, kind, lease: kv.lease, since: kv.createRevision, info: readInfo(kv.value) };
}
