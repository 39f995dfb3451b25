// Runs what documents print, away from the checkout: in a directory of its own, against a server of its own, with a time
// limit. The port 2379 of the documents becomes the server's.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../interop/free-ports.js';
import { startServer, type ServerProcess } from '../interop/server-process.js';

export const MAIN = fileURLToPath(new URL('../../core/main.js', import.meta.url));
const LIMIT_MS = 60_000;

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

export interface Place {
  readonly directory: string;
  /** null when nothing in the document talks to a server. */
  readonly server: ServerProcess | null;
}

export async function inPlace<T>(needsServer: boolean, use: (place: Place) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(path.join(tmpdir(), 'coterie-docs-'));
  const server = needsServer ? await startServer({ port: await freePort(), dataDir: path.join(directory, 'server') }) : null;
  try {
    return await use({ directory, server });
  } finally {
    await server?.end('SIGTERM');
    await rm(directory, { recursive: true, force: true });
  }
}

/** Words of the document, made true here: the server's address, and our binary instead of the installed one. */
export function localized(text: string, place: Place): string {
  const port = place.server === null ? '2379' : new URL(place.server.url).port;
  return text
    .replaceAll(/(localhost|127\.0\.0\.1):2379/g, `127.0.0.1:${port}`)
    .replaceAll(/npm run (?:-s |--silent )?coterie -- |\bnpx coterie /g, 'coterie ');
}

export function runShell(script: string, place: Place): Promise<Outcome> {
  const prelude = `coterie() { '${process.execPath}' '${MAIN}' "$@"; }\n`;
  return run('bash', ['-euo', 'pipefail', '-c', prelude + localized(script, place)], place);
}

export function runNode(file: string, place: Place): Promise<Outcome> {
  return run(process.execPath, [file], place);
}

function run(program: string, args: readonly string[], place: Place): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const url = place.server?.url ?? 'http://127.0.0.1:2379';
    const env = { ...process.env, NO_COLOR: '1', ETCDCTL_API: '3', ETCDCTL_ENDPOINTS: url, COTERIE_URL: url };
    // A group of its own, so that what a script left running ends with it.
    const child = spawn(program, args, { cwd: place.directory, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const killGroup = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    };
    const timer = setTimeout(killGroup, LIMIT_MS);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}
