// The short form of `npm run chaos`: one round on three real members, judged like the long one.

import test from 'ava';
import { Campaign } from './campaign.js';
import { splitterFor } from './frames.js';

test('three real members under kill -9 and cuts lose nothing, contradict nothing and find their leader again', async (t) => {
  const report = await Campaign.run({
    target: 'coterie', members: 3, seed: 7, minutes: 0.2, hasDisks: false, diskReason: 'left to the long form',
    newSplitter: splitterFor('coterie'), roundMs: 60_000, holdMs: 900, quietMs: 1500,
    only: ['kill', 'isolate leader', 'one-way cut', 'mute leader', 'lose messages'],
    say: (line) => t.log(line),
  });
  t.deepEqual(report.violations, []);
  t.is(report.lost, 0);
  t.is(report.rounds, 1);
  t.true(report.acknowledgedWrites > 40, 'a round that wrote next to nothing shows nothing');
  t.true(Object.keys(report.faults).length >= 2, 'a round without faults shows nothing');
});
