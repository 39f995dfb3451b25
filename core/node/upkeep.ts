// What a node does now and then without being asked, while it leads: compaction by the clock, comparing the members' data.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Revision } from '../client.js';
import { ApiError } from '../errors.js';
import type { NodeId } from '../raft/types.js';
import type { Command } from '../store/command.js';
import type { Reply, Store, StoreHash } from '../store/store.js';
import { decodeAnswer, encodeRequest } from './calls.js';
import { attempt } from './caught.js';
import { Compactor, type AutoCompaction } from './compactor.js';
import { Corruption } from './corruption.js';
import type { Observe } from './events.js';
import { Hasher } from './hashing.js';
import { hashCallMs } from './limits.js';

export interface UpkeepSettings {
  readonly autoCompaction: AutoCompaction | null;
  /** How often all members' data are compared; 0: never. etcd: --corrupt-check-time. */
  readonly corruptCheckMs: number;
  /** How often the leader compares what a compaction has left; 0: never. etcd: --compact-hash-check-time. */
  readonly compactHashCheckMs: number;
}

export const NO_UPKEEP: UpkeepSettings = { autoCompaction: null, corruptCheckMs: 0, compactHashCheckMs: 0 };

export interface UpkeepDoors {
  readonly clock: Clock;
  readonly observe: Observe;
  store(): Store;
  isRunning(): boolean;
  isLeader(): boolean;
  submit(command: Command, done: Done<Reply>): void;
  call(to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void;
}

export class Upkeep {
  readonly hasher: Hasher;
  readonly corruption: Corruption;
  readonly #compactor: Compactor | null;

  constructor(self: NodeId, settings: UpkeepSettings, doors: UpkeepDoors) {
    const { clock, observe } = doors;
    this.hasher = new Hasher(doors);
    const view = {
      isLeader: () => doors.isLeader(),
      revision: () => doors.store().revision,
      compacted: () => doors.store().compacted,
    };
    this.#compactor = settings.autoCompaction === null ? null : new Compactor(settings.autoCompaction, {
      clock,
      ...view,
      compact: (revision, done) => doors.submit({ kind: 'compact', revision }, (error, reply) => {
        if (error === null && reply?.kind === 'compact') return done(null);
        done(error ?? new ApiError(reply?.kind === 'error' ? reply.code : 'internal'));
      }),
    });
    this.corruption = new Corruption({ self, everyMs: settings.corruptCheckMs, compactedEveryMs: settings.compactHashCheckMs }, {
      clock, observe,
      ...view,
      others: () => doors.store().members().map(({ id }) => id).filter((id) => id !== self),
      hash: (revision, done) => this.hasher.hash(revision, done),
      askHash: (member, revision, done) => askHash(doors, member, revision, done),
      raise: (memberId) => {
        // Raised again at the next check, should it fail.
        if (doors.store().alarms(memberId, 'corrupt').length > 0) return;
        doors.submit({ kind: 'alarm', action: 'raise', alarm: { memberId, kind: 'corrupt' } }, () => undefined);
      },
    });
  }

  begin(): void {
    this.#compactor?.begin();
    this.corruption.begin();
  }

  end(): void {
    this.#compactor?.end();
    this.corruption.end();
  }
}

function askHash(doors: UpkeepDoors, member: NodeId, revision: Revision, done: Done<StoreHash>): void {
  doors.call(member, encodeRequest({ kind: 'hash', revision }), hashCallMs, (error, bytes) => {
    if (error !== null || bytes === undefined) return done(error ?? new ApiError('unavailable'));
    const answer = attempt(() => decodeAnswer(bytes));
    if (answer instanceof Error) return done(answer);
    if (answer.kind === 'hash') return done(null, answer);
    done(new ApiError(answer.kind === 'error' ? answer.code : 'unavailable'));
  });
}
