// Who is waiting for what: proposals for the index they were given, reads for the store to catch up. Every wait ends:
// by its entry being applied, by another entry taking its slot, by time, or by the node stopping. Waits time out in the
// order they began, because all have the same allowance; so one queue serves and nothing is scanned.
//
// A proposal whose caller was told that its time is over still lies in the log and counts until its slot is decided: while
// the disk stands still, time must not make room for more.

import { ApiError, type ErrorCode } from '../errors.js';
import type { Done } from '../base/done.js';
import type { EntryId, Index, RefusedReason, Token } from '../raft/types.js';
import type { Reply } from '../store/store.js';

interface Wait {
  readonly deadlineMs: number;
  readonly sizeBytes: number;
  /** Null once its caller was told, so that the queue may drop it lazily. */
  done: Done<Reply> | null;
  /** 0 until the machine has given it a slot. */
  index: Index;
  term: number;
}

interface ReadWait {
  readonly deadlineMs: number;
  /** Null once settled. */
  callers: Done[] | null;
}

const REFUSALS: Record<RefusedReason, ErrorCode> = {
  no_leader: 'no_leader',
  not_leader: 'not_leader',
  leader_changed: 'leader_changed',
  too_many: 'too_many_requests',
};

export class Pending {
  #nextToken: Token = 1;
  #sizeBytes = 0;
  readonly #proposals = new Map<Token, Wait>();
  /** Proposals that have a slot. Invariant: every value's `index` is its key. */
  readonly #byIndex = new Map<Index, Wait>();
  readonly #queue: Wait[] = [];
  #queueHead = 0;
  readonly #reads = new Map<Token, ReadWait>();
  /** Reads cleared by the machine, waiting for the store; ascending by arrival, not by index. */
  #cleared: { index: Index; wait: ReadWait }[] = [];

  #readers = 0;

  /** Bytes of commands proposed and not yet decided. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get proposals(): number {
    return this.#proposals.size + this.#byIndex.size;
  }

  /** Callers that wait to read. */
  get readers(): number {
    return this.#readers;
  }

  addProposal(sizeBytes: number, deadlineMs: number, done: Done<Reply>): Token {
    const token = this.#nextToken++;
    const wait: Wait = { deadlineMs, sizeBytes, done, index: 0, term: 0 };
    this.#proposals.set(token, wait);
    this.#queue.push(wait);
    this.#sizeBytes += sizeBytes;
    return token;
  }

  addRead(callers: Done[], deadlineMs: number): Token {
    const token = this.#nextToken++;
    this.#readers += callers.length;
    this.#reads.set(token, { deadlineMs, callers });
    return token;
  }

  /** Whether somebody waits for a call that the machine has not been given yet; otherwise it is forgotten. */
  isWanted(token: Token): boolean {
    const wait = this.#proposals.get(token);
    if (wait === undefined) return this.#reads.has(token);
    if (wait.done !== null) return true;
    this.#proposals.delete(token);
    this.#sizeBytes -= wait.sizeBytes;
    return false;
  }

  onAppended(token: Token, id: EntryId): void {
    const wait = this.#proposals.get(token);
    if (wait === undefined) return;
    this.#proposals.delete(token);
    const squatter = this.#byIndex.get(id.index);
    if (squatter !== undefined) this.#settle(squatter, new ApiError('leader_changed'));
    wait.index = id.index;
    wait.term = id.term;
    this.#byIndex.set(id.index, wait);
  }

  onRefused(token: Token, reason: RefusedReason): void {
    const error = new ApiError(REFUSALS[reason]);
    const wait = this.#proposals.get(token);
    if (wait !== undefined) {
      this.#proposals.delete(token);
      this.#settle(wait, error);
      return;
    }
    const read = this.#reads.get(token);
    if (read === undefined) return;
    this.#reads.delete(token);
    this.#settleRead(read, error);
  }

  onReadable(token: Token, index: Index, applied: Index): void {
    const read = this.#reads.get(token);
    if (read === undefined) return;
    this.#reads.delete(token);
    if (applied >= index) this.#settleRead(read, null);
    else this.#cleared.push({ index, wait: read });
  }

  /** The entry at `id` was applied with this outcome; null when it was no command. */
  onApplied(id: EntryId, reply: Reply | null): void {
    const wait = this.#byIndex.get(id.index);
    if (wait === undefined) return;
    this.#byIndex.delete(id.index);
    if (wait.term !== id.term || reply === null) this.#settle(wait, new ApiError('leader_changed'));
    else this.#settle(wait, null, reply);
  }

  /** The store has applied through `applied`: reads that waited for it may go. */
  onCaughtUp(applied: Index): void {
    if (this.#cleared.length === 0) return;
    const waiting = this.#cleared;
    this.#cleared = [];
    for (const read of waiting) {
      if (read.index <= applied) this.#settleRead(read.wait, null);
      else this.#cleared.push(read);
    }
  }

  /** Ends every wait whose time is over. A proposal that timed out may still happen: its outcome is unknown. */
  expire(nowMs: number): void {
    while (this.#queueHead < this.#queue.length) {
      const wait = this.#queue[this.#queueHead];
      if (wait === undefined || (wait.done !== null && wait.deadlineMs > nowMs)) break;
      this.#queueHead++;
      if (wait.done !== null) this.#tell(wait, new ApiError('timeout'));
    }
    if (this.#queueHead > 1024 && this.#queueHead * 2 > this.#queue.length) {
      this.#queue.splice(0, this.#queueHead);
      this.#queueHead = 0;
    }
    for (const [token, read] of this.#reads) {
      if (read.deadlineMs > nowMs) break;
      this.#reads.delete(token);
      this.#settleRead(read, new ApiError('timeout'));
    }
    for (const read of this.#cleared) {
      if (read.wait.deadlineMs <= nowMs) this.#settleRead(read.wait, new ApiError('timeout'));
    }
    this.#cleared = this.#cleared.filter((read) => read.wait.callers !== null);
  }

  /** The node stops: nobody is left waiting. */
  failAll(error: Error): void {
    for (const wait of this.#queue) this.#tell(wait, error);
    for (const read of this.#reads.values()) this.#settleRead(read, error);
    for (const read of this.#cleared) this.#settleRead(read.wait, error);
    this.#sizeBytes = 0;
    this.#proposals.clear();
    this.#byIndex.clear();
    this.#queue.length = 0;
    this.#queueHead = 0;
    this.#reads.clear();
    this.#cleared = [];
  }

  /** Its fate is decided: it counts no longer. */
  #settle(wait: Wait, error: Error | null, reply?: Reply): void {
    this.#sizeBytes -= wait.sizeBytes;
    this.#tell(wait, error, reply);
  }

  #tell(wait: Wait, error: Error | null, reply?: Reply): void {
    const done = wait.done;
    if (done === null) return;
    wait.done = null;
    if (error === null) done(null, reply);
    else done(error);
  }

  #settleRead(read: ReadWait, error: Error | null): void {
    const callers = read.callers;
    if (callers === null) return;
    read.callers = null;
    this.#readers -= callers.length;
    for (const done of callers) done(error);
  }
}
