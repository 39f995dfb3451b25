// `coterie check perf|datascale`: does the cluster carry the load you plan. What is sent and how it is judged is etcdctl's;
// what is written is removed again. Unlike etcdctl's it can be told how long to take, and it says in JSON what it measured.

import { utf8 } from '../base/bytes.js';
import { del, prefixRange, put, type Client } from '../client.js';
import { runGroup, type ClientCommand, type CommandFlag, type Invocation } from './client-command.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { residentBytes } from './resident.js';
import type { Terminal } from './terminal.js';

interface Load {
  /** Writes a second. */
  readonly rate: number;
  readonly clients: number;
  /** Of datascale. */
  readonly keys: number;
}

const LOADS: Readonly<Record<string, Load>> = {
  s: { rate: 150, clients: 50, keys: 10_000 }, m: { rate: 1_000, clients: 200, keys: 100_000 },
  l: { rate: 8_000, clients: 500, keys: 1_000_000 }, xl: { rate: 15_000, clients: 1_000, keys: 3_000_000 },
};
const NAMES: Readonly<Record<string, string>> = { small: 's', medium: 'm', large: 'l', xLarge: 'xl' };
const VALUE_BYTES = 1_024;
const PERF_MS = 60_000;
/** Of the rate that was asked for. */
const RATE_SHARE = 0.9;
const SLOWEST_MS = 500;
const STDDEV_MS = 100;

function loadFlags(prefix: string): readonly CommandFlag[] {
  return [
    { name: 'load', value: 'LOAD', help: 's (small, default), m (medium), l (large) or xl', words: Object.keys(LOADS) },
    { name: 'prefix', value: 'PREFIX', help: `where the keys are written; default ${prefix}` },
    { name: 'auto-compact', help: 'compact at the end' },
    { name: 'auto-defrag', help: 'defragment at the end' },
  ];
}

const PERF_PREFIX = '/etcdctl-check-perf/';
const PERF: ClientCommand = {
  words: 'check perf', usage: '', summary: 'how many writes a second it takes, and how long they take', takes: [0, 0],
  flags: [...loadFlags(PERF_PREFIX), { name: 'duration', value: 'DURATION', help: 'how long; default 60s' }],
  formats: ['simple', 'json', 'decoded'],
  async run(invocation) {
    const load = loadOf(invocation);
    const durationMs = invocation.milliseconds('duration', PERF_MS);
    const client = invocation.connect();
    const prefix = await emptyPrefix(client, invocation, PERF_PREFIX);
    const took = await hammer(client, { prefix, load, durationMs, count: Infinity });
    await cleanUp(invocation, client, prefix);
    return perfSaid(invocation, verdictOf(took, load.rate, durationMs));
  },
};

const SCALE_PREFIX = '/etcdctl-check-datascale/';
const DATASCALE: ClientCommand = {
  words: 'check datascale', usage: '', summary: 'how much memory a number of keys takes', takes: [0, 0],
  flags: loadFlags(SCALE_PREFIX), formats: ['simple', 'json', 'decoded'],
  async run(invocation) {
    const load = loadOf(invocation);
    const [endpoint = ''] = invocation.endpoints;
    const client = invocation.connect([endpoint]);
    const prefix = await emptyPrefix(client, invocation, SCALE_PREFIX);
    const before = await residentBytes(endpoint, invocation.tls);
    await hammer(client, { prefix, load: { ...load, rate: Infinity }, durationMs: Infinity, count: load.keys });
    const after = await residentBytes(endpoint, invocation.tls);
    await cleanUp(invocation, client, prefix);
    const usedBytes = Math.max(0, after - before);
    const megabytes = (usedBytes / (1 << 20)).toFixed(2);
    const text = `PASS: Approximate system memory used : ${megabytes} MB.`;
    invocation.print(invocation.format === 'simple' ? `${text}\n` : `${json({ pass: true, keys: load.keys, usedBytes })}\n`);
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [PERF, DATASCALE];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('check', COMMANDS, argv, terminal);
}

function loadOf(invocation: Invocation): Load {
  const word = invocation.text('load') ?? 's';
  const name = NAMES[word] ?? word;
  const load = Object.hasOwn(LOADS, name) ? LOADS[name] : undefined;
  if (load !== undefined) return load;
  throw new Refusal(`unknown load option ${word}`, `give one of ${Object.keys(LOADS).join(', ')}`);
}

/** Nothing of anybody's is counted, or removed at the end. */
async function emptyPrefix(client: Client, invocation: Invocation, fallback: string): Promise<string> {
  const prefix = invocation.text('prefix') ?? fallback;
  const { count } = await client.range({ ...prefixRange(utf8(prefix)), countOnly: true });
  if (count === 0) return prefix;
  const remedy = `coterie del --prefix ${prefix} removes them, if they are left over from a check; or another --prefix`;
  throw new Refusal(`prefix ${JSON.stringify(prefix)} has keys`, remedy, { exitCode: 1 });
}

interface Orders {
  readonly prefix: string;
  readonly load: Load;
  readonly durationMs: number;
  readonly count: number;
}

/** Writes at the rate of the load; gives how long each write took. */
async function hammer(client: Client, { prefix, load, durationMs, count }: Orders): Promise<readonly number[]> {
  const value = new Uint8Array(VALUE_BYTES).fill(0x78);
  const startedAt = performance.now();
  const took: number[] = [];
  let begun = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const mine = begun;
      if (mine >= count) return;
      const dueMs = (mine * 1000) / load.rate;
      if (dueMs >= durationMs || performance.now() - startedAt >= durationMs) return;
      begun += 1;
      const wait = dueMs - (performance.now() - startedAt);
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      const sentAt = performance.now();
      await put(client, utf8(`${prefix}${mine.toString().padStart(16, '0')}`), value);
      took.push(performance.now() - sentAt);
    }
  };
  await Promise.all(Array.from({ length: load.clients }, worker));
  return took;
}

async function cleanUp(invocation: Invocation, client: ReturnType<Invocation['connect']>, prefix: string): Promise<void> {
  const { rangeEnd } = prefixRange(utf8(prefix));
  const { header } = await del(client, utf8(prefix), { rangeEnd });
  if (invocation.isSet('auto-compact')) {
    await client.compact(header.revision, { physical: true });
    invocation.print(invocation.format === 'simple' ? `Compacted with revision ${header.revision}\n` : '');
  }
  if (!invocation.isSet('auto-defrag')) return;
  for (const endpoint of invocation.endpoints) {
    await invocation.connect([endpoint]).defragment();
    invocation.print(invocation.format === 'simple' ? `Defragmented ${JSON.stringify(endpoint)}\n` : '');
  }
}

export interface Verdict {
  readonly rate: number;
  readonly slowestMs: number;
  readonly stddevMs: number;
  readonly isFast: boolean;
  readonly isEven: boolean;
  readonly isSteady: boolean;
}

/** `took`: of each write, in milliseconds. */
export function verdictOf(took: readonly number[], wantedRate: number, durationMs: number): Verdict {
  const rate = Math.round((took.length * 1000) / durationMs);
  const slowestMs = took.reduce((most, ms) => Math.max(most, ms), 0);
  const mean = took.reduce((sum, ms) => sum + ms, 0) / Math.max(1, took.length);
  const stddevMs = Math.sqrt(took.reduce((sum, ms) => sum + (ms - mean) ** 2, 0) / Math.max(1, took.length));
  return {
    rate, slowestMs, stddevMs,
    isFast: rate >= wantedRate * RATE_SHARE, isEven: slowestMs <= SLOWEST_MS, isSteady: stddevMs <= STDDEV_MS,
  };
}

function perfSaid(invocation: Invocation, { rate, slowestMs, stddevMs, isFast, isEven, isSteady }: Verdict): number {
  const pass = isFast && isEven && isSteady;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(6)}s`;
  if (invocation.format !== 'simple') {
    const round = (ms: number): number => Math.round(ms * 1000) / 1000;
    invocation.printJson({ pass, writesPerSecond: rate, slowestMs: round(slowestMs), stddevMs: round(stddevMs) });
  } else {
    invocation.print([
      isFast ? `PASS: Throughput is ${rate} writes/s` : `FAIL: Throughput too low: ${rate} writes/s`,
      isEven ? `PASS: Slowest request took ${seconds(slowestMs)}` : `Slowest request took too long: ${seconds(slowestMs)}`,
      isSteady ? `PASS: Stddev is ${seconds(stddevMs)}` : `Stddev too high: ${seconds(stddevMs)}`,
      pass ? 'PASS' : 'FAIL', '',
    ].join('\n'));
  }
  return pass ? 0 : 1;
}
