// JSON <-> message bytes for requests and answers in their usual form, by the same descriptors as json-mapping.ts and in one
// pass: no tree, no message object. An answer is what the long way writes, byte for byte; a request as well, but for the order of
// its fields, which is that of the members. Whatever is not usual (an unknown or repeated member, null, an escape, a negative
// number, a fault) is answered null and then judged there, in one place.

import { ScalarType, type DescEnum, type DescField, type DescMessage } from '@bufbuild/protobuf';

/** A message as it is read and written here; null in place of one: it has fields that are not. */
export interface Shape {
  readonly byName: ReadonlyMap<string, Field>;
  /** By field number; ascending numbers are the order of the text. */
  readonly byNumber: readonly (Field | undefined)[];
}

type Kind = 'bytes' | 'string' | 'int64' | 'uint64' | 'bool' | 'enum' | 'message';

interface Field {
  readonly kind: Kind;
  /** `"name":` */
  readonly label: string;
  readonly tag: number;
  readonly isList: boolean;
  /** One of several that exclude each other: written even when it is 0, empty or false. */
  readonly isChoice: boolean;
  /** Own, or shared by those that exclude each other. */
  readonly bit: number;
  readonly numbers: ReadonlyMap<string, number>;
  readonly names: ReadonlyMap<number, string>;
  readonly shape: Shape | null;
}

const LENGTH_DELIMITED = 2;
const VARINT = 0;
const FIELDS_MAX = 31;
const NUMBER_MAX = 127;
/** Messages inside each other. */
const DEPTH_MAX = 16;

const KINDS: ReadonlyMap<ScalarType, Kind> = new Map([
  [ScalarType.BYTES, 'bytes'], [ScalarType.STRING, 'string'], [ScalarType.INT64, 'int64'], [ScalarType.UINT64, 'uint64'],
  [ScalarType.BOOL, 'bool'],
]);

/** Makes shapes; those of messages that stand inside each other are made once. */
export function shapes(): (desc: DescMessage) => Shape | null {
  const known = new Map<string, Shape>();
  const shapeOf = (desc: DescMessage): Shape | null => {
    const before = known.get(desc.typeName);
    if (before !== undefined) return before;
    if (desc.fields.length > FIELDS_MAX) return null;
    const byName = new Map<string, Field>();
    const byNumber: (Field | undefined)[] = [];
    // Known before it is whole: a message may stand in itself.
    known.set(desc.typeName, { byName, byNumber });
    let last = 0;
    for (const [i, field] of desc.fields.entries()) {
      const read = field.number > last && field.number <= NUMBER_MAX ? fieldOf(field, i, shapeOf) : null;
      if (read === null) continue;
      last = field.number;
      byName.set(field.name, read).set(field.jsonName, read);
      byNumber[field.number] = read;
    }
    return { byName, byNumber };
  };
  return shapeOf;
}

/** Null: of a kind that is not read here. */
function fieldOf(field: DescField, i: number, shapeOf: (desc: DescMessage) => Shape | null): Field | null {
  const kind = kindOf(field);
  if (kind === null) return null;
  const [first] = field.oneof?.fields ?? [];
  const desc: DescEnum | undefined = field.fieldKind === 'enum' ? field.enum : undefined;
  const isPacked = kind === 'bytes' || kind === 'string' || kind === 'message';
  return {
    kind,
    label: `${JSON.stringify(field.name)}:`,
    tag: field.number * 8 + (isPacked ? LENGTH_DELIMITED : VARINT),
    isList: field.fieldKind === 'list',
    isChoice: field.oneof !== undefined,
    bit: 1 << (first === undefined ? i : field.parent.fields.indexOf(first)),
    numbers: new Map(desc?.values.map(({ name, number }) => [name, number])),
    names: new Map(desc?.values.map(({ name, number }) => [number, JSON.stringify(name)])),
    shape: field.message === undefined ? null : shapeOf(field.message),
  };
}

function kindOf(field: DescField): Kind | null {
  switch (field.fieldKind) {
    case 'message':
      return 'message';
    case 'enum':
      return 'enum';
    case 'scalar':
      return KINDS.get(field.scalar) ?? null;
    case 'list':
      return field.listKind === 'message' ? 'message' : null;
    case 'map':
      return null;
  }
}

// Requests: text to bytes

const OPEN = 0x7b;
const CLOSE = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const ZERO = 0x30;
const NINE = 0x39;
/** Digits that a double holds exactly. */
const EXACT_DIGITS = 15;
const INT64_DIGITS = 19;
const INT64_MAX = 2n ** 63n - 1n;
const PIECE_BYTES = 64 * 1024;

/** By character code: what a letter of base64 stands for; others -1. */
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const SEXTETS: Int8Array = Int8Array.from({ length: 128 }, (_, code) => LETTERS.indexOf(String.fromCharCode(code)));

/** Reads requests of one server. Memory is taken in pieces; what was returned is never written to again. */
export class RequestReader {
  #piece: Buffer = Buffer.allocUnsafeSlow(0);
  #to = 0;
  #text = '';
  #at = 0;

  /** The first value in `text`, what follows it is ignored; null: not in the usual form. */
  read(shape: Shape, text: string): Uint8Array | null {
    // No text is shorter than the bytes it stands for.
    if (this.#to + text.length > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, text.length));
      this.#to = 0;
    }
    const from = this.#to;
    this.#text = text;
    this.#at = 0;
    this.#next();
    const isUsual = this.#message(shape, 0);
    this.#text = '';
    if (isUsual) return this.#piece.subarray(from, this.#to);
    this.#to = from;
    return null;
  }

  /** The next character that is not space; it is looked at, not taken. NaN: none. */
  #next(): number {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.#at += 1;
    }
  }

  #message(shape: Shape, depth: number): boolean {
    if (depth > DEPTH_MAX || this.#text.charCodeAt(this.#at) !== OPEN) return false;
    this.#at += 1;
    if (this.#next() === CLOSE) {
      this.#at += 1;
      return true;
    }
    let seen = 0;
    for (;;) {
      if (this.#next() !== QUOTE) return false;
      const from = this.#at + 1;
      const end = this.#text.indexOf('"', from);
      const field = end < 0 ? undefined : shape.byName.get(this.#text.slice(from, end));
      if (field === undefined || (seen & field.bit) !== 0) return false;
      seen |= field.bit;
      this.#at = end + 1;
      if (this.#next() !== COLON) return false;
      this.#at += 1;
      this.#next();
      if (!(field.isList ? this.#list(field, depth) : this.#value(field, depth))) return false;
      const after = this.#next();
      this.#at += 1;
      if (after === CLOSE) return true;
      if (after !== COMMA) return false;
    }
  }

  #list(field: Field, depth: number): boolean {
    if (this.#text.charCodeAt(this.#at) !== OPEN_LIST) return false;
    this.#at += 1;
    if (this.#next() === CLOSE_LIST) {
      this.#at += 1;
      return true;
    }
    for (;;) {
      this.#next();
      if (!this.#value(field, depth)) return false;
      const after = this.#next();
      this.#at += 1;
      if (after === CLOSE_LIST) return true;
      if (after !== COMMA) return false;
    }
  }

  #value(field: Field, depth: number): boolean {
    switch (field.kind) {
      case 'bytes':
        return this.#bytes(field);
      case 'string':
        return this.#string(field);
      case 'int64':
      case 'uint64':
        return this.#integer(field);
      case 'bool':
        return this.#bool(field);
      case 'enum':
        return this.#enum(field);
      case 'message':
        return this.#inner(field, depth);
    }
  }

  /** The length stands before what it measures, which is not written yet: it is given one byte, and more if that was too few. */
  #inner(field: Field, depth: number): boolean {
    if (field.shape === null) return false;
    this.#varint(field.tag);
    const from = this.#to + 1;
    this.#to = from;
    if (!this.#message(field.shape, depth + 1)) return false;
    const length = this.#to - from;
    const start = from - 1 + varintBytes(length);
    if (start !== from) this.#piece.copyWithin(start, from, this.#to);
    this.#to = from - 1;
    this.#varint(length);
    this.#to += length;
    return true;
  }

  /** Where the string ends that begins here; -1: none does. */
  #stringEnd(): number {
    return this.#text.charCodeAt(this.#at) === QUOTE ? this.#text.indexOf('"', this.#at + 1) : -1;
  }

  #bytes(field: Field): boolean {
    const text = this.#text;
    const end = this.#stringEnd();
    const from = this.#at + 1;
    const length = end - from;
    if (end < 0 || length % 4 !== 0) return false;
    this.#at = end + 1;
    if (length === 0) return this.#empty(field);
    let padding = 0;
    if (text.charCodeAt(end - 1) === 0x3d) padding = text.charCodeAt(end - 2) === 0x3d ? 2 : 1;
    this.#varint(field.tag);
    this.#varint((length / 4) * 3 - padding);
    return this.#base64(from, end - padding);
  }

  /** Four letters are three bytes; at the end two are one, and three are two. */
  #base64(from: number, end: number): boolean {
    const text = this.#text;
    const piece = this.#piece;
    let to = this.#to;
    let bits = 0;
    // Once negative it stays so.
    let odd = 0;
    const whole = end - ((end - from) % 4);
    let at = from;
    for (; at < whole; at += 4) {
      bits = (sextet(text, at) << 18) | (sextet(text, at + 1) << 12) | (sextet(text, at + 2) << 6) | sextet(text, at + 3);
      odd |= bits;
      piece[to++] = bits >> 16;
      piece[to++] = bits >> 8;
      piece[to++] = bits;
    }
    if (at < end) {
      bits = (sextet(text, at) << 18) | (sextet(text, at + 1) << 12) | (at + 2 < end ? sextet(text, at + 2) << 6 : 0);
      odd |= bits;
      piece[to++] = bits >> 16;
      if (at + 2 < end) piece[to++] = bits >> 8;
    }
    this.#to = to;
    return odd >= 0;
  }

  /** Plain ASCII. */
  #string(field: Field): boolean {
    const end = this.#stringEnd();
    if (end < 0) return false;
    const from = this.#at + 1;
    this.#at = end + 1;
    if (end === from) return this.#empty(field);
    this.#varint(field.tag);
    this.#varint(end - from);
    for (let at = from; at < end; at++) {
      const code = this.#text.charCodeAt(at);
      if (code < 0x20 || code > 0x7e || code === 0x5c) return false;
      this.#piece[this.#to++] = code;
    }
    return true;
  }

  /** Not negative; in quotes or not. */
  #integer(field: Field): boolean {
    const text = this.#text;
    const isQuoted = text.charCodeAt(this.#at) === QUOTE;
    if (isQuoted) this.#at += 1;
    const from = this.#at;
    let value = 0;
    for (let code = text.charCodeAt(from); code >= ZERO && code <= NINE; code = text.charCodeAt(this.#at)) {
      value = value * 10 + code - ZERO;
      this.#at += 1;
    }
    const digits = this.#at - from;
    if (digits === 0 || digits > INT64_DIGITS || (digits > 1 && text.charCodeAt(from) === ZERO)) return false;
    if (isQuoted && text.charCodeAt(this.#at++) !== QUOTE) return false;
    if (digits <= EXACT_DIGITS) return this.#number(field, value);
    const exact = BigInt(text.slice(from, from + digits));
    if (exact > INT64_MAX) return false;
    this.#varint(field.tag);
    let rest = exact;
    for (; rest >= 128n; rest >>= 7n) this.#piece[this.#to++] = Number(rest & 127n) | 128;
    this.#piece[this.#to++] = Number(rest);
    return true;
  }

  #bool(field: Field): boolean {
    const isTrue = this.#text.startsWith('true', this.#at);
    if (!isTrue && !this.#text.startsWith('false', this.#at)) return false;
    this.#at += isTrue ? 4 : 5;
    return this.#number(field, isTrue ? 1 : 0);
  }

  #enum(field: Field): boolean {
    const end = this.#stringEnd();
    const number = end < 0 ? undefined : field.numbers.get(this.#text.slice(this.#at + 1, end));
    if (number === undefined || number < 0) return false;
    this.#at = end + 1;
    return this.#number(field, number);
  }

  #number(field: Field, value: number): boolean {
    if (value === 0 && !field.isChoice) return true;
    this.#varint(field.tag);
    this.#varint(value);
    return true;
  }

  #empty(field: Field): boolean {
    if (!field.isChoice) return true;
    this.#varint(field.tag);
    this.#varint(0);
    return true;
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest >= 2 ** 31; rest = Math.floor(rest / 128)) this.#piece[this.#to++] = (rest % 128) | 128;
    for (; rest >= 128; rest >>>= 7) this.#piece[this.#to++] = (rest & 127) | 128;
    this.#piece[this.#to++] = rest;
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest >>>= 7) bytes += 1;
  return bytes;
}

function sextet(text: string, at: number): number {
  return SEXTETS[text.charCodeAt(at)] ?? -1;
}

// Answers: bytes to text

const NOTHING = Buffer.alloc(0);
/** Numbers beyond a double that were last written: who answers stands in each answer. */
const KNOWN_MAX = 16;

/** Writes answers of one server. */
export class AnswerWriter {
  #bytes: Buffer = NOTHING;
  #at = 0;
  #isOdd = false;
  /** By the lower half, because few share it. */
  readonly #known = new Map<number, { readonly high: number; readonly kind: Kind; readonly text: string }>();

  /** Null: not in the form that our own writers use. */
  write(shape: Shape, bytes: Uint8Array): string | null {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = 0;
    this.#isOdd = false;
    const text = this.#message(shape, bytes.length, 0);
    this.#bytes = NOTHING;
    return this.#isOdd ? null : text;
  }

  #message(shape: Shape, end: number, depth: number): string {
    let text = '{';
    let last = 0;
    let isInList = false;
    while (this.#at < end) {
      const tag = this.#number();
      const number = tag >>> 3;
      const field = shape.byNumber[number];
      if (field === undefined || field.tag !== tag || number < last || depth > DEPTH_MAX) return this.#odd();
      if (number === last) {
        if (!field.isList) return this.#odd();
        text += ',';
      } else {
        if (isInList) text += ']';
        if (last > 0) text += ',';
        text += field.label;
        isInList = field.isList;
        if (isInList) text += '[';
        last = number;
      }
      text += this.#value(field, end, depth);
      if (this.#isOdd) return '';
    }
    if (this.#at > end) return this.#odd();
    return isInList ? `${text}]}` : `${text}}`;
  }

  #odd(): string {
    this.#isOdd = true;
    return '';
  }

  #value(field: Field, end: number, depth: number): string {
    if (field.kind === 'int64' || field.kind === 'uint64') return this.#integer(field);
    const value = this.#number();
    if (field.kind === 'message') {
      const to = this.#at + value;
      return to > end || field.shape === null ? this.#odd() : this.#message(field.shape, to, depth + 1);
    }
    // What need not be written is not written by us.
    if (value === 0 && !field.isChoice) return this.#odd();
    if (field.kind === 'bool') return value === 1 ? 'true' : this.#odd();
    if (field.kind === 'enum') return field.names.get(value) ?? this.#odd();
    const from = this.#at;
    this.#at += value;
    if (this.#at > end) return this.#odd();
    return field.kind === 'bytes' ? `"${this.#bytes.toString('base64', from, this.#at)}"` : this.#string(from, this.#at);
  }

  /** Plain ASCII. */
  #string(from: number, to: number): string {
    for (let at = from; at < to; at++) {
      const code = this.#bytes[at] ?? 0;
      if (code < 0x20 || code > 0x7e || code === QUOTE || code === 0x5c) return this.#odd();
    }
    return `"${this.#bytes.toString('latin1', from, to)}"`;
  }

  /** Below 2^28. */
  #number(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    this.#isOdd = true;
    return 0;
  }

  #integer(field: Field): string {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < LOW_BYTES; i++) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 127) * scale;
      scale *= 128;
      if (byte < 128) return value === 0 && !field.isChoice ? this.#odd() : `"${value}"`;
    }
    return this.#large(field, value);
  }

  /** `low`: what its first bytes said. */
  #large(field: Field, low: number): string {
    let high = 0;
    let byte = 128;
    for (let shift = 0; byte >= 128 && shift < 21; shift += 7) {
      byte = this.#bytes[this.#at++] ?? 0;
      high |= (byte & 127) << shift;
    }
    if (byte >= 128 || high === 0 || high >= 2 ** HIGH_BITS) return this.#odd();
    const known = this.#known.get(low);
    if (known !== undefined && known.high === high && known.kind === field.kind) return known.text;
    const exact = (BigInt(high) << LOW_BITS) | BigInt(low);
    const text = `"${field.kind === 'int64' ? BigInt.asIntN(64, exact) : exact}"`;
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(low, { high, kind: field.kind, text });
    return text;
  }
}

/** Of a number of 64 bits: seven bytes of seven bits, which a double holds, and the rest. */
const LOW_BYTES = 7;
const LOW_BITS = 49n;
const HIGH_BITS = 15;
