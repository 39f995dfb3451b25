// The event loop of one simulated process, and its Clock. While the process is busy, stalled or paused, whatever falls due or
// arrives queues up; when it wakes, everything queued runs in Node's order: timers, then finished I/O, then network input,
// then what was put off to the next turn. That order is the dangerous one: a timer that fires late runs before the input
// that had waited all along (reliability D4).
//
// The local clock runs at its own rate, may stand still, may jump ahead, and never goes back.

import type { Clock } from '../../core/base/clock.js';
import { Heap } from '../../core/base/heap.js';
import type { Dice } from './random.js';
import { Kind, type Happening, type Scheduler } from './scheduler.js';

interface Timer {
  /** On the local clock. */
  readonly dueMs: number;
  readonly order: number;
  readonly run: () => void;
  canceled: boolean;
}

export interface LoopProfile {
  /** Local milliseconds per true millisecond. */
  readonly rate: number;
  /** What the local clock shows when the world begins. */
  readonly originMs: number;
  /** How often (of iterations) a handler takes long, and how long then. */
  readonly stallChance: number;
  readonly stallMs: number;
}

/** Thrown by a door when the process is killed in the middle of a turn; it unwinds whatever was running. */
export class Kill extends Error {
  override readonly name = 'Kill';
}

export interface LoopOwner {
  /** After each iteration in which something ran. */
  onIterated(): void;
  /** The process threw: nothing caught it. */
  onThrown(error: unknown): void;
  /** Killed at a door, in the middle of a turn. */
  onKilled(): void;
}

/** What an iteration takes at least. */
const ITERATION_MS = 0.01;
const THROWN_AWAY = (): void => undefined;

export class EventLoop implements Clock {
  /** Door calls from now until the process is killed at one; 0: it is not. */
  killAtDoor = 0;
  stalls = 0;
  readonly #scheduler: Scheduler;
  readonly #who: number;
  readonly #dice: Dice;
  readonly #profile: LoopProfile;
  readonly #owner: LoopOwner;
  #state: 'running' | 'paused' | 'dead' = 'running';
  #busyUntil = 0;
  #inside = false;
  #wake: Happening | null = null;
  #wakeAt = Infinity;
  #order = 0;
  readonly #timers = new Heap<Timer>(isDueBefore);
  #completions: (() => void)[] = [];
  #arrivals: (() => void)[] = [];
  #immediates: Timer[] = [];
  /** No timer runs before its time has come on the local clock, whatever rounding says. */
  #floorMs = 0;
  #localBase: number;
  #trueBase: number;
  #isClockFrozen = false;
  #isSwift = false;

  constructor(scheduler: Scheduler, who: number, dice: Dice, profile: LoopProfile, owner: LoopOwner) {
    this.#scheduler = scheduler;
    this.#who = who;
    this.#dice = dice;
    this.#profile = profile;
    this.#owner = owner;
    this.#trueBase = scheduler.now;
    this.#localBase = profile.originMs + scheduler.now * profile.rate;
  }

  get isAlive(): boolean {
    return this.#state !== 'dead';
  }

  get isPaused(): boolean {
    return this.#state === 'paused';
  }

  /** A turn is being run by the process itself, so that a door may end it. */
  get isInside(): boolean {
    return this.#inside;
  }

  get timersPending(): number {
    let pending = 0;
    for (const timer of this.#timers) if (!timer.canceled) pending++;
    return pending;
  }

  now(): number {
    if (this.#isClockFrozen) return this.#localBase;
    return Math.max(this.#floorMs, this.#localBase + (this.#scheduler.now - this.#trueBase) * this.#profile.rate);
  }

  schedule(delayMs: number, run: () => void): () => void {
    if (this.#state === 'dead') return THROWN_AWAY;
    this.door();
    const dueMs = this.now() + Math.max(0, delayMs);
    const timer: Timer = { dueMs, order: (this.#order += 1), run, canceled: false };
    if (delayMs <= 0) {
      this.#immediates.push(timer);
      if (!this.#inside) this.#arm(this.#scheduler.now);
    } else {
      this.#timers.push(timer);
      if (!this.#inside && this.#timers.peek() === timer) this.#armForTimers();
    }
    return () => {
      timer.canceled = true;
    };
  }

  /** Called at each door call of the process: the place where it may be killed. */
  door(): void {
    if (this.killAtDoor === 0 || !this.#inside) return;
    this.killAtDoor--;
    if (this.killAtDoor > 0) return;
    this.die();
    throw new Kill('killed at a door');
  }

  /** I/O of this process has finished. */
  complete(run: () => void): void {
    if (this.#state === 'dead') return;
    this.#completions.push(run);
    this.#arm(this.#scheduler.now);
  }

  /** Input from the network has arrived. */
  arrive(run: () => void): void {
    if (this.#state === 'dead') return;
    this.#arrivals.push(run);
    this.#arm(this.#scheduler.now);
  }

  /** SIGSTOP; with `clock`, the whole machine is suspended and its clock stands still. */
  pause(clock: boolean): void {
    if (this.#state !== 'running') return;
    this.#state = 'paused';
    if (!clock) return;
    this.#localBase = this.now();
    this.#isClockFrozen = true;
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    if (this.#isClockFrozen) {
      this.#isClockFrozen = false;
      this.#trueBase = this.#scheduler.now;
    }
    this.#arm(this.#scheduler.now);
  }

  /** The clock stands still, and the process goes on. */
  freeze(): void {
    if (this.#state !== 'running' || this.#isClockFrozen) return;
    this.#localBase = this.now();
    this.#isClockFrozen = true;
  }

  thaw(): void {
    if (this.#state !== 'running' || !this.#isClockFrozen) return;
    this.#isClockFrozen = false;
    this.#trueBase = this.#scheduler.now;
    this.#armForTimers();
  }

  /** The loop stands still for so long. */
  stall(ms: number): void {
    if (this.#state === 'dead') return;
    this.#busyUntil = Math.max(this.#busyUntil, this.#scheduler.now) + ms;
    this.stalls++;
  }

  /** Whatever holds the loop up ends now, and nothing does for long any more. */
  relieve(): void {
    this.resume();
    this.thaw();
    this.#busyUntil = Math.min(this.#busyUntil, this.#scheduler.now);
    this.#isSwift = true;
    this.#arm(this.#scheduler.now);
  }

  /** The clock leaps ahead, as after a suspended machine whose clock went on. */
  jump(ms: number): void {
    if (this.#state === 'dead') return;
    this.#localBase += ms;
    this.#armForTimers();
  }

  die(): void {
    this.#state = 'dead';
    this.#timers.clear();
    this.#completions = [];
    this.#arrivals = [];
    this.#immediates = [];
    if (this.#wake !== null) this.#wake.canceled = true;
  }

  #arm(at: number): void {
    if (this.#state !== 'running' || this.#inside) return;
    const time = Math.max(at, this.#busyUntil, this.#scheduler.now);
    if (time >= this.#wakeAt) return;
    if (this.#wake !== null) this.#wake.canceled = true;
    this.#wakeAt = time;
    this.#wake = this.#scheduler.at(time, Kind.turn, this.#who, () => this.#iterate());
  }

  #armForTimers(): void {
    while (this.#timers.peek()?.canceled === true) this.#timers.pop();
    const first = this.#timers.peek();
    if (first === undefined || this.#isClockFrozen) return;
    const trueMs = this.#trueBase + (first.dueMs - this.#localBase) / this.#profile.rate;
    this.#arm(Math.max(this.#scheduler.now, trueMs));
  }

  #iterate(): void {
    this.#wake = null;
    this.#wakeAt = Infinity;
    if (this.#state !== 'running') return;
    // A stall may have begun after this wake was arranged.
    if (this.#busyUntil > this.#scheduler.now) return this.#arm(this.#busyUntil);
    this.#inside = true;
    try {
      const ran = this.#phases();
      this.#inside = false;
      if (this.isAlive && ran) this.#owner.onIterated();
    } catch (error) {
      this.#inside = false;
      if (error instanceof Kill) return this.#owner.onKilled();
      return this.#owner.onThrown(error);
    } finally {
      this.#inside = false;
    }
    // A turn may swallow the Kill that ended it: nothing it did afterwards reached a door.
    if (!this.isAlive) return this.#owner.onKilled();
    this.#busyUntil = this.#scheduler.now + ITERATION_MS;
    if (this.#dice.chance(this.#profile.stallChance)) {
      this.stalls++;
      const { stallMs } = this.#profile;
      this.#busyUntil += this.#isSwift ? Math.min(this.#dice.tailed(stallMs / 10), stallMs / 4) : this.#dice.tailed(stallMs);
    }
    if (this.#immediates.length > 0 || this.#completions.length > 0 || this.#arrivals.length > 0) this.#arm(this.#busyUntil);
    this.#armForTimers();
  }

  #phases(): boolean {
    let ran = false;
    const now = this.now();
    // Half a microsecond: what the conversion between two clocks may lose.
    for (let first = this.#timers.peek(); first !== undefined && first.dueMs <= now + 0.0005; first = this.#timers.peek()) {
      this.#timers.pop();
      if (first.canceled) continue;
      ran = true;
      first.canceled = true;
      this.#floorMs = Math.max(this.#floorMs, first.dueMs);
      first.run();
      if (!this.isAlive) return true;
    }
    if (this.#completions.length > 0) {
      const batch = this.#completions;
      this.#completions = [];
      ran = true;
      if (!this.#runAll(batch)) return true;
    }
    if (this.#arrivals.length > 0) {
      const batch = this.#arrivals;
      this.#arrivals = [];
      ran = true;
      if (!this.#runAll(batch)) return true;
    }
    const turns = this.#immediates;
    if (turns.length === 0) return ran;
    this.#immediates = [];
    for (const turn of turns) {
      if (turn.canceled) continue;
      turn.canceled = true;
      turn.run();
      if (!this.isAlive) return true;
    }
    return true;
  }

  /** False: the process died on the way. */
  #runAll(batch: readonly (() => void)[]): boolean {
    for (const run of batch) {
      run();
      if (!this.isAlive) return false;
    }
    return true;
  }
}

function isDueBefore(a: Timer, b: Timer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}
