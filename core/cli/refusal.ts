// How the command line says no: what is wrong (with the value), and what to do about it. Exit code 2 means the words were
// wrong and nothing was touched; 1 means the world refused. Also the guess at what was meant, for misspelt words.

export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly remedy: string;
  readonly exitCode: 1 | 2;

  constructor(problem: string, remedy: string, options: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(problem, options.cause === undefined ? undefined : { cause: options.cause });
    this.remedy = remedy;
    this.exitCode = options.exitCode ?? 2;
  }
}

/** Of what the rooms below cannot use: they say what is wrong and, after the last semicolon, what to do. `where` comes first. */
export function refusalOf(fault: Error, where = ''): Refusal {
  const cut = fault.message.lastIndexOf('; ');
  const [problem, remedy] = [fault.message.slice(0, cut), fault.message.slice(cut + 2)];
  return new Refusal(`${where}${problem}`, remedy, { exitCode: 1, cause: fault });
}

/** The known word nearest to `word`, or null when none is near enough to be a slip. */
export function nearest(word: string, known: readonly string[]): string | null {
  const limit = Math.max(1, Math.floor(word.length / 3));
  let best: string | null = null;
  let bestDistance = limit + 1;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best ?? known.find((candidate) => word.length >= 3 && candidate.startsWith(word)) ?? null;
}

/** Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(replaced, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length] ?? 0;
}
