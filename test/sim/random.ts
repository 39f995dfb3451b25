// Counter-based chance: every value is a function of (seed, stream, entity, counter), and nothing else. Streams do not share
// a state, so that a fault taken away or a client added shifts no other draw, and two runs of one seed stay comparable.
// Only integer arithmetic and correctly rounded operations: the same on every machine and release.

/** Scrambles one more word into `state`. */
export function scramble(state: number, word: number): number {
  let h = Math.imul(state ^ word, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
  return (h ^ (h >>> 13)) >>> 0;
}

/** The value at a place of the table that a seed names. */
export function mix(seed: number, stream: number, entity: number, counter: number): number {
  let h = scramble(0x9e3779b9, seed >>> 0);
  h = scramble(h, Math.floor(seed / 2 ** 32) >>> 0);
  h = scramble(h, stream);
  h = scramble(h, entity);
  h = scramble(h, counter);
  return scramble(h, 0x27d4eb2f);
}

export function streamOf(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193) >>> 0;
  return h;
}

/** One stream of chance. */
export class Dice {
  readonly #base: number;
  #counter = 0;

  constructor(seed: number, stream: string, entity = 0) {
    this.#base = mix(seed, streamOf(stream), entity, 0);
  }

  u32(): number {
    this.#counter = (this.#counter + 1) >>> 0;
    return scramble(scramble(this.#base, this.#counter), 0x27d4eb2f);
  }

  /** In [0, 1). */
  share(): number {
    return this.u32() / 2 ** 32;
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return Math.floor(this.share() * bound);
  }

  /** In [low, high). */
  between(low: number, high: number): number {
    return low + this.share() * (high - low);
  }

  chance(probability: number): boolean {
    return this.share() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const value = list[this.below(list.length)];
    if (value === undefined) throw new Error('nothing to pick from');
    return value;
  }

  /** Of `[weight, value]` pairs, one. */
  weighted<T>(list: readonly (readonly [number, T])[]): T {
    let at = this.share() * list.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, value] of list) {
      at -= weight;
      if (at < 0) return value;
    }
    return this.pick(list)[1];
  }

  /** About `typical`; one in 8 is several times that, one in 128 some thirty times: the tail that real latencies have. */
  tailed(typical: number): number {
    const draw = this.u32();
    let value = typical * (0.5 + (draw & 0xffff) / 0x10000);
    if ((draw >>> 16) % 8 === 0) value *= 3;
    if ((draw >>> 19) % 128 === 0) value *= 10;
    return value;
  }

  /** Some of the list, each with probability `probability`, in order. */
  some<T>(list: readonly T[], probability: number): T[] {
    return list.filter(() => this.chance(probability));
  }

  shuffled<T>(list: readonly T[]): T[] {
    const copy = [...list];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const [a, b] = [copy[i], copy[j]];
      if (a !== undefined && b !== undefined) [copy[i], copy[j]] = [b, a];
    }
    return copy;
  }

  id63(): bigint {
    const id = (BigInt(this.u32() >>> 1) << 32n) | BigInt(this.u32());
    return id === 0n ? 1n : id;
  }
}
