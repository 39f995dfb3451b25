// Door: programs. Runs one at a time per call, by argument vector, never through a shell. A program that outstays its
// time is killed with its whole process group; its output is kept up to a bound and the rest is thrown away.

import { spawn } from 'node:child_process';
import { systemClock } from '../core/base/clock.js';
import type { Clock } from '../core/base/clock.js';
import { codeOf } from './disk.js';

export const OUTPUT_CHARS_MAX = 64_000;
/** After SIGTERM to the group, before SIGKILL. */
export const KILL_GRACE_MS = 500;

export interface RunOptions {
  readonly timeoutMs: number;
  /** Added to the present environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface RunResult {
  /** Null when it did not start, was killed, or ran out of time. */
  readonly exitCode: number | null;
  /** Both streams as they came, bounded, without trailing blank lines. */
  readonly output: string;
  /** What went wrong in words; null on exit code 0. */
  readonly failure: string | null;
}

export interface Processes {
  /** Never rejects: what goes wrong is in `failure`. */
  run(argv: readonly string[], options: RunOptions): Promise<RunResult>;
  isAlive(pid: number): boolean;
  /** False when there is no such process, or it is not ours to signal. */
  signal(pid: number, signal: 'SIGHUP' | 'SIGTERM' | 'SIGQUIT' | 'SIGUSR2'): boolean;
  /** This process. */
  readonly pid: number;
}

export const systemProcesses: Processes = {
  run: (argv, options) => run(argv, options, systemClock),
  isAlive(pid) {
    try {
      return process.kill(pid, 0);
    } catch (error) {
      // Not allowed to signal it: then it is there.
      return codeOf(error) === 'EPERM';
    }
  },
  signal(pid, signal) {
    try {
      return process.kill(pid, signal);
    } catch (error) {
      if (codeOf(error) === null) throw error;
      return false;
    }
  },
  get pid() {
    return process.pid;
  },
};

function run(argv: readonly string[], options: RunOptions, clock: Clock): Promise<RunResult> {
  return new Promise((resolve) => {
    const [program = '', ...args] = argv;
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own process group, so that what it started can be ended with it.
      detached: true,
      env: { ...process.env, ...options.env },
    });
    let output = '';
    let failure: string | null = null;
    const cancels: (() => void)[] = [];
    const end = (exitCode: number | null, ended: string | null): void => {
      for (const cancel of cancels) cancel();
      // A daemon it left behind may hold the pipes open for ever.
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ exitCode: failure === null ? exitCode : null, output: output.trimEnd(), failure: failure ?? ended });
    };
    const gather = (chunk: Buffer): void => {
      if (output.length < OUTPUT_CHARS_MAX) output = (output + chunk.toString('utf8')).slice(0, OUTPUT_CHARS_MAX);
    };
    child.stdout.on('data', gather);
    child.stderr.on('data', gather);
    child.on('error', (error) => {
      const missing = 'there is no such program; install it, or give its whole path';
      end(null, `cannot run ${program}: ${codeOf(error) === 'ENOENT' ? missing : error.message}`);
    });
    child.on('exit', (code, signal) => {
      // Turns to let the last output in; `close` may never come when a daemon keeps the pipes.
      cancels.push(clock.schedule(20, () => end(code, endedWith(program, code, signal))));
    });
    child.on('close', (code, signal) => end(code, endedWith(program, code, signal)));
    cancels.push(
      clock.schedule(options.timeoutMs, () => {
        failure = `${program} took more than ${options.timeoutMs} ms and was killed`;
        killGroup(child.pid, 'SIGTERM');
        cancels.push(clock.schedule(KILL_GRACE_MS, () => killGroup(child.pid, 'SIGKILL')));
      }),
    );
  });
}

function endedWith(program: string, code: number | null, signal: string | null): string | null {
  if (code === 0) return null;
  return code === null ? `${program} was ended by ${signal ?? 'a signal'}` : `${program} ended with exit code ${code}`;
}

function killGroup(pid: number | undefined, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}
