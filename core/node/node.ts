// The driver: the one place that knows the machine, the store and the doors. It decides nothing; it keeps the order.
//
//   inbox -> Raft.step -> send, persist, apply, settle -> callers and watchers
//
// A turn is taken whenever the inbox is not empty: everything that arrived since the last turn goes into one step, so
// batching and group commit fall out of the shape. Any error of the disk, and any failed assertion, stops the node for
// good: it must not guess what is on disk, nor go on with a state it does not understand.
//
// By theme: founding.ts (how a log begins), desk.ts (who asks and waits), leases.ts, snapshots.ts, membership.ts, reign.ts
// (who leads), leaving.ts (whether this member still belongs here).

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { LeaseId } from '../client.js';
import { ApiError } from '../errors.js';
import type { LogStorage } from '../log/log-storage.js';
import { Peers, type PeersHandlers } from '../peer/peers.js';
import type { Traffic, Transport } from '../peer/transport.js';
import { decodeMembers } from '../raft/members.js';
import { Raft } from '../raft/raft.js';
import type {
  Entry, EntryId, Input, NodeId, Output, Persist, Resumed, Role, SnapshotMeta, Status,
} from '../raft/types.js';
import { decodeCommand, deedOf, type Command } from '../store/command.js';
import { Foresight } from '../store/foresight.js';
import { Hub } from '../store/hub.js';
import type { MemberRecord } from '../store/members.js';
import { Store, type Reply } from '../store/store.js';
import { encodeRequest } from './calls.js';
import { caught } from './caught.js';
import { defragment } from './defragment.js';
import { Desk } from './desk.js';
import type { Observe } from './events.js';
import { raftConfig, resume } from './founding.js';
import { Leases } from './leases.js';
import { Leaving } from './leaving.js';
import { slowApplyMs, stallMsMin, tidyRowsPerTick, tokenTtlSeconds } from './limits.js';
import { Membership } from './membership.js';
import { Pulse } from './pulse.js';
import { refusal } from './refusal.js';
import { Reign } from './reign.js';
import type { Settings } from './settings.js';
import { Snapshots } from './snapshots.js';
import { commandIn } from './tag.js';
import { TokenTimes } from './token-times.js';
import { Totals } from './totals.js';
import { NO_UPKEEP, Upkeep } from './upkeep.js';

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
  /** Who watches. */
  readonly hub: Hub;
  /** Who asks. */
  readonly desk: Desk;
  /** When tokens were last used here. */
  readonly tokenTimes: TokenTimes;
  /** What it does without being asked. */
  readonly upkeep: Upkeep;
  /** What has happened so far, for metrics. */
  readonly totals = new Totals();
  readonly #config: NodeConfig;
  readonly #doors: NodeDoors;
  readonly #peers: Peers | null;
  readonly #leases: Leases;
  readonly #snapshots: Snapshots;
  readonly #membership: Membership;
  readonly #reign: Reign;
  readonly #pulse: Pulse;
  readonly #leaving: Leaving;
  #store = new Store();
  readonly #foresight = new Foresight();
  #raft: Raft | null = null;
  #state: State = 'new';
  #inbox: Input[] = [];
  #turnScheduled = false;
  #cancelTick: () => void = () => undefined;
  #tickDueMs = 0;
  #onEnd: ((error: Error | null) => void) | null = null;
  #stopCallers: Done[] = [];
  readonly #defragmenting: Done[] = [];

  constructor(config: NodeConfig, doors: NodeDoors) {
    const { clock, log, transport, observe } = doors;
    const { id, clusterId, incarnation, session, electionMs, limits } = config;
    this.#config = config;
    this.#doors = doors;
    this.tokenTimes = new TokenTimes(clock, 1000 * (config.auth?.tokenTtlSeconds ?? tokenTtlSeconds));
    const store = (): Store => this.#store;
    const submit = (command: Command, done: Done<Reply>): void => this.desk.submit(command, done);
    this.hub = new Hub(store, {
      bufferBytesMax: limits.watchBufferBytesMax,
      catchUpRevisionsMax: limits.watchCatchUpRevisionsMax,
    });
    const peersConfig = { clusterId, self: id, incarnation, session };
    this.#peers = transport && new Peers(peersConfig, { clock, transport, log, observe }, this.#handlers());
    this.#reign = new Reign(electionMs, clock);
    this.#pulse = new Pulse(id, clock);
    this.#leases = new Leases(electionMs, {
      clock, observe, store, submit,
      renewed: (leases) => void (this.totals.leasesRenewed += leases),
      role: () => this.#reign.role,
      read: (done) => this.desk.read(done),
    });
    this.#membership = new Membership(config, config.contacts, {
      clock, store, submit,
      isConnected: (peer) => this.isConnected(peer),
      setPeers: (members) => this.#peers?.setMembers(members, (each) => this.#store.isRemoved(each)),
      refused: (reason) => this.#leaving.leave(reason, id),
    });
    this.#leaving = new Leaving(config, {
      clock, observe,
      reign: this.#reign,
      others: () => this.#membership.others(),
      ask: (member) => this.#peers?.call(member, encodeRequest({ kind: 'read' }), electionMs, () => undefined),
      end: (error) => this.#end(error),
    });
    const call = (to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void => {
      if (this.#peers === null) clock.schedule(0, () => done(new ApiError('unavailable')));
      else this.#peers.call(to, request, timeoutMs, done);
    };
    this.upkeep = new Upkeep(id, config.upkeep ?? NO_UPKEEP, {
      clock, observe, store, submit, call,
      isRunning: () => this.running,
      isLeader: () => this.#reign.isLeader,
    });
    this.desk = new Desk(config, {
      clock, store,
      reign: this.#reign,
      leases: this.#leases,
      membership: this.#membership,
      status: () => this.status(),
      hash: (revision, done) => this.upkeep.hasher.hash(revision, done),
      call,
      give: (input) => this.#give(input),
      wake: () => this.#wake(),
    });
    this.#snapshots = new Snapshots({ snapshotCount: config.snapshotCount, logBytesMax: limits.logBytesMax }, {
      clock, log,
      saved: (snapshot) => this.#give({ kind: 'snapshotted', snapshot }),
      failed: (error) => this.#end(error),
    });
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

  traffic(peer: NodeId): Traffic | null {
    return this.#doors.transport?.traffic?.(peer) ?? null;
  }

  /** What is left of a lease, as far as this member knows without asking. */
  leaseRemainingHere(lease: LeaseId): number | null {
    return this.#leases.remainingMs(lease);
  }

  /** Done when all memory is given back that removed data left behind, in this member. Who comes meanwhile waits for the same. */
  defragment(done: Done): void {
    if (this.#defragmenting.push(done) > 1) return;
    const { clock } = this.#doors;
    defragment({
      clock,
      store: () => this.#store,
      isRunning: () => this.running,
      end: (error) => this.#end(error),
    }, (error) => {
      for (const each of this.#defragmenting.splice(0)) each(error);
    });
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
    resume(log, this.#config, (error, resumed) => {
      if (error !== null) return fail(error);
      assert(resumed !== undefined, 'a log that was opened has contents');
      this.#snapshots.load(resumed, (loadError, store) => {
        if (loadError !== null) return fail(loadError);
        assert(store !== undefined, 'a snapshot that was loaded is a store');
        this.#store = store;
        this.tokenTimes.onTable(store.auth);
        const failure = caught(() => this.#begin(resumed));
        if (failure !== null) return fail(failure);
        this.#onEnd = onEnd;
        const { snapshot, entries } = resumed;
        const tookMs = clock.now() - startedMs;
        observe({ kind: 'restored', snapshotIndex: snapshot.index, entries: entries.length, revision: store.revision, tookMs });
        if (this.#peers === null) return done(null);
        this.#peers.start((startError) => (startError === null ? done(null) : this.#giveUp(startError, done)));
      });
    });
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
    for (const entry of resumed.entries) {
      if (entry.kind === 'members') this.#membership.learn(decodeMembers(entry.data).context);
    }
    if (this.#store.isRemoved(config.id)) throw refusal('removed', config.id, config.id);
    if (this.#peers === null && this.#raft.status().configuration.voters.some((voter) => voter !== config.id)) {
      throw refusal('no_network', config.id, config.id);
    }
    this.#state = 'running';
    this.#reign.begin();
    this.desk.open();
    this.#membership.onChange();
    this.upkeep.begin();
    this.#scheduleTick();
    this.#give({ kind: 'tick' });
  }

  #handlers(): PeersHandlers {
    return {
      onMessages: (messages) => {
        this.#pulse.onMessages(messages);
        for (const message of messages) this.#inbox.push({ kind: 'receive', message });
        this.#wake();
      },
      onCall: (from, request, answer) => this.desk.onCall(from, request, answer),
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
      onRefused: (reason, by, isMember) => this.#leaving.onNotice(reason, by, isMember),
    };
  }

  #scheduleTick(): void {
    const intervalMs = this.#config.heartbeatMs;
    this.#tickDueMs = this.#doors.clock.now() + intervalMs;
    this.#cancelTick = this.#doors.clock.schedule(intervalMs, () => this.#onTick());
  }

  #onTick(): void {
    if (this.#state !== 'running') return;
    const lateMs = this.#doors.clock.now() - this.#tickDueMs;
    this.#doors.observe({ kind: 'beat', ...this.#pulse.onTick(lateMs) });
    this.#scheduleTick();
    this.desk.onTick();
    this.#membership.onTick(this.#reign.role.leader !== 0n);
    this.#leaving.onTick();
    if (lateMs > Math.max(stallMsMin, 2 * this.#config.heartbeatMs)) {
      this.#leases.onStall(lateMs);
      this.#doors.observe({ kind: 'stalled', lateMs });
    }
    else {
      this.#leases.onTick();
    }
    // A log that failed by itself is not appended to by a member that is far behind: it would never hear of it.
    const failure = this.#doors.log.failure ?? caught(() => void this.#store.tidy(tidyRowsPerTick));
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
    this.desk.takeInputs(inputs);
    const failure = caught(() => this.#act(raft.step(inputs)));
    if (failure !== null) return this.#end(failure);
    if (this.desk.hasInputs || raft.hasMoreToApply) this.#wake();
  }

  #act(output: Output): void {
    if (output.persist !== null) this.#persist(output.persist);
    this.#snapshots.onStep();
    if (output.send.length > 0) this.#peers?.send(output.send);
    for (const settled of output.settled) this.desk.onSettled(settled);
    if (output.role !== null) this.#onRole(output.role);
    if (output.restore !== null) this.#restore(output.restore);
    if (output.apply.length === 0) return;
    const beganMs = this.#doors.clock.now();
    const commands = output.apply.map((entry) => (entry.kind === 'command' ? decodeCommand(commandIn(entry.data)) : null));
    this.#foresee(commands);
    output.apply.forEach((entry, i) => this.#apply(entry, commands[i] ?? null));
    if (this.#doors.clock.now() - beganMs > slowApplyMs) this.totals.slowApplies += 1;
    this.desk.onCaughtUp();
    this.#snapshots.onApplied(output.apply);
    this.#snapshots.saveIfDue(this.#store);
  }

  #persist(batch: Persist): void {
    this.#snapshots.onPersist(batch);
    this.#doors.log.append(batch, (error) => {
      if (error !== null) return this.#end(error);
      this.#give({ kind: 'persisted', seq: batch.seq });
    });
  }

  #onRole(role: Role): void {
    if (this.#reign.onRole(role)) {
      this.#leases.end();
      this.#peers?.stopShipping(role.term);
    }
    this.desk.onRole(role);
    this.#pulse.onLeader(role.leader);
    this.#doors.observe({ kind: 'role', state: role.state, term: role.term, leader: role.leader });
    if (role.leader === 0n) return;
    this.#membership.announce();
    this.#wake();
  }

  #restore(meta: SnapshotMeta): void {
    this.#store = this.#snapshots.take(meta);
    this.tokenTimes.onTable(this.#store.auth);
    this.#leases.end();
    this.desk.onRestored(meta);
    this.hub.restored();
    this.#membership.onChange();
    this.desk.onMembers();
    this.#doors.observe({ kind: 'snapshot_installed', index: meta.index, revision: this.#store.revision });
  }

  #foresee(commands: readonly (Command | null)[]): void {
    if (!this.#store.isLarge) return;
    for (const command of commands) if (command !== null) this.#foresight.expectCommand(command);
    this.#store.look(this.#foresight, false);
  }

  #apply(entry: Entry, command: Command | null): void {
    const id = { term: entry.term, index: entry.index };
    if (entry.term > this.#store.applied.term) this.desk.onTerm(entry.term);
    if (command !== null) this.#applyCommand(id, entry.data, command);
    else if (entry.kind === 'members') this.#applyMembers(id, entry.data);
    else {
      this.#store.skip(id);
      this.desk.onApplied(id, entry.data, null);
    }
    const isOwn = this.#reign.isLeader && entry.term === this.#reign.role.term;
    if (isOwn && !this.#leases.lessor.isActive) this.#leases.begin();
  }

  #applyCommand(id: EntryId, data: Uint8Array, whole: Command): void {
    const applied = this.#store.apply(id, whole);
    const command = deedOf(whole);
    this.totals.onApplied(command, applied);
    this.#leases.onApplied(command, applied);
    if (applied.events !== null) this.hub.publish(applied.events);
    this.desk.onApplied(id, data, applied.reply);
    if (command.kind === 'member_update') this.#membership.onChange();
    const isLogin = command.kind === 'authenticate' && applied.reply.kind === 'auth';
    if (isLogin) this.tokenTimes.onToken(id.index, this.#store.auth);
  }

  #applyMembers(id: EntryId, data: Uint8Array): void {
    const { configuration, context } = decodeMembers(data);
    this.#store.applyMembers(id, configuration, context);
    this.#membership.onChange();
    this.desk.onApplied(id, data, null);
    this.desk.onMembers();
    this.#doors.observe({ kind: 'members', ...configuration });
  }

  #end(error: Error | null): void {
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    this.#cancelTick();
    this.upkeep.end();
    this.#leaving.cancel();
    this.#inbox = [];
    this.desk.close(new ApiError('stopped', error === null ? {} : { cause: error }));
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
}
