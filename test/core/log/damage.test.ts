// Damaged data directories: what was never acknowledged is cut off and said so; everything else is refused with file, byte
// and remedy, and left as it is. Real files where the system's behaviour matters, simulated ones for every bit.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { systemFiles, type Files } from '../../../core/base/files.js';
import { whenDone } from '../../../core/base/done.js';
import { LogError } from '../../../core/log/log-storage.js';
import { HEADER_BYTES, TRAILER_BYTES } from '../../../core/log/record.js';
import { WalStorage } from '../../../core/log/wal.js';
import type { NodeEvent } from '../../../core/node/events.js';
import type { Persist, Resumed } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';
import { chunksOf, snapshotMeta } from './history.js';

const IDENTITY = { clusterId: 0xabcn, memberId: 0x12n, incarnation: 7n };

interface Opened {
  readonly log: WalStorage;
  readonly resumed: Resumed;
  readonly events: NodeEvent[];
}

/** Sizes of the zeros after the log: none, so that it ends where the file does; some; more than is written in a test. */
const RESERVES = [0, 700, 1 << 16];

async function open(
  files: Files, directory: string, more: { segmentBytes?: number; reserveBytes?: number } = {},
): Promise<Opened> {
  const events: NodeEvent[] = [];
  const observe = (event: NodeEvent): void => void events.push(event);
  const clock = new SimClock();
  const log = new WalStorage({ files, clock, directory, identity: IDENTITY, observe, reserveBytes: 0, ...more });
  return { log, resumed: await whenDone<Resumed>((done) => log.open(done)), events };
}

function batch(seq: number, index: number): Persist {
  const data = Buffer.alloc(40 + index, `entry ${index} `);
  const entries = [{ kind: 'command', term: 1, index, data }] as const;
  return { seq, hard: { term: 1, vote: 1n, commit: index - 1 }, truncateAfter: null, snapshot: null, entries };
}

/** Entries 1 to `count`, one group each. */
async function write(log: WalStorage, count: number): Promise<void> {
  for (let i = 1; i <= count; i++) await whenDone<void>((done) => log.append(batch(i, i), done));
}

/** A directory with `count` entries on the simulated disk; closed cleanly or killed. */
async function prepared(count: number, { closed = true, segmentBytes = 1 << 20, reserveBytes = 0 } = {}): Promise<SimDisk> {
  const disk = new SimDisk({ seed: 1 });
  const { log } = await open(disk, 'data', { segmentBytes, reserveBytes });
  await write(log, count);
  if (closed) await whenDone<void>((done) => log.close(done));
  else disk.kill();
  return disk;
}

/** Where the last group begins and ends. */
function lastGroup(bytes: Buffer): { from: number; to: number } {
  const from = bytes.lastIndexOf('Cgrp');
  return { from, to: from + HEADER_BYTES + bytes.readUInt32LE(from + 4) + TRAILER_BYTES };
}

/** The bytes up to the last one that is not zero. */
function usedBytes(bytes: Buffer): number {
  return bytes.length - (bytes.toReversed().findIndex((byte) => byte !== 0));
}

function copyOf(disk: SimDisk): SimDisk {
  const copy = new SimDisk({ seed: 2 });
  for (const name of disk.names()) copy.replace(name, disk.content(name));
  return copy;
}

function flip(disk: SimDisk, file: string, at: number, bit: number): void {
  const bytes = disk.content(file);
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
  disk.replace(file, bytes);
}

/** The number of entries it opens with, or the refusal. */
async function outcome(disk: SimDisk): Promise<number | LogError> {
  try {
    return (await open(disk, 'data')).resumed.entries.length;
  } catch (error) {
    if (error instanceof LogError) return error;
    throw error;
  }
}

for (const reserveBytes of [0, 700]) {
  const claim = 'the last segment cut at every byte of its final group opens without it, and says what it dropped';
  test(`${claim}: ${reserveBytes} bytes of zeros after it`, async (t) => cutEverywhere(t, reserveBytes));
}

async function cutEverywhere(t: ExecutionContext, reserveBytes: number): Promise<void> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'coterie-damage-'));
  t.teardown(() => fs.rmSync(root, { recursive: true }));
  const source = path.join(root, 'source');
  const { log } = await open(systemFiles, source, { reserveBytes });
  await write(log, 4);
  const file = 'log-0000000001.wal';
  // As a kill leaves it: nothing is written on the way out.
  const files = new Map(['identity', file].map((name) => [name, fs.readFileSync(path.join(source, name))]));
  const whole = files.get(file) ?? Buffer.alloc(0);
  const { from: before, to: end } = lastGroup(whole);
  t.is(whole.length > end, reserveBytes > 0);
  for (let size = before; size <= whole.length; size += size <= end ? 1 : 97) {
    const directory = path.join(root, `cut-${size}`);
    fs.mkdirSync(directory);
    for (const [name, bytes] of files) {
      fs.writeFileSync(path.join(directory, name), name === file ? bytes.subarray(0, size) : bytes);
    }
    const { log: cut, resumed, events } = await open(systemFiles, directory);
    t.is(resumed.entries.length, size >= end ? 4 : 3);
    const repaired = events.filter(({ kind }) => kind === 'log_repaired');
    const path1 = `${directory}/${file}`;
    const droppedBytes = usedBytes(whole.subarray(0, size)) - before;
    const dropped = { kind: 'log_repaired', file: path1, offset: before, droppedBytes } as const;
    t.deepEqual(repaired, size === before || size >= end ? [] : [dropped]);
    await whenDone<void>((done) => cut.close(done));
  }
  await whenDone<void>((done) => log.close(done));
}

test('a bit flipped anywhere in the log of a node that was closed is refused with file and byte, or does no harm', async (t) => {
  const disk = await prepared(8, { segmentBytes: 1200 });
  const names = disk.names().filter((name) => name.endsWith('.wal'));
  t.is(names.length, 2);
  let refused = 0;
  for (const name of names) {
    const size = disk.content(name).length;
    for (let at = 0; at < size; at++) {
      const copy = copyOf(disk);
      flip(copy, name, at, at % 8);
      const damaged = copy.content(name);
      const found = await outcome(copy);
      if (typeof found === 'number') {
        t.is(found, 8, `${name} byte ${at}`);
        continue;
      }
      refused++;
      t.true(found.message.includes(name), found.message);
      t.regex(found.message, /at byte \d+.*Nothing was changed\. Restore/s);
      t.true(copy.content(name).equals(damaged), 'the damaged file was touched');
    }
  }
  t.true(refused > 1000);
});

test('after a kill, damage before the last group is refused, in the last group it is unfinished, after it nothing', async (t) => {
  for (const reserveBytes of [0, 700]) {
    const disk = await prepared(5, { closed: false, reserveBytes });
    const name = 'data/log-0000000001.wal';
    const bytes = disk.content(name);
    const last = lastGroup(bytes);
    for (let at = 76; at < bytes.length; at += 3) {
      const copy = copyOf(disk);
      flip(copy, name, at, 3);
      const found = await outcome(copy);
      if (at >= last.from) t.is(found, at < last.to ? 4 : 5, `byte ${at}`);
      else t.true(found instanceof LogError, `byte ${at}`);
    }
  }
});

test('an acknowledged vote is never taken back by damage to either copy: it is there, or the start is refused', async (t) => {
  const name = 'data/log-0000000001.wal';
  for (const [before, reserveBytes] of [[1, 0], [2, 0], [5, 0], [2, 700], [5, 1 << 16]] as const) {
    const disk = new SimDisk({ seed: 1 });
    const { log } = await open(disk, 'data', { reserveBytes });
    await write(log, before);
    const from = lastGroup(disk.content(name)).to;
    const vote = { seq: 9, hard: { term: 2, vote: 3n, commit: 0 }, truncateAfter: null, snapshot: null, entries: [] };
    await whenDone<void>((done) => log.append(vote, done));
    disk.kill();
    const content = disk.content(name);
    const { from: second, to: end } = lastGroup(content);
    t.is(content.length > end, reserveBytes > 0);
    // Of the zeros some are damaged, too.
    const whole = content.subarray(0, Math.min(content.length, end + 100));
    t.true(second > from);
    const damages: [from: number, to: number][] = [[from, second], [second, whole.length]];
    for (let at = Math.floor(from / 512) * 512; at < whole.length; at += 512) {
      damages.push([Math.max(from, at), Math.min(at + 512, whole.length)]);
    }
    const damaged = damages.map((place) => Buffer.from(whole).fill(0, ...place));
    for (let at = from; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << at % 8);
      damaged.push(bytes);
    }
    const seen = { kept: 0, refused: 0 };
    for (const [i, bytes] of damaged.entries()) {
      const copy = copyOf(disk);
      copy.replace(name, bytes);
      const found = await open(copy, 'data').catch((error: unknown) => error);
      if (found instanceof LogError) {
        seen.refused++;
        t.true(copy.content(name).equals(bytes), 'the damaged file was touched');
        continue;
      }
      const { hard } = (found as Opened).resumed;
      t.deepEqual([hard.term, hard.vote], [2, 3n], `after ${before} entries, damage ${i}`);
      seen.kept++;
    }
    t.true(seen.kept > 50 && seen.refused > 50, `kept ${seen.kept}, refused ${seen.refused}`);
  }
});

for (const reserveBytes of RESERVES) {
  const claim = 'sectors of zeros or of old bytes in the last group, in any choice, are an unfinished write';
  test(`${claim}: ${reserveBytes} bytes of zeros after it`, async (t) => loseSectors(t, reserveBytes));
}

async function loseSectors(t: ExecutionContext, reserveBytes: number): Promise<void> {
  const disk = new SimDisk({ seed: 1 });
  const { log } = await open(disk, 'data', { reserveBytes });
  await write(log, 2);
  const name = 'data/log-0000000001.wal';
  const before = lastGroup(disk.content(name)).to;
  const entries = [3, 4].map((index) => ({ kind: 'command', term: 1, index, data: Buffer.alloc(900, `${index}`) }) as const);
  await whenDone<void>((done) => log.append({ seq: 3, hard: null, truncateAfter: null, snapshot: null, entries }, done));
  disk.kill();
  const whole = disk.content(name);
  const { to: end } = lastGroup(whole);
  const first = Math.floor(before / 512);
  const sectors = Math.ceil(end / 512) - first;
  for (let lost = 1; lost < 1 << sectors; lost++) {
    const bytes = Buffer.from(whole);
    for (let i = 0; i < sectors; i++) {
      const [from, to] = [Math.max(before, (first + i) * 512), Math.min(end, (first + i + 1) * 512)];
      if ((lost >> i) % 2 === 1) bytes.fill(0, from, to);
    }
    const copy = copyOf(disk);
    copy.replace(name, bytes);
    t.is(await outcome(copy), 2, `sectors ${lost.toString(2)}`);
  }
}

test('a group of another segment, put at the end, is not taken for one of this', async (t) => {
  const disk = await prepared(3);
  const name = 'data/log-0000000001.wal';
  const bytes = disk.content(name);
  const first = bytes.indexOf('Cgrp');
  const second = bytes.indexOf('Cgrp', first + 1);
  disk.replace(name, Buffer.concat([bytes, bytes.subarray(first, second)]));
  t.is(await outcome(disk), 3);
});

test('two groups exchanged for each other are damage', async (t) => {
  const disk = new SimDisk({ seed: 1 });
  const { log } = await open(disk, 'data');
  const same = (seq: number): Persist => ({ ...batch(seq, 1), truncateAfter: 0 });
  for (let seq = 1; seq <= 4; seq++) await whenDone<void>((done) => log.append(same(seq), done));
  await whenDone<void>((done) => log.close(done));
  const name = 'data/log-0000000001.wal';
  const bytes = disk.content(name);
  const starts: number[] = [];
  for (let at = bytes.indexOf('Cgrp'); at >= 0; at = bytes.indexOf('Cgrp', at + 1)) starts.push(at);
  const [, a = 0, b = 0, c = 0] = starts;
  const swapped = Buffer.concat([bytes.subarray(0, a), bytes.subarray(b, c), bytes.subarray(a, b), bytes.subarray(c)]);
  disk.replace(name, swapped);
  t.true((await outcome(disk)) instanceof LogError);
});

test('a missing segment, first, middle or last, is named', async (t) => {
  const disk = await prepared(20, { segmentBytes: 900 });
  const names = disk.names().filter((name) => name.endsWith('.wal'));
  t.true(names.length >= 4);
  for (const name of names) {
    const copy = new SimDisk({ seed: 3 });
    for (const other of disk.names()) if (other !== name) copy.replace(other, disk.content(other));
    const found = await outcome(copy);
    t.true(found instanceof LogError, name);
    const isFirst = name === names[0];
    t.regex(String(found), /from a backup if this is the only member, or else remove the member from its cluster and add/);
    t.regex(String(found), isFirst ? /begins at entry \d+, the snapshot ends at 0/ : new RegExp(`${name} is missing`));
  }
});

test('an empty or missing log beside an identity, and an identity missing beside a log, are refused', async (t) => {
  const disk = await prepared(3);
  const without = (gone: string): SimDisk => {
    const copy = new SimDisk({ seed: 3 });
    for (const name of disk.names()) if (name !== gone) copy.replace(name, disk.content(name));
    return copy;
  };
  t.regex(String(await outcome(without('data/log-0000000001.wal'))), /has an identity but no log segments/);
  t.regex(String(await outcome(without('data/identity'))), /data\/identity is missing/);
  const empty = copyOf(disk);
  empty.replace('data/log-0000000001.wal', Buffer.alloc(0));
  t.regex(String(await outcome(empty)), /log-0000000001\.wal is damaged at byte 0/);
});

test('a damaged snapshot is refused, when opened or when read, with file and byte', async (t) => {
  const disk = new SimDisk({ seed: 1 });
  const { log } = await open(disk, 'data');
  await write(log, 5);
  const meta = snapshotMeta({ term: 1, index: 3 });
  await whenDone<void>((done) => log.saveSnapshot(meta, chunksOf(meta), done));
  await whenDone<void>((done) => log.close(done));
  const name = disk.names().find((each) => each.endsWith('.snap')) ?? '';
  const size = disk.content(name).length;
  for (let at = 0; at < size; at += 7) {
    const copy = copyOf(disk);
    flip(copy, name, at, at % 8);
    const error = await t.throwsAsync(async () => {
      const opened = await open(copy, 'data');
      await whenDone<void>((done) => opened.log.readSnapshot(opened.resumed.snapshot, () => undefined, done));
    });
    t.regex(error?.message ?? '', /snapshot data\/snapshot-0+3-1\.snap is damaged at byte \d+/, `byte ${at}`);
  }
});

test('a snapshot that contradicts a committed entry of the log is refused, never followed', async (t) => {
  const disk = await prepared(8, { segmentBytes: 900 });
  for (const [term, index, isRefused] of [[2, 5, true], [2, 7, true], [1, 7, false], [2, 8, false]] as const) {
    const copy = copyOf(disk);
    const other = new SimDisk({ seed: 6 });
    const made = await open(other, 'data');
    const meta = snapshotMeta({ term, index });
    await whenDone<void>((done) => made.log.saveSnapshot(meta, chunksOf(meta), done));
    const name = other.names().find((each) => each.endsWith('.snap')) ?? '';
    copy.replace(name, other.content(name));
    const found = await outcome(copy);
    if (isRefused) t.regex(String(found), new RegExp(`the committed entry ${index} is of term 1 in the log and of term 2`));
    else t.false(found instanceof LogError, `${index}@${term}: ${String(found)}`);
  }
});

test('the directory of another member or cluster is refused, both named, with the remedy', async (t) => {
  const disk = await prepared(1);
  const other = { clusterId: 0xabcn, memberId: 0x34n, incarnation: 7n };
  const log = new WalStorage({ files: disk, clock: new SimClock(), directory: 'data', identity: other });
  await t.throwsAsync(whenDone<Resumed>((done) => log.open(done)), {
    instanceOf: LogError,
    message: /data belongs to member 12 of cluster abc \(incarnation 7\), but this node is member 34 of cluster abc .*7\)\. St/,
  });
  flip(disk, 'data/identity', 30, 0);
  t.regex(String(await outcome(disk)), /data\/identity is damaged/);
});
