// What goes wrong, when, and for how long. Every kind of fault draws from a stream of its own, so that one kind less leaves
// the others as they were. Damage that a cluster need not survive (a majority of disks) is never done: a budget keeps the
// number of damaged disks below half of the members.

import { HEADER_MAGIC } from '../../core/log/record.js';
import type { Machine } from './machine.js';
import { Dice } from './random.js';
import { Kind } from './scheduler.js';
import type { FaultRates } from './swarm.js';
import type { World } from './world.js';

type FaultKind = keyof FaultRates;

/** Pairs of places: the ways that are closed. */
type Cuts = readonly (readonly [number, number])[];

/** Looks for a moment at which a disk may be lost. */
const WIPE_TRIES = 10;

export class Faults {
  readonly #world: World;
  readonly #dice = new Map<FaultKind, Dice>();
  #isOver = false;
  #partitions = 0;

  constructor(world: World) {
    this.#world = world;
    for (const [kind, rate] of Object.entries(world.swarm.faults) as [FaultKind, number][]) {
      if (rate === 0) continue;
      const dice = new Dice(world.swarm.seed, `fault ${kind}`);
      this.#dice.set(kind, dice);
      this.#arrange(kind, rate, dice);
    }
  }

  /** No fault begins any more, and what can end ends. */
  end(): void {
    this.#isOver = true;
    const { machines, network } = this.#world;
    network.calm();
    for (const machine of machines) {
      machine.platter.slowness = 1;
      machine.platter.hungUntil = 0;
      machine.platter.errorChance = 0;
      machine.platter.freeBytes = Infinity;
      if (machine.life === null) continue;
      machine.life.loop.killAtDoor = 0;
      machine.life.loop.thaw();
    }
  }

  #arrange(kind: FaultKind, perMinute: number, dice: Dice): void {
    this.#after((60_000 / perMinute) * dice.between(0.1, 1.9), () => {
      this.#world.counts.faults++;
      this.#strike(kind, dice);
      this.#arrange(kind, perMinute, dice);
    });
  }

  #after(ms: number, run: () => void): void {
    this.#world.scheduler.after(ms, Kind.fault, 0, () => {
      if (!this.#isOver) run();
    });
  }

  #strike(kind: FaultKind, dice: Dice): void {
    const world = this.#world;
    if (kind === 'powerAll') return this.#powerAll(dice);
    if (kind === 'partition') return dice.chance(0.25) ? this.#succession(dice) : this.#partition(dice);
    if (kind === 'lossySpell') return this.#lossySpell(dice);
    if (kind === 'rot') return this.#rot(dice);
    if (kind === 'wipe') return this.#wipe(dice, WIPE_TRIES);
    if (kind === 'rollback') return this.#rollBack(dice);
    if (kind === 'swap') return this.#swap(dice);
    if (kind === 'swizzle') return this.#swizzle(dice);
    const victim = this.#victim(dice);
    if (victim === null) return;
    const { life, platter } = victim;
    const spell = (ms: number, end: () => void): void => this.#after(ms, end);
    switch (kind) {
      case 'kill':
        if (world.leader() === victim) world.covered('the leader is killed');
        return victim.die('process');
      case 'power':
        return victim.die('power');
      case 'killAtDoor':
        if (life === null) return;
        victim.doorDeath = dice.pick(['process', 'power']);
        life.loop.killAtDoor = 1 + dice.below(60);
        return;
      case 'stopGracefully':
        return victim.stop();
      case 'pause':
      case 'suspend':
        return this.#pause(victim, kind === 'suspend', dice.tailed(world.swarm.electionMs * dice.pick([0.3, 1, 3])));
      case 'stall':
        world.tell(victim, 'stalls');
        return life?.loop.stall(dice.tailed(world.swarm.electionMs * dice.pick([0.2, 0.8, 2])));
      case 'freeze':
        if (life === null) return;
        world.covered('a clock stands still');
        world.tell(victim, 'has a clock that stands still');
        life.loop.freeze();
        return spell(dice.tailed(world.swarm.electionMs * dice.pick([0.5, 2, 5])), () => life.loop.thaw());
      case 'diskError':
        world.tell(victim, 'its disk fails');
        platter.errorChance = dice.pick([0.01, 0.1, 1]);
        return spell(dice.tailed(1000), () => {
          platter.errorChance = 0;
        });
      case 'diskSlow':
        world.tell(victim, 'its disk is slow');
        platter.slowness = dice.pick([5, 30, 100]);
        return spell(dice.tailed(3000), () => {
          platter.slowness = 1;
        });
      case 'diskHang':
        world.tell(victim, 'its disk hangs');
        // What is under way then stays hung to the end of the hang, which is therefore not after that of the faults.
        platter.hungUntil = Math.min(
          world.swarm.faultMs, world.scheduler.now + dice.tailed(world.swarm.electionMs * dice.pick([1, 5])),
        );
        return;
      case 'diskFull':
        world.tell(victim, 'its disk is full');
        platter.freeBytes = dice.below(3000);
        return spell(dice.tailed(5000), () => {
          platter.freeBytes = Infinity;
        });
    }
  }

  /** Any machine that runs, the leader by preference. */
  #victim(dice: Dice): Machine | null {
    const leader = this.#world.leader();
    if (leader !== null && dice.chance(0.4)) return leader;
    const running = this.#world.machines.filter((machine) => machine.life !== null);
    return running.length === 0 ? null : dice.pick(running);
  }

  #pause(victim: Machine, suspend: boolean, ms: number): void {
    const { life } = victim;
    if (life === null) return;
    const world = this.#world;
    if (world.leader() === victim) world.covered('the leader is paused');
    life.loop.pause(suspend);
    world.tell(victim, suspend ? 'is suspended with its clock' : 'is paused');
    world.scheduler.after(ms, Kind.fault, victim.place, () => {
      life.loop.resume();
      if (victim.life === life) world.tell(victim, 'goes on');
    });
  }

  #powerAll(dice: Dice): void {
    const { machines } = this.#world;
    const victims = dice.chance(0.6) ? machines : dice.some(machines, 0.6);
    if (victims.length === machines.length) this.#world.covered('all members lose power at once');
    for (const machine of victims) machine.die('power');
  }

  #lossySpell(dice: Dice): void {
    const { network, machines } = this.#world;
    const loss = dice.pick([0.05, 0.3, 0.9]);
    const from = dice.pick(machines).place;
    const both = dice.chance(0.5);
    const set = (value: number): void => {
      for (const { place } of machines) {
        if (place === from) continue;
        network.disturb(from, place, value);
        if (both) network.disturb(place, from, value);
      }
    };
    this.#world.note(`n${from + 1} loses ${loss * 100} % of what it sends${both ? ' and receives' : ''}`);
    set(loss);
    this.#after(dice.tailed(3000), () => set(0));
  }

  /**
   * A leader is cut off with what it has just been asked for, its successor falls, and it comes back to the one after: whose
   * log goes on where its own has other entries.
   */
  #succession(dice: Dice): void {
    const world = this.#world;
    const leader = world.leader();
    if (leader === null) return;
    const name = `p${(this.#partitions += 1)}`;
    const { electionMs } = world.swarm;
    world.note(`partition ${name}: ${leader.name} alone, and its successor is to fall`);
    for (const { place } of world.machines) {
      if (place === leader.place) continue;
      world.network.cut(name, place, leader.place);
      world.network.cut(name, leader.place, place);
    }
    const awaitHeir = (looks: number, then: (heir: Machine) => void): void => this.#after(electionMs / 4, () => {
      const heir = world.leader();
      if (heir !== null && heir !== leader) then(heir);
      else if (looks > 0) awaitHeir(looks - 1, then);
      else world.network.mend(name);
    });
    awaitHeir(20, (heir) => {
      heir.die(dice.pick(['process', 'power']));
      awaitHeir(20, () => {
        world.covered('a leader meets the second after it');
        world.network.mend(name);
      });
    });
  }

  #partition(dice: Dice): void {
    const world = this.#world;
    const name = `p${(this.#partitions += 1)}`;
    const shape = dice.pick(SHAPES);
    const order = dice.shuffled(world.machines.map(({ place }) => place));
    const leader = world.leader();
    // A leader on the wrong side is what partitions are about.
    if (leader !== null && dice.chance(0.5)) order.unshift(...order.splice(order.indexOf(leader.place), 1));
    const cuts = shape.cuts(order, dice);
    const lastMs = dice.tailed(world.swarm.electionMs * dice.pick([0.5, 2, 5]));
    world.covered(`partition: ${shape.name}`);
    const close = (): void => {
      world.note(`partition ${name}: ${shape.name} ${cuts.map(([a, b]) => `${a + 1}>${b + 1}`).join(' ')}`);
      for (const [from, to] of cuts) world.network.cut(name, from, to);
    };
    const open = (): void => {
      world.note(`partition ${name} ends`);
      world.network.mend(name);
    };
    const flaps = dice.chance(0.2) ? 6 : 1;
    if (flaps > 1) world.covered('partition: flapping');
    for (let i = 0; i < flaps; i++) {
      this.#after((2 * i * lastMs) / flaps, close);
      this.#after(((2 * i + 1) * lastMs) / flaps, open);
    }
  }

  /** A machine whose disk may be damaged without more than the cluster survives; it is made to stop first. */
  #expendable(dice: Dice, count = 1): Machine | null {
    const { machines } = this.#world;
    const damaged = machines.filter((machine) => machine.isDamaged || machine.broken === 'damaged').length;
    const sizes = this.#world.configurations().map(({ voters }) => voters.length);
    const least = sizes.length === 0 ? 0 : Math.min(...sizes);
    if (damaged + count > Math.floor((least - 1) / 2)) return null;
    const members = machines.filter((machine) => machine.birth !== null && machine.broken === null && !machine.isDamaged);
    return members.length === 0 ? null : dice.pick(members);
  }

  #rot(dice: Dice): void {
    const victim = this.#expendable(dice);
    if (victim === null) return;
    victim.die('process');
    const last = victim.platter.names().filter((name) => name.endsWith('.wal')).at(-1);
    // What follows the last durable group cannot be told from an unfinished write; but each group proves those before it.
    const where = dice.chance(0.5)
      ? victim.platter.rot((name) => name !== last && !name.endsWith('.tmp'))
      : victim.platter.rot((name) => name === last, provenBytes);
    if (where === null) return;
    victim.isDamaged = true;
    this.#world.covered('bit rot at rest');
    this.#world.tell(victim, `rot in ${where}`);
  }

  #wipe(dice: Dice, tries: number): void {
    const world = this.#world;
    const victim = this.#expendable(dice);
    // Its life must be known to everybody, or nobody could tell the next one from it.
    const isKnown = world.machines.every((machine) => machine === victim || machine.birth === null || machine.broken !== null
      || (machine.isUp && machine.life?.member.node.store.members().every(({ incarnation }) => incarnation !== 0n) === true));
    if (victim === null || !victim.isUp || !isKnown) {
      if (tries > 1) this.#after(500, () => this.#wipe(dice, tries - 1));
      return;
    }
    victim.isDamaged = true;
    victim.isWiped = true;
    victim.die('wipe');
    world.covered('a member loses its disk and starts under its old name');
    world.scheduler.after(dice.tailed(300), Kind.fault, victim.place, () => victim.start());
  }

  /** A machine goes back to what its disk held some seconds ago: it has forgotten votes and entries that it acknowledged. */
  #rollBack(dice: Dice): void {
    const victim = this.#expendable(dice);
    if (victim === null || !victim.isUp) return;
    const { lives } = victim;
    const copy = victim.platter.durableCopy();
    this.#after(dice.tailed(2000), () => {
      if (victim.lives !== lives || !victim.isUp || this.#expendable(dice) === null || victim.isDamaged) return;
      victim.isDamaged = true;
      victim.die('rollback');
      victim.platter.rollBack(copy);
      this.#world.covered('an old state of a disk comes back');
    });
  }

  #swap(dice: Dice): void {
    const world = this.#world;
    const one = this.#expendable(dice, 2);
    const other = this.#expendable(dice, 2);
    if (one === null || other === null || one === other) return;
    for (const machine of [one, other]) {
      machine.isDamaged = true;
      machine.die('swap');
    }
    one.platter.swapWith(other.platter);
    world.covered('two disks are swapped');
    world.note(`${one.name} and ${other.name} have each other's disks`);
  }

  /** The ways of some machines close one after the other, and open again in another order. */
  #swizzle(dice: Dice): void {
    const world = this.#world;
    const name = `s${(this.#partitions += 1)}`;
    const victims = dice.some(dice.shuffled(world.machines), 0.6);
    const stepMs = dice.tailed(world.swarm.electionMs * dice.pick([0.1, 0.5, 1]));
    world.covered('partition: swizzle-clog');
    victims.forEach(({ place }, i) => this.#after(i * stepMs, () => {
      world.note(`${name}: n${place + 1} is clogged`);
      for (const { place: to } of world.machines) {
        world.network.cut(`${name}.${place}`, place, to);
        world.network.cut(`${name}.${place}`, to, place);
      }
    }));
    dice.shuffled(victims).forEach(({ place }, i) => this.#after((victims.length + i) * stepMs, () => {
      world.note(`${name}: n${place + 1} is free again`);
      world.network.mend(`${name}.${place}`);
    }));
  }
}

/** How much of a segment comes before a group that comes before another: damage to that much can be told by the last one. */
function provenBytes(durable: Buffer): number {
  const magic = Buffer.alloc(4);
  magic.writeUInt32LE(HEADER_MAGIC);
  const last = durable.lastIndexOf(magic);
  return last <= 0 ? 0 : durable.lastIndexOf(magic, last - 1);
}

interface Shape {
  readonly name: string;
  readonly cuts: (order: readonly number[], dice: Dice) => Cuts;
}

function between(left: readonly number[], right: readonly number[]): Cuts {
  return left.flatMap((a) => right.flatMap((b) => [[a, b], [b, a]] as const));
}

const SHAPES: readonly Shape[] = [
  { name: 'one alone', cuts: (order) => between(order.slice(0, 1), order.slice(1)) },
  {
    name: 'halves',
    cuts: (order, dice) => {
      const at = 1 + dice.below(Math.max(1, order.length - 1));
      return between(order.slice(0, at), order.slice(at));
    },
  },
  // Two sides that see each other only through the one in the middle.
  {
    name: 'bridge',
    cuts: (order) => {
      const rest = order.slice(1);
      const half = Math.ceil(rest.length / 2);
      return between(rest.slice(0, half), rest.slice(half));
    },
  },
  // Each sees a majority, and no two the same one.
  {
    name: 'ring of majorities',
    cuts: (order) => {
      const n = order.length;
      const reach = Math.ceil((n - 1) / 4) || 1;
      return order.flatMap((a, i) => order.flatMap((b, j) => {
        const distance = Math.min(Math.abs(i - j), n - Math.abs(i - j));
        return distance > reach && n > 3 ? [[a, b] as const] : [];
      }));
    },
  },
  { name: 'mute', cuts: (order) => order.slice(1).map((b) => [order[0] ?? 0, b] as const) },
  { name: 'deaf', cuts: (order) => order.slice(1).map((b) => [b, order[0] ?? 0] as const) },
  { name: 'one pair', cuts: (order) => between(order.slice(0, 1), order.slice(1, 2)) },
  { name: 'one way', cuts: (order) => (order.length > 1 ? [[order[0] ?? 0, order[1] ?? 0] as const] : []) },
  { name: 'any ways', cuts: (order, dice) => dice.some(between(order, order), 0.3) },
  { name: 'nobody', cuts: (order) => between(order, order) },
];
