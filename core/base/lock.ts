// One process per data directory. The lock is a file that names its holder: process, its start time, the boot of the
// machine, the host. A holder that is gone leaves a stale lock, which the next one takes over; a living one is refused with
// its number and the path. What cannot be seen from here (another host, another container) counts as living, unless it has
// our host's name: then it is what we were before a restart. Two processes on one log would destroy it; a lock too many
// costs one file to remove.

import * as fs from 'node:fs';
import * as os from 'node:os';
import type { Done } from './done.js';

/** Gives the lock back; done when the file is gone. */
export type Release = (done: Done) => void;

/** Takes the lock at `file`, or fails with an error that says who holds it and what to do. */
export type AcquireLock = (file: string, done: Done<Release>) => void;

interface Holder {
  readonly pid: number;
  /** Clock ticks after boot at which the process started, where the system tells; tells a reused number apart. */
  readonly started: string;
  readonly boot: string;
  /** Numbers mean something only within one process namespace. */
  readonly namespace: string;
  readonly host: string;
}

const ATTEMPTS_MAX = 5;

export const systemLock: AcquireLock = (file, done) => acquire(file, ATTEMPTS_MAX, done);

/** The content is complete before the name appears: it is written aside, and a link never replaces what is there. */
function acquire(file: string, attempts: number, done: Done<Release>): void {
  const me = describe(process.pid);
  const aside = `${file}.${nameOf(me)}`;
  const content = `${JSON.stringify(me)}\n`;
  fs.writeFile(aside, content, { mode: 0o600 }, (error) => {
    if (error !== null) return done(error);
    fs.link(aside, file, (taken) => {
      fs.unlink(aside, (failure) => {
        if (taken === null) return failure === null ? done(null, (released) => release(file, content, released)) : done(failure);
        if (taken.code !== 'EEXIST' || attempts <= 1) return done(taken);
        takeOver(file, me, (refusal) => (refusal === null ? acquire(file, attempts - 1, done) : done(refusal)));
      });
    });
  });
}

/** Moves a stale lock out of the way. Between reading and moving another process may have taken it over: then it goes back. */
function takeOver(file: string, me: Holder, done: Done): void {
  fs.readFile(file, 'utf8', (error, content) => {
    if (error !== null) return done(error.code === 'ENOENT' ? null : error);
    const holder = parse(content);
    if (holder !== null && isAlive(holder, me)) {
      return done(new Error(`the data directory is in use: process ${holder.pid} on ${holder.host} holds ${file}. `
        + 'Stop that process first; only if it is certainly gone, remove the file'));
    }
    const stale = `${file}.stale.${nameOf(me)}`;
    fs.rename(file, stale, (failure) => {
      if (failure !== null) return done(failure.code === 'ENOENT' ? null : failure);
      fs.readFile(stale, 'utf8', (trouble, moved) => {
        if (trouble !== null) return done(trouble);
        const discard = (): void => fs.unlink(stale, (last) => done(last));
        if (moved === content) return discard();
        fs.link(stale, file, discard);
      });
    });
  });
}

function release(file: string, content: string, done: Done): void {
  fs.readFile(file, 'utf8', (error, found) => {
    if (error !== null) return done(error);
    if (found !== content) return done(new Error(`${file} has been taken by another process: ${found.trim()}`));
    fs.unlink(file, (failure) => done(failure));
  });
}

/** Of no two processes at once, in whatever containers: every first process of one has the number 1. */
function nameOf(me: Holder): string {
  return `${me.host}.${me.namespace.replace(/\D/g, '')}.${me.pid}`;
}

function isAlive(holder: Holder, me: Holder): boolean {
  if (holder.boot !== me.boot) return holder.host !== me.host;
  if (holder.namespace !== me.namespace) return holder.host !== me.host;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // The process is there but is not ours to signal.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return describe(holder.pid).started === holder.started;
}

function describe(pid: number): Holder {
  // After the name in brackets the start time is the 20th field (proc(5)).
  const stat = readOr(`/proc/${pid}/stat`, '');
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  let namespace = '';
  try {
    namespace = fs.readlinkSync('/proc/self/ns/pid');
  } catch {
    namespace = 'unknown';
  }
  return { pid, started, boot: readOr('/proc/sys/kernel/random/boot_id', 'unknown').trim(), namespace, host: os.hostname() };
}

function readOr(file: string, otherwise: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return otherwise;
  }
}

/** null: not a lock of ours, as after a crash of the disk; then nobody living holds it. */
function parse(content: string): Holder | null {
  try {
    const { pid, started, boot, namespace, host } = JSON.parse(content) as Partial<Holder>;
    if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return null;
    return { pid, started: started ?? '', boot: boot ?? '', namespace: namespace ?? '', host: host ?? '' };
  } catch {
    return null;
  }
}
