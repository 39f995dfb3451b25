// Who is waiting for what. Every wait ends: by its entry being applied, by time, or by the node stopping.
//
// A proposal is 'ready' (not given to anybody), 'slotted' (this node leads, and it has a place in the log), or 'forwarded'
// (the leader of a term was asked to append it under our tag). It happened when its entry is applied here. It is dead for
// certain once an entry of a later term is applied here: the terms of a log never fall (Raft §5.4), so none of its own term
// can follow. The dead become ready again until their caller's time is over: a change of leader loses none and doubles none.
//
// Waits time out in the order they began, because all have the same allowance; so one queue serves and nothing is scanned.
// A slotted proposal whose caller was told that its time is over counts until it is decided: while the disk stands still,
// time must not make room for more.

import { EMPTY } from '../base/bytes.js';
import type { Done } from '../base/done.js';
import { Fifo } from '../base/fifo.js';
import { ApiError } from '../errors.js';
import { Numbered } from './numbered.js';
import type { EntryId, Index, RefusedReason, SnapshotMeta, Term, Token } from '../raft/types.js';
import type { Reply } from '../store/store.js';

export interface Proposal {
  /** Let go once it is decided. */
  data: Uint8Array;
  readonly beganMs: number;
  readonly deadlineMs: number;
  /** Null once its caller was told, so that queues may drop it lazily. */
  done: Done<Reply> | null;
  stage: 'ready' | 'given' | 'slotted' | 'forwarded' | 'decided';
  /** Under which the machine was given it last. */
  token: Token;
  /** Of its slot, or of the leader that was asked. */
  term: Term;
  /** Of its slot; 0: none. */
  index: Index;
  /** Of its tag; 0: none. */
  sequence: number;
}

interface Readers {
  readonly beganMs: number;
  readonly deadlineMs: number;
  /** Null once settled. */
  callers: Done[] | null;
}

interface Waiting {
  readonly deadlineMs: number;
}

/** In the order they began, with the dead at the front taken off. */
class Timeline<T> {
  readonly #items = new Fifo<T & Waiting>();

  push(item: T & Waiting): void {
    this.#items.push(item);
  }

  /** Takes off, from the front, those that are over or satisfy `isGone`. */
  expire(nowMs: number, isGone: (item: T) => boolean, each: (item: T) => void): void {
    for (let item = this.#items.first; item !== undefined; item = this.#items.first) {
      if (!isGone(item)) {
        if (item.deadlineMs > nowMs) return;
        each(item);
      }
      this.#items.shift();
    }
  }

  /** What is over is not to wait for the next tick: it would grow old, and cost the collector more than its whole life did. */
  trim(isGone: (item: T) => boolean): void {
    for (let item = this.#items.first; item !== undefined && isGone(item); item = this.#items.first) this.#items.shift();
  }

  drain(): readonly T[] {
    return this.#items.drain();
  }
}

const isTold = (proposal: Proposal): boolean => proposal.done === null;
const isSettled = (readers: Readers): boolean => readers.callers === null;

export class Pending {
  /** What came to nothing, for metrics: wishes, groups of reads whose time ran out, groups of reads cut off by the end. */
  readonly failures = { proposals: 0, lateReads: 0, reads: 0 };
  readonly #nextToken: () => Token;
  #count = 0;
  #sizeBytes = 0;
  #ready: Proposal[] = [];
  /** In the order of their tokens, in which the machine also answers. */
  readonly #given = new Fifo<Proposal>();
  /** Slotted. Invariant: ascending by `index`, as entries are applied. */
  readonly #slotted = new Fifo<Proposal>();
  /** Slotted, but the slot, or one before it, has been given again; not decided. */
  #displaced: Proposal[] = [];
  /** Forwarded and not decided. Invariant: each waits under its `sequence`. */
  readonly #forwarded = new Numbered<Proposal>();
  readonly #timeline = new Timeline<Proposal>();
  /** Callers of this turn, not yet a group. */
  #gathering: Done[] = [];
  /** Groups that nobody was asked for, or that were refused. */
  #readyReads: Readers[] = [];
  readonly #reads = new Map<Token, Readers>();
  /** Groups whose index is known, waiting for the store; ascending by arrival, not by index. */
  #cleared: { index: Index; readers: Readers }[] = [];
  readonly #readTimeline = new Timeline<Readers>();
  #readers = 0;

  /** `nextToken` never gives a token twice; others may use it too. */
  constructor(nextToken: () => Token) {
    this.#nextToken = nextToken;
  }

  /** Bytes of commands proposed and not yet decided. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get proposals(): number {
    return this.#count;
  }

  /** Callers that wait to read. */
  get readers(): number {
    return this.#readers;
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  /** The oldest sequence not decided; the next one when all are. Leaders forget what lies before. */
  get oldestSequence(): number {
    return this.#forwarded.first;
  }

  add(data: Uint8Array, beganMs: number, deadlineMs: number, done: Done<Reply>): void {
    const proposal: Proposal = { data, beganMs, deadlineMs, done, stage: 'ready', token: 0, term: 0, index: 0, sequence: 0 };
    this.#ready.push(proposal);
    this.#timeline.push(proposal);
    this.#count += 1;
    this.#sizeBytes += data.length;
  }

  /** Proposals to be given to a leader now; the caller gives each to somebody, or `putBack`. */
  takeReady(): readonly Proposal[] {
    const ready = this.#ready;
    this.#ready = [];
    return ready.some((proposal) => proposal.done === null) ? ready.filter((proposal) => proposal.done !== null) : ready;
  }

  putBack(proposal: Proposal): void {
    if (proposal.done === null) return this.#decide(proposal);
    proposal.stage = 'ready';
    this.#ready.push(proposal);
  }

  /** This node leads: the machine gets it under this token. */
  give(proposal: Proposal): Token {
    const token = this.#nextToken();
    proposal.stage = 'given';
    proposal.token = token;
    this.#given.push(proposal);
    return token;
  }

  /** The leader of `term` is asked to append it, under the tag with this sequence. */
  forward(proposal: Proposal, term: Term): number {
    proposal.stage = 'forwarded';
    proposal.term = term;
    proposal.sequence = this.#forwarded.add(proposal);
    return proposal.sequence;
  }

  onAppended(token: Token, id: EntryId): boolean {
    const proposal = this.#takeGiven(token);
    if (proposal === null) return false;
    // Whoever had this slot or a later one was overwritten here, but may live on in another log and be committed by a later
    // leader.
    for (let last = this.#slotted.last; last !== undefined && last.index >= id.index; last = this.#slotted.last) {
      this.#displaced.push(last);
      this.#slotted.pop();
    }
    proposal.stage = 'slotted';
    proposal.index = id.index;
    proposal.term = id.term;
    this.#slotted.push(proposal);
    return true;
  }

  onRefused(token: Token, reason: RefusedReason): boolean {
    const proposal = this.#takeGiven(token);
    if (proposal !== null) {
      this.#refuse(proposal, reason);
      return true;
    }
    const readers = this.#reads.get(token);
    if (readers === undefined) return false;
    this.#reads.delete(token);
    if (readers.callers !== null) this.#readyReads.push(readers);
    return true;
  }

  /** Null: the token is none of ours. */
  #takeGiven(token: Token): Proposal | null {
    const { first } = this.#given;
    if (first === undefined || first.token !== token) return null;
    this.#given.shift();
    return first;
  }

  /** The leader says for certain that it has not appended it and never will under this tag. */
  onForwardRefused(sequence: number, reason: RefusedReason): void {
    const proposal = this.#forwarded.take(sequence);
    if (proposal === undefined) return;
    this.#refuse(proposal, reason);
  }

  isForwarded(proposal: Proposal, sequence: number): boolean {
    return proposal.stage === 'forwarded' && proposal.sequence === sequence && proposal.done !== null;
  }

  /** The entry at `id` was applied with this outcome; null when it was no command. */
  onApplied(id: EntryId, reply: Reply | null): void {
    const proposal = this.#slotted.first;
    if (proposal !== undefined && proposal.index === id.index) {
      this.#slotted.shift();
      this.#onSlotApplied(proposal, id, reply);
    }
    if (this.#displaced.length === 0) return;
    for (const each of this.#takeDisplaced(({ index }) => index === id.index)) this.#onSlotApplied(each, id, reply);
  }

  /** An entry has the slot for good: this proposal's own, or another's. */
  #onSlotApplied(proposal: Proposal, id: EntryId, reply: Reply | null): void {
    if (proposal.term !== id.term || reply === null) this.putBack(proposal);
    else this.#settle(proposal, null, reply);
  }

  #takeDisplaced(isMeant: (proposal: Proposal) => boolean): readonly Proposal[] {
    const taken = this.#displaced.filter(isMeant);
    if (taken.length > 0) this.#displaced = this.#displaced.filter((proposal) => !taken.includes(proposal));
    return taken;
  }

  #takeSlotted(isMeant: (proposal: Proposal) => boolean): readonly Proposal[] {
    const taken: Proposal[] = [];
    this.#slotted.keep((proposal) => {
      if (!isMeant(proposal)) return true;
      taken.push(proposal);
      return false;
    });
    return taken;
  }

  /** An entry under our tag was applied. */
  onForwardApplied(sequence: number, reply: Reply): void {
    const proposal = this.#forwarded.take(sequence);
    if (proposal === undefined) return;
    this.#settle(proposal, null, reply);
  }

  /** An entry of `term`, the first one, is about to be applied: what waits for entries of earlier terms is dead. */
  onTerm(term: Term): void {
    for (const proposal of this.#takeDisplaced((each) => each.term < term)) this.putBack(proposal);
    for (const proposal of this.#takeSlotted((each) => each.term < term)) this.putBack(proposal);
    for (const proposal of this.#forwarded.takeWhere((each) => each.term < term)) this.putBack(proposal);
  }

  /** The store was replaced by one that has applied `meta`: what happened on the way there cannot be told any more. */
  onRestored(meta: SnapshotMeta): void {
    for (const proposal of this.#takeDisplaced(({ index }) => index <= meta.index)) {
      this.#settle(proposal, new ApiError('leader_changed'));
    }
    for (const proposal of this.#takeSlotted(({ index }) => index <= meta.index)) {
      this.#settle(proposal, new ApiError('leader_changed'));
    }
    for (const proposal of this.#forwarded.takeWhere((each) => each.term <= meta.term)) {
      this.#settle(proposal, new ApiError('leader_changed'));
    }
    this.onTerm(meta.term);
    this.onCaughtUp(meta.index);
  }

  addReader(done: Done): void {
    this.#readers += 1;
    this.#gathering.push(done);
  }

  /** Makes a group of those that came since the last call. */
  closeGroup(beganMs: number, deadlineMs: number): void {
    if (this.#gathering.length === 0) return;
    const readers: Readers = { beganMs, deadlineMs, callers: this.#gathering };
    this.#gathering = [];
    this.#readyReads.push(readers);
    this.#readTimeline.push(readers);
  }

  get hasReadyReads(): boolean {
    return this.#readyReads.length > 0;
  }

  /** A token for each group that waits to be asked for. */
  takeReads(): readonly Token[] {
    if (this.#readyReads.length === 0) return [];
    const groups = this.#readyReads.filter((readers) => readers.callers !== null);
    this.#readyReads = [];
    return groups.map((readers) => {
      const token = this.#nextToken();
      this.#reads.set(token, readers);
      return token;
    });
  }

  onReadable(token: Token, index: Index, applied: Index): boolean {
    const readers = this.#reads.get(token);
    if (readers === undefined) return false;
    this.#reads.delete(token);
    if (applied >= index) {
      this.#settleRead(readers, null);
      this.#readTimeline.trim(isSettled);
    } else if (readers.callers !== null) this.#cleared.push({ index, readers });
    return true;
  }

  /** Done once the store has applied `index`. */
  addCleared(index: Index, applied: Index, beganMs: number, deadlineMs: number, done: Done): void {
    if (applied >= index) return done(null);
    const readers: Readers = { beganMs, deadlineMs, callers: [done] };
    this.#readers += 1;
    this.#cleared.push({ index, readers });
    this.#readTimeline.push(readers);
  }

  /** The store has applied through `applied`: reads that waited for it may go. */
  onCaughtUp(applied: Index): void {
    this.#timeline.trim(isTold);
    this.#readTimeline.trim(isSettled);
    if (this.#cleared.length === 0) return;
    const waiting = this.#cleared;
    this.#cleared = [];
    for (const read of waiting) {
      if (read.index <= applied) this.#settleRead(read.readers, null);
      else this.#cleared.push(read);
    }
  }

  /**
   * Ends every wait whose time is over; what is appended or was forwarded may still happen: its outcome is unknown.
   * `leaderLostMs`: when a leader was last lost.
   */
  expire(nowMs: number, leaderLostMs: number): void {
    const late = (beganMs: number): ApiError => new ApiError(beganMs <= leaderLostMs ? 'timeout_leader_lost' : 'timeout');
    this.#timeline.expire(nowMs, isTold, (proposal) => {
      if (proposal.stage === 'slotted' || proposal.stage === 'given') return this.#tell(proposal, late(proposal.beganMs));
      if (proposal.stage === 'forwarded') this.#forwarded.take(proposal.sequence);
      this.#settle(proposal, late(proposal.beganMs));
    });
    // Without a leader nobody takes these: they must not pile up.
    if (this.#ready[0]?.done === null) this.#ready = this.#ready.filter((proposal) => proposal.done !== null);
    let anyRead = false;
    this.#readTimeline.expire(nowMs, isSettled, (readers) => {
      anyRead = true;
      this.failures.lateReads += 1;
      this.#settleRead(readers, late(readers.beganMs));
    });
    if (!anyRead) return;
    this.#readyReads = this.#readyReads.filter((readers) => readers.callers !== null);
    this.#cleared = this.#cleared.filter(({ readers }) => readers.callers !== null);
    for (const [token, readers] of this.#reads) if (readers.callers === null) this.#reads.delete(token);
  }

  /** The node stops: nobody is left waiting. */
  failAll(error: Error): void {
    for (const proposal of this.#timeline.drain()) this.#tell(proposal, error);
    this.closeGroup(0, 0);
    for (const readers of this.#readTimeline.drain()) {
      if (readers.callers !== null) this.failures.reads += 1;
      this.#settleRead(readers, error);
    }
    this.#count = 0;
    this.#sizeBytes = 0;
    this.#ready = [];
    this.#given.drain();
    this.#slotted.drain();
    this.#displaced = [];
    this.#forwarded.takeWhere(() => true);
    this.#readyReads = [];
    this.#reads.clear();
    this.#cleared = [];
  }

  /** It was not appended: try again where that may help. */
  #refuse(proposal: Proposal, reason: RefusedReason): void {
    if (reason === 'too_many') this.#settle(proposal, new ApiError('too_many_requests'));
    else this.putBack(proposal);
  }

  #settle(proposal: Proposal, error: Error | null, reply?: Reply): void {
    this.#decide(proposal);
    this.#tell(proposal, error, reply);
  }

  /** Its fate is known: it counts no longer. */
  #decide(proposal: Proposal): void {
    if (proposal.stage === 'decided') return;
    proposal.stage = 'decided';
    this.#count -= 1;
    this.#sizeBytes -= proposal.data.length;
    proposal.data = EMPTY;
  }

  #tell(proposal: Proposal, error: Error | null, reply?: Reply): void {
    const done = proposal.done;
    if (done === null) return;
    proposal.done = null;
    if (error === null) return done(null, reply);
    this.failures.proposals += 1;
    done(error);
  }

  #settleRead(readers: Readers, error: Error | null): void {
    const callers = readers.callers;
    if (callers === null) return;
    readers.callers = null;
    this.#readers -= callers.length;
    for (const done of callers) done(error);
  }
}
