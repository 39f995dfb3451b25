// The servers a benchmark drives: coterie from this checkout and, where it is installed, real etcd. Both as processes of
// their own, with a data directory beside each other on the same file system, logging as little as they can.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../interop/free-ports.js';

export type TargetName = 'coterie' | 'etcd';

export interface Target {
  readonly name: TargetName;
  readonly url: string;
  /** Resident memory of the server process, in bytes. */
  residentBytes(): Promise<number>;
  /** SIGTERM, then start again on the same data; resolves when it answers, with the milliseconds since the start. */
  restart(): Promise<number>;
  stop(): Promise<void>;
}

const mainFile = fileURLToPath(new URL('../../core/main.js', import.meta.url));

/** The targets this machine can run; coterie always. */
export function availableTargets(): TargetName[] {
  const etcd = spawnSync('etcd', ['--version'], { encoding: 'utf8' });
  return etcd.error === undefined ? ['coterie', 'etcd'] : ['coterie'];
}

/** First line of `etcd --version`, or why there is none. */
export function etcdVersionLine(): string {
  const etcd = spawnSync('etcd', ['--version'], { encoding: 'utf8' });
  return etcd.error === undefined ? (etcd.stdout.split('\n')[0] ?? '') : 'etcd is not installed';
}

export async function startTarget(name: TargetName): Promise<Target> {
  const directory = await mkdtemp(join(tmpdir(), `coterie-bench-${name}-`));
  const url = `http://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const shared = ['--data-dir', join(directory, 'data'), '--listen-client-urls', url, '--advertise-client-urls', url];
  const command: [string, string[]] =
    name === 'coterie'
      ? [process.execPath, [mainFile, 'serve', ...shared, '--log-level', 'error']]
      : ['etcd', [...shared, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer,
          '--initial-cluster', `default=${peer}`, '--logger', 'zap', '--log-level', 'error',
          '--quota-backend-bytes', '8589934592']];
  let child = launch(command);
  await untilHealthy(url, child);
  return {
    name,
    url,
    residentBytes: () => residentBytes(child),
    restart: async () => {
      await ended(child, 'SIGTERM');
      const startedAt = performance.now();
      child = launch(command);
      await untilHealthy(url, child);
      return performance.now() - startedAt;
    },
    stop: async () => {
      await ended(child, 'SIGKILL');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function launch([program, args]: [string, string[]]): ChildProcess {
  return spawn(program, args, { stdio: 'ignore' });
}

export function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.kill(signal);
  });
}

/** Until a linearizable read through the gateway succeeds: "it answers" means the same for both. */
export async function untilHealthy(url: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 12_000; tries++) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode} before it answered`);
    try {
      const answer = await fetch(`${url}/v3/kv/range`, { method: 'POST', body: '{"key":"AA=="}' });
      if (answer.ok) return;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`no answer from ${url} within two minutes`);
}

async function residentBytes(child: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}
