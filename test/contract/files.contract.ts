// What the disk door means, on every implementation. What only a power cut shows is tested where one can be had: on the
// simulated disk, which declares it.

import type { TestFn } from 'ava';
import { whenDone } from '../../core/base/done.js';
import type { Files, FileStat } from '../../core/base/files.js';

export interface FilesHome {
  readonly files: Files;
  /** An empty directory of one's own. */
  readonly directory: string;
  /** The power goes and comes back; null: cannot be had here. */
  readonly powerCut: (() => void) | null;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function append(files: Files, file: string, ...pieces: readonly string[]): Promise<void> {
  return whenDone((done) => files.append(file, pieces.map(bytes), done));
}

async function text(files: Files, file: string, from = 0, size = 1000): Promise<string> {
  const read = await whenDone<Uint8Array>((done) => files.read(file, from, size, done));
  return Buffer.from(read).toString();
}

export function filesContract(test: TestFn, name: string, open: () => Promise<FilesHome>): void {
  basics(test, name, open);
  overwriting(test, name, open);
  order(test, name, open);
  names(test, name, open);
  durability(test, name, open);
}

function basics(test: TestFn, name: string, open: () => Promise<FilesHome>): void {
  test(`${name}: append creates a file and writes all pieces in order`, async (t) => {
    const { files, directory } = await open();
    const file = `${directory}/a`;
    await append(files, file, 'one ', '', 'two ');
    await append(files, file, 'three');
    t.is(await text(files, file), 'one two three');
    const large = Buffer.alloc(3 << 20, 'x');
    await whenDone<void>((done) => files.append(file, [large, large.subarray(0, 5)], done));
    const stat = await whenDone<FileStat | null>((done) => files.stat(file, done));
    t.is(stat?.sizeBytes, 13 + large.length + 5);
  });

  test(`${name}: read gives what is there, less only at the end`, async (t) => {
    const { files, directory } = await open();
    await append(files, `${directory}/a`, '0123456789');
    t.is(await text(files, `${directory}/a`, 2, 3), '234');
    t.is(await text(files, `${directory}/a`, 8, 5), '89');
    t.is(await text(files, `${directory}/a`, 20, 5), '');
    t.is(await text(files, `${directory}/a`, 0, 0), '');
  });

  test(`${name}: truncate cuts, and append goes on from there`, async (t) => {
    const { files, directory } = await open();
    await append(files, `${directory}/a`, '0123456789');
    await whenDone<void>((done) => files.truncate(`${directory}/a`, 4, done));
    await append(files, `${directory}/a`, 'x');
    t.is(await text(files, `${directory}/a`), '0123x');
  });

  test(`${name}: what is missing is an error with the system's code, except for stat and append`, async (t) => {
    const { files, directory } = await open();
    const file = `${directory}/missing`;
    t.is(await whenDone<FileStat | null>((done) => files.stat(file, done)), null);
    t.is(await whenDone<FileStat | null>((done) => files.stat(`${file}/deeper`, done)), null);
    const missing = { code: 'ENOENT' };
    await t.throwsAsync(whenDone<Uint8Array>((done) => files.read(file, 0, 1, done)), missing);
    await t.throwsAsync(whenDone<Uint8Array>((done) => files.read(file, 0, 0, done)), missing);
    await t.throwsAsync(whenDone<void>((done) => files.truncate(file, 0, done)), missing);
    await t.throwsAsync(whenDone<void>((done) => files.sync(file, done)), missing);
    await t.throwsAsync(whenDone<void>((done) => files.remove(file, done)), missing);
    await t.throwsAsync(whenDone<void>((done) => files.rename(file, `${file}2`, done)), missing);
    await t.throwsAsync(whenDone<readonly string[]>((done) => files.list(file, done)), missing);
    await t.throwsAsync(whenDone<void>((done) => files.setAttributes(file, { mode: 0o600 }, done)), missing);
  });

  test(`${name}: new files are for their owner only; attributes can be set`, async (t) => {
    const { files, directory } = await open();
    await append(files, `${directory}/a`, 'x');
    const stat = (): Promise<FileStat | null> => whenDone((done) => files.stat(`${directory}/a`, done));
    t.like(await stat(), { kind: 'file', mode: 0o600, sizeBytes: 1 });
    await whenDone<void>((done) => files.setAttributes(`${directory}/a`, { mode: 0o640 }, done));
    t.like(await stat(), { mode: 0o640 });
    t.like(await whenDone<FileStat | null>((done) => files.stat(directory, done)), { kind: 'directory' });
  });
}

function overwriting(test: TestFn, name: string, open: () => Promise<FilesHome>): void {
  test(`${name}: write goes where it is told, over what stands there and beyond the end, and creates a file`, async (t) => {
    const { files, directory } = await open();
    const file = `${directory}/a`;
    const write = (from: number, ...pieces: readonly string[]): Promise<void> => {
      return whenDone((done) => files.write(file, from, pieces.map(bytes), done));
    };
    await write(0, 'one ', 'two');
    await write(4, 'TWO ', 'three');
    t.is(await text(files, file), 'one TWO three');
    await write(0, 'ONE');
    await append(files, file, '!');
    await write(8, 'T');
    await write(14, '?');
    t.is(await text(files, file), 'ONE TWO Three!?');
    const large = Buffer.alloc(3 << 20, 'x');
    await whenDone<void>((done) => files.write(file, 3, [large, large.subarray(0, 5)], done));
    const stat = await whenDone<FileStat | null>((done) => files.stat(file, done));
    t.is(stat?.sizeBytes, 3 + large.length + 5);
    t.is(await text(files, file, 0, 5), 'ONExx');
  });
}

function order(test: TestFn, name: string, open: () => Promise<FilesHome>): void {
  test(`${name}: calls on one file take effect in call order, and every answer comes once, from a later turn`, async (t) => {
    const { files, directory } = await open();
    const file = `${directory}/a`;
    const answers: string[] = [];
    const all: Promise<void>[] = [];
    const note = (what: string, start: (done: (error: Error | null) => void) => void): void => {
      all.push(whenDone<void>((done) => start((error) => {
        answers.push(what);
        done(error);
      })));
    };
    for (let i = 0; i < 20; i++) note(`append ${i}`, (done) => files.append(file, [bytes(`${i},`)], done));
    note('sync', (done) => files.sync(file, done));
    note('synced', (done) => files.writeSynced(file, 4, [bytes('?')], done));
    note('over', (done) => files.write(file, 4, [bytes('2,')], done));
    note('truncate', (done) => files.truncate(file, 10, done));
    note('append', (done) => files.append(file, [bytes('end')], done));
    note('close', (done) => files.close(file, done));
    note('reopened', (done) => files.append(file, [bytes('!')], done));
    note('rename', (done) => files.rename(file, `${file}2`, done));
    t.deepEqual(answers, []);
    await Promise.all(all);
    const appends = Array.from({ length: 20 }, (_, i) => `append ${i}`);
    t.deepEqual(answers, [...appends, 'sync', 'synced', 'over', 'truncate', 'append', 'close', 'reopened', 'rename']);
    t.is(await text(files, `${file}2`), '0,1,2,3,4,end!');
  });

  test(`${name}: closing what is not open, twice too, is fine and answers later`, async (t) => {
    const { files, directory } = await open();
    let turns = 0;
    const closed = whenDone<void>((done) => files.close(`${directory}/a`, (error) => {
      t.is(turns, 1);
      done(error);
    }));
    turns++;
    await closed;
    await append(files, `${directory}/a`, 'x');
    await whenDone<void>((done) => files.close(`${directory}/a`, done));
    await whenDone<void>((done) => files.close(`${directory}/a`, done));
    await whenDone<void>((done) => files.sync(`${directory}/a`, done));
    t.is(await text(files, `${directory}/a`), 'x');
  });
}

function names(test: TestFn, name: string, open: () => Promise<FilesHome>): void {
  test(`${name}: rename replaces, remove removes, list is sorted by code unit`, async (t) => {
    const { files, directory } = await open();
    for (const file of ['b', 'a', 'B', 'é']) await append(files, `${directory}/${file}`, file);
    await whenDone<void>((done) => files.rename(`${directory}/b`, `${directory}/a`, done));
    t.is(await text(files, `${directory}/a`), 'b');
    await append(files, `${directory}/a`, '+');
    t.is(await text(files, `${directory}/a`), 'b+');
    await whenDone<void>((done) => files.remove(`${directory}/B`, done));
    t.deepEqual(await whenDone<readonly string[]>((done) => files.list(directory, done)), ['a', 'é']);
    await append(files, `${directory}/B`, 'new');
    t.is(await text(files, `${directory}/B`), 'new');
  });

  test(`${name}: a directory is made with its parents, and making it again is fine`, async (t) => {
    const { files, directory } = await open();
    for (let i = 0; i < 2; i++) await whenDone<void>((done) => files.makeDirectory(`${directory}/x/y/z`, 0o700, done));
    t.deepEqual(await whenDone<readonly string[]>((done) => files.list(`${directory}/x`, done)), ['y']);
    await append(files, `${directory}/x/y/z/a`, 'deep');
    t.deepEqual(await whenDone<readonly string[]>((done) => files.list(`${directory}/x/y/z`, done)), ['a']);
  });
}

function durability(test: TestFn, name: string, open: () => Promise<FilesHome>): void {
  test(`${name}: what was synced, renamed or removed stays so when the power goes`, async (t) => {
    const { files, directory, powerCut } = await open();
    await append(files, `${directory}/a`, 'synced');
    await whenDone<void>((done) => files.sync(`${directory}/a`, done));
    await whenDone<void>((done) => files.write(`${directory}/over`, 0, [bytes('was')], done));
    await whenDone<void>((done) => files.write(`${directory}/over`, 1, [bytes('xy')], done));
    await whenDone<void>((done) => files.sync(`${directory}/over`, done));
    await whenDone<void>((done) => files.writeSynced(`${directory}/both`, 0, [bytes('was'), bytes(' and is')], done));
    await whenDone<void>((done) => files.writeSynced(`${directory}/both`, 1, [bytes('xy')], done));
    await append(files, `${directory}/old`, 'synced as well');
    await whenDone<void>((done) => files.sync(`${directory}/old`, done));
    await whenDone<void>((done) => files.rename(`${directory}/old`, `${directory}/new`, done));
    await append(files, `${directory}/gone`, 'x');
    await whenDone<void>((done) => files.sync(`${directory}/gone`, done));
    await whenDone<void>((done) => files.remove(`${directory}/gone`, done));
    if (powerCut === null) t.log('the power cannot be cut here; checked without');
    else powerCut();
    t.is(await text(files, `${directory}/a`), 'synced');
    t.is(await text(files, `${directory}/new`), 'synced as well');
    t.is(await text(files, `${directory}/over`), 'wxy');
    t.is(await text(files, `${directory}/both`), 'wxy and is');
    t.deepEqual(await whenDone<readonly string[]>((done) => files.list(directory, done)), ['a', 'both', 'new', 'over']);
  });
}
