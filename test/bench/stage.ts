// Where the servers of a run stand: one directory for all their data, and every process that was started and has not ended, so
// that whatever ends the run, an error or an impatient user, leaves neither behind.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Of what a server says before it ends. */
const COMPLAINT_CHARACTERS = 2_000;

export interface Running {
  readonly child: ChildProcess;
  /** The last of what it wrote to stderr. */
  complaint(): string;
}

/** What one who measures is given of a stage: nothing is started by whoever began before the stage was last cleared. */
export interface Scene {
  /** A new directory, on the disk that all of them share. */
  directoryFor(name: string): Promise<string>;
  launch(command: readonly [string, readonly string[]]): Running;
}

export class Stage {
  readonly directory = mkdtempSync(join(tmpdir(), 'coterie-bench-'));
  readonly #children = new Set<ChildProcess>();
  #cleared = 0;
  #isClosed = false;

  scene(): Scene {
    const begun = this.#cleared;
    return {
      directoryFor: (name) => mkdtemp(join(this.directory, `${name}-`)),
      launch: (command) => {
        if (this.#isClosed) throw new Error('the run has been ended');
        if (this.#cleared !== begun) throw new Error('it has been given up, and another is being measured');
        return this.#launch(command);
      },
    };
  }

  #launch([program, args]: readonly [string, readonly string[]]): Running {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-COMPLAINT_CHARACTERS);
    });
    child.on('error', (error) => {
      said += error.message;
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return { child, complaint: () => said.trim() };
  }

  /** Ends all that runs; resolves with how many that were. */
  async clear(): Promise<number> {
    this.#cleared += 1;
    const children = [...this.#children];
    await Promise.all(children.map((child) => ended(child, 'SIGKILL')));
    return children.length;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.clear();
    await rm(this.directory, { recursive: true, force: true });
  }
}

export function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resolve();
    child.once('exit', () => resolve());
    child.kill(signal);
  });
}
