// What ends a measurement from outside of what is awaited: the user who ends the run, an error that nobody waits for any more
// (a load whose row has failed by another one), a server that never answers. Each costs what is being measured, and only the
// first the rest of the run.

export class Trouble {
  #onError: ((error: Error) => void) | null = null;
  #isOver = false;

  /** The run is to end, and what was measured so far to be told. */
  get isOver(): boolean {
    return this.#isOver;
  }

  end(): void {
    this.#isOver = true;
    this.fail(new Error('the run was ended'));
  }

  /** Whether something was being measured, which now fails with it. */
  fail(error: Error): boolean {
    const isHeard = this.#onError !== null;
    this.#onError?.(error);
    return isHeard;
  }

  /** As `work` does, unless something of all that comes first. */
  async during(work: Promise<void>, patienceMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const spoilt = new Promise<never>((_, reject) => {
      this.#onError = reject;
      timer = setTimeout(() => reject(new Error(`not done after ${Math.round(patienceMs / 1000)} seconds`)), patienceMs);
    });
    try {
      await Promise.race([work, spoilt]);
    } finally {
      clearTimeout(timer);
      this.#onError = null;
    }
  }
}
