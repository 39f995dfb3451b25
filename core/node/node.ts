// The driver: the one place that knows the machine, the store and the doors. It decides nothing; it keeps the order.
//
//   inbox -> Raft.step -> persist, apply, settle -> callers and watchers
//
// A turn is taken whenever the inbox is not empty: everything that arrived since the last turn goes into one step, so
// batching and group commit fall out of the shape. Any error of the disk, and any failed assertion, stops the node for
// good: it must not guess what is on disk, nor go on with a state it does not understand.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import { ApiError } from '../errors.js';
import type { LogStorage } from '../log/log-storage.js';
import { Raft } from '../raft/raft.js';
import type { Entry, Input, NodeId, Output, Persist, Resumed, Role, SnapshotMeta, Status } from '../raft/types.js';
import { decodeCommand, encodeCommand, type Command } from '../store/command.js';
import { Hub } from '../store/hub.js';
import { Store, type Applied, type Reply } from '../store/store.js';
import type { Observe } from './events.js';
import { Lessor } from './lessor.js';
import { tidyRowsPerTick, type NodeLimits } from './limits.js';
import { Pending } from './pending.js';

export interface NodeConfig {
  readonly id: NodeId;
  readonly voters: readonly NodeId[];
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** A snapshot is taken once this many entries were applied since the last, and the log has grown enough to be worth it. */
  readonly snapshotCount: number;
  readonly seed: number;
  readonly limits: NodeLimits;
}

export interface NodeDoors {
  readonly clock: Clock;
  readonly log: LogStorage;
  readonly observe: Observe;
}

type Call = Extract<Input, { kind: 'propose' | 'read' }>;
type State = 'new' | 'running' | 'stopping' | 'stopped';

export class Node {
  readonly hub: Hub;
  readonly lessor = new Lessor();
  readonly #config: NodeConfig;
  readonly #doors: NodeDoors;
  readonly #pending = new Pending();
  #store = new Store();
  #raft: Raft | null = null;
  #state: State = 'new';
  #inbox: Input[] = [];
  /** Callers' inputs. They are given to the machine only while a leader is known; until then they wait, as in etcd. */
  #calls: Call[] = [];
  #turnScheduled = false;
  #readCallers: Done[] = [];
  #role: Role = { state: 'follower', term: 0, leader: 0n };
  #cancelTick: () => void = () => undefined;
  #tickDueMs = 0;
  #onEnd: ((error: Error | null) => void) | null = null;
  #stopDone: Done | null = null;

  #snapshotRunning = false;
  #snapshotIndex = 0;
  #snapshotBytes = 0;
  #logBytes = 0;

  constructor(config: NodeConfig, doors: NodeDoors) {
    this.#config = config;
    this.#doors = doors;
    this.hub = new Hub(() => this.#store, {
      bufferBytesMax: config.limits.watchBufferBytesMax,
      catchUpRevisionsMax: config.limits.watchCatchUpRevisionsMax,
    });
  }

  /** What the node has applied. Readers must not keep it across turns: a restore replaces it. */
  get store(): Store {
    return this.#store;
  }

  get role(): Role {
    return this.#role;
  }

  get running(): boolean {
    return this.#state === 'running';
  }

  get proposalsPending(): number {
    return this.#pending.proposals;
  }

  status(): Status {
    assert(this.#raft !== null, 'status of a node that was not started');
    return this.#raft.status();
  }

  /**
   * Reads the log, rebuilds the store, begins to take part. Done when it runs, which is before it has a leader; an error
   * means it never ran, and the log has been closed. `onEnd` is called once when it stops later on, with null if that was
   * asked for.
   */
  start(onEnd: (error: Error | null) => void, done: Done): void {
    assert(this.#state === 'new', 'a node starts once');
    const startedMs = this.#doors.clock.now();
    this.#doors.log.open((error, resumed) => {
      if (error !== null) return done(error);
      assert(resumed !== undefined, 'an opened log has contents');
      this.#restore(resumed.snapshot, (restoreError) => {
        const failure = restoreError ?? caught(() => this.#begin(resumed));
        if (failure !== null) {
          this.#state = 'stopped';
          return this.#doors.log.close(() => done(failure));
        }
        this.#onEnd = onEnd;
        this.#doors.observe({
          kind: 'restored',
          snapshotIndex: resumed.snapshot.index,
          entries: resumed.entries.length,
          revision: this.#store.revision,
          tookMs: this.#doors.clock.now() - startedMs,
        });
        done(null);
      });
    });
  }

  /** Proposes a command. Done with the store's reply once it is committed, durable and applied; or an ApiError. */
  propose(command: Command, done: Done<Reply>): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    const data = encodeCommand(command);
    const limits = this.#config.limits;
    if (data.length > limits.requestBytesMax) return this.#refuse(done, new ApiError('request_too_large'));
    if (this.#pending.proposals >= limits.proposalsMax || this.#pending.sizeBytes + data.length > limits.proposalBytesMax) {
      return this.#refuse(done, new ApiError('too_many_requests'));
    }
    this.#submit(data, done);
  }

  /** Done when the store holds everything acknowledged before this call (linearizable read, thesis 6.4). */
  read(done: Done): void {
    if (this.#state !== 'running') return this.#refuse(done, new ApiError('stopped'));
    if (this.#readCallers.length + this.#pending.readers >= this.#config.limits.proposalsMax) {
      return this.#refuse(done, new ApiError('too_many_requests'));
    }
    this.#readCallers.push(done);
    this.#wake();
  }

  /** Stops taking part; done when the log is closed. Waiting callers are told `stopped`. */
  stop(done: Done): void {
    if (this.#state === 'stopped' || this.#state === 'new') {
      this.#doors.clock.schedule(0, () => done(null));
      return;
    }
    assert(this.#stopDone === null, 'a node is stopped once');
    this.#stopDone = done;
    this.#end(null);
  }

  #submit(data: Uint8Array, done: Done<Reply>): void {
    const token = this.#pending.addProposal(data.length, this.#deadlineMs(), done);
    this.#calls.push({ kind: 'propose', token, data });
    this.#wake();
  }

  #begin(resumed: Resumed): void {
    const config = this.#config;
    this.#raft = new Raft(
      {
        id: config.id,
        voters: config.voters,
        electionTicks: Math.max(3, Math.round(config.electionMs / config.heartbeatMs)),
        heartbeatTicks: 1,
        seed: config.seed,
        appendBytesMax: 1024 * 1024,
        uncommittedMax: 2 * config.limits.proposalsMax,
      },
      founded(resumed),
    );
    this.#snapshotIndex = resumed.snapshot.index;
    for (const entry of resumed.entries) this.#logBytes += entry.data.length;
    this.#state = 'running';
    this.#scheduleTick();
    this.#inbox.push({ kind: 'tick' });
    this.#wake();
  }

  #restore(snapshot: SnapshotMeta, done: Done): void {
    if (snapshot.index === 0) return done(null);
    const loader = Store.load();
    let failure: Error | null = null;
    this.#doors.log.readSnapshot(
      snapshot,
      (chunk) => {
        this.#snapshotBytes += chunk.length;
        failure ??= caught(() => loader.push(chunk));
      },
      (error) => {
        if (error !== null) return done(error);
        failure ??= caught(() => {
          this.#store = loader.finish();
        });
        if (failure === null) return done(null);
        const problem = `the snapshot at index ${snapshot.index} cannot be loaded: ${reasonOf(failure)}`;
        const remedy = 'Start the release that wrote it, or restore the data directory from a backup';
        done(new Error(`${problem}. ${remedy}`, { cause: failure }));
      },
    );
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
    this.#pending.expire(now);
    // Without a leader nobody takes the calls: those that nobody waits for any more must not pile up.
    if (this.#role.leader === 0n) this.#calls = this.#calls.filter((call) => this.#pending.isWanted(call.token));
    if (lateMs > Math.max(100, 2 * this.#config.heartbeatMs)) {
      // Renewals may lie unread in the sockets: nothing expires on the strength of this time. The next tick comes after
      // they have been read.
      this.lessor.onStall(lateMs);
      this.#doors.observe({ kind: 'stalled', lateMs });
    } else {
      this.#expireLeases(now);
    }
    const failure = caught(() => void this.#store.tidy(tidyRowsPerTick));
    if (failure !== null) return this.#end(failure);
    this.#inbox.push({ kind: 'tick' });
    this.#wake();
  }

  #expireLeases(nowMs: number): void {
    if (this.#role.state !== 'leader') return;
    for (const id of this.lessor.expired(nowMs)) {
      // Not held to the callers' limits: they could keep the node so busy that no lease ever ends.
      this.#submit(encodeCommand({ kind: 'lease_revoke', id, term: this.#role.term }), (error, reply) => {
        if (error === null && reply?.kind === 'lease_revoke') this.#doors.observe({ kind: 'lease_expired', id });
        else this.lessor.onRevokeFailed(id);
      });
    }
  }

  #wake(): void {
    if (this.#turnScheduled || this.#state !== 'running') return;
    this.#turnScheduled = true;
    this.#doors.clock.schedule(0, () => this.#turn());
  }

  #turn(): void {
    this.#turnScheduled = false;
    if (this.#state !== 'running' || this.#raft === null) return;
    const inputs = this.#inbox;
    this.#inbox = [];
    if (this.#readCallers.length > 0) {
      const token = this.#pending.addRead(this.#readCallers, this.#deadlineMs());
      this.#readCallers = [];
      this.#calls.push({ kind: 'read', token });
    }
    if (this.#role.leader !== 0n && this.#calls.length > 0) {
      for (const call of this.#calls) inputs.push(call);
      this.#calls = [];
    }
    const raft = this.#raft;
    const failure = caught(() => this.#act(raft.step(inputs)));
    if (failure !== null) this.#end(failure);
  }

  #act(output: Output): void {
    assert(output.send.length === 0, 'a single member has nobody to write to');
    assert(output.restore === null, 'a single member gets no snapshot from others');
    if (output.persist !== null) this.#persist(output.persist);
    for (const settled of output.settled) {
      if (settled.kind === 'appended') this.#pending.onAppended(settled.token, settled.id);
      else if (settled.kind === 'refused') this.#pending.onRefused(settled.token, settled.reason);
      else this.#pending.onReadable(settled.token, settled.index, this.#store.applied.index);
    }
    if (output.role !== null) this.#onRole(output.role);
    for (const entry of output.apply) this.#apply(entry);
    if (output.apply.length > 0) {
      this.#pending.onCaughtUp(this.#store.applied.index);
      this.#snapshotIfDue();
    }
  }

  #persist(batch: Persist): void {
    for (const entry of batch.entries) this.#logBytes += entry.data.length;
    this.#doors.log.append(batch, (error) => {
      if (error !== null) return this.#end(error);
      this.#inbox.push({ kind: 'persisted', seq: batch.seq });
      this.#wake();
    });
  }

  #onRole(role: Role): void {
    const wasLeader = this.#role.state === 'leader';
    this.#role = role;
    if (role.state !== 'leader' && wasLeader) this.lessor.deactivate();
    this.#doors.observe({ kind: 'role', state: role.state, term: role.term, leader: role.leader });
    if (role.leader !== 0n) this.#wake();
  }

  #apply(entry: Entry): void {
    const id = { term: entry.term, index: entry.index };
    if (entry.kind !== 'command') {
      this.#store.skip(id);
      this.#pending.onApplied(id, null);
      // The leader's first own entry: everything before it is applied, so the lease table is complete.
      if (entry.term === this.#role.term && this.#role.state === 'leader') this.#beginLeases();
      return;
    }
    const command = decodeCommand(entry.data);
    const applied = this.#store.apply(id, command);
    this.#followLeases(command, applied);
    if (applied.events !== null) this.hub.publish(applied.events);
    this.#pending.onApplied(id, applied.reply);
  }

  #beginLeases(): void {
    this.lessor.activate(this.#store.leases(), this.#doors.clock.now(), this.#config.electionMs);
  }

  #followLeases(command: Command, applied: Applied): void {
    const reply = applied.reply;
    if (reply.kind === 'lease_grant') this.lessor.onGranted(reply.id, reply.ttlSeconds, this.#doors.clock.now());
    else if (reply.kind === 'lease_revoke') this.lessor.onRevoked(reply.id);
    else if (command.kind === 'lease_revoke' && reply.kind === 'error' && reply.code === 'lease_not_found') {
      this.lessor.onRevoked(command.id);
    }
  }

  #snapshotIfDue(): void {
    const applied = this.#store.applied;
    const { snapshotCount, limits } = this.#config;
    const worthIt = applied.index - this.#snapshotIndex >= snapshotCount && this.#logBytes * 2 >= this.#snapshotBytes;
    if (this.#snapshotRunning || !(worthIt || this.#logBytes >= limits.logBytesMax)) return;
    assert(this.#raft !== null, 'a running node has a machine');
    const meta: SnapshotMeta = { ...applied, configuration: this.#raft.status().configuration };
    const frozen = this.#store.freeze();
    const counted = new CountedChunks(frozen.chunks());
    this.#snapshotRunning = true;
    this.#logBytes = 0;
    this.#doors.log.saveSnapshot(meta, counted, (error) => {
      frozen.release();
      if (error !== null) return this.#end(error);
      this.#snapshotRunning = false;
      this.#snapshotIndex = meta.index;
      this.#snapshotBytes = counted.sizeBytes;
      this.#inbox.push({ kind: 'snapshotted', snapshot: meta });
      this.#wake();
      this.#doors.log.compact(meta.index, (compactError) => {
        if (compactError !== null) this.#end(compactError);
      });
    });
  }

  #end(error: Error | null): void {
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    this.#cancelTick();
    this.#inbox = [];
    this.#calls = [];
    const stopped = new ApiError('stopped', error === null ? {} : { cause: error });
    for (const done of this.#readCallers) this.#refuse(done, stopped);
    this.#readCallers = [];
    this.#pending.failAll(stopped);
    this.lessor.deactivate();
    this.#doors.log.close((closeError) => {
      this.#state = 'stopped';
      const cause = error ?? closeError;
      this.#doors.observe({ kind: 'stopped', error: cause });
      this.#stopDone?.(closeError);
      this.#onEnd?.(cause);
    });
  }

  #deadlineMs(): number {
    // etcd's allowance for a request: 5 s and two election time-outs (contract 1.4).
    return this.#doors.clock.now() + 5000 + 2 * this.#config.electionMs;
  }

  #refuse(done: (error: Error) => void, error: ApiError): void {
    this.#doors.clock.schedule(0, () => done(error));
  }
}

/** Founding the cluster counts as term 1, which never had a leader; so a first leader has term 2, as etcd's clients see it. */
function founded(resumed: Resumed): Resumed {
  return resumed.hard.term > 0 ? resumed : { ...resumed, hard: { ...resumed.hard, term: 1 } };
}

function caught(work: () => void): Error | null {
  try {
    work();
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The first reason of all, which says most. */
function reasonOf(error: Error): string {
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message;
}

/** Passes chunks through and counts their bytes. */
class CountedChunks implements Iterable<Uint8Array> {
  sizeBytes = 0;
  readonly #chunks: Iterable<Uint8Array>;

  constructor(chunks: Iterable<Uint8Array>) {
    this.#chunks = chunks;
  }

  *[Symbol.iterator](): Iterator<Uint8Array> {
    for (const chunk of this.#chunks) {
      this.sizeBytes += chunk.length;
      yield chunk;
    }
  }
}
