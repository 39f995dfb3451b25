// A simulated machine: a disk that stays and, on it, one life of a member after the other. Starting always goes through the
// real construction and the real recovery; dying takes whatever was in memory and leaves the disk as its model says.
//
// A machine decides nothing: what befalls it is faults.ts, what it may do is judged by the probe and by run.ts.

import type { Done } from '../../core/base/done.js';
import { readIdentity } from '../../core/log/identity-file.js';
import type { LogStorage } from '../../core/log/log-storage.js';
import { WalStorage } from '../../core/log/wal.js';
import type { NodeEvent } from '../../core/node/events.js';
import { Member, type MemberIdentity } from '../../core/node/member.js';
import type { Configuration, NodeId, Persist, Resumed, SnapshotMeta } from '../../core/raft/types.js';
import type { MemberRecord } from '../../core/store/members.js';
import { EventLoop } from './loop.js';
import { urlOf, type Network, type SimTransport } from './network.js';
import { DiskSession, isInjected, Platter } from './platter.js';
import type { Probe } from './probe.js';
import { Dice } from './random.js';
import type { Scheduler } from './scheduler.js';
import type { Swarm } from './swarm.js';
import { testSecrets } from '../model/secrets.js';

const DIRECTORY = '/data';

export type Death = 'process' | 'power' | 'wipe' | 'rollback' | 'swap' | 'stop';

/** How a member comes into being here. */
export interface Birth {
  readonly memberId: NodeId;
  /** Empty: it joins. */
  readonly founders: readonly MemberRecord[];
  readonly contacts: readonly MemberRecord[];
}

/** One process from its start to its end. */
export interface Life {
  readonly number: number;
  readonly loop: EventLoop;
  readonly session: DiskSession;
  readonly member: Member;
  /** Called once when it dies: client connections end. */
  readonly onDeath: Set<() => void>;
  readonly transports: SimTransport[];
  isUp: boolean;
  isStopping: boolean;
  startedAt: number;
}

/** What a machine needs of the world it stands in. */
export interface Surroundings {
  readonly swarm: Swarm;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly clusterId: bigint;
  readonly counts: { crashes: number; snapshotsInstalled: number };
  readonly probe: Probe | null;
  readonly knowledge: Map<number, { commit: number; last: number; configuration: Configuration }>;
  isStirred: boolean;
  nameOf(id: NodeId): string;
  tell(machine: Machine, what: string): void;
  covered(situation: string): void;
  fail(invariant: string, message: string, error?: unknown): void;
  onUp(machine: Machine, life: Life): void;
  onDown(machine: Machine, how: Death): void;
  onRemoval(machine: Machine, error: Error): void;
  onEvent(machine: Machine, event: NodeEvent): void;
}

export class Machine {
  readonly place: number;
  readonly name: string;
  readonly platter: Platter;
  memberId: NodeId = 0n;
  life: Life | null = null;
  lives = 0;
  /** How it dies that is killed at a door. */
  doorDeath: 'process' | 'power' = 'process';
  birth: Birth | null = null;
  /** Why it may not be started any more; an operator may replace it. */
  broken: string | null = null;
  /** Damage was done to its disk which it may refuse to start with. */
  isDamaged = false;
  /** Its disk was lost, and it was started under its old name: it must be refused (reliability E1). */
  isWiped = false;
  /** It has been told that it is no member any more. */
  isRemoved = false;
  readonly #world: Surroundings;
  #dice: Dice;

  constructor(world: Surroundings, place: number) {
    this.#world = world;
    this.place = place;
    this.name = `n${place + 1}`;
    this.#dice = new Dice(world.swarm.seed, 'machine', place);
    this.platter = new Platter(new Dice(world.swarm.seed, 'disk', place), world.swarm.disk);
  }

  get isUp(): boolean {
    return this.life?.isUp === true;
  }

  /** Takes every call: a learner refuses most. */
  get serves(): boolean {
    return this.life?.isUp === true && !this.life.member.node.isLearner;
  }

  get record(): MemberRecord {
    return {
      id: this.memberId, name: '', peerUrls: [urlOf(this.place)], clientUrls: [], isLearner: false, incarnation: 0n,
    };
  }

  start(): void {
    const world = this.#world;
    const { birth } = this;
    if (birth === null || this.life !== null || this.broken !== null) return;
    this.lives++;
    const { swarm, scheduler } = world;
    const drift = 1 + swarm.driftShare * (2 * new Dice(swarm.seed, 'drift', this.place).share() - 1);
    const profile = {
      rate: drift, originMs: 1e6 * (this.place + 1), stallChance: swarm.stallChance, stallMs: swarm.electionMs / 2,
    };
    const loop = new EventLoop(scheduler, this.place, new Dice(swarm.seed, 'loop', this.place * 4096 + this.lives), profile, {
      onIterated: () => this.#onIterated(life),
      onThrown: (error) => world.fail('A7', `${this.name} threw: ${describe(error)}`, error),
      onKilled: () => this.die(this.doorDeath),
    });
    this.platter.handOver();
    const session = new DiskSession(this.platter, loop, scheduler, this.place);
    const transports: SimTransport[] = [];
    const member = this.#construct(birth, loop, session, transports);
    const life: Life = {
      number: this.lives, loop, session, member, onDeath: new Set(), transports,
      isUp: false, isStopping: false, startedAt: scheduler.now,
    };
    this.life = life;
    world.tell(this, `starts as ${world.nameOf(birth.memberId)}, life ${this.lives}`);
    loop.arrive(() => {
      member.start(
        (error) => this.#onEnd(life, error),
        (error) => {
          if (error !== null) return this.#onEnd(life, error);
          this.memberId = member.identity.memberId;
          life.isUp = true;
          world.onUp(this, life);
        },
      );
    });
  }

  /** Asks it to end. */
  stop(): void {
    const { life } = this;
    if (life === null || !life.isUp || life.isStopping) return;
    life.isStopping = true;
    this.#world.tell(this, 'is asked to stop');
    life.loop.arrive(() => life.member.stop(() => undefined));
  }

  die(how: Death): void {
    const { life } = this;
    const world = this.#world;
    if (life === null) {
      if (how === 'power') this.platter.powerCut();
      return;
    }
    this.life = null;
    life.isUp = false;
    life.loop.die();
    life.session.abandon();
    for (const transport of life.transports) transport.drop();
    if (how === 'power') this.platter.powerCut();
    if (how === 'wipe') this.platter.wipe();
    world.counts.crashes++;
    world.tell(this, how === 'stop' ? 'has stopped' : `dies (${how})`);
    world.probe?.memberDied(this.memberId, how === 'rollback' || how === 'swap' ? 'wipe' : how);
    const ends = [...life.onDeath];
    life.onDeath.clear();
    world.isStirred = true;
    for (const end of ends) end();
    world.onDown(this, how);
  }

  #construct(birth: Birth, loop: EventLoop, session: DiskSession, transports: SimTransport[]): Member {
    const { swarm, network, clusterId } = this.#world;
    const config = {
      identity: { clusterId, memberId: birth.memberId, incarnation: this.#dice.id63() },
      founders: birth.founders,
      contacts: birth.contacts,
      name: this.name,
      clientUrls: [`http://place-${this.place}:2379`],
      heartbeatMs: swarm.heartbeatMs,
      electionMs: swarm.electionMs,
      snapshotCount: swarm.snapshotCount,
      limits: swarm.limits,
      strictReconfig: true,
      forceNewCluster: false,
      version: '3.4.0',
      seed: this.#dice.u32(),
    };
    return new Member(config, {
      clock: loop,
      observe: (event) => this.#onEvent(event),
      secrets: testSecrets(loop, config.seed),
      readIdentity: (done) => readIdentity(session, DIRECTORY, done),
      openLog: (identity) => this.#openLog(identity, loop, session),
      connect: (identity) => {
        const transport = network.transport(this.place, identity.memberId, loop);
        transports.push(transport);
        return transport;
      },
    });
  }

  #openLog(identity: MemberIdentity, loop: EventLoop, session: DiskSession): LogStorage {
    const { segmentBytes, reserveBytes } = this.#world.swarm;
    const log = new WalStorage({
      files: session, clock: loop, directory: DIRECTORY, identity, segmentBytes, reserveBytes,
      observe: (event) => this.#onEvent(event),
    });
    const { probe } = this.#world;
    if (probe === null) return log;
    return watched(log, probe, {
      id: identity.memberId, life: this.lives,
      unsyncedBytes: () => this.platter.unsyncedBytes('.wal'),
      onInstalled: (meta) => {
        this.#world.counts.snapshotsInstalled++;
        this.#world.covered('a snapshot of another member is installed');
        probe.snapshotInstalled(identity.memberId, meta);
      },
    });
  }

  #onIterated(life: Life): void {
    // Whoever asked it something may have been answered.
    if (life.onDeath.size > 0) this.#world.isStirred = true;
    if (this.life !== life || !life.isUp) return;
    const { probe, knowledge } = this.#world;
    const { node } = life.member;
    if (!node.running) return;
    const status = node.status();
    knowledge.set(this.place, status);
    probe?.turned(this.memberId, status, node.store.applied, node.store);
  }

  #onEvent(event: NodeEvent): void {
    if (this.isWiped && event.kind === 'role' && event.state === 'leader') {
      this.#world.fail('E1', `${this.name} lost its disk and leads under its old name`);
    }
    this.#world.onEvent(this, event);
  }

  #onEnd(life: Life, error: Error | null): void {
    if (this.life !== life) return;
    const world = this.#world;
    if (error !== null) {
      world.tell(this, `ends: ${error.message}`);
      if (isRemoval(error)) {
        this.isRemoved = true;
        this.broken = 'removed';
        world.onRemoval(this, error);
      } else if (this.isDamaged) {
        this.broken = 'damaged';
        world.covered('a member refuses to start with a damaged disk');
      } else if (!isInjected(error) && !life.isStopping) {
        world.fail('I15', `${this.name} ended by itself: ${error.message}`, error);
      }
    }
    world.scheduler.after(0, 1, this.place, () => {
      if (this.life === life) this.die('stop');
    });
  }
}

/** Gives the probe what passes between a node and its disk. */
function watched(
  log: WalStorage, probe: Probe,
  member: { id: NodeId; life: number; unsyncedBytes: () => number; onInstalled: (meta: SnapshotMeta) => void },
): LogStorage {
  const { id } = member;
  return {
    get failure() {
      return log.failure;
    },
    open(done: Done<Resumed>): void {
      log.open((error, resumed) => {
        if (error === null && resumed !== undefined) probe.memberStarted(id, member.life, resumed);
        done(error, resumed);
      });
    },
    append(batch: Persist, done: Done): void {
      probe.batchGiven(id, batch);
      log.append(batch, (error) => {
        if (error === null) {
          probe.batchDurable(id, batch, member.unsyncedBytes());
          if (batch.snapshot !== null) member.onInstalled(batch.snapshot);
        }
        done(error);
      });
    },
    saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>, done: Done): void {
      log.saveSnapshot(meta, chunks, (error) => {
        if (error === null) probe.snapshotSaved(id, meta);
        done(error);
      });
    },
    readSnapshot: (meta, each, done) => log.readSnapshot(meta, each, done),
    openSnapshot: (done) => log.openSnapshot(done),
    stageSnapshot: (meta, done) => log.stageSnapshot(meta, done),
    compact(through: number, done: Done): void {
      probe.compacting(id, through);
      log.compact(through, done);
    },
    close: (done) => log.close(done),
  };
}

/** It was removed, or its data directory is not the one its members know. */
export function isRemoval(error: Error): boolean {
  return /removed|incarnation|lost its disk|no member/i.test(error.message);
}

export function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
