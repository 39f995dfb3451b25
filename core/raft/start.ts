// Before the first step: whether the settings make sense, whether what the disk holds can be, and who the members are.

import { assert } from '../base/assert.js';
import type { Configuration, EntryId, RaftConfig, Resumed, SnapshotMeta } from './types.js';

export function checkConfig({ electionTicks, heartbeatTicks, catchUpEntries, catchUpBytes, applyBytesMax }: RaftConfig): void {
  assert(electionTicks >= 3, `electionTicks is ${electionTicks}; below 3 elections cannot settle`);
  assert(heartbeatTicks >= 1 && heartbeatTicks < electionTicks,
    `heartbeatTicks is ${heartbeatTicks}; it must be in [1, electionTicks)`);
  assert(catchUpEntries >= 0, `catchUpEntries is ${catchUpEntries}; it must not be negative`);
  assert(catchUpBytes >= 0, `catchUpBytes is ${catchUpBytes}; it must not be negative`);
  assert(applyBytesMax > 0, `applyBytesMax is ${applyBytesMax}; nothing would ever be applied`);
}

export function checkResumed({ hard }: Resumed, last: EntryId): void {
  assert(hard.term >= last.term, `the disk holds an entry of term ${last.term} but only term ${hard.term} itself`);
  assert(hard.commit <= last.index, `the disk calls entry ${hard.commit} committed but its log ends at ${last.index}`);
}

/** Before any entry: a log that has been snapshotted knows its members; a fresh one starts with those the settings name. */
export function startingConfiguration({ voters }: RaftConfig, snapshot: SnapshotMeta): Configuration {
  return snapshot.configuration.voters.length > 0 ? snapshot.configuration : { voters, outgoing: [], learners: [] };
}
