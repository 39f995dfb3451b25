// Do the members hold the same data? The leader asks all of them for their hash at one revision and compares those that are
// compacted to the same one; whoever differs from the majority (without a majority: from the leader) has its alarm raised,
// after which nothing is written until an operator has looked (contract 9). A member that does not answer, is behind, or is
// compacted elsewhere, is compared the next time.
//
// Two occasions: now and then at the newest revision, which reads everything; and, cheap, after a compaction at its revision.

import type { Clock } from '../base/clock.js';
import { ApiError, isApiError } from '../errors.js';
import type { Done } from '../base/done.js';
import type { Revision } from '../client.js';
import type { NodeId } from '../raft/types.js';
import type { StoreHash } from '../store/store.js';
import type { Observe } from './events.js';
import { hashAgainMs, hashTriesMax } from './limits.js';

export interface CorruptionConfig {
  readonly self: NodeId;
  /** How often everything is compared; 0: never. */
  readonly everyMs: number;
  /** How often it is looked whether there was a compaction; 0: never. */
  readonly compactedEveryMs: number;
}

export interface CorruptionDoors {
  readonly clock: Clock;
  readonly observe: Observe;
  isLeader(): boolean;
  others(): readonly NodeId[];
  revision(): Revision;
  compacted(): Revision;
  hash(revision: Revision, done: Done<StoreHash>): void;
  askHash(member: NodeId, revision: Revision, done: Done<StoreHash>): void;
  raise(member: NodeId): void;
}

interface Found {
  readonly member: NodeId;
  readonly hash: number;
  readonly compactRevision: Revision;
}

export class Corruption {
  readonly #config: CorruptionConfig;
  readonly #doors: CorruptionDoors;
  readonly #cancels: (() => void)[] = [];
  #isChecking = false;
  /** The compaction that was compared last. */
  #comparedAt: Revision = 0;
  #isOver = false;

  constructor(config: CorruptionConfig, doors: CorruptionDoors) {
    this.#config = config;
    this.#doors = doors;
  }

  begin(): void {
    const { everyMs, compactedEveryMs } = this.#config;
    if (everyMs > 0) this.#repeat(0, everyMs, () => this.#check(0));
    if (compactedEveryMs > 0) this.#repeat(1, compactedEveryMs, () => this.#checkCompacted());
  }

  end(): void {
    this.#isOver = true;
    for (const cancel of this.#cancels) cancel();
  }

  /**
   * Before this member serves: those it differs from, unless most of those who could be asked hold what it holds. Empty: it may
   * serve. Without a majority nobody knows who is right, and it is not the one that begins.
   */
  verify(done: Done<readonly NodeId[]>): void {
    this.#compare(0, (error, found) => {
      if (error !== null || found === undefined) return done(error);
      const [own, another] = found;
      const differing = found.filter(({ hash }) => hash !== own?.hash).map(({ member }) => member);
      const { self } = this.#config;
      done(null, outliers(found, another?.member ?? self).includes(self) ? differing : []);
    });
  }

  #repeat(at: number, everyMs: number, run: () => void): void {
    this.#cancels[at] = this.#doors.clock.schedule(everyMs, () => {
      this.#repeat(at, everyMs, run);
      run();
    });
  }

  #checkCompacted(): void {
    const compacted = this.#doors.compacted();
    if (compacted === this.#comparedAt || compacted === 0) return;
    this.#check(compacted);
  }

  #check(revision: Revision): void {
    if (this.#isChecking || !this.#doors.isLeader() || this.#doors.others().length === 0) return;
    this.#isChecking = true;
    this.#compare(revision, (error, found) => {
      this.#isChecking = false;
      if (error !== null || found === undefined || this.#isOver || !this.#doors.isLeader()) return;
      const everybody = found.length === this.#doors.others().length + 1;
      if (revision > 0 && everybody) this.#comparedAt = revision;
      const members = outliers(found, this.#config.self);
      if (members.length === 0) return;
      this.#doors.observe({ kind: 'members_differ', revision: revision || this.#doors.revision(), members });
      for (const member of members) this.#doors.raise(member);
    });
  }

  /** What all those say that can be compared with this member, itself first. */
  #compare(revision: Revision, done: Done<readonly Found[]>): void {
    const { self } = this.#config;
    this.#doors.hash(revision, (error, own) => {
      if (error !== null || own === undefined) return done(error ?? new ApiError('internal'));
      const at = revision || own.revision;
      const others = this.#doors.others();
      const found: Found[] = [{ member: self, hash: own.hash, compactRevision: own.compactRevision }];
      let waiting = others.length;
      const settle = (): void => done(null, found.filter((each) => each.compactRevision === own.compactRevision));
      if (waiting === 0) return settle();
      for (const member of others) {
        this.#ask(member, at, hashTriesMax, (answer) => {
          if (answer !== null) found.push({ member, hash: answer.hash, compactRevision: answer.compactRevision });
          if (--waiting === 0) settle();
        });
      }
    });
  }

  /** Null: no answer that could be compared. One that is a little behind is asked again. */
  #ask(member: NodeId, revision: Revision, triesLeft: number, done: (hash: StoreHash | null) => void): void {
    this.#doors.askHash(member, revision, (error, hash) => {
      if (error === null) return done(hash ?? null);
      if (!isApiError(error, 'future_revision') || triesLeft <= 1 || this.#isOver) return done(null);
      this.#doors.clock.schedule(hashAgainMs, () => this.#ask(member, revision, triesLeft - 1, done));
    });
  }
}

/** Whoever does not hold what most hold; where none is held by most, what `judge` holds counts. */
export function outliers(found: readonly Pick<Found, 'member' | 'hash'>[], judge: NodeId): readonly NodeId[] {
  const counts = new Map<number, number>();
  for (const { hash } of found) counts.set(hash, (counts.get(hash) ?? 0) + 1);
  const most = [...counts].find(([, count]) => count * 2 > found.length)?.[0];
  const right = most ?? found.find(({ member }) => member === judge)?.hash;
  return found.filter(({ hash }) => hash !== right).map(({ member }) => member);
}
