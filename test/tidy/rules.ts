// The rules: each takes one source file (or all of them) and returns what breaks the law of test/tidy/law.ts. A rule
// looks at tokens only, never at raw text, except where the rule is about text: line length, header, comments.

import path from 'node:path';
import * as law from './law.js';
import { OPERATOR_WORDS, type Token } from './scanner.js';
import { isUnder, isUnderAny, resolveImport, type Source } from './source.js';

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly what: string;
}

export type FileRule = (source: Source) => Violation[];
export type HouseRule = (sources: readonly Source[]) => Violation[];

function at(source: Source, line: number, what: string): Violation {
  return { path: source.path, line, what };
}

/** Violations for every token that `judge` objects to, by the words it returns. */
function eachToken(source: Source, judge: (token: Token, i: number) => string | null): Violation[] {
  return source.tokens.flatMap((token, i) => {
    const what = judge(token, i);
    return what === null ? [] : [at(source, token.line, what)];
  });
}

function wordsAt(source: Source, i: number, ...texts: readonly string[]): boolean {
  return texts.every((text, k) => source.tokens[i + k]?.text === text && source.tokens[i + k]?.kind !== 'string');
}

// Imports.

export function roomOf(file: string): law.Room | null {
  const matches = law.ROOMS.filter((room) => isUnder(file, room.path));
  return matches.sort((a, b) => b.path.length - a.path.length)[0] ?? null;
}

function ownFolder(room: law.Room): readonly string[] {
  return room.path.endsWith('/') ? [room.path] : [];
}

export const importsFollowTheTable: FileRule = (source) => {
  const room = roomOf(source.path);
  if (room === null) return [at(source, 1, 'belongs to no room of test/tidy/law.ts')];
  return source.imports.flatMap(({ specifier, line }) => {
    const target = resolveImport(source.path, specifier);
    if (target === null || isUnderAny(target, [...ownFolder(room), ...room.imports])) return [];
    return [at(source, line, `${room.path} may not import ${target}`)];
  });
};

export const importsNameTheFile: FileRule = (source) =>
  source.imports.flatMap(({ specifier, line }) => {
    const target = resolveImport(source.path, specifier);
    if (target === null) return /^(?:node:|@?[a-z])/.test(specifier) ? [] : [at(source, line, `import of ${specifier}`)];
    if (!specifier.endsWith('.js')) return [at(source, line, `import of ${specifier} must end in .js`)];
    const door = path.posix.basename(target) === 'index.ts' && !isUnderAny(source.path, law.MAY_USE_DOORS);
    return door ? [at(source, line, `imports the door ${target}; name the file`)] : [];
  });

export const packagesStayInTheirFiles: FileRule = (source) =>
  source.imports.flatMap(({ specifier, line }) => {
    if (specifier.startsWith('.') || specifier.startsWith('node:') || isUnderAny(source.path, law.OUTSIDE)) return [];
    const name = specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
    const allowed = law.DEPENDENCIES[name] ?? [];
    if (isUnderAny(source.path, allowed)) return [];
    return [at(source, line, `package ${name} belongs in ${allowed.join(', ') || 'no file'}`)];
  });

export const importsHaveNoCycles: HouseRule = (sources) => {
  const edges = new Map(sources.map((source) => [source.path, targetsOf(source)]));
  const done = new Set<string>();
  const found: Violation[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    const seen = trail.indexOf(file);
    if (seen >= 0) found.push({ path: file, line: 1, what: `import cycle: ${[...trail.slice(seen), file].join(' -> ')}` });
    if (seen >= 0 || done.has(file)) return;
    for (const target of edges.get(file) ?? []) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const source of sources) visit(source.path, []);
  return found;
};

function targetsOf(source: Source): string[] {
  return source.imports.flatMap(({ specifier, dynamic }) => {
    const target = resolveImport(source.path, specifier);
    return target === null || dynamic ? [] : [target];
  });
}

export const everyFileIsReachable: HouseRule = (sources) => {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const reached = new Set<string>();
  const visit = (file: string): void => {
    const source = byPath.get(file);
    if (source === undefined || reached.has(file)) return;
    reached.add(file);
    for (const { specifier } of source.imports) visit(resolveImport(file, specifier) ?? '');
  };
  law.ROOTS.forEach(visit);
  return sources
    .filter((source) => isUnderAny(source.path, ['core/', 'recipes/', 'sidecar/']) && !reached.has(source.path))
    .map((source) => at(source, 1, `nothing leads here from ${law.ROOTS.join(', ')}`));
};

// Doors to the world.

function doorWords(file: string): readonly string[] {
  return law.DOORS.filter((door) => isUnder(file, door.path)).flatMap((door) => door.words);
}

/** The name of a member, a key or a parameter's label is not the global of the same name. */
function isGlobalUse(source: Source, i: number): boolean {
  const previous = source.tokens[i - 1]?.text ?? '';
  const next = source.tokens[i + 1]?.text ?? '';
  if (previous === '.' || previous === '?.') return source.tokens[i - 2]?.text === 'globalThis';
  if ([':', '?'].includes(next) && ['{', ',', ';', 'readonly', '('].includes(previous)) return false;
  return !(next === '(' && ['{', ';', '}', 'async', 'function'].includes(previous) && isDeclaration(source, i + 1));
}

/** Whether the bracket at `open` holds parameters: its partner is followed by a body or a type. */
function isDeclaration(source: Source, open: number): boolean {
  const close = source.partner.get(open);
  return close !== undefined && ['{', ':'].includes(source.tokens[close + 1]?.text ?? '');
}

export const theWorldHasDoors: FileRule = (source) => {
  if (isUnderAny(source.path, law.OUTSIDE)) return [];
  const words = law.WORLD_WORDS.filter((word) => !doorWords(source.path).includes(word));
  return eachToken(source, (token, i) => {
    if (token.kind !== 'word') return null;
    if (words.includes('Math.random') && wordsAt(source, i, 'Math', '.', 'random')) return 'Math.random outside its door';
    return words.includes(token.text) && isGlobalUse(source, i) ? `${token.text} outside its door` : null;
  });
};

export const modulesHaveDoors: FileRule = (source) => {
  if (isUnderAny(source.path, law.OUTSIDE)) return [];
  const doors = law.DOORS.filter((door) => isUnder(source.path, door.path));
  const open = [...law.PURE_MODULES, ...doors.flatMap((door) => door.modules)];
  return source.imports.flatMap(({ specifier, line, typeOnly }) => {
    if (!specifier.startsWith('node:') || typeOnly) return [];
    const name = `node:${specifier.slice(5).split('/')[0] ?? ''}`;
    return open.includes(name) ? [] : [at(source, line, `${specifier} outside its door`)];
  });
};

export const testsDoNotUseConsole: FileRule = (source) =>
  !isUnder(source.path, 'test/')
    ? []
    : eachToken(source, (token, i) => {
        const use = token.text === 'console' && token.kind === 'word' && isGlobalUse(source, i);
        return use ? 'console' : null;
      });

export const callbacksBelowClient: FileRule = (source) => {
  if (!isUnderAny(source.path, law.CALLBACK_ROOMS) || law.CALLBACK_EXCEPTIONS.includes(source.path)) return [];
  return eachToken(source, (token) =>
    token.kind === 'word' && law.CALLBACK_WORDS.includes(token.text) ? `${token.text} below the client interface` : null,
  );
};

// Size.

export const filesHaveAnEnd: FileRule = (source) => {
  const count = source.lines.length;
  if (count > law.LIMITS.fileLines) return [at(source, 1, `${count} lines, the wall is ${law.LIMITS.fileLines}`)];
  if (count <= law.LIMITS.fileLinesWithoutReason) return [];
  const reason = /\b(?:long|large|lines|one file|together)\b/i.test(headerOf(source).join(' '));
  if (reason) return [];
  return [at(source, 1, `${count} lines; above ${law.LIMITS.fileLinesWithoutReason} the header says why the file is long`)];
};

export const linesFitTheScreen: FileRule = (source) =>
  source.lines.flatMap((line, i) => {
    const columns = line.length;
    return columns > law.LIMITS.lineColumns ? [at(source, i + 1, `${columns} columns, at most ${law.LIMITS.lineColumns}`)] : [];
  });

export const functionsFitTheScreen: FileRule = (source) =>
  eachToken(source, (token, i) => {
    if (token.text !== '{' || token.kind !== 'punctuator' || !isFunctionBody(source, i)) return null;
    const end = source.tokens[source.partner.get(i) ?? i]?.line ?? token.line;
    const lines = end - token.line + 1;
    return lines > law.LIMITS.functionLines ? `a function of ${lines} lines, at most ${law.LIMITS.functionLines}` : null;
  });

const CONTROL = ['if', 'for', 'while', 'switch', 'catch', 'with', 'await'];
const NO_BODY = ['class', 'interface', 'extends', 'implements', 'else', 'try', 'return'];
const TYPE_PUNCTUATION = ['.', '<', '>', '|', '&', '=>', ',', ']', '}', ')'];

/** `{` opens a body when it follows `=>`, or parameters that are not those of a control statement, or their return type. */
function isFunctionBody(source: Source, brace: number): boolean {
  let i = brace - 1;
  if (source.tokens[i]?.text === '=>') return true;
  for (; i > 0; i--) {
    const token = source.tokens[i];
    if (token === undefined) return false;
    if (token.text === ')' && (i === brace - 1 || source.tokens[i + 1]?.text === ':')) return hasParameters(source, i);
    if (token.text === ':' && token.kind === 'punctuator' && source.tokens[i - 1]?.text === ')') continue;
    if (token.kind === 'punctuator' && [']', '}', ')'].includes(token.text)) i = source.partner.get(i) ?? 0;
    else if (token.kind === 'punctuator' && !TYPE_PUNCTUATION.includes(token.text)) return false;
    else if (token.kind === 'word' && NO_BODY.includes(token.text)) return false;
  }
  return false;
}

function hasParameters(source: Source, close: number): boolean {
  const open = source.partner.get(close) ?? 0;
  return !CONTROL.includes(source.tokens[open - 1]?.text ?? '');
}

// Words.

export const noEmptyCatch: FileRule = (source) =>
  eachToken(source, (token, i) => {
    if (token.text !== 'catch' || token.kind !== 'word') return null;
    const bracket = i + 1;
    if (source.tokens[i - 1]?.text === '.') {
      const end = source.partner.get(bracket) ?? bracket;
      const swallows = wordsAt(source, end - 3, '=>', '{', '}');
      return swallows ? 'swallows every error' : null;
    }
    const brace = source.tokens[bracket]?.text === '(' ? (source.partner.get(bracket) ?? bracket) + 1 : bracket;
    return wordsAt(source, brace, '{', '}') ? 'empty catch' : null;
  });

export const noAny: FileRule = (source) =>
  eachToken(source, (token, i) => {
    if (token.text !== 'any' || token.kind !== 'word' || source.tokens[i - 1]?.text === '.') return null;
    return [':', '('].includes(source.tokens[i + 1]?.text ?? '') ? null : 'any';
  });

export const noBlindCasts: FileRule = (source) =>
  eachToken(source, (token, i) => {
    if (wordsAt(source, i, 'as', 'unknown', 'as')) return 'as unknown as';
    if (token.text !== '!' || token.kind !== 'punctuator') return null;
    const previous = source.tokens[i - 1];
    const operand = previous?.kind === 'word' ? !OPERATOR_WORDS.has(previous.text) : [')', ']'].includes(previous?.text ?? '');
    const sameLine = previous?.line === token.line;
    return operand && sameLine && !isConditionEnd(source, i - 1) ? '! assertion' : null;
  });

/** `if (x) !y` is not written here, but `(…)` may also end the head of a statement. */
function isConditionEnd(source: Source, close: number): boolean {
  if (source.tokens[close]?.text !== ')') return false;
  return ['if', 'while', 'for'].includes(source.tokens[(source.partner.get(close) ?? 0) - 1]?.text ?? '');
}

export const erasableOnly: FileRule = (source) =>
  eachToken(source, (token, i) => {
    const named = source.tokens[i + 1]?.kind === 'word' && source.tokens[i + 2]?.text === '{';
    if (token.kind !== 'word' || source.tokens[i - 1]?.text === '.') return null;
    if (token.text === 'enum' && named) return 'enum';
    if (token.text === 'namespace' && named) return 'namespace';
    if (wordsAt(source, i, 'export', 'default')) return 'default export';
    return token.text === 'as' && wordsAt(source, i + 1, 'default') ? 'default export' : null;
  });

export const noInheritance: FileRule = (source) =>
  eachToken(source, (token, i) => {
    // Tests put poisoned stand-ins where a global class was.
    if (isUnder(source.path, 'test/')) return null;
    if (token.text !== 'extends' || token.kind !== 'word' || !isClassHead(source, i)) return null;
    const parent = source.tokens[i + 1]?.text ?? '';
    return parent.endsWith('Error') ? null : `a class hierarchy: extends ${parent}`;
  });

function isClassHead(source: Source, i: number): boolean {
  for (let k = i - 1; k >= Math.max(0, i - 12); k--) {
    const text = source.tokens[k]?.text ?? '';
    if (text === 'class') return true;
    if (['{', '}', ';', 'interface', 'type'].includes(text)) return false;
  }
  return false;
}

export const plainNames: FileRule = (source) =>
  eachToken(source, (token, i) => {
    const declares = ['class', 'interface', 'type'].includes(source.tokens[i - 1]?.text ?? '');
    if (token.kind !== 'word' || !declares || source.tokens[i - 2]?.text === '.') return null;
    return law.FORBIDDEN_NAMES.some((pattern) => pattern.test(token.text)) ? `the name ${token.text}` : null;
  });

export const noModuleState: FileRule = (source) => {
  if (isUnderAny(source.path, law.OUTSIDE)) return [];
  let depth = 0;
  return eachToken(source, (token, i) => {
    if (token.kind === 'punctuator' && ['{', '(', '[', '${'].includes(token.text)) depth += 1;
    if (token.kind === 'punctuator' && ['}', ')', ']'].includes(token.text)) depth -= 1;
    const declares = token.kind === 'word' && ['let', 'var'].includes(token.text) && source.tokens[i + 1]?.kind === 'word';
    return depth === 0 && declares ? 'module-level mutable state' : null;
  });
};

// Comments, headers, names of files.

function headerOf(source: Source): string[] {
  const first = source.lines[0]?.startsWith('#!') === true ? 1 : 0;
  const lines = source.lines.slice(first);
  if (lines[0]?.startsWith('/*') === true) return lines.slice(0, lines.findIndex((line) => line.includes('*/')) + 1);
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return end < 0 ? lines : lines.slice(0, end);
}

export const filesSayWhatTheyAre: FileRule = (source) => {
  const header = headerOf(source);
  if (header.length === 0) return [at(source, 1, 'no header comment')];
  // An example's header also holds its output, which is as long as it is.
  const tooLong = header.length > law.LIMITS.headerLines && !isUnder(source.path, 'examples/');
  return tooLong ? [at(source, 1, `a header of ${header.length} lines, at most ${law.LIMITS.headerLines}`)] : [];
};

export const commentsPromiseNothing: FileRule = (source) =>
  source.comments.flatMap(({ text, line }) => {
    if (/\bFIXME\b|\bXXX\b|\bHACK\b/.test(text)) return [at(source, line, 'a comment that admits a fault: repair it')];
    return /\bTODO\b(?!\s*\(?#\d+)/.test(text) ? [at(source, line, 'TODO needs an issue number')] : [];
  });

export const pathsAreKebabCase: FileRule = (source) => {
  const folders = source.path.split('/').slice(0, -1);
  const forbidden = folders.find((folder) => law.FORBIDDEN_FOLDERS.includes(folder));
  if (forbidden !== undefined) return [at(source, 1, `a folder named ${forbidden}`)];
  const kebab = source.path.split('/').every((part) => /^[a-z\d]+(?:-[a-z\d]+)*(?:\.[a-z\d]+(?:-[a-z\d]+)*)*$/.test(part));
  return kebab ? [] : [at(source, 1, 'path is not kebab-case')];
};

export const noTestIsSkipped: FileRule = (source) =>
  eachToken(source, (token, i) => {
    const call = ['only', 'skip', 'failing', 'todo'].includes(token.text) && source.tokens[i - 1]?.text === '.';
    const ofTest = ['test', 'serial', 'before', 'after'].includes(source.tokens[i - 2]?.text ?? '');
    return call && ofTest && source.path.endsWith('.test.ts') ? `test.${token.text}` : null;
  });

/** A test lies under test/ where its subject lies in the house: test/core/log/wal*.test.ts is about core/log/wal.ts. */
export const testsLieBesideTheirSubject: HouseRule = (sources) => {
  const paths = sources.map((source) => source.path);
  return sources.flatMap((source) => {
    const match = /^test\/((?:core|recipes|sidecar)\/.*)\.test\.ts$/.exec(source.path);
    const subject = match?.[1];
    if (subject === undefined) return [];
    const names = paths.flatMap((file) => [file.replace(/\.ts$/, ''), path.posix.dirname(file)]);
    const found = names.some((name) => startsAtWord(subject, name));
    return found ? [] : [at(source, 1, 'no file of the house is its subject')];
  });
};

function startsAtWord(text: string, prefix: string): boolean {
  return text.startsWith(prefix) && /^(?:$|[-./])/.test(text.slice(prefix.length)) && prefix.includes('/');
}
