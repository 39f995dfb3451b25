// A disk in memory that keeps two states apart: what a running program sees, and what a power cut leaves. Bytes become
// durable by `sync`; a name by `sync` of a new file, `rename` or `remove`. At a power cut every sector of what was not synced
// is kept, or as it was before, which is zeros where there was nothing; and a size that was not synced is anything in
// between, as the seed decides.
//
// Every call is an effect with a number; a test may cut the power before any of them, in the middle of it, or make it fail.

import { Prng } from '../../core/base/prng.js';
import type { Done } from '../../core/base/done.js';
import type { FileAttributes, Files, FileStat } from '../../core/base/files.js';

const SECTOR_BYTES = 512;

interface SimFile {
  /** As the program sees it. */
  bytes: Buffer;
  /** As the platter has it. */
  synced: Buffer;
  /** The oldest size since the last sync: a truncation that was not synced may or may not have happened. */
  leastBytes: number;
  mode: number;
}

export interface Effect {
  readonly call: keyof Files;
  readonly file: string;
}

export interface DiskOptions {
  readonly seed: number;
  /** Called with every effect before it happens: an error to fail with, 'cut' to cut the power, null to let it happen. */
  readonly fault?: (effect: Effect, number: number) => NodeJS.ErrnoException | 'cut' | null;
}

export class SimDisk implements Files {
  /** What happened since the start or the last power cut. */
  effects: Effect[] = [];
  readonly #prng: Prng;
  #fault: NonNullable<DiskOptions['fault']>;
  /** Names as the program sees them, and as the directory has them on the platter. */
  #names = new Map<string, SimFile>();
  #durableNames = new Map<string, SimFile>();
  readonly #directories = new Set<string>();
  /** Of a program that is gone, nothing more happens. */
  #life = 0;

  constructor(options: DiskOptions = { seed: 1 }) {
    this.#prng = new Prng(options.seed);
    this.#fault = options.fault ?? (() => null);
  }

  setFault(fault: NonNullable<DiskOptions['fault']>): void {
    this.#fault = fault;
    this.effects = [];
  }

  /** The machine stops: calls under way are never answered, and only what was durable is sure to be there. */
  powerCut(): void {
    this.#life++;
    this.effects = [];
    for (const name of new Set([...this.#names.keys(), ...this.#durableNames.keys()])) this.#settleName(name);
    this.#names = new Map(this.#durableNames);
    for (const file of this.#names.values()) this.#tear(file);
  }

  /** The program stops, the machine does not: everything written is there. */
  kill(): void {
    this.#life++;
    this.effects = [];
  }

  /** The bytes as a program would read them; a copy. */
  content(file: string): Buffer {
    return Buffer.from(this.#names.get(file)?.bytes ?? Buffer.alloc(0));
  }

  /** As if it had always been so: for damage. */
  replace(file: string, bytes: Buffer): void {
    const known = this.#names.get(file);
    const fresh = { bytes, synced: Buffer.from(bytes), leastBytes: bytes.length, mode: known?.mode ?? 0o600 };
    this.#names.set(file, fresh);
    this.#durableNames.set(file, fresh);
  }

  names(): readonly string[] {
    return [...this.#names.keys()].sort();
  }

  append(file: string, pieces: readonly Uint8Array[], done: Done): void {
    const bytes = Buffer.concat(pieces);
    this.#perform('append', file, done, () => {
      this.#append(file, bytes);
    }, () => this.#append(file, bytes.subarray(0, this.#prng.below(bytes.length + 1))));
  }

  write(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    const bytes = Buffer.concat(pieces);
    this.#perform('write', file, done, () => {
      this.#write(file, from, bytes);
    }, () => this.#write(file, from, bytes.subarray(0, this.#prng.below(bytes.length + 1))));
  }

  writeSynced(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    let failure: Error | null = null;
    this.write(file, from, pieces, (error) => {
      failure = error;
    });
    this.sync(file, (error) => done(failure ?? error));
  }

  read(file: string, from: number, sizeBytes: number, done: Done<Uint8Array>): void {
    this.#perform('read', file, done, () => Buffer.from(this.#file(file).bytes.subarray(from, from + sizeBytes)));
  }

  truncate(file: string, sizeBytes: number, done: Done): void {
    this.#perform('truncate', file, done, () => {
      const target = this.#file(file);
      const bytes = Buffer.alloc(sizeBytes);
      target.bytes.copy(bytes, 0, 0, sizeBytes);
      target.bytes = bytes;
      target.leastBytes = Math.min(target.leastBytes, sizeBytes);
    });
  }

  sync(file: string, done: Done): void {
    this.#perform('sync', file, done, () => {
      const target = this.#file(file);
      target.synced = Buffer.from(target.bytes);
      target.leastBytes = target.bytes.length;
      this.#durableNames.set(file, target);
    });
  }

  /** Atomic: under a power cut it happened, durably, or it did not. */
  rename(from: string, to: string, done: Done): void {
    const act = (): void => {
      const file = this.#file(from);
      for (const names of [this.#names, this.#durableNames]) {
        names.set(to, file);
        names.delete(from);
      }
    };
    this.#perform('rename', from, done, act, act);
  }

  remove(file: string, done: Done): void {
    const act = (): void => {
      this.#file(file);
      this.#names.delete(file);
    };
    this.#perform('remove', file, done, () => {
      act();
      this.#durableNames.delete(file);
    }, act);
  }

  list(directory: string, done: Done<readonly string[]>): void {
    this.#perform('list', directory, done, () => {
      if (!this.#directories.has(directory)) throw failure('ENOENT', directory);
      const prefix = `${directory}/`;
      const inside = [...this.#names.keys(), ...this.#directories].filter((name) => name.startsWith(prefix));
      return [...new Set(inside.map((name) => name.slice(prefix.length).split('/')[0] ?? ''))].sort();
    });
  }

  makeDirectory(directory: string, _mode: number, done: Done): void {
    this.#perform('makeDirectory', directory, done, () => {
      let path = directory;
      while (path !== '' && path !== '/' && path !== '.') {
        this.#directories.add(path);
        path = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
      }
    });
  }

  stat(file: string, done: Done<FileStat | null>): void {
    this.#perform('stat', file, done, () => {
      const known = this.#names.get(file);
      if (known !== undefined) {
        return { kind: 'file' as const, sizeBytes: known.bytes.length, mode: known.mode, uid: 0, gid: 0, realPath: file };
      }
      if (!this.#directories.has(file)) return null;
      return { kind: 'directory' as const, sizeBytes: 0, mode: 0o700, uid: 0, gid: 0, realPath: file };
    });
  }

  setAttributes(file: string, attributes: FileAttributes, done: Done): void {
    this.#perform('setAttributes', file, done, () => {
      const target = this.#file(file);
      target.mode = attributes.mode ?? target.mode;
    });
  }

  close(file: string, done: Done): void {
    this.#perform('close', file, done, () => undefined);
  }

  /** Effects happen in call order, one a turn. */
  #perform<T>(call: keyof Files, file: string, done: Done<T>, act: () => T, half: () => void = () => undefined): void {
    const life = this.#life;
    setImmediate(() => {
      if (life !== this.#life) return;
      const effect = { call, file };
      const fault = this.#fault(effect, this.effects.length);
      this.effects.push(effect);
      if (fault === 'cut') {
        if (this.#prng.below(2) === 0) half();
        return this.powerCut();
      }
      if (fault !== null) return done(fault);
      let value: T;
      try {
        value = act();
      } catch (error) {
        return done(error instanceof Error ? error : new Error(String(error)));
      }
      done(null, value);
    });
  }

  #append(file: string, bytes: Buffer): void {
    this.#write(file, this.#names.get(file)?.bytes.length ?? 0, bytes);
  }

  #write(file: string, from: number, bytes: Buffer): void {
    const known = this.#names.get(file) ?? { bytes: Buffer.alloc(0), synced: Buffer.alloc(0), leastBytes: 0, mode: 0o600 };
    if (from > known.bytes.length) throw failure('EINVAL', file);
    known.bytes = Buffer.concat([known.bytes.subarray(0, from), bytes, known.bytes.subarray(from + bytes.length)]);
    this.#names.set(file, known);
  }

  #file(file: string): SimFile {
    const known = this.#names.get(file);
    if (known === undefined) throw failure('ENOENT', file);
    return known;
  }

  /** A change of names that was under way may have reached the platter or not. */
  #settleName(name: string): void {
    const seen = this.#names.get(name);
    if (seen === this.#durableNames.get(name) || this.#prng.below(2) === 0) return;
    if (seen === undefined) this.#durableNames.delete(name);
    else this.#durableNames.set(name, seen);
  }

  #tear(file: SimFile): void {
    const least = Math.min(file.leastBytes, file.synced.length);
    const most = Math.max(file.bytes.length, file.synced.length);
    const size = least + this.#prng.below(most - least + 1);
    const torn = Buffer.alloc(size);
    file.synced.copy(torn);
    for (let at = 0; at < size; at += SECTOR_BYTES) {
      // Else as on the platter before: of what was never synced, zeros.
      const keeps = this.#prng.below(3);
      if (keeps === 1 && at < file.bytes.length) file.bytes.copy(torn, at, at, Math.min(at + SECTOR_BYTES, size));
    }
    file.bytes = torn;
    file.synced = Buffer.from(torn);
    file.leastBytes = size;
  }
}

function failure(code: string, file: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${file}`), { code });
}
