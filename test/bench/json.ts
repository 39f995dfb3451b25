// The report as JSON: what `--json` prints and `results.json` keeps. The fields are told in test/bench/README.md; one that is
// there keeps its name and meaning as long as `format` is 1; a report can be read back from it. Pure.

import { judge, type Figure, type Measured, type Report, type Row, type ServerName, type Setup, type Side } from './report.js';
import { isWhole } from './wording.js';

const FORMAT = 1;

export function toJson(report: Report): string {
  const rows = report.measured.map((measured) => {
    const { row, theme, sides } = measured;
    const { coterie, etcd, ratio, cpuMicros, verdict, isBehind, faults } = judge(measured);
    const side = (name: ServerName): object => ({
      values: sides[name].rounds.map((figure) => figure?.value ?? null),
      cpuMicros: sides[name].rounds.map((figure) => figure?.cpuMicros ?? null),
    });
    return {
      id: row.id, theme, name: row.name, unit: row.unit, better: row.better, against: row.against, goal: row.goal,
      judged: row.judged,
      coterie: { ...coterie, ...side('coterie') }, etcd: { ...etcd, ...side('etcd') },
      ratio, cpuMicros, verdict, behind: isBehind, faults,
    };
  });
  const { isQuick, ...setup } = report.setup;
  return `${JSON.stringify({ format: FORMAT, ...setup, quick: isQuick, whole: isWhole(report), rows }, null, 2)}\n`;
}

interface JsonSide {
  readonly values: readonly (number | null)[];
  readonly cpuMicros: readonly (number | null)[];
}

interface JsonRow extends Row, Readonly<Record<ServerName, JsonSide>> {
  readonly theme: string;
  readonly faults: readonly string[];
}

interface JsonReport extends Omit<Setup, 'isQuick'> {
  readonly format: number;
  readonly quick: boolean;
  readonly whole: boolean;
  readonly rows: readonly JsonRow[];
}

/** Of faults it is not kept whose they were: the first side has them all. */
export function fromJson(text: string): Report {
  const { format, quick, whole: _, rows, ...setup } = JSON.parse(text) as JsonReport;
  if (format !== FORMAT) throw new Error(`a report of format ${format}; this bench reads ${FORMAT}`);
  const measured = rows.map(({ id, name, unit, better, against, goal, judged, theme, faults, coterie, etcd }): Measured => ({
    row: { id, name, unit, better, against, goal, judged }, theme,
    sides: { coterie: sideOf(coterie, faults), etcd: sideOf(etcd, []) },
  }));
  return { setup: { ...setup, isQuick: quick }, measured };
}

function sideOf({ values, cpuMicros }: JsonSide, faults: readonly string[]): Side {
  const rounds = values.map((value, i): Figure | null => {
    const cpu = cpuMicros[i] ?? null;
    if (value === null) return null;
    return cpu === null ? { value } : { value, cpuMicros: cpu };
  });
  return { rounds, faults };
}
