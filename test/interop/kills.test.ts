// The short form of `npm run kills`: see kills.ts.

import test from 'ava';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { killDuringWrites } from './kills.js';

test('kill -9 during writes loses nothing acknowledged and needs no repair', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'coterie-kills-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const report = await killDuringWrites({ kills: 12, seed: 20, dataDir: join(directory, 'data') });
  t.log(JSON.stringify(report));
  t.true(report.acknowledged > 500, 'a run that wrote next to nothing shows nothing');
  t.true(report.checked > 500);
});
