// The members' data are compared: a difference is noticed, named, and ends all writing; none is seen where there is none.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { whenDone } from '../../../core/base/done.js';
import { get, put, type AlarmRequest } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { Corruption, outliers } from '../../../core/node/corruption.js';
import type { NodeEvent } from '../../../core/node/events.js';
import { NO_UPKEEP, type UpkeepSettings } from '../../../core/node/upkeep.js';
import type { StoreHash } from '../../../core/store/store.js';
import { SimClock } from '../../sim/clock.js';
import { Cluster } from './cluster.js';

const EVERY_MS = 60_000;
const UPKEEP = { autoCompaction: null, corruptCheckMs: EVERY_MS, compactHashCheckMs: 0 };
const ALL_ALARMS: AlarmRequest = { action: 'list', memberId: 0n, kind: null };

/** One bit of a value turns over in one member's memory. */
function flip(cluster: Cluster, id: bigint, key: string): void {
  const result = cluster.member(id).node.store.range({ key: utf8(key) });
  // Values this long are handed out as views of the store's own memory.
  const value = typeof result === 'string' ? undefined : result.kvs[0]?.value;
  if (value === undefined || value.length < 100) throw new Error('there is no such value');
  value[50] = (value[50] ?? 0) ^ 1;
}

async function filled(options: { upkeep: UpkeepSettings }): Promise<Cluster> {
  const cluster = await Cluster.running(options);
  const leader = await cluster.leader();
  for (let i = 0; i < 5; i++) await cluster.until(put(cluster.client(leader), utf8(`k${i}`), new Uint8Array(200)));
  await cluster.level();
  return cluster;
}

function differences(cluster: Cluster): readonly NodeEvent[] {
  return cluster.events.map(({ event }) => event).filter(({ kind }) => kind === 'members_differ');
}

test('a bit that turned over in a follower raises the alarm for that follower, and then nothing is written', async (t) => {
  const cluster = await filled({ upkeep: UPKEEP });
  const leader = await cluster.leader();
  const [broken = 0n, other = 0n] = cluster.ids.filter((id) => id !== leader);
  flip(cluster, broken, 'k3');
  await cluster.clock.advance(EVERY_MS + 10_000);
  const { alarms } = await cluster.until(cluster.client(other).alarm(ALL_ALARMS));
  t.deepEqual(alarms, [{ memberId: broken, kind: 'corrupt' }]);
  t.like(differences(cluster)[0], { kind: 'members_differ', members: [broken] });
  const refused: unknown = await cluster.until(put(cluster.client(other), utf8('a'), utf8('1')).catch((error: unknown) => error));
  t.true(refused instanceof ApiError);
  t.like(refused, { code: 'corrupt', status: 15, message: 'etcdserver: corrupt cluster' });
  t.not(await cluster.until(get(cluster.client(other), utf8('k1'))), null);
  t.deepEqual((await cluster.until(cluster.client(leader).status())).errors, [`memberID:${broken} alarm:CORRUPT `]);
  const { index } = cluster.member(leader).node.store.applied;
  await cluster.clock.advance(3 * EVERY_MS);
  t.true(differences(cluster).length > 1);
  t.is(cluster.member(leader).node.store.applied.index, index, 'an alarm that stands is not raised again');
  await cluster.stopAll();
});

test('where the leader is the one that differs, the others are believed', async (t) => {
  const cluster = await filled({ upkeep: UPKEEP });
  const leader = await cluster.leader();
  flip(cluster, leader, 'k0');
  await cluster.clock.advance(EVERY_MS + 10_000);
  t.deepEqual((await cluster.until(cluster.client(leader).alarm(ALL_ALARMS))).alarms, [{ memberId: leader, kind: 'corrupt' }]);
  await cluster.stopAll();
});

test('members that agree raise no alarm, under load, while one is away, and compacted to different revisions', async (t) => {
  const cluster = await filled({ upkeep: { ...UPKEEP, corruptCheckMs: 2000 } });
  const leader = await cluster.leader();
  const [away = 0n] = cluster.ids.filter((id) => id !== leader);
  for (let i = 0; i < 60; i++) {
    await cluster.until(put(cluster.client(leader), utf8(`k${i % 7}`), new Uint8Array(100 + i)));
    if (i % 10 === 5) await cluster.until(cluster.client(leader).compact(cluster.member(leader).node.store.revision - 2));
    if (i === 20) cluster.board.onFrame = ({ from, to, frame }) => (from === away || to === away ? null : [frame]);
    if (i === 40) cluster.board.onFrame = ({ frame }) => [frame];
    await cluster.clock.advance(500);
  }
  t.deepEqual(differences(cluster), []);
  t.deepEqual((await cluster.until(cluster.client(leader).alarm(ALL_ALARMS))).alarms, []);
  await cluster.stopAll();
});

test('after a compaction the leader compares what it has left, once', async (t) => {
  const cluster = await filled({ upkeep: { ...UPKEEP, corruptCheckMs: 0, compactHashCheckMs: EVERY_MS } });
  const leader = await cluster.leader();
  const [broken = 0n] = cluster.ids.filter((id) => id !== leader);
  flip(cluster, broken, 'k2');
  await cluster.clock.advance(2 * EVERY_MS);
  t.deepEqual(differences(cluster), []);
  await cluster.until(cluster.client(leader).compact(cluster.member(leader).node.store.revision));
  await cluster.clock.advance(2 * EVERY_MS);
  t.is(differences(cluster).length, 1);
  t.deepEqual((await cluster.until(cluster.client(leader).alarm(ALL_ALARMS))).alarms, [{ memberId: broken, kind: 'corrupt' }]);
  await cluster.stopAll();
});

test('a member that was away when what a compaction left was compared is compared once it is back', async (t) => {
  const cluster = await filled({ upkeep: { ...UPKEEP, corruptCheckMs: 0, compactHashCheckMs: EVERY_MS } });
  const leader = await cluster.leader();
  const [broken = 0n] = cluster.ids.filter((id) => id !== leader);
  flip(cluster, broken, 'k2');
  cluster.board.onFrame = ({ from, to, frame }) => (from === broken || to === broken ? null : [frame]);
  await cluster.until(cluster.client(leader).compact(cluster.member(leader).node.store.revision));
  await cluster.clock.advance(3 * EVERY_MS);
  t.deepEqual(differences(cluster), []);
  cluster.board.onFrame = ({ frame }) => [frame];
  await cluster.clock.advance(3 * EVERY_MS);
  t.like(differences(cluster)[0], { kind: 'members_differ', members: [broken] });
  await cluster.stopAll();
});

test('a member that differs from most of the others finds out before it serves, and one that agrees serves', async (t) => {
  const cluster = await filled({ upkeep: NO_UPKEEP });
  const [a = 0n, b = 0n, c = 0n] = cluster.ids;
  flip(cluster, b, 'k1');
  const verify = (id: bigint): Promise<readonly bigint[]> => {
    return cluster.until(whenDone<readonly bigint[]>((done) => cluster.member(id).node.upkeep.corruption.verify(done)));
  };
  t.deepEqual(new Set(await verify(b)), new Set([a, c]));
  t.deepEqual(await verify(a), []);
  cluster.kill(c);
  // One against one: whoever begins does not.
  t.deepEqual([await verify(a), await verify(b)], [[b], [a]]);
  await cluster.stopAll();
});

test('a member hears who differs from it, not who is as wrong; one a little behind is asked again, not for ever', async (t) => {
  const clock = new SimClock();
  const asked: bigint[] = [];
  const told = (hash: number): StoreHash => ({ hash, revision: 7, compactRevision: 0 });
  const corruption = new Corruption({ self: 1n, everyMs: 0, compactedEveryMs: 0 }, {
    clock, observe: () => undefined, isLeader: () => false, raise: () => undefined,
    others: () => [2n, 3n, 4n, 5n, 6n, 7n],
    revision: () => 7,
    compacted: () => 0,
    hash: (_revision, done) => void clock.schedule(0, () => done(null, told(1))),
    askHash: (member, _revision, done) => {
      asked.push(member);
      const isBehind = member === 4n || (member === 3n && asked.filter((each) => each === member).length < 3);
      clock.schedule(0, () => (isBehind ? done(new ApiError('future_revision')) : done(null, told(member === 2n ? 1 : 9))));
    },
  });
  const differing = await clock.until(whenDone<readonly bigint[]>((done) => corruption.verify(done)));
  t.deepEqual(differing.toSorted((a, b) => Number(a - b)), [3n, 5n, 6n, 7n]);
  t.deepEqual([3n, 4n, 5n].map((member) => asked.filter((each) => each === member).length), [3, 5, 1]);
});

test('whoever holds what most hold is right; without a majority, the one who judges', (t) => {
  const found = (...hashes: readonly number[]): { member: bigint; hash: number }[] => {
    return hashes.map((hash, i) => ({ member: BigInt(i + 1), hash }));
  };
  t.deepEqual(outliers(found(5, 5, 5), 1n), []);
  t.deepEqual(outliers(found(5, 6, 6), 1n), [1n]);
  t.deepEqual(outliers(found(5, 6), 1n), [2n]);
  t.deepEqual(outliers(found(5, 6), 2n), [1n]);
  t.deepEqual(outliers(found(5, 6, 7), 3n), [1n, 2n]);
  t.deepEqual(outliers(found(5, 5, 6, 6), 4n), [1n, 2n]);
  t.deepEqual(outliers(found(5), 1n), []);
});
