// What a person reads: a progress line on a terminal, one line for each broken seed, and its last moments as a story.

import type { Verdict } from './run.js';
import type { Tally } from './tally.js';

const STORY_LINES = 60;

export function print(text: string): void {
  process.stdout.write(text);
}

export class Progress {
  readonly #tally: Tally;
  readonly #isTerminal = process.stdout.isTTY === true;
  #toldAt = 0;

  constructor(tally: Tally) {
    this.#tally = tally;
  }

  tell(verdict: Verdict): void {
    if (verdict.violation !== null) {
      this.#clear();
      print(`${oneLine(verdict)}\n`);
    }
    const now = performance.now();
    if (!this.#isTerminal || now - this.#toldAt < 200) return;
    this.#toldAt = now;
    print(`\r\x1b[2K${this.#tally.line()}`);
  }

  end(): void {
    this.#clear();
    const [first] = this.#tally.failures;
    if (first !== undefined) print(`\n${story(first, true)}`);
  }

  #clear(): void {
    if (this.#isTerminal) print('\r\x1b[2K');
  }
}

export function oneLine(verdict: Verdict): string {
  const { violation, seed } = verdict;
  if (violation === null) return `seed ${seed} clean, hash ${verdict.hash}`;
  const [message] = violation.message.split('\n');
  return `seed ${seed} BROKEN ${violation.invariant}: ${(message ?? '').slice(0, 300)}\n  npm run sim -- --seed ${seed} --trace`;
}

/** The end of the trace: time, a letter for each member (README.md tells which), what happened. */
export function story(verdict: Verdict, withTrace: boolean): string {
  const lines = [`seed ${verdict.seed}: ${verdict.swarm}`];
  const left = verdict.trace.length - STORY_LINES;
  if (withTrace && verdict.trace.length > 0) {
    if (left > 0) lines.push(`… ${left} lines before this one`);
    lines.push(...verdict.trace.slice(-STORY_LINES));
  }
  if (verdict.violation !== null) lines.push('', `${verdict.violation.invariant} is broken: ${verdict.violation.message}`, '');
  lines.push(oneLine({ ...verdict, violation: verdict.violation === null ? null : { ...verdict.violation, message: '' } }), '');
  return lines.join('\n');
}
