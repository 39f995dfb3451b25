// A leader's clockwork: heartbeats, who still answers, and a transfer. What is said then is in the golden transcripts.

import test from 'ava';
import { NO_SNAPSHOT } from '../../../core/log/log-storage.js';
import { Leadership } from '../../../core/raft/leadership.js';
import { RaftLog } from '../../../core/raft/log.js';
import { Members } from '../../../core/raft/members.js';
import type { Message } from '../../../core/raft/types.js';

const trio = new Members({ voters: [1n, 2n, 3n], outgoing: [], learners: [4n] });

function leading(): Leadership {
  const leadership = new Leadership({
    id: 1n, voters: [], electionTicks: 10, heartbeatTicks: 2, seed: 1, appendBytesMax: 100, uncommittedMax: 9, catchUpEntries: 0,
    catchUpBytes: Infinity, applyBytesMax: Infinity,
  });
  leadership.begin();
  leadership.followers.add(trio, 1, 0);
  return leadership;
}

function kinds(leadership: Leadership, now: number): string[] {
  const out: Message[] = [];
  leadership.send(new RaftLog({ term: 0, index: 0 }, []), { term: 1, commit: 0, snapshot: NO_SNAPSHOT, now }, out);
  return out.map(({ kind, to }) => `${to} ${kind}`);
}

test('a heartbeat goes to everybody, once for each time it is due', (t) => {
  const leadership = leading();
  leadership.tick();
  leadership.onTime(1);
  t.deepEqual(kinds(leadership, 1), []);
  leadership.tick();
  leadership.onTime(2);
  t.deepEqual(kinds(leadership, 2), ['2 append', '3 append', '4 append']);
  t.deepEqual(kinds(leadership, 2), []);
});

// Thesis 6.2: a leader steps down if an election time-out passes without a successful round of heartbeats to a majority.
test('a majority of the voters must have answered lately; learners do not help', (t) => {
  const leadership = leading();
  t.true(leadership.isAnswered(trio, 9));
  t.false(leadership.isAnswered(trio, 10));
  const [learner, voter] = [leadership.followers.get(4n), leadership.followers.get(2n)];
  if (learner !== undefined) learner.heardAt = 10;
  t.false(leadership.isAnswered(trio, 10));
  if (voter !== undefined) voter.heardAt = 5;
  t.true(leadership.isAnswered(trio, 14));
  t.false(leadership.isAnswered(trio, 15));
});

test('a transfer goes to a fit voter alone, ends after an election time-out, and when it is no longer wanted', (t) => {
  const leadership = leading();
  for (const unfit of [1n, 4n, 9n]) {
    leadership.transfer(unfit, trio, 0);
    t.is(leadership.transferTo, 0n);
  }
  leadership.transfer(2n, trio, 10);
  t.is(leadership.transferTo, 0n);
  leadership.transfer(2n, trio, 5);
  t.is(leadership.transferTo, 2n);
  leadership.transfer(2n, trio, 9);
  leadership.onTime(14);
  t.is(leadership.transferTo, 2n);
  leadership.onTime(15);
  t.is(leadership.transferTo, 0n);
  leadership.transfer(3n, trio, 5);
  leadership.transfer(1n, trio, 6);
  t.is(leadership.transferTo, 0n);
});

test('the target is told when it has everything, and again with each heartbeat', (t) => {
  const leadership = leading();
  leadership.transfer(2n, trio, 0);
  t.deepEqual(kinds(leadership, 0), ['2 timeout_now']);
  t.deepEqual(kinds(leadership, 0), []);
  leadership.tick();
  leadership.tick();
  leadership.onTime(2);
  t.deepEqual(kinds(leadership, 2), ['2 timeout_now', '2 append', '3 append', '4 append']);
});

test('a second wish is told like the first, and nothing of a leadership that ended is left in the next', (t) => {
  const leadership = leading();
  leadership.transfer(2n, trio, 0);
  t.deepEqual(kinds(leadership, 0), ['2 timeout_now']);
  leadership.transfer(3n, trio, 0);
  t.deepEqual(kinds(leadership, 0), ['3 timeout_now']);
  leadership.tick();
  leadership.tick();
  leadership.onTime(2);
  leadership.tick();
  leadership.reads.add(5);
  t.deepEqual(leadership.end(), [5]);
  t.is(leadership.transferTo, 0n);
  leadership.begin();
  leadership.followers.add(trio, 1, 2);
  t.deepEqual(kinds(leadership, 2), []);
  leadership.tick();
  leadership.onTime(3);
  t.deepEqual(kinds(leadership, 3), [], 'its first heartbeat is due a whole interval after it began');
});
