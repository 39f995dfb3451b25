// The write-ahead log's own promises: what it asks of the disk and in which order. What it means as a log storage is the
// contract; what it survives is in crash.test.ts and damage.test.ts.

import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import type { AcquireLock } from '../../../core/base/lock.js';
import { TRAILER_BYTES, TRAILER_MAGIC } from '../../../core/log/record.js';
import { WalStorage, type WalOptions } from '../../../core/log/wal.js';
import type { NodeEvent } from '../../../core/node/events.js';
import type { Persist, Resumed } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';
import { checkSnapshot, chunksOf, snapshotMeta } from './history.js';

interface World {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly events: NodeEvent[];
  readonly log: WalStorage;
}

function world(more: Partial<WalOptions> & { disk?: SimDisk } = {}): World {
  const { disk = new SimDisk({ seed: 1 }), ...options } = more;
  const clock = new SimClock();
  const events: NodeEvent[] = [];
  const observe = (event: NodeEvent): void => void events.push(event);
  const identity = { clusterId: 1n, memberId: 2n, incarnation: 7n };
  return { disk, clock, events, log: new WalStorage({ files: disk, clock, directory: 'data', identity, observe, ...options }) };
}

function opened(log: WalStorage): Promise<Resumed> {
  return whenDone((done) => log.open(done));
}

function batch(index: number, sizeBytes = 100): Persist {
  const entries = [{ kind: 'command', term: 1, index, data: Buffer.alloc(sizeBytes, `${index}`) }] as const;
  return { seq: index, hard: { term: 1, vote: 2n, commit: index - 1 }, truncateAfter: null, snapshot: null, entries };
}

function append(log: WalStorage, ...batches: readonly Persist[]): Promise<unknown> {
  return Promise.all(batches.map((each) => whenDone<void>((done) => log.append(each, done))));
}

function range(from: number, through: number): Persist[] {
  return Array.from({ length: through - from + 1 }, (_, i) => batch(from + i));
}

function calls(disk: SimDisk): string[] {
  return disk.effects.map(({ call, file }) => `${call} ${file.replace('data/', '')}`);
}

test('all that arrives during one sync leaves in the next, as one write and one sync', async (t) => {
  const { disk, log, events } = world();
  await opened(log);
  await append(log, batch(1));
  disk.effects = [];
  events.length = 0;
  await append(log, ...range(2, 201));
  const name = 'log-0000000001.wal';
  t.deepEqual(calls(disk), [`write ${name}`, `sync ${name}`, `write ${name}`, `sync ${name}`]);
  const synced = events.flatMap((event) => (event.kind === 'synced' ? [event.batches] : []));
  t.deepEqual(synced, [1, 199]);
});

test('a batch is acknowledged after its sync, not after its write', async (t) => {
  const { disk, log } = world();
  await opened(log);
  disk.effects = [];
  const seen: string[][] = [];
  await whenDone<void>((done) => log.append(batch(1), (error) => {
    seen.push(calls(disk));
    done(error);
  }));
  t.deepEqual(seen.map((list) => list.at(-1)?.split(' ')[0]), ['sync']);
});

test('groups go over zeros that are there; when those are used up, more come with the group that lacked them', async (t) => {
  const reserveBytes = 1000;
  const name = 'data/log-0000000001.wal';
  const { disk, log } = world({ reserveBytes });
  await opened(log);
  const sizes: number[] = [];
  for (let i = 1; i <= 40; i++) {
    await append(log, batch(i));
    sizes.push(disk.content(name).length);
  }
  const grown = sizes.filter((size, i) => i > 0 && size !== sizes[i - 1]).length;
  t.true(grown >= 4 && grown <= 12, `the file has grown ${grown} times`);
  disk.kill();
  t.is((await opened(world({ disk }).log)).entries.length, 40);
});

test('a segment that is sealed ends with its seal, whatever was reserved in it', async (t) => {
  for (const reserveBytes of [0, 300, 5000]) {
    const { disk, log } = world({ segmentBytes: 2000, reserveBytes });
    await opened(log);
    for (let i = 1; i <= 40; i++) await append(log, batch(i));
    const full = disk.names().filter((name) => name.endsWith('.wal')).slice(0, -1);
    t.true(full.length > 3);
    for (const name of full) {
      const bytes = disk.content(name);
      t.is(bytes.readUInt32LE(bytes.length - TRAILER_BYTES), TRAILER_MAGIC, name);
    }
  }
});

test('an idle log proves its last group without a sync, once', async (t) => {
  const { disk, clock, log } = world();
  await opened(log);
  await append(log, batch(1));
  await append(log, batch(2));
  disk.effects = [];
  await clock.advance(1000);
  t.deepEqual(calls(disk), ['write log-0000000001.wal']);
  await append(log, batch(3));
  t.is(calls(disk).length, 3);
});

test('a changed term or vote is written and synced twice before it is acknowledged, anything else once', async (t) => {
  const { disk, log } = world();
  await opened(log);
  const ballots = [{ term: 1, vote: 0n }, { term: 1, vote: 3n }, { term: 2, vote: 3n }, { term: 2, vote: 3n }];
  const syncs: number[] = [];
  for (const ballot of ballots) {
    disk.effects = [];
    const hard = { ...ballot, commit: 0 };
    await whenDone<void>((done) => log.append({ seq: 1, hard, truncateAfter: null, snapshot: null, entries: [] }, done));
    syncs.push(calls(disk).filter((call) => call.startsWith('sync')).length);
  }
  t.deepEqual(syncs, [2, 2, 2, 1]);
});

test('segments are closed at their limit, and compaction frees those a snapshot covers whole, never the last', async (t) => {
  const { disk, log } = world({ segmentBytes: 2000 });
  await opened(log);
  for (let i = 1; i <= 60; i++) await append(log, batch(i));
  const segments = (): string[] => disk.names().filter((name) => name.endsWith('.wal'));
  const before = segments().length;
  t.true(before > 5);
  await whenDone<void>((done) => log.compact(60, done));
  t.is(segments().length, before, 'compacted without a snapshot');
  const meta = snapshotMeta({ term: 1, index: 30 });
  await whenDone<void>((done) => log.saveSnapshot(meta, chunksOf(meta), done));
  await whenDone<void>((done) => log.compact(60, done));
  const between = segments().length;
  t.true(between < before && between > 1);
  const all = snapshotMeta({ term: 1, index: 60 });
  await whenDone<void>((done) => log.saveSnapshot(all, chunksOf(all), done));
  await Promise.all([1, 2].map(() => whenDone<void>((done) => log.compact(60, done))));
  t.is(segments().length, 1);
  await append(log, batch(61));
  await whenDone<void>((done) => log.close(done));
  const again = world({ disk, segmentBytes: 2000 });
  const resumed = await opened(again.log);
  t.deepEqual(resumed.entries.map(({ index }) => index), [61]);
  t.deepEqual(resumed.hard, { term: 1, vote: 2n, commit: 60 });
  await checkSnapshot(again.log, resumed.snapshot);
});

test('the previous snapshot goes only when the new one is durable', async (t) => {
  const { disk, log, events } = world();
  await opened(log);
  await append(log, ...range(1, 9));
  for (const index of [3, 6]) {
    disk.effects = [];
    const meta = snapshotMeta({ term: 1, index });
    await whenDone<void>((done) => log.saveSnapshot(meta, chunksOf(meta), done));
  }
  const order = calls(disk).map((call) => call.split(' ')[0]).filter((call) => call !== 'append');
  t.deepEqual(order, ['sync', 'rename', 'list', 'remove']);
  t.is(disk.names().filter((name) => name.includes('snapshot')).length, 1);
  t.deepEqual(events.flatMap((event) => (event.kind === 'snapshot_saved' ? [event.index] : [])), [3, 6]);
});

test('a snapshot of many megabytes goes out in pieces with turns between them, and appends pass it', async (t) => {
  const { disk, log } = world();
  await opened(log);
  await append(log, ...range(1, 3));
  disk.effects = [];
  const chunks = [...Array.from({ length: 300 }, () => Buffer.alloc(50_000, 'c')), Buffer.alloc(5 << 20, 'large')];
  let saved = false;
  const saving = whenDone<void>((done) => log.saveSnapshot(snapshotMeta({ term: 1, index: 2 }), chunks, done)).then(() => {
    saved = true;
  });
  await append(log, ...range(4, 9));
  t.false(saved);
  await saving;
  t.true(calls(disk).filter((call) => call.startsWith('append snapshot')).length >= 15);
  t.true(calls(disk).filter((call) => call.startsWith('sync snapshot')).length >= 2, 'one huge sync at the end');
  const sizes: number[] = [];
  const read = (chunk: Uint8Array): void => void sizes.push(chunk.length);
  await whenDone<void>((done) => log.readSnapshot(snapshotMeta({ term: 1, index: 2 }), read, done));
  t.deepEqual(sizes, chunks.map(({ length }) => length));
});

test('an empty chunk of a snapshot is a pause: the next is asked for in a later turn, and it is not kept', async (t) => {
  const { disk, log } = world();
  await opened(log);
  await append(log, ...range(1, 3));
  disk.effects = [];
  const effects: number[] = [];
  const chunks = function* (): Iterable<Uint8Array> {
    for (let i = 0; i < 3; i++) {
      effects.push(disk.effects.length);
      yield Buffer.alloc(i === 1 ? 0 : 100);
    }
  };
  const meta = snapshotMeta({ term: 1, index: 2 });
  await whenDone<void>((done) => log.saveSnapshot(meta, chunks(), done));
  const [first, pause, after] = effects;
  t.is(first, pause);
  t.true((after ?? 0) > (pause ?? 0));
  const sizes: number[] = [];
  await whenDone<void>((done) => log.readSnapshot(meta, (chunk) => sizes.push(chunk.length), done));
  t.deepEqual(sizes, [100, 100]);
});

test('closing does not wait until a large snapshot is whole, and nothing is left of it', async (t) => {
  const { disk, log } = world();
  await opened(log);
  await append(log, ...range(1, 3));
  let given = 0;
  const chunks = function* (): Iterable<Uint8Array> {
    for (; given < 1000; given++) yield Buffer.alloc(1 << 20);
  };
  const saving = t.throwsAsync(whenDone<void>((done) => log.saveSnapshot(snapshotMeta({ term: 1, index: 2 }), chunks(), done)));
  await append(log, batch(4));
  await whenDone<void>((done) => log.close(done));
  t.regex((await saving)?.message ?? '', /closed before the snapshot was whole/);
  t.true(given < 50, `${given} MiB were written before it closed`);
  t.deepEqual(disk.names().filter((name) => name.includes('snapshot')), []);
  t.is((await opened(world({ disk }).log)).entries.length, 4);
});

test('values of any size come back, groups larger than a read included', async (t) => {
  const { disk, log } = world();
  await opened(log);
  const sizes = [0, 1, 511, 5 << 20, 70_000, 3 << 20];
  await append(log, ...sizes.map((size, i) => batch(i + 1, size)));
  await whenDone<void>((done) => log.close(done));
  const resumed = await opened(world({ disk }).log);
  t.deepEqual(resumed.entries.map(({ data }) => data.length), sizes);
  t.true(resumed.entries.every(({ data, index }) => data.length === 0 || data[0] === `${index}`.charCodeAt(0)));
});

test('temporary files that a crash left are removed, other people\'s files are not touched', async (t) => {
  const { disk, log } = world();
  await opened(log);
  await whenDone<void>((done) => log.close(done));
  for (const name of ['snapshot-0000000000000009-1.snap.tmp', 'identity.tmp', 'notes.tmp', 'README']) {
    disk.replace(`data/${name}`, Buffer.from('left'));
  }
  await opened(world({ disk }).log);
  t.deepEqual(disk.names(), ['data/README', 'data/identity', 'data/log-0000000001.wal', 'data/notes.tmp']);
});

test('the lock is taken before anything is read, and given back by close and by an open that fails', async (t) => {
  const held = { count: 0 };
  const lock: AcquireLock = (file, done) => setImmediate(() => {
    t.is(file, 'data/lock');
    if (held.count > 0) return done(new Error('process 7 holds data/lock'));
    held.count++;
    done(null, (released) => setImmediate(() => {
      held.count--;
      released(null);
    }));
  });
  const { disk, log } = world({ lock });
  await opened(log);
  await t.throwsAsync(opened(world({ disk, lock }).log), { name: 'LogError', message: /process 7 holds/ });
  t.is(held.count, 1);
  await whenDone<void>((done) => log.close(done));
  t.is(held.count, 0);
  disk.replace('data/identity', Buffer.from('nonsense'));
  await t.throwsAsync(opened(world({ disk, lock }).log), { name: 'LogError' });
  t.is(held.count, 0);
});

test('closing while open is under way waits for it, and closing twice does not hang', async (t) => {
  const { disk, log } = world();
  const opening = opened(log);
  const closing = whenDone<void>((done) => log.close(done));
  await opening;
  await closing;
  await t.notThrowsAsync(whenDone<void>((done) => log.close(done)));
  await t.notThrowsAsync(opened(world({ disk }).log));
});

test('a full disk ends the log with the remedy, at whatever it was busy, and with room again all is there', async (t) => {
  const full = (error: unknown): boolean => /ENOSPC.*: make room on it and start again, nothing acknowledged/.test(String(error));
  const meta = snapshotMeta({ term: 1, index: 5 });
  for (const busy of ['append', 'rotate', 'save'] as const) {
    const { disk, log } = world({ segmentBytes: busy === 'rotate' ? 1500 : 1 << 20 });
    await opened(log);
    await append(log, ...range(1, 12));
    const isWriting = (call: string): boolean => call === 'append' || call === 'write';
    disk.setFault(({ call }) => (isWriting(call) ? Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' }) : null));
    const saving = whenDone<void>((done) => log.saveSnapshot(meta, chunksOf(meta), done));
    const work = busy === 'save' ? saving : append(log, batch(13));
    t.true(full(await t.throwsAsync(work, { name: 'LogError' })), busy);
    await saving.catch(() => undefined);
    t.true(full(await t.throwsAsync(append(log, batch(13)), { name: 'LogError' })), 'it does not go on');
    await whenDone<void>((done) => log.close(done)).catch(() => undefined);
    t.true(full(await t.throwsAsync(opened(world({ disk }).log), { name: 'LogError' })), 'there is still no room');
    disk.setFault(() => null);
    t.is((await opened(world({ disk }).log)).entries.filter(({ index }) => index <= 12).length, 12, busy);
  }
});

test('a directory that cannot be used is an error that names it', async (t) => {
  const disk = new SimDisk({ seed: 1, fault: () => Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' }) });
  const { log } = world({ disk });
  await t.throwsAsync(opened(log), { name: 'LogError', message: /the data directory data cannot be used: EACCES/ });
});
