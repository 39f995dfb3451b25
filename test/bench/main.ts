// npm run bench: asks every row of coterie and of real etcd, in alternation, and says how they compare. `--help` tells the words.
// Nothing else should run on the machine meanwhile.

import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { themesFor } from './catalog.js';
import { toJson } from './json.js';
import { readmeWith, recorded } from './markdown.js';
import { isColoured, minutes, watcherOn, type Out } from './progress.js';
import { judge, summarize, type Report } from './report.js';
import { estimateSeconds, runRounds, type Plan } from './runner.js';
import { Stage } from './stage.js';
import { svgOf } from './svg.js';
import { FLAGS, versionOf } from './targets.js';
import { terminalText } from './terminal.js';
import { QUICK, USUAL, type Theme } from './theme.js';
import { isWhole, shownGoal } from './wording.js';
import { readWords, USAGE, type Words } from './words.js';

const [MEASURED, COULD_NOT, WRONG_WORDS, INTERRUPTED] = [0, 1, 2, 130];
/** As statfs(2) numbers it: a directory in memory, where a write that must be durable costs nothing. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = { 0xef53: 'ext4', 0x58465342: 'xfs', 0x9123683e: 'btrfs' };
const TMPFS = 0x01021994;

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

function list(themes: readonly Theme[], plan: Omit<Plan, 'stage'>): string {
  const lines = themes.flatMap(({ title, rows }) => [
    title, ...rows.map((row) => `  ${row.id.padEnd(26)}${row.name}${row.goal === null ? '' : `, wanted ${shownGoal(row.goal)}`}`),
  ]);
  return [...lines, '', `All of it, ${plan.rounds} rounds: about ${minutes(estimateSeconds(plan))} minutes.`, ''].join('\n');
}

async function measure(plan: Plan, words: Words): Promise<Report> {
  const startedAt = performance.now();
  const takenAt = new Date().toISOString();
  const measured = await runRounds(plan, watcherOn(errors, plan, () => performance.now()));
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: root }).trim();
  const said = process.argv.slice(2).map((word) => word.includes(' ') ? `'${word}'` : word);
  const fileSystem = statfsSync(plan.stage.directory).type;
  return {
    setup: {
      takenAt, commit, command: ['npm run bench', ...(said.length === 0 ? [] : ['--', ...said])].join(' '),
      machine: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, `
        + `Linux ${release().split('.').slice(0, 2).join('.')}`,
      disk: FILE_SYSTEMS[fileSystem] ?? `file system 0x${fileSystem.toString(16)}`,
      versions: {
        node: process.version, h2load: versionOf('h2load') ?? '',
        etcd: (versionOf('etcd') ?? '').replace(/^etcd Version: /, 'etcd '),
      },
      flags: { coterie: FLAGS.coterie.join(' '), etcd: FLAGS.etcd.join(' ') },
      rounds: plan.rounds, isQuick: words.isQuick, only: words.only,
      tookSeconds: Math.round((performance.now() - startedAt) / 1000),
    },
    measured,
  };
}

function write(report: Report): void {
  const change = (file: string, of: (before: string) => string): void => {
    writeFileSync(`${root}${file}`, of(readFileSync(`${root}${file}`, { encoding: 'utf8', flag: 'a+' })));
    say(`written: ${file}`);
  };
  change('test/bench/RESULTS.md', (before) => recorded(before, report));
  if (!isWhole(report)) return say('The plot and README.md tell of whole runs only.');
  change('test/bench/results.json', () => toJson(report));
  change('test/bench/results.svg', () => svgOf(report));
  change('README.md', (before) => readmeWith(before, report));
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

async function run(plan: Omit<Plan, 'stage'>, words: Words): Promise<number> {
  const stage = new Stage();
  let isEnding = false;
  const end = (why: string, code: number): void => {
    if (isEnding) return;
    isEnding = true;
    say(`${why}: servers are being stopped, and nothing is told.`);
    stage.close().finally(() => process.exit(code)).catch((error: unknown) => say(String(error)));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => end('Interrupted', INTERRUPTED));
  // A load that nobody waits for any more, because another one of the same row failed.
  process.on('uncaughtException', (error) => end(error.message, COULD_NOT));
  try {
    const rows = plan.themes.reduce((sum, theme) => sum + theme.rows.length, 0);
    const time = minutes(estimateSeconds(plan));
    say(`${rows} rows, ${plan.rounds} rounds, about ${time} minutes at most. Leave the machine alone meanwhile.`);
    const report = await measure({ ...plan, stage }, words);
    process.stdout.write(words.isJson ? toJson(report) : terminalText(report, isColoured(process.stdout, process.env)));
    if (words.writes) write(report);
    return summarize(report.measured.map(judge)).unmeasured.length > 0 ? COULD_NOT : MEASURED;
  } finally {
    await stage.close();
  }
}

process.exitCode = await main();
