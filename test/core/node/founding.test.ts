// How a log begins, and how it goes on alone.

import test from 'ava';
import { NO_SNAPSHOT } from '../../../core/log/log-storage.js';
import { prepare } from '../../../core/node/founding.js';
import { decodeMembers } from '../../../core/raft/members.js';
import type { Entry, Resumed } from '../../../core/raft/types.js';
import { record } from './cluster.js';

const EMPTY: Resumed = { hard: { term: 0, vote: 0n, commit: 0 }, snapshot: NO_SNAPSHOT, entries: [] };

function command(index: number, term: number): Entry {
  return { kind: 'command', term, index, data: new Uint8Array([index]) };
}

test('every founder begins with the same entry, whatever the order of its settings', (t) => {
  const [a, b, c] = [record(1n), record(2n), record(3n)];
  const first = prepare(EMPTY, { id: 1n, founders: [a, b, c], forceNewCluster: false });
  const second = prepare(EMPTY, { id: 2n, founders: [c, a, b], forceNewCluster: false });
  t.deepEqual(first.founding, second.founding);
  t.deepEqual(decodeMembers(first.resumed.entries[0]?.data ?? new Uint8Array(0)).configuration.voters, [1n, 2n, 3n]);
});

test('who joins begins with nothing, and who has data changes nothing', (t) => {
  t.deepEqual(prepare(EMPTY, { id: 1n, founders: [], forceNewCluster: true }), { resumed: EMPTY, founding: null });
  const found: Resumed = { ...EMPTY, hard: { term: 2, vote: 1n, commit: 1 }, entries: [command(1, 2)] };
  const config = { id: 1n, founders: [record(1n), record(2n)], forceNewCluster: false };
  t.deepEqual(prepare(found, config), { resumed: found, founding: null });
});

// The commit index on disk lags: 3@5 may have been acknowledged a moment before the others were lost.
test('who goes on alone keeps what is not known to be committed, and votes alone from then on', (t) => {
  const entries = [command(1, 2), command(2, 2), command(3, 5)];
  const found: Resumed = { ...EMPTY, hard: { term: 6, vote: 3n, commit: 2 }, entries };
  const { resumed, founding } = prepare(found, { id: 1n, founders: [], forceNewCluster: true });
  t.deepEqual(resumed.entries.slice(0, 3), found.entries);
  t.like(resumed.hard, { term: 6, vote: 3n, commit: 4 });
  const [last = command(0, 0)] = resumed.entries.slice(3);
  t.like(last, { kind: 'members', index: 4, term: 6 });
  t.deepEqual(decodeMembers(last.data).configuration, { voters: [1n], outgoing: [], learners: [] });
  t.deepEqual(founding?.entries, [last]);
  t.deepEqual(founding?.hard, resumed.hard);
});
