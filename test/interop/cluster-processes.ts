// Clusters of real processes for tests: coterie's and etcd's alike, with the same names and flags, on free ports, in a
// directory of their own. Members are started, ended, started again and added one by one; whatever was started is gone with
// the test.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from './free-ports.js';

const MAIN = fileURLToPath(new URL('../../core/main.js', import.meta.url));
const START_MS = 60_000;

export type Program = 'coterie' | 'etcd';

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

export class MemberProcess {
  readonly name: string;
  readonly url: string;
  readonly peerUrl: string;
  readonly dataDir: string;
  readonly #program: Program;
  #child: ChildProcess | null = null;
  #output = '';
  #ended: Promise<Ended> = Promise.resolve({ code: null, signal: null, output: '' });

  constructor(program: Program, name: string, directory: string, clientPort: number, peerPort: number) {
    this.#program = program;
    this.name = name;
    this.url = `http://127.0.0.1:${clientPort}`;
    this.peerUrl = `http://127.0.0.1:${peerPort}`;
    this.dataDir = path.join(directory, name);
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get output(): string {
    return this.#output;
  }

  /** Of what is running now. */
  get ended(): Promise<Ended> {
    return this.#ended;
  }

  /** Flags that come again win. */
  launch(flags: readonly string[]): void {
    // It would be forgotten, and with it the whole test would never end.
    if (this.isRunning) throw new Error(`${this.name} is still running`);
    const [program, words] = this.#program === 'etcd' ? ['etcd', []] : [process.execPath, [MAIN, 'serve']];
    const own = {
      'name': this.name, 'data-dir': this.dataDir, 'listen-client-urls': this.url, 'advertise-client-urls': this.url,
      'listen-peer-urls': this.peerUrl, 'initial-advertise-peer-urls': this.peerUrl,
    };
    const all = [...Object.entries(own).flatMap(([flag, word]) => [`--${flag}`, word]), ...flags];
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:ETCD|COTERIE)_/.test(name)));
    const child = spawn(program, [...words, ...all], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, NO_COLOR: '1' } });
    this.#child = child;
    this.#output = '';
    const take = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-200_000);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code, signal, output: this.#output }));
    });
    this.#ended.catch(() => undefined);
  }

  /** Resolves when it serves; rejects with its output when it ends instead. */
  async ready(): Promise<void> {
    for (const end = performance.now() + START_MS; performance.now() < end;) {
      if (!this.isRunning) throw new Error(`${this.name} ended:\n${(await this.#ended).output.slice(-4000)}`);
      const answer = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(2000) }).catch(() => null);
      if (answer?.status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${this.name} does not serve:\n${this.#output.slice(-4000)}`);
  }

  async end(signal: NodeJS.Signals): Promise<Ended> {
    this.#child?.kill(signal);
    return this.#ended;
  }
}

export class ProcessCluster {
  readonly program: Program;
  readonly members: MemberProcess[] = [];
  readonly token: string;
  readonly #directory = mkdtempSync(path.join(tmpdir(), 'coterie-processes-'));
  #founding: readonly string[] = [];

  constructor(program: Program, token: string) {
    this.program = program;
    this.token = token;
  }

  /** Of those that run. */
  get endpoints(): string {
    return this.members.filter(({ isRunning }) => isRunning).map(({ url }) => url).join(',');
  }

  get directory(): string {
    return this.#directory;
  }

  /** Prepares members without starting them. */
  async plan(names: readonly string[]): Promise<MemberProcess[]> {
    const ports = await freePorts(2 * names.length);
    const planned = names.map((name, i) => {
      return new MemberProcess(this.program, name, this.#directory, ports[2 * i] ?? 0, ports[2 * i + 1] ?? 0);
    });
    this.members.push(...planned);
    return planned;
  }

  /** Founds a cluster of these. */
  async start(names: readonly string[], flags: readonly string[] = []): Promise<void> {
    const founders = await this.plan(names);
    const cluster = founders.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
    this.#founding = ['--initial-cluster', cluster, '--initial-cluster-token', this.token, ...flags];
    for (const member of founders) member.launch(this.#founding);
    await Promise.all(founders.map((member) => member.ready()));
  }

  /** The flags the founders were started with: data decides, so they may stand there ever after. */
  get foundingFlags(): readonly string[] {
    return this.#founding;
  }

  member(name: string): MemberProcess {
    const found = this.members.find((member) => member.name === name);
    if (found === undefined) throw new Error(`no member ${name}`);
    return found;
  }

  async close(): Promise<void> {
    await Promise.all(this.members.filter(({ isRunning }) => isRunning).map((member) => member.end('SIGKILL')));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `coterie` with these words, to its end. */
export function runCoterie(args: readonly string[], cwd?: string): Promise<Outcome> {
  return run(process.execPath, [MAIN, ...args], cwd);
}

export function runEtcdctl(endpoints: string, args: readonly string[]): Promise<Outcome> {
  return run('etcdctl', ['--endpoints', endpoints, ...args]);
}

function run(program: string, args: readonly string[], cwd?: string): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const own = Object.entries(process.env).filter(([name]) => !/^(?:ETCD|COTERIE|ETCDCTL)_/.test(name));
    const env = { ...Object.fromEntries(own), ETCDCTL_API: '3', NO_COLOR: '1' };
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env, ...(cwd === undefined ? {} : { cwd }) });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.once('error', reject);
    // etcdctl's own log lines are JSON and full of times.
    const spoken = (text: string): string => text.split('\n').filter((line) => !line.startsWith('{')).join('\n');
    child.once('close', (code) => resolve({ code, stdout, stderr: program === 'etcdctl' ? spoken(stderr) : stderr }));
  });
}

/** Repeats until it holds; the last failure when it does not in time. */
export async function eventually<T>(attempt: () => Promise<T>, withinMs = 60_000): Promise<T> {
  for (const end = performance.now() + withinMs; ;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}
