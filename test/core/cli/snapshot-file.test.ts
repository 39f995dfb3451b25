// Snapshot files: written whole or not at all, and read only when they are what they say (reliability G6, E9). Every refusal
// names the file, what is wrong with it, and what to do.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Refusal } from '../../../core/cli/refusal.js';
import { loadStore, openSnapshot, SnapshotWriter } from '../../../core/cli/snapshot-file.js';
import { Store } from '../../../core/store/store.js';
import { paddingOf } from '../../../core/wire/snapshot-stream.js';
import { utf8 } from '../../../core/base/bytes.js';
import { coterie, temporaryDirectory } from './binary.js';

function payload(): Buffer {
  const store = new Store();
  const put = (key: string): object => ({ kind: 'put', request: { key: utf8(key), value: utf8('x'.repeat(100)) } });
  ['a', 'b', 'c'].forEach((key, i) => {
    store.apply({ term: 1, index: i + 1 }, { kind: 'txn', request: { success: [put(key) as never] } });
  });
  const frozen = store.freeze();
  const bytes = Buffer.concat([...frozen.chunks()]);
  frozen.release();
  return Buffer.concat([bytes, paddingOf(bytes.length)]);
}

function hashed(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, createHash('sha256').update(bytes).digest()]);
}

async function fileOf(t: ExecutionContext, bytes: Uint8Array): Promise<string> {
  const file = path.join(await temporaryDirectory(t), 'snapshot.db');
  writeFileSync(file, bytes);
  return file;
}

function refused(t: ExecutionContext, run: () => unknown): string {
  const error = t.throws(run, { instanceOf: Refusal });
  t.is(error?.exitCode, 1);
  return `${error?.message ?? ''} / ${error?.remedy ?? ''}`;
}

test('what was written is read again: all of it, with its hash, and nothing beside it is left', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'a.db');
  const bytes = payload();
  for (let round = 0; round < 2; round++) {
    const writer = new SnapshotWriter(file);
    writer.write(bytes.subarray(0, 10));
    writer.write(bytes.subarray(10));
    t.is(existsSync(file), round === 1, 'the old one stands until the new one is whole');
    writer.finish();
  }
  t.deepEqual(readdirSync(directory), ['a.db']);
  t.deepEqual(readFileSync(file), hashed(bytes));
  const snapshot = openSnapshot(file);
  const store = loadStore(file, snapshot);
  snapshot.close();
  t.deepEqual([store.keyCount, store.revision, snapshot.sizeBytes], [3, 4, bytes.length]);
});

test('a snapshot given up leaves what was there before', async (t) => {
  const file = await fileOf(t, utf8('old'));
  const writer = new SnapshotWriter(file);
  writer.write(utf8('new'));
  writer.discard();
  t.is(readFileSync(file, 'utf8'), 'old');
  t.deepEqual(readdirSync(path.dirname(file)), ['snapshot.db']);
});

test('every damaged byte is noticed', async (t) => {
  const whole = hashed(payload());
  const file = await fileOf(t, whole);
  for (let at = 0; at < whole.length; at += 37) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(file, damaged);
    t.regex(refused(t, () => openSnapshot(file)), /is damaged: its SHA-256 does not fit \/ use another one or save it again/);
  }
});

test('without the hash, the checksums inside still hold', async (t) => {
  const bytes = payload();
  const file = await fileOf(t, bytes);
  t.regex(refused(t, () => openSnapshot(file)), /is not a whole snapshot: \d+ bytes are not whole pages and a hash/);
  const snapshot = openSnapshot(file, true);
  t.is(loadStore(file, snapshot).keyCount, 3);
  snapshot.close();
  bytes[60] = (bytes[60] ?? 0) ^ 1;
  writeFileSync(file, hashed(bytes));
  const damaged = openSnapshot(file, true);
  const said = refused(t, () => loadStore(file, damaged));
  t.regex(said, /the snapshot (is damaged|cannot be read).* \/ it is damaged, or a snapshot of neither coterie nor etcd/);
  damaged.close();
});

test('what is no snapshot is refused by what it is', async (t) => {
  const directory = await temporaryDirectory(t);
  const inDirectory = (name: string): string => path.join(directory, name);
  writeFileSync(inDirectory('empty'), '');
  writeFileSync(inDirectory('random'), Buffer.alloc(1024 + 32, 7));
  writeFileSync(inDirectory('short'), 'junk');
  writeFileSync(inDirectory('good'), hashed(payload()));
  symlinkSync(inDirectory('good'), inDirectory('link'));
  mkdirSync(inDirectory('directory'));
  const says: readonly (readonly [name: string, what: RegExp])[] = [
    ['nowhere', /no such file \/ check the path/],
    ['empty', /is empty \/ save it again/],
    ['random', /SHA-256 does not fit/],
    ['short', /is not a whole snapshot: 4 bytes/],
    ['link', /is a link \/ name the file itself/],
    ['directory', /is not a file/],
  ];
  for (const [name, what] of says) t.regex(refused(t, () => openSnapshot(inDirectory(name))), what, name);
});

test('random bytes with a fitting hash are refused by the checksums inside', async (t) => {
  const file = await fileOf(t, hashed(Buffer.alloc(2048, 9)));
  const snapshot = openSnapshot(file);
  t.regex(refused(t, () => loadStore(file, snapshot)), /it is damaged, or a snapshot of neither coterie nor etcd/);
  snapshot.close();
});

test('a file that begins like etcd\'s and is not is refused by what is wrong in it', async (t) => {
  const page = Buffer.alloc(4096);
  page.writeUInt32LE(0xed0cdaed, 16);
  const file = await fileOf(t, hashed(page));
  const snapshot = openSnapshot(file);
  t.regex(refused(t, () => loadStore(file, snapshot)), /neither of its two first pages is sound \/ it is damaged/);
  snapshot.close();
});

test('a path that cannot be written is refused before anything is asked', async (t) => {
  const nowhere = path.join(await temporaryDirectory(t), 'nowhere', 'a.db');
  const { code, stderr } = await coterie(['snapshot', 'save', nowhere, '--endpoints', '127.0.0.1:1']);
  t.is(code, 1);
  t.regex(stderr, /^coterie snapshot save: could not open .*a\.db\.part \(.*\)\n {2}give a path in a directory that exists/);
});

test('a save that finds no server leaves no file', async (t) => {
  const directory = await temporaryDirectory(t);
  const args = ['snapshot', 'save', path.join(directory, 'a.db'), '--endpoints', '127.0.0.1:1', '--dial-timeout', '200ms'];
  const { code, stderr } = await coterie(args);
  t.is(code, 1);
  t.regex(stderr, /unavailable: no endpoint could be reached: 127\.0\.0\.1:1/);
  t.deepEqual(readdirSync(directory), []);
});
