// The simulated event loop: the order in which a process that was held up wakes, and where it can die.

import test from 'ava';
import { EventLoop, Kill, type LoopOwner } from './loop.js';
import { Dice } from './random.js';
import { Scheduler } from './scheduler.js';

function looped(profile = {}): { scheduler: Scheduler; loop: EventLoop; said: string[]; say: (word: string) => () => void } {
  const scheduler = new Scheduler(1);
  const said: string[] = [];
  const owner: LoopOwner = {
    onIterated: () => undefined,
    onThrown: (error) => said.push(`thrown ${String(error)}`),
    onKilled: () => said.push('killed'),
  };
  const loopProfile = { rate: 1, originMs: 500, stallChance: 0, stallMs: 0, ...profile };
  const loop = new EventLoop(scheduler, 0, new Dice(1, 'loop'), loopProfile, owner);
  return { scheduler, loop, said, say: (word) => () => said.push(word) };
}

test('after a stall everything queued runs in the order of Node: timers, finished I/O, network, then the next turn', (t) => {
  const { scheduler, loop, said, say } = looped();
  loop.schedule(10, say('timer'));
  loop.stall(100);
  scheduler.at(20, 1, 0, () => loop.arrive(say('network')));
  scheduler.at(30, 1, 0, () => loop.complete(say('disk')));
  scheduler.at(40, 1, 0, () => loop.schedule(0, say('turn')));
  while (scheduler.step(99)) continue;
  t.deepEqual(said, []);
  while (scheduler.step(101)) continue;
  t.deepEqual(said, ['timer', 'disk', 'network', 'turn']);
});

test('timers run in the order of their deadlines, and never before them on the local clock', (t) => {
  const { scheduler, loop } = looped({ rate: 0.97 });
  const seen: number[] = [];
  for (const delay of [30.1, 7.3, 19.7, 0.2]) {
    const due = loop.now() + delay;
    loop.schedule(delay, () => {
      t.true(loop.now() >= due);
      seen.push(delay);
    });
  }
  while (scheduler.step(1000)) continue;
  t.deepEqual(seen, [0.2, 7.3, 19.7, 30.1]);
});

test('a paused process sees time pass, a suspended machine does not', (t) => {
  for (const [suspended, expected] of [[false, 600], [true, 500]] as const) {
    const { scheduler, loop } = looped();
    loop.pause(suspended);
    scheduler.at(100, 1, 0, () => loop.resume());
    while (scheduler.step(100)) continue;
    t.is(loop.now(), expected);
  }
});

test('a clock that leaps ahead makes due what lies between', (t) => {
  const { scheduler, loop, said, say } = looped();
  loop.schedule(1000, say('timer'));
  scheduler.at(10, 1, 0, () => loop.jump(995));
  while (scheduler.step(20)) continue;
  t.deepEqual(said, ['timer']);
});

test('a process killed at a door ends there, even when the turn swallows the blow', (t) => {
  const { scheduler, loop, said, say } = looped();
  loop.killAtDoor = 2;
  loop.arrive(() => {
    loop.schedule(5, say('never'));
    try {
      loop.schedule(5, say('never'));
    } catch (error) {
      t.true(error instanceof Kill);
      said.push('swallowed');
    }
    loop.schedule(0, say('never'));
  });
  while (scheduler.step(100)) continue;
  t.deepEqual(said, ['swallowed', 'killed']);
  t.false(loop.isAlive);
});

test('what a process throws is told', (t) => {
  const { scheduler, loop, said } = looped();
  loop.arrive(() => {
    throw new Error('a bug');
  });
  while (scheduler.step(100)) continue;
  t.deepEqual(said, ['thrown Error: a bug']);
});
