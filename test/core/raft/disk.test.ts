// What counts as durable, whatever is overwritten or started over while the disk is still at work.

import test from 'ava';
import { Disk, HELD_MAX } from '../../../core/raft/disk.js';
import { RaftLog } from '../../../core/raft/log.js';
import type { Message } from '../../../core/raft/types.js';

const HARD = { term: 1, vote: 0n, commit: 0 };
const NOTE: Message = { kind: 'timeout_now', from: 1n, to: 2n, term: 1 };

function append(log: RaftLog, term: number, count: number): void {
  for (let i = 0; i < count; i++) log.append({ kind: 'empty', term, index: log.lastIndex + 1, data: new Uint8Array(0) });
}

test('batches become durable in order, one answer for several', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  for (let i = 0; i < 3; i++) {
    append(log, 1, 2);
    t.is(disk.gather(log, HARD, 0)?.seq, i + 1);
  }
  t.is(disk.gather(log, HARD, 0), null);
  disk.persisted(2);
  t.is(disk.durable, 4);
  t.throws(() => disk.persisted(2), { message: /answers no batch under way/ });
  t.throws(() => disk.persisted(4), { message: /answers no batch under way/ });
  disk.persisted(3);
  t.is(disk.durable, 6);
});

// entries 2 and 3 of term 1 are under way when they are replaced; their late answer counts for entry 1 alone.
test('the answer for an overwritten entry does not count for what has taken its place', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  append(log, 1, 3);
  disk.gather(log, HARD, 0);
  log.truncateAfter(1);
  disk.cutAfter(1);
  append(log, 2, 2);
  t.like(disk.gather(log, HARD, 0), { seq: 2, truncateAfter: 1 });
  disk.persisted(1);
  t.is(disk.durable, 1);
  disk.persisted(2);
  t.is(disk.durable, 3);
});

test('a message waits for the term and vote it speaks of, and for nothing else', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  t.false(disk.hold(NOTE));
  disk.hardChanged();
  t.true(disk.hold(NOTE));
  t.deepEqual(disk.gather(log, HARD, 0)?.hard, HARD);
  t.true(disk.hold(NOTE));
  append(log, 1, 1);
  disk.gather(log, HARD, 0);
  disk.persisted(1);
  t.is(disk.released(1).length, 2);
  t.false(disk.hold(NOTE));
});

test('a disk that hangs gathers no more messages than fit, and those that came first are not among the lost', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  disk.hardChanged();
  disk.gather(log, HARD, 0);
  const own: Message = { kind: 'vote_reply', from: 1n, to: 1n, term: 1, pre: false, granted: true };
  t.true(disk.hold(own));
  for (let i = 0; i < 2 * HELD_MAX; i++) t.true(disk.hold(NOTE), 'none leaves before the vote is durable');
  disk.persisted(1);
  const released = disk.released(1);
  t.is(released.length, HELD_MAX);
  t.is(released[0], own);
});

test('while a snapshot is being installed only what is applied counts; entries behind it follow it', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  append(log, 1, 5);
  disk.gather(log, HARD, 0);
  const snapshot = { term: 2, index: 9, configuration: { voters: [1n], outgoing: [], learners: [] } };
  log.restart(snapshot);
  disk.install(snapshot, 2);
  append(log, 2, 1);
  const batch = disk.gather(log, { term: 2, vote: 0n, commit: 9 }, 0);
  t.like(batch, { seq: 2, snapshot, truncateAfter: null, hard: { commit: 9 } });
  t.deepEqual(batch?.entries.map(({ index }) => index), [10]);
  t.is(disk.persisted(1), null);
  t.is(disk.durable, 2);
  t.is(disk.persisted(2), snapshot);
  t.is(disk.durable, 10);
});

test('a disk hangs when its oldest batch has waited too long', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  t.false(disk.isHung(99, 10));
  append(log, 1, 1);
  disk.gather(log, HARD, 100);
  append(log, 1, 1);
  disk.gather(log, HARD, 109);
  t.false(disk.isHung(110, 10));
  t.true(disk.isHung(111, 10));
  disk.persisted(1);
  t.false(disk.isHung(111, 10));
});

test('a newer snapshot takes the place of one on its way, and of a cut before it', (t) => {
  const [disk, log] = [new Disk(0, 0), new RaftLog({ term: 0, index: 0 }, [])];
  const configuration = { voters: [1n], outgoing: [], learners: [] };
  const [older, newer] = [{ term: 2, index: 9, configuration }, { term: 2, index: 12, configuration }];
  append(log, 1, 5);
  disk.gather(log, HARD, 0);
  log.restart(older);
  disk.install(older, 2);
  disk.gather(log, HARD, 0);
  append(log, 2, 1);
  disk.gather(log, HARD, 0);
  disk.cutAfter(9);
  log.restart(newer);
  disk.install(newer, 2);
  t.is(disk.persisted(3), null, 'nobody is told of one that is no longer wanted');
  t.like(disk.gather(log, HARD, 0), { seq: 4, snapshot: newer, truncateAfter: null });
  t.is(disk.persisted(4), newer);
});

test('a commit index that is on the disk already is not written again', (t) => {
  const log = new RaftLog({ term: 0, index: 0 }, []);
  append(log, 1, 7);
  const disk = new Disk(7, 5);
  append(log, 1, 1);
  t.is(disk.gather(log, { ...HARD, commit: 5 }, 0)?.hard, null);
  append(log, 1, 1);
  t.like(disk.gather(log, { ...HARD, commit: 6 }, 0), { hard: { commit: 6 } });
  append(log, 1, 1);
  t.is(disk.gather(log, { ...HARD, commit: 6 }, 0)?.hard, null);
});
