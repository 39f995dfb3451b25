// The disk of one simulated machine. It outlives the processes that use it. Of every file it knows what a program sees and
// what is on the platter; between two syncs the difference is a range of bytes, and cuts, that a power cut may keep, lose,
// tear or reorder, by a policy the seed draws. What was synced and not written over since is never touched by a power cut.
//
// `DiskSession` is one process's view: its calls take time, finish through that process's event loop, and are dropped with
// it: of those under way when it dies some happen and some do not, in the order of each file.
//
// The clock of test/sim/disk.ts is the turn of the real event loop, and it cuts at a numbered effect: it serves unit tests
// that walk through every crash point of one operation. This one lives on the scheduler.

import type { Done } from '../../core/base/done.js';
import type { FileAttributes, Files, FileStat } from '../../core/base/files.js';
import type { EventLoop } from './loop.js';
import type { Dice } from './random.js';
import { Kind, type Scheduler } from './scheduler.js';

const SECTOR_BYTES = 512;
/** What a calm disk takes at most, as a multiple of what it takes mostly. */
const CALM_TAIL = 4;

export type LossPolicy = 'prefix' | 'sectors' | 'torn' | 'zeros' | 'newest' | 'all_lost';
export type AfterFailure = 'kept' | 'reverted' | 'told_later';

export interface DiskProfile {
  readonly appendMs: number;
  readonly syncMs: number;
  readonly readMs: number;
  readonly policy: LossPolicy;
  readonly afterFailure: AfterFailure;
}

class PlatterFile {
  bytes: Buffer = Buffer.alloc(256);
  size = 0;
  /** Bytes of the synced image that are still where they were: the image is `bytes[0..intact)` followed by `tail`. */
  intact = 0;
  tail: Buffer | null = null;
  /** Since the last sync: nothing was written from here on, and the file was never shorter than that. */
  dirtyEnd = 0;
  leastSize = 0;
  mode = 0o600;
  /** Bytes were written that a failed sync marked clean: no later sync makes them durable. */
  forgotten = false;
  /** Written by the present process and gone with a sync that failed. */
  droppedBytes = 0;
  failNextSync = false;

  append(piece: Uint8Array): void {
    this.write(this.size, piece);
  }

  /** `at` is at most the size. */
  write(at: number, piece: Uint8Array): void {
    const need = at + piece.length;
    if (at < this.intact) this.#part(at);
    if (need > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(need, this.bytes.length * 2));
      this.bytes.copy(grown, 0, 0, this.size);
      this.bytes = grown;
    }
    this.bytes.set(piece, at);
    this.size = Math.max(this.size, need);
    this.dirtyEnd = Math.max(this.dirtyEnd, need);
  }

  cut(size: number): void {
    if (size > this.size) return this.append(Buffer.alloc(size - this.size));
    if (size < this.intact) this.#part(size);
    this.size = size;
    this.dirtyEnd = Math.min(this.dirtyEnd, size);
    this.leastSize = Math.min(this.leastSize, size);
  }

  /** What is on the platter from `at` on is kept aside. */
  #part(at: number): void {
    this.tail = Buffer.concat([this.bytes.subarray(at, this.intact), this.tail ?? Buffer.alloc(0)]);
    this.intact = at;
  }

  get unsyncedBytes(): number {
    return Math.max(0, this.size - this.intact) + (this.tail?.length ?? 0);
  }

  synced(): Buffer {
    return Buffer.concat([this.bytes.subarray(0, this.intact), this.tail ?? Buffer.alloc(0)]);
  }

  /** As the program sees it, up to `size`, is on the platter. */
  settle(size: number): void {
    this.intact = Math.min(size, this.size);
    this.tail = null;
    this.dirtyEnd = this.intact;
    this.leastSize = this.intact;
  }

  reset(content: Buffer): void {
    this.bytes = content;
    this.size = content.length;
    this.settle(this.size);
    this.forgotten = false;
    this.failNextSync = false;
  }
}

interface Operation {
  readonly call: keyof Files;
  readonly files: readonly string[];
  /** Takes effect in the cache; the value goes to the caller. */
  readonly act: () => unknown;
  /** What may have happened when the process or the power goes while it is under way. */
  readonly half: () => void;
}

export interface DiskCounts {
  appends: number;
  syncs: number;
  errors: number;
  tornBytes: number;
  powerCuts: number;
  rotten: number;
}

export class Platter {
  readonly counts: DiskCounts = { appends: 0, syncs: 0, errors: 0, tornBytes: 0, powerCuts: 0, rotten: 0 };
  /** Multiplies every latency. */
  slowness = 1;
  /** Nothing takes very long by chance. */
  isCalm = false;
  /** Until then nothing finishes. */
  hungUntil = 0;
  /** Probability that one append, sync, rename or read fails. */
  errorChance = 0;
  /** Bytes that may still be written; beyond them ENOSPC. */
  freeBytes = Infinity;
  readonly #dice: Dice;
  readonly #profile: DiskProfile;
  #names = new Map<string, PlatterFile>();
  #durableNames = new Map<string, PlatterFile>();
  #directories = new Set<string>();
  /** Done as the program sees it, not known to be durable. */
  #renames: { from: string; to: string; file: PlatterFile }[] = [];

  constructor(dice: Dice, profile: DiskProfile) {
    this.#dice = dice;
    this.#profile = profile;
  }

  get isEmpty(): boolean {
    return this.#names.size === 0;
  }

  get usedBytes(): number {
    let sum = 0;
    for (const file of this.#names.values()) sum += file.size;
    return sum;
  }

  names(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** Files with such an ending of their name of which a power cut could take something, for messages. */
  unsynced(ending: string): string {
    return [...this.#names].filter(([name, file]) => name.endsWith(ending) && file.unsyncedBytes > 0)
      .map(([name, file]) => `${name}: ${file.unsyncedBytes} of ${file.size}`).join(', ');
  }

  /** Another process begins: it finds what is there, and was promised nothing. */
  handOver(): void {
    for (const file of this.#names.values()) file.droppedBytes = 0;
  }

  /** Bytes of files with such an ending of their name that a power cut could take, or that were written in vain. */
  unsyncedBytes(ending: string): number {
    let sum = 0;
    for (const [name, file] of this.#names) if (name.endsWith(ending)) sum += file.unsyncedBytes + file.droppedBytes;
    return sum;
  }

  wipe(): void {
    this.#names = new Map();
    this.#durableNames = new Map();
    this.#directories = new Set();
    this.#renames = [];
  }

  /** What a power cut would leave right now if it took everything it may: for reading only. */
  durableCopy(): ReadonlyMap<string, Buffer> {
    const copy = new Map<string, Buffer>();
    for (const [name, file] of this.#durableNames) copy.set(name, file.synced());
    return copy;
  }

  /** An earlier copy comes back, as when the snapshot of a virtual disk is restored. */
  rollBack(copy: ReadonlyMap<string, Buffer>): void {
    const directories = this.#directories;
    this.wipe();
    this.#directories = directories;
    for (const [name, content] of copy) {
      const file = new PlatterFile();
      file.reset(Buffer.from(content));
      this.#names.set(name, file);
      this.#durableNames.set(name, file);
    }
  }

  /** Two disks are put back the wrong way round. Nobody uses either. */
  swapWith(other: Platter): void {
    [this.#names, other.#names] = [other.#names, this.#names];
    [this.#durableNames, other.#durableNames] = [other.#durableNames, this.#durableNames];
    [this.#directories, other.#directories] = [other.#directories, this.#directories];
    [this.#renames, other.#renames] = [other.#renames, this.#renames];
  }

  /**
   * A file at rest is damaged: one bit turns over, a sector was never written, or another sector was written in its place.
   * Null: there is nothing to damage.
   */
  rot(isVictim: (name: string) => boolean, limitOf: (durable: Buffer) => number = () => Infinity): string | null {
    const victims = this.names().filter((name) => isVictim(name) && (this.#names.get(name)?.size ?? 0) > 0);
    if (victims.length === 0) return null;
    const name = this.#dice.pick(victims);
    const file = this.#names.get(name);
    if (file === undefined) return null;
    const least = Math.min(limitOf(file.bytes.subarray(0, file.intact)), file.size);
    if (least <= 0) return null;
    const at = this.#dice.below(least);
    const how = this.#dice.pick(['a bit', 'a bit', 'a lost write', 'a misdirected write']);
    const sector = at - (at % SECTOR_BYTES);
    const sizeBytes = Math.min(SECTOR_BYTES, least - sector);
    if (how === 'a bit') file.bytes[at] = (file.bytes[at] ?? 0) ^ (1 << this.#dice.below(8));
    else if (how === 'a lost write') file.bytes.fill(0, sector, sector + sizeBytes);
    else {
      const source = this.#names.get(this.#dice.pick(this.names())) ?? file;
      const from = this.#dice.below(Math.ceil(source.size / SECTOR_BYTES)) * SECTOR_BYTES;
      Buffer.from(source.bytes.subarray(from, from + sizeBytes)).copy(file.bytes, sector);
    }
    this.counts.rotten++;
    return `${how}, ${name} at ${at}`;
  }

  powerCut(): void {
    this.counts.powerCuts++;
    const renamed = new Set<string>();
    for (const { from, to, file } of this.#renames) {
      renamed.add(from).add(to);
      // Atomic: it has two names never, and none never.
      if (this.#durableNames.get(from) !== file || this.#dice.chance(0.5)) continue;
      this.#durableNames.delete(from);
      this.#durableNames.set(to, file);
    }
    this.#renames = [];
    for (const name of [...new Set([...this.#names.keys(), ...this.#durableNames.keys()])].sort()) {
      const seen = this.#names.get(name);
      if (renamed.has(name) || seen === this.#durableNames.get(name) || this.#dice.chance(0.5)) continue;
      if (seen === undefined) this.#durableNames.delete(name);
      else this.#durableNames.set(name, seen);
    }
    this.#names = new Map(this.#durableNames);
    for (const name of this.names()) {
      const file = this.#names.get(name);
      if (file !== undefined && (file.unsyncedBytes > 0 || file.forgotten)) this.#tear(file);
    }
  }

  // What sessions do.

  /** When an operation given now will have finished. */
  finishesAt(call: keyof Files, now: number, sizeBytes: number): number {
    const { appendMs, syncMs, readMs } = this.#profile;
    const isSync = call === 'sync' || call === 'rename' || call === 'remove';
    const quick = isWriting(call) ? appendMs : readMs;
    const typical = isSync ? syncMs : quick;
    const mean = typical + sizeBytes / 400_000;
    const tailed = this.#dice.tailed(mean);
    const latency = (this.isCalm ? Math.min(tailed, CALM_TAIL * mean) : tailed) * this.slowness;
    return Math.max(now, this.hungUntil) + latency;
  }

  fails(call: keyof Files): NodeJS.ErrnoException | null {
    if (this.errorChance === 0 || call === 'stat' || call === 'list' || call === 'close') return null;
    if (!this.#dice.chance(this.errorChance)) return null;
    this.counts.errors++;
    return failure('EIO', 'the simulated disk');
  }

  file(name: string): PlatterFile {
    const known = this.#names.get(name);
    if (known === undefined) throw failure('ENOENT', name);
    return known;
  }

  /** `from` null: at the end. At most `most` bytes of it. */
  write(name: string, from: number | null, pieces: readonly Uint8Array[], most: number): void {
    let file = this.#names.get(name);
    if (file === undefined) {
      file = new PlatterFile();
      this.#names.set(name, file);
    }
    this.counts.appends++;
    let at = from ?? file.size;
    if (at > file.size) throw failure('EINVAL', name);
    let left = most;
    for (const piece of pieces) {
      const part = piece.length <= left ? piece : piece.subarray(0, left);
      const growth = Math.max(0, at + part.length - file.size);
      if (growth > this.freeBytes) throw failure('ENOSPC', name);
      this.freeBytes -= growth;
      file.write(at, part);
      at += part.length;
      left -= part.length;
    }
  }

  truncate(name: string, sizeBytes: number): void {
    this.file(name).cut(sizeBytes);
  }

  /** `size` is what the file had when the sync began. */
  sync(name: string, size: number): void {
    const file = this.file(name);
    this.counts.syncs++;
    if (file.failNextSync) {
      file.failNextSync = false;
      throw failure('EIO', name);
    }
    if (!file.forgotten) file.settle(size);
    this.#durableNames.set(name, file);
  }

  syncFailed(name: string): void {
    const file = this.#names.get(name);
    if (file === undefined) return;
    const model = this.#profile.afterFailure;
    if (model === 'reverted') {
      file.droppedBytes += Math.max(0, file.dirtyEnd - file.intact);
      file.reset(file.synced());
    } else if (model === 'kept') file.forgotten = true;
    else file.failNextSync = true;
  }

  rename(from: string, to: string, isDurable: boolean): void {
    const file = this.file(from);
    if (!isDurable) this.#renames.push({ from, to, file });
    for (const names of isDurable ? [this.#names, this.#durableNames] : [this.#names]) {
      names.set(to, file);
      names.delete(from);
    }
  }

  remove(name: string, isDurable: boolean): void {
    this.freeBytes += this.file(name).size;
    this.#names.delete(name);
    if (isDurable) this.#durableNames.delete(name);
  }

  list(directory: string): readonly string[] {
    if (!this.#directories.has(directory)) throw failure('ENOENT', directory);
    const prefix = `${directory}/`;
    const inside = [...this.#names.keys(), ...this.#directories].filter((name) => name.startsWith(prefix));
    return [...new Set(inside.map((name) => name.slice(prefix.length).split('/')[0] ?? ''))].sort();
  }

  makeDirectory(directory: string): void {
    let path = directory;
    while (path !== '' && path !== '/' && path !== '.') {
      this.#directories.add(path);
      path = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
    }
  }

  stat(name: string): FileStat | null {
    const file = this.#names.get(name);
    const common = { uid: 0, gid: 0, realPath: name };
    if (file !== undefined) return { kind: 'file', sizeBytes: file.size, mode: file.mode, ...common };
    return this.#directories.has(name) ? { kind: 'directory', sizeBytes: 0, mode: 0o700, ...common } : null;
  }

  chanceOf(probability: number): boolean {
    return this.#dice.chance(probability);
  }

  below(bound: number): number {
    return this.#dice.below(bound);
  }

  #tear(file: PlatterFile): void {
    const synced = file.synced();
    const { policy } = this.#profile;
    const { intact, dirtyEnd, leastSize: least } = file;
    this.counts.tornBytes += Math.max(0, dirtyEnd - intact);
    if (policy === 'all_lost' || file.forgotten) return file.reset(synced);
    // A cut that was not synced may or may not have happened, so what survives of the old end may be anything in between.
    const most = Math.max(file.size, synced.length);
    const size = policy === 'zeros' && this.#dice.chance(0.7) ? most : least + this.#dice.below(most - least + 1);
    const torn = Buffer.alloc(size);
    synced.copy(torn);
    // Where the size was durable, it is not the size that says how much of the bytes was.
    const prefix = dirtyEnd > least ? size : intact + this.#dice.below(Math.max(0, dirtyEnd - intact) + 1);
    if (policy === 'prefix') file.bytes.copy(torn, intact, intact, Math.min(prefix, dirtyEnd));
    else if (policy !== 'zeros') this.#tearSectors(file, torn);
    file.reset(torn);
  }

  #tearSectors(file: PlatterFile, torn: Buffer): void {
    const { policy } = this.#profile;
    const { intact } = file;
    const through = Math.max(intact, Math.min(torn.length, file.dirtyEnd));
    const first = Math.floor(intact / SECTOR_BYTES) * SECTOR_BYTES;
    const middle = intact + (through - intact) * this.#dice.share();
    let tearAt = policy === 'torn' ? this.#dice.below(Math.ceil((through - first) / SECTOR_BYTES) + 1) : -1;
    for (let at = first; at < through; at += SECTOR_BYTES) {
      const keeps = policy === 'newest' ? at >= middle : this.#dice.chance(0.6);
      let end = Math.min(at + SECTOR_BYTES, through);
      if (tearAt-- === 0) end = Math.min(end, at + this.#dice.below(SECTOR_BYTES));
      const from = Math.max(at, intact);
      if (keeps && end > from) file.bytes.copy(torn, from, from, end);
    }
  }
}

/** One process's door to the disk. */
export class DiskSession implements Files {
  /** Calls not answered yet. */
  pending = 0;
  readonly #platter: Platter;
  readonly #loop: EventLoop;
  readonly #scheduler: Scheduler;
  readonly #who: number;
  readonly #freeAt = new Map<string, number>();
  readonly #underWay = new Set<Operation>();

  constructor(platter: Platter, loop: EventLoop, scheduler: Scheduler, who: number) {
    this.#platter = platter;
    this.#loop = loop;
    this.#scheduler = scheduler;
    this.#who = who;
  }

  /** The process is gone. What it had asked of the system happens or not. */
  abandon(): void {
    const stopped = new Set<string>();
    for (const operation of this.#underWay) {
      const blocked = operation.files.some((name) => stopped.has(name));
      if (!blocked && this.#platter.chanceOf(0.5)) attempt(operation.act);
      else {
        if (!blocked && this.#platter.chanceOf(0.5)) attempt(operation.half);
        for (const name of operation.files) stopped.add(name);
      }
    }
    this.#underWay.clear();
  }

  append(file: string, pieces: readonly Uint8Array[], done: Done): void {
    this.#write('append', file, null, pieces, done);
  }

  write(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    this.#write('write', file, from, pieces, done);
  }

  /** Nobody asks for anything else of the file before it is done. */
  writeSynced(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    this.write(file, from, pieces, (error) => (error === null ? this.sync(file, done) : done(error)));
  }

  #write(call: 'append' | 'write', file: string, from: number | null, pieces: readonly Uint8Array[], done: Done): void {
    const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    // The caller may reuse its buffers once it is told; until then they are its promise to leave them alone.
    const half = (): void => this.#platter.write(file, from, pieces, this.#platter.below(sizeBytes + 1));
    this.#perform(call, [file], done, () => this.#platter.write(file, from, pieces, Infinity), half, sizeBytes);
  }

  read(file: string, from: number, sizeBytes: number, done: Done<Uint8Array>): void {
    this.#perform('read', [file], done, () => {
      const { bytes, size } = this.#platter.file(file);
      return Buffer.from(bytes.subarray(Math.min(from, size), Math.min(from + sizeBytes, size)));
    });
  }

  truncate(file: string, sizeBytes: number, done: Done): void {
    this.#perform('truncate', [file], done, () => this.#platter.truncate(file, sizeBytes));
  }

  sync(file: string, done: Done): void {
    // Calls on one file are served in order, so at the end of the service it has what it had at its beginning.
    this.#perform('sync', [file], done, () => this.#platter.sync(file, this.#platter.file(file).size));
  }

  rename(from: string, to: string, done: Done): void {
    const half = (): void => this.#platter.rename(from, to, false);
    this.#perform('rename', [from, to], done, () => this.#platter.rename(from, to, true), half);
  }

  remove(file: string, done: Done): void {
    const half = (): void => this.#platter.remove(file, false);
    this.#perform('remove', [file], done, () => this.#platter.remove(file, true), half);
  }

  list(directory: string, done: Done<readonly string[]>): void {
    this.#perform('list', [directory], done, () => this.#platter.list(directory));
  }

  makeDirectory(directory: string, _mode: number, done: Done): void {
    this.#perform('makeDirectory', [directory], done, () => this.#platter.makeDirectory(directory));
  }

  stat(file: string, done: Done<FileStat | null>): void {
    this.#perform('stat', [file], done, () => this.#platter.stat(file));
  }

  setAttributes(file: string, attributes: FileAttributes, done: Done): void {
    this.#perform('setAttributes', [file], done, () => {
      const target = this.#platter.file(file);
      target.mode = attributes.mode ?? target.mode;
    });
  }

  close(file: string, done: Done): void {
    this.#perform('close', [file], done, () => undefined);
  }

  #perform<T>(
    call: keyof Files, files: readonly string[], done: Done<T>, act: () => T, half: () => void = () => undefined, sizeBytes = 0,
  ): void {
    if (!this.#loop.isAlive) return;
    this.#loop.door();
    const operation: Operation = { call, files, act, half };
    let at = this.#platter.finishesAt(call, this.#scheduler.now, sizeBytes);
    for (const name of files) at = Math.max(at, (this.#freeAt.get(name) ?? 0) + 0.001);
    for (const name of files) this.#freeAt.set(name, at);
    this.#underWay.add(operation);
    this.pending++;
    this.#scheduler.at(at, Kind.disk, this.#who, () => {
      // Dropped together with its process.
      if (!this.#underWay.delete(operation)) return;
      const outcome = this.#serve(operation, done, act);
      this.#loop.complete(() => {
        this.pending--;
        outcome();
      });
    });
  }

  #serve<T>(operation: Operation, done: Done<T>, act: () => T): () => void {
    const fault = this.#platter.fails(operation.call);
    if (fault !== null) {
      if (isWriting(operation.call)) attempt(operation.half);
      const [name] = operation.files;
      if (operation.call === 'sync' && name !== undefined) this.#platter.syncFailed(name);
      return () => done(fault);
    }
    try {
      const value = act();
      return () => done(null, value);
    } catch (error) {
      if (errorCode(error) === 'EIO') this.#platter.counts.errors++;
      return () => done(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

function isWriting(call: keyof Files): boolean {
  return call === 'append' || call === 'write';
}

/** What goes wrong in what nobody waits for is as if it had not been tried. */
function attempt(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (errorCode(error) === null) throw error;
  }
}

function errorCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

class DiskFailure extends Error {
  override readonly name = 'DiskFailure';
  readonly code: string;

  constructor(code: string, file: string) {
    super(`${code}: ${file}`);
    this.code = code;
  }
}

/** It, or what it came of, is a failure that this disk was told to have. */
export function isInjected(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; { cause } = cause) {
    if (cause instanceof DiskFailure && cause.code !== 'ENOENT') return true;
  }
  return false;
}

function failure(code: string, file: string): NodeJS.ErrnoException {
  return new DiskFailure(code, file);
}
