// Deadlines of leases on the lessor's own time: no clock, no store, only what it is told.

import test from 'ava';
import { Lessor } from '../../../core/node/lessor.js';
import { expiryLooksMax } from '../../../core/node/limits.js';

const SLICE = 1000;

function activated(leases: { id: bigint; ttlSeconds: number; remainingSeconds?: number }[], graceMs = 0): Lessor {
  const lessor = new Lessor();
  lessor.activate(0, graceMs);
  for (const lease of leases) lessor.adopt(lease.id, { remainingSeconds: lease.ttlSeconds, ...lease });
  return lessor;
}

test('a lease is due when its TTL is over, and named once', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  t.deepEqual(lessor.expired(4999, SLICE), []);
  t.deepEqual(lessor.expired(5000, SLICE), [1n]);
  t.deepEqual(lessor.expired(9000, SLICE), []);
});

test('a new leader grants every lease its whole TTL and the grace', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }], 1000);
  t.is(lessor.remainingMs(1n, 0), 6000);
  t.deepEqual(lessor.expired(5999, SLICE), []);
  t.deepEqual(lessor.expired(6000, SLICE), [1n]);
});

test('what is written down of a lease counts where there is less than its TTL, and a renewal gives it all of it again', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 500, remainingSeconds: 20 }], 1000);
  t.is(lessor.remainingMs(1n, 0), 21_000);
  lessor.renew(1n, 0);
  t.is(lessor.remainingMs(1n, 0), 500_000);
});

test('a renewal counts from when it was processed', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  t.true(lessor.renew(1n, 4000));
  t.deepEqual(lessor.expired(8999, SLICE), []);
  t.deepEqual(lessor.expired(9000, SLICE), [1n]);
});

test('a lease on its way out is not renewed, and one that is unknown neither', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  t.deepEqual(lessor.expired(5000, SLICE), [1n]);
  t.false(lessor.renew(1n, 5001));
  t.false(lessor.renew(2n, 5001));
});

test('time inside a stall of the event loop does not count', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  lessor.onStall(3000);
  t.deepEqual(lessor.expired(7999, SLICE), []);
  t.deepEqual(lessor.expired(8000, SLICE), [1n]);
});

test('a revoke that failed is tried again', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  t.deepEqual(lessor.expired(5000, SLICE), [1n]);
  lessor.onRevokeFailed(1n);
  t.deepEqual(lessor.expired(5100, SLICE), [1n]);
});

test('a lease whose revoke took too long is not renewed: the entry may still come to pass', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  t.deepEqual(lessor.expired(5000, SLICE), [1n]);
  lessor.onRevokeFailed(1n);
  t.false(lessor.renew(1n, 5050));
  t.deepEqual(lessor.expired(5100, SLICE), [1n]);
  lessor.onRevoked(1n);
  lessor.onGranted(1n, 5, 6000);
  t.true(lessor.renew(1n, 6000), 'another lease of the same id');
});

test('a mass expiry comes in slices, earliest first', (t) => {
  const leases = Array.from({ length: SLICE + 10 }, (_, i) => ({ id: BigInt(i + 1), ttlSeconds: 2000 - i }));
  const lessor = activated(leases);
  const first = lessor.expired(2_000_000, SLICE);
  t.is(first.length, SLICE);
  t.is(first[0], BigInt(leases.length));
  t.is(lessor.expired(2_000_000, SLICE).length, 10);
});

test('very many that were renewed hide none that is due, and are not all looked at in one turn', (t) => {
  const COUNT = 3 * expiryLooksMax;
  const lessor = activated(Array.from({ length: COUNT }, (_, i) => ({ id: BigInt(i), ttlSeconds: 10 })));
  lessor.onGranted(-1n, 11, 0);
  for (let i = 0; i < COUNT; i++) lessor.renew(BigInt(i), 5000);
  const turns: number[] = [];
  for (let due: bigint[] = []; due.length === 0; ) {
    t.true(lessor.hasUnseen(11_000));
    due = lessor.expired(11_000, SLICE);
    turns.push(due.length);
  }
  t.deepEqual(turns, [0, 0, 0, 1]);
  t.false(lessor.hasUnseen(11_000));
  t.false(lessor.hasUnseen(14_999));
  t.true(lessor.hasUnseen(15_000));
});

test('without leadership nothing is due', (t) => {
  const lessor = activated([{ id: 1n, ttlSeconds: 5 }]);
  lessor.deactivate();
  lessor.onGranted(2n, 1, 0);
  t.deepEqual(lessor.expired(1e9, SLICE), []);
  t.is(lessor.remainingMs(2n, 0), null);
});

test('revoked leases with endless TTLs do not pile up', (t) => {
  const lessor = activated([]);
  for (let i = 1n; i <= 100_000n; i++) {
    lessor.onGranted(i, 9_000_000_000, 0);
    lessor.onRevoked(i);
  }
  t.deepEqual(lessor.expired(1e9, SLICE), []);
  t.true(lessor.scheduled <= 1025, `${lessor.scheduled} entries for no lease`);
});
