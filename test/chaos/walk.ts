// The membership walk: one member grows to three and to five and shrinks back to one, under load and with crashes on the
// way. New members come as learners and are promoted; leaders hand over once a second for a while; leaders remove
// themselves. Every step has a bound in which it must be done: nobody may be stuck, and in the end nothing may be lost.

import { Prng } from '../../core/base/prng.js';
import type { Admin } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { connect } from '../../core/wire/remote-client.js';
import { Cluster, type ClusterOptions } from './cluster.js';
import type { RoundVerdict } from './judge.js';
import { currentRevision, leaveSeat, Load, takeSeat, type Seat } from './load.js';
import { untilHealthy, type Member } from './members.js';
import { pause } from './pause.js';
import { Pace } from './recorder.js';

/** A step is refused for a while for good reasons: a member not caught up, a cluster not seen healthy for long enough. */
const STEP_MS = 30_000;
const RETRY_MS = 200;
/** The step of the walk that a reader asks for. */
export const LEADER_LEAVES = 'the leader removes itself';

export interface WalkOptions extends ClusterOptions {
  /** Sizes to visit, one after the other; the first is where the cluster starts. */
  readonly sizes: readonly number[];
  /** A leader transfer each second, for so long, at the largest size. */
  readonly transferSeconds: number;
  say(line: string): void;
}

export interface WalkReport {
  readonly verdict: RoundVerdict | null;
  readonly transfers: number;
  readonly transfersRefused: number;
  readonly steps: readonly { readonly name: string; readonly ms: number }[];
  readonly crashes: number;
  readonly violations: readonly string[];
  readonly keptIn: string | null;
}

export class Walk {
  readonly #options: WalkOptions;
  readonly #cluster: Cluster;
  readonly #load: Load;
  readonly #seats: Seat[];
  readonly #dice: Prng;
  readonly #steps: { name: string; ms: number }[] = [];
  #transfers = 0;
  #transfersRefused = 0;
  #crashes = 0;
  #removals = 0;

  private constructor(options: WalkOptions, cluster: Cluster, load: Load, seats: Seat[]) {
    this.#options = options;
    this.#cluster = cluster;
    this.#load = load;
    this.#seats = seats;
    this.#dice = new Prng(options.seed);
  }

  static async run(options: WalkOptions): Promise<WalkReport> {
    const cluster = await Cluster.start(options);
    let walk: Walk | null = null;
    let verdict: RoundVerdict | null = null;
    const violations: string[] = [];
    try {
      walk = await Walk.#begin(options, cluster);
      verdict = await walk.#go();
      violations.push(...verdict.violations, ...cluster.findings());
    } catch (error) {
      violations.push(`the walk could not go on: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    if (walk !== null) await walk.#end();
    const keep = violations.length > 0;
    if (keep) options.say(cluster.lastWords());
    await cluster.close({ keep });
    const counts = walk === null ? { transfers: 0, transfersRefused: 0, steps: [], crashes: 0 } : walk.#counts();
    return { ...counts, verdict, violations, keptIn: keep ? cluster.directory : null };
  }

  static async #begin(options: WalkOptions, cluster: Cluster): Promise<Walk> {
    const sick = await untilHealthy(cluster.members, STEP_MS);
    if (sick.length > 0) throw new Error(`${sick.join(', ')} did not begin to serve`);
    const seats: Seat[] = [];
    for (const member of cluster.members) seats.push(await takeSeat(member));
    const [first] = seats;
    if (first === undefined) throw new Error('a walk starts with a member');
    const load = new Load({
      prefix: 'walk/',
      seed: options.seed,
      pace: new Pace(),
      trustsErrors: options.target === 'coterie',
      baseRevision: await currentRevision(first),
    }, seats);
    return new Walk(options, cluster, load, seats);
  }

  async #end(): Promise<void> {
    await this.#load.abort();
    for (const seat of this.#seats) leaveSeat(seat);
  }

  #counts(): Pick<WalkReport, 'transfers' | 'transfersRefused' | 'steps' | 'crashes'> {
    return {
      transfers: this.#transfers, transfersRefused: this.#transfersRefused, steps: this.#steps, crashes: this.#crashes,
    };
  }

  async #go(): Promise<RoundVerdict> {
    const largest = Math.max(...this.#options.sizes);
    for (const size of this.#options.sizes) {
      while (this.#seats.length < size) await this.#grow();
      while (this.#seats.length > size) await this.#shrink();
      this.#options.say(`${size} members`);
      if (size > 1) await this.#crash();
      if (size === largest) await this.#transferForAWhile();
    }
    return this.#load.finish();
  }

  /** Runs `action` again until it is not refused any more, within the bound of a step. */
  async #step<T>(name: string, action: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    for (;;) {
      try {
        const result = await action();
        const ms = Math.round(performance.now() - startedAt);
        this.#steps.push({ name, ms });
        this.#options.say(`  ${name}: ${ms} ms`);
        return result;
      } catch (error) {
        if (!isApiError(error)) throw error;
        if (performance.now() - startedAt > STEP_MS) throw new Error(`stuck: ${name}: ${error.message}`, { cause: error });
        await pause(RETRY_MS);
      }
    }
  }

  /** Asks one member, which passes the request on to whoever leads. */
  async #ask<T>(member: Member, question: (admin: Admin) => Promise<T>): Promise<T> {
    const client = connect(member.place.clientUrl);
    try {
      return await question(client);
    } finally {
      await client.close();
    }
  }

  #someone(): Seat {
    const seat = this.#seats[this.#dice.below(this.#seats.length)];
    if (seat === undefined) throw new Error('a cluster has members');
    return seat;
  }

  async #leader(): Promise<Seat> {
    const startedAt = performance.now();
    for (;;) {
      const name = this.#cluster.monitor.leader;
      const seat = this.#seats.find(({ member }) => member.name === name);
      if (seat !== undefined) return seat;
      if (performance.now() - startedAt > STEP_MS) throw new Error(`stuck: no leader for ${STEP_MS} ms`);
      await pause(20);
    }
  }

  /** A learner joins, catches up and is promoted. */
  async #grow(): Promise<void> {
    let id = 0n;
    const member = await this.#cluster.join(async (peerUrl) => {
      const added = await this.#step('add a learner', async () => {
        const { members } = await this.#ask(this.#someone().member, (admin) => admin.members());
        const known = members.find((other) => other.peerUrls.includes(peerUrl));
        // The first try may have been obeyed without our hearing of it.
        if (known !== undefined) return known.id;
        const request = { peerUrls: [peerUrl], isLearner: true };
        return (await this.#ask(this.#someone().member, (admin) => admin.addMember(request))).member.id;
      });
      id = added;
    });
    await this.#step(`promote ${member.name}`, async () => {
      const { members } = await this.#ask(this.#someone().member, (admin) => admin.members());
      if (members.some((other) => other.id === id && !other.isLearner)) return;
      await this.#ask(this.#someone().member, (admin) => admin.promoteMember(id));
    });
    await this.#untilServing([member]);
    const seat = await takeSeat(member);
    this.#seats.push(seat);
    this.#load.add(seat);
  }

  /** Every other time it is the leader that goes, and that is asked to remove itself. */
  async #shrink(): Promise<void> {
    const leader = await this.#leader();
    const leaves = this.#removals++ % 2 === 0 ? leader : this.#someone();
    leaves.member.mayEnd();
    await this.#step(leaves === leader ? LEADER_LEAVES : `remove ${leaves.member.name}`, async () => {
      const asked = leaves === leader ? leader : this.#someone();
      const { members } = await this.#ask(this.#other(leaves).member, (admin) => admin.members());
      if (members.every((other) => other.id !== leaves.id)) return;
      await this.#ask(asked.member, (admin) => admin.removeMember(leaves.id));
    });
    this.#seats.splice(this.#seats.indexOf(leaves), 1);
    this.#load.remove(leaves);
    await pause(300);
    await this.#cluster.dismiss(leaves.member);
    await this.#untilServing(this.#cluster.members);
    leaveSeat(leaves);
  }

  #other(seat: Seat): Seat {
    const other = this.#seats.find((one) => one !== seat);
    if (other === undefined) throw new Error('the last member cannot be removed');
    return other;
  }

  async #crash(): Promise<void> {
    const { member } = this.#someone();
    this.#crashes++;
    await this.#cluster.kill([member]);
    await pause(this.#dice.below(400));
    this.#cluster.start([member]);
    await this.#untilServing([member]);
  }

  async #untilServing(members: readonly Member[]): Promise<void> {
    const sick = await untilHealthy(members, STEP_MS);
    if (sick.length > 0) throw new Error(`stuck: ${sick.join(', ')} did not serve within ${STEP_MS} ms`);
  }

  async #transferForAWhile(): Promise<void> {
    const endAt = performance.now() + this.#options.transferSeconds * 1000;
    while (performance.now() < endAt) {
      const second = pause(1000);
      const leader = await this.#leader();
      const to = this.#other(leader);
      try {
        await this.#ask(leader.member, (admin) => admin.moveLeader(to.id, { timeoutMs: 3000 }));
        this.#transfers++;
      } catch (error) {
        if (!isApiError(error)) throw error;
        this.#transfersRefused++;
        this.#options.say(`  transfer to ${to.member.name}: ${error.message}`);
      }
      await second;
    }
  }
}
