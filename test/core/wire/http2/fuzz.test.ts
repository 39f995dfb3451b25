// A second or so of what fuzz.ts does.

import test from 'ava';
import { converse } from './fuzz.js';

const ROUNDS = 2000;

test('no bytes make a connection throw, write behind its end, or keep a call or a byte', (t) => {
  let survived = 0;
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const { wasOpen, faults } = converse(seed);
    t.deepEqual(faults, [], `seed ${seed}`);
    if (wasOpen) survived += 1;
  }
  // Some must get far, or nothing is tried.
  t.true(survived > ROUNDS / 10 && survived < ROUNDS, String(survived));
});
