// Changes of members wait for one another, are judged anew each time, and every one is answered once.

import test from 'ava';
import type { Answer, ChangeRequest } from '../../../core/node/calls.js';
import { Changes } from '../../../core/node/changes.js';
import { changesMax } from '../../../core/node/limits.js';
import type { Input, MemberChange } from '../../../core/raft/types.js';
import type { ErrorCode } from '../../../core/errors.js';

const FINE: MemberChange = { voters: [], learners: [], removed: [3n], context: new Uint8Array(0) };
const REQUEST: ChangeRequest = { kind: 'remove', id: 3n };

interface Rig {
  readonly changes: Changes;
  /** How often one was judged. */
  judged: number;
  verdict: MemberChange | ErrorCode;
  ask(deadlineMs?: number): Answer[];
  /** The token under which the machine was given one; 0: it was given none. */
  give(): number;
}

function rig(): Rig {
  let token = 0;
  const made: Rig = {
    judged: 0, verdict: FINE,
    changes: new Changes(() => (token += 1), () => {
      made.judged += 1;
      return made.verdict;
    }),
    ask: (deadlineMs = 1000) => {
      const answers: Answer[] = [];
      made.changes.add(REQUEST, deadlineMs, (answer) => answers.push(answer));
      return answers;
    },
    give: () => {
      const input: Input | null = made.changes.takeInput();
      return input?.kind === 'propose_members' ? input.token : 0;
    },
  };
  return made;
}

test('one is under way at a time, and is answered when its very entry is applied', (t) => {
  const { changes, ask, give } = rig();
  const [first, second] = [ask(), ask()];
  const token = give();
  t.deepEqual([token > 0, give(), changes.hasReady], [true, 0, false]);
  t.false(changes.onAppended(99, { term: 2, index: 7 }));
  t.true(changes.onAppended(token, { term: 2, index: 7 }));
  t.deepEqual([give(), changes.onAppended(token, { term: 2, index: 8 })], [0, false]);
  changes.onApplied({ term: 2, index: 6 });
  t.deepEqual(first, []);
  changes.onApplied({ term: 2, index: 7 });
  changes.onApplied({ term: 2, index: 7 });
  t.deepEqual(first, [{ kind: 'index', index: 7 }]);
  t.true(give() > 0);
  t.deepEqual(second, []);
});

test('what cannot be made is refused, and does not keep the next one', (t) => {
  const made = rig();
  made.verdict = 'unhealthy_cluster';
  const answers = [made.ask(), made.ask()];
  t.is(made.give(), 0);
  t.deepEqual(answers.flat(), Array.from({ length: 2 }, () => ({ kind: 'error', code: 'unhealthy_cluster' })));
});

test('where the machine asks for patience, a change waits for the next turn of the clock and is judged again', (t) => {
  for (const reason of ['change_pending', 'transferring'] as const) {
    const made = rig();
    const [first, second] = [made.ask(), made.ask()];
    t.true(made.changes.onRefused(made.give(), reason));
    t.deepEqual([made.give(), made.changes.hasReady, first], [0, false, []]);
    made.changes.onTick(0);
    const again = made.give();
    t.deepEqual([again > 0, made.judged], [true, 2]);
    made.changes.onAppended(again, { term: 2, index: 7 });
    made.changes.onApplied({ term: 2, index: 7 });
    t.deepEqual([first.length, second.length], [1, 0], 'they keep their order');
  }
});

test('news of who leads ends the patience, too', (t) => {
  const { changes, ask, give } = rig();
  ask();
  changes.onRefused(give(), 'change_pending');
  changes.onRole({ state: 'leader', term: 3, leader: 1n });
  t.true(changes.hasReady);
});

test('what the machine refuses for good is said: where nothing happened, whoever leads is asked again', (t) => {
  const says = {
    change_invalid: { kind: 'error', code: 'not_enough_started' }, too_many: { kind: 'error', code: 'too_many_requests' },
    not_leader: { kind: 'again' }, leader_changed: { kind: 'again' },
  } as const;
  for (const [reason, answer] of Object.entries(says)) {
    const { changes, ask, give } = rig();
    const answers = ask();
    const token = give();
    t.false(changes.onRefused(99, 'too_many'));
    t.true(changes.onRefused(token, reason as keyof typeof says));
    t.false(changes.onRefused(token, 'too_many'));
    t.deepEqual(answers, [answer], reason);
  }
});

test('a change whose slot went to another entry has an unknown outcome; one that a later term overtook is asked again', (t) => {
  const outcomes = {
    'another term there': (changes: Changes) => changes.onApplied({ term: 3, index: 7 }),
    'jumped over': (changes: Changes) => changes.onApplied({ term: 2, index: 9 }),
    'a snapshot': (changes: Changes) => changes.onRestored(),
  };
  for (const [what, happen] of Object.entries(outcomes)) {
    const { changes, ask, give } = rig();
    const answers = ask();
    changes.onAppended(give(), { term: 2, index: 7 });
    happen(changes);
    happen(changes);
    t.deepEqual(answers, [{ kind: 'error', code: 'leader_changed' }], what);
  }
  const { changes, ask, give } = rig();
  const answers = ask();
  changes.onAppended(give(), { term: 2, index: 7 });
  changes.onTerm(2);
  t.deepEqual(answers, []);
  changes.onTerm(3);
  changes.onTerm(3);
  t.deepEqual(answers, [{ kind: 'again' }]);
});

test('who waits is told when leadership ends and when time is over; one that has a slot waits for its fate', (t) => {
  const { changes, ask, give } = rig();
  const [slotted, early, late] = [ask(100), ask(100), ask(900)];
  changes.onAppended(give(), { term: 2, index: 7 });
  changes.onTick(99);
  t.deepEqual(early, []);
  changes.onTick(100);
  changes.onTick(100);
  t.deepEqual([slotted, early, late], [[], [{ kind: 'error', code: 'timeout' }], []]);
  changes.onRole({ state: 'leader', term: 2, leader: 1n });
  t.deepEqual(late, []);
  changes.onRole({ state: 'follower', term: 3, leader: 2n });
  changes.onRole({ state: 'follower', term: 3, leader: 2n });
  t.deepEqual([slotted, late], [[], [{ kind: 'again' }]]);
});

test('there is a bound', (t) => {
  const { ask } = rig();
  for (let i = 0; i < changesMax; i++) t.deepEqual(ask(), []);
  t.deepEqual(ask(), [{ kind: 'error', code: 'too_many_requests' }]);
});
