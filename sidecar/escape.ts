// How one value becomes text inside one kind of file. Pure. Handlebars' HTML escaping is never used: each target has its
// own alphabet, and a value that cannot stand there is refused, never repaired. Two ways in: `bare` writes a value as (part
// of) an unquoted word, `quoted` as one whole quoted word. Whoever may register an instance chooses values; whoever owns
// the template chooses the places. Neither `bare` nor `quoted` lets a value end the word it stands in.

export type Escape = 'nginx' | 'haproxy' | 'json' | 'shell' | 'plain';

export const ESCAPES: readonly Escape[] = ['nginx', 'haproxy', 'json', 'shell', 'plain'];

export const VALUE_CHARS_MAX = 4096;

/** A value that may not be written at this place. The reason names the character and what to do. */
export class UnsafeValue extends Error {
  override readonly name = 'UnsafeValue';
}

export type Scalar = string | number | boolean;

/** The escape that a file's name tells, or null when it tells nothing: then the operator must say. */
export function escapeForFile(path: string): Escape | null {
  const base = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  if (base.endsWith('.json')) return 'json';
  if (base.endsWith('.sh') || base.endsWith('.env')) return 'shell';
  if (base.endsWith('.txt') || base.endsWith('.md')) return 'plain';
  if (base.includes('haproxy')) return 'haproxy';
  if (base.includes('nginx')) return 'nginx';
  if (base.endsWith('.cfg') && /\/haproxy\//i.test(path)) return 'haproxy';
  if (base.endsWith('.conf') && /\/nginx\//i.test(path)) return 'nginx';
  return null;
}

// One alphabet for unquoted words in nginx and HAProxy. Left out on purpose: blanks and control characters end the word,
// `;{}` end the directive, `#` starts a comment, quotes and `\` change the reading, `$` is a variable in nginx and in
// HAProxy's double quotes, `%` an expression in HAProxy's log formats, `~^*()|!?` have a meaning where nginx matches.
const BARE = /^[A-Za-z0-9._:/[\]-][A-Za-z0-9._:/[\]@+=,~-]*$/;

/** `value` as an unquoted word or a part of one. Throws `UnsafeValue`. */
export function bare(escape: Escape, value: Scalar): string {
  if (escape === 'json') return JSON.stringify(value);
  const text = scalarText(value);
  if (escape === 'shell') return shellQuoted(text);
  if (escape === 'plain') return text;
  if (BARE.test(text)) return text;
  if (text === '') {
    throw new UnsafeValue('an empty value would vanish between its neighbours; give it a {{default …}} or {{quote}} it');
  }
  const at = Array.from(text).find((c) => !BARE.test(`a${c}`)) ?? text.slice(0, 1);
  const remedy = canQuote(escape, text) ? 'write {{quote …}} if any text is welcome here' : 'it is refused in quotes, too';
  throw new UnsafeValue(`${shown(text)} holds ${shown(at)}, which means something to ${escape}; ${remedy}`);
}

/** `value` as one whole quoted word. Throws `UnsafeValue` where the target has no way to write it. */
export function quoted(escape: Escape, value: Scalar): string {
  if (escape === 'json') return JSON.stringify(value);
  const text = scalarText(value);
  if (escape === 'shell') return shellQuoted(text);
  if (escape === 'plain') return text;
  const bad = Array.from(text).find((c) => isControl(c) || forbiddenInQuotes(escape).includes(c));
  if (bad !== undefined) {
    throw new UnsafeValue(`${shown(text)} holds ${shown(bad)}, which ${escape} has no way to write inside quotes`);
  }
  if (escape === 'haproxy') return `'${text}'`;
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** Text that the operator vouches for. Only the sidecar's own marks are refused. */
export function verbatim(value: Scalar): string {
  return scalarText(value);
}

// The marks a rendering carries inside until it is finished. No value and no template can hold them.
export const GENERATION_MARK = '\0';
export const QUOTE_MARK = '\x01';
const MARKS = [GENERATION_MARK, QUOTE_MARK];

/**
 * Takes the quote marks out of a finished rendering and proves that each quoted word began where `escape` reads a quote as
 * the start of a word: not within a word, a comment or other quotes. Returns the text, or the line of the first bad place.
 */
export function settleQuotes(escape: Escape, text: string): { readonly text: string } | { readonly badLine: number } {
  if (!text.includes(QUOTE_MARK)) return { text };
  if (escape !== 'nginx' && escape !== 'haproxy') return { text: text.replaceAll(QUOTE_MARK, '') };
  let state: 'space' | 'word' | 'comment' | '"' | "'" = 'space';
  let line = 1;
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === '\n') line++;
    if (c === QUOTE_MARK) {
      if (state !== 'space' && state !== 'comment') return { badLine: line };
      i = text.indexOf(QUOTE_MARK, i + 1);
      if (state === 'space') state = 'word';
    } else {
      if (c === '\\' && state !== 'comment' && !(state === "'" && escape === 'haproxy')) i++;
      state = nextState(escape, state, c);
    }
  }
  return { text: text.replaceAll(QUOTE_MARK, '') };
}

function nextState<S extends 'space' | 'word' | 'comment' | '"' | "'">(
  escape: 'nginx' | 'haproxy',
  state: S,
  c: string,
): 'space' | 'word' | 'comment' | '"' | "'" {
  if (state === 'comment') return c === '\n' ? 'space' : state;
  if (state === '"' || state === "'") return c === state ? 'word' : state;
  if (/\s/.test(c)) return 'space';
  if (escape === 'nginx' && (c === ';' || c === '{' || c === '}')) return 'space';
  // nginx reads quotes and `#` only at the start of a word; HAProxy reads them anywhere.
  const special = escape === 'haproxy' || state === 'space';
  if (special && (c === '"' || c === "'")) return c;
  return special && c === '#' ? 'comment' : 'word';
}

/** Why an address that is a good DNS name cannot stand before a port in this target; null when it can. */
export function misread(escape: Escape, address: string): string | null {
  if (escape !== 'nginx' || address.toLowerCase() !== 'unix') return null;
  return `address ${shown(address)}, which nginx reads as the start of a socket's path; register an IP address or a full name`;
}

function scalarText(value: Scalar): string {
  const text = String(value);
  if (text.length > VALUE_CHARS_MAX) {
    throw new UnsafeValue(`a value of ${text.length} characters; ${VALUE_CHARS_MAX} are allowed`);
  }
  const mark = MARKS.find((character) => text.includes(character));
  if (mark !== undefined) throw new UnsafeValue(`${shown(text)} holds the control character ${shown(mark)}`);
  return text;
}

// nginx expands `$name` inside quotes and has no escape for `$`. HAProxy's strong quotes have no escape at all, and some
// of its arguments read `%` as an expression even inside quotes.
function forbiddenInQuotes(escape: Escape): string {
  return escape === 'nginx' ? '$' : "'%";
}

function canQuote(escape: Escape, text: string): boolean {
  return !Array.from(text).some((c) => isControl(c) || forbiddenInQuotes(escape).includes(c));
}

function shellQuoted(text: string): string {
  const bad = Array.from(text).find((c) => isControl(c) && c !== '\n' && c !== '\t');
  if (bad !== undefined) throw new UnsafeValue(`${shown(text)} holds the control character ${shown(bad)}`);
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function isControl(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code === 0x2028 || code === 0x2029;
}

/** A value as it may be shown in a message: quoted, escaped, and cut. */
export function shown(text: string): string {
  const cut = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return JSON.stringify(cut).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029');
}
