// Processes that register with the real recipes, and one that watches the list. Some die without a word, some leave in order;
// in the end the list must be exactly those that live (I38). Beside each registration a session is held, and no session may
// believe in itself when the members let its lease expire (I37).

import type { LeaseId } from '../../core/client.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { LogEntry } from '../model/history.js';
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
  /** When the holder of each lease stopped counting on it. */
  readonly #endedAt = new Map<LeaseId, number>();

  constructor(world: World) {
    this.#world = world;
    this.#settling = new Dice(world.swarm.seed, 'settling');
  }

  start(): void {
    const { registrants } = this.#world.swarm;
    if (registrants === 0) return;
    for (let i = 0; i < registrants; i++) {
      this.#world.task(`r${i + 1}`, () => this.#registrant(i));
      this.#world.task(`s${i + 1}`, () => this.#holder(i));
    }
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

  /** I37: what the members believe to have expired in `log`, its holder knew to be lost before. Null: always. */
  surprise(log: readonly LogEntry[]): string | null {
    for (const { command, term, at = Infinity } of log) {
      // Of another term it is void: a leader long deposed may believe what it likes.
      if (command?.kind !== 'lease_revoke' || command.term !== term) continue;
      const endedAt = this.#endedAt.get(command.id);
      if (endedAt === undefined) continue;
      this.#world.covered('a session is lost before its lease expires');
      if (at >= endedAt) continue;
      const until = endedAt === Infinity ? 'to the end' : `until ${endedAt.toFixed(1)} ms`;
      const lease = command.id.toString(16);
      return `the lease ${lease} of a session expired at ${at.toFixed(1)} ms; its holder counted on it ${until}`;
    }
    return null;
  }

  #held(lease: LeaseId, signal: AbortSignal): void {
    this.#endedAt.set(lease, Infinity);
    const end = (): void => void this.#endedAt.set(lease, this.#world.scheduler.now);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  }

  /** A session for some time; given back, left alone, or lost before. */
  async #hold(connection: Connection, dice: Dice): Promise<void> {
    const world = this.#world;
    const ttlSeconds = dice.pick([1, 2, 5]);
    const session = await Session.open(connection, { ttlSeconds, clock: world.clientClock, timeoutMs: 3000 });
    this.#held(session.lease, session.signal);
    const until = world.scheduler.now + dice.tailed(10_000);
    while (!world.isClosing && world.scheduler.now < until && session.live) await world.sleep(dice.tailed(500));
    await session.close({ timeoutMs: 2000 });
  }

  async #holder(index: number): Promise<void> {
    const world = this.#world;
    const dice = new Dice(world.swarm.seed, 'holder', index);
    const connection = new Connection(world, `s${index + 1}`, pickMachine(world, dice));
    this.#connections.push(connection);
    while (!world.isClosing) {
      await world.sleep(dice.tailed(500));
      connection.machine = pickMachine(world, dice);
      try {
        await this.#hold(connection, dice);
      } catch (error) {
        if (!(error instanceof ApiError) && !(error instanceof SessionLost)) throw error;
      }
    }
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
