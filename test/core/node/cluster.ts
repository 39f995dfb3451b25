// Members in one process, on one simulated clock, one network and logs in memory: for tests of what the driver does with
// others. A kill takes a member's clock and network away at once, as the end of its process would; its log stays.

import type { Clock } from '../../../core/base/clock.js';
import { whenDone } from '../../../core/base/done.js';
import type { TokenSigner } from '../../../core/base/jwt.js';
import type { Backend } from '../../../core/client.js';
import { MemoryLogStorage } from '../../../core/log/memory-log-storage.js';
import type { NodeEvent } from '../../../core/node/events.js';
import { defaultLimits, type NodeLimits } from '../../../core/node/limits.js';
import { Member, type MemberConfig } from '../../../core/node/member.js';
import { NO_UPKEEP, type UpkeepSettings } from '../../../core/node/upkeep.js';
import type { Resumed } from '../../../core/raft/types.js';
import type { MemberRecord } from '../../../core/store/members.js';
import { SimClock } from '../../sim/clock.js';
import { Switchboard } from '../peer/memory-transport.js';
import { testSecrets } from '../../model/secrets.js';

export interface ClusterOptions {
  readonly size?: number;
  readonly snapshotCount?: number;
  readonly limits?: Partial<NodeLimits>;
  readonly strictReconfig?: boolean;
  readonly upkeep?: UpkeepSettings;
  readonly signer?: TokenSigner;
}

export const CLUSTER_ID = 0xc1n;
export const ELECTION_MS = 1000;
/** Members are changed only where all have been connected for five seconds. */
export const HEALTHY_MS = 5500;

/** A clock that dies with its process. */
class LifeClock implements Clock {
  isAlive = true;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  schedule(delayMs: number, run: () => void): () => void {
    return this.#clock.schedule(delayMs, () => {
      if (this.isAlive) run();
    });
  }
}

interface StartOptions {
  /** It joins the cluster of these. */
  readonly contacts?: readonly MemberRecord[];
  readonly isReady?: boolean;
  readonly force?: boolean;
}

interface Life {
  readonly member: Member;
  readonly clock: LifeClock;
  readonly close: () => void;
}

export class Cluster {
  readonly clock = new SimClock();
  readonly board = new Switchboard(this.clock);
  readonly events: { readonly id: bigint; readonly event: NodeEvent }[] = [];
  readonly ends = new Map<bigint, Error | null>();
  readonly #options: ClusterOptions;
  readonly #logs = new Map<bigint, MemoryLogStorage>();
  readonly #lives = new Map<bigint, Life>();
  readonly #founders: readonly MemberRecord[];
  #seed = 1;

  constructor(options: ClusterOptions = {}) {
    this.#options = options;
    this.board.delayMs = 1;
    this.#founders = Array.from({ length: options.size ?? 3 }, (_, i) => record(BigInt(i + 1)));
  }

  /** Starts all founders and waits until each is ready. */
  static async running(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(options);
    for (const { id } of cluster.#founders) await cluster.start(id, { isReady: false });
    for (const { id } of cluster.#founders) await cluster.ready(id);
    return cluster;
  }

  /** Running for so long that the strict check lets members be changed. */
  static async healthy(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = await Cluster.running(options);
    await cluster.clock.advance(HEALTHY_MS);
    return cluster;
  }

  get ids(): readonly bigint[] {
    return [...this.#lives.keys()];
  }

  async start(id: bigint, options: StartOptions = {}): Promise<void> {
    const clock = new LifeClock(this.clock);
    const log = this.#logs.get(id) ?? new MemoryLogStorage(this.clock);
    this.#logs.set(id, log);
    const config: MemberConfig = {
      identity: { clusterId: CLUSTER_ID, memberId: id, incarnation: 1000n + id },
      founders: options.contacts === undefined ? this.#founders : [],
      contacts: options.contacts ?? [],
      name: `m${id}`,
      clientUrls: [`http://m${id}:2379`],
      heartbeatMs: 100,
      electionMs: ELECTION_MS,
      snapshotCount: this.#options.snapshotCount ?? 100_000,
      limits: { ...defaultLimits, ...this.#options.limits },
      strictReconfig: this.#options.strictReconfig ?? true,
      upkeep: this.#options.upkeep ?? NO_UPKEEP,
      forceNewCluster: options.force ?? false,
      version: '3.5.0',
      seed: (this.#seed += 7919),
    };
    const transport = this.board.transport(id);
    const member: Member = new Member(config, {
      clock,
      observe: (event) => void this.events.push({ id, event }),
      secrets: testSecrets(clock, config.seed),
      ...(this.#options.signer === undefined ? {} : { signer: this.#options.signer }),
      readIdentity: (done) => clock.schedule(0, () => done(null, null)),
      openLog: () => log,
      connect: () => transport,
    });
    const close = (): void => {
      transport.close(() => undefined);
      log.close(() => undefined);
    };
    this.#lives.set(id, { member, clock, close });
    await this.until(whenDone<void>((done) => member.start((error) => void this.ends.set(id, error), done)));
    if (options.isReady !== false) await this.ready(id);
  }

  ready(id: bigint): Promise<void> {
    return this.until(whenDone<void>((done) => this.member(id).whenReady(done)));
  }

  member(id: bigint): Member {
    const life = this.#lives.get(id);
    if (life === undefined) throw new Error(`member ${id} is not alive`);
    return life.member;
  }

  client(id: bigint): Backend {
    return this.member(id).client;
  }

  kill(id: bigint): void {
    const life = this.#lives.get(id);
    if (life === undefined) return;
    life.clock.isAlive = false;
    life.close();
    this.#lives.delete(id);
  }

  /** The log of a dead member loses its last entries, and what was written with them. */
  async setBack(id: bigint, count: number): Promise<void> {
    const log = this.#logs.get(id);
    if (log === undefined) throw new Error(`member ${id} has no log`);
    const { hard, snapshot, entries } = await this.until(whenDone<Resumed>((done) => log.open(done)));
    if (snapshot.index > 0) throw new Error(`the log of member ${id} begins with a snapshot`);
    const kept = entries.slice(0, -count);
    const earlier = new MemoryLogStorage(this.clock);
    await this.until(whenDone<Resumed>((done) => earlier.open(done)));
    const commit = Math.min(hard.commit, kept.at(-1)?.index ?? 0);
    const batch = { seq: 0, hard: { ...hard, commit }, truncateAfter: null, snapshot: null, entries: kept };
    await this.until(whenDone<void>((done) => earlier.append(batch, done)));
    await this.until(whenDone<void>((done) => earlier.close(done)));
    this.#logs.set(id, earlier);
  }

  async stop(id: bigint): Promise<void> {
    const member = this.member(id);
    await this.until(whenDone<void>((done) => member.stop(done)));
    this.#lives.delete(id);
  }

  async stopAll(): Promise<void> {
    for (const id of this.ids) this.kill(id);
    await this.clock.settle();
  }

  /** The leader that a majority of the living agrees on; waits for it. */
  async leader(except: bigint = 0n): Promise<bigint> {
    for (let i = 0; i < 1000; i++) {
      for (const id of this.ids) {
        const { state } = this.member(id).node.role;
        const followers = this.ids.filter((each) => this.member(each).node.role.leader === id);
        if (id !== except && state === 'leader' && followers.length * 2 > this.ids.length) return id;
      }
      await this.clock.advance(50);
    }
    throw new Error('no leader was found');
  }

  async follower(): Promise<bigint> {
    const leader = await this.leader();
    const id = this.ids.find((each) => each !== leader);
    if (id === undefined) throw new Error('there is no follower');
    return id;
  }

  until<T>(work: Promise<T>): Promise<T> {
    return this.clock.until(work);
  }

  /** Waits until the living have applied the same. */
  async level(): Promise<void> {
    for (let i = 0; i < 400; i++) {
      const applied = new Set(this.ids.map((id) => this.member(id).node.store.applied.index));
      if (applied.size === 1) return;
      await this.clock.advance(50);
    }
    throw new Error('the members did not become level');
  }
}

export function record(id: bigint): MemberRecord {
  return { id, name: '', peerUrls: [`http://m${id}:2380`], clientUrls: [], isLearner: false, incarnation: 0n };
}
