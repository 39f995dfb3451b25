// Whole small files on the `Files` door: read, stage beside the target, replace. All names the sidecar makes lie in the
// target's own folder (a rename must not cross file systems) and start with a dot, so that a wildcard include of nginx or a
// folder given to HAProxy never picks them up.
//
//   .coterie-<target>.staged    the next content, complete and synced, before it replaces the target
//   .coterie-<target>.kept      the last content known to run, to go back to
//   .coterie-<target>.journal   the next content while it is written in place (a bind mount cannot be renamed over)
//   .coterie-<target>.planned   as staged, for a plan that is only looked at
//   .coterie-<target>.lock, .coterie-<target>.state   see sidecar.ts

import type { FileAttributes, FileStat, Files } from '../core/base/files.js';
import { whenDone } from '../core/base/done.js';

export const FILE_BYTES_MAX = 64_000_000;

export type Companion = 'staged' | 'planned' | 'kept' | 'journal' | 'lock' | 'state';

/** The path of a companion of `target`. */
export function beside(target: string, what: Companion): string {
  const slash = target.lastIndexOf('/') + 1;
  return `${target.slice(0, slash)}.coterie-${target.slice(slash)}.${what}`;
}

export function folderOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

export function statOf(files: Files, path: string): Promise<FileStat | null> {
  return whenDone((done) => files.stat(path, done));
}

/**
 * The file that is meant by `target`: where a symbolic link leads, else the path itself. Rejects for a link that leads to
 * nothing: to rename over it would put a file in the link's place, and the file it names would never come.
 */
export async function resolved(files: Files, target: string): Promise<string> {
  const stat = await statOf(files, target);
  if (stat !== null) return stat.realPath;
  const folder = folderOf(target);
  const missing = (await statOf(files, folder)) === null;
  if (missing) throw new Error(`${target} cannot be written: there is no folder ${folder}; create it`);
  const names = await whenDone<readonly string[]>((done) => files.list(folder, done));
  if (!names.includes(target.slice(target.lastIndexOf('/') + 1))) return target;
  throw new Error(`${target} is a symbolic link that leads to nothing; create the file it names, or remove the link`);
}

/** The whole content; null when there is no such file. */
export async function readWhole(files: Files, path: string): Promise<Uint8Array | null> {
  const stat = await statOf(files, path);
  if (stat === null) return null;
  if (stat.kind !== 'file') throw new Error(`${path} is a ${stat.kind}, not a file`);
  if (stat.sizeBytes > FILE_BYTES_MAX) throw new Error(`${path} has ${stat.sizeBytes} bytes; ${FILE_BYTES_MAX} are allowed`);
  return whenDone((done) => files.read(path, 0, stat.sizeBytes, done));
}

/** The start of a file whose size is not told, such as those under /proc; null when it cannot be read. */
export async function readStart(files: Files, path: string, sizeBytes: number): Promise<string | null> {
  try {
    return Buffer.from(await whenDone<Uint8Array>((done) => files.read(path, 0, sizeBytes, done))).toString('utf8');
  } catch (error) {
    if (codeOf(error) === null) throw error;
    return null;
  }
}

export async function removeIfThere(files: Files, path: string): Promise<void> {
  try {
    await whenDone<void>((done) => files.remove(path, done));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

/** Writes aside and renames: at every moment `path` is what it was or what it shall be. */
export async function writeWhole(files: Files, path: string, bytes: Uint8Array, attributes: FileAttributes): Promise<void> {
  await writeNew(files, `${path}.new`, bytes, attributes);
  await whenDone<void>((done) => files.rename(`${path}.new`, path, done));
}

/** A new file with exactly these bytes, synced. Whatever lay there before is gone. */
export async function writeNew(files: Files, path: string, bytes: Uint8Array, attributes: FileAttributes): Promise<void> {
  await removeIfThere(files, path);
  await whenDone<void>((done) => files.append(path, [bytes], done));
  await whenDone<void>((done) => files.setAttributes(path, attributes, done));
  await whenDone<void>((done) => files.sync(path, done));
  await whenDone<void>((done) => files.close(path, done));
}

/**
 * Puts a staged file in the place of its target: by rename, in one step; where the target is a mount point, in place, with
 * the content kept in a journal until it is done, so that a crash in between is repaired by `repair`.
 */
export async function replace(files: Files, staged: string, target: string): Promise<'renamed' | 'in_place'> {
  try {
    await whenDone<void>((done) => files.rename(staged, target, done));
    return 'renamed';
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'EBUSY' && code !== 'EXDEV') throw error;
  }
  const journal = beside(target, 'journal');
  await whenDone<void>((done) => files.rename(staged, journal, done));
  await overwrite(files, journal, target);
  return 'in_place';
}

/** Ends an in-place write that a crash cut short. True when there was one. */
export async function repair(files: Files, target: string): Promise<boolean> {
  const journal = beside(target, 'journal');
  if ((await statOf(files, journal)) === null) return false;
  await overwrite(files, journal, target);
  return true;
}

// The journal appeared by rename, so it is complete whenever it is there.
async function overwrite(files: Files, journal: string, target: string): Promise<void> {
  const bytes = (await readWhole(files, journal)) ?? new Uint8Array(0);
  await whenDone<void>((done) => files.truncate(target, 0, done));
  await whenDone<void>((done) => files.append(target, [bytes], done));
  await whenDone<void>((done) => files.sync(target, done));
  await whenDone<void>((done) => files.close(target, done));
  await removeIfThere(files, journal);
}

/** What the system calls the failure, such as 'ENOENT'; null when it is not the system's. */
export function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

/** A user or group number, from a number or a name in /etc/passwd or /etc/group. */
export async function principalId(files: Files, kind: 'owner' | 'group', who: string | number): Promise<number> {
  if (typeof who === 'number') return who;
  const list = kind === 'owner' ? '/etc/passwd' : '/etc/group';
  const bytes = await readWhole(files, list);
  const lines = bytes === null ? [] : Buffer.from(bytes).toString('utf8').split('\n');
  const id = lines.map((line) => line.split(':')).find((fields) => fields[0] === who)?.[2];
  if (id === undefined || !/^\d+$/.test(id)) {
    throw new Error(`${kind} "${who}" is not in ${list}; name one that is, or give a number`);
  }
  return Number(id);
}
