// Sums over many seeds: how much was simulated, how fast, what was met, what failed.

import type { Verdict } from './run.js';

export class Tally {
  seeds = 0;
  /** Workers that ended without an answer. */
  lost = 0;
  readonly failures: Verdict[] = [];
  readonly #coverage = new Map<string, { seeds: number; times: number }>();
  readonly #counts = new Map<string, number>();
  readonly #recoveries: number[] = [];
  #simulatedMs = 0;
  #busyMs = 0;
  #events = 0;
  #operations = 0;
  #acknowledged = 0;
  #slowest = { seed: 0, tookMs: 0 };

  add(verdict: Verdict, tookMs: number): void {
    this.seeds++;
    this.#simulatedMs += verdict.simulatedMs;
    this.#busyMs += tookMs;
    this.#events += verdict.events;
    this.#operations += verdict.operations;
    this.#acknowledged += verdict.acknowledged;
    if (tookMs > this.#slowest.tookMs) this.#slowest = { seed: verdict.seed, tookMs };
    if (verdict.violation !== null) this.failures.push(verdict);
    if (verdict.recoveryMs !== null) this.#recoveries.push(verdict.recoveryMs);
    for (const [name, times] of Object.entries(verdict.coverage)) {
      const row = this.#coverage.get(name) ?? { seeds: 0, times: 0 };
      this.#coverage.set(name, { seeds: row.seeds + 1, times: row.times + times });
    }
    for (const [name, times] of Object.entries(verdict.counts)) {
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + times);
    }
  }

  /** One line, while it runs. */
  line(): string {
    const rate = this.#busyMs === 0 ? 0 : this.#simulatedMs / this.#busyMs;
    return `${this.seeds} seeds, ${hours(this.#simulatedMs)} simulated, ${rate.toFixed(0)} s/s a core, `
      + `${this.#operations} operations, ${this.failures.length} broken`;
  }

  summary(wallSeconds: number): string {
    const lines: string[] = [];
    if (this.seeds > 1) {
      lines.push('', 'met in how many seeds, and how often:');
      for (const [name, { seeds, times }] of [...this.#coverage].sort(([a], [b]) => (a < b ? -1 : 1))) {
        lines.push(`  ${name.padEnd(64)} ${String(seeds).padStart(6)} ${String(times).padStart(9)}`);
      }
      const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
      lines.push('', `in all: ${counts.map(([name, times]) => `${name} ${Math.round(times)}`).join(', ')}`);
    }
    const busy = this.#busyMs / 1000;
    const recoveries = this.#recoveries.sort((a, b) => a - b);
    const at = (share: number): string => ((recoveries[Math.floor(recoveries.length * share)] ?? 0) / 1000).toFixed(1);
    lines.push(
      '',
      `${this.seeds} seeds, ${this.failures.length} broken${this.lost > 0 ? `, ${this.lost} workers lost` : ''}; `
        + `${hours(this.#simulatedMs)} simulated in ${wallSeconds.toFixed(0)} s`,
      `${(this.#simulatedMs / 1000 / busy).toFixed(0)} simulated seconds a second and core, `
        + `${(this.#events / busy / 1000).toFixed(0)} k events/s; ${this.#operations} operations, `
        + `${this.#acknowledged} acknowledged`,
      `recovery p50 ${at(0.5)} s, p99 ${at(0.99)} s; `
        + `slowest seed ${this.#slowest.seed}: ${(this.#slowest.tookMs / 1000).toFixed(1)} s`,
    );
    const kinds = new Map<string, number[]>();
    for (const { violation, seed } of this.failures) {
      const name = violation?.invariant ?? '';
      kinds.set(name, [...(kinds.get(name) ?? []), seed]);
    }
    for (const [name, seeds] of kinds) lines.push(`broken ${name}: ${seeds.map((seed) => `--seed ${seed}`).join('  ')}`);
    return `${lines.join('\n')}\n`;
  }
}

function hours(ms: number): string {
  return ms < 3_600_000 ? `${(ms / 60_000).toFixed(1)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}
