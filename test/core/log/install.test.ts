// Snapshots of other members on a disk that fails: the power cut, and an error, at every effect of taking one in, whatever
// the log held before. A crash leaves the old log or the new one, never neither and never a mixture; and what goes on
// beside it, saves and shipments, does not end the log.

import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import type { SnapshotFile, SnapshotStage } from '../../../core/log/log-storage.js';
import { WalStorage } from '../../../core/log/wal.js';
import type { Entry, HardState, Persist, Resumed, SnapshotMeta } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk, type DiskOptions } from '../../sim/disk.js';
import { checkSnapshot, chunksOf, snapshotMeta } from './history.js';

const SEGMENT_BYTES = 600;
/** Sent by a leader of a later term than the one here ever heard of. */
const SENT = snapshotMeta({ term: 3, index: 9 });
const CUT = 'cut' as const;

type Fault = NonNullable<DiskOptions['fault']>;

function storage(files: SimDisk, memberId = 1n, segmentBytes = SEGMENT_BYTES): WalStorage {
  const identity = { clusterId: 5n, memberId, incarnation: 70n + memberId };
  return new WalStorage({ files, clock: new SimClock(), directory: 'data', identity, segmentBytes });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function opened(log: WalStorage): Promise<Resumed> {
  return whenDone((done) => log.open(done));
}

function append(log: WalStorage, batch: Partial<Persist>): Promise<void> {
  const whole = { seq: 1, hard: null, truncateAfter: null, snapshot: null, entries: [], ...batch };
  return whenDone((done) => log.append(whole, done));
}

function save(log: WalStorage, meta: SnapshotMeta, chunks: Iterable<Uint8Array> = chunksOf(meta)): Promise<void> {
  return whenDone((done) => log.saveSnapshot(meta, chunks, done));
}

function entries(term: number, from: number, through: number): Entry[] {
  return Array.from({ length: through - from + 1 }, (_, i) => {
    return { kind: 'command', term, index: from + i, data: Buffer.alloc(90, `${from + i}@${term}`) } as const;
  });
}

/** The bytes of a snapshot as another member ships them. */
async function shipped(meta: SnapshotMeta): Promise<Buffer> {
  const log = storage(new SimDisk({ seed: 9 }), 2n);
  await opened(log);
  await append(log, { hard: { term: meta.term, vote: 0n, commit: meta.index }, entries: entries(meta.term, 1, meta.index) });
  await save(log, meta);
  const file = await pinned(log);
  const bytes = await whenDone<Uint8Array>((done) => file.read(0, file.sizeBytes, done));
  await whenDone<void>((done) => file.close(done));
  await whenDone<void>((done) => log.close(done));
  return Buffer.from(bytes);
}

async function pinned(log: WalStorage): Promise<SnapshotFile> {
  const file = await whenDone<SnapshotFile | null>((done) => log.openSnapshot(done));
  if (file === null) throw new Error('there is no snapshot');
  return file;
}

async function stage(log: WalStorage, meta: SnapshotMeta, bytes: Buffer): Promise<SnapshotStage> {
  const staged = await whenDone<SnapshotStage>((done) => log.stageSnapshot(meta, done));
  for (let at = 0; at < bytes.length; at += 1500) {
    await whenDone<void>((done) => staged.write(bytes.subarray(at, at + 1500), done));
  }
  await whenDone<void>((done) => staged.finish(() => undefined, done));
  return staged;
}

interface Told {
  readonly hard: HardState;
  readonly snapshot: { readonly index: number };
  readonly entries: readonly Entry[];
}

function told({ hard, snapshot, entries: list }: Told): string {
  const names = list.map(({ term, index }) => `${index}@${term}`).join(' ');
  return `term ${hard.term} vote ${hard.vote} snapshot ${snapshot.index}: ${names}`;
}

/** What the log held before: entries of term 1, a snapshot of its own or not. */
interface Before {
  readonly name: string;
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly saved: SnapshotMeta | null;
  /** What is left after the crash in which the snapshot got its name and the log does not say so. */
  readonly between: string;
}

const BEFORES: readonly Before[] = [
  { name: 'nothing', entries: [], commit: 0, saved: null, between: 'term 3 vote 0 snapshot 9: ' },
  {
    name: 'a log that ends before', entries: entries(1, 1, 6), commit: 4, saved: snapshotMeta({ term: 1, index: 3 }),
    between: 'term 3 vote 0 snapshot 9: ',
  },
  {
    name: 'a log that goes on beyond, with another entry there', entries: entries(1, 1, 14), commit: 5, saved: null,
    between: 'term 3 vote 0 snapshot 9: ',
  },
  {
    name: 'a log that goes on beyond and has the very entry', entries: [...entries(1, 1, 7), ...entries(3, 8, 11)], commit: 5,
    saved: snapshotMeta({ term: 1, index: 2 }), between: 'term 3 vote 0 snapshot 9: 10@3 11@3',
  },
];

/** Goes through taking the snapshot in; counts the steps that were acknowledged. */
async function takeIn(log: WalStorage, before: Before, bytes: Buffer, acknowledged: () => void): Promise<void> {
  await opened(log);
  await append(log, { hard: { term: 1, vote: 2n, commit: before.commit }, entries: before.entries });
  acknowledged();
  if (before.saved !== null) await save(log, before.saved);
  acknowledged();
  await stage(log, SENT, bytes);
  acknowledged();
  const installing = append(log, { hard: { term: 4, vote: 0n, commit: 9 }, snapshot: SENT });
  const following = append(log, { entries: entries(4, 10, 12) });
  following.catch(() => undefined);
  await installing;
  acknowledged();
  await following;
  acknowledged();
  await whenDone<void>((done) => log.compact(9, done));
  await append(log, { entries: entries(4, 13, 15), hard: { term: 4, vote: 2n, commit: 12 } });
  acknowledged();
}

/** Whatever the log may hold after so many acknowledged steps. */
function possible(before: Before, steps: number): string[] {
  const own = before.saved?.index ?? 0;
  const after = (snapshot: number): string => {
    const list = before.entries.filter(({ index }) => index > snapshot);
    return told({ hard: { term: 1, vote: 2n, commit: 0 }, snapshot: { index: snapshot }, entries: list });
  };
  const first = 'term 4 vote 0 snapshot 9: ';
  const second = 'term 4 vote 0 snapshot 9: 10@4 11@4 12@4';
  const third = 'term 4 vote 2 snapshot 9: 10@4 11@4 12@4 13@4 14@4 15@4';
  switch (steps) {
    case 0: return ['term 0 vote 0 snapshot 0: ', after(0)];
    case 1: return [after(0), after(own)];
    case 2: return [after(own)];
    case 3: return [after(own), before.between, first, second];
    case 4: return [first, second];
    case 5: return [second, third];
    default: return [third];
  }
}

interface Struck {
  readonly struck: boolean;
  readonly effects: number;
}

/** Runs until done or struck, then lets the disk settle. */
async function struckBy(disk: SimDisk, fault: Fault, run: (log: WalStorage) => Promise<void>): Promise<Struck> {
  let struck = false;
  let over = false;
  disk.setFault((effect, number) => {
    const verdict = struck ? null : fault(effect, number);
    if (verdict !== null) struck = true;
    return verdict;
  });
  const running = run(storage(disk)).catch((error: unknown) => {
    if (!struck) throw error;
  }).finally(() => {
    over = true;
  });
  while (!over && !struck) await turn();
  const effects = disk.effects.length;
  for (let i = 0; i < 40; i++) await turn();
  if (over) await running;
  return { struck, effects };
}

/** Opens, looks, and goes on: twice, so that what the first start wrote is read by the second. */
async function recovered(disk: SimDisk): Promise<string> {
  disk.setFault(() => null);
  const log = storage(disk);
  const found = await opened(log);
  if (found.snapshot.index > 0) await checkSnapshot(log, found.snapshot);
  const last = found.entries.at(-1)?.index ?? found.snapshot.index;
  const more = { hard: { ...found.hard, term: 7 }, entries: entries(7, last + 1, last + 2) };
  await append(log, more);
  disk.powerCut();
  const again = await opened(storage(disk));
  const expected = told({ ...more, snapshot: found.snapshot, entries: [...found.entries, ...more.entries] });
  if (told(again) !== expected) throw new Error(`it went on with ${expected}\nand came back with ${told(again)}`);
  return told(found);
}

for (const before of BEFORES) {
  test(`before: ${before.name}; a power cut at any effect leaves the old log or the new one, and it goes on`, async (t) => {
    const bytes = await shipped(SENT);
    const whole = await struckBy(new SimDisk({ seed: 1 }), () => null, (log) => takeIn(log, before, bytes, () => undefined));
    const seen = new Set<string>();
    for (let at = 0; at < whole.effects; at++) {
      for (let seed = 1; seed <= 2; seed++) {
        const disk = new SimDisk({ seed: seed * 1000 + at });
        let steps = 0;
        const { struck } = await struckBy(disk, (_effect, number) => (number === at ? CUT : null), (log) => {
          return takeIn(log, before, bytes, () => steps++);
        });
        t.true(struck);
        // Once more on the way back, somewhere.
        const later = (at * 7) % 23;
        await struckBy(disk, (_effect, number) => (number === later ? CUT : null), async (log) => void await opened(log));
        disk.kill();
        const found = await recovered(disk).catch((error: unknown) => String(error));
        const expected = possible(before, steps);
        if (!expected.includes(found)) {
          t.fail(`cut at effect ${at}, seed ${seed}, after ${steps} steps: ${found}\nnone of\n${expected.join('\n')}`);
          return;
        }
        seen.add(found);
      }
    }
    t.true(seen.size >= 4, [...seen].join('\n'));
  });
}

test('an error of the disk at any effect of taking one in is told, and what was acknowledged is there', async (t) => {
  const [, before] = BEFORES;
  if (before === undefined) return t.fail();
  const bytes = await shipped(SENT);
  const whole = await struckBy(new SimDisk({ seed: 1 }), () => null, (log) => takeIn(log, before, bytes, () => undefined));
  for (const code of ['EIO', 'ENOSPC']) {
    for (let at = 0; at < whole.effects; at++) {
      const disk = new SimDisk({ seed: at });
      let steps = 0;
      const error = Object.assign(new Error(`${code}: injected`), { code });
      const fault: Fault = (_effect, number) => (number === at ? error : null);
      await struckBy(disk, fault, (log) => takeIn(log, before, bytes, () => steps++));
      disk.kill();
      const found = await recovered(disk).catch((failure: unknown) => String(failure));
      t.true(possible(before, steps).includes(found), `${code} at effect ${at}, after ${steps} steps: ${found}`);
    }
  }
});

test('bytes that are not the snapshot they claim to be are refused, the stage goes and the log goes on', async (t) => {
  const bytes = await shipped(SENT);
  const disk = new SimDisk({ seed: 1 });
  const log = storage(disk);
  await opened(log);
  const damages: Buffer[] = [Buffer.alloc(0), bytes.subarray(0, 40), bytes.subarray(0, bytes.length - 1)];
  damages.push(Buffer.concat([bytes, Buffer.from('x')]));
  for (let at = 0; at < bytes.length; at += 37) {
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << at % 8);
    damages.push(flipped);
  }
  for (const [i, damaged] of damages.entries()) {
    await t.throwsAsync(stage(log, SENT, damaged), undefined, `damage ${i}`);
    t.deepEqual(disk.names().filter((name) => name.includes('snap')), [], `damage ${i}`);
  }
  const elsewhere: SnapshotMeta = { ...SENT, configuration: { voters: [1n], outgoing: [], learners: [] } };
  await t.throwsAsync(stage(log, elsewhere, bytes));
  await t.throwsAsync(stage(log, { ...SENT, index: 8 }, bytes));
  await append(log, { entries: entries(1, 1, 2) });
  await stage(log, SENT, bytes);
  await append(log, { hard: { term: 3, vote: 0n, commit: 9 }, snapshot: SENT });
  await checkSnapshot(log, SENT);
});

/** Six entries and a snapshot at 2, which somebody has begun to read. */
async function readAtTwo(log: WalStorage): Promise<SnapshotFile> {
  await opened(log);
  await append(log, { hard: { term: 1, vote: 2n, commit: 6 }, entries: entries(1, 1, 6) });
  await save(log, snapshotMeta({ term: 1, index: 2 }));
  return pinned(log);
}

test('a snapshot being saved or shipped when a newer one is installed ends neither the log nor itself', async (t) => {
  const bytes = await shipped(SENT);
  // Where in the save the installation comes differs; every place is tried.
  for (let pause = 0; pause < 24; pause++) {
    const disk = new SimDisk({ seed: pause });
    const log = storage(disk);
    const file = await readAtTwo(log);
    await stage(log, SENT, bytes);
    const saving = save(log, snapshotMeta({ term: 1, index: 5 }));
    for (let i = 0; i < pause; i++) await turn();
    const installing = append(log, { hard: { term: 3, vote: 0n, commit: 9 }, snapshot: SENT });
    await t.notThrowsAsync(installing, `paused ${pause}`);
    await t.notThrowsAsync(saving, `paused ${pause}`);
    const read = await whenDone<Uint8Array>((done) => file.read(0, file.sizeBytes, done));
    t.is(read.length, file.sizeBytes);
    t.is(file.meta.index, 2);
    await whenDone<void>((done) => file.close(done));
    t.is((await pinned(log)).meta.index, SENT.index);
    await t.notThrowsAsync(append(log, { entries: entries(4, 10, 11) }), `paused ${pause}`);
    await t.notThrowsAsync(whenDone<void>((done) => log.close(done)));
    disk.powerCut();
    t.is(told(await opened(storage(disk))), 'term 3 vote 0 snapshot 9: 10@4 11@4', `paused ${pause}`);
  }
});

test('the last reader of a replaced snapshot and a save that ends at the same time do not stop the log', async (t) => {
  for (let pause = 0; pause < 16; pause++) {
    const disk = new SimDisk({ seed: pause });
    const log = storage(disk);
    const file = await readAtTwo(log);
    await save(log, snapshotMeta({ term: 1, index: 3 }));
    const saving = save(log, snapshotMeta({ term: 1, index: 4 }));
    for (let i = 0; i < pause; i++) await turn();
    await t.notThrowsAsync(whenDone<void>((done) => file.close(done)), `paused ${pause}`);
    await t.notThrowsAsync(saving, `paused ${pause}`);
    await t.notThrowsAsync(append(log, { entries: entries(1, 7, 8) }), `paused ${pause}`);
    await whenDone<void>((done) => log.close(done));
    t.deepEqual(disk.names().filter((name) => name.includes('snapshot-')), ['data/snapshot-0000000000000004-1.snap']);
  }
});

test('compaction while a snapshot is being installed leaves no entries of another history behind it', async (t) => {
  const bytes = await shipped(SENT);
  // With 2500 bytes the first segment ends with entry 9. The power goes at every moment.
  for (let round = 0; round < 14 * 4; round++) {
    const pause = round % 14;
    const segmentBytes = [300, 700, 1600, 2500][Math.floor(round / 14)] ?? SEGMENT_BYTES;
    const disk = new SimDisk({ seed: round });
    const log = storage(disk, 1n, segmentBytes);
    await opened(log);
    for (let i = 1; i <= 14; i++) {
      await append(log, { hard: { term: 1, vote: 2n, commit: Math.min(i, 5) }, entries: entries(1, i, i) });
    }
    await stage(log, SENT, bytes);
    append(log, { hard: { term: 3, vote: 0n, commit: 9 }, snapshot: SENT }).catch(() => undefined);
    for (let i = 0; i < pause; i++) {
      log.compact(9, () => undefined);
      await turn();
    }
    disk.powerCut();
    const found = await opened(storage(disk));
    const isOld = found.snapshot.index === 0 && found.entries.length === 14;
    const isNew = found.snapshot.index === 9 && found.entries.length === 0;
    t.true(isOld || isNew, `segments of ${segmentBytes}, paused ${pause}: ${told(found)}`);
  }
});

test('a snapshot that is not staged, or is not newer than the newest, is refused, and the log goes on', async (t) => {
  const bytes = await shipped(SENT);
  const disk = new SimDisk({ seed: 1 });
  const log = storage(disk);
  await opened(log);
  await append(log, { hard: { term: 1, vote: 2n, commit: 12 }, entries: entries(1, 1, 12) });
  const refused = (meta: SnapshotMeta, message: RegExp): Promise<unknown> => {
    return t.throwsAsync(append(log, { hard: { term: 9, vote: 0n, commit: 12 }, snapshot: meta }), { name: 'LogError', message });
  };
  await refused(SENT, /no snapshot at index 9 of term 3 is staged/);
  await stage(log, SENT, bytes);
  await refused({ ...SENT, term: 4 }, /no snapshot at index 9 of term 4 is staged/);
  await save(log, snapshotMeta({ term: 1, index: 11 }));
  await refused(SENT, /cannot be installed: there is one at 11 of term 1/);
  await refused(snapshotMeta({ term: 2, index: 11 }), /cannot be installed/);
  await append(log, { entries: entries(1, 13, 13) });
  disk.powerCut();
  t.is(told(await opened(storage(disk))), 'term 1 vote 2 snapshot 11: 12@1 13@1');
});

test('a snapshot being installed is discarded by nobody: not by the next one that arrives, not by its own stage', async (t) => {
  const bytes = await shipped(SENT);
  for (const next of [SENT, snapshotMeta({ term: 3, index: 12 })]) {
    for (let pause = 0; pause < 6; pause++) {
      const disk = new SimDisk({ seed: pause });
      const log = storage(disk);
      await opened(log);
      await append(log, { hard: { term: 1, vote: 2n, commit: 2 }, entries: entries(1, 1, 6) });
      const staged = await stage(log, SENT, bytes);
      const before = append(log, { entries: entries(1, 7, 8) });
      const installing = append(log, { hard: { term: 3, vote: 0n, commit: 9 }, snapshot: SENT });
      for (let i = 0; i < pause; i++) await turn();
      const staging = whenDone<SnapshotStage>((done) => log.stageSnapshot(next, done));
      if (pause < 2) await t.throwsAsync(staging, { name: 'LogError', message: /the snapshot at 9 is being installed/ });
      else await staging.catch(() => null);
      await t.notThrowsAsync(whenDone<void>((done) => staged.discard(done)), `paused ${pause}`);
      await t.notThrowsAsync(Promise.all([before, installing]), `paused ${pause}`);
      disk.powerCut();
      t.is(told(await opened(storage(disk))), 'term 3 vote 0 snapshot 9: ', `paused ${pause}`);
    }
  }
});
