// The checker's side of fences: what is let in, in which order, and what is remembered.

import test from 'ava';
import { Prng } from '../../core/base/prng.js';
import { ApiError } from '../../core/errors.js';
import type { FenceStore } from '../../recipes/fence-guard.js';
import { FenceGuard, MemoryFences, StaleFence } from '../../recipes/fence-guard.js';
import { pause } from '../../recipes/pause.js';
import { SimClock } from '../sim/clock.js';

test('I32 a fence lower than one that was seen is refused with both; the same and a higher one are let in', async (t) => {
  const guard = new FenceGuard();
  await guard.admit('x', 5);
  await guard.admit('x', 5);
  await guard.admit('x', 9);
  const error = await t.throwsAsync(guard.admit('x', 5), { instanceOf: StaleFence });
  t.deepEqual([error.code, error.resource, error.fence, error.newest], ['stale_fence', 'x', 5, 9]);
  await guard.admit('y', 1);
  await t.throwsAsync(guard.run('x', 8, () => t.fail('it was run')), { instanceOf: StaleFence });
});

test('I32 I33 nothing of a lower fence follows anything of a higher one, whatever is slow, the store too', async (t) => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const clock = new SimClock();
    const prng = new Prng(seed);
    const memory = new MemoryFences();
    const store: FenceStore = {
      raise: async (resource, fence) => {
        await pause(clock, prng.below(5));
        const highest = memory.raise(resource, fence);
        await pause(clock, prng.below(5));
        return highest;
      },
    };
    const guard = new FenceGuard({ store, clock });
    const effects: number[] = [];
    let [refused, told] = [0, 0];
    await clock.until(Promise.all(Array.from({ length: 60 }, async (_, i) => {
      await pause(clock, 10 * i + prng.below(200));
      try {
        await guard.run('x', 1 + i, async (overtaken) => {
          for (let step = 0; step < 4; step += 1) {
            effects.push(1 + i);
            await pause(clock, prng.below(20));
          }
          if (overtaken.aborted) told += 1;
        });
      } catch (error) {
        if (!(error instanceof StaleFence)) throw error;
        refused += 1;
      }
    })));
    t.deepEqual(effects, effects.toSorted((a, b) => a - b), `seed ${seed}`);
    t.is(effects.length, 4 * (60 - refused));
    t.true(refused > 0 && told > 0, `seed ${seed}: ${refused} refused, ${told} told`);
  }
});

test('who is at work is told when somebody newer comes, who waits until the work has ended', async (t) => {
  const guard = new FenceGuard();
  const order: string[] = [];
  let finish = (): void => undefined;
  const old = guard.run('x', 1, async (overtaken) => {
    overtaken.addEventListener('abort', () => order.push(`told: ${(overtaken.reason as StaleFence).newest}`));
    await new Promise<void>((resolve) => (finish = resolve));
    order.push('old ended');
  });
  await new Promise(setImmediate);
  const young = guard.run('x', 2, () => order.push('young'));
  const other = guard.run('y', 1, () => order.push('other resource'));
  await other;
  await new Promise(setImmediate);
  finish();
  await Promise.all([old, young]);
  t.deepEqual(order, ['told: 2', 'other resource', 'old ended', 'young']);
});

test('a wait for the turn that is given up leaves the order as it was; work that throws ends its turn', async (t) => {
  const clock = new SimClock();
  const guard = new FenceGuard({ clock, waitingMax: 3 });
  const long = guard.run('x', 1, () => pause(clock, 5_000));
  await clock.settle();
  const given = t.throwsAsync(guard.run('x', 2, () => t.fail('it was run'), { timeoutMs: 1_000 }), { instanceOf: ApiError });
  let ranAt = 0;
  const third = guard.run('x', 3, () => {
    ranAt = clock.now();
    throw new Error('of the work');
  });
  const failed = t.throwsAsync(third, { message: 'of the work' });
  await clock.settle();
  const fourth = await t.throwsAsync(guard.run('x', 3, () => undefined), { instanceOf: ApiError });
  t.is(fourth.code, 'too_many_requests');
  const from = clock.now();
  t.is((await clock.until(given))?.code, 'deadline_exceeded');
  await clock.until(Promise.all([long, failed]));
  t.true(ranAt - from > 4_900, `${ranAt - from} ms: it came after the first one`);
  t.is(await clock.until(guard.run('x', 5, () => 'free')), 'free');
});

test('memory is bounded, and what is dropped is not let in again with less than it had', async (t) => {
  const fences = new MemoryFences({ resourcesMax: 100 });
  const prng = new Prng(7);
  const truth = new Map<string, number>();
  let refusedInVain = 0;
  for (let revision = 1; revision <= 20_000; revision += 1) {
    const resource = `r${prng.below(1_000)}`;
    // Mostly the newest holder; sometimes one from long ago wakes up.
    const fence = prng.below(4) === 0 ? 1 + prng.below(revision) : revision;
    const highest = truth.get(resource) ?? 0;
    const admitted = fences.raise(resource, fence) === fence;
    if (admitted) t.true(fence >= highest, `${resource}: ${fence} after ${highest}`);
    else if (fence >= highest) refusedInVain += 1;
    if (admitted) truth.set(resource, fence);
    if (fences.size > 100) t.fail(`${fences.size} resources are remembered`);
  }
  t.true(refusedInVain > 0, 'the price: an old holder that was never seen is refused');
  t.is(fences.raise('new', 20_001), 20_001, 'whoever holds a lock that was taken lately never is');
});

test('memory drops those that were held longest ago, and whoever came after them is let in', (t) => {
  const fences = new MemoryFences({ resourcesMax: 8 });
  for (let fence = 1; fence <= 9; fence += 1) fences.raise(`r${fence}`, fence);
  t.is(fences.size, 7);
  t.is(fences.raise('r9', 8), 9, 'the latest are remembered');
  t.is(fences.raise('r3', 2), 3);
  t.is(fences.raise('r1', 1), 2, 'below the floor nothing unknown is let in');
  t.is(fences.raise('unknown', 3), 3, 'above it, it is');
});

test('what is no fence, and a resource without a name, are refused with their values', async (t) => {
  const guard = new FenceGuard();
  for (const fence of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
    const error = await t.throwsAsync(guard.admit('x', fence), { instanceOf: ApiError });
    t.true(error.message.includes(`fence is ${fence}`));
  }
  for (const resource of ['', 'x'.repeat(1_025)]) await t.throwsAsync(guard.admit(resource, 1), { instanceOf: ApiError });
  t.throws(() => new FenceGuard({ waitingMax: 0 }), { instanceOf: ApiError });
  t.throws(() => new MemoryFences({ resourcesMax: Number.NaN }), { instanceOf: ApiError });
});
