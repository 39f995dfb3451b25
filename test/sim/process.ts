// The process of a simulated client: its clock drifts, its event loop stands still now and then, and it dies. What falls due
// or arrives while it stands still waits; when it wakes, whatever blocked it goes on first, then timers that are late, then
// input that came meanwhile: Node's order. Between two of them promises are run, as Node does (loop.ts, which is for members,
// who have none, runs them in one piece).

import type { Clock } from '../../core/base/clock.js';
import { Kind } from './scheduler.js';
import type { World } from './world.js';

/** For the hash of events. */
const WHO = 253;
/** The least that time moves on: rounding must not make a timer early. */
const GRAIN_MS = 0.0001;
/** Between two pieces of work that had waited. */
const TURN_MS = 0.01;

export class ClientProcess implements Clock {
  /** Resolves when it dies: whoever waits for something inside it waits for ever. */
  readonly died: Promise<void>;
  readonly #world: World;
  readonly #rate: number;
  readonly #origin: number;
  #isDead = false;
  #isBusy = false;
  #blockedUntil = 0;
  readonly #blocked: (() => void)[] = [];
  readonly #late: (() => void)[] = [];
  readonly #arrivals: (() => void)[] = [];
  #onDeath: () => void = () => undefined;

  /** `rate`: milliseconds of its clock per true millisecond. */
  constructor(world: World, rate: number) {
    this.#world = world;
    this.#rate = rate;
    this.#origin = 1000 * (rate * 7 + 1);
    this.died = new Promise((resolve) => {
      this.#onDeath = resolve;
    });
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** It stands still, or works on what waited meanwhile. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  now(): number {
    return this.#origin + this.#world.scheduler.now * this.#rate;
  }

  schedule(delayMs: number, run: () => void): () => void {
    if (this.#isDead) return () => undefined;
    let isWanted = true;
    const due = (): void => {
      if (isWanted) run();
    };
    const trueMs = delayMs <= 0 ? 0 : delayMs / this.#rate + GRAIN_MS;
    const happening = this.#world.scheduler.after(trueMs, Kind.client, WHO, () => this.#enter(this.#late, due));
    return () => {
      isWanted = false;
      happening.canceled = true;
    };
  }

  /** Input from the network. */
  arrive(run: () => void): void {
    this.#enter(this.#arrivals, run);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(ms, resolve);
    });
  }

  /** Stands still for so long, of true time. */
  stall(ms: number): void {
    const { scheduler } = this.#world;
    this.#blockedUntil = Math.max(this.#blockedUntil, scheduler.now + ms);
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#wakeAt(this.#blockedUntil);
  }

  /** A piece of work that keeps the loop for so long; what follows it runs before anything that waited meanwhile. */
  block(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#blocked.push(resolve);
      this.stall(ms);
    });
  }

  die(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    this.#world.isStirred = true;
    this.#onDeath();
  }

  #enter(queue: (() => void)[], run: () => void): void {
    if (this.#isDead) return;
    if (this.#isBusy) {
      queue.push(run);
      return;
    }
    this.#world.isStirred = true;
    run();
  }

  #wakeAt(time: number): void {
    this.#world.scheduler.at(time, Kind.client, WHO, () => this.#wake());
  }

  #wake(): void {
    if (this.#isDead) return;
    const { scheduler } = this.#world;
    if (scheduler.now < this.#blockedUntil) return this.#wakeAt(this.#blockedUntil);
    const next = this.#blocked.shift() ?? this.#late.shift() ?? this.#arrivals.shift();
    if (next === undefined) {
      this.#isBusy = false;
      return;
    }
    this.#world.isStirred = true;
    this.#wakeAt(scheduler.now + TURN_MS);
    next();
  }
}
