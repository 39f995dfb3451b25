// Door 2: the disk. As low as it can be: files, bytes, names. So the simulator runs the real log on a disk that tears
// writes and loses what was not synced. Paths are absolute or relative to the process; the caller joins them with '/'.
//
// Rules every implementation keeps (test/contract/files.contract.ts):
//   - `done` is called exactly once, from a later turn. An error is the operating system's, with its `code`.
//   - Calls on one file take effect in call order. `append` writes all of its bytes or fails.
//   - After `sync(file)` bytes and size are durable. After `rename` or `remove` the directory is synced as well.
//   - A missing file is an error for everything except `stat` (null) and `append` (which creates it).

import type { Done } from './done.js';

export interface FileStat {
  readonly kind: 'file' | 'directory' | 'other';
  readonly sizeBytes: number;
  /** Permission bits only, such as 0o644. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Where a symbolic link leads, resolved; the path itself otherwise. */
  readonly realPath: string;
}

export interface Files {
  /** Writes at the end, creating the file when missing. Several pieces go out in one call, in order. */
  append(file: string, pieces: readonly Uint8Array[], done: Done): void;
  /** Up to `sizeBytes` bytes from offset `from`; fewer only at the end of the file. */
  read(file: string, from: number, sizeBytes: number, done: Done<Uint8Array>): void;
  truncate(file: string, sizeBytes: number, done: Done): void;
  /** fdatasync: bytes and size are durable when done. */
  sync(file: string, done: Done): void;
  /** Replaces `to`; durable when done, directory included. */
  rename(from: string, to: string, done: Done): void;
  /** Durable when done, directory included. */
  remove(file: string, done: Done): void;
  /** Names, not paths, sorted by code unit. */
  list(directory: string, done: Done<readonly string[]>): void;
  /** Creates missing parents too; durable when done. An existing directory is fine. `mode` is that of new ones. */
  makeDirectory(directory: string, mode: number, done: Done): void;
  /** Follows symbolic links; null when nothing is there. */
  stat(file: string, done: Done<FileStat | null>): void;
  /** Sets permission bits and, where the process may, owner and group. */
  setAttributes(file: string, attributes: FileAttributes, done: Done): void;
  /** Releases what is kept open for `file`; bytes not synced stay in the system's cache. */
  close(file: string, done: Done): void;
}

export interface FileAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}
