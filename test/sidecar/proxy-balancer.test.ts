// Who gets the next request: shares, load, ejection and its limits, on a clock and with dice that the test holds.

import test from 'ava';

import type { Clock } from '../../core/base/clock.js';
import { Prng } from '../../core/base/prng.js';
import type { Instance } from '../../recipes/registry.js';
import { Balancer, BALANCER_LIMITS } from '../../sidecar/proxy-balancer.js';
import type { Backend, Pick, Seat } from '../../sidecar/proxy-balancer.js';

function createBalancer(backends: readonly Backend[], options: { seed?: number; inFlightMax?: number } = {}) {
  const time = { nowMs: 0 };
  const clock: Clock = { now: () => time.nowMs, schedule: () => () => undefined };
  const dice = new Prng(options.seed ?? 1);
  const balancer = new Balancer({ clock, random: () => dice.u32() / 2 ** 32, inFlightMax: options.inFlightMax ?? 1000 });
  balancer.update(backends);
  return { balancer, time };
}

function backend(id: string, more: Partial<Backend> = {}): Backend {
  return { id, address: '10.0.0.1', port: 8000 + id.charCodeAt(0), ...more };
}

function seatOf(pick: Pick): Seat {
  if (pick.kind !== 'seat') throw new Error(`nobody picked: ${pick.kind}`);
  return pick.seat;
}

function shares(balancer: Balancer, picks: number, hold = false): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < picks; i += 1) {
    const seat = seatOf(balancer.pick());
    counts[seat.id] = (counts[seat.id] ?? 0) + 1;
    balancer.begin(seat);
    if (!hold) balancer.end(seat);
  }
  return counts;
}

test('idle instances get shares that follow their weights', (t) => {
  const { balancer } = createBalancer([backend('a'), backend('b', { weight: 3 })]);
  const { a = 0, b = 0 } = shares(balancer, 4000);
  t.true(Math.abs(a - 1000) < 120, `a got ${a} of 4000`);
  t.is(a + b, 4000);
});

test('of two instances drawn the one with less in flight per weight wins', (t) => {
  const { balancer } = createBalancer([backend('a'), backend('b'), backend('c', { weight: 2 })]);
  const held = shares(balancer, 400, true);
  // Each is within a few of its exact part, which drawing at random alone would miss by far.
  t.true(Math.abs((held['a'] ?? 0) - 100) <= 8, JSON.stringify(held));
  t.true(Math.abs((held['c'] ?? 0) - 200) <= 8, JSON.stringify(held));
});

test('equal dice give equal choices', (t) => {
  const list = ['a', 'b', 'c', 'd'].map((id) => backend(id));
  const sequence = (): string => {
    const { balancer } = createBalancer(list, { seed: 7 });
    return Array.from({ length: 50 }, () => seatOf(balancer.pick()).id).join('');
  };
  t.is(sequence(), sequence());
});

test('an instance that cannot be connected to is left out for a growing, bounded time, and comes back', (t) => {
  const { balancer, time } = createBalancer([backend('a'), backend('b')]);
  const a = balancer.seats().find((seat) => seat.id === 'a');
  if (a === undefined) return t.fail();
  const outs: number[] = [];
  for (let i = 0; i < 8; i += 1) {
    const outMs = balancer.failed(a);
    outs.push(outMs);
    t.is(balancer.failed(a), 0, 'failures of requests already under way do not lengthen it');
    t.deepEqual(Object.keys(shares(balancer, 40)), ['b']);
    time.nowMs += outMs;
  }
  t.deepEqual(outs.slice(0, 3), [500, 1000, 2000]);
  t.is(outs.at(-1), BALANCER_LIMITS.ejectMostMs);
  t.true((shares(balancer, 40)['a'] ?? 0) > 0, 'tried again when the time is over');
  balancer.connected(a);
  t.is(balancer.failed(a), BALANCER_LIMITS.ejectFirstMs, 'a success forgets the past');
});

test('when every instance is ejected they are tried anyway', (t) => {
  const { balancer } = createBalancer([backend('a'), backend('b')]);
  for (const seat of balancer.seats()) balancer.failed(seat);
  const pick = balancer.pick();
  t.true(pick.kind === 'seat' && pick.panic);
});

test('draining, in maintenance, of weight 0 or gone: no new requests, and the rest is counted to its end', (t) => {
  const { balancer } = createBalancer([backend('a')]);
  const seat = seatOf(balancer.pick());
  balancer.begin(seat);
  for (const leaving of [{ state: 'draining' }, { state: 'maintenance' }, { weight: 0 }]) {
    balancer.update([backend('a', leaving)]);
    t.deepEqual(balancer.pick(), { kind: 'none' });
    balancer.update([backend('a', { state: 'up' })]);
    t.is(seatOf(balancer.pick()), seat, 'the same seat, with what is in flight on it');
  }
  const { removed } = balancer.update([]);
  t.deepEqual(removed, [seat]);
  t.deepEqual(balancer.pick(), { kind: 'none' });
  t.is(seat.inFlight, 1);
  balancer.end(seat);
  t.throws(() => balancer.end(seat), { message: /more requests ended/ });
});

test('an instance that comes back at another port is another instance', (t) => {
  const { balancer } = createBalancer([backend('a')]);
  const before = seatOf(balancer.pick());
  balancer.failed(before);
  const { added, removed } = balancer.update([backend('a', { port: 9999 })]);
  t.deepEqual([added.length, removed], [1, [before]]);
  t.is(seatOf(balancer.pick()).failures, 0);
});

test('an instance with as much in flight as it may have is passed over, and all of them full is said so', (t) => {
  const { balancer } = createBalancer([backend('a'), backend('b')], { inFlightMax: 2 });
  t.deepEqual(shares(balancer, 4, true), { a: 2, b: 2 });
  t.deepEqual(balancer.pick(), { kind: 'full' });
});

test('a request is not sent to an instance it was tried on before', (t) => {
  const { balancer } = createBalancer([backend('a'), backend('b'), backend('c')]);
  const tried = new Set<Seat>();
  for (let i = 0; i < 3; i += 1) tried.add(seatOf(balancer.pick(tried)));
  t.is(tried.size, 3);
  t.deepEqual(balancer.pick(tried), { kind: 'none' });
});

test('an instance from the registry is taken as it is', (t) => {
  const instance: Instance = {
    service: 'api', id: 'api-1', address: '10.0.0.1', port: 80, weight: 1, zone: '', tags: [], meta: {}, state: 'up', why: '',
    owner: 'a1', since: 1, revision: 1,
  };
  const { balancer } = createBalancer([instance]);
  t.is(seatOf(balancer.pick()).id, 'api-1');
});
