// Answers that are made and that their readers have not taken, counted for the whole server. HTTP/2 lets a reader ask for much
// and take nothing of it: a thousand ranges of a megabyte each are a gigabyte held for somebody who sends a few kilobytes. Who
// asks is known by address. When too much is held, whoever makes it hold the most loses what waits longest; one answer alone
// is never cut, however large. Small answers are not counted here: they cost less than the streams they are on.

export class UnsentAnswers {
  readonly #bytesMax: number;
  readonly #onCut: (address: string) => void;
  readonly #readers = new Map<string, Reader>();
  #bytes = 0;

  constructor(bytesMax: number, onCut: (address: string) => void) {
    this.#bytesMax = bytesMax;
    this.#onCut = onCut;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** `cut` ends the stream or connection. Returns what to call when the answer is taken or its reader has left; idempotent. */
  hold(address: string, bytes: number, cut: () => void): () => void {
    const reader = this.#readers.get(address) ?? { address, bytes: 0, answers: new Set<Unsent>() };
    const answer: Unsent = { bytes, cut };
    this.#readers.set(address, reader);
    reader.answers.add(answer);
    reader.bytes += bytes;
    this.#bytes += bytes;
    while (this.#bytes > this.#bytesMax && this.#bytes > bytes) this.#makeRoom();
    return () => this.#release(reader, answer);
  }

  /** The same of what `carrier` carries, which is not closed yet: its close releases the answer as well. */
  holdOn(carrier: Carrier, address: string, bytes: number, cut: () => void): () => void {
    const release = this.hold(address, bytes, cut);
    carrier.once('close', release);
    return () => {
      carrier.off('close', release);
      release();
    };
  }

  #makeRoom(): void {
    let most: Reader | null = null;
    for (const reader of this.#readers.values()) {
      if (most === null || reader.bytes > most.bytes) most = reader;
    }
    if (most === null) return;
    const [oldest] = most.answers;
    if (oldest === undefined) return;
    this.#release(most, oldest);
    this.#onCut(most.address);
    oldest.cut();
  }

  #release(reader: Reader, answer: Unsent): void {
    if (!reader.answers.delete(answer)) return;
    reader.bytes -= answer.bytes;
    this.#bytes -= answer.bytes;
    if (reader.answers.size === 0) this.#readers.delete(reader.address);
  }
}

/** A stream or a connection. */
interface Carrier {
  once(event: 'close', run: () => void): unknown;
  off(event: 'close', run: () => void): unknown;
}

interface Reader {
  readonly address: string;
  bytes: number;
  /** Longest first. */
  readonly answers: Set<Unsent>;
}

interface Unsent {
  readonly bytes: number;
  readonly cut: () => void;
}
