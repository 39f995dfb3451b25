// A set of objects that come and go often. Each bears its own place, so nothing is looked up, and a place is used again by
// whoever comes next: unlike a Set, whose tables are made anew all the time it leaves nothing behind (see fifo.ts).

export interface InCrowd {
  /** The crowd's to write; -1: in none. An object is in one crowd at a time. */
  place: number;
}

export class Crowd<T> {
  /** Places from `#size` on hold `undefined`. Invariant: `#members[i].place === i`. */
  readonly #members: ((T & InCrowd) | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(member: T & InCrowd): void {
    if (member.place !== -1) return;
    member.place = this.#size;
    this.#members[this.#size++] = member;
  }

  /** False: it was not in. */
  delete(member: T & InCrowd): boolean {
    const { place } = member;
    if (place === -1) return false;
    const last = this.#members[--this.#size];
    this.#members[this.#size] = undefined;
    if (last !== undefined && last !== member) {
      this.#members[place] = last;
      last.place = place;
    }
    member.place = -1;
    return true;
  }

  /** In no order. Who comes or goes after this was called is not seen in it. */
  list(): readonly T[] {
    const members: T[] = [];
    for (const member of this.#members) if (member !== undefined) members.push(member);
    return members;
  }
}
