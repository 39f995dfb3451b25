// A failed sync after which the system keeps the pages in its cache and calls them clean (reliability B9): whoever reads
// them next sees bytes that no later sync writes. What a start has shown must be on disk all the same.

import test from 'ava';
import { whenDone, type Done } from '../../../core/base/done.js';
import type { FileAttributes, Files, FileStat } from '../../../core/base/files.js';
import { WalStorage } from '../../../core/log/wal.js';
import type { NodeEvent } from '../../../core/node/events.js';
import type { Persist, Resumed } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';
import { describe } from './history.js';

const EIO = Object.assign(new Error('EIO: injected'), { code: 'EIO' });

/** A disk whose files, once a sync of them has failed, are never again written by one: it only says so. */
class KeepingFiles implements Files {
  readonly #disk: SimDisk;
  readonly #clean = new Set<string>();
  /** The sync to fail, counted from here; 0: none. */
  failIn = 0;
  readonly failed: string[] = [];

  constructor(disk: SimDisk) {
    this.#disk = disk;
  }

  sync(file: string, done: Done): void {
    if (this.failIn > 0 && --this.failIn === 0) {
      this.#clean.add(file);
      this.failed.push(file);
      this.#disk.stat(file, () => done(EIO));
    } else if (this.#clean.has(file)) this.#disk.stat(file, () => done(null));
    else this.#disk.sync(file, done);
  }

  rename(from: string, to: string, done: Done): void {
    const isClean = this.#clean.delete(from);
    this.#clean.delete(to);
    if (isClean) this.#clean.add(to);
    this.#disk.rename(from, to, done);
  }

  remove(file: string, done: Done): void {
    this.#clean.delete(file);
    this.#disk.remove(file, done);
  }

  append(file: string, pieces: readonly Uint8Array[], done: Done): void {
    this.#disk.append(file, pieces, done);
  }

  write(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    this.#disk.write(file, from, pieces, done);
  }

  writeSynced(file: string, from: number, pieces: readonly Uint8Array[], done: Done): void {
    this.write(file, from, pieces, (error) => (error === null ? this.sync(file, done) : done(error)));
  }

  read(file: string, from: number, sizeBytes: number, done: Done<Uint8Array>): void {
    this.#disk.read(file, from, sizeBytes, done);
  }

  truncate(file: string, sizeBytes: number, done: Done): void {
    this.#disk.truncate(file, sizeBytes, done);
  }

  list(directory: string, done: Done<readonly string[]>): void {
    this.#disk.list(directory, done);
  }

  makeDirectory(directory: string, mode: number, done: Done): void {
    this.#disk.makeDirectory(directory, mode, done);
  }

  stat(file: string, done: Done<FileStat | null>): void {
    this.#disk.stat(file, done);
  }

  setAttributes(file: string, attributes: FileAttributes, done: Done): void {
    this.#disk.setAttributes(file, attributes, done);
  }

  close(file: string, done: Done): void {
    this.#disk.close(file, done);
  }
}

function storage(files: Files, observe: (event: NodeEvent) => void = () => undefined): WalStorage {
  const identity = { clusterId: 5n, memberId: 1n, incarnation: 7n };
  return new WalStorage({ files, clock: new SimClock(), directory: 'data', identity, segmentBytes: 1200, observe });
}

function batch(index: number): Persist {
  const entries = [{ kind: 'command', term: 1, index, data: Buffer.alloc(150, `${index}`) }] as const;
  return { seq: index, hard: { term: 1, vote: 1n, commit: index - 1 }, truncateAfter: null, snapshot: null, entries };
}

function append(log: WalStorage, index: number): Promise<void> {
  return whenDone((done) => log.append(batch(index), done));
}

test('what a start reads from the cache after a failed sync is on disk before it is relied on', async (t) => {
  let kept = 0;
  let isOver = false;
  // Every sync of a life fails once: of appends, of a vote's second copy, of a new segment and its seal, of the close.
  for (let failIn = 1; !isOver; failIn++) {
    for (let seed = 1; seed <= 4; seed++) {
      const disk = new SimDisk({ seed: failIn * 100 + seed });
      const files = new KeepingFiles(disk);
      const log = storage(files);
      await whenDone<Resumed>((done) => log.open(done));
      files.failIn = failIn;
      let acknowledged = 0;
      for (let i = 1; i <= 12 && files.failed.length === 0; i++) {
        await append(log, i).then(() => acknowledged = i, () => undefined);
      }
      await whenDone<void>((done) => log.close(done)).catch(() => undefined);
      isOver = files.failed.length === 0;
      files.failIn = 0;
      disk.kill();
      const next = storage(files);
      const shown = await whenDone<Resumed>((done) => next.open(done));
      const count = shown.entries.length;
      t.true(count >= acknowledged);
      if (count > acknowledged) kept++;
      // One start relied on it, and so did what it acknowledged since.
      await append(next, count + 1);
      disk.powerCut();
      const last = await whenDone<Resumed>((done) => storage(disk).open(done));
      const { hard, entries } = batch(count + 1);
      const wanted = { ...shown, hard: hard ?? shown.hard, entries: [...shown.entries, ...entries] };
      t.is(describe(last), describe(wanted), `sync ${failIn} of ${files.failed.join()} failed, seed ${seed}`);
    }
  }
  t.true(kept > 40, `only ${kept} times was there anything that only the cache held`);
});
