// A queue in a ring that is used again and again. What leaves it is let go of, and nothing is allocated while it does not grow:
// a Map or a list of which much is taken leaves dead tables or links behind, and once one of those has grown old, all that
// ever stood in those after it is kept until the collector next looks at everything.

export class Fifo<T> {
  /** Its length is a power of two. Places that are free hold `undefined`. */
  #ring: (T | undefined)[] = [undefined, undefined, undefined, undefined];
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The oldest. */
  get first(): T | undefined {
    return this.#ring[this.#head];
  }

  /** The newest. */
  get last(): T | undefined {
    return this.#length === 0 ? undefined : this.#ring[(this.#head + this.#length - 1) & (this.#ring.length - 1)];
  }

  push(item: T): void {
    if (this.#length === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = item;
    this.#length += 1;
  }

  /** Takes the oldest. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#length -= 1;
    return item;
  }

  /** Takes the newest. */
  pop(): T | undefined {
    if (this.#length === 0) return undefined;
    this.#length -= 1;
    const at = (this.#head + this.#length) & (this.#ring.length - 1);
    const item = this.#ring[at];
    this.#ring[at] = undefined;
    return item;
  }

  /** Takes all, oldest first. */
  drain(): T[] {
    const items: T[] = [];
    for (let item = this.shift(); item !== undefined; item = this.shift()) items.push(item);
    return items;
  }

  /** Takes those that are not to stay; the order of the others remains. */
  keep(isKept: (item: T) => boolean): void {
    for (const item of this.drain()) if (isKept(item)) this.push(item);
  }

  #grow(): void {
    const ring = Array.from<unknown, T | undefined>({ length: 2 * this.#ring.length }, () => undefined);
    for (let i = 0; i < this.#length; i++) ring[i] = this.#ring[(this.#head + i) & (this.#ring.length - 1)];
    this.#ring = ring;
    this.#head = 0;
  }
}
