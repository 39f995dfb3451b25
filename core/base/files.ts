// Door 2: the disk. As low as it can be: files, bytes, names. So the simulator runs the real log on a disk that tears
// writes and loses what was not synced. Paths are absolute or relative to the process; the caller joins them with '/'.
//
// Rules every implementation keeps (test/contract/files.contract.ts):
//   - `done` is called exactly once, from a later turn. An error is the operating system's, with its `code`.
//   - Calls on one file take effect in call order. `append` and `write` write all of their bytes or fail.
//   - After `sync(file)` bytes and size are durable, and so is the name of a file that `append` or `write` opened, whoever
//     created it. Until then a power cut may leave any part of what was written, and what stood there in the other parts.
//     `rename` and `remove` are durable when done. An error leaves open what is on disk: nobody retries a failed `sync` and
//     believes the second answer.
//   - A missing file is an error for everything except `stat` (null), `append` and `write` (which create it).

import * as fs from 'node:fs';
import { platform } from 'node:os';
import * as path from 'node:path';
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
  /** As `append`, but from offset `from` on, at most the size: over what stands there, and beyond the end. */
  write(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void;
  /** As `write` and then `sync`, in one. */
  writeSynced(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void;
  /** Up to `sizeBytes` bytes from offset `from`; fewer only at the end of the file. */
  read(file: string, from: number, sizeBytes: number, done: Done<Uint8Array>): void;
  truncate(file: string, sizeBytes: number, done: Done): void;
  /** fdatasync: bytes and size are durable when done, and the name as well after an `append` or a `write`. */
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

const NEW_FILE_MODE = 0o600;

/** How a file is opened: the system puts every write to an appending descriptor at the end, wherever it is meant to go. */
type Way = 'append' | 'write' | 'synced';

const { O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_DSYNC } = fs.constants;

/**
 * Whether the system syncs with each write where it is asked to, as well as fdatasync does: one call instead of two, and two
 * changes of threads less. Elsewhere, as on macOS, it may leave the bytes in the disk's own cache.
 */
const IS_SYNCED_BY_SYSTEM = platform() === 'linux';

const EXISTING: Readonly<Record<Way, number>> = {
  append: O_WRONLY | O_APPEND,
  write: O_WRONLY,
  synced: IS_SYNCED_BY_SYSTEM ? O_WRONLY | O_DSYNC : O_WRONLY,
};

/** An operation waits until it is the oldest one on each of its files. */
interface Task {
  readonly files: readonly string[];
  readonly start: (finish: () => void) => void;
}

interface OpenFile {
  readonly fd: number;
  readonly way: Way;
  /** Somebody may have written what was not synced, before this was opened; or cut the file since. */
  unsynced: boolean;
  /** The directory entry is not synced: made here, or by a process that died before it could. */
  fresh: boolean;
}

type Failure = NodeJS.ErrnoException | null;

/**
 * The real disk. Files written to stay open until `close`, `rename` or `remove`, so that an append is one write, a sync
 * one fdatasync, and both together one write as well.
 */
class SystemFiles implements Files {
  readonly #queues = new Map<string, Task[]>();
  readonly #open = new Map<string, OpenFile>();

  append(file: string, pieces: readonly Uint8Array[], done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      this.#opened(file, 'append', (error, opened) => {
        if (error !== null || opened === undefined) finish(error);
        else writeAll(opened.fd, null, pieces, finish);
      });
    });
  }

  write(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      this.#opened(file, 'write', (error, opened) => {
        if (error !== null || opened === undefined) finish(error);
        else writeAll(opened.fd, from, pieces, finish);
      });
    });
  }

  writeSynced(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      this.#opened(file, 'synced', (error, opened) => {
        if (error !== null || opened === undefined) return finish(error);
        writeAll(opened.fd, from, pieces, (failure) => {
          if (failure !== null) finish(failure);
          else if (IS_SYNCED_BY_SYSTEM && !opened.unsynced) this.#syncName(file, opened, finish);
          else this.#syncOpen(file, opened, finish);
        });
      });
    });
  }

  read(file: string, from: number, sizeBytes: number, done: Done<Uint8Array>): void {
    this.#enqueue<Uint8Array>([file], done, (finish) => {
      fs.open(file, 'r', (error, fd) => {
        if (error !== null) return finish(error);
        readAll(fd, from, Buffer.allocUnsafeSlow(sizeBytes), (failure, bytes) => closeAfter(fd, failure, bytes, finish));
      });
    });
  }

  truncate(file: string, sizeBytes: number, done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      const opened = this.#open.get(file);
      if (opened !== undefined) opened.unsynced = true;
      fs.truncate(file, sizeBytes, finish);
    });
  }

  sync(file: string, done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      const opened = this.#open.get(file);
      if (opened === undefined) syncClosed(file, finish);
      else this.#syncOpen(file, opened, finish);
    });
  }

  rename(from: string, to: string, done: Done): void {
    this.#enqueue<void>([from, to], done, (finish) => {
      this.#release(from, () => this.#release(to, () => {
        fs.rename(from, to, (error) => {
          if (error !== null) return finish(error);
          const [source, target] = [path.dirname(from), path.dirname(to)];
          syncDirectory(target, (failure) => {
            if (failure !== null || source === target) finish(failure);
            else syncDirectory(source, finish);
          });
        });
      }, finish), finish);
    });
  }

  remove(file: string, done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      this.#release(file, () => {
        fs.unlink(file, (error) => {
          if (error !== null) finish(error);
          else syncDirectory(path.dirname(file), finish);
        });
      }, finish);
    });
  }

  list(directory: string, done: Done<readonly string[]>): void {
    this.#enqueue<readonly string[]>([directory], done, (finish) => {
      fs.readdir(directory, (error, names) => {
        if (error !== null) finish(error);
        else finish(null, names.sort((a, b) => (a < b ? -1 : 1)));
      });
    });
  }

  makeDirectory(directory: string, mode: number, done: Done): void {
    this.#enqueue<void>([directory], done, (finish) => {
      fs.mkdir(directory, { recursive: true, mode }, (error, first) => {
        if (error !== null || first === undefined) return finish(error);
        syncParents(path.resolve(directory), path.dirname(path.resolve(first)), finish);
      });
    });
  }

  stat(file: string, done: Done<FileStat | null>): void {
    this.#enqueue<FileStat | null>([file], done, (finish) => {
      fs.stat(file, (error, stat) => {
        if (error !== null) return isMissing(error) ? finish(null, null) : finish(error);
        fs.realpath(file, (failure, realPath) => {
          if (failure !== null) return isMissing(failure) ? finish(null, null) : finish(failure);
          const { size: sizeBytes, uid, gid } = stat;
          finish(null, { kind: kindOf(stat), sizeBytes, mode: stat.mode & 0o7777, uid, gid, realPath });
        });
      });
    });
  }

  setAttributes(file: string, attributes: FileAttributes, done: Done): void {
    this.#enqueue<void>([file], done, (finish) => {
      const { mode, uid = -1, gid = -1 } = attributes;
      const setMode = (error: Failure): void => {
        if (error !== null && error.code !== 'EPERM') finish(error);
        else if (mode === undefined) finish(null);
        else fs.chmod(file, mode, finish);
      };
      // The owner first: changing it clears some of the permission bits. -1 leaves an id as it is.
      fs.chown(file, uid, gid, setMode);
    });
  }

  close(file: string, done: Done): void {
    this.#enqueue<void>([file], done, (finish) => this.#release(file, () => setImmediate(finish, null), finish));
  }

  #syncOpen(file: string, opened: OpenFile, finish: (error: Failure) => void): void {
    fs.fdatasync(opened.fd, (error) => {
      if (error !== null) return finish(error);
      opened.unsynced = false;
      this.#syncName(file, opened, finish);
    });
  }

  /** The bytes are durable: the name is to be as well. */
  #syncName(file: string, opened: OpenFile, finish: (error: Failure) => void): void {
    if (!opened.fresh) return finish(null);
    syncDirectory(path.dirname(file), (error) => {
      if (error === null) opened.fresh = false;
      finish(error);
    });
  }

  /** The descriptor, opened on first use; a new file is created without following a symbolic link. */
  #opened(file: string, way: Way, use: (error: Failure, opened?: OpenFile) => void): void {
    const known = this.#open.get(file);
    // What is written to a descriptor that syncs is written as well.
    if (known?.way === way || (known?.way === 'synced' && way === 'write')) return use(null, known);
    if (known !== undefined) return this.#release(file, () => this.#opened(file, way, use), use);
    const keep = (fd: number): void => {
      const opened = { fd, way, unsynced: true, fresh: true };
      this.#open.set(file, opened);
      use(null, opened);
    };
    fs.open(file, EXISTING[way] | O_CREAT | O_EXCL, NEW_FILE_MODE, (error, fd) => {
      if (error === null) return keep(fd);
      if (error.code !== 'EEXIST') return use(error);
      fs.open(file, EXISTING[way], (failure, existing) => {
        if (failure === null) keep(existing);
        else use(failure);
      });
    });
  }

  #release(file: string, next: () => void, fail: (error: Failure) => void): void {
    const opened = this.#open.get(file);
    if (opened === undefined) return next();
    this.#open.delete(file);
    fs.close(opened.fd, (error) => {
      if (error === null) next();
      else fail(error);
    });
  }

  #enqueue<T>(files: readonly string[], done: Done<T>, start: (finish: (error: Failure, value?: T) => void) => void): void {
    const task: Task = {
      files: [...new Set(files)],
      start: (next) => start((error, value) => {
        next();
        if (error !== null) done(error);
        else done(null, value);
      }),
    };
    for (const file of task.files) {
      const queue = this.#queues.get(file);
      if (queue === undefined) this.#queues.set(file, [task]);
      else queue.push(task);
    }
    this.#startIfOldest(task);
  }

  #startIfOldest(task: Task): void {
    if (task.files.every((file) => this.#queues.get(file)?.[0] === task)) task.start(() => this.#leave(task));
  }

  #leave(task: Task): void {
    const waiting: Task[] = [];
    for (const file of task.files) {
      const queue = this.#queues.get(file) ?? [];
      queue.shift();
      const oldest = queue[0];
      if (oldest === undefined) this.#queues.delete(file);
      else if (!waiting.includes(oldest)) waiting.push(oldest);
    }
    for (const oldest of waiting) this.#startIfOldest(oldest);
  }
}

/** The system may take fewer bytes than it is given; what is left is offered again. `from` null: at the end. */
function writeAll(fd: number, from: number | null, pieces: readonly Uint8Array[], finish: (error: Failure) => void): void {
  const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const written = (error: Failure, count: number): void => {
    if (error !== null) finish(error);
    else if (count >= total) finish(null);
    else if (count === 0) finish(Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' }));
    else writeAll(fd, from === null ? null : from + count, dropBytes(pieces, count), finish);
  };
  const only = pieces.length === 1 ? pieces[0] : undefined;
  if (only !== undefined && total > 0) fs.write(fd, only, 0, only.length, from, written);
  else if (total > 0) fs.writev(fd, [...pieces], from, written);
  else fs.fstat(fd, (error) => finish(error));
}

function dropBytes(pieces: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = count;
  for (const piece of pieces) {
    if (skip < piece.length) rest.push(piece.subarray(skip));
    skip = Math.max(0, skip - piece.length);
  }
  return rest;
}

function readAll(fd: number, from: number, into: Buffer, finish: (error: Failure, bytes?: Uint8Array) => void): void {
  const fill = (have: number): void => {
    if (have === into.length) return finish(null, into);
    fs.read(fd, into, have, into.length - have, from + have, (error, count) => {
      if (error !== null) finish(error);
      else if (count === 0) finish(null, into.subarray(0, have));
      else fill(have + count);
    });
  };
  if (into.length === 0) fs.fstat(fd, (error) => finish(error, into));
  else fill(0);
}

function closeAfter<T>(fd: number, failure: Failure, value: T | undefined, finish: (error: Failure, value?: T) => void): void {
  fs.close(fd, (error) => finish(failure ?? error, value));
}

function syncClosed(file: string, finish: (error: Failure) => void): void {
  fs.open(file, 'r+', (error, fd) => {
    if (error !== null) return finish(error);
    fs.fdatasync(fd, (failure) => closeAfter(fd, failure, undefined, (trouble) => {
      if (trouble !== null) finish(trouble);
      else syncDirectory(path.dirname(file), finish);
    }));
  });
}

function syncDirectory(directory: string, finish: (error: Failure) => void): void {
  fs.open(directory, 'r', (error, fd) => {
    if (error !== null) return finish(error);
    fs.fsync(fd, (failure) => closeAfter(fd, failure, undefined, finish));
  });
}

/** Syncs the parents of `directory` up to and including `top`: each holds the name of a new directory. */
function syncParents(directory: string, top: string, finish: (error: Failure) => void): void {
  const parent = path.dirname(directory);
  syncDirectory(parent, (error) => {
    if (error !== null || parent === top || parent === directory) finish(error);
    else syncParents(parent, top, finish);
  });
}

function isMissing(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ENOENT' || error.code === 'ENOTDIR';
}

function kindOf(stat: fs.Stats): FileStat['kind'] {
  if (stat.isFile()) return 'file';
  return stat.isDirectory() ? 'directory' : 'other';
}

/** One for the process, as the descriptors it keeps are the process's. */
export const systemFiles: Files = new SystemFiles();
