// Where a lock has its keys, and what it writes there: for the lock itself and for whoever looks at one.
//
// Keys: <root><name>/<lease hex><mark>          an entry of the line; the value is JSON for people (see LockInfo)
//       <root><name>                            only with `plainKey`: what clients lock that know no line
//       coterie/delayed/<root><name>/           only with `lossDelayMs`: { fence, delayMs } of the holder
// The root is `coterie/locks/`; under it a slash in a name is written as %2F (and % as %25), so that the lock `a` and the
// lock `a/b` are two lines. Under any other root the name stands as it is, because others write it too: there a lock `a`
// also waits for who came before it to `a/b`, as it does for everybody who uses etcd's layout.

import { equalBytes, text, utf8 } from '../core/base/bytes.js';
import type { KeyValue, Revision } from '../core/client.js';
import { ApiError } from '../core/errors.js';

export const LOCKS_ROOT = 'coterie/locks/';
const DELAYED = 'coterie/delayed/';
export const NAME_BYTES_MAX = 512;
export const INFO_BYTES_MAX = 4 * 1024;
export const DELAY_MS_MAX = 24 * 3_600_000;

/** Who is that, for whoever looks at the lock. Nothing is decided by it. */
export interface LockInfo {
  /** Default: the session's. */
  readonly name?: string;
  readonly host?: string;
  readonly pid?: number;
  readonly info?: string;
}

export interface LockNames {
  readonly line: string;
  readonly plain: Uint8Array;
  readonly delay: Uint8Array;
}

/** Throws `invalid_request`, naming the value, unless a lock may be called that. */
export function lockNames(name: string, root: string = LOCKS_ROOT): LockNames {
  const path = `${root}${root === LOCKS_ROOT ? escapeName(String(name)) : name}`;
  const { length } = utf8(path);
  if (typeof name !== 'string' || name === '' || length > NAME_BYTES_MAX || /[\p{Cc}\p{Surrogate}]/u.test(path)) {
    const given = JSON.stringify(String(name)).slice(0, 80);
    const detail = `the lock's name is ${given}; give 1 to ${NAME_BYTES_MAX} bytes with its root, no control characters`;
    throw new ApiError('invalid_request', { detail });
  }
  return { line: `${path}/`, plain: utf8(path), delay: utf8(`${DELAYED}${path}/`) };
}

export function escapeName(name: string): string {
  return name.replace(/[%/]/g, encodeURIComponent);
}

export function writeInfo(info: LockInfo): Uint8Array {
  const { name, host, pid, info: more } = info;
  const value = utf8(JSON.stringify({ name, host, pid, info: more }));
  if (value.length <= INFO_BYTES_MAX) return value;
  const detail = `the lock's info takes ${value.length} bytes as JSON, at most ${INFO_BYTES_MAX}; shorten it`;
  throw new ApiError('invalid_request', { detail });
}

/** What others wrote may be anything; then it says nothing. */
export function readInfo(value: Uint8Array): LockInfo {
  const found = readObject(value);
  if (found === null) return {};
  const { name, host, pid, info } = found;
  return {
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof host === 'string' ? { host } : {}),
    ...(typeof pid === 'number' ? { pid } : {}),
    ...(typeof info === 'string' ? { info } : {}),
  };
}

/** What a holder leaves behind unless it releases. */
export interface DelayRecord {
  readonly fence: Revision;
  readonly delayMs: number;
}

export function writeDelay(record: DelayRecord): Uint8Array {
  return utf8(JSON.stringify({ fence: record.fence, delayMs: record.delayMs }));
}

/** Null: nobody's, or not readable; then there is no delay. */
export function readDelay(kv: KeyValue | undefined): DelayRecord | null {
  const found = kv === undefined ? null : readObject(kv.value);
  if (found === null || typeof found['fence'] !== 'number' || typeof found['delayMs'] !== 'number') return null;
  const { fence, delayMs } = found;
  return delayMs > 0 ? { fence, delayMs: Math.min(delayMs, DELAY_MS_MAX) } : null;
}

/** The plain key's value; the fence makes it differ from one acquisition to the next. */
export function writePlain(value: Uint8Array, fence: Revision): Uint8Array {
  return utf8(JSON.stringify({ ...readInfo(value), fence }));
}

export function isValue(kv: KeyValue | undefined, value: Uint8Array): boolean {
  return kv !== undefined && equalBytes(kv.value, value);
}

function readObject(value: Uint8Array): Record<string, unknown> | null {
  try {
    const found: unknown = JSON.parse(text(value));
    return typeof found === 'object' && found !== null ? { ...found } : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
