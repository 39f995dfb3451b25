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
  /** The last of `#steps`; asked for several times in every step of the machine. */
  #newest: Step;

  constructor(index: Index, configuration: Configuration) {
    this.#newest = { index, members: new Members(configuration) };
    this.#steps = [this.#newest];
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
    this.#newest = { index: entry.index, members: new Members(decodeMembers(entry.data).configuration) };
    this.#steps.push(this.#newest);
  }

  cutAfter(index: Index): void {
    while (this.#steps.length > 1 && this.index > index) {
      this.#steps.pop();
      this.#newest = present(this.#steps.at(-1), 'configuration');
    }
    assert(this.index <= index, `the configuration of entry ${this.index} was committed and is cut`);
  }

  committed(index: Index): void {
    while (this.#steps.length > 1 && present(this.#steps[1], 'configuration').index <= index) this.#steps.shift();
  }

  restored(snapshot: SnapshotMeta): void {
    this.#newest = { index: snapshot.index, members: new Members(snapshot.configuration) };
    this.#steps = [this.#newest];
  }
}
