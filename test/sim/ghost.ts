// The ghost of the simulated world: it sees every member from inside at once, which no member can, and holds them to what
// Raft and the log promise (reliability.md 3.8, I1 to I17). It keeps the committed log as first observed, what each disk holds
// for certain, and every vote ever given. Causes are checked as well as consequences: a second mechanism may hide the latter.
//
// What it must not cry about: an entry that is not committed may differ from one that is, on a member that did not know it;
// a leader must have only what was committed in terms before its own; and an old message may leave late.

import { decodeMembers } from '../../core/raft/members.js';
import type { Configuration, Entry, EntryId, HardState, Message, NodeId, Persist, Resumed, SnapshotMeta,
  Status } from '../../core/raft/types.js';
import { commandIn } from '../../core/node/tag.js';
import { decodeCommand } from '../../core/store/command.js';
import type { Store } from '../../core/store/store.js';
import type { LogEntry } from '../model/history.js';
import { GhostState } from './ghost-state.js';
import { ReadRounds, type ReadMark } from './ghost-reads.js';
import { InvariantBroken, type Probe } from './probe.js';

/** A leader that nobody answers may go on for so many turns: what it hears and what it does about it are steps of one. */
const TURNS_ALONE_MAX = 4;
/** Appends that say nothing new, to one follower within a heartbeat. */
const REPEATED_MAX = 25;
/** Standing still for less is not told from being busy. */
const STANDSTILL_MS = 200;

/** A log as a list of entries after a snapshot. Nothing is dropped at its beginning but by a snapshot that replaces it. */
class GhostLog {
  base: EntryId = { term: 0, index: 0 };
  entries: Entry[] = [];
  hard: HardState = { term: 0, vote: 0n, commit: 0 };
  /** Where configurations are: ascending, the first may be the snapshot's. */
  configurations: { index: number; configuration: Configuration }[] = [];

  get last(): number {
    return this.base.index + this.entries.length;
  }

  /** Null: not here, or before what is kept. */
  termAt(index: number): number | null {
    if (index === this.base.index) return this.base.term;
    return this.entries[index - this.base.index - 1]?.term ?? null;
  }

  entryAt(index: number): Entry | null {
    return this.entries[index - this.base.index - 1] ?? null;
  }

  has(id: EntryId): boolean {
    return id.index < this.base.index || this.termAt(id.index) === id.term;
  }

  resume({ hard, snapshot, entries }: Resumed): void {
    this.hard = hard;
    this.restart(snapshot);
    for (const entry of entries) this.#push(entry);
  }

  restart(snapshot: SnapshotMeta): void {
    this.base = { term: snapshot.term, index: snapshot.index };
    this.entries = [];
    this.configurations = [{ index: snapshot.index, configuration: snapshot.configuration }];
  }

  take(batch: Persist): void {
    if (batch.hard !== null) this.hard = batch.hard;
    if (batch.truncateAfter !== null) this.cut(batch.truncateAfter);
    if (batch.snapshot !== null) this.restart(batch.snapshot);
    for (const entry of batch.entries) {
      if (entry.index <= this.last) this.cut(entry.index - 1);
      this.#push(entry);
    }
  }

  cut(after: number): void {
    this.entries.length = Math.max(0, Math.min(this.entries.length, after - this.base.index));
    this.configurations = this.configurations.filter(({ index }) => index <= after);
  }

  #push(entry: Entry): void {
    this.entries.push(entry);
    if (entry.kind === 'members') {
      this.configurations.push({ index: entry.index, configuration: decodeMembers(entry.data).configuration });
    }
  }
}

interface Member {
  readonly id: NodeId;
  /** What it was told to keep, durable or not. */
  readonly given: GhostLog;
  durable: GhostLog;
  /** What a disk held that was lost since: its word may still be on the way, or arrive at one that stood still meanwhile. */
  lost: GhostLog | null;
  /** Given, and not yet said to be durable. */
  waiting: Persist[];
  /** Candidate by term, over all its lives. */
  readonly votes: Map<number, NodeId>;
  commit: number;
  applied: number;
  term: number;
  lastDeath: 'process' | 'power' | 'wipe' | 'stop' | null;
  /** Changes of members it appended as leader: judged at the end of the turn. */
  changes: { index: number; previous: number; term: number }[];
  /** Where its newest durable snapshot ends. */
  saved: number;
  /** Turns in which it led though no majority answered it. */
  alone: number;
  turnedAt: number;
  /** What it last told each of the others as a leader, and how often that said nothing new. */
  readonly told: Map<NodeId, Told>;
}

interface Told {
  news: string;
  /** When counting began. */
  since: number;
  repeated: number;
}

/** When a leader did nothing, from its last turn to the next. */
export interface Standstill {
  readonly from: number;
  readonly to: number;
}

interface Committed {
  readonly entry: Entry;
  /** The term in which it was seen to be committed. */
  readonly term: number;
  readonly at: number;
}

export class Ghost implements Probe {
  readonly #now: () => number;
  readonly #members = new Map<NodeId, Member>();
  readonly #committed: Committed[] = [];
  readonly #leaders = new Map<number, NodeId>();
  readonly #standstills = new Map<number, Standstill[]>();
  /** One entry for each (index, term), with the term before it: Raft §5.3. */
  readonly #slots = new Map<string, { entry: Entry; before: number }>();

  readonly #reads: ReadRounds;
  readonly #state: GhostState;
  readonly #heartbeatMs: number;

  /** `heartbeatMs`: of the members; absent: how much they say is not judged. */
  constructor(now: () => number, heartbeatMs = Infinity) {
    this.#now = now;
    this.#heartbeatMs = heartbeatMs;
    this.#reads = new ReadRounds(now);
    this.#state = new GhostState((index) => this.#entryAt(index), broken);
  }

  memberStarted(id: NodeId, life: number, resumed: Resumed): void {
    const member = this.#member(id);
    if (member.lastDeath !== 'wipe') this.#recovered(member, resumed, life);
    else if (member.durable.last > (member.lost?.last ?? 0)) [member.lost, member.durable] = [member.durable, new GhostLog()];
    member.given.resume(resumed);
    member.durable.resume(resumed);
    member.waiting = [];
    member.changes = [];
    member.alone = 0;
    member.turnedAt = this.#now();
    member.saved = resumed.snapshot.index;
    member.commit = 0;
    member.applied = 0;
    member.term = resumed.hard.term;
    this.#slotsOf(member, resumed.entries);
    if (resumed.hard.vote !== 0n) this.#voted(member, resumed.hard.term, resumed.hard.vote);
    // What it wrote down as committed was so before: founders begin with the first entry.
    this.#commits(member, Math.min(resumed.hard.commit, member.given.last), null);
    this.#state.started(hex(id));
  }

  memberDied(id: NodeId, how: 'process' | 'power' | 'wipe' | 'stop'): void {
    const member = this.#members.get(id);
    if (member !== undefined) member.lastDeath = member.lastDeath === 'wipe' ? 'wipe' : how;
  }

  batchGiven(id: NodeId, batch: Persist): void {
    const member = this.#member(id);
    const { given } = member;
    const first = batch.entries[0]?.index ?? Infinity;
    const cutAfter = Math.min(batch.truncateAfter ?? Infinity, first <= given.last ? first - 1 : Infinity);
    if (cutAfter < given.last && batch.snapshot === null) {
      const term = batch.hard?.term ?? given.hard.term;
      if (this.#leaders.get(term) === id) broken('I4', `leader ${hex(id)} of term ${term} cuts its own log after ${cutAfter}`);
      if (cutAfter < member.commit)
        broken('I8', `${hex(id)} cuts its log after ${cutAfter}, though it knew ${member.commit} to be committed`);
    }
    // Judged when it is taken: until it is durable the member may learn of commits behind it.
    if (batch.snapshot !== null && batch.snapshot.index < member.commit) {
      broken('I17', `${hex(id)} takes a snapshot at ${batch.snapshot.index}, though it knew ${member.commit} to be committed`);
    }
    if (batch.hard !== null) this.#hardGiven(member, batch.hard);
    member.waiting.push(batch);
    given.take(batch);
    for (const entry of batch.entries) if (entry.kind === 'members') this.#changeGiven(member, entry);
    this.#slotsOf(member, batch.entries);
  }

  batchDurable(id: NodeId, batch: Persist, unsyncedBytes: number): void {
    const member = this.#member(id);
    const at = member.waiting.indexOf(batch);
    if (at > 0) broken('I9', `${hex(id)} says that batch ${batch.seq} is durable before the ${at} batches given earlier`);
    if (at === 0) member.waiting.shift();
    if (member.waiting.length === 0 && unsyncedBytes > 0) {
      broken('I9', `${hex(id)} says that batch ${batch.seq} is durable, but ${unsyncedBytes} bytes of its log were never synced`);
    }
    member.durable.take(batch);
    if (batch.hard !== null && batch.hard.vote !== 0n) this.#voted(member, batch.hard.term, batch.hard.vote);
  }

  sent(id: NodeId, message: Message): void {
    const member = this.#member(id);
    const { durable } = member;
    const { term } = message;
    this.#reads.sent(id, message);
    const isPre = (message.kind === 'vote' || message.kind === 'vote_reply') && message.pre;
    if (!isPre && durable.hard.term < term) {
      broken('I2', `a ${message.kind} of term ${term} leaves ${hex(id)}, whose disk knows only term ${durable.hard.term}`);
    }
    switch (message.kind) {
      case 'vote':
        if (!isPre) this.#voted(member, term, id);
        break;
      case 'vote_reply':
        if (!message.granted || isPre) break;
        this.#voted(member, term, message.to);
        if (durable.hard.term === term && durable.hard.vote !== message.to) {
          broken('I2', `${hex(id)} votes for ${hex(message.to)} in term ${term}, but its disk says ${hex(durable.hard.vote)}`);
        }
        break;
      case 'append_reply':
        // One that leaves late speaks of a log that may have changed since.
        if (message.ok && durable.hard.term === term && durable.last < message.index) {
          broken('I9', `${hex(id)} acknowledges ${message.index} in term ${term}, but its disk holds only ${durable.last}`);
        }
        if (message.ok && durable.hard.term === term) this.#acknowledged(member, message.index, term);
        break;
      case 'append':
        this.#leads(member, term);
        this.#shipped(member, message);
        this.#spoke(member, message);
        break;
      case 'snapshot':
        this.#snapshot(id, message.snapshot);
        break;
      case 'timeout_now':
        break;
    }
  }

  turned(id: NodeId, status: Status, applied: EntryId, store: Store | null = null): void {
    const member = this.#member(id);
    if (status.term < member.term) broken('I2', `${hex(id)} goes back from term ${member.term} to ${status.term}`);
    if (status.commit < member.commit) broken('I2',
      `${hex(id)} takes back what was committed: from ${member.commit} to ${status.commit}`);
    if (applied.index < member.applied) broken('I2', `${hex(id)} goes back from applied ${member.applied} to ${applied.index}`);
    if (status.commit > status.last)
      broken('I7', `${hex(id)} has committed ${status.commit}, but its log ends at ${status.last}`);
    if (applied.index > status.commit) broken('I6',
      `${hex(id)} has applied ${applied.index}, but committed only ${status.commit}`);
    if (status.state === 'leader') this.#leads(member, status.term);
    if (status.commit > member.commit) this.#commits(member, status.commit, status.state === 'leader' ? status.term : null);
    member.term = status.term;
    member.commit = status.commit;
    if (applied.index > member.applied) this.#applies(member, applied);
    for (const change of member.changes.splice(0)) this.#changeJudged(member, change, status);
    this.#answeredTo(member, status);
    this.#stoodStill(member, status);
    if (store !== null) this.#state.turned(hex(id), store);
  }

  snapshotSaved(id: NodeId, meta: SnapshotMeta): void {
    const member = this.#member(id);
    member.saved = Math.max(member.saved, meta.index);
    this.#snapshot(id, meta);
  }

  compacting(id: NodeId, through: number): void {
    const { saved } = this.#member(id);
    if (through > saved) {
      broken('I17', `${hex(id)} lets go of its log through ${through}, but its newest snapshot is at ${saved}`);
    }
  }

  snapshotInstalled(id: NodeId, meta: SnapshotMeta): void {
    const member = this.#member(id);
    member.saved = Math.max(member.saved, meta.index);
    if (meta.index < member.applied) {
      broken('I17', `${hex(id)} installs a snapshot at ${meta.index}, though it had applied ${member.applied}`);
    }
    this.#snapshot(id, meta);
  }

  /** A linearizable read has come to a member: what is known at this moment. */
  readAsked(): ReadMark {
    return { at: this.#now(), committed: this.#committed.length };
  }

  readAnswered(id: NodeId, mark: ReadMark, applied: EntryId): void {
    if (applied.index < mark.committed) broken('I13',
      `${hex(id)} answers a read at ${applied.index}, though ${mark.committed} were committed when it was asked`);
    const everybody = [...this.#members.values()].flatMap(({ given }) => given.configurations);
    const why = this.#reads.whyNot(mark, (_, has) => everybody.some(({ configuration: { voters, outgoing } }) =>
      voters.length > 0 && hasMajority(voters, has) && (outgoing.length === 0 || hasMajority(outgoing, has))));
    const isAlone = everybody.some(({ configuration: { voters } }) => voters.length === 1);
    if (why !== null && !isAlone) broken('I13', `${hex(id)} answers a read, but ${why}`);
  }

  /** The last look, when the run is over. */
  finish(): void {
    for (const member of this.#members.values()) {
      if (member.commit > 0) this.#agrees(member, Math.min(member.commit, this.#committed.length));
    }
  }

  /** What was committed, in order, for whoever judges the clients' history. */
  log(): LogEntry[] {
    return this.#committed.flatMap((_, i) => this.#entryAt(i + 1) ?? []);
  }

  /** By term, when its leader stood still: time that does not count against leases. */
  standstills(): ReadonlyMap<number, readonly Standstill[]> {
    return this.#standstills;
  }

  #entryAt(index: number): LogEntry | null {
    const committed = this.#committed[index - 1];
    if (committed === undefined) return null;
    const { entry, at } = committed;
    const command = entry.kind === 'command' ? decodeCommand(commandIn(entry.data)) : null;
    return { index, term: entry.term, at, command };
  }

  #member(id: NodeId): Member {
    const known = this.#members.get(id);
    if (known !== undefined) return known;
    const member: Member = {
      id, given: new GhostLog(), durable: new GhostLog(), lost: null, waiting: [], votes: new Map(),
      commit: 0, applied: 0, term: 0, lastDeath: null, changes: [], saved: 0, alone: 0, turnedAt: -Infinity, told: new Map(),
    };
    this.#members.set(id, member);
    return member;
  }

  /** Whether it is, or was until the disk was lost, on that member's disk. */
  #hasKept(id: NodeId, entry: EntryId): boolean {
    const member = this.#members.get(id);
    return member?.durable.has(entry) === true || member?.lost?.has(entry) === true;
  }

  /** I15: what was said to be durable is there after a restart, whatever else is. */
  #recovered({ id, durable, waiting }: Member, resumed: Resumed, life: number): void {
    const { hard } = durable;
    if (resumed.hard.term < hard.term) broken('I15',
      `${hex(id)} begins life ${life} in term ${resumed.hard.term}, its disk had ${hard.term}`);
    const isLater = waiting.some((batch) => batch.hard !== null);
    if (resumed.hard.term === hard.term && hard.vote !== 0n && resumed.hard.vote !== hard.vote && !isLater) {
      broken('I15', `${hex(id)} begins life ${life} without its vote for ${hex(hard.vote)} in term ${hard.term}`);
    }
    if (waiting.some((batch) => batch.truncateAfter !== null || batch.snapshot !== null)) return;
    const now = new GhostLog();
    now.resume(resumed);
    const last = { index: durable.last, term: durable.termAt(durable.last) ?? 0 };
    if (durable.last > 0 && !now.has(last)) {
      broken('I15', `${hex(id)} begins life ${life} with a log to ${now.last}; ${last.index} of term ${last.term} was durable`);
    }
    if (now.base.index > 0 && now.entries.length > 0 && now.entries[0]?.index !== now.base.index + 1) {
      broken('I17', `${hex(id)} begins life ${life} with a gap after its snapshot at ${now.base.index}`);
    }
  }

  /** Check quorum (thesis 6.2): a leader that no majority has answered for an election time-out leads no more. */
  #answeredTo(member: Member, { state, term, configuration, peers }: Status): void {
    const isActive = (id: NodeId): boolean => id === member.id || peers.some((peer) => peer.id === id && peer.isActive);
    const { voters, outgoing } = configuration;
    const isAnswered = hasMajority(voters, isActive) && (outgoing.length === 0 || hasMajority(outgoing, isActive));
    member.alone = state === 'leader' && !isAnswered ? member.alone + 1 : 0;
    if (member.alone > TURNS_ALONE_MAX) broken('I13',
      `${hex(member.id)} goes on leading term ${term}, though no majority has answered it for an election time-out`);
  }

  #stoodStill(member: Member, { state, term }: Status): void {
    const to = this.#now();
    // Up to the tick that should have come it was at work, for all it knew.
    const from = member.turnedAt + 2 * this.#heartbeatMs;
    member.turnedAt = to;
    if (state !== 'leader' || to - from < Math.max(STANDSTILL_MS, 4 * this.#heartbeatMs)) return;
    const known = this.#standstills.get(term);
    if (known === undefined) this.#standstills.set(term, [{ from, to }]);
    else known.push({ from, to });
  }

  /** I14: what nobody needs to hear is said once a heartbeat, or answers that make messages would never end. */
  #spoke({ id, told }: Member, { to, term, previous, entries, commit, round }: Extract<Message, { kind: 'append' }>): void {
    const now = this.#now();
    const news = `${term} ${previous.index} ${entries.length} ${commit} ${round}`;
    const known = told.get(to);
    if (known === undefined || known.news !== news || now - known.since > this.#heartbeatMs) {
      told.set(to, { news, since: now, repeated: 0 });
    } else if ((known.repeated += 1) > REPEATED_MAX) {
      broken('I14', `leader ${hex(id)} tells ${hex(to)} the same ${known.repeated} times within a heartbeat`);
    }
  }

  /** I9: what is acknowledged in a term is what the leader of that term has there, and not an older entry in its place. */
  #acknowledged({ id, durable }: Member, index: number, term: number): void {
    const leader = this.#members.get(this.#leaders.get(term) ?? 0n);
    if (leader === undefined || leader.given.hard.term !== term) return;
    const [due, held] = [leader.given.termAt(index), durable.termAt(index)];
    if (due !== null && held !== null && due !== held) {
      broken('I9', `${hex(id)} acknowledges ${index} in term ${term}, but its disk holds one of term ${held}, not of ${due}`);
    }
  }

  #hardGiven(member: Member, hard: HardState): void {
    const { given, id } = member;
    if (hard.term < given.hard.term) broken('I2', `${hex(id)} writes term ${hard.term} after term ${given.hard.term}`);
    if (hard.commit < given.hard.commit && hard.term === given.hard.term && given.hard.vote === hard.vote
      && hard.commit < given.base.index) {
      broken('I2', `${hex(id)} writes commit ${hard.commit} below its snapshot`);
    }
  }

  /** I1: one vote a term, for the whole life of a member, restarts included. One that never reached the disk was none. */
  #voted(member: Member, term: number, candidate: NodeId): void {
    const before = member.votes.get(term);
    if (before !== undefined && before !== candidate) {
      broken('I1', `${hex(member.id)} votes for ${hex(candidate)} in term ${term}, and voted for ${hex(before)} before`);
    }
    member.votes.set(term, candidate);
  }

  #leads(member: Member, term: number): void {
    const leader = this.#leaders.get(term);
    if (leader === member.id) return;
    if (leader !== undefined) broken('I1', `${hex(member.id)} leads term ${term}, and ${hex(leader)} does`);
    this.#leaders.set(term, member.id);
    if (!this.#isQuorum(member, Infinity, (id) => this.#members.get(id)?.votes.get(term) === member.id)) {
      broken('I1', `${hex(member.id)} leads term ${term} without the votes of a majority`);
    }
    // I5, Raft §5.4: all that was committed in earlier terms. By I3 the last of it speaks for the rest.
    for (let i = this.#committed.length - 1; i >= 0; i--) {
      const committed = this.#committed[i];
      if (committed === undefined || committed.term >= term) continue;
      if (member.given.has(committed.entry)) return;
      const { index } = committed.entry;
      broken('I5',
        `${hex(member.id)} leads term ${term} without entry ${index} of term ${committed.entry.term}, `
          + `committed in term ${committed.term}`);
    }
  }

  /** What a leader sends is what is in its log, and the commit it tells of is its own. */
  #shipped(member: Member, message: Extract<Message, { kind: 'append' }>): void {
    if (message.term !== member.given.hard.term) return;
    for (const { index, term } of message.entries) {
      if (!member.given.has({ index, term })) broken('I4',
        `leader ${hex(member.id)} ships entry ${index} of term ${term}, which is not in its log`);
    }
    if (message.commit > this.#committed.length) this.#commits(member, message.commit, message.term);
  }

  /** `leading`: in which term the member itself decided that; null: it was told. */
  #commits(member: Member, commit: number, leading: number | null): void {
    const from = this.#committed.length;
    if (commit <= from) return this.#agrees(member, commit);
    const { given } = member;
    if (leading !== null && commit > given.base.index) {
      const term = given.termAt(commit);
      // I10, Raft §5.4.2.
      if (term !== leading)
        broken('I10', `leader ${hex(member.id)} of term ${leading} commits entry ${commit} of term ${term ?? 0} by counting`);
      if (!this.#isQuorum(member, commit, (id) => this.#hasKept(id, { index: commit, term: leading }))) {
        broken('I10',
          `leader ${hex(member.id)} commits entry ${commit} of term ${leading}, which is not on the disks of a majority`);
      }
    }
    for (let index = from + 1; index <= commit; index++) {
      const entry = given.entryAt(index);
      // A member that took in a snapshot does not show what was before.
      if (entry === null) break;
      this.#committed.push({ entry, term: leading ?? member.given.hard.term, at: this.#now() });
    }
    this.#agrees(member, Math.min(from, commit));
  }

  #agrees({ id, given }: Member, index: number): void {
    const due = this.#committed[index - 1];
    if (due === undefined || given.has(due.entry) || index > given.last) return;
    const term = given.termAt(index);
    broken('I6', `${hex(id)} takes entry ${index} of term ${term ?? 0} as committed; that of term ${due.entry.term} is`);
  }

  #applies(member: Member, applied: EntryId): void {
    const due = this.#committed[applied.index - 1];
    if (due !== undefined && due.entry.term !== applied.term) {
      broken('I6',
        `${hex(member.id)} applies entry ${applied.index} of term ${applied.term}; that of term ${due.entry.term} is committed`);
    }
    member.applied = applied.index;
  }

  /** A majority of the configuration at work; also of the one before, while a change that it may decide is under way. */
  #isQuorum({ given }: Member, upTo: number, has: (id: NodeId) => boolean): boolean {
    const newest = given.configurations.length - 1;
    return [newest, newest - 1].some((i) => {
      const known = given.configurations[i];
      if (known === undefined) return false;
      const next = given.configurations[i + 1];
      if (next !== undefined && upTo !== Infinity && next.index < upTo) return false;
      const { voters, outgoing } = known.configuration;
      return hasMajority(voters, has) && (outgoing.length === 0 || hasMajority(outgoing, has));
    });
  }

  #changeGiven(member: Member, entry: Entry): void {
    const { given } = member;
    const at = given.configurations.findIndex(({ index }) => index === entry.index);
    const [old, now] = [given.configurations[at - 1], given.configurations[at]];
    if (this.#leaders.get(entry.term) === member.id && entry.term === given.hard.term) {
      member.changes.push({ index: entry.index, previous: old?.index ?? 0, term: entry.term });
    }
    if (old === undefined || now === undefined || old.configuration.voters.length === 0) return;
    if (!meet(old.configuration, now.configuration)) {
      broken('I11', `the configuration of entry ${entry.index} and the one before can decide without each other`);
    }
  }

  #changeJudged(member: Member, change: { index: number; previous: number; term: number }, status: Status): void {
    if (status.term !== change.term || member.given.termAt(change.index) !== change.term) return;
    if (status.commit < change.previous) {
      broken('I11',
        `leader ${hex(member.id)} begins a change at ${change.index} while the one at ${change.previous} is not committed`);
    }
    if (status.commit > member.given.base.index && member.given.termAt(status.commit) !== change.term) {
      broken('I11',
        `leader ${hex(member.id)} begins a change at ${change.index} `
          + `before it has committed an entry of its term ${change.term}`);
    }
  }

  #snapshot(id: NodeId, meta: SnapshotMeta): void {
    const due = this.#committed[meta.index - 1];
    if (due !== undefined && due.entry.term !== meta.term) {
      broken('I17',
        `${hex(id)} has a snapshot at ${meta.index} of term ${meta.term}; the entry of term ${due.entry.term} is committed`);
    }
  }

  #slotsOf({ given, id }: Member, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const name = `${entry.index}:${entry.term}`;
      const before = given.termAt(entry.index - 1) ?? -1;
      const known = this.#slots.get(name);
      if (known === undefined) this.#slots.set(name, { entry, before });
      else if (known.entry !== entry) {
        const isSame = known.entry.kind === entry.kind && Buffer.compare(known.entry.data, entry.data) === 0;
        if (!isSame) broken('I3', `${hex(id)} has another entry ${entry.index} of term ${entry.term} than others`);
        if (before >= 0 && known.before >= 0 && before !== known.before) {
          broken('I3',
            `${hex(id)} has entry ${entry.index} of term ${entry.term} after one of term ${before}; `
              + `others after one of term ${known.before}`);
        }
      }
    }
  }
}

function hasMajority(ids: readonly NodeId[], has: (id: NodeId) => boolean): boolean {
  return ids.filter(has).length > ids.length >> 1;
}

/** Whether every majority of one meets every majority of the other. */
function meet(a: Configuration, b: Configuration): boolean {
  const sets = ({ voters, outgoing }: Configuration): readonly (readonly NodeId[])[] => (outgoing.length === 0
    ? [voters] : [voters, outgoing]);
  return sets(a).some((one) => sets(b).some((other) => {
    const all = new Set([...one, ...other]).size;
    return (one.length >> 1) + 1 + (other.length >> 1) + 1 > all;
  }));
}

function hex(id: NodeId): string {
  return id.toString(16);
}

function broken(invariant: string, message: string): never {
  throw new InvariantBroken(invariant, message);
}
