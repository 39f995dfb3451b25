// Key slots in byte order of their keys: a list of chunks, each a short sorted array, so that a place is found by two
// binary searches and an insertion shifts at most one chunk. Each chunk knows how many of its keys are live, so that
// counting a range costs a step for every few hundred keys; each slot knows its chunk, so that a key that dies or comes
// alive is counted without a search. Comparing keys is the owner's business (keys.ts).
//
// A place is a number: position of the chunk in the list * PLACE + position in the chunk. Any insertion or removal makes
// places void.

import { assert } from '../base/assert.js';

const CHUNK_SLOTS = 512;
const PLACE = 1024;
/** A chunk this small joins a neighbour that has room. */
const SMALL_SLOTS = CHUNK_SLOTS / 8;
const ROOMY_SLOTS = (CHUNK_SLOTS * 3) / 4;

/** Negative, 0 or positive as the key sought sorts before, with or after the key of `slot`. */
export type CompareWithSlot = (slot: number) => number;

/** What the owner knows of its slots. */
export interface SlotFacts {
  isLive(slot: number): boolean;
  /** The number set last by `setChunk`. */
  chunkOf(slot: number): number;
  setChunk(slot: number, chunk: number): void;
}

interface Chunk {
  readonly number: number;
  readonly slots: Uint32Array;
  size: number;
  live: number;
}

export class Order {
  size = 0;
  live = 0;
  readonly #facts: SlotFacts;
  readonly #list: Chunk[] = [];
  /** By number, which does not change as the list does. */
  readonly #byNumber: (Chunk | null)[] = [];
  readonly #freeNumbers: number[] = [];

  constructor(facts: SlotFacts) {
    this.#facts = facts;
  }

  get sizeBytes(): number {
    return this.#list.length * CHUNK_SLOTS * 4;
  }

  /** The first place whose key is not below the one sought; `end()` when all are. */
  find(compare: CompareWithSlot): number {
    // The last chunk whose first key is not above the one sought; if there is none, the first.
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(this.#chunk(middle).slots[0] as number) >= 0) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return 0;
    const { slots, size } = this.#chunk(low - 1);
    let from = 0;
    let to = size;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (compare(slots[middle] as number) > 0) from = middle + 1;
      else to = middle;
    }
    return from === size ? low * PLACE : (low - 1) * PLACE + from;
  }

  /** One past the last place. */
  end(): number {
    return this.#list.length * PLACE;
  }

  at(place: number): number {
    return this.#chunk(Math.floor(place / PLACE)).slots[place % PLACE] as number;
  }

  after(place: number): number {
    const index = Math.floor(place / PLACE);
    return (place % PLACE) + 1 < this.#chunk(index).size ? place + 1 : (index + 1) * PLACE;
  }

  /** Of a place that is not the first. */
  before(place: number): number {
    const index = Math.floor(place / PLACE);
    return place % PLACE > 0 ? place - 1 : (index - 1) * PLACE + this.#chunk(index - 1).size - 1;
  }

  /** Puts a live slot before `place`, which `find` gave for its key. */
  insert(place: number, slot: number): void {
    this.size += 1;
    this.live += 1;
    let index = Math.floor(place / PLACE);
    let position = place % PLACE;
    if (position === 0 && index > 0) {
      // Between two chunks: behind the one before.
      index -= 1;
      position = this.#chunk(index).size;
    }
    if (index === this.#list.length) return this.#open(index, [slot], 1);
    let chunk = this.#chunk(index);
    if (chunk.size === CHUNK_SLOTS) {
      // Keys often arrive in ascending order: then a full last chunk is left full.
      if (position === CHUNK_SLOTS && index === this.#list.length - 1) return this.#open(index + 1, [slot], 1);
      this.#split(index);
      if (position > chunk.size) {
        position -= chunk.size;
        chunk = this.#chunk(index + 1);
      }
    }
    chunk.slots.copyWithin(position + 1, position, chunk.size);
    chunk.slots[position] = slot;
    chunk.size += 1;
    chunk.live += 1;
    this.#facts.setChunk(slot, chunk.number);
  }

  /** Takes out a dead slot. */
  remove(slot: number): void {
    const chunk = this.#chunkWith(slot);
    const position = chunk.slots.subarray(0, chunk.size).indexOf(slot);
    assert(position >= 0, 'a slot is not in its chunk');
    chunk.slots.copyWithin(position, position + 1, chunk.size);
    chunk.size -= 1;
    this.size -= 1;
    if (chunk.size <= SMALL_SLOTS) this.#shrink(chunk);
  }

  /** The key of slot `from` has slot `to` from now on. */
  renumber(from: number, to: number): void {
    const { slots, size } = this.#chunkWith(from);
    const position = slots.subarray(0, size).indexOf(from);
    assert(position >= 0, 'a slot is not in its chunk');
    slots[position] = to;
  }

  /** The slot came alive (1) or died (-1). */
  changeLive(slot: number, by: 1 | -1): void {
    this.#chunkWith(slot).live += by;
    this.live += by;
  }

  /** Live slots in [from, to). */
  countLive(from: number, to: number): number {
    const first = Math.ceil(from / PLACE);
    const last = Math.floor(to / PLACE);
    if (first > last) return this.#countIn(last, from % PLACE, to % PLACE);
    let count = first * PLACE === from ? 0 : this.#countIn(first - 1, from % PLACE, this.#chunk(first - 1).size);
    for (let index = first; index < last; index++) count += this.#chunk(index).live;
    return last * PLACE === to ? count : count + this.#countIn(last, 0, to % PLACE);
  }

  /** Live slots among those of one chunk; of most of it, the dead outside are fewer to look at. */
  #countIn(index: number, from: number, to: number): number {
    const { slots, size, live } = this.#chunk(index);
    let count = 0;
    if ((to - from) * 2 <= size) {
      for (let i = from; i < to; i++) if (this.#facts.isLive(slots[i] as number)) count += 1;
      return count;
    }
    for (let i = 0; i < from; i++) if (this.#facts.isLive(slots[i] as number)) count += 1;
    for (let i = to; i < size; i++) if (this.#facts.isLive(slots[i] as number)) count += 1;
    return live - count;
  }

  /** Slots in [from, to), dead ones too. */
  countAll(from: number, to: number): number {
    const first = Math.floor(from / PLACE);
    const last = Math.floor(to / PLACE);
    if (first === last) return to - from;
    let count = this.#chunk(first).size - (from % PLACE) + (to % PLACE);
    for (let index = first + 1; index < last; index++) count += this.#chunk(index).size;
    return count;
  }

  /** All slots in order: a copy. */
  copy(): Uint32Array {
    const all = new Uint32Array(this.size);
    let at = 0;
    for (const { slots, size } of this.#list) {
      all.set(slots.subarray(0, size), at);
      at += size;
    }
    return all;
  }

  /** Makes the slots 0 to `count` - 1, in this order, the whole. Chunks are left with room. */
  fill(count: number): void {
    assert(this.size === 0, 'an order is filled once');
    for (let from = 0; from < count; from += ROOMY_SLOTS) {
      const slots = new Uint32Array(Math.min(ROOMY_SLOTS, count - from));
      let live = 0;
      for (let i = 0; i < slots.length; i++) {
        slots[i] = from + i;
        if (this.#facts.isLive(from + i)) live += 1;
      }
      this.#open(this.#list.length, slots, live);
      this.live += live;
    }
    this.size = count;
  }

  #chunk(index: number): Chunk {
    return this.#list[index] as Chunk;
  }

  #chunkWith(slot: number): Chunk {
    return this.#byNumber[this.#facts.chunkOf(slot)] as Chunk;
  }

  #open(index: number, slots: ArrayLike<number>, live: number): void {
    const number = this.#freeNumbers.pop() ?? this.#byNumber.length;
    const chunk: Chunk = { number, slots: new Uint32Array(CHUNK_SLOTS), size: slots.length, live };
    chunk.slots.set(slots);
    for (let i = 0; i < slots.length; i++) this.#facts.setChunk(slots[i] as number, number);
    this.#list.splice(index, 0, chunk);
    this.#byNumber[number] = chunk;
  }

  #split(index: number): void {
    const chunk = this.#chunk(index);
    const half = CHUNK_SLOTS / 2;
    const upper = chunk.slots.subarray(half);
    let live = 0;
    for (const slot of upper) if (this.#facts.isLive(slot)) live += 1;
    this.#open(index + 1, upper, live);
    chunk.size = half;
    chunk.live -= live;
  }

  /** A chunk with few slots joins a neighbour with room; an empty one goes. */
  #shrink(chunk: Chunk): void {
    const index = this.#list.indexOf(chunk);
    if (chunk.size === 0) return this.#close(index);
    const fits = (neighbour: number): boolean => (this.#list[neighbour]?.size ?? CHUNK_SLOTS) + chunk.size <= ROOMY_SLOTS;
    if (fits(index + 1)) this.#join(index);
    else if (fits(index - 1)) this.#join(index - 1);
  }

  /** Moves what is in the chunk behind `index` into it. */
  #join(index: number): void {
    const chunk = this.#chunk(index);
    const next = this.#chunk(index + 1);
    for (let i = 0; i < next.size; i++) {
      const slot = next.slots[i] as number;
      chunk.slots[chunk.size + i] = slot;
      this.#facts.setChunk(slot, chunk.number);
    }
    chunk.size += next.size;
    chunk.live += next.live;
    this.#close(index + 1);
  }

  #close(index: number): void {
    const { number } = this.#chunk(index);
    this.#list.splice(index, 1);
    this.#byNumber[number] = null;
    this.#freeNumbers.push(number);
  }
}
