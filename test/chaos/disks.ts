// Disks that can lose power or fill up: each member's data on an ext4 file system of its own inside an image file. The
// file system's shutdown call with the flag that forbids flushing drops what was never synced, exactly as a power cut
// does, which kill -9 cannot: the page cache survives a process. Needs root and loop devices; `probe` says whether.

import { spawnSync } from 'node:child_process';
import {
  closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, truncateSync, writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** ioctl EXT4_IOC_SHUTDOWN is _IOR('X', 125, u32); flag 2 is "no log flush". */
const SHUTDOWN = 'my $flags = pack("L", 2); open(my $d, "<", $ARGV[0]) or die $!; ioctl($d, 0x8004587d, $flags) or die $!;';

function run(command: string, args: readonly string[]): string | null {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.error !== undefined) return `${command}: ${result.error.message}`;
  return result.status === 0 ? null : `${command}: ${result.stderr.trim() || `exit ${result.status}`}`;
}

function mustRun(command: string, args: readonly string[]): void {
  const reason = run(command, args);
  if (reason !== null) throw new Error(`a disk of the campaign failed: ${reason}`);
}

export class Disk {
  readonly directory: string;
  readonly #image: string;
  #isMounted = false;

  constructor(folder: string, name: string, sizeMiB: number) {
    this.#image = join(folder, `${name}.img`);
    this.directory = join(folder, `${name}.mnt`);
    mkdirSync(this.directory, { recursive: true });
    writeFileSync(this.#image, '');
    truncateSync(this.#image, sizeMiB * 2 ** 20);
    mustRun('mkfs.ext4', ['-q', '-F', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', this.#image]);
    this.mount();
  }

  mount(): void {
    if (this.#isMounted) return;
    mustRun('mount', ['-o', 'loop', this.#image, this.directory]);
    this.#isMounted = true;
  }

  /** From now on every write fails, and what was not synced is gone. */
  cutPower(): void {
    mustRun('perl', ['-e', SHUTDOWN, this.directory]);
  }

  unmount(): void {
    if (!this.#isMounted) return;
    mustRun('umount', [this.directory]);
    this.#isMounted = false;
  }

  /** Takes all free space but `leaveBytes`. */
  fill(leaveBytes: number): void {
    const { bavail, bsize } = statfsSync(this.directory);
    const sizeBytes = bavail * bsize - leaveBytes;
    if (sizeBytes > 0) mustRun('fallocate', ['-l', `${sizeBytes}`, join(this.directory, 'filler')]);
  }

  free(): void {
    rmSync(join(this.directory, 'filler'), { force: true });
  }

  remove(): void {
    if (this.#isMounted) run('umount', ['-l', this.directory]);
    this.#isMounted = false;
    rmSync(this.#image, { force: true });
  }
}

/** Tries all of it once: null when it works, else why not. */
export function probeDisks(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  const folder = mkdtempSync(join(tmpdir(), 'coterie-probe-'));
  let disk: Disk | null = null;
  try {
    disk = new Disk(folder, 'probe', 16);
    const file = openSync(join(disk.directory, 'kept'), 'w');
    writeSync(file, 'synced');
    fsyncSync(file);
    const folderHandle = openSync(disk.directory, 'r');
    fsyncSync(folderHandle);
    writeSync(file, ' and not synced');
    disk.cutPower();
    closeSync(file);
    closeSync(folderHandle);
    disk.unmount();
    disk.mount();
    const left = readFileSync(join(disk.directory, 'kept'), 'utf8');
    disk.unmount();
    return left === 'synced' ? null : `a power cut left ${JSON.stringify(left)} where only 'synced' was synced`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    disk?.remove();
    rmSync(folder, { recursive: true, force: true });
  }
}
