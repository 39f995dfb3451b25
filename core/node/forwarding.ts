// The follower's side of writes and reads: what was asked here goes to the leader in calls. A call may be lost, and so may
// its answer; then the same entries are asked for again under the same tags, in the same term and of the same leader, which
// answers as before and appends nothing twice (acceptor.ts). What another term's leader should append gets a new tag, once
// pending.ts knows that the old one is dead. Reads are asked for anew each time.

import type { Done } from '../base/done.js';
import type { Index, NodeId, Role, Token } from '../raft/types.js';
import { decodeAnswer, encodePropose, encodeRequest, type Answer } from './calls.js';
import { attempt } from './caught.js';
import { callBytesMax, callItemsMax, proposeCallsMax, readCallsMax } from './limits.js';
import type { Pending, Proposal } from './pending.js';
import { tagMark } from './tag.js';

export interface ForwardingDoors {
  call(to: NodeId, request: Uint8Array, done: Done<Uint8Array>): void;
  applied(): Index;
  /** Something may be sent again. */
  wake(): void;
}

interface Item {
  readonly proposal: Proposal;
  readonly sequence: number;
}

export class Forwarding {
  readonly #self: { readonly id: NodeId; readonly session: number };
  /** Of this process start's tags. */
  readonly #mark: Uint8Array;
  readonly #pending: Pending;
  readonly #doors: ForwardingDoors;
  #role: Role = { state: 'follower', term: 0, leader: 0n };
  /** Asked for without an answer, of the leader of the present term; asked for again at the next tick. */
  #unanswered: Item[] = [];
  #proposeCalls = 0;
  #readCalls = 0;
  /** The leader could not answer: nothing more is asked before the next tick, so that nobody spins. */
  #isPaused = false;

  constructor(self: { id: NodeId; session: number }, pending: Pending, doors: ForwardingDoors) {
    this.#self = self;
    this.#mark = tagMark(self.id, self.session);
    this.#pending = pending;
    this.#doors = doors;
  }

  onRole(role: Role): void {
    if (role.term !== this.#role.term) this.#unanswered = [];
    this.#role = role;
    this.#isPaused = false;
  }

  onTick(): void {
    this.#isPaused = false;
    const again = this.#unanswered;
    this.#unanswered = [];
    const wanted = again.filter(({ proposal, sequence }) => this.#pending.isForwarded(proposal, sequence));
    if (!this.#hasLeader()) this.#unanswered = wanted;
    else this.#sendItems(wanted);
  }

  /** To be called each turn: sends what is ready while another member leads. */
  send(): void {
    if (!this.#hasLeader() || this.#isPaused) return;
    if (this.#pending.hasReadyReads && this.#readCalls < readCallsMax) this.#sendRead(this.#pending.takeReads());
    if (!this.#pending.hasReady || this.#proposeCalls >= proposeCallsMax) return;
    const { term } = this.#role;
    this.#sendItems(this.#pending.takeReady().map((proposal) => {
      return { proposal, sequence: this.#pending.forward(proposal, term) };
    }));
  }

  #hasLeader(): boolean {
    return this.#role.leader !== 0n && this.#role.leader !== this.#self.id;
  }

  /** Beyond the bound of calls they wait for the next tick. */
  #sendItems(items: readonly Item[]): void {
    let batch: Item[] = [];
    let sizeBytes = 0;
    for (const item of items) {
      const size = item.proposal.data.length;
      if (batch.length === callItemsMax || (batch.length > 0 && sizeBytes + size > callBytesMax)) {
        this.#sendBatch(batch);
        batch = [];
        sizeBytes = 0;
      }
      batch.push(item);
      sizeBytes += size;
    }
    if (batch.length > 0) this.#sendBatch(batch);
  }

  #sendBatch(batch: readonly Item[]): void {
    if (this.#proposeCalls >= proposeCallsMax) {
      for (const item of batch) this.#unanswered.push(item);
      return;
    }
    const { term, leader } = this.#role;
    const items = batch.map(({ proposal: { data }, sequence }) => ({ sequence, data }));
    const { session } = this.#self;
    const request = encodePropose({ term, session, oldest: this.#pending.oldestSequence, mark: this.#mark, items });
    this.#proposeCalls += 1;
    this.#doors.call(leader, request, (error, reply) => {
      this.#proposeCalls -= 1;
      const answer = understood(error, reply);
      if (answer?.kind === 'proposed' && answer.outcomes.length === batch.length) this.#onOutcomes(batch, answer);
      // A leader that is not one in this term any more answers 'again', which tells nothing of an earlier call with the same
      // entries: pending.ts waits for the next term's first entry.
      else if (answer === null && term === this.#role.term) this.#unanswered.push(...batch);
      this.#doors.wake();
    });
  }

  #onOutcomes(batch: readonly Item[], answer: Extract<Answer, { kind: 'proposed' }>): void {
    answer.outcomes.forEach((outcome, i) => {
      const item = batch[i];
      if (outcome === 'appended' || item === undefined) return;
      this.#isPaused = true;
      this.#pending.onForwardRefused(item.sequence, outcome);
    });
  }

  #sendRead(tokens: readonly Token[]): void {
    if (tokens.length === 0) return;
    this.#readCalls += 1;
    this.#doors.call(this.#role.leader, encodeRequest({ kind: 'read' }), (error, reply) => {
      this.#readCalls -= 1;
      const answer = understood(error, reply);
      const known = answer?.kind === 'index';
      if (!known) this.#isPaused = true;
      for (const token of tokens) {
        if (known) this.#pending.onReadable(token, answer.index, this.#doors.applied());
        else this.#pending.onRefused(token, 'leader_changed');
      }
      this.#doors.wake();
    });
  }
}

/** Null: there is no answer, or none that can be understood. */
function understood(error: Error | null, reply: Uint8Array | undefined): Answer | null {
  if (error !== null || reply === undefined) return null;
  const answer = attempt(() => decodeAnswer(reply));
  return answer instanceof Error ? null : answer;
}
