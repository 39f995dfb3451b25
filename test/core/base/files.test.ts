// What the system's files ask of the system, under calls of chance: no power can be cut here, so each call is looked at on its
// way, and what is told to be durable must have been synced, by a sync or by the descriptor that it was written to. Now and
// then the system takes fewer bytes than it is given.

import * as fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'ava';
import { whenDone, type Done } from '../../../core/base/done.js';
import { systemFiles } from '../../../core/base/files.js';
import { Prng } from '../../../core/base/prng.js';

type Told = (error: Error | null, value?: number) => void;

const system = createRequire(import.meta.url)('node:fs') as Record<string, unknown>;
const real = { ...system };
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'coterie-synced-'));
const dice = new Prng(11);

/** Files of which a power cut could take bytes, and those of which it could take the name. */
const unsynced = new Set<string>();
const nameless = new Set<string>();
const open = new Map<number, { readonly file: string; readonly syncs: boolean }>();
let shortWrites = 0;

/** The real call with what `change` makes of its arguments; `then` hears of its success ahead of whoever asked. */
function replace(
  name: string, then: (args: readonly unknown[], value: number) => void, change = (args: unknown[]) => args,
): void {
  const call = real[name] as (...args: unknown[]) => void;
  system[name] = (...all: unknown[]): void => {
    const told = all.at(-1) as Told;
    const args = change(all.slice(0, -1));
    call(...args, (error: Error | null, value?: number) => {
      if (error === null) then(args, value ?? 0);
      told(error, value);
    });
  };
}

const onWritten = ([fd]: readonly unknown[]): void => {
  const known = open.get(fd as number);
  if (known?.syncs === false) unsynced.add(known.file);
};

const onSynced = ([fd]: readonly unknown[]): void => {
  const { file } = open.get(fd as number) ?? { file: '' };
  unsynced.delete(file);
  if (file === root) nameless.clear();
};

test.before(() => {
  replace('open', ([file, flags], fd) => {
    const isSyncing = process.platform === 'linux' && typeof flags === 'number' && (flags & fs.constants.O_DSYNC) !== 0;
    open.set(fd, { file: String(file), syncs: isSyncing });
    if (typeof flags === 'number' && (flags & fs.constants.O_CREAT) !== 0) nameless.add(String(file));
  });
  replace('write', onWritten, ([fd, bytes, at, length, position]) => [fd, bytes, at, few(length as number), position]);
  replace('writev', onWritten, ([fd, pieces, position]) => {
    const [first = new Uint8Array(0), ...rest] = pieces as Uint8Array[];
    const taken = few(first.length);
    return [fd, taken < first.length ? [first.subarray(0, taken)] : [first, ...rest], position];
  });
  replace('fdatasync', onSynced);
  replace('fsync', onSynced);
  replace('truncate', ([file]) => unsynced.add(String(file)));
  syncBuiltinESMExports();
});

test.after.always(() => {
  for (const name of ['open', 'write', 'writev', 'fdatasync', 'fsync', 'truncate']) system[name] = real[name];
  syncBuiltinESMExports();
  fs.rmSync(root, { recursive: true });
});

function few(length: number): number {
  if (length < 2 || dice.below(3) > 0) return length;
  shortWrites += 1;
  return 1 + dice.below(length - 1);
}

/** One call of chance, and what the file holds after it. */
async function act(file: string, before: Buffer): Promise<{ readonly content: Buffer; readonly isDurable: boolean }> {
  const piece = Buffer.alloc(1 + dice.below(9), 65 + dice.below(26));
  const pieces = dice.below(2) === 0 ? [piece] : [piece, Buffer.from('!?')];
  const all = Buffer.concat(pieces);
  const from = dice.below(before.length + 1);
  const over = Buffer.concat([before.subarray(0, from), all, before.subarray(from + all.length)]);
  const run = (start: (done: Done) => void): Promise<void> => whenDone<void>(start);
  switch (dice.below(8)) {
    case 0:
      await run((done) => systemFiles.append(file, pieces, done));
      return { content: Buffer.concat([before, all]), isDurable: false };
    case 1:
      await run((done) => systemFiles.write(file, from, pieces, done));
      return { content: over, isDurable: false };
    case 2:
      await run((done) => systemFiles.truncate(file, from, done));
      return { content: before.subarray(0, from), isDurable: false };
    case 3:
      await run((done) => systemFiles.close(file, done));
      return { content: before, isDurable: false };
    case 4:
      await run((done) => systemFiles.sync(file, done));
      return { content: before, isDurable: true };
    default:
      await run((done) => systemFiles.writeSynced(file, from, pieces, done));
      return { content: over, isDurable: true };
  }
}

test('what is told to be durable was synced, bytes, size and name, whatever was done to the file before', async (t) => {
  let durable = 0;
  for (let round = 0; round < 25; round++) {
    const file = path.join(root, `${round}`);
    let content = Buffer.from(dice.below(2) === 0 ? 'left by a process that died before it synced' : '');
    fs.writeFileSync(file, content);
    unsynced.add(file);
    nameless.add(file);
    for (let step = 0; step < 12; step++) {
      const after = await act(file, content);
      content = Buffer.from(after.content);
      t.is(fs.readFileSync(file, 'latin1'), content.toString('latin1'));
      if (!after.isDurable) continue;
      durable += 1;
      t.false(unsynced.has(file), 'bytes could be lost');
      t.false(nameless.has(file), 'the name could be lost');
    }
    await whenDone<void>((done) => systemFiles.close(file, done));
  }
  t.true(durable > 100 && shortWrites > 20, `${durable} and ${shortWrites}`);
});
