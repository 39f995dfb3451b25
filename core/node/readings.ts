// Ranges of many keys, read some thousand keys in a turn, so that a reader of everything holds up neither heartbeats nor writes
// nor other readers: those under way take turns. A small one that finds time left in the turn is answered at once, and one that
// comes while large ones wait is begun before them.
//
// While one is under way its store's rows are pinned, and nothing compacted is removed. So that this is for no longer than a
// few readings take, none is begun beside others while there is history to remove, and some is removed before the next.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Header, LeaseId, RangeForm } from '../client.js';
import { ApiError, type ErrorCode } from '../errors.js';
import type { Reading } from '../store/range.js';
import type { Steps } from '../store/steps.js';
import type { Store } from '../store/store.js';
import type { Telling } from '../store/telling.js';
import { attempt } from './caught.js';
import { LeaseList } from './lease-list.js';
import {
  readKeysPerSlice, readKeysPerTurn, readingsBytesMax, readingsMax, readingsWaitingMax, tidyRowsPerTick,
} from './limits.js';

/** What it costs to begin, or to go on, in keys looked at. */
const STEPS_A_SLICE = 16;
/** So many are found, measured and written in one slice, unless their values are large. */
const SMALL_KEYS = readKeysPerSlice / 4;

export interface ReadingsDoors {
  readonly clock: Clock;
  store(): Store;
  isRunning(): boolean;
}

/** What is to be read. */
export interface Wish<T> {
  /** Keys that are to be looked at, about: of few the answer does not wait behind those of many. */
  keysIn(store: Store): number;
  /** Begins to read the store as it is now; called again should the store be replaced before the answer is there. */
  begin(store: Store): Reading | ErrorCode;
  header(): Header;
  formOf(): RangeForm<T>;
  /** Nobody waits for the answer any more. */
  isGivenUp(): boolean;
}

export interface LeasesWish {
  /** Whether they may be listed as the store is now; asked again should it be replaced before the list is there. */
  begin(store: Store): ErrorCode | null;
  /** Milliseconds that are left, where this member knows it. */
  readonly leftHere: (id: LeaseId) => number | null;
  isGivenUp(): boolean;
}

export class Readings {
  readonly #doors: ReadingsDoors;
  readonly #waiting: Task[] = [];
  /** Small ones that wait as well. */
  readonly #waitingSmall: Task[] = [];
  readonly #underWay: Task[] = [];
  readonly #room = new Room(readingsBytesMax);
  /** Keys that may still be looked at in this turn. */
  #left = readKeysPerTurn;
  #isScheduled = false;
  /** The last slice went to a small one that had waited. */
  #wasSmall = false;

  constructor(doors: ReadingsDoors) {
    this.#doors = doors;
  }

  /** Done at once, if there is not much to it and nobody waits. */
  read<T>(wish: Wish<T>, done: Done<T>): void {
    this.#take(new RangeTask(wish, done, this.#room));
  }

  /** All leases, in turn with what else is read, by what is left of them. */
  leases(wish: LeasesWish, done: Done<readonly LeaseId[]>): void {
    this.#take(new LeaseTask(wish, done));
  }

  #take(task: Task): void {
    if (this.#waitingCount >= readingsWaitingMax) {
      task.fail(new ApiError('too_many_requests'));
      return;
    }
    const isNow = this.#waitingCount + this.#underWay.length === 0 && this.#left > 0;
    (isNow || !task.isSmall(this.#doors.store()) ? this.#waiting : this.#waitingSmall).push(task);
    if (isNow) this.#proceed();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#doors.clock.schedule(0, () => {
      this.#isScheduled = false;
      this.#left = readKeysPerTurn;
      this.#proceed();
      if (this.#waitingCount + this.#underWay.length > 0) this.#schedule();
    });
  }

  get #waitingCount(): number {
    return this.#waiting.length + this.#waitingSmall.length;
  }

  #proceed(): void {
    while (this.#left > 0) {
      this.#admit();
      const task = this.#underWay.shift();
      if (task === undefined) return;
      const given = Math.min(this.#left, readKeysPerSlice);
      const steps = { left: given };
      const isDone = this.#doors.isRunning() ? task.step(this.#doors.store(), steps) : task.fail(new ApiError('stopped'));
      this.#left -= given - steps.left + STEPS_A_SLICE;
      if (!isDone) this.#underWay.push(task);
    }
  }

  #admit(): void {
    const store = this.#doors.store();
    if (store.isTidyDue && this.#waitingCount > 0) {
      if (this.#underWay.length > 0) return;
      store.tidy(tidyRowsPerTick);
    }
    // A small one goes ahead of all, in a place that is kept for such, and by turns with the others, so that these go on.
    const isTurn = this.#underWay.length === 0 || (!this.#wasSmall && this.#underWay.length <= readingsMax);
    const small = isTurn ? this.#waitingSmall.shift() : undefined;
    this.#wasSmall = small !== undefined;
    if (small !== undefined) this.#underWay.unshift(small);
    while (this.#underWay.length < readingsMax) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#underWay.push(next);
    }
  }
}

/** Of whatever form. */
interface Task {
  isSmall(store: Store): boolean;
  /** True: it is done. */
  step(store: Store, steps: Steps): boolean;
  fail(error: Error): true;
}

/** Memory for answers that are being written, shared by all; one that is larger than all of it has it alone. */
class Room {
  readonly #bytesMax: number;
  #taken = 0;
  /** Whose turn it is when there is room again. */
  #next: Task | null = null;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** False: there is none now, but there will be. Who waits longest is next: else others would always be in its way. */
  take(who: Task, bytes: number): boolean {
    const isFull = this.#taken > 0 && this.#taken + bytes > this.#bytesMax;
    if (isFull) this.#next ??= who;
    if (isFull || (this.#next !== null && this.#next !== who)) return false;
    this.#next = null;
    this.#taken += bytes;
    return true;
  }

  give(who: Task, bytes: number): void {
    if (this.#next === who) this.#next = null;
    this.#taken -= bytes;
  }
}

class LeaseTask implements Task {
  readonly #wish: LeasesWish;
  readonly #done: Done<readonly LeaseId[]>;
  /** What is listed. */
  #store: Store | null = null;
  #list: LeaseList | null = null;

  constructor(wish: LeasesWish, done: Done<readonly LeaseId[]>) {
    this.#wish = wish;
    this.#done = done;
  }

  isSmall(store: Store): boolean {
    return store.leaseCount <= SMALL_KEYS;
  }

  step(store: Store, steps: Steps): boolean {
    if (this.#wish.isGivenUp()) return this.fail(new ApiError('canceled'));
    if (this.#list === null || this.#store !== store) {
      const refusal = this.#wish.begin(store);
      if (refusal !== null) return this.fail(new ApiError(refusal));
      this.#list = new LeaseList(store, this.#wish.leftHere);
      this.#store = store;
    }
    const ids = this.#list.step(steps);
    if (ids === null) return false;
    this.#done(null, ids);
    return true;
  }

  fail(error: Error): true {
    this.#done(error);
    return true;
  }
}

class RangeTask<T> implements Task {
  readonly #wish: Wish<T>;
  readonly #done: Done<T>;
  readonly #room: Room;
  /** Bytes it has of that. */
  #held = 0;
  /** The one that is read. */
  #store: Store | null = null;
  #reading: Reading | null = null;
  #form: RangeForm<T> | null = null;
  #telling: Telling<T> | null = null;
  #unpin: (() => void) | null = null;
  #header: Header | null = null;

  constructor(wish: Wish<T>, done: Done<T>, room: Room) {
    this.#wish = wish;
    this.#done = done;
    this.#room = room;
  }

  isSmall(store: Store): boolean {
    return this.#wish.keysIn(store) <= SMALL_KEYS;
  }

  step(store: Store, steps: Steps): boolean {
    if (this.#wish.isGivenUp()) return this.fail(new ApiError('canceled'));
    // Rows of a store that is gone say nothing of the one that took its place.
    if (this.#store !== store) this.#forget();
    this.#store = store;
    const answer = attempt(() => this.#step(store, steps));
    if (answer instanceof Error) return this.fail(answer);
    if (answer === null) {
      this.#unpin ??= store.pin();
      return false;
    }
    this.#forget();
    this.#done(null, answer.whole);
    return true;
  }

  fail(error: Error): true {
    this.#forget();
    this.#done(error);
    return true;
  }

  /** The answer, once it is written. */
  #step(store: Store, steps: Steps): { readonly whole: T } | ApiError | null {
    if (this.#reading === null || this.#header === null || this.#form === null) {
      const reading = this.#wish.begin(store);
      if (typeof reading === 'string') return new ApiError(reading);
      this.#reading = reading;
      this.#header = this.#wish.header();
      this.#form = this.#wish.formOf();
    }
    if (!this.#reading.step(steps)) return null;
    this.#telling ??= store.telling(this.#reading, this.#header, this.#form);
    if (!this.#telling.measure(steps)) return null;
    if (this.#held === 0) {
      if (!this.#room.take(this, this.#telling.bytes)) return null;
      this.#held = this.#telling.bytes;
    }
    return this.#telling.step(steps) ? { whole: this.#form.end() } : null;
  }

  #forget(): void {
    this.#unpin?.();
    this.#unpin = null;
    this.#room.give(this, this.#held);
    this.#held = 0;
    this.#reading = null;
    this.#form = null;
    this.#telling = null;
  }
}
