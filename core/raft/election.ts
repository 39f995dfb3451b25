// The time-out of a node that does not lead, and the votes of one that wants to. The same tally serves the question whether
// an election is worth holding (pre-vote, thesis 9.6) and the election itself; the machine keeps the two apart.

import type { Prng } from '../base/prng.js';
import type { Members, Verdict } from './members.js';
import type { Message, NodeId } from './types.js';

export class Election {
  readonly #electionTicks: number;
  readonly #prng: Prng;
  #elapsedTicks = 0;
  #timeoutTicks = 0;
  #votes = new Map<NodeId, boolean>();

  constructor(electionTicks: number, prng: Prng) {
    this.#electionTicks = electionTicks;
    this.#prng = prng;
    this.restart();
  }

  /** Raft §5.2: randomised, so that split votes are rare and resolve quickly. */
  restart(): void {
    this.#elapsedTicks = 0;
    this.#timeoutTicks = this.#electionTicks + this.#prng.below(this.#electionTicks);
  }

  tick(): void {
    this.#elapsedTicks++;
  }

  get isDue(): boolean {
    return this.#elapsedTicks >= this.#timeoutTicks;
  }

  /** Raft §6: within the least time-out since `restart`, that is, since a leader was heard of. */
  get isQuiet(): boolean {
    return this.#elapsedTicks < this.#electionTicks;
  }

  /** A new question is put: no votes are in. */
  ask(): void {
    this.#votes = new Map();
  }

  /** How things stand with this vote. A second one of the same member replaces its first. */
  take(from: NodeId, granted: boolean, members: Members): Verdict {
    this.#votes.set(from, granted);
    return members.verdict((id) => this.#votes.get(id));
  }
}

/** Pre-vote speaks of terms that nobody has entered: a request does, and so does a promise (thesis 9.6). */
export function isAboutPreVote(message: Message): boolean {
  return message.kind === 'vote' ? message.pre : message.kind === 'vote_reply' && message.pre && message.granted;
}
