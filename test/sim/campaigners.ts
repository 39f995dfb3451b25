// Programs that want one office: they campaign with and without a priority, proclaim, resign, hand over to somebody chosen,
// ask each other to resign, stand still, and die. Beside them some only watch who leads: what they see must be what the store
// had, in its order, leaving out what it likes (I36), and in the end the truth.

import { utf8 } from '../../core/base/bytes.js';
import type { Revision } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { campaign, type Leadership } from '../../recipes/election.js';
import { observe, requestResign } from '../../recipes/election-state.js';
import type { Session } from '../../recipes/session.js';
import { Connection } from './connection.js';
import { ClientProcess } from './process.js';
import { expected, roam, startProgram, withSession, type Beliefs, type Claim, type Life, type Program } from './programs.js';
import { Dice } from './random.js';
import type { Resources } from './resource.js';
import { pickMachine } from './workload.js';
import type { World } from './world.js';

export const OFFICE = 'boss';
const LINE = `coterie/elections/${OFFICE}/`;
const OBSERVERS = 2;
const LOOK_MS = 200;

/** What an observer was shown; `term` null: that nobody led. */
export interface Sight {
  readonly who: string;
  readonly at: number;
  readonly term: Revision | null;
  /** Of the value. */
  readonly revision: Revision;
  readonly value: string;
}

export class Campaigner implements Program {
  readonly name: string;
  readonly beliefs: Beliefs;
  readonly #world: World;
  readonly #resources: Resources;

  constructor(world: World, beliefs: Beliefs, resources: Resources, index: number) {
    this.name = `cd${index + 1}`;
    this.beliefs = beliefs;
    this.#world = world;
    this.#resources = resources;
  }

  isDone(): boolean {
    return this.#world.isClosing;
  }

  live(life: Life): Promise<void> {
    return withSession(this.beliefs, life, async (session) => {
      while (!this.#world.isClosing && this.beliefs.looked(life.who, session)) {
        if (!await this.#candidacy(life, session)) return;
        await life.process.sleep(life.dice.tailed(200));
      }
    });
  }

  /** False: it leads, and does not resign. */
  async #candidacy(life: Life, session: Session): Promise<boolean> {
    const { who, dice, connection } = life;
    const isBounded = this.#world.serving === null && dice.chance(0.3);
    const options = { priority: dice.pick([0, 0, 0, 1, 5]), ...(isBounded ? { timeoutMs: dice.tailed(1500) } : {}) };
    if (dice.chance(0.1)) await expected(this.#world, who, () => requestResign(connection, OFFICE, `${who} asks`));
    this.beliefs.began(LINE, session);
    let office: Leadership | null = null;
    let isClean = true;
    await expected(this.#world, who, async () => {
      try {
        office = await campaign(session, OFFICE, who, options);
      } catch (error) {
        isClean = isApiError(error) && !('entryMayRemain' in error);
        throw error;
      }
    });
    // TypeScript does not see that the callback has run.
    const won = office as Leadership | null;
    if (won === null) {
      this.beliefs.ended(who, LINE, session, isClean);
      return true;
    }
    return this.#lead(won, life, session);
  }

  async #lead(won: Leadership, life: Life, session: Session): Promise<boolean> {
    const { who, dice } = life;
    this.#world.counts.held++;
    this.#world.covered('held: office');
    const claim = this.beliefs.claimed(who, { kind: 'office', name: OFFICE }, won);
    await this.#term(won, claim, life);
    if (!this.#world.isClosing && dice.chance(0.1)) return false;
    const handTo = dice.chance(0.3) ? { handTo: () => true } : {};
    const isOver = await expected(this.#world, who, () => won.resign(handTo))
      || await expected(this.#world, who, () => won.resign());
    this.beliefs.ended(who, LINE, session, isOver);
    return true;
  }

  async #term(office: Leadership, claim: Claim, life: Life): Promise<void> {
    const { dice, process, who } = life;
    const { wanted } = office;
    for (let step = 1 + dice.below(5); step > 0; step--) {
      await process.sleep(dice.tailed(60));
      if (!this.beliefs.holds(claim, office)) return;
      if (wanted.aborted) this.#world.covered('a leader is asked to resign');
      if (wanted.aborted && dice.chance(0.7)) return;
      const what = dice.below(3);
      if (what === 0) {
        await expected(this.#world, who, () => office.proclaim(`${who} ${step}`, { timeoutMs: 2000 }));
      } else if (what === 1) {
        const value = utf8(`${office.fence} ${who}`);
        await expected(this.#world, who, () => office.txn().put(`fenced/office/${OFFICE}`, value).commit({ timeoutMs: 3000 }));
      } else this.#resources.send('office', office.fence);
    }
  }
}

export class Observers {
  readonly sights: Sight[] = [];
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  start(): void {
    for (let i = 0; i < OBSERVERS; i++) this.#world.task(`ob${i + 1}`, () => this.#watch(`ob${i + 1}`));
  }

  /** Until everybody else has ended, and it has been shown that nobody leads. */
  async #watch(who: string): Promise<void> {
    const world = this.#world;
    const dice = new Dice(world.swarm.seed, who);
    const process = new ClientProcess(world, 1);
    const connection = new Connection(world, who, pickMachine(world, dice), process);
    roam(world, connection, process);
    const stop = new AbortController();
    let seen: Revision | null = 0;
    const look = (): void => {
      if (world.isClosing && seen === null && world.tasks <= OBSERVERS) stop.abort();
      else process.schedule(LOOK_MS, look);
    };
    look();
    await expected(world, who, async () => {
      for await (const now of observe(connection, OFFICE, { clock: process, signal: stop.signal, livenessMs: 3000 })) {
        seen = now?.term ?? null;
        if (now?.staleSince !== undefined && now.staleSince !== null) world.covered('an observer is told that it may be late');
        this.sights.push({
          who, at: world.scheduler.now, term: seen, revision: now?.revision ?? 0, value: now?.value ?? '',
        });
        if (dice.chance(0.1)) await process.sleep(dice.tailed(1000));
      }
    });
    process.die();
    connection.kill();
  }
}

export function startCampaigners(world: World, beliefs: Beliefs, resources: Resources): Observers {
  const observers = new Observers(world);
  const { candidates } = world.swarm.recipes;
  for (let i = 0; i < candidates; i++) startProgram(world, new Campaigner(world, beliefs, resources, i));
  if (candidates > 0) observers.start();
  return observers;
}

export { LINE as OFFICE_LINE };
