// Random worlds for the bare machine: messages lost, doubled and out of order, disks that answer late, members that crash
// with some of their writes lost and come back. A watchman (cluster.ts) checks every output; at the end the world is healed
// and must make progress. One seed replays one world: SEED=7 npx ava test/core/raft/safety.test.ts

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { Cluster, type Member } from './cluster.js';

const WORLDS = 3000;
const EVENTS = 900;

class World {
  readonly cluster: Cluster;
  readonly #prng: Prng;
  readonly #ids: readonly bigint[];
  readonly #lossPercent: number;
  readonly #crashPercent: number;
  readonly #stormPercent: number;
  readonly #splitPercent: number;
  /** Messages between this set and the others are lost. */
  #apart = new Set<bigint>();
  #token = 0;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    const size = this.#prng.below(2) === 0 ? 5 : 3;
    this.#ids = Array.from({ length: size }, (_, i) => BigInt(i + 1));
    this.#lossPercent = [0, 5, 30][this.#prng.below(3)] ?? 0;
    this.#crashPercent = [0, 1, 4][this.#prng.below(3)] ?? 0;
    this.#stormPercent = [0, 1, 4, 10][this.#prng.below(4)] ?? 0;
    this.#splitPercent = [0, 1, 3][this.#prng.below(3)] ?? 0;
    this.cluster = new Cluster(this.#ids, { appendBytesMax: [1, 10, 1000][this.#prng.below(3)] ?? 1 });
  }

  run(): void {
    for (let i = 0; i < EVENTS; i++) {
      this.#event();
      if (i % 100 === 0) this.cluster.checkLogMatching();
    }
    this.#heal();
    this.cluster.checkLogMatching();
  }

  #pick(): Member {
    return this.cluster.member(this.#ids[this.#prng.below(this.#ids.length)] ?? 1n);
  }

  #event(): void {
    const { cluster } = this;
    const member = this.#pick();
    const dice = this.#prng.below(100);
    if (this.#prng.below(100) < this.#crashPercent) return this.#crash(member);
    if (this.#prng.below(100) < this.#stormPercent) return this.#campaign(member);
    if (this.#prng.below(100) < this.#splitPercent) return this.#split();
    if (dice < 45) return this.#deliverSome();
    if (dice < 65) void cluster.persist(member.id, 1 + this.#prng.below(3));
    else if (dice < 80) cluster.step(member.id, [{ kind: 'tick' }]);
    else if (dice < 92) this.#call(cluster.leader() ?? member);
    else if (dice < 96) this.#call(member);
    else if (dice < 98 && member.raft === null) cluster.restart(member.id);
    else if (dice < 99) cluster.snapshot(member.id, Math.min(...[...cluster.members.values()].map(({ applied }) => applied)));
  }

  #crash(member: Member): void {
    if (member.raft === null) this.cluster.restart(member.id);
    else this.cluster.crash(member.id, this.#prng.below(member.flights.length + 1));
  }

  /** A pause long enough for this member's election time-out. */
  #campaign(member: Member): void {
    this.cluster.step(member.id, Array.from({ length: 20 }, () => ({ kind: 'tick' })));
  }

  #split(): void {
    this.#apart = new Set(this.#ids.filter(() => this.#prng.below(5) < 2));
    for (const { id, raft } of this.cluster.members.values()) {
      if (raft?.status().state === 'leader') this.cluster.step(id, [{ kind: 'read', token: ++this.#token }]);
    }
  }

  #call(member: Member): void {
    const token = ++this.#token;
    const data = Buffer.from(`${token}`);
    this.cluster.step(member.id, this.#prng.below(3) === 0 ? [{ kind: 'read', token }] : [{ kind: 'propose', token, data }]);
  }

  #deliverSome(): void {
    const { messages } = this.cluster;
    if (messages.length === 0) return;
    // Mostly the oldest, so that a conversation gets anywhere; sometimes any.
    const i = this.#prng.below(4) === 0 ? this.#prng.below(messages.length) : 0;
    const message = messages[i];
    if (message === undefined) return;
    if (this.#prng.below(100) >= 8) messages.splice(i, 1);
    const lost = this.#apart.has(message.from) !== this.#apart.has(message.to) || this.#prng.below(100) < this.#lossPercent;
    if (lost) return;
    this.cluster.deliver(message);
    if (messages.length > 400) messages.splice(0, 200);
  }

  /** Everybody up, nothing lost: within some elections a proposal must be applied everywhere. */
  #heal(): void {
    const { cluster } = this;
    for (const member of cluster.members.values()) if (member.raft === null) cluster.restart(member.id);
    const data = Buffer.from('healed');
    for (let round = 0; round < 400; round++) {
      for (const { id } of cluster.members.values()) cluster.step(id, [{ kind: 'tick' }]);
      for (let i = 0; i < 4; i++) this.#exchange();
      const leader = cluster.leader();
      if (leader !== null && round % 20 === 10) cluster.step(leader.id, [{ kind: 'propose', token: ++this.#token, data }]);
      const least = Math.min(...[...cluster.members.values()].map(({ applied }) => applied));
      if ([...cluster.committed.values()].some((entry) => entry.index <= least && Buffer.compare(entry.data, data) === 0)) return;
    }
    throw new Error('a healed cluster makes no progress');
  }

  #exchange(): void {
    const { cluster } = this;
    for (const { id } of cluster.members.values()) cluster.persist(id, 10);
    for (const message of cluster.messages.splice(0)) cluster.deliver(message);
  }
}

test('no world of losses, delays, crashes and restarts breaks the safety of Raft, and a healed one goes on', (t) => {
  const only = process.env.SEED;
  const seeds = only === undefined ? Array.from({ length: WORLDS }, (_, i) => i + 1) : [Number(only)];
  let committed = 0;
  for (const seed of seeds) {
    const world = new World(seed);
    try {
      world.run();
    } catch (error) {
      t.fail(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
      return;
    }
    committed += world.cluster.committed.size;
  }
  t.true(committed > seeds.length * 3, `only ${committed} entries were committed: these worlds test nothing`);
  t.log(`${seeds.length} worlds, ${committed} entries committed`);
});
