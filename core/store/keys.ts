// The keys: their bytes, their order, and for each the number of its newest row. Rows of one key form a chain, oldest to
// newest; an incarnation (a put that creates, puts that follow, a delete) is a stretch of it. One key, revision by revision:
//
//   4 put, 6 put, 7 delete, 9 put    4v1 ⇄ 6v2 ⇄ 7† ⇄ 9v1      newest: 9v1, live
//   range at 6: back from 9v1 to the first row with revision <= 6: 6v2.   At 8: 7†, so no such key.   At 3: none.
//   12 delete                        4v1 ⇄ 6v2 ⇄ 7† ⇄ 9v1 ⇄ 12†          dead, but history
//   compact 6                        6v2 ⇄ 7† ⇄ 9v1 ⇄ 12†      4v1 is followed by a row at or below 6: superseded
//   compact 7                        7† ⇄ 9v1 ⇄ 12†            a tombstone at the very revision stays: a watch from 7 sees it
//   compact 8                        9v1 ⇄ 12†                 an older tombstone says nothing that its absence does not
//   compact 13                       nothing left: the key's slot is freed
//
// A slot is a small number standing for a key while it has rows. `recall` is only a memo of where keys were found, with
// forgettable entries that are checked on every use: keys chosen to collide in it cost a search of the order, no more.

import { assert } from '../base/assert.js';
import { Arena } from './arena.js';
import { ARENA_CHUNK_MAX_BYTES } from './limits.js';
import { Order } from './order.js';
import { NONE, type Rows } from './rows.js';

const PAGE_SHIFT = 12;
const PAGE_SLOTS = 1 << PAGE_SHIFT;
const PAGE_MASK = PAGE_SLOTS - 1;

const WORDS = 8;
const CHUNK = 0;
const OFFSET = 1;
const LENGTH = 2;
const NEWEST = 3;
const LEASE_PREV = 4;
const LEASE_NEXT = 5;
const HASH = 6;
/** Where in the order it is: order.ts keeps this. */
const ORDER_CHUNK = 7;

/** Where a key may be remembered, from its own place on and round: with half of all places taken, hardly any finds none. */
const BUCKET = 16;
const BUCKET_MASK = BUCKET - 1;
const RECALL_MIN = 256;

export class Keys {
  /** What `bringNear` read; it means nothing, but what nobody keeps need not be read. */
  seen = 0;
  readonly #rows: Rows;
  readonly #bytes = new Arena();
  readonly #pages: Uint32Array[] = [];
  readonly #order: Order;
  readonly #free: number[] = [];
  #slots = 0;
  /** Slot + 1 by hash, in buckets; 0 is empty. The bits above hold those of the hash. */
  #recall = new Uint32Array(RECALL_MIN);
  #sought: Uint8Array = new Uint8Array(0);
  /** Where the last `find` that found nothing looked: where `add` puts the key. */
  #missed = 0;
  /** Bytes the sought key has in common with the bounds of the search so far; what lies between them shares them, too. */
  #sharedBelow = 0;
  #sharedAbove = 0;
  /** Bytes shared in the last comparison. */
  #shared = 0;
  readonly #compare = (slot: number): number => this.#narrow(slot);

  constructor(rows: Rows) {
    this.#rows = rows;
    this.#order = new Order({
      isLive: (slot) => this.isLive(slot),
      chunkOf: (slot) => this.#get(slot, ORDER_CHUNK),
      setChunk: (slot, chunk) => this.#set(slot, ORDER_CHUNK, chunk),
    });
  }

  /** Keys that exist now. */
  get live(): number {
    return this.#order.live;
  }

  /** Keys that have any row. */
  get size(): number {
    return this.#order.size;
  }

  get sizeBytes(): number {
    return this.#bytes.sizeBytes + this.#pages.length * PAGE_SLOTS * WORDS * 4 + this.#order.sizeBytes + this.#recall.length * 4;
  }

  get liveBytes(): number {
    return this.#bytes.liveBytes + this.size * (WORDS * 4 + 16);
  }

  /** The slot of a key that has rows, else NONE. `guess`: where it may be (foresight.ts); NONE: who knows. */
  find(key: Uint8Array, guess = NONE): number {
    if (guess !== NONE && this.#isAt(guess, key)) return guess;
    const hash = hashOf(key);
    const recalled = this.#lookUp(hash, key);
    if (recalled !== NONE) return recalled;
    this.#missed = this.#search(key);
    if (this.#missed >= this.#order.end()) return NONE;
    const slot = this.#order.at(this.#missed);
    if (this.#compareSought(slot) !== 0) return NONE;
    this.#remember(hash, slot);
    return slot;
  }

  /**
   * Reads what `find` will, for `count` keys by their hashes, a step at a time for all (foresight.ts). `slots` then tells where
   * each may be, or NONE, and `newest` the newest rows of those that seem to be there; returns of how many. A step that reads
   * makes no decision on what it has read: one that was guessed wrong would wait for memory again.
   */
  bringNear(hashes: Uint32Array, count: number, slots: Uint32Array, newest: Uint32Array): number {
    const recall = this.#recall;
    let seen = 0;
    for (let i = 0; i < count; i++) seen ^= recall[placeOf(hashes[i] as number, recall.length)] as number;
    let found = 0;
    for (let i = 0; i < count; i++) {
      const slot = this.#guess(hashes[i] as number);
      slots[i] = slot;
      if (slot !== NONE) newest[found++] = slot;
    }
    for (let i = 0; i < found; i++) seen ^= this.#get(newest[i] as number, NEWEST);
    for (let i = 0; i < found; i++) {
      const slot = newest[i] as number;
      // A key that is gone has no bytes, and its chunk may be gone, too: then nothing is there to be read.
      seen ^= this.#bytes.bytesOf(this.#get(slot, CHUNK))[this.#get(slot, OFFSET)] ?? 0;
    }
    let rows = 0;
    for (let i = 0; i < found; i++) {
      const row = this.#get(newest[i] as number, NEWEST);
      if (row !== NONE) newest[rows++] = row;
    }
    this.seen ^= seen;
    return rows;
  }

  /** Whether a slot that was in use once is the key's now. */
  #isAt(slot: number, key: Uint8Array): boolean {
    if (slot >= this.#slots || this.#get(slot, NEWEST) === NONE) return false;
    this.#sought = key;
    return this.#compareSought(slot) === 0;
  }

  /** A slot that may be of a key with this hash. */
  #guess(hash: number): number {
    const recall = this.#recall;
    const bucket = bucketOf(hash, recall.length);
    const low = 2 * recall.length - 1;
    for (let i = 0; i < BUCKET; i++) {
      const entry = recall[bucket + ((hash + i) & BUCKET_MASK)] as number;
      if (entry === 0) return NONE;
      if (((entry ^ hash) & ~low) !== 0) continue;
      const slot = (entry & low) - 1;
      return slot < this.#slots ? slot : NONE;
    }
    return NONE;
  }

  /** A slot, live, for the key that `find` has just not found. Its first row must follow at once. */
  add(key: Uint8Array): number {
    const slot = this.#newSlot(key);
    this.#order.insert(this.#missed, slot);
    if (this.#order.size * 2 > this.#recall.length) this.#growRecall();
    else this.#remember(this.#get(slot, HASH), slot);
    return slot;
  }

  /** The key had a tombstone for its newest row and is put again, or the other way round. */
  changeLive(slot: number, by: 1 | -1): void {
    this.#order.changeLive(slot, by);
  }

  /** Forgets a dead key whose last row is gone. */
  remove(slot: number): void {
    this.#order.remove(slot);
    this.#bytes.release(this.#get(slot, CHUNK), this.#get(slot, LENGTH));
    this.#set(slot, LENGTH, 0);
    this.#set(slot, NEWEST, NONE);
    this.#free.push(slot);
  }

  newest(slot: number): number {
    return this.#get(slot, NEWEST);
  }

  setNewest(slot: number, row: number): void {
    this.#set(slot, NEWEST, row);
  }

  isLive(slot: number): boolean {
    return this.#rows.version(this.#get(slot, NEWEST)) > 0;
  }

  /** Never to be written to. */
  bytes(slot: number): Uint8Array {
    return this.#bytes.read(this.#get(slot, CHUNK), this.#get(slot, OFFSET), this.#get(slot, LENGTH));
  }

  /** What the key's bytes lie in, from `offset` on. */
  chunkBytes(slot: number): Uint8Array {
    return this.#bytes.bytesOf(this.#get(slot, CHUNK));
  }

  offset(slot: number): number {
    return this.#get(slot, OFFSET);
  }

  length(slot: number): number {
    return this.#get(slot, LENGTH);
  }

  /** How many bytes two keys have in common at their beginning. */
  sharedBytes(slot: number, other: number): number {
    const [bytes, otherBytes] = [this.chunkBytes(slot), this.chunkBytes(other)];
    const [offset, otherOffset] = [this.offset(slot), this.offset(other)];
    const most = Math.min(this.length(slot), this.length(other));
    let shared = 0;
    while (shared < most && bytes[offset + shared] === otherBytes[otherOffset + shared]) shared += 1;
    return shared;
  }

  /** Negative, 0 or positive as `key` sorts before, with or after the slot's. */
  compareWith(key: Uint8Array, slot: number): number {
    this.#sought = key;
    return this.#compareSought(slot);
  }

  // Loading: keys in byte order get the slots 0, 1, 2 …; then come all their rows; then `loaded`.

  /** The first `length` bytes of `key`, which is above the last; looked at only if `isUnsure`. */
  load(key: Uint8Array, length: number, isUnsure: boolean): void {
    if (isUnsure && this.#slots > 0) {
      assert(this.compareWith(key.subarray(0, length), this.#slots - 1) > 0, 'keys are not in order');
    }
    this.#newSlot(key, length);
  }

  loaded(): void {
    this.#order.fill(this.#slots);
    while (this.#order.size * 2 > this.#recall.length) this.#recall = new Uint32Array(2 * this.#recall.length);
    this.#recallAll();
  }

  // Places: see order.ts.

  /** The first place whose key is not below `key`. */
  placeOf(key: Uint8Array): number {
    return this.#search(key);
  }

  get end(): number {
    return this.#order.end();
  }

  slotAt(place: number): number {
    return this.#order.at(place);
  }

  after(place: number): number {
    return this.#order.after(place);
  }

  before(place: number): number {
    return this.#order.before(place);
  }

  countLive(from: number, to: number): number {
    return this.#order.countLive(from, to);
  }

  countAll(from: number, to: number): number {
    return this.#order.countAll(from, to);
  }

  inOrder(): Uint32Array {
    return this.#order.copy();
  }

  // The chain of keys on one lease (leases.ts).

  leasePrev(slot: number): number {
    return this.#get(slot, LEASE_PREV);
  }

  leaseNext(slot: number): number {
    return this.#get(slot, LEASE_NEXT);
  }

  setLeasePrev(slot: number, other: number): void {
    this.#set(slot, LEASE_PREV, other);
  }

  setLeaseNext(slot: number, other: number): void {
    this.#set(slot, LEASE_NEXT, other);
  }

  /** One more than the greatest slot in use. */
  get slotsEnd(): number {
    return this.#slots;
  }

  /** Most of the memory for keys holds keys that are gone. */
  get isWasteful(): boolean {
    return this.#bytes.sizeBytes > 2 * (this.#bytes.liveBytes + ARENA_CHUNK_MAX_BYTES);
  }

  /** Copies the key's bytes out of a chunk that is mostly garbage. */
  relocate(slot: number): void {
    const length = this.#get(slot, LENGTH);
    const chunk = this.#get(slot, CHUNK);
    if (length > 0 && this.#bytes.isSparse(chunk)) this.#moveBytes(slot, chunk, length);
  }

  // Defragmentation: see defragment.ts.

  condemn(): void {
    this.#bytes.condemn();
  }

  /** Copies the key's bytes out of a chunk that is to be emptied. */
  rescue(slot: number): void {
    const length = this.#get(slot, LENGTH);
    const chunk = this.#get(slot, CHUNK);
    if (length > 0 && this.#bytes.isCondemned(chunk)) this.#moveBytes(slot, chunk, length);
  }

  /** A free slot below the highest in use; NONE when there is none. `slotsEnd` is then right behind the highest. */
  takeVacancy(): number {
    while (this.#slots > 0 && this.#get(this.#slots - 1, LENGTH) === 0) this.#slots -= 1;
    return this.#vacancy();
  }

  /** The key of the highest slot, `from`, has the free slot `to` from now on. Its rows and its lease are the caller's. */
  renumber(from: number, to: number): void {
    this.#order.renumber(from, to);
    for (let word = 0; word < WORDS; word++) this.#set(to, word, this.#get(from, word));
    this.#set(from, LENGTH, 0);
    this.#set(from, NEWEST, NONE);
    this.#remember(this.#get(to, HASH), to);
    this.#slots = from;
  }

  /** Lets go of the memory behind the highest slot, and of a memo that is too large. */
  trim(): void {
    this.#free.length = 0;
    this.#pages.length = (this.#slots + PAGE_MASK) >>> PAGE_SHIFT;
    let length = RECALL_MIN;
    while (this.#order.size * 2 > length) length *= 2;
    this.#recall = new Uint32Array(length);
    this.#recallAll();
  }

  /** Out of those that were freed; numbers above `slotsEnd`, or in use again, are forgotten. */
  #vacancy(): number {
    for (let slot = this.#free.pop(); slot !== undefined; slot = this.#free.pop()) {
      if (slot < this.#slots && this.#get(slot, LENGTH) === 0) return slot;
    }
    return NONE;
  }

  #moveBytes(slot: number, chunk: number, length: number): void {
    this.#bytes.append(this.bytes(slot));
    this.#set(slot, CHUNK, this.#bytes.chunk);
    this.#set(slot, OFFSET, this.#bytes.offset);
    this.#bytes.release(chunk, length);
  }

  #newSlot(key: Uint8Array, length = key.length): number {
    const vacancy = this.#free.length === 0 ? NONE : this.#vacancy();
    const slot = vacancy === NONE ? this.#slots++ : vacancy;
    if (slot >>> PAGE_SHIFT === this.#pages.length) this.#pages.push(new Uint32Array(PAGE_SLOTS * WORDS));
    this.#bytes.append(key, length);
    const page = this.#pages[slot >>> PAGE_SHIFT] as Uint32Array;
    const at = (slot & PAGE_MASK) * WORDS;
    page[at + CHUNK] = this.#bytes.chunk;
    page[at + OFFSET] = this.#bytes.offset;
    page[at + LENGTH] = length;
    page[at + NEWEST] = NONE;
    page[at + LEASE_PREV] = NONE;
    page[at + LEASE_NEXT] = NONE;
    page[at + HASH] = hashOf(key, length);
    return slot;
  }

  #search(key: Uint8Array): number {
    this.#sought = key;
    this.#sharedBelow = 0;
    this.#sharedAbove = 0;
    return this.#order.find(this.#compare);
  }

  /** One step of a search: compares, and remembers what the new bound shares. */
  #narrow(slot: number): number {
    const from = this.#sharedBelow < this.#sharedAbove ? this.#sharedBelow : this.#sharedAbove;
    const result = this.#compareSought(slot, from);
    if (result > 0) this.#sharedBelow = this.#shared;
    else if (result < 0) this.#sharedAbove = this.#shared;
    return result;
  }

  /** Compares the sought key with the slot's, which share the first `from` bytes; `#shared` then tells how many. */
  #compareSought(slot: number, from = 0): number {
    const sought = this.#sought;
    const page = this.#pages[slot >>> PAGE_SHIFT] as Uint32Array;
    const at = (slot & PAGE_MASK) * WORDS;
    const bytes = this.#bytes.bytesOf(page[at + CHUNK] as number);
    const offset = page[at + OFFSET] as number;
    const length = page[at + LENGTH] as number;
    const common = sought.length < length ? sought.length : length;
    let i = from;
    while (i < common && sought[i] === bytes[offset + i]) i += 1;
    this.#shared = i;
    return i < common ? (sought[i] as number) - (bytes[offset + i] as number) : sought.length - length;
  }

  #lookUp(hash: number, key: Uint8Array): number {
    const recall = this.#recall;
    const bucket = bucketOf(hash, recall.length);
    const low = 2 * recall.length - 1;
    for (let i = 0; i < BUCKET; i++) {
      const entry = recall[bucket + ((hash + i) & BUCKET_MASK)] as number;
      if (entry === 0) return NONE;
      // Most others are told apart here, without a look at where they lie.
      if (((entry ^ hash) & ~low) !== 0) continue;
      const slot = (entry & low) - 1;
      if (this.#get(slot, HASH) !== hash || this.#get(slot, NEWEST) === NONE) continue;
      this.#sought = key;
      if (this.#compareSought(slot) === 0) return slot;
    }
    return NONE;
  }

  #remember(hash: number, slot: number): void {
    const recall = this.#recall;
    const bucket = bucketOf(hash, recall.length);
    // A slot is less than the length: numbers are given out one by one, and the memo grows with the keys.
    const low = 2 * recall.length - 1;
    const entry = ((hash & ~low) | (slot + 1)) >>> 0;
    for (let i = 0; i < BUCKET; i++) {
      const at = bucket + ((hash + i) & BUCKET_MASK);
      if (recall[at] === 0 || ((recall[at] as number) & low) === slot + 1) {
        recall[at] = entry;
        return;
      }
    }
    recall[bucket + (slot & BUCKET_MASK)] = entry;
  }

  #growRecall(): void {
    this.#recall = new Uint32Array(2 * this.#recall.length);
    this.#recallAll();
  }

  #recallAll(): void {
    for (let slot = 0; slot < this.#slots; slot++) {
      if (this.#get(slot, LENGTH) > 0) this.#remember(this.#get(slot, HASH), slot);
    }
  }

  #get(slot: number, word: number): number {
    return (this.#pages[slot >>> PAGE_SHIFT] as Uint32Array)[(slot & PAGE_MASK) * WORDS + word] as number;
  }

  #set(slot: number, word: number, n: number): void {
    (this.#pages[slot >>> PAGE_SHIFT] as Uint32Array)[(slot & PAGE_MASK) * WORDS + word] = n;
  }
}

function bucketOf(hash: number, length: number): number {
  return (hash & (length - 1) & ~BUCKET_MASK) >>> 0;
}

/** A key's own place in its bucket. */
function placeOf(hash: number, length: number): number {
  return (hash & (length - 1)) >>> 0;
}

/** FNV-1a with a last stir, because buckets use the low bits. */
export function hashOf(key: Uint8Array, length = key.length): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (key[i] as number), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
