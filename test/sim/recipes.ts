// The recipes in a world: which programs run (drawn in swarm.ts), whether they have come to rest after the faults, and what the
// judges say of them in the end.

import { prefixRange } from '../../core/client.js';
import { utf8 } from '../../core/base/bytes.js';
import type { Store } from '../../core/store/store.js';
import type { LogEntry } from '../model/history.js';
import { startCampaigners, type Observers } from './campaigners.js';
import { judgeHolders, judgeSessions, judgeSights, type Objection } from './holder-judge.js';
import { startLockers } from './holders.js';
import { Beliefs } from './programs.js';
import { judgeQueue } from './queue-judge.js';
import { QUEUE_KEYS, startQueue, type QueueBeliefs } from './queues.js';
import { courseOf } from './recipe-course.js';
import { Resources } from './resource.js';
import type { World } from './world.js';

/** Where nothing is left once everybody has gone. */
const EMPTIED: readonly string[] = [
  'coterie/locks/', 'coterie/rwlocks/', 'coterie/elections/', 'coterie/chosen/', 'coterie/wanted/', 'coterie/left/',
  'coterie/semaphores/a/gate/', 'coterie/semaphores/a/permits/', 'coterie/semaphores/b/gate/', 'coterie/semaphores/b/permits/',
  ...['ready/', 'line/', 'active/', 'out/', 'care/', 'turn/', 'guard/'].map((part) => QUEUE_KEYS.root + part),
];

export class Recipes {
  readonly #world: World;
  readonly #beliefs: Beliefs;
  readonly #observers: Observers;
  readonly #queue: QueueBeliefs;

  constructor(world: World) {
    this.#world = world;
    this.#beliefs = new Beliefs(() => world.scheduler.now);
    const resources = new Resources(world);
    startLockers(world, this.#beliefs, resources);
    this.#observers = startCampaigners(world, this.#beliefs, resources);
    this.#queue = startQueue(world, this.#beliefs);
  }

  get isAny(): boolean {
    const { lockers, candidates, producers } = this.#world.swarm.recipes;
    return lockers + candidates + producers > 0;
  }

  /** Null: everything has been given back. */
  unrest(store: Store): string | null {
    if (!this.isAny) return null;
    for (const prefix of EMPTIED) {
      const found = store.range({ ...prefixRange(utf8(prefix)), limit: 1, keysOnly: true });
      if (typeof found !== 'string' && found.count > 0) return `${found.count} keys are left under ${prefix}`;
    }
    return null;
  }

  /** `isOver`: everybody has ended by itself, the last consumer included. */
  judge(log: readonly LogEntry[], isOver: boolean): Objection | null {
    if (!this.isAny) return null;
    const course = courseOf(log);
    return judgeSessions(this.#beliefs, this.#world.recorder.operations) ?? judgeHolders(course, this.#beliefs)
      ?? judgeSights(course, this.#observers.sights) ?? judgeQueue(course, this.#queue, isOver);
  }
}
