// The hash of a member's data, made in turns: how many at once, and what ends one before its time.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { opPut } from '../../../core/client.js';
import { isApiError, type ErrorCode } from '../../../core/errors.js';
import { Hasher } from '../../../core/node/hashing.js';
import { Store, type StoreHash } from '../../../core/store/store.js';
import { SimClock } from '../../sim/clock.js';

const AT_ONCE = 8;

interface Bench {
  readonly clock: SimClock;
  readonly world: { store: Store; isRunning: boolean };
  readonly answers: (Error | StoreHash | undefined)[];
  ask(revision?: number): void;
}

function bench(): Bench {
  const clock = new SimClock();
  const world = { store: new Store(), isRunning: true };
  world.store.apply({ term: 1, index: 1 }, { kind: 'txn', request: { success: [opPut(utf8('a'), utf8('1'))] } });
  const hasher = new Hasher({ clock, store: () => world.store, isRunning: () => world.isRunning });
  const answers: (Error | StoreHash | undefined)[] = [];
  const ask = (revision = 0): void => hasher.hash(revision, (error, hash) => void answers.push(error ?? hash));
  return { clock, world, answers, ask };
}

function refusals(answers: readonly unknown[], code: ErrorCode): number {
  return answers.filter((each) => isApiError(each, code)).length;
}

test('so many hashes are made at once and no more, nobody is answered at once, and places come back', async (t) => {
  const { clock, answers, ask } = bench();
  for (let round = 0; round < 2; round++) {
    answers.length = 0;
    for (let i = 0; i < AT_ONCE + 2; i++) ask();
    t.is(answers.length, 0);
    await clock.advance(10);
    t.is(refusals(answers, 'too_many_requests'), 2);
    t.is(answers.filter((each) => !(each instanceof Error) && each?.revision === 2).length, AT_ONCE);
  }
  answers.length = 0;
  ask(9);
  t.is(answers.length, 0);
  await clock.advance(10);
  t.is(refusals(answers, 'future_revision'), 1);
});

test('a store that is replaced meanwhile gives no hash, nor does a node that stops', async (t) => {
  const { clock, world, answers, ask } = bench();
  ask();
  world.store = new Store();
  await clock.advance(10);
  t.is(refusals(answers, 'unavailable'), 1);
  ask();
  world.isRunning = false;
  await clock.advance(10);
  t.is(refusals(answers, 'stopped'), 1);
});
