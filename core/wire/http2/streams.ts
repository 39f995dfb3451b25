// The streams of one connection by their number. Numbers ascend and most streams end soon, so those that are open lie close
// together: they stand in a ring by the low bits of their number. One whose place is taken, by a stream that has been open for
// long or by a number chosen to meet it, goes into a Map. (Why not a Map alone: see base/fifo.ts.)

import type { Stream } from './stream.js';

const RING_MIN = 16;
const RING_MAX = 1024;

export class Streams {
  /** Its length is a power of two; a stream of number n is at n / 2, modulo the length, or in the Map. */
  #ring = emptyRing(RING_MIN);
  readonly #others = new Map<number, Stream>();
  #inRing = 0;

  get size(): number {
    return this.#inRing + this.#others.size;
  }

  get(id: number): Stream | undefined {
    const stream = this.#ring[(id >>> 1) & (this.#ring.length - 1)];
    if (stream !== undefined && stream.id === id) return stream;
    return this.#others.size === 0 ? undefined : this.#others.get(id);
  }

  /** Of a number that is not in. */
  set(id: number, stream: Stream): void {
    if (this.#ring.length < RING_MAX && 2 * this.#inRing >= this.#ring.length) this.#grow();
    const place = (id >>> 1) & (this.#ring.length - 1);
    if (this.#ring[place] !== undefined) {
      this.#others.set(id, stream);
      return;
    }
    this.#ring[place] = stream;
    this.#inRing += 1;
  }

  delete(id: number): boolean {
    const place = (id >>> 1) & (this.#ring.length - 1);
    if (this.#ring[place]?.id !== id) return this.#others.size > 0 && this.#others.delete(id);
    this.#ring[place] = undefined;
    this.#inRing -= 1;
    return true;
  }

  clear(): void {
    this.#ring.fill(undefined);
    this.#others.clear();
    this.#inRing = 0;
  }

  /** In no order. */
  *values(): Generator<Stream> {
    for (const stream of this.#ring) if (stream !== undefined) yield stream;
    yield* this.#others.values();
  }

  /** No two that stood in the ring meet in one twice as long. */
  #grow(): void {
    const ring = emptyRing(2 * this.#ring.length);
    for (const stream of this.#ring) if (stream !== undefined) ring[(stream.id >>> 1) & (ring.length - 1)] = stream;
    this.#ring = ring;
  }
}

function emptyRing(length: number): (Stream | undefined)[] {
  return Array.from<unknown, Stream | undefined>({ length }, () => undefined);
}
