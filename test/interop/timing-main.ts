// npm run timing -- [rounds]: time to live and time to gone behind the real nginx, as percentiles; see timing.ts.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measureTiming, percentile } from './timing.js';

const rounds = Number(process.argv[2] ?? 100);
const directory = await mkdtemp(join(tmpdir(), 'coterie-timing-'));
try {
  const report = await measureTiming({
    rounds,
    directory,
    onRound: (round, liveMs, goneMs) => {
      const gone = `gone ${Math.round(goneMs)} ms after its TTL`;
      if (round % 10 === 0) process.stderr.write(`${round}/${rounds}: live after ${Math.round(liveMs)} ms, ${gone}\n`);
    },
  });
  const row = (name: string, values: readonly number[]): string =>
    `${name}: p50 ${Math.round(percentile(values, 0.5))} ms, p99 ${Math.round(percentile(values, 0.99))} ms, ` +
    `max ${Math.round(Math.max(...values))} ms over ${values.length}\n`;
  process.stdout.write(row('register to first request', report.liveMs));
  process.stdout.write(row(`kill -9 to gone from nginx, beyond the TTL of ${report.ttlSeconds} s`, report.goneMs));
  process.stdout.write(`${report.requests} requests meanwhile, ${report.failed} failed\n`);
} finally {
  await rm(directory, { recursive: true, force: true });
}
