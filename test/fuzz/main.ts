// `npm run fuzz -- --minutes 10 [--seed 7]`: the garbage of test/fuzz/wire.ts against one server, for as long as asked. Prints
// a line each minute, with memory after a collection, and exits with 1 when the server ended, hung or kept growing. The first
// tenth of the time goes to the HTTP/2 server alone (test/fuzz/http2.ts), with `--http2` all of it; `--keep` keeps what is new.

import { parseArgs } from 'node:util';
import { startNode } from '../../core/start-node.js';
import { methods } from '../../core/wire/methods.js';
import { serve } from '../../core/wire/port.js';
import { collect } from '../collect.js';
import { campaign } from './http2.js';
import { fuzz } from './wire.js';

/** Of heap and buffers; caches and compiled code settle within the first minute. */
const GROWTH_BYTES_MAX = 64 * 1024 * 1024;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' }, seed: { type: 'string' }, http2: { type: 'boolean' }, keep: { type: 'boolean' },
  },
});
const minutes = Number(values.minutes);
let seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (!(minutes > 0) || !Number.isSafeInteger(seed)) throw new Error('usage: npm run fuzz -- --minutes 10 [--seed 7]');

const begun = performance.now();
const onHttp2 = minutes * 60_000 * (values.http2 === true ? 1 : 0.1);
const report = campaign({
  seed,
  keeps: values.keep === true,
  goesOn: () => performance.now() - begun < onHttp2,
  tell: (line) => process.stdout.write(`${line}\n`),
});
process.stdout.write(`HTTP/2 alone, seed ${seed}: ${report.conversations} conversations, ${report.failures.length} failures\n`);
if (report.failures.length > 0 || values.http2 === true) process.exit(report.failures.length > 0 ? 1 : 0);

function usedBytes(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const faults: string[] = [];
const node = await startNode({ dataDir: null });
const server = await serve(node.client, {
  urls: ['http://127.0.0.1:0'],
  observe: (event) => {
    if (event.kind === 'failed') faults.push(`${event.where}: ${event.error.stack ?? event.error.message}`);
  },
});
const paths = [...methods(node.client).keys()];
const until = begun + minutes * 60_000;
const totals = new Map<string, number>();
const used: number[] = [];
let slowestMs = 0;
process.stdout.write(`seed ${seed}, ${minutes} minutes\n`);
while (performance.now() < until) {
  const minute = Math.min(performance.now() + 60_000, until);
  const done = await fuzz({ url: server.urls[0] ?? '', seed, paths, goOn: () => performance.now() < minute });
  for (const [kind, count] of Object.entries(done.cases)) totals.set(kind, (totals.get(kind) ?? 0) + count);
  slowestMs = Math.max(slowestMs, done.slowestMs);
  seed += 1;
  used.push(usedBytes());
  const counts = [...totals].map(([kind, count]) => `${kind} ${count}`).join(', ');
  const mebibytes = ((used.at(-1) ?? 0) / 2 ** 20).toFixed(1);
  process.stdout.write(`${counts}; slowest honest answer ${slowestMs.toFixed(0)} ms; ${mebibytes} MiB in use\n`);
}
await server.close();
await node.close();
for (const fault of new Set(faults)) process.stdout.write(`failed: ${fault}\n`);
const growth = (used.at(-1) ?? 0) - (used[0] ?? 0);
process.stdout.write(`growth since the first minute: ${(growth / 2 ** 20).toFixed(1)} MiB; failures told of: ${faults.length}\n`);
process.exit(faults.length > 0 || growth > GROWTH_BYTES_MAX ? 1 : 0);
