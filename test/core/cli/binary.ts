// The real binary as a child process: run to its end, or started as a server on a free port with a directory of its own.
// Whatever a test started is gone when the test is.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';

export const MAIN = fileURLToPath(new URL('../../../core/main.js', import.meta.url));
const LIMIT_MS = 120_000;

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Neither the machine's ETCD_ variables nor ours, nor saved contexts, may decide a test. */
export function environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(?:ETCD|COTERIE)_|^FORCE_COLOR$/.test(name));
  return { ...Object.fromEntries(own), NO_COLOR: '1', COTERIE_CONTEXTS: '/nonexistent/contexts.json', ...extra };
}

export async function temporaryDirectory(t: ExecutionContext): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'coterie-cli-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export function coterie(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return watch(launch(process.execPath, [MAIN, ...args], options)).ended;
}

export function runScript(file: string): Promise<Ended> {
  return watch(launch(process.execPath, [file], {})).ended;
}

export interface Server {
  readonly url: string;
  readonly pid: number;
  /** The line that says it serves. */
  readonly ready: Readonly<Record<string, unknown>>;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

/** Serves on a free port of the loopback; rejects with its output when it ends instead. */
export async function serveIn(t: ExecutionContext, directory: string, flags: readonly string[] = []): Promise<Server> {
  const free = 'http://127.0.0.1:0';
  const urls = ['--listen-client-urls', free, '--advertise-client-urls', free, '--listen-peer-urls', free];
  const dataDir = path.join(directory, 'data');
  return serveWith(t, process.execPath, [MAIN, 'serve', '--data-dir', dataDir, ...urls, ...flags], directory);
}

export async function serveWith(t: ExecutionContext, program: string, args: readonly string[], cwd: string): Promise<Server> {
  const child = launch(program, args, { cwd });
  t.teardown(() => child.kill('SIGKILL'));
  const { firstLine, ended } = watch(child, 'ready to serve client requests');
  const line = await Promise.race([firstLine, ended.then(({ stderr }) => Promise.reject(new Error(`it ended:\n${stderr}`)))]);
  const ready = JSON.parse(line) as { clientUrls: readonly string[] };
  return {
    url: ready.clientUrls[0] ?? '',
    pid: child.pid ?? 0,
    ready: { ...ready },
    signal: (name) => void child.kill(name),
    ended,
  };
}

function launch(program: string, args: readonly string[], options: RunOptions): ChildProcess {
  const where = options.cwd === undefined ? {} : { cwd: options.cwd };
  return spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment(options.env), ...where });
}

function watch(child: ChildProcess, wanted = ''): { firstLine: Promise<string>; ended: Promise<Ended> } {
  let [stdout, stderr] = ['', ''];
  let found = (_line: string): void => undefined;
  const firstLine = new Promise<string>((resolve) => {
    found = resolve;
  });
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    const line = wanted === '' ? undefined : stderr.split('\n').slice(0, -1).find((text) => text.includes(wanted));
    if (line !== undefined) found(line);
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
  return { firstLine, ended };
}

export async function post(url: string, rpc: string, body: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`${url}/v3/${rpc}`, { method: 'POST', body: JSON.stringify(body) });
  return (await answer.json()) as Record<string, unknown>;
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
