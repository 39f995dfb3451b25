// Hundreds of random worlds (world.ts). One seed replays one world: SEED=7 npx ava test/core/raft/safety.test.ts; a longer
// search: WORLDS=50000 FROM=1000000 npx ava --timeout=20m test/core/raft/safety.test.ts.

import test from 'ava';
import { World } from './world.js';

const WORLDS = 500;

test('no world of losses, crashes and changes breaks the safety of Raft, and a healed one goes on', (t) => {
  const only = process.env.SEED;
  const from = Number(only ?? process.env.FROM ?? 1);
  const count = only === undefined ? Number(process.env.WORLDS ?? WORLDS) : 1;
  const seen = { entries: 0, changes: 0, restores: 0 };
  for (let seed = from; seed < from + count; seed++) {
    const world = new World(seed);
    try {
      world.run();
    } catch (error) {
      t.fail(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
      return;
    }
    const { committed, restores } = world.cluster;
    seen.entries += committed.size;
    seen.restores += restores;
    for (const { kind } of committed.values()) if (kind === 'members') seen.changes++;
  }
  if (count >= WORLDS) {
    const testsNothing = `${JSON.stringify(seen)}: these worlds test nothing`;
    t.true(seen.entries > count * 3 && seen.changes > count && seen.restores > count / 5, testsNothing);
  }
  t.log(`${count} worlds: ${seen.entries} entries committed, ${seen.changes} changes of members, ${seen.restores} restores`);
  t.true(seen.entries > 0);
});
