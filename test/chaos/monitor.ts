// Watches from outside whether the cluster is led: asks every member for its status a few times a second and measures how
// long it takes until a leader stands again, whenever one could. "Led" means: some running member says that it leads, and
// with it a majority, each of which it can talk to in both directions, says the same in the same term; or a linearizable
// read, asked after the last change of the world, was answered, for members that start talk to each other sooner than to
// clients. The clock of an outage starts when such a majority exists at all (its processes started so far that they listen
// for each other), so a fault that leaves none is not held against the cluster, and the time after its end is.

import type { Etcd3 } from 'etcd3';
import { pause } from './pause.js';

const POLL_MS = 60;
const ANSWER_MS = 400;

export interface Watched {
  readonly name: string;
  readonly client: Etcd3;
  isUp(): boolean;
}

interface Saying {
  readonly id: string;
  readonly leader: string;
  readonly term: number;
  readonly atMs: number;
}

export class Monitor {
  /** How long each outage lasted, in the order they ended. */
  readonly outagesMs: number[] = [];
  readonly leaders: string[] = [];
  highestTerm = 0;
  #members: readonly Watched[] = [];
  readonly #isLinked: (a: string, b: string) => boolean;
  readonly #sayings = new Map<string, Saying>();
  #leader: string | null = null;
  #changedAt = 0;
  /** When the last linearizable read that succeeded was asked. */
  #provenAt = -Infinity;
  #outageSince: number | null = null;
  #isStopped = false;
  #running: Promise<unknown> | null = null;

  constructor(isLinked: (a: string, b: string) => boolean) {
    this.#isLinked = isLinked;
  }

  setMembers(members: readonly Watched[]): void {
    this.#members = members;
  }

  /** Name of the member that leads, or null. */
  get leader(): string | null {
    return this.#leader;
  }

  /** The outage that lasts now, in ms; 0: none. */
  get outageMs(): number {
    return this.#outageSince === null ? 0 : performance.now() - this.#outageSince;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** Until a leader stands; false when the time is over. */
  async untilLed(timeoutMs: number): Promise<boolean> {
    const endAt = performance.now() + timeoutMs;
    this.judge();
    while (this.#leader === null && performance.now() < endAt) await pause(20);
    return this.#leader !== null;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const turn = pause(POLL_MS);
      for (const member of this.#members) {
        void this.#ask(member);
        if (this.#outageSince !== null || this.#provenAt > this.#changedAt) void this.#prove(member);
      }
      await turn;
      this.judge();
    }
  }

  readonly #asking = new Set<string>();

  async #ask(member: Watched): Promise<void> {
    if (this.#asking.has(member.name) || !member.isUp()) return;
    this.#asking.add(member.name);
    try {
      const answer = await member.client.maintenance.status({ deadline: Date.now() + ANSWER_MS });
      const term = Number(answer.header.raft_term);
      this.highestTerm = Math.max(this.highestTerm, term);
      this.#sayings.set(member.name, { id: answer.header.member_id, leader: answer.leader, term, atMs: performance.now() });
    } catch {
      this.#sayings.delete(member.name);
    } finally {
      this.#asking.delete(member.name);
    }
  }

  readonly #proving = new Set<string>();

  async #prove(member: Watched): Promise<void> {
    if (this.#proving.has(member.name) || !member.isUp()) return;
    this.#proving.add(member.name);
    const askedAt = performance.now();
    const request = member.client.kv.range({ key: Buffer.from('x') }, { deadline: Date.now() + ANSWER_MS });
    // A failure proves nothing; another member, or the next turn, may.
    const isAnswered = await request.then(() => true, () => false);
    if (isAnswered) this.#provenAt = Math.max(this.#provenAt, askedAt);
    this.#proving.delete(member.name);
  }

  get #isProven(): boolean {
    return this.#provenAt > this.#changedAt && performance.now() - this.#provenAt < 2 * ANSWER_MS;
  }

  /** The world has changed: an outage starts when its cause does. */
  changed(): void {
    this.#changedAt = performance.now();
    this.judge();
  }

  judge(): void {
    const up = this.#members.filter((member) => member.isUp());
    const majority = Math.floor(this.#members.length / 2) + 1;
    const talk = (a: Watched, b: Watched): boolean =>
      a === b || (this.#isLinked(a.name, b.name) && this.#isLinked(b.name, a.name));
    const party = (centre: Watched): Watched[] => up.filter((other) => talk(centre, other));
    const claims = (member: Watched): boolean => {
      const saying = this.#fresh(member);
      return saying !== null && saying.leader === saying.id;
    };
    const agreed = up.find((member) => this.#isLedBy(member, party(member), majority));
    const leads = agreed ?? (this.#isProven ? up.findLast(claims) : undefined);
    if (leads !== undefined) {
      if (this.#outageSince !== null) this.outagesMs.push(performance.now() - this.#outageSince);
      this.#outageSince = null;
      if (this.#leader !== leads.name) this.leaders.push(leads.name);
      this.#leader = leads.name;
      return;
    }
    this.#leader = null;
    const isElectable = up.some((member) => party(member).length >= majority);
    if (!isElectable) this.#outageSince = null;
    else this.#outageSince ??= performance.now();
  }

  #isLedBy(member: Watched, party: readonly Watched[], majority: number): boolean {
    const own = this.#fresh(member);
    if (own === null || own.leader !== own.id) return false;
    const agreeing = party.filter((other) => {
      const saying = this.#fresh(other);
      return saying !== null && saying.leader === own.id && saying.term === own.term;
    });
    return agreeing.length >= majority;
  }

  #fresh(member: Watched): Saying | null {
    const saying = this.#sayings.get(member.name);
    return saying !== undefined && performance.now() - saying.atMs < 2 * ANSWER_MS ? saying : null;
  }

  /** A member that has ended says nothing any more, whatever it said a moment ago. */
  forget(name: string): void {
    this.#sayings.delete(name);
  }
}
