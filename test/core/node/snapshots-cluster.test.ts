// Snapshots between members, and those handed to clients.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { Store } from '../../../core/store/store.js';
import { Cluster, HEALTHY_MS } from './cluster.js';

/** Enough entries that the leader's log no longer reaches back to where a member stopped. */
async function fill(cluster: Cluster, id: bigint, count: number): Promise<void> {
  const client = cluster.client(id);
  for (let i = 0; i < count; i += 500) {
    const writes = Array.from({ length: 500 }, (_, j) => put(client, utf8(`k${(i + j) % 700}`), utf8(`${i + j}`)));
    await cluster.until(Promise.all(writes));
  }
}

test('a member too far behind is sent a snapshot, and its watches go on without a gap', async (t) => {
  const cluster = await Cluster.running({ snapshotCount: 1000 });
  const leader = await cluster.leader();
  const behind = cluster.ids.find((id) => id !== leader) ?? 0n;
  const seen: number[] = [];
  const watch = cluster.client(behind).watch({ key: utf8('k'), rangeEnd: utf8('l'), startRevision: 2 });
  const reading = (async () => {
    for await (const batch of watch) for (const event of batch.events) seen.push(event.kv.modRevision);
  })();
  cluster.board.isolate(behind);
  await fill(cluster, leader, 8000);
  cluster.board.heal();
  await cluster.level();
  await cluster.clock.advance(2000);
  t.true(cluster.events.some(({ id, event }) => id === behind && event.kind === 'snapshot_installed'));
  t.true(cluster.events.some(({ event }) => event.kind === 'snapshot_sent' && event.ok));
  t.is(new Set(cluster.ids.map((id) => cluster.member(id).node.store.stateHash())).size, 1);
  t.deepEqual(seen, Array.from({ length: 8000 }, (_, i) => i + 2));
  watch.close();
  await reading;
  await cluster.stopAll();
});

test('writes asked of a member while it is behind are answered once it has caught up, or their outcome is unknown', async (t) => {
  const cluster = await Cluster.running({ snapshotCount: 1000 });
  const leader = await cluster.leader();
  const behind = cluster.ids.find((id) => id !== leader) ?? 0n;
  // What it asks gets through, what it is sent does not.
  cluster.board.onFrame = ({ to, lane, frame }) => (to === behind && lane !== 'call' ? null : [frame]);
  const writes = Array.from({ length: 20 }, (_, i) => put(cluster.client(behind), utf8(`w${i}`), utf8('v')));
  const outcomes = Promise.allSettled(writes);
  await fill(cluster, leader, 7000);
  cluster.board.onFrame = ({ frame }) => [frame];
  for (const outcome of await cluster.until(outcomes)) {
    t.true(outcome.status === 'fulfilled' || (isApiError(outcome.reason) && outcome.reason.outcome === 'unknown'));
  }
  await cluster.level();
  const { kvs } = await cluster.until(cluster.client(behind).range({ key: utf8('w'), rangeEnd: utf8('x') }));
  t.true(kvs.every(({ version }) => version === 1));
  await cluster.stopAll();
});

test('a member that joins a cluster with a long history gets a snapshot and votes', async (t) => {
  const cluster = await Cluster.running({ snapshotCount: 1000 });
  const leader = await cluster.leader();
  await fill(cluster, leader, 8000);
  await cluster.clock.advance(HEALTHY_MS);
  const { member, members } = await cluster.until(cluster.client(leader).addMember({ peerUrls: ['http://n:1'] }));
  await cluster.start(member.id, { contacts: members.map((each) => ({ ...each, incarnation: 0n })) });
  await cluster.level();
  t.is(cluster.member(member.id).node.store.revision, 8001);
  cluster.kill(cluster.ids.find((id) => id !== leader && id !== member.id) ?? 0n);
  await cluster.until(put(cluster.client(member.id), utf8('a'), utf8('1')));
  cluster.kill(member.id);
  await cluster.start(member.id);
  t.is(cluster.member(member.id).node.store.revision, 8002);
  await cluster.stopAll();
});

test('a leader that has handed over leadership ships no snapshot any more', async (t) => {
  const cluster = await Cluster.running({ snapshotCount: 1000 });
  const leader = await cluster.leader();
  const [behind = 0n, heir = 0n] = cluster.ids.filter((id) => id !== leader);
  cluster.board.isolate(behind);
  await fill(cluster, leader, 8000);
  cluster.board.heal();
  // Offers arrive and are not answered, so that they go on.
  let offers = 0;
  cluster.board.onFrame = ({ from, lane, frame }) => {
    if (lane === 'snapshot' && from === leader) offers++;
    return lane === 'snapshot' && from === behind ? null : [frame];
  };
  await cluster.clock.advance(3000);
  t.true(offers > 1);
  await cluster.until(cluster.client(leader).moveLeader(heir));
  offers = 0;
  await cluster.clock.advance(3000);
  t.is(offers, 0);
  await cluster.stopAll();
});

test('a snapshot for a client counts down to nothing, and is the store as it was', async (t) => {
  const cluster = await Cluster.running({ size: 1 });
  await fill(cluster, 1n, 2000);
  const { store } = cluster.member(1n).node;
  const [hash, { applied }] = [store.hash(0), store];
  const received: Uint8Array[] = [];
  let pieces = 0;
  const countdown: number[] = [];
  const reading = (async () => {
    for await (const { bytes, remainingBytes } of cluster.client(1n).snapshot()) {
      const before = countdown.at(-1);
      if (before !== undefined) t.is(remainingBytes, before - bytes.length);
      countdown.push(remainingBytes);
      pieces += 1;
      received.push(bytes);
      if (pieces === 1) await put(cluster.client(1n), utf8('later'), utf8('x'));
    }
  })();
  await cluster.until(reading);
  t.is(countdown.at(-1), 0);
  const file = Buffer.concat(received);
  const loaded = Store.loadEtcdFile({ sizeBytes: file.length, read: (at, length) => file.subarray(at, at + length) });
  t.is(loaded.revision, 2001);
  t.deepEqual([loaded.hash(0), loaded.applied], [hash, applied]);
  await cluster.stopAll();
});

test('hashes of members that hold the same are equal', async (t) => {
  const cluster = await Cluster.running();
  await fill(cluster, await cluster.leader(), 1000);
  await cluster.level();
  const hashes = await cluster.until(Promise.all(cluster.ids.map((id) => cluster.client(id).hash(500))));
  t.is(new Set(hashes.map(({ hash }) => hash)).size, 1);
  const future: unknown = await cluster.until(cluster.client(1n).hash(99_999).catch((error: unknown) => error));
  t.true(isApiError(future, 'future_revision'));
  await cluster.stopAll();
});
