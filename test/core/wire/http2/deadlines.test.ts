// The time-outs of calls: how they are written, and when they end.

import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import { Deadlines, timeoutMs } from '../../../../core/wire/http2/deadlines.js';
import { StillClock } from './kit.js';

test('a time-out is at most eight digits and a unit', (t) => {
  const good: readonly (readonly [string, number])[] = [
    ['1H', 3_600_000], ['2M', 120_000], ['3S', 3000], ['4m', 4], ['5000u', 5], ['6000000n', 6], ['0n', 0],
    ['99999999H', 99_999_999 * 3_600_000],
  ];
  for (const [text, ms] of good) t.true(Math.abs((timeoutMs(text) ?? NaN) - ms) < 1e-6, text);
  for (const text of ['', '1', 'S', '123456789S', '1s', '-1S', '1.5S', ' 1S', '1S ', '1SS', '0x1S', '1\nS']) {
    t.is(timeoutMs(text), null, text);
  }
});

test('a call ends once, never early, and a few steps late at most', (t) => {
  const clock = new StillClock();
  const deadlines = new Deadlines(clock);
  for (const inMs of [0, 1, 19, 20, 21, 100, 1000, 60_000]) {
    const began = clock.now();
    const ended: number[] = [];
    deadlines.add({ onDeadline: () => void ended.push(clock.now() - began) }, inMs);
    for (let i = 0; i < inMs + 200; i += 5) clock.pass(5);
    t.is(ended.length, 1);
    t.true((ended[0] ?? -1) >= inMs && (ended[0] ?? -1) <= inMs + 65, `${inMs}: ${ended[0]}`);
  }
  t.is(clock.scheduled, 0);
});

test('a turn that is held up for long ends all that are due, and not the others', (t) => {
  const clock = new StillClock();
  const deadlines = new Deadlines(clock);
  const told: number[] = [];
  const begin = (inMs: number): void => void deadlines.add({ onDeadline: () => void told.push(inMs) }, inMs);
  for (const inMs of [50, 1000, 70_000, 2 ** 40]) begin(inMs);
  clock.pass(60_000);
  t.deepEqual(told.toSorted((a, b) => a - b), [50, 1000]);
  begin(40);
  for (let i = 0; i < 5; i++) clock.pass(20);
  t.deepEqual(told.splice(0), [50, 1000, 40]);
  // With many of them it goes from step to step instead.
  for (let i = 0; i < 1000; i++) begin(20 * i);
  clock.pass(5000);
  t.true(told.length >= 248 && told.length <= 251, String(told.length));
  clock.pass(20_000);
  t.deepEqual([told.length, clock.scheduled], [1001, 1]);
});

test('however the clock jumps, each call ends once, not early, and soon', (t) => {
  const clock = new StillClock();
  const deadlines = new Deadlines(clock);
  const prng = new Prng(20);
  const open = new Map<number, number>();
  for (let round = 0; round < 3000; round++) {
    if (prng.below(3) === 0) {
      const dueMs = clock.now() + prng.below(500);
      const call = { onDeadline: () => void (t.true(clock.now() >= dueMs && open.delete(round), `${round}`)) };
      open.set(round, dueMs);
      deadlines.add(call, dueMs - clock.now());
    }
    for (const dueMs of open.values()) t.true(dueMs + 100 > clock.now());
    clock.pass(prng.below(10) === 0 ? 20 * prng.below(40) : prng.below(25));
    // The next look is in 20 ms, wherever the clock jumped to.
    clock.pass(20);
    if (round % 100 > 0) continue;
    clock.pass(600);
    t.deepEqual([open.size, clock.scheduled], [0, 0], 'none is left for later');
  }
});

test('a call that begins while others end, which took a while, keeps none of them from ending', (t) => {
  const clock = new StillClock();
  const deadlines = new Deadlines(clock);
  const told: string[] = [];
  deadlines.add({
    onDeadline: () => {
      told.push('first');
      clock.pass(100);
      deadlines.add({ onDeadline: () => void told.push('third') }, 1000);
    },
  }, 10);
  deadlines.add({ onDeadline: () => void told.push('second') }, 70);
  for (let i = 0; i < 5; i++) clock.pass(20);
  t.deepEqual(told, ['first', 'second']);
});

test('who ended before is not told, and nothing stays scheduled for him', (t) => {
  const clock = new StillClock();
  const deadlines = new Deadlines(clock);
  const told: string[] = [];
  const calls = ['a', 'b', 'c'].map((name) => ({ onDeadline: () => void told.push(name) }));
  const [first] = calls.map((call) => deadlines.add(call, 100));
  if (first !== undefined) deadlines.delete(first);
  clock.pass(50);
  t.deepEqual(told, []);
  for (let i = 0; i < 20; i++) clock.pass(20);
  t.deepEqual(told.toSorted(), ['b', 'c']);
  t.is(clock.scheduled, 0);
  deadlines.add({ onDeadline: () => void told.push('d') }, 100);
  deadlines.close();
  for (let i = 0; i < 20; i++) clock.pass(20);
  t.deepEqual(told.toSorted(), ['b', 'c']);
  t.is(clock.scheduled, 0);
});
