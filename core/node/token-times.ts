// When each token was last used here. The tokens themselves are replicated (store/auth.ts); that one has gone unused for its
// time to live is judged by each member for itself, as in etcd: time is not in the log. A token that is over stays over. A
// member that starts anew, or takes over a snapshot, gives those it finds their whole time.

import type { Clock } from '../base/clock.js';
import type { AuthTable } from '../store/auth.js';

export class TokenTimes {
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #usedMs = new Map<number, number>();

  constructor(clock: Clock, ttlMs: number) {
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  /** The entry at `index` made one. */
  onToken(index: number, auth: AuthTable): void {
    this.#usedMs.set(index, this.#clock.now());
    if (this.#usedMs.size > 2 * auth.tokenCount + 64) this.#forget(auth);
  }

  /** The store is another than before. */
  onTable(auth: AuthTable): void {
    const now = this.#clock.now();
    for (const { index } of auth.tokens()) if (!this.#usedMs.has(index)) this.#usedMs.set(index, now);
  }

  /** It is used now: false when its time was over. */
  use(index: number): boolean {
    const now = this.#clock.now();
    const usedMs = this.#usedMs.get(index);
    if (usedMs === undefined || now - usedMs > this.#ttlMs) return false;
    this.#usedMs.set(index, now);
    return true;
  }

  #forget(auth: AuthTable): void {
    for (const index of this.#usedMs.keys()) if (auth.token(index) === null) this.#usedMs.delete(index);
  }
}
