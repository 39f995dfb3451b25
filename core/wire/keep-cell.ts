// What two threads know of one kept lease, in memory they share, so that either can read it without the other's loop.
// Times are nanoseconds of `processNs`. Each field has one writer, and nothing is read together with anything else.

const BEAT = 0;
const RENEWED = 1;
const ENDED = 2;
const FIELDS = 3;

export class KeepCell {
  readonly memory: SharedArrayBuffer;
  readonly #fields: BigInt64Array;

  constructor(memory = new SharedArrayBuffer(FIELDS * BigInt64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#fields = new BigInt64Array(memory);
  }

  /** Written by the main loop whenever it turns. */
  get beatNs(): bigint {
    return Atomics.load(this.#fields, BEAT);
  }

  set beatNs(at: bigint) {
    Atomics.store(this.#fields, BEAT, at);
  }

  /** Written by the keeper: when the newest confirmed renewal was sent; 0n: none yet. It only grows. */
  get renewedNs(): bigint {
    return Atomics.load(this.#fields, RENEWED);
  }

  set renewedNs(at: bigint) {
    Atomics.store(this.#fields, RENEWED, at);
  }

  get isStopped(): boolean {
    return (Atomics.load(this.#fields, ENDED) & 1n) !== 0n;
  }

  get isGone(): boolean {
    return (Atomics.load(this.#fields, ENDED) & 2n) !== 0n;
  }

  /** By the main loop: nobody wants it kept any more. */
  stop(): void {
    Atomics.or(this.#fields, ENDED, 1n);
  }

  /** By the keeper: the store says that there is no such lease. */
  setGone(): void {
    Atomics.or(this.#fields, ENDED, 2n);
  }
}
