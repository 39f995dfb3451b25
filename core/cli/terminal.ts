// What a command reads and where it writes: the terminal it was called from, or a stand-in. Commands about a cluster touch
// the world through it only, so that they run in one process with their tests.

import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';

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

export async function* linesOf(chunks: AsyncIterable<Uint8Array | string>): AsyncGenerator<string> {
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
const BACKSPACE = '\u007f';

async function askSecret(question: string): Promise<string> {
  const { stdin } = process;
  if (!stdin.isTTY) {
    for await (const line of linesOf(stdin)) return line;
    return '';
  }
  process.stderr.write(question);
  stdin.setRawMode(true);
  stdin.resume();
  try {
    return await new Promise((resolve, reject) => {
      let typed = '';
      const onData = (chunk: Buffer): void => {
        for (const char of chunk.toString()) {
          if (char === CTRL_C) return end(() => reject(new Error('interrupted')));
          if (char === '\r' || char === '\n') return end(() => resolve(typed));
          typed = char === BACKSPACE ? typed.slice(0, -1) : typed + char;
        }
      };
      const end = (settle: () => void): void => {
        stdin.off('data', onData);
        settle();
      };
      stdin.on('data', onData);
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    process.stderr.write('\n');
  }
}
