// etcd's checks of a change of members, one situation at a time: what the strict check refuses, and what it must not.

import test from 'ava';
import type { ChangeRequest } from '../../../core/node/calls.js';
import { judge, type Situation } from '../../../core/node/reconfigure.js';
import type { MemberRecord } from '../../../core/store/members.js';

/** Members 1 to n, started, well and caught up, as member 1 sees them who leads. */
function situation(count: number, change: Partial<Situation> = {}): Situation {
  return {
    self: 1n, isStrict: true, members: Array.from({ length: count }, (_, i) => member(BigInt(i + 1))),
    isRemoved: () => false, isHealthy: () => true, match: () => 100, isActive: () => true, ownMatch: 100, ...change,
  };
}

function member(id: bigint, change: Partial<MemberRecord> = {}): MemberRecord {
  return { id, name: `m${id}`, peerUrls: [`http://m${id}:1`], clientUrls: [], isLearner: false, incarnation: id, ...change };
}

const unstarted = (id: bigint): MemberRecord => member(id, { name: '', incarnation: 0n });
const learner = (id: bigint): MemberRecord => member(id, { isLearner: true });

function add(peerUrls: readonly string[] = ['http://new:1'], isLearner = false, id = 9n): ChangeRequest {
  return { kind: 'add', id, peerUrls, isLearner };
}

const remove = (id: bigint): ChangeRequest => ({ kind: 'remove', id });
const promote = (id: bigint): ChangeRequest => ({ kind: 'promote', id });

/** Who gains a vote, who learns, who goes; or why not. */
function told(request: ChangeRequest, where: Situation): string {
  const verdict = judge(request, where);
  if (typeof verdict === 'string') return verdict;
  return `+${verdict.voters.join()} ~${verdict.learners.join()} -${verdict.removed.join()}`;
}

test('a voter, a learner, a removal and a promotion become what the machine is asked for', (t) => {
  t.is(told(add(), situation(3)), '+9 ~ -');
  t.is(told(add(['http://new:1'], true), situation(3)), '+ ~9 -');
  t.is(told(remove(3n), situation(3)), '+ ~ -3');
  t.is(told(promote(4n), situation(3, { members: [member(1n), member(2n), member(3n), learner(4n)] })), '+4 ~ -');
});

test('a voter is added only while a majority of what will be has started, but the first may always be joined', (t) => {
  t.is(told(add(), situation(1)), '+9 ~ -');
  t.is(told(add(), situation(2, { members: [member(1n), unstarted(2n)] })), 'not_enough_started');
  t.is(told(add(), situation(3, { members: [member(1n), member(2n), unstarted(3n)] })), 'not_enough_started');
  t.is(told(add(), situation(4, { members: [member(1n), member(2n), member(3n), unstarted(4n)] })), '+9 ~ -');
  const lax = situation(2, { members: [member(1n), unstarted(2n)], isStrict: false });
  t.is(told(add(), lax), '+9 ~ -');
  const young = situation(2, { members: [member(1n), unstarted(2n)] });
  t.is(told(add(['http://new:1'], true), young), '+ ~9 -', 'a learner costs nothing');
});

test('nobody is added while a voter is not well; a learner that is not is no hindrance, nor does the leader ask itself', (t) => {
  const sick = (id: bigint): Partial<Situation> => ({ isHealthy: (each) => each !== id });
  t.is(told(add(), situation(3, sick(3n))), 'unhealthy_cluster');
  t.is(told(add(['http://new:1'], true), situation(3, sick(3n))), 'unhealthy_cluster');
  t.is(told(add(), situation(3, sick(1n))), '+9 ~ -');
  t.is(told(add(), situation(3, { ...sick(3n), isStrict: false })), '+9 ~ -');
  t.is(told(add(), situation(3, { ...sick(4n), members: [member(1n), member(2n), member(3n), learner(4n)] })), '+9 ~ -');
});

test('ids are not used twice, URLs have one owner, and one learner at a time is enough', (t) => {
  t.is(told(add(['http://new:1'], false, 2n), situation(3)), 'member_exists');
  t.is(told(add(), situation(3, { isRemoved: (id) => id === 9n })), 'member_exists');
  t.is(told(add(['http://new:1', 'http://m2:1']), situation(3)), 'peer_urls_exist');
  const learning = situation(3, { members: [member(1n), member(2n), member(3n), learner(4n)] });
  t.is(told(add(['http://new:1'], true), learning), 'too_many_learners');
  t.is(told(add(), learning), '+9 ~ -');
});

test('a peer URL is a scheme, a host and a port, nothing else', (t) => {
  const good = ['http://h:1', 'https://h.example:65535', 'http://[::1]:2380', 'unix://sock:1', 'unixs://sock:1'];
  for (const url of good) t.is(told(add([url]), situation(3)), '+9 ~ -', url);
  const bad = [
    'h:1', 'http://h', 'http://h:', 'http://h:65536', 'http://h:1/', 'http://h:1/x', 'http://a@h:1', 'ftp://h:1', ' http://h:1',
    '',
  ];
  for (const url of bad) t.is(told(add(['http://ok:1', url]), situation(3)), 'member_urls_invalid', url);
  t.is(told(add([]), situation(3)), 'member_urls_invalid');
  t.is(told(add(Array.from({ length: 1000 }, (_, i) => `http://h${i}:1`)), situation(3)), 'member_urls_invalid');
});

test('whoever is down already may go; one that is up goes only while a majority of the others is well', (t) => {
  const down: Partial<Situation> = { isHealthy: (id) => id !== 3n, isActive: (id) => id !== 3n };
  t.is(told(remove(3n), situation(3, down)), '+ ~ -3');
  t.is(told(remove(2n), situation(3, down)), 'unhealthy_cluster');
  t.is(told(remove(2n), situation(3, { ...down, isStrict: false })), '+ ~ -2');
  t.is(told(remove(1n), situation(3, down)), 'unhealthy_cluster', 'the leader is up, whatever it knows of itself');
  t.is(told(remove(1n), situation(3, { isActive: (id) => id !== 1n, isHealthy: (id) => id !== 1n })), '+ ~ -1');
  t.is(told(remove(2n), situation(5, down)), '+ ~ -2', 'three of the four that stay are well');
});

test('nobody goes whose going leaves no majority of started members, nor the last one; a learner always may', (t) => {
  t.is(told(remove(1n), situation(1, { isStrict: false })), 'not_enough_started');
  t.is(told(remove(2n), situation(3, { members: [member(1n), member(2n), unstarted(3n)] })), 'not_enough_started');
  t.is(told(remove(3n), situation(3, { members: [member(1n), member(2n), unstarted(3n)] })), '+ ~ -3');
  const sick = situation(2, { members: [member(1n), learner(2n)], isHealthy: () => false });
  t.is(told(remove(2n), sick), '+ ~ -2');
  t.is(told(remove(7n), situation(3)), 'member_not_found');
});

test('a learner gets its vote when it answers, has started, and has nine tenths of the log', (t) => {
  const where = (change: Partial<Situation> = {}, record = learner(4n)): Situation => {
    return situation(3, { members: [member(1n), member(2n), member(3n), record], ...change });
  };
  t.is(told(promote(4n), where({ match: () => 90 })), '+4 ~ -');
  t.is(told(promote(4n), where({ match: () => 89 })), 'learner_not_ready');
  t.is(told(promote(4n), where({ isActive: () => false })), 'learner_not_ready');
  t.is(told(promote(4n), where({}, { ...unstarted(4n), isLearner: true })), 'learner_not_ready');
  t.is(told(promote(3n), where()), 'not_learner');
  t.is(told(promote(7n), where()), 'member_not_found');
  const few = [member(1n), unstarted(2n), unstarted(3n), learner(4n)];
  t.is(told(promote(4n), situation(0, { members: few })), 'not_enough_started');
  t.is(told(promote(4n), situation(0, { members: few, isStrict: false })), '+4 ~ -');
});
