// A theme is what is measured together on servers of its own: rows that say what is compared and what is wanted, and how one
// server is measured. The runner asks both servers in turn, as often as there are rounds.

import type { Figure, Goal, Row, ServerName } from './report.js';
import type { Scene } from './stage.js';

/** How long loads last. */
export interface Pace {
  /** Of the first load on a server, which compiles as it goes. */
  readonly firstWarmUpSeconds: number;
  /** Of each load after it. */
  readonly warmUpSeconds: number;
  readonly seconds: number;
  /** Of what is counted, not timed, less is done. */
  readonly isShort: boolean;
}

export const USUAL: Pace = { firstWarmUpSeconds: 2, warmUpSeconds: 1, seconds: 3, isShort: false };
export const QUICK: Pace = { firstWarmUpSeconds: 1, warmUpSeconds: 1, seconds: 1, isShort: true };

/** What a theme is given to measure one server in one round. */
export interface Bench {
  readonly name: ServerName;
  readonly stage: Scene;
  readonly pace: Pace;
  /** What was not asked for need not be measured. */
  wants(row: Row): boolean;
  record(row: Row, figure: Figure): void;
  /** Something was measured, and does not count. */
  refuse(row: Row, why: string): void;
  /** For what takes long and says nothing. */
  progress(what: string): void;
}

export interface Theme {
  readonly title: string;
  readonly rows: readonly Row[];
  /** Those that `--quick` measures too. */
  readonly quickRows: readonly Row[];
  /** What takes minutes is measured in no more rounds than these. */
  readonly roundsMax?: number;
  /** What one round of one server takes, about. */
  seconds(pace: Pace, name: ServerName): number;
  measure(bench: Bench): Promise<void>;
}

export function atLeast(value: number): Goal {
  return { at: 'least', value };
}

export function atMost(value: number): Goal {
  return { at: 'most', value };
}

type Words = Pick<Row, 'id' | 'name' | 'unit'>;

/** More is better: a rate. */
export function rate(words: Words, goal: Goal | null): Row {
  return { ...words, better: 'more', against: 'etcd', goal, judged: 'median' };
}

/** Less is better: a time, a size, a cost. */
export function cost(words: Words, goal: Goal | null): Row {
  return { ...words, better: 'less', against: 'etcd', goal, judged: 'median' };
}

/** What loads of h2load take: a warm-up and a measured time for each, and what starting one costs. */
export function loadSeconds(pace: Pace, loads: number): number {
  return pace.firstWarmUpSeconds + (loads - 1) * pace.warmUpSeconds + loads * (pace.seconds + 0.3);
}
