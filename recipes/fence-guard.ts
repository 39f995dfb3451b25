// The checker's side of a fence: what stands before a thing outside the store (a file, a device, somebody's API) remembers
// the highest fence it has seen for each resource and refuses a lower one. So whoever was slow, stalled or cut off and has
// been succeeded cannot do harm late, whatever it believes about its lock.
//
// A check alone is not enough: between it and the effect somebody newer may come and go. So `run` does the effects of a
// resource one after the other in this process. Where several processes guard one thing, the check must be part of the
// effect's own transaction: examples/fences has it for SQL and for Redis, and `FenceStore` is the door for both.
//
// Bounded, and never by forgetting: fences are revisions of one store, so what is dropped is remembered as a floor below
// which nothing unknown is let in. At worst somebody who has held for very long, unseen for long, is refused.

import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { Revision } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import type { WaitOptions } from './pause.js';
import { checkNumber, within } from './pause.js';

const RESOURCES_MAX = 100_000;
const WAITING_MAX = 1_000;
/** UTF-16 units. */
const RESOURCE_LENGTH_MAX = 1_024;
/** Dropped at once when the memory is full: a sort for every so many arrivals, not for each. */
const DROPPED_SHARE = 1 / 4;

/** Somebody came after this holder. Nothing was done. */
export class StaleFence extends Error {
  override readonly name = 'StaleFence';
  readonly code = 'stale_fence';
  readonly resource: string;
  readonly fence: Revision;
  /** The highest that has been seen; of a resource that was dropped from memory: the floor. */
  readonly newest: Revision;

  constructor(resource: string, fence: Revision, newest: Revision) {
    super(`fence ${fence} of ${resource} is stale: ${newest} has been seen; whoever holds it now has a higher one`);
    this.resource = resource;
    this.fence = fence;
    this.newest = newest;
  }
}

/** Where the highest fences are kept: in memory, or in the place that has the effects too. */
export interface FenceStore {
  /** In one step: remembers `fence` unless a higher one is there. Returns the highest there is then. */
  raise(resource: string, fence: Revision): Revision | Promise<Revision>;
}

/** Fences of one process. They are forgotten with it: keep them in a database where that matters. */
export class MemoryFences implements FenceStore {
  readonly #highest = new Map<string, Revision>();
  readonly #resourcesMax: number;
  /** Invariant: no resource that was ever dropped had a higher fence than this. */
  #floor: Revision = 0;

  constructor(options: { readonly resourcesMax?: number } = {}) {
    this.#resourcesMax = options.resourcesMax ?? RESOURCES_MAX;
    checkNumber('resourcesMax', this.#resourcesMax, 1);
  }

  get size(): number {
    return this.#highest.size;
  }

  raise(resource: string, fence: Revision): Revision {
    const highest = this.#highest.get(resource) ?? this.#floor;
    if (fence < highest) return highest;
    this.#highest.set(resource, fence);
    if (this.#highest.size > this.#resourcesMax) this.#drop();
    return fence;
  }

  #drop(): void {
    const byFence = [...this.#highest].toSorted(([, a], [, b]) => a - b);
    for (const [resource, fence] of byFence.slice(0, Math.ceil(this.#resourcesMax * DROPPED_SHARE))) {
      this.#highest.delete(resource);
      this.#floor = Math.max(this.#floor, fence);
    }
  }
}

export interface FenceGuardOptions {
  /** Default: in memory, 100,000 resources. */
  readonly store?: FenceStore;
  /** Of one resource; more are refused with `too_many_requests`. Default 1,000. */
  readonly waitingMax?: number;
  readonly clock?: Clock;
}

interface Running {
  readonly fence: Revision;
  readonly overtaken: AbortController;
}

/** Those who are at work on one resource, or wait for their turn. Gone when there is nobody. */
interface Line {
  tail: Promise<void>;
  count: number;
  running: Running | null;
}

export class FenceGuard {
  readonly #store: FenceStore;
  readonly #waitingMax: number;
  readonly #clock: Clock;
  readonly #lines = new Map<string, Line>();

  constructor(options: FenceGuardOptions = {}) {
    this.#store = options.store ?? new MemoryFences();
    this.#waitingMax = options.waitingMax ?? WAITING_MAX;
    this.#clock = options.clock ?? systemClock;
    checkNumber('waitingMax', this.#waitingMax, 1);
  }

  /**
   * Remembers `fence`, or throws `StaleFence` when a higher one has been seen. The same one may come again and again. Enough
   * by itself only for what checks again where the effect is; else `run`.
   */
  async admit(resource: string, fence: Revision): Promise<void> {
    check(resource, fence);
    const newest = await this.#store.raise(resource, fence);
    if (newest > fence) throw new StaleFence(resource, fence, newest);
    const running = this.#lines.get(resource)?.running;
    if (running !== undefined && running !== null && running.fence < fence) {
      running.overtaken.abort(new StaleFence(resource, running.fence, fence));
    }
  }

  /**
   * Does `work` for `fence` when nobody else is at work on the resource in this process; `StaleFence` when somebody newer has
   * come by then. The signal aborts when somebody newer comes meanwhile, who waits until the work has ended.
   */
  async run<T>(
    resource: string,
    fence: Revision,
    work: (overtaken: AbortSignal) => T | Promise<T>,
    options: WaitOptions = {},
  ): Promise<T> {
    await this.admit(resource, fence);
    const line = this.#lines.get(resource) ?? { tail: Promise.resolve(), count: 0, running: null };
    const leave = await this.#turn(resource, line, options);
    try {
      await this.admit(resource, fence);
      const overtaken = new AbortController();
      line.running = { fence, overtaken };
      return await work(overtaken.signal);
    } finally {
      line.running = null;
      leave();
    }
  }

  async #turn(resource: string, line: Line, options: WaitOptions): Promise<() => void> {
    if (line.count >= this.#waitingMax) {
      throw new ApiError('too_many_requests', { detail: `${line.count} wait for their turn at ${resource}` });
    }
    this.#lines.set(resource, line);
    line.count += 1;
    const before = line.tail;
    let end = (): void => undefined;
    line.tail = new Promise((resolve) => {
      end = resolve;
    });
    const leave = (): void => {
      line.count -= 1;
      if (line.count === 0) this.#lines.delete(resource);
      end();
    };
    try {
      await within(before, this.#clock, { ...options, what: `waiting for the turn at ${resource}` });
    } catch (error) {
      // The place in the line stays until the one before has ended.
      void before.then(leave);
      throw error;
    }
    return leave;
  }
}

function check(resource: string, fence: Revision): void {
  if (resource === '' || resource.length > RESOURCE_LENGTH_MAX) {
    const detail = `the name of the resource has ${resource.length} characters; give 1 to ${RESOURCE_LENGTH_MAX}`;
    throw new ApiError('invalid_request', { detail });
  }
  if (!Number.isSafeInteger(fence) || fence < 1) {
    throw new ApiError('invalid_request', { detail: `fence is ${fence}; give the fence of a lock, a whole number from 1 on` });
  }
}
