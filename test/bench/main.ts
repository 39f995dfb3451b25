// npm run bench: asks every row of coterie and of real etcd, in alternation, and says how they compare. `--help` tells the words.
// Nothing else should run on the machine meanwhile.

import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { themesFor } from './catalog.js';
import { toJson } from './json.js';
import { mustHavePlaces, readmeWith, recorded } from './markdown.js';
import { isColoured, minutes, watcherOn, type Out } from './progress.js';
import { judge, summarize, type Measured, type Report, type Setup } from './report.js';
import { estimateSeconds, runRounds, type Outline, type Plan } from './runner.js';
import { Stage } from './stage.js';
import { svgOf } from './svg.js';
import { FLAGS, versionOf } from './targets.js';
import { terminalText } from './terminal.js';
import { QUICK, USUAL, type Theme } from './theme.js';
import { Trouble } from './trouble.js';
import { isWhole, shownGoal } from './wording.js';
import { readWords, USAGE, type Words } from './words.js';

const [MEASURED, COULD_NOT, WRONG_WORDS, INTERRUPTED] = [0, 1, 2, 130];
/** As statfs(2) numbers it: a directory in memory, where a write that must be durable costs nothing. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = { 0xef53: 'ext4', 0x58465342: 'xfs', 0x9123683e: 'btrfs' };
const TMPFS = 0x01021994;

/** What a whole run is recorded in; changed by that, a checkout is the same. */
const WRITTEN = ['test/bench/RESULTS.md', 'test/bench/results.json', 'test/bench/results.svg', 'README.md'] as const;

const root = fileURLToPath(new URL('../../../', import.meta.url));
const errors: Out = { write: (text) => void process.stderr.write(text), isColoured: isColoured(process.stderr, process.env) };

function say(line: string): void {
  errors.write(`${line}\n`);
}

/** What is missing, and what to do; empty: nothing. */
function obstacles(): string[] {
  const needed = [
    ['etcd', 'the server to compare with', 'etcd-server, or https://etcd.io'],
    ['h2load', 'the load generator', 'nghttp2-client'],
  ] as const;
  const missing = needed.filter(([program]) => versionOf(program) === null).map(([program, what, from]) =>
    `npm run bench needs ${program}, ${what}, and it is not on the path. Install it (Debian: ${from}).`);
  if (statfsSync(tmpdir()).type === TMPFS) {
    missing.push(`${tmpdir()} is in memory, where durable writes cost nothing. Set TMPDIR to a directory on a disk.`);
  }
  return missing;
}

function list(themes: readonly Theme[], outline: Outline): string {
  const lines = themes.flatMap(({ title, rows }) => [
    title, ...rows.map((row) => `  ${row.id.padEnd(26)}${row.name}${row.goal === null ? '' : `, wanted ${shownGoal(row.goal)}`}`),
  ]);
  const time = minutes(estimateSeconds(outline));
  return [...lines, '', `All of it, ${outline.rounds} rounds: about ${time} minutes.`, ''].join('\n');
}

/** Of this checkout, as it is before anything is measured; a copy without its history has none. */
function commit(): string {
  const git = (...args: readonly string[]): string =>
    execFileSync('git', args, { encoding: 'utf8', cwd: root, stdio: 'pipe' }).trim();
  try {
    const changes = git('status', '--porcelain', '--', '.', ...WRITTEN.map((file) => `:!${file}`));
    return `${git('rev-parse', '--short', 'HEAD')}${changes === '' ? '' : '+changes'}`;
  } catch {
    return 'unknown';
  }
}

type Circumstances = Omit<Setup, 'rounds' | 'tookSeconds'>;

function circumstancesOf(plan: Plan, words: Words): Circumstances {
  const said = process.argv.slice(2).map((word) => word.includes(' ') ? `'${word}'` : word);
  const fileSystem = statfsSync(plan.stage.directory).type;
  return {
    takenAt: new Date().toISOString(), commit: commit(),
    command: ['npm run bench', ...(said.length === 0 ? [] : ['--', ...said])].join(' '),
    machine: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, `
      + `Linux ${release().split('.').slice(0, 2).join('.')}`,
    disk: FILE_SYSTEMS[fileSystem] ?? `file system 0x${fileSystem.toString(16)}`,
    versions: {
      node: process.version, h2load: versionOf('h2load') ?? '',
      etcd: (versionOf('etcd') ?? '').replace(/^etcd Version: /, 'etcd '),
    },
    flags: { coterie: FLAGS.coterie.join(' '), etcd: FLAGS.etcd.join(' ') },
    roundsPlanned: plan.rounds, isQuick: words.isQuick, only: words.only,
  };
}

/** With `--write` each round is recorded when it is over, so that whatever ends the run, what was measured is not lost. */
async function measure(plan: Plan, words: Words, record: Recorder | null): Promise<Report> {
  const startedAt = performance.now();
  const circumstances = circumstancesOf(plan, words);
  let rounds = 0;
  const reportOf = (measured: readonly Measured[]): Report => {
    const tookSeconds = Math.round((performance.now() - startedAt) / 1000);
    return { setup: { ...circumstances, rounds, tookSeconds }, measured };
  };
  const measured = await runRounds(plan, {
    ...watcherOn(errors, plan, () => performance.now()),
    rounded(round, soFar) {
      rounds = round;
      if (round === plan.rounds) return;
      try {
        record?.write(reportOf(soFar));
      } catch (error) {
        say(`Round ${round} could not be recorded: ${String(error)}. It goes on, and the next is.`);
      }
    },
  });
  return reportOf(measured);
}

/** Writes a run where it is told, each time in place of what was told of it before. */
class Recorder {
  #told: Report | null = null;

  /** Fails, before anything is measured, where one of the places is missing. */
  check(): void {
    const file = (name: string): string => readFileSync(`${root}${name}`, 'utf8');
    mustHavePlaces(file('test/bench/RESULTS.md'), file('README.md'));
  }

  write(report: Report): void {
    const change = (file: string, of: (before: string) => string): void => {
      writeFileSync(`${root}${file}`, of(readFileSync(`${root}${file}`, { encoding: 'utf8', flag: 'a+' })));
    };
    const [table, json, plot, readme] = WRITTEN;
    const { rounds, roundsPlanned } = report.setup;
    change(table, (before) => recorded(before, report, this.#told));
    this.#told = report;
    // Half a round must not take the place of a whole run.
    const isForAll = isWhole(report) && rounds > 0;
    if (isForAll) {
      change(json, () => toJson(report));
      change(plot, () => svgOf(report));
      change(readme, (before) => readmeWith(before, report));
    }
    say(`written, ${rounds} of ${roundsPlanned} rounds: ${isForAll ? WRITTEN.join(', ') : table}`);
    if (!isForAll) say('The plot and README.md tell of whole rounds of all rows only.');
  }
}

async function main(): Promise<number> {
  const words = readWords(process.argv.slice(2));
  if (typeof words === 'string') {
    say(`${words}\n\n${USAGE.trimEnd()}`);
    return WRONG_WORDS;
  }
  if (words.isHelp) {
    process.stdout.write(USAGE);
    return MEASURED;
  }
  const themes = themesFor(words);
  if (themes.length === 0) {
    say(`no row's name holds '${words.only}', and no row's id is that; --list shows both`);
    return WRONG_WORDS;
  }
  const plan = { themes, rounds: words.rounds, pace: words.isQuick ? QUICK : USUAL };
  if (words.isList) {
    process.stdout.write(list(themes, plan));
    return MEASURED;
  }
  const missing = obstacles();
  for (const line of missing) say(line);
  return missing.length > 0 ? COULD_NOT : await run(plan, words);
}

async function run(outline: Outline, words: Words): Promise<number> {
  const recorder = words.writes ? new Recorder() : null;
  recorder?.check();
  const stage = new Stage();
  const trouble = new Trouble();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      if (!trouble.isOver) say(`${signal}: servers are being stopped; what was measured so far is told.`);
      trouble.end();
    });
  }
  process.on('uncaughtException', (error) => {
    if (!trouble.fail(error)) say(`an error that nobody waits for: ${error.message}`);
  });
  try {
    const rows = outline.themes.reduce((sum, theme) => sum + theme.rows.length, 0);
    const time = minutes(estimateSeconds(outline));
    say(`${rows} rows, ${outline.rounds} rounds, about ${time} minutes at most. Leave the machine alone meanwhile.`);
    const report = await measure({ ...outline, stage, trouble }, words, recorder);
    process.stdout.write(words.isJson ? toJson(report) : terminalText(report, isColoured(process.stdout, process.env)));
    const summary = summarize(report.measured.map(judge));
    // Of a run that was ended before its first row there is nothing to keep.
    if (report.measured.some(({ sides }) => sides.coterie.rounds.length > 0)) recorder?.write(report);
    if (trouble.isOver) return INTERRUPTED;
    return summary.unmeasured.length > 0 ? COULD_NOT : MEASURED;
  } finally {
    await stage.close();
  }
}

process.exitCode = await main().catch((error: unknown) => {
  say(String(error));
  return COULD_NOT;
});
