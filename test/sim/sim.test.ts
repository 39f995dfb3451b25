// The simulated world itself: one integer is one run, nothing impure gets in, what is broken is told, and a handful of worlds
// hold. The long runs are a command: npm run sim.

import test from 'ava';
import { guarded } from './guard.js';
import { runSeed } from './run.js';
import type { Swarm } from './swarm.js';

/** The first few, and they stay the same: a new failure here is a change of the product. */
const SEEDS = Array.from({ length: 12 }, (_, i) => i + 1);

/** A part of what the command runs under the same number. */
function short(swarm: Swarm): Swarm {
  return { ...swarm, faultMs: swarm.faultMs / 4 };
}

for (const part of [0, 1, 2, 3]) {
  const seeds = SEEDS.filter((seed) => seed % 4 === part);
  test.serial(`the worlds ${seeds.join(', ')} hold`, async (t) => {
    for (const seed of seeds) {
      const verdict = await runSeed(seed, { alter: short });
      const { violation } = verdict;
      const told = `seed ${seed}: ${violation?.invariant}: ${violation?.message}\n${verdict.trace.slice(-30).join('\n')}`;
      t.is(violation, null, told);
      t.true(verdict.operations > 0, `seed ${seed} did nothing`);
    }
  });
}

test.serial('the same seed is the same run, another seed another one', async (t) => {
  const options = { alter: short };
  const [first, second, other] = [await runSeed(4, options), await runSeed(4, options), await runSeed(5, options)];
  t.is(second.hash, first.hash);
  t.is(second.operations, first.operations);
  t.deepEqual(second.counts, first.counts);
  t.not(other.hash, first.hash);
});

test.serial('a world that was told to break a promise is reported, with its last moments', async (t) => {
  const verdict = await runSeed(1, { alter: short, canary: true });
  t.is(verdict.violation?.invariant, 'canary');
  t.true(verdict.trace.some((line) => line.includes('BROKEN canary')));
});

for (const [name, impure] of [
  ['Date.now', () => Date.now()],
  ['new Date()', () => new Date()],
  ['Math.random', () => Math.random()],
  ['setTimeout', () => setTimeout(() => undefined, 1)],
  ['setImmediate', () => setImmediate(() => undefined)],
  ['performance.now', () => performance.now()],
] as const) {
  test.serial(`${name} throws inside a world, and works again after it`, async (t) => {
    await t.throwsAsync(guarded(() => Promise.resolve(impure())).then(() => undefined), { message: /used in a simulated world/ });
    t.notThrows(() => void performance.now());
    t.true(Date.now() > 0);
  });
}
