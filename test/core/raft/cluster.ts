// Members of a cluster around the bare machine: a disk that answers when told to, a bag of messages that somebody
// delivers, loses or doubles, and a watchman who sees every output and objects to what Raft forbids (Raft figure 3), with
// the promises of this machine besides: nothing leaves before what it depends on is durable.

import { Raft } from '../../../core/raft/raft.js';
import { decodeMembers, encodeMembers } from '../../../core/raft/members.js';
import { NO_SNAPSHOT } from '../../../core/log/log-storage.js';
import type {
  Configuration, Entry, EntryId, HardState, Index, Input, Message, NodeId, Output, Persist, RaftConfig, SnapshotMeta, Term,
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
  /** The log as the machine has it in memory, or has had it: what a snapshot covers stays here. */
  memory: Entry[];
  /** Where `memory` begins: before the first entry, or behind a snapshot that was installed. */
  base: SnapshotMeta;
  applied: Index;
  /** As of `applied`. */
  configuration: Configuration;
  /** Before any entry: whom it was told of when it was made. */
  readonly founding: Configuration;
}

export class Cluster {
  readonly members = new Map<NodeId, Member>();
  messages: Message[] = [];
  /** Every entry that was applied anywhere. */
  readonly committed = new Map<Index, Entry>();
  committedLast: Index = 0;
  /** Snapshots that took the place of a log. */
  restores = 0;
  readonly #settings: Partial<RaftConfig>;
  readonly #leaders = new Map<Term, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  readonly #reads = new Map<number, Index>();
  #starts = 0;

  /** Members that are told of each other when they are made. */
  constructor(voters: readonly NodeId[], settings: Partial<RaftConfig> = {}) {
    this.#settings = settings;
    for (const id of voters) this.join(id, { voters, outgoing: [], learners: [] });
  }

  /** Members that start from a common first entry, as those of a real cluster do. */
  static founded(voters: readonly NodeId[], settings: Partial<RaftConfig>): Cluster {
    const cluster = new Cluster([], settings);
    const data = encodeMembers({ voters, outgoing: [], learners: [] }, new Uint8Array(0));
    for (const id of voters) {
      cluster.join(id);
      const { disk } = cluster.member(id);
      disk.hard = { term: 1, vote: 0n, commit: 1 };
      disk.entries = [{ kind: 'members', term: 1, index: 1, data }];
      cluster.restart(id);
    }
    return cluster;
  }

  /** A member with an empty disk. One that joins a running cluster is told nothing of it. */
  join(id: NodeId, configuration: Configuration = NO_SNAPSHOT.configuration): void {
    const disk = { hard: { term: 0, vote: 0n, commit: 0 }, snapshot: NO_SNAPSHOT, entries: [] };
    this.members.set(id, {
      id, disk, raft: null, flights: [], memory: [], base: NO_SNAPSHOT, applied: 0, configuration, founding: configuration,
    });
    this.restart(id);
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
    const kept = entries.filter((entry) => entry.index > snapshot.index);
    this.#starts++;
    const config: RaftConfig = {
      id, voters: member.founding.voters, electionTicks: 10, heartbeatTicks: 2, seed: Number(id) * 1000 + this.#starts,
      appendBytesMax: 1024, uncommittedMax: 1000, catchUpEntries: 0, catchUpBytes: Infinity, applyBytesMax: Infinity,
      ...this.#settings,
    };
    member.raft = new Raft(config, { hard, snapshot, entries: kept });
    member.memory = kept.slice();
    member.base = snapshot;
    member.applied = snapshot.index;
    member.configuration = snapshot.index === 0 ? member.founding : snapshot.configuration;
  }

  step(id: NodeId, inputs: readonly Input[]): Output | null {
    const member = this.members.get(id);
    if (member === undefined || member.raft === null) return null;
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

  /** A snapshot arrives whole or not at all. Its sender hears of that by `snapshotSent`. */
  deliver(message: Message): Output | null {
    return this.step(message.to, [{ kind: 'receive', message }]);
  }

  snapshotSent(message: Message, ok: boolean): Output | null {
    return this.step(message.from, [{ kind: 'snapshot_sent', to: message.to, ok }]);
  }

  /** The store of `id` is saved as it is, and the log before it may go. */
  snapshot(id: NodeId): void {
    const member = this.member(id);
    const { applied: index, disk, configuration } = member;
    const entry = member.memory.find((each) => each.index === index);
    // A disk that installs a snapshot has nothing to save before it has done so.
    if (member.raft === null || entry === undefined || index <= disk.snapshot.index) return;
    const snapshot = { term: entry.term, index, configuration };
    disk.snapshot = snapshot;
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
    const { persist, role, restore } = output;
    if (persist !== null) {
      if (persist.snapshot !== null) [member.memory, member.base] = [[], persist.snapshot];
      cutAndExtend(member.memory, member.base.index, persist);
    }
    if (role?.state === 'leader') this.#watchLeader(member, role.term);
    const now = member.raft?.status();
    if (now?.state === 'leader') this.#watchCommit(member, now.commit);
    if (restore !== null) this.#watchRestore(member, restore);
    for (const entry of output.apply) this.#watchApply(member, entry);
    for (const message of output.send) this.#watchSend(member, message);
    for (const settled of output.settled) {
      if (settled.kind !== 'readable') continue;
      const least = this.#reads.get(settled.token) ?? 0;
      must(settled.index >= least, `member ${member.id} answers a read at ${settled.index}; ${least} was committed before it`);
    }
    const status = member.raft?.status();
    if (status === undefined) return;
    const last = member.memory.at(-1)?.index ?? member.base.index;
    must(status.applied <= status.commit && status.commit <= status.last, `member ${member.id}: applied <= commit <= last`);
    must(status.last === last, `member ${member.id} says its log ends at ${status.last}; it was given entries up to ${last}`);
    const [said, inForce] = [status.configuration.voters.join(' '), newestConfiguration(member).voters.join(' ')];
    must(said === inForce, `member ${member.id} goes by the voters ${said}; its log says ${inForce}`);
  }

  #watchLeader(member: Member, term: Term): void {
    const known = this.#leaders.get(term);
    must(known === undefined || known === member.id, `Election Safety: ${known} and ${member.id} both lead term ${term}`);
    this.#leaders.set(term, member.id);
    for (const entry of this.committed.values()) {
      const held = entry.index <= member.base.index || holds(member.memory, entry);
      must(held, `Leader Completeness: ${member.id} leads term ${term} without committed entry ${show(entry)}`);
    }
  }

  /** A leader counts by the newest configuration in its own log, committed or not (Raft §6). */
  #watchCommit(member: Member, commit: Index): void {
    const entry = member.memory.find(({ index }) => index === commit);
    if (entry === undefined || this.committed.has(commit)) return;
    const owners = [...this.members.values()].filter(({ disk }) => commit <= disk.snapshot.index || holds(disk.entries, entry));
    const ids = owners.map(({ id }) => id);
    // Who votes alone commits alone that others join: nobody can win without that entry.
    const before = configurationsFrom(member, commit - 1).slice(0, 1);
    const isAlone = ({ voters, outgoing }: Configuration): boolean => voters.length === 1 && outgoing.length === 0;
    const alone = entry.kind === 'members' ? before.filter(isAlone) : [];
    must([...configurationsFrom(member, commit), ...alone].some((each) => isQuorum(each, ids)),
      `member ${member.id} calls ${show(entry)} committed but only the disks of ${ids.join(' ')} hold it`);
  }

  #watchRestore(member: Member, snapshot: SnapshotMeta): void {
    const { id, applied, disk } = member;
    must(snapshot.index > applied, `member ${id} goes back from ${applied} to ${snapshot.index}`);
    must(disk.snapshot === snapshot, `member ${id} restores ${show(snapshot)} before it is on its disk`);
    const isCommitted = this.committed.get(snapshot.index)?.term === snapshot.term;
    must(isCommitted, `member ${id} restores ${show(snapshot)}, which nobody applied`);
    member.applied = snapshot.index;
    member.configuration = snapshot.configuration;
    this.restores++;
  }

  #watchApply(member: Member, entry: Entry): void {
    must(entry.index === member.applied + 1, `member ${member.id} applies ${entry.index} after ${member.applied}`);
    member.applied = entry.index;
    if (entry.kind === 'members') member.configuration = decodeMembers(entry.data).configuration;
    must(holds(member.disk.entries, entry), `member ${member.id} applies ${show(entry)} before it is on its disk`);
    const known = this.committed.get(entry.index);
    if (known !== undefined) {
      const same = known.term === entry.term && Buffer.compare(known.data, entry.data) === 0;
      return must(same, `State Machine Safety: ${member.id} applies ${show(entry)} where another applied ${show(known)}`);
    }
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
    if (message.kind === 'append_reply' && message.ok) this.#watchAnswer(member, message.to, message.term, message.index);
    if (message.kind === 'snapshot') {
      const known = this.committed.get(message.snapshot.index);
      must(known?.term === message.snapshot.term, `member ${id} ships ${show(message.snapshot)}, which nobody applied`);
    }
  }

  /** What is acknowledged is on the disk, and it is what the leader of that term has there. */
  #watchAnswer({ id, disk }: Member, to: NodeId, term: Term, index: Index): void {
    const last = disk.entries.at(-1)?.index ?? disk.snapshot.index;
    must(index <= Math.max(last, disk.snapshot.index), `member ${id} acknowledges ${index}; its disk ends at ${last}`);
    const leader = this.members.get(to);
    if (leader?.raft?.status().term !== term || this.#leaders.get(term) !== to) return;
    const own = disk.entries.find((entry) => entry.index === index);
    const theirs = leader.memory.find((entry) => entry.index === index);
    const differ = own !== undefined && theirs !== undefined && own.term !== theirs.term && index > disk.snapshot.index;
    must(!differ, `member ${id} acknowledges ${index} of term ${theirs?.term}; its disk has term ${own?.term} there`);
  }
}

/** The configuration the log of `member` says is in force. */
export function newestConfiguration(member: Member): Configuration {
  return configurationsFrom(member, Infinity)[0] ?? member.configuration;
}

/** Those in force in the log of `member` for the entry at `index`, and those that came after. */
function configurationsFrom(member: Member, index: Index): readonly Configuration[] {
  const steps = member.memory.filter(({ kind }) => kind === 'members');
  const later = steps.filter((entry) => entry.index > index).map((entry) => decodeMembers(entry.data).configuration);
  const inForce = steps.findLast((entry) => entry.index <= index);
  if (inForce !== undefined) return [decodeMembers(inForce.data).configuration, ...later];
  return [member.base.index > 0 ? member.base.configuration : member.founding, ...later];
}

function isQuorum({ voters, outgoing }: Configuration, ids: readonly NodeId[]): boolean {
  return [voters, outgoing].every((set) => set.length === 0 || set.filter((id) => ids.includes(id)).length * 2 > set.length);
}

function writeTo(disk: Disk, batch: Persist): void {
  if (batch.hard !== null) disk.hard = batch.hard;
  if (batch.snapshot !== null) [disk.entries, disk.snapshot] = [[], batch.snapshot];
  cutAndExtend(disk.entries, disk.snapshot.index, batch);
}

function cutAndExtend(entries: Entry[], base: Index, batch: Persist): void {
  const { truncateAfter } = batch;
  if (truncateAfter !== null) while ((entries.at(-1)?.index ?? 0) > truncateAfter) entries.pop();
  const [first] = batch.entries;
  const last = entries.at(-1)?.index ?? base;
  if (first !== undefined) must(first.index === last + 1, `the disk is given ${show(first)} after entry ${last}`);
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
