// The second opinions: the general checker accepts what a real world answered, and notices when one answer is exchanged.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { RangeResponse } from '../../core/client.js';
import type { Operation } from '../model/history.js';
import { isLinearizable, pairsModel } from '../model/linearizable.js';
import { runSeed } from './run.js';
import { judgedOf, runAndLookAgain, smallOf } from './second-look.js';

function readsSomething({ request, outcome }: Operation): boolean {
  return request.kind === 'range' && outcome.kind === 'ok' && (outcome.response as RangeResponse).kvs.length > 0;
}

function hasEnough(judged: readonly Operation[]): boolean {
  return judged.length > 30 && judged.some(readsSomething) && isLinearizable(judged, pairsModel) !== 'unknown';
}

test.serial('the answers of a small world have an order that explains them, and one changed answer has none', async (t) => {
  let judged: readonly Operation[] = [];
  // What a seed means changes with the worlds: the first one that has enough to judge is taken.
  for (let seed = 20001; seed <= 20020 && !hasEnough(judged); seed++) {
    let all: readonly Operation[] = [];
    const { violation } = await runSeed(seed, { alter: smallOf, onHistory: ({ operations }) => (all = operations) });
    t.is(violation, null);
    judged = judgedOf(all);
  }
  t.true(hasEnough(judged));
  t.is(isLinearizable(judged, pairsModel), 'linearizable');
  const at = judged.findIndex(readsSomething);
  const victim = judged[at];
  if (victim?.outcome.kind !== 'ok') return t.fail('this world reads nothing');
  const { kvs, ...rest } = victim.outcome.response as RangeResponse;
  const response = { ...rest, kvs: kvs.map((kv) => ({ ...kv, value: utf8('nobody wrote it') })) };
  t.is(isLinearizable(judged.with(at, { ...victim, outcome: { kind: 'ok', response } }), pairsModel), 'not linearizable');
});

test.serial('a seed that is looked at again says so', async (t) => {
  let agreed = 0;
  for (let seed = 20003; seed <= 20103 && agreed === 0; seed += 20) {
    const { coverage, violation } = await runAndLookAgain(seed, { alter: (swarm) => ({ ...swarm, faultMs: 3000 }) });
    t.is(violation, null);
    agreed += coverage['cross-check: both agree'] ?? 0;
  }
  t.is(agreed, 1);
});
