// Where everything that is asked of this node is taken in, and from where every answer goes out: to callers in this process
// and, at the leader, to other members. While this node leads, wishes become inputs of the machine; while another one does,
// calls to it; else they wait. What the machine says of them, and what is applied, becomes the answers.
//
//   writes, reads ─► pending.ts ─┬─ this node leads ─► the machine ─► onSettled ─► onApplied ─► pending.ts ─► answers
//                                └─ another one does ─► forwarding.ts ╌╌► its acceptor.ts ─► its machine
//   the rest ─► questions.ts ╌╌► answers.ts of whoever leads ─► leases.ts, changes.ts
//
// transfers.ts waits for leadership to move. Nobody waits for ever: each wait ends in an answer, in time, or with the node.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { LeaseId, Revision } from '../client.js';
import { ApiError, type ErrorCode } from '../errors.js';
import type { EntryId, Input, NodeId, Role, Settled, SnapshotMeta, Status, Term, Token } from '../raft/types.js';
import { refuseCommoner, type Asker } from '../store/access.js';
import { encodeCommand, type Command } from '../store/command.js';
import type { Reply, Store, StoreHash } from '../store/store.js';
import { Acceptor } from './acceptor.js';
import { Answers, hasHappened, judgement } from './answers.js';
import { decodeRequest, encodeAnswer, type Answer, type ChangeRequest, type Request } from './calls.js';
import { attempt } from './caught.js';
import { Changes } from './changes.js';
import { Forwarding } from './forwarding.js';
import type { Leases } from './leases.js';
import { commandOverheadBytesMax, type NodeLimits } from './limits.js';
import type { Membership } from './membership.js';
import { Pending } from './pending.js';
import { Questions } from './questions.js';
import type { Reign } from './reign.js';
import { sequenceUnder, tagMark } from './tag.js';
import { heirOf, Transfers } from './transfers.js';

export interface DeskConfig {
  readonly id: NodeId;
  readonly session: number;
  readonly electionMs: number;
  readonly strictReconfig: boolean;
  readonly limits: NodeLimits;
}

export interface DeskDoors {
  readonly clock: Clock;
  readonly reign: Reign;
  readonly leases: Leases;
  readonly membership: Membership;
  store(): Store;
  status(): Status;
  hash(revision: Revision, done: Done<StoreHash>): void;
  /** Asks another member. */
  call(to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void;
  give(input: Input): void;
  /** Something waits for a turn. */
  wake(): void;
}

export class Desk {
  readonly #config: DeskConfig;
  readonly #doors: DeskDoors;
  /** Of what this process has forwarded. */
  readonly #mark: Uint8Array;
  readonly #pending: Pending;
  readonly #forwarding: Forwarding;
  readonly #acceptor: Acceptor;
  readonly #questions: Questions;
  readonly #changes: Changes;
  readonly #answers: Answers;
  readonly #transfers: Transfers;
  /** Before and after, nothing is taken in. */
  #isOpen = false;
  /** The machine refuses for the moment: own calls wait for the next tick or change of role. */
  #isPaused = false;
  #lastToken: Token = 0;
  #readyCallers: Done[] = [];

  constructor(config: DeskConfig, doors: DeskDoors) {
    this.#config = config;
    this.#doors = doors;
    const { id, session, electionMs, strictReconfig: isStrict } = config;
    const { clock, reign, leases, membership } = doors;
    const nextToken = (): Token => (this.#lastToken += 1);
    const wake = (): void => doors.wake();
    this.#mark = tagMark(id, session);
    this.#pending = new Pending(nextToken);
    this.#forwarding = new Forwarding({ id, session }, this.#pending, {
      call: (to, request, done) => doors.call(to, request, electionMs, done),
      applied: () => doors.store().applied.index,
      wake,
    });
    this.#acceptor = new Acceptor(nextToken);
    this.#questions = new Questions(id, electionMs, {
      call: (to, request, timeoutMs, done) => doors.call(to, request, timeoutMs, done),
      answer: (request, reply) => this.#answers.answer(id, request, reply),
      now: () => clock.now(),
    });
    this.#changes = new Changes(nextToken, (request) => {
      return judgement(request, { self: id, isStrict, status: doors.status(), store: doors.store(), membership });
    });
    this.#answers = new Answers({ acceptor: this.#acceptor, changes: this.#changes, leases }, {
      role: () => reign.role,
      read: (done) => this.read(done),
      mayChange: (asker) => refuseCommoner(doors.store().auth, asker),
      deadlineMs: () => this.#deadlineMs(),
      hash: (revision, done) => doors.hash(revision, done),
      wake,
    });
    this.#transfers = new Transfers(electionMs, clock);
  }

  get proposalsPending(): number {
    return this.#pending.proposals;
  }

  get failures(): Pending['failures'] {
    return this.#pending.failures;
  }

  /** The node takes part from now on. */
  open(): void {
    this.#isOpen = true;
  }

  /** The node stops: whoever waits is told this, and whoever comes. */
  close(error: ApiError): void {
    this.#isOpen = false;
    this.#pending.failAll(error);
    this.#questions.failAll(error);
    this.#transfers.failAll(error);
    for (const done of this.#readyCallers.splice(0)) done(error);
  }

  // What may be asked.

  /** Done once the members know how this one is called and reached, and it has read what was acknowledged before. */
  whenReady(done: Done): void {
    if (!this.#isOpen) return this.#refuse(done, 'stopped');
    this.#readyCallers.push(done);
    const settle = (error: Error | null): void => {
      const at = this.#readyCallers.indexOf(done);
      if (at === -1) return;
      // Election and replay may take longer than one request is allowed.
      if (error !== null && this.#isOpen) return read();
      this.#readyCallers.splice(at, 1);
      done(error);
    };
    // As the log has it: the store may still be as old as the last snapshot.
    const isLearner = (): boolean => this.#doors.status().configuration.learners.includes(this.#config.id);
    const read = (): void => (isLearner() ? settle(null) : this.read(settle));
    this.#doors.membership.whenAnnounced(read);
  }

  /** Proposes a command. Done with the store's reply once it is committed, durable and applied here; or an ApiError. */
  propose(command: Command, done: Done<Reply>): void {
    if (!this.#isOpen) return this.#refuse(done, 'stopped');
    const data = encodeCommand(this.#signed(command));
    const { requestBytesMax, proposalsMax, proposalBytesMax } = this.#config.limits;
    if (data.length > requestBytesMax + commandOverheadBytesMax) return this.#refuse(done, 'request_too_large');
    if (this.#pending.proposals >= proposalsMax || this.#pending.sizeBytes + data.length > proposalBytesMax) {
      return this.#refuse(done, 'too_many_requests');
    }
    this.#submit(data, done);
  }

  /** The same for what the node itself has to propose, whatever the callers' limits say. */
  submit(command: Command, done: Done<Reply>): void {
    this.#submit(encodeCommand(this.#signed(command)), done);
  }

  /** Done when the store holds everything acknowledged before this call (linearizable read, thesis 6.4). */
  read(done: Done): void {
    if (!this.#isOpen) return this.#refuse(done, 'stopped');
    if (this.#pending.readers >= this.#config.limits.proposalsMax) return this.#refuse(done, 'too_many_requests');
    this.#pending.addReader(done);
    this.#doors.wake();
  }

  /** Starts the leases' time over. Done with the seconds each has now; 0: it is gone. */
  keepAlive(leases: readonly LeaseId[], done: Done<readonly number[]>): void {
    if (!this.#isOpen) return this.#refuse(done, 'stopped');
    this.#questions.renew(leases, done);
    this.#doors.wake();
  }

  /** Done with what is left of the lease in ms, as its leader sees it; null: it is gone. */
  leaseRemaining(lease: LeaseId, done: Done<number | null>): void {
    this.#ask({ kind: 'remaining', lease }, (error, answer) => {
      if (error !== null) return done(error);
      assert(answer?.kind === 'left', 'what is left is answered by what is left');
      done(null, answer.remainingMs);
    });
  }

  /** Changes who is a member. Done when this member has applied the change, too. `asker` null: this process itself. */
  changeMembers(change: ChangeRequest, asker: Asker | null, done: Done): void {
    this.#ask({ kind: 'change', change, asker }, (error, answer) => {
      if (error !== null) return done(error);
      assert(answer?.kind === 'index', 'a change is answered by its index');
      const { index } = this.#doors.store().applied;
      this.#pending.addCleared(answer.index, index, this.#doors.clock.now(), this.#deadlineMs(), done);
    });
  }

  /** Hands leadership over; only the leader can. Done when `to` leads. */
  transfer(to: NodeId, done: Done): void {
    if (!this.#isOpen) return this.#refuse(done, 'stopped');
    if (!this.#doors.reign.isLeader) return this.#refuse(done, 'not_leader');
    if (to === this.#config.id) return void this.#doors.clock.schedule(0, () => done(null));
    if (!this.#doors.store().configuration.voters.includes(to)) return this.#refuse(done, 'bad_transferee');
    this.#transfers.add(to, done);
    this.#doors.give({ kind: 'transfer', to });
  }

  /** A leader that is about to stop gives leadership away. Done when it has, or cannot, or it takes too long. */
  handOver(done: Done): void {
    const heir = this.#isOpen ? heirOf(this.#doors.status(), this.#doors.store().configuration.voters) : null;
    if (heir === null) return void this.#doors.clock.schedule(0, () => done(null));
    this.#transfers.add(heir, () => done(null));
    this.#doors.give({ kind: 'transfer', to: heir });
  }

  /** A call of another member. */
  onCall(from: NodeId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const request = attempt(() => decodeRequest(bytes));
    if (request instanceof Error) return reply(encodeAnswer({ kind: 'error', code: 'invalid_request' }));
    if (this.#isOpen) this.#answers.answer(from, request, (answer) => reply(encodeAnswer(answer)));
  }

  // What happens meanwhile.

  /** Adds what the machine is to be given in this turn; or asks the leader, where that is another member. */
  takeInputs(inputs: Input[]): void {
    this.#pending.closeGroup(this.#doors.clock.now(), this.#deadlineMs());
    this.#questions.askRenewals(this.#deadlineMs());
    for (const input of this.#acceptor.takeInputs()) inputs.push(input);
    if (!this.#doors.reign.isLeader) return this.#forwarding.send();
    if (this.#isPaused) return;
    for (const proposal of this.#pending.takeReady()) {
      inputs.push({ kind: 'propose', token: this.#pending.give(proposal), data: proposal.data });
    }
    for (const token of this.#pending.takeReads()) inputs.push({ kind: 'read', token });
    const change = this.#isChangeReady ? this.#changes.takeInput() : null;
    if (change !== null) inputs.push(change);
  }

  /** There is more for the machine. */
  get hasInputs(): boolean {
    if (this.#questions.hasRenewals) return true;
    if (this.#isPaused || !this.#doors.reign.isLeader) return false;
    return this.#pending.hasReady || this.#pending.hasReadyReads || this.#isChangeReady;
  }

  onSettled(settled: Settled): void {
    const { token } = settled;
    if (settled.kind === 'appended') {
      if (this.#pending.onAppended(token, settled.id) || this.#acceptor.onAppended(token)) return;
      this.#changes.onAppended(token, settled.id);
    }
    else if (settled.kind === 'readable') {
      const { index } = settled;
      const { applied } = this.#doors.store();
      if (!this.#pending.onReadable(token, index, applied.index)) this.#acceptor.onReadable(token, index);
    }
    else if (!this.#acceptor.onRefused(token, settled.reason)) {
      this.#isPaused = true;
      if (!this.#pending.onRefused(token, settled.reason)) this.#changes.onRefused(token, settled.reason);
    }
  }

  onRole(role: Role): void {
    this.#isPaused = false;
    this.#acceptor.onRole(role);
    this.#forwarding.onRole(role);
    this.#changes.onRole(role);
    this.#questions.onRole(role);
    this.#transfers.onRole(role);
  }

  onTick(): void {
    const now = this.#doors.clock.now();
    const { lostMs } = this.#doors.reign;
    this.#isPaused = false;
    this.#pending.expire(now, lostMs);
    this.#questions.onTick(now, lostMs);
    this.#changes.onTick(now);
    this.#transfers.onTick(now);
    this.#forwarding.onTick();
  }

  /** The first entry of a later term than all before is about to be applied. */
  onTerm(term: Term): void {
    this.#pending.onTerm(term);
    this.#changes.onTerm(term);
  }

  /** An entry was applied, with this reply where it was the command `data`. */
  onApplied(id: EntryId, data: Uint8Array, reply: Reply | null): void {
    this.#pending.onApplied(id, reply);
    this.#changes.onApplied(id);
    const sequence = reply === null ? 0 : sequenceUnder(this.#mark, data);
    if (reply !== null && sequence > 0) this.#pending.onForwardApplied(sequence, reply);
  }

  /** All entries of a turn were. */
  onCaughtUp(): void {
    this.#pending.onCaughtUp(this.#doors.store().applied.index);
  }

  /** The store was replaced. */
  onRestored(meta: SnapshotMeta): void {
    this.#changes.onRestored();
    this.#pending.onRestored(meta);
  }

  /** The members in the store have changed. */
  onMembers(): void {
    const store = this.#doors.store();
    this.#questions.onMembers((change) => hasHappened(change, store));
  }

  /** A new leader does not know yet who is well: changes of members wait until all have answered, or had the time to. */
  get #isChangeReady(): boolean {
    if (!this.#changes.hasReady) return false;
    return this.#doors.reign.isSeasoned || this.#doors.status().peers.every(({ match }) => match > 0);
  }

  /** While auth is on, every command says whose it is; what nobody is named for is this process's own. */
  #signed(command: Command): Command {
    const { auth } = this.#doors.store();
    if (!auth.isEnabled || command.kind === 'as_user') return command;
    return { kind: 'as_user', user: null, authRevision: auth.revision, command };
  }

  #submit(data: Uint8Array, done: Done<Reply>): void {
    const now = this.#doors.clock.now();
    this.#pending.add(data, now, this.#deadlineMs(now), done);
    this.#doors.wake();
  }

  #ask(request: Request, done: Done<Answer>): void {
    if (!this.#isOpen) return this.#refuse(done, 'stopped');
    // From a later turn, whoever answers.
    this.#doors.clock.schedule(0, () => {
      if (this.#isOpen) this.#questions.ask(request, this.#deadlineMs(), done);
      else done(new ApiError('stopped'));
    });
  }

  #deadlineMs(now = this.#doors.clock.now()): number {
    // etcd's allowance for a request: 5 s and two election time-outs (contract 1.4).
    return now + 5000 + 2 * this.#config.electionMs;
  }

  #refuse(done: (error: Error) => void, code: ErrorCode): void {
    this.#doors.clock.schedule(0, () => done(new ApiError(code)));
  }
}
