// Programs that take locks, read/write locks and permits of a semaphore, and do with them what such things are for: writes that
// only a holder can commit, requests to a resource that looks at fences, acts on one that does not. They wait with and
// without a bound, give up, give back, forget to, stand still in the middle, and die. holder-judge.ts judges what they were
// told by what was committed.

import { utf8 } from '../../core/base/bytes.js';
import { lock, tryLock, type HeldLock } from '../../recipes/lock.js';
import { readLock, tryReadLock, tryWriteLock, writeLock } from '../../recipes/rw-lock.js';
import { acquirePermits, tryPermits } from '../../recipes/semaphore.js';
import type { LineOptions } from '../../recipes/line.js';
import type { Session } from '../../recipes/session.js';
import { isApiError } from '../../core/errors.js';
import { expected, startProgram, withSession, type Beliefs, type Claim, type Life, type Program } from './programs.js';
import { Dice } from './random.js';
import type { Resources } from './resource.js';
import type { World } from './world.js';

export const LIMIT = 3;
/** Acts that outlast a short lease. */
const BLOCKS_MS = [5, 100, 1500, 6000];

type Kind = 'lock' | 'read' | 'write' | 'permits';

interface Wish {
  readonly kind: Kind;
  readonly name: string;
  readonly permits: number;
  /** Of the entries that it makes. */
  readonly line: string;
  /** Null instead of waiting. */
  readonly once: boolean;
  readonly lossDelayMs: number;
}

export class Locker implements Program {
  readonly name: string;
  readonly beliefs: Beliefs;
  readonly #world: World;
  readonly #resources: Resources;

  constructor(world: World, beliefs: Beliefs, resources: Resources, index: number) {
    this.name = `lk${index + 1}`;
    this.beliefs = beliefs;
    this.#world = world;
    this.#resources = resources;
  }

  isDone(): boolean {
    return this.#world.isClosing;
  }

  live(life: Life): Promise<void> {
    return withSession(this.beliefs, life, async (session) => {
      const tasks = life.dice.pick([1, 1, 2]);
      await Promise.all(Array.from({ length: tasks }, () => this.#row(life, session)));
    });
  }

  async #row(life: Life, session: Session): Promise<void> {
    const { process, dice, who } = life;
    const favourite = drawn(new Dice(this.#world.swarm.seed, 'favourite'));
    while (!this.#world.isClosing && this.beliefs.looked(who, session)) {
      // Mostly what all others want: there must be a line, and who comes back soon may meet what he has left behind.
      const other = drawn(dice);
      const permits = favourite.kind === 'permits' ? 1 + dice.below(2) : 0;
      const wish = dice.chance(0.6) ? { ...favourite, once: other.once, lossDelayMs: other.lossDelayMs, permits } : other;
      // Whoever leaves without a word takes along all that stands on the session.
      if (!await this.#turn(wish, life, session)) return session.close({ timeoutMs: 2000 });
      await process.sleep(dice.tailed(150));
    }
  }

  /** False: it has held something, and does not give it back. */
  async #turn(wish: Wish, life: Life, session: Session): Promise<boolean> {
    const { who } = life;
    this.beliefs.began(wish.line, session);
    let held: HeldLock | null = null;
    let isClean = true;
    await expected(this.#world, who, async () => {
      try {
        held = await this.#taken(wish, life, session);
      } catch (error) {
        isClean = isApiError(error) && !('entryMayRemain' in error);
        throw error;
      }
    });
    // TypeScript does not see that the callback has run.
    const got = held as HeldLock | null;
    if (got === null) {
      this.beliefs.ended(who, wish.line, session, isClean);
      return true;
    }
    return this.#use(wish, got, life, session);
  }

  async #use(wish: Wish, held: HeldLock, life: Life, session: Session): Promise<boolean> {
    const { who, dice } = life;
    const { kind, name, permits, line } = wish;
    this.#world.counts.held++;
    this.#world.covered(`held: ${kind}`);
    const claim = this.beliefs.claimed(who, { kind, name, permits, limit: LIMIT }, held);
    await this.#section(wish, held, claim, life);
    this.beliefs.looked(who, session);
    if (!this.#world.isClosing && dice.chance(0.05)) return false;
    const isGivenBack = await expected(this.#world, who, () => held.release());
    this.beliefs.ended(who, line, session, isGivenBack);
    return true;
  }

  #taken(wish: Wish, life: Life, session: Session): Promise<HeldLock | null> {
    const { kind, name, permits, once, lossDelayMs } = wish;
    const options = this.#bounds(life);
    if (kind === 'permits') {
      const wanted = { ...options, limit: LIMIT, permits };
      return once ? tryPermits(session, name, wanted) : acquirePermits(session, name, wanted);
    }
    if (kind === 'read') return once ? tryReadLock(session, name, options) : readLock(session, name, options);
    if (kind === 'write') return once ? tryWriteLock(session, name, options) : writeLock(session, name, options);
    return once ? tryLock(session, name, { ...options, lossDelayMs }) : lock(session, name, { ...options, lossDelayMs });
  }

  /** In the end everybody waits until it is his turn: a line that has lost somebody's wake-up shows. */
  #bounds({ dice, process }: Life): LineOptions {
    const patience = dice.below(6);
    if (this.#world.serving !== null || patience < 2) return {};
    if (patience < 4) return { timeoutMs: dice.tailed(dice.pick([200, 2000])) };
    const control = new AbortController();
    process.schedule(dice.tailed(500), () => control.abort());
    return { signal: control.signal };
  }

  async #section(wish: Wish, held: HeldLock, claim: Claim, life: Life): Promise<void> {
    const { dice, process, who } = life;
    const { kind, name } = wish;
    const isAlone = kind === 'lock' || kind === 'write';
    const resource = `${kind} ${name}`;
    for (let step = 1 + dice.below(4); step > 0; step--) {
      await process.sleep(dice.tailed(40));
      if (!this.beliefs.holds(claim, held)) return;
      const what = dice.below(4);
      if (what === 0 && isAlone) {
        const value = utf8(`${held.fence} ${who}`);
        await expected(this.#world, who, () => held.txn().put(`fenced/${kind}/${name}`, value).commit({ timeoutMs: 3000 }));
      } else if (what === 1 && isAlone) this.#resources.send(resource, held.fence);
      else if (what === 2 && isAlone) {
        if (dice.chance(0.3)) await process.block(dice.pick(BLOCKS_MS));
        this.#resources.act(resource, held.fence);
        this.beliefs.holds(claim, held);
      }
    }
  }
}

function drawn(dice: Dice): Wish {
  const kind = dice.pick<Kind>(['lock', 'lock', 'lock', 'read', 'read', 'write', 'permits']);
  const name = dice.pick(['a', 'b']);
  const permits = kind === 'permits' ? 1 + dice.below(2) : 0;
  const line = {
    lock: `coterie/locks/${name}/`,
    read: `coterie/rwlocks/${name}/read/`,
    write: `coterie/rwlocks/${name}/write/`,
    permits: `coterie/semaphores/${name}/permits/`,
  }[kind];
  return { kind, name, permits, line, once: dice.chance(0.2), lossDelayMs: dice.chance(0.1) ? 1000 : 0 };
}

export function startLockers(world: World, beliefs: Beliefs, resources: Resources): void {
  for (let i = 0; i < world.swarm.recipes.lockers; i++) startProgram(world, new Locker(world, beliefs, resources, i));
}
