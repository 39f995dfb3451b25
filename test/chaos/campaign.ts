// A campaign: a cluster of real processes under load, in rounds. In a round fault phases and quiet phases alternate; at its
// end everything is healed, everybody is asked for what is there, and the whole record of the round is judged and dropped,
// so that memory stays bounded however long the campaign runs. The cluster lives on from round to round.

import type { Etcd3 } from 'etcd3';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { prefixRange, type KeyValue } from '../../core/client.js';
import { connect } from '../../core/wire/remote-client.js';
import { Cluster, type ClusterOptions } from './cluster.js';
import { usableFaults, type Fault } from './faults.js';
import { Follower } from './follower.js';
import { etcd3Of, foreignRead } from './foreign-client.js';
import { judgeRound } from './judge.js';
import { ELECTION_MS, untilHealthy, type Member } from './members.js';
import { pause } from './pause.js';
import { Pace, Recorder } from './recorder.js';
import { Worker } from './workload.js';

/** A leader must stand again within this time once a majority can talk. */
export const LEADER_BOUND_MS = 3 * ELECTION_MS + 1000;
const ALL_HEALTHY_MS = 30_000;
const WORKERS_PER_MEMBER = 2;

export interface CampaignOptions extends ClusterOptions {
  readonly minutes: number;
  readonly diskReason: string | null;
  readonly roundMs: number;
  /** A fault lasts up to so long; then there is quiet for `quietMs`. */
  readonly holdMs: number;
  readonly quietMs: number;
  /** Draw only from faults whose name contains this. */
  readonly only?: string;
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
  readonly leaders: number;
  readonly highestTerm: number;
  readonly links: Readonly<Record<string, number>>;
  readonly notTested: readonly { name: string; reason: string }[];
  readonly keptIn: string | null;
}

interface Seat {
  readonly member: Member;
  readonly id: bigint;
  readonly clients: readonly Etcd3[];
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
    const drawn = usable.filter((fault) => fault.name.includes(this.#options.only ?? ''));
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
    const keep = this.#violations.length > 0;
    if (keep) say(this.#cluster.lastWords());
    await this.#cluster.close({ keep });
    for (const client of this.#seats.flatMap((seat) => seat.clients)) client.close();
    return this.#report(performance.now() - startedAt, notTested, keep ? this.#cluster.directory : null);
  }

  async #sit(): Promise<void> {
    const { members } = this.#cluster;
    const sick = await untilHealthy(members, ALL_HEALTHY_MS);
    if (sick.length > 0) throw new Error(`${sick.join(', ')} did not begin to serve\n${this.#cluster.lastWords()}`);
    for (const member of members) {
      const status = await this.#cluster.client(member).maintenance.status({ deadline: Date.now() + 5000 });
      const clients = Array.from({ length: WORKERS_PER_MEMBER + 1 }, () => etcd3Of(member.place.clientUrl));
      this.#seats.push({ member, id: BigInt(status.header.member_id), clients });
    }
  }

  /** The revision from which the next round counts. */
  async #round(baseBefore: number, endAt: number, faults: readonly Fault[]): Promise<number> {
    const round = ++this.#rounds;
    const prefix = `r${round}/`;
    const base = baseBefore > 0 ? baseBefore : await this.#revision();
    const recorder = new Recorder(this.#pace);
    const followers = [0, 1].map((which) => this.#follower(which, recorder, base));
    for (const follower of followers) follower.start();
    let isOver = false;
    const workers = this.#workers(prefix, round, recorder).map((worker) => worker.run(() => isOver));
    await this.#storm(endAt, faults, round);
    const sick = await untilHealthy(this.#cluster.members, ALL_HEALTHY_MS);
    if (sick.length > 0) {
      this.#violations.push(`stuck: ${sick.join(', ')} did not serve ${ALL_HEALTHY_MS} ms after everything was healed`);
    }
    isOver = true;
    await Promise.all(workers);
    const final = sick.length > 0 ? new Map<string, readonly KeyValue[]>() : await this.#final(prefix, recorder, followers);
    await Promise.all(followers.map((follower) => follower.stop()));
    this.#violations.push(...followers.flatMap((follower) => follower.violations), ...this.#cluster.findings());
    const verdict = judgeRound(recorder, final);
    this.#lost += verdict.lost;
    this.#acknowledgedWrites += verdict.acknowledgedWrites;
    this.#violations.push(...verdict.violations.map((text) => `round ${round}: ${text}`));
    this.#options.say(
      `round ${round} judged: ${verdict.operations} operations, ${verdict.acknowledgedWrites} acknowledged writes, ` +
        `${verdict.lost} lost, ${verdict.violations.length} violations`,
    );
    return this.#violations.length > 0 ? 0 : this.#clear(prefix);
  }

  async #revision(): Promise<number> {
    const [seat] = this.#seats;
    if (seat === undefined) throw new Error('a cluster has members');
    return (await foreignRead(this.#cluster.client(seat.member), { key: utf8('x') }, 5000)).header.revision;
  }

  #follower(which: number, recorder: Recorder, base: number): Follower {
    const clients = this.#seats.flatMap((seat) => seat.clients.slice(WORKERS_PER_MEMBER));
    return new Follower({
      name: `watch${which}`, clients, recorder, isMain: which === 0, startRevision: base + 1, firstClient: which,
    });
  }

  #workers(prefix: string, round: number, recorder: Recorder): Worker[] {
    const trustsErrors = this.#options.target === 'coterie';
    return this.#seats.flatMap(({ member, id, clients }, seat) =>
      clients.slice(0, WORKERS_PER_MEMBER).map((client, i) => {
        const seed = this.#options.seed * 7919 + round * 101 + seat * 11 + i;
        return new Worker(`${member.name}${'ab'[i] ?? 'c'}`, prefix, seed, { client, member: id, recorder, trustsErrors });
      }),
    );
  }

  /** Fault phases and quiet phases until the time is over; healed at the end. */
  async #storm(endAt: number, faults: readonly Fault[], round: number): Promise<void> {
    const { holdMs, quietMs, say } = this.#options;
    await this.#rest(Math.min(quietMs, 3000), 0);
    while (performance.now() < endAt && this.#cluster.findings().length === 0) {
      const chosen = this.#draw(faults);
      const names = chosen.map((fault) => fault.name).join(' + ');
      const operationsBefore = this.#pace.operations;
      const lastsMs = Math.ceil(holdMs * 0.3) + this.#dice.below(holdMs);
      await Promise.all(chosen.map((fault) => fault.run(this.#cluster, this.#dice, lastsMs)));
      await this.#cluster.healAll();
      const isLed = await this.#cluster.monitor.untilLed(LEADER_BOUND_MS * 4);
      if (!isLed) this.#violations.push(`no leader ${LEADER_BOUND_MS * 4} ms after ${names} was healed`);
      const outage = this.#cluster.monitor.outagesMs.at(-1) ?? 0;
      await this.#rest(quietMs, LEADER_BOUND_MS);
      say(
        `round ${round}  ${names.padEnd(32)} last outage ${Math.round(outage)} ms, ` +
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
    if (first === undefined) throw new Error(`no fault is called like ${this.#options.only}`);
    const fits = (fault: Fault): boolean => fault.sort !== first.sort && fault.sort !== 'disk' && first.sort !== 'disk';
    const second = this.#dice.below(5) === 0 ? this.#deck.findLast(fits) : undefined;
    if (second !== undefined) this.#deck.splice(this.#deck.lastIndexOf(second), 1);
    const chosen = second === undefined ? [first] : [first, second];
    for (const { name } of chosen) this.#faults.set(name, (this.#faults.get(name) ?? 0) + 1);
    return chosen;
  }

  /** What every member shows in the end; the watches must get there, and all members must hold the same. */
  async #final(prefix: string, recorder: Recorder, followers: readonly Follower[]): Promise<Map<string, readonly KeyValue[]>> {
    const final = new Map<string, readonly KeyValue[]>();
    let revision = 0;
    for (const { member, id } of this.#seats) {
      const request = prefixRange(utf8(prefix));
      const call = (): ReturnType<typeof foreignRead> => foreignRead(this.#cluster.client(member), request, 5000);
      const who = { client: `final ${member.name}`, member: id };
      const answer = await recorder.run(who, { kind: 'range', request }, call, (error) => {
        throw error;
      });
      if (answer === null) throw new Error('a failed final read throws');
      revision = answer.header.revision;
      final.set(member.name, answer.kvs);
    }
    for (const follower of followers) {
      if (!(await follower.reach(revision, 10_000))) {
        this.#violations.push(`a watch saw revision ${follower.seen} ten seconds after revision ${revision} was read`);
      }
    }
    await this.#compareHashes(revision);
    return final;
  }

  async #compareHashes(revision: number): Promise<void> {
    const hashes = await Promise.all(this.#seats.map(async ({ member }) => {
      // etcd3 carries definitions older than this call.
      const client = connect(member.place.clientUrl);
      try {
        return `${member.name} ${(await client.hash(revision, { timeoutMs: 5000 })).hash}`;
      } finally {
        await client.close();
      }
    }));
    const distinct = new Set(hashes.map((line) => line.split(' ')[1]));
    if (distinct.size > 1) this.#violations.push(`members differ at revision ${revision}: ${hashes.join(', ')}`);
  }

  /** Removes the round's keys and its history. */
  async #clear(prefix: string): Promise<number> {
    const [seat] = this.#seats;
    if (seat === undefined) throw new Error('a cluster has members');
    const { kv } = this.#cluster.client(seat.member);
    const { key, rangeEnd } = prefixRange(utf8(prefix));
    const options = { deadline: Date.now() + 10_000 };
    const deleted = await kv.deleteRange({ key: Buffer.from(key), range_end: Buffer.from(rangeEnd) }, options);
    await kv.compact({ revision: deleted.header.revision }, options);
    return Number(deleted.header.revision);
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
      leaders: monitor.leaders.length, highestTerm: monitor.highestTerm, links: { ...links.counts },
      notTested: [...notTested, ...neverTried.map(({ name }) => ({ name, reason: 'the campaign was too short' }))], keptIn,
    };
  }
}
