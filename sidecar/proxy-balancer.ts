// Who gets the next request. Power of two choices: two instances are drawn by weight, the one with fewer requests in
// flight per weight gets it. Passive ejection: an instance that cannot be connected to is left out for a short, bounded,
// growing time. When nobody else is left, ejected instances are tried anyway, for a wrong guess must not become an outage.
//
// Pure but for the injected clock and dice: no sockets here. Invariants: `inFlight` is the number of `begin` without
// `end`; an instance that was removed is never picked again, yet keeps counting what is still in flight on it.

import type { Clock } from '../core/base/clock.js';
import { assert, present } from '../core/base/assert.js';

export const BALANCER_LIMITS = {
  /** The first time out after a failed connect; doubled with each further failure in a row. */
  ejectFirstMs: 500,
  ejectMostMs: 10_000,
  /** Draws per pick before the balancer looks at everybody in turn. */
  drawsMax: 8,
} as const;

/** What the proxy must know of an instance; the registry's `Instance` has all of it. */
export interface Backend {
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly weight?: number;
  readonly state?: string;
}

/** One instance at one address, from the first `update` that names it until nothing is in flight on it any more. */
export interface Seat {
  readonly id: string;
  readonly address: string;
  readonly port: number;
  weight: number;
  inFlight: number;
  /** Requests ever sent here. */
  picked: number;
  /** Connects failed in a row. */
  failures: number;
  /** On the clock; picked only in need before. 0: never ejected. */
  ejectedUntilMs: number;
  /** Gets new requests. False from deregistration or 'draining' on. */
  open: boolean;
  /** No longer in the view. */
  gone: boolean;
}

export interface BalancerOptions {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Requests in flight on one instance; above it the instance is passed over. */
  readonly inFlightMax: number;
}

/** `full`: instances exist, all at `inFlightMax`. `none`: no instance takes new requests. */
export type Pick = { readonly kind: 'seat'; readonly seat: Seat; readonly panic: boolean } | { readonly kind: 'full' | 'none' };

export class Balancer {
  readonly #options: BalancerOptions;
  #seats = new Map<string, Seat>();
  /** Open seats, and the running sum of their weights: `#sums[i]` = weight of `#open[0..i]`. */
  #open: Seat[] = [];
  #sums: number[] = [];

  constructor(options: BalancerOptions) {
    this.#options = options;
  }

  /** Replaces the list. A seat is kept, with its counts, when id, address and port are the same. */
  update(backends: readonly Backend[]): { added: Seat[]; closed: Seat[]; removed: Seat[] } {
    const added: Seat[] = [];
    const closed: Seat[] = [];
    const next = new Map<string, Seat>();
    for (const backend of backends) {
      const name = seatName(backend);
      const seat = this.#seats.get(name) ?? newSeat(backend);
      if (!this.#seats.has(name)) added.push(seat);
      const open = isOpen(backend);
      if (seat.open && !open) closed.push(seat);
      seat.weight = weightOf(backend);
      seat.open = open;
      next.set(name, seat);
    }
    const removed = [...this.#seats].filter(([name]) => !next.has(name)).map(([, seat]) => seat);
    for (const seat of removed) {
      seat.open = false;
      seat.gone = true;
    }
    this.#seats = next;
    this.#open = [...next.values()].filter((seat) => seat.open);
    let sum = 0;
    this.#sums = this.#open.map((seat) => (sum += seat.weight));
    return { added, closed, removed };
  }

  /** Draws a seat that is not in `tried`. In need (everybody ejected) an ejected one, with `panic`. */
  pick(tried: ReadonlySet<Seat> = new Set()): Pick {
    const now = this.#options.clock.now();
    const healthy = (seat: Seat): boolean => this.#takes(seat) && seat.ejectedUntilMs <= now && !tried.has(seat);
    const seat = this.#choose(healthy);
    if (seat !== null) return { kind: 'seat', seat, panic: false };
    const needy = this.#choose((other) => this.#takes(other) && !tried.has(other));
    if (needy !== null) return { kind: 'seat', seat: needy, panic: true };
    const full = this.#open.some((other) => !tried.has(other) && other.inFlight >= this.#options.inFlightMax);
    return { kind: full ? 'full' : 'none' };
  }

  begin(seat: Seat): void {
    seat.inFlight += 1;
    seat.picked += 1;
  }

  end(seat: Seat): void {
    assert(seat.inFlight > 0, `more requests ended than began on instance ${seat.id}`);
    seat.inFlight -= 1;
  }

  /** A connection stood: whatever was believed of this instance before, it listens. */
  connected(seat: Seat): void {
    seat.failures = 0;
    seat.ejectedUntilMs = 0;
  }

  /** A connect failed; returns for how long the instance is left out. Failures of one ejection count once. */
  failed(seat: Seat): number {
    const now = this.#options.clock.now();
    if (seat.ejectedUntilMs > now) return 0;
    const ejectMs = Math.min(BALANCER_LIMITS.ejectFirstMs * 2 ** seat.failures, BALANCER_LIMITS.ejectMostMs);
    seat.failures += 1;
    seat.ejectedUntilMs = now + ejectMs;
    return ejectMs;
  }

  seats(): readonly Seat[] {
    return [...this.#seats.values()];
  }

  #takes(seat: Seat): boolean {
    return seat.inFlight < this.#options.inFlightMax;
  }

  /** Two distinct seats by weight, the less loaded wins, the first drawn on a tie (so that idle shares follow the weights). */
  #choose(fits: (seat: Seat) => boolean): Seat | null {
    const first = this.#draw(fits);
    if (first === null) return null;
    const second = this.#draw((seat) => seat !== first && fits(seat));
    if (second === null) return first;
    return second.inFlight / second.weight < first.inFlight / first.weight ? second : first;
  }

  #draw(fits: (seat: Seat) => boolean): Seat | null {
    const total = this.#sums.at(-1) ?? 0;
    if (total === 0) return null;
    for (let draw = 0; draw < BALANCER_LIMITS.drawsMax; draw += 1) {
      const seat = this.#at(this.#options.random() * total);
      if (fits(seat)) return seat;
    }
    const start = Math.floor(this.#options.random() * this.#open.length);
    for (let step = 0; step < this.#open.length; step += 1) {
      const seat = present(this.#open[(start + step) % this.#open.length], 'an open seat');
      if (fits(seat)) return seat;
    }
    return null;
  }

  /** The seat on whose stretch of the summed weights `point` lies; binary search. */
  #at(point: number): Seat {
    let low = 0;
    let high = this.#sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (present(this.#sums[middle], 'a sum') > point) high = middle;
      else low = middle + 1;
    }
    return present(this.#open[low], 'an open seat');
  }
}

function seatName(backend: Backend): string {
  return `${backend.id}\n${backend.address}\n${backend.port}`;
}

function newSeat(backend: Backend): Seat {
  const { id, address, port } = backend;
  return {
    id, address, port, weight: weightOf(backend), inFlight: 0, picked: 0, failures: 0, ejectedUntilMs: 0,
    open: isOpen(backend), gone: false,
  };
}

function weightOf(backend: Backend): number {
  const weight = backend.weight ?? 1;
  return Number.isFinite(weight) && weight > 0 ? weight : 0;
}

/** A state the proxy does not know means no new requests: whoever invents one wants the instance treated specially. */
function isOpen(backend: Backend): boolean {
  return weightOf(backend) > 0 && (backend.state === undefined || backend.state === 'up');
}
