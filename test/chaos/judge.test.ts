// The judge of a round must see what is wrong; here it is shown wrong rounds.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { opPut, type Event, type Header, type KeyValue, type TxnResponse } from '../../core/client.js';
import { judgeRound, type Final } from './judge.js';
import { Pace, Recorder } from './recorder.js';

const header = (revision: number): Header => ({ clusterId: 1n, memberId: 1n, revision, raftTerm: 2 });

function pair(key: string, value: string, revision: number, version = 1): KeyValue {
  const createRevision = revision - version + 1;
  return { key: utf8(key), value: utf8(value), createRevision, modRevision: revision, version, lease: 0n };
}

const event = (kv: KeyValue): Event => ({ kind: 'put', kv, prevKv: null });

/** A round in which one client put `key` and was told so. */
async function round(key: string, value: string, revision: number): Promise<Recorder> {
  const recorder = new Recorder(new Pace());
  const answer: TxnResponse = {
    header: header(revision), succeeded: true, responses: [{ kind: 'put', response: { revision, prevKv: null } }],
  };
  const request = { success: [opPut(utf8(key), utf8(value))] };
  await recorder.run({ client: 'a', member: 1n }, { kind: 'txn', request }, () => Promise.resolve(answer), (error) => {
    throw error;
  });
  return recorder;
}

const shown = (...kvs: KeyValue[]): Final => new Map([['m1', { revision: 9, kvs }]]);

test('a round in which everything is as it was told has no violations', async (t) => {
  const recorder = await round('r/h1', 'x', 2);
  recorder.course.push(event(pair('r/h1', 'x', 2)));
  const verdict = judgeRound(recorder, shown(pair('r/h1', 'x', 2)), 1);
  t.deepEqual(verdict.violations, []);
  t.is(verdict.lost, 0);
  t.is(verdict.acknowledgedWrites, 1);
});

test('an acknowledged write that never shows is lost', async (t) => {
  const verdict = judgeRound(await round('r/h1', 'x', 2), shown(), 1);
  t.is(verdict.lost, 1);
  t.regex(verdict.violations[0] ?? '', /lost: a was told that r\/h1 was written at revision 2/);
});

test('an acknowledged write that shows at another revision is lost', async (t) => {
  const recorder = await round('r/h1', 'x', 2);
  recorder.course.push(event(pair('r/h0', 'y', 2)), event(pair('r/h1', 'x', 3)));
  t.is(judgeRound(recorder, shown(pair('r/h0', 'y', 2), pair('r/h1', 'x', 3)), 1).lost, 1);
});

test('a member that shows less, more or something else in the end is found', async (t) => {
  const recorder = await round('r/h1', 'x', 2);
  recorder.course.push(event(pair('r/h1', 'x', 2)));
  t.not(judgeRound(recorder, shown(), 1).violations.length, 0);
  t.not(judgeRound(recorder, shown(pair('r/h1', 'x', 2), pair('r/h2', 'x', 2)), 1).violations.length, 0);
  t.not(judgeRound(recorder, shown(pair('r/h1', 'z', 2)), 1).violations.length, 0);
  t.not(judgeRound(recorder, shown(pair('r/h1', 'x', 3)), 1).violations.length, 0);
});

test('a list that forgets an element is found', async (t) => {
  const recorder = await round('r/h1', 'x', 2);
  const lists = [pair('r/l0', 'a', 3), pair('r/l0', 'a,b', 4, 2), pair('r/l0', 'a,c', 5, 3)];
  recorder.course.push(event(pair('r/h1', 'x', 2)), ...lists.map(event));
  const { violations } = judgeRound(recorder, shown(pair('r/h1', 'x', 2), pair('r/l0', 'a,c', 5, 3)), 1);
  t.regex(violations.join('\n'), /r\/l0 at revision 5 is not what it was before plus one element/);
});

test('a key that goes before its lease was over is found, unless the lease was revoked', async (t) => {
  const recorder = await round('r/sa', 'x', 2);
  const lease = { header: header(1), id: 5n, ttlSeconds: 10 };
  const refuse = (error: unknown): never => {
    throw error;
  };
  const grant = { kind: 'grant', ttlSeconds: 10, id: 0n } as const;
  await recorder.run({ client: 'a', member: 1n }, grant, () => Promise.resolve(lease), refuse);
  const held = { ...pair('r/sa', 'x', 2), lease: 5n };
  const gone = { key: utf8('r/sa'), value: utf8(''), createRevision: 0, modRevision: 3, version: 0, lease: 0n };
  recorder.course.push(event(held), { kind: 'delete', kv: gone, prevKv: held });
  recorder.courseAt.push(performance.now(), performance.now());
  t.regex(judgeRound(recorder, shown(), 1).violations.join('\n'), /r\/sa went at revision 3, \d+ ms before its lease ended/);
  const now = performance.now();
  recorder.courseAt[1] = now + 60_000;
  t.notRegex(judgeRound(recorder, shown(), 1).violations.join('\n'), /before its lease ended/);
  await recorder.run({ client: 'a', member: 1n }, { kind: 'revoke', lease: 5n }, () => Promise.resolve(header(2)), refuse);
  recorder.courseAt[1] = performance.now();
  t.notRegex(judgeRound(recorder, shown(), 1).violations.join('\n'), /before its lease ended/);
});
