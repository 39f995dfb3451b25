// Counts of durations in buckets that grow with them, in the manner of HDR histograms: whole microseconds up to 255, above that
// 128 buckets for each doubling, so that a quantile is never more than 0.8 % above what was recorded, from a microsecond to more
// than an hour, in a few kilobytes and without an allocation for each value.

const EXACT_BITS = 8;
const EXACT = 1 << EXACT_BITS;
const PER_DOUBLING = EXACT / 2;
const MICROS_MAX = 2 ** 32 - 1;
const BUCKETS = EXACT + (32 - EXACT_BITS) * PER_DOUBLING;

export interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  /** Below zero counts as zero; above an hour and eleven minutes as that. */
  record(micros: number): void {
    const value = Math.min(MICROS_MAX, Math.max(0, Math.round(micros)));
    const bucket = bucketOf(value);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#count += 1;
    if (value > this.#max) this.#max = value;
  }

  /** The least value that at least so many of all do not exceed, rounded up to the end of its bucket; nothing recorded: NaN. */
  quantile(at: number): number {
    if (this.#count === 0) return NaN;
    const wanted = Math.max(1, Math.ceil(at * this.#count));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket] ?? 0;
      if (seen >= wanted) return Math.min(this.#max, endOf(bucket));
    }
    return this.#max;
  }

  quantiles(): Quantiles {
    const at = (share: number): number => this.quantile(share);
    return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) };
  }
}

function bucketOf(value: number): number {
  if (value < EXACT) return value;
  const doublings = 32 - Math.clz32(value) - EXACT_BITS;
  return EXACT + (doublings - 1) * PER_DOUBLING + Math.floor(value / 2 ** doublings) - PER_DOUBLING;
}

/** The greatest value that falls into it. */
function endOf(bucket: number): number {
  if (bucket < EXACT) return bucket;
  const doublings = Math.floor((bucket - EXACT) / PER_DOUBLING) + 1;
  const place = ((bucket - EXACT) % PER_DOUBLING) + PER_DOUBLING;
  return (place + 1) * 2 ** doublings - 1;
}
