// npm run differential -- --seed N --operations N: the long form of differential.test.ts.

import { parseArgs } from 'node:util';
import { runCampaign } from './campaign.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    operations: { type: 'string', default: '100000' },
    world: { type: 'string', default: '10000' },
    all: { type: 'boolean', default: false },
    'no-shrink': { type: 'boolean', default: false },
  },
});
const operations = Number(values.operations);
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
const started = Date.now();
const report = await runCampaign({
  seed: Number(values.seed),
  operations,
  worldOperations: Number(values.world),
  taste: { hasExpiry: true, hasCorners: true },
  shrinks: !values['no-shrink'],
  goesOn: values.all,
  signal: stop.signal,
  onDifference: (text) => process.stderr.write(`${text}\n`),
  onWorld: (seed, done) => {
    const seconds = (Date.now() - started) / 1000;
    process.stderr.write(`world ${seed}: ${done} operations, ${Math.round(done / seconds)} a second\n`);
  },
});
const rows = [...report.counts].sort(([a], [b]) => (a < b ? -1 : 1));
for (const [name, { answers, errors }] of rows) {
  process.stdout.write(`${name.padEnd(13)} ${answers} answered, ${errors} refused\n`);
}
if (report.failure === null) {
  process.stdout.write(`${report.operations} operations in ${report.worlds} worlds: no difference\n`);
} else {
  process.stdout.write(`${report.failure}\n`);
  process.exitCode = 1;
}
