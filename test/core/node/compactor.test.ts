// Compaction by the clock: when, and to which revision (contract 14.4).

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { Compactor, type AutoCompaction } from '../../../core/node/compactor.js';
import { SimClock } from '../../sim/clock.js';
import { Cluster } from './cluster.js';

const HOUR_MS = 3_600_000;

class World {
  readonly clock = new SimClock();
  readonly compactions: { readonly atMs: number; readonly revision: number }[] = [];
  revision = 1;
  compacted = 0;
  isLeader = true;
  fails = false;
  readonly compactor: Compactor;

  /** One more revision in each second. */
  constructor(mode: AutoCompaction) {
    const began = this.clock.now();
    const count = (): void => {
      this.revision += 1;
      this.clock.schedule(1000, count);
    };
    this.clock.schedule(1000, count);
    this.compactor = new Compactor(mode, {
      clock: this.clock,
      isLeader: () => this.isLeader,
      revision: () => this.revision,
      compacted: () => this.compacted,
      compact: (revision, done) => {
        this.compactions.push({ atMs: this.clock.now() - began, revision });
        if (!this.fails) this.compacted = revision;
        this.clock.schedule(1, () => done(this.fails ? new Error('no leader') : null));
      },
    });
    this.compactor.begin();
  }

  get atSeconds(): readonly number[] {
    return this.compactions.map(({ atMs }) => Math.round(atMs / 1000));
  }
}

test('with a period of ten seconds, every ten seconds what is older than ten seconds goes', async (t) => {
  const world = new World({ mode: 'periodic', periodMs: 10_000 });
  await world.clock.advance(35_500);
  t.deepEqual(world.atSeconds, [10, 20, 30]);
  for (const { atMs, revision } of world.compactions) {
    const age = 1 + Math.floor(atMs / 1000) - revision;
    t.true(age >= 9 && age <= 11, `at ${atMs} ms to revision ${revision}`);
  }
  world.compactor.end();
  await world.clock.advance(30_000);
  t.is(world.compactions.length, 3);
});

test('a period of days begins after its length and then goes on every hour', async (t) => {
  const world = new World({ mode: 'periodic', periodMs: 5 * HOUR_MS });
  await world.clock.advance(7 * HOUR_MS + 60_000);
  t.deepEqual(world.atSeconds.map((seconds) => Math.round(seconds / 3600)), [5, 6, 7]);
  for (const { atMs, revision } of world.compactions) {
    const ageSeconds = atMs / 1000 - revision;
    // Noted every six minutes.
    t.true(ageSeconds >= 5 * 3600 - 2 && ageSeconds <= 5 * 3600 + 362, `at ${atMs} ms to revision ${revision}`);
  }
});

test('a compaction that fails is tried again a tenth of the period later, and only the leader compacts', async (t) => {
  const world = new World({ mode: 'periodic', periodMs: 10_000 });
  world.fails = true;
  await world.clock.advance(12_500);
  t.deepEqual(world.atSeconds, [10, 11, 12]);
  world.isLeader = false;
  world.fails = false;
  await world.clock.advance(20_000);
  t.is(world.compactions.length, 3);
  // It has noted revisions all the while: the new leader need not wait for a period.
  world.isLeader = true;
  await world.clock.advance(1000);
  t.is(world.compactions.length, 4);
  t.true(world.revision - (world.compactions[3]?.revision ?? 0) <= 12);
});

test('by number, every five minutes all but the newest go, and nothing while there are not so many', async (t) => {
  const world = new World({ mode: 'revision', keep: 500 });
  await world.clock.advance(950_000);
  t.deepEqual(world.compactions.map(({ atMs, revision }) => [atMs / 1000, revision]), [[600, 100], [900, 400]]);
});

test('a cluster that is told so compacts by the clock, through whoever leads', async (t) => {
  const upkeep = { autoCompaction: { mode: 'periodic', periodMs: 10_000 }, corruptCheckMs: 0, compactHashCheckMs: 0 } as const;
  const cluster = await Cluster.running({ upkeep });
  const leader = await cluster.leader();
  for (let i = 0; i < 20; i++) {
    await cluster.until(put(cluster.client(leader), utf8('a'), utf8(`${i}`)));
    await cluster.clock.advance(1000);
  }
  const { compacted } = cluster.member(leader).node.store;
  t.true(compacted >= 5 && compacted <= 14, `compacted to ${compacted}`);
  const [heir = 0n] = cluster.ids.filter((id) => id !== leader);
  await cluster.until(cluster.client(leader).moveLeader(heir));
  await cluster.clock.advance(12_000);
  for (const id of cluster.ids) t.true(cluster.member(id).node.store.compacted > compacted);
  await cluster.stopAll();
});
