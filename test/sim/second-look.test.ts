// The second opinions: the general checker accepts what a real world answered, and notices when one answer is exchanged.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { RangeResponse } from '../../core/client.js';
import type { Operation } from '../model/history.js';
import { isLinearizable, pairsModel } from '../model/linearizable.js';
import { runSeed } from './run.js';
import { judgedOf, runAndLookAgain, smallOf } from './second-look.js';

/** Enough for many a world, and soon over for the others. */
const STEPS = 50_000;

function readsSomething({ request, outcome }: Operation): boolean {
  return request.kind === 'range' && outcome.kind === 'ok' && (outcome.response as RangeResponse).kvs.length > 0;
}

/** The same answers, but one read saw what nobody wrote. */
function spoiled(judged: readonly Operation[]): readonly Operation[] {
  const at = judged.findIndex(readsSomething);
  const victim = judged[at];
  if (victim?.outcome.kind !== 'ok') return [];
  const { kvs, ...rest } = victim.outcome.response as RangeResponse;
  const response = { ...rest, kvs: kvs.map((kv) => ({ ...kv, value: utf8('nobody wrote it') })) };
  return judged.with(at, { ...victim, outcome: { kind: 'ok', response } });
}

test.serial('the answers of a small world have an order that explains them, and one changed has none', async (t) => {
  // What a seed means changes with the worlds, and some take too long to judge: the first one that does not is taken.
  for (let seed = 20004; seed <= 20043; seed++) {
    let all: readonly Operation[] = [];
    const { violation } = await runSeed(seed, { alter: smallOf, onHistory: ({ operations }) => (all = operations) });
    t.is(violation, null);
    const judged = judgedOf(all);
    if (judged.length <= 30 || !judged.some(readsSomething)) continue;
    const verdicts = [isLinearizable(judged, pairsModel, STEPS), isLinearizable(spoiled(judged), pairsModel, STEPS)];
    if (verdicts.includes('unknown')) continue;
    t.deepEqual(verdicts, ['linearizable', 'not linearizable']);
    return;
  }
  t.fail('none of forty worlds could be judged');
});

test.serial('a seed that is looked at again says so', async (t) => {
  let agreed = 0;
  for (let seed = 20063; seed <= 20163 && agreed === 0; seed += 20) {
    const { coverage, violation } = await runAndLookAgain(seed, { alter: (swarm) => ({ ...swarm, faultMs: 3000 }) });
    t.is(violation, null);
    agreed += coverage['cross-check: both agree'] ?? 0;
  }
  t.is(agreed, 1);
});
