// A source file as the rules see it: text, tokens, and what it imports. Built from a string, so that a rule can be tried
// on a planted snippet exactly as it runs on the house.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { GENERATED } from './law.js';
import { scan, type Comment, type Token } from './scanner.js';

/** The package root, seen from the compiled file: every output folder lies directly under it. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly dynamic: boolean;
  /** `import type`, or every name marked `type`: nothing is left of it at run time. */
  readonly typeOnly: boolean;
}

export interface Source {
  /** Relative to the root, with slashes. */
  readonly path: string;
  readonly lines: readonly string[];
  readonly tokens: readonly Token[];
  readonly comments: readonly Comment[];
  readonly partner: ReadonlyMap<number, number>;
  readonly imports: readonly Import[];
}

export function parse(file: string, text: string): Source {
  const { tokens, comments, partner } = scan(text);
  return { path: file, lines: text.replace(/\n$/, '').split('\n'), tokens, comments, partner, imports: findImports(tokens) };
}

function findImports(tokens: readonly Token[]): Import[] {
  const found: Import[] = [];
  tokens.forEach((token, i) => {
    if (token.kind !== 'word' || tokens[i - 1]?.text === '.') return;
    if (token.text === 'import' && tokens[i + 1]?.text === '(') {
      const name = tokens[i + 2];
      if (name?.kind === 'string') found.push({ specifier: name.text, line: token.line, dynamic: true, typeOnly: false });
    } else if (token.text === 'import' || token.text === 'export') {
      const statement = readStatement(tokens, i);
      if (statement !== null) found.push(statement);
    }
  });
  return found;
}

/** `import … from 'x'`, `import 'x'`, `export … from 'x'`; null for other exports. */
function readStatement(tokens: readonly Token[], at: number): Import | null {
  const line = tokens[at]?.line ?? 0;
  for (let i = at + 1; i < tokens.length; i++) {
    const token = tokens[i];
    if (token === undefined || token.text === ';' || token.text === '=' || token.text === '(') return null;
    if (token.kind === 'string' && (tokens[i - 1]?.text === 'from' || i === at + 1)) {
      return { specifier: token.text, line, dynamic: false, typeOnly: isTypeOnly(tokens.slice(at + 1, i)) };
    }
  }
  return null;
}

function isTypeOnly(clause: readonly Token[]): boolean {
  if (clause[0]?.text === 'type' && clause[1]?.text !== 'from') return true;
  if (clause[0]?.text !== '{') return false;
  const next = (i: number): string => clause[i + 1]?.text ?? '}';
  return clause.every((token, i) => !['{', ','].includes(token.text) || ['type', '}', 'from'].includes(next(i)));
}

/** The file of ours that `specifier` names, seen from `from`; null for packages. */
export function resolveImport(from: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  return path.posix.join(path.posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

export function isUnder(file: string, place: string): boolean {
  return place.endsWith('/') ? file.startsWith(place) : file === place;
}

export function isUnderAny(file: string, places: readonly string[]): boolean {
  return places.some((place) => isUnder(file, place));
}

/** Every file below the rooms, as paths relative to the root. */
export function listFiles(): string[] {
  return ['core', 'recipes', 'sidecar', 'templates', 'examples', 'test']
    .filter((room) => existsSync(path.join(ROOT, room)))
    .flatMap((room) => readdirSync(path.join(ROOT, room), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name)).split(path.sep).join('/')))
    .sort();
}

/** The whole house, generated code left out. */
export function readHouse(): Source[] {
  return listFiles()
    .filter((file) => file.endsWith('.ts') && !isUnderAny(file, GENERATED))
    .map((file) => parse(file, readFileSync(path.join(ROOT, file), 'utf8')));
}
