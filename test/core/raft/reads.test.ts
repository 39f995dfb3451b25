// Who may be answered when (thesis 6.4), apart from the machine.

import test from 'ava';
import { Members } from '../../../core/raft/members.js';
import { Reads, READS_MAX } from '../../../core/raft/reads.js';

const trio = new Members({ voters: [1n, 2n, 3n], outgoing: [], learners: [] });

/** The reads confirmed when 2 has answered `round` and 3 nothing: token and index of each. */
function confirmed(reads: Reads, round: number): [token: number, index: number][] {
  const found: [number, number][] = [];
  reads.confirm(trio, 1n, (id) => (id === 2n ? round : 0), (token, index) => found.push([token, index]));
  return found;
}

test('a read is answered at the index its round began with, when a majority has answered that round', (t) => {
  const reads = new Reads();
  reads.add(7);
  t.is(reads.asked, 0);
  t.true(reads.start(4));
  t.is(reads.asked, 1);
  t.deepEqual(confirmed(reads, 0), []);
  t.deepEqual(confirmed(reads, 1), [[7, 4]]);
  t.deepEqual(confirmed(reads, 1), [], 'once');
  t.is(reads.asked, 0);
});

// an answer to an older round settles what came before it, though newer rounds have begun.
test('reads that keep coming do not put off those that wait', (t) => {
  const reads = new Reads();
  for (let token = 1; token <= 5; token++) {
    reads.add(token);
    reads.start(token);
    if (token > 1) t.deepEqual(confirmed(reads, token - 1), [[token - 1, token - 1]]);
  }
});

test('one round serves all who came before it, and none begins for nobody', (t) => {
  const reads = new Reads();
  reads.add(1);
  reads.add(2);
  t.true(reads.start(9));
  t.false(reads.start(9));
  t.deepEqual(confirmed(reads, 1), [[1, 9], [2, 9]]);
});

test('who waits when leadership ends is named once', (t) => {
  const reads = new Reads();
  reads.add(1);
  reads.start(3);
  reads.add(2);
  t.deepEqual(reads.drop(), [2, 1]);
  t.deepEqual(reads.drop(), []);
  reads.add(3);
  reads.start(5);
  t.is(reads.asked, 1, 'the next leadership counts its own rounds');
});

test('there is a bound', (t) => {
  const reads = new Reads();
  for (let token = 0; token < READS_MAX; token++) reads.add(token);
  t.true(reads.isFull);
  reads.start(1);
  t.true(reads.isFull, 'those that wait for their round count as well');
  confirmed(reads, 1);
  t.false(reads.isFull);
});
