// Figures as people read them, the same in the terminal, in Markdown and in the plot, and the sentences that say where coterie
// loses. Pure.

import { summarize, type Goal, type Outcome, type Report } from './report.js';
import type { Spread } from './statistics.js';

export const NONE = '-';

export function shown(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** `1.56 (1.49 to 1.63)`; one round has no spread to tell. */
export function shownSpread(spread: Spread | null): string {
  if (spread === null) return NONE;
  const { median, min, max } = spread;
  return min === max ? shown(median) : `${shown(median)} (${shown(min)} to ${shown(max)})`;
}

export function shownGoal(goal: Goal | null, atLeast = '>='): string {
  if (goal === null) return '';
  return `${goal.at === 'least' ? atLeast : atLeast.replace('>', '<').replace('≥', '≤')} ${goal.value}`;
}

/** What is judged of a row: the ratio to etcd, or coterie's own figure. */
export function decisive(outcome: Outcome): Spread | null {
  return outcome.row.against === 'itself' ? outcome.coterie : outcome.ratio;
}

export function shownCpu({ cpuMicros: { coterie, etcd } }: Outcome): string {
  return coterie === null && etcd === null ? '' : `${shown(coterie)} / ${shown(etcd)}`;
}

export function titleOf({ setup }: Report): string {
  const partly = setup.only === '' ? '' : `, only what holds "${setup.only}"`;
  return `${setup.takenAt.slice(0, 10)}, commit ${setup.commit}${setup.isQuick ? ', quick' : ''}${partly}`;
}

/** What everybody must know of how it was measured, one sentence each. */
export function circumstances({ setup }: Report): string[] {
  const { versions, rounds, roundsPlanned } = setup;
  const minutes = Math.max(1, Math.round(setup.tookSeconds / 60));
  return [
    `Machine: ${setup.machine}; data on ${setup.disk}. Node ${versions.node}, ${versions.etcd}, ${versions.h2load}.`,
    `${rounds} ${rounds === 1 ? 'round' : 'rounds'} on fresh data directories, coterie and etcd in alternation, the load `
      + `generator on the same machine, nothing pinned to a processor; ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}.`,
    ...(rounds < roundsPlanned
      ? [`Not all of it: ${rounds} of ${roundsPlanned} rounds are whole. What was measured of the next one counts.`] : []),
    ...(setup.isQuick ? ['A quick run: fewer rows, shorter loads, fewer rounds. A first look, not figures to quote.'] : []),
  ];
}

export function isWhole({ setup }: Report): boolean {
  return !setup.isQuick && setup.only === '';
}

/** Says plainly where coterie loses: where etcd is better, goals that were not reached, what is not known, or less well. */
export function losses(outcomes: readonly Outcome[], mark = '-'): string[] {
  const { behind, missed, unmeasured, met, goals, fewer, rounds } = summarize(outcomes);
  const lines = goals === 0 ? [] : [`${met.length} of ${goals} goals reached.`, ''];
  const list = (title: string, rows: readonly Outcome[], say: (outcome: Outcome) => string): void => {
    if (rows.length > 0) lines.push(title, '', ...rows.map((outcome) => `${mark} ${outcome.row.name}: ${say(outcome)}`), '');
  };
  const figures = ({ row, coterie, etcd }: Outcome): string =>
    `${shown(coterie?.median)} ${row.unit}, etcd ${shown(etcd?.median)}, ratio `;
  if (behind.length === 0) lines.push('No measured row is worse than etcd\'s.', '');
  list('Worse than etcd:', behind, (outcome) => `${figures(outcome)}${shownSpread(outcome.ratio)}`);
  if (goals > 0 && missed.length === 0 && unmeasured.length === 0) lines.push('No goal is missed.', '');
  list('Goals missed:', missed, (outcome) => {
    const { row } = outcome;
    const wanted = `wanted ${row.goal?.at === 'least' ? 'at least' : 'at most'} ${row.goal?.value}`;
    const has = row.against === 'itself' ? `${shownSpread(outcome.coterie)} ${row.unit}` : `ratio ${shownSpread(outcome.ratio)}`;
    return `${has}, ${wanted}`;
  });
  list('Not measured:', unmeasured, ({ faults }) => faults[0] ?? 'no figure came');
  list('Of fewer rounds than the others:', fewer, (outcome) =>
    `${outcome.rounds} of ${rounds}${shortly(outcome.faults)}`);
  return lines.slice(0, -1);
}

/** The first of them; of a whole run all stand in results.json. */
function shortly([first, ...others]: readonly string[]): string {
  if (first === undefined) return '';
  return `; ${first}${others.length === 0 ? '' : `; ${others.length} more failed`}`;
}
