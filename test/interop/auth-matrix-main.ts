// npm run auth-matrix -- [every]: the whole matrix of rights, or every n-th case of it, with progress and a summary line.

import { cases } from './auth-matrix.js';
import { runMatrix } from './auth-matrix-run.js';

const all = cases(Number(process.argv[2] ?? 1));
const report = await runMatrix(all, (n) => {
  if (n % 5000 === 0) process.stderr.write(`${n}/${all.length}\n`);
});
for (const mismatch of report.mismatches.slice(0, 20)) process.stdout.write(`${mismatch}\n`);
process.stdout.write(`${report.cases} cases, ${report.permitted} of them permitted, ${report.mismatches.length} mismatches, `
  + `${Math.round(report.tookMs / 1000)} s\n`);
process.exitCode = report.mismatches.length === 0 ? 0 : 1;
