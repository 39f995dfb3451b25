// What a follower owes its leader in this term: the answer that says how much of the leader's log is durable here. An answer
// that new entries ask for waits until they are; one batch of the disk is answered once, however many appends it took.
// Invariant: told <= matched. A log that is the leader's through an index stays so for the term (Raft §5.3).

import type { Index } from './types.js';

export class Following {
  /** The log is the leader's through this index. */
  #matched: Index = 0;
  /** The leader has been told that it is durable through this one. */
  #told: Index = 0;
  #isOwed = false;

  /** A new term: nothing is known of its leader's log. */
  reset(): void {
    this.#matched = 0;
    this.#told = 0;
    this.#isOwed = false;
  }

  /** The log is the leader's through `index`. False: an answer is owed that waits for the disk. */
  agree(index: Index, durable: Index): boolean {
    this.#matched = Math.max(this.#matched, index);
    if (index > durable) this.#isOwed = true;
    return index <= durable;
  }

  /** An answer waits that would tell something new. */
  isDue(durable: Index): boolean {
    return this.#isOwed && Math.min(this.#matched, durable) > this.#told;
  }

  /** What to answer now; a further answer is owed if that is not all. */
  answer(durable: Index): Index {
    this.#told = Math.min(this.#matched, durable);
    this.#isOwed = this.#matched > durable;
    return this.#told;
  }
}
