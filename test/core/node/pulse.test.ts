// How late ticks come and how long a leader is silent, as the node tells it at each tick.

import test from 'ava';
import { Pulse } from '../../../core/node/pulse.js';
import type { Message } from '../../../core/raft/types.js';

const SELF = 1n;
const LEADER = 2n;

function pulse(): { pulse: Pulse; at: (ms: number) => void } {
  let now = 1000;
  const clock = { now: () => now, schedule: () => () => undefined };
  return { pulse: new Pulse(SELF, clock), at: (ms) => void (now = 1000 + ms) };
}

function append(from: bigint): readonly Message[] {
  const previous = { term: 0, index: 0 };
  return [{ kind: 'append', from, to: SELF, term: 1, previous, entries: [], commit: 0, round: 0, match: 0 }];
}

test('a silence is the longest between two messages of the leader, or the one that lasts', (t) => {
  const { pulse: felt, at } = pulse();
  felt.onLeader(LEADER);
  for (const ms of [10, 80, 95]) {
    at(ms);
    felt.onMessages(append(LEADER));
  }
  at(100);
  t.deepEqual(felt.onTick(3), { lateMs: 3, silenceMs: 70 });
  at(200);
  t.deepEqual(felt.onTick(-0.4), { lateMs: 0, silenceMs: 105 });
  at(300);
  t.is(felt.onTick(0).silenceMs, 205);
  at(310);
  felt.onMessages(append(LEADER));
  at(400);
  t.is(felt.onTick(0).silenceMs, 215);
  at(500);
  t.is(felt.onTick(0).silenceMs, 190);
});

test('what others say breaks no silence, and a new leader begins a new one', (t) => {
  const { pulse: felt, at } = pulse();
  felt.onLeader(LEADER);
  at(50);
  felt.onMessages(append(3n));
  felt.onMessages([{ kind: 'timeout_now', from: LEADER, to: SELF, term: 1 }]);
  felt.onMessages([]);
  at(100);
  t.is(felt.onTick(0).silenceMs, 100);
  felt.onLeader(3n);
  at(120);
  t.is(felt.onTick(0).silenceMs, 20);
});

test('a member that leads, or knows no leader, hears no silence', (t) => {
  const { pulse: felt, at } = pulse();
  at(100);
  t.is(felt.onTick(0).silenceMs, null);
  felt.onLeader(SELF);
  t.is(felt.onTick(0).silenceMs, null);
});
