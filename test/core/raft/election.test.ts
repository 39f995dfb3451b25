// The time-out of a node that does not lead, and its tally.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { Election } from '../../../core/raft/election.js';
import { Members } from '../../../core/raft/members.js';

const trio = new Members({ voters: [1n, 2n, 3n], outgoing: [], learners: [] });

// Raft §5.2: "election timeouts are chosen randomly from a fixed interval".
test('the time-out lies in [n, 2n), and who has heard of a leader is quiet for n', (t) => {
  const election = new Election(10, new Prng(1));
  const dues = new Set<number>();
  for (let round = 0; round < 200; round++) {
    election.restart();
    let ticks = 0;
    for (; !election.isDue; ticks++) {
      t.is(election.isQuiet, ticks < 10);
      election.tick();
    }
    dues.add(ticks);
  }
  t.deepEqual([...dues].sort((a, b) => a - b), [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
});

test('a majority decides, a member has one vote, and a new question begins with none', (t) => {
  const election = new Election(10, new Prng(1));
  t.is(election.take(1n, true, trio), 'open');
  t.is(election.take(1n, true, trio), 'open');
  t.is(election.take(9n, true, trio), 'open');
  t.is(election.take(2n, true, trio), 'won');
  election.ask();
  t.is(election.take(2n, false, trio), 'open');
  t.is(election.take(3n, false, trio), 'lost');
});
