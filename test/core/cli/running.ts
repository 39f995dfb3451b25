// Commands of ours (or of others) that go on for a while: read as they speak, signalled, and gone with their test. And the
// stores that they ask: coterie, and etcd where it is installed, for all the tests of a file.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { prefixRange } from '../../../core/client.js';
import { connect, startNode } from '../../../core/index.js';
import { isInstalled, startEtcd } from '../../interop/real-etcd.js';
import { environment, MAIN, type Ended } from './binary.js';
import { serve } from '../../serving.js';

const LIMIT_MS = 120_000;

export interface Running {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with what stdout says of it, once it does; rejects with all that was said when it ends without. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  complains(pattern: RegExp): Promise<RegExpExecArray>;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

/** `coterie` with these words, asking the server at `url`. */
export function begin(t: ExecutionContext, url: string, args: readonly string[]): Running {
  return launch(t, process.execPath, [MAIN, ...args], { COTERIE_ENDPOINTS: url });
}

export function launch(t: ExecutionContext, program: string, args: readonly string[], env: Record<string, string>): Running {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment(env) });
  t.teardown(() => child.kill('SIGKILL'));
  let [stdout, stderr, over] = ['', '', false];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      over = true;
      resolve({ code, stdout, stderr });
    });
  });
  const until = async (pattern: RegExp, read: () => string): Promise<RegExpExecArray> => {
    for (const end = performance.now() + LIMIT_MS; ;) {
      const found = pattern.exec(read());
      if (found !== null) return found;
      if (over || performance.now() > end) throw new Error(`it does not say ${pattern}:\n${stdout}\n${stderr}`);
      await sleep(20);
    }
  };
  return {
    child,
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    says: (pattern) => until(pattern, () => stdout),
    complains: (pattern) => until(pattern, () => stderr),
    signal: (name) => void child.kill(name),
    ended,
  };
}

/** Starts the stores for all tests of a file, and ends them; `fresh` gives names that begin so and that no other test has. */
export function useStores(letter: string): { readonly stores: () => readonly [Store, ...Store[]]; readonly fresh: () => string } {
  let stores: readonly [Store, ...Store[]] | null = null;
  let names = 0;
  test.before('stores start', async (t) => {
    stores = await startStores((line) => t.log(line));
  });
  test.after.always('all end', async () => {
    await Promise.all((stores ?? []).map((store) => store.close()));
  });
  return {
    stores: () => {
      if (stores === null) throw new Error('the stores of this file have not started');
      return stores;
    },
    fresh: () => `${letter}${(names += 1)}`,
  };
}

/** A process that has ended and whose exit nobody has asked for yet is not alive. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // No such process.
  }
  const file = `/proc/${pid}/stat`;
  return !existsSync(file) || !/\) Z /.test(readFileSync(file, 'utf8'));
}

/** True as soon as `claim` is, false when it has not become so. */
export async function becomes(claim: () => boolean | Promise<boolean>, withinMs = 60_000): Promise<boolean> {
  for (const end = performance.now() + withinMs; performance.now() < end;) {
    if (await claim()) return true;
    await sleep(25);
  }
  return false;
}

/** A store that is there for all tests of a file. Names in it are the tests' own. */
export interface Store {
  readonly name: 'coterie' | 'etcd';
  readonly url: string;
  readonly port: number;
  readonly client: ReturnType<typeof connect>;
  countOf(prefix: string): Promise<number>;
  close(): Promise<void>;
}

/** coterie is always the first. */
export async function startStores(log: (line: string) => void): Promise<readonly [Store, ...Store[]]> {
  const node = await startNode({ name: 't', dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const ours = storeAt('coterie', server.urls[0] ?? '', async () => {
    await server.close();
    await node.close();
  });
  if (!isInstalled('etcd', log)) return [ours];
  const etcd = await startEtcd();
  return [ours, storeAt('etcd', etcd.url, () => etcd.close())];
}

function storeAt(name: Store['name'], url: string, end: () => Promise<void>): Store {
  const client = connect(url);
  return {
    name, url, client, port: Number(new URL(url).port),
    countOf: async (prefix) => (await client.range({ ...prefixRange(utf8(prefix)), countOnly: true })).count,
    close: async () => {
      await client.close();
      await end();
    },
  };
}
