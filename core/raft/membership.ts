// Which configuration is in force: always the newest in the log, committed or not (Raft §6). When the log is cut the one
// before it counts again, so those are kept back to the newest that is committed; a committed entry is never cut.
// Invariant: indexes ascend; all but the first are later than the commit index last named.

import { assert, present } from '../base/assert.js';
import { decodeMembers, Members } from './members.js';
import type { Configuration, Entry, Index, SnapshotMeta } from './types.js';

interface Step {
  /** Where the entry is; 0: none, the configuration was given from outside. */
  readonly index: Index;
  readonly members: Members;
}

export class Membership {
  #steps: Step[];

  constructor(index: Index, configuration: Configuration) {
    this.#steps = [{ index, members: new Members(configuration) }];
  }

  get current(): Members {
    return this.#newest.members;
  }

  /** The index of the entry that brought the current configuration. */
  get index(): Index {
    return this.#newest.index;
  }

  /** The newest configuration known to be committed, as of the last call of `committed`. */
  get settled(): Members {
    return present(this.#steps[0], 'configuration').members;
  }

  appended(entry: Entry): void {
    if (entry.kind !== 'members') return;
    assert(entry.index > this.index, `configuration ${entry.index} does not follow ${this.index}`);
    this.#steps.push({ index: entry.index, members: new Members(decodeMembers(entry.data).configuration) });
  }

  cutAfter(index: Index): void {
    while (this.#steps.length > 1 && this.index > index) this.#steps.pop();
    assert(this.index <= index, `the configuration of entry ${this.index} was committed and is cut`);
  }

  committed(index: Index): void {
    while (this.#steps.length > 1 && present(this.#steps[1], 'configuration').index <= index) this.#steps.shift();
  }

  restored(snapshot: SnapshotMeta): void {
    this.#steps = [{ index: snapshot.index, members: new Members(snapshot.configuration) }];
  }

  get #newest(): Step {
    return present(this.#steps.at(-1), 'configuration');
  }
}
