// The only source of chance in core: a small seeded generator (splitmix-style state, 32-bit output). Deterministic and
// not for secrets. Whoever needs unpredictable numbers is handed them by the composition root.

export class Prng {
  #state: number;

  /** Any integer is a seed; equal seeds give equal sequences on every machine. */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A uniformly distributed integer in [0, 2^32). */
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }

  /** An integer in [0, bound); `bound` must be in [1, 2^32]. */
  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound);
  }

  /** A positive 63-bit integer, never 0: the shape of a lease id. */
  id63(): bigint {
    const id = (BigInt(this.u32() >>> 1) << 32n) | BigInt(this.u32());
    return id === 0n ? 1n : id;
  }
}
