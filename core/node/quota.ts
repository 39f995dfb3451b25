// The storage quota of one member (contract 9). The member that takes a request compares what its store holds, and the
// request is reckoned to add, with the quota. A request that does not fit is refused, and an alarm is raised through the log,
// so that from then on every member refuses alike; it stands until an operator clears it.
//
// Nothing is promised of the exact byte: requests under way are not counted, as in etcd, and memory comes in steps.

import type { Done } from '../base/done.js';
import { ApiError } from '../errors.js';
import type { Command } from '../store/command.js';
import type { Reply, Store } from '../store/store.js';
import type { NodeLimits } from './limits.js';

type QuotaLimits = Pick<NodeLimits, 'quotaBytes' | 'requestBytesMax' | 'proposalsMax'>;

export interface QuotaDoors {
  store(): Store;
  submit(command: Command, done: Done<Reply>): void;
}

export class Quota {
  readonly #doors: QuotaDoors;
  readonly #memberId: bigint;
  readonly #quotaBytes: number;
  /** With this much room no request can fail to fit. */
  readonly #ampleBytes: number;
  readonly #waitingMax: number;
  /** Those who wait for the alarm; null: none is being raised. */
  #refused: ((error: ApiError) => void)[] | null = null;

  /** `quotaBytes` Infinity: none. */
  constructor(memberId: bigint, limits: QuotaLimits, doors: QuotaDoors) {
    this.#memberId = memberId;
    this.#quotaBytes = limits.quotaBytes;
    // A put of one byte counts as 257.
    this.#ampleBytes = limits.requestBytesMax * 257;
    this.#waitingMax = limits.proposalsMax;
    this.#doors = doors;
  }

  /** Any request fits: what it costs need not be reckoned. */
  get isAmple(): boolean {
    return this.#leftBytes > this.#ampleBytes;
  }

  hasRoom(costBytes: number): boolean {
    return costBytes === 0 || costBytes < this.#leftBytes;
  }

  /** Says no, once the alarm stands. */
  refuse(done: (error: ApiError) => void): void {
    if (this.#doors.store().alarms(this.#memberId, 'no_space').length > 0) return done(new ApiError('no_space'));
    if (this.#refused !== null && this.#refused.length >= this.#waitingMax) return done(new ApiError('too_many_requests'));
    if (this.#refused !== null) return void this.#refused.push(done);
    const refused = [done];
    this.#refused = refused;
    const alarm = { memberId: this.#memberId, kind: 'no_space' } as const;
    // Whether it could be raised or not: the request does not fit.
    this.#doors.submit({ kind: 'alarm', action: 'raise', alarm }, () => {
      this.#refused = null;
      for (const each of refused) each(new ApiError('no_space'));
    });
  }

  get #leftBytes(): number {
    return this.#quotaBytes - this.#doors.store().dbSizeBytes;
  }
}
