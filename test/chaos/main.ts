// npm run chaos -- --minutes N [--members 3|5] [--seed S] [--target coterie|etcd] [--only FAULT,...] [--no-disks] [--keep]
// [--json]
// Real processes, real faults, a client that is not ours, and the checker of histories as judge. A line for each fault, a
// summary at the end; the exit code is 0 only if nothing was lost, nothing was violated and the bounds held. With
// `--walk` the membership walk instead: see walk.ts.

import { parseArgs } from 'node:util';
import { Campaign, LEADER_BOUND_MS, type Report } from './campaign.js';
import { probeDisks } from './disks.js';
import { FAULTS } from './faults.js';
import { splitterFor } from './frames.js';
import { isInstalled, type TargetName } from './members.js';
import { LEADER_LEAVES, Walk, type WalkReport } from './walk.js';

/** Of the seconds free of faults, so many must show progress. */
const PROGRESS_SHARE = 0.95;

const USAGE = `usage: npm run chaos -- [--minutes N] [--members 3|5] [--seed S] [--target coterie|etcd] [--only FAULT,...]
                        [--no-disks] [--keep] [--json]
       npm run chaos -- --walk [--seed S] [--keep] [--json]`;

const flags = readWords();

function readWords() {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '2' },
        members: { type: 'string', default: '3' },
        seed: { type: 'string', default: '1' },
        target: { type: 'string', default: 'coterie' },
        only: { type: 'string' },
        disks: { type: 'boolean', default: true },
        json: { type: 'boolean', default: false },
        walk: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
      allowNegative: true,
    });
    if (!values.help) return values;
    process.stdout.write(`${USAGE}\n`);
    process.exit(0);
  } catch (error) {
    return refuse(`npm run chaos: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function refuse(message: string): never {
  say(message);
  process.exit(2);
}

function numberOf(name: 'minutes' | 'members' | 'seed', isGood: (value: number) => boolean, expected: string): number {
  const value = Number(flags[name]);
  if (!isGood(value)) refuse(`--${name} ${flags[name]} is not ${expected}`);
  return value;
}

/** What is asked for, beyond "no violations"; empty: all of it held. Where nothing happened, nothing was shown. */
function broken(report: Report): string[] {
  const found: string[] = [];
  if (report.acknowledgedWrites === 0) found.push('no write was acknowledged');
  if (report.quietSeconds === 0) found.push('no second was free of faults');
  const share = report.quietSeconds === 0 ? 1 : report.quietSecondsWithProgress / report.quietSeconds;
  if (share < PROGRESS_SHARE) found.push(`progress in ${(share * 100).toFixed(1)} % of the seconds free of faults`);
  if (report.leaderMs.p99 > LEADER_BOUND_MS) found.push(`a leader was found again in ${report.leaderMs.p99} ms (p99)`);
  return found;
}

function summary(report: Report, missed: readonly string[]): string {
  const faults = Object.entries(report.faults).map(([name, times]) => `${name} ${times}`);
  const failures = Object.entries(report.failures).map(([code, times]) => `${code} ${times}`);
  const count = Object.values(report.faults).reduce((sum, times) => sum + times, 0);
  return [
    `${report.members} members of ${report.target}, seed ${report.seed}, ${report.seconds} s, ${report.rounds} rounds judged`,
    `operations ${report.operations}, acknowledged writes ${report.acknowledgedWrites}, lost ${report.lost}, ` +
      `violations ${report.violations.length}`,
    `not answered or refused: ${failures.join(', ') || 'none'}`,
    `faults ${count}: ${faults.join(', ')}`,
    `progress in ${report.quietSecondsWithProgress} of ${report.quietSeconds} seconds free of faults`,
    `leader found again ${report.outages} times: p50 ${report.leaderMs.p50} ms, p99 ${report.leaderMs.p99} ms, ` +
      `max ${report.leaderMs.max} ms (bound ${LEADER_BOUND_MS} ms)`,
    `slowest: ${Object.entries(report.slowest).map(([name, ms]) => `${name} ${ms} ms`).join(', ')}`,
    `leaders ${report.leaders}, highest term ${report.highestTerm}`,
    `links: ${Object.entries(report.links).map(([what, times]) => `${what} ${times}`).join(', ')}`,
    ...report.notTested.map(({ name, reason }) => `not tested: ${name} (${reason})`),
    ...report.violations.map((text) => `VIOLATION ${text}`),
    ...missed.map((text) => `MISSED ${text}`),
    ...(report.keptIn === null ? [] : [`logs and data are kept in ${report.keptIn}`]),
  ].join('\n');
}

/** What a walk must have met to show anything. */
function notWalked({ verdict, transfers, crashes, steps }: WalkReport): string[] {
  const met: Readonly<Record<string, boolean>> = {
    'no write was acknowledged': (verdict?.acknowledgedWrites ?? 0) > 0,
    'leadership was never handed over': transfers > 0,
    'nobody crashed': crashes > 0,
    'no leader removed itself': steps.some(({ name }) => name === LEADER_LEAVES),
  };
  return Object.keys(met).filter((what) => met[what] !== true);
}

function walkSummary(walked: WalkReport, missing: readonly string[]): string {
  const slowest = walked.steps.toSorted((a, b) => b.ms - a.ms)[0];
  return [
    `the walk of ${target}: ${walked.steps.length} changes, ${walked.crashes} crashes, ` +
      `${walked.transfers} transfers of leadership, ${walked.transfersRefused} refused`,
    `slowest change: ${slowest?.name ?? 'none'}, ${slowest?.ms ?? 0} ms`,
    `operations ${walked.verdict?.operations ?? 0}, acknowledged writes ${walked.verdict?.acknowledgedWrites ?? 0}, ` +
      `lost ${walked.verdict?.lost ?? 0}, violations ${walked.violations.length}`,
    ...walked.violations.map((text) => `VIOLATION ${text}`),
    ...missing.map((text) => `MISSED ${text}`),
    ...(walked.keptIn === null ? [] : [`logs and data are kept in ${walked.keptIn}`]),
  ].join('\n');
}

const target = flags.target;
if (target !== 'coterie' && target !== 'etcd') refuse(`--target ${target} is neither coterie nor etcd`);
if (!isInstalled(target satisfies TargetName)) refuse(`${target} is not on the path`);
const minutes = numberOf('minutes', (value) => value > 0, 'a number of minutes');
const members = numberOf('members', (value) => value === 3 || value === 5, '3 or 5');
const seed = numberOf('seed', Number.isSafeInteger, 'a whole number');
const only = flags.only?.split(',');
const unknown = only?.find((part) => !FAULTS.some(({ name }) => name.includes(part)));
if (unknown !== undefined) refuse(`--only ${unknown} is no fault; there are ${FAULTS.map(({ name }) => name).join(', ')}`);
const diskReason = flags.disks ? probeDisks() : '--no-disks';

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

if (flags.walk) {
  const walked = await Walk.run({
    target, seed, say, members: 1, hasDisks: false, newSplitter: splitterFor(target), sizes: [1, 3, 5, 3, 1],
    transferSeconds: 60,
  });
  const missing = notWalked(walked);
  process.stdout.write(`${flags.json ? JSON.stringify({ ...walked, missed: missing }) : walkSummary(walked, missing)}\n`);
  process.exit(walked.violations.length + missing.length === 0 ? 0 : 1);
}

const report = await Campaign.run({
  target, members, seed, minutes, say, diskReason, hasDisks: diskReason === null, newSplitter: splitterFor(target),
  roundMs: 75_000, holdMs: 4000, quietMs: LEADER_BOUND_MS + 4000,
  isKept: flags.keep,
  ...(only === undefined ? {} : { only }),
});
const missed = broken(report);
process.stdout.write(`${flags.json ? JSON.stringify({ ...report, missed }) : summary(report, missed)}\n`);
process.exit(report.violations.length + missed.length === 0 ? 0 : 1);
