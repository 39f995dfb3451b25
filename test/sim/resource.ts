// Things outside the store that somebody protects with a lock: one whose gate looks at fences (recipes/fence-guard.ts), and one
// that takes whatever comes. Requests are on their way for a while, some for very long. The first must never go back to an
// older holder (I32), nor be at work for two at once (I33); what befalls the second is only counted (I34).

import type { Revision } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { FenceGuard, StaleFence } from '../../recipes/fence-guard.js';
import { Dice } from './random.js';
import { Kind } from './scheduler.js';
import type { World } from './world.js';

const WORK_MS = 20;
const DELAYS_MS = [1, 20, 20, 200, 3000];
const WHO = 251;

export class Resources {
  readonly #world: World;
  readonly #dice: Dice;
  readonly #guard: FenceGuard;
  /** By name: the highest fence that was let in, and whose work is under way. */
  readonly #accepted = new Map<string, { highest: Revision; atWork: Revision | null }>();
  readonly #unguarded = new Map<string, Revision>();

  constructor(world: World) {
    this.#world = world;
    this.#dice = new Dice(world.swarm.seed, 'resources');
    this.#guard = new FenceGuard({ clock: world.clientClock });
  }

  /** Asks the guarded one for something; nobody waits for the outcome. */
  send(name: string, fence: Revision): void {
    const world = this.#world;
    const delayMs = this.#dice.tailed(this.#dice.pick(DELAYS_MS));
    world.scheduler.after(delayMs, Kind.client, WHO, () => {
      world.isStirred = true;
      world.task(`resource ${name}`, () => this.#ask(name, fence));
    });
  }

  /** Does something to the unguarded one. */
  act(name: string, fence: Revision): void {
    const highest = this.#unguarded.get(name) ?? 0;
    if (fence < highest) this.#world.counts.overlaps++;
    else this.#unguarded.set(name, fence);
  }

  async #ask(name: string, fence: Revision): Promise<void> {
    try {
      await this.#guard.run(name, fence, () => this.#work(name, fence), { timeoutMs: 10_000 });
    } catch (error) {
      if (error instanceof StaleFence) this.#world.counts.fencedOff++;
      else if (!(error instanceof ApiError)) throw error;
    }
  }

  async #work(name: string, fence: Revision): Promise<void> {
    const known = this.#accepted.get(name) ?? { highest: 0, atWork: null };
    this.#accepted.set(name, known);
    if (fence < known.highest) this.#world.fail('I32', `${name} lets fence ${fence} in after ${known.highest}`);
    if (known.atWork !== null) this.#world.fail('I33', `${name} lets ${fence} in while ${known.atWork} is at work`);
    known.highest = fence;
    known.atWork = fence;
    await this.#world.sleep(this.#dice.tailed(WORK_MS));
    known.atWork = null;
  }
}
