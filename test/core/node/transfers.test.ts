// Who waits for leadership to be handed over, and who is to have it.

import test from 'ava';
import { isApiError } from '../../../core/errors.js';
import { heirOf, Transfers } from '../../../core/node/transfers.js';
import type { Status } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';

type Peer = Status['peers'][number];

test('a transfer has come true when its target leads, and is given up after two election time-outs', async (t) => {
  const clock = new SimClock();
  const transfers = new Transfers(1000, clock);
  const told: unknown[] = [];
  const wait = (to: bigint): void => transfers.add(to, (error) => told.push(error === null ? to : error));
  wait(2n);
  wait(2n);
  wait(3n);
  transfers.onRole({ state: 'follower', term: 2, leader: 0n });
  t.deepEqual(told, []);
  transfers.onRole({ state: 'follower', term: 2, leader: 2n });
  transfers.onRole({ state: 'follower', term: 2, leader: 2n });
  t.deepEqual(told, [2n, 2n]);
  await clock.advance(1999);
  transfers.onTick(clock.now());
  t.is(told.length, 2);
  await clock.advance(1);
  transfers.onTick(clock.now());
  transfers.onTick(clock.now());
  t.is(told.length, 3);
  t.true(isApiError(told[2], 'timeout'));
  wait(3n);
  transfers.failAll(new Error('the node stops'));
  t.regex(String(told[3]), /the node stops/);
});

test('the heir is the voter that answers and has most of the log; only a leader has one', (t) => {
  const peer = (id: bigint, match: number, isActive = true): Peer => ({ id, match, isActive, mode: 'stream', next: match + 1 });
  const leading: Status = {
    state: 'leader', term: 2, leader: 1n, commit: 9, applied: 9, last: 9, durable: 9, transferTo: 0n,
    configuration: { voters: [1n, 2n, 3n, 4n], outgoing: [], learners: [5n] },
    peers: [peer(2n, 5), peer(3n, 9, false), peer(4n, 7), peer(5n, 8)],
  };
  t.is(heirOf(leading, [1n, 2n, 3n, 4n]), 4n, 'not 5, which learns, nor 3, which is silent');
  t.is(heirOf(leading, [1n, 3n]), null);
  t.is(heirOf({ ...leading, state: 'follower' }, [1n, 2n]), null);
});
