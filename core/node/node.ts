// The driver: the one place that knows the machine, the store and the doors. It decides nothing; it keeps the order.
//
//   inbox -> Raft.step -> send, persist, apply, settle -> callers and watchers
//
// A turn is taken whenever the inbox is not empty: everything that arrived since the last turn goes into one step, so
// batching and group commit fall out of the shape. Any error of the disk, and any failed assertion, stops the node for
// good: it must not guess what is on disk, nor go on with a state it does not understand.
//
// By theme: founding.ts (how a log begins), pending.ts (who waits), forwarding.ts and acceptor.ts (follower and leader),
// questions.ts and answers.ts (what only the leader knows), leases.ts, snapshots.ts, membership.ts and changes.ts. What is
// here is their wiring and their order, which must be seen at once: so it is long.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { LeaseId } from '../client.js';
import { ApiError } from '../errors.js';
import type { LogStorage } from '../log/log-storage.js';
import { Peers, type PeersHandlers } from '../peer/peers.js';
import type { Transport } from '../peer/transport.js';
import { decodeMembers } from '../raft/members.js';
import { Raft } from '../raft/raft.js';
import type {
  Entry, EntryId, Input, NodeId, Output, Resumed, Role, Settled, SnapshotMeta, Status, Token,
} from '../raft/types.js';
import { decodeCommand, encodeCommand, type Command } from '../store/command.js';
import { Hub } from '../store/hub.js';
import type { MemberRecord } from '../store/members.js';
import { Store, type Reply } from '../store/store.js';
import { Acceptor } from './acceptor.js';
import { Answers, hasHappened, judgement } from './answers.js';
import { decodeRequest, encodeAnswer, type Answer, type ChangeRequest, type Request } from './calls.js';
import { attempt, caught } from './caught.js';
import { Changes } from './changes.js';
import type { Observe } from './events.js';
import { Forwarding } from './forwarding.js';
import { prepare, raftConfig } from './founding.js';
import { Leases } from './leases.js';
import { Leaving } from './leaving.js';
import { stallMsMin, tidyRowsPerTick } from './limits.js';
import { Membership } from './membership.js';
import { Pending } from './pending.js';
import { Questions } from './questions.js';
import { refusal } from './refusal.js';
import { Reign } from './reign.js';
import type { Settings } from './settings.js';
import { Snapshots } from './snapshots.js';
import { commandIn, isTagged, tagOf } from './tag.js';
import { heirOf, Transfers } from './transfers.js';

export interface NodeConfig extends Settings {
  readonly id: NodeId;
  readonly clusterId: bigint;
  /** The life of the data directory. */
  readonly incarnation: bigint;
  /** Names this process start to the others; differs from start to start. */
  readonly session: number;
  /** All chance of the machine. */
  readonly seed: number;
}

export interface NodeDoors {
  readonly clock: Clock;
  readonly log: LogStorage;
  /** Null: alone, without a network. */
  readonly transport: Transport | null;
  readonly observe: Observe;
}

type State = 'new' | 'running' | 'stopping' | 'stopped';

export class Node {
  readonly hub: Hub;
  readonly #config: NodeConfig;
  readonly #doors: NodeDoors;
  readonly #peers: Peers | null;
  readonly #pending: Pending;
  readonly #forwarding: Forwarding;
  readonly #acceptor: Acceptor;
  readonly #questions: Questions;
  readonly #changes: Changes;
  readonly #leases: Leases;
  readonly #answers: Answers;
  readonly #snapshots: Snapshots;
  readonly #membership: Membership;
  readonly #transfers: Transfers;
  readonly #reign: Reign;
  readonly #leaving: Leaving;
  #store = new Store();
  #raft: Raft | null = null;
  #state: State = 'new';
  #inbox: Input[] = [];
  #turnScheduled = false;
  /** The machine refuses for the moment: own calls wait for the next tick or change of role. */
  #isPaused = false;
  #appliedTerm = 0;
  #lastToken: Token = 0;
  #cancelTick: () => void = () => undefined;
  #tickDueMs = 0;
  #onEnd: ((error: Error | null) => void) | null = null;
  #stopCallers: Done[] = [];
  #readyCallers: Done[] = [];

  constructor(config: NodeConfig, doors: NodeDoors) {
    const { clock, log, transport, observe } = doors;
    this.#config = config;
    this.#doors = doors;
    this.#reign = new Reign(config.electionMs, clock);
    const { id, clusterId, incarnation, session, limits } = config;
    const store = (): Store => this.#store;
    const nextToken = (): Token => (this.#lastToken += 1);
    const submit = (command: Command, done: Done<Reply>): void => this.#submit(encodeCommand(command), done);
    this.hub = new Hub(store, {
      bufferBytesMax: limits.watchBufferBytesMax,
      catchUpRevisionsMax: limits.watchCatchUpRevisionsMax,
    });
    this.#peers = transport === null
      ? null
      : new Peers({ clusterId, self: id, incarnation, session }, { clock, transport, log, observe }, this.#handlers());
    const call = (to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void => {
      if (this.#peers === null) clock.schedule(0, () => done(new ApiError('unavailable')));
      else this.#peers.call(to, request, timeoutMs, done);
    };
    this.#pending = new Pending(nextToken);
    this.#forwarding = new Forwarding({ id, session }, this.#pending, {
      call: (to, request, done) => call(to, request, config.electionMs, done),
      applied: () => this.#store.applied.index,
      wake: () => this.#wake(),
    });
    this.#acceptor = new Acceptor(nextToken);
    this.#questions = new Questions(id, config.electionMs, {
      call,
      answer: (request, reply) => this.#answers.answer(id, request, reply),
      now: () => clock.now(),
    });
    this.#changes = new Changes(nextToken, (request) => judgement(request, {
      self: id, isStrict: config.strictReconfig, status: this.status(), store: this.#store, membership: this.#membership,
    }));
    this.#leases = new Leases(config.electionMs, {
      clock, observe, store, submit,
      role: () => this.#reign.role,
      read: (done) => this.read(done),
    });
    this.#answers = new Answers({ acceptor: this.#acceptor, changes: this.#changes, leases: this.#leases }, {
      role: () => this.#reign.role,
      read: (done) => this.read(done),
      deadlineMs: () => this.#deadlineMs(),
      wake: () => this.#wake(),
    });
    this.#snapshots = new Snapshots({ snapshotCount: config.snapshotCount, logBytesMax: limits.logBytesMax }, {
      clock, log,
      saved: (snapshot) => this.#give({ kind: 'snapshotted', snapshot }),
      failed: (error) => this.#end(error),
    });
    this.#membership = new Membership(config, config.contacts, {
      clock, store, submit,
      isConnected: (peer) => transport?.isConnected(peer) === true,
      setPeers: (members) => this.#peers?.setMembers(members, (each) => this.#store.isRemoved(each)),
      refused: (reason) => this.#leaving.leave(reason, id),
    });
    this.#leaving = new Leaving(config, {
      clock, observe,
      reign: this.#reign,
      others: () => this.#store.members().filter((member) => member.id !== id).length,
      end: (error) => this.#end(error),
    });
    this.#transfers = new Transfers(config.electionMs, clock);
  }

  /** What the node has applied. Readers must not keep it across turns: a restore replaces it. */
  get store(): Store {
    return this.#store;
  }

  get role(): Role {
    return this.#reign.role;
  }

  get running(): boolean {
    return this.#state === 'running';
  }

  get isLearner(): boolean {
    return this.#store.configuration.learners.includes(this.#config.id);
  }

  get proposalsPending(): number {
    return this.#pending.proposals;
  }

  /** The members, as a newcomer is to know them. */
  get described(): readonly MemberRecord[] {
    return this.#membership.described();
  }

  status(): Status {
    assert(this.#raft !== null, 'status of a node that was not started');
    return this.#raft.status();
  }

  isConnected(peer: NodeId): boolean {
    return this.#doors.transport?.isConnected(peer) === true;
  }

  /**
   * Reads the log, rebuilds the store, begins to take part. Done when it runs, which is before it has a leader; an error
   * means it never ran, and the log has been closed. `onEnd` is called once when it stops later on, with null if that was
   * asked for.
   */
  start(onEnd: (error: Error | null) => void, done: Done): void {
    assert(this.#state === 'new', 'a node starts once');
    const { log, clock, observe } = this.#doors;
    const startedMs = clock.now();
    const fail = (failure: Error): void => {
      this.#state = 'stopped';
      log.close(() => done(failure));
    };
    log.open((error, found) => {
      if (error !== null) return done(error);
      assert(found !== undefined, 'an opened log has contents');
      const prepared = attempt(() => prepare(found, this.#config));
      if (prepared instanceof Error) return fail(prepared);
      const { resumed, founding } = prepared;
      const load = (): void => this.#snapshots.load(resumed, (loadError, store) => {
        if (loadError !== null) return fail(loadError);
        assert(store !== undefined, 'a snapshot that was loaded is a store');
        this.#store = store;
        const failure = caught(() => this.#begin(resumed));
        if (failure !== null) return fail(failure);
        this.#onEnd = onEnd;
        const { snapshot, entries } = resumed;
        const tookMs = clock.now() - startedMs;
        observe({ kind: 'restored', snapshotIndex: snapshot.index, entries: entries.length, revision: store.revision, tookMs });
        if (this.#peers === null) return done(null);
        this.#peers.start((startError) => (startError === null ? done(null) : this.#giveUp(startError, done)));
      });
      if (founding === null) return load();
      log.append(founding, (appendError) => (appendError === null ? load() : fail(appendError)));
    });
  }

  /** Done once the members know how this one is called and reached, and it has read what was acknowledged before. */
  whenReady(done: Done): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    this.#readyCallers.push(done);
    const settle = (error: Error | null): void => {
      const at = this.#readyCallers.indexOf(done);
      if (at === -1) return;
      // Election and replay may take longer than one request is allowed.
      if (error !== null && this.running) return read();
      this.#readyCallers.splice(at, 1);
      done(error);
    };
    const read = (): void => (this.isLearner ? settle(null) : this.read(settle));
    this.#membership.whenAnnounced(read);
  }

  /** Proposes a command. Done with the store's reply once it is committed, durable and applied here; or an ApiError. */
  propose(command: Command, done: Done<Reply>): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    const data = encodeCommand(command);
    const { requestBytesMax, proposalsMax, proposalBytesMax } = this.#config.limits;
    if (data.length > requestBytesMax) return this.#refuse(done, new ApiError('request_too_large'));
    if (this.#pending.proposals >= proposalsMax || this.#pending.sizeBytes + data.length > proposalBytesMax) {
      return this.#refuse(done, new ApiError('too_many_requests'));
    }
    this.#submit(data, done);
  }

  /** Done when the store holds everything acknowledged before this call (linearizable read, thesis 6.4). */
  read(done: Done): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    if (this.#pending.readers >= this.#config.limits.proposalsMax) {
      return this.#refuse(done, new ApiError('too_many_requests'));
    }
    this.#pending.addReader(done);
    this.#wake();
  }

  /** Starts the lease's time over. Done with the seconds it has now; 0: it is gone. */
  keepAlive(lease: LeaseId, done: Done<number>): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    this.#questions.renew(lease, done);
    this.#wake();
  }

  /** Done with what is left of the lease in ms, as its leader sees it; null: it is gone. */
  leaseRemaining(lease: LeaseId, done: Done<number | null>): void {
    this.#ask({ kind: 'remaining', lease }, (error, answer) => {
      if (error !== null) return done(error);
      assert(answer?.kind === 'left', 'what is left is answered by what is left');
      done(null, answer.remainingMs);
    });
  }

  /** What is left of a lease, as far as this member knows without asking. */
  leaseRemainingHere(lease: LeaseId): number | null {
    return this.#leases.remainingMs(lease);
  }

  /** Changes who is a member. Done when this member has applied the change, too. */
  changeMembers(change: ChangeRequest, done: Done): void {
    this.#ask({ kind: 'change', change }, (error, answer) => {
      if (error !== null) return done(error);
      assert(answer?.kind === 'index', 'a change is answered by its index');
      this.#pending.addCleared(answer.index, this.#store.applied.index, this.#doors.clock.now(), this.#deadlineMs(), done);
    });
  }

  /** Hands leadership over; only the leader can. Done when `to` leads. */
  transfer(to: NodeId, done: Done): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    if (!this.#reign.isLeader) return this.#refuse(done, new ApiError('not_leader'));
    if (to === this.#config.id) return void this.#doors.clock.schedule(0, () => done(null));
    if (!this.#store.configuration.voters.includes(to)) return this.#refuse(done, new ApiError('bad_transferee'));
    this.#transfers.add(to, done);
    this.#give({ kind: 'transfer', to });
  }

  /** A leader that is about to stop gives leadership away. Done when it has, or cannot, or it takes too long. */
  handOver(done: Done): void {
    const heir = this.#state === 'running' ? heirOf(this.status(), this.#store.configuration.voters) : null;
    if (heir === null) return void this.#doors.clock.schedule(0, () => done(null));
    this.#transfers.add(heir, () => done(null));
    this.#give({ kind: 'transfer', to: heir });
  }

  /** Stops taking part. Done when the log is closed. Waiting callers are told `stopped`. */
  stop(done: Done): void {
    if (this.#state === 'stopped' || this.#state === 'new') {
      this.#doors.clock.schedule(0, () => done(null));
      return;
    }
    this.#stopCallers.push(done);
    this.#end(null);
  }

  /** It was never heard of by the others, so it counts as never started: whoever is told may start another at once. */
  #giveUp(error: Error, done: Done): void {
    this.#onEnd = null;
    if (this.#state === 'stopped') return done(error);
    this.#stopCallers.push(() => done(error));
    this.#end(error);
  }

  #begin(resumed: Resumed): void {
    const config = this.#config;
    this.#raft = new Raft(raftConfig(config), resumed);
    this.#appliedTerm = this.#store.applied.term;
    for (const entry of resumed.entries) {
      if (entry.kind === 'members') this.#membership.learn(decodeMembers(entry.data).context);
    }
    if (this.#store.isRemoved(config.id)) throw refusal('removed', config.id, config.id);
    if (this.#peers === null && this.#raft.status().configuration.voters.some((voter) => voter !== config.id)) {
      throw refusal('no_network', config.id, config.id);
    }
    this.#state = 'running';
    this.#reign.begin();
    this.#membership.onChange();
    this.#scheduleTick();
    this.#give({ kind: 'tick' });
  }

  #handlers(): PeersHandlers {
    return {
      onMessages: (messages) => {
        for (const message of messages) this.#inbox.push({ kind: 'receive', message });
        this.#wake();
      },
      onCall: (from, bytes, answer) => {
        const request = attempt(() => decodeRequest(bytes));
        if (request instanceof Error) return answer(encodeAnswer({ kind: 'error', code: 'invalid_request' }));
        if (this.running) this.#answers.answer(from, request, (reply) => answer(encodeAnswer(reply)));
      },
      onSnapshotBegin: (meta) => (this.running ? this.#snapshots.begin(meta, this.#store.applied.index) : null),
      onSnapshotEnd: (message) => {
        if (!this.running) return;
        const failure = this.#snapshots.finish(message.snapshot);
        if (failure !== null) return this.#end(failure);
        this.#give({ kind: 'receive', message });
      },
      onSnapshotSent: (to, ok, isDamaged) => {
        this.#doors.observe({ kind: 'snapshot_sent', to, ok });
        if (isDamaged && this.running) this.#snapshots.distrust(this.#store);
        this.#give({ kind: 'snapshot_sent', to, ok });
      },
      onUnreachable: (peer) => this.#give({ kind: 'unreachable', peer }),
      onRefused: (reason, by) => this.#leaving.onNotice(reason, by),
    };
  }

  #submit(data: Uint8Array, done: Done<Reply>): void {
    this.#pending.add(data, this.#doors.clock.now(), this.#deadlineMs(), done);
    this.#wake();
  }

  #ask(request: Request, done: Done<Answer>): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    // From a later turn, whoever answers.
    this.#doors.clock.schedule(0, () => {
      if (this.running) this.#questions.ask(request, this.#deadlineMs(), done);
      else done(new ApiError('stopped'));
    });
  }

  #scheduleTick(): void {
    const intervalMs = this.#config.heartbeatMs;
    this.#tickDueMs = this.#doors.clock.now() + intervalMs;
    this.#cancelTick = this.#doors.clock.schedule(intervalMs, () => this.#onTick());
  }

  #onTick(): void {
    if (this.#state !== 'running') return;
    const now = this.#doors.clock.now();
    const lateMs = now - this.#tickDueMs;
    this.#scheduleTick();
    this.#isPaused = false;
    this.#pending.expire(now, this.#reign.lostMs);
    this.#questions.onTick(now, this.#reign.lostMs);
    this.#changes.onTick(now);
    this.#transfers.onTick(now);
    this.#forwarding.onTick();
    this.#membership.onTick(this.#reign.role.leader !== 0n);
    if (lateMs > Math.max(stallMsMin, 2 * this.#config.heartbeatMs)) {
      this.#leases.onStall(lateMs);
      this.#doors.observe({ kind: 'stalled', lateMs });
    }
    else {
      this.#leases.onTick();
    }
    const failure = caught(() => void this.#store.tidy(tidyRowsPerTick));
    if (failure !== null) return this.#end(failure);
    this.#give({ kind: 'tick' });
  }
  #give(input: Input): void {
    this.#inbox.push(input);
    this.#wake();
  }
  #wake(): void {
    if (this.#turnScheduled || this.#state !== 'running') return;
    this.#turnScheduled = true;
    this.#doors.clock.schedule(0, () => this.#turn());
  }
  #turn(): void {
    this.#turnScheduled = false;
    if (this.#state !== 'running' || this.#raft === null) return;
    const raft = this.#raft;
    const inputs = this.#inbox;
    this.#inbox = [];
    this.#takeCalls(inputs);
    const failure = caught(() => this.#act(raft.step(inputs)));
    if (failure !== null) return this.#end(failure);
    const hasMore = this.#pending.hasReady || this.#pending.hasReadyReads || (this.#changes.hasReady && this.#mayJudge);
    if (hasMore && !this.#isPaused && this.#reign.isLeader) this.#wake();
  }
  /** Callers' wishes: to the machine while this node leads, to the leader while another one does; else they wait. */
  #takeCalls(inputs: Input[]): void {
    this.#pending.closeGroup(this.#doors.clock.now(), this.#deadlineMs());
    this.#questions.askRenewals(this.#deadlineMs());
    for (const input of this.#acceptor.takeInputs()) inputs.push(input);
    if (!this.#reign.isLeader) return this.#forwarding.send();
    if (this.#isPaused) return;
    for (const proposal of this.#pending.takeReady()) {
      inputs.push({ kind: 'propose', token: this.#pending.give(proposal), data: proposal.data });
    }
    for (const token of this.#pending.takeReads()) inputs.push({ kind: 'read', token });
    const change = this.#changes.hasReady && this.#mayJudge ? this.#changes.takeInput() : null;
    if (change !== null) inputs.push(change);
  }
  /** A new leader does not know yet who is well: changes of members wait until all have answered, or had the time to. */
  get #mayJudge(): boolean {
    return this.#reign.isSeasoned || this.status().peers.every(({ match }) => match > 0);
  }
  #act(output: Output): void {
    this.#persist(output);
    if (output.send.length > 0) this.#peers?.send(output.send);
    for (const settled of output.settled) this.#settle(settled);
    if (output.role !== null) this.#onRole(output.role);
    if (output.restore !== null) this.#restore(output.restore);
    for (const entry of output.apply) this.#apply(entry);
    if (output.apply.length === 0) return;
    this.#pending.onCaughtUp(this.#store.applied.index);
    this.#snapshots.saveIfDue(this.#store);
  }
  #persist({ persist }: Output): void {
    if (persist !== null) {
      this.#snapshots.onPersist(persist);
      this.#doors.log.append(persist, (error) => {
        if (error !== null) return this.#end(error);
        this.#give({ kind: 'persisted', seq: persist.seq });
      });
    }
    this.#snapshots.onStep();
  }
  #settle(settled: Settled): void {
    const { token } = settled;
    if (settled.kind === 'appended') {
      if (this.#pending.onAppended(token, settled.id) || this.#acceptor.onAppended(token)) return;
      this.#changes.onAppended(token, settled.id);
    }
    else if (settled.kind === 'readable') {
      const { index } = settled;
      if (!this.#pending.onReadable(token, index, this.#store.applied.index)) this.#acceptor.onReadable(token, index);
    }
    else if (!this.#acceptor.onRefused(token, settled.reason)) {
      this.#isPaused = true;
      if (!this.#pending.onRefused(token, settled.reason)) this.#changes.onRefused(token, settled.reason);
    }
  }
  #onRole(role: Role): void {
    this.#isPaused = false;
    if (this.#reign.onRole(role)) this.#leases.end();
    this.#acceptor.onRole(role);
    this.#forwarding.onRole(role);
    this.#changes.onRole(role);
    this.#questions.onRole(role);
    this.#transfers.onRole(role);
    this.#doors.observe({ kind: 'role', state: role.state, term: role.term, leader: role.leader });
    if (role.leader === 0n) return;
    this.#membership.announce();
    this.#wake();
  }
  #restore(meta: SnapshotMeta): void {
    this.#store = this.#snapshots.take(meta);
    this.#appliedTerm = meta.term;
    this.#leases.end();
    this.#changes.onRestored();
    this.#pending.onRestored(meta);
    this.hub.restored();
    this.#membership.onChange();
    this.#questions.onMembers((change) => hasHappened(change, this.#store));
    this.#doors.observe({ kind: 'snapshot_installed', index: meta.index, revision: this.#store.revision });
  }
  #apply(entry: Entry): void {
    const id = { term: entry.term, index: entry.index };
    if (entry.term > this.#appliedTerm) {
      this.#appliedTerm = entry.term;
      this.#pending.onTerm(entry.term);
      this.#changes.onTerm(entry.term);
    }
    if (entry.kind === 'command') this.#applyCommand(id, entry.data);
    else if (entry.kind === 'members') this.#applyMembers(id, entry.data);
    else {
      this.#store.skip(id);
      this.#pending.onApplied(id, null);
    }
    const isOwn = this.#reign.isLeader && entry.term === this.#reign.role.term;
    if (isOwn && !this.#leases.lessor.isActive) this.#leases.begin();
  }
  #applyCommand(id: EntryId, data: Uint8Array): void {
    const command = decodeCommand(commandIn(data));
    const applied = this.#store.apply(id, command);
    this.#leases.onApplied(command, applied);
    if (applied.events !== null) this.hub.publish(applied.events);
    this.#pending.onApplied(id, applied.reply);
    if (isTagged(data)) {
      const { origin, session, sequence } = tagOf(data);
      if (origin === this.#config.id && session === this.#config.session) {
        this.#pending.onForwardApplied(sequence, applied.reply);
      }
    }
    if (command.kind === 'member_update') this.#membership.onChange();
  }
  #applyMembers(id: EntryId, data: Uint8Array): void {
    const { configuration, context } = decodeMembers(data);
    this.#store.applyMembers(id, configuration, context);
    this.#pending.onApplied(id, null);
    this.#membership.onChange();
    this.#changes.onApplied(id);
    this.#questions.onMembers((change) => hasHappened(change, this.#store));
    this.#doors.observe({ kind: 'members', ...configuration });
  }
  #end(error: Error | null): void {
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    this.#cancelTick();
    this.#leaving.cancel();
    this.#inbox = [];
    const stopped = new ApiError('stopped', error === null ? {} : { cause: error });
    this.#pending.failAll(stopped);
    this.#questions.failAll(stopped);
    this.#transfers.failAll(stopped);
    for (const done of this.#readyCallers.splice(0)) done(stopped);
    this.#leases.end();
    const closeLog = (): void => this.#doors.log.close((closeError) => {
      this.#state = 'stopped';
      const cause = error ?? closeError;
      this.#doors.observe({ kind: 'stopped', error: cause });
      for (const done of this.#stopCallers.splice(0)) done(closeError);
      this.#onEnd?.(cause);
    });
    if (this.#peers === null) closeLog();
    else this.#peers.close(closeLog);
  }
  #deadlineMs(): number {
    // etcd's allowance for a request: 5 s and two election time-outs (contract 1.4).
    return this.#doors.clock.now() + 5000 + 2 * this.#config.electionMs;
  }
  #refuse(done: (error: Error) => void, error: ApiError): void {
    this.#doors.clock.schedule(0, () => done(error));
  }
}
