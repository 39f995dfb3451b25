// Commands about a cluster without a process of their own: run with a terminal that is only data. What they print is bytes,
// and so it is kept.

import { run } from '../../../core/cli/commands.js';
import type { Terminal } from '../../../core/cli/terminal.js';

const QUIET_MS = 60;

export interface Printed {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly bytes: Buffer;
}

export interface Stage {
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input. */
  readonly input?: string | Uint8Array;
  /** Answers to questions that are not shown; with them somebody sits there. */
  readonly secrets?: readonly string[];
  /** Told of everything on standard error so far, each time there is more. */
  readonly complained?: (stderr: string) => void;
  /** The command is told to end as soon as standard output is enough. */
  readonly until?: (stdout: string) => boolean;
  /** Or with this. */
  readonly signal?: AbortSignal;
  /** Or after so long. */
  readonly limitMs?: number;
}

/** As it stands in a shell; quotes keep spaces together. */
export function wordsOf(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, single, double, plain]) => single ?? double ?? plain ?? '');
}

export async function play(argv: readonly string[] | string, stage: Stage = {}): Promise<Printed> {
  const parts: Buffer[] = [];
  let stderr = '';
  const input = Buffer.from(stage.input ?? '');
  const ended = new AbortController();
  const secrets = [...stage.secrets ?? []];
  const terminal: Terminal = {
    // Nobody's saved contexts may decide a test.
    env: { COTERIE_CONTEXTS: '/nonexistent/contexts.json', ...stage.env },
    isInteractive: stage.secrets !== undefined,
    ended: ended.signal,
    out: (text) => {
      parts.push(Buffer.from(text));
      // What should not follow gets a moment to do so.
      if (stage.until?.(Buffer.concat(parts).toString()) === true) setTimeout(() => ended.abort(), QUIET_MS);
    },
    err: (text) => {
      stderr += text;
      stage.complained?.(stderr);
    },
    readAll: () => input,
    async *lines() {
      const lines = input.toString().split('\n');
      if (lines.at(-1) === '') lines.pop();
      yield* lines;
    },
    secret: (question) => {
      stderr += question;
      return Promise.resolve(secrets.shift() ?? '');
    },
  };
  const limit = setTimeout(() => ended.abort(), stage.limitMs ?? 20_000);
  stage.signal?.addEventListener('abort', () => ended.abort(), { once: true });
  const code = await run(typeof argv === 'string' ? wordsOf(argv) : argv, terminal);
  clearTimeout(limit);
  const bytes = Buffer.concat(parts);
  return { code, stdout: bytes.toString(), stderr, bytes };
}
