// Who waits for what, and how every wait ends.

import test from 'ava';
import { isApiError } from '../../../core/errors.js';
import { Pending } from '../../../core/node/pending.js';

type Outcome = { error: Error | null; reply: unknown };

const DATA = new Uint8Array(10);
const META = { term: 4, index: 9, configuration: { voters: [1n], outgoing: [], learners: [] } };
const reply = { kind: 'compact', revision: 7 } as const;

function fresh(): Pending {
  let token = 0;
  return new Pending(() => (token += 1));
}

function watched(): { outcomes: Outcome[]; done: (error: Error | null, reply?: unknown) => void } {
  const outcomes: Outcome[] = [];
  return { outcomes, done: (error, value) => outcomes.push({ error, reply: value }) };
}

/** A proposal with a slot in the log. */
function slotted(pending: Pending, id: { term: number; index: number }, deadlineMs = 1000): Outcome[] {
  const { outcomes, done } = watched();
  pending.add(DATA, 0, deadlineMs, done);
  for (const proposal of pending.takeReady()) pending.onAppended(pending.give(proposal), id);
  return outcomes;
}

function forwarded(pending: Pending, term: number, deadlineMs = 1000): { outcomes: Outcome[]; sequence: number } {
  const { outcomes, done } = watched();
  pending.add(DATA, 0, deadlineMs, done);
  let sequence = 0;
  for (const proposal of pending.takeReady()) sequence = pending.forward(proposal, term);
  return { outcomes, sequence };
}

test('a proposal is answered by the entry in its very slot', (t) => {
  const pending = fresh();
  const outcomes = slotted(pending, { term: 2, index: 5 });
  pending.onApplied({ term: 2, index: 4 }, reply);
  t.deepEqual(outcomes, []);
  pending.onApplied({ term: 2, index: 5 }, reply);
  t.deepEqual(outcomes, [{ error: null, reply }]);
  t.deepEqual([pending.sizeBytes, pending.proposals], [0, 0]);
});

test('a command is let go with its outcome, though whoever began before it may still wait', (t) => {
  const pending = fresh();
  const { done } = watched();
  for (let i = 0; i < 2; i++) pending.add(new Uint8Array(10), 0, 1000, done);
  const proposals = pending.takeReady();
  for (const [i, proposal] of proposals.entries()) pending.onAppended(pending.give(proposal), { term: 2, index: 5 - i });
  pending.onApplied({ term: 2, index: 4 }, reply);
  t.deepEqual(proposals.map(({ data }) => data.length), [10, 0]);
  t.is(pending.sizeBytes, 10);
});

test('a forwarded proposal is answered by the entry with its tag', (t) => {
  const pending = fresh();
  const { outcomes, sequence } = forwarded(pending, 2);
  pending.onForwardApplied(sequence + 1, reply);
  t.deepEqual(outcomes, []);
  pending.onForwardApplied(sequence, reply);
  pending.onForwardApplied(sequence, reply);
  t.deepEqual(outcomes, [{ error: null, reply }]);
});

test('an entry of a later term shows that a proposal is dead: it is ready again, under another tag', (t) => {
  const pending = fresh();
  const first = slotted(pending, { term: 2, index: 5 });
  const { outcomes, sequence } = forwarded(pending, 2);
  pending.onTerm(2);
  t.false(pending.hasReady);
  pending.onTerm(3);
  const again = pending.takeReady();
  t.is(again.length, 2);
  const sequences = again.map((proposal) => pending.forward(proposal, 3));
  t.false(sequences.includes(sequence));
  for (const each of sequences) pending.onForwardApplied(each, reply);
  t.deepEqual([first.length, outcomes.length], [1, 1]);
});

test('a proposal whose slot went to another entry is ready again', (t) => {
  const pending = fresh();
  slotted(pending, { term: 2, index: 5 });
  pending.onApplied({ term: 2, index: 5 }, null);
  t.is(pending.takeReady().length, 1);
});

test('what was found dead has left its place: neither the entry that has it now nor its old tag touches it', (t) => {
  const pending = fresh();
  const placed = slotted(pending, { term: 2, index: 5 });
  const asked = forwarded(pending, 2);
  pending.onTerm(3);
  pending.onApplied({ term: 3, index: 5 }, reply);
  pending.onForwardApplied(asked.sequence, reply);
  t.deepEqual([placed.length, asked.outcomes.length, pending.takeReady().length], [0, 0, 2]);
});

test('what a snapshot has jumped over has an unknown outcome, and what lies behind it is dead or goes on', (t) => {
  const pending = fresh();
  const covered = slotted(pending, { term: 4, index: 9 });
  const maybe = forwarded(pending, 4);
  const behind = slotted(pending, { term: 3, index: 12 });
  const later = forwarded(pending, 5);
  pending.onRestored(META);
  t.true(isApiError(covered[0]?.error, 'leader_changed'));
  t.true(isApiError(maybe.outcomes[0]?.error, 'leader_changed'));
  t.deepEqual([behind.length, later.outcomes.length, pending.takeReady().length], [0, 0, 1]);
  t.is(pending.oldestSequence, later.sequence);
});

test('a proposal refused because there are too many says so; refused for another reason it is ready again', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  pending.add(DATA, 0, 1000, done);
  pending.add(DATA, 0, 1000, done);
  const [first = 0, second = 0] = pending.takeReady().map((proposal) => pending.give(proposal));
  pending.onRefused(first, 'too_many');
  pending.onRefused(second, 'transferring');
  t.true(isApiError(outcomes[0]?.error, 'too_many_requests'));
  t.deepEqual([outcomes.length, pending.sizeBytes, pending.hasReady], [1, 10, true]);
});

test('what a leader refuses for certain is said or ready again, and what it answers late is nobody\'s any more', (t) => {
  const pending = fresh();
  const many = forwarded(pending, 2);
  const moved = forwarded(pending, 2);
  pending.onForwardRefused(many.sequence, 'too_many');
  t.true(isApiError(many.outcomes[0]?.error, 'too_many_requests'));
  t.is(pending.oldestSequence, moved.sequence);
  pending.onForwardRefused(moved.sequence, 'not_leader');
  pending.onForwardRefused(moved.sequence, 'not_leader');
  const again = pending.takeReady();
  t.is(again.length, 1);
  pending.onForwardApplied(moved.sequence, reply);
  t.deepEqual([many.outcomes.length, moved.outcomes.length, pending.proposals], [1, 0, 1]);
  const sequences = again.map((proposal) => [proposal, pending.forward(proposal, 3)] as const);
  for (const [proposal, sequence] of sequences) {
    t.deepEqual([pending.isForwarded(proposal, sequence), pending.isForwarded(proposal, moved.sequence)], [true, false]);
    pending.onForwardApplied(sequence, reply);
    t.false(pending.isForwarded(proposal, sequence));
  }
  t.deepEqual([moved.outcomes.length, pending.proposals, pending.sizeBytes], [1, 0, 0]);
});

test('what the machine says is taken once, and only of what it was given', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  pending.add(DATA, 0, 1000, done);
  pending.addReader(done);
  pending.closeGroup(0, 1000);
  const [entry = 0] = pending.takeReady().map((proposal) => pending.give(proposal));
  const [read = 0] = pending.takeReads();
  t.deepEqual([pending.onAppended(99, { term: 1, index: 1 }), pending.onRefused(99, 'too_many'), pending.onReadable(99, 1, 1)],
    [false, false, false]);
  t.deepEqual([pending.onAppended(entry, { term: 1, index: 1 }), pending.onReadable(read, 1, 1)], [true, true]);
  t.deepEqual([pending.onAppended(entry, { term: 1, index: 2 }), pending.onReadable(read, 1, 1)], [false, false]);
  t.false(pending.onRefused(entry, 'too_many'));
  t.is(outcomes.length, 1);
  pending.onApplied({ term: 1, index: 1 }, reply);
  t.is(outcomes.length, 2);
});

test('waits end by time, in the order they began, once; and say whether a leader was lost meanwhile', (t) => {
  const pending = fresh();
  const first = slotted(pending, { term: 1, index: 1 }, 1000);
  const second = slotted(pending, { term: 1, index: 2 }, 2000);
  for (let i = 0; i < 2; i++) pending.addReader(() => undefined);
  pending.closeGroup(0, 1000);
  pending.expire(1500, -Infinity);
  t.true(isApiError(first[0]?.error, 'timeout'));
  t.is(second.length, 0);
  pending.expire(2500, 700);
  t.true(isApiError(second[0]?.error, 'timeout_leader_lost'));
  pending.onApplied({ term: 1, index: 2 }, reply);
  t.deepEqual([first.length, second.length], [1, 1]);
  t.deepEqual(pending.failures, { proposals: 2, lateReads: 1, reads: 0 });
});

test('a proposal that timed out counts until its slot is decided: time makes no room on a disk that stands still', (t) => {
  const pending = fresh();
  const outcomes = slotted(pending, { term: 1, index: 1 });
  pending.expire(1500, -Infinity);
  t.true(isApiError(outcomes[0]?.error, 'timeout'));
  t.deepEqual([pending.sizeBytes, pending.proposals], [10, 1]);
  pending.onApplied({ term: 1, index: 1 }, reply);
  t.deepEqual([pending.sizeBytes, pending.proposals, outcomes.length], [0, 0, 1]);
});

test('so does one that the machine has not placed yet; one that was put back counts only while its caller waits', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  pending.add(DATA, 0, 1000, done);
  const [token = 0] = pending.takeReady().map((proposal) => pending.give(proposal));
  pending.expire(1500, -Infinity);
  t.deepEqual([outcomes.length, pending.proposals], [1, 1]);
  pending.onAppended(token, { term: 1, index: 1 });
  pending.onApplied({ term: 1, index: 1 }, null);
  t.deepEqual([pending.proposals, pending.sizeBytes, pending.takeReady().length], [0, 0, 0]);
  const put = slotted(pending, { term: 1, index: 2 }, 2000);
  pending.onApplied({ term: 1, index: 2 }, null);
  t.deepEqual([pending.proposals, pending.hasReady], [1, true]);
  pending.expire(2500, -Infinity);
  t.true(isApiError(put[0]?.error, 'timeout'));
  t.deepEqual([pending.proposals, pending.hasReady], [0, false]);
});

test('what nobody took and nobody waits for is forgotten', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  pending.add(DATA, 0, 1000, done);
  pending.add(DATA, 0, 2000, done);
  pending.addReader(done);
  pending.addReader(done);
  pending.closeGroup(0, 1000);
  t.is(pending.readers, 2);
  pending.expire(1500, -Infinity);
  t.deepEqual([pending.sizeBytes, pending.proposals, pending.readers, outcomes.length], [10, 1, 0, 3]);
  t.deepEqual([pending.takeReady().length, pending.takeReads().length], [1, 0]);
});

test('the oldest open sequence moves on when the oldest is decided', (t) => {
  const pending = fresh();
  const first = forwarded(pending, 2);
  const second = forwarded(pending, 2);
  t.is(pending.oldestSequence, first.sequence);
  pending.onForwardApplied(first.sequence, reply);
  t.is(pending.oldestSequence, second.sequence);
  pending.expire(1500, -Infinity);
  t.is(pending.oldestSequence, second.sequence + 1);
});

test('a read waits until the store has caught up, and one that was refused is asked for again', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  pending.addReader(done);
  pending.closeGroup(0, 1000);
  for (const token of pending.takeReads()) pending.onRefused(token, 'leader_changed');
  for (const token of pending.takeReads()) pending.onReadable(token, 9, 7);
  pending.onCaughtUp(8);
  t.is(outcomes.length, 0);
  pending.onCaughtUp(9);
  t.deepEqual(outcomes, [{ error: null, reply: undefined }]);
  pending.addCleared(9, 8, 0, 1000, done);
  t.is(outcomes.length, 1);
  pending.onRestored(META);
  t.is(outcomes.length, 2, 'a snapshot is a way to catch up');
});

test('a read whose index is known waits for it, no longer than it may, and not at all where it is there', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  pending.addCleared(9, 9, 0, 1000, done);
  t.deepEqual([outcomes.length, pending.readers], [1, 0]);
  pending.addCleared(9, 8, 0, 1000, done);
  t.deepEqual([outcomes.length, pending.readers], [1, 1]);
  pending.expire(1500, -Infinity);
  t.true(isApiError(outcomes[1]?.error, 'timeout'));
  pending.onCaughtUp(9);
  t.deepEqual([outcomes.length, pending.readers], [2, 0]);
  pending.closeGroup(0, 1000);
  t.false(pending.hasReadyReads, 'nobody came, nobody is asked for');
  pending.addReader(done);
  pending.closeGroup(0, 1000);
  t.deepEqual([pending.takeReads().length, pending.takeReads().length], [1, 0]);
});

test('a stopping node leaves nobody waiting', (t) => {
  const pending = fresh();
  const { outcomes, done } = watched();
  const first = slotted(pending, { term: 1, index: 1 });
  const second = forwarded(pending, 1);
  pending.add(DATA, 0, 1000, done);
  pending.addReader(done);
  pending.closeGroup(0, 1000);
  for (const token of pending.takeReads()) pending.onReadable(token, 9, 7);
  pending.addReader(done);
  pending.failAll(new Error('stopped'));
  const all = [...first, ...second.outcomes, ...outcomes];
  t.is(all.length, 5);
  t.true(all.every((outcome) => outcome.error?.message === 'stopped'));
  t.deepEqual(pending.failures, { proposals: 3, lateReads: 0, reads: 2 });
});

test('a proposal whose slot was given again may live on in another log: it is not asked for twice', (t) => {
  const pending = fresh();
  const first = slotted(pending, { term: 2, index: 7 });
  const second = slotted(pending, { term: 5, index: 7 });
  t.false(pending.hasReady);
  // A later leader had kept the older entry.
  pending.onApplied({ term: 2, index: 7 }, reply);
  t.deepEqual(first, [{ error: null, reply }]);
  t.deepEqual(second, []);
  t.is(pending.takeReady().length, 1);
});

test('a proposal whose slot was given again is dead once the slot is decided, or an entry of a later term', (t) => {
  const pending = fresh();
  const first = slotted(pending, { term: 2, index: 7 });
  const second = slotted(pending, { term: 5, index: 7 });
  pending.onApplied({ term: 5, index: 7 }, reply);
  t.deepEqual(second, [{ error: null, reply }]);
  t.is(pending.takeReady().length, 1);
  slotted(pending, { term: 6, index: 9 });
  slotted(pending, { term: 8, index: 9 });
  pending.onTerm(8);
  t.is(pending.takeReady().length, 1);
  t.deepEqual(first, []);
});

test('what a snapshot jumped over is unknown, also where its slot was given again', (t) => {
  const pending = fresh();
  const first = slotted(pending, { term: 2, index: 7 });
  slotted(pending, { term: 3, index: 7 });
  pending.onRestored(META);
  t.true(isApiError(first[0]?.error, 'leader_changed'));
});

test('a slot that is given again takes the later ones with it: the new entry is answered, what is dead is ready again', (t) => {
  const pending = fresh();
  const cut = [7, 8, 9].map((index) => slotted(pending, { term: 2, index }));
  const anew = slotted(pending, { term: 5, index: 7 });
  pending.onTerm(5);
  t.is(pending.takeReady().length, 3);
  pending.onApplied({ term: 5, index: 7 }, reply);
  t.deepEqual(anew, [{ error: null, reply }]);
  const early = slotted(pending, { term: 6, index: 9 });
  const late = slotted(pending, { term: 8, index: 8 });
  pending.onApplied({ term: 8, index: 8 }, reply);
  t.deepEqual([early, late], [[], [{ error: null, reply }]]);
  t.deepEqual(cut, [[], [], []]);
});
