// A second or so of what fuzz.ts does, and all that was kept of it.

import test from 'ava';
import { corpus } from '../../../fuzz/http2.js';
import { converse, play } from './fuzz.js';

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

test('what once failed, or comes where little else does, is kept and does no harm', (t) => {
  const kept = corpus();
  t.true(kept.length > 10);
  for (const { seed, said } of kept) {
    for (const other of [seed, seed + 1, seed + 2]) {
      t.deepEqual(play(other, said).faults, [], `${other} ${said.toString('base64')}`);
    }
  }
});
