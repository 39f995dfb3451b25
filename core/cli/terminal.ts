// What a command reads and where it writes: the terminal it was called from, or a stand-in. Commands about a cluster touch
// the world through it only, so that they run in one process with their tests.

import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { Refusal } from './refusal.js';

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Somebody sits there: questions make sense. */
  readonly isInteractive: boolean;
  /** Aborts when whoever called wants no more; null: a signal says so. */
  readonly ended: AbortSignal | null;
  out(text: string | Uint8Array): void;
  err(text: string): void;
  /** Standard input, to its end. */
  readAll(): Uint8Array;
  /** Standard input line by line, without their ends. */
  lines(): AsyncIterable<string>;
  /** An answer that is not shown while it is typed; without a terminal the next line. */
  secret(question: string): Promise<string>;
}

export const systemTerminal: Terminal = {
  env: process.env,
  isInteractive: isatty(0) && isatty(2),
  ended: null,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  readAll: () => readFileSync(0),
  lines: () => linesOf(process.stdin),
  secret: askSecret,
};

async function* linesOf(chunks: AsyncIterable<Uint8Array | string>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    rest += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield rest.slice(0, end).replace(/\r$/, '');
      rest = rest.slice(end + 1);
    }
  }
  if (rest !== '') yield rest;
}

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const CTRL_H = '\b';
const CTRL_U = '\u0015';
const BACKSPACE = '\u007f';

async function askSecret(question: string): Promise<string> {
  const { stdin } = process;
  if (!stdin.isTTY) {
    for await (const line of linesOf(stdin)) return line;
    return '';
  }
  return await typedSecret(stdin, question, {
    say: (text) => systemTerminal.err(text),
    interrupt: () => void process.kill(process.pid, 'SIGINT'),
  });
}

/** The keyboard of a terminal. */
export type Keyboard = Pick<NodeJS.ReadStream, 'on' | 'off' | 'resume' | 'pause' | 'setRawMode'>;

/**
 * A line that is not shown while it is typed. A terminal that shows nothing sends no signals either, so that Ctrl-C is ours:
 * what it means is the signal, once the terminal is as it was.
 */
export async function typedSecret(
  keyboard: Keyboard,
  question: string,
  { say, interrupt }: { readonly say: (text: string) => void; readonly interrupt: () => void },
): Promise<string> {
  say(question);
  keyboard.setRawMode(true);
  keyboard.resume();
  let answer: string | null;
  try {
    answer = await lineTyped(keyboard);
  } finally {
    keyboard.setRawMode(false);
    keyboard.pause();
    say('\n');
  }
  if (answer !== null) return answer;
  interrupt();
  // Reached where the signal has another meaning than the end of the process.
  throw new Refusal('nobody answered', 'ask again, or give --password-file', { exitCode: 1 });
}

/** Null: Ctrl-C. */
function lineTyped(keyboard: Keyboard): Promise<string | null> {
  return new Promise((resolve) => {
    const decoder = new TextDecoder();
    let typed: string[] = [];
    const onData = (chunk: Uint8Array): void => {
      for (const char of decoder.decode(chunk, { stream: true })) {
        if (char === CTRL_C) return end(null);
        if (char === '\r' || char === '\n' || char === CTRL_D) return end(typed.join(''));
        if (char === CTRL_U) typed = [];
        else if (char === BACKSPACE || char === CTRL_H) typed.pop();
        else typed.push(char);
      }
    };
    const end = (answer: string | null): void => {
      keyboard.off('data', onData);
      resolve(answer);
    };
    keyboard.on('data', onData);
  });
}
