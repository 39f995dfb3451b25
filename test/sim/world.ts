// One seed's world: machines, network and clients on one scheduler, and everything that is noted about them. It holds
// together and decides nothing: chance is in swarm.ts, faults.ts and workload.ts, the course of a run and the verdict in run.ts.

import type { Clock } from '../../core/base/clock.js';
import type { NodeEvent } from '../../core/node/events.js';
import type { Configuration, NodeId } from '../../core/raft/types.js';
import type { MemberRecord } from '../../core/store/members.js';
import { describe, Machine, type Death, type Life } from './machine.js';
import { Network } from './network.js';
import { InvariantBroken, type Probe } from './probe.js';
import { Dice } from './random.js';
import { Recorder } from './recorder.js';
import { Kind, Scheduler } from './scheduler.js';
import type { Swarm } from './swarm.js';

export interface Violation {
  readonly invariant: string;
  readonly message: string;
}

export interface WorldCounts {
  crashes: number;
  elections: number;
  snapshotsSaved: number;
  snapshotsInstalled: number;
  leasesExpired: number;
  stalls: number;
  repairs: number;
  faults: number;
  clientStalls: number;
  /** Times something was done with an outdated lock that no fence protected (I34): reported, not judged. */
  overlaps: number;
  /** Times a fence refused that. */
  fencedOff: number;
  /** Locks, offices and permits that were held, and deliveries of items. */
  held: number;
  delivered: number;
}

/** Lines of trace that are kept; only the tail is ever printed. */
const TRACE_MAX = 400;
const LETTERS = Object.freeze({ leader: 'L', candidate: 'c', follower: 'f' });
/** The least that time moves on. */
const GRAIN_MS = 0.0001;
/** Promises that wait for nothing else are settled by so many rounds. */
const SETTLING_ROUNDS = 16;

export class World {
  readonly swarm: Swarm;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly machines: Machine[] = [];
  readonly recorder = new Recorder();
  readonly clusterId: bigint;
  readonly counts: WorldCounts = {
    crashes: 0, elections: 0, snapshotsSaved: 0, snapshotsInstalled: 0, leasesExpired: 0, stalls: 0, repairs: 0, faults: 0,
    clientStalls: 0, overlaps: 0, fencedOff: 0, held: 0, delivered: 0,
  };
  readonly coverage = new Map<string, number>();
  /** A promise may have been settled since promises were last let run. */
  isStirred = true;
  /** Client calls not answered yet. */
  openCalls = 0;
  readonly openWatches = new Set<{ readonly machine: Machine; close(): void; quiet(revision: number): void }>();
  probe: Probe | null = null;
  violation: Violation | null = null;
  /** Clients begin nothing new. */
  isClosing = false;
  /** Machines that die are started again. */
  restarts = true;
  /** Where clients go; null: anywhere. */
  serving: readonly Machine[] | null = null;
  /** What each machine was last seen to know of who votes. */
  readonly knowledge = new Map<number, { commit: number; last: number; configuration: Configuration }>();
  trace: string[] = [];
  traceLive: ((line: string) => void) | null = null;
  readonly #tasks: string[] = [];
  readonly #names = new Map<NodeId, string>();
  readonly #restartDice: Dice;

  constructor(swarm: Swarm) {
    this.swarm = swarm;
    this.scheduler = new Scheduler(swarm.seed);
    this.network = new Network(this.scheduler, swarm.seed, swarm.network);
    const dice = new Dice(swarm.seed, 'ids');
    this.clusterId = dice.id63();
    this.#restartDice = new Dice(swarm.seed, 'restarts');
    for (let place = 0; place < swarm.members + swarm.spares; place++) this.machines.push(new Machine(this, place));
    for (const machine of this.machines.slice(0, swarm.members)) machine.memberId = dice.id63();
    const founders = this.founders();
    for (const machine of this.machines.slice(0, swarm.members)) {
      this.#names.set(machine.memberId, machine.name);
      machine.birth = { memberId: machine.memberId, founders, contacts: [] };
    }
  }

  get tasks(): number {
    return this.#tasks.length;
  }

  /** Who has not ended, for a person. */
  get taskNames(): string {
    return this.#tasks.slice(0, 20).join(' ');
  }

  founders(): MemberRecord[] {
    return this.machines.slice(0, this.swarm.members).map((machine) => machine.record)
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  nameOf(id: NodeId): string {
    return this.#names.get(id) ?? id.toString(16).slice(0, 6);
  }

  /** A member id of its own for a machine that was another member before. */
  rename(id: NodeId, name: string): void {
    this.#names.set(id, name);
  }

  /** Configurations that may be in force: the newest committed one, and any that somebody has beyond it. */
  configurations(): readonly Configuration[] {
    const all = [...this.knowledge.values()];
    const commit = Math.max(0, ...all.map((known) => known.commit));
    return all.filter((known) => known.commit === commit || known.last > commit).map(({ configuration }) => configuration);
  }

  leader(): Machine | null {
    let best: Machine | null = null;
    let term = -1;
    for (const machine of this.machines) {
      const role = machine.isUp ? machine.life?.member.node.role : undefined;
      if (role?.state === 'leader' && role.term > term) [best, term] = [machine, role.term];
    }
    return best;
  }

  /** Runs until `time`, or until something is broken. */
  async runUntil(time: number, isDone: () => boolean = () => false): Promise<void> {
    const { scheduler } = this;
    this.isStirred = true;
    while (this.violation === null && !isDone() && scheduler.step(time)) {
      if (!this.isStirred) continue;
      // Whoever waits for what this event did goes on now, and not at a moment of the engine's choosing.
      this.isStirred = false;
      await settled();
    }
    if (this.violation === null && !isDone() && scheduler.now < time) scheduler.now = time;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.scheduler.after(ms, Kind.client, 255, () => {
        this.isStirred = true;
        resolve();
      });
    });
  }

  /** Runs a client. Its end is waited for; what it throws is a failure of the product or of the test. */
  task(name: string, work: () => Promise<void>): void {
    this.#tasks.push(name);
    const ended = (): void => void this.#tasks.splice(this.#tasks.indexOf(name), 1);
    work().then(ended, (error: unknown) => {
      ended();
      this.fail('client', `${name} failed: ${describe(error)}`, error);
    });
  }

  /** A clock of a client's process: true, and never late. */
  readonly clientClock: Clock = {
    now: () => this.scheduler.now,
    schedule: (delayMs, run) => {
      // Rounding must not make it early: what is due in less than the grain of time would be asked for again, for ever.
      const happening = this.scheduler.after(delayMs <= 0 ? 0 : delayMs + GRAIN_MS, Kind.client, 254, () => {
        this.isStirred = true;
        run();
      });
      return () => {
        happening.canceled = true;
      };
    },
  };

  /** What a probe throws is a broken invariant, and must not be caught by the member it watches. */
  judging(look: () => void): void {
    if (this.violation !== null) return;
    try {
      look();
    } catch (error) {
      if (error instanceof InvariantBroken) this.fail(error.invariant, error.message);
      else this.fail('oracle', describe(error), error);
    }
  }

  setProbe(probe: Probe): void {
    const judging = <A extends unknown[]>(call: (...args: A) => void) => (...args: A): void => this.judging(() => call(...args));
    this.probe = {
      memberStarted: judging((id, life, resumed) => probe.memberStarted(id, life, resumed)),
      memberDied: judging((id, how) => probe.memberDied(id, how)),
      batchGiven: judging((id, batch) => probe.batchGiven(id, batch)),
      batchDurable: judging((id, batch, unsyncedBytes) => probe.batchDurable(id, batch, unsyncedBytes)),
      sent: judging((id, message) => probe.sent(id, message)),
      turned: judging((id, status, applied, store) => probe.turned(id, status, applied, store)),
      readAsked: () => probe.readAsked(),
      readAnswered: judging((id, mark, applied) => probe.readAnswered(id, mark, applied)),
      snapshotSaved: judging((id, meta) => probe.snapshotSaved(id, meta)),
      compacting: judging((id, through) => probe.compacting(id, through)),
      snapshotInstalled: judging((id, meta) => probe.snapshotInstalled(id, meta)),
    };
  }

  fail(invariant: string, message: string, error?: unknown): void {
    if (this.violation !== null) return;
    const cause = error instanceof Error && error.cause !== undefined ? ` (cause: ${describe(error.cause)})` : '';
    this.violation = { invariant, message: message + cause };
    this.note(`BROKEN ${invariant}: ${message}`);
  }

  covered(situation: string): void {
    this.coverage.set(situation, (this.coverage.get(situation) ?? 0) + 1);
  }

  tell(machine: Machine, what: string): void {
    this.note(`${machine.name.padEnd(3)} ${what}`);
  }

  note(what: string): void {
    const line = `${(this.scheduler.now / 1000).toFixed(3).padStart(9)}  ${this.grid()}  ${what}`;
    this.traceLive?.(line);
    this.trace.push(line);
    if (this.trace.length > 2 * TRACE_MAX) this.trace = this.trace.slice(-TRACE_MAX);
  }

  /** One letter for each machine: Leader, candidate, follower, - down, z paused, x broken, learner in small. */
  grid(): string {
    return this.machines.map((machine) => letterOf(machine)).join('');
  }

  onUp(machine: Machine, life: Life): void {
    this.tell(machine, `is up (term ${life.member.node.role.term})`);
  }

  onDown(machine: Machine, how: Death): void {
    if (!this.restarts || machine.broken !== null || how === 'wipe') return;
    const delay = this.#restartDice.pick([20, 200, 1000, 5000]) * this.#restartDice.between(0.5, 1.5);
    this.scheduler.after(delay, Kind.fault, machine.place, () => {
      if (machine.life === null) machine.start();
    });
  }

  onRemoval(machine: Machine, error: Error): void {
    this.covered('a member learns that it was removed');
    this.tell(machine, `is no member: ${error.message}`);
  }

  onEvent(machine: Machine, event: NodeEvent): void {
    const { counts } = this;
    if (event.kind === 'role') {
      if (event.state === 'leader') {
        counts.elections++;
        this.covered('a leader is elected');
      }
      this.tell(machine, `is ${event.state} in term ${event.term}, leader ${this.nameOf(event.leader)}`);
      const leaders = this.machines.filter((other) => other.isUp && other.life?.member.node.role.state === 'leader');
      if (leaders.length > 1) this.covered('two members believe they lead');
    } else if (event.kind === 'snapshot_saved') counts.snapshotsSaved++;
    else if (event.kind === 'stalled') {
      counts.stalls++;
      if (event.lateMs > this.swarm.electionMs) this.covered('a stall longer than the election time-out');
    } else if (event.kind === 'lease_expired') {
      counts.leasesExpired++;
      this.covered('a lease expires');
    } else if (event.kind === 'log_repaired') {
      counts.repairs++;
      this.covered('a torn tail is repaired');
      this.tell(machine, `cuts ${event.droppedBytes} bytes off its log`);
    }
  }
}

function letterOf(machine: Machine): string {
  const { life } = machine;
  if (machine.broken !== null) return 'x';
  if (life === null) return machine.birth === null ? '.' : '-';
  if (life.loop.isPaused) return 'z';
  if (!life.isUp) return 's';
  const { state } = life.member.node.role;
  return LETTERS[state];
}

/** Lets everything go on that waits for nothing but its turn. */
async function settled(): Promise<void> {
  for (let round = 0; round < SETTLING_ROUNDS; round++) await Promise.resolve();
}
