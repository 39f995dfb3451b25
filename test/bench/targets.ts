// The servers a benchmark drives: coterie from this checkout and real etcd. Both as processes of their own, with their own
// defaults (`FLAGS` says what is set, the same for both), with a data directory beside each other on the same file system,
// logging errors alone, on any processor.

import { spawnSync } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { utf8 } from '../../core/base/bytes.js';
import { isApiError } from '../../core/errors.js';
import { connect, type RemoteOptions } from '../../core/wire/remote-client.js';
import { TestAuthority } from '../certificates.js';
import { freePort } from '../interop/free-ports.js';
import { firstAnswer } from './first-answer.js';
import { cpuMicrosOf, residentBytesOf } from './process-cost.js';
import type { ServerName } from './report.js';
import { ended, type Running, type Scene } from './stage.js';

export type TargetName = ServerName;

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
  residentBytes(): number;
  /** Processor time that the server process has taken since it started, all its threads, in microseconds. */
  cpuMicros(): number;
  /** SIGTERM, then start again on the same data; resolves when it answers, with the milliseconds since the start. */
  restart(): Promise<number>;
  stop(): Promise<void>;
}

const mainFile = fileURLToPath(new URL('../../core/main.js', import.meta.url));

/** Beside names, addresses and directories, which both are given: what is not a default. etcd's other logger writes anyway. */
export const FLAGS: Readonly<Record<TargetName, readonly string[]>> = {
  coterie: ['--log-level', 'error'],
  etcd: ['--log-level', 'error', '--logger', 'zap'],
};

/** First line of what `program --version` says; null: there is no such program. */
export function versionOf(program: string): string | null {
  const run = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return run.error === undefined ? (run.stdout.split('\n')[0] ?? '') : null;
}

/** Program and arguments of one member; `place` holds its names, addresses and directories. */
export function commandOf(name: TargetName, place: readonly string[]): [string, string[]] {
  const args = [...place, ...FLAGS[name]];
  return name === 'coterie' ? [process.execPath, [mainFile, 'serve', ...args]] : ['etcd', args];
}

export async function startTarget(stage: Scene, name: TargetName, setting: Setting = 'plain'): Promise<Target> {
  const directory = await stage.directoryFor(name);
  const url = `${setting === 'tls' ? 'https' : 'http'}://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const shared = ['--data-dir', join(directory, 'data'), '--listen-client-urls', url, '--advertise-client-urls', url];
  const secret = setting === 'tls' ? await certify(directory) : null;
  if (secret !== null) shared.push('--cert-file', secret.certFile, '--key-file', secret.keyFile);
  const command = commandOf(name, [
    ...shared, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`,
  ]);
  const client: RemoteOptions = {
    ...(secret === null ? {} : { tls: { ca: secret.ca } }),
    ...(setting === 'auth' ? { user: USER, password: PASSWORD } : {}),
  };
  let running = stage.launch(command);
  const answers = (): Promise<void> => (secret === null ? firstAnswer(url, running) : untilRead(url, client, running));
  await answers();
  return {
    name,
    url,
    client,
    headers: setting === 'auth' ? [`token: ${await enableAuth(url)}`] : [],
    residentBytes: () => residentBytesOf(running.child.pid),
    cpuMicros: () => cpuMicrosOf(running.child.pid),
    restart: async () => {
      await ended(running.child, 'SIGTERM');
      const startedAt = performance.now();
      running = stage.launch(command);
      await answers();
      return performance.now() - startedAt;
    },
    stop: async () => {
      await ended(running.child, 'SIGKILL');
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

/** The same through our own client, which knows certificates. */
async function untilRead(url: string, options: RemoteOptions, { child, complaint }: Running): Promise<void> {
  const client = connect(url, options);
  try {
    for (let tries = 0; tries < 1200; tries++) {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}: ${complaint()}`);
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
