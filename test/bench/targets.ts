// The servers a benchmark drives: coterie from this checkout and, where it is installed, real etcd. Both as processes of
// their own, with a data directory beside each other on the same file system, logging as little as they can.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { utf8 } from '../../core/base/bytes.js';
import { isApiError } from '../../core/errors.js';
import { connect, type RemoteOptions } from '../../core/wire/remote-client.js';
import { TestAuthority } from '../certificates.js';
import { freePort } from '../interop/free-ports.js';

export type TargetName = 'coterie' | 'etcd';

/** `auth`: enabled, and every request comes with the token of a user who may do it. `tls`: the client port is encrypted. */
export type Setting = 'plain' | 'tls' | 'auth';

const USER = 'bench';
const PASSWORD = 'bench-password';

export interface Target {
  readonly name: TargetName;
  readonly url: string;
  /** How our own client reaches it. */
  readonly client: RemoteOptions;
  /** What the load generator adds to each request. */
  readonly headers: readonly string[];
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

export async function startTarget(name: TargetName, setting: Setting = 'plain'): Promise<Target> {
  const directory = await mkdtemp(join(tmpdir(), `coterie-bench-${name}-`));
  const url = `${setting === 'tls' ? 'https' : 'http'}://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const shared = ['--data-dir', join(directory, 'data'), '--listen-client-urls', url, '--advertise-client-urls', url];
  const secret = setting === 'tls' ? await certify(directory) : null;
  if (secret !== null) shared.push('--cert-file', secret.certFile, '--key-file', secret.keyFile);
  const command: [string, string[]] =
    name === 'coterie'
      ? [process.execPath, [mainFile, 'serve', ...shared, '--log-level', 'error']]
      : ['etcd', [...shared, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer,
          '--initial-cluster', `default=${peer}`, '--logger', 'zap', '--log-level', 'error',
          '--quota-backend-bytes', '8589934592']];
  const client: RemoteOptions = {
    ...(secret === null ? {} : { tls: { ca: secret.ca } }),
    ...(setting === 'auth' ? { user: USER, password: PASSWORD } : {}),
  };
  let child = launch(command);
  const answers = (): Promise<void> => (secret === null ? untilHealthy(url, child) : untilRead(url, client, child));
  await answers();
  return {
    name,
    url,
    client,
    headers: setting === 'auth' ? [`token: ${await enableAuth(url)}`] : [],
    residentBytes: () => residentBytes(child),
    restart: async () => {
      await ended(child, 'SIGTERM');
      const startedAt = performance.now();
      child = launch(command);
      await answers();
      return performance.now() - startedAt;
    },
    stop: async () => {
      await ended(child, 'SIGKILL');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Elliptic curves, as most have today; made the same way for both servers. */
async function certify(directory: string): Promise<{ certFile: string; keyFile: string; ca: string }> {
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const authority = await TestAuthority.make();
  const { cert, key } = await authority.issue('bench');
  await Promise.all([writeFile(certFile, cert), writeFile(keyFile, key)]);
  return { certFile, keyFile, ca: authority.cert };
}

/** Turns auth on, with a user who may read and write everything but is not root; answers with a token of that user. */
async function enableAuth(url: string): Promise<string> {
  const client = connect(url);
  try {
    const everything = { kind: 'readwrite', key: utf8('\0'), rangeEnd: utf8('\0') } as const;
    await client.changeAuth({ kind: 'role_add', name: 'all' });
    await client.changeAuth({ kind: 'role_grant', name: 'all', permission: everything });
    await client.changeAuth({ kind: 'user_add', name: USER, password: { plain: PASSWORD } });
    await client.changeAuth({ kind: 'user_grant', name: USER, role: 'all' });
    await client.changeAuth({ kind: 'role_add', name: 'root' });
    await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: PASSWORD } });
    await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
    await client.changeAuth({ kind: 'enable' });
    return (await client.authenticate(USER, PASSWORD)).token;
  } finally {
    await client.close();
  }
}

/** The same through our own client, where the gateway's certificate would be a stranger to fetch. */
async function untilRead(url: string, options: RemoteOptions, child: ChildProcess): Promise<void> {
  const client = connect(url, options);
  try {
    for (let tries = 0; tries < 1200; tries++) {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode} before it answered`);
      try {
        await client.range({ key: utf8('x') });
        return;
      } catch (error) {
        if (!isApiError(error, 'unavailable')) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`no answer from ${url} within two minutes`);
  } finally {
    await client.close();
  }
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
