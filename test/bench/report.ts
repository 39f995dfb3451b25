// What the bench found, as plain data, and how it is judged: a row with its target, the figures of each round, the ratio of the
// rounds, a verdict. Nothing here measures or prints; every writer (terminal, Markdown, JSON, SVG) works from a `Report`.

import { spreadOf, type Spread } from './statistics.js';

export type ServerName = 'coterie' | 'etcd';

/** `least`: the ratio must reach it. `most`: it must not exceed it. */
export interface Goal {
  readonly at: 'least' | 'most';
  readonly value: number;
}

export interface Row {
  /** Stable: what JSON and `--only` call it. */
  readonly id: string;
  readonly name: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
  /**
   * `etcd`: judged is coterie's figure divided by etcd's of the same round. `itself`: judged is coterie's own figure, and etcd's
   * stands beside it.
   */
  readonly against: 'etcd' | 'itself';
  readonly goal: Goal | null;
  /** Which round is judged: the middle one unless it says `worst`. */
  readonly judged: 'median' | 'worst';
}

export interface Figure {
  readonly value: number;
  /** Processor time of the server (all its threads; three members: their sum) for one request, in microseconds. */
  readonly cpuMicros?: number;
}

/** `rounds` of one server: null where nothing valid was measured, and then `faults` says why. */
export interface Side {
  readonly rounds: readonly (Figure | null)[];
  readonly faults: readonly string[];
}

export interface Measured {
  readonly row: Row;
  readonly theme: string;
  readonly sides: Readonly<Record<ServerName, Side>>;
}

export interface Setup {
  /** ISO 8601. */
  readonly takenAt: string;
  readonly commit: string;
  readonly command: string;
  readonly machine: string;
  readonly disk: string;
  readonly versions: { readonly node: string; readonly etcd: string; readonly h2load: string };
  /** The command lines of both servers, without addresses and directories. */
  readonly flags: Readonly<Record<ServerName, string>>;
  /** Those that were measured whole. */
  readonly rounds: number;
  /** Fewer are whole: the run goes on, or was ended. */
  readonly roundsPlanned: number;
  /** Shorter and fewer: a first look, not figures to quote. */
  readonly isQuick: boolean;
  /** What `--only` named; empty: every row. */
  readonly only: string;
  readonly tookSeconds: number;
}

export interface Report {
  readonly setup: Setup;
  readonly measured: readonly Measured[];
}

/** What is told as 1.00 is as good. */
const AS_GOOD = 0.995;

export type Verdict = 'met' | 'missed' | 'no goal' | 'not measured';

export interface Outcome {
  readonly row: Row;
  readonly theme: string;
  readonly coterie: Spread | null;
  readonly etcd: Spread | null;
  /** Coterie's divided by etcd's, round by round; null for a row against itself. */
  readonly ratio: Spread | null;
  readonly cpuMicros: Readonly<Record<ServerName, number | null>>;
  readonly verdict: Verdict;
  /** Coterie is worse than etcd in this row, whatever the goal. */
  readonly isBehind: boolean;
  readonly faults: readonly string[];
  /** How many rounds count: of a row beside etcd's, those in which both have a figure. */
  readonly rounds: number;
}

export function judge({ row, theme, sides }: Measured): Outcome {
  const ratios = sides.coterie.rounds.flatMap((ours, i) => {
    const theirs = sides.etcd.rounds[i] ?? null;
    return row.against === 'itself' || ours === null || theirs === null ? [] : [ours.value / theirs.value];
  });
  const ours = valuesOf(sides.coterie);
  const outcome = {
    row, theme,
    rounds: row.against === 'itself' ? ours.length : ratios.length,
    coterie: spreadOf(ours),
    etcd: spreadOf(valuesOf(sides.etcd)),
    ratio: spreadOf(ratios),
    cpuMicros: { coterie: cpuOf(sides.coterie), etcd: cpuOf(sides.etcd) },
    faults: [...sides.coterie.faults, ...sides.etcd.faults],
  };
  const decisive = row.against === 'itself' ? outcome.coterie : outcome.ratio;
  const advantage = timesBetter(row, outcome.ratio?.median ?? NaN);
  return { ...outcome, verdict: verdictOf(row, decisive), isBehind: advantage < AS_GOOD };
}

function verdictOf({ goal, judged }: Row, spread: Spread | null): Verdict {
  if (spread === null) return 'not measured';
  if (goal === null) return 'no goal';
  const worst = goal.at === 'least' ? spread.min : spread.max;
  const value = judged === 'worst' ? worst : spread.median;
  return (goal.at === 'least' ? value >= goal.value : value <= goal.value) ? 'met' : 'missed';
}

/** The ratio turned so that more is better: 2 is twice as good as etcd, whichever way the unit runs. */
export function timesBetter({ better }: Row, ratio: number): number {
  return better === 'more' ? ratio : 1 / ratio;
}

function valuesOf(side: Side): number[] {
  return side.rounds.flatMap((figure) => figure === null ? [] : [figure.value]);
}

function cpuOf(side: Side): number | null {
  return spreadOf(side.rounds.flatMap((figure) => figure?.cpuMicros === undefined ? [] : [figure.cpuMicros]))?.median ?? null;
}

export interface Summary {
  readonly behind: readonly Outcome[];
  readonly missed: readonly Outcome[];
  readonly unmeasured: readonly Outcome[];
  readonly met: readonly Outcome[];
  /** Of fewer rounds than others: meant so, or some failed. */
  readonly fewer: readonly Outcome[];
  /** How many the others have. */
  readonly rounds: number;
  /** How many rows have a goal. */
  readonly goals: number;
}

export function summarize(outcomes: readonly Outcome[]): Summary {
  const of = (verdict: Verdict): Outcome[] => outcomes.filter((outcome) => outcome.verdict === verdict);
  const rounds = Math.max(0, ...outcomes.map((outcome) => outcome.rounds));
  return {
    rounds,
    fewer: outcomes.filter((outcome) => outcome.rounds > 0 && outcome.rounds < rounds),
    behind: outcomes.filter(({ isBehind }) => isBehind),
    missed: of('missed'),
    unmeasured: of('not measured'),
    met: of('met'),
    goals: outcomes.filter(({ row }) => row.goal !== null).length,
  };
}
