// Contexts: where to ask and as whom, under a name, so that nobody types it again. One file of the user's own, mode 0600,
// written beside and renamed; a file that others can read is refused while it holds a password. A context holds words of
// the flags in global-flags.ts, and nothing else.

import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { Refusal } from './refusal.js';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Context = Readonly<Record<string, string>>;

export interface Contexts {
  /** The one that counts when nobody says otherwise; null: none. */
  readonly current: string | null;
  readonly contexts: Readonly<Record<string, Context>>;
}

const NONE: Contexts = { current: null, contexts: {} };
const VERSION = 1;
const FILE_BYTES_MAX = 1 << 20;
/** Never shown. */
export const SECRETS: readonly string[] = ['password'];

export function contextsFile(env: Environment): string {
  const named = env['COTERIE_CONTEXTS'] ?? '';
  if (named !== '') return named;
  const config = env['XDG_CONFIG_HOME'] ?? '';
  return path.join(config === '' ? path.join(env['HOME'] ?? homedir(), '.config') : config, 'coterie', 'contexts.json');
}

export function readContexts(env: Environment): Contexts {
  const file = contextsFile(env);
  let text: string;
  try {
    const { size, mode } = statSync(file);
    if (size > FILE_BYTES_MAX) throw unreadable(file, 'it is too large');
    text = readFileSync(file, 'utf8');
    if ((mode & 0o077) !== 0 && SECRETS.some((name) => text.includes(`"${name}"`))) {
      throw new Refusal(`${file} holds a password and can be read by others`, `chmod 600 ${file}`, { exitCode: 1 });
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT' || code === 'ENOTDIR') return NONE;
    throw unreadable(file, error instanceof Error ? error.message : String(error), error);
  }
  return parsed(file, text);
}

function parsed(file: string, text: string): Contexts {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw unreadable(file, 'it is not JSON', cause);
  }
  if (!isRecord(value) || value['version'] !== VERSION || !isRecord(value['contexts'])) {
    throw unreadable(file, 'it is not of a form that is known here');
  }
  const entries = Object.entries(value['contexts']).map(([name, words]): [string, Context] => {
    const pairs = Object.entries(isRecord(words) ? words : {}).flatMap(([flag, word]): [string, string][] => {
      return typeof word === 'string' ? [[flag, word]] : [];
    });
    return [name, Object.fromEntries(pairs)];
  });
  const { current } = value;
  return { current: typeof current === 'string' ? current : null, contexts: Object.fromEntries(entries) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unreadable(file: string, why: string, cause?: unknown): Refusal {
  const remedy = 'mend or remove it, or name another one with COTERIE_CONTEXTS';
  return new Refusal(`the contexts in ${file} cannot be read: ${why}`, remedy, { exitCode: 1, cause });
}

export function writeContexts(env: Environment, { current, contexts }: Contexts): void {
  const file = contextsFile(env);
  const beside = `${file}.new`;
  try {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    // A leftover would keep its mode; one that is made has no more than this, whatever the umask.
    rmSync(beside, { force: true });
    writeFileSync(beside, `${JSON.stringify({ version: VERSION, current, contexts }, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    renameSync(beside, file);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const remedy = 'make the directory writable, or name another file with COTERIE_CONTEXTS';
    throw new Refusal(`the contexts cannot be written: ${why}`, remedy, { exitCode: 1, cause });
  }
}

/** The words of the context that counts; `wanted` null: the current one, if there is one. */
export function contextWords(env: Environment, wanted: string | null): Context {
  const { current, contexts } = readContexts(env);
  const name = wanted ?? current;
  if (name === null) return {};
  const found = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (found !== undefined) return found;
  const known = Object.keys(contexts);
  const remedy = known.length === 0 ? 'coterie context add NAME --endpoints …' : `there are ${known.join(', ')}`;
  throw new Refusal(`--context ${name}: there is no such context`, remedy);
}
