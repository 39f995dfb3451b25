// The report as JSON: what `--json` prints and `results.json` keeps. The fields are told in test/bench/README.md; one that is
// there keeps its name and meaning as long as `format` is 1. Pure.

import { judge, type Report, type ServerName } from './report.js';
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
