// npm run bench -- [--rounds N] [--only TEXT] [--no-million] [--no-cluster] [--no-secured] [--no-recipes] [--write]: asks
// every question of coterie and, where `etcd` is on the path, of real etcd, in alternation, on fresh data directories;
// prints the medians and their ratio. `--write` records the table in test/bench/RESULTS.md. Nothing else should run on the
// machine meanwhile.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { hasH2load } from './load.js';
import { clusterQuestions, startCluster } from './cluster.js';
import {
  million, questions, securedQuestions, type Measure, type MillionResult, type Question, type Survey,
} from './questions.js';
import { recipeSurveys } from './recipes.js';
import { availableTargets, etcdVersionLine, startTarget, type Target, type TargetName } from './targets.js';

interface Row extends Measure {
  readonly values: Record<TargetName, number[]>;
}

const resultsFile = fileURLToPath(new URL('../../../test/bench/RESULTS.md', import.meta.url));
const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    million: { type: 'boolean', default: true },
    cluster: { type: 'boolean', default: true },
    recipes: { type: 'boolean', default: true },
    secured: { type: 'boolean', default: true },
    write: { type: 'boolean', default: false },
  },
  allowNegative: true,
});
const rounds = Number(options.rounds);
const targets = availableTargets();

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function alone<T>(question: Question<T>): Survey<T> {
  return { rows: [question], ask: async (target) => [await question.ask(target)] };
}

/** The rows that were asked for; none: nothing is asked. */
async function askAll<T extends Pick<Target, 'stop'>>(
  survey: Survey<T>, start: (name: TargetName) => Promise<T>,
): Promise<Row[]> {
  const isWanted = ({ name }: Measure): boolean => name.includes(options.only);
  if (!survey.rows.some(isWanted)) return [];
  const rows = survey.rows.map(({ name, unit, better }): Row => ({ name, unit, better, values: { coterie: [], etcd: [] } }));
  for (let round = 1; round <= rounds; round++) {
    for (const name of targets) {
      const target = await start(name);
      try {
        const answers = await survey.ask(target);
        for (const [i, row] of rows.entries()) {
          const value = answers[i] ?? NaN;
          row.values[name].push(value);
          if (isWanted(row)) say(`  ${row.name}, round ${round}, ${name}: ${shown(value)} ${row.unit}`);
        }
      } finally {
        await target.stop();
      }
    }
  }
  return rows.filter(isWanted);
}

async function askMillion(): Promise<Row[]> {
  const results: Partial<Record<TargetName, MillionResult>> = {};
  for (const name of targets) {
    const target = await startTarget(name);
    try {
      results[name] = await million(target, (done) => say(`  a million keys, ${name}: ${done}`));
    } finally {
      await target.stop();
    }
  }
  const row = (title: string, unit: string, of: (result: MillionResult) => number): Row => {
    const values: Record<TargetName, number[]> = { coterie: [], etcd: [] };
    for (const name of targets) {
      const result = results[name];
      if (result !== undefined) values[name].push(of(result));
    }
    return { name: title, unit, better: 'less', values };
  };
  return [
    row('a million keys of 256 B: load, 100 a transaction', 's', (result) => result.loadSeconds),
    row('a million keys: resident memory', 'MiB', (result) => result.residentMiB),
    row('a million keys: restart until it answers', 's', (result) => result.restartSeconds),
    row('a million keys: resident after the restart', 'MiB', (result) => result.residentAfterRestartMiB),
  ];
}

function shown(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  return value >= 10 ? value.toFixed(0) : value.toFixed(2);
}

/** Above 1: coterie is that much better, whichever way "better" runs. */
function ratio(row: Row): string {
  const ours = median(row.values.coterie);
  const theirs = median(row.values.etcd);
  if (Number.isNaN(theirs)) return '';
  return (row.better === 'more' ? ours / theirs : theirs / ours).toFixed(2);
}

function table(rows: readonly Row[]): string {
  const lines = ['| question | unit | coterie | etcd | coterie is better by |', '|---|---|---:|---:|---:|'];
  for (const row of rows) {
    const etcd = row.values.etcd.length === 0 ? '' : shown(median(row.values.etcd));
    lines.push(`| ${row.name} | ${row.unit} | ${shown(median(row.values.coterie))} | ${etcd} | ${ratio(row)} |`);
  }
  return lines.join('\n');
}

function heading(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const cpu = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}`;
  const said = process.argv.slice(2).map((word) => word.includes(' ') ? `'${word}'` : word);
  const command = ['npm run bench --', ...said].join(' ');
  const machine = `${cpu}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release().split('.').slice(0, 2).join('.')}`;
  return [
    `## ${new Date().toISOString().slice(0, 10)}, commit ${commit}`,
    '',
    `Machine: ${machine}; Node ${process.version}; ${etcdVersionLine()}. Medians of ${rounds} rounds on fresh data directories,`,
    `servers in alternation, the load generator on the same machine. Command: \`${command}\`.`,
    '',
  ].join('\n');
}

if (!hasH2load()) {
  say('npm run bench needs h2load (Debian: nghttp2-client); it is the load generator.');
  process.exit(1);
}
const rows: Row[] = [];
for (const question of questions) rows.push(...(await askAll(alone(question), startTarget)));
for (const setting of options.secured ? (['tls', 'auth'] as const) : []) {
  for (const question of securedQuestions) {
    const named = { ...question, name: `${setting === 'tls' ? 'TLS' : 'auth'}: ${question.name}` };
    rows.push(...(await askAll(alone(named), (name) => startTarget(name, setting))));
  }
}
for (const question of options.cluster ? clusterQuestions : []) rows.push(...(await askAll(alone(question), startCluster)));
for (const survey of options.recipes ? recipeSurveys : []) rows.push(...(await askAll(survey, startTarget)));
if (options.million && 'a million keys'.includes(options.only)) rows.push(...(await askMillion()));
const result = table(rows);
process.stdout.write(`${result}\n`);
if (options.write) {
  const before = readFileSync(resultsFile, 'utf8');
  const marker = '<!-- newest first -->\n';
  writeFileSync(resultsFile, before.replace(marker, `${marker}\n${heading()}\n${result}\n`));
  say(`recorded in ${resultsFile}`);
}
