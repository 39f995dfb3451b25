// Key slots in byte order of their keys: a list of chunks, each a short sorted array, so that a place is found by two
// binary searches and an insertion shifts at most one chunk. Each chunk knows how many of its keys are live, so that
// counting a range costs a step for every few hundred keys. Comparing is the owner's business (keys.ts).
//
// A place is a number: chunk * PLACE + position in it. Any insertion or removal makes places void.

import { assert } from '../base/assert.js';

const CHUNK_SLOTS = 512;
const PLACE = 1024;
/** A chunk this small joins its neighbour, if the two together leave room to grow. */
const SMALL_SLOTS = CHUNK_SLOTS / 8;

/** Negative, 0 or positive as the key sought sorts before, with or after the key of `slot`. */
export type CompareWithSlot = (slot: number) => number;

export class Order {
  size = 0;
  live = 0;
  readonly #isLive: (slot: number) => boolean;
  readonly #chunks: Uint32Array[] = [];
  readonly #sizes: number[] = [];
  readonly #lives: number[] = [];

  constructor(isLive: (slot: number) => boolean) {
    this.#isLive = isLive;
  }

  get sizeBytes(): number {
    return this.#chunks.length * CHUNK_SLOTS * 4;
  }

  /** The first place whose key is not below the one sought; `end()` when all are. */
  find(compare: CompareWithSlot): number {
    if (this.size === 0) return 0;
    // The last chunk whose first key is not above the one sought; before all chunks means the start of the first.
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare((this.#chunks[middle] as Uint32Array)[0] as number) >= 0) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return 0;
    const index = low - 1;
    const chunk = this.#chunks[index] as Uint32Array;
    let from = 0;
    let to = this.#sizes[index] as number;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (compare(chunk[middle] as number) > 0) from = middle + 1;
      else to = middle;
    }
    return from === (this.#sizes[index] as number) ? low * PLACE : index * PLACE + from;
  }

  /** One past the last place. */
  end(): number {
    return this.#chunks.length * PLACE;
  }

  at(place: number): number {
    return (this.#chunks[Math.floor(place / PLACE)] as Uint32Array)[place % PLACE] as number;
  }

  after(place: number): number {
    const index = Math.floor(place / PLACE);
    return (place % PLACE) + 1 < (this.#sizes[index] as number) ? place + 1 : (index + 1) * PLACE;
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
      position = this.#sizes[index] as number;
    }
    if (index === this.#chunks.length) return this.#open(index, [slot], 1);
    const size = this.#sizes[index] as number;
    if (size === CHUNK_SLOTS) {
      // Keys often arrive in ascending order: then a full last chunk is left full.
      if (position === size && index === this.#chunks.length - 1) return this.#open(index + 1, [slot], 1);
      this.#split(index);
      const half = this.#sizes[index] as number;
      if (position > half) {
        index += 1;
        position -= half;
      }
    }
    const chunk = this.#chunks[index] as Uint32Array;
    chunk.copyWithin(position + 1, position, this.#sizes[index]);
    chunk[position] = slot;
    this.#sizes[index] = (this.#sizes[index] as number) + 1;
    this.#lives[index] = (this.#lives[index] as number) + 1;
  }

  /** Takes out the dead slot at `place`. */
  remove(place: number): void {
    const index = Math.floor(place / PLACE);
    const size = this.#sizes[index] as number;
    assert(place % PLACE < size, 'a slot is removed where there is none');
    (this.#chunks[index] as Uint32Array).copyWithin(place % PLACE, (place % PLACE) + 1, size);
    this.#sizes[index] = size - 1;
    this.size -= 1;
    if (size - 1 <= SMALL_SLOTS) this.#shrink(index);
  }

  /** The slot at `place` came alive (1) or died (-1). */
  changeLive(place: number, by: 1 | -1): void {
    const index = Math.floor(place / PLACE);
    this.#lives[index] = (this.#lives[index] as number) + by;
    this.live += by;
  }

  /** Live slots in [from, to). */
  countLive(from: number, to: number): number {
    let count = 0;
    for (let place = from; place < to; ) {
      const index = Math.floor(place / PLACE);
      const chunkEnd = (index + 1) * PLACE;
      if (place % PLACE === 0 && chunkEnd <= to) {
        count += this.#lives[index] as number;
        place = chunkEnd;
      } else {
        if (this.#isLive(this.at(place))) count += 1;
        place = this.after(place);
      }
    }
    return count;
  }

  /** Slots in [from, to), dead ones too. */
  countAll(from: number, to: number): number {
    const first = Math.floor(from / PLACE);
    const last = Math.floor(to / PLACE);
    if (first === last) return to - from;
    let count = (this.#sizes[first] as number) - (from % PLACE) + (to % PLACE);
    for (let index = first + 1; index < last; index++) count += this.#sizes[index] as number;
    return count;
  }

  /** All slots in order: a copy. */
  copy(): Uint32Array {
    const all = new Uint32Array(this.size);
    let at = 0;
    this.#chunks.forEach((chunk, index) => {
      const size = this.#sizes[index] as number;
      all.set(chunk.subarray(0, size), at);
      at += size;
    });
    return all;
  }

  /** Makes the slots 0 to `count` - 1 the whole order. Chunks are left with room. */
  fill(count: number): void {
    assert(this.size === 0, 'an order is filled once');
    const step = (CHUNK_SLOTS * 3) / 4;
    for (let from = 0; from < count; from += step) {
      const slots = Array.from({ length: Math.min(step, count - from) }, (_, i) => from + i);
      const live = slots.filter((slot) => this.#isLive(slot)).length;
      this.#open(this.#chunks.length, slots, live);
      this.live += live;
    }
    this.size = count;
  }

  #open(index: number, slots: ArrayLike<number>, live: number): void {
    const chunk = new Uint32Array(CHUNK_SLOTS);
    chunk.set(slots);
    this.#chunks.splice(index, 0, chunk);
    this.#sizes.splice(index, 0, slots.length);
    this.#lives.splice(index, 0, live);
  }

  #split(index: number): void {
    const chunk = this.#chunks[index] as Uint32Array;
    const half = CHUNK_SLOTS / 2;
    let live = 0;
    for (let i = half; i < CHUNK_SLOTS; i++) if (this.#isLive(chunk[i] as number)) live += 1;
    this.#open(index + 1, chunk.subarray(half), live);
    this.#sizes[index] = half;
    this.#lives[index] = (this.#lives[index] as number) - live;
  }

  /** A chunk with few slots joins a neighbour with room; an empty one goes. */
  #shrink(index: number): void {
    const size = this.#sizes[index] as number;
    if (size === 0) return this.#close(index);
    const roomy = (neighbour: number): boolean => (this.#sizes[neighbour] ?? CHUNK_SLOTS) + size <= (CHUNK_SLOTS * 3) / 4;
    if (roomy(index + 1)) this.#join(index);
    else if (roomy(index - 1)) this.#join(index - 1);
  }

  /** Moves what is in the chunk behind `index` into it. */
  #join(index: number): void {
    const size = this.#sizes[index] as number;
    const more = this.#sizes[index + 1] as number;
    (this.#chunks[index] as Uint32Array).set((this.#chunks[index + 1] as Uint32Array).subarray(0, more), size);
    this.#sizes[index] = size + more;
    this.#lives[index] = (this.#lives[index] as number) + (this.#lives[index + 1] as number);
    this.#close(index + 1);
  }

  #close(index: number): void {
    this.#chunks.splice(index, 1);
    this.#sizes.splice(index, 1);
    this.#lives.splice(index, 1);
  }
}
