// Where the simulated world tells what its members do, at the instant they do it. The world calls, the ghost (ghost.ts)
// listens and throws `InvariantBroken` where a promise is broken. A probe must not change anything it is shown.

import type { EntryId, Message, NodeId, Persist, Resumed, SnapshotMeta, Status } from '../../core/raft/types.js';
import type { Store } from '../../core/store/store.js';
import type { ReadMark } from './ghost-reads.js';

export interface Probe {
  /** The log of a new life has been recovered; nothing else has happened in it. */
  memberStarted(id: NodeId, life: number, resumed: Resumed): void;
  memberDied(id: NodeId, how: 'process' | 'power' | 'wipe' | 'stop'): void;
  /** The node hands a batch to its log. */
  batchGiven(id: NodeId, batch: Persist): void;
  /** Its log says that the batch is durable. `unsyncedBytes`: of the log's segments on the disk at this instant. */
  batchDurable(id: NodeId, batch: Persist, unsyncedBytes: number): void;
  /** A raft message leaves. */
  sent(id: NodeId, message: Message): void;
  /** After every turn of a node. `applied` is its store's; the store itself is there to be looked at. */
  turned(id: NodeId, status: Status, applied: EntryId, store?: Store): void;
  /** A linearizable read has come to a member, and later: it is answered from a store that has applied so much. */
  readAsked(): ReadMark;
  readAnswered(id: NodeId, mark: ReadMark, applied: EntryId): void;
  snapshotSaved(id: NodeId, meta: SnapshotMeta): void;
  /** The log is told that nobody needs it up to `through` any more. */
  compacting(id: NodeId, through: number): void;
  snapshotInstalled(id: NodeId, meta: SnapshotMeta): void;
}

export class InvariantBroken extends Error {
  override readonly name = 'InvariantBroken';
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(message);
    this.invariant = invariant;
  }
}
