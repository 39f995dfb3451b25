// h2load (Debian's nghttp2-client) for throughput: a C program, so that the generator is not what is measured. One prebuilt
// request is sent over and over. gRPC reports errors under HTTP 200, so callers check effects, not statuses. A run warms up and
// is thrown away, the next one is measured.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Target } from './targets.js';

/** Where requests go: a server alone, or one member of several. */
export type Addressed = Pick<Target, 'name' | 'url' | 'headers' | 'cpuMicros'>;

export interface LoadResult {
  readonly perSecond: number;
  readonly requests: number;
  /** What came back as bodies: an error of gRPC has none, and would pass for a very fast answer. */
  readonly bodyBytes: number;
  /** Processor time of the server for each answer. */
  readonly cpuMicros: number;
}

export interface Load {
  /** With a slash in front. */
  readonly path: string;
  readonly body: Uint8Array;
  readonly connections: number;
  /** Requests in flight on each connection. */
  readonly depth: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly isHttp1?: boolean;
}

/** Beyond the time it was given; then it is stuck, or the server is. */
const PATIENCE_MS = 30_000;

export async function runLoad(server: Addressed, load: Load): Promise<LoadResult> {
  const directory = await mkdtemp(join(tmpdir(), 'coterie-load-'));
  try {
    const file = join(directory, 'body');
    await writeFile(file, load.body);
    const run = (seconds: number): Promise<string> =>
      h2load(argumentsOf(server, load, file, seconds), seconds * 1000 + PATIENCE_MS);
    if (load.warmUpSeconds > 0) await run(load.warmUpSeconds);
    const before = server.cpuMicros();
    const output = await run(load.seconds);
    const spent = server.cpuMicros() - before;
    const result = readOutput(output);
    return { ...result, cpuMicros: spent / result.requests };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function argumentsOf(server: Addressed, load: Load, file: string, seconds: number): string[] {
  const isHttp1 = load.isHttp1 === true;
  const args = ['-c', `${load.connections}`, '-m', `${load.depth}`, '-t', '1', '-D', `${seconds}`, '-d', file];
  const headers = isHttp1 ? ['content-type: application/json'] : ['content-type: application/grpc', 'te: trailers'];
  for (const header of [...headers, ...server.headers]) args.push('-H', header);
  // It offers HTTP/1 as well where it may, and a server that serves both may choose that.
  args.push(isHttp1 ? '--h1' : '--npn-list=h2');
  return [...args, `${server.url}${load.path}`];
}

/** What `h2load` printed when it had answers only. */
export function readOutput(output: string): Omit<LoadResult, 'cpuMicros'> {
  const [, perSecond] = /, ([\d.]+) req\/s/.exec(output) ?? [];
  const [, requests, failed] = /(\d+) succeeded, (\d+) failed,/.exec(output) ?? [];
  const [, bodyBytes] = /\((\d+)\) data/.exec(output) ?? [];
  if (failed !== '0' || Number(requests) === 0) throw new Error(`h2load reports failed requests, or none:\n${output}`);
  return { perSecond: Number(perSecond), requests: Number(requests), bodyBytes: Number(bodyBytes) };
}

function h2load(args: readonly string[], timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('h2load', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout });
    let [output, complaint] = ['', ''];
    child.stdout.on('data', (bytes: Buffer) => {
      output += bytes.toString();
    });
    child.stderr.on('data', (bytes: Buffer) => {
      complaint += bytes.toString();
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(output);
      else if (code === null) reject(new Error(`h2load did not end within ${timeout / 1000} seconds: ${complaint.trim()}`));
      else reject(new Error(`h2load ended with ${code}: ${complaint.trim()}`));
    });
  });
}
