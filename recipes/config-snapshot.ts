// The configuration read last, in a local file, so that an instance can start while the store is away. Written beside and
// renamed over, synced before, so a crash leaves the old one or the new one. What is read is believed only if its seal fits
// and it was confirmed recently enough; age is told by the caller's wall clock, since nothing else survives a restart.
//
// The file: one line of JSON { format, space, instance, version, confirmedAt, seal }, then the JSON text of the version.
// The seal is a checksum against damage; with `seal` it can be a signature against forgery. Not here: secrecy.

import { utf8 } from '../core/base/bytes.js';
import { checksum } from '../core/base/crc.js';
import { whenDone } from '../core/base/done.js';
import type { Files, FileStat } from '../core/base/files.js';
import { systemFiles } from '../core/base/files.js';
import { isPosition, readJson } from './topic-names.js';

const FORMAT = 1;
/** A version and its head line. */
const FILE_BYTES_MAX = 2 * 1024 * 1024;
/** A wall clock may be set back by that much without making a snapshot look as if it came from the future. */
const FUTURE_MS_MAX = 60_000;

export interface SnapshotOptions {
  readonly file: string;
  /** Older than this, counted from when it was last known to be current, it is refused. */
  readonly maxAgeMs: number;
  /** The wall clock, in milliseconds: `Date.now`. */
  readonly wallMs: () => number;
  /** What must stand in the file for these bytes, for instance an HMAC. Default: a checksum. */
  readonly seal?: (bytes: Uint8Array) => string;
  readonly files?: Files;
}

export interface SnapshotRecord {
  readonly space: string;
  readonly instance: string | null;
  readonly version: number;
  readonly content: Uint8Array;
}

export type RefusalReason = 'missing' | 'unreadable' | 'damaged' | 'foreign' | 'too_old' | 'from_the_future';

/** There is no local snapshot that may be used. */
export class SnapshotRefused extends Error {
  override readonly name = 'SnapshotRefused';
  readonly code = 'snapshot_refused';
  readonly reason: RefusalReason;

  constructor(file: string, reason: RefusalReason, why: string, cause?: unknown) {
    super(`the snapshot ${file} is not used: ${why}`, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

export async function writeSnapshot(options: SnapshotOptions, record: SnapshotRecord): Promise<void> {
  const { file, files = systemFiles } = options;
  const { space, instance, version, content } = record;
  const head = { format: FORMAT, space, instance, version, confirmedAt: options.wallMs() };
  const line = JSON.stringify({ ...head, seal: sealOf(options, head, content) });
  const staged = `${file}.new`;
  const left = await whenDone<FileStat | null>((done) => files.stat(staged, done));
  if (left !== null) await whenDone((done) => files.remove(staged, done));
  await whenDone((done) => files.append(staged, [utf8(`${line}\n`), content], done));
  await whenDone((done) => files.sync(staged, done));
  await whenDone((done) => files.rename(staged, file, done));
}

/** Rejects with `SnapshotRefused`. */
export async function readSnapshot(
  options: SnapshotOptions,
  wanted: { space: string; instance: string | null },
): Promise<SnapshotRecord & { readonly ageMs: number }> {
  const { file, maxAgeMs } = options;
  const bytes = await readWhole(options);
  const end = bytes.indexOf(0x0a);
  const head = end < 0 ? null : readJson(bytes.subarray(0, end));
  const content = bytes.subarray(end + 1);
  const { seal, ...rest } = head ?? {};
  if (head === null || seal !== sealOf(options, rest, content)) {
    throw new SnapshotRefused(file, 'damaged', 'its content does not fit its seal; delete it');
  }
  const { format, space, instance, version, confirmedAt } = rest;
  if (format !== FORMAT || space !== wanted.space || instance !== wanted.instance || !isPosition(version)) {
    const whose = `${String(space)}, instance ${String(instance)}, format ${String(format)}`;
    throw new SnapshotRefused(file, 'foreign', `it is of ${whose}; give each instance and space a file of its own`);
  }
  const ageMs = options.wallMs() - Number(confirmedAt);
  if (!(ageMs >= -FUTURE_MS_MAX)) {
    const why = `it was confirmed ${-ageMs} ms later than now, so its age is not known; set the clock`;
    throw new SnapshotRefused(file, 'from_the_future', why);
  }
  if (ageMs > maxAgeMs) {
    throw new SnapshotRefused(file, 'too_old', `it was last confirmed ${ageMs} ms ago, and at most ${maxAgeMs} are allowed`);
  }
  return { space: wanted.space, instance: wanted.instance, version, content, ageMs: Math.max(0, ageMs) };
}

async function readWhole({ file, files = systemFiles }: SnapshotOptions): Promise<Uint8Array> {
  try {
    const stat = await whenDone<FileStat | null>((done) => files.stat(file, done));
    if (stat === null) throw new SnapshotRefused(file, 'missing', 'there is none');
    if (stat.sizeBytes > FILE_BYTES_MAX) {
      throw new SnapshotRefused(file, 'damaged', `it has ${stat.sizeBytes} bytes, at most ${FILE_BYTES_MAX}; delete it`);
    }
    return await whenDone<Uint8Array>((done) => files.read(file, 0, stat.sizeBytes, done));
  } catch (error) {
    if (error instanceof SnapshotRefused) throw error;
    throw new SnapshotRefused(file, 'unreadable', error instanceof Error ? error.message : String(error), error);
  }
}

/** Over all of the file but the seal itself. */
function sealOf(options: SnapshotOptions, head: Readonly<Record<string, unknown>>, content: Uint8Array): string {
  const bytes = Buffer.concat([utf8(`${JSON.stringify(head)}\n`), content]);
  return options.seal === undefined ? checksum(bytes).toString(16).padStart(8, '0') : options.seal(bytes);
}
