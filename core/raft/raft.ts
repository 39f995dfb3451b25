// The machine: Raft (extended paper figure 2, Ongaro's thesis chapters 3 and 6.4) as a function from inputs to outputs. It
// has no hands. A step takes a batch of inputs, changes state, and then looks once at the whole: what is committed now,
// whom to send what, what must reach the disk, what may be applied. So a thousand proposals cost one batch of each.
//
// Disk and time: several persist batches may be under way. What depends on one is held back and leaves when `persisted`
// names it, so nothing in an Output needs waiting for. A message held over a change of term is dropped: messages may be lost.
// Invariants: applied <= min(commit, durable); durable <= last; a vote or a term is on disk before anyone hears of it.

import { assert, present } from '../base/assert.js';
import { Prng } from '../base/prng.js';
import { RaftLog } from './log.js';
import { Members } from './members.js';
import { Progress } from './progress.js';
import type {
  Configuration, Entry, EntryId, HardState, Index, Input, Message, NodeId, Output, Persist, RaftConfig, RefusedReason,
  Resumed, Role, Settled, SnapshotMeta, Status, Term, Token,
} from './types.js';

type State = Role['state'];
type MessageOf<K extends Message['kind']> = Extract<Message, { kind: K }>;
type Handler<K extends Message['kind']> = (raft: Raft, message: MessageOf<K>) => void;
type Handlers = { readonly [K in Message['kind']]: Handler<K> };

/** A persist batch under way. `through`: the last index it makes durable, lowered when a conflict cuts the log below it. */
interface Flight {
  readonly seq: number;
  through: Index;
}

/** A message that may leave once batch `seq` is durable. */
interface Held {
  readonly seq: number;
  readonly message: Message;
}

/** A read that waits until a majority has confirmed `round`; then it sees everything up to `index`. */
interface PendingRead {
  readonly token: Token;
  readonly index: Index;
  readonly round: number;
}

/** Reads waiting for confirmation; more are refused with 'too_many'. */
const READS_MAX = 100_000;

const NO_DATA = new Uint8Array(0);
const NONE: readonly never[] = [];

export class Raft {
  /** Every message a node can get, in every role it can be in. Terms are already equal when a handler is called. */
  static readonly #handlers: { readonly [S in State]: Handlers } = {
    follower: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: () => undefined,
      append: (raft, message) => raft.#onAppend(message),
      append_reply: () => undefined,
    },
    candidate: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: (raft, message) => raft.#onVoteReply(message),
      append: (raft, message) => raft.#onAppend(message),
      append_reply: () => undefined,
    },
    leader: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: () => undefined,
      append: (raft, message) => raft.#onRivalAppend(message),
      append_reply: (raft, message) => raft.#onAppendReply(message),
    },
  };

  readonly #config: RaftConfig;
  readonly #prng: Prng;
  readonly #members: Members;
  readonly #log: RaftLog;

  #state: State = 'follower';
  #term: Term;
  #vote: NodeId;
  #leader: NodeId = 0n;
  #commit: Index;
  #applied: Index;
  /** The log through this index is on disk as it is in memory. */
  #durable: Index;

  #elapsedTicks = 0;
  #timeoutTicks = 0;

  /** The disk: last batch given out, batches not yet answered, the batch that holds the current term and vote. */
  #seq = 0;
  readonly #flights: Flight[] = [];
  #hardSeq = 0;
  #hardDirty = false;
  #commitPersisted: Index;
  /** Entries after this index were not given to the disk yet. */
  #given: Index;
  #truncateAfter: Index | null = null;
  #held: Held[] = [];

  /** Follower: its log is the leader's through this index (this term), and whether an answer waits for the disk. */
  #matched: Index = 0;
  #answerOwed = false;

  /** Candidate: the votes in. */
  #votes = new Map<NodeId, boolean>();

  /** Leader only. */
  #progress = new Map<NodeId, Progress>();
  #heartbeatDue = false;
  #roundStarted = false;
  #round = 0;
  #reads: PendingRead[] = [];
  /** Reads that came before an entry of this term was committed (thesis 6.4, step 1). */
  #earlyReads: Token[] = [];

  /** What this step has gathered. */
  #send: Message[] = [];
  #settled: Settled[] = [];
  #roleTold: Role;

  /**
   * `resumed` is what the disk holds. The driver loads the store from `resumed.snapshot` before the first step; `apply`
   * goes on from there.
   */
  constructor(config: RaftConfig, resumed: Resumed) {
    assert(config.electionTicks >= 3, `electionTicks is ${config.electionTicks}; below 3 elections cannot settle`);
    assert(config.heartbeatTicks >= 1 && config.heartbeatTicks < config.electionTicks,
      `heartbeatTicks is ${config.heartbeatTicks}; it must be in [1, electionTicks)`);
    const { hard, snapshot, entries } = resumed;
    this.#config = config;
    this.#prng = new Prng(config.seed);
    this.#members = new Members(resumedConfiguration(config, snapshot));
    this.#log = new RaftLog(snapshot, entries);
    const last = this.#log.last;
    assert(hard.term >= last.term, `the disk holds an entry of term ${last.term} but only term ${hard.term} itself`);
    assert(hard.commit <= last.index, `the disk calls entry ${hard.commit} committed but its log ends at ${last.index}`);
    this.#term = hard.term;
    this.#vote = hard.vote;
    this.#commit = Math.max(hard.commit, snapshot.index);
    this.#commitPersisted = this.#commit;
    this.#applied = snapshot.index;
    this.#durable = last.index;
    this.#given = last.index;
    this.#roleTold = { state: 'follower', term: this.#term, leader: 0n };
    this.#restartTimer();
  }

  step(inputs: readonly Input[]): Output {
    this.#send = [];
    this.#settled = [];
    for (const input of inputs) this.#take(input);
    // A sole voter has nobody to wait for.
    if (this.#state === 'follower' && this.#members.isSole(this.#config.id)) this.#campaign();
    if (this.#state === 'leader') {
      this.#advanceCommit();
      this.#startReads();
      this.#confirmReads();
      this.#replicate();
    }
    const persist = this.#gatherPersist();
    const apply = this.#gatherApply();
    return { persist, send: this.#send, restore: null, apply, settled: this.#settled, role: this.#gatherRole() };
  }

  status(): Status {
    return {
      state: this.#state,
      term: this.#term,
      leader: this.#leader,
      commit: this.#commit,
      applied: this.#applied,
      last: this.#log.lastIndex,
      durable: this.#durable,
      configuration: this.#members.configuration,
    };
  }

  #take(input: Input): void {
    switch (input.kind) {
      case 'tick': return this.#onTick();
      case 'receive': return this.#onReceive(input.message);
      case 'propose': return this.#onPropose(input.token, input.data);
      case 'read': return this.#onRead(input.token);
      case 'persisted': return this.#onPersisted(input.seq);
      case 'snapshotted': return this.#onSnapshotted(input.snapshot);
    }
  }

  // Time and elections.

  #onTick(): void {
    this.#elapsedTicks++;
    if (this.#state === 'leader') {
      if (this.#elapsedTicks < this.#config.heartbeatTicks) return;
      this.#elapsedTicks = 0;
      this.#heartbeatDue = true;
      for (const progress of this.#progress.values()) progress.heartbeat();
      return;
    }
    if (this.#elapsedTicks >= this.#timeoutTicks) this.#campaign();
  }

  /** Raft §5.2: randomised, so that split votes are rare and resolve quickly. */
  #restartTimer(): void {
    this.#elapsedTicks = 0;
    this.#timeoutTicks = this.#config.electionTicks + this.#prng.below(this.#config.electionTicks);
  }

  /**
   * Raft §5.2. The requests, and the vote for itself, count once the new term and that vote are durable. While the disk
   * still owes an earlier one no further election starts, or a slow disk would void each by the next.
   */
  #campaign(): void {
    this.#restartTimer();
    const id = this.#config.id;
    if (!this.#members.isVoter(id) || this.#isHardPending()) return;
    this.#enterTerm(this.#term + 1, 'candidate', 0n);
    this.#vote = id;
    this.#votes = new Map();
    const last = { term: this.#log.last.term, index: this.#log.lastIndex };
    for (const to of this.#members.all) {
      if (to === id) this.#afterHard({ kind: 'vote_reply', from: id, to, term: this.#term, granted: true });
      else if (this.#members.isVoter(to)) this.#afterHard({ kind: 'vote', from: id, to, term: this.#term, last });
    }
  }

  /** A later term: what was believed about the old one is void. The vote is free again. */
  #enterTerm(term: Term, state: State, leader: NodeId): void {
    assert(term > this.#term, `term ${term} does not follow term ${this.#term}`);
    if (this.#state === 'leader') this.#stopLeading(leader);
    this.#term = term;
    this.#vote = 0n;
    this.#hardDirty = true;
    this.#state = state;
    this.#leader = leader;
    this.#matched = 0;
    this.#answerOwed = false;
  }

  #becomeLeader(): void {
    assert(this.#state === 'candidate', `a ${this.#state} cannot win an election`);
    this.#state = 'leader';
    this.#leader = this.#config.id;
    this.#elapsedTicks = 0;
    this.#round = 0;
    const next = this.#log.lastIndex + 1;
    this.#progress = new Map();
    for (const id of this.#members.all) {
      if (id !== this.#config.id) this.#progress.set(id, new Progress(next));
    }
    // Raft §8: an entry of its own term, so that the leader learns what is committed.
    this.#log.append({ kind: 'empty', term: this.#term, index: next, data: NO_DATA });
  }

  #stopLeading(leader: NodeId): void {
    for (const token of this.#earlyReads) this.#refuse(token, 'leader_changed', leader);
    for (const read of this.#reads) this.#refuse(read.token, 'leader_changed', leader);
    this.#earlyReads = [];
    this.#reads = [];
    this.#progress = new Map();
    this.#heartbeatDue = false;
    this.#restartTimer();
  }

  // Messages.

  #onReceive(message: Message): void {
    if (message.to !== this.#config.id) return;
    if (message.term < this.#term) return this.#onOutdated(message);
    if (message.term > this.#term) {
      // Raft §5.1: whoever sees a larger term takes it and follows.
      this.#enterTerm(message.term, 'follower', message.kind === 'append' ? message.from : 0n);
    }
    this.#dispatch(message);
  }

  #dispatch(message: Message): void {
    const handlers = Raft.#handlers[this.#state];
    switch (message.kind) {
      case 'vote': return handlers.vote(this, message);
      case 'vote_reply': return handlers.vote_reply(this, message);
      case 'append': return handlers.append(this, message);
      case 'append_reply': return handlers.append_reply(this, message);
    }
  }

  /** Raft §5.1: a request with a stale term is rejected; the answer carries ours, so that its sender steps down. */
  #onOutdated(message: Message): void {
    const reply = { from: this.#config.id, to: message.from, term: this.#term };
    if (message.kind === 'vote') this.#afterHard({ ...reply, kind: 'vote_reply', granted: false });
    if (message.kind === 'append') this.#afterHard({ ...reply, kind: 'append_reply', ok: false, index: 0, before: 0, round: 0 });
  }

  /** Raft §5.2, §5.4.1: first come, first served, one vote a term, and only for a log at least as complete as ours. */
  #onVote(message: MessageOf<'vote'>): void {
    const free = this.#vote === 0n || this.#vote === message.from;
    const granted = this.#state === 'follower' && this.#leader === 0n && free && this.#log.isUpToDate(message.last);
    if (granted) {
      if (this.#vote !== message.from) this.#hardDirty = true;
      this.#vote = message.from;
      this.#restartTimer();
    }
    this.#afterHard({ kind: 'vote_reply', from: this.#config.id, to: message.from, term: this.#term, granted });
  }

  #onVoteReply(message: MessageOf<'vote_reply'>): void {
    this.#votes.set(message.from, message.granted);
    // A lost election is waited out: the next time-out starts another (Raft §5.2).
    if (this.#members.verdict((id) => this.#votes.get(id)) === 'won') this.#becomeLeader();
  }

  /** Raft §5.3. The log check, the conflicts, the new entries, the commit index. */
  #onAppend(message: MessageOf<'append'>): void {
    // Raft §5.2: a candidate that hears from the leader of its own term returns to following.
    this.#state = 'follower';
    this.#leader = message.from;
    this.#restartTimer();
    const { previous, entries, round } = message;
    if (!this.#log.matches(previous)) {
      this.#refuseAppend(this.#log.lastAtMost(previous.index - 1, previous.term), round);
      return;
    }
    this.#takeEntries(entries);
    const through = previous.index + entries.length;
    this.#matched = Math.max(this.#matched, through);
    // Raft figure 2: only up to the last entry known to be the leader's.
    this.#commit = Math.max(this.#commit, Math.min(message.commit, through));
    // A read round needs no disk; new entries do, and their answer leaves when they are durable.
    if (through > this.#durable) this.#answerOwed = true;
    if (round > 0 || through <= this.#durable) this.#answerAppend(round);
  }

  #takeEntries(entries: readonly Entry[]): void {
    const from = this.#log.firstDifference(entries);
    const first = entries[from];
    if (first === undefined) return;
    if (first.index <= this.#log.lastIndex) this.#cutAfter(first.index - 1);
    for (let i = from; i < entries.length; i++) this.#log.append(present(entries[i], 'entry'));
  }

  /** Raft §5.3: an existing entry conflicts with a new one; it and all that follow it go, in flight to the disk or not. */
  #cutAfter(index: Index): void {
    assert(index >= this.#commit, `a leader of term ${this.#term} overwrites entry ${index + 1}; ${this.#commit} are committed`);
    this.#log.truncateAfter(index);
    if (index < this.#given) {
      this.#given = index;
      this.#truncateAfter = Math.min(index, this.#truncateAfter ?? index);
    }
    this.#durable = Math.min(this.#durable, index);
    for (const flight of this.#flights) flight.through = Math.min(flight.through, index);
  }

  #answerAppend(round: number): void {
    const index = Math.min(this.#matched, this.#durable);
    this.#answerOwed = this.#matched > this.#durable;
    this.#afterHard({
      kind: 'append_reply', from: this.#config.id, to: this.#leader, term: this.#term, ok: true, index, before: 0, round,
    });
  }

  #refuseAppend(meeting: EntryId, round: number): void {
    const [index, before] = [meeting.index + 1, meeting.term];
    this.#afterHard({
      kind: 'append_reply', from: this.#config.id, to: this.#leader, term: this.#term, ok: false, index, before, round,
    });
  }

  #onAppendReply(message: MessageOf<'append_reply'>): void {
    const progress = this.#progress.get(message.from);
    if (progress === undefined) return;
    // Either answer admits that this node leads the term.
    progress.round = Math.max(progress.round, message.round);
    if (message.ok) progress.accepted(message.index);
    else progress.refused(this.#log.lastAtMost(message.index - 1, message.before).index + 1);
  }

  /** Raft §5.2, Election Safety: at most one leader can be elected in a given term. */
  #onRivalAppend(message: MessageOf<'append'>): void {
    assert(false, `nodes ${this.#config.id} and ${message.from} both lead term ${this.#term}`);
  }

  // Callers.

  #onPropose(token: Token, data: Uint8Array): void {
    if (this.#state !== 'leader') return this.#refuseAsFollower(token);
    const index = this.#log.lastIndex + 1;
    if (index - this.#commit > this.#config.uncommittedMax) return this.#refuse(token, 'too_many', this.#leader);
    this.#log.append({ kind: 'command', term: this.#term, index, data });
    this.#settled.push({ kind: 'appended', token, id: { term: this.#term, index } });
  }

  #onRead(token: Token): void {
    if (this.#state !== 'leader') return this.#refuseAsFollower(token);
    if (this.#earlyReads.length + this.#reads.length >= READS_MAX) return this.#refuse(token, 'too_many', this.#leader);
    this.#earlyReads.push(token);
  }

  #refuseAsFollower(token: Token): void {
    this.#refuse(token, this.#leader === 0n ? 'no_leader' : 'not_leader', this.#leader);
  }

  #refuse(token: Token, reason: RefusedReason, leader: NodeId): void {
    this.#settled.push({ kind: 'refused', token, reason, leader });
  }

  // The disk.

  /** Batches become durable in order, so `seq` answers every batch before it as well. */
  #onPersisted(seq: number): void {
    const first = this.#flights[0];
    assert(first !== undefined && seq >= first.seq && seq <= this.#seq, `persisted ${seq} answers no batch under way`);
    let answered = 0;
    for (const flight of this.#flights) {
      if (flight.seq > seq) break;
      this.#durable = Math.max(this.#durable, flight.through);
      answered++;
    }
    this.#flights.splice(0, answered);
    this.#release(seq);
    if (this.#answerOwed && this.#state === 'follower') this.#answerAppend(0);
  }

  #release(seq: number): void {
    let ready = 0;
    while (ready < this.#held.length && present(this.#held[ready], 'held message').seq <= seq) ready++;
    if (ready === 0) return;
    const held = this.#held.splice(0, ready);
    for (const { message } of held) {
      if (message.term !== this.#term) continue;
      if (message.to === this.#config.id) this.#dispatch(message);
      else this.#send.push(message);
    }
  }

  /** Sends once the current term and vote are durable: at once, or with the batch that carries them. */
  #afterHard(message: Message): void {
    if (this.#isHardPending()) this.#held.push({ seq: this.#hardDirty ? this.#seq + 1 : this.#hardSeq, message });
    else this.#send.push(message);
  }

  #isHardPending(): boolean {
    const first = this.#flights[0];
    return this.#hardDirty || (first !== undefined && first.seq <= this.#hardSeq);
  }

  /** The store's snapshot is durable; the log before its end is no longer needed. */
  #onSnapshotted(snapshot: SnapshotMeta): void {
    assert(snapshot.index <= this.#applied, `snapshot ${snapshot.index} is ahead of applied ${this.#applied}`);
    this.#log.forgetThrough(snapshot.index);
  }

  // The end of a step.

  /**
   * Raft §5.4.2 and figure 8: only an entry of the leader's own term is committed by counting; earlier ones follow by log
   * matching. The leader counts itself for what its own disk holds (thesis 10.2.1).
   */
  #advanceCommit(): void {
    const own = this.#config.id;
    const reached = this.#members.reached((id) => (id === own ? this.#durable : (this.#progress.get(id)?.match ?? 0)));
    if (reached > this.#commit && this.#log.termAt(reached) === this.#term) this.#commit = reached;
  }

  /** Thesis 6.4: the commit index is current once it covers an entry of this term; then one round for all who wait. */
  #startReads(): void {
    if (this.#earlyReads.length === 0 || this.#log.termAt(this.#commit) !== this.#term) return;
    this.#round++;
    this.#roundStarted = true;
    for (const token of this.#earlyReads) this.#reads.push({ token, index: this.#commit, round: this.#round });
    this.#earlyReads = [];
  }

  #confirmReads(): void {
    if (this.#reads.length === 0) return;
    const own = this.#config.id;
    const round = this.#members.reached((id) => (id === own ? this.#round : (this.#progress.get(id)?.round ?? 0)));
    let ready = 0;
    for (const read of this.#reads) {
      if (read.round > round) break;
      this.#settled.push({ kind: 'readable', token: read.token, index: read.index });
      ready++;
    }
    if (ready > 0) this.#reads.splice(0, ready);
  }

  /** Entries to whoever can take them; an empty append where a heartbeat, a read round or a commit index must be told. */
  #replicate(): void {
    const mustTell = this.#heartbeatDue || this.#roundStarted;
    this.#heartbeatDue = false;
    this.#roundStarted = false;
    for (const [to, progress] of this.#progress) {
      let told = false;
      while (progress.canSend && progress.next <= this.#log.lastIndex && progress.next > this.#log.base.index) {
        const entries = this.#log.sliceBytes(progress.next, this.#config.appendBytesMax);
        this.#sendAppend(to, progress, entries);
        progress.sent(progress.next + entries.length - 1);
        told = true;
      }
      // A commit index is news only as far as the logs are known to agree.
      const isNews = Math.min(this.#commit, progress.match) > progress.commitTold;
      if (!told && (mustTell || isNews)) this.#sendAppend(to, progress, NONE);
    }
  }

  #sendAppend(to: NodeId, progress: Progress, entries: readonly Entry[]): void {
    // A follower behind the log's first entry gets heartbeats it cannot match; they keep it from campaigning.
    const index = Math.max(progress.next - 1, this.#log.base.index);
    const previous = { term: present(this.#log.termAt(index), `term of entry ${index}`), index };
    progress.commitTold = Math.min(this.#commit, index + entries.length);
    const round = this.#reads.length > 0 ? this.#round : 0;
    this.#send.push({
      kind: 'append', from: this.#config.id, to, term: this.#term, previous, entries, commit: this.#commit, round,
    });
  }

  #gatherPersist(): Persist | null {
    const last = this.#log.lastIndex;
    if (!this.#hardDirty && this.#truncateAfter === null && this.#given === last) return null;
    const seq = ++this.#seq;
    let hard: HardState | null = null;
    if (this.#hardDirty || this.#commit !== this.#commitPersisted) {
      hard = { term: this.#term, vote: this.#vote, commit: this.#commit };
      this.#commitPersisted = this.#commit;
    }
    if (this.#hardDirty) this.#hardSeq = seq;
    const persist = { seq, hard, truncateAfter: this.#truncateAfter, entries: this.#log.slice(this.#given + 1, last) };
    this.#hardDirty = false;
    this.#truncateAfter = null;
    this.#given = last;
    this.#flights.push({ seq, through: last });
    return persist;
  }

  #gatherApply(): readonly Entry[] {
    const through = Math.min(this.#commit, this.#durable);
    if (through <= this.#applied) return NONE;
    const apply = this.#log.slice(this.#applied + 1, through);
    this.#applied = through;
    return apply;
  }

  #gatherRole(): Role | null {
    const told = this.#roleTold;
    if (told.state === this.#state && told.term === this.#term && told.leader === this.#leader) return null;
    this.#roleTold = { state: this.#state, term: this.#term, leader: this.#leader };
    return this.#roleTold;
  }
}

/** A log that has been snapshotted knows its members; a fresh one starts with those the configuration names. */
function resumedConfiguration(config: RaftConfig, snapshot: SnapshotMeta): Configuration {
  if (snapshot.configuration.voters.length > 0) return snapshot.configuration;
  return { voters: config.voters, outgoing: [], learners: [] };
}
