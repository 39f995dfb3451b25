// The write-ahead log of one node: segments of groups (segment.ts, record.ts), snapshots (snapshot-file.ts), and the file
// that says whose they are. This file decides order only: what is written when, and who is told.
//
// Group commit: while one group is written and synced, batches gather in the next; so a sync serves everybody who came
// during the one before. There is one write and one sync at a time, and each group says which one before it is known to be
// durable: damage there is told from an unfinished write. When the log falls idle it writes an empty group, so that the
// last group with content is proven as well.
//
// Term and vote can be had from nobody else, so a group that changes them is proven, and they are written once more in other
// sectors and synced, before anybody is told: damage to either copy is survived or refused (reliability 2.4, rule 3).
//
// After any error nothing is acknowledged any more: what is on disk is then unknown (fsync tells once, or never).

import { present } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Files } from '../base/files.js';
import type { AcquireLock, Release } from '../base/lock.js';
import type { Observe } from '../node/events.js';
import type { EntryId, HardState, Index, Persist, Resumed, SnapshotMeta } from '../raft/types.js';
import { GROUP_BYTES, PROOF_DELAY_MS, RESERVE_BYTES, SEGMENT_BYTES } from './limits.js';
import { LogError, NO_SNAPSHOT, type LogStorage, type SnapshotFile, type SnapshotStage } from './log-storage.js';
import { GroupBuilder, type GroupKind } from './record.js';
import { recover, type Recovered, type Segment } from './recovery.js';
import { Room, type Layout, type RoomLimits } from './room.js';
import { SEGMENT_HEADER_BYTES, encodeSegmentHeader, saltOf, segmentName, type Identity } from './segment.js';
import {
  isSnapshotName, readSnapshotChunks, snapshotName, stagedPath, writeSnapshot, type SnapshotPlace,
} from './snapshot-file.js';
import { openSnapshotFile, Stage } from './snapshot-transfer.js';

export interface WalOptions {
  readonly files: Files;
  readonly clock: Clock;
  /** Created when missing. Nothing else should live in it. */
  readonly directory: string;
  readonly identity: Identity;
  /** Keeps a second process out. Without it the caller guarantees that there is none, as on simulated files. */
  readonly lock?: AcquireLock;
  readonly segmentBytes?: number;
  readonly reserveBytes?: number;
  readonly observe?: Observe;
  /** A new directory stays without its identity, so that nobody takes it for a member's before the caller gives it one. */
  readonly isNameless?: boolean;
}

/** Batches that go out together, and who waits for them. */
interface Group {
  readonly builder: GroupBuilder;
  waiting: Done[];
  /** A staged snapshot that gets its name before the group is written. */
  readonly install: SnapshotMeta | null;
}

const LOCK_NAME = 'lock';

export class WalStorage implements LogStorage {
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #directory: string;
  readonly #identity: Identity;
  readonly #lock: AcquireLock | null;
  readonly #limits: RoomLimits;
  readonly #observe: Observe;
  readonly #isNameless: boolean;

  #state: 'new' | 'opening' | 'open' | 'closing' | 'closed' = 'new';
  #failure: Error | null = null;
  #release: Release | null = null;

  /** Ascending; the last one is appended to. */
  #segments: Segment[] = [];
  #salt = 0;
  /** Of the segment written to. */
  #room: Room;
  #chain = 0;
  #nextGroup = 1;
  /** The newest group known to be durable. */
  #synced = 0;
  #hard: HardState = { term: 0, vote: 0n, commit: 0 };
  #lastIndex: Index = 0;
  /** Something was written after the sync of the last group that counts: its damage is noticed, it was synced for sure. */
  #isProven = true;

  /** Groups not yet given to the disk; batches join the last one. */
  #filling: Group[] = [];
  #spare: GroupBuilder[] = [];
  #writing = false;
  #cancelProof: (() => void) | null = null;
  /** Called when nothing is being written and nothing waits. */
  #onIdle: (() => void) | null = null;

  #snapshot: SnapshotMeta = NO_SNAPSHOT;
  /**
   * While one is installed: the index of the one before it. Until the log says that it starts over, a power cut may leave it
   * beside the old log, which then must tell by its own entries that it is of another history.
   */
  #replaced: Index | null = null;
  #saving = false;
  #stage: Stage | null = null;
  /** Snapshots being read for others, by name: they stay until nobody reads them. */
  readonly #pins = new Map<string, number>();
  #isRemovingOlder = false;
  readonly #olderWaiting: Done[] = [];
  #onSaved: (() => void) | null = null;
  readonly #removing: { path: string; done: Done | null }[] = [];

  constructor(options: WalOptions) {
    this.#files = options.files;
    this.#clock = options.clock;
    this.#directory = options.directory;
    this.#identity = options.identity;
    this.#lock = options.lock ?? null;
    const { segmentBytes = SEGMENT_BYTES, reserveBytes = RESERVE_BYTES } = options;
    this.#limits = { segmentBytes, reserveBytes };
    this.#room = new Room(0, this.#limits);
    this.#observe = options.observe ?? (() => undefined);
    this.#isNameless = options.isNameless ?? false;
  }

  get failure(): Error | null {
    return this.#failure;
  }

  open(done: Done<Resumed>): void {
    if (this.#state !== 'new') return this.#later(() => done(new LogError(`${this.#directory} is open, or was once`)));
    this.#state = 'opening';
    const finish: Done<Resumed> = (error, resumed) => {
      if (this.#state === 'opening') this.#state = error === null ? 'open' : 'closed';
      const tell = (): void => {
        done(error, resumed);
        this.#rest();
      };
      if (error === null) return tell();
      this.#failure ??= error;
      this.#unlock(tell);
    };
    this.#files.makeDirectory(this.#directory, 0o700, (error) => {
      if (error !== null) return finish(this.#unusable(error));
      if (this.#lock === null) return this.#recover(finish);
      this.#lock(`${this.#directory}/${LOCK_NAME}`, (refusal, release) => {
        if (refusal !== null) return finish(new LogError(refusal.message, { cause: refusal }));
        this.#release = release ?? null;
        this.#recover(finish);
      });
    });
  }

  append(batch: Persist, done: Done): void {
    if (this.#refuses(done)) return;
    const install = batch.snapshot;
    const refusal = install === null ? null : this.#claim(install);
    if (refusal !== null) return this.#later(() => done(new LogError(refusal)));
    this.#cancelIdleProof();
    let group = this.#filling.at(-1);
    if (group === undefined || group.builder.sizeBytes >= GROUP_BYTES || install !== null) {
      group = { builder: this.#spare.pop() ?? new GroupBuilder(), waiting: [], install };
      this.#filling.push(group);
    }
    group.builder.add(batch);
    group.waiting.push(done);
    this.#writeNext();
  }

  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>, done: Done): void {
    if (this.#refuses(done)) return;
    if (this.#saving) return this.#later(() => done(new LogError('a snapshot is being saved already; one at a time')));
    if (meta.index < this.#snapshot.index) {
      const newest = this.#snapshot.index;
      return this.#later(() => done(new LogError(`a snapshot at ${meta.index} is older than the one at ${newest}`)));
    }
    this.#saving = true;
    const finish = (error: Error | null): void => {
      this.#saving = false;
      if (error === null) done(null);
      else this.#giveUp(error, done);
      this.#onSaved?.();
    };
    const startedMs = this.#clock.now();
    // Closing does not wait until a large one is whole: the log has everything that is in it.
    const isWanted = (): boolean => this.#state === 'open' && this.#failure === null;
    writeSnapshot(this.#place(), { meta, chunks, isWanted }, (error, sizeBytes) => {
      if (error !== null) return finish(error);
      if (sizeBytes === null) {
        this.#saving = false;
        done(new LogError('the log was closed before the snapshot was whole'));
        return this.#onSaved?.();
      }
      // One that was received meanwhile may be newer.
      if (meta.index > this.#snapshot.index) this.#snapshot = meta;
      const tookMs = this.#clock.now() - startedMs;
      this.#observe({ kind: 'snapshot_saved', index: meta.index, bytes: sizeBytes ?? 0, tookMs });
      this.#removeOlderSnapshots(finish);
    });
  }

  readSnapshot(meta: SnapshotMeta, each: (chunk: Uint8Array) => void, done: Done): void {
    if (this.#refuses(done)) return;
    readSnapshotChunks(this.#place(), meta, each, (error) => done(error === null ? null : this.#unusable(error)));
  }

  openSnapshot(done: Done<SnapshotFile | null>): void {
    if (this.#refuses(done)) return;
    const meta = this.#snapshot;
    if (meta.index === 0) return this.#later(() => done(null, null));
    const name = snapshotName(meta);
    this.#pins.set(name, (this.#pins.get(name) ?? 0) + 1);
    openSnapshotFile(this.#place(), meta, (closed) => this.#unpin(name, closed), done);
  }

  stageSnapshot(meta: SnapshotMeta, done: Done<SnapshotStage>): void {
    if (this.#refuses(done)) return;
    const begin = (): void => {
      const stage = new Stage(this.#place(), meta, () => this.#failure);
      this.#stage = stage;
      stage.begin((error) => (error === null ? done(null, stage) : this.#giveUp(error, done)));
    };
    const before = this.#stage;
    if (before?.isClaimed === true) {
      const { index } = before.meta;
      return this.#later(() => done(new LogError(`the snapshot at ${index} is being installed; stage another one after it`)));
    }
    if (before === null) begin();
    else before.discard((error) => (error === null ? begin() : this.#giveUp(error, done)));
  }

  compact(through: Index, done: Done): void {
    if (this.#refuses(done)) return;
    const covered = Math.min(through, this.#snapshot.index);
    const free = Math.min(covered, this.#replaced ?? covered);
    let count = 0;
    while (count < this.#segments.length - 1 && (this.#segments[count]?.lastIndex ?? Infinity) <= free) count++;
    const last = count - 1;
    const idle = this.#removing.length === 0;
    this.#segments.splice(0, count).forEach(({ path }, i) => this.#removing.push({ path, done: i === last ? done : null }));
    if (count === 0) return this.#later(() => done(this.#failure));
    if (idle) this.#removeNext();
  }

  close(done: Done): void {
    if (this.#state === 'new' || this.#state === 'closed') {
      this.#state = 'closed';
      return this.#later(() => done(null));
    }
    if (this.#state === 'closing') return this.#later(() => done(new LogError('the log is being closed already')));
    const opening = this.#state === 'opening';
    this.#state = 'closing';
    this.#cancelIdleProof();
    // `open` ends by calling #onIdle.
    if (opening) {
      this.#onIdle = () => this.#shut(done);
      return;
    }
    const shut = (): void => this.#shut(done);
    this.#whenQuiet(() => {
      if (this.#failure !== null) return shut();
      this.#writeProof(null, (error) => (error === null ? this.#writeIdleProof(shut) : shut()));
    });
    this.#writeNext();
  }

  // Opening and closing.

  #recover(done: Done<Resumed>): void {
    const source = { files: this.#files, directory: this.#directory, identity: this.#identity, isNameless: this.#isNameless };
    recover(source, (error, recovered) => {
      if (error !== null) return done(this.#unusable(error));
      const { resumed, repair } = present(recovered, 'what was recovered');
      this.#resume(present(recovered, 'what was recovered'));
      if (repair !== null) this.#observe({ kind: 'log_repaired', ...repair });
      // What was read may still be in the system's cache only: it is synced before anybody relies on it.
      const restart = recovered?.restart === true ? this.#snapshot : null;
      this.#writeProof(restart, (failure) => (failure === null ? done(null, resumed) : done(this.#unusable(failure))));
    });
  }

  #resume(recovered: Recovered): void {
    this.#segments = recovered.segments;
    this.#room = new Room(recovered.offset, this.#limits, this.#room);
    this.#chain = recovered.chain;
    this.#nextGroup = recovered.nextGroup;
    this.#lastIndex = recovered.lastIndex;
    this.#hard = recovered.resumed.hard;
    this.#snapshot = recovered.resumed.snapshot;
    this.#salt = saltOf(this.#identity, this.#active().number);
  }

  #shut(done: Done): void {
    this.#state = 'closed';
    const failure = this.#failure;
    const tell = (error: Error | null): void => done(error === null ? null : this.#unusable(error));
    const unlock = (error: Error | null): void => this.#unlock((trouble) => tell(failure ?? error ?? trouble));
    const active = this.#segments.at(-1);
    if (active === undefined) this.#later(() => unlock(null));
    else this.#files.close(active.path, unlock);
  }

  #unlock(done: Done): void {
    const release = this.#release;
    this.#release = null;
    if (release === null) done(null);
    else release(done);
  }

  /** Runs `next` from now or later, when the log, the snapshot and the removals have come to rest. */
  #whenQuiet(next: () => void): void {
    const check = (): void => {
      const busy = this.#writing || this.#filling.length > 0 || this.#saving || this.#removing.length > 0;
      if (busy && this.#failure === null) return;
      if (this.#writing || this.#saving) return;
      this.#onIdle = null;
      this.#onSaved = null;
      next();
    };
    this.#onIdle = check;
    this.#onSaved = check;
    check();
  }

  #unusable(error: Error): LogError {
    if (error instanceof LogError) return error;
    const isFull = 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
    const remedy = isFull ? '. The disk is full: make room on it and start again, nothing acknowledged is lost' : '';
    return new LogError(`the data directory ${this.#directory} cannot be used: ${error.message}${remedy}`, { cause: error });
  }

  // Writing.

  #writeNext(): void {
    const group = this.#filling[0];
    if (group === undefined || this.#writing || this.#failure !== null) return;
    this.#writing = true;
    if (this.#room.isFull) this.#rotate(() => this.#writeGroup(group));
    else this.#writeGroup(group);
  }

  #writeGroup(group: Group): void {
    this.#filling.shift();
    const { install, waiting } = group;
    if (install === null || isSamePlace(install, this.#snapshot)) return this.#writeRecords(group);
    if (install.index <= this.#snapshot.index) return this.#fail(new LogError(tooOld(install, this.#snapshot)), waiting);
    // With its name the snapshot counts, whether or not the crash comes before the log says so: see recovery.ts.
    const place = this.#place();
    const check = (next: () => void): Done => (error) => (error === null ? next() : this.#fail(error, waiting));
    this.#files.rename(stagedPath(place, install), `${this.#directory}/${snapshotName(install)}`, check(() => {
      this.#stage = null;
      this.#replaced = this.#snapshot.index;
      this.#snapshot = install;
      this.#removeOlderSnapshots(check(() => this.#writeRecords(group)));
    }));
  }

  #writeRecords(group: Group): void {
    const { builder, waiting } = group;
    const isBallot = builder.hard !== null && (builder.hard.term !== this.#hard.term || builder.hard.vote !== this.#hard.vote);
    if (builder.hard !== null) this.#hard = builder.hard;
    const active = this.#active();
    if (builder.lastIndex !== null) this.#lastIndex = builder.lastIndex;
    active.lastIndex = Math.max(active.lastIndex, builder.highestIndex);
    const bytes = this.#finishGroup(builder, 'synced');
    const startedMs = this.#clock.now();
    this.#writeAndSync(active.path, this.#room.take(bytes), (error) => {
      if (error !== null) return this.#fail(error, waiting);
      this.#synced = this.#nextGroup - 1;
      this.#isProven = false;
      if (group.install !== null) this.#replaced = null;
      builder.clear();
      this.#spare.push(builder);
      const tookMs = this.#clock.now() - startedMs;
      this.#observe({ kind: 'synced', batches: waiting.length, bytes: bytes.length, tookMs });
      if (isBallot) this.#writeProof(null, (failure) => (failure === null ? this.#tell(waiting) : this.#fail(failure, waiting)));
      else this.#tell(waiting);
    });
  }

  /** Whoever is told may append at once; it all joins the next group, which leaves when all have been told. */
  #tell(waiting: readonly Done[]): void {
    this.#writing = true;
    for (const done of waiting) done(null);
    this.#writing = false;
    this.#writeNext();
    this.#rest();
  }

  #finishGroup(builder: GroupBuilder, kind: GroupKind): Uint8Array {
    const place = {
      group: this.#nextGroup, offset: this.#room.offset, synced: this.#synced, salt: this.#salt, chain: this.#chain,
    };
    const { bytes, chain } = builder.finish(place, this.#hard, this.#lastIndex, kind);
    this.#chain = chain;
    this.#nextGroup++;
    return bytes;
  }

  /** A failure elsewhere, as of a snapshot beside it, counts: after the disk's first error no second opinion is asked. */
  #writeAndSync(path: string, { from, pieces }: Layout, done: Done): void {
    this.#files.writeSynced(path, from, pieces, (error) => done(error ?? this.#failure));
  }

  /** The next segment exists, durably, before the full one is sealed; a seal without a successor is then always damage. */
  #rotate(next: () => void): void {
    const full = this.#active();
    const seal = this.#finishGroup(new GroupBuilder(), 'sealed');
    const number = full.number + 1;
    const path = `${this.#directory}/${segmentName(number)}`;
    const header = { number, identity: this.#identity, firstGroup: this.#nextGroup, chain: this.#chain, hard: this.#hard };
    const check = (step: () => void): Done => (error) => (error === null ? step() : this.#fail(error, []));
    this.#writeAndSync(path, { from: 0, pieces: [encodeSegmentHeader(header)] }, check(() => {
      this.#writeAndSync(full.path, this.#room.take(seal), check(() => {
        this.#synced = this.#nextGroup - 1;
        this.#files.close(full.path, check(() => {
          this.#segments.push({ number, path, lastIndex: 0 });
          this.#salt = saltOf(this.#identity, number);
          this.#room = new Room(SEGMENT_HEADER_BYTES, this.#limits, this.#room);
          next();
        }));
      }));
    }));
  }

  /** Nothing to write: tells who waits for that, or says in a while that the last group was synced. */
  #rest(): void {
    if (this.#writing || this.#filling.length > 0) return;
    if (this.#onIdle !== null) return this.#onIdle();
    if (this.#isProven || this.#failure !== null || this.#state !== 'open') return;
    this.#cancelProof = this.#clock.schedule(PROOF_DELAY_MS, () => {
      this.#cancelProof = null;
      this.#writeIdleProof(() => {
        this.#writeNext();
        this.#rest();
      });
    });
  }

  /**
   * Asks for no sync: it need not outlast a power cut to outlast the end of this process, and the next group brings it. Where
   * groups are written to a descriptor that syncs (base/files.ts), this one is synced all the same.
   */
  #writeIdleProof(next: () => void): void {
    this.#writing = true;
    const { path } = this.#active();
    const { from, pieces } = this.#room.take(this.#proof('idle'));
    this.#files.write(path, from, pieces, (error) => {
      if (error === null) {
        this.#isProven = true;
        this.#writing = false;
      } else this.#fail(error, []);
      next();
    });
  }

  #cancelIdleProof(): void {
    this.#cancelProof?.();
    this.#cancelProof = null;
  }

  #proof(kind: GroupKind, restart: SnapshotMeta | null = null): Uint8Array {
    const builder = new GroupBuilder();
    if (restart !== null) builder.addRestart(restart);
    builder.addFiller(this.#room.offset);
    return this.#finishGroup(builder, kind);
  }

  /** An empty group, synced: everything before it is durable and provably so. `restart`: the log goes on after it. */
  #writeProof(restart: SnapshotMeta | null, done: Done): void {
    const bytes = this.#proof('synced', restart);
    this.#writing = true;
    this.#writeAndSync(this.#active().path, this.#room.take(bytes), (error) => {
      this.#writing = false;
      if (error !== null) return this.#giveUp(error, done);
      this.#synced = this.#nextGroup - 1;
      // That it is synced is not yet written down: without that the next start copies the segment, to be sure of it.
      this.#isProven = false;
      done(null);
    });
  }

  #active(): Segment {
    return present(this.#segments.at(-1), 'the segment appended to');
  }

  // Snapshots and compaction.

  /** The staged snapshot is the log's from now on. A sentence: why it cannot be; nothing was changed then. */
  #claim(install: SnapshotMeta): string | null {
    if (isSamePlace(install, this.#snapshot)) return null;
    if (install.index <= this.#snapshot.index) return tooOld(install, this.#snapshot);
    const stage = this.#stage;
    if (stage !== null && isSamePlace(stage.meta, install) && stage.claim()) return null;
    return `no snapshot at index ${install.index} of term ${install.term} is staged and finished`;
  }

  #place(): SnapshotPlace {
    return { files: this.#files, directory: this.#directory, clusterId: this.#identity.clusterId };
  }

  /** The last reader of a replaced snapshot is gone: the file goes, too. */
  #unpin(name: string, done: Done): void {
    const left = (this.#pins.get(name) ?? 1) - 1;
    if (left > 0) this.#pins.set(name, left);
    else this.#pins.delete(name);
    if (left > 0 || name === snapshotName(this.#snapshot)) return this.#later(() => done(null));
    if (this.#refuses(done)) return;
    this.#removeOlderSnapshots((error) => (error === null ? done(null) : this.#giveUp(error, done)));
  }

  /** One round at a time; who asks during one waits for the next. */
  #removeOlderSnapshots(done: Done): void {
    this.#olderWaiting.push(done);
    if (this.#olderWaiting.length > 1 || this.#isRemovingOlder) return;
    this.#isRemovingOlder = true;
    this.#removeOlderRound();
  }

  #removeOlderRound(): void {
    const waiting = this.#olderWaiting.splice(0);
    const finish: Done = (error) => {
      if (this.#olderWaiting.length > 0 && error === null) this.#removeOlderRound();
      else {
        this.#isRemovingOlder = false;
        waiting.push(...this.#olderWaiting.splice(0));
      }
      for (const done of waiting) done(error);
    };
    const newest = snapshotName(this.#snapshot);
    this.#files.list(this.#directory, (error, names) => {
      if (error !== null) return finish(error);
      const older = present(names, 'names').filter(
        (name) => isSnapshotName(name) && name < newest && !this.#pins.has(name),
      );
      const removeFrom = (i: number): void => {
        const name = older[i];
        if (name === undefined) return finish(null);
        this.#files.remove(`${this.#directory}/${name}`, (failure) => (failure === null ? removeFrom(i + 1) : finish(failure)));
      };
      removeFrom(0);
    });
  }

  /** Oldest first and one at a time, each durable before the next: a crash leaves no gap between segments. */
  #removeNext(): void {
    const first = this.#removing[0];
    if (first === undefined) {
      this.#onSaved?.();
      return;
    }
    this.#files.remove(first.path, (error) => {
      if (error !== null) {
        const waiting = this.#removing.splice(0).flatMap(({ done }) => done ?? []);
        return this.#fail(error, waiting);
      }
      this.#removing.shift();
      first.done?.(null);
      this.#removeNext();
    });
  }

  // Failure.

  /** True, and told so, when nothing more may be asked of this log. */
  #refuses(done: Done<never>): boolean {
    if (this.#state === 'open' && this.#failure === null) return false;
    const reason = this.#failure === null ? 'the log is not open' : `the log stopped after an error: ${this.#failure.message}`;
    this.#later(() => done(new LogError(reason, { cause: this.#failure })));
    return true;
  }

  #giveUp(error: Error, done: Done<never>): void {
    this.#fail(error, [done]);
  }

  /** What waits for the disk is told that it is unknown, once and for all. */
  #fail(cause: Error, waiting: readonly Done<never>[]): void {
    const error = this.#unusable(cause);
    this.#failure ??= error;
    this.#writing = false;
    this.#cancelIdleProof();
    const groups = this.#filling.splice(0);
    for (const done of waiting) done(error);
    for (const group of groups) for (const done of group.waiting) done(error);
    this.#onIdle?.();
  }

  #later(run: () => void): void {
    this.#clock.schedule(0, run);
  }
}

function isSamePlace(a: EntryId, b: EntryId): boolean {
  return a.index === b.index && a.term === b.term;
}

function tooOld(install: EntryId, newest: EntryId): string {
  return `the snapshot at ${install.index} of term ${install.term} cannot be installed: `
    + `there is one at ${newest.index} of term ${newest.term}`;
}
