// The disk door's contract on its two implementations: the system's files and the simulated disk.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'ava';
import { whenDone } from '../../core/base/done.js';
import { systemFiles } from '../../core/base/files.js';
import { SimDisk } from '../sim/disk.js';
import { filesContract } from './files.contract.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'coterie-files-'));
let count = 0;

test.after.always(() => fs.rmSync(root, { recursive: true }));

filesContract(test, 'systemFiles', async () => {
  const directory = path.join(root, `${++count}`);
  await whenDone<void>((done) => systemFiles.makeDirectory(directory, 0o700, done));
  return { files: systemFiles, directory, powerCut: null };
});

filesContract(test, 'SimDisk', async () => {
  const files = new SimDisk({ seed: ++count });
  await whenDone<void>((done) => files.makeDirectory('home', 0o700, done));
  return { files, directory: 'home', powerCut: () => files.powerCut() };
});

test('systemFiles: stat follows a symbolic link and tells where it leads; append does not create through one', async (t) => {
  const directory = path.join(root, 'links');
  fs.mkdirSync(directory);
  fs.symlinkSync('target', path.join(directory, 'link'));
  t.is(await whenDone((done) => systemFiles.stat(path.join(directory, 'link'), done)), null);
  await t.throwsAsync(whenDone<void>((done) => systemFiles.append(path.join(directory, 'link'), [Buffer.from('x')], done)));
  fs.writeFileSync(path.join(directory, 'target'), 'x');
  const stat = await whenDone((done) => systemFiles.stat(path.join(directory, 'link'), done));
  t.like(stat, { kind: 'file', realPath: fs.realpathSync(path.join(directory, 'target')) });
});

test('SimDisk: what was not synced may be torn, and a file that was never synced may be gone', async (t) => {
  const found = new Set<string>();
  for (let seed = 1; seed <= 60; seed++) {
    const files = new SimDisk({ seed });
    await whenDone<void>((done) => files.append('a', [Buffer.alloc(1500, 'x')], done));
    files.powerCut();
    const bytes = files.content('a');
    if (!files.names().includes('a')) found.add('gone');
    else if (bytes.equals(Buffer.alloc(1500, 'x'))) found.add('whole');
    else if (bytes.includes(0)) found.add('holes');
    else found.add('cut');
  }
  t.true(['gone', 'holes', 'cut'].every((kind) => found.has(kind)), [...found].join(' '));
});
