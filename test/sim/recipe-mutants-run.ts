// Bugs planted into the recipes, one at a time, each in a copy of the built product, and the test that finds it. Unlike the
// core's they are found by tests that are named for them and run on a simulated clock, so the answer is a title and a time.

import { spawn } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUILD, plant, ROOT, whyNotPlanted } from './mutants.js';
import { print } from './print.js';
import { RECIPE_MUTANTS, type RecipeMutant } from './recipe-mutants.js';

export interface RecipeMutantOptions {
  /** Numbers, by commas; null: all. */
  readonly only: string | null;
  /** Bugs looked for at the same time, each in a build of its own. */
  readonly workers: number;
}

/** A planted bug may keep a test busy for ever, or make it wait for ever. */
const STUCK_MS = 60_000;
const IDLE = '--timeout=20s';

interface Finding {
  /** The first test that failed; null: none did. */
  readonly title: string | null;
  readonly tookMs: number;
}

/** Prints the table in Markdown, each row as soon as it is known. Exit code 1: a bug was not found. */
export async function runRecipeMutants(options: RecipeMutantOptions): Promise<number> {
  const chosen = options.only === null ? null : new Set(options.only.split(',').map(Number));
  const waiting = RECIPE_MUTANTS.filter(({ number }) => chosen === null || chosen.has(number));
  if (waiting.length !== (chosen?.size ?? RECIPE_MUTANTS.length)) {
    print(`--only ${options.only}: there is no such planted bug among those of the recipes\n`);
    return 2;
  }
  // A build that fails as it is would make every bug look found.
  const sound = new Map(waiting.map(({ tests, claims }) => [`${claims} ${tests.join(' ')}`, { tests, claims }]));
  for (const { tests, claims } of sound.values()) {
    const { title } = await firstFailure(tests, claims, BUILD);
    if (title === null) continue;
    print(`nothing is planted yet, and one fails all the same: ${tests.join(' ')}, ${title}\n`);
    return 1;
  }
  print('| no | recipe | planted bug | found by | s |\n|---|---|---|---|---|\n');
  let survivors = 0;
  const due = waiting.length;
  const work = async (build: string): Promise<void> => {
    rmSync(build, { recursive: true, force: true });
    cpSync(BUILD, build, { recursive: true });
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const { title, tookMs } = await judged(mutant, build);
      if (title === null) survivors += 1;
      const found = title ?? 'SURVIVED';
      print(`| ${mutant.number} | ${mutant.recipe} | ${mutant.name} | ${found} | ${(tookMs / 1000).toFixed(1)} |\n`);
    }
  };
  const builds = Array.from({ length: options.workers }, (_, i) => join(ROOT, `dist-mutants-${process.pid}-${i}`));
  try {
    await Promise.all(builds.map(work));
  } finally {
    for (const build of builds) rmSync(build, { recursive: true, force: true });
  }
  print(`\n${due - survivors} of ${due} were found\n`);
  return survivors > 0 ? 1 : 0;
}

async function judged(mutant: RecipeMutant, build: string): Promise<Finding> {
  if (whyNotPlanted(mutant, build) !== null) return { title: null, tookMs: 0 };
  const restore = plant(mutant, build);
  try {
    // What cannot even be loaded is a mistake in the table, which no test is to be praised for.
    for (const { file } of mutant.edits) {
      if (!await loads(join(build, file))) return { title: null, tookMs: 0 };
    }
    return await firstFailure(mutant.tests, mutant.claims, build);
  } finally {
    restore();
  }
}

function loads(file: string): Promise<boolean> {
  const script = `import(${JSON.stringify(pathToFileURL(file).href)}).then(() => process.exit(0), () => process.exit(1))`;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--eval', script], { stdio: 'ignore', cwd: ROOT });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code === 0));
  });
}

function firstFailure(tests: readonly string[], claims: string | null, build: string): Promise<Finding> {
  const options = ['--tap', '--fail-fast', IDLE, ...(claims === null ? [] : [`--match=${claims}`])];
  const args = [join(ROOT, 'node_modules/ava/entrypoints/cli.mjs'), ...options, ...tests];
  const env = { ...process.env, COTERIE_DIST: basename(build) };
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'], cwd: ROOT, env, detached: true });
    let told = '';
    let isStuck = false;
    // AVA and the process it tests in, which are one group.
    const timer = setTimeout(() => {
      isStuck = true;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, STUCK_MS);
    child.stdout.on('data', (chunk: Buffer) => {
      told += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      const [, title = isStuck ? 'a test never ends' : 'a test crashes'] = /^not ok \d+ - (.*)$/m.exec(told) ?? [];
      resolve({ title: code === 0 ? null : title.replaceAll('|', '/'), tookMs: performance.now() - began });
    });
  });
}
