// The leader's memory of what it was asked to append: each entry is decided once in a term.

import test from 'ava';
import { Acceptor } from '../../../core/node/acceptor.js';
import type { Answer } from '../../../core/node/calls.js';
import { readersMax } from '../../../core/node/limits.js';
import { withTag } from '../../../core/node/tag.js';
import type { Input } from '../../../core/raft/types.js';

const LEADER = { state: 'leader', term: 3, leader: 1n } as const;
const ORIGIN = 2n;

function leading(): Acceptor {
  let token = 0;
  const acceptor = new Acceptor(() => (token += 1));
  acceptor.onRole(LEADER);
  return acceptor;
}

interface Asked {
  readonly term?: number;
  readonly oldest?: number;
  readonly session?: number;
}

function ask(acceptor: Acceptor, sequences: readonly number[], options: Asked = {}): Answer[] {
  const { term = 3, oldest = 1, session = 7 } = options;
  const answers: Answer[] = [];
  const items = sequences.map((sequence) => withTag({ origin: ORIGIN, session, sequence }, new Uint8Array([1, 2, 3])));
  acceptor.onPropose(ORIGIN, { kind: 'propose', term, session, oldest, items }, (answer) => answers.push(answer));
  return answers;
}

function tokens(inputs: readonly Input[]): number[] {
  return inputs.flatMap((input) => (input.kind === 'propose' || input.kind === 'read' ? [input.token] : []));
}

test('an entry asked for again is not appended again, and is answered as before', (t) => {
  const acceptor = leading();
  const first = ask(acceptor, [1, 2]);
  const [one = 0, two = 0] = tokens(acceptor.takeInputs());
  const meanwhile = ask(acceptor, [2]);
  acceptor.onAppended(one);
  t.deepEqual([first.length, meanwhile.length], [0, 0]);
  acceptor.onRefused(two, 'too_many');
  t.deepEqual(first, [{ kind: 'proposed', outcomes: ['appended', 'too_many'] }]);
  t.deepEqual(meanwhile, [{ kind: 'proposed', outcomes: ['too_many'] }]);
  t.deepEqual(ask(acceptor, [1, 2]), first);
  t.is(acceptor.takeInputs().length, 0);
});

test('what came before the oldest open entry is forgotten, and nothing else', (t) => {
  const acceptor = leading();
  const first = ask(acceptor, [1, 2, 3]);
  for (const token of tokens(acceptor.takeInputs())) acceptor.onAppended(token);
  t.deepEqual(ask(acceptor, [1, 2, 3], { oldest: 3 }), [{
    kind: 'proposed', outcomes: ['leader_changed', 'leader_changed', 'appended'],
  }]);
  t.deepEqual([first.length, acceptor.takeInputs().length], [1, 0]);
});

test('an entry that its writer gave up is never appended', (t) => {
  const acceptor = leading();
  ask(acceptor, [5], { oldest: 5 });
  t.is(acceptor.takeInputs().length, 1);
  t.deepEqual(ask(acceptor, [4], { oldest: 1 }), [{ kind: 'proposed', outcomes: ['leader_changed'] }]);
  t.is(acceptor.takeInputs().length, 0);
});

test('two process starts of one member are told apart, and not without end', (t) => {
  const acceptor = leading();
  ask(acceptor, [1], { session: 1 });
  ask(acceptor, [1], { session: 2 });
  t.is(acceptor.takeInputs().length, 2);
  for (let session = 3; session <= 8; session++) ask(acceptor, [1], { session });
  t.deepEqual(ask(acceptor, [1], { session: 9 }), [{ kind: 'error', code: 'too_many_requests' }]);
});

test('only the leader of that very term appends', (t) => {
  const acceptor = leading();
  t.deepEqual(ask(acceptor, [1], { term: 2 }), [{ kind: 'again' }]);
  t.deepEqual(ask(acceptor, [1], { term: 4 }), [{ kind: 'again' }]);
  acceptor.onRole({ state: 'follower', term: 3, leader: 0n });
  t.deepEqual(ask(acceptor, [1]), [{ kind: 'again' }]);
  const answers: Answer[] = [];
  acceptor.onRead((answer) => answers.push(answer));
  t.deepEqual(answers, [{ kind: 'again' }]);
  t.deepEqual(acceptor.takeInputs(), []);
});

test('what was decided in one term is not known in the next: its entry may have been cut off', (t) => {
  const acceptor = leading();
  ask(acceptor, [1]);
  const [token = 0] = tokens(acceptor.takeInputs());
  acceptor.onAppended(token);
  acceptor.onRole({ ...LEADER, term: 4 });
  t.deepEqual(ask(acceptor, [1], { term: 4 }), []);
  t.is(acceptor.takeInputs().length, 1);
});

test('what the machine decides is taken once, and only what it was given', (t) => {
  const acceptor = leading();
  const answers = ask(acceptor, [1]);
  acceptor.onRead((answer) => answers.push(answer));
  const [entry = 0, read = 0] = tokens(acceptor.takeInputs());
  t.deepEqual([acceptor.onAppended(99), acceptor.onRefused(99, 'too_many'), acceptor.onReadable(99, 1)], [false, false, false]);
  t.deepEqual([acceptor.onAppended(entry), acceptor.onReadable(read, 5)], [true, true]);
  t.deepEqual([acceptor.onAppended(entry), acceptor.onReadable(read, 5)], [false, false]);
  t.deepEqual(answers, [{ kind: 'proposed', outcomes: ['appended'] }, { kind: 'index', index: 5 }]);
});

test('reads that wait have a bound, and leave room when they are answered', (t) => {
  const acceptor = leading();
  const answers: Answer[] = [];
  const read = (): void => acceptor.onRead((answer) => answers.push(answer));
  for (let i = 0; i < readersMax; i++) read();
  t.deepEqual(answers, []);
  read();
  t.deepEqual(answers, [{ kind: 'error', code: 'too_many_requests' }]);
  const [token = 0] = tokens(acceptor.takeInputs());
  read();
  t.is(answers.length, 2, 'they wait until they are answered');
  acceptor.onReadable(token, 1);
  t.is(answers.length, 2 + readersMax);
  read();
  t.is(answers.length, 2 + readersMax);
});

test('an entry in somebody else\'s name is refused', (t) => {
  const acceptor = leading();
  const answers: Answer[] = [];
  const items = [withTag({ origin: 9n, session: 7, sequence: 1 }, new Uint8Array([1]))];
  acceptor.onPropose(ORIGIN, { kind: 'propose', term: 3, session: 7, oldest: 1, items }, (answer) => answers.push(answer));
  t.deepEqual(answers, [{ kind: 'error', code: 'invalid_request' }]);
  t.is(acceptor.takeInputs().length, 0);
});

test('reads that came together share one round, and all are answered', (t) => {
  const acceptor = leading();
  const answers: Answer[] = [];
  acceptor.onRead((answer) => answers.push(answer));
  acceptor.onRead((answer) => answers.push(answer));
  const [token = 0, ...more] = tokens(acceptor.takeInputs());
  t.is(more.length, 0);
  acceptor.onReadable(token, 12);
  t.deepEqual(answers, [{ kind: 'index', index: 12 }, { kind: 'index', index: 12 }]);
  acceptor.onRead((answer) => answers.push(answer));
  const [next = 0] = tokens(acceptor.takeInputs());
  acceptor.onRefused(next, 'not_leader');
  t.deepEqual(answers.slice(2), [{ kind: 'again' }]);
});
