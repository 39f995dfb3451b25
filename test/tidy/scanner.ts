// Splits TypeScript into tokens, so that the house's rules look at code and never at what stands in a string or a
// comment. Not a parser: it knows strings, templates (nested ones too), comments and regular expressions, and pairs up
// brackets. What it must keep: every character belongs to at most one token, and lines are counted right.

export interface Token {
  readonly kind: 'word' | 'number' | 'string' | 'template' | 'regex' | 'punctuator';
  /** The characters as they stand; for strings without the quotes. */
  readonly text: string;
  /** 1 for the first line of the file. */
  readonly line: number;
}

export interface Comment {
  readonly text: string;
  readonly line: number;
  readonly endLine: number;
}

export interface Scanned {
  readonly tokens: readonly Token[];
  readonly comments: readonly Comment[];
  /** For the position of an opening or closing bracket the position of its partner. */
  readonly partner: ReadonlyMap<number, number>;
}

const PUNCTUATORS = [
  '...', '===', '!==', '**=', '<<=', '&&=', '||=', '??=', '=>', '==', '!=', '<=', '&&', '||', '??', '?.',
  '++', '--', '+=', '-=', '*=', '/=', '%=', '&=', '|=', '^=', '**', '<<',
];
/** After these words a slash begins a regular expression and a bang is a negation. */
export const OPERATOR_WORDS: ReadonlySet<string> = new Set([
  'return', 'typeof', 'instanceof', 'in', 'of', 'new', 'delete', 'void', 'throw', 'case', 'do', 'else', 'yield', 'await',
  'default',
]);

class Scanner {
  readonly tokens: Token[] = [];
  readonly comments: Comment[] = [];
  readonly #source: string;
  #at = 0;
  #line = 1;

  constructor(source: string) {
    this.#source = source;
  }

  run(): void {
    if (this.#source.startsWith('#!')) this.#skipTo('\n');
    while (this.#at < this.#source.length) this.#next();
  }

  #next(): void {
    const here = this.#source.charAt(this.#at);
    if (here === '\n') return this.#advance(1);
    if (/\s/.test(here)) return this.#advance(1);
    if (this.#looking('//')) return this.#comment('\n');
    if (this.#looking('/*')) return this.#comment('*/');
    if (here === '\'' || here === '"') return this.#string(here);
    if (here === '`') return this.#template();
    const word = this.#match(/[\p{ID_Start}$_#][\p{ID_Continue}$]*/uy);
    if (word !== null) return this.#push('word', word);
    const number = this.#match(/0[xXbBoO][\da-fA-F_]+n?|\d[\d_]*(?:\.[\d_]+)?(?:[eE][+-]?\d+)?n?/y);
    if (number !== null) return this.#push('number', number);
    if (here === '/' && this.#regexMayBegin()) return this.#regex();
    this.#push('punctuator', PUNCTUATORS.find((text) => this.#looking(text)) ?? here);
  }

  #looking(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0] ?? null;
  }

  #push(kind: Token['kind'], text: string, length = text.length): void {
    this.tokens.push({ kind, text, line: this.#line });
    this.#advance(length);
  }

  #advance(count: number): void {
    for (let i = 0; i < count; i++) if (this.#source.charAt(this.#at + i) === '\n') this.#line += 1;
    this.#at += count;
  }

  #skipTo(end: string): void {
    const found = this.#source.indexOf(end, this.#at);
    this.#advance((found < 0 ? this.#source.length : found) - this.#at);
  }

  #comment(end: string): void {
    const from = this.#at;
    const line = this.#line;
    this.#skipTo(end);
    if (end !== '\n') this.#advance(end.length);
    this.comments.push({ text: this.#source.slice(from, this.#at), line, endLine: this.#line });
  }

  #string(quote: string): void {
    let end = this.#at + 1;
    while (end < this.#source.length && this.#source.charAt(end) !== quote && this.#source.charAt(end) !== '\n') {
      end += this.#source.charAt(end) === '\\' ? 2 : 1;
    }
    this.#push('string', this.#source.slice(this.#at + 1, end), end + 1 - this.#at);
  }

  /** The pieces of a template become tokens of kind 'template'; what stands in `${}` is scanned like any code. */
  #template(): void {
    this.#templatePiece(this.#at + 1);
    while (this.#looking('${')) {
      this.#push('punctuator', '${');
      for (let depth = 1; depth > 0 && this.#at < this.#source.length; ) {
        const before = this.tokens.length;
        this.#next();
        const token = this.tokens.length > before ? this.tokens.at(-1) : undefined;
        if (token?.kind === 'punctuator' && token.text === '{') depth += 1;
        if (token?.kind === 'punctuator' && token.text === '}') depth -= 1;
      }
      this.#templatePiece(this.#at);
    }
  }

  /** Up to the next `${`, which is left standing, or past the closing backtick. */
  #templatePiece(from: number): void {
    let end = from;
    while (end < this.#source.length && this.#source.charAt(end) !== '`' && !this.#source.startsWith('${', end)) {
      end += this.#source.charAt(end) === '\\' ? 2 : 1;
    }
    const closing = this.#source.charAt(end) === '`' ? 1 : 0;
    this.#push('template', this.#source.slice(from, end), end + closing - this.#at);
  }

  #regexMayBegin(): boolean {
    const previous = this.tokens.at(-1);
    if (previous === undefined) return true;
    if (previous.kind === 'word') return OPERATOR_WORDS.has(previous.text);
    return previous.kind === 'punctuator' && ![')', ']', '}', '++', '--'].includes(previous.text);
  }

  #regex(): void {
    let end = this.#at + 1;
    let inClass = false;
    while (end < this.#source.length && (inClass || this.#source.charAt(end) !== '/')) {
      const here = this.#source.charAt(end);
      if (here === '[') inClass = true;
      if (here === ']') inClass = false;
      end += here === '\\' ? 2 : 1;
    }
    end += 1;
    while (/[a-z]/.test(this.#source.charAt(end))) end += 1;
    this.#push('regex', this.#source.slice(this.#at, end));
  }
}

const OPENING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}', '${': '}' };

function pairBrackets(tokens: readonly Token[]): Map<number, number> {
  const partner = new Map<number, number>();
  const open: number[] = [];
  tokens.forEach((token, i) => {
    if (token.kind !== 'punctuator') return;
    if (OPENING[token.text] !== undefined) open.push(i);
    const top = open.at(-1);
    if (top === undefined || OPENING[tokens[top]?.text ?? ''] !== token.text) return;
    open.pop();
    partner.set(top, i).set(i, top);
  });
  return partner;
}

export function scan(source: string): Scanned {
  const scanner = new Scanner(source);
  scanner.run();
  return { tokens: scanner.tokens, comments: scanner.comments, partner: pairBrackets(scanner.tokens) };
}
