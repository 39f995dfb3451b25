// The follower's side of a write: what is asked of which leader, again or anew.

import test from 'ava';
import { decodeRequest, encodeAnswer, type Answer, type Request } from '../../../core/node/calls.js';
import { Forwarding } from '../../../core/node/forwarding.js';
import { Pending } from '../../../core/node/pending.js';
import type { Done } from '../../../core/base/done.js';

type Propose = Extract<Request, { kind: 'propose' }>;

interface Asked {
  readonly to: bigint;
  readonly request: Propose;
  /** Null: there is no answer. */
  readonly answer: (answer: Answer | null) => void;
}

const reply = { kind: 'compact', revision: 7 } as const;

function following(): { pending: Pending; forwarding: Forwarding; takeAsked: () => readonly Asked[] } {
  let token = 0;
  const asked: Asked[] = [];
  const pending = new Pending(() => (token += 1));
  const call = (to: bigint, bytes: Uint8Array, done: Done<Uint8Array>): void => {
    const request = decodeRequest(bytes);
    if (request.kind !== 'propose') return;
    const answer = (said: Answer | null): void => (said === null ? done(new Error('lost')) : done(null, encodeAnswer(said)));
    asked.push({ to, request, answer });
  };
  const forwarding = new Forwarding({ id: 2n, session: 5 }, pending, { call, applied: () => 0, wake: () => undefined });
  forwarding.onRole({ state: 'follower', term: 3, leader: 1n });
  return { pending, forwarding, takeAsked: () => asked.splice(0) };
}

function add(pending: Pending, ...bytes: readonly number[]): void {
  for (const byte of bytes) pending.add(Uint8Array.of(byte), 0, 1000, () => undefined);
}

test('what had no answer is asked again of the same leader under the same tags, but for what was decided meanwhile', (t) => {
  const { pending, forwarding, takeAsked } = following();
  add(pending, 1, 2);
  forwarding.send();
  const [first, ...rest] = takeAsked();
  t.deepEqual([first?.to, first?.request.term, first?.request.items.length, rest.length], [1n, 3, 2, 0]);
  first?.answer(null);
  forwarding.send();
  t.deepEqual(takeAsked(), [], 'not before the next tick');
  pending.onForwardApplied(1, reply);
  forwarding.onTick();
  const [again] = takeAsked();
  t.deepEqual(again?.request.items, first?.request.items.slice(1));
  t.is(again?.request.oldest, 2);
  again?.answer({ kind: 'proposed', outcomes: ['appended'] });
  forwarding.onTick();
  t.deepEqual(takeAsked(), []);
});

test('the leader of another term is not asked for what the one before may have appended, until that is dead', (t) => {
  const { pending, forwarding, takeAsked } = following();
  add(pending, 1);
  forwarding.send();
  const [first] = takeAsked();
  first?.answer(null);
  forwarding.onRole({ state: 'follower', term: 4, leader: 3n });
  forwarding.onTick();
  forwarding.send();
  t.deepEqual(takeAsked(), []);
  pending.onTerm(4);
  forwarding.send();
  const [anew] = takeAsked();
  t.deepEqual([anew?.to, anew?.request.term, anew?.request.items.length, anew?.request.oldest], [3n, 4, 1, 2]);
  t.notDeepEqual(anew?.request.items, first?.request.items);
});

test('an answer of the leader before is of no use to the one after', (t) => {
  const { pending, forwarding, takeAsked } = following();
  add(pending, 1);
  forwarding.send();
  const [first] = takeAsked();
  forwarding.onRole({ state: 'follower', term: 4, leader: 3n });
  first?.answer(null);
  forwarding.onTick();
  t.deepEqual(takeAsked(), []);
});
