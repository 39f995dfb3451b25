// The machine's tail of the log: slices, conflicts, the back-up of Raft §5.3, and forgetting.

import test from 'ava';
import { RaftLog } from '../../../core/raft/log.js';
import type { Entry } from '../../../core/raft/types.js';
import { takesLess } from '../../takes-less.js';

const BASE = { term: 0, index: 0 };

/** A log whose entry i has the i-th of `terms`; each has `size` bytes of data. */
function entries(terms: readonly number[], { first = 1, size = 1 } = {}): Entry[] {
  return terms.map((term, i) => ({ kind: 'command', term, index: first + i, data: new Uint8Array(size) }));
}

function indexes(list: readonly Entry[]): number[] {
  return list.map(({ index }) => index);
}

test('a log with a hole or a falling term is refused', (t) => {
  t.throws(() => new RaftLog(BASE, entries([1, 1], { first: 2 })), { message: /entry 2 follows entry 0: the log has a hole/ });
  t.throws(() => new RaftLog(BASE, entries([2, 1])), { message: /entry 2 has term 1, below term 2/ });
  const log = new RaftLog(BASE, entries([1, 2]));
  t.throws(() => log.append({ kind: 'empty', term: 2, index: 4, data: new Uint8Array(0) }), { message: /cannot follow entry 2/ });
  t.throws(() => log.append({ kind: 'empty', term: 1, index: 3, data: new Uint8Array(0) }), { message: /below the 2/ });
});

test('a term is known within the log and at its base, nowhere else', (t) => {
  const log = new RaftLog({ term: 3, index: 10 }, entries([3, 4], { first: 11 }));
  t.deepEqual([9, 10, 11, 12, 13].map((index) => log.termAt(index)), [null, 3, 3, 4, null]);
  t.deepEqual([log.base.index, log.lastIndex, log.last.term], [10, 12, 4]);
});

test('a slice by bytes holds at least one entry and otherwise keeps its bound', (t) => {
  const log = new RaftLog(BASE, entries([1, 1, 1, 1], { size: 10 }));
  t.deepEqual(indexes(log.sliceBytes(1, 25)), [1, 2]);
  t.deepEqual(indexes(log.sliceBytes(2, 20)), [2, 3]);
  t.deepEqual(indexes(log.sliceBytes(3, 5)), [3]);
  t.deepEqual(indexes(log.sliceBytes(5, 5)), []);
  const large = [1, 2, 5].flatMap((first, i) => entries([1, 1], { first, size: i === 1 ? 50 : 10 }).slice(0, i === 1 ? 2 : 1));
  const mixed = new RaftLog(BASE, large.slice(0, 3).concat(entries([1, 1], { first: 4, size: 10 })));
  t.deepEqual([1, 2, 3, 4].map((from) => indexes(mixed.sliceBytes(from, 1000, 50))), [[1], [2], [3], [4, 5]]);
  t.deepEqual(indexes(mixed.sliceBytes(1, 1000)), [1, 2, 3, 4, 5]);
  t.deepEqual(indexes(log.slice(2, 3)), [2, 3]);
  t.deepEqual(indexes(log.slice(5, 4)), []);
});

// Raft §5.3: "If an existing entry conflicts with a new one (same index but different terms), delete the existing entry and
// all that follow it"; an entry that is there already is not touched, however old the message.
test('the first difference is the first entry that is missing or has another term', (t) => {
  const log = new RaftLog(BASE, entries([1, 1, 2]));
  t.is(log.firstDifference(entries([1, 1, 2])), 3);
  t.is(log.firstDifference(entries([1], { first: 2 })), 1);
  t.is(log.firstDifference(entries([1, 3], { first: 2 })), 1);
  t.is(log.firstDifference(entries([1, 2, 2], { first: 2 })), 2);
});

// Raft §5.3: "the follower can include the term of the conflicting entry and the first index it stores for that term".
// The terms are those of figure 7, with the leader's log 1 1 1 4 4 5 5 6 6 6.
test('the meeting point is found in one round for each conflicting term', (t) => {
  const leader = new RaftLog(BASE, entries([1, 1, 1, 4, 4, 5, 5, 6, 6, 6]));
  const followers: [number[], number][] = [
    [[1, 1, 1, 4, 4, 5, 5, 6, 6], 9],
    [[1, 1, 1, 4], 4],
    [[1, 1, 1, 4, 4, 4, 4], 5],
    [[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], 3],
  ];
  for (const [terms, meeting] of followers) {
    const follower = new RaftLog(BASE, entries(terms));
    let previous = leader.last;
    let rounds = 0;
    while (!follower.matches(previous)) {
      const hint = follower.lastAtMost(previous.index - 1, previous.term);
      const next = leader.lastAtMost(hint.index, hint.term);
      previous = { index: next.index, term: next.term };
      rounds++;
    }
    t.is(previous.index, meeting, `terms ${terms.join(' ')}`);
    t.true(rounds <= 2, `terms ${terms.join(' ')} took ${rounds} rounds`);
  }
});

// Raft §5.4.1: "If the logs have last entries with different terms, then the log with the later term is more up-to-date. If
// the logs end with the same term, then whichever log is longer is more up-to-date."
test('a later last term wins over length; with equal terms length decides', (t) => {
  const log = new RaftLog(BASE, entries([1, 2, 2]));
  t.true(log.isUpToDate({ term: 3, index: 1 }));
  t.true(log.isUpToDate({ term: 2, index: 3 }));
  t.false(log.isUpToDate({ term: 2, index: 2 }));
  t.false(log.isUpToDate({ term: 1, index: 9 }));
});

test('what a snapshot covers matches any leader, and is not cut', (t) => {
  const log = new RaftLog({ term: 2, index: 5 }, []);
  t.true(log.matches({ term: 1, index: 3 }));
  t.false(log.matches({ term: 3, index: 5 }));
  t.throws(() => log.truncateAfter(4), { message: /covered by the snapshot at 5/ });
});

test('forgetting keeps the rest readable and lets go of the data', (t) => {
  const log = new RaftLog(BASE, entries(Array.from({ length: 100 }, () => 1)));
  for (const through of [10, 30, 30, 5, 80]) log.forgetThrough(through);
  t.deepEqual([log.base.index, log.lastIndex], [80, 100]);
  t.deepEqual(indexes(log.slice(81, 83)), [81, 82, 83]);
  t.is(log.termAt(79), null);
  t.throws(() => log.slice(80, 81), { message: /not in memory/ });
  log.append({ kind: 'empty', term: 2, index: 101, data: new Uint8Array(0) });
  log.truncateAfter(90);
  t.is(log.lastIndex, 90);
  log.forgetThrough(90);
  t.deepEqual({ ...log.last }, { term: 1, index: 90 });
});

test('forgetting one entry at a time is not quadratic', (t) => {
  const count = 200_000;
  const all = entries(Array.from({ length: count }, () => 1));
  t.true(takesLess(3000, () => {
    const log = new RaftLog(BASE, all);
    for (let index = 1; index <= count; index++) log.forgetThrough(index);
  }));
});

test('a follower whose log ends before the leader\'s begins, or differs there, needs a snapshot', (t) => {
  const log = new RaftLog({ term: 3, index: 10 }, entries([3, 4, 4], { first: 11 }));
  t.is(log.retryAt(5, 2), 6);
  t.is(log.retryAt(10, 3), 11);
  t.is(log.retryAt(12, 3), 12);
  t.is(log.retryAt(12, 9), 13);
  // Everything of ours from the base on is of a later term than all it has.
  t.is(log.retryAt(12, 2), 10);
  t.is(new RaftLog(BASE, entries([2, 2])).retryAt(2, 1), 1);
});

test('a log that starts over keeps nothing of before', (t) => {
  const log = new RaftLog(BASE, entries([1, 1, 1]));
  log.restart({ term: 2, index: 9 });
  t.deepEqual([log.lastIndex, log.last.term, log.termAt(3), log.termAt(9)], [9, 2, null, 2]);
  log.append({ kind: 'empty', term: 2, index: 10, data: new Uint8Array(0) });
  t.deepEqual(indexes(log.slice(10, 10)), [10]);
});
