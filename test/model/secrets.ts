// Secrets that are none: every draw follows from the seed, and a password is hashed in no time, in bcrypt's form. For the
// simulator, which must see the same world twice, and for tests that are not about hashing.

import { createHash } from 'node:crypto';
import type { Clock } from '../../core/base/clock.js';
import { Prng } from '../../core/base/prng.js';
import type { Secrets } from '../../core/base/secrets.js';

export function testSecrets(clock: Clock, seed = 1): Secrets {
  const dice = new Prng(seed);
  const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
  const hashed = (password: string, cost: string): string => {
    const letters = createHash('sha512').update(password).digest('base64').replaceAll(/[^A-Za-z0-9]/g, '.');
    return `$2a$${cost}$${letters.slice(0, 53)}`;
  };
  return {
    random: (length) => Uint8Array.from({ length }, () => dice.below(256)),
    digest,
    isSame: (a, b) => a === b,
    hash: (password, cost, done) => void clock.schedule(0, () => done(null, hashed(password, String(cost).padStart(2, '0')))),
    verify: (password, hash, done) => void clock.schedule(0, () => done(null, hashed(password, hash.slice(4, 6)) === hash)),
    close: () => undefined,
  };
}
