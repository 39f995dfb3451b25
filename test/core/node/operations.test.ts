// What operators do at bad moments (reliability 2.7): nothing acknowledged is lost or done twice, nothing hangs, and whoever
// must go is told why.

import test from 'ava';
import { text, utf8 } from '../../../core/base/bytes.js';
import { get, put } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { Cluster, ELECTION_MS, record } from './cluster.js';

/** Writes one after the other through a member, until told to stop; how long the slowest took. */
function load(cluster: Cluster, via: bigint): { stop: () => Promise<{ written: number; failed: number; slowestMs: number }> } {
  let isOver = false;
  const run = (async () => {
    let [written, failed, slowestMs] = [0, 0, 0];
    while (!isOver) {
      const startedMs = cluster.clock.now();
      try {
        await put(cluster.client(via), utf8(`w${written}`), utf8('v'));
        written += 1;
      } catch {
        failed += 1;
      }
      slowestMs = Math.max(slowestMs, cluster.clock.now() - startedMs);
    }
    return { written, failed, slowestMs };
  })();
  return {
    stop: () => {
      isOver = true;
      return cluster.until(run);
    },
  };
}

// E8.
test('handing over to a member that does not answer is given up in time, and writes wait no longer than that', async (t) => {
  const cluster = await Cluster.running();
  const leader = await cluster.leader();
  const [mute = 0n] = cluster.ids.filter((id) => id !== leader);
  const { revision } = cluster.member(leader).node.store;
  const writes = load(cluster, leader);
  await cluster.clock.advance(500);
  cluster.board.onFrame = ({ from, to, frame }) => (from === mute || to === mute ? null : [frame]);
  const moved = cluster.client(leader).moveLeader(mute).then(() => null, (reason: unknown) => reason);
  const error: unknown = await cluster.until(moved);
  t.true(isApiError(error, 'timeout'), String(error));
  await cluster.clock.advance(1000);
  const { written, failed, slowestMs } = await writes.stop();
  t.is(failed, 0);
  t.true(slowestMs <= ELECTION_MS + 300, `a write took ${slowestMs} ms`);
  t.is(cluster.member(leader).node.store.revision, revision + written);
  t.is(await cluster.leader(), leader);
  await cluster.stopAll();
});

// E8.
test('leadership that moves every 200 ms under load loses no write and doubles none', async (t) => {
  const cluster = await Cluster.running();
  const { revision } = cluster.member(1n).node.store;
  await cluster.level();
  const writes = cluster.ids.map((id) => load(cluster, id));
  const keys = new Set<bigint>();
  for (let i = 0; i < 20; i++) {
    const leader = await cluster.leader();
    const to = cluster.ids[(cluster.ids.indexOf(leader) + 1) % 3] ?? 0n;
    await cluster.until(cluster.client(leader).moveLeader(to));
    keys.add(to);
    await cluster.clock.advance(200);
  }
  t.is(keys.size, 3);
  let written = 0;
  for (const each of writes) {
    const outcome = await each.stop();
    t.is(outcome.failed, 0);
    written += outcome.written;
  }
  await cluster.level();
  for (const id of cluster.ids) t.is(cluster.member(id).node.store.revision, revision + written);
  await cluster.stopAll();
});

// E7.
test('a leader that is removed while it hands over goes, and the others go on', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const [heir = 0n, other = 0n] = cluster.ids.filter((id) => id !== leader);
  const moved = cluster.client(leader).moveLeader(heir).catch(() => undefined);
  const { members } = await cluster.until(cluster.client(other).removeMember(leader));
  t.deepEqual(members.map(({ id }) => id), cluster.ids.filter((id) => id !== leader));
  await cluster.until(moved);
  await cluster.clock.advance(3000);
  t.regex(cluster.ends.get(leader)?.message ?? '', /was removed from the cluster.*add it as a new member/);
  cluster.kill(leader);
  await cluster.until(put(cluster.client(other), utf8('a'), utf8('1')));
  t.is(text((await cluster.until(get(cluster.client(heir), utf8('a'))))?.value ?? utf8('')), '1');
  await cluster.stopAll();
});

// E4.
test('the old process of a member that was added anew at the same address is told to go, and disturbs nobody', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const old = cluster.ids.find((id) => id !== leader) ?? 0n;
  cluster.board.onFrame = ({ from, to, frame }) => (from === old || to === old ? null : [frame]);
  await cluster.clock.advance(2000);
  await cluster.until(cluster.client(leader).removeMember(old));
  const { member } = await cluster.until(cluster.client(leader).addMember({ peerUrls: record(old).peerUrls }));
  t.not(member.id, old);
  const contacts = cluster.member(leader).node.store.members();
  await cluster.start(member.id, { contacts });
  const { term } = cluster.member(leader).node.role;
  cluster.board.onFrame = ({ frame }) => [frame];
  await cluster.clock.advance(5000);
  t.regex(cluster.ends.get(old)?.message ?? '', /was removed from the cluster.*never returns/);
  t.deepEqual(cluster.member(leader).node.role, { state: 'leader', term, leader });
  await cluster.until(put(cluster.client(member.id), utf8('a'), utf8('1')));
  await cluster.stopAll();
});
