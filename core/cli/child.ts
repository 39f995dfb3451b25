// A command that runs on behalf of something that is held, and must not outlive it. Without a terminal it gets a process
// group of its own, so that what it starts is signalled with it; on a terminal it stays in ours, where Ctrl-C reaches it
// without us. A guard, a shell that waits for the end of a pipe, ends it when this process is killed and can say nothing.

import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';

/** Between two looks whether anything of the group is left; there is no event for that. */
const LOOK_MS = 25;
/** What a shell gives for a command that is not there, or may not be run. */
const NOT_FOUND = 127;
const NOT_RUN = 126;
/** $1: whom to end, $2: how many seconds it may take. `read` returns when our end of the pipe closes, however we end. */
const GUARD = 'read -r ended; kill -s TERM -- "$1" && sleep "$2" && kill -s KILL -- "$1"';

export interface ChildOptions {
  /** Added to our own environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Between asking it to end and ending it. */
  readonly graceMs: number;
  /** A group of its own even on a terminal: it is for us to say when it ends. */
  readonly apart?: boolean;
  /** For its standard input; default: ours. */
  readonly input?: Uint8Array;
}

export class Child {
  /** The exit code as a shell has it: 128 and the signal's number when a signal ended it. Never rejects. */
  readonly ended: Promise<number>;
  /** Why it could not be started; null when it could. */
  readonly fault: () => Error | null;
  readonly #process: ChildProcess;
  readonly #guard: ChildProcess | null;
  readonly #graceMs: number;
  readonly #isGroup: boolean;
  #over = false;
  #ending: Promise<number> | null = null;

  constructor(command: readonly [string, ...string[]], { env, graceMs, apart = false, input }: ChildOptions) {
    const [program, ...args] = command;
    this.#graceMs = graceMs;
    this.#isGroup = apart || ![0, 1, 2].some((fd) => isatty(fd));
    const stdio: StdioOptions = [input === undefined ? 'inherit' : 'pipe', 'inherit', 'inherit'];
    this.#process = spawn(program, args, { stdio, env: { ...process.env, ...env }, detached: this.#isGroup });
    // Whether it reads what it is given is its own affair.
    this.#process.stdin?.on('error', () => undefined).end(input);
    let fault: NodeJS.ErrnoException | null = null;
    this.fault = () => fault;
    this.ended = new Promise((resolve) => {
      const end = (code: number): void => {
        this.#over = true;
        this.#guard?.kill('SIGKILL');
        resolve(code);
      };
      this.#process.once('exit', (code, signal) => end(code ?? exitCodeOf(signal ?? 'SIGKILL')));
      this.#process.once('error', (error: NodeJS.ErrnoException) => {
        if (this.#process.pid !== undefined) return;
        fault = error;
        end(error.code === 'ENOENT' ? NOT_FOUND : NOT_RUN);
      });
    });
    this.#guard = this.#target === null ? null : guard(this.#target, graceMs);
  }

  /** As if it had been sent to the command itself. */
  pass(signal: NodeJS.Signals): void {
    // The terminal has sent these to everybody in the foreground already.
    if (!this.#isGroup && (signal === 'SIGINT' || signal === 'SIGQUIT')) return;
    if (!this.#over) this.#send(signal);
  }

  /** SIGTERM and, when the grace is over, SIGKILL; resolves with the exit code when the command and its group are gone. */
  end(): Promise<number> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<number> {
    const deadline = performance.now() + this.#graceMs;
    const timer = setTimeout(() => this.#send('SIGKILL'), this.#graceMs);
    this.#send('SIGTERM');
    const code = await this.ended;
    while (this.#isGroup && performance.now() < deadline && this.#send(0)) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    clearTimeout(timer);
    if (this.#isGroup) this.#send('SIGKILL');
    return code;
  }

  /** Of its group, a negative number; null when it was not started. */
  get #target(): number | null {
    const { pid } = this.#process;
    if (pid === undefined) return null;
    return this.#isGroup ? -pid : pid;
  }

  /** False when nobody is left to be sent to. */
  #send(signal: NodeJS.Signals | 0): boolean {
    const target = this.#target;
    // A number that was freed may be somebody else's by now; a group keeps its number while anybody is in it.
    if (target === null || (this.#over && !this.#isGroup)) return false;
    try {
      return process.kill(target, signal);
    } catch (error) {
      if (error instanceof Error && 'code' in error && (error.code === 'ESRCH' || error.code === 'EPERM')) return false;
      throw error;
    }
  }
}

export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

function guard(target: number, graceMs: number): ChildProcess {
  // In a group of its own, so that whatever ends ours leaves it.
  const args = ['-c', GUARD, 'sh', String(target), String(graceMs / 1000)];
  const shell = spawn('sh', args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  // Where there is no shell the command is only as safe as this process.
  shell.once('error', () => undefined);
  return shell;
}
