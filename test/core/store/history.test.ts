// What a watcher that is behind is told, and what that costs.

import test from 'ava';
import { opDelete, opPut, opTxn, type Op } from '../../../core/client.js';
import type { HistoryRequest } from '../../../core/store/history.js';
import { HISTORY_ROWS_MAX, HISTORY_SCAN_ROWS } from '../../../core/store/limits.js';
import { ALL, bytes, Script, told } from './script.js';
import { takesLess } from '../../takes-less.js';

const NO_BOUND = { revisionsMax: Infinity, bytesMax: Infinity };

function history(script: Script, request: Partial<HistoryRequest> & { from: number }): string {
  const { events, next } = script.store.history({ ...ALL, ...NO_BOUND, ...request });
  return `${told(events)} > ${next}`;
}

test('history is told from a revision on', (t) => {
  const script = new Script();
  script.put('a', '1');
  script.put('b', '2');
  script.del('a');
  t.is(history(script, { from: 1 }), '+a=1@2 +b=2@3 -a@4 > 5');
  t.is(history(script, { from: 4 }), '-a@4 > 5');
  t.is(history(script, { from: 5 }), ' > 5');
  t.is(history(script, { from: 9 }), ' > 9');
  t.is(history(script, { from: 1, key: bytes('a'), rangeEnd: bytes('') }), '+a=1@2 -a@4 > 5');
  t.is(history(script, { from: 1, key: bytes('a'), rangeEnd: bytes('b') }), '+a=1@2 -a@4 > 5');
  t.is(history(script, { from: 1, exclude: ['put'] }), '-a@4 > 5');
  t.is(history(script, { from: 1, exclude: ['put', 'delete'] }), ' > 5');
});

test('a revision is told whole or not at all', (t) => {
  const script = new Script();
  const three = (value: string): void => {
    script.ops(...['a', 'b', 'c'].map((key) => opPut(bytes(key), bytes(value))));
  };
  three('1');
  three('2');
  three('3');
  t.is(history(script, { from: 2, revisionsMax: 1 }), '+a=1@2 +b=1@2 +c=1@2 > 3');
  t.is(history(script, { from: 3, revisionsMax: 2 }), '+a=2@3 +b=2@3 +c=2@3 +a=3@4 +b=3@4 +c=3@4 > 5');
  t.is(history(script, { from: 2, bytesMax: 1 }), '+a=1@2 +b=1@2 +c=1@2 > 3');
  t.is(history(script, { from: 2, bytesMax: 300 }), '+a=1@2 +b=1@2 +c=1@2 +a=2@3 +b=2@3 +c=2@3 > 4');
});

test('the pair before is told as of the revision before, unless that is compacted', (t) => {
  const script = new Script();
  script.put('a', '1');
  script.put('a', '2');
  script.del('a');
  script.put('a', '3');
  t.is(history(script, { from: 1, prevKv: true }), '+a=1@2 +a=2@3<1 -a@4<2 +a=3@5 > 6');
  script.compact(3);
  t.is(history(script, { from: 3, prevKv: true }), '+a=2@3 -a@4<2 +a=3@5 > 6');
  script.compact(4);
  t.is(history(script, { from: 4, prevKv: true }), '-a@4 +a=3@5 > 6');
});

test('of the compacted revision the last word on each key is told, removed or not', (t) => {
  const script = new Script();
  script.put('a', '1');
  script.put('b', '1');
  script.put('a', '2');
  script.del('b');
  script.compact(5);
  t.is(history(script, { from: 5 }), '-b@5 > 6');
  script.tidy();
  t.is(history(script, { from: 5 }), '-b@5 > 6');
});

test('history that is compacted is not told although it still lies in memory', (t) => {
  const script = new Script();
  script.put('a', '1');
  script.put('b', '1');
  const nested = (op: Op): Op => opTxn({ success: [op] });
  script.ops(opPut(bytes('a'), bytes('2')), nested(opPut(bytes('b'), bytes('2'))), nested(opDelete(bytes('b'))));
  const frozen = script.store.freeze();
  script.compact(4);
  t.is(history(script, { from: 4, prevKv: true }), '+a=2@4 -b@4 > 5');
  t.is(script.store.pairBefore(bytes('a'), 4), null);
  frozen.release();
  script.tidy();
  t.is(history(script, { from: 4, prevKv: true }), '+a=2@4 -b@4 > 5');
});

test('a rare match far away is found, with or without few keys in the range', (t) => {
  const script = new Script();
  for (let i = 0; i < 3 * HISTORY_SCAN_ROWS; i++) {
    if (i === 5) script.put('few/a', '1');
    if (i === 2 * HISTORY_SCAN_ROWS) script.put('few/b', '1');
    if (i === 2 * HISTORY_SCAN_ROWS + 9) script.put('few/a', '2');
    script.put(`many/${i % 5000}`, String(i));
  }
  const few = { key: bytes('few/'), rangeEnd: bytes('few0') };
  const b = 2 * HISTORY_SCAN_ROWS + 3;
  t.is(history(script, { from: 1, ...few }), `+few/a=1@7 +few/b=1@${b} +few/a=2@${b + 10} > ${script.store.revision + 1}`);
  t.is(history(script, { from: 8, ...few }), `+few/b=1@${b} +few/a=2@${b + 10} > ${script.store.revision + 1}`);
  const end = script.store.revision + 1;
  t.is(history(script, { from: 8, key: bytes('few/a'), rangeEnd: bytes('') }), `+few/a=2@${b + 10} > ${end}`);
  t.is(history(script, { from: 8, key: bytes('gone'), rangeEnd: bytes('') }), ` > ${end}`);
  const many = { key: bytes('many/'), rangeEnd: bytes('many0') };
  const deletes = script.store.history({ ...many, ...NO_BOUND, from: 1, exclude: ['put'] });
  t.deepEqual(deletes.events, []);
});

test('what matches hardly anything is read in pieces, each of whole revisions, and nothing is left out or told twice', (t) => {
  const script = new Script();
  for (let i = 0; i < 3 * HISTORY_ROWS_MAX; i += 100) {
    if (i % 20_000 === 0) script.del('k7');
    script.ops(...Array.from({ length: 100 }, (_, j) => opPut(bytes(`k${(i + j) % 30_000}`), bytes(''))));
  }
  const end = script.store.revision + 1;
  const few = { key: bytes('k7'), rangeEnd: bytes('k70') };
  for (const request of [{ exclude: ['put'] }, { exclude: ['put', 'delete'] }, few] as const) {
    const whole = script.store.history({ ...ALL, ...NO_BOUND, ...request, from: 1 });
    const found: string[] = [];
    const places: number[] = [];
    for (let from = 1; from < end; from = places.at(-1) ?? end) {
      const { events, next } = script.store.history({ ...ALL, ...NO_BOUND, ...request, from, rowsMax: HISTORY_ROWS_MAX });
      if (events.length > 0) found.push(told(events));
      t.true(next > from, `${next} behind ${from}`);
      t.true(next - from <= HISTORY_ROWS_MAX / 100 + 10 || request === few, `${next - from} revisions`);
      places.push(next);
    }
    t.is(places.at(-1), end);
    t.is(found.join(' '), told(whole.events));
  }
});

test('to leap to the next match is given up where that takes too long: the rows on the way are read in pieces', (t) => {
  const script = new Script();
  for (let i = 0; i < 2 * HISTORY_ROWS_MAX; i++) script.put('other');
  for (let i = 0; i < HISTORY_ROWS_MAX; i++) script.put('mine', String(i));
  const mine = { key: bytes('mine'), rangeEnd: bytes(''), exclude: ['put'] as const };
  const nexts: number[] = [];
  for (let from = 1; from <= script.store.revision; from = nexts.at(-1) ?? Infinity) {
    nexts.push(script.store.history({ ...mine, ...NO_BOUND, from, rowsMax: HISTORY_ROWS_MAX }).next);
  }
  t.true(nexts.length >= 3 && nexts.length <= 10, String(nexts));
  t.is(nexts.at(-1), script.store.revision + 1);
});

test('many watchers of one key do not pay for what others wrote', (t) => {
  const script = new Script();
  for (let i = 0; i < 100_000; i++) script.put(`k${i % 50_000}`, '');
  script.put('mine', '1');
  t.true(takesLess(3000, () => {
    for (let i = 0; i < 100; i++) history(script, { from: 2, key: bytes('mine'), rangeEnd: bytes('') });
  }));
});
