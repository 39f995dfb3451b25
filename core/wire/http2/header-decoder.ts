// HPACK, the reading half (RFC 7541): blocks of header fields to names and values. One per connection, because each block may
// refer to what earlier ones have put into the table. Whatever is wrong here ends the connection: its two ends no longer
// agree on the table.
//
// The work is bounded by the bytes of the block, except that one byte may name a field of 4 KiB: fields beyond
// the bounds of a list are counted and not told.

import { HEADER_FIELDS_MAX, HEADER_LIST_BYTES_MAX, HEADER_TABLE_BYTES } from './limits.js';
import { readHuffman } from './huffman.js';
import { CODE, ConnectionFault } from './protocol.js';

/** Takes the fields of one block, in order. */
export interface HeaderSink {
  onField(name: string, value: string): void;
}

/** What a field weighs beyond its two strings (section 4.1). */
const FIELD_OVERHEAD = 32;

export class HeaderDecoder {
  /** Newest last. What is before `#first` has been evicted. */
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  #first = 0;
  #bytes = 0;
  #bytesMax = HEADER_TABLE_BYTES;
  #block: Uint8Array = NOTHING;
  #at = 0;
  #to = 0;
  #listBytes = 0;
  #fields = 0;
  /** Changes with the table: the same block means the same while this is the same. */
  version = 0;

  /** Returns whether the list was small enough; if not, the sink has not seen all of it. */
  decode(block: Uint8Array, from: number, to: number, sink: HeaderSink): boolean {
    this.#block = block;
    this.#at = from;
    this.#to = to;
    this.#listBytes = 0;
    this.#fields = 0;
    let mayResize = true;
    while (this.#at < this.#to) {
      const first = this.#byte();
      if ((first & 0x80) !== 0) {
        this.#onIndexed(this.#integer(first, 0x7f), sink);
      } else if ((first & 0xc0) === 0x40) {
        this.#onLiteral(this.#integer(first, 0x3f), true, sink);
      } else if ((first & 0xe0) === 0x20) {
        if (!mayResize) throw fault('a table size stands behind a header field');
        this.#resize(this.#integer(first, 0x1f));
        continue;
      } else {
        this.#onLiteral(this.#integer(first, 0x0f), false, sink);
      }
      mayResize = false;
    }
    this.#block = NOTHING;
    return this.#listBytes <= HEADER_LIST_BYTES_MAX && this.#fields <= HEADER_FIELDS_MAX;
  }

  #onIndexed(index: number, sink: HeaderSink): void {
    if (index === 0) throw fault('header field 0 does not exist');
    this.#tell(this.#nameAt(index), this.#valueAt(index), sink);
  }

  #onLiteral(index: number, isKept: boolean, sink: HeaderSink): void {
    const name = index === 0 ? this.#string() : this.#nameAt(index);
    const value = this.#string();
    this.#tell(name, value, sink);
    if (isKept) this.#keep(name, value);
  }

  #tell(name: string, value: string, sink: HeaderSink): void {
    this.#listBytes += name.length + value.length + FIELD_OVERHEAD;
    this.#fields += 1;
    if (this.#listBytes <= HEADER_LIST_BYTES_MAX && this.#fields <= HEADER_FIELDS_MAX) sink.onField(name, value);
  }

  #nameAt(index: number): string {
    const name = index <= STATIC_COUNT ? STATIC_NAMES[index] : this.#names[this.#dynamic(index)];
    if (name === undefined) throw fault(`header field ${index} does not exist`);
    return name;
  }

  #valueAt(index: number): string {
    return (index <= STATIC_COUNT ? STATIC_VALUES[index] : this.#values[this.#dynamic(index)]) ?? '';
  }

  #dynamic(index: number): number {
    const at = this.#names.length - (index - STATIC_COUNT);
    return at < this.#first ? -1 : at;
  }

  #keep(name: string, value: string): void {
    this.version += 1;
    this.#names.push(name);
    this.#values.push(value);
    this.#bytes += name.length + value.length + FIELD_OVERHEAD;
    this.#evict();
  }

  #resize(bytes: number): void {
    if (bytes > HEADER_TABLE_BYTES) throw fault(`a table of ${bytes} bytes was not agreed on`);
    this.version += 1;
    this.#bytesMax = bytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#bytes > this.#bytesMax) {
      this.#bytes -= (this.#names[this.#first] ?? '').length + (this.#values[this.#first] ?? '').length + FIELD_OVERHEAD;
      this.#names[this.#first] = '';
      this.#values[this.#first] = '';
      this.#first += 1;
    }
    // Evicted places are given back now and then, not each time.
    if (this.#first < EVICTED_MAX) return;
    this.#names.splice(0, this.#first);
    this.#values.splice(0, this.#first);
    this.#first = 0;
  }

  #byte(): number {
    if (this.#at >= this.#to) throw fault('a header block ends within a field');
    return this.#block[this.#at++] ?? 0;
  }

  /** Section 5.1; `first` holds the prefix, of which `mask` are the bits. */
  #integer(first: number, mask: number): number {
    let value = first & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= INTEGER_SHIFT_MAX; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw fault('a number in a header block is too large');
  }

  /** Section 5.2. */
  #string(): string {
    const first = this.#byte();
    const length = this.#integer(first, 0x7f);
    const from = this.#at;
    this.#at += length;
    if (this.#at > this.#to) throw fault('a header block ends within a string');
    if ((first & 0x80) !== 0) return readHuffman(this.#block, from, this.#at);
    let text = '';
    // Most strings are short, and a call out of the engine costs more than they do.
    if (length <= SHORT_STRING) for (let i = from; i < this.#at; i++) text += String.fromCharCode(this.#block[i] ?? 0);
    else text = Buffer.from(this.#block.buffer, this.#block.byteOffset + from, length).toString('latin1');
    return text;
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);
const EVICTED_MAX = 256;
const INTEGER_SHIFT_MAX = 21;
const SHORT_STRING = 16;

function fault(message: string): ConnectionFault {
  return new ConnectionFault(CODE.compression, message);
}

/** Appendix A, from 1. */
const STATIC: readonly (readonly [name: string, value: string])[] = [
  [':authority', ''], [':method', 'GET'], [':method', 'POST'], [':path', '/'], [':path', '/index.html'], [':scheme', 'http'],
  [':scheme', 'https'], [':status', '200'], [':status', '204'], [':status', '206'], [':status', '304'], [':status', '400'],
  [':status', '404'], [':status', '500'], ['accept-charset', ''], ['accept-encoding', 'gzip, deflate'], ['accept-language', ''],
  ['accept-ranges', ''], ['accept', ''], ['access-control-allow-origin', ''], ['age', ''], ['allow', ''], ['authorization', ''],
  ['cache-control', ''], ['content-disposition', ''], ['content-encoding', ''], ['content-language', ''], ['content-length', ''],
  ['content-location', ''], ['content-range', ''], ['content-type', ''], ['cookie', ''], ['date', ''], ['etag', ''],
  ['expect', ''], ['expires', ''], ['from', ''], ['host', ''], ['if-match', ''], ['if-modified-since', ''],
  ['if-none-match', ''], ['if-range', ''], ['if-unmodified-since', ''], ['last-modified', ''], ['link', ''], ['location', ''],
  ['max-forwards', ''], ['proxy-authenticate', ''], ['proxy-authorization', ''], ['range', ''], ['referer', ''],
  ['refresh', ''], ['retry-after', ''], ['server', ''], ['set-cookie', ''], ['strict-transport-security', ''],
  ['transfer-encoding', ''], ['user-agent', ''], ['vary', ''], ['via', ''], ['www-authenticate', ''],
];
const STATIC_COUNT = STATIC.length;
const STATIC_NAMES: readonly string[] = ['', ...STATIC.map(([name]) => name)];
const STATIC_VALUES: readonly string[] = ['', ...STATIC.map(([, value]) => value)];
