// What the ghost knows of linearizable reads (I13): whoever answers one has, since it was asked, been told of a round that a
// majority confirmed and that began after the question; and shows no less than what was committed when the question came.
// A stale answer is rare even where the rounds are broken; that there was no round shows at once.

import type { Message, NodeId } from '../../core/raft/types.js';

/** A moment: a read is judged by what had happened before it. */
export interface ReadMark {
  readonly at: number;
  /** How much was committed. */
  readonly committed: number;
}

interface Reign {
  readonly leader: NodeId;
  /** Rounds, ascending, and when each began. */
  readonly rounds: number[];
  readonly began: number[];
  /** The latest round that each other member has confirmed. */
  readonly confirmed: Map<NodeId, number>;
}

/** Reigns that are remembered: a slow member may answer by the word of a leader that is gone. */
const REIGNS_MAX = 50;

export class ReadRounds {
  readonly #now: () => number;
  readonly #reigns = new Map<number, Reign>();

  constructor(now: () => number) {
    this.#now = now;
  }

  sent(id: NodeId, message: Message): void {
    if (message.kind === 'append' && message.round > 0) {
      const { rounds, began } = this.#reign(message.term, id);
      if (message.round <= (rounds.at(-1) ?? 0)) return;
      rounds.push(message.round);
      began.push(this.#now());
    } else if (message.kind === 'append_reply' && message.round > 0) {
      const { confirmed } = this.#reign(message.term, message.to);
      confirmed.set(id, Math.max(message.round, confirmed.get(id) ?? 0));
    }
  }

  /** Null: the read was proven. Otherwise why it was not. `isQuorum`: of any configuration that the leader may go by. */
  whyNot(mark: ReadMark, isQuorum: (leader: NodeId, has: (id: NodeId) => boolean) => boolean): string | null {
    for (const { leader, rounds, began, confirmed } of [...this.#reigns.values()].reverse()) {
      // The first round that began since.
      let at = rounds.length;
      while (at > 0 && (began[at - 1] ?? 0) >= mark.at) at--;
      const first = rounds[at];
      if (first === undefined) continue;
      if (isQuorum(leader, (id) => id === leader || (confirmed.get(id) ?? 0) >= first)) return null;
    }
    return `no majority has confirmed a round that began after it was asked at ${mark.at.toFixed(1)} ms`;
  }

  #reign(term: number, leader: NodeId): Reign {
    const known = this.#reigns.get(term);
    if (known !== undefined) return known;
    const reign: Reign = { leader, rounds: [], began: [], confirmed: new Map() };
    this.#reigns.set(term, reign);
    const [oldest] = this.#reigns.keys();
    if (this.#reigns.size > REIGNS_MAX && oldest !== undefined) this.#reigns.delete(oldest);
    return reign;
  }
}
