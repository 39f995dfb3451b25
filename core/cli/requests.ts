// What the outside asks of a command that holds something: to end (a signal, or a reader that has gone), or whatever other
// signals mean to the child. The first request to end is an abort; a second one, while no child is there to be asked, ends
// the process where it stands: what it held goes with its session.

import type { Child } from './child.js';
import { exitCodeOf } from './child.js';

const ENDING: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
const OTHERS: readonly NodeJS.Signals[] = ['SIGUSR1', 'SIGUSR2'];

export interface RequestsOptions {
  /** Called for each signal that asks to end, instead of passing that on. */
  readonly onEnding?: (signal: NodeJS.Signals) => void;
  /** What says so in place of signals, where the terminal is a stand-in: `Terminal.ended`. */
  readonly ended?: AbortSignal | null;
}

export class Requests {
  /** Aborts when asked to end for the first time. */
  readonly asked: AbortSignal;
  readonly #asking = new AbortController();
  readonly #listeners: (() => void)[] = [];
  readonly #onEnding: ((signal: NodeJS.Signals) => void) | undefined;
  #child: Child | null = null;
  #signal: NodeJS.Signals | null = null;

  constructor({ onEnding, ended = null }: RequestsOptions = {}) {
    this.#onEnding = onEnding;
    this.asked = ended ?? this.#asking.signal;
    if (ended !== null) return;
    for (const name of [...ENDING, ...OTHERS]) this.#listen(name);
    // The binary would leave at once (main.ts), and leave behind what is held until its lease has run out.
    process.stdout.removeAllListeners('error');
    process.stdout.on('error', () => this.#asking.abort());
  }

  /** After a signal what a shell gives for it; 0 when there was none. */
  get exitCode(): number {
    return this.#signal === null ? 0 : exitCodeOf(this.#signal);
  }

  /** From now on signals are the child's; null: there is none any more. */
  passTo(child: Child | null): void {
    this.#child = child;
  }

  stop(): void {
    for (const forget of this.#listeners.splice(0)) forget();
  }

  #listen(name: NodeJS.Signals): void {
    const listener = (): void => this.#on(name);
    process.on(name, listener);
    this.#listeners.push(() => process.off(name, listener));
  }

  #on(name: NodeJS.Signals): void {
    if (OTHERS.includes(name)) {
      this.#child?.pass(name);
      return;
    }
    const again = this.asked.aborted;
    this.#signal ??= name;
    this.#asking.abort();
    if (this.#onEnding !== undefined) this.#onEnding(name);
    else if (this.#child !== null) this.#child.pass(name);
    else if (again) process.exit(exitCodeOf(name));
  }
}
