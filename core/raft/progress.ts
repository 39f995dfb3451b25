// What a leader believes about one follower, and the only transitions of that belief.
//
//   probe    the leader does not know where the logs meet: one append at a time, answered or repeated at a heartbeat
//   stream   they meet at `match`: appends follow each other without waiting, at most IN_FLIGHT_MAX of them
//
//   probe --accepted--> stream        stream --refused--> probe        a lost append shows as a refusal of the next one
//
// Invariant: match < next. `match` never falls: an answer is given only for what is durable at the follower.

import type { Index } from './types.js';

/** Appends under way to one follower. With `appendBytesMax` it bounds the bytes queued for a slow one. */
export const IN_FLIGHT_MAX = 64;

export class Progress {
  #mode: 'probe' | 'stream' = 'probe';
  #match: Index = 0;
  #next: Index;
  #paused = false;
  /** Last index of each append under way, ascending. */
  readonly #inFlight: Index[] = [];
  /** The largest read round this follower has confirmed (thesis 6.4). */
  round = 0;
  /** The commit index last told. */
  commitTold: Index = 0;

  /** Raft figure 2: `next` starts behind the leader's last entry, `match` at 0. */
  constructor(next: Index) {
    this.#next = next;
  }

  get mode(): 'probe' | 'stream' {
    return this.#mode;
  }

  get match(): Index {
    return this.#match;
  }

  get next(): Index {
    return this.#next;
  }

  get canSend(): boolean {
    return this.#mode === 'probe' ? !this.#paused : this.#inFlight.length < IN_FLIGHT_MAX;
  }

  /** Entries up to `last` are on their way. */
  sent(last: Index): void {
    if (this.#mode === 'probe') {
      this.#paused = true;
      return;
    }
    this.#next = last + 1;
    this.#inFlight.push(last);
  }

  /** The follower holds everything through `index`, durably. */
  accepted(index: Index): void {
    if (index > this.#match) this.#match = index;
    if (this.#mode === 'probe') {
      this.#mode = 'stream';
      this.#paused = false;
      this.#next = this.#match + 1;
      return;
    }
    this.#next = Math.max(this.#next, this.#match + 1);
    let answered = 0;
    while (answered < this.#inFlight.length && (this.#inFlight[answered] ?? 0) <= index) answered++;
    if (answered > 0) this.#inFlight.splice(0, answered);
  }

  /** The follower lacks what came before; `retryAt` is where it suggests to go on. A stale refusal changes nothing. */
  refused(retryAt: Index): void {
    if (retryAt <= this.#match) return;
    this.#mode = 'probe';
    this.#paused = false;
    this.#inFlight.length = 0;
    this.#next = Math.max(this.#match + 1, Math.min(retryAt, this.#next - 1));
  }

  /** A heartbeat is due: an unanswered probe may be lost and is repeated. */
  heartbeat(): void {
    this.#paused = false;
  }
}
