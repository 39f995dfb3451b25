// What a leader believes about one follower, and the only transitions of that belief.
//
//   probe     the leader does not know where the logs meet: one append at a time; a heartbeat repeats it, without entries
//   stream    they meet at `match`: appends follow each other without waiting, up to a number and a sum of bytes
//   snapshot  it needs entries the leader has forgotten: a snapshot is on its way, and no entries until it is installed
//
//   probe    --accepted--> stream      stream --refused, unreachable--> probe
//   probe, stream  --ship--> snapshot  snapshot --accepted, so far that the log suffices--> stream
//                                      snapshot --installed, but more is forgotten by now--> probe
//                                      snapshot --not sent, or sent and never installed--> probe
//
// A refusal counts only if it moves `next` down: so the copies of one answer cause one repetition, not one each.
// Invariant: match < next. `match` never falls: an answer is given only for what is durable at the follower.

import { assert } from '../base/assert.js';
import type { Index, PeerStatus } from './types.js';

/** Appends under way to one follower. */
export const IN_FLIGHT_MAX = 64;
/** Bytes of entry data under way to one follower; a single append may be larger. */
export const IN_FLIGHT_BYTES_MAX = 8 << 20;

type Mode = PeerStatus['mode'];

export class Progress {
  #mode: Mode = 'probe';
  #match: Index = 0;
  #next: Index;
  #paused = false;
  /** Of each append under way the last index, ascending, and the bytes. */
  readonly #lasts: Index[] = [];
  readonly #sizes: number[] = [];
  #bytes = 0;
  #snapshotIndex: Index = 0;
  /** The tick the snapshot had arrived; null: not yet. */
  #shippedAt: number | null = null;
  /** The largest read round this follower has confirmed (thesis 6.4). */
  round = 0;
  /** The commit index last told. */
  commitTold: Index = 0;
  /** The tick of its last answer; the tick it was first known, before. */
  heardAt: number;

  /** Raft figure 2: `next` starts behind the leader's last entry, `match` at 0. */
  constructor(next: Index, now: number) {
    this.#next = next;
    this.heardAt = now;
  }

  get mode(): Mode {
    return this.#mode;
  }

  get match(): Index {
    return this.#match;
  }

  get next(): Index {
    return this.#next;
  }

  get snapshotIndex(): Index {
    return this.#snapshotIndex;
  }

  get canSend(): boolean {
    switch (this.#mode) {
      case 'probe': return !this.#paused;
      case 'stream': return this.#lasts.length < IN_FLIGHT_MAX && this.#bytes < IN_FLIGHT_BYTES_MAX;
      case 'snapshot': return false;
    }
  }

  /** Entries up to `last`, with `bytes` of data, are on their way. */
  sent(last: Index, bytes: number): void {
    assert(this.canSend, `an append to a follower that is not ready for one (${this.#mode})`);
    if (this.#mode === 'probe') {
      this.#paused = true;
      return;
    }
    this.#next = last + 1;
    this.#lasts.push(last);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** The follower holds everything through `index`, durably, and its log meets ours. `base`: ours begins behind it. */
  accepted(index: Index, base: Index): void {
    if (index > this.#match) this.#match = index;
    if (this.#mode === 'stream') this.#free(index);
    else if (this.#mode === 'probe' || this.#match >= base) this.#enter('stream');
    else if (this.#match >= this.#snapshotIndex) this.#enter('probe');
    this.#next = Math.max(this.#next, this.#match + 1);
  }

  /** The follower lacks what came before; `retryAt` is where to go on. `base`: what is at or before it has been forgotten. */
  refused(retryAt: Index, base: Index): void {
    if (this.#mode === 'snapshot' || retryAt <= this.#match) return;
    // What is next may have been forgotten while answers were lost: then no append will ever be answered, only a snapshot helps.
    if (retryAt >= this.#next && this.#next > base) return;
    this.#enter('probe');
    this.#next = Math.min(this.#next, retryAt);
  }

  /** A snapshot is on its way. */
  ship(snapshotIndex: Index): void {
    assert(this.#mode !== 'snapshot', `a second snapshot for a follower that waits for ${this.#snapshotIndex}`);
    this.#enter('snapshot');
    this.#snapshotIndex = snapshotIndex;
    this.#shippedAt = null;
  }

  /** How the shipping ended. After a failure the next answer starts over. */
  shipped(ok: boolean, now: number): void {
    if (this.#mode !== 'snapshot') return;
    if (ok) this.#shippedAt = now;
    else this.#waitAndProbe();
  }

  /** A snapshot that arrived `ticks` ago and was never installed is lost: its receiver may have crashed. */
  checkShipped(now: number, ticks: number): void {
    if (this.#mode === 'snapshot' && this.#shippedAt !== null && now - this.#shippedAt > ticks) this.#waitAndProbe();
  }

  /** Messages to it are being lost: no more of them until it answers a heartbeat. */
  unreachable(): void {
    if (this.#mode === 'stream') this.#waitAndProbe();
  }

  #waitAndProbe(): void {
    this.#enter('probe');
    this.#paused = true;
    this.#next = this.#match + 1;
  }

  #enter(mode: Mode): void {
    this.#mode = mode;
    this.#paused = false;
    this.#snapshotIndex = 0;
    this.#lasts.length = 0;
    this.#sizes.length = 0;
    this.#bytes = 0;
  }

  /** The appends through `index` have arrived. */
  #free(index: Index): void {
    let answered = 0;
    while (answered < this.#lasts.length && (this.#lasts[answered] ?? 0) <= index) {
      this.#bytes -= this.#sizes[answered] ?? 0;
      answered++;
    }
    if (answered === 0) return;
    this.#lasts.splice(0, answered);
    this.#sizes.splice(0, answered);
  }
}
