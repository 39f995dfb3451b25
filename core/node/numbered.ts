// What waits under consecutive numbers, given as it comes and taken mostly in order: a ring, for the reason that fifo.ts gives.
// One that waits for long keeps the places of all after it, so it is for what is bounded and decided in time.

export class Numbered<T> {
  /** Its length is a power of two. Places of what was taken, and free ones, hold `undefined`. */
  #ring: (T | undefined)[] = [undefined, undefined, undefined, undefined];
  /** The number of the oldest; of the next one when there is none. */
  #first = 1;
  /** Behind the newest. */
  #end = 1;

  /** The smallest number that waits; the next one when none does. */
  get first(): number {
    return this.#first;
  }

  /** The number it waits under: one more than the newest before it. */
  add(item: T): number {
    if (this.#end - this.#first === this.#ring.length) this.#grow();
    this.#ring[this.#end & (this.#ring.length - 1)] = item;
    this.#end += 1;
    return this.#end - 1;
  }

  /** Undefined: it does not wait, or not any more. */
  get(number: number): T | undefined {
    return number >= this.#first && number < this.#end ? this.#ring[number & (this.#ring.length - 1)] : undefined;
  }

  take(number: number): T | undefined {
    const item = this.get(number);
    if (item === undefined) return undefined;
    this.#ring[number & (this.#ring.length - 1)] = undefined;
    while (this.#first < this.#end && this.#ring[this.#first & (this.#ring.length - 1)] === undefined) this.#first += 1;
    return item;
  }

  /** Takes those that are meant, in order. */
  takeWhere(isMeant: (item: T) => boolean): readonly T[] {
    const taken: T[] = [];
    const end = this.#end;
    for (let number = this.#first; number < end; number++) {
      const item = this.get(number);
      if (item === undefined || !isMeant(item)) continue;
      this.take(number);
      taken.push(item);
    }
    return taken;
  }

  #grow(): void {
    const ring = Array.from<unknown, T | undefined>({ length: 2 * this.#ring.length }, () => undefined);
    for (let number = this.#first; number < this.#end; number++) {
      ring[number & (ring.length - 1)] = this.#ring[number & (this.#ring.length - 1)];
    }
    this.#ring = ring;
  }
}
