// Settings that cannot work, and who the members are before any entry. Disks that contradict themselves: raft.test.ts.

import test from 'ava';
import { checkConfig, startingConfiguration } from '../../../core/raft/start.js';
import type { RaftConfig } from '../../../core/raft/types.js';

const CONFIG: RaftConfig = {
  id: 1n, voters: [1n, 2n], electionTicks: 10, heartbeatTicks: 2, seed: 1, appendBytesMax: 1, uncommittedMax: 1,
  catchUpEntries: 0,
  catchUpBytes: Infinity,
  applyBytesMax: Infinity,
};

test('settings that cannot work are named', (t) => {
  t.notThrows(() => checkConfig(CONFIG));
  t.throws(() => checkConfig({ ...CONFIG, electionTicks: 2 }), { message: /electionTicks is 2/ });
  t.throws(() => checkConfig({ ...CONFIG, heartbeatTicks: 10 }), { message: /heartbeatTicks is 10/ });
  t.throws(() => checkConfig({ ...CONFIG, catchUpEntries: -1 }), { message: /catchUpEntries is -1/ });
  t.throws(() => checkConfig({ ...CONFIG, catchUpBytes: -1 }), { message: /catchUpBytes is -1/ });
  t.throws(() => checkConfig({ ...CONFIG, applyBytesMax: 0 }), { message: /applyBytesMax is 0/ });
});

test('a snapshot knows the members; without one the settings do', (t) => {
  const none = { voters: [], outgoing: [], learners: [] };
  t.deepEqual(startingConfiguration(CONFIG, { term: 0, index: 0, configuration: none }).voters, [1n, 2n]);
  const configuration = { voters: [7n], outgoing: [], learners: [8n] };
  t.is(startingConfiguration(CONFIG, { term: 3, index: 9, configuration }), configuration);
});
