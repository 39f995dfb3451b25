// Members of a cluster around the bare machine: a disk that answers when told to, a bag of messages that somebody
// delivers, loses or doubles, and a watchman who sees every output and objects to what Raft forbids (Raft figure 3), with
// the promises of this machine besides: nothing leaves before what it depends on is durable.

import { Raft } from '../../../core/raft/raft.js';
import { NO_SNAPSHOT } from '../../../core/log/log-storage.js';
import type {
  Entry, EntryId, HardState, Index, Input, Message, NodeId, Output, Persist, RaftConfig, SnapshotMeta, Term,
} from '../../../core/raft/types.js';

export interface Disk {
  hard: HardState;
  snapshot: SnapshotMeta;
  entries: Entry[];
}

export interface Member {
  readonly id: NodeId;
  readonly disk: Disk;
  /** null: crashed. */
  raft: Raft | null;
  /** Given to the disk, not durable yet. */
  flights: Persist[];
  /** The log as the machine has it in memory. */
  memory: Entry[];
  applied: Index;
}

export class Cluster {
  readonly members = new Map<NodeId, Member>();
  messages: Message[] = [];
  /** Every entry that was applied anywhere. */
  readonly committed = new Map<Index, Entry>();
  committedLast: Index = 0;
  readonly #ids: readonly NodeId[];
  readonly #settings: Partial<RaftConfig>;
  readonly #leaders = new Map<Term, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  readonly #reads = new Map<number, Index>();
  #starts = 0;

  constructor(ids: readonly NodeId[], settings: Partial<RaftConfig> = {}) {
    this.#ids = ids;
    this.#settings = settings;
    for (const id of ids) {
      const disk = { hard: { term: 0, vote: 0n, commit: 0 }, snapshot: NO_SNAPSHOT, entries: [] };
      this.members.set(id, { id, disk, raft: null, flights: [], memory: [], applied: 0 });
      this.restart(id);
    }
  }

  member(id: NodeId): Member {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`there is no member ${id}`);
    return member;
  }

  /** What the disk was given is lost, save its first `kept` batches. */
  crash(id: NodeId, kept = 0): void {
    const member = this.member(id);
    for (const batch of member.flights.slice(0, kept)) writeTo(member.disk, batch);
    member.flights = [];
    member.raft = null;
  }

  restart(id: NodeId): void {
    const member = this.member(id);
    const { hard, snapshot, entries } = member.disk;
    this.#starts++;
    const config: RaftConfig = {
      id, voters: this.#ids, electionTicks: 10, heartbeatTicks: 2, seed: Number(id) * 1000 + this.#starts,
      appendBytesMax: 1024, uncommittedMax: 1000, catchUpEntries: 0, ...this.#settings,
    };
    member.raft = new Raft(config, { hard, snapshot, entries: entries.slice() });
    member.memory = entries.slice();
    member.applied = snapshot.index;
  }

  step(id: NodeId, inputs: readonly Input[]): Output | null {
    const member = this.member(id);
    if (member.raft === null) return null;
    for (const input of inputs) if (input.kind === 'read') this.#reads.set(input.token, this.committedLast);
    const output = member.raft.step(inputs);
    this.#watch(member, output);
    if (output.persist !== null) member.flights.push(output.persist);
    this.messages.push(...output.send);
    return output;
  }

  /** The oldest `count` batches become durable; the machine hears of the last, which stands for all. */
  persist(id: NodeId, count = 1): Output | null {
    const member = this.member(id);
    const batches = member.flights.splice(0, count);
    for (const batch of batches) writeTo(member.disk, batch);
    const last = batches.at(-1);
    return last === undefined ? null : this.step(id, [{ kind: 'persisted', seq: last.seq }]);
  }

  deliver(message: Message): Output | null {
    return this.step(message.to, [{ kind: 'receive', message }]);
  }

  /** The store of `id` is saved at its applied index; the log before it goes, in memory and on disk. */
  snapshot(id: NodeId, index: Index): void {
    const member = this.member(id);
    const entry = member.disk.entries.find((each) => each.index === index);
    if (member.raft === null || entry === undefined || index > member.applied) return;
    const snapshot = { term: entry.term, index, configuration: member.raft.status().configuration };
    member.disk.snapshot = snapshot;
    member.disk.entries = member.disk.entries.filter((each) => each.index > index);
    this.step(id, [{ kind: 'snapshotted', snapshot }]);
  }

  leader(): Member | null {
    const leading = [...this.members.values()].filter(({ raft }) => raft?.status().state === 'leader');
    const termOf = (member: Member): Term => member.raft?.status().term ?? 0;
    return leading.sort((a, b) => termOf(b) - termOf(a))[0] ?? null;
  }

  /** Raft §5.3, Log Matching: logs that agree on one slot agree on everything before it. */
  checkLogMatching(): void {
    const logs = [...this.members.values()].map(({ memory }) => memory);
    for (const a of logs) for (const b of logs) if (a !== b) checkPair(a, b);
  }

  #watch(member: Member, output: Output): void {
    const { persist, role } = output;
    if (persist !== null) cutAndExtend(member.memory, persist);
    if (role?.state === 'leader') this.#watchLeader(member, role.term);
    for (const entry of output.apply) this.#watchApply(member, entry);
    for (const message of output.send) this.#watchSend(member, message);
    for (const settled of output.settled) {
      if (settled.kind !== 'readable') continue;
      const least = this.#reads.get(settled.token) ?? 0;
      must(settled.index >= least, `member ${member.id} answers a read at ${settled.index}; ${least} was committed before it`);
    }
    const status = member.raft?.status();
    if (status === undefined) return;
    const last = member.memory.at(-1)?.index ?? member.disk.snapshot.index;
    must(status.applied <= status.commit && status.commit <= status.last, `member ${member.id}: applied <= commit <= last`);
    must(status.last === last, `member ${member.id} says its log ends at ${status.last}; it was given entries up to ${last}`);
  }

  #watchLeader(member: Member, term: Term): void {
    const known = this.#leaders.get(term);
    must(known === undefined || known === member.id, `Election Safety: ${known} and ${member.id} both lead term ${term}`);
    this.#leaders.set(term, member.id);
    for (const entry of this.committed.values()) {
      const held = entry.index <= member.disk.snapshot.index || holds(member.memory, entry);
      must(held, `Leader Completeness: ${member.id} leads term ${term} without committed entry ${show(entry)}`);
    }
  }

  #watchApply(member: Member, entry: Entry): void {
    must(entry.index === member.applied + 1, `member ${member.id} applies ${entry.index} after ${member.applied}`);
    member.applied = entry.index;
    must(holds(member.disk.entries, entry), `member ${member.id} applies ${show(entry)} before it is on its disk`);
    const known = this.committed.get(entry.index);
    if (known !== undefined) {
      const same = known.term === entry.term && Buffer.compare(known.data, entry.data) === 0;
      return must(same, `State Machine Safety: ${member.id} applies ${show(entry)} where another applied ${show(known)}`);
    }
    const owners = [...this.members.values()].filter(({ disk }) => holds(disk.entries, entry)).length;
    must(owners * 2 > this.members.size, `${show(entry)} counts as committed but only ${owners} disks hold it`);
    this.committed.set(entry.index, entry);
    this.committedLast = Math.max(this.committedLast, entry.index);
  }

  #watchSend(member: Member, message: Message): void {
    const { disk, id } = member;
    const isPromise = (message.kind === 'vote' || message.kind === 'vote_reply') && message.pre;
    must(isPromise || message.term <= disk.hard.term, `member ${id} speaks of term ${message.term} before it is on its disk`);
    if (message.kind === 'vote_reply' && message.granted && !message.pre) {
      must(disk.hard.term > message.term || disk.hard.vote === message.to, `member ${id} grants a vote that is not on its disk`);
      const ballot = `${id}/${message.term}`;
      const earlier = this.#votes.get(ballot) ?? message.to;
      must(earlier === message.to, `member ${id} votes for ${earlier} and for ${message.to} in term ${message.term}`);
      this.#votes.set(ballot, message.to);
    }
    if (message.kind === 'append_reply' && message.ok) {
      const last = disk.entries.at(-1)?.index ?? disk.snapshot.index;
      must(message.index <= last, `member ${id} acknowledges ${message.index}; its disk ends at ${last}`);
    }
  }
}

function writeTo(disk: Disk, batch: Persist): void {
  if (batch.hard !== null) disk.hard = batch.hard;
  cutAndExtend(disk.entries, batch);
}

function cutAndExtend(entries: Entry[], batch: Persist): void {
  const { truncateAfter } = batch;
  if (truncateAfter !== null) while ((entries.at(-1)?.index ?? 0) > truncateAfter) entries.pop();
  const [first] = batch.entries;
  const last = entries.at(-1);
  if (first !== undefined && last !== undefined) {
    must(first.index === last.index + 1, `the disk is given ${show(first)} after ${show(last)}`);
  }
  entries.push(...batch.entries);
}

function holds(entries: readonly Entry[], id: EntryId): boolean {
  const [first] = entries;
  if (first === undefined) return false;
  if (id.index < first.index) return true;
  return entries[id.index - first.index]?.term === id.term;
}

function checkPair(a: readonly Entry[], b: readonly Entry[]): void {
  const byIndex = new Map(b.map((entry) => [entry.index, entry]));
  const agreed = a.findLastIndex((entry) => byIndex.get(entry.index)?.term === entry.term);
  for (const entry of a.slice(0, agreed + 1)) {
    const other = byIndex.get(entry.index);
    must(other === undefined || other.term === entry.term, `Log Matching: ${show(entry)} differs below an equal entry`);
  }
}

export function show(id: EntryId): string {
  return `${id.index}@${id.term}`;
}

function must(condition: boolean, claim: string): void {
  if (!condition) throw new Error(claim);
}
