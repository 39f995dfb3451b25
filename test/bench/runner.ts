// Rounds: every theme on both servers, one right after the other, the one that begins changing with the rounds; what fails is
// noted at the rows it cost, and the rest goes on.

import type { Figure, Measured, Row, ServerName } from './report.js';
import type { Bench, Pace, Theme } from './theme.js';
import type { Stage } from './stage.js';

export interface Plan {
  readonly themes: readonly Theme[];
  readonly rounds: number;
  readonly pace: Pace;
  readonly stage: Stage;
}

/** What the run says while it goes on. */
export interface Watcher {
  began(round: number, theme: Theme, name: ServerName): void;
  measured(row: Row, figure: Figure): void;
  failed(row: Row, why: string): void;
  progress(what: string): void;
}

const ORDERS: readonly (readonly ServerName[])[] = [['coterie', 'etcd'], ['etcd', 'coterie']];

interface Cells {
  readonly rounds: Record<ServerName, (Figure | null)[]>;
  readonly faults: Record<ServerName, string[]>;
}

export async function runRounds(plan: Plan, watcher: Watcher): Promise<Measured[]> {
  const cells = new Map<Row, Cells>();
  for (const { rows } of plan.themes) {
    for (const row of rows) cells.set(row, { rounds: { coterie: [], etcd: [] }, faults: { coterie: [], etcd: [] } });
  }
  for (let round = 1; round <= plan.rounds; round++) {
    for (const theme of plan.themes) {
      for (const name of ORDERS[(round - 1) % ORDERS.length] ?? []) {
        watcher.began(round, theme, name);
        await measureOnce(plan, watcher, { theme, name, round, cells });
      }
    }
  }
  return plan.themes.flatMap(({ title, rows }) => rows.map((row): Measured => {
    const { rounds, faults } = cells.get(row) ?? { rounds: { coterie: [], etcd: [] }, faults: { coterie: [], etcd: [] } };
    const side = (name: ServerName): Measured['sides'][ServerName] => ({ rounds: rounds[name], faults: faults[name] });
    return { row, theme: title, sides: { coterie: side('coterie'), etcd: side('etcd') } };
  }));
}

interface Once {
  readonly theme: Theme;
  readonly name: ServerName;
  readonly round: number;
  readonly cells: ReadonlyMap<Row, Cells>;
}

async function measureOnce({ stage, pace }: Plan, watcher: Watcher, { theme, name, round, cells }: Once): Promise<void> {
  const missing = new Set(theme.rows);
  const note = (row: Row, figure: Figure | null): void => {
    missing.delete(row);
    const cell = cells.get(row);
    if (cell !== undefined) cell.rounds[name][round - 1] = figure;
  };
  const refuse = (row: Row, why: string): void => {
    note(row, null);
    cells.get(row)?.faults[name].push(`round ${round}, ${name}: ${why}`);
    watcher.failed(row, why);
  };
  const bench: Bench = {
    name, stage, pace, refuse,
    wants: (row) => theme.rows.includes(row),
    record(row, figure) {
      if (!theme.rows.includes(row)) return;
      if (Number.isFinite(figure.value)) {
        note(row, figure);
        watcher.measured(row, figure);
      } else refuse(row, 'no figure came');
    },
    progress: (what) => watcher.progress(what),
  };
  let why = '';
  try {
    await theme.measure(bench);
  } catch (error) {
    why = error instanceof Error ? error.message : String(error);
  }
  for (const row of missing) {
    if (why !== '') refuse(row, why);
    else note(row, null);
  }
}

/** What the plan takes, about, in seconds. */
export function estimateSeconds({ themes, rounds, pace }: Omit<Plan, 'stage'>): number {
  const once = themes.reduce((sum, theme) => sum + theme.seconds(pace, 'coterie') + theme.seconds(pace, 'etcd'), 0);
  return once * rounds;
}
