// A file of B+ trees in pages, as etcd's database lays them out, written front to back: sizes first, then pages, so that
// neither pass holds more than the first key of each page. Pages are 4096 bytes, numbers little endian:
//
//   page     id 8 · flags 2 · count 2 · overflow 4 (pages that belong to this one), then `count` elements, then their bytes
//   leaf     for each pair: flags 4 (1: the value is a bucket) · where its bytes are, from here 4 · key length 4 · value length 4
//   branch   for each page below: where its first key is, from here 4 · key length 4 · page 8
//   bucket   a value: root page 8 · sequence 8; with root 0 a page follows at once, which here is an empty leaf
//   meta     pages 0 and 1: magic, version 2, page size, flags, root bucket, free list (all ones: none is kept), pages in the
//            file, transaction, and the FNV-1a sum of all that; of two sound ones the later transaction counts

import { assert } from '../base/assert.js';
import { utf8, view } from '../base/bytes.js';

export const PAGE_BYTES = 4096;
export const PAGE_HEADER_BYTES = 16;
export const ELEMENT_BYTES = 16;
export const META_BYTES = 64;
export const MAGIC = 0xed0cdaed;
export const VERSION = 2;
export const BRANCH = 1;
export const LEAF = 2;
const META = 4;
export const BUCKET = 1;
/** Where in a meta the number of all pages is. */
const PAGES_AT = 40;
const NO_FREE_LIST = 2n ** 64n - 1n;
const FIRST_PAGE = 2;

/** One pair; good until the next is asked for. */
export interface Item {
  readonly key: Uint8Array;
  readonly valueBytes: number;
  readonly write: (target: Buffer, at: number) => void;
}

/** Ascending by key, the same each time; null: a pause. */
export type Items = () => Iterable<Item | null>;

/** Nodes of one height, from the left. */
interface Level {
  readonly firstKeys: Uint8Array[];
  readonly counts: number[];
  /** Of each node. */
  readonly pages: number[];
}

interface Tree {
  readonly items: Items;
  readonly firstPage: number;
  /** Leaves first; none: the bucket is empty. */
  readonly levels: readonly Level[];
  /** 0: empty. */
  readonly rootPage: number;
}

/** The whole file, page 0 first by itself; null in between: a pause. The buckets' names ascend. */
export function* boltFile(buckets: readonly { readonly name: string; readonly items: Items }[]): Iterable<Uint8Array | null> {
  const trees: Tree[] = [];
  let page = FIRST_PAGE;
  for (const { items } of buckets) {
    const tree = yield* treeOf(items, page);
    for (const { pages } of tree.levels) for (const count of pages) page += count;
    trees.push(tree);
  }
  const root = rootPageOf(buckets.map(({ name }) => name), trees, page);
  for (const which of [0, 1]) yield metaPage(which, { rootPage: page, pages: page + 1 });
  for (const tree of trees) yield* pagesOf(tree);
  yield root;
}

/** How long the whole file is, whose first page this is. */
export function fileBytesOf(first: Uint8Array): number {
  return Number(view(first).readBigUInt64LE(PAGE_HEADER_BYTES + PAGES_AT)) * PAGE_BYTES;
}

/** FNV-1a, 64 bits. */
export function sumOf(bytes: Uint8Array): bigint {
  let sum = 0xcbf29ce484222325n;
  for (const byte of bytes) sum = BigInt.asUintN(64, (sum ^ BigInt(byte)) * 0x100000001b3n);
  return sum;
}

function* treeOf(items: Items, firstPage: number): Generator<null, Tree> {
  const leaves = new Packer();
  for (const item of items()) {
    if (item === null) yield null;
    else leaves.add(item.key, ELEMENT_BYTES + item.key.length + item.valueBytes);
  }
  const levels: Level[] = [];
  let level = leaves.end();
  let page = firstPage;
  let rootPage = 0;
  while (level.counts.length > 0) {
    levels.push(level);
    rootPage = page;
    for (const count of level.pages) page += count;
    if (level.counts.length === 1) break;
    const above = new Packer();
    for (const key of level.firstKeys) above.add(key, ELEMENT_BYTES + key.length);
    level = above.end();
  }
  return { items, firstPage, levels, rootPage };
}

/** Fills one page after the other; an item larger than a page has as many as it takes. */
class Packer {
  readonly #level: Level = { firstKeys: [], counts: [], pages: [] };
  #bytes = PAGE_HEADER_BYTES;
  #count = 0;

  add(key: Uint8Array, sizeBytes: number): void {
    if (this.#count > 0 && this.#bytes + sizeBytes > PAGE_BYTES) this.#close();
    // A copy: `slice` of a Buffer is none.
    if (this.#count === 0) this.#level.firstKeys.push(Uint8Array.from(key));
    this.#bytes += sizeBytes;
    this.#count += 1;
  }

  end(): Level {
    if (this.#count > 0) this.#close();
    return this.#level;
  }

  #close(): void {
    this.#level.counts.push(this.#count);
    this.#level.pages.push(Math.ceil(this.#bytes / PAGE_BYTES));
    this.#bytes = PAGE_HEADER_BYTES;
    this.#count = 0;
  }
}

function* pagesOf({ items, firstPage, levels }: Tree): Iterable<Uint8Array | null> {
  const [leaves] = levels;
  if (leaves === undefined) return;
  let page = firstPage;
  let node = 0;
  let writer: Node | null = null;
  for (const item of items()) {
    if (item === null) {
      yield null;
      continue;
    }
    writer ??= new Node(LEAF, page, leaves.pages[node] ?? 0, leaves.counts[node] ?? 0);
    writer.addPair(item);
    if (!writer.isFull) continue;
    yield writer.bytes;
    page += leaves.pages[node] ?? 0;
    node += 1;
    writer = null;
  }
  assert(node === leaves.counts.length && writer === null, 'the second pass has the pairs of the first');
  yield* branchesOf(levels, firstPage);
}

function* branchesOf(levels: readonly Level[], firstPage: number): Iterable<Uint8Array> {
  let below = firstPage;
  for (let height = 1; height < levels.length; height++) {
    const [children, nodes] = [levels[height - 1], levels[height]];
    assert(children !== undefined && nodes !== undefined, 'there is a level below each');
    let page = below + sum(children.pages);
    const next = page;
    let child = 0;
    for (let i = 0; i < nodes.counts.length; i++) {
      const pages = nodes.pages[i] ?? 0;
      const writer = new Node(BRANCH, page, pages, nodes.counts[i] ?? 0);
      while (!writer.isFull) {
        writer.addPage(children.firstKeys[child] ?? utf8(''), below);
        below += children.pages[child] ?? 0;
        child += 1;
      }
      yield writer.bytes;
      page += pages;
    }
    below = next;
  }
}

/** A page, or several that are one node, being filled. */
class Node {
  readonly bytes: Buffer;
  readonly #count: number;
  #filled = 0;
  #at: number;

  constructor(kind: number, page: number, pages: number, count: number) {
    this.bytes = Buffer.alloc(pages * PAGE_BYTES);
    this.#count = count;
    this.#at = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
    header(this.bytes, { page, kind, count, overflow: pages - 1 });
  }

  get isFull(): boolean {
    return this.#filled === this.#count;
  }

  addPair({ key, valueBytes, write }: Item, flags = 0): void {
    const element = PAGE_HEADER_BYTES + this.#filled * ELEMENT_BYTES;
    this.bytes.writeUInt32LE(flags, element);
    this.bytes.writeUInt32LE(this.#at - element, element + 4);
    this.bytes.writeUInt32LE(key.length, element + 8);
    this.bytes.writeUInt32LE(valueBytes, element + 12);
    this.bytes.set(key, this.#at);
    write(this.bytes, this.#at + key.length);
    this.#at += key.length + valueBytes;
    this.#filled += 1;
  }

  addPage(key: Uint8Array, page: number): void {
    const element = PAGE_HEADER_BYTES + this.#filled * ELEMENT_BYTES;
    this.bytes.writeUInt32LE(this.#at - element, element);
    this.bytes.writeUInt32LE(key.length, element + 4);
    this.bytes.writeBigUInt64LE(BigInt(page), element + 8);
    this.bytes.set(key, this.#at);
    this.#at += key.length;
    this.#filled += 1;
  }
}

/** The bucket of buckets: few enough for one page. */
function rootPageOf(names: readonly string[], trees: readonly Tree[], page: number): Buffer {
  const node = new Node(LEAF, page, 1, names.length);
  names.forEach((name, i) => {
    const rootPage = trees[i]?.rootPage ?? 0;
    const write = (target: Buffer, at: number): void => {
      target.writeBigUInt64LE(BigInt(rootPage), at);
      if (rootPage === 0) header(target.subarray(at + 16), { page: 0, kind: LEAF, count: 0, overflow: 0 });
    };
    node.addPair({ key: utf8(name), valueBytes: rootPage === 0 ? 16 + PAGE_HEADER_BYTES : 16, write }, BUCKET);
  });
  return node.bytes;
}

function metaPage(which: number, { rootPage, pages }: { rootPage: number; pages: number }): Buffer {
  const bytes = Buffer.alloc(PAGE_BYTES);
  header(bytes, { page: which, kind: META, count: 0, overflow: 0 });
  const meta = bytes.subarray(PAGE_HEADER_BYTES);
  meta.writeUInt32LE(MAGIC, 0);
  meta.writeUInt32LE(VERSION, 4);
  meta.writeUInt32LE(PAGE_BYTES, 8);
  meta.writeBigUInt64LE(BigInt(rootPage), 16);
  meta.writeBigUInt64LE(NO_FREE_LIST, 32);
  meta.writeBigUInt64LE(BigInt(pages), PAGES_AT);
  // An even transaction is in page 0.
  meta.writeBigUInt64LE(BigInt(2 - which), 48);
  meta.writeBigUInt64LE(sumOf(meta.subarray(0, META_BYTES - 8)), META_BYTES - 8);
  return bytes;
}

function header(target: Buffer, told: { page: number; kind: number; count: number; overflow: number }): void {
  target.writeBigUInt64LE(BigInt(told.page), 0);
  target.writeUInt16LE(told.kind, 8);
  target.writeUInt16LE(told.count, 10);
  target.writeUInt32LE(told.overflow, 12);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
