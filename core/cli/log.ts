// The server's log: one line per event, with a message that does not change and fields that do. JSON for machines, with
// the keys of etcd's own lines (level, ts, msg), one readable line each for a terminal. Never a key, a value or a token. Lines
// are written at once and in order, so that the last words of a dying process are not lost.
//
// What somebody else wrote (an address, a member's name) cannot break a line, nor paint on the terminal that shows it. And no
// more than LINES_PER_SECOND lines go out in a second, errors excepted: what is left out is counted and said.

import { closeSync, openSync, writeSync } from 'node:fs';
import { stripVTControlCharacters, styleText } from 'node:util';
import { pino, type Logger } from 'pino';
import { Refusal } from './refusal.js';

export type { Logger };

export interface LogOptions {
  readonly level: string;
  /** auto: console on a terminal, else JSON. */
  readonly format: 'auto' | 'json' | 'console';
  /** `default` and `stderr`, `stdout`, or files, which are made, added to, and opened anew on SIGHUP. */
  readonly outputs: readonly string[];
}

export const LINES_PER_SECOND = 1000;

type Write = (line: string) => void;

export function openLog(options: LogOptions): Logger {
  const writes = [...new Set(options.outputs)].map((output) => openOutput(output, options.format));
  const stream = flooded((line) => {
    for (const write of writes) write(line);
  });
  return pino(
    {
      level: options.level === 'panic' ? 'fatal' : options.level,
      base: null,
      messageKey: 'msg',
      timestamp: () => pino.stdTimeFunctions.isoTime().replace('"time"', '"ts"'),
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
    },
    { write: (line: string) => stream(shielded(line)) },
  );
}

function openOutput(output: string, format: LogOptions['format']): Write {
  if (output === 'stdout') return openStream(1, process.stdout, format);
  if (output === 'stderr' || output === 'default') return openStream(2, process.stderr, format);
  const open = (): number => {
    try {
      // Only for who runs it: addresses and names of members stand in it.
      return openSync(output, 'a', 0o600);
    } catch (error) {
      const problem = `--log-outputs: ${error instanceof Error ? error.message : String(error)}`;
      throw new Refusal(problem, 'name files this user may write, or stderr, or stdout', { exitCode: 1, cause: error });
    }
  };
  let fd = open();
  let isBroken = false;
  // Neither a full disk of logs ends a server nor a file that cannot be opened anew, where the old one stays. Said once.
  const complain = (error: unknown): void => {
    const why = error instanceof Error ? error.message : String(error);
    if (!isBroken) process.stderr.write(`coterie serve: ${output} cannot be written: ${why}\n`);
    isBroken = true;
  };
  process.on('SIGHUP', () => {
    const old = fd;
    try {
      fd = open();
    } catch (error) {
      return complain(error);
    }
    isBroken = false;
    closeSync(old);
  });
  return (line) => {
    try {
      writeSync(fd, format === 'console' ? humanLine(line, null) : line);
    } catch (error) {
      complain(error);
    }
  };
}

function openStream(fd: number, stream: NodeJS.WriteStream, format: LogOptions['format']): Write {
  const destination = pino.destination({ fd, sync: true });
  const isHuman = format === 'console' || (format === 'auto' && stream.isTTY);
  return isHuman ? (line) => destination.write(humanLine(line, stream)) : (line) => destination.write(line);
}

/** Whatever floods the log is an event like any other the first thousand times a second. */
function flooded(write: Write): Write {
  let second = -1;
  let written = 0;
  let left = 0;
  return (line) => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) {
      if (left > 0) write(leftOut(line, left));
      [second, written, left] = [now, 0, 0];
    }
    const isGrave = /^\{"level":"(?:error|fatal)"/.test(line);
    if (!isGrave && written >= LINES_PER_SECOND) left++;
    else write(line);
    written++;
  };
}

function leftOut(next: string, lines: number): string {
  const ts = /"ts":"([^"]*)"/.exec(next)?.[1] ?? '';
  return `${JSON.stringify({ level: 'warn', ts, lines, msg: 'lines were left out of the log: too many in a second' })}\n`;
}

/** JSON leaves DEL, the control characters of eight bits and two line separators as they are; terminals obey them. */
function shielded(line: string): string {
  return line.replace(/[\u007f-\u009f\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
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

/** `stream` null: no colours. */
function humanLine(json: string, stream: NodeJS.WriteStream | null): string {
  const { level, ts, msg, ...fields } = JSON.parse(json) as { level: string; ts: string; msg: string };
  const paint = (colour: 'gray' | 'green' | 'yellow' | 'red', text: string): string => {
    return stream === null ? text : styleText(colour, text, { stream });
  };
  const clock = paint('gray', ts.slice(11, 23));
  const details = Object.entries(fields).map(([key, value]) => `${paint('gray', `${key}=`)}${showField(value)}`);
  return `${clock} ${paint(COLOURS[level] ?? 'green', level.padEnd(5))} ${[msg, ...details].join('  ')}\n`;
}

/** Control characters could repaint the terminal of whoever reads the log. */
function showField(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return stripVTControlCharacters(text).replace(/[\p{Cc}\u2028\u2029]/gu, ' ');
}
