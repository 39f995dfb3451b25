// A leader's belief about one follower: every transition, and what may never move backwards.

import test from 'ava';
import { IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, Progress } from '../../../core/raft/progress.js';

/** As a leader sees a follower whose log meets its own through `match`. */
function streaming(match: number): Progress {
  const progress = new Progress(match + 1, 0);
  progress.accepted(match, 0);
  return progress;
}

function stand({ mode, match, next, canSend }: Progress): unknown[] {
  return [mode, match, next, canSend];
}

test('a probe goes out once, until it is answered', (t) => {
  const progress = new Progress(5, 0);
  t.deepEqual(stand(progress), ['probe', 0, 5, true]);
  progress.sent(7, 1);
  t.deepEqual(stand(progress), ['probe', 0, 5, false]);
  t.throws(() => progress.sent(8, 1), { message: /not ready/ });
});

test('an accepted probe starts the stream behind what is durable', (t) => {
  const progress = new Progress(5, 0);
  progress.sent(7, 1);
  progress.accepted(7, 0);
  t.deepEqual(stand(progress), ['stream', 7, 8, true]);
});

test('an accepted probe whose entries are not durable yet does not send them again', (t) => {
  const progress = new Progress(5, 0);
  progress.sent(7, 1);
  progress.accepted(2, 0);
  t.deepEqual(stand(progress), ['stream', 2, 5, true]);
});

test('a stream goes on without answers, up to its bound in number', (t) => {
  const progress = streaming(0);
  for (let i = 1; i <= IN_FLIGHT_MAX; i++) {
    t.true(progress.canSend);
    progress.sent(i, 1);
  }
  t.deepEqual(stand(progress), ['stream', 0, IN_FLIGHT_MAX + 1, false]);
  progress.accepted(1, 0);
  t.true(progress.canSend);
});

test('and up to its bound in bytes', (t) => {
  const progress = streaming(0);
  progress.sent(1, IN_FLIGHT_BYTES_MAX - 1);
  t.true(progress.canSend);
  progress.sent(2, 5);
  t.false(progress.canSend);
  progress.accepted(1, 0);
  t.true(progress.canSend);
  progress.sent(3, IN_FLIGHT_BYTES_MAX);
  t.false(progress.canSend);
  progress.accepted(3, 0);
  t.true(progress.canSend);
});

// Raft §5.3: "After a rejection, the leader decrements nextIndex and retries the AppendEntries RPC."
test('a refusal goes back to probing where the follower suggests', (t) => {
  const progress = streaming(3);
  progress.sent(9, 1);
  progress.refused(7, 0);
  t.deepEqual(stand(progress), ['probe', 3, 7, true]);
});

test('the copies of a refusal cause no second probe', (t) => {
  const progress = streaming(3);
  progress.sent(9, 1);
  progress.refused(7, 0);
  progress.sent(9, 1);
  progress.refused(7, 0);
  progress.refused(8, 0);
  t.deepEqual(stand(progress), ['probe', 3, 7, false]);
});

test('what was durable once stays so: late answers of either kind move nothing back', (t) => {
  const progress = streaming(8);
  progress.accepted(3, 0);
  t.deepEqual(stand(progress), ['stream', 8, 9, true]);
  progress.refused(4, 0);
  t.deepEqual(stand(progress), ['stream', 8, 9, true]);
  progress.sent(12, 1);
  progress.refused(9, 0);
  t.deepEqual(stand(progress), ['probe', 8, 9, true]);
});

test('a follower to which messages are lost is sent no more until it answers', (t) => {
  const progress = streaming(8);
  progress.sent(12, 1);
  progress.unreachable();
  t.deepEqual(stand(progress), ['probe', 8, 9, false]);
  progress.unreachable();
  progress.accepted(12, 0);
  t.deepEqual(stand(progress), ['stream', 12, 13, true]);
});

test('a follower behind the log waits for its snapshot, and the stream goes on behind it', (t) => {
  const progress = streaming(3);
  progress.ship(50);
  t.deepEqual(stand(progress), ['snapshot', 3, 4, false]);
  progress.refused(2, 40);
  progress.unreachable();
  progress.accepted(3, 40);
  t.deepEqual(stand(progress), ['snapshot', 3, 4, false]);
  progress.shipped(true, 100);
  progress.accepted(50, 40);
  t.deepEqual(stand(progress), ['stream', 50, 51, true]);
});

test('a follower that has caught up with the log otherwise needs the snapshot no more', (t) => {
  const progress = streaming(3);
  progress.ship(50);
  progress.accepted(40, 40);
  t.deepEqual(stand(progress), ['stream', 40, 41, true]);
});

test('a snapshot the log has grown away from while it travelled is followed by a newer one', (t) => {
  const progress = streaming(3);
  progress.ship(50);
  progress.accepted(50, 60);
  t.deepEqual(stand(progress), ['probe', 50, 51, true]);
});

test('a snapshot that did not arrive is tried again at the next sign of life', (t) => {
  const progress = streaming(3);
  progress.ship(50);
  progress.shipped(false, 0);
  t.deepEqual(stand(progress), ['probe', 3, 4, false]);
  progress.refused(4, 40);
  t.deepEqual(stand(progress), ['probe', 3, 4, true]);
});

test('a snapshot that arrived and is not installed in time is given up', (t) => {
  const progress = streaming(3);
  progress.ship(50);
  progress.checkShipped(1000, 10);
  t.is(progress.mode, 'snapshot');
  progress.shipped(true, 1000);
  progress.checkShipped(1010, 10);
  t.is(progress.mode, 'snapshot');
  progress.checkShipped(1011, 10);
  t.deepEqual(stand(progress), ['probe', 3, 4, false]);
});

test('a stream whose answers were all lost is given up when what comes next has been forgotten', (t) => {
  const progress = streaming(537);
  for (let i = 0; i < IN_FLIGHT_MAX; i++) progress.sent(progress.next, 1);
  t.deepEqual(stand(progress), ['stream', 537, 602, false]);
  progress.refused(602, 537);
  t.deepEqual(stand(progress), ['stream', 537, 602, false]);
  progress.refused(602, 1200);
  t.deepEqual(stand(progress), ['probe', 537, 602, true]);
});

test('an answer frees what it answers, no more and no less, in number and in bytes', (t) => {
  const many = streaming(0);
  for (let i = 1; i <= IN_FLIGHT_MAX; i++) many.sent(i, 1);
  many.accepted(1, 0);
  many.sent(IN_FLIGHT_MAX + 1, 1);
  t.false(many.canSend);
  const large = streaming(0);
  large.sent(1, 10);
  large.sent(2, IN_FLIGHT_BYTES_MAX);
  large.accepted(1, 0);
  t.false(large.canSend);
  large.accepted(2, 0);
  large.sent(3, 20);
  t.true(large.canSend);
});

test('what was in flight when a stream broke off takes no room in the next', (t) => {
  const progress = streaming(0);
  progress.sent(1, IN_FLIGHT_BYTES_MAX);
  progress.unreachable();
  progress.accepted(1, 0);
  t.true(progress.canSend);
  progress.sent(2, IN_FLIGHT_BYTES_MAX);
  t.false(progress.canSend);
  progress.accepted(2, 0);
  progress.sent(3, 1);
  t.true(progress.canSend);
});

test('of a snapshot that is over nothing is left: not its index, not its end, not when it arrived', (t) => {
  const progress = streaming(3);
  progress.ship(50);
  t.is(progress.snapshotIndex, 50);
  progress.shipped(true, 100);
  progress.accepted(50, 40);
  t.is(progress.snapshotIndex, 0);
  progress.shipped(false, 101);
  t.deepEqual(stand(progress), ['stream', 50, 51, true]);
  progress.ship(90);
  progress.checkShipped(1000, 10);
  t.is(progress.mode, 'snapshot', 'the second one has not arrived yet');
});
