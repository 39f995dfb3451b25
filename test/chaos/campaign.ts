// A campaign: a cluster of real processes under load, in rounds. In a round fault phases and quiet phases alternate; at its
// end everything is healed, everybody is asked for what is there, and the whole record of the round is judged and dropped,
// so that memory stays bounded however long the campaign runs. The cluster lives on from round to round.

import { Prng } from '../../core/base/prng.js';
import { Cluster, type ClusterOptions } from './cluster.js';
import { usableFaults, type Fault } from './faults.js';
import { currentRevision, leaveSeat, Load, takeSeat, type Seat } from './load.js';
import { ELECTION_MS, untilHealthy } from './members.js';
import { pause } from './pause.js';
import { Pace } from './recorder.js';

/** A leader must stand again within this time once a majority can talk. */
export const LEADER_BOUND_MS = 3 * ELECTION_MS + 1000;
const ALL_HEALTHY_MS = 30_000;

export interface CampaignOptions extends ClusterOptions {
  readonly minutes: number;
  readonly diskReason: string | null;
  readonly roundMs: number;
  /** A fault lasts up to so long; then there is quiet for `quietMs`. */
  readonly holdMs: number;
  readonly quietMs: number;
  /** Draw only from faults whose name contains one of these. */
  readonly only?: readonly string[];
  /** Logs and data stay there in any case; else only when something was violated. */
  readonly isKept?: boolean;
  say(line: string): void;
}

export interface Report {
  readonly target: string;
  readonly members: number;
  readonly seed: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly operations: number;
  readonly acknowledgedWrites: number;
  readonly lost: number;
  readonly violations: readonly string[];
  readonly faults: Readonly<Record<string, number>>;
  readonly failures: Readonly<Record<string, number>>;
  readonly quietSeconds: number;
  readonly quietSecondsWithProgress: number;
  readonly outages: number;
  readonly leaderMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** The longest outages, by the fault that caused them. */
  readonly slowest: Readonly<Record<string, number>>;
  readonly leaders: number;
  readonly highestTerm: number;
  readonly links: Readonly<Record<string, number>>;
  readonly notTested: readonly { name: string; reason: string }[];
  readonly keptIn: string | null;
}

export class Campaign {
  readonly #options: CampaignOptions;
  readonly #cluster: Cluster;
  readonly #dice: Prng;
  readonly #pace = new Pace();
  readonly #violations: string[] = [];
  readonly #faults = new Map<string, number>();
  /** Spans of the clock in which no fault was active and none had ended within the bound for a new leader. */
  readonly #quiet: { readonly fromMs: number; readonly toMs: number }[] = [];
  readonly #seats: Seat[] = [];
  readonly #slowest = new Map<string, number>();
  #deck: Fault[] = [];
  #lost = 0;
  #acknowledgedWrites = 0;
  #rounds = 0;

  private constructor(options: CampaignOptions, cluster: Cluster) {
    this.#options = options;
    this.#cluster = cluster;
    this.#dice = new Prng(options.seed);
  }

  static async run(options: CampaignOptions): Promise<Report> {
    const campaign = new Campaign(options, await Cluster.start(options));
    return campaign.#run();
  }

  async #run(): Promise<Report> {
    const startedAt = performance.now();
    const { say, minutes, target, members } = this.#options;
    const endAt = startedAt + minutes * 60_000;
    const { usable, notTested } = usableFaults(this.#cluster, this.#options.diskReason);
    const drawn = usable.filter((fault) => this.#options.only?.some((part) => fault.name.includes(part)) ?? true);
    for (const { name, reason } of notTested) say(`not tested: ${name} (${reason})`);
    try {
      await this.#sit();
      say(`${members} members of ${target} run; data and logs in ${this.#cluster.directory}`);
      let base = 0;
      while (performance.now() < endAt && this.#violations.length === 0) {
        base = await this.#round(base, Math.min(endAt, performance.now() + this.#options.roundMs), drawn);
      }
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#violations.push(`the campaign could not go on: ${what}`);
    }
    const keep = this.#violations.length > 0 || this.#options.isKept === true;
    for (const violation of this.#violations) say(`VIOLATED: ${violation}`);
    if (this.#violations.length > 0) say(this.#cluster.lastWords());
    await this.#cluster.close({ keep });
    for (const seat of this.#seats) leaveSeat(seat);
    return this.#report(performance.now() - startedAt, notTested, keep ? this.#cluster.directory : null);
  }

  async #sit(): Promise<void> {
    const { members, monitor } = this.#cluster;
    const sick = await untilHealthy(members, ALL_HEALTHY_MS);
    if (sick.length > 0) throw new Error(`${sick.join(', ')} did not begin to serve\n${this.#cluster.lastWords()}`);
    for (const member of members) this.#seats.push(await takeSeat(member));
    // The first election is no recovery.
    await monitor.untilLed(LEADER_BOUND_MS);
    monitor.outagesMs.length = 0;
  }

  /** The revision after which the next round counts. */
  async #round(baseBefore: number, endAt: number, faults: readonly Fault[]): Promise<number> {
    const number = ++this.#rounds;
    const [seat] = this.#seats;
    if (seat === undefined) throw new Error('a cluster has members');
    const load = new Load({
      prefix: `r${number}/`,
      seed: this.#options.seed + number * 1009,
      pace: this.#pace,
      trustsErrors: this.#options.target === 'coterie',
      baseRevision: baseBefore > 0 ? baseBefore : await currentRevision(seat),
    }, this.#seats);
    try {
      await this.#storm(endAt, faults, number);
      const sick = await untilHealthy(this.#cluster.members, ALL_HEALTHY_MS);
      this.#violations.push(...this.#cluster.findings());
      if (sick.length > 0) throw new Error(`stuck: ${sick.join(', ')} did not serve ${ALL_HEALTHY_MS} ms after all was healed`);
      const verdict = await load.finish();
      this.#lost += verdict.lost;
      this.#acknowledgedWrites += verdict.acknowledgedWrites;
      this.#violations.push(...verdict.violations.map((text) => `round ${number}: ${text}`));
      this.#options.say(
        `round ${number} judged in ${verdict.judgedInMs} ms: ${verdict.operations} operations, ` +
          `${verdict.acknowledgedWrites} acknowledged writes, ${verdict.lost} lost, ${verdict.violations.length} violations`,
      );
      return await load.clear();
    } finally {
      await load.abort();
    }
  }

  /** Fault phases and quiet phases until the time is over; healed at the end. */
  async #storm(endAt: number, faults: readonly Fault[], round: number): Promise<void> {
    const { holdMs, quietMs, say } = this.#options;
    await this.#rest(Math.min(quietMs, 3000), 0);
    while (performance.now() < endAt && this.#cluster.findings().length === 0) {
      const chosen = this.#draw(faults);
      const names = chosen.map((fault) => fault.name).join(' + ');
      const operationsBefore = this.#pace.operations;
      const outagesBefore = this.#cluster.monitor.outagesMs.length;
      const lastsMs = Math.ceil(holdMs * 0.3) + this.#dice.below(holdMs);
      await Promise.all(chosen.map((fault) => fault.run(this.#cluster, this.#dice, lastsMs)));
      await this.#cluster.healAll();
      const isLed = await this.#cluster.monitor.untilLed(LEADER_BOUND_MS * 4);
      if (!isLed) this.#violations.push(`no leader ${LEADER_BOUND_MS * 4} ms after ${names} was healed`);
      await this.#rest(quietMs, LEADER_BOUND_MS);
      const outages = this.#cluster.monitor.outagesMs.slice(outagesBefore).map(Math.round);
      this.#slowest.set(names, Math.max(this.#slowest.get(names) ?? 0, ...outages));
      say(
        `round ${round}  ${names.padEnd(32)} no leader for ${outages.join(' and ') || 0} ms, ` +
          `term ${this.#cluster.monitor.highestTerm}, ${this.#pace.operations - operationsBefore} operations, ` +
          `${this.#pace.operations} in all, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`,
      );
    }
  }

  /** Quiet; it counts as free of faults once `afterMs` have passed. */
  async #rest(ms: number, afterMs: number): Promise<void> {
    const fromMs = performance.now() + afterMs;
    await pause(ms);
    if (performance.now() > fromMs) this.#quiet.push({ fromMs, toMs: performance.now() });
  }

  /** One fault, sometimes a second one of another sort; all come up before one comes again. */
  #draw(faults: readonly Fault[]): Fault[] {
    if (this.#deck.length === 0) {
      const rest = [...faults];
      while (rest.length > 0) this.#deck.push(...rest.splice(this.#dice.below(rest.length), 1));
    }
    const first = this.#deck.pop();
    if (first === undefined) throw new Error(`no fault that can be tested here is called ${this.#options.only?.join(' or ')}`);
    const fits = (fault: Fault): boolean => fault.sort !== first.sort && fault.sort !== 'disk' && first.sort !== 'disk';
    const second = this.#dice.below(5) === 0 ? this.#deck.findLast(fits) : undefined;
    if (second !== undefined) this.#deck.splice(this.#deck.lastIndexOf(second), 1);
    const chosen = second === undefined ? [first] : [first, second];
    for (const { name } of chosen) this.#faults.set(name, (this.#faults.get(name) ?? 0) + 1);
    return chosen;
  }

  #report(ms: number, notTested: Report['notTested'], keptIn: string | null): Report {
    const { target, members, seed } = this.#options;
    const { monitor, links } = this.#cluster;
    const seconds = this.#quiet.flatMap(({ fromMs, toMs }) => {
      const first = Math.ceil(fromMs / 1000);
      const count = Math.max(0, Math.floor(toMs / 1000) - first);
      return Array.from({ length: count }, (_, i) => first + i);
    });
    const sorted = [...monitor.outagesMs].sort((a, b) => a - b);
    const at = (share: number): number =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
    const neverTried = this.#options.only === undefined ? this.#deck.filter((fault) => !this.#faults.has(fault.name)) : [];
    return {
      target, members, seed, seconds: Math.round(ms / 1000), rounds: this.#rounds, operations: this.#pace.operations,
      acknowledgedWrites: this.#acknowledgedWrites, lost: this.#lost, violations: this.#violations,
      faults: Object.fromEntries(this.#faults), failures: Object.fromEntries(this.#pace.failures),
      quietSeconds: seconds.length,
      quietSecondsWithProgress: seconds.filter((second) => (this.#pace.acknowledged[second] ?? 0) > 0).length,
      outages: sorted.length, leaderMs: { p50: at(0.5), p99: at(0.99), max: Math.round(sorted.at(-1) ?? 0) },
      slowest: Object.fromEntries([...this.#slowest].toSorted((a, b) => b[1] - a[1]).slice(0, 5)),
      leaders: monitor.leaders.length, highestTerm: monitor.highestTerm, links: { ...links.counts },
      notTested: [...notTested, ...neverTried.map(({ name }) => ({ name, reason: 'the campaign was too short' }))], keptIn,
    };
  }
}
