// The bench's own load generator, seen from the bench: what is to be sent (plain data), and a process that sends it. It makes
// what h2load cannot: arrivals at a fixed rate whatever the answers do (open loop), quantiles of latency, keys that differ.

import type { Quantiles } from './histogram.js';
import { figuresOf } from './load-process.js';

/** `any`: another key of the space with every request, by a generator with a fixed seed. `fill`: each key once, 100 a request. */
export type Requests =
  | { readonly kind: 'same'; readonly base64: string }
  | { readonly kind: 'any_put' | 'any_get' | 'fill'; readonly keys: number };

/** `open`: so many arrivals a second in even steps, each counted from its step. `closed`: the next when the last is answered. */
export type Pacing =
  | { readonly kind: 'open'; readonly perSecond: number }
  | { readonly kind: 'closed'; readonly depth: number };

export interface Job {
  readonly url: string;
  readonly path: string;
  readonly connections: number;
  readonly pacing: Pacing;
  readonly requests: Requests;
  /** Sent and answered before anything is counted. */
  readonly warmUpSeconds: number;
  /** Of `fill` nothing: it ends when it has sent everything. */
  readonly seconds: number;
}

/** Times in microseconds. */
export interface JobResult {
  readonly answers: number;
  readonly failed: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Of all answers that came after the warm-up. */
  readonly bodyBytes: number;
  /** From the step of the schedule (open loop) or from the sending (closed loop) until the answer has ended. */
  readonly latency: Quantiles;
  /** How much later than its step each arrival was sent; nothing for a closed loop. */
  readonly late: Quantiles | null;
}

export interface Loaded extends JobResult {
  /** Of the server, for each answer of the measured time. */
  readonly cpuMicros: number;
}

/** A generator that leaves its schedule by more than this, and by more than this part of the latency, tells of itself. */
export const LATE_P99 = { microsMax: 1_000, partMax: 0.2 } as const;

/** Beyond the time it was given, filling a store and waiting for answers included. */
const PATIENCE_MS = 120_000;

/** Fails if any answer brought no message. `cpuMicros` is asked when the warm-up has ended and when the measured time has. */
export async function generate(job: Job, cpuMicros: () => number): Promise<Loaded> {
  const cpu: number[] = [];
  const result = await figuresOf({
    file: 'generator-main.js', words: job, timeoutMs: (job.warmUpSeconds + job.seconds) * 1000 + PATIENCE_MS,
    isPreferred: job.pacing.kind === 'open', onMark: () => cpu.push(cpuMicros()),
  }) as JobResult;
  const [before = NaN, after = NaN] = cpu;
  if (result.failed > 0) throw new Error(`${result.failed} of ${result.answers} answers brought no message`);
  return { ...result, cpuMicros: (after - before) / result.answers };
}

/** Null: the generator kept its schedule. */
export function generatorFault({ late, latency }: JobResult): string | null {
  if (late === null || late.p99 <= Math.max(LATE_P99.microsMax, LATE_P99.partMax * latency.p99)) return null;
  const by = (late.p99 / 1000).toFixed(1);
  return `the generator itself was late (p99 ${by} ms): the machine is too busy for this rate`;
}
