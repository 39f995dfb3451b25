// Errors as values, for work that may throw: a failed assertion, or bytes that are not what they should be.

/** Null: it did not throw. */
export function caught(work: () => void): Error | null {
  const outcome = attempt(work);
  return outcome instanceof Error ? outcome : null;
}

/** What `work` returns, or the error that it threw. */
export function attempt<T>(work: () => T): T | Error {
  try {
    return work();
  }
  catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The first reason of all, which says most. */
export function reasonOf(error: Error): string {
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message;
}
