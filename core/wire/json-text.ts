// Reads JSON as the gateway's clients know it: one or several values after another in a body, faults worded as etcd words
// them (contract 11.2), numbers kept as they were written, because a 64-bit id does not survive a double. Objects are
// maps, so no key of a caller can reach a prototype.

export class JsonFault extends Error {
  override readonly name = 'JsonFault';
}

/** A number as written. */
export class NumberText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Json = null | boolean | string | NumberText | Json[] | Map<string, Json>;

/** Nesting beyond this is refused rather than recursed into. */
const DEPTH_MAX = 100;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/** The first value in `text`; what follows it is ignored, as etcd ignores it. Nothing at all: null. */
export function parseFirst(text: string): Json {
  const reader = new JsonReader(text);
  reader.space();
  return reader.ended ? null : reader.value(0);
}

/** The only value in `text`. */
export function parseWhole(text: string): Json {
  const reader = new JsonReader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get ended(): boolean {
    return this.#at >= this.#text.length;
  }

  space(): void {
    while (!this.ended && ' \t\r\n'.includes(this.#text.charAt(this.#at))) this.#at++;
  }

  end(): void {
    this.space();
    if (!this.ended) throw this.#unexpected('after top-level value');
  }

  value(depth: number): Json {
    this.space();
    const first = this.#text.charAt(this.#at);
    if (depth > DEPTH_MAX) throw new JsonFault('exceeded max depth');
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#array(depth);
    if (first === '"') return this.#string();
    if (first === 't') return this.#word('true', true);
    if (first === 'f') return this.#word('false', false);
    if (first === 'n') return this.#word('null', null);
    if (first === '-' || (first >= '0' && first <= '9')) return this.#number();
    throw this.#unexpected('looking for beginning of value');
  }

  #unexpected(where: string): JsonFault {
    const char = this.#text.charAt(this.#at);
    if (char === '') return new JsonFault('unexpected EOF');
    return new JsonFault(`invalid character ${quoted(char)} ${where}`);
  }

  #object(depth: number): Json {
    const members = new Map<string, Json>();
    this.#at++;
    this.space();
    if (this.#text.charAt(this.#at) === '}') {
      this.#at++;
      return members;
    }
    for (;;) {
      this.space();
      if (this.#text.charAt(this.#at) !== '"') throw this.#unexpected('looking for beginning of object key string');
      const key = this.#string();
      this.space();
      if (this.#text.charAt(this.#at) !== ':') throw this.#unexpected('after object key');
      this.#at++;
      members.set(key, this.value(depth + 1));
      this.space();
      const next = this.#text.charAt(this.#at);
      if (next !== ',' && next !== '}') throw this.#unexpected('after object key:value pair');
      this.#at++;
      if (next === '}') return members;
    }
  }

  #array(depth: number): Json {
    const items: Json[] = [];
    this.#at++;
    this.space();
    if (this.#text.charAt(this.#at) === ']') {
      this.#at++;
      return items;
    }
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      const next = this.#text.charAt(this.#at);
      if (next !== ',' && next !== ']') throw this.#unexpected('after array element');
      this.#at++;
      if (next === ']') return items;
    }
  }

  #string(): string {
    const parts: string[] = [];
    this.#at++;
    for (;;) {
      const from = this.#at;
      while (isPlain(this.#text.charCodeAt(this.#at))) this.#at++;
      parts.push(this.#text.slice(from, this.#at));
      const char = this.#text.charAt(this.#at);
      if (char === '"') {
        this.#at++;
        return parts.join('');
      }
      if (char !== '\\') throw this.#unexpected('in string literal');
      this.#at++;
      parts.push(this.#escape());
    }
  }

  #escape(): string {
    const char = this.#text.charAt(this.#at);
    const simple = ESCAPES.get(char);
    if (simple !== undefined) {
      this.#at++;
      return simple;
    }
    if (char !== 'u') throw this.#unexpected('in string escape code');
    this.#at++;
    const from = this.#at;
    for (; this.#at < from + 4; this.#at++) {
      if (!/[0-9a-fA-F]/.test(this.#text.charAt(this.#at))) throw this.#unexpected('in \\u hexadecimal character escape');
    }
    return String.fromCharCode(Number.parseInt(this.#text.slice(from, this.#at), 16));
  }

  #word<T extends Json>(word: string, value: T): T {
    for (let i = 0; i < word.length; i++, this.#at++) {
      const char = word.charAt(i);
      if (this.#text.charAt(this.#at) !== char) throw this.#unexpected(`in literal ${word} (expecting '${char}')`);
    }
    return value;
  }

  #number(): NumberText {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) {
      this.#at++;
      throw this.#unexpected('in numeric literal');
    }
    this.#at += match[0].length;
    return new NumberText(match[0]);
  }
}

/** May stand in a string as it is: no quote, no backslash, no control character, not the end of the text (NaN). */
function isPlain(code: number): boolean {
  return code >= 0x20 && code !== 0x22 && code !== 0x5c;
}

const QUOTED: ReadonlyMap<string, string> = new Map([
  ["'", "\\'"],
  ['\\', '\\\\'],
  ['\u0007', '\\a'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\v', '\\v'],
]);

/** A character as Go quotes it in such messages. */
function quoted(char: string): string {
  const code = char.charCodeAt(0);
  const control = code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, '0')}` : char;
  return `'${QUOTED.get(char) ?? control}'`;
}

/**
 * Cuts a body that arrives in pieces into its values: `push` yields the texts completed so far, as they are asked for, `rest`
 * is what is left over at the end. Only nesting and strings are looked at; whether a value is valid shows when it is parsed.
 * Each character is looked at once, however small the pieces are.
 */
export class JsonSplitter {
  /** What earlier pieces brought of a value that is not complete. */
  #parts: string[] = [];
  #pendingLength = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #started = false;

  get pendingLength(): number {
    return this.#pendingLength;
  }

  /** To be read to its end before the next piece. */
  *push(piece: string): Generator<string, void> {
    let from = 0;
    for (let at = 0; at < piece.length; at++) {
      const isComplete = this.#completes(piece.charAt(at));
      if (isComplete) {
        const text = this.#parts.join('') + piece.slice(from, at + 1);
        this.#forget();
        from = at + 1;
        yield text;
      } else if (!this.#started) {
        // Space between values.
        from = at + 1;
      }
    }
    if (from === piece.length) return;
    this.#parts.push(piece.slice(from));
    this.#pendingLength += piece.length - from;
  }

  /** What is left when the body ends; empty when only space is. */
  rest(): string {
    return this.#parts.join('').trim();
  }

  #forget(): void {
    this.#parts = [];
    this.#pendingLength = 0;
    this.#started = false;
  }

  /** Whether a value ends with this character. Anything outside an object or array is a value of its own, up to a space. */
  #completes(char: string): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (char === '\\') this.#escaped = true;
      else if (char === '"') this.#inString = false;
      return !this.#inString && this.#depth === 0;
    }
    const space = ' \t\r\n'.includes(char);
    if (!space) this.#started = true;
    if (char === '"') this.#inString = true;
    else if (char === '{' || char === '[') this.#depth++;
    else if (char === '}' || char === ']') {
      this.#depth = Math.max(0, this.#depth - 1);
      return this.#depth === 0;
    }
    return space && this.#depth === 0 && this.#started;
  }
}
