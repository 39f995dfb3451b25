// Which configuration counts, as the log grows, is cut, is committed and starts over (Raft §6).

import test from 'ava';
import { encodeMembers } from '../../../core/raft/members.js';
import { Membership } from '../../../core/raft/membership.js';
import type { Configuration, Entry } from '../../../core/raft/types.js';

function of(...voters: bigint[]): Configuration {
  return { voters, outgoing: [], learners: [] };
}

function entry(index: number, ...voters: bigint[]): Entry {
  return { kind: 'members', term: 1, index, data: encodeMembers(of(...voters), new Uint8Array(0)) };
}

function stand(membership: Membership): unknown[] {
  return [membership.index, membership.current.configuration.voters, membership.settled.configuration.voters];
}

test('the newest in the log counts, and what is committed stays behind it', (t) => {
  const membership = new Membership(0, of(1n));
  membership.appended({ kind: 'command', term: 1, index: 2, data: new Uint8Array(0) });
  membership.appended(entry(3, 1n, 2n));
  membership.appended(entry(5, 1n, 2n, 3n));
  t.deepEqual(stand(membership), [5, [1n, 2n, 3n], [1n]]);
  membership.committed(4);
  t.deepEqual(stand(membership), [5, [1n, 2n, 3n], [1n, 2n]]);
  membership.committed(5);
  t.deepEqual(stand(membership), [5, [1n, 2n, 3n], [1n, 2n, 3n]]);
});

// Raft §6: "a server always uses the latest configuration in its log"; and a cut log has an earlier latest one.
test('a cut brings back the one before, but never before what is committed', (t) => {
  const membership = new Membership(0, of(1n));
  membership.appended(entry(3, 1n, 2n));
  membership.appended(entry(5, 1n, 2n, 3n));
  membership.cutAfter(5);
  t.is(membership.index, 5);
  membership.cutAfter(4);
  t.deepEqual(stand(membership), [3, [1n, 2n], [1n]]);
  membership.committed(3);
  t.throws(() => membership.cutAfter(2), { message: /was committed and is cut/ });
});

test('a snapshot brings its own, and nothing of before is left', (t) => {
  const membership = new Membership(0, of(1n));
  membership.appended(entry(3, 1n, 2n));
  membership.restored({ term: 2, index: 9, configuration: of(4n, 5n) });
  t.deepEqual(stand(membership), [9, [4n, 5n], [4n, 5n]]);
  t.throws(() => membership.appended(entry(9, 1n)), { message: /does not follow 9/ });
});
