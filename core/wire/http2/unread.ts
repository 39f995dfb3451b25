// Bytes of requests that are read and not handled, on all connections of a server. Each connection has its own bound; a few
// hundred of them together would still be more than there is memory. When too much is held, the address that holds the most
// loses the connection that holds the most, so that many callers of a little each outlast one who sends without end.

/** One connection. */
export interface Holder {
  readonly address: string;
  cutOff(): void;
}

export class UnreadRequests {
  readonly #bytesMax: number;
  /** Only of those that hold something. */
  readonly #held = new Map<Holder, number>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** It holds so much now. May cut off connections, this one too, each of which tells that it holds nothing any more. */
  set(holder: Holder, bytes: number): void {
    this.#bytes += bytes - (this.#held.get(holder) ?? 0);
    if (bytes === 0) this.#held.delete(holder);
    else this.#held.set(holder, bytes);
    while (this.#bytes > this.#bytesMax) {
      const most = this.#most();
      if (most === null) return;
      most.cutOff();
      if (this.#held.has(most)) this.set(most, 0);
    }
  }

  #most(): Holder | null {
    const addresses = new Map<string, number>();
    for (const [{ address }, bytes] of this.#held) addresses.set(address, (addresses.get(address) ?? 0) + bytes);
    const [worst = null] = [...addresses].reduce<[string, number] | []>((a, b) => (b[1] > (a[1] ?? 0) ? b : a), []);
    let most: Holder | null = null;
    for (const [holder, bytes] of this.#held) {
      if (holder.address === worst && (most === null || bytes > (this.#held.get(most) ?? 0))) most = holder;
    }
    return most;
  }
}
