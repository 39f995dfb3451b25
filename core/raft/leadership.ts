// What only a leader has: whom it sends to, the reads that wait, its heartbeat, and a transfer under way. It says what is to
// be sent and who still answers; what is committed, and what follows from that, is the machine's to decide.

import { Followers, type News } from './followers.js';
import type { RaftLog } from './log.js';
import type { Members } from './members.js';
import { Reads } from './reads.js';
import type { Index, Message, NodeId, RaftConfig, Token } from './types.js';

export class Leadership {
  readonly #config: RaftConfig;
  readonly followers: Followers;
  readonly reads = new Reads();
  #heartbeatElapsed = 0;
  /** Everybody must hear something: a heartbeat is due or a round of reads has begun. */
  #mustTell = false;
  /** 0n: no transfer under way. */
  #transferTo: NodeId = 0n;
  #transferSince = 0;
  #transferTold = false;

  constructor(config: RaftConfig) {
    this.#config = config;
    this.followers = new Followers(config.id, config.appendBytesMax, config.electionTicks);
  }

  get transferTo(): NodeId {
    return this.#transferTo;
  }

  begin(): void {
    this.#heartbeatElapsed = 0;
  }

  /** The reads that nobody will answer now. */
  end(): readonly Token[] {
    this.followers.clear();
    this.#mustTell = false;
    this.#transferTo = 0n;
    return this.reads.drop();
  }

  tick(): void {
    this.#heartbeatElapsed++;
  }

  /** What is due after some ticks. */
  onTime(now: number): void {
    if (this.#transferTo !== 0n && now - this.#transferSince >= this.#config.electionTicks) this.#transferTo = 0n;
    this.followers.tick(now);
    if (this.#heartbeatElapsed < this.#config.heartbeatTicks) return;
    this.#heartbeatElapsed = 0;
    this.#mustTell = true;
    this.#transferTold = false;
  }

  /** Thesis 6.2: a majority has answered within an election time-out. */
  isAnswered(members: Members, now: number): boolean {
    const { id: self } = this.#config;
    return members.verdict((id) => id === self || this.followers.isActive(id, now)) === 'won';
  }

  /** What a majority has; `durable` is our own. */
  reached(members: Members, durable: Index): Index {
    const { id: self } = this.#config;
    return members.reached((id) => (id === self ? durable : this.followers.matchOf(id)));
  }

  /**
   * Only to a voter that answers and has, or can get, the whole log in time. A wish for ourselves, or for anybody else while
   * one is under way, ends that one; the same wish again changes nothing.
   */
  transfer(to: NodeId, members: Members, now: number): void {
    if (to === this.#transferTo) return;
    this.#transferTo = 0n;
    const isFit = to !== this.#config.id && members.configuration.voters.includes(to);
    if (!isFit || !this.followers.isActive(to, now) || this.followers.get(to)?.mode === 'snapshot') return;
    this.#transferTo = to;
    this.#transferSince = now;
    this.#transferTold = false;
  }

  startReads(commit: Index): void {
    if (this.reads.start(commit)) this.#mustTell = true;
  }

  confirmReads(members: Members, each: (token: Token, index: Index) => void): void {
    this.reads.confirm(members, this.#config.id, (id) => this.followers.roundOf(id), each);
  }

  /** All that is to be told now. Thesis 3.10: the target of a transfer once it has every entry, and with each heartbeat. */
  send(log: RaftLog, news: Pick<News, 'term' | 'commit' | 'snapshot' | 'now'>, out: Message[]): void {
    const to = this.#transferTo;
    if (to !== 0n && !this.#transferTold && this.followers.matchOf(to) === log.lastIndex) {
      this.#transferTold = true;
      out.push({ kind: 'timeout_now', from: this.#config.id, to, term: news.term });
    }
    const { term, commit, snapshot, now } = news;
    this.followers.send(log, { term, commit, snapshot, now, round: this.reads.asked, mustTell: this.#mustTell }, out);
    this.#mustTell = false;
  }
}
