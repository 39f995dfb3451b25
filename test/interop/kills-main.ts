// npm run kills -- [times] [seed]: the long form of kills.test.ts, with progress and a summary line.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { killDuringWrites } from './kills.js';

const kills = Number(process.argv[2] ?? 200);
const seed = Number(process.argv[3] ?? 1);
const directory = await mkdtemp(join(tmpdir(), 'coterie-kills-'));
try {
  const report = await killDuringWrites({
    kills,
    seed,
    dataDir: join(directory, 'data'),
    onRound: (round, acknowledged) => {
      if (round % 10 === 0) process.stderr.write(`${round}/${kills} kills, ${acknowledged} writes acknowledged\n`);
    },
  });
  process.stdout.write(
    `${report.kills} kills: ${report.acknowledged} writes acknowledged, 0 lost, ${report.unknown} unknown, ` +
      `${report.checked} checks, revision ${report.revision}, slowest start ${Math.round(report.slowestStartMs)} ms\n`,
  );
} finally {
  await rm(directory, { recursive: true, force: true });
}
