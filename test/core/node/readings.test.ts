// Large ranges share a turn: how much of it they take, who goes first, and what ends one before its time.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { opPut, type Header, type PairPlace, type RangeForm } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { readKeysPerTurn, readingsMax, readingsWaitingMax } from '../../../core/node/limits.js';
import { Readings, type Wish } from '../../../core/node/readings.js';
import { Store } from '../../../core/store/store.js';
import { SimClock } from '../../sim/clock.js';

const HEADER: Header = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
const EVERYTHING = { key: utf8('\0'), rangeEnd: utf8('\0') };

/** Counts what it is told, and how much of that in one turn. */
class Tally implements RangeForm<number> {
  readonly #bench: Bench;
  #written = 0;

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  measure(_pair: PairPlace): void {
    this.#bench.count();
  }

  begin(): void {
    this.#written = 0;
  }

  write(_pair: PairPlace): void {
    this.#bench.count();
    this.#written += 1;
  }

  end(): number {
    return this.#written;
  }

  only(): number {
    throw new Error('a range of one key is not read in slices');
  }
}

function everything(formOf: () => Tally): Wish<number> {
  return {
    keysIn: (store) => store.keysIn(EVERYTHING),
    begin: (store) => store.reading(EVERYTHING),
    header: () => HEADER,
    formOf,
    isGivenUp: () => false,
  };
}

class Bench {
  readonly clock = new SimClock();
  store: Store;
  isRunning = true;
  /** In the order in which they came. */
  readonly answers: unknown[] = [];
  mostInATurn = 0;
  #inThisTurn = 0;
  index = 0;
  isGivenUp = false;
  readonly #readings: Readings;

  constructor(keys: number) {
    this.store = this.filled(keys);
    const schedule = (delayMs: number, run: () => void): (() => void) => this.clock.schedule(delayMs, () => {
      this.#inThisTurn = 0;
      run();
    });
    const clock = { now: () => this.clock.now(), schedule };
    this.#readings = new Readings({ clock, store: () => this.store, isRunning: () => this.isRunning });
  }

  filled(keys: number): Store {
    const store = new Store();
    for (let from = 0; from < keys; from += 100) {
      const length = Math.min(100, keys - from);
      const success = Array.from({ length }, (_, i) => opPut(utf8(String(1e6 + from + i)), utf8('v')));
      store.apply({ term: 1, index: ++this.index }, { kind: 'txn', request: { success } });
    }
    return store;
  }

  count(): void {
    this.#inThisTurn += 1;
    this.mostInATurn = Math.max(this.mostInATurn, this.#inThisTurn);
  }

  read(limit = 0, begun = (): void => undefined, then = (): void => undefined): void {
    this.#readings.read({
      keysIn: (store) => store.keysIn({ ...EVERYTHING, limit }),
      begin: (store) => {
        begun();
        return store.reading({ ...EVERYTHING, limit });
      },
      header: () => HEADER,
      formOf: () => new Tally(this),
      isGivenUp: () => this.isGivenUp,
    }, (error, pairs) => {
      this.answers.push(error ?? pairs);
      then();
    });
  }
}

test('a small range is answered at once, a large one over turns that are no longer than one slice allows', async (t) => {
  const bench = new Bench(30_000);
  bench.read(10);
  t.deepEqual(bench.answers, [10]);
  bench.read();
  bench.read();
  bench.read(7);
  t.deepEqual(bench.answers, [10]);
  await bench.clock.advance(100);
  t.deepEqual(bench.answers, [10, 7, 30_000, 30_000]);
  t.true(bench.mostInATurn <= readKeysPerTurn);
  t.true(bench.mostInATurn > readKeysPerTurn / 2);
});

test('many small ones are too much for one turn as well', async (t) => {
  const bench = new Bench(2000);
  for (let i = 0; i < 30; i++) bench.read();
  t.true(bench.answers.length < 3);
  await bench.clock.advance(100);
  t.is(bench.answers.length, 30);
  t.true(bench.mostInATurn <= readKeysPerTurn);
});

test('a range begins anew when the store is replaced, and ends when the node stops', async (t) => {
  const bench = new Bench(20_000);
  let begun = 0;
  bench.read(0, () => void (begun += 1));
  t.is(begun, 1);
  bench.store = bench.filled(12_345);
  await bench.clock.advance(100);
  t.deepEqual(bench.answers, [12_345]);
  t.is(begun, 2);
  bench.read();
  bench.isRunning = false;
  await bench.clock.advance(100);
  t.true(isApiError(bench.answers[1], 'stopped'));
});

test('readers who follow each other without a pause do not keep compacted history for ever', async (t) => {
  const bench = new Bench(12_000);
  bench.store.apply({ term: 1, index: ++bench.index }, { kind: 'txn', request: { success: [opPut(utf8('x'), utf8('v'))] } });
  let tidied = Infinity;
  const again = (limit: number) => (): void => {
    if (!bench.store.isTidyDue) tidied = Math.min(tidied, bench.answers.length);
    if (bench.answers.length < 60) bench.read(limit, undefined, again(limit));
  };
  // Of lengths that differ, so that one is always under way when another ends.
  for (const limit of [12_000, 7000, 5000]) again(limit)();
  bench.store.apply({ term: 1, index: ++bench.index }, { kind: 'compact', revision: bench.store.revision });
  tidied = Infinity;
  t.true(bench.store.isTidyDue);
  await bench.clock.advance(1000);
  t.true(bench.answers.length >= 60);
  t.true(tidied < 15, String(tidied));
});

test('of very small ones, too, only so many are answered in a turn, and of large ones only so many are begun', async (t) => {
  const bench = new Bench(10_000);
  for (let i = 0; i < 1000; i++) bench.read(1);
  t.true(bench.answers.length < 300, String(bench.answers.length));
  await bench.clock.advance(100);
  t.is(bench.answers.length, 1000);
  let begun = 0;
  let most = 0;
  for (let i = 0; i < 2 * readingsMax; i++) {
    bench.read(0, () => {
      begun += 1;
      most = Math.max(most, 1000 + begun - bench.answers.length);
    });
  }
  await bench.clock.advance(100);
  t.is(begun, 2 * readingsMax);
  t.is(most, readingsMax);
});

test('a request that is refused is answered with the reason', (t) => {
  const bench = new Bench(1);
  const readings = new Readings({ clock: bench.clock, store: () => bench.store, isRunning: () => true });
  const answers: unknown[] = [];
  const header = (): Header => HEADER;
  const formOf = (): Tally => new Tally(bench);
  const isGivenUp = (): boolean => false;
  const keysIn = (): number => 1;
  readings.read({ keysIn, begin: () => 'compacted', header, formOf, isGivenUp }, (error) => void answers.push(error));
  readings.read({ keysIn, begin: () => 'permission_denied', header, formOf, isGivenUp }, (error) => void answers.push(error));
  t.true(isApiError(answers[0], 'compacted'));
  t.true(isApiError(answers[1], 'permission_denied'));
});

test('a range that nobody waits for any more is read no further, and keeps no history', async (t) => {
  const bench = new Bench(20_000);
  bench.read();
  t.true(bench.store.isFrozen);
  bench.isGivenUp = true;
  await bench.clock.advance(1);
  t.true(isApiError(bench.answers[0], 'canceled'));
  t.false(bench.store.isFrozen);
});

test('nothing is kept in place once a range is answered, has failed, or its store is gone', async (t) => {
  const bench = new Bench(20_000);
  const old = bench.store;
  bench.read();
  t.true(old.isFrozen);
  bench.store = bench.filled(20_000);
  await bench.clock.advance(100);
  t.deepEqual(bench.answers, [20_000]);
  t.false(old.isFrozen);
  t.false(bench.store.isFrozen);
  bench.read();
  bench.isRunning = false;
  await bench.clock.advance(1);
  t.false(bench.store.isFrozen);
});

test('a form that cannot be ended fails its own range alone', async (t) => {
  const bench = new Bench(20_000);
  const readings = new Readings({ clock: bench.clock, store: () => bench.store, isRunning: () => true });
  const answers: unknown[] = [];
  for (const isBad of [true, false]) {
    readings.read(everything(() => {
      const form = new Tally(bench);
      if (isBad) form.end = () => { throw new Error('too long'); };
      return form;
    }), (error, pairs) => void answers.push(error?.message ?? pairs));
  }
  await bench.clock.advance(100);
  t.deepEqual(answers, ['too long', 20_000]);
  t.false(bench.store.isFrozen);
});

test('small ranges that come while large ones wait are begun before them, and do not keep them from going on', async (t) => {
  const bench = new Bench(10_000);
  for (let i = 0; i < 2 * readingsMax; i++) bench.read();
  for (let i = 0; i < 5; i++) bench.read(3);
  await bench.clock.advance(100);
  t.deepEqual(bench.answers.slice(0, 5), [3, 3, 3, 3, 3]);
  t.is(bench.answers.length, 2 * readingsMax + 5);
  let more = 200;
  const again = (): void => {
    if (more-- > 0) bench.read(3, undefined, again);
  };
  bench.answers.length = 0;
  bench.read();
  again();
  await bench.clock.advance(1000);
  t.is(bench.answers.length, 201);
  t.true(bench.answers.indexOf(10_000) < 100, String(bench.answers.indexOf(10_000)));
});

test('answers for which there is no room together are written one after the other, and in their order', async (t) => {
  const bench = new Bench(0);
  const value = new Uint8Array(16 * 1024 * 1024);
  // An answer has 160 MB: of two that are written there is more than there is room for.
  for (let i = 0; i < 10; i++) {
    bench.store.apply({ term: 1, index: ++bench.index }, { kind: 'txn', request: { success: [opPut(utf8(`k${i}`), value)] } });
  }
  let most = 0;
  let now = 0;
  const readings = new Readings({ clock: bench.clock, store: () => bench.store, isRunning: () => true });
  const order: number[] = [];
  for (const i of [0, 1, 2]) {
    readings.read(everything(() => {
      const form = new Tally(bench);
      form.begin = () => {
        now += 1;
        most = Math.max(most, now);
      };
      return form;
    }), () => {
      now -= 1;
      order.push(i);
    });
  }
  await bench.clock.advance(1000);
  t.deepEqual(order, [0, 1, 2]);
  t.is(most, 1);
});

test('leases are listed by what is left of them, in slices, without those that come or end meanwhile', async (t) => {
  const bench = new Bench(0);
  const grant = (id: number, ttlSeconds: number): void => {
    bench.store.apply({ term: 1, index: ++bench.index }, { kind: 'lease_grant', id: BigInt(id), ttlSeconds });
  };
  const ttl = (id: number): number => 1 + ((id * 7919) % 100_003) * (id % 3 === 0 ? 90_000 : 1);
  const COUNT = 3 * readKeysPerTurn;
  for (let id = 1; id <= COUNT; id++) grant(id, ttl(id));
  const readings = new Readings({ clock: bench.clock, store: () => bench.store, isRunning: () => true });
  const lists: (readonly bigint[] | undefined)[] = [];
  const known = new Map([[5n, -3], [6n, 0.5]]);
  const leftHere = (id: bigint): number | null => known.get(id) ?? null;
  let refusal: 'permission_denied' | null = null;
  const begin = (): typeof refusal => refusal;
  readings.leases({ begin, leftHere, isGivenUp: () => false }, (_error, ids) => lists.push(ids));
  t.deepEqual(lists, []);
  grant(COUNT + 1, 1);
  bench.store.apply({ term: 1, index: ++bench.index }, { kind: 'lease_revoke', id: BigInt(COUNT), term: 0, granted: 0 });
  await bench.clock.advance(100);
  const left = (id: bigint): number => Math.max(0, Math.floor(leftHere(id) ?? ttl(Number(id)) * 1000));
  const expected = Array.from({ length: COUNT - 1 }, (_, i) => BigInt(i + 1)).sort((a, b) => left(a) - left(b));
  t.deepEqual(lists, [expected]);
  readings.leases({ begin, leftHere, isGivenUp: () => true }, (error) => t.true(isApiError(error, 'canceled')));
  const outcomes: unknown[] = [];
  for (let i = 0; i < 2; i++) readings.leases({ begin, leftHere, isGivenUp: () => false }, (error) => outcomes.push(error));
  refusal = 'permission_denied';
  await bench.clock.advance(100);
  t.is(outcomes.length, 2);
  t.true(outcomes.some((error) => isApiError(error, 'permission_denied')), 'judged when it is begun, not when it is asked for');
});

test('more than may wait are turned away at once', async (t) => {
  const bench = new Bench(5000);
  for (let i = 0; i < readingsWaitingMax + 20; i++) bench.read(i < 20 ? 0 : 1);
  const refused = bench.answers.filter((each) => isApiError(each, 'too_many_requests')).length;
  t.true(refused > 0 && refused < 20, String(refused));
  bench.isRunning = false;
  await bench.clock.advance(1000);
  t.is(bench.answers.length, readingsWaitingMax + 20);
});
