// For claims about what work costs, where only a clock can tell. Others may have the processor during an attempt, so there are
// several; what costs too much costs it in each of them. The bounds are many times what it takes, and a small part of what it
// would take if the claim were wrong.

const ATTEMPTS = 5;

/** Whether `run` can be done within so long. It is run again until it is. */
export function takesLess(limitMs: number, run: () => void): boolean {
  for (let i = 0; i < ATTEMPTS; i++) {
    const startedAt = performance.now();
    run();
    if (performance.now() - startedAt < limitMs) return true;
  }
  return false;
}
