// A random world for the bare machine: messages lost, doubled and out of order, disks that answer late, members that crash
// with some of their writes lost and come back, pauses, partitions; meanwhile members are added, promoted, demoted and
// removed, leadership is handed over, stores are snapshotted and shipped. The watchman (cluster.ts) checks every output.
// At the end the world is healed: it must get a leader, commit, bring everybody up to date, and then be quiet.

import { Prng } from '../../../core/base/prng.js';
import { decodeMembers } from '../../../core/raft/members.js';
import type { Input, MemberChange, Message, NodeId } from '../../../core/raft/types.js';
import { Cluster, newestConfiguration, type Member } from './cluster.js';

const EVENTS = 2500;
const MEMBERS_MAX = 9;
const IN_FLIGHT_MAX = 200;
const HEALING_ROUNDS_MAX = 600;
const QUIET_ROUNDS = 60;
const NO_CHANGE: MemberChange = { voters: [], learners: [], removed: [], context: new Uint8Array(0) };

export class World {
  readonly cluster: Cluster;
  readonly #prng: Prng;
  readonly #lossPercent: number;
  readonly #copyPercent: number;
  readonly #crashPercent: number;
  readonly #stormPercent: number;
  readonly #splitPercent: number;
  readonly #changePercent: number;
  readonly #transferPercent: number;
  readonly #snapshotPercent: number;
  /** Messages between this set and the others are lost. */
  #apart = new Set<NodeId>();
  #token = 0;
  #lastId: NodeId;
  #known = new Set<NodeId>();

  constructor(seed: number) {
    const prng = new Prng(seed);
    this.#prng = prng;
    const draw = (...values: readonly number[]): number => values[prng.below(values.length)] ?? 0;
    const size = draw(1, 2, 3, 3, 3, 4, 5, 5);
    this.#lossPercent = draw(0, 5, 30);
    this.#copyPercent = draw(0, 8, 30);
    this.#crashPercent = draw(0, 1, 4);
    this.#stormPercent = draw(0, 1, 4, 10);
    this.#splitPercent = draw(0, 1, 3);
    this.#changePercent = draw(0, 1, 4, 10);
    this.#transferPercent = draw(0, 1, 4);
    this.#snapshotPercent = draw(0, 2, 8);
    const voters = Array.from({ length: size }, (_, i) => BigInt(i + 1));
    const settings = { appendBytesMax: draw(1, 10, 1000), catchUpEntries: draw(0, 2, 20), uncommittedMax: draw(4, 1000) };
    this.#lastId = BigInt(size);
    this.cluster = Cluster.founded(voters, settings);
  }

  run(): void {
    for (let i = 0; i < EVENTS; i++) {
      this.#event();
      if (i % 100 === 0) this.cluster.checkLogMatching();
    }
    this.#heal();
    this.cluster.checkLogMatching();
    this.#rest();
  }

  #chance(percent: number): boolean {
    return this.#prng.below(100) < percent;
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list[this.#prng.below(Math.max(1, list.length))];
  }

  #everybody(): readonly Member[] {
    return [...this.cluster.members.values()];
  }

  #event(): void {
    const { cluster } = this;
    const member = this.#pick(this.#everybody());
    if (member === undefined) return;
    const { id } = member;
    if (member.raft === null && this.#chance(20)) return cluster.restart(id);
    if (this.#chance(this.#crashPercent)) return this.#crash(member);
    if (this.#chance(this.#stormPercent)) return this.#pause(id);
    if (this.#chance(this.#splitPercent)) return this.#split();
    if (this.#chance(this.#changePercent)) return this.#change(cluster.leader() ?? member);
    if (this.#chance(this.#transferPercent)) return this.#transfer(cluster.leader() ?? member);
    if (this.#chance(this.#snapshotPercent)) return cluster.snapshot(id);
    const dice = this.#prng.below(100);
    if (dice < 55) for (let i = this.#prng.below(5); i >= 0; i--) this.#deliverSome();
    else if (dice < 72) void cluster.persist(id, 1 + this.#prng.below(3));
    else if (dice < 85) cluster.step(id, [{ kind: 'tick' }]);
    else if (dice < 94) this.#call(cluster.leader() ?? member);
    else if (dice < 96) this.#call(member);
    else if (dice < 98 && member.raft === null) cluster.restart(id);
    else if (dice < 99) cluster.step(id, [{ kind: 'unreachable', peer: this.#pick(this.#everybody())?.id ?? 1n }]);
  }

  #crash(member: Member): void {
    if (member.raft === null) this.cluster.restart(member.id);
    else this.cluster.crash(member.id, this.#prng.below(member.flights.length + 1));
  }

  /** Long enough for this member's election time-out; often the others have heard of no leader either. */
  #pause(id: NodeId): void {
    if (this.#chance(70)) {
      for (const other of this.#everybody()) if (other.id !== id) this.cluster.step(other.id, ticks(9));
    }
    this.cluster.step(id, ticks(20));
  }

  #split(): void {
    this.#apart = new Set(this.#everybody().map(({ id }) => id).filter(() => this.#chance(40)));
    for (const { id, raft } of this.#everybody()) {
      if (raft?.status().state === 'leader') this.cluster.step(id, [{ kind: 'read', token: ++this.#token }]);
    }
  }

  #call(member: Member): void {
    const token = ++this.#token;
    const data = Buffer.from(`${token}`);
    this.cluster.step(member.id, this.#chance(33) ? [{ kind: 'read', token }] : [{ kind: 'propose', token, data }]);
  }

  #transfer(member: Member): void {
    this.cluster.step(member.id, [{ kind: 'transfer', to: this.#pick(this.#everybody())?.id ?? 1n }]);
  }

  #change(member: Member): void {
    this.#known = new Set(this.cluster.members.keys());
    const change = this.#wish(member);
    const input: Input = { kind: 'propose_members', token: ++this.#token, change };
    const settled = this.cluster.step(member.id, [input])?.settled ?? [];
    // Nobody starts a member whose addition was refused.
    if (settled.some(({ kind }) => kind === 'appended')) return;
    for (const id of [...change.voters, ...change.learners]) if (!this.#known.has(id)) this.cluster.members.delete(id);
  }

  #wish(member: Member): MemberChange {
    const { voters, learners } = newestConfiguration(member);
    const voter = this.#pick(voters) ?? 1n;
    const learner = this.#pick(learners);
    switch (this.#prng.below(8)) {
      case 0: return { ...NO_CHANGE, learners: this.#fresh(1) };
      case 1: return { ...NO_CHANGE, voters: this.#fresh(1) };
      case 2: return { ...NO_CHANGE, voters: this.#fresh(2) };
      case 3: return { ...NO_CHANGE, voters: this.#fresh(1), removed: [voter] };
      case 4: return { ...NO_CHANGE, voters: learners.slice(0, 2) };
      case 5: return { ...NO_CHANGE, voters: learner === undefined ? [] : [learner], learners: [voter] };
      case 6: return { ...NO_CHANGE, removed: learner === undefined ? [voter] : [voter, learner] };
      default: return { ...NO_CHANGE, removed: [voter] };
    }
  }

  /** Members that nobody has heard of; an id is used once. */
  #fresh(count: number): readonly NodeId[] {
    const ids: NodeId[] = [];
    while (ids.length < count && this.cluster.members.size < MEMBERS_MAX) {
      const id = ++this.#lastId;
      this.cluster.join(id);
      ids.push(id);
    }
    return ids;
  }

  #deliverSome(): void {
    const { messages } = this.cluster;
    if (messages.length === 0) return;
    // Mostly the oldest, so that a conversation gets anywhere; sometimes any.
    const i = this.#chance(25) ? this.#prng.below(messages.length) : 0;
    const message = messages[i];
    if (message === undefined) return;
    if (!this.#chance(this.#copyPercent)) messages.splice(i, 1);
    const isCut = this.#apart.has(message.from) !== this.#apart.has(message.to);
    this.#carry(message, !isCut && !this.#chance(this.#lossPercent));
    if (messages.length > IN_FLIGHT_MAX) for (const lost of messages.splice(0, IN_FLIGHT_MAX / 2)) this.#carry(lost, false);
  }

  /** Whoever ships a snapshot is told how that went, rightly or not: the last acknowledgement may be lost. */
  #carry(message: Message, arrives: boolean): void {
    const output = arrives ? this.cluster.deliver(message) : null;
    if (message.kind === 'snapshot') this.cluster.snapshotSent(message, output !== null && !this.#chance(20));
  }

  #heal(): void {
    for (const member of this.#everybody()) if (member.raft === null) this.cluster.restart(member.id);
    const data = Buffer.from('healed');
    for (let round = 0; round < HEALING_ROUNDS_MAX; round++) {
      this.#round();
      const leader = this.cluster.leader();
      if (leader !== null && round % 20 === 10) this.cluster.step(leader.id, [{ kind: 'propose', token: ++this.#token, data }]);
      const index = [...this.cluster.committed.values()].find((entry) => Buffer.compare(entry.data, data) === 0)?.index;
      if (leader !== null && index !== undefined && this.#isSettled(leader, index)) return;
    }
    throw new Error('a healed cluster makes no progress');
  }

  /** Everybody the leader sends to has applied `index` and goes by a configuration that is committed and not joint. */
  #isSettled(leader: Member, index: number): boolean {
    const { voters, outgoing, learners } = newestConfiguration(leader);
    const change = leader.memory.findLast(({ kind }) => kind === 'members');
    const least = Math.max(index, change?.index ?? 0);
    const isDecided = change === undefined || decodeMembers(change.data).configuration.outgoing.length === 0;
    if (outgoing.length > 0 || !isDecided || !voters.includes(leader.id)) return false;
    return [...voters, ...learners].every((id) => this.cluster.member(id).applied >= least);
  }

  /** Nobody disturbs a cluster that is well, those who were removed included. */
  #rest(): void {
    const leader = this.cluster.leader();
    const term = leader?.raft?.status().term;
    for (let i = 0; i < QUIET_ROUNDS; i++) this.#round();
    const now = this.cluster.leader();
    const nowTerm = now?.raft?.status().term;
    if (now?.id === leader?.id && nowTerm === term) return;
    throw new Error(`a healed cluster does not come to rest: ${leader?.id} led term ${term}, ${now?.id} leads ${nowTerm}`);
  }

  #round(): void {
    for (const { id } of this.#everybody()) this.cluster.step(id, [{ kind: 'tick' }]);
    for (let i = 0; i < 4; i++) {
      for (const { id } of this.#everybody()) this.cluster.persist(id, 10);
      for (const message of this.cluster.messages.splice(0)) {
        this.cluster.deliver(message);
        if (message.kind === 'snapshot') this.cluster.snapshotSent(message, true);
      }
    }
  }
}

function ticks(count: number): readonly Input[] {
  return Array.from({ length: count }, () => ({ kind: 'tick' }));
}
