// What a clock means, on every implementation. `pass` lets time pass: really, or by saying so.

import type { TestFn } from 'ava';
import type { Clock } from '../../core/base/clock.js';

export interface ClockHome {
  readonly clock: Clock;
  pass(ms: number): Promise<void>;
}

export function clockContract(test: TestFn, name: string, open: () => ClockHome): void {
  test(`${name}: time is a number that never decreases and passes`, async (t) => {
    const { clock, pass } = open();
    const start = clock.now();
    t.true(Number.isFinite(start));
    let last = start;
    for (let i = 0; i < 1000; i++) {
      const now = clock.now();
      t.true(now >= last);
      last = now;
    }
    await pass(30);
    t.true(clock.now() - start >= 29);
  });

  test(`${name}: what is scheduled runs once, from a later turn, and not early`, async (t) => {
    const { clock, pass } = open();
    const start = clock.now();
    const ran: number[] = [];
    clock.schedule(20, () => ran.push(clock.now() - start));
    clock.schedule(0, () => ran.push(0));
    t.deepEqual(ran, []);
    await pass(60);
    t.is(ran.length, 2);
    t.is(ran[0], 0);
    // A timer of the system may round by up to a millisecond.
    t.true((ran[1] ?? 0) >= 19, `after ${ran[1]} ms`);
    await pass(60);
    t.is(ran.length, 2);
  });

  test(`${name}: what is cancelled does not run, and cancelling twice or too late does nothing`, async (t) => {
    const { clock, pass } = open();
    const ran: string[] = [];
    const cancels = [clock.schedule(10, () => ran.push('late')), clock.schedule(0, () => ran.push('next'))];
    for (const cancel of [...cancels, ...cancels]) cancel();
    const late = clock.schedule(5, () => ran.push('ran'));
    await pass(60);
    late();
    t.deepEqual(ran, ['ran']);
  });

  test(`${name}: a timer further away than the system can count does not run at once`, async (t) => {
    const { clock, pass } = open();
    let ran = false;
    const cancel = clock.schedule(2 ** 40, () => {
      ran = true;
    });
    await pass(30);
    cancel();
    t.false(ran);
  });
}
