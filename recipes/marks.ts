// Which entries of one session are in use, so that two tasks that share a session get entries of their own and exclude
// each other. The first task of a line gets the bare key, which is exactly the key etcd's Go client would use; the next
// ones get `-1`, `-2` and so on. A session belongs to one process, so this needs no store.

/** One entry's place among the entries of its session in one line. */
export interface Mark {
  /** What stands behind the lease in the entry's key: '' or `-1`, `-2` … */
  readonly text: string;
  /** The version of the entry's guard (see entry.ts): creations sent under an older one can never land. */
  epoch: number;
}

export class Marks {
  /** Invariant: `free` holds only marks whose epoch is not 0; nothing else has to be remembered of a free one. */
  readonly #lines = new Map<string, { readonly taken: Map<number, Mark>; readonly free: Map<number, Mark> }>();

  /** The lowest one that nobody has. */
  take(line: string): Mark {
    const known = this.#lines.get(line) ?? { taken: new Map<number, Mark>(), free: new Map<number, Mark>() };
    this.#lines.set(line, known);
    let number = 0;
    while (known.taken.has(number)) number += 1;
    const mark = known.free.get(number) ?? { text: number === 0 ? '' : `-${number}`, epoch: 0 };
    known.free.delete(number);
    known.taken.set(number, mark);
    return mark;
  }

  /** Only once nothing of the entry is, or can still come to be, in the store. */
  give(line: string, mark: Mark): void {
    const known = this.#lines.get(line);
    if (known === undefined) return;
    for (const [number, taken] of known.taken) {
      if (taken !== mark) continue;
      known.taken.delete(number);
      if (mark.epoch > 0) known.free.set(number, mark);
    }
    if (known.taken.size === 0 && known.free.size === 0) this.#lines.delete(line);
  }
}
