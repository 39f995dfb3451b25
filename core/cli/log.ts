// The server's log: one line per event, with a message that does not change and fields that do. JSON for machines, one
// readable line each for a terminal. Never a key, a value or a token. Lines are written at once and in order, so that the
// last words of a dying process are not lost.

import { stripVTControlCharacters, styleText } from 'node:util';
import { pino, type Logger } from 'pino';

export type { Logger };

export interface LogOptions {
  readonly level: string;
  readonly format: 'json' | 'console';
  readonly output: NodeJS.WriteStream;
}

export function openLog(options: LogOptions): Logger {
  const fd = options.output === process.stdout ? 1 : 2;
  const destination = pino.destination({ fd, sync: true });
  return pino(
    {
      level: options.level === 'panic' ? 'fatal' : options.level,
      base: null,
      messageKey: 'msg',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
    },
    options.format === 'json' ? destination : { write: (line: string) => destination.write(humanLine(line, options.output)) },
  );
}

/** Name, code and message; the stack only of what nobody expected. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? { code: String(error.code) } : {};
  const cause = error.cause === undefined ? {} : { cause: describeError(error.cause) };
  return { name: error.name, message: error.message, ...code, ...cause };
}

const COLOURS: Readonly<Record<string, 'gray' | 'green' | 'yellow' | 'red'>> = {
  debug: 'gray', info: 'green', warn: 'yellow', error: 'red', fatal: 'red',
};

function humanLine(json: string, stream: NodeJS.WriteStream): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as { level: string; time: string; msg: string };
  const paint = (colour: 'gray' | 'green' | 'yellow' | 'red', text: string): string => styleText(colour, text, { stream });
  const clock = paint('gray', time.slice(11, 23));
  const details = Object.entries(fields).map(([key, value]) => `${paint('gray', `${key}=`)}${showField(value)}`);
  return `${clock} ${paint(COLOURS[level] ?? 'green', level.padEnd(5))} ${[msg, ...details].join('  ')}\n`;
}

/** Control characters could repaint the terminal of whoever reads the log. */
function showField(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return stripVTControlCharacters(text).replace(/\p{Cc}/gu, ' ');
}
