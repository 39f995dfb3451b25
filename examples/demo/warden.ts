// Nothing is left behind, whatever happens to the demo. A second process waits on a channel to it; when the channel closes
// for any reason (the end, Ctrl-C, a crash, kill -9) it ends every process that was started for the demo and removes the
// temporary directory. Such processes are known by two marks: by their number, and by the directory in their command line,
// for proxies turn themselves into daemons that are nobody's children.

import { execFileSync, fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const PATIENCE_MS = 1_500;
const POLL_MS = 25;

export class Warden {
  readonly #process: ChildProcess;
  readonly #directory: string;
  readonly #pids = new Set<number>();

  /** `directory`: made for this run alone; its name must be unique on the machine. */
  constructor(directory: string) {
    this.#directory = directory;
    const apart = { detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] } as const;
    this.#process = fork(fileURLToPath(import.meta.url), [directory], { ...apart, stdio: [...apart.stdio] });
    this.#process.unref();
    this.#process.channel?.unref();
  }

  watch(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#pids.add(pid);
    this.#process.send({ kind: 'watch', pid });
    child.once('exit', () => {
      this.#pids.delete(pid);
      if (this.#process.connected) this.#process.send({ kind: 'forget', pid });
    });
  }

  /** Ends what is left, here and now, and lets the other process find nothing more to do. */
  async close(): Promise<void> {
    await sweep(this.#directory, this.#pids);
    const exited = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    if (!this.#process.connected) return;
    this.#process.ref();
    this.#process.disconnect();
    await exited;
  }
}

/** Asks them to end, then makes them; then removes the directory. */
async function sweep(directory: string, pids: ReadonlySet<number>): Promise<void> {
  const left = (): number[] => [...new Set([...pids, ...mentioning(directory)])].filter(isAlive);
  for (const pid of left()) send(pid, 'SIGTERM');
  for (let waitedMs = 0; waitedMs < PATIENCE_MS && left().length > 0; waitedMs += POLL_MS) await sleep(POLL_MS);
  for (const pid of left()) send(pid, 'SIGKILL');
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}

/** Processes, other than this one and the wardens, whose command line names the directory. */
export function mentioning(directory: string): number[] {
  const found = [...commands()].filter(([, command]) => command.includes(directory) && !command.includes('warden'));
  return found.map(([pid]) => pid).filter((pid) => pid !== process.pid);
}

function* commands(): Iterable<[number, string]> {
  if (existsSync('/proc/self/cmdline')) {
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      yield [Number(name), read(`/proc/${name}/cmdline`)];
    }
    return;
  }
  for (const line of execFileSync('ps', ['-axo', 'pid=,command='], { encoding: 'utf8' }).split('\n')) {
    const [pid = '', ...command] = line.trim().split(' ');
    yield [Number(pid), command.join(' ')];
  }
}

/** Empty for a process that has just ended. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function isAlive(pid: number): boolean {
  return send(pid, 0);
}

function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

const [directory] = process.argv.slice(2);
if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url) && directory !== undefined) {
  const pids = new Set<number>();
  process.on('message', (message: { kind: 'watch' | 'forget'; pid: number }) => {
    if (message.kind === 'watch') pids.add(message.pid);
    else pids.delete(message.pid);
  });
  process.on('SIGINT', () => undefined);
  process.once('disconnect', () => void sweep(directory, pids).then(() => process.exit()));
}
