// Reads a file of B+ trees in pages (bolt-pages.ts), whoever wrote it. Nothing in it is believed: a page that is not what it
// is taken for, or an offset out of its bounds, is an error that names the page.

import { text } from '../base/bytes.js';
import { BRANCH, BUCKET, ELEMENT_BYTES, LEAF, MAGIC, META_BYTES, PAGE_HEADER_BYTES, sumOf, VERSION } from './bolt-pages.js';

export interface PageSource {
  readonly sizeBytes: number;
  /** All of them are there. */
  read(offset: number, length: number): Buffer;
}

export interface Pair {
  readonly key: Uint8Array;
  readonly value: Buffer;
}

interface Element extends Pair {
  readonly isBucket: boolean;
}

interface Meta {
  readonly pageBytes: number;
  readonly root: bigint;
  readonly transaction: bigint;
}

/** No tree of less than 2^64 pages is higher. */
const HEIGHT_MAX = 64;
const PAGE_BYTES_MIN = 512;
const PAGE_BYTES_MAX = 1 << 20;

/** Whether these are the first bytes of such a file. */
export function isBolt(bytes: Buffer): boolean {
  return bytes.length >= PAGE_HEADER_BYTES + 4 && bytes.readUInt32LE(PAGE_HEADER_BYTES) === MAGIC;
}

export class BoltReader {
  readonly #source: PageSource;
  readonly #pageBytes: number;
  readonly #buckets = new Map<string, Buffer>();
  #pagesLeft: number;

  constructor(source: PageSource) {
    this.#source = source;
    const meta = metaOf(source);
    this.#pageBytes = meta.pageBytes;
    this.#pagesLeft = this.#pages;
    for (const { key, value, isBucket } of this.#elements(meta.root)) if (isBucket) this.#buckets.set(text(key), value);
  }

  /** Ascending by key; none for a bucket that is not there. */
  *bucket(name: string): Iterable<Pair> {
    const value = this.#buckets.get(name);
    if (value === undefined) return;
    if (value.length < 16) throw new Error(`the bucket ${name} is cut off`);
    const root = value.readBigUInt64LE(0);
    this.#pagesLeft = this.#pages;
    yield* root === 0n ? leafElements(value.subarray(16), `of the bucket ${name}`) : this.#elements(root);
  }

  get #pages(): number {
    return Math.floor(this.#source.sizeBytes / this.#pageBytes);
  }

  *#elements(id: bigint, height = 0): Iterable<Element> {
    const bytes = this.#page(id);
    const what = `page ${id}`;
    const kind = bytes.readUInt16LE(8);
    if (kind === LEAF) return yield* leafElements(bytes, what);
    if (kind !== BRANCH || height > HEIGHT_MAX) throw new Error(`${what} is no part of a tree`);
    const count = bytes.readUInt16LE(10);
    for (let i = 0; i < count; i++) {
      const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
      if (element + ELEMENT_BYTES > bytes.length) throw new Error(`${what} is cut off`);
      yield* this.#elements(bytes.readBigUInt64LE(element + 8), height + 1);
    }
  }

  #page(id: bigint): Buffer {
    if (id < 2n || id >= BigInt(this.#pages)) throw new Error(`page ${id} is not in the file, which has ${this.#pages}`);
    const offset = Number(id) * this.#pageBytes;
    const head = this.#source.read(offset, PAGE_HEADER_BYTES);
    const told = head.readBigUInt64LE(0);
    if (told !== id) throw new Error(`page ${id} says that it is page ${told}`);
    const pages = 1 + head.readUInt32LE(12);
    const length = pages * this.#pageBytes;
    if (offset + length > this.#source.sizeBytes) throw new Error(`page ${id} goes beyond the end of the file`);
    // Pages that point to each other would never end, and those that all claim the same ones behind them nearly never.
    this.#pagesLeft -= pages;
    if (this.#pagesLeft < 0) throw new Error('the file has more pages in its trees than there are');
    return this.#source.read(offset, length);
  }
}

/** `bytes`: a page, or several that belong together. Its pairs are no more than it is, or a small file would hold any number. */
function* leafElements(bytes: Buffer, what: string): Iterable<Element> {
  if (bytes.length < PAGE_HEADER_BYTES || bytes.readUInt16LE(8) !== LEAF) throw new Error(`${what} is no leaf`);
  const count = bytes.readUInt16LE(10);
  let left = bytes.length;
  for (let i = 0; i < count; i++) {
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    if (element + ELEMENT_BYTES > bytes.length) throw new Error(`${what} is cut off`);
    const at = element + bytes.readUInt32LE(element + 4);
    const keyEnd = at + bytes.readUInt32LE(element + 8);
    const end = keyEnd + bytes.readUInt32LE(element + 12);
    if (end > bytes.length) throw new Error(`${what} has a pair that goes beyond its end`);
    left -= end - at;
    if (left < 0) throw new Error(`${what} has pairs that lie on each other`);
    const isBucket = (bytes.readUInt32LE(element) & BUCKET) !== 0;
    yield { key: bytes.subarray(at, keyEnd), value: bytes.subarray(keyEnd, end), isBucket };
  }
}

function metaOf(source: PageSource): Meta {
  const first = metaAt(source, 0);
  // Where the second is, is known from the first; if that is damaged, pages have the size they nearly always have.
  const second = metaAt(source, first?.pageBytes ?? 4096);
  const meta = first !== null && (second === null || first.transaction > second.transaction) ? first : second;
  if (meta === null) throw new Error('neither of its two first pages is sound');
  return meta;
}

function metaAt(source: PageSource, offset: number): Meta | null {
  if (offset + PAGE_HEADER_BYTES + META_BYTES > source.sizeBytes) return null;
  const meta = source.read(offset + PAGE_HEADER_BYTES, META_BYTES);
  const pageBytes = meta.readUInt32LE(8);
  const isOurs = meta.readUInt32LE(0) === MAGIC && meta.readUInt32LE(4) === VERSION;
  const isSound = isOurs && meta.readBigUInt64LE(META_BYTES - 8) === sumOf(meta.subarray(0, META_BYTES - 8));
  if (!isSound || pageBytes < PAGE_BYTES_MIN || pageBytes > PAGE_BYTES_MAX) return null;
  return { pageBytes, root: meta.readBigUInt64LE(16), transaction: meta.readBigUInt64LE(48) };
}
