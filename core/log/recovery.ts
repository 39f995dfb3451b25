// Reads a data directory as a crash may have left it and makes it fit to go on. It changes four things only, none of which
// was ever acknowledged: leftover temporary files go, a snapshot that a newer one replaced goes, a segment whose making
// was not finished goes, and what follows the last group of the last segment is cut off: an unfinished group, or zeros that
// were to be written over. Anything else that is not as it was written is damage: refused with file and byte, nothing
// touched (reliability 2.4).

import { present } from '../base/assert.js';
import type { Done } from '../base/done.js';
import type { Files } from '../base/files.js';
import type { Entry, EntryId, HardState, Index, Resumed, SnapshotMeta, Term } from '../raft/types.js';
import { IDENTITY_NAME, checkIdentity, writeIdentity } from './identity-file.js';
import { READ_BYTES } from './limits.js';
import { LogError, NO_SNAPSHOT, REMEDY } from './log-storage.js';
import type { RecordReader } from './record.js';
import {
  SEGMENT_HEADER_BYTES, encodeSegmentHeader, readSegment, segmentName, segmentNumber,
  type Identity, type SegmentEnd, type SegmentHeader,
} from './segment.js';
import { TEMPORARY, isSnapshotName, readSnapshotMeta } from './snapshot-file.js';

export interface Segment {
  readonly number: number;
  readonly path: string;
  /** No entry in it has a larger index; 0: it has none. */
  lastIndex: Index;
}

export interface Repair {
  readonly file: string;
  readonly offset: number;
  readonly droppedBytes: number;
}

export interface Recovered {
  readonly resumed: Resumed;
  /** Ascending; the last one is appended to. */
  readonly segments: Segment[];
  readonly offset: number;
  readonly chain: number;
  readonly nextGroup: number;
  readonly lastIndex: Index;
  readonly repair: Repair | null;
  /** A snapshot was installed and the log does not say so yet: to be written down before anything is appended. */
  readonly restart: boolean;
}

const FRESH: HardState = { term: 0, vote: 0n, commit: 0 };

export interface RecoverySource {
  readonly files: Files;
  readonly directory: string;
  readonly identity: Identity;
  /** A new directory gets no identity file. */
  readonly isNameless: boolean;
}

export function recover(source: RecoverySource, done: Done<Recovered>): void {
  new Recovery(source, done).start();
}

class Recovery {
  readonly #files: Files;
  readonly #directory: string;
  readonly #identity: Identity;
  readonly #isNameless: boolean;
  readonly #done: Done<Recovered>;
  #names: readonly string[] = [];
  #snapshot: SnapshotMeta = NO_SNAPSHOT;
  #segments: Segment[] = [];
  #ends: SegmentEnd[] = [];
  #replay = new Replay(NO_SNAPSHOT);

  constructor({ files, directory, identity, isNameless }: RecoverySource, done: Done<Recovered>) {
    this.#files = files;
    this.#directory = directory;
    this.#identity = identity;
    this.#isNameless = isNameless;
    this.#done = done;
  }

  start(): void {
    this.#files.makeDirectory(this.#directory, 0o700, this.#then(() => {
      this.#files.list(this.#directory, this.#then((names) => {
        const ours = (name: string): boolean => /^(?:snapshot-|staged-|identity|log-)/.test(name) && name.endsWith(TEMPORARY);
        this.#names = names.filter((name) => !ours(name));
        this.#removeAll(names.filter(ours).map((name) => this.#path(name)), () => this.#begin());
      }));
    }));
  }

  #begin(): void {
    for (const name of this.#names) {
      const number = segmentNumber(name);
      if (number !== null) this.#segments.push({ number, path: this.#path(name), lastIndex: 0 });
    }
    if (this.#names.includes(IDENTITY_NAME)) {
      return checkIdentity(this.#files, this.#directory, this.#identity, this.#then(() => this.#readSnapshots()));
    }
    this.#beginWithoutIdentity();
  }

  /** The identity file is the last thing made in a new directory, so without it there may be an unfinished first segment. */
  #beginWithoutIdentity(): void {
    const [first] = this.#segments;
    const missing = `${this.#path(IDENTITY_NAME)} is missing: it was lost, or a restore into this directory was cut short; `
      + 'if so, remove the directory and restore again';
    if (this.#segments.length > 1 || this.#names.some(isSnapshotName)) return this.#refuse(missing);
    if (first === undefined) return this.#create();
    this.#files.stat(first.path, this.#then((stat) => {
      if (stat === null || stat.sizeBytes > SEGMENT_HEADER_BYTES) return this.#refuse(missing);
      this.#removeAll([first.path], () => this.#create());
    }));
  }

  #create(): void {
    const path = this.#path(segmentName(1));
    const header: SegmentHeader = { number: 1, identity: this.#identity, firstGroup: 1, chain: 0, hard: FRESH };
    this.#files.write(path, 0, [encodeSegmentHeader(header)], this.#then(() => {
      this.#files.sync(path, this.#then(() => {
        const made = (): void => this.#done(null, {
          resumed: { hard: FRESH, snapshot: NO_SNAPSHOT, entries: [] },
          segments: [{ number: 1, path, lastIndex: 0 }],
          offset: SEGMENT_HEADER_BYTES,
          chain: 0,
          nextGroup: 1,
          lastIndex: 0,
          repair: null,
          restart: false,
        });
        if (this.#isNameless) made();
        else writeIdentity(this.#files, this.#directory, this.#identity, this.#then(made));
      }));
    }));
  }

  #readSnapshots(): void {
    const names = this.#names.filter(isSnapshotName);
    const newest = names.at(-1);
    if (newest === undefined) return this.#readSegments();
    const place = { files: this.#files, directory: this.#directory, clusterId: this.#identity.clusterId };
    readSnapshotMeta(place, newest, this.#then((meta) => {
      this.#snapshot = meta;
      this.#replay = new Replay(meta);
      this.#removeAll(names.slice(0, -1).map((name) => this.#path(name)), () => this.#readSegments());
    }));
  }

  #readSegments(): void {
    const [first] = this.#segments;
    if (first === undefined) return this.#refuse(`${this.#directory} has an identity but no log segments`);
    for (let i = 0; i < this.#segments.length; i++) {
      const expected = first.number + i;
      if (this.#segments[i]?.number !== expected) return this.#refuse(`${this.#path(segmentName(expected))} is missing`);
    }
    this.#readFrom(0);
  }

  #readFrom(i: number): void {
    const segment = this.#segments[i];
    if (segment === undefined) return this.#judge();
    const source = { files: this.#files, path: segment.path, number: segment.number, identity: this.#identity };
    this.#replay.beginSegment();
    readSegment(source, (buffer) => this.#replay.beginGroup(buffer), this.#then((end) => {
      segment.lastIndex = this.#replay.segmentLastIndex;
      this.#ends.push(end);
      this.#readFrom(i + 1);
    }));
  }

  /** Is every segment whole, up to an end that may be unfinished? */
  #judge(): void {
    const unfinished = this.#dropUnfinishedSegment();
    for (let i = 0; i < this.#segments.length; i++) {
      const segment = present(this.#segments[i], 'segment');
      const end = present(this.#ends[i], 'end of a segment');
      const isLast = i === this.#segments.length - 1;
      const trouble = this.#segmentTrouble(segment, end, this.#ends[i - 1], isLast);
      if (trouble !== null) return this.#refuse(trouble);
    }
    const trouble = this.#replay.trouble(this.#hard(), this.#lastEnd().last?.lastIndex ?? null);
    if (trouble !== null) return this.#refuse(`${this.#directory}: ${trouble}`);
    this.#removeAll(unfinished === null ? [] : [unfinished.path], () => this.#syncSeal(() => this.#repair()));
  }

  /** A seal may have been written and not synced; before anything goes to the segment after it, it must be durable. */
  #syncSeal(next: () => void): void {
    const before = this.#segments.at(-2);
    if (before === undefined) return next();
    this.#files.sync(before.path, this.#then(next));
  }

  /**
   * A crash may come after the next segment was made and before this one was sealed. That next one has no group, and goes.
   * A valid group in it would prove the seal, and so damage.
   */
  #dropUnfinishedSegment(): Segment | null {
    const last = this.#ends.at(-1);
    const before = this.#ends.at(-2);
    if (before === undefined || last === undefined || before.last?.sealed === true || before.proven) return null;
    const empty = !last.proven && last.last === null && last.sizeBytes <= SEGMENT_HEADER_BYTES;
    if (!empty) return null;
    this.#ends.pop();
    return this.#segments.pop() ?? null;
  }

  #segmentTrouble(segment: Segment, end: SegmentEnd, before: SegmentEnd | undefined, isLast: boolean): string | null {
    const { header } = end;
    if (header === null) return `${segment.path} is damaged at byte 0: its header is not valid`;
    const follows = before === undefined || (header.chain === before.chain && header.firstGroup === before.nextGroup);
    if (header.number !== segment.number || !follows) {
      return `${segment.path} is not the segment that belongs here: its header does not continue the one before`;
    }
    if (end.proven || (!isLast && end.offset < end.sizeBytes)) {
      return `${segment.path} is damaged at byte ${end.offset} of ${end.sizeBytes}: what was synced there is not valid now`;
    }
    const sealed = end.last?.sealed === true;
    if (sealed && isLast) return `${this.#path(segmentName(segment.number + 1))} is missing`;
    if (!sealed && !isLast) return `${segment.path} is cut off at byte ${end.offset}: its seal is missing`;
    return sealed && end.offset < end.sizeBytes ? `${segment.path} goes on after its seal at byte ${end.offset}` : null;
  }

  #repair(): void {
    const end = this.#lastEnd();
    const { path } = present(this.#segments.at(-1), 'last segment');
    if (end.offset === end.sizeBytes) return this.#finish(null);
    this.#files.truncate(path, end.offset, this.#then(() => {
      this.#files.sync(path, this.#then(() => {
        const droppedBytes = end.usedBytes - end.offset;
        this.#finish(droppedBytes === 0 ? null : { file: path, offset: end.offset, droppedBytes });
      }));
    }));
  }

  #finish(repair: Repair | null): void {
    this.#rewriteAll(this.#doubtful(), () => this.#tell(repair));
  }

  /**
   * Segments whose last groups may be in the system's cache only: a sync that fails can leave them there marked as written,
   * so that no later sync writes them either (reliability B9). What is read must be on disk before it is relied on.
   */
  #doubtful(): readonly string[] {
    const [before, last] = [this.#ends.at(-2), this.#lastEnd()];
    const paths: string[] = [];
    if (before?.isDoubtful === true && last.last === null) paths.push(present(this.#segments.at(-2), 'segment').path);
    if (last.isDoubtful) paths.push(present(this.#segments.at(-1), 'segment').path);
    return paths;
  }

  /** Each is copied, synced, and put in its own place. */
  #rewriteAll(paths: readonly string[], next: () => void): void {
    const [path, ...rest] = paths;
    if (path === undefined) return next();
    const copy = path + TEMPORARY;
    const done = this.#then<void>(() => this.#rewriteAll(rest, next));
    const publish = (): void => {
      this.#files.sync(copy, this.#then(() => {
        this.#files.close(copy, this.#then(() => {
          this.#files.close(path, this.#then(() => this.#files.rename(copy, path, done)));
        }));
      }));
    };
    const copyFrom = (offset: number): void => {
      this.#files.read(path, offset, READ_BYTES, this.#then((bytes) => {
        if (bytes.length === 0) return publish();
        this.#files.append(copy, [bytes], this.#then(() => copyFrom(offset + bytes.length)));
      }));
    };
    copyFrom(0);
  }

  #tell(repair: Repair | null): void {
    const end = this.#lastEnd();
    // Received and given its name, and then came the crash: what the log held before is void (Raft figure 13, rule 7).
    const restart = !this.#replay.reachesSnapshot;
    const entries = restart ? [] : this.#replay.entries;
    this.#done(null, {
      resumed: { hard: this.#hard(), snapshot: this.#snapshot, entries },
      restart,
      segments: this.#segments,
      offset: end.offset,
      chain: end.chain,
      nextGroup: end.nextGroup,
      lastIndex: entries.at(-1)?.index ?? this.#snapshot.index,
      repair,
    });
  }

  #lastEnd(): SegmentEnd {
    return present(this.#ends.at(-1), 'end of the last segment');
  }

  /** A snapshot of a later term than was ever written down here was sent by a leader of such a term: no vote was given in it. */
  #hard(): HardState {
    const end = this.#lastEnd();
    const hard = end.last?.hard ?? end.header?.hard ?? FRESH;
    const { term } = this.#snapshot;
    return term > hard.term ? { term, vote: 0n, commit: hard.commit } : hard;
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  #refuse(what: string): void {
    this.#done(new LogError(`${what}. ${REMEDY}`));
  }

  /** One after the other: a crash leaves no gap. */
  #removeAll(paths: readonly string[], next: () => void): void {
    const [path, ...rest] = paths;
    if (path === undefined) return next();
    this.#files.remove(path, this.#then(() => this.#removeAll(rest, next)));
  }

  #then<T>(next: (value: T) => void): Done<T> {
    return (error, value) => {
      if (error !== null) this.#done(error);
      else next(value as T);
    };
  }
}

/** What the groups say, one after the other: the entries after the snapshot. Data is not copied out of what was read. */
class Replay implements RecordReader {
  readonly entries: Entry[] = [];
  segmentLastIndex: Index = 0;
  readonly #snapshot: SnapshotMeta;
  #buffer: Buffer = Buffer.alloc(0);
  /** The first and last index seen that are not void; 0: none. */
  #first: Index = 0;
  #last: Index = 0;
  /** Where the log last started over. */
  #base: EntryId = NO_SNAPSHOT;
  /** Of the entry at the snapshot's place; null: there is none. */
  #termThere: Term | null = null;
  #hole: string | null = null;

  constructor(snapshot: SnapshotMeta) {
    this.#snapshot = snapshot;
  }

  beginSegment(): void {
    this.segmentLastIndex = 0;
  }

  beginGroup(buffer: Buffer): RecordReader {
    this.#buffer = buffer;
    return this;
  }

  onRestart(id: EntryId): void {
    this.#base = id;
    this.#first = 0;
    this.#last = 0;
    this.#termThere = null;
    this.entries.length = 0;
  }

  onCut(index: Index): void {
    if (this.#last === 0 || index >= this.#last) return;
    if (index < this.#snapshot.index) this.#termThere = null;
    if (index < this.#first) this.#first = 0;
    this.#last = index < this.#first || this.#first === 0 ? 0 : index;
    while ((this.entries.at(-1)?.index ?? 0) > index) this.entries.pop();
  }

  onEntry(kind: Entry['kind'], term: Term, index: Index, from: number, to: number): void {
    if (this.#last === 0) {
      this.#first = index;
      const { index: base } = this.#base;
      if (base > 0 && index !== base + 1) this.#hole ??= `entry ${index} follows the snapshot at ${base}`;
    } else if (index !== this.#last + 1) {
      this.#hole ??= `entry ${index} follows entry ${this.#last}`;
    }
    this.#last = index;
    if (index > this.segmentLastIndex) this.segmentLastIndex = index;
    if (index === this.#snapshot.index) this.#termThere = term;
    if (index > this.#snapshot.index) this.entries.push({ kind, term, index, data: this.#buffer.subarray(from, to) });
  }

  /** The log and the snapshot are of one history: the log has the snapshot's last entry, or goes on after it. */
  get reachesSnapshot(): boolean {
    const { term, index } = this.#snapshot;
    if (index === 0) return true;
    if (this.#termThere !== null) return this.#termThere === term;
    if (this.#base.index === index) return this.#base.term === term;
    // Compaction frees whole segments, so the log may begin right after the snapshot.
    return this.#base.index < index && this.#first === index + 1;
  }

  /** What is wrong with the log as a whole; null: nothing. `end`: where its last group says that it ends. */
  trouble(hard: HardState, end: Index | null): string | null {
    if (this.#hole !== null) return this.#hole;
    const { index: snapshot, term } = this.#snapshot;
    const there = this.#base.index === snapshot ? this.#base.term : this.#termThere;
    if (snapshot > 0 && there !== null && there !== term && hard.commit >= snapshot) {
      return `the committed entry ${snapshot} is of term ${there} in the log and of term ${term} in the snapshot there`;
    }
    const reached = Math.max(this.#last, this.#base.index, snapshot);
    if (this.#base.index > snapshot) return `the snapshot at ${this.#base.index} is missing, the newest is at ${snapshot}`;
    if (this.#last !== 0 && this.#first > snapshot + 1) {
      return `the log begins at entry ${this.#first}, the snapshot ends at ${snapshot}: what was between is missing`;
    }
    const claimed = Math.max(hard.commit, end ?? 0);
    if (claimed <= reached) return null;
    return `the log ends at entry ${reached}, but it once had entry ${claimed}: a segment or a snapshot is missing`;
  }
}

