// What a report becomes: text, Markdown, JSON, a picture. Each must say where coterie loses, and none may lose a row.

import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { tableOf } from '../docs/markdown.js';
import { fromJson, toJson } from './json.js';
import { readmeWith, recorded, section, table } from './markdown.js';
import { measuredOf, SAMPLE } from './report-samples.js';
import { judge, type Report } from './report.js';
import { svgOf, ticksFor } from './svg.js';
import { terminalText } from './terminal.js';
import { losses, shown, shownSpread } from './wording.js';

/** Samples of colours, which are no bars. */
const LEGEND_WIDTH = '18';
const root = new URL('../../../', import.meta.url);

function read(file: string): string {
  return readFileSync(new URL(file, root), 'utf8');
}

test('figures are as long as they are worth', (t) => {
  t.deepEqual([123_456, 999.6, 123.4, 12.34, 1.234, 0, null].map(shown), ['123,456', '1000', '123', '12.3', '1.23', '0.00', '-']);
  t.is(shownSpread({ median: 2, min: 1, max: 3 }), '2.00 (1.00 to 3.00)');
  t.is(shownSpread({ median: 2, min: 2, max: 2 }), '2.00');
});

test('it is said plainly where coterie loses', (t) => {
  t.deepEqual(losses(SAMPLE.measured.map(judge)), [
    '2 of 5 goals reached.', '',
    'Worse than etcd:', '',
    '- gets: 50.0 gets/s, etcd 100, ratio 0.50 (0.40 to 0.60)', '',
    'Goals missed:', '',
    '- gets: ratio 0.50 (0.40 to 0.60), wanted at least 3',
    '- heartbeats: 100 (100 to 501) ms, wanted at most 500', '',
    'Not measured:', '',
    '- watches: round 1, coterie: it broke',
  ]);
});

test('where nothing is lost, that is said', (t) => {
  const [first] = SAMPLE.measured;
  t.deepEqual(losses(first === undefined ? [] : [judge(first)]), [
    '1 of 1 goals reached.', '', 'No measured row is worse than etcd\'s.', '', 'No goal is missed.',
  ]);
  if (first === undefined) return;
  const without = judge({ ...first, row: { ...first.row, goal: null } });
  t.deepEqual(losses([without]), ['No measured row is worse than etcd\'s.'], 'nothing of goals that there are not');
});

test('the text for a terminal holds every row and the losses, and colours only if asked', (t) => {
  const text = terminalText(SAMPLE, false);
  for (const { row } of SAMPLE.measured) t.true(text.includes(row.name), row.name);
  t.regex(text, /puts <many> & "wide" +280 +100 +puts\/s +2\.80 \(2\.50 to 3\.00\) +>= 2 +met +28\.0 \/ 10\.0\n/);
  t.true(text.endsWith(`${losses(SAMPLE.measured.map(judge)).join('\n')}\n`));
  t.false(text.includes('\u001B'));
  t.regex(terminalText(SAMPLE, true), /\u001B\[31m {2}gets .*\u001B\[0m\n/);
});

test('a section of RESULTS.md has the circumstances, a row for each row, and the losses', (t) => {
  const text = section(SAMPLE);
  t.is(tableOf(text, 'row').length, SAMPLE.measured.length);
  for (const word of ['2026-11-22', 'abc1234', 'npm run bench -- --write', 'etcd 3.4.23', 'v20.20.2', 'ext4', '--logger zap']) {
    t.true(text.includes(word), word);
  }
  t.true(text.includes(losses(SAMPLE.measured.map(judge)).join('\n')));
  t.true(text.includes('**worse than etcd**'));
});

test('a quick run and a part of a run are called that', (t) => {
  const quick: Report = { ...SAMPLE, setup: { ...SAMPLE.setup, isQuick: true, only: 'put' } };
  for (const text of [section(quick), terminalText(quick, false), svgOf(quick)]) t.regex(text, /quick, only what holds/);
  t.regex(section(quick), /not figures to quote/);
});

test('RESULTS.md and README.md have the places that a run is written to, and nothing else of them changes', (t) => {
  const results = read('test/bench/RESULTS.md');
  t.is(recorded(results, SAMPLE).replace(`\n${section(SAMPLE)}`, ''), results);
  const readme = read('README.md');
  const written = readmeWith(readme, SAMPLE);
  t.is(readmeWith(written, SAMPLE), written);
  t.true(written.includes('- gets: ratio 0.50 (0.40 to 0.60), wanted at least 3'));
  const around = (text: string): string => text.replace(/<!-- figures:[^]*<!-- end of figures -->/, '');
  t.is(around(written), around(readme));
});

test('a run that is recorded again, round after round, stands there once, and says how far it is', (t) => {
  const half: Report = { ...SAMPLE, setup: { ...SAMPLE.setup, rounds: 1, tookSeconds: 200 } };
  const results = read('test/bench/RESULTS.md');
  const once = recorded(results, half);
  t.true(once.includes('Not all of it: 1 of 3 rounds are whole.'));
  t.is(recorded(once, SAMPLE, half), recorded(results, SAMPLE));
  t.true(readmeWith(read('README.md'), half).includes('medians of 1 of 3 rounds'));
});

test('rows of fewer rounds are told, with the reason where one failed', (t) => {
  const [first, second] = SAMPLE.measured;
  if (first === undefined || second === undefined) throw new Error('the sample has rows');
  const fewer = measuredOf(first.row, { coterie: [300, null, 300], etcd: [100, 100, 100] }, ['round 2, coterie: it broke']);
  const often = measuredOf({ ...first.row, name: 'often' }, { coterie: [null, 300, null], etcd: [100, 100, 100] },
    ['round 1, coterie: it broke', 'round 3, coterie: it broke again']);
  const planned = measuredOf({ ...first.row, name: 'leases' }, { coterie: [300], etcd: [100] });
  const said = losses([fewer, often, planned, second].map(judge)).join('\n');
  t.true(said.endsWith([
    'Of fewer rounds than the others:', '',
    `- ${first.row.name}: 2 of 3; round 2, coterie: it broke`,
    '- often: 1 of 3; round 1, coterie: it broke; 1 more failed', '- leases: 1 of 3',
  ].join('\n')), said);
});

test('a place that is missing is an error that names it', (t) => {
  t.throws(() => recorded('# Results\n', SAMPLE), { message: /newest first/ });
  t.throws(() => readmeWith('# coterie\n', SAMPLE), { message: /end of figures/ });
});

test('the JSON has the fields that test/bench/README.md tells, and no others', (t) => {
  const report = JSON.parse(toJson(SAMPLE)) as { readonly rows: readonly object[] };
  const readme = read('test/bench/README.md');
  const told = (head: string): string[] => tableOf(readme, head).map(([name = '']) => name.replaceAll('`', ''));
  t.deepEqual(told('field').toSorted(), Object.keys(report).toSorted());
  for (const row of report.rows) t.deepEqual(told('field of a row').toSorted(), Object.keys(row).toSorted());
});

test('the JSON keeps what each round said, and what became of it', (t) => {
  const report = JSON.parse(toJson(SAMPLE)) as { readonly whole: boolean; readonly rows: readonly Record<string, unknown>[] };
  const { rows } = report;
  t.true(report.whole);
  t.like(rows[0], {
    id: 'fast', verdict: 'met', behind: false, ratio: { median: 2.8, min: 2.5, max: 3 },
    coterie: { median: 280, values: [300, 250, 280], cpuMicros: [30, 25, 28] }, cpuMicros: { coterie: 28, etcd: 10 },
  });
  t.like(rows[4], { id: 'lost', verdict: 'not measured', faults: ['round 1, coterie: it broke'] });
  t.like(rows[4], { coterie: { values: [null, null, null] } });
});

test('a report that was kept as JSON can be read back, and tells the same', (t) => {
  t.deepEqual(fromJson(toJson(SAMPLE)), SAMPLE);
  t.throws(() => fromJson(toJson(SAMPLE).replace('"format": 1', '"format": 2')), { message: /format 2/ });
});

test('the plot and README.md tell the run that is kept in results.json; where none is kept, there is no plot', (t) => {
  const has = (file: string): boolean => existsSync(new URL(`test/bench/${file}`, root));
  const readme = read('README.md');
  t.is(has('results.svg'), has('results.json'));
  t.is(readme.includes('test/bench/results.svg'), has('results.json'));
  if (!has('results.json')) return;
  const report = fromJson(read('test/bench/results.json'));
  t.is(read('test/bench/results.svg'), svgOf(report));
  t.is(readmeWith(readme, report), readme);
  t.true(read('test/bench/RESULTS.md').includes(table(report.measured.map(judge))));
});

test('the picture is well-formed, shows every row, and says in words what its colours say', (t) => {
  const svg = svgOf(SAMPLE);
  const open: string[] = [];
  for (const [, end, name = '', alone] of svg.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
    if (end === '/') t.is(open.pop(), name);
    else if (alone !== '/') open.push(name);
  }
  t.deepEqual(open, []);
  t.false(/&(?!amp;|lt;|gt;|quot;)/.test(svg));
  for (const name of ['puts &lt;many&gt; &amp; &quot;wide&quot;', 'gets', 'memory', 'latency', 'watches', 'heartbeats']) {
    t.true(svg.includes(name), name);
  }
  t.regex(svg, /2\.80 x, goal 2 reached/);
  t.regex(svg, /0\.50 x, goal 3 missed/);
  t.regex(svg, /1\.67 x, goal 1\.43 reached/);
  t.regex(svg, /501 ms, goal 500 missed/);
  t.regex(svg, /2 of 5 goals reached; worse than etcd in 1 of 4 rows/);
  t.regex(svg, /prefers-color-scheme: dark/);
  t.false(/NaN|Infinity|undefined/.test(svg));
});

test('bars of the picture begin at "as good as etcd" and end at the median, to the left where coterie is worse', (t) => {
  const svg = svgOf(SAMPLE);
  const bars = [...svg.matchAll(/<rect class="(met|behind|ahead)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g)]
    .filter(([, , x, width]) => Number(x) > 400 && width !== LEGEND_WIDTH)
    .map(([, kind, x, width]) => ({ kind, from: Number(x), to: Number(x) + Number(width) }));
  const one = Number(/<line class="one" x1="([\d.]+)"/.exec(svg)?.[1]);
  const [fast, slow, small, late] = bars;
  t.deepEqual(bars.map(({ kind }) => kind), ['met', 'behind', 'met', 'ahead']);
  for (const bar of [fast, small, late]) t.is(bar?.from, one);
  t.true(Math.abs((slow?.to ?? 0) - one) < 0.2);
  // On a logarithmic axis half as good is as far as twice as good.
  const half = one - (slow?.from ?? 0);
  t.true(Math.abs(((late?.to ?? 0) - one) / half - 2) < 0.02, 'latency is four times better');
});

test('what lies far beyond ends in an arrow, so that it does not press the others together', (t) => {
  const [first] = SAMPLE.measured;
  if (first === undefined) throw new Error('the sample has rows');
  const far = measuredOf(first.row, { coterie: [160_000, 170_000], etcd: [100, 100] });
  const svg = svgOf({ ...SAMPLE, measured: [...SAMPLE.measured, far] });
  t.deepEqual(ticksFor([...SAMPLE.measured, far].map(judge)), [0.25, 0.5, 1, 2, 4, 8, 16]);
  t.regex(svg, /<path class="met" d="M764 /);
  t.regex(svg, /1,650 x, goal 2 reached/);
  t.is([...svg.matchAll(/<path class="(?:met|missed|behind|ahead)"/g)].length, 1);
});

test('the axis holds every ratio, every goal and etcd itself, in powers of two', (t) => {
  t.deepEqual(ticksFor(SAMPLE.measured.map(judge)), [0.25, 0.5, 1, 2, 4]);
  t.deepEqual(ticksFor([]), [0.5, 1, 2, 4]);
});
