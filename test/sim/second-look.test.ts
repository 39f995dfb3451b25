// The second opinions: the general checker accepts what a real world answered, and notices when one answer is exchanged.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { RangeResponse } from '../../core/client.js';
import type { Operation } from '../model/history.js';
import { isLinearizable, pairsModel } from '../model/linearizable.js';
import { runSeed } from './run.js';
import { judgedOf, runAndLookAgain, smallOf } from './second-look.js';

test.serial('the answers of a small world have an order that explains them, and one changed answer has none', async (t) => {
  let all: readonly Operation[] = [];
  const { violation } = await runSeed(20001, { alter: smallOf, onHistory: ({ operations }) => (all = operations) });
  t.is(violation, null);
  const judged = judgedOf(all);
  t.true(judged.length > 30);
  t.is(isLinearizable(judged, pairsModel), 'linearizable');
  const at = judged.findIndex(({ request, outcome }) => request.kind === 'range' && outcome.kind === 'ok'
    && (outcome.response as RangeResponse).kvs.length > 0);
  const victim = judged[at];
  if (victim?.outcome.kind !== 'ok') return t.fail('this world reads nothing');
  const { kvs, ...rest } = victim.outcome.response as RangeResponse;
  const response = { ...rest, kvs: kvs.map((kv) => ({ ...kv, value: utf8('nobody wrote it') })) };
  t.is(isLinearizable(judged.with(at, { ...victim, outcome: { kind: 'ok', response } }), pairsModel), 'not linearizable');
});

test.serial('a seed that is looked at again says so', async (t) => {
  const { coverage, violation } = await runAndLookAgain(20003, { alter: (swarm) => ({ ...swarm, faultMs: 3000 }) });
  t.is(violation, null);
  t.is(coverage['cross-check: both agree'], 1);
});
