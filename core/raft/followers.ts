// Everyone a leader sends to, and what goes to each: entries to whoever can take them, a snapshot where the entries are
// forgotten, and an empty append where a heartbeat, a read round or a commit index must be told. One pass a step, so that
// whatever came in together goes out together. Leader only; begins anew with each term.

import { present } from '../base/assert.js';
import type { RaftLog } from './log.js';
import type { Members } from './members.js';
import { Progress } from './progress.js';
import type { Entry, Index, Message, NodeId, PeerStatus, SnapshotMeta, Term } from './types.js';

/** What a pass needs to know. */
export interface News {
  readonly term: Term;
  readonly commit: Index;
  /** The read round to confirm, 0: none. */
  readonly round: number;
  /** Everybody must hear something: a heartbeat is due or a round has begun. */
  readonly mustTell: boolean;
  /** The newest snapshot. */
  readonly snapshot: SnapshotMeta;
  readonly now: number;
}

const NONE: readonly never[] = [];

/** Entries of so many bytes have a message each. */
const ALONE_BYTES = 32 * 1024;

/**
 * What was last cut out of the log in one pass: followers that need the same get the same array, which is encoded once. So it is
 * while each gets one message in a pass, as in steady work; of several, as when one catches up, each is cut again for the next.
 */
interface Cut {
  from: Index;
  entries: readonly Entry[];
}

export class Followers {
  readonly #self: NodeId;
  readonly #appendBytesMax: number;
  /** A follower that has not answered for this long is not sent snapshots. */
  readonly #electionTicks: number;
  #progress = new Map<NodeId, Progress>();

  constructor(self: NodeId, appendBytesMax: number, electionTicks: number) {
    this.#self = self;
    this.#appendBytesMax = appendBytesMax;
    this.#electionTicks = electionTicks;
  }

  get(id: NodeId): Progress | undefined {
    return this.#progress.get(id);
  }

  clear(): void {
    this.#progress = new Map();
  }

  /** Those of `members` that are not known yet: they get their entries from `next` on, or from where they say. */
  add(members: Members, next: Index, now: number): void {
    for (const id of members.all) {
      if (id !== this.#self && !this.#progress.has(id)) this.#progress.set(id, new Progress(next, now));
    }
  }

  /** Lets go of whoever is not in `members`. */
  keep(members: Members): void {
    for (const id of this.#progress.keys()) if (!members.all.includes(id)) this.#progress.delete(id);
  }

  matchOf(id: NodeId): Index {
    return this.#progress.get(id)?.match ?? 0;
  }

  roundOf(id: NodeId): number {
    return this.#progress.get(id)?.round ?? 0;
  }

  /** It has answered within an election time-out. */
  isActive(id: NodeId, now: number): boolean {
    const progress = this.#progress.get(id);
    return progress !== undefined && now - progress.heardAt < this.#electionTicks;
  }

  /** Of the voters, the one whose log reaches farthest; the smallest id of several. 0n: there is none. */
  foremost(members: Members): NodeId {
    let best = 0n;
    for (const id of members.configuration.voters) {
      if (id !== this.#self && (best === 0n || this.matchOf(id) > this.matchOf(best))) best = id;
    }
    return best;
  }

  tick(now: number): void {
    for (const progress of this.#progress.values()) progress.checkShipped(now, this.#electionTicks);
  }

  statuses(now: number): readonly PeerStatus[] {
    const statuses = [...this.#progress].map(([id, { mode, match, next }]) => {
      return { id, mode, match, next, isActive: this.isActive(id, now) };
    });
    return statuses.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  send(log: RaftLog, news: News, out: Message[]): void {
    const cut: Cut = { from: 0, entries: NONE };
    for (const [to, progress] of this.#progress) this.#sendTo(to, progress, log, news, cut, out);
  }

  #sendTo(to: NodeId, progress: Progress, log: RaftLog, news: News, cut: Cut, out: Message[]): void {
    const base = log.base.index;
    let told = false;
    while (progress.canSend && progress.next <= log.lastIndex) {
      if (progress.next <= base) {
        if (this.isActive(to, news.now)) {
          progress.ship(news.snapshot.index);
          out.push({ kind: 'snapshot', from: this.#self, to, term: news.term, snapshot: news.snapshot });
        }
        break;
      }
      if (cut.from !== progress.next) {
        cut.from = progress.next;
        cut.entries = log.sliceBytes(progress.next, this.#appendBytesMax, ALONE_BYTES);
      }
      const { entries } = cut;
      this.#append(to, progress, log, news, entries, out);
      progress.sent(progress.next + entries.length - 1, bytesOf(entries));
      told = true;
    }
    // A commit index is news only as far as the logs are known to agree.
    const isNews = Math.min(news.commit, progress.match) > progress.commitTold;
    if (!told && (news.mustTell || isNews)) this.#append(to, progress, log, news, NONE, out);
  }

  #append(to: NodeId, progress: Progress, log: RaftLog, news: News, entries: readonly Entry[], out: Message[]): void {
    // One that waits for a snapshot is asked whether it has installed it; its refusals keep it counted among the living.
    const wanted = progress.mode === 'snapshot' ? progress.snapshotIndex : progress.next - 1;
    const index = Math.max(wanted, log.base.index);
    const previous = { term: present(log.termAt(index), `term of entry ${index}`), index };
    progress.commitTold = Math.min(news.commit, index + entries.length);
    const { term, commit, round } = news;
    const { match } = progress;
    out.push({ kind: 'append', from: this.#self, to, term, previous, entries, commit, round, match });
  }
}

function bytesOf(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const { data } of entries) bytes += data.length;
  return bytes;
}
