// Three real members for a whole test file, behind whatever links its tests put before them. Tests run side by
// side on them, each with names of its own; what happens to a member happens to all of them, and takes turns: whoever asks
// for a kill meanwhile shares the next one, and there is always a majority.

import { setTimeout as sleep } from 'node:timers/promises';
import type { TestFn } from 'ava';
import { ProcessCluster, type MemberProcess, type Program } from '../interop/cluster-processes.js';
import type { Place } from './homes.js';
import { leaderOf } from './leader-of.js';

/** Two elections, a client's change of members, and a busy machine. */
const TTL_SECONDS = 12;
/** For clients to find the new leader before it is killed as well. */
const REST_MS = 1_500;

export class ThreeMembers implements Place {
  readonly name = 'three members';
  readonly program: Program;
  readonly ttlSeconds = TTL_SECONDS;
  readonly #cluster: ProcessCluster;
  #turn: Promise<unknown> = Promise.resolve();
  #nextKill: Promise<void> | null = null;
  kills = 0;

  private constructor(cluster: ProcessCluster) {
    this.program = cluster.program;
    this.#cluster = cluster;
  }

  static async start(program: Program = 'coterie'): Promise<ThreeMembers> {
    const cluster = new ProcessCluster(program, `three-${process.pid}-${Math.round(performance.now())}`);
    try {
      await cluster.start(['a', 'b', 'c']);
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return new ThreeMembers(cluster);
  }

  get ports(): readonly number[] {
    return this.#cluster.members.map(({ url }) => Number(new URL(url).port));
  }

  get members(): readonly MemberProcess[] {
    return this.#cluster.members;
  }

  /** The leader is killed: resolves when another one leads, before the dead one is started again. */
  trouble(): Promise<void> {
    this.#nextKill ??= new Promise((resolve, reject) => {
      this.calm(() => this.#kill(resolve)).catch(reject);
    });
    return this.#nextKill;
  }

  calm<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async leader(): Promise<MemberProcess> {
    return this.#cluster.member(await leaderOf(this.#cluster));
  }

  /** Now, without waiting for anything, for a test whose loop is about to stand still; `revive` is due afterwards. */
  killNow(member: MemberProcess): void {
    process.kill(member.pid, 'SIGKILL');
    this.kills += 1;
  }

  async revive(member: MemberProcess): Promise<void> {
    await member.ended;
    member.launch(this.#cluster.foundingFlags);
    await member.ready();
    await sleep(REST_MS);
  }

  async close(): Promise<void> {
    // A kill under way starts its member again.
    await this.#turn;
    await this.#cluster.close();
  }

  async #kill(followed: () => void): Promise<void> {
    const leader = await this.leader();
    // Whoever asks from here on has not seen this one.
    this.#nextKill = null;
    this.killNow(leader);
    await leader.ended;
    await this.leader();
    followed();
    await this.revive(leader);
  }
}

/** One cluster for all tests of a file. */
export function membersOfFile(test: TestFn): () => ThreeMembers {
  let members: ThreeMembers | null = null;
  // Before hooks that are not serial: those may use the members.
  test.serial.before(async (t) => {
    t.timeout(120_000);
    members = await ThreeMembers.start();
  });
  test.after.always(async () => {
    await members?.close();
  });
  return () => {
    if (members === null) throw new Error('the members have not been started');
    return members;
  };
}
