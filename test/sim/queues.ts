// Programs that put items into a queue and take them out: of groups and of none, with priorities and delays, acknowledged
// together with an effect, given back, failed, given up, held on leases of their own, lost by whoever dies or stands still.
// In the end whoever is left works until nothing is left. queue-judge.ts judges every revision and every end.

import { utf8 } from '../../core/base/bytes.js';
import { opPut } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import { QueueKeys } from '../../recipes/queue-keys.js';
import type { PutOptions } from '../../recipes/queue-put.js';
import { Queue } from '../../recipes/queue.js';
import type { Session } from '../../recipes/session.js';
import { expected, startProgram, withSession, type Beliefs, type Claim, type Life, type Program } from './programs.js';
import type { World } from './world.js';

export const QUEUE_KEYS = new QueueKeys('work');
export const EFFECTS = 'effects/';
const GROUPS = 2;
const ITEMS_MAX = 20;
const ATTEMPTS_MAX = 100;
/** Between two puts of one producer. */
const PUT_EACH_MS = 500;
const PATIENCE_MS = 5000;

/** What programs were told about items. */
export class QueueBeliefs {
  /** Ids whose put was confirmed. */
  readonly put = new Set<string>();
  /** Ends that were confirmed: who ended which delivery, and how. */
  readonly settled: { readonly id: string; readonly fence: number; readonly how: 'done' | 'dead' }[] = [];
  /** Producers that have not ended: only without them the queue can be empty for good. */
  producing = 0;
}

export class Producer implements Program {
  readonly name: string;
  readonly beliefs: Beliefs;
  readonly #world: World;
  readonly #told: QueueBeliefs;
  #number = 0;

  constructor(world: World, beliefs: Beliefs, told: QueueBeliefs, index: number) {
    this.name = `pr${index + 1}`;
    this.beliefs = beliefs;
    this.#world = world;
    this.#told = told;
  }

  isDone(): boolean {
    return this.#world.isClosing;
  }

  ended(): void {
    this.#told.producing--;
  }

  async live(life: Life): Promise<void> {
    const { dice, process, who } = life;
    const queue = queueOf(life);
    while (!this.#world.isClosing) {
      await process.sleep(dice.tailed(PUT_EACH_MS));
      const id = `${this.name}-${(this.#number += 1)}`;
      const options: PutOptions = { id, priority: dice.pick([0, 0, 0, 1]), ...this.#how(life) };
      if (await this.#put(queue, id, options, who)) continue;
      // Whether it was put is found out by putting it again.
      if (dice.chance(0.7)) await this.#put(queue, id, options, who);
    }
  }

  #how({ dice }: Life): PutOptions {
    const what = dice.below(10);
    if (what < 5) return { group: `g${dice.below(GROUPS)}` };
    return what === 9 ? { delayMs: 1000 } : {};
  }

  async #put(queue: Queue<string>, id: string, options: PutOptions, who: string): Promise<boolean> {
    return expected(this.#world, who, async () => {
      await queue.put(id, { ...options, timeoutMs: PATIENCE_MS });
      this.#told.put.add(id);
    });
  }
}

export class Consumer implements Program {
  readonly name: string;
  readonly beliefs: Beliefs;
  readonly #world: World;
  readonly #told: QueueBeliefs;
  #isEmpty = false;

  constructor(world: World, beliefs: Beliefs, told: QueueBeliefs, index: number) {
    this.name = `co${index + 1}`;
    this.beliefs = beliefs;
    this.#world = world;
    this.#told = told;
  }

  isDone(): boolean {
    return this.#isEmpty;
  }

  live(life: Life): Promise<void> {
    return withSession(this.beliefs, life, async (session) => {
      const queue = queueOf(life);
      const hands = life.dice.pick([1, 1, 3]);
      await Promise.all(Array.from({ length: hands }, () => this.#row(queue, session, life)));
      queue.close();
    });
  }

  async #row(queue: Queue<string>, session: Session, life: Life): Promise<void> {
    const { who, process, dice } = life;
    while (!this.#isEmpty && this.beliefs.looked(who, session)) {
      await expected(this.#world, who, () => this.#work(queue, session, life));
      await process.sleep(dice.tailed(50));
      if (!this.#world.isClosing || this.#told.producing > 0) continue;
      await expected(this.#world, who, async () => {
        const { size } = await queue.stats({ timeoutMs: 3000 });
        this.#isEmpty = size === 0;
      });
    }
  }

  async #work(queue: Queue<string>, session: Session, life: Life): Promise<void> {
    const { who, dice, process } = life;
    const leaseMs = dice.chance(0.1) ? { leaseMs: 2000 } : {};
    let item: Delivery<string>;
    try {
      item = await queue.take(session, { timeoutMs: dice.tailed(1000), ...leaseMs });
    } catch (error) {
      if (isApiError(error, 'deadline_exceeded')) return;
      throw error;
    }
    this.#world.counts.delivered++;
    const claim = this.beliefs.claimed(who, { kind: 'item', name: item.id }, item);
    await process.sleep(dice.tailed(100));
    if (this.#world.serving === null && dice.chance(0.05)) await process.block(dice.tailed(3000));
    if (!this.beliefs.holds(claim, item)) return;
    try {
      await this.#settle(item, claim, life);
    } finally {
      await item[Symbol.asyncDispose]();
    }
  }

  async #settle(item: Delivery<string>, claim: Claim, { dice, process }: Life): Promise<void> {
    const { id, fence } = item;
    const what = this.#world.serving === null ? dice.below(20) : 0;
    if (what < 13) {
      const { succeeded } = await item.ack({ also: [opPut(utf8(EFFECTS + id), utf8(String(fence)))] });
      if (succeeded) this.#told.settled.push({ id, fence, how: 'done' });
    } else if (what < 15) await item.nack({ delayMs: dice.pick([0, 1000]) });
    else if (what < 16) {
      await item.nack({ dead: true });
      this.#told.settled.push({ id, fence, how: 'dead' });
    } else if (what < 18) await item.release();
    else if (what < 19) {
      await item.extend(1500);
      await process.sleep(dice.tailed(1000));
      this.beliefs.holds(claim, item);
      await item.release();
    }
  }
}

function queueOf({ connection, process }: Life): Queue<string> {
  return new Queue<string>(connection, QUEUE_KEYS.name, {
    clock: process, itemsMax: ITEMS_MAX, maxAttempts: ATTEMPTS_MAX, backoffMs: () => 1000, windowMs: 10_000,
  });
}

export function startQueue(world: World, beliefs: Beliefs): QueueBeliefs {
  const told = new QueueBeliefs();
  const { producers, consumers } = world.swarm.recipes;
  told.producing = producers;
  for (let i = 0; i < producers; i++) startProgram(world, new Producer(world, beliefs, told, i));
  for (let i = 0; i < consumers; i++) startProgram(world, new Consumer(world, beliefs, told, i));
  return told;
}
