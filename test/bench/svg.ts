// The report as a picture: a bar for each row from 1 (as good as etcd) to the median ratio, on a logarithmic axis, turned so that
// to the right is always better; a line from the worst to the best round; a diamond where the goal is. It carries its own
// colours for light and dark, and says in words what the colours say. Pure, and no library.

import { judge, summarize, timesBetter, type Outcome, type Report } from './report.js';
import { circumstances, shown, titleOf } from './wording.js';

const WIDTH = 980;
const PLOT = { from: 440, to: 764 } as const;
const TEXT_AT = PLOT.to + 16;
const TOP = 122;
const ROW = 24;
const HEADING = 30;
const BAR = 11;
/** The axis holds at least the inner two, and goes no further than the outer two: what lies beyond ends in an arrow. */
const AXIS = { outerLeast: 1 / 16, innerLeast: 0.5, innerMost: 4, outerMost: 16 } as const;

const STYLE = `
  .ground { fill: #ffffff; } text { fill: #1f2328; font: 12.5px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  .title { font-size: 17px; font-weight: 600; } .theme { font-weight: 600; } .small { font-size: 11.5px; fill: #59636e; }
  .grid { stroke: #d1d9e0; } .one { stroke: #1f2328; stroke-width: 1.5; } .spread { stroke: #1f2328; stroke-width: 1.5; }
  .met { fill: #1a7f37; } .ahead { fill: #0969da; } .missed { fill: #bf8700; } .behind { fill: #cf222e; }
  .goal { fill: #ffffff; stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } text { fill: #f0f6fc; } .small { fill: #9198a1; } .grid { stroke: #3d444d; }
    .one { stroke: #f0f6fc; } .spread { stroke: #f0f6fc; } .goal { fill: #0d1117; stroke: #f0f6fc; }
    .met { fill: #3fb950; } .ahead { fill: #4493f8; } .missed { fill: #d29922; } .behind { fill: #f85149; }
  }`;

const LEGEND = [
  ['met', 'goal reached'], ['missed', 'goal missed'], ['behind', 'worse than etcd'], ['ahead', 'better, no goal'],
] as const;

/** Where a ratio stands; one beyond the axis at its end. */
type Scale = (ratio: number) => number;

export function svgOf(report: Report): string {
  const outcomes = report.measured.map(judge);
  const compared = outcomes.filter(({ row }) => row.against === 'etcd');
  const own = outcomes.filter(({ row }) => row.against === 'itself');
  const ticks = ticksFor(compared);
  const [least = 1, most = 2] = [ticks[0], ticks.at(-1)];
  const scale: Scale = (ratio) => {
    const shownAs = Math.min(most, Math.max(least, ratio));
    return PLOT.from + ((PLOT.to - PLOT.from) * Math.log2(shownAs / least)) / Math.log2(most / least);
  };
  const rows: string[] = [];
  let y = TOP;
  let theme = '';
  for (const outcome of compared) {
    if (outcome.theme !== theme) {
      theme = outcome.theme;
      rows.push(words(24, y + HEADING - 9, theme, 'theme'));
      y += HEADING;
    }
    rows.push(...rowOf(outcome, y, scale));
    y += ROW;
  }
  const bottom = y + 8;
  y = bottom + 40;
  if (own.length > 0) {
    rows.push(words(24, y + HEADING - 9, 'Coterie against itself', 'theme'));
    y += HEADING;
    for (const outcome of own) {
      rows.push(...ownRow(outcome, y));
      y += ROW;
    }
  }
  y += 12;
  const feet = circumstances(report).flatMap((line) => folded(line, 145));
  for (const line of feet) rows.push(words(24, y += 17, line, 'small'));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 20}" width="${WIDTH}" height="${y + 20}" role="img" `
      + 'aria-labelledby="title desc">',
    '<title id="title">How many times better than etcd coterie is</title>',
    `<desc id="desc">${escaped([...compared.map(inWords), ...own.map(ownWords)].join('; '))}</desc>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="ground" width="${WIDTH}" height="${y + 20}" rx="6"/>`,
    words(24, 34, 'How many times better than etcd coterie is', 'title'),
    words(24, 56, `${titleOf(report)}: ${tally(outcomes)}`, 'small'),
    words(24, 73, 'Bar: median of the rounds; line: from the worst to the best; diamond: goal; logarithmic axis', 'small'),
    words(scale(1) - 10, TOP - 26, '← etcd better', 'small', 'end'),
    words(scale(1) + 10, TOP - 26, 'coterie better →', 'small'),
    ...ticks.map((tick) => tickOf(tick, scale, bottom)),
    ...rows,
    ...LEGEND.map(([kind, text], i) => legendOf(kind, text, 24 + i * 170, bottom + 22)),
    '</svg>', '',
  ].join('\n');
}

/** Powers of two around what there is to show. */
export function ticksFor(outcomes: readonly Outcome[]): number[] {
  const all = outcomes.filter(({ row }) => row.against === 'etcd').flatMap(({ row, ratio }) => [
    ...(ratio === null ? [] : [timesBetter(row, ratio.min), timesBetter(row, ratio.max)]),
    ...(row.goal === null ? [] : [timesBetter(row, row.goal.value)]),
  ]).filter((value) => value > 0 && Number.isFinite(value));
  const from = Math.floor(Math.log2(Math.max(AXIS.outerLeast, Math.min(AXIS.innerLeast, ...all))));
  const to = Math.ceil(Math.log2(Math.min(AXIS.outerMost, Math.max(AXIS.innerMost, ...all))));
  return Array.from({ length: to - from + 1 }, (_, i) => 2 ** (from + i));
}

function rowOf(outcome: Outcome, y: number, scale: Scale): string[] {
  const { row, ratio } = outcome;
  const middle = y + ROW / 2;
  const parts = [words(34, middle + 4, row.name)];
  if (ratio === null) return [...parts, words(TEXT_AT, middle + 4, 'not measured', 'small')];
  const [value, ...ends] = [ratio.median, ratio.min, ratio.max].map((each) => timesBetter(row, each));
  const [from, to] = [Math.min(1, value ?? 1), Math.max(1, value ?? 1)].map(scale);
  const [worst, best] = ends.map(scale);
  const width = Math.max(1, (to ?? 0) - (from ?? 0));
  const place = `x="${fixed(from)}" y="${fixed(middle - BAR / 2)}" width="${fixed(width)}" height="${BAR}"`;
  parts.push(`<rect class="${kindOf(outcome)}" ${place} rx="1.5"/>`);
  if (worst === best && (best === PLOT.from || best === PLOT.to)) {
    parts.push(arrow(kindOf(outcome), best, middle));
  } else {
    parts.push(line('spread', worst ?? 0, middle, best ?? 0, middle));
    for (const end of [worst, best]) parts.push(line('spread', end ?? 0, middle - 3.5, end ?? 0, middle + 3.5));
  }
  if (row.goal !== null) {
    const at = scale(timesBetter(row, row.goal.value));
    parts.push(`<path class="goal" d="M${fixed(at)} ${fixed(middle - 6)}l5 6l-5 6l-5 -6z"/>`);
  }
  return [...parts, words(TEXT_AT, middle + 4, inFigures(outcome))];
}

/** The bar goes on beyond the axis. */
function arrow(kind: string, x: number, y: number): string {
  const tip = x === PLOT.to ? 10 : -10;
  return `<path class="${kind}" d="M${fixed(x)} ${fixed(y - BAR + 2)}l${tip} ${BAR - 2}l${-tip} ${BAR - 2}z"/>`;
}

function kindOf({ isBehind, verdict }: Outcome): string {
  if (isBehind) return 'behind';
  if (verdict === 'met') return 'met';
  return verdict === 'missed' ? 'missed' : 'ahead';
}

/** `1.56 x, goal 2 missed`; what the table calls a ratio of 0.5 where less is better is 2 here. */
function inFigures(outcome: Outcome): string {
  const { row, ratio, verdict } = outcome;
  const times = `${shown(timesBetter(row, ratio?.median ?? NaN))} x`;
  if (row.goal === null) return times;
  const goal = Number(timesBetter(row, row.goal.value).toFixed(2));
  return `${times}, goal ${goal} ${verdict === 'met' ? 'reached' : 'missed'}`;
}

function inWords(outcome: Outcome): string {
  return `${outcome.row.name}: ${outcome.ratio === null ? 'not measured' : inFigures(outcome)}`;
}

/** Said, not drawn: what is not a ratio to etcd has no place on the axis. */
function ownRow(outcome: Outcome, y: number): string[] {
  const middle = y + ROW / 2;
  const place = `x="${TEXT_AT - 22}" y="${middle - BAR / 2}" width="${BAR}" height="${BAR}"`;
  const mark = outcome.coterie === null ? [] : [`<rect class="${kindOf(outcome)}" ${place} rx="1.5"/>`];
  return [words(34, middle + 4, outcome.row.name), ...mark, words(TEXT_AT, middle + 4, ownFigures(outcome))];
}

function ownFigures({ row, coterie, verdict }: Outcome): string {
  if (coterie === null) return 'not measured';
  const worst = row.better === 'more' ? coterie.min : coterie.max;
  const figure = `${shown(row.judged === 'worst' ? worst : coterie.median)} ${row.unit}`;
  return row.goal === null ? figure : `${figure}, goal ${row.goal.value} ${verdict === 'met' ? 'reached' : 'missed'}`;
}

function ownWords(outcome: Outcome): string {
  return `${outcome.row.name}: ${ownFigures(outcome)}`;
}

function tally(outcomes: readonly Outcome[]): string {
  const { met, goals, behind } = summarize(outcomes);
  const compared = outcomes.filter(({ ratio }) => ratio !== null).length;
  return `${met.length} of ${goals} goals reached; worse than etcd in ${behind.length} of ${compared} rows`;
}

function tickOf(tick: number, scale: Scale, bottom: number): string {
  const x = scale(tick);
  const label = tick === 1 ? 'as good' : `${tick >= 1 ? tick : `1/${1 / tick}`} x`;
  return `${line(tick === 1 ? 'one' : 'grid', x, TOP - 4, x, bottom)}\n`
    + `<text class="small" x="${fixed(x)}" y="${TOP - 10}" text-anchor="middle">${label}</text>`;
}

function legendOf(kind: string, text: string, x: number, y: number): string {
  const sample = `<rect class="${kind}" x="${x}" y="${y - BAR + 1}" width="18" height="${BAR}" rx="1.5"/>`;
  return `${sample}\n${words(x + 25, y, text, 'small')}`;
}

function line(kind: string, x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="${kind}" x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}"/>`;
}

function words(x: number, y: number, text: string, kind = '', anchor = ''): string {
  const end = anchor === '' ? '' : ` text-anchor="${anchor}"`;
  return `<text${kind === '' ? '' : ` class="${kind}"`}${end} x="${fixed(x)}" y="${fixed(y)}">${escaped(text)}</text>`;
}

function folded(text: string, most: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last.length + word.length >= most) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

function fixed(value: number | undefined): string {
  return String(Math.round((value ?? 0) * 10) / 10);
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
