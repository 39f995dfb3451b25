// The table "Security" of test/README.md is complete and true: every row of the checklist stands there once, every test file it
// names exists, and a row without a test whose title begins with its name is known here, with where its evidence is instead.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';

/** How many rows each chapter of the checklist has. */
const CHAPTERS = { SA: 14, SB: 13, SC: 14, SD: 14, SE: 5, SF: 8, SG: 8, SH: 6 };

/** Rows whose evidence has another name, or that are a reason and no test. */
const WITHOUT: Readonly<Record<string, string>> = {
  SC6: 'each kind of watch is in the generated matrix',
  SC8: 'each lease call is in the generated matrix',
  SC9: 'the test of the lock service is called by what it claims',
  SC10: 'each call is in the generated matrix',
  SD6: 'the bound is the library\'s',
  SD9: 'there is no HTTP between members',
  SD14: 'not measured',
  SF4: 'not ours',
  SG2: 'the tests of the port for members are called by what they claim',
  SG3: 'the refusal of operations is called E12',
  SG4: 'each call is in the generated matrix',
  SG8: 'the tests of fences are called by what they claim',
  SH4: 'nobody has looked yet',
  SH5: 'each advisory is in its own row',
};

interface Row {
  readonly name: string;
  readonly files: readonly string[];
  readonly told: string;
}

const here = fileURLToPath(new URL('../../test/', import.meta.url));

function rows(): readonly Row[] {
  const lines = readFileSync(`${here}README.md`, 'utf8').split('\n').filter((line) => /^\| S[A-H]\d+ \|/.test(line));
  return lines.map((line) => {
    const [, name = '', , told = ''] = line.split('|').map((cell) => cell.trim());
    const files = [...told.matchAll(/`((?:core|interop|recipes|sidecar)\/[\w/-]+)`/g)].map((found) => found[1] ?? '');
    return { name, files, told };
  });
}

test('every row of the security checklist stands in the table once, in its order', (t) => {
  const wanted = Object.entries(CHAPTERS).flatMap(([chapter, count]) => {
    return Array.from({ length: count }, (_, i) => `${chapter}${i + 1}`);
  });
  t.deepEqual(rows().map(({ name }) => name), wanted);
});

test('a row has a test that begins with its name in a file it points to, or a known reason', (t) => {
  const untold: string[] = [];
  for (const { name, files, told } of rows()) {
    for (const file of files) t.true(existsSync(`${here}${file}.test.ts`), `${name}: there is no test/${file}.test.ts`);
    t.true(told.length > 10, name);
    const title = new RegExp(`['\`](?:S[A-H]\\d+ )*${name}\\b`);
    const has = files.some((file) => title.test(readFileSync(`${here}${file}.test.ts`, 'utf8')));
    if (!has) untold.push(name);
  }
  t.deepEqual(untold, Object.keys(WITHOUT).filter((name) => untold.includes(name)), 'rows without a test of their name');
  t.deepEqual(Object.keys(WITHOUT).filter((name) => !untold.includes(name)), [], 'reasons that are not needed any more');
});
