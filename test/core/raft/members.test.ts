// Majorities, of one set and of two (Raft §6).

import fc from 'fast-check';
import test from 'ava';
import { Members } from '../../../core/raft/members.js';

function members(voters: readonly bigint[], outgoing: readonly bigint[] = [], learners: readonly bigint[] = []): Members {
  return new Members({ voters, outgoing, learners });
}

test('nobody decides anything in an empty configuration', (t) => {
  const none = members([]);
  t.is(none.verdict(() => true), 'lost');
  t.is(none.reached(() => 9), 0);
  t.false(none.isSole(1n));
});

test('a configuration out of order, or with a voter who learns, is refused', (t) => {
  t.throws(() => members([2n, 1n]), { message: /the members 2, 1 do not ascend/ });
  t.throws(() => members([1n, 1n]), { message: /do not ascend/ });
  t.throws(() => members([0n, 1n]), { message: /do not ascend/ });
  t.throws(() => members([1n, 2n], [], [2n]), { message: /votes too/ });
  t.notThrows(() => members([1n], [1n, 2n], [2n]));
});

test('only somebody whose vote is the only one decides alone', (t) => {
  t.true(members([1n]).isSole(1n));
  t.true(members([1n], [1n]).isSole(1n));
  t.false(members([1n]).isSole(2n));
  t.false(members([1n], [2n]).isSole(1n));
  t.false(members([1n, 2n]).isSole(1n));
});

test('learners hear everything and decide nothing', (t) => {
  const trio = members([1n, 2n, 3n], [], [4n]);
  t.deepEqual(trio.all, [1n, 2n, 3n, 4n]);
  t.false(trio.isVoter(4n));
  t.is(trio.reached((id) => (id === 4n ? 99 : Number(id))), 2);
});

// Raft §5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the servers."
test('a value is reached when a majority has reached it', (t) => {
  fc.assert(fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }), (values) => {
    const value = (id: bigint): number => values[Number(id) - 1] ?? 0;
    const reached = members(values.map((_, i) => BigInt(i + 1))).reached(value);
    const holders = (least: number): number => values.filter((each) => each >= least).length;
    return holders(reached) * 2 > values.length && holders(reached + 1) * 2 <= values.length;
  }));
  t.pass();
});

// Raft §6: "Agreement (for elections and entry commitment) requires separate majorities from both the old and new
// configurations."
test('a joint decision needs both majorities, and fails with either', (t) => {
  const votes = fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 6, maxLength: 6 });
  fc.assert(fc.property(votes, fc.integer({ min: 1, max: 5 }), (cast, split) => {
    const ids = cast.map((_, i) => BigInt(i + 1));
    const [one, two] = [ids.slice(0, split), ids.slice(Math.max(0, split - 1))];
    const vote = (id: bigint): boolean | undefined => cast[Number(id) - 1];
    const verdicts = [members(one).verdict(vote), members(two).verdict(vote)];
    const joint = members(one, two).verdict(vote);
    if (verdicts.includes('lost')) return joint === 'lost';
    return joint === (verdicts.every((verdict) => verdict === 'won') ? 'won' : 'open');
  }));
  t.is(members([1n, 2n, 3n]).verdict((id) => (id === 3n ? undefined : id === 1n)), 'open');
  t.is(members([1n, 2n, 3n]).verdict((id) => id !== 3n), 'won');
  t.is(members([1n, 2n, 3n, 4n]).verdict((id) => (id > 2n ? false : undefined)), 'lost');
});
