// The planted bugs must be plantable: each piece of compiled text is where the table says, exactly once. That they are noticed
// is a command: npm run sim -- --mutants.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MUTANTS } from './mutant-table.js';
import { BUILD, whyNotPlanted } from './mutants.js';
import { RECIPE_MUTANTS } from './recipe-mutants.js';

test('every planted bug still has its place in the product', (t) => {
  t.deepEqual(MUTANTS.flatMap((mutant) => whyNotPlanted(mutant, BUILD) ?? []), []);
});

test('every planted bug of the list is there once, or says why not', (t) => {
  const run = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  t.deepEqual(MUTANTS.map(({ number }) => number), [...run(0, 56), ...run(61, 75)]);
  for (const { name, edits, note, tests = [] } of MUTANTS) {
    if (edits.length === 0) t.regex(note ?? '', /\w+ \w+/, name);
    for (const file of tests) t.true(existsSync(join(BUILD, file.replace(/\.ts$/, '.js'))), `${name}: ${file}`);
    for (const { find, replace } of edits) t.not(find, replace, name);
  }
});

test('every bug planted into the recipes still has its place, and a test that is to find it', (t) => {
  t.deepEqual(RECIPE_MUTANTS.flatMap((mutant) => whyNotPlanted(mutant, BUILD) ?? []), []);
  const numbers = RECIPE_MUTANTS.map(({ number }) => number);
  t.deepEqual(numbers, [...new Set(numbers)].toSorted((a, b) => a - b));
  for (const { name, edits, tests } of RECIPE_MUTANTS) {
    t.true(tests.length > 0 && edits.length > 0, name);
    for (const file of tests) t.true(existsSync(join(BUILD, file.replace(/\.ts$/, '.js'))), `${name}: ${file}`);
    for (const { find, replace } of edits) t.not(find, replace, name);
  }
});

test('every recipe has five planted bugs or more', (t) => {
  const counts = new Map<string, number>();
  for (const { recipe } of RECIPE_MUTANTS) counts.set(recipe, (counts.get(recipe) ?? 0) + 1);
  t.deepEqual([...counts].filter(([, count]) => count < 5), []);
});
