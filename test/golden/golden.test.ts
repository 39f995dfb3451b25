// Replays every transcript in this folder and compares, line by line. `UPDATE_GOLDEN=1` writes what happens now; a change is
// committed only when it is understood. The language is explained in script.ts, how to read it in test/README.md.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { replay } from './script.js';

const folder = fileURLToPath(new URL('../../../test/golden/', import.meta.url));
const names = readdirSync(folder).filter((name) => name.endsWith('.txt')).sort();

test('there are transcripts to replay', (t) => {
  t.true(names.length >= 10, `only ${names.length} transcripts in ${folder}`);
});

for (const name of names) {
  test(`${name} goes as written`, (t) => {
    const file = folder + name;
    const written = readFileSync(file, 'utf8');
    const now = replay(written);
    if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, now);
    else t.is(now, written);
    t.true(now.includes('\n  '), 'a transcript in which nothing happens');
  });
}
