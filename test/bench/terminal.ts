// The report as text for a terminal. Pure.

import { judge, type Outcome, type Report } from './report.js';
import { circumstances, decisive, losses, shown, shownCpu, shownGoal, shownSpread, titleOf } from './wording.js';

const HEAD = ['row', 'coterie', 'etcd', 'unit', 'ratio', 'goal', '', 'CPU µs a request'];
const RIGHT = new Set([1, 2]);

export function terminalText(report: Report, isColoured: boolean): string {
  const outcomes = report.measured.map(judge);
  const cells = outcomes.map(cellsOf);
  const widths = HEAD.map((head, i) => Math.max(head.length, ...cells.map((row) => (row[i] ?? '').length)));
  const fit = (row: readonly string[]): string =>
    row.map((cell, i) => RIGHT.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd();
  const lines = [`coterie beside etcd, ${titleOf(report)}`, ...circumstances(report), '', fit(HEAD)];
  let theme = '';
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome.theme !== theme) lines.push('', outcome.theme);
    theme = outcome.theme;
    const line = fit(cells[i] ?? []);
    const code = codeOf(outcome);
    lines.push(isColoured && code !== '' ? `\u001B[${code}m${line}\u001B[0m` : line);
  }
  return [...lines, '', ...losses(outcomes)].join('\n') + '\n';
}

function cellsOf(outcome: Outcome): string[] {
  const { row, coterie, etcd, verdict } = outcome;
  const ratio = row.against === 'itself' ? `itself ${shownSpread(decisive(outcome))}` : shownSpread(outcome.ratio);
  return [
    `  ${row.name}`, shown(coterie?.median), shown(etcd?.median), row.unit, ratio, shownGoal(row.goal),
    verdict === 'no goal' ? '' : verdict, shownCpu(outcome),
  ];
}

function codeOf({ isBehind, verdict }: Outcome): string {
  if (isBehind || verdict === 'not measured') return '31';
  if (verdict === 'missed') return '33';
  return verdict === 'met' ? '32' : '';
}
