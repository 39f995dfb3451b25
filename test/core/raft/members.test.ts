// Majorities, of one set and of two (Raft §6), against an oracle that counts subsets; changes; bytes.

import fc from 'fast-check';
import test from 'ava';
import { changed, decodeMembers, encodeMembers, left, Members } from '../../../core/raft/members.js';
import type { Configuration, MemberChange } from '../../../core/raft/types.js';

function members(voters: readonly bigint[], outgoing: readonly bigint[] = [], learners: readonly bigint[] = []): Members {
  return new Members({ voters, outgoing, learners });
}

/** Ascending ids out of 1 to 7. */
function ids(least: number): fc.Arbitrary<bigint[]> {
  return fc.uniqueArray(fc.bigInt(1n, 7n), { minLength: least, maxLength: 7 }).map((list) => list.sort((a, b) => Number(a - b)));
}

const joint = fc.record({ voters: ids(1), outgoing: ids(0) });
const configurations = fc.record({ voters: ids(0), outgoing: ids(0), learners: ids(0) }).map(({ voters, outgoing, learners }) => {
  return { voters, outgoing, learners: learners.filter((id) => !voters.includes(id)) };
});

/** By the book: `yes` holds more than half of each set that is not empty. */
function isQuorum(sets: readonly (readonly bigint[])[], yes: (id: bigint) => boolean): boolean {
  return sets.every((set) => set.length === 0 || set.filter(yes).length > set.length / 2);
}

function change(more: Partial<MemberChange>): MemberChange {
  return { voters: [], learners: [], removed: [], context: new Uint8Array(0), ...more };
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
  t.deepEqual(members([1n, 2n], [2n, 3n], [3n]).all, [1n, 2n, 3n]);
});

// Raft §5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the servers."
// Raft §6: "Agreement (for elections and entry commitment) requires separate majorities from both the old and new
// configurations."
test('a value is reached when quorums of all sets have reached it, and no larger one is', (t) => {
  fc.assert(fc.property(joint, fc.array(fc.nat(9), { minLength: 8, maxLength: 8 }), ({ voters, outgoing }, values) => {
    const valueOf = (id: bigint): number => values[Number(id)] ?? 0;
    const reached = members(voters, outgoing).reached(valueOf);
    const has = (least: number): boolean => isQuorum([voters, outgoing], (id) => valueOf(id) >= least);
    return has(reached) && !has(reached + 1);
  }), { numRuns: 2000 });
  t.pass();
});

test('an election is won with quorums of all sets, lost when none can come about any more, and open otherwise', (t) => {
  const votes = fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 8, maxLength: 8 });
  fc.assert(fc.property(joint, votes, ({ voters, outgoing }, cast) => {
    const vote = (id: bigint): boolean | undefined => cast[Number(id)];
    const verdict = members(voters, outgoing).verdict(vote);
    const isWon = isQuorum([voters, outgoing], (id) => vote(id) === true);
    const canBeWon = isQuorum([voters, outgoing], (id) => vote(id) !== false);
    if (isWon) return verdict === 'won';
    return verdict === (canBeWon ? 'open' : 'lost');
  }), { numRuns: 2000 });
  t.pass();
});

test('two quorums of one configuration always share a member', (t) => {
  fc.assert(fc.property(joint, ids(0), ids(0), ({ voters, outgoing }, one, two) => {
    const set = members(voters, outgoing);
    const wins = (yes: readonly bigint[]): boolean => set.verdict((id) => yes.includes(id)) === 'won';
    return !(wins(one) && wins(two)) || one.some((id) => two.includes(id));
  }), { numRuns: 2000 });
  t.pass();
});

// Thesis 4.1 and Raft §6: any majority before a step shares a member with any majority after it; that is what steps are for.
test('whatever the change, a quorum before shares a member with a quorum after each step', (t) => {
  const lists = fc.record({ voters: ids(0), learners: ids(0), removed: ids(0) });
  fc.assert(fc.property(configurations, lists, ids(0), ids(0), (from, wish, one, two) => {
    const before = { ...from, outgoing: [] };
    const after = changed(before, change(wish));
    if (after === null) return true;
    const wins = (configuration: Configuration, yes: readonly bigint[]): boolean => {
      return new Members(configuration).verdict((id) => yes.includes(id)) === 'won';
    };
    const share = one.some((id) => two.includes(id));
    if (wins(before, one) && wins(after, two) && !share) return false;
    return !(after.outgoing.length > 0 && wins(after, one) && wins(left(after), two) && !share);
  }), { numRuns: 5000 });
  t.pass();
});

test('one voter more or less is one step, more are a joint configuration', (t) => {
  const trio = { voters: [1n, 2n, 3n], outgoing: [], learners: [4n] };
  t.deepEqual(changed(trio, change({ voters: [5n] })), { voters: [1n, 2n, 3n, 5n], outgoing: [], learners: [4n] });
  t.deepEqual(changed(trio, change({ voters: [4n] })), { voters: [1n, 2n, 3n, 4n], outgoing: [], learners: [] });
  t.deepEqual(changed(trio, change({ removed: [1n] })), { voters: [2n, 3n], outgoing: [], learners: [4n] });
  t.deepEqual(changed(trio, change({ learners: [3n] })), { voters: [1n, 2n], outgoing: [], learners: [3n, 4n] });
  const learners = change({ removed: [4n], learners: [6n, 5n] });
  t.deepEqual(changed(trio, learners), { voters: [1n, 2n, 3n], outgoing: [], learners: [5n, 6n] });
  const replaced = changed(trio, change({ voters: [4n], removed: [1n] }));
  t.deepEqual(replaced, { voters: [2n, 3n, 4n], outgoing: [1n, 2n, 3n], learners: [] });
  t.deepEqual(replaced === null ? null : left(replaced), { voters: [2n, 3n, 4n], outgoing: [], learners: [] });
});

test('a change that changes nothing, contradicts itself or leaves no voter is refused', (t) => {
  const pair = { voters: [1n, 2n], outgoing: [], learners: [3n] };
  const refused: Partial<MemberChange>[] = [
    {}, { voters: [1n] }, { learners: [3n] }, { removed: [9n] }, { voters: [4n, 4n] }, { voters: [3n], removed: [3n] },
    { removed: [1n, 2n] }, { learners: [1n, 2n] }, { voters: [0n] },
  ];
  for (const wish of refused) t.is(changed(pair, change(wish)), null);
  const within = { ...pair, outgoing: [1n] };
  t.throws(() => changed(within, change({ voters: [4n] })), { message: /joint configuration is left before/ });
});

test('a configuration and its context survive their bytes', (t) => {
  fc.assert(fc.property(configurations, fc.uint8Array(), (configuration, context) => {
    const decoded = decodeMembers(encodeMembers(configuration, context));
    t.deepEqual(decoded.configuration, configuration);
    t.deepEqual([...decoded.context], [...context]);
  }));
});

test('the bytes are these', (t) => {
  const bytes = encodeMembers({ voters: [1n, 0xffff_ffff_ffff_ffffn], outgoing: [], learners: [2n] }, Uint8Array.of(7, 8));
  const hex = ['01', '0002', '0000', '0001', '0000000000000001', 'ffffffffffffffff', '0000000000000002', '0708'];
  t.is(Buffer.from(bytes).toString('hex'), hex.join(''));
});

test('bytes that are no configuration are refused', (t) => {
  const bytes = encodeMembers({ voters: [1n, 2n], outgoing: [], learners: [] }, new Uint8Array(0));
  t.throws(() => decodeMembers(bytes.subarray(0, 6)), { message: /too short/ });
  t.throws(() => decodeMembers(bytes.subarray(0, 20)), { message: /ends within its ids/ });
  t.throws(() => decodeMembers(Uint8Array.from(bytes, (byte, i) => (i === 0 ? 2 : byte))), { message: /knows form 1/ });
  t.throws(() => decodeMembers(Uint8Array.from(bytes, (byte, i) => (i === 14 ? 3 : byte))), { message: /do not ascend/ });
});
