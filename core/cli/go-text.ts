// Go's quoted strings, both ways: etcdctl prints keys with them (`-w fields`, what it tells the command of a watch) and reads
// them in transactions. Values are bytes, which need not be UTF-8; what is not comes out as \x and two digits.

const NAMED: Readonly<Record<string, string>> = {
  '\u0007': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\u000b': '\\v', '\\': '\\\\', '"': '\\"',
};
const MEANT: Readonly<Record<string, number>> = {
  a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92, '"': 34, '\'': 39,
};

/** As Go's %q. */
export function quote(bytes: Uint8Array | string): string {
  let result = '"';
  for (const part of characters(typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes)) {
    result += typeof part === 'number' ? `\\x${part.toString(16).padStart(2, '0')}` : shown(part);
  }
  return `${result}"`;
}

function shown(char: string): string {
  const named = NAMED[char];
  if (named !== undefined) return named;
  if (/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(char)) return char;
  const code = char.codePointAt(0) ?? 0;
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

/** Characters; a number is a byte that belongs to none. */
function* characters(bytes: Uint8Array): Generator<string | number> {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at] ?? 0;
    const length = sequenceLength(first);
    const char = length === 0 ? null : decoded(strict, bytes.subarray(at, at + length));
    yield char ?? first;
    at += char === null ? 1 : length;
  }
}

function sequenceLength(first: number): number {
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}

function decoded(decoder: InstanceType<typeof TextDecoder>, bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** The text, or null when these bytes are none. */
export function validText(bytes: Uint8Array): string | null {
  return decoded(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }), bytes);
}

/** `\x61\x62`, as etcdctl's --hex. */
export function hexText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}

/** A key for people: as it is where a terminal would show it, else quoted. */
export function plainKey(bytes: Uint8Array): string {
  const text = validText(bytes);
  return text !== null && !/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/u.test(text) ? text : quote(bytes);
}

/** A string in quotes at `from`: what it means, and where it ends. Null: there is none, or it does not end. */
export function unquote(line: string, from: number): { readonly bytes: Uint8Array; readonly end: number } | null {
  const mark = line[from];
  if (mark !== '"' && mark !== '`' && mark !== '\'') return null;
  const parts: Uint8Array[] = [];
  for (let at = from + 1; at < line.length;) {
    const char = String.fromCodePoint(line.codePointAt(at) ?? 0);
    if (char === mark) return { bytes: Buffer.concat(parts), end: at + 1 };
    // Only double quotes have escapes; in the others a backslash is one.
    const escape = char === '\\' && mark === '"' ? escaped(line.slice(at + 1, at + 10)) : { length: 0, bytes: Buffer.from(char) };
    if (escape === null) return null;
    parts.push(escape.bytes);
    at += char.length + escape.length;
  }
  return null;
}

/** What follows a backslash. */
function escaped(rest: string): { readonly bytes: Uint8Array; readonly length: number } | null {
  const form = /^(?:x([\da-fA-F]{2})|([0-7]{3})|u([\da-fA-F]{4})|U([\da-fA-F]{8}))/;
  const [whole = '', byte, octal, short, long] = form.exec(rest) ?? [];
  if (byte !== undefined) return { bytes: Buffer.of(Number.parseInt(byte, 16)), length: whole.length };
  if (octal !== undefined) return { bytes: Buffer.of(Number.parseInt(octal, 8) & 0xff), length: whole.length };
  if (whole !== '') {
    const code = Number.parseInt(short ?? long ?? '', 16);
    return code > 0x10ffff ? null : { bytes: Buffer.from(String.fromCodePoint(code)), length: whole.length };
  }
  const meant = MEANT[rest[0] ?? ''];
  return meant === undefined ? null : { bytes: Buffer.of(meant), length: 1 };
}
