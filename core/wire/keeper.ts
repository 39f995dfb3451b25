// Keeps one lease from beside the main loop: renews it every third of its TTL, but only while the main loop has given a
// sign of life within the stall budget. So a loop that stands still for less keeps what it holds, and one that hangs loses
// it: at the latest the budget plus one TTL after it stood still, since nothing is sent once the budget is used up.
//
// Invariant: `renewedNs` is when a renewal was SENT that the store has confirmed, never when its answer came.

import type { Clock } from '../base/clock.js';
import type { Client, KeepOrder } from '../client.js';
import { isApiError } from '../errors.js';
import type { KeepCell } from './keep-cell.js';

/** Of the TTL: between two renewals, until one is given up, after a failure, and between looks at a loop that stands still. */
const INTERVAL_SHARE = 1 / 3;
const ATTEMPT_SHARE = 0.45;
const RETRY_SHARE = 1 / 15;
const LOOK_SHARE = 1 / 30;
/** Whatever the shares: no more often than this. */
const PAUSE_MS_MIN = 10;
const NS_PER_MS = 1_000_000;

export interface KeeperDoors {
  readonly client: Pick<Client, 'keepAlive'>;
  readonly clock: Clock;
  /** As the cell counts. */
  nowNs(): bigint;
  onGone(): void;
}

export class Keeper {
  readonly #order: Omit<KeepOrder, 'tell'>;
  readonly #cell: KeepCell;
  readonly #doors: KeeperDoors;
  readonly #calls = new AbortController();
  #cancelTimer: () => void = () => undefined;

  constructor(order: Omit<KeepOrder, 'tell'>, cell: KeepCell, doors: KeeperDoors) {
    this.#order = order;
    this.#cell = cell;
    this.#doors = doors;
    this.#turn();
  }

  /** Idempotent. */
  stop(): void {
    this.#cell.stop();
    this.#cancelTimer();
    this.#calls.abort();
  }

  #turn(): void {
    if (this.#cell.isStopped || this.#cell.isGone) return;
    const standsStill = this.#doors.nowNs() - this.#cell.beatNs >= BigInt(Math.round(this.#order.stallBudgetMs * NS_PER_MS));
    if (!standsStill) this.#renew();
    this.#again(standsStill ? LOOK_SHARE : INTERVAL_SHARE);
  }

  #again(share: number): void {
    this.#cancelTimer();
    if (this.#cell.isStopped || this.#cell.isGone) return;
    this.#cancelTimer = this.#doors.clock.schedule(Math.max(PAUSE_MS_MIN, share * this.#order.ttlMs), () => this.#turn());
  }

  /** Overlaps with the one before when that is not answered within an interval; each is given up by its own time-out. */
  #renew(): void {
    const { lease, ttlMs } = this.#order;
    const sentNs = this.#doors.nowNs();
    this.#doors.client.keepAlive(lease, { timeoutMs: ATTEMPT_SHARE * ttlMs, signal: this.#calls.signal }).then(
      ({ ttlSeconds }) => this.#onAnswer(sentNs, ttlSeconds),
      (error: unknown) => this.#onFailure(sentNs, error),
    );
  }

  #onAnswer(sentNs: bigint, ttlSeconds: number): void {
    if (ttlSeconds <= 0) return this.#onGone();
    // Should the store give less than it granted, then less is confirmed.
    const missingMs = Math.max(0, this.#order.ttlMs - ttlSeconds * 1000);
    const confirmedNs = sentNs - BigInt(missingMs * NS_PER_MS);
    if (confirmedNs > this.#cell.renewedNs) this.#cell.renewedNs = confirmedNs;
  }

  #onFailure(sentNs: bigint, error: unknown): void {
    if (isApiError(error, 'lease_not_found')) return this.#onGone();
    // A newer one was confirmed, or is under way and has time left: nothing is urgent.
    if (sentNs >= this.#cell.renewedNs) this.#again(RETRY_SHARE);
  }

  #onGone(): void {
    this.#cancelTimer();
    if (this.#cell.isGone) return;
    this.#cell.setGone();
    this.#doors.onGone();
  }
}
