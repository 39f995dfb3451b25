// Rounds: every theme on both servers, one right after the other, the one that begins changing with the rounds; what fails is
// noted at the rows it cost, and the rest goes on.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Figure, Measured, Row, ServerName } from './report.js';
import type { Bench, Pace, Theme } from './theme.js';
import type { Stage } from './stage.js';
import type { Trouble } from './trouble.js';

export interface Plan {
  readonly themes: readonly Theme[];
  readonly rounds: number;
  readonly pace: Pace;
  readonly stage: Stage;
  readonly trouble: Trouble;
}

/** What the estimate needs. */
export type Outline = Pick<Plan, 'themes' | 'rounds' | 'pace'>;

/** What the run says while it goes on. */
export interface Watcher {
  began(round: number, theme: Theme, name: ServerName): void;
  measured(row: Row, figure: Figure): void;
  failed(row: Row, why: string): void;
  progress(what: string): void;
  /** A round is over: all that was measured so far. */
  rounded(round: number, measured: readonly Measured[]): void;
}

/** A theme that takes this much longer than it should hangs, or its server does. */
const PATIENCE = { times: 2, seconds: 60 } as const;
/** What a theme that was given up still says, as its servers end, is not charged to the next. */
const SILENCE_MS = 1_000;
const ORDERS: readonly (readonly ServerName[])[] = [['coterie', 'etcd'], ['etcd', 'coterie']];

interface Cells {
  readonly rounds: Record<ServerName, (Figure | null)[]>;
  readonly faults: Record<ServerName, string[]>;
}

/** Ends early, with what there is, when the run is ended. */
export async function runRounds(plan: Plan, watcher: Watcher): Promise<Measured[]> {
  const cells = new Map<Row, Cells>();
  for (const { rows } of plan.themes) {
    for (const row of rows) cells.set(row, { rounds: { coterie: [], etcd: [] }, faults: { coterie: [], etcd: [] } });
  }
  const soFar = (): Measured[] =>
    plan.themes.flatMap(({ title, rows }) => rows.map((row) => measuredOf(row, title, cells.get(row))));
  for (let round = 1; round <= plan.rounds; round++) {
    for (const theme of plan.themes) {
      if (round > roundsOf(theme, plan)) continue;
      for (const name of ORDERS[(round - 1) % ORDERS.length] ?? []) {
        watcher.began(round, theme, name);
        await measureOnce(plan, watcher, { theme, name, round, cells });
        if (plan.trouble.isOver) return soFar();
      }
    }
    watcher.rounded(round, soFar());
  }
  return soFar();
}

function measuredOf(row: Row, theme: string, cells: Cells | undefined): Measured {
  const side = (name: ServerName): Measured['sides'][ServerName] =>
    ({ rounds: [...cells?.rounds[name] ?? []], faults: [...cells?.faults[name] ?? []] });
  return { row, theme, sides: { coterie: side('coterie'), etcd: side('etcd') } };
}

function roundsOf({ roundsMax = Infinity }: Theme, { rounds }: Outline): number {
  return Math.min(rounds, roundsMax);
}

interface Once {
  readonly theme: Theme;
  readonly name: ServerName;
  readonly round: number;
  readonly cells: ReadonlyMap<Row, Cells>;
}

async function measureOnce({ stage, pace, trouble }: Plan, watcher: Watcher, { theme, name, round, cells }: Once): Promise<void> {
  const missing = new Set(theme.rows);
  let isGivenUp = false;
  const note = (row: Row, figure: Figure | null): void => {
    missing.delete(row);
    const cell = cells.get(row);
    if (cell !== undefined) cell.rounds[name][round - 1] = figure;
  };
  const refuse = (row: Row, why: string): void => {
    if (isGivenUp) return;
    note(row, null);
    cells.get(row)?.faults[name].push(`round ${round}, ${name}: ${why}`);
    watcher.failed(row, why);
  };
  const bench: Bench = {
    name, stage: stage.scene(), pace, refuse,
    wants: (row) => theme.rows.includes(row),
    record(row, figure) {
      if (isGivenUp || !theme.rows.includes(row)) return;
      if (Number.isFinite(figure.value)) {
        note(row, figure);
        watcher.measured(row, figure);
      } else refuse(row, 'no figure came');
    },
    progress: (what) => watcher.progress(what),
  };
  let why = '';
  const patienceSeconds = PATIENCE.times * theme.seconds(pace, name) + PATIENCE.seconds;
  try {
    await trouble.during(theme.measure(bench), patienceSeconds * 1000);
  } catch (error) {
    why = error instanceof Error ? error.message : String(error);
  }
  if (!trouble.isOver) {
    for (const row of missing) {
      if (why !== '') refuse(row, why);
      else note(row, null);
    }
  }
  isGivenUp = true;
  if (why === '') return;
  // Whatever the theme left running would stand in the way of the next.
  if (await stage.clear() > 0 && !trouble.isOver) await sleep(SILENCE_MS);
}

/** What the plan takes, about, in seconds. */
export function estimateSeconds(outline: Outline): number {
  const { themes, pace } = outline;
  return themes.reduce((sum, theme) =>
    sum + roundsOf(theme, outline) * (theme.seconds(pace, 'coterie') + theme.seconds(pace, 'etcd')), 0);
}
