// When the leader ends leases, turn by turn: what the clock shows between two ticks is no ground for ending one.

import test from 'ava';
import { ApiError } from '../../../core/errors.js';
import { Leases } from '../../../core/node/leases.js';
import { adoptionsMax, expiryLooksMax, leaseCheckpointMs } from '../../../core/node/limits.js';
import type { Command } from '../../../core/store/command.js';
import { Store, type Reply } from '../../../core/store/store.js';

interface Wish {
  readonly command: Command;
  readonly done: (error: Error | null, reply?: Reply) => void;
}

interface Bench {
  readonly store: Store;
  readonly leases: Leases;
  readonly wishes: Wish[];
  readonly time: { now: number };
  /** Who waits to hear that this node still leads. */
  readonly reads: ((error?: Error) => void)[];
  /** What is to run in the next turn. */
  readonly later: (() => void)[];
  /** As this node knows it. */
  readonly role: { term: number };
}

/** `halved`: of these, 300 s are written down. */
function bench(ttls: readonly number[], halved: readonly bigint[] = []): Bench {
  const store = new Store();
  ttls.forEach((ttlSeconds, i) => store.apply({ term: 1, index: i + 1 }, { kind: 'lease_grant', id: BigInt(i + 1), ttlSeconds }));
  const written = halved.map((id) => ({ id, remainingSeconds: 300 }));
  store.apply({ term: 1, index: ttls.length + 1 }, { kind: 'lease_checkpoint', term: 1, leases: written });
  const time = { now: 0 };
  const wishes: Wish[] = [];
  const reads: ((error?: Error) => void)[] = [];
  const role = { term: 1 };
  const later: (() => void)[] = [];
  const leases = new Leases(0, {
    clock: {
      now: () => time.now,
      schedule: (_delayMs, run) => {
        later.push(run);
        return () => undefined;
      },
    },
    observe: () => undefined,
    renewed: () => undefined,
    store: () => store,
    role: () => ({ state: 'leader', term: role.term, leader: 1n }),
    submit: (command, done) => void wishes.push({ command, done }),
    read: (done) => void reads.push((error) => done(error ?? null)),
  });
  leases.begin();
  return { store, leases, wishes, time, reads, later, role };
}

test('a stall that a turn meets before the tick does ends no lease, though a slice was under way', (t) => {
  const { leases, wishes, time } = bench([1, 5]);
  time.now = 1000;
  leases.onTick();
  t.deepEqual(wishes.map(({ command }) => command.kind === 'lease_revoke' && command.id), [1n]);
  // The loop stands still in the middle of its round: the answer of the disk is handled before any timer is.
  time.now = 9000;
  wishes[0]?.done(null, { kind: 'lease_revoke', id: 1n, revision: 1 });
  t.is(wishes.length, 1);
  leases.onStall(7900);
  leases.onTick();
  t.is(wishes.length, 1);
});

test('slices follow each other without waiting for the next tick', (t) => {
  const { leases, wishes, time } = bench(Array.from({ length: 1500 }, () => 1));
  time.now = 1000;
  leases.onTick();
  t.is(wishes.length, 1000);
  for (const { done } of wishes.slice()) done(null, { kind: 'lease_revoke', id: 1n, revision: 1 });
  t.is(wishes.length, 1500);
});

test('a lease due behind very many that were renewed ends before the next tick, and no turn looks at all of them', (t) => {
  const renewed = 2 * expiryLooksMax;
  const { leases, wishes, time, later } = bench([...Array.from({ length: renewed }, () => 1), 2]);
  for (const next of later) next();
  later.length = 0;
  time.now = 1900;
  for (let id = 1; id <= renewed; id++) t.true(leases.lessor.renew(BigInt(id), time.now));
  time.now = 2000;
  leases.onTick();
  let turns = 0;
  for (let next = later.shift(); next !== undefined; next = later.shift()) {
    t.is(wishes.length, 0);
    turns += 1;
    next();
  }
  t.is(turns, 2);
  t.deepEqual(wishes.map(({ command }) => command.kind === 'lease_revoke' && command.id), [BigInt(renewed + 1)]);
});

test('a lease is not renewed behind a revoke that took too long, and the revoke is proposed again', (t) => {
  const { leases, wishes, time } = bench([1, 60]);
  time.now = 1000;
  leases.onTick();
  t.is(wishes.length, 1);
  // A disk that stands still: the entry is in the log, waits for it, and will be carried out when it is back.
  wishes[0]?.done(new ApiError('timeout'));
  const kept: (readonly number[] | undefined)[] = [];
  leases.renew([1n, 2n], (_error, seconds) => kept.push(seconds));
  t.deepEqual(kept, [[0, 60]]);
  time.now = 1100;
  leases.onTick();
  t.is(wishes.length, 2);
});

test('where every tick is late leases end all the same, by the time outside the stalls, once leadership is confirmed', (t) => {
  const { leases, wishes, time, reads } = bench([1]);
  const lateTick = (): void => {
    time.now += 600;
    leases.onStall(500);
  };
  for (let i = 0; i < 10; i++) {
    lateTick();
    for (const confirm of reads.splice(0)) confirm();
    t.is(wishes.length, 0, 'before its time, or only the last tick says so, behind which renewals may lie unread');
  }
  lateTick();
  t.is(wishes.length, 0);
  for (const confirm of reads.splice(0)) confirm();
  t.is(wishes.length, 1);
});

test('very many leases are taken over in slices, and one that is asked for before its turn as if it had been', (t) => {
  const count = 2 * adoptionsMax + 5;
  const { leases, wishes, time, later, store } = bench(Array.from({ length: count }, (_, i) => 10 + (i % 2)));
  t.is(leases.lessor.scheduled, adoptionsMax);
  const [last, gone, kept] = [BigInt(count), BigInt(count - 2), BigInt(count - 4)];
  time.now = 500;
  t.is(leases.remainingMs(last), 9500);
  store.apply({ term: 1, index: count + 2 }, { kind: 'lease_revoke', id: gone, term: 0, granted: 0 });
  leases.renew([kept, gone], (_error, seconds) => t.deepEqual(seconds, [10, 0]));
  t.is(leases.lessor.scheduled, adoptionsMax + 2);
  let turns = 0;
  for (let next = later.shift(); next !== undefined; next = later.shift()) {
    next();
    turns += 1;
  }
  t.is(turns, 2);
  t.is(leases.lessor.scheduled, count - 1);
  t.is(leases.remainingMs(last - 1n), 10_500, 'counted from when leadership began');
  t.is(leases.remainingMs(kept), 10_000);
  t.is(leases.remainingMs(gone), null);
  t.is(wishes.length, 0);
});

test('what is left of a lease that was written down is known to a renewal that comes before its turn', (t) => {
  const count = adoptionsMax + 1;
  const { leases, wishes, store } = bench(Array.from({ length: count }, () => 600), [BigInt(count)]);
  leases.renew([BigInt(count)], () => undefined);
  t.deepEqual(wishes.map(({ command }) => command.kind), ['lease_checkpoint']);
  t.is(store.lease(BigInt(count))?.remainingSeconds, 300);
});

test('a slice of leases that are taken over ends with the leadership', (t) => {
  const { leases, later } = bench(Array.from({ length: adoptionsMax + 1 }, () => 10));
  leases.end();
  for (const next of later) next();
  t.is(leases.lessor.scheduled, 0);
});

test('after a stall no tick ends a lease before it was confirmed that this node still leads', (t) => {
  const { leases, wishes, time, reads } = bench([1]);
  time.now = 900;
  leases.onTick();
  time.now = 1500;
  leases.onStall(500);
  for (time.now = 1600; time.now < 5000; time.now += 100) leases.onTick();
  t.is(wishes.length, 0);
  t.is(reads.length, 1);
  reads[0]?.();
  leases.onTick();
  t.is(wishes.length, 1);
});

test('no lease ends while the members are known to differ, and those that are due end once that is over', (t) => {
  const { store, leases, wishes, time } = bench([1, 1]);
  const alarm = { memberId: 1n, kind: 'corrupt' } as const;
  store.apply({ term: 1, index: 10 }, { kind: 'alarm', action: 'raise', alarm });
  for (time.now = 1000; time.now < 3000; time.now += 100) leases.onTick();
  t.deepEqual(wishes, []);
  store.apply({ term: 1, index: 11 }, { kind: 'alarm', action: 'clear', alarm });
  leases.onTick();
  t.deepEqual(wishes.map(({ command }) => command.kind), ['lease_revoke', 'lease_revoke']);
});

test('a lease that is shortened again while its whole TTL is written down is written down once more', (t) => {
  const { store, leases, wishes, time } = bench([1000]);
  const kept: (readonly number[] | undefined)[] = [];
  const proposed = (): unknown[] => wishes.map(({ command }) => {
    return command.kind === 'lease_checkpoint' ? command.leases[0]?.remainingSeconds : command.kind;
  });
  const answer = (wish: number): void => wishes[wish]?.done(null, { kind: 'lease_checkpoint', revision: 1 });
  time.now = leaseCheckpointMs;
  leases.onTick();
  leases.renew([1n], (_error, seconds) => kept.push(seconds));
  t.deepEqual(proposed(), [700, 1000]);
  for (const { command } of wishes) store.apply({ term: 1, index: store.applied.index + 1 }, command);
  answer(0);
  // Before the answer to the renewal comes, it is time to write down again what is left.
  time.now = 2 * leaseCheckpointMs;
  leases.onTick();
  t.deepEqual(proposed(), [700, 1000, 400]);
  answer(1);
  t.deepEqual(proposed(), [700, 1000, 400, 1000], 'or a later leader would count from 400 s');
  t.deepEqual(kept, []);
  answer(3);
  t.deepEqual(kept, [[1000]]);
  leases.renew([1n], (_error, seconds) => kept.push(seconds));
  t.deepEqual(kept, [[1000], [1000]], 'nothing less is written down any more');
});

test('a confirmation of an earlier reign is none for this one, and one that failed is asked for again', (t) => {
  const { leases, wishes, time, reads, role } = bench([1]);
  time.now = 1500;
  leases.onStall(100);
  t.is(reads.length, 1);
  // Leadership goes and comes back, and the loop stands still again before the first answer is there.
  leases.end();
  role.term = 3;
  leases.begin();
  time.now = 4000;
  leases.onStall(100);
  t.is(reads.length, 2);
  reads[0]?.();
  leases.onTick();
  t.is(wishes.length, 0);
  reads[0]?.(new ApiError('timeout'));
  t.is(reads.length, 2, 'nobody asks on behalf of a reign that is over');
  reads[1]?.(new ApiError('timeout'));
  leases.onTick();
  t.is(wishes.length, 0);
  t.is(reads.length, 3);
  reads[2]?.();
  leases.onTick();
  t.is(wishes.length, 1);
});
