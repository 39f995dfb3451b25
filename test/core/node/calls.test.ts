// The byte form of what members ask the leader.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import {
  decodeAnswer, decodeRequest, encodeAnswer, encodePropose, encodeRequest, type Answer, type Request,
} from '../../../core/node/calls.js';
import { commandIn, isTagged, sequenceUnder, tagMark, withTag } from '../../../core/node/tag.js';

const REQUESTS: readonly Request[] = [
  { kind: 'propose', term: 2 ** 40, session: 2 ** 32 - 1, oldest: 7, items: [new Uint8Array([1]), new Uint8Array(3000)] },
  { kind: 'read' },
  { kind: 'keep_alive', leases: [1n, -5n, 2n ** 63n - 1n] },
  { kind: 'remaining', lease: -(2n ** 63n) },
  {
    kind: 'change',
    change: { kind: 'add', id: 2n ** 64n - 1n, peerUrls: ['http://a:1', 'https://ü:2'], isLearner: true },
    asker: null,
  },
  { kind: 'change', change: { kind: 'remove', id: 1n }, asker: { user: 'ü', authRevision: 7 } },
  { kind: 'change', change: { kind: 'promote', id: 2n ** 63n }, asker: { user: null, authRevision: 0 } },
];

const ANSWERS: readonly Answer[] = [
  { kind: 'again' },
  { kind: 'error', code: 'unhealthy_cluster' },
  { kind: 'proposed', outcomes: ['appended', 'too_many', 'transferring'] },
  { kind: 'index', index: 2 ** 50 },
  { kind: 'kept', ttlSeconds: [0, 9_000_000_000] },
  { kind: 'left', remainingMs: -17 },
  { kind: 'left', remainingMs: null },
];

test('what is asked and answered arrives as it was', (t) => {
  for (const request of REQUESTS) t.deepEqual(decodeRequest(encodeRequest(request)), request);
  for (const answer of ANSWERS) t.deepEqual(decodeAnswer(encodeAnswer(answer)), answer);
});

test('bytes that were cut or lengthened are an error, never a guess', (t) => {
  for (const bytes of REQUESTS.map(encodeRequest)) {
    for (let length = 0; length < Math.min(bytes.length, 60); length++) t.throws(() => decodeRequest(bytes.subarray(0, length)));
    t.throws(() => decodeRequest(new Uint8Array([...bytes, 0])));
  }
  t.throws(() => decodeRequest(new Uint8Array([99])));
  t.throws(() => decodeAnswer(new Uint8Array([99])));
});

test('a count is not believed beyond the bytes that are there', (t) => {
  t.throws(() => decodeRequest(new Uint8Array([2, 255, 255, 255, 127])), { message: /items are announced/ });
});

test('a tag comes off again and leaves the command', (t) => {
  const command = new Uint8Array([1, 2, 3]);
  for (const sequence of [1, 2 ** 32 - 1, 2 ** 32, 2 ** 47]) {
    const tag = { origin: 2n ** 64n - 1n, session: 0xfffffffe, sequence };
    const data = withTag(tag, command);
    t.true(isTagged(data));
    t.is(sequenceUnder(tagMark(tag.origin, tag.session), data), sequence);
    t.deepEqual([...commandIn(data)], [1, 2, 3]);
  }
  t.false(isTagged(command));
  t.is(commandIn(command), command);
});

test('proposals are written in one pass as they are with their tags put on first', (t) => {
  const dice = new Prng(3);
  for (let i = 0; i < 200; i++) {
    const [origin, session] = [(BigInt(dice.below(2 ** 31)) << 33n) + 5n, dice.below(2 ** 31) * 2 + dice.below(2)];
    const [term, oldest] = [1 + dice.below(1000) * 2 ** dice.below(30), 1 + dice.below(2 ** 31)];
    const items = Array.from({ length: 1 + dice.below(5) }, () => {
      const data = new Uint8Array(1 + dice.below(dice.below(2) === 0 ? 20 : 20_000)).fill(dice.below(256));
      return { sequence: 1 + dice.below(2 ** 31) * 2 ** dice.below(17), data };
    });
    const tagged = items.map(({ sequence, data }) => withTag({ origin, session, sequence }, data));
    const bytes = encodePropose({ term, session, oldest, mark: tagMark(origin, session), items });
    t.deepEqual(bytes, encodeRequest({ kind: 'propose', term, session, oldest, items: tagged }));
    t.deepEqual(tagged.map((data) => sequenceUnder(tagMark(origin, session), data)), items.map(({ sequence }) => sequence));
  }
});

test('a sequence is read under its own mark only', (t) => {
  const data = withTag({ origin: 2n ** 64n - 1n, session: 0xfffffffe, sequence: 2 ** 47 }, new Uint8Array([1]));
  t.is(sequenceUnder(tagMark(2n ** 64n - 1n, 0xfffffffe), data), 2 ** 47);
  t.is(sequenceUnder(tagMark(2n ** 64n - 1n, 0xffffffff), data), 0);
  t.is(sequenceUnder(tagMark(2n ** 63n, 0xfffffffe), data), 0);
  t.is(sequenceUnder(tagMark(2n ** 64n - 1n, 0xfffffffe), data.subarray(0, 19)), 0);
  t.is(sequenceUnder(tagMark(1n, 1), new Uint8Array(0)), 0);
});
