// The sensitivity of this harness: bugs planted on purpose into a copy of the built product, one at a time, and the number of
// seeds until something notices. The product itself carries no switches. Each bug is an exact piece of compiled text and what
// to put in its place; a piece that is not there exactly once is a failure, so the table cannot rot unnoticed.

import { spawn } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS, type Mutant } from './mutant-table.js';
import { print } from './print.js';

export interface MutantOptions {
  /** For each before giving up; null: 200, or 5,000 of a deep run. */
  readonly seeds: number | null;
  readonly deep: boolean;
  /** The median of five starts. */
  readonly thorough: boolean;
  /** Numbers, by commas; null: all. */
  readonly only: string | null;
  /** Bugs looked for at the same time, each in a build of its own. */
  readonly workers: number;
}

const SEEDS = 200;
const SEEDS_DEEP = 5000;
/** A run that shows no verdict for so long is ended. */
const SILENCE_MS = 120_000;
/** Where the starts of a thorough run begin. */
const STARTS = [1, 10_001, 20_001, 30_001, 40_001];

interface Detection {
  /** Runs until it was found, the finding one included; null: not found. */
  readonly seeds: number | null;
  readonly invariant: string;
}

/** The folder of the build that this file belongs to. */
export const BUILD = fileURLToPath(new URL('../../', import.meta.url));
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** What is wrong with a planted bug as text; null: it can be planted. */
export function whyNotPlanted(mutant: Mutant, build: string): string | null {
  for (const { file, find } of mutant.edits) {
    const times = readFileSync(join(build, file), 'utf8').split(find).length - 1;
    if (times !== 1) return `${mutant.number} ${mutant.name}: its text is ${times} times in ${file}, once is wanted`;
  }
  return null;
}

/** Prints the table in Markdown, each row as soon as it is known. Exit code 1: a bug that seeds are to find was not. */
export async function runMutants(options: MutantOptions): Promise<number> {
  const chosen = options.only === null ? null : new Set(options.only.split(',').map(Number));
  const waiting = MUTANTS.filter(({ number }) => chosen === null || chosen.has(number));
  if (waiting.length !== (chosen?.size ?? MUTANTS.length)) {
    print(`--only ${options.only}: there is no such planted bug; they have the numbers 0 to ${MUTANTS.at(-1)?.number}\n`);
    return 2;
  }
  const rows: Row[] = [];
  print('| no | planted bug | seeds | found by |\n|---|---|---|---|\n');
  // A build that fails as it is would make every bug look found.
  const sound = await detect(BUILD, STARTS[0] ?? 1, 1);
  if (sound.seeds !== null) {
    print(`nothing is planted yet, and seed ${STARTS[0]} is broken all the same: ${sound.invariant}\n`);
    return 1;
  }
  const named = [...new Set(waiting.flatMap(({ tests = [] }) => tests))];
  if (named.length > 0 && (await tested(named, BUILD)).found !== '') {
    print(`nothing is planted yet, and one of these fails all the same: ${named.join(' ')}\n`);
    return 1;
  }
  const work = async (build: string): Promise<void> => {
    rmSync(build, { recursive: true, force: true });
    cpSync(BUILD, build, { recursive: true });
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const row = await judge(mutant, build, options);
      rows.push(row);
      const seeds = row.seeds ?? (row.isDue && row.found === '' ? 'never' : '');
      print(`| ${mutant.number} | ${mutant.name} | ${seeds} | ${row.found} |\n`);
    }
  };
  const builds = Array.from({ length: options.workers }, (_, i) => join(ROOT, `dist-mutants-${process.pid}-${i}`));
  try {
    await Promise.all(builds.map(work));
  } finally {
    for (const build of builds) rmSync(build, { recursive: true, force: true });
  }
  const due = rows.filter(({ isDue }) => isDue);
  const found = due.filter((row) => row.found !== '');
  const soon = found.filter(({ seeds }) => (seeds ?? 0) <= SEEDS).length;
  print(`\n${found.length} of ${due.length} were found, ${soon} within ${SEEDS} seeds or by a test\n`);
  return found.length < due.length ? 1 : 0;
}

interface Row {
  /** Null: no seed found it. */
  readonly seeds: number | null;
  /** The invariant or the test; empty: nothing did. */
  readonly found: string;
  /** There is something to find. */
  readonly isDue: boolean;
}

async function judge(mutant: Mutant, build: string, options: MutantOptions): Promise<Row> {
  const { edits, note, tests = [] } = mutant;
  if (edits.length === 0) return { seeds: null, found: `nothing to plant: ${note}`, isDue: false };
  if (whyNotPlanted(mutant, build) !== null) return { seeds: null, found: '', isDue: true };
  const restore = plant(mutant, build);
  // A bug of the recipes is looked for where there are recipes.
  const words = edits.every(({ file }) => file.startsWith('recipes/')) ? ['recipes'] : [];
  const row = tests.length > 0 ? await tested(tests, build) : await run(build, options, words);
  restore();
  return row;
}

/** Returns what takes it out again. */
export function plant({ edits }: Mutant, build: string): () => void {
  const before = edits.map(({ file }) => [file, readFileSync(join(build, file), 'utf8')] as const);
  for (const { file, find, replace } of edits) {
    const path = join(build, file);
    writeFileSync(path, readFileSync(path, 'utf8').split(find).join(replace));
  }
  return () => {
    for (const [file, text] of before) writeFileSync(join(build, file), text);
  };
}

/** `words`: which worlds. */
async function run(build: string, options: MutantOptions, words: readonly string[]): Promise<Row> {
  const found: Detection[] = [];
  for (const start of options.thorough ? STARTS : STARTS.slice(0, 1)) {
    found.push(await detect(build, start, options.seeds ?? (options.deep ? SEEDS_DEEP : SEEDS), words));
  }
  const counts = found.map(({ seeds }) => seeds ?? Infinity).sort((a, b) => a - b);
  const median = counts[counts.length >> 1] ?? Infinity;
  if (median === Infinity) return { seeds: null, found: '', isDue: true };
  const by = [...new Set(found.flatMap(({ seeds, invariant }) => (seeds === null ? [] : [invariant])))].join(' ');
  return { seeds: median, found: by, isDue: true };
}

/** What no world is to find, these tests are. */
function tested(tests: readonly string[], build: string): Promise<Row> {
  const env = { ...process.env, COTERIE_DIST: basename(build) };
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, 'node_modules/ava/entrypoints/cli.mjs'), ...tests],
      { stdio: 'ignore', cwd: ROOT, env });
    child.on('error', reject);
    child.on('exit', (code) => resolve({ seeds: null, found: code === 0 ? '' : tests.join(' '), isDue: true }));
  });
}

/** Runs seeds until one is broken. A run that cannot even load counts as found at once. */
function detect(build: string, from: number, seeds: number, words: readonly string[] = []): Promise<Detection> {
  const main = join(build, 'test/sim/main.js');
  const args = [main, ...words, '--seeds', String(seeds), '--from', String(from), '--failures', '1', '--workers', '1', '--json'];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let rest = '';
    let count = 0;
    let found: Detection | null = null;
    let complaint = '';
    // A planted bug may keep everybody busy for ever: the command and its worker, which are one group.
    const timer = setTimeout(() => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, SILENCE_MS);
    child.stdout.on('data', (chunk: Buffer) => {
      timer.refresh();
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!line.startsWith('{')) continue;
        count++;
        const invariant = brokenIn(line);
        if (invariant !== null) found ??= { seeds: count, invariant };
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-2000);
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (found === null && signal !== null) found = { seeds: count + 1, invariant: 'never ends' };
      if (found === null && code !== 0 && complaint !== '') found = { seeds: count + 1, invariant: 'crash' };
      resolve(found ?? { seeds: null, invariant: '' });
    });
  });
}

function brokenIn(line: string): string | null {
  const verdict: unknown = JSON.parse(line);
  if (typeof verdict !== 'object' || verdict === null || !('violation' in verdict)) return null;
  const { violation } = verdict;
  if (typeof violation !== 'object' || violation === null || !('invariant' in violation)) return null;
  return String(violation.invariant);
}
