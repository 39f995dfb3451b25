// Looking at a lock from outside, and asking its holder to give it back. Needs no session and stands in no line.
//
// Keys: coterie/wanted/<entry>   { fence, why }, on the holder's lease: it goes with the holder's entry or session

import { text, utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, KeyValue, LeaseId, OpResponse, Revision } from '../core/client.js';
import { created, opPut, opRange, prefixRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { wantedKey, writeWanted } from './holding.js';
import type { DelayRecord, LockInfo } from './lock-names.js';
import { lockNames, readDelay, readInfo } from './lock-names.js';

export const WHY_BYTES_MAX = 1024;
const WAITERS_MAX = 1_000;
/** Holders that change under the asking; each time the next one is asked. */
const ROUNDS_MAX = 5;

/** Somebody in a lock's line. */
export interface LockEntry {
  readonly key: string;
  /** Its session. */
  readonly lease: LeaseId;
  /** The create revision: where it stands in the line, and the holder's fence. */
  readonly since: Revision;
  /** Empty where its value is not ours to read. */
  readonly info: LockInfo;
  readonly value: Uint8Array;
}

export interface LockState {
  /** At this revision. */
  readonly revision: Revision;
  readonly holder: LockEntry | null;
  /** In the order in which they will hold it; at most the first 1,000. */
  readonly waiters: readonly LockEntry[];
  /** All of them. */
  readonly waiting: number;
  /** What a lost holder left: while `holder` is not its owner, the first in line waits for it. */
  readonly delay: DelayRecord | null;
}

export interface LockStateOptions extends CallOptions {
  readonly root?: string;
}

/**
 * Who stands first and who behind, at one revision. The first one's entry is the holder's, except while a delay or a plain
 * key keeps it waiting.
 */
export async function lockState(client: Client, name: string, options: LockStateOptions = {}): Promise<LockState> {
  const { root, ...call } = options;
  const { line, delay } = lockNames(name, root);
  const { key, rangeEnd } = prefixRange(utf8(line));
  const entries = opRange(key, { rangeEnd, sortTarget: 'create', sortOrder: 'ascend', limit: WAITERS_MAX + 1 });
  const answer = await client.txn({ success: [entries, opRange(delay)] }, call);
  const [inLine, left] = answer.responses.map(rangeIn);
  const [holder, ...waiters] = (inLine?.kvs ?? []).map(readLockEntry);
  return {
    revision: answer.header.revision,
    holder: holder ?? null,
    waiters,
    waiting: Math.max(0, (inLine?.count ?? 0) - 1),
    delay: readDelay(left?.kvs[0]),
  };
}

/**
 * Asks the present holder, whose `wanted` aborts with `why`. Returns whom it asked; null when nobody holds it. A holder that
 * is not ours, or does not look at `wanted`, will not notice. Nothing is taken away from anybody.
 */
export async function requestRelease(
  client: Client,
  name: string,
  why: string,
  options: LockStateOptions = {},
): Promise<LockEntry | null> {
  const { length } = utf8(why);
  if (length > WHY_BYTES_MAX) {
    throw new ApiError('invalid_request', { detail: `why has ${length} bytes; give at most ${WHY_BYTES_MAX}` });
  }
  const { root, ...call } = options;
  const { key, rangeEnd } = prefixRange(utf8(lockNames(name, root).line));
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const range = { key, rangeEnd, sortTarget: 'create', sortOrder: 'ascend', limit: 1 } as const;
    const [first] = (await client.range(range, call)).kvs;
    if (first === undefined) return null;
    const asked = await ask(client, first, why, call);
    if (asked) return readLockEntry(first);
  }
  return null;
}

/** False: it is not there any more. */
async function ask(client: Client, entry: KeyValue, why: string, call: CallOptions): Promise<boolean> {
  const since = entry.createRevision;
  // Without a lease it is not ours, and what is asked of it would stay for ever.
  if (entry.lease === 0n) return true;
  try {
    const answer = await client.txn({
      compare: [created(entry.key, '=', since)],
      success: [opPut(wantedKey(entry.key), writeWanted(since, why), { lease: entry.lease })],
    }, call);
    return answer.succeeded;
  } catch (error) {
    if (isApiError(error, 'lease_not_found')) return false;
    throw error;
  }
}

function readLockEntry(kv: KeyValue): LockEntry {
  const { key, value, lease, createRevision } = kv;
  return { key: text(key), lease, since: createRevision, info: readInfo(value), value };
}

function rangeIn(answer: OpResponse): { readonly kvs: readonly KeyValue[]; readonly count: number } | null {
  return answer.kind === 'range' ? answer.response : null;
}
