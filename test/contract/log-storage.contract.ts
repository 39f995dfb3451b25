// What a log storage means, on every implementation: what was acknowledged is there when it is opened again, in the order
// and with the cuts the machine asked for, with the newest snapshot; and it says no when it is not open.

import type { TestFn } from 'ava';
import { whenDone } from '../../core/base/done.js';
import { Prng } from '../../core/base/prng.js';
import type { LogStorage, SnapshotFile, SnapshotStage } from '../../core/log/log-storage.js';
import type { Persist, Resumed, SnapshotMeta } from '../../core/raft/types.js';
import { History, checkSnapshot, chunksOf, describe, judge, snapshotMeta } from '../core/log/history.js';

export interface LogHome {
  /** A storage on the same data as the last one, which is closed. */
  again(): LogStorage;
}

function opened(log: LogStorage): Promise<Resumed> {
  return whenDone((done) => log.open(done));
}

function closed(log: LogStorage): Promise<void> {
  return whenDone((done) => log.close(done));
}

function batch(seq: number, from: number, count: number, more: Partial<Persist> = {}): Persist {
  const entries = Array.from({ length: count }, (_, i) => {
    return { kind: 'command', term: 1, index: from + i, data: Buffer.from(`entry ${from + i}`) } as const;
  });
  return { seq, hard: null, truncateAfter: null, snapshot: null, entries, ...more };
}

export function logStorageContract(test: TestFn, name: string, make: () => LogHome): void {
  contents(test, name, make);
  snapshots(test, name, make);
  shipments(test, name, make);
  sending(test, name, make);
  refusals(test, name, make);
}

function contents(test: TestFn, name: string, make: () => LogHome): void {
  test(`${name}: a new log is empty, and so is one that was opened and closed`, async (t) => {
    const home = make();
    for (let i = 0; i < 3; i++) {
      const log = home.again();
      t.is(describe(await opened(log)), 'term 0 vote 0 commit 0 snapshot 0: ');
      await closed(log);
    }
  });

  test(`${name}: answers come in call order, from a later turn, and what they cover is there again`, async (t) => {
    const home = make();
    const log = home.again();
    await opened(log);
    const answers: number[] = [];
    const all = Array.from({ length: 50 }, (_, i) => whenDone<void>((done) => log.append(batch(i + 1, i + 1, 1), (error) => {
      answers.push(i);
      done(error);
    })));
    t.deepEqual(answers, []);
    await Promise.all(all);
    t.deepEqual(answers, Array.from({ length: 50 }, (_, i) => i));
    await closed(log);
    const resumed = await opened(home.again());
    t.deepEqual(resumed.entries.map(({ index }) => index), Array.from({ length: 50 }, (_, i) => i + 1));
    t.is(Buffer.from(resumed.entries[6]?.data ?? []).toString(), 'entry 7');
  });

  test(`${name}: close waits for what was appended`, async (t) => {
    const home = make();
    const log = home.again();
    await opened(log);
    let answered = false;
    log.append(batch(1, 1, 3), (error) => {
      answered = error === null;
    });
    await closed(log);
    t.true(answered);
    t.is((await opened(home.again())).entries.length, 3);
  });

  test(`${name}: a random history survives any number of restarts`, async (t) => {
    const home = make();
    const prng = new Prng(3);
    let log = home.again();
    await opened(log);
    let history = new History(prng);
    for (let life = 0; life < 8; life++) {
      for (let i = 0; i < 25; i++) {
        history.append(log);
        if (prng.below(6) === 0) history.snapshotAndCompact(log);
        if (prng.below(3) === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      while (!history.isSettled) await new Promise((resolve) => setImmediate(resolve));
      await closed(log);
      log = home.again();
      const resumed = await opened(log);
      t.is(judge(history, resumed), history.states.length - 1);
      await checkSnapshot(log, resumed.snapshot);
      history = new History(prng, { state: history.last, snapshot: resumed.snapshot });
    }
  });
}

function snapshots(test: TestFn, name: string, make: () => LogHome): void {
  test(`${name}: the newest snapshot is resumed with its configuration, and the log after it`, async (t) => {
    const home = make();
    const log = home.again();
    await opened(log);
    await whenDone<void>((done) => log.append(batch(1, 1, 10, { hard: { term: 1, vote: 1n, commit: 9 } }), done));
    for (const index of [4, 7]) {
      const meta = snapshotMeta({ term: 1, index });
      await whenDone<void>((done) => log.saveSnapshot(meta, chunksOf(meta), done));
    }
    await whenDone<void>((done) => log.compact(7, done));
    await checkSnapshot(log, snapshotMeta({ term: 1, index: 7 }));
    await closed(log);
    const again = home.again();
    const resumed = await opened(again);
    t.deepEqual(resumed.snapshot, snapshotMeta({ term: 1, index: 7 }));
    t.deepEqual(resumed.entries.map(({ index }) => index), [8, 9, 10]);
    t.deepEqual(resumed.hard, { term: 1, vote: 1n, commit: 9 });
    await checkSnapshot(again, resumed.snapshot);
  });

  test(`${name}: appends go on while a snapshot is saved`, async (t) => {
    const home = make();
    const log = home.again();
    await opened(log);
    await whenDone<void>((done) => log.append(batch(1, 1, 5, { hard: { term: 1, vote: 1n, commit: 5 } }), done));
    const meta = snapshotMeta({ term: 1, index: 5 });
    const chunks = Array.from({ length: 40 }, (_, i) => Buffer.alloc(200_000, `${i}`));
    let saved = false;
    const saving = whenDone<void>((done) => log.saveSnapshot(meta, chunks, done)).then(() => {
      saved = true;
    });
    await whenDone<void>((done) => log.append(batch(2, 6, 1), done));
    t.log(saved ? 'the snapshot was done first' : 'the append was done first');
    await saving;
    await closed(log);
    t.deepEqual((await opened(home.again())).entries.map(({ index }) => index), [6]);
  });

  test(`${name}: a snapshot that is not there is an error`, async (t) => {
    const log = make().again();
    await opened(log);
    const missing = snapshotMeta({ term: 1, index: 3 });
    await t.throwsAsync(whenDone<void>((done) => log.readSnapshot(missing, () => undefined, done)));
  });
}

async function shipped(log: LogStorage): Promise<Uint8Array> {
  const file = await whenDone<SnapshotFile | null>((done) => log.openSnapshot(done));
  if (file === null) throw new Error('there is no snapshot');
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < file.sizeBytes; at += 1000) {
    pieces.push((await whenDone<Uint8Array>((done) => file.read(at, 1000, done))).slice());
  }
  await whenDone<void>((done) => file.close(done));
  return Buffer.concat(pieces);
}

async function staged(log: LogStorage, meta: SnapshotMeta, bytes: Uint8Array): Promise<Uint8Array> {
  const stage = await whenDone<SnapshotStage>((done) => log.stageSnapshot(meta, done));
  for (let at = 0; at < bytes.length; at += 700) {
    await whenDone<void>((done) => stage.write(bytes.subarray(at, at + 700), done));
  }
  const chunks: Uint8Array[] = [];
  await whenDone<void>((done) => stage.finish((chunk) => chunks.push(chunk.slice()), done));
  return Buffer.concat(chunks);
}

const SENT = snapshotMeta({ term: 1, index: 8 });

/** The bytes of a snapshot at 8, made by another member. */
async function made(make: () => LogHome): Promise<Uint8Array> {
  const log = make().again();
  await opened(log);
  if ((await whenDone<SnapshotFile | null>((done) => log.openSnapshot(done))) !== null) throw new Error('a new log has none');
  await whenDone<void>((done) => log.append(batch(1, 1, 8, { hard: { term: 1, vote: 1n, commit: 8 } }), done));
  await whenDone<void>((done) => log.saveSnapshot(SENT, chunksOf(SENT), done));
  const bytes = await shipped(log);
  await closed(log);
  return bytes;
}

function shipments(test: TestFn, name: string, make: () => LogHome): void {
  test(`${name}: a shipped snapshot is installed by an append, and the log starts over after it`, async (t) => {
    const bytes = await made(make);
    const home = make();
    const log = home.again();
    await opened(log);
    await whenDone<void>((done) => log.append(batch(1, 1, 5, { hard: { term: 1, vote: 1n, commit: 2 } }), done));
    t.deepEqual(Buffer.from(await staged(log, SENT, bytes)), Buffer.concat(chunksOf(SENT)));
    const install = batch(2, 9, 0, { hard: { term: 3, vote: 0n, commit: 8 }, snapshot: SENT });
    const both = [install, batch(3, 9, 2)].map((each) => whenDone<void>((done) => log.append(each, done)));
    await Promise.all(both);
    t.deepEqual(Buffer.from(await shipped(log)), Buffer.from(bytes));
    await checkSnapshot(log, SENT);
    await closed(log);
    const resumed = await opened(home.again());
    t.deepEqual(resumed.snapshot, SENT);
    t.deepEqual(resumed.hard, { term: 3, vote: 0n, commit: 8 });
    t.deepEqual(resumed.entries.map(({ index }) => index), [9, 10]);
  });

  test(`${name}: a snapshot that is not whole, not staged or not newer is refused, and the log is as it was`, async (t) => {
    const bytes = await made(make);
    const home = make();
    const log = home.again();
    await opened(log);
    await whenDone<void>((done) => log.append(batch(1, 1, 5), done));
    const installing = (snapshot: SnapshotMeta): Promise<void> => {
      return whenDone((done) => log.append(batch(2, snapshot.index + 1, 0, { snapshot }), done));
    };
    await t.throwsAsync(installing(SENT), { name: 'LogError' });
    await t.throwsAsync(staged(log, SENT, bytes.subarray(0, bytes.length - 3)));
    await t.throwsAsync(installing(SENT), { name: 'LogError' });
    const flipped = Uint8Array.from(bytes, (byte, i) => (i === 150 ? byte ^ 4 : byte));
    await t.throwsAsync(staged(log, SENT, flipped));
    await staged(log, SENT, bytes);
    await t.throwsAsync(installing({ ...SENT, term: 2 }), { name: 'LogError' });
    const stage = await whenDone<SnapshotStage>((done) => log.stageSnapshot(SENT, done));
    await whenDone<void>((done) => stage.discard(done));
    await t.throwsAsync(installing(SENT), { name: 'LogError' }, 'the stage before was discarded by the one after');
    await staged(log, SENT, bytes);
    await installing(SENT);
    await t.throwsAsync(installing(snapshotMeta({ term: 1, index: 7 })), { name: 'LogError' });
    await whenDone<void>((done) => log.append(batch(3, 9, 1), done));
    await closed(log);
    const resumed = await opened(home.again());
    t.is(resumed.snapshot.index, 8);
    t.deepEqual(resumed.entries.map(({ index }) => index), [9]);
  });
}

function sending(test: TestFn, name: string, make: () => LogHome): void {
  test(`${name}: a snapshot opened for shipping can be read to its end, whatever is saved meanwhile`, async (t) => {
    const log = make().again();
    await opened(log);
    await whenDone<void>((done) => log.append(batch(1, 1, 9, { hard: { term: 1, vote: 1n, commit: 9 } }), done));
    await whenDone<void>((done) => log.saveSnapshot(SENT, chunksOf(SENT), done));
    const expected = await shipped(log);
    const file = await whenDone<SnapshotFile | null>((done) => log.openSnapshot(done));
    const next = snapshotMeta({ term: 1, index: 9 });
    await whenDone<void>((done) => log.saveSnapshot(next, chunksOf(next), done));
    t.deepEqual(file?.meta, SENT);
    const read = await whenDone<Uint8Array>((done) => file?.read(0, file.sizeBytes, done));
    t.deepEqual(Buffer.from(read), Buffer.from(expected));
    await whenDone<void>((done) => file?.close(done));
    await checkSnapshot(log, next);
    await closed(log);
  });
}

function refusals(test: TestFn, name: string, make: () => LogHome): void {
  test(`${name}: before open and after close everything is refused`, async (t) => {
    const home = make();
    const log = home.again();
    const meta = snapshotMeta({ term: 1, index: 1 });
    const refused = async (): Promise<void> => {
      await t.throwsAsync(whenDone<void>((done) => log.append(batch(1, 1, 1), done)), { name: 'LogError' });
      await t.throwsAsync(whenDone<void>((done) => log.saveSnapshot(meta, [], done)), { name: 'LogError' });
      await t.throwsAsync(whenDone<void>((done) => log.readSnapshot(meta, () => undefined, done)), { name: 'LogError' });
      await t.throwsAsync(whenDone<void>((done) => log.compact(1, done)), { name: 'LogError' });
    };
    await refused();
    await opened(log);
    await t.throwsAsync(opened(log), { name: 'LogError' });
    await closed(log);
    await refused();
  });
}
