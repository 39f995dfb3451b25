// A real etcd for a test: one member on free ports in a temporary directory, gone with the test. Null where none is
// installed; on CI that is a failure, elsewhere one line in the report.

import { freePorts } from './free-ports.js';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface RealEtcd {
  readonly url: string;
  readonly peerUrl: string;
  close(): Promise<void>;
}

/** Whether `command` is on the path; says so when not, and throws on CI. */
export function isInstalled(command: string, log: (line: string) => void): boolean {
  if (spawnSync(command, ['--version'], { encoding: 'utf8' }).error === undefined) return true;
  if (process.env['CI'] === 'true') throw new Error(`${command} is not on the path, but CI must have it`);
  log(`${command} is not on the path: what compares with it is not checked here`);
  return false;
}

export async function startEtcd(
  options: { name?: string; dataDir?: string; flags?: readonly string[] } = {},
): Promise<RealEtcd> {
  const [clientPort = 0, peerPort = 0] = await freePorts(2);
  const directory = options.dataDir ?? mkdtempSync(path.join(tmpdir(), 'coterie-etcd-'));
  const url = `http://127.0.0.1:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const name = options.name ?? 'default';
  const flags = [
    ...['--name', name, '--data-dir', directory],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl, '--initial-cluster', `${name}=${peerUrl}`],
    ...(options.flags ?? []),
  ];
  const child = spawn('etcd', flags, { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
    rmSync(directory, { recursive: true, force: true });
  };
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 50) {
    if (child.exitCode !== null) break;
    const answer = await fetch(`${url}/health`).catch(() => null);
    if (answer?.status === 200) return { url, peerUrl, close };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await close();
  throw new Error('etcd did not start');
}
