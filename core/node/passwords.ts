// Where passwords wait to be hashed or checked. There is one thread for it, and a check takes a tenth of a second, so the
// queue is short and what does not fit is refused with an error that says so. Whoever gives wrong passwords again and again
// for one name waits longer and longer between attempts, and nobody else does: what is refused for that costs nothing. A
// name nobody has is treated like any other, at the same cost.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import { PASSWORD_BYTES_MAX, type Secrets } from '../base/secrets.js';
import { utf8 } from '../base/bytes.js';
import { ApiError } from '../errors.js';
import {
  loginFailuresFree, loginNamesMax, loginPauseMsMax, loginPauseMsMin, passwordsPerNameMax, passwordsWaitingMax,
} from './limits.js';

/** Since the start. */
export interface LoginCounts {
  readonly failed: number;
  readonly throttled: number;
}

interface Attempts {
  failures: number;
  nextMs: number;
  waiting: number;
}

/** Compared with where there is nothing to compare with, so that both take the same time. */
function nobodysHash(cost: number): string {
  return `$2a$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;
}

export class Passwords {
  readonly #secrets: Secrets;
  readonly #clock: Clock;
  /** Of new hashes. */
  readonly cost: number;
  readonly #counts = { failed: 0, throttled: 0 };
  #waiting = 0;
  /**
   * Names under watch, the least recently tried first, by their digest: what strangers make up may be as long as a request.
   * Only an attempt that took its turn on the thread puts a name in, so that pushing another one out takes as many of those.
   */
  readonly #attempts = new Map<string, Attempts>();

  constructor(secrets: Secrets, clock: Clock, cost: number) {
    this.#secrets = secrets;
    this.#clock = clock;
    this.cost = cost;
  }

  get counts(): LoginCounts {
    return this.#counts;
  }

  hash(password: string, done: Done<string>): void {
    if (utf8(password).length > PASSWORD_BYTES_MAX) {
      const detail = `it has more than ${PASSWORD_BYTES_MAX} bytes, and bcrypt ignores those behind them; choose a shorter one`;
      return this.#refuse(done, new ApiError('password_unfit', { detail }));
    }
    if (this.#waiting >= passwordsWaitingMax) return this.#refuse(done, new ApiError('too_many_logins'));
    this.#waiting += 1;
    this.#secrets.hash(password, this.cost, (error, hash) => {
      this.#waiting -= 1;
      done(error === null ? null : unavailable(error), hash);
    });
  }

  /** Whether it is the password of `hash`. Null: there is none to compare with, so it is not, after the same time. */
  verify(name: string, password: string, hash: string | null, done: Done<boolean>): void {
    const key = this.#secrets.digest(name);
    const attempts = this.#attempts.get(key) ?? { failures: 0, nextMs: -Infinity, waiting: 0 };
    const isEarly = attempts.nextMs > this.#clock.now();
    if (isEarly || attempts.waiting >= passwordsPerNameMax || this.#waiting >= passwordsWaitingMax) {
      this.#counts.throttled += 1;
      return this.#refuse(done, new ApiError('too_many_logins'));
    }
    this.#watch(key, attempts);
    this.#waiting += 1;
    attempts.waiting += 1;
    this.#secrets.verify(password, hash ?? nobodysHash(this.cost), (error, isRight) => {
      this.#waiting -= 1;
      attempts.waiting -= 1;
      if (error !== null) return done(unavailable(error));
      const isIn = isRight === true && hash !== null;
      this.#note(attempts, isIn);
      done(null, isIn);
    });
  }

  #note(attempts: Attempts, isIn: boolean): void {
    if (isIn) {
      attempts.failures = 0;
      attempts.nextMs = 0;
      return;
    }
    this.#counts.failed += 1;
    attempts.failures += 1;
    const beyond = attempts.failures - loginFailuresFree;
    if (beyond < 0) return;
    attempts.nextMs = this.#clock.now() + Math.min(loginPauseMsMax, loginPauseMsMin * 2 ** Math.min(20, beyond));
  }

  #watch(key: string, attempts: Attempts): void {
    this.#attempts.delete(key);
    this.#attempts.set(key, attempts);
    if (this.#attempts.size <= loginNamesMax) return;
    for (const oldest of this.#attempts.keys()) {
      this.#attempts.delete(oldest);
      return;
    }
  }

  #refuse(done: (error: Error) => void, error: ApiError): void {
    this.#clock.schedule(0, () => done(error));
  }
}

/** No word of the cause goes out: whoever asked is not to be told what a thread of ours said. */
function unavailable(cause: Error): ApiError {
  return new ApiError('internal', { detail: 'passwords cannot be hashed here', cause });
}
