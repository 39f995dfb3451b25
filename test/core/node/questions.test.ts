// Keep-alives on their way to whoever leads: asked for together, in bounded calls and turns, each told its own.

import test from 'ava';
import { isApiError } from '../../../core/errors.js';
import type { Answer, Request } from '../../../core/node/calls.js';
import { leasesPerCallMax, renewalsMax, renewalsPerTurnMax } from '../../../core/node/limits.js';
import { Questions } from '../../../core/node/questions.js';

type Call = Extract<Request, { kind: 'keep_alive' }>;

/** A leader that gives each lease its own number of seconds. */
function leading(): { questions: Questions; calls: Call[] } {
  const calls: Call[] = [];
  const answer = (request: Request, reply: (answer: Answer) => void): void => {
    if (request.kind !== 'keep_alive') throw new Error(`a ${request.kind} is asked for`);
    calls.push(request);
    reply({ kind: 'kept', ttlSeconds: request.leases.map(Number) });
  };
  const questions = new Questions(1n, 1000, { answer, now: () => 0, call: () => undefined });
  questions.onRole({ state: 'leader', term: 1, leader: 1n });
  return { questions, calls };
}

test('renewals of one turn are asked for in calls of a bounded size, and each is told its own', (t) => {
  const { questions, calls } = leading();
  const told: (readonly number[])[] = [];
  const sizes = [1, 1, 998, 1, 500, 500, 1, 1000, 3];
  let id = 0;
  const asked = sizes.map((size) => Array.from({ length: size }, () => (id += 1)));
  for (const leases of asked) {
    questions.renew(leases.map(BigInt), (_error, seconds) => void told.push(seconds ?? []));
  }
  questions.askRenewals(1000);
  t.deepEqual(told, asked);
  t.deepEqual(calls.map(({ leases }) => leases.length), [1000, 501, 501, 1000, 3]);
  t.false(questions.hasRenewals);
});

test('more renewals than a turn should be held up by go on in the next, in their order', (t) => {
  const { questions, calls } = leading();
  const told: number[] = [];
  const count = 2 * renewalsPerTurnMax + 7;
  for (let i = 0; i < count; i++) questions.renew([BigInt(i)], (_error, seconds) => void told.push(seconds?.[0] ?? -1));
  const turns: number[] = [];
  while (questions.hasRenewals) {
    questions.askRenewals(1000);
    turns.push(told.length);
  }
  t.deepEqual(turns, [renewalsPerTurnMax, 2 * renewalsPerTurnMax, count]);
  t.deepEqual(told, Array.from({ length: count }, (_, i) => i));
  t.true(calls.every(({ leases }) => leases.length <= leasesPerCallMax));
});

test('renewals beyond what is kept are refused, and so is one of more leases than a call takes', (t) => {
  const { questions } = leading();
  const codes: unknown[] = [];
  const renew = (count: number): void => {
    questions.renew(Array.from({ length: count }, () => 1n), (error) => codes.push(isApiError(error) ? error.code : error));
  };
  renew(leasesPerCallMax + 1);
  for (let i = 0; i < renewalsMax; i += leasesPerCallMax) renew(leasesPerCallMax);
  t.deepEqual(codes, ['too_many_requests']);
  renew(1);
  t.deepEqual(codes, ['too_many_requests', 'too_many_requests']);
  while (questions.hasRenewals) questions.askRenewals(1000);
  t.is(codes.length, 2 + renewalsMax / leasesPerCallMax);
  t.true(codes.slice(2).every((code) => code === null));
  renew(1);
  questions.failAll(new Error('the node stops'));
  t.is(String(codes.at(-1)), 'Error: the node stops');
});
