// Who waits for what, and how every wait ends.

import test from 'ava';
import { Pending } from '../../../core/node/pending.js';
import { isApiError } from '../../../core/errors.js';

type Outcome = { error: Error | null; reply: unknown };

function watched(): { outcomes: Outcome[]; done: (error: Error | null, reply?: unknown) => void } {
  const outcomes: Outcome[] = [];
  return { outcomes, done: (error, reply) => outcomes.push({ error, reply }) };
}

const reply = { kind: 'compact', revision: 7 } as const;

test('a proposal is answered by the entry in its very slot', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  const token = pending.addProposal(10, 1000, done);
  pending.onAppended(token, { term: 2, index: 5 });
  pending.onApplied({ term: 2, index: 4 }, reply);
  t.deepEqual(outcomes, []);
  pending.onApplied({ term: 2, index: 5 }, reply);
  t.deepEqual(outcomes, [{ error: null, reply }]);
  t.is(pending.sizeBytes, 0);
  t.is(pending.proposals, 0);
});

test('another leader\'s entry in its slot leaves the outcome unknown', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  pending.onAppended(pending.addProposal(10, 1000, done), { term: 2, index: 5 });
  pending.onApplied({ term: 3, index: 5 }, reply);
  t.true(isApiError(outcomes[0]?.error, 'leader_changed'));
});

test('a refused proposal says why, and counts no longer', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  pending.onRefused(pending.addProposal(10, 1000, done), 'too_many');
  t.true(isApiError(outcomes[0]?.error, 'too_many_requests'));
  t.is(pending.sizeBytes, 0);
});

test('waits end by time, in the order they began, once', (t) => {
  const pending = new Pending();
  const first = watched();
  const second = watched();
  pending.addProposal(1, 1000, first.done);
  const token = pending.addProposal(1, 2000, second.done);
  pending.onAppended(token, { term: 1, index: 1 });
  pending.expire(1500);
  t.true(isApiError(first.outcomes[0]?.error, 'timeout'));
  t.is(second.outcomes.length, 0);
  pending.expire(2500);
  pending.onApplied({ term: 1, index: 1 }, reply);
  t.is(second.outcomes.length, 1);
  t.is(first.outcomes.length, 1);
});

test('a proposal that timed out counts until its slot is decided: time makes no room on a disk that stands still', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  pending.onAppended(pending.addProposal(10, 1000, done), { term: 1, index: 1 });
  pending.expire(1500);
  t.true(isApiError(outcomes[0]?.error, 'timeout'));
  t.deepEqual([pending.sizeBytes, pending.proposals], [10, 1]);
  pending.onApplied({ term: 1, index: 1 }, reply);
  t.deepEqual([pending.sizeBytes, pending.proposals, outcomes.length], [0, 0, 1]);
});

test('a call that nobody took and nobody waits for is forgotten', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  const early = pending.addProposal(10, 1000, done);
  const late = pending.addProposal(10, 2000, done);
  const read = pending.addRead([done, done], 1000);
  t.is(pending.readers, 2);
  pending.expire(1500);
  t.deepEqual([early, late, read].map((token) => pending.isWanted(token)), [false, true, false]);
  t.deepEqual([pending.sizeBytes, pending.proposals, pending.readers, outcomes.length], [10, 1, 0, 3]);
});

test('a read waits until the store has caught up', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  pending.onReadable(pending.addRead([done], 1000), 9, 7);
  pending.onCaughtUp(8);
  t.is(outcomes.length, 0);
  pending.onCaughtUp(9);
  t.deepEqual(outcomes, [{ error: null, reply: undefined }]);
});

test('a stopping node leaves nobody waiting', (t) => {
  const pending = new Pending();
  const { outcomes, done } = watched();
  pending.addProposal(1, 1000, done);
  pending.onAppended(pending.addProposal(1, 1000, done), { term: 1, index: 1 });
  pending.addRead([done], 1000);
  pending.onReadable(pending.addRead([done], 1000), 9, 7);
  pending.failAll(new Error('stopped'));
  t.is(outcomes.length, 4);
  t.true(outcomes.every((outcome) => outcome.error?.message === 'stopped'));
});
