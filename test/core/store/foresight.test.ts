// Foresight: nothing but time may depend on it, so what is looked up and written with it is held against what is without.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { Prng } from '../../../core/base/prng.js';
import { Foresight } from '../../../core/store/foresight.js';
import { FORESEEN_KEYS_MAX, FORESIGHT_STORE_KEYS_MIN } from '../../../core/store/limits.js';
import { NONE } from '../../../core/store/rows.js';
import { Store } from '../../../core/store/store.js';
import type { Command } from '../../../core/store/command.js';

const KEYS = FORESIGHT_STORE_KEYS_MIN + 500;

function put(i: number, text: string): Command {
  return { kind: 'txn', request: { success: [{ kind: 'put', request: { key: utf8(`key-${i}`), value: utf8(text) } }] } };
}

function removal(i: number): Command {
  return { kind: 'txn', request: { success: [{ kind: 'delete', request: { key: utf8(`key-${i}`) } }] } };
}

test('a store that looks ahead answers and becomes as one that does not', (t) => {
  const dice = new Prng(11);
  const [plain, ahead] = [new Store(), new Store()];
  const foresight = new Foresight();
  let index = 0;
  let known = 0;
  const apply = (commands: readonly Command[]): void => {
    for (const command of commands) foresight.expectCommand({ kind: 'as_user', user: null, authRevision: 1, command });
    ahead.look(foresight, dice.below(2) === 0);
    for (const command of commands) {
      index += 1;
      t.deepEqual(ahead.apply({ term: 1, index }, command).reply, plain.apply({ term: 1, index }, command).reply);
    }
  };
  apply(Array.from({ length: KEYS }, (_, i) => put(i, `first ${i}`)));
  t.true(ahead.isLarge);
  for (let round = 0; round < 30; round++) {
    // Keys that are new, that are there, that are written twice, that have gone, and after compaction wholly.
    apply(Array.from({ length: 50 }, () => {
      const i = dice.below(KEYS + 200);
      return dice.below(3) === 0 ? removal(i) : put(i, `round ${round}`.repeat(dice.below(80)));
    }));
    if (round % 10 === 9) {
      apply([{ kind: 'compact', revision: ahead.revision }]);
      for (const store of [plain, ahead]) while (!store.tidy(10_000));
    }
    const asked = Array.from({ length: 40 }, () => utf8(`key-${dice.below(KEYS + 400)}`));
    const expected = asked.map((key) => foresight.expect(key));
    ahead.look(foresight, true);
    t.true(foresight.isEmpty);
    // What was said of one key is tried for another as well, and what is long out of date.
    const guesses = [...expected, ...expected.map((_, i) => i), -1].map((each) => foresight.slotOf(each));
    known += guesses.slice(0, asked.length).filter((guess) => guess !== NONE).length;
    asked.forEach((key, i) => {
      const [keysOnly, countOnly] = [dice.below(4) === 0, dice.below(8) === 0];
      const request = { key, keysOnly, countOnly, minModRevision: dice.below(2) * KEYS };
      const answer = plain.range(request);
      t.deepEqual(ahead.range(request), answer);
      for (const guess of [guesses[i], guesses[dice.below(guesses.length)]]) {
        const point = ahead.point(request, guess ?? NONE);
        if (typeof point === 'string') throw new Error(point);
        const kvs = point.pair === null ? [] : [point.pair.toKeyValue()];
        t.deepEqual({ kvs, more: false, count: point.count }, answer);
      }
    });
  }
  t.true(known > 30 * 20, 'most of what was asked for was known beforehand');
  t.is(ahead.stateHash(), plain.stateHash());
});

test('more keys than there is room for are not foreseen, and do no harm', (t) => {
  const store = new Store();
  const foresight = new Foresight();
  for (let i = 0; i < 2 * FORESEEN_KEYS_MAX; i++) foresight.expect(utf8(`key-${i}`));
  store.look(foresight, true);
  t.true(foresight.isEmpty);
  for (let index = 1; index <= KEYS; index++) store.apply({ term: 1, index }, put(index, 'value'));
  for (let i = 0; i < 2 * FORESEEN_KEYS_MAX; i++) foresight.expect(utf8(`key-${i}`));
  store.look(foresight, true);
  t.is(store.keyCount, KEYS);
});
