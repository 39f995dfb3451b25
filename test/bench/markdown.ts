// The report as a section of RESULTS.md, and what README.md says of it. Pure.

import { judge, type Outcome, type Report } from './report.js';
import { circumstances, losses, shown, shownCpu, shownGoal, shownSpread, titleOf } from './wording.js';

const MARKER = '<!-- newest first -->\n';
const README_FROM = '<!-- figures: from here to the end mark `npm run bench -- --write` writes -->\n';
const README_TO = '<!-- end of figures -->\n';

export function section(report: Report): string {
  const { flags, command } = report.setup;
  const outcomes = report.measured.map(judge);
  return [
    `## ${titleOf(report)}`, '',
    ...circumstances(report),
    `Flags beside names, addresses and directories: coterie \`${flags.coterie}\`; etcd \`${flags.etcd}\`.`,
    `Command: \`${command}\`.`, '',
    table(outcomes), '',
    ...losses(outcomes), '',
  ].join('\n');
}

export function table(outcomes: readonly Outcome[]): string {
  const lines = [
    '| row | unit | coterie | etcd | ratio | wanted | | server CPU µs a request |',
    '|---|---|---:|---:|---|---|---|---|',
  ];
  for (const outcome of outcomes) {
    const { row, coterie, etcd } = outcome;
    const ratio = row.against === 'itself' ? 'of its own' : shownSpread(outcome.ratio);
    const cells = [
      row.name, row.unit, row.against === 'itself' ? shownSpread(coterie) : shown(coterie?.median), shown(etcd?.median), ratio,
      shownGoal(row.goal, '≥'), verdictIn(outcome), shownCpu(outcome),
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

function verdictIn({ verdict, isBehind }: Outcome): string {
  const said = { met: 'met', missed: '**missed**', 'no goal': '', 'not measured': '**not measured**' }[verdict];
  return isBehind ? `${said === '' ? '' : `${said}, `}**worse than etcd**` : said;
}

/** RESULTS.md with this run as its newest; `told`: what it says of this run already, which goes. */
export function recorded(results: string, report: Report, told: Report | null = null): string {
  mustHaveMarker(results);
  const rest = told === null ? results : results.replace(`\n${section(told)}`, () => '');
  return rest.replace(MARKER, () => `${MARKER}\n${section(report)}`);
}

/** README.md with this run between its marks. */
export function readmeWith(readme: string, report: Report): string {
  const [from, to] = marksIn(readme);
  return readme.slice(0, from) + readmePart(report) + readme.slice(to);
}

/** Fails where RESULTS.md or README.md has no place for a run. */
export function mustHavePlaces(results: string, readme: string): void {
  mustHaveMarker(results);
  marksIn(readme);
}

function mustHaveMarker(results: string): void {
  if (!results.includes(MARKER)) throw new Error(`RESULTS.md has no line '${MARKER.trim()}' to write behind`);
}

function marksIn(readme: string): readonly [from: number, to: number] {
  const [from, to] = [readme.indexOf(README_FROM), readme.indexOf(README_TO)];
  if (from < 0 || to < from) throw new Error(`README.md has no lines '${README_FROM.trim()}' and '${README_TO.trim()}'`);
  return [from + README_FROM.length, to];
}

export function readmePart(report: Report): string {
  const outcomes = report.measured.map(judge);
  const { setup } = report;
  const rounds = setup.rounds < setup.roundsPlanned ? `${setup.rounds} of ${setup.roundsPlanned}` : String(setup.rounds);
  return [
    '![How many times better than etcd coterie is, row by row](test/bench/results.svg)', '',
    `${setup.takenAt.slice(0, 10)}, commit ${setup.commit}: ${setup.machine}, ${setup.versions.etcd}, `
      + `medians of ${rounds} rounds, servers in alternation.`,
    'All figures, and how to repeat them: [test/bench](test/bench/README.md), [results](test/bench/RESULTS.md).', '',
    ...losses(outcomes), '',
  ].join('\n');
}
