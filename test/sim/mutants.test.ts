// The planted bugs must be plantable: each piece of compiled text is where the table says, exactly once. That they are noticed
// is a command: npm run sim -- --mutants.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MUTANTS } from './mutant-table.js';
import { BUILD, whyNotPlanted } from './mutants.js';

test('every planted bug still has its place in the product', (t) => {
  t.deepEqual(MUTANTS.flatMap((mutant) => whyNotPlanted(mutant, BUILD) ?? []), []);
});

test('every planted bug of the list is there once, or says why not', (t) => {
  t.deepEqual(MUTANTS.map(({ number }) => number), Array.from({ length: 53 }, (_, i) => i));
  for (const { name, edits, note, tests = [] } of MUTANTS) {
    if (edits.length === 0) t.regex(note ?? '', /\w+ \w+/, name);
    for (const file of tests) t.true(existsSync(join(BUILD, file.replace(/\.ts$/, '.js'))), `${name}: ${file}`);
    for (const { find, replace } of edits) t.not(find, replace, name);
  }
});
