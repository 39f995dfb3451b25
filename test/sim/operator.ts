// The operator of a world: adds and removes members, promotes learners, moves leadership, replaces a member whose disk is
// damaged, all through the same API as any client, with everything else going on.

import { Connection, type Call } from './connection.js';
import type { Machine } from './machine.js';
import { urlOf } from './network.js';
import { Dice } from './random.js';
import type { World } from './world.js';
import { expectApiError, pickMachine } from './workload.js';

const VOTERS_MAX = 7;

export function startOperator(world: World): void {
  const { workload } = world.swarm;
  if (workload.membership > 0) world.task('operator', () => new Operator(world).run());
  if (workload.transfer > 0) world.task('mover', () => move(world));
}

/** Leadership goes round. */
async function move(world: World): Promise<void> {
  const dice = new Dice(world.swarm.seed, 'mover');
  const connection = new Connection(world, 'mover', pickMachine(world, dice));
  while (!world.isClosing) {
    await world.sleep(dice.tailed(2000));
    const leader = world.leader();
    const target = pickMachine(world, dice);
    if (leader === null || world.isClosing) continue;
    connection.machine = leader;
    try {
      await connection.call({ timeoutMs: 3000 }, (server, rest) => server.moveLeader(target.memberId, rest));
      world.covered('leadership is moved');
    } catch (error) {
      if (expectApiError(world, 'mover', error) === null) return;
    }
  }
}

class Operator {
  readonly #world: World;
  readonly #dice: Dice;
  readonly #connection: Connection;

  constructor(world: World) {
    this.#world = world;
    this.#dice = new Dice(world.swarm.seed, 'operator');
    this.#connection = new Connection(world, 'operator', pickMachine(world, this.#dice));
  }

  async run(): Promise<void> {
    const world = this.#world;
    const dice = this.#dice;
    const paceMs = dice.pick([200, 600, 3000]);
    // Changes end with the faults: who must come to rest is chosen then.
    while (world.serving === null) {
      await world.sleep(dice.tailed(paceMs));
      if (world.serving !== null) return;
      this.#connection.machine = pickMachine(world, dice);
      try {
        await this.#act();
      } catch (error) {
        const known = expectApiError(world, 'operator', error);
        if (known === null) return;
        world.covered(`operator: ${known.code}`);
      }
    }
  }

  async #act(): Promise<void> {
    const { machines } = this.#world;
    const damaged = machines.find((machine) => machine.broken === 'damaged');
    if (damaged !== undefined && this.#dice.chance(0.7)) return this.#replace(damaged);
    const unused = machines.filter((machine) => machine.birth === null || machine.broken === 'removed');
    // Two wishes at once: only one of them may be under way.
    if (this.#dice.chance(0.2)) return void (await Promise.all([this.#remove(), this.#promote()]));
    if (this.#dice.chance(0.2)) return void (await Promise.all([this.#remove(), this.#remove()]));
    const [one, other] = unused;
    if (one !== undefined && other !== undefined && this.#dice.chance(0.3)) {
      return void (await Promise.all([this.#add(one), this.#add(other)]));
    }
    const what = this.#dice.below(3);
    if (what === 0 && unused.length > 0) return this.#add(this.#dice.pick(unused));
    if (what === 1) return this.#promote();
    return this.#remove();
  }

  async #members(): Promise<readonly { id: bigint; isLearner: boolean; peerUrls: readonly string[] }[]> {
    const answer = await this.#call((server, rest) => server.members({ ...rest, linearizable: true }));
    return answer.members;
  }

  #call<T>(work: Call<T>): Promise<T> {
    return this.#connection.call({ timeoutMs: 5000 }, work);
  }

  async #replace(machine: Machine): Promise<void> {
    this.#world.tell(machine, 'is to be replaced');
    const members = await this.#members();
    if (members.some(({ id }) => id === machine.memberId)) {
      await this.#call((server, rest) => server.removeMember(machine.memberId, rest));
    }
    await this.#add(machine);
    this.#world.covered('a damaged member is replaced');
  }

  async #add(machine: Machine): Promise<void> {
    const world = this.#world;
    const peerUrls = [urlOf(machine.place)];
    const members = await this.#members();
    // An earlier attempt whose answer was lost.
    const known = members.find((member) => member.peerUrls[0] === peerUrls[0]);
    if (known !== undefined && known.id !== machine.memberId) return this.#found(machine, known.id);
    if (known !== undefined) {
      await this.#call((server, rest) => server.removeMember(known.id, rest));
      return;
    }
    if (members.length >= VOTERS_MAX) return;
    const isLearner = this.#dice.chance(0.5);
    const added = await this.#call((server, rest) => server.addMember({ peerUrls, isLearner }, rest));
    world.covered(isLearner ? 'a learner is added' : 'a voter is added');
    await this.#found(machine, added.member.id);
  }

  /** Starts a member that joins, on an empty disk. */
  async #found(machine: Machine, id: bigint): Promise<void> {
    const world = this.#world;
    const { members } = await this.#call((server, rest) => server.members({ ...rest, linearizable: true }));
    if (!members.some((member) => member.id === id)) return;
    // Two wishes at once may come to the same: it has begun already, and must not lose its disk.
    if (machine.memberId === id) return;
    machine.broken = 'removed';
    if (machine.life !== null) machine.die('process');
    machine.platter.wipe();
    machine.broken = null;
    machine.isDamaged = false;
    machine.isWiped = false;
    machine.isRemoved = false;
    machine.memberId = id;
    world.rename(id, `${machine.name}'`);
    machine.birth = {
      memberId: id,
      founders: [],
      contacts: members.map((member) => ({
        id: member.id, name: member.name, peerUrls: member.peerUrls, clientUrls: member.clientUrls,
        isLearner: member.isLearner, incarnation: 0n,
      })),
    };
    machine.start();
  }

  async #promote(): Promise<void> {
    const learner = (await this.#members()).find(({ isLearner }) => isLearner);
    if (learner === undefined) return;
    await this.#call((server, rest) => server.promoteMember(learner.id, rest));
    this.#world.covered('a learner is promoted');
  }

  async #remove(): Promise<void> {
    const members = await this.#members();
    const damaged = this.#world.machines.filter((machine) => machine.broken === 'damaged').length;
    if (members.filter(({ isLearner }) => !isLearner).length - damaged <= 2) return;
    const leader = this.#world.leader()?.memberId;
    const anybody = this.#dice.pick(members);
    const victim = this.#dice.chance(0.3) ? (members.find(({ id }) => id === leader) ?? anybody) : anybody;
    await this.#call((server, rest) => server.removeMember(victim.id, rest));
    this.#world.covered(victim.id === leader ? 'the leader is removed' : 'a member is removed');
  }
}
