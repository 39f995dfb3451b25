// The machine: Raft (extended paper figure 2, Ongaro's thesis chapters 3, 4, 6.4 and 9.6) as a function from inputs to
// outputs. It has no hands. A step takes a batch of inputs, changes state, and then looks once at the whole: what is
// committed now, whom to send what, what must reach the disk, what may be applied. So a thousand proposals cost one batch
// of each. Time, too, is judged at the end of a step: a node that was stalled hears what came meanwhile before it acts on it.
//
// Its parts: log.ts and membership.ts (what is decided), disk.ts (what is safe), election.ts, following.ts, leadership.ts with
// followers.ts, progress.ts and reads.ts (who has what, who waits). This file has the roles and the rules between them, which
// lean on each other: so it is long.
// Invariants: applied <= min(commit, durable); durable <= last; a vote or a term is on disk before anyone hears of it.

import { assert, present } from '../base/assert.js';
import { Prng } from '../base/prng.js';
import { Disk } from './disk.js';
import { Election, isAboutPreVote } from './election.js';
import { Following } from './following.js';
import { Leadership } from './leadership.js';
import { RaftLog } from './log.js';
import { LogSetBack } from './log-set-back.js';
import { changed, encodeMembers, left, type Members } from './members.js';
import { Membership } from './membership.js';
import { checkConfig, checkResumed, startingConfiguration } from './start.js';
import type {
  Configuration, Entry, EntryId, Index, Input, MemberChange, Message, NodeId, Output, RaftConfig, RefusedReason, Resumed,
  Role, Settled, SnapshotMeta, Status, Term, Token,
} from './types.js';

/** 'pre_candidate' asks whether an election is worth holding; to the outside it is a follower that knows no leader. */
type State = Role['state'] | 'pre_candidate';
type MessageOf<K extends Message['kind']> = Extract<Message, { kind: K }>;
type Handler<K extends Message['kind']> = (raft: Raft, message: MessageOf<K>) => void;
type Handlers = { readonly [K in Message['kind']]: Handler<K> };

const IGNORED = (): void => undefined;
const NO_DATA = new Uint8Array(0);
const NONE: readonly never[] = [];
/** What an entry costs whoever applies it is reckoned by its data, and so many bytes more. */
const ENTRY_BYTES = 256;

export class Raft {
  /** Every message a node can get, in every role it can be in. Terms are settled when a handler is called (`#onReceive`). */
  static readonly #handlers: { readonly [S in State]: Handlers } = {
    follower: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: IGNORED,
      append: (raft, message) => raft.#onAppend(message),
      append_reply: IGNORED,
      timeout_now: (raft, message) => raft.#onTimeoutNow(message),
      snapshot: (raft, message) => raft.#onSnapshot(message),
    },
    pre_candidate: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: (raft, message) => raft.#onPreVoteReply(message),
      append: (raft, message) => raft.#onAppend(message),
      append_reply: IGNORED,
      timeout_now: IGNORED,
      snapshot: (raft, message) => raft.#onSnapshot(message),
    },
    candidate: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: (raft, message) => raft.#onVoteReply(message),
      append: (raft, message) => raft.#onAppend(message),
      append_reply: IGNORED,
      timeout_now: IGNORED,
      snapshot: (raft, message) => raft.#onSnapshot(message),
    },
    leader: {
      vote: (raft, message) => raft.#onVote(message),
      vote_reply: IGNORED,
      append: (raft, message) => raft.#onRival(message),
      append_reply: (raft, message) => raft.#onAppendReply(message),
      timeout_now: IGNORED,
      snapshot: (raft, message) => raft.#onRival(message),
    },
  };

  readonly #config: RaftConfig;
  readonly #log: RaftLog;
  readonly #membership: Membership;
  readonly #disk: Disk;
  readonly #election: Election;

  #state: State = 'follower';
  #term: Term;
  #vote: NodeId;
  #leader: NodeId = 0n;
  #commit: Index;
  #applied: Index;
  /** The newest one: what a follower is sent that needs forgotten entries. */
  #snapshot: SnapshotMeta;
  /** Ticks since the start. */
  #now = 0;
  #ticked = false;

  readonly #following = new Following();
  readonly #leadership: Leadership;

  /** What this step has gathered. */
  #send: Message[] = [];
  #settled: Settled[] = [];
  #restore: SnapshotMeta | null = null;
  #roleTold: Role;

  /**
   * `resumed` is what the disk holds. The driver loads the store from `resumed.snapshot` before the first step; `apply`
   * goes on from there.
   */
  constructor(config: RaftConfig, resumed: Resumed) {
    checkConfig(config);
    const { hard, snapshot, entries } = resumed;
    this.#config = config;
    this.#log = new RaftLog(snapshot, entries);
    const last = this.#log.last;
    checkResumed(resumed, last);
    this.#snapshot = snapshot;
    this.#term = hard.term;
    this.#vote = hard.vote;
    this.#commit = Math.max(hard.commit, snapshot.index);
    this.#applied = snapshot.index;
    this.#membership = new Membership(snapshot.index, startingConfiguration(config, snapshot));
    for (const entry of entries) this.#membership.appended(entry);
    this.#membership.committed(this.#commit);
    this.#disk = new Disk(last.index, this.#commit);
    this.#election = new Election(config.electionTicks, new Prng(config.seed));
    this.#leadership = new Leadership(config);
    this.#roleTold = { state: 'follower', term: this.#term, leader: 0n };
  }

  step(inputs: readonly Input[]): Output {
    this.#send = [];
    this.#settled = [];
    this.#restore = null;
    this.#ticked = false;
    for (const input of inputs) this.#take(input);
    if (this.#ticked) this.#onTime();
    // A sole voter has nobody to ask, and nobody to wait for but a leader that is about to leave.
    const isIdle = this.#state === 'follower' && this.#leader === 0n;
    if (isIdle && this.#members.isSole(this.#config.id)) this.#campaign(false);
    if (this.#state === 'leader') this.#lead();
    this.#membership.committed(this.#commit);
    const hard = { term: this.#term, vote: this.#vote, commit: this.#commit };
    const persist = this.#disk.gather(this.#log, hard, this.#now);
    const apply = this.#gatherApply();
    return { persist, send: this.#send, restore: this.#restore, apply, settled: this.#settled, role: this.#gatherRole() };
  }

  status(): Status {
    return {
      state: this.#state === 'pre_candidate' ? 'follower' : this.#state,
      term: this.#term,
      leader: this.#leader,
      commit: this.#commit,
      applied: this.#applied,
      last: this.#log.lastIndex,
      durable: this.#disk.durable,
      configuration: this.#members.configuration,
      peers: this.#leadership.followers.statuses(this.#now),
      transferTo: this.#leadership.transferTo,
    };
  }

  /** The next step, of whatever inputs, goes on with what may be applied. */
  get hasMoreToApply(): boolean {
    return this.#applied < Math.min(this.#commit, this.#disk.durable);
  }

  get #members(): Members {
    return this.#membership.current;
  }

  #take(input: Input): void {
    switch (input.kind) {
      case 'tick': return this.#onTick();
      case 'receive': return this.#onReceive(input.message);
      case 'propose': return this.#onPropose(input.token, input.data);
      case 'propose_members': return this.#onProposeMembers(input.token, input.change);
      case 'read': return this.#onRead(input.token);
      case 'transfer': return this.#onTransfer(input.to);
      case 'persisted': return this.#onPersisted(input.seq);
      case 'snapshotted': return this.#onSnapshotted(input.snapshot);
      case 'snapshot_sent': return this.#leadership.followers.get(input.to)?.shipped(input.ok, this.#now);
      case 'unreachable': return this.#leadership.followers.get(input.peer)?.unreachable();
    }
  }

  // Time.

  #onTick(): void {
    this.#now++;
    this.#ticked = true;
    if (this.#state === 'leader') this.#leadership.tick();
    else this.#election.tick();
  }

  #onTime(): void {
    if (this.#state === 'leader') return this.#onLeaderTime();
    if (this.#election.isDue) this.#onTimeout();
  }

  /** A leader that cannot do its work makes room for one that can: nobody answers it, or its own disk does not. */
  #onLeaderTime(): void {
    const isAlone = this.#members.isSole(this.#config.id);
    const isAble = this.#leadership.isAnswered(this.#members, this.#now) && !this.#isDiskHung;
    if (isAlone || isAble) this.#leadership.onTime(this.#now);
    else this.#stepDown();
  }

  /**
   * While the disk still owes a term or a vote no further election starts, or a slow disk would void each by the next; one
   * that hangs is no leader's disk.
   */
  #onTimeout(): void {
    this.#election.restart();
    this.#leader = 0n;
    if (this.#disk.isHardPending) return;
    this.#state = 'follower';
    if (this.#mayCampaign) this.#preCampaign();
  }

  get #isDiskHung(): boolean {
    return this.#disk.isHung(this.#now, this.#config.electionTicks);
  }

  /**
   * Thesis 4.2.2: a server that the newest configuration leaves out may be needed to commit it; so it stands for election
   * as long as it does not know that this configuration is committed, without a vote of its own.
   */
  get #mayCampaign(): boolean {
    if (this.#isDiskHung) return false;
    return this.#members.isVoter(this.#config.id) || this.#membership.settled.isVoter(this.#config.id);
  }

  // Elections.

  /** Thesis 9.6: ask first, without raising the term, so that a node which cannot win disturbs nobody. Needs no disk. */
  #preCampaign(): void {
    const id = this.#config.id;
    this.#state = 'pre_candidate';
    this.#election.ask();
    if (this.#election.take(id, true, this.#members) === 'won') return this.#campaign(false);
    this.#askForVotes(this.#term + 1, true, false);
  }

  /** Raft §5.2. The requests, and the vote for itself, count once the new term and that vote are durable. */
  #campaign(transfer: boolean): void {
    if (this.#disk.isHardPending || !this.#mayCampaign) return;
    const id = this.#config.id;
    this.#election.restart();
    this.#election.ask();
    this.#enterTerm(this.#term + 1, 'candidate', 0n);
    this.#vote = id;
    this.#afterHard({ kind: 'vote_reply', from: id, to: id, term: this.#term, pre: false, granted: true });
    this.#askForVotes(this.#term, false, transfer);
  }

  #askForVotes(term: Term, pre: boolean, transfer: boolean): void {
    const from = this.#config.id;
    const last = { term: this.#log.last.term, index: this.#log.lastIndex };
    for (const to of this.#members.all) {
      if (to === from || !this.#members.isVoter(to)) continue;
      const message: Message = { kind: 'vote', from, to, term, last, pre, transfer };
      if (pre) this.#send.push(message);
      else this.#afterHard(message);
    }
  }

  /** A later term: what was believed about the old one is void. The vote is free again. */
  #enterTerm(term: Term, state: State, leader: NodeId): void {
    assert(term > this.#term, `term ${term} does not follow term ${this.#term}`);
    if (this.#state === 'leader') this.#stopLeading(leader);
    this.#term = term;
    this.#vote = 0n;
    this.#disk.hardChanged();
    this.#state = state;
    this.#leader = leader;
    this.#following.reset();
  }

  #becomeLeader(): void {
    assert(this.#state === 'candidate', `a ${this.#state} cannot win an election`);
    this.#state = 'leader';
    this.#leader = this.#config.id;
    const next = this.#log.lastIndex + 1;
    this.#leadership.begin();
    this.#leadership.followers.add(this.#membership.settled, next, this.#now);
    this.#leadership.followers.add(this.#members, next, this.#now);
    // Raft §8: an entry of its own term, so that the leader learns what is committed.
    this.#log.append({ kind: 'empty', term: this.#term, index: next, data: NO_DATA });
  }

  /** Its term goes on, without a leader. */
  #stepDown(): void {
    this.#state = 'follower';
    this.#leader = 0n;
    this.#stopLeading(0n);
  }

  #stopLeading(leader: NodeId): void {
    for (const token of this.#leadership.end()) this.#refuse(token, 'leader_changed', leader);
    this.#election.restart();
  }

  // Messages.

  #onReceive(message: Message): void {
    if (message.to !== this.#config.id) return;
    if (message.kind === 'vote' && this.#ignoresVote(message)) return;
    if (message.term > this.#term && !isAboutPreVote(message)) {
      // Raft §5.1: whoever sees a larger term takes it and follows.
      const fromLeader = message.kind === 'append' || message.kind === 'snapshot';
      this.#enterTerm(message.term, 'follower', fromLeader ? message.from : 0n);
    }
    if (message.term < this.#term) this.#onOutdated(message);
    else this.#dispatch(message);
  }

  /**
   * Raft §6, thesis 4.2.3: who hears from a leader does not help to depose it, lest a server that was removed, or is cut
   * off from the leader alone, disturb the others. Unless the leader itself asked for this election. A node whose disk
   * hangs could not keep a promise.
   */
  #ignoresVote(message: MessageOf<'vote'>): boolean {
    if (this.#isDiskHung) return true;
    if (message.transfer || message.term <= this.#term || this.#leader === 0n) return false;
    return this.#state === 'leader' || this.#election.isQuiet;
  }

  #dispatch(message: Message): void {
    const handlers = Raft.#handlers[this.#state];
    switch (message.kind) {
      case 'vote': return handlers.vote(this, message);
      case 'vote_reply': return handlers.vote_reply(this, message);
      case 'append': return handlers.append(this, message);
      case 'append_reply': return handlers.append_reply(this, message);
      case 'timeout_now': return handlers.timeout_now(this, message);
      case 'snapshot': return handlers.snapshot(this, message);
    }
  }

  /** Raft §5.1: a request with a stale term is rejected; the answer carries ours, so that its sender steps down. */
  #onOutdated(message: Message): void {
    const reply = { from: this.#config.id, to: message.from, term: this.#term };
    if (message.kind === 'vote') this.#afterHard({ ...reply, kind: 'vote_reply', pre: message.pre, granted: false });
    if (message.kind === 'append' || message.kind === 'snapshot') {
      this.#afterHard({ ...reply, kind: 'append_reply', ok: false, index: 0, before: 0, round: 0 });
    }
  }

  /**
   * Raft §5.2, §5.4.1: first come, first served, one vote a term, and only for a log at least as complete as ours. Who asks
   * need not be a member in our eyes, nor need we: the log that would say so may not have reached us (thesis 4.2.2).
   */
  #onVote(message: MessageOf<'vote'>): void {
    if (message.pre) return this.#onPreVote(message);
    const waits = this.#state === 'follower' || this.#state === 'pre_candidate';
    const granted = waits && this.#leader === 0n && this.#isFreeFor(message.from) && this.#log.isUpToDate(message.last);
    if (granted) {
      if (this.#vote !== message.from) this.#disk.hardChanged();
      this.#vote = message.from;
      this.#state = 'follower';
      this.#election.restart();
    }
    this.#afterHard({ kind: 'vote_reply', from: this.#config.id, to: message.from, term: this.#term, pre: false, granted });
  }

  /** Thesis 9.6: whether we would vote for it. Promises nothing and changes nothing. */
  #onPreVote({ from: to, term: wanted, last }: MessageOf<'vote'>): void {
    const isFree = wanted > this.#term || (this.#leader === 0n && this.#isFreeFor(to));
    const from = this.#config.id;
    if (isFree && this.#log.isUpToDate(last)) {
      this.#send.push({ kind: 'vote_reply', from, to, term: wanted, pre: true, granted: true });
    } else this.#afterHard({ kind: 'vote_reply', from, to, term: this.#term, pre: true, granted: false });
  }

  #isFreeFor(candidate: NodeId): boolean {
    return this.#vote === 0n || this.#vote === candidate;
  }

  /** A lost pre-vote is waited out, as a lost election is. */
  #onPreVoteReply(message: MessageOf<'vote_reply'>): void {
    if (!message.pre || (message.granted && message.term !== this.#term + 1)) return;
    if (this.#election.take(message.from, message.granted, this.#members) === 'won') this.#campaign(false);
  }

  #onVoteReply(message: MessageOf<'vote_reply'>): void {
    // A lost election is waited out: the next time-out starts another (Raft §5.2).
    if (message.pre) return;
    if (this.#election.take(message.from, message.granted, this.#members) === 'won') this.#becomeLeader();
  }

  /** Thesis 3.10: as if the time-out had passed, but without asking first. */
  #onTimeoutNow(message: MessageOf<'timeout_now'>): void {
    if (message.from === this.#leader) this.#campaign(true);
  }

  // Following.

  /** Raft §5.2: a candidate that hears from the leader of its own term returns to following. */
  #follow(leader: NodeId): void {
    this.#state = 'follower';
    this.#leader = leader;
    this.#election.restart();
  }

  /** Raft §5.3. The log check, the conflicts, the new entries, the commit index. */
  #onAppend(message: MessageOf<'append'>): void {
    this.#checkKept(message);
    this.#follow(message.from);
    const { previous, entries, round } = message;
    if (!this.#log.matches(previous)) {
      const meeting = this.#log.lastAtMost(previous.index - 1, previous.term);
      this.#answer(false, meeting.index + 1, meeting.term, round);
      return;
    }
    this.#takeEntries(entries);
    const through = previous.index + entries.length;
    // Raft figure 2: only up to the last entry known to be the leader's.
    const commit = Math.max(this.#commit, Math.min(message.commit, through));
    const isTold = commit > this.#commit && message.match === through;
    this.#commit = commit;
    // A heartbeat or a read round needs no disk; new entries do, and their answer leaves when they are durable.
    const isDurable = this.#following.agree(through, this.#disk.durable);
    // Who is told a commit index, and nothing else, could only repeat what the leader knows.
    if (round > 0 || (entries.length > 0 ? isDurable : !isTold)) this.#answerAppend(round);
  }

  /**
   * What was acknowledged in a term stays until the term ends: it agrees with the leader's log, which only grows (Raft §5.3).
   * So a log that is shorter was set back or has lost its tail, and with it maybe entries that were committed by its word, and
   * a vote. Nobody can make up for that; to go on as if nothing had been could lose what was acknowledged.
   */
  #checkKept({ from, term, match }: MessageOf<'append'>): void {
    const { lastIndex } = this.#log;
    if (match > lastIndex) throw new LogSetBack(from, term, { told: match, last: lastIndex });
  }

  #takeEntries(entries: readonly Entry[]): void {
    const from = this.#log.firstDifference(entries);
    const first = entries[from];
    if (first === undefined) return;
    if (first.index <= this.#log.lastIndex) this.#cutAfter(first.index - 1);
    for (let i = from; i < entries.length; i++) {
      const entry = present(entries[i], 'entry');
      this.#log.append(entry);
      if (entry.kind === 'members') this.#membership.appended(entry);
    }
  }

  /** Raft §5.3: an existing entry conflicts with a new one; it and all that follow it go, and what they configured with them. */
  #cutAfter(index: Index): void {
    assert(index >= this.#commit, `a leader of term ${this.#term} overwrites entry ${index + 1}; ${this.#commit} are committed`);
    this.#log.truncateAfter(index);
    this.#membership.cutAfter(index);
    this.#disk.cutAfter(index);
  }

  /**
   * Raft §7, figure 13. What we have committed is in the snapshot already; what the log holds of the leader's it can go on
   * holding; otherwise the log starts over, and the store with it, once the disk has done so.
   */
  #onSnapshot({ from, snapshot }: MessageOf<'snapshot'>): void {
    this.#follow(from);
    const isNew = snapshot.index > this.#commit;
    if (isNew && !this.#log.matches(snapshot)) {
      this.#log.restart(snapshot);
      this.#membership.restored(snapshot);
      this.#disk.install(snapshot, this.#applied);
      this.#snapshot = snapshot;
    }
    this.#commit = Math.max(this.#commit, snapshot.index);
    if (this.#following.agree(this.#commit, this.#disk.durable) || !isNew) this.#answerAppend(0);
  }

  #answerAppend(round: number): void {
    this.#answer(true, this.#following.answer(this.#disk.durable), 0, round);
  }

  #answer(ok: boolean, index: Index, before: Term, round: number): void {
    const { id: from } = this.#config;
    this.#afterHard({ kind: 'append_reply', from, to: this.#leader, term: this.#term, ok, index, before, round });
  }

  // Leading.

  #onAppendReply(message: MessageOf<'append_reply'>): void {
    const progress = this.#leadership.followers.get(message.from);
    if (progress === undefined) return;
    // Either answer admits that this node leads the term.
    progress.heardAt = this.#now;
    progress.round = Math.max(progress.round, message.round);
    const base = this.#log.base.index;
    if (message.ok) progress.accepted(message.index, base);
    else progress.refused(this.#log.retryAt(message.index - 1, message.before), base);
  }

  /** Raft §5.2, Election Safety: at most one leader can be elected in a given term. */
  #onRival(message: Message): void {
    assert(false, `nodes ${this.#config.id} and ${message.from} both lead term ${this.#term}`);
  }

  /** What a leader does at the end of every step. */
  #lead(): void {
    this.#advanceCommit();
    this.#leaveJoint();
    if (this.#hasCommittedOwnTerm) this.#leadership.startReads(this.#commit);
    this.#leadership.confirmReads(this.#members, (token, index) => this.#settled.push({ kind: 'readable', token, index }));
    const news = { term: this.#term, commit: this.#commit, snapshot: this.#snapshot, now: this.#now };
    this.#leadership.send(this.#log, news, this.#send);
    this.#letGo();
  }

  /**
   * Raft §5.4.2 and figure 8: only an entry of the leader's own term is committed by counting; earlier ones follow by log
   * matching. The leader counts itself for what its own disk holds (thesis 10.2.1), and not at all where it has no vote.
   */
  #advanceCommit(): void {
    const { durable } = this.#disk;
    const reached = Math.max(this.#leadership.reached(this.#members, durable), this.#reachedAlone(durable));
    if (reached > this.#commit && this.#log.termAt(reached) === this.#term) this.#commit = reached;
  }

  /**
   * Who votes alone also commits alone that somebody joins the vote, as in etcd: the second member is started only after its
   * addition was answered. Nobody can win without that entry, for it takes the vote of the one who has it.
   */
  #reachedAlone(durable: Index): Index {
    const { index, settled } = this.#membership;
    const isNews = index > this.#commit && !this.#members.isJoint && settled.isSole(this.#config.id);
    return isNews ? Math.min(durable, index) : 0;
  }

  /** Thesis 6.4, step 1: the commit index is current once it covers an entry of this term. */
  get #hasCommittedOwnTerm(): boolean {
    return this.#log.termAt(this.#commit) === this.#term;
  }

  /** Raft §6: once the joint configuration is committed, the new one alone follows. */
  #leaveJoint(): void {
    if (!this.#members.isJoint || this.#membership.index > this.#commit) return;
    if (!this.#hasCommittedOwnTerm || this.#leadership.transferTo !== 0n) return;
    this.#appendMembers(left(this.#members.configuration), NO_DATA);
  }

  #appendMembers(configuration: Configuration, context: Uint8Array): EntryId {
    const id = { term: this.#term, index: this.#log.lastIndex + 1 };
    const entry: Entry = { ...id, kind: 'members', data: encodeMembers(configuration, context) };
    this.#log.append(entry);
    this.#membership.appended(entry);
    this.#leadership.followers.add(this.#members, id.index, this.#now);
    return id;
  }

  /**
   * Those who were removed are sent to until their removal is committed, so that they hear of it if they can. A leader among
   * them has led until now (thesis 4.2.2); its successor need not wait for a time-out.
   */
  #letGo(): void {
    if (this.#membership.index > this.#commit) return;
    const { followers } = this.#leadership;
    followers.keep(this.#members);
    if (this.#members.isVoter(this.#config.id)) return;
    const heir = followers.foremost(this.#members);
    if (heir !== 0n) this.#send.push({ kind: 'timeout_now', from: this.#config.id, to: heir, term: this.#term });
    this.#stepDown();
  }

  // Callers.

  #onPropose(token: Token, data: Uint8Array): void {
    const reason = this.#whyNotPropose();
    if (reason !== null) return this.#refuse(token, reason, this.#leader);
    const index = this.#log.lastIndex + 1;
    this.#log.append({ kind: 'command', term: this.#term, index, data });
    this.#settled.push({ kind: 'appended', token, id: { term: this.#term, index } });
  }

  /**
   * Raft §6 and thesis 4.1. One change at a time, and none before an entry of this term is committed: a leader that does not
   * know what its predecessors have changed could otherwise form a majority that misses theirs.
   */
  #onProposeMembers(token: Token, change: MemberChange): void {
    const reason = this.#whyNotPropose();
    if (reason !== null) return this.#refuse(token, reason, this.#leader);
    const isPending = this.#membership.index > this.#commit || this.#members.isJoint || !this.#hasCommittedOwnTerm;
    if (isPending) return this.#refuse(token, 'change_pending', this.#leader);
    const configuration = changed(this.#members.configuration, change);
    if (configuration === null) return this.#refuse(token, 'change_invalid', this.#leader);
    this.#settled.push({ kind: 'appended', token, id: this.#appendMembers(configuration, change.context) });
  }

  #whyNotPropose(): RefusedReason | null {
    if (this.#state !== 'leader') return this.#leader === 0n ? 'no_leader' : 'not_leader';
    if (this.#leadership.transferTo !== 0n) return 'transferring';
    return this.#log.lastIndex + 1 - this.#commit > this.#config.uncommittedMax ? 'too_many' : null;
  }

  #onRead(token: Token): void {
    if (this.#state !== 'leader') return this.#refuse(token, this.#leader === 0n ? 'no_leader' : 'not_leader', this.#leader);
    if (this.#leadership.reads.isFull) return this.#refuse(token, 'too_many', this.#leader);
    this.#leadership.reads.add(token);
  }

  #refuse(token: Token, reason: RefusedReason, leader: NodeId): void {
    this.#settled.push({ kind: 'refused', token, reason, leader });
  }

  #onTransfer(to: NodeId): void {
    if (this.#state === 'leader') this.#leadership.transfer(to, this.#members, this.#now);
  }

  // The disk.

  /** Batches become durable in order, so `seq` answers every batch before it as well. */
  #onPersisted(seq: number): void {
    const installed = this.#disk.persisted(seq);
    if (installed !== null) {
      this.#restore = installed;
      this.#applied = installed.index;
    }
    for (const message of this.#disk.released(seq)) {
      if (message.term !== this.#term) continue;
      if (message.to === this.#config.id) this.#dispatch(message);
      else this.#send.push(message);
    }
    const hasLeader = this.#state === 'follower' && this.#leader !== 0n;
    if (hasLeader && this.#following.isDue(this.#disk.durable)) this.#answerAppend(0);
  }

  /** Sends once the current term and vote are durable: at once, or with the batch that carries them. */
  #afterHard(message: Message): void {
    if (!this.#disk.hold(message)) this.#send.push(message);
  }

  /** The store's snapshot is durable; the log before its end is kept only for those who are a little behind. */
  #onSnapshotted(snapshot: SnapshotMeta): void {
    if (snapshot.index <= this.#snapshot.index) return;
    assert(snapshot.index <= this.#applied, `snapshot ${snapshot.index} is ahead of applied ${this.#applied}`);
    this.#snapshot = snapshot;
    this.#log.forgetThrough(this.#lastForgotten(snapshot.index));
  }

  /** The entry before those that are kept behind a snapshot at `index`. */
  #lastForgotten(index: Index): Index {
    const { catchUpEntries, catchUpBytes } = this.#config;
    const least = Math.max(this.#log.base.index, index - catchUpEntries);
    if (catchUpBytes === Infinity) return least;
    let bytes = 0;
    for (let at = index; at > least; at--) {
      for (const { data } of this.#log.slice(at, at)) bytes += data.length;
      if (bytes > catchUpBytes) return at;
    }
    return least;
  }

  // The end of a step.

  #gatherApply(): readonly Entry[] {
    const through = Math.min(this.#commit, this.#disk.durable);
    if (through <= this.#applied) return NONE;
    const { applyBytesMax } = this.#config;
    // More could not be as few bytes. Of a long log that is only a part: what is left is not copied with each step.
    const last = Math.min(through, this.#applied + 1 + Math.floor(applyBytesMax / ENTRY_BYTES));
    const apply = firstOf(this.#log.slice(this.#applied + 1, last), applyBytesMax);
    this.#applied += apply.length;
    return apply;
  }

  #gatherRole(): Role | null {
    const told = this.#roleTold;
    const state = this.#state === 'pre_candidate' ? 'follower' : this.#state;
    if (told.state === state && told.term === this.#term && told.leader === this.#leader) return null;
    this.#roleTold = { state, term: this.#term, leader: this.#leader };
    return this.#roleTold;
  }
}

/** The first of them, as many as take `bytesMax` bytes; one larger entry still goes alone. */
function firstOf(entries: readonly Entry[], bytesMax: number): readonly Entry[] {
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) {
    bytes += ENTRY_BYTES + (entries[i] as Entry).data.length;
    if (bytes > bytesMax && i > 0) return entries.slice(0, i);
  }
  return entries;
}
