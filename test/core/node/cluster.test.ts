// Three and more members with the real driver, machine, store, peers and codec, on a simulated clock and network.

import test from 'ava';
import { text, utf8 } from '../../../core/base/bytes.js';
import { get, put } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { Cluster, ELECTION_MS } from './cluster.js';

async function value(cluster: Cluster, id: bigint, key: string): Promise<string | null> {
  const kv = await cluster.until(get(cluster.client(id), utf8(key)));
  return kv && text(kv.value);
}

test('three members elect one leader, and each knows the names of all', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  for (const id of cluster.ids) {
    t.is(cluster.member(id).node.role.leader, leader);
    const { members } = await cluster.until(cluster.client(id).members());
    t.deepEqual(members.map(({ name }) => name), ['m1', 'm2', 'm3']);
  }
  await cluster.stopAll();
});

test('a write through any member is read through every member', async (t) => {
  const cluster = await Cluster.running();
  for (const writer of cluster.ids) {
    await cluster.until(put(cluster.client(writer), utf8('k'), utf8(`from ${writer}`)));
    for (const reader of cluster.ids) t.is(await value(cluster, reader, 'k'), `from ${writer}`);
  }
  await cluster.level();
  t.is(new Set(cluster.ids.map((id) => cluster.member(id).node.store.stateHash())).size, 1);
  await cluster.stopAll();
});

test('when the leader dies, the others go on with everything acknowledged', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  await cluster.until(put(cluster.client(leader), utf8('a'), utf8('1')));
  cluster.kill(leader);
  const next = await cluster.leader();
  t.not(next, leader);
  for (const id of cluster.ids) t.is(await value(cluster, id, 'a'), '1');
  await cluster.start(leader);
  t.is(await value(cluster, leader, 'a'), '1');
  await cluster.stopAll();
});

test('writes through followers are neither lost nor doubled when leadership changes under them', async (t) => {
  const cluster = await Cluster.running();
  const revisions = new Set<number>();
  let failed = 0;
  for (let round = 0; round < 6; round++) {
    const leader = await cluster.leader();
    const writers = cluster.ids.filter((id) => id !== leader);
    const writes = Array.from({ length: 40 }, (_, i) => {
      const client = cluster.client(writers[i % writers.length] ?? leader);
      return put(client, utf8(`r${round}k${i}`), utf8('v'));
    });
    const outcomes = Promise.allSettled(writes);
    await cluster.clock.advance(round % 3);
    if (round % 2 === 0) cluster.board.isolate(leader);
    else cluster.member(leader).node.desk.transfer(writers[0] ?? leader, () => undefined);
    for (const [i, outcome] of (await cluster.until(outcomes)).entries()) {
      if (outcome.status === 'rejected') failed += 1;
      else revisions.add(outcome.value.header.revision);
      cluster.board.heal();
      const kv = await cluster.until(get(cluster.client(writers[0] ?? leader), utf8(`r${round}k${i}`)));
      if (outcome.status === 'fulfilled') t.is(kv?.version, 1);
      else t.true((kv?.version ?? 0) <= 1);
    }
  }
  t.is(failed, 0);
  t.is(revisions.size, 6 * 40);
  await cluster.stopAll();
});

test('a member cut off answers no linearizable read, and its local reads stay', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  await cluster.until(put(cluster.client(leader), utf8('a'), utf8('1')));
  await cluster.level();
  cluster.board.isolate(leader);
  const read = cluster.client(leader).range({ key: utf8('a') });
  const error: unknown = await cluster.until(read.catch((reason: unknown) => reason));
  t.true(isApiError(error, 'timeout_leader_lost') || isApiError(error, 'timeout'));
  const local = await cluster.until(cluster.client(leader).range({ key: utf8('a'), serializable: true }));
  t.is(local.kvs.length, 1);
  await cluster.stopAll();
});

test('leadership moves where it is told to, and only the leader can move it', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const [first = 0n, second = 0n] = cluster.ids.filter((id) => id !== leader);
  const refused: unknown = await cluster.until(cluster.client(first).moveLeader(second).catch((reason: unknown) => reason));
  t.true(isApiError(refused, 'not_leader'));
  const unknown: unknown = await cluster.until(cluster.client(leader).moveLeader(99n).catch((reason: unknown) => reason));
  t.true(isApiError(unknown, 'bad_transferee'));
  await cluster.until(cluster.client(leader).moveLeader(leader));
  await cluster.until(cluster.client(leader).moveLeader(second));
  t.is(await cluster.leader(), second);
  await cluster.stopAll();
});

test('a leader that is stopped hands over first: nobody waits for an election time-out', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const startedMs = cluster.clock.now();
  await cluster.stop(leader);
  t.is(cluster.ends.get(leader), null);
  await cluster.until(put(cluster.client(cluster.ids[0] ?? 0n), utf8('a'), utf8('1')));
  t.true(cluster.clock.now() - startedMs < ELECTION_MS, `${cluster.clock.now() - startedMs} ms`);
  await cluster.stopAll();
});
