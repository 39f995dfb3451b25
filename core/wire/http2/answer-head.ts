// The header blocks of answers (RFC 7541, the writing half, as far as it pays): every answer begins and ends with the same few
// fields, so these go into the table once for each connection and are one byte each from then on. What varies is sent plain.

import { utf8 } from '../../base/bytes.js';
import { HEADER_TABLE_BYTES } from './limits.js';

/** The first place of the dynamic table. */
const DYNAMIC = 62;
const STATUS_200 = 0x88;

export class AnswerHead {
  /** Places in the order of insertion; -1: not in the table. */
  #type = -1;
  #ok = -1;
  #count = 0;
  /** The other side keeps a table, as far as it has said. */
  #mayKeep = true;
  /** A table size that is owed to the other side, ahead of the next block. */
  #owed = -1;
  /** The blocks of a plain answer, once they are only places in tables. */
  #usualHead: Uint8Array | null = null;
  #usualEnd: Uint8Array | null = null;

  /** The other side keeps a table of so many bytes (SETTINGS_HEADER_TABLE_SIZE). */
  onTableSize(bytes: number): void {
    if (bytes >= HEADER_TABLE_BYTES) return;
    // Not worth a table of another size: it is emptied and not used again.
    this.#mayKeep = false;
    this.#type = -1;
    this.#ok = -1;
    this.#owed = 0;
    this.#usualHead = null;
    this.#usualEnd = null;
  }

  /** Ahead of the messages. `fields` are already coded. */
  head(fields: Uint8Array = NO_FIELDS): Uint8Array {
    if (this.#usualHead !== null && fields.length === 0) return this.#usualHead;
    const block = joined(this.#size(), this.#begin(), fields);
    this.#learn();
    return block;
  }

  /** Behind the messages, for status 0. */
  end(): Uint8Array {
    if (this.#usualEnd !== null) return this.#usualEnd;
    const size = this.#size();
    if (this.#ok >= 0) return joined(size, this.#named(this.#ok));
    if (this.#mayKeep) this.#ok = this.#count++;
    const block = joined(size, field('grpc-status', '0', this.#mayKeep));
    this.#learn();
    return block;
  }

  /** Behind the messages, for any other status. */
  fail(code: number, text: string): Uint8Array {
    return joined(this.#size(), failure(code, text));
  }

  /** An answer without messages. */
  only(code: number, text: string): Uint8Array {
    return joined(this.#size(), this.#begin(), failure(code, text));
  }

  /** An answer of plain HTTP, to what is no gRPC. */
  plain(status: number, fields: Uint8Array = NO_FIELDS): Uint8Array {
    // The name of place 8 of the static table, `:status`, with another value.
    return joined(this.#size(), Uint8Array.of(0x08), string(String(status)), fields);
  }

  #begin(): Uint8Array {
    if (this.#type >= 0) return joined(STATUS, this.#named(this.#type));
    if (this.#mayKeep) this.#type = this.#count++;
    return joined(STATUS, field('content-type', 'application/grpc', this.#mayKeep));
  }

  #learn(): void {
    if (this.#type < 0 || this.#ok < 0) return;
    this.#usualHead = joined(STATUS, this.#named(this.#type));
    this.#usualEnd = this.#named(this.#ok);
  }

  #named(place: number): Uint8Array {
    return Uint8Array.of(0x80 | (DYNAMIC + this.#count - 1 - place));
  }

  #size(): Uint8Array {
    const owed = this.#owed;
    this.#owed = -1;
    return owed < 0 ? NO_FIELDS : Uint8Array.of(0x20);
  }
}

/** Of what is said about a failure; a block must fit a frame. */
const TEXT_BYTES_MAX = 8192;
const NO_FIELDS: Uint8Array = new Uint8Array(0);
const STATUS = Uint8Array.of(STATUS_200);

/** A field as a literal, named in full. */
export function field(name: string, value: string, isKept = false): Uint8Array {
  return joined(Uint8Array.of(isKept ? 0x40 : 0), string(name), string(value));
}

function failure(code: number, text: string): Uint8Array {
  return joined(field('grpc-status', String(code)), field('grpc-message', percentEncoded(text)));
}

function string(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'latin1');
  return joined(integer(bytes.length, 7), bytes);
}

/** Section 5.1, with nothing in the bits before. */
function integer(value: number, prefixBits: number): Uint8Array {
  const max = 2 ** prefixBits - 1;
  if (value < max) return Uint8Array.of(value);
  const bytes = [max];
  let left = value - max;
  for (; left >= 0x80; left >>>= 7) bytes.push((left & 0x7f) | 0x80);
  bytes.push(left);
  return Uint8Array.from(bytes);
}

/** As gRPC has it: all but the printable characters of ASCII, and `%` itself, as bytes of UTF-8 in hex. */
function percentEncoded(text: string): string {
  if (text.length <= TEXT_BYTES_MAX && IS_PLAIN.test(text)) return text;
  let encoded = '';
  for (const byte of utf8(text)) {
    // Cut between characters: a part of one would keep callers from reading any of it.
    if (encoded.length > TEXT_BYTES_MAX && (byte & 0xc0) !== 0x80) return `${encoded}...`;
    encoded += ENCODED[byte] ?? '';
  }
  return encoded;
}

const IS_PLAIN = /^[ -$&-~]*$/;
/** What each byte of UTF-8 becomes. */
const ENCODED: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return IS_PLAIN.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
});

/** What is repeated of a caller's own words: his next frame may name a long text by one byte, and be told all of it again. */
export function quoted(text: string): string {
  return text.length <= QUOTED_MAX ? text : `${text.slice(0, QUOTED_MAX)}...`;
}

const QUOTED_MAX = 256;

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}
