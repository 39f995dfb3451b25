// When a snapshot is saved, what is let go of then, and which of two counts; without a cluster around it.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import type { Done } from '../../../core/base/done.js';
import { opPut } from '../../../core/client.js';
import { MemoryLogStorage } from '../../../core/log/memory-log-storage.js';
import { NO_SNAPSHOT, type LogStorage } from '../../../core/log/log-storage.js';
import { largeEntryBytes, largeEntryShare, snapshotLogBytesMin } from '../../../core/node/limits.js';
import { Snapshots } from '../../../core/node/snapshots.js';
import type { Entry, Persist, SnapshotMeta } from '../../../core/raft/types.js';
import { encodeMemberRecords } from '../../../core/store/members.js';
import { Store } from '../../../core/store/store.js';
import { SimClock } from '../../sim/clock.js';

const COUNT = 10;
const LOG_BYTES_MAX = 1000;
const ALONE = { voters: [1n], outgoing: [], learners: [] };
const HARD = { term: 0, vote: 0n, commit: 0 };

interface Rig {
  readonly snapshots: Snapshots;
  readonly log: MemoryLogStorage;
  /** What the log was asked for, and what the machine was told. */
  readonly said: string[];
  /** Ends the oldest save that is under way. */
  end(error?: Error): void;
}

function rig(compactError: Error | null = null, logBytesMax = LOG_BYTES_MAX): Rig {
  const clock = new SimClock();
  const log = new MemoryLogStorage(clock);
  const said: string[] = [];
  const saving: Done[] = [];
  const doors: LogStorage = {
    failure: null,
    open: (done) => log.open(done),
    append: (batch, done) => log.append(batch, done),
    saveSnapshot: (meta, chunks, done) => {
      let sizeBytes = 0;
      for (const chunk of chunks) sizeBytes += chunk.length;
      said.push(`save ${meta.index}${sizeBytes > 0 ? '' : ' of nothing'}`);
      saving.push(done);
    },
    readSnapshot: (meta, each, done) => log.readSnapshot(meta, each, done),
    openSnapshot: (done) => log.openSnapshot(done),
    stageSnapshot: (meta, done) => log.stageSnapshot(meta, done),
    compact: (through, done) => {
      said.push(`compact ${through}`);
      done(compactError, undefined);
    },
    close: (done) => log.close(done),
  };
  const snapshots = new Snapshots({ snapshotCount: COUNT, logBytesMax }, {
    clock, log: doors,
    saved: ({ index }) => void said.push(`saved ${index}`),
    failed: ({ message }) => void said.push(`failed: ${message}`),
  });
  snapshots.load({ hard: HARD, snapshot: NO_SNAPSHOT, entries: [] }, () => undefined);
  const end = (error: Error | null = null): void => {
    const done = saving.shift();
    if (done === undefined) throw new Error('nothing is being saved');
    if (error === null) done(null, undefined);
    else done(error);
  };
  return { snapshots, log, said, end };
}

function grown(store: Store, index: number): Store {
  store.applyMembers({ term: 1, index }, ALONE, encodeMemberRecords([]));
  return store;
}

function metaOf(index: number): SnapshotMeta {
  return { term: 1, index, configuration: ALONE };
}

function installing(snapshot: SnapshotMeta): Persist {
  return { seq: 1, hard: null, truncateAfter: null, snapshot, entries: [] };
}

/** Commands that are not large, unless they are to be. */
function commands(bytes: number, entryBytes = largeEntryBytes - 1): readonly Entry[] {
  const entries: Entry[] = [];
  for (let left = bytes; left > 0; left -= entryBytes) {
    entries.push({ kind: 'command', term: 1, index: entries.length + 1, data: new Uint8Array(Math.min(left, entryBytes)) });
  }
  return entries;
}

/** Another member's snapshot at `index`, loaded. */
function arrive({ snapshots }: Rig, index: number, applied: number): boolean {
  const each = snapshots.begin(metaOf(index), applied);
  if (each === null) return false;
  for (const chunk of grown(new Store(), index).freeze().chunks()) each(chunk);
  const failure = snapshots.finish(metaOf(index));
  if (failure !== null) throw failure;
  return true;
}

test('one is saved each so many entries, one at a time, and the log before it goes when it is there', (t) => {
  const { snapshots, said, end } = rig();
  const store = grown(new Store(), COUNT - 1);
  snapshots.onApplied(commands(500));
  snapshots.saveIfDue(store);
  t.deepEqual(said, []);
  snapshots.saveIfDue(grown(store, COUNT));
  snapshots.onApplied(commands(500));
  snapshots.saveIfDue(grown(new Store(), 2 * COUNT));
  t.deepEqual(said, ['save 10'], 'the second waits for the first');
  t.true(store.isFrozen);
  end();
  t.false(store.isFrozen);
  t.deepEqual(said.slice(1), ['saved 10', 'compact 10']);
  snapshots.saveIfDue(grown(store, 2 * COUNT - 1));
  t.is(said.length, 3, 'counted from the one there is');
  snapshots.saveIfDue(grown(store, 2 * COUNT));
  t.is(said.at(-1), 'save 20');
});

test('what the log held at the start counts as it is applied: none is saved that covers little of it', (t) => {
  const { snapshots, said, end } = rig();
  const entries = commands(2 * LOG_BYTES_MAX, LOG_BYTES_MAX / 4);
  snapshots.load({ hard: HARD, snapshot: NO_SNAPSHOT, entries }, () => undefined);
  const store = new Store();
  const applyTo = (index: number): void => {
    snapshots.onApplied(entries.slice(store.applied.index, index));
    snapshots.saveIfDue(grown(store, index));
  };
  applyTo(3);
  t.deepEqual(said, [], 'three quarters of what is enough');
  applyTo(4);
  t.deepEqual(said, ['save 4']);
  end();
  applyTo(7);
  t.is(said.at(-1), 'compact 4');
  applyTo(8);
  t.is(said.at(-1), 'save 8', 'what was not in the first one has not been forgotten');
});

test('few large entries are a reason, too, and many small ones are none while the snapshot is far larger', (t) => {
  const { snapshots, said, end } = rig();
  const store = grown(new Store(), 1);
  snapshots.onApplied(commands(LOG_BYTES_MAX - 1));
  snapshots.saveIfDue(store);
  t.deepEqual(said, []);
  snapshots.onApplied(commands(1));
  snapshots.saveIfDue(store);
  t.deepEqual(said, ['save 1']);
  end();
  snapshots.saveIfDue(grown(store, 1 + COUNT));
  t.is(said.at(-1), 'compact 1', 'next to nothing was written since');
  snapshots.onApplied(commands(500));
  snapshots.saveIfDue(store);
  t.is(said.at(-1), 'save 11');
});

test('the log of a small store is not left to grow as long as that of a large one', (t) => {
  const { snapshots, said, end } = rig(null, 10 * snapshotLogBytesMin);
  const store = grown(new Store(), 1);
  snapshots.onApplied(commands(snapshotLogBytesMin - 1));
  snapshots.saveIfDue(store);
  t.deepEqual(said, []);
  snapshots.onApplied(commands(1));
  snapshots.saveIfDue(store);
  t.deepEqual(said, ['save 1']);
  end();
});

test('large entries, whose values lie in the log, may be several times as long', (t) => {
  const { snapshots, said, end } = rig(null, 10 * snapshotLogBytesMin);
  const store = grown(new Store(), 1);
  snapshots.onApplied(commands(snapshotLogBytesMin / largeEntryShare - largeEntryBytes, largeEntryBytes));
  snapshots.saveIfDue(store);
  t.deepEqual(said, []);
  snapshots.onApplied(commands(largeEntryBytes, largeEntryBytes));
  snapshots.saveIfDue(store);
  t.deepEqual(said, ['save 1']);
  end();
});

test('large entries that lie among others count in full: the store has copies of their values', (t) => {
  const { snapshots, said, end } = rig(null, 10 * snapshotLogBytesMin);
  const entries = Array.from({ length: snapshotLogBytesMin / largeEntryBytes }, (_, i): Entry => {
    return { kind: 'command', term: 1, index: i + 1, data: new Uint8Array(4 * largeEntryBytes).subarray(0, largeEntryBytes) };
  });
  snapshots.onApplied(entries);
  snapshots.saveIfDue(grown(new Store(), 1));
  t.deepEqual(said, ['save 1']);
  end();
});

test('how large the one is that was installed counts as if it had been saved here', (t) => {
  const all = rig(null, 10 * snapshotLogBytesMin);
  const { snapshots, said } = all;
  const large = grown(new Store(), 1);
  const value = new Uint8Array(1 << 20);
  for (let index = 2; index < 2 + (2 * snapshotLogBytesMin) / value.length; index++) {
    large.apply({ term: 1, index }, { kind: 'txn', request: { success: [opPut(utf8('key'), value)] } });
  }
  const meta = metaOf(large.applied.index);
  const each = snapshots.begin(meta, 0);
  for (const chunk of large.freeze().chunks()) each?.(chunk);
  t.is(snapshots.finish(meta), null);
  snapshots.onPersist(installing(meta));
  const store = snapshots.take(meta);
  snapshots.onApplied(commands(snapshotLogBytesMin));
  snapshots.saveIfDue(store);
  t.deepEqual(said, [], 'the log is not as large');
  snapshots.onApplied(commands(2 * snapshotLogBytesMin));
  snapshots.saveIfDue(store);
  t.deepEqual(said, [`save ${meta.index}`]);
});

test('a disk that fails while one is saved, or the log before it goes, is told of', (t) => {
  const first = rig();
  first.snapshots.onApplied(commands(LOG_BYTES_MAX));
  first.snapshots.saveIfDue(grown(new Store(), 1));
  first.end(new Error('EIO'));
  t.deepEqual(first.said, ['save 1', 'failed: EIO']);
  const second = rig(new Error('EIO of another kind'));
  second.snapshots.onApplied(commands(LOG_BYTES_MAX));
  second.snapshots.saveIfDue(grown(new Store(), 1));
  second.end();
  t.deepEqual(second.said, ['save 1', 'saved 1', 'compact 1', 'failed: EIO of another kind']);
});

test('one that is damaged is replaced at once, maybe at the same index, and once', (t) => {
  const { snapshots, said, end } = rig();
  const store = grown(new Store(), COUNT);
  snapshots.onApplied(commands(500));
  snapshots.saveIfDue(store);
  snapshots.distrust(store);
  t.deepEqual(said, ['save 10'], 'what is being saved replaces it');
  end();
  snapshots.distrust(store);
  t.deepEqual(said.slice(3), ['save 10']);
  end();
  snapshots.saveIfDue(store);
  t.is(said.length, 6);
});

test('one that another member sent counts when it is installed, and one being saved meanwhile does not', (t) => {
  const all = rig();
  const { snapshots, said, end } = all;
  snapshots.onApplied(commands(500));
  const store = grown(new Store(), COUNT);
  snapshots.saveIfDue(store);
  t.true(arrive(all, 50, COUNT));
  snapshots.onPersist(installing(metaOf(50)));
  end();
  t.deepEqual(said, ['save 10'], 'the older one neither frees the log nor counts');
  snapshots.onApplied(commands(LOG_BYTES_MAX));
  snapshots.saveIfDue(grown(store, 49));
  t.is(said.length, 1, 'this store does not have it yet');
  const taken = snapshots.take(metaOf(50));
  t.is(taken.applied.index, 50);
  snapshots.saveIfDue(grown(taken, 51));
  t.is(said.at(-1), 'save 51');
});

test('one that arrives is wanted when it is newer and none is on its way in; one that was not wanted is let go', (t) => {
  const all = rig();
  const { snapshots } = all;
  t.false(arrive(all, 5, 5));
  t.true(arrive(all, 6, 5));
  t.false(arrive(all, 7, 5), 'the machine has not been asked yet');
  snapshots.onStep();
  t.throws(() => snapshots.take(metaOf(6)), { message: /no store was loaded at index 6/ });
  t.true(arrive(all, 7, 5));
  snapshots.onPersist(installing(metaOf(7)));
  snapshots.onStep();
  t.false(arrive(all, 8, 5), 'one is being installed');
  t.is(snapshots.take(metaOf(7)).applied.index, 7);
  t.true(arrive(all, 8, 7));
});

test('bytes of another member that cannot be read are refused with the remedy', (t) => {
  const { snapshots } = rig();
  const each = snapshots.begin(metaOf(5), 0);
  each?.(new Uint8Array(100));
  t.regex(snapshots.finish(metaOf(5))?.message ?? '', /at index 5 that another member sent cannot be loaded: .*same release/);
});
