// The load generator: h2load (Debian's nghttp2-client), a C program, so that the generator is not what is measured. One
// prebuilt request body is sent over and over. gRPC reports errors under HTTP 200, so callers check effects, not statuses.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface LoadResult {
  readonly perSecond: number;
  readonly requests: number;
  readonly meanMs: number;
  /** What came back as bodies: an error of gRPC has none, and would pass for a very fast answer. */
  readonly bodyBytes: number;
}

export interface Load {
  readonly url: string;
  readonly body: Uint8Array;
  readonly connections: number;
  /** Requests in flight on each connection. */
  readonly depth: number;
  readonly seconds: number;
  readonly http1?: boolean;
  /** `name: value`, beside what every request has. */
  readonly headers?: readonly string[];
}

export function hasH2load(): boolean {
  return spawnSync('h2load', ['--version']).error === undefined;
}

/** A gRPC message on the wire: not compressed, length, bytes. */
export function grpcFrame(message: Uint8Array): Uint8Array {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

export function runLoad(load: Load): LoadResult {
  const directory = mkdtempSync(join(tmpdir(), 'coterie-load-'));
  try {
    const file = join(directory, 'body');
    writeFileSync(file, load.body);
    const headers = load.http1 === true ? ['content-type: application/json'] : ['content-type: application/grpc', 'te: trailers'];
    const args = ['-c', `${load.connections}`, '-m', `${load.depth}`, '-t', '1', '-D', `${load.seconds}`];
    args.push('--warm-up-time', `${warmUpSeconds(load)}`, '-d', file);
    for (const header of [...headers, ...(load.headers ?? [])]) args.push('-H', header);
    // It offers HTTP/1 as well where it may, and a server that serves both may choose that.
    args.push(load.http1 === true ? '--h1' : '--npn-list=h2');
    const run = spawnSync('h2load', [...args, load.url], { encoding: 'utf8', maxBuffer: 1 << 24 });
    if (run.status !== 0) throw new Error(`h2load ended with ${run.status}: ${run.stderr}`);
    const failed = Number(/, (\d+) failed,/.exec(run.stdout)?.[1] ?? -1);
    if (failed !== 0) throw new Error(`h2load reports failed requests:\n${run.stdout}`);
    return {
      perSecond: Number(/, ([\d.]+) req\/s/.exec(run.stdout)?.[1]),
      requests: Number(/requests: (\d+) total/.exec(run.stdout)?.[1]),
      meanMs: meanMs(run.stdout),
      bodyBytes: Number(/\((\d+)\) data/.exec(run.stdout)?.[1]),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What is asked one by one takes longer until a server that compiles as it goes has seen enough of it. */
function warmUpSeconds({ connections, depth }: Load): number {
  return connections * depth === 1 ? 5 : 1;
}

/** From the line `time for request: min max mean sd within`. */
function meanMs(output: string): number {
  const [, number, unit] = /time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)/.exec(output) ?? [];
  const scales: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000 };
  return Number(number) * (scales[unit ?? ''] ?? NaN);
}
