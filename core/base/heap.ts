// A binary heap: of whatever has been put in, the first by the owner's order comes out first, in logarithmic time. It is
// not sorted inside, and nothing is taken out of its middle: an owner marks an item as void and drops it when it comes up.
//
// Invariants: no item is before its parent, the one at half its index; no item is `undefined`.

export class Heap<T> {
  readonly #items: T[] = [];
  readonly #isBefore: (a: T, b: T) => boolean;

  /**
   * `isBefore` is a strict order, and what it reads of an item stays the same while the item is in. Of items of which none is
   * before the other any may come first, but the same one in every run: who needs more compares a sequence number too.
   */
  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#items.length;
  }

  /** What `pop` would give. */
  peek(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = items[up];
      if (parent === undefined || !this.#isBefore(item, parent)) break;
      items[at] = parent;
      at = up;
    }
    items[at] = item;
  }

  /** The first, which is in no longer. */
  pop(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last !== undefined && items.length > 0) this.#sink(last);
    return first;
  }

  clear(): void {
    this.#items.length = 0;
  }

  /** All that is in, in no order. */
  [Symbol.iterator](): Iterator<T> {
    return this.#items.values();
  }

  /** Finds the place of an item from the top downwards, and moves up what is before it. */
  #sink(item: T): void {
    const items = this.#items;
    let at = 0;
    for (;;) {
      let next = 2 * at + 1;
      let child = items[next];
      if (child === undefined) break;
      const right = items[next + 1];
      if (right !== undefined && this.#isBefore(right, child)) {
        child = right;
        next++;
      }
      if (!this.#isBefore(child, item)) break;
      items[at] = child;
      at = next;
    }
    items[at] = item;
  }
}
