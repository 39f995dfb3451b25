// Processes that register with the real recipes, and one that watches the list. Some die without a word, some stand still
// past their TTL, some leave in order; in the end the list must be exactly those that live (I38), and no session may have
// believed in itself longer than the store kept its lease (I37).

import { SessionLost } from '../../recipes/session.js';
import { discover, register, RegistrationEnded, type Registration, type ServiceView } from '../../recipes/registry.js';
import { ApiError } from '../../core/errors.js';
import { Connection } from './connection.js';
import { Dice } from './random.js';
import type { World } from './world.js';
import { pickMachine } from './workload.js';

const SERVICE = 'api';

export class Registry {
  readonly #world: World;
  readonly #live = new Map<string, Registration>();
  readonly #connections: Connection[] = [];
  readonly #settling: Dice;
  #view: ServiceView | null = null;
  #viewConnection: Connection | null = null;

  constructor(world: World) {
    this.#world = world;
    this.#settling = new Dice(world.swarm.seed, 'settling');
  }

  start(): void {
    const { registrants } = this.#world.swarm;
    if (registrants === 0) return;
    for (let i = 0; i < registrants; i++) this.#world.task(`r${i + 1}`, () => this.#registrant(i));
    const dice = new Dice(this.#world.swarm.seed, 'discoverer');
    this.#viewConnection = new Connection(this.#world, 'discoverer', pickMachine(this.#world, dice));
    this.#view = discover(this.#viewConnection, SERVICE, { clock: this.#world.clientClock });
  }

  /** Everybody to members that serve. */
  settle(): void {
    const { serving } = this.#world;
    for (const connection of [...this.#connections, ...(this.#viewConnection === null ? [] : [this.#viewConnection])]) {
      if (serving?.includes(connection.machine) !== true || !connection.machine.serves) {
        connection.machine = pickMachine(this.#world, this.#settling);
      }
    }
  }

  /** Null: the list is exactly those that live. */
  difference(): string | null {
    if (this.#view === null) return null;
    this.settle();
    const listed = this.#view.instances.map(({ id }) => id).sort().join(' ');
    const live = [...this.#live].filter(([, { signal }]) => !signal.aborted).map(([id]) => id).sort().join(' ');
    return this.#view.synced && listed === live ? null : `listed [${listed}], alive [${live}]`;
  }

  async end(): Promise<void> {
    for (const registration of this.#live.values()) await registration.close();
    await this.#view?.close();
    this.#live.clear();
  }

  async #registrant(index: number): Promise<void> {
    const world = this.#world;
    const dice = new Dice(world.swarm.seed, 'registrant', index);
    for (let life = 1; !world.isClosing; life++) {
      const id = `r${index + 1}-${life}`;
      const connection = new Connection(world, id, pickMachine(world, dice));
      this.#connections.push(connection);
      const registration = await this.#enter(connection, id, dice);
      if (registration !== null) {
        this.#live.set(id, registration);
        const until = world.scheduler.now + dice.tailed(10_000);
        while (!world.isClosing && world.scheduler.now < until) {
          await world.sleep(dice.tailed(500));
          if (dice.chance(0.3) || !connection.machine.serves) connection.machine = pickMachine(world, dice);
        }
        // The last ones stay, to be found by the list.
        if (world.isClosing) return;
        this.#live.delete(id);
        if (dice.chance(0.5)) connection.kill();
        else await registration.close();
      }
      await world.sleep(dice.tailed(500));
    }
  }

  async #enter(connection: Connection, id: string, dice: Dice): Promise<Registration | null> {
    const world = this.#world;
    try {
      return await register(connection, { service: SERVICE, id, address: '10.0.0.1', port: 80 + dice.below(1000) }, {
        ttlSeconds: dice.pick([1, 2, 5]), clock: world.clientClock, timeoutMs: 10_000, closeTimeoutMs: 2000,
      });
    } catch (error) {
      if (error instanceof ApiError || error instanceof SessionLost || error instanceof RegistrationEnded) return null;
      throw error;
    }
  }
}
