// The hash of this member's data, made in turns: the loop goes on meanwhile. A store that is replaced while it is hashed
// gives no hash.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { Revision } from '../client.js';
import { ApiError } from '../errors.js';
import type { Store, StoreHash } from '../store/store.js';
import { attempt } from './caught.js';
import { hashRowsPerTurn, hashesMax } from './limits.js';

export interface HasherDoors {
  readonly clock: Clock;
  store(): Store;
  isRunning(): boolean;
}

export class Hasher {
  readonly #doors: HasherDoors;
  #underWay = 0;

  constructor(doors: HasherDoors) {
    this.#doors = doors;
  }

  /** `revision` 0: the newest. */
  hash(revision: Revision, done: Done<StoreHash>): void {
    const { clock } = this.#doors;
    const store = this.#doors.store();
    const hashing = this.#underWay < hashesMax ? store.hashing(revision) : 'too_many_requests';
    if (typeof hashing === 'string') return void clock.schedule(0, () => done(new ApiError(hashing)));
    this.#underWay += 1;
    const end = (error: Error | null, hash?: StoreHash): void => {
      this.#underWay -= 1;
      hashing.release();
      done(error, hash);
    };
    const step = (): void => {
      if (!this.#doors.isRunning()) return end(new ApiError('stopped'));
      if (this.#doors.store() !== store) return end(new ApiError('unavailable', { detail: 'the store was replaced meanwhile' }));
      const hash = attempt(() => hashing.step(hashRowsPerTurn));
      if (hash instanceof Error) return end(hash);
      if (hash === null) return void clock.schedule(0, step);
      end(null, hash);
    };
    clock.schedule(0, step);
  }
}
