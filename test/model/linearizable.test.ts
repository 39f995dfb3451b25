// Two opinions on the same histories: what the witness accepts the general check accepts, and the other way round where no
// revision is at stake.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { opPut, type RangeResponse } from '../../core/client.js';
import { call, goodHistory } from './histories.js';
import { isLinearizable, pairsModel } from './linearizable.js';
import type { Operation } from './history.js';

const A = utf8('a');
const kv = (value: string, revision: number) => ({ key: A, value: utf8(value), createRevision: 2, modRevision: revision,
  version: revision - 1, lease: 0n });
const put = (client: string, from: number, to: number, value: string, revision: number): Operation =>
  call(client, from, to, { success: [opPut(A, utf8(value))] },
    { revision, responses: [{ kind: 'put', response: { revision, prevKv: null } }] });
const read = (client: string, from: number, to: number, value: string | null, revision: number): Operation =>
  call(client, from, to, { key: A }, value === null ? { revision } : { revision, kvs: [kv(value, revision)], count: 1 });

test('good histories have an order that explains them', (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const { operations } = goodHistory(seed, 60, { keys: 3, isLeased: false });
    t.is(isLinearizable(operations, pairsModel), 'linearizable', `seed ${seed}`);
  }
});

test('histories with one value changed have none', (t) => {
  let spoiled = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const { operations } = goodHistory(seed, 40, { keys: 2, isLeased: false });
    const victim = operations.find(({ request, outcome }) => request.kind === 'range' && outcome.kind === 'ok'
      && (outcome.response as RangeResponse).kvs.length > 0);
    if (victim?.outcome.kind !== 'ok') continue;
    const response = victim.outcome.response as RangeResponse;
    victim.outcome = { kind: 'ok', response: { ...response,
      kvs: response.kvs.map((each) => ({ ...each, value: utf8('never') })) } };
    spoiled++;
    t.is(isLinearizable(operations, pairsModel), 'not linearizable', `seed ${seed}`);
  }
  t.true(spoiled > 20);
});

test('a read during a write may show it or not; one after it must', (t) => {
  t.is(isLinearizable([put('c1', 0, 10, '1', 2), read('c2', 2, 3, null, 1)], pairsModel), 'linearizable');
  t.is(isLinearizable([put('c1', 0, 10, '1', 2), read('c2', 2, 3, '1', 2)], pairsModel), 'linearizable');
  t.is(isLinearizable([put('c1', 0, 10, '1', 2), read('c2', 11, 12, null, 1)], pairsModel), 'not linearizable');
});

test('a value seen and then unseen has no explanation', (t) => {
  t.is(isLinearizable([put('c1', 0, 10, '1', 2), read('c2', 2, 3, '1', 2), read('c3', 4, 5, null, 1)], pairsModel),
    'not linearizable');
});

test('what was never answered may happen at any later time, or never', (t) => {
  const lost: Operation = { ...put('c1', 0, Infinity, '1', 2), outcome: { kind: 'error', code: 'timeout', outcome: 'unknown' } };
  t.is(isLinearizable([lost, read('c2', 50, 51, null, 1), read('c2', 60, 61, '1', 2)], pairsModel), 'linearizable');
  t.is(isLinearizable([lost, read('c2', 50, 51, '1', 2), read('c2', 60, 61, null, 1)], pairsModel), 'not linearizable');
  const refused: Operation = { ...lost, outcome: { kind: 'error', code: 'no_leader', outcome: 'never' } };
  t.is(isLinearizable([refused, read('c2', 60, 61, '1', 2)], pairsModel), 'not linearizable');
});

test('a search that takes too long says so', (t) => {
  const { operations } = goodHistory(3, 60, { keys: 3, isLeased: false });
  t.is(isLinearizable(operations, pairsModel, 10), 'unknown');
});
