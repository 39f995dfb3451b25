// Changes of members: asked anywhere, judged by the leader, applied by all; and what becomes of who is removed.

import test, { type ExecutionContext } from 'ava';
import { text, utf8 } from '../../../core/base/bytes.js';
import { get, put } from '../../../core/client.js';
import { isApiError, type ErrorCode } from '../../../core/errors.js';
import { Membership } from '../../../core/node/membership.js';
import { encodeMemberRecords } from '../../../core/store/members.js';
import { Store } from '../../../core/store/store.js';
import { SimClock } from '../../sim/clock.js';
import { LogSetBack } from '../../../core/raft/log-set-back.js';
import { Cluster, HEALTHY_MS, record } from './cluster.js';

async function refused(t: ExecutionContext, cluster: Cluster, work: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error: unknown = await cluster.until(work.then(() => null, (reason: unknown) => reason));
  t.true(isApiError(error, code), `${String(error)} instead of ${code}`);
}

/** Adds a member and starts it. */
async function grow(cluster: Cluster, via: bigint, isLearner = false): Promise<bigint> {
  const peerUrls = [`http://new${cluster.clock.now()}:2380`];
  const { member, members } = await cluster.until(cluster.client(via).addMember({ peerUrls, isLearner }));
  const contacts = members.map(({ id, ...rest }) => ({ ...record(id), ...rest, incarnation: 0n }));
  await cluster.start(member.id, { contacts, isReady: false });
  await cluster.ready(member.id);
  return member.id;
}

test('a cluster grows from one member to five and shrinks back to one, and keeps every write', async (t) => {
  const cluster = await Cluster.running({ size: 1 });
  const writes: string[] = [];
  const write = async (): Promise<void> => {
    const id = cluster.ids[writes.length % cluster.ids.length] ?? 1n;
    writes.push(`k${writes.length}`);
    await cluster.until(put(cluster.client(id), utf8(`k${writes.length - 1}`), utf8('v')));
  };
  for (let size = 2; size <= 5; size++) {
    await cluster.clock.advance(HEALTHY_MS);
    await grow(cluster, await cluster.leader());
    await write();
    t.is(cluster.member(1n).node.store.configuration.voters.length, size);
  }
  for (let size = 4; size >= 1; size--) {
    await cluster.clock.advance(HEALTHY_MS);
    const leader = await cluster.leader();
    // The leader removes itself every second time.
    const victim = size % 2 === 0 ? leader : cluster.ids.find((id) => id !== leader) ?? leader;
    const via = cluster.ids.find((id) => id !== victim) ?? leader;
    const { members } = await cluster.until(cluster.client(via).removeMember(victim));
    t.is(members.length, size);
    await cluster.clock.advance(3000);
    t.regex(cluster.ends.get(victim)?.message ?? '', /was removed from the cluster.*add it as a new member/);
    cluster.kill(victim);
    await write();
  }
  const [last = 0n] = cluster.ids;
  for (const key of writes) t.is(text((await cluster.until(get(cluster.client(last), utf8(key))))?.value ?? utf8('')), 'v');
  await cluster.stopAll();
});

test('a learner serves status and local reads only, and votes once it is promoted', async (t) => {
  const cluster = await Cluster.healthy();
  const follower = await cluster.follower();
  await cluster.until(put(cluster.client(follower), utf8('a'), utf8('1')));
  const peerUrls = ['http://learner:2380'];
  const { member } = await cluster.until(cluster.client(follower).addMember({ peerUrls, isLearner: true }));
  await refused(t, cluster, cluster.client(follower).promoteMember(member.id), 'learner_not_ready');
  const another = { peerUrls: ['http://x:1'], isLearner: true };
  await refused(t, cluster, cluster.client(follower).addMember(another), 'too_many_learners');
  await cluster.start(member.id, { contacts: [1n, 2n, 3n].map(record) });
  const learner = cluster.client(member.id);
  t.true((await cluster.until(learner.status())).isLearner);
  await cluster.level();
  t.is((await cluster.until(learner.range({ key: utf8('a'), serializable: true }))).kvs.length, 1);
  await refused(t, cluster, learner.range({ key: utf8('a') }), 'learner_unsupported');
  await refused(t, cluster, put(learner, utf8('a'), utf8('2')), 'learner_unsupported');
  await refused(t, cluster, learner.members(), 'learner_unsupported');
  const { members } = await cluster.until(cluster.client(follower).promoteMember(member.id));
  t.false(members.some(({ isLearner }) => isLearner));
  await cluster.level();
  await cluster.until(put(learner, utf8('a'), utf8('2')));
  await refused(t, cluster, cluster.client(follower).promoteMember(member.id), 'not_learner');
  await cluster.stopAll();
});

test('changes are refused in etcd\'s order and words', async (t) => {
  const cluster = await Cluster.running();
  const follower = cluster.client(await cluster.follower());
  await refused(t, cluster, follower.addMember({ peerUrls: ['http://n:1'] }), 'unhealthy_cluster');
  await cluster.clock.advance(HEALTHY_MS);
  for (const peerUrls of [[], ['n:1'], ['http://n'], ['http://n:1/path'], ['ftp://n:1'], ['http://n:99999']]) {
    await refused(t, cluster, follower.addMember({ peerUrls }), 'member_urls_invalid');
  }
  await refused(t, cluster, follower.addMember({ peerUrls: ['http://m2:2380'] }), 'peer_urls_exist');
  await refused(t, cluster, follower.removeMember(99n), 'member_not_found');
  await refused(t, cluster, follower.promoteMember(99n), 'member_not_found');
  await refused(t, cluster, follower.promoteMember(1n), 'not_learner');
  await refused(t, cluster, follower.updateMember(99n, ['http://m9:2380']), 'member_not_found');
  await refused(t, cluster, follower.updateMember(1n, ['http://m2:2380']), 'peer_urls_exist');
  const { members } = await cluster.until(follower.updateMember(1n, ['http://moved:2380']));
  t.deepEqual(members[0]?.peerUrls, ['http://moved:2380']);
  await cluster.stopAll();
});

test('the strict check refuses what would cost the majority, and lets a dead member go', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const [dead = 0n, alive = 0n] = cluster.ids.filter((id) => id !== leader);
  cluster.kill(dead);
  await cluster.clock.advance(3000);
  await refused(t, cluster, cluster.client(alive).addMember({ peerUrls: ['http://n:1'] }), 'unhealthy_cluster');
  await refused(t, cluster, cluster.client(alive).removeMember(alive), 'unhealthy_cluster');
  t.is((await cluster.until(cluster.client(alive).removeMember(dead))).members.length, 2);
  await cluster.until(put(cluster.client(alive), utf8('a'), utf8('1')));
  await cluster.stopAll();
});

test('a leader that has just begun counts on nobody who has not answered it', async (t) => {
  const cluster = await Cluster.healthy({ size: 5 });
  const leader = await cluster.leader();
  const [heir = 0n, , ...mute] = cluster.ids.filter((id) => id !== leader);
  // Their connections stand, and nothing comes through.
  cluster.board.onFrame = ({ from, to, frame }) => (mute.includes(from) || mute.includes(to) ? null : [frame]);
  await cluster.until(cluster.client(leader).moveLeader(heir));
  await refused(t, cluster, cluster.client(heir).removeMember(leader), 'unhealthy_cluster');
  await cluster.stopAll();
});

test('a single member is not removed', async (t) => {
  const cluster = await Cluster.running({ size: 1 });
  await refused(t, cluster, cluster.client(1n).removeMember(1n), 'not_enough_started');
  await cluster.stopAll();
});

test('a member that was removed while it was down is told so when it comes back', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const down = cluster.ids.find((id) => id !== leader) ?? 0n;
  cluster.kill(down);
  await cluster.clock.advance(2000);
  await cluster.until(cluster.client(leader).removeMember(down));
  await cluster.start(down, { isReady: false });
  await cluster.clock.advance(10_000);
  t.regex(cluster.ends.get(down)?.message ?? '', /was removed from the cluster/);
  t.is(await cluster.leader(), leader);
  await cluster.stopAll();
});

test('one that was removed while it was down is told by members that no longer know its address', async (t) => {
  const cluster = await Cluster.healthy({ snapshotCount: 5, limits: { catchUpEntries: 0 } });
  const leader = await cluster.leader();
  const [down = 0n, other = 0n] = cluster.ids.filter((id) => id !== leader);
  cluster.kill(down);
  await cluster.clock.advance(2000);
  await cluster.until(cluster.client(leader).removeMember(down));
  for (let i = 0; i < 20; i++) await cluster.until(put(cluster.client(leader), utf8('k'), utf8(`${i}`)));
  await cluster.level();
  for (const id of [leader, other]) cluster.kill(id);
  for (const id of [leader, other]) await cluster.start(id, { isReady: false });
  for (const id of [leader, other]) await cluster.ready(id);
  await cluster.start(down, { isReady: false });
  await cluster.clock.advance(10_000);
  t.regex(cluster.ends.get(down)?.message ?? '', /was removed from the cluster/);
  await cluster.stopAll();
});

test('a removed member is dialled for a while, so that it hears of it, but not once its address is another\'s', async (t) => {
  const clock = new SimClock();
  const store = new Store();
  const dialled: string[] = [];
  const membership = new Membership({ id: 1n, name: '', clientUrls: [], incarnation: 0n }, [], {
    clock, store: () => store, isConnected: () => false, submit: () => undefined, refused: () => undefined,
    setPeers: (peers) => void dialled.push(peers.map(({ id }) => id).join()),
  });
  let index = 0;
  const change = (voters: readonly bigint[], records: Parameters<typeof encodeMemberRecords>[0]): void => {
    const configuration = { voters, outgoing: [], learners: [] };
    store.applyMembers({ term: 1, index: (index += 1) }, configuration, encodeMemberRecords(records));
    membership.onChange();
  };
  change([1n, 2n, 3n, 4n], [1n, 2n, 3n, 4n].map(record));
  change([1n, 2n], []);
  t.is(dialled.at(-1), '2,3,4');
  change([1n, 2n, 5n], [{ ...record(5n), peerUrls: record(3n).peerUrls }]);
  t.is(dialled.at(-1), '2,4,5');
  for (let i = 0; i < 20; i++) {
    await clock.advance(1000);
    membership.onTick(true);
  }
  t.is(dialled.at(-1), '2,5');
});

test('a fork of the cluster, to which all others are removed, stops no member that has a leader or soon will', async (t) => {
  const cluster = await Cluster.running({ size: 5 });
  const leader = await cluster.leader();
  const [forked = 0n, ...others] = cluster.ids.filter((id) => id !== leader);
  await cluster.level();
  cluster.kill(forked);
  await cluster.start(forked, { force: true });
  t.deepEqual(cluster.member(forked).node.store.configuration.voters, [forked]);
  await cluster.clock.advance(10_000);
  // The election that follows goes on under the fork's claims, too.
  cluster.kill(leader);
  await cluster.clock.advance(20_000);
  t.true(cluster.events.some(({ id, event }) => id === forked && event.kind === 'frames_dropped' && event.reason === 'removed'));
  t.deepEqual([...cluster.ends], []);
  const [first = 0n] = others;
  await cluster.until(put(cluster.client(first), utf8('a'), utf8('1')));
  await cluster.stopAll();
});

test('who was removed is told by one member alone, if there is no leader for long', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const [down = 0n, other = 0n] = cluster.ids.filter((id) => id !== leader);
  cluster.kill(down);
  await cluster.clock.advance(2000);
  await cluster.until(cluster.client(leader).removeMember(down));
  cluster.kill(other);
  await cluster.start(down, { isReady: false });
  await cluster.clock.advance(4000);
  t.is(cluster.ends.get(down), undefined);
  await cluster.clock.advance(6000);
  t.regex(cluster.ends.get(down)?.message ?? '', /was removed from the cluster, as member .* says/);
  await cluster.stopAll();
});

test('a learner that was removed while it was down is told so when it comes back, though it never asks for a vote', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const learner = await grow(cluster, leader, true);
  cluster.kill(learner);
  await cluster.until(cluster.client(leader).removeMember(learner));
  await cluster.clock.advance(15_000);
  await cluster.start(learner, { contacts: [], isReady: false });
  await cluster.clock.advance(10_000);
  t.regex(cluster.ends.get(learner)?.message ?? '', /was removed from the cluster, as member .* says/);
  await cluster.stopAll();
});

// Reliability E2.
test('a member whose log was set back stops with the remedy, and nothing acknowledged is lost', async (t) => {
  const cluster = await Cluster.healthy();
  const leader = await cluster.leader();
  const [victim = 0n, other = 0n] = cluster.ids.filter((id) => id !== leader);
  for (let i = 0; i < 20; i++) await cluster.until(put(cluster.client(leader), utf8(`k${i}`), utf8('v')));
  await cluster.level();
  cluster.kill(victim);
  await cluster.setBack(victim, 5);
  await cluster.start(victim, { isReady: false });
  await cluster.clock.advance(3000);
  const end = cluster.ends.get(victim);
  t.true(end instanceof LogSetBack, 'an operator\'s error, not a failed assertion');
  t.regex(end?.message ?? '', /that it has entry \d+, and its log ends at \d+: its data was set back.*add it anew/);
  t.is(await cluster.leader(), leader);
  t.is((await cluster.until(cluster.client(other).range({ key: utf8('k'), rangeEnd: utf8('l') }))).kvs.length, 20);
  await cluster.stopAll();
});

test('two changes asked for at once are made one after the other', async (t) => {
  const cluster = await Cluster.healthy();
  const [first = 0n, second = 0n] = cluster.ids;
  await cluster.until(Promise.all([
    cluster.client(first).addMember({ peerUrls: ['http://l:1'], isLearner: true }),
    cluster.client(second).updateMember(1n, ['http://moved:2380']),
    cluster.client(second).removeMember(3n),
  ]));
  const { members } = await cluster.until(cluster.client(first).members({ linearizable: true }));
  t.is(members.length, 3);
  t.is(members.filter(({ isLearner }) => isLearner).length, 1);
  await cluster.stopAll();
});

test('the last member goes on alone when it is told that the others are lost for ever', async (t) => {
  const cluster = await Cluster.running();
  await cluster.until(put(cluster.client(1n), utf8('a'), utf8('1')));
  await cluster.level();
  for (const id of [1n, 2n, 3n]) cluster.kill(id);
  await cluster.start(1n, { force: true });
  const kv = await cluster.until(get(cluster.client(1n), utf8('a')));
  t.is(kv && text(kv.value), '1');
  const { members } = await cluster.until(cluster.client(1n).members());
  t.deepEqual(members.map(({ id, name }) => ({ id, name })), [{ id: 1n, name: 'm1' }]);
  await cluster.until(put(cluster.client(1n), utf8('a'), utf8('2')));
  cluster.kill(1n);
  await cluster.start(1n);
  await cluster.until(put(cluster.client(1n), utf8('a'), utf8('3')));
  await cluster.stopAll();
});
