// A leader's belief about one follower: every transition, and what may never move backwards.

import test from 'ava';
import { IN_FLIGHT_MAX, Progress } from '../../../core/raft/progress.js';

test('a probe goes out once, until it is answered or a heartbeat is due', (t) => {
  const progress = new Progress(5);
  t.true(progress.canSend);
  progress.sent(7);
  t.false(progress.canSend);
  progress.heartbeat();
  t.true(progress.canSend);
  t.deepEqual([progress.mode, progress.match, progress.next], ['probe', 0, 5]);
});

test('an accepted probe starts the stream behind what is durable', (t) => {
  const progress = new Progress(5);
  progress.sent(7);
  progress.accepted(7);
  t.deepEqual([progress.mode, progress.match, progress.next], ['stream', 7, 8]);
});

test('a stream goes on without answers, up to its bound', (t) => {
  const progress = new Progress(1);
  progress.accepted(0);
  for (let i = 1; i <= IN_FLIGHT_MAX; i++) {
    t.true(progress.canSend);
    progress.sent(i);
  }
  t.false(progress.canSend);
  t.is(progress.next, IN_FLIGHT_MAX + 1);
  progress.accepted(1);
  t.true(progress.canSend);
});

// Raft §5.3: "After a rejection, the leader decrements nextIndex and retries the AppendEntries RPC."
test('a refusal goes back to probing where the follower suggests, always at least one step', (t) => {
  const progress = new Progress(1);
  progress.accepted(3);
  progress.sent(9);
  progress.refused(7);
  t.deepEqual([progress.mode, progress.next, progress.canSend], ['probe', 7, true]);
  progress.refused(50);
  t.is(progress.next, 6);
});

test('what was durable once stays so: late answers of either kind move nothing back', (t) => {
  const progress = new Progress(1);
  progress.accepted(8);
  progress.accepted(3);
  t.deepEqual([progress.match, progress.next], [8, 9]);
  progress.refused(4);
  t.deepEqual([progress.mode, progress.match, progress.next], ['stream', 8, 9]);
  progress.sent(12);
  progress.refused(9);
  t.deepEqual([progress.mode, progress.next], ['probe', 9]);
});
