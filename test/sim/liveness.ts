// After the faults: a core, a random quorum and maybe others, is whole again and well connected; everybody else stays dead,
// paused or cut off, even with ways into the core still open. Then all of this must come about by itself (reliability 3.10):
// one leader whose term stands still, every client answered, every member of the core at the same point with the same
// contents, everything anybody held given back.

import type { Configuration, NodeId } from '../../core/raft/types.js';
import type { Machine } from './machine.js';
import { Dice } from './random.js';
import type { Recipes } from './recipes.js';
import type { Registry } from './registrants.js';
import { Kind } from './scheduler.js';
import type { World } from './world.js';

const LOOK_MS = 100;
/** Clients go on for so long with a core that has recovered. */
const EASE_MS = 3000;
/** What a member knows its watchers are told in much less. */
const QUIET_MS = 1000;
/** Longest lease, client time-out, and the recipes' own patience. */
const SLACK_MS = 60_000;
/** Timers a process at rest may have: the tick, the log's proof, the transport's heartbeats and the like. */
const TIMERS_AT_REST = 40;

/** A random set of machines that has a quorum of every configuration anybody may stand by. */
export function chooseCore(world: World): readonly Machine[] {
  const dice = new Dice(world.swarm.seed, 'core');
  const usable = world.machines.filter(isUsable);
  const wanted = world.configurations();
  for (let attempt = 0; attempt < 20; attempt++) {
    const core = dice.chance(0.3) ? usable : dice.some(usable, dice.pick([0.5, 0.7, 0.9]));
    if (core.length > 0 && wanted.every((configuration) => isQuorum(idsOf(core), configuration))) return core;
  }
  return usable;
}

function isUsable({ birth, broken, isDamaged }: Machine): boolean {
  return birth !== null && broken === null && !isDamaged;
}

function idsOf(machines: readonly Machine[]): ReadonlySet<NodeId> {
  return new Set(machines.map(({ memberId }) => memberId));
}

function leftOut({ name }: Machine): string {
  return `${name} is left out`;
}

function isQuorum(ids: ReadonlySet<NodeId>, { voters, outgoing }: Configuration): boolean {
  return [voters, outgoing].every((side) => side.length === 0 || side.filter((id) => ids.has(id)).length * 2 > side.length);
}

export class Recovery {
  /** From the end of the faults. */
  tookMs: number | null = null;
  readonly #world: World;
  readonly #registry: Registry;
  readonly #recipes: Recipes;
  readonly #patience: number;
  readonly #dice: Dice;

  constructor(world: World, registry: Registry, recipes: Recipes, patience: number) {
    this.#world = world;
    this.#registry = registry;
    this.#recipes = recipes;
    this.#patience = patience;
    this.#dice = new Dice(world.swarm.seed, 'recovery');
  }

  async run(chosen: readonly Machine[], isOver: () => boolean): Promise<void> {
    const world = this.#world;
    // One that learns in the end that it was removed before is not waited for.
    const core = [...chosen];
    const grow = (): void => this.#grow(core);
    world.scheduler.after(LOOK_MS, Kind.fault, 0, function drop(): void {
      const configurations = world.configurations();
      // A learner removed while it was down hears of it from nobody: it asks for no votes, and no leader writes to it.
      const isGone = ({ memberId: id, isRemoved }: Machine): boolean => {
        return isRemoved || configurations.every(({ voters, learners }) => !voters.includes(id) && !learners.includes(id));
      };
      for (const machine of core.filter(isGone)) core.splice(core.indexOf(machine), 1);
      grow();
      world.scheduler.after(LOOK_MS, Kind.fault, 0, drop);
    });
    const began = world.scheduler.now;
    this.#heal(core);
    const limit = began + this.#patience * (12 * world.swarm.electionMs + SLACK_MS);
    let reason: string | null = 'no time has passed';
    // A core without a quorum of what may be in force cannot be asked for progress; what it says must still be right.
    const isWhole = (): boolean => world.configurations().every((configuration) => isQuorum(idsOf(core), configuration));
    const wasWhole = isWhole();
    await this.#until(limit, isOver, () => (reason = this.#leaderless(core)));
    if (reason === null) this.tookMs = world.scheduler.now - began;
    await world.runUntil(Math.min(limit, world.scheduler.now + EASE_MS), isOver);
    await this.#quiet(core, isOver);
    world.isClosing = true;
    for (const watch of [...world.openWatches]) watch.close();
    await this.#until(limit, isOver, () => (reason = this.#unrest(core)));
    if (world.violation !== null || isOver()) return;
    // A change that came late may need one whose disk was damaged: then nobody is to blame.
    const isJudged = wasWhole && isWhole();
    if (reason !== null && isJudged) {
      const tookMs = Math.round(world.scheduler.now - began);
      return world.fail('liveness', `not at rest ${tookMs} ms after the faults: ${reason}`);
    }
    if (!isJudged) return world.covered('no quorum was left whole');
    await this.#finish(core, isOver);
  }

  /** I25: watches whose readers wait have been told of all that their members had a while ago. */
  async #quiet(core: readonly Machine[], isOver: () => boolean): Promise<void> {
    const world = this.#world;
    const seen = core.map(({ life }) => ({ life, revision: life?.isUp === true ? life.member.node.store.revision : 0 }));
    const watches = [...world.openWatches];
    await world.runUntil(world.scheduler.now + QUIET_MS + 20 * world.swarm.network.delayMs, isOver);
    for (const watch of watches) {
      const before = seen[core.indexOf(watch.machine)];
      if (!world.openWatches.has(watch) || before === undefined || before.life !== watch.machine.life) continue;
      watch.quiet(before.revision);
    }
  }

  async #until(limit: number, isOver: () => boolean, look: () => string | null): Promise<void> {
    const world = this.#world;
    while (look() !== null && world.scheduler.now < limit && world.violation === null && !isOver()) {
      await world.runUntil(world.scheduler.now + LOOK_MS, isOver);
    }
  }

  #heal(core: readonly Machine[]): void {
    const world = this.#world;
    world.note(`faults end; the core is ${core.map(({ name }) => name).join(' ')}`);
    world.restarts = false;
    world.serving = core;
    for (const machine of world.machines) {
      if (core.includes(machine)) this.#revive(machine);
      else this.#leaveOut(machine, core);
    }
    this.#registry.settle();
  }

  #revive(machine: Machine): void {
    const world = this.#world;
    const { platter } = machine;
    platter.isCalm = true;
    // One that was stopping, or starting on a disk that failed, ends and must come back.
    const look = (): void => {
      if (machine.life === null && machine.broken === null) machine.start();
      machine.life?.loop.relieve();
      world.scheduler.after(LOOK_MS, Kind.fault, machine.place, look);
    };
    look();
  }

  #leaveOut(machine: Machine, core: readonly Machine[]): void {
    const { network } = this.#world;
    const how = this.#dice.below(4);
    // It must hear that it is refused.
    if (machine.isWiped) return;
    if (how === 0 && machine.life !== null) machine.die('process');
    else if (how === 1) machine.life?.loop.pause(false);
    for (const { place } of core) {
      network.cut(leftOut(machine), place, machine.place);
      // Half of them are heard by the core, and hear nothing of it.
      if (how !== 3) network.cut(leftOut(machine), machine.place, place);
    }
  }

  /** A change that was on its way when the faults ended may be appended later: whoever it needs is made whole, too. */
  #grow(core: Machine[]): void {
    const world = this.#world;
    for (const configuration of world.configurations()) {
      if (isQuorum(idsOf(core), configuration)) continue;
      const { voters, outgoing } = configuration;
      for (const machine of world.machines) {
        const votes = voters.includes(machine.memberId) || outgoing.includes(machine.memberId);
        if (!votes || core.includes(machine) || !isUsable(machine)) continue;
        world.tell(machine, 'is needed by a change that came late, and joins the core');
        world.network.mend(leftOut(machine));
        core.push(machine);
        this.#revive(machine);
      }
    }
  }

  #leaderless(core: readonly Machine[]): string | null {
    const roles = core.map((machine) => (machine.isUp ? machine.life?.member.node.role : undefined));
    const down = core.filter((_, i) => roles[i] === undefined);
    if (down.length > 0) return `${down.map(({ name, broken }) => `${name} ${broken ?? ''}`).join(' ')} not up`;
    const leaders = new Set(roles.map((role) => role?.leader ?? 0n));
    const [leader] = leaders;
    if (leaders.size > 1 || leader === undefined || leader === 0n) {
      return `leaders known: ${[...leaders].map((id) => this.#world.nameOf(id)).join(' ')}`;
    }
    return core.some(({ memberId }) => memberId === leader) ? null : `leader ${this.#world.nameOf(leader)} is not of the core`;
  }

  #unrest(core: readonly Machine[]): string | null {
    const world = this.#world;
    const leaderless = this.#leaderless(core);
    if (leaderless !== null) return leaderless;
    if (world.tasks > 0) return `${world.tasks} clients have not ended: ${world.taskNames}`;
    const nodes = core.map(({ life }) => life?.member.node);
    const applied = new Set(nodes.map((node) => node?.store.applied.index ?? -1));
    if (applied.size > 1) return `applied: ${[...applied].join(' ')}`;
    const pending = nodes.find((node) => (node?.desk.proposalsPending ?? 0) > 0);
    if (pending !== undefined) return 'proposals are pending';
    const leases = nodes.find((node) => [...(node?.store.leases() ?? [])].some(({ ttlSeconds }) => ttlSeconds <= 5));
    if (leases !== undefined && world.swarm.registrants === 0) return 'short leases are still there';
    const left = nodes.flatMap((node) => (node === undefined ? [] : this.#recipes.unrest(node.store) ?? []));
    return left[0] ?? this.#registry.difference();
  }

  async #finish(core: readonly Machine[], isOver: () => boolean): Promise<void> {
    const world = this.#world;
    const terms = (): string => core.map(({ life }) => life?.member.node.role.term).join(' ');
    const lives = core.map((machine) => machine.lives).join(' ');
    const before = terms();
    await world.runUntil(world.scheduler.now + 3 * world.swarm.electionMs, isOver);
    if (world.violation !== null) return;
    // One that had been asked to stop before the faults ended, and did it now, does not count.
    const haveLived = lives === core.map((machine) => machine.lives).join(' ');
    if (terms() !== before && haveLived) {
      return world.fail('liveness', `the term moved from ${before} to ${terms()} while nothing happened`);
    }
    const seen = new Map<number, string>();
    for (const { life, name } of core) {
      if (life === null || !life.isUp) continue;
      const { store } = life.member.node;
      const told = `${store.stateHash()}`;
      const known = seen.get(store.applied.index) ?? told;
      seen.set(store.applied.index, told);
      const { index } = store.applied;
      if (known !== told) world.fail('I21', `members that have applied ${index} differ, ${name} from those before it`);
    }
    if (seen.size === 1) world.covered('the whole core at one index, compared');
    for (const machine of world.machines) {
      // One that was removed after it had lost its disk is spoken to by nobody, and has nothing to say.
      const isSpokenTo = world.configurations().some(({ voters, learners }) => {
        return voters.includes(machine.memberId) || learners.includes(machine.memberId);
      });
      if (machine.isWiped && machine.isUp && isSpokenTo) {
        world.fail('E1', `${machine.name} lost its disk and still has its old name`);
      }
    }
    this.#settleResources(core);
  }

  /** I43: what anybody held has been given back. */
  #settleResources(core: readonly Machine[]): void {
    const world = this.#world;
    if (world.openCalls > 0 && world.swarm.registrants === 0) world.fail('I43', `${world.openCalls} calls were never answered`);
    for (const { life, name } of core) {
      if (life === null) continue;
      const { node } = life.member;
      const watchers = world.swarm.registrants === 0 ? node.hub.watcherCount : 0;
      const timers = life.loop.timersPending;
      if (watchers > 0) world.fail('I43', `${name} still has ${watchers} watchers`);
      if (timers > TIMERS_AT_REST) world.fail('I43', `${name} at rest has ${timers} timers`);
      if (life.session.pending > 4) world.fail('I43', `${name} at rest waits for ${life.session.pending} calls of the disk`);
    }
  }
}
