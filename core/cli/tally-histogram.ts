// A histogram that costs one addition for each observation and can take counts that somebody else has kept, which those of
// the library cannot. Writes itself as Prometheus' text.

export class TallyHistogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` ascend; above the last one there is one more bucket. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.#bounds.length && value > (this.#bounds[at] ?? 0)) at++;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
  }

  /** The lines of one series. */
  lines(name: string, labels: string): string {
    return seriesText(name, labels, { bounds: this.#bounds, counts: this.#counts, sum: this.#sum });
  }
}

interface Series {
  readonly bounds: readonly number[];
  /** How many fell into each bucket alone; one more than there are bounds. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/** `labels` as they stand between the braces, without a comma at the end; may be empty. */
export function seriesText(name: string, labels: string, { bounds, counts, sum }: Series): string {
  const before = labels === '' ? '' : `${labels},`;
  const braced = labels === '' ? '' : `{${labels}}`;
  let count = 0;
  const lines = counts.map((each, i) => {
    count += each;
    return `${name}_bucket{${before}le="${bounds[i] ?? '+Inf'}"} ${count}\n`;
  });
  return `${lines.join('')}${name}_sum${braced} ${sum}\n${name}_count${braced} ${count}\n`;
}

export function headText(name: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
}
